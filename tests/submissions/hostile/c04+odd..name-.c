// expect: AC, row: C4
// A name at the edge of what is taken: it must reach the compiler as one argument and nothing else.
#include <stdio.h>

int main(void) {
    long long a, b;
    if (scanf("%lld %lld", &a, &b) != 2)
        return 1;
    printf("%lld\n", a + b);
    return 0;
}
