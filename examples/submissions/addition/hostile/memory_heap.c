/* A gibibyte of heap, every page touched. */
#include <stdlib.h>
#include <string.h>

int main(void) {
    for (int chunk = 0; chunk < 64; chunk++) {
        char *volatile block = malloc(16 * 1024 * 1024);
        if (block == NULL)
            return 3;
        memset(block, 'x', 16 * 1024 * 1024);
    }
    return 4;
}
