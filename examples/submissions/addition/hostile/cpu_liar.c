/* A grandchild whose end nobody waits for burns five seconds; getrusage of the parent never shows them. */
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(void) {
    long long a, b;
    int done[2];
    if (scanf("%lld %lld", &a, &b) != 2 || pipe(done) != 0)
        return 1;
    signal(SIGCHLD, SIG_IGN);
    if (fork() == 0) {
        if (fork() == 0) {
            while (cpu_seconds() < 5)
                ;
            (void)!write(done[1], "x", 1);
        }
        _exit(0);
    }
    char word;
    if (read(done[0], &word, 1) != 1)
        return 1;
    printf("%lld\n", a + b);
    return 0;
}
