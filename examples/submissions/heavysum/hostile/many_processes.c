/* Sixteen processes, none of them large: together a gibibyte. */
#include <stdlib.h>
#include <unistd.h>

enum { PROCESSES = 16, EACH_BYTES = 64 * 1024 * 1024 };

int main(void) {
    for (int each = 0; each < PROCESSES; each++) {
        if (fork() == 0) {
            volatile char *block = malloc(EACH_BYTES);
            for (int at = 0; block != NULL && at < EACH_BYTES; at += 4096)
                block[at] = 'x';
            for (;;)
                pause();
        }
    }
    for (;;)
        pause();
}
