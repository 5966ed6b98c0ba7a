import java.io.DataInputStream;
import java.io.IOException;

public class Fast {
    private static final byte[] block = new byte[1 << 16];
    private static int filled;
    private static int at;

    public static void main(String[] args) throws IOException {
        DataInputStream in = new DataInputStream(System.in);
        int count = next(in);
        long sum = 0;
        for (int each = 0; each < count; each++) {
            sum += next(in);
        }
        System.out.println(sum);
    }

    private static int next(DataInputStream in) throws IOException {
        int read = one(in);
        while (read <= ' ') {
            read = one(in);
        }
        boolean negative = read == '-';
        int value = 0;
        for (int digit = negative ? one(in) : read; digit > ' '; digit = one(in)) {
            value = value * 10 + digit - '0';
        }
        return negative ? -value : value;
    }

    private static int one(DataInputStream in) throws IOException {
        if (at == filled) {
            filled = in.read(block);
            at = 0;
            if (filled <= 0) {
                filled = 0;
                return -1;
            }
        }
        return block[at++];
    }
}
