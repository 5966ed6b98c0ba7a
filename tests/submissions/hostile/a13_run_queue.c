// expect: TLE, row: A13
// As many computing processes as there may be, all in the way of whoever has to stop them.
#include <unistd.h>

int main(void) {
    for (int each = 0; each < 4096; each++)
        if (fork() == 0)
            break;
    for (volatile unsigned long count = 0;; count++)
        (void)!nice(0);
}
