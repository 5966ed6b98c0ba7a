// expect: RTE, row: A9
// Asked by the program itself: it is stopped, or is told no and gives up.
#include <stdio.h>
#include <sys/mount.h>

int main(void) {
    long long a, b;
    if (scanf("%lld %lld", &a, &b) != 2 || mount("proc", "/tmp", "proc", 0, NULL) != 0)
        return 1;
    puts("mounted");
    return 0;
}
