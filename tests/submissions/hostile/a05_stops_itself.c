// expect: TLE, row: A5
#include <signal.h>
#include <unistd.h>

int main(void) {
    (void)kill(getppid(), SIGSTOP);
    for (;;)
        (void)kill(getpid(), SIGSTOP);
}
