public class Forever {
    public static void main(String[] args) {
        byte[] block = new byte[1 << 16];
        while (true) {
            System.out.write(block, 0, block.length);
        }
    }
}
