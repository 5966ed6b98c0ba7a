// Single precision loses the low digits.
#include <cstdio>

int main() {
    float a, b;
    if (std::scanf("%f %f", &a, &b) != 2)
        return 1;
    std::printf("%.0f\n", a + b);
}
