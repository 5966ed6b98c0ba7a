import java.util.Locale;
import java.util.Scanner;

/** The way round instead of the area. */
public class Perimeter {
    public static void main(String[] args) {
        Scanner in = new Scanner(System.in).useLocale(Locale.ROOT);
        System.out.println(2 * Math.PI * in.nextDouble());
    }
}
