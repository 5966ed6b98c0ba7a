// expect: MLE, row: A2
// Shared anonymous pages are charged to nobody's resident set at first sight.
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>

int main(void) {
    char *block = mmap(0, 1ul << 30, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return 3;
    memset(block, 1, 1ul << 30);
    return ((volatile char *)block)[7] == 1 ? 4 : 5;
}
