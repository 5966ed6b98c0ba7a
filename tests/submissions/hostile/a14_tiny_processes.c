// expect: MLE|TLE, row: A14
// Many small processes, each as small as can be, so that the largest one in the group is the runner.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    (void)fork(), (void)fork(), (void)fork(), (void)fork();
    for (;;) {
        char *volatile block = malloc(1 << 20);
        if (block != NULL)
            memset(block, 1, 1 << 20);
        (void)fork();
    }
}
