import java.util.Scanner;

public class Narrow {
    public static void main(String[] args) {
        Scanner in = new Scanner(System.in);
        System.out.println((int) (in.nextLong() + in.nextLong()));
    }
}
