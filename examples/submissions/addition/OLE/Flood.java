import java.io.IOException;
import java.io.OutputStream;

public class Flood {
    public static void main(String[] args) throws IOException {
        OutputStream out = System.out;
        byte[] block = new byte[1 << 20];
        while (true) {
            out.write(block);
        }
    }
}
