#include <stdio.h>

int main(void) {
    for (;;)
        printf("%d\n", 12345678);
}
