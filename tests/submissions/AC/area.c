// problem: circle
#include <math.h>
#include <stdio.h>

int main(void) {
    double radius;
    if (scanf("%lf", &radius) != 1)
        return 1;
    printf("%.8f\n", acos(-1.0) * radius * radius);
    return 0;
}
