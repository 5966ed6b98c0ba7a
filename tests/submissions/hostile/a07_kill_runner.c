// expect: WA, row: A7
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    for (int each = 1; each < 32; each++) {
        (void)kill(1, each);
        (void)kill(getppid(), each);
    }
    (void)kill(-1, SIGKILL);
    puts("nobody left");
    return 0;
}
