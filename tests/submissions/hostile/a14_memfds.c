// expect: MLE, row: A14
// Memory that belongs to descriptors and to no process.
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void) {
    static char block[1 << 20];
    memset(block, 1, sizeof block);
    for (int each = 0; each < 512; each++) {
        int file = memfd_create("hidden", 0);
        for (int blocks = 0; file >= 0 && blocks < 4; blocks++)
            (void)!write(file, block, sizeof block);
    }
    return 3;
}
