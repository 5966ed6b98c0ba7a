// The right digits with a NUL between them are not the right answer.
#include <stdio.h>

int main(void) {
    long long a, b;
    if (scanf("%lld %lld", &a, &b) != 2)
        return 1;
    putchar(0);
    printf("%lld\n", a + b);
    return 0;
}
