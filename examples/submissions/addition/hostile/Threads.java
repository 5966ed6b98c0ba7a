/** As many threads as the machine gives, each computing for ever. */
public class Threads {
    static volatile long count;

    public static void main(String[] args) {
        Runnable spin = () -> {
            while (true) {
                count++;
            }
        };
        try {
            while (true) {
                new Thread(null, spin, "spin", 64 * 1024).start();
            }
        } catch (Throwable full) {
            spin.run();
        }
    }
}
