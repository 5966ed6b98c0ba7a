// expect: MLE, row: A2
#include <stdlib.h>
#include <string.h>

int main(void) {
    for (int each = 0; each < 64; each++) {
        char *volatile block = malloc(16 << 20);
        if (block == NULL)
            return 3;
        memset(block, 1, 16 << 20);
    }
    return 4;
}
