#include <stdlib.h>
#include <string.h>

int main(void) {
    for (int chunk = 0; chunk < 128; chunk++) {
        char *volatile block = malloc(8 * 1024 * 1024);
        if (block != NULL)
            memset(block, 1, 8 * 1024 * 1024);
    }
    return 0;
}
