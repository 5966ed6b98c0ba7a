public class Sleeps {
    public static void main(String[] args) throws InterruptedException {
        while (true) {
            Thread.sleep(1_000_000);
        }
    }
}
