// expect: AC, row: C3
// The right sum only if the artifact folder takes neither links nor new names nor a new program.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void) {
    long long a, b;
    if (scanf("%lld %lld", &a, &b) != 2)
        return 1;
    int changed = symlink("/etc/passwd", "/box/link") == 0 || link("/box/program", "/box/again") == 0 ||
                  mkfifo("/box/fifo", 0666) == 0 || unlink("/box/program") == 0 ||
                  rename("/box/program", "/box/moved") == 0 || chmod("/box/program", 0777) == 0 ||
                  open("/box/program", O_WRONLY | O_TRUNC) >= 0;
    printf("%lld\n", changed ? a + b + 1 : a + b);
    return 0;
}
