import java.math.BigInteger;
import java.util.Scanner;

public class Objects {
    interface Operation {
        BigInteger apply(BigInteger a, BigInteger b);
    }

    static class Adder implements Operation {
        public BigInteger apply(BigInteger a, BigInteger b) {
            return a.add(b);
        }
    }

    public static void main(String[] args) {
        Scanner in = new Scanner(System.in);
        System.out.println(new Adder().apply(in.nextBigInteger(), in.nextBigInteger()));
    }
}
