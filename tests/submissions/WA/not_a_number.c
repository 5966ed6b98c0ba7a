// problem: circle
// NaN is near nothing.
#include <math.h>
#include <stdio.h>

int main(void) {
    printf("%f\n", NAN);
    return 0;
}
