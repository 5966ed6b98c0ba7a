// expect: RTE, row: A7
// 42 is how an output validator accepts; from a program it is an error like any other.
#include <stdio.h>

int main(void) {
    long long a, b;
    if (scanf("%lld %lld", &a, &b) != 2)
        return 1;
    printf("%lld\n", a + b);
    return 42;
}
