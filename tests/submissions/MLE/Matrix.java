public class Matrix {
    public static void main(String[] args) {
        int[][] matrix = new int[20][50_000_000];
        System.out.println(matrix[7][7]);
    }
}
