#include <unistd.h>

int main(void) {
    static char block[1 << 20];
    for (int each = 0; each < 4096; each++)
        if (write(1, block, sizeof block) < 0)
            return 1;
    for (;;)
        ;
}
