/** The public class is named otherwise than the file. */
public class Another {
    public static void main(String[] args) {
        System.out.println(3);
    }
}
