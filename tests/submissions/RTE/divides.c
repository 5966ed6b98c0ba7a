#include <stdio.h>

int main(void) {
    volatile int whole = 7, zero = 0;
    printf("%d\n", whole / zero);
    return 0;
}
