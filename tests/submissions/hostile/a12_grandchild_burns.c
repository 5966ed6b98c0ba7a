// expect: TLE, row: A12
// A grandchild that nobody waits for burns five seconds; rusage of the program shows none of them.
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(void) {
    long long a, b;
    int done[2];
    char word;
    if (scanf("%lld %lld", &a, &b) != 2 || pipe(done) != 0)
        return 1;
    signal(SIGCHLD, SIG_IGN);
    if (fork() == 0) {
        if (fork() == 0) {
            while (clock() < 5 * CLOCKS_PER_SEC)
                ;
            (void)!write(done[1], "x", 1);
        }
        _exit(0);
    }
    if (read(done[0], &word, 1) != 1)
        return 1;
    printf("%lld\n", a + b);
    return 0;
}
