// expect: TLE, row: A1
// Each process lives only long enough to leave its session and make the next: no list of them is ever true.
#include <unistd.h>

int main(void) {
    const pid_t first = getpid();
    for (;;) {
        pid_t child = fork();
        if (child == 0)
            setsid();
        else if (child > 0 && getpid() != first)
            _exit(0);
    }
}
