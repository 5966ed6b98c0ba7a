// expect: MLE, row: A2
#include <stdlib.h>
#include <unistd.h>

int main(void) {
    for (int each = 0; each < 16; each++)
        if (fork() == 0) {
            volatile char *block = malloc(64 << 20);
            for (int at = 0; block != NULL && at < 64 << 20; at += 4096)
                block[at] = 1;
            for (;;)
                pause();
        }
    for (;;)
        pause();
}
