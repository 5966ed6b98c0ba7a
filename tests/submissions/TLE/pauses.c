// No CPU at all.
#include <unistd.h>

int main(void) {
    for (;;)
        pause();
}
