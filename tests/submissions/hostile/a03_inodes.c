// expect: AC, row: A3
// The right sum only if no folder took a million files.
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int fills(const char *folder) {
    char name[64];
    for (int each = 0; each < 1000000; each++) {
        snprintf(name, sizeof name, "%s/%d", folder, each);
        int file = open(name, O_WRONLY | O_CREAT, 0600);
        if (file < 0)
            return 0;
        close(file);
    }
    return 1;
}

int main(void) {
    long long a, b;
    if (scanf("%lld %lld", &a, &b) != 2)
        return 1;
    int filled = fills("/work") + fills("/tmp") + fills("/box") + fills("/dev/shm") + fills("/var/tmp") + fills("/run");
    printf("%lld\n", filled == 0 ? a + b : a + b + 1);
    return 0;
}
