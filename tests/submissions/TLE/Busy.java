public class Busy {
    static volatile long count;

    public static void main(String[] args) {
        for (;;) {
            count++;
        }
    }
}
