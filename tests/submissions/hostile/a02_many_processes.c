// expect: MLE, row: A2
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    for (int each = 0; each < 16; each++)
        if (fork() == 0) {
            char *volatile block = malloc(64 << 20);
            if (block != NULL)
                memset(block, 1, 64 << 20);
            for (;;)
                pause();
        }
    for (;;)
        pause();
}
