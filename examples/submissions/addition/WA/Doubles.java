import java.util.Scanner;

/** Adds as double, which cannot hold every 64-bit integer. */
public class Doubles {
    public static void main(String[] args) {
        Scanner in = new Scanner(System.in);
        double sum = (double) in.nextLong() + (double) in.nextLong();
        System.out.println((long) sum);
    }
}
