/* Reads address 0. */
#include <stdio.h>

int main(void) {
    int *volatile nowhere = NULL;
    printf("%d\n", *nowhere);
    return 0;
}
