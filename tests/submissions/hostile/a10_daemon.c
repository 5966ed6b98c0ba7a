// expect: AC, row: A10
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    long long a, b;
    if (scanf("%lld %lld", &a, &b) != 2)
        return 1;
    if (kill(-1, 0) == 0) {
        puts("a process of an earlier run lives");
        return 0;
    }
    if (fork() == 0) {
        setsid();
        for (int each = 1; each < 65; each++)
            signal(each, SIG_IGN);
        for (volatile unsigned long count = 0;; count++)
            ;
    }
    printf("%lld\n", a + b);
    return 0;
}
