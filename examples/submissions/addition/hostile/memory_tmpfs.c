/* Files in memory are memory: fills both writable folders, then takes as much heap as would fit without them. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char block[1024 * 1024];

static void fill(const char *path) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (int blocks = 0; file >= 0 && blocks < 1024; blocks++)
        if (write(file, block, sizeof block) <= 0)
            return;
}

int main(void) {
    memset(block, 'x', sizeof block);
    fill("/work/filled");
    fill("/tmp/filled");
    for (int blocks = 0; blocks < 200; blocks++) {
        char *volatile heap = malloc(sizeof block);
        if (heap == NULL)
            return 3;
        memset(heap, 'x', sizeof block);
    }
    return 4;
}
