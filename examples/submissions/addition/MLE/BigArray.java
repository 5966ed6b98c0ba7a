public class BigArray {
    public static void main(String[] args) {
        long[] big = new long[200_000_000];
        big[7] = args.length;
        System.out.println(big[7]);
    }
}
