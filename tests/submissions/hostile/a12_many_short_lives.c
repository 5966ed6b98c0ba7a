// expect: TLE, row: A12
// No process lives longer than a moment, and none is the one that is asked.
#include <signal.h>
#include <unistd.h>

int main(void) {
    signal(SIGCHLD, SIG_IGN);
    for (;;)
        if (fork() == 0) {
            for (volatile int count = 0; count < 1000000; count++)
                ;
            _exit(0);
        }
}
