#include <cstdio>

int main() {
    while (true)
        std::puts("one more line of output, as long as most lines are, and nobody reads it");
}
