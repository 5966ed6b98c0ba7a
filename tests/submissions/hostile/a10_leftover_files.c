// expect: AC, row: A10
// Leaves a note wherever it can; the right sum only while no earlier run's note is found.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int was_here(const char *name) {
    struct stat state;
    int found = stat(name, &state) == 0;
    int file = open(name, O_WRONLY | O_CREAT, 0666);
    if (file >= 0)
        close(file);
    return found;
}

int main(void) {
    long long a, b;
    if (scanf("%lld %lld", &a, &b) != 2)
        return 1;
    int found = was_here("/work/note") + was_here("/tmp/note") + was_here("/box/note") + was_here("/dev/shm/note") +
                was_here("/var/tmp/note") + was_here("/run/note") + was_here("/dev/mqueue/note");
    printf("%lld\n", found == 0 ? a + b : a + b + 1);
    return 0;
}
