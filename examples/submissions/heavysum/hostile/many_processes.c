/* Sixteen processes, none of them large: together a gibibyte. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROCESSES = 16, EACH_BYTES = 64 * 1024 * 1024 };

int main(void) {
    for (int each = 0; each < PROCESSES; each++) {
        if (fork() == 0) {
            char *volatile block = malloc(EACH_BYTES);
            if (block != NULL)
                memset(block, 'x', EACH_BYTES);
            for (;;)
                pause();
        }
    }
    for (;;)
        pause();
}
