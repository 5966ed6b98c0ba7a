import java.util.ArrayList;
import java.util.List;

public class Chunks {
    public static void main(String[] args) {
        List<long[]> kept = new ArrayList<>();
        while (true) {
            kept.add(new long[4 << 20]);
        }
    }
}
