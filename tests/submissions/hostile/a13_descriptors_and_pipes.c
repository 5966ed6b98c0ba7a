// expect: AC, row: A13
// Takes every pipe and descriptor that it gets, full of data, and gives none back.
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    static char block[65536];
    long long a, b;
    if (scanf("%lld %lld", &a, &b) != 2)
        return 1;
    for (int ends[2]; pipe(ends) == 0;) {
        fcntl(ends[1], F_SETFL, O_NONBLOCK);
        (void)!write(ends[1], block, sizeof block);
    }
    printf("%lld\n", a + b);
    return 0;
}
