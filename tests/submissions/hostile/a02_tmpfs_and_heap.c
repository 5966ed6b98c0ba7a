// expect: MLE, row: A2
// Fills the writable folders, then takes as much heap as would fit if files in memory were no memory.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char block[1 << 20];

int main(void) {
    const char *names[] = {"/work/full", "/tmp/full"};
    memset(block, 1, sizeof block);
    for (int each = 0; each < 2; each++) {
        int file = open(names[each], O_WRONLY | O_CREAT, 0600);
        for (int blocks = 0; file >= 0 && blocks < 1024 && write(file, block, sizeof block) > 0; blocks++)
            ;
    }
    for (int blocks = 0; blocks < 200; blocks++) {
        char *volatile heap = malloc(sizeof block);
        if (heap == NULL)
            return 3;
        memset(heap, 1, sizeof block);
    }
    return 4;
}
