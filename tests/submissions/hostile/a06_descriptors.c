// expect: AC, row: A6
// The right sum only if nothing but 0, 1 and 2 is open.
#include <fcntl.h>
#include <stdio.h>

int main(void) {
    long long a, b;
    int more = 0;
    if (scanf("%lld %lld", &a, &b) != 2)
        return 1;
    for (int each = 3; each < 65536; each++)
        if (fcntl(each, F_GETFD) >= 0) {
            fprintf(stderr, "descriptor %d is open\n", each);
            more++;
        }
    printf("%lld\n", more == 0 ? a + b : a + b + 1);
    return 0;
}
