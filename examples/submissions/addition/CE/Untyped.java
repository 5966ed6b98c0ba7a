public class Untyped {
    public static void main(String[] args) {
        int sum = "not a number";
        System.out.println(sum);
    }
}
