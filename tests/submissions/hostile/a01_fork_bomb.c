// expect: TLE, row: A1
#include <unistd.h>

int main(void) {
    for (;;)
        (void)fork();
}
