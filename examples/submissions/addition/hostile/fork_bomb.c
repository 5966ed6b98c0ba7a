/* Every process forks for ever; those that cannot, compute. */
#include <unistd.h>

int main(void) {
    for (;;)
        (void)fork();
}
