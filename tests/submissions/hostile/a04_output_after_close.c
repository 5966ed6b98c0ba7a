// expect: WA, row: A4
// Closes its output; a child that kept a copy goes on printing after the program has ended.
#include <stdio.h>
#include <unistd.h>

int main(void) {
    int copy = dup(1);
    close(1);
    if (fork() == 0) {
        setsid();
        for (;;)
            if (write(copy, "late\n", 5) < 0)
                _exit(0);
    }
    (void)!write(copy, "early\n", 6);
    return 0;
}
