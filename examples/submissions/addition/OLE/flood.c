/* Prints for ever. */
#include <stdio.h>

int main(void) {
    for (;;)
        puts("the quick brown fox jumps over the lazy dog, and again");
}
