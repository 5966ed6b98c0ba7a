/* Pi as at school: two digits are not enough. */
#include <stdio.h>

int main(void) {
    double radius;
    if (scanf("%lf", &radius) != 1)
        return 1;
    printf("%.10f\n", 3.14 * radius * radius);
    return 0;
}
