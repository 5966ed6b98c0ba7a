// expect: TLE, row: A5
#include <signal.h>
#include <unistd.h>

int main(void) {
    for (int each = 1; each < 65; each++)
        signal(each, SIG_IGN);
    for (;;)
        sleep(1000000);
}
