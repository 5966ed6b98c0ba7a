// expect: AC, row: A4
// 32 MiB of standard error are dropped, and cost nothing but themselves.
#include <stdio.h>
#include <unistd.h>

int main(void) {
    static char block[65536];
    long long a, b;
    if (scanf("%lld %lld", &a, &b) != 2)
        return 1;
    for (int each = 0; each < 512; each++)
        (void)!write(2, block, sizeof block);
    printf("%lld\n", a + b);
    return 0;
}
