#include <stdio.h>

int main(void) {
    printf("no semicolon\n")
    return 0;
}
