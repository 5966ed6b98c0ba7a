#include <atomic>

int main() {
    std::atomic<unsigned long> count = 0;
    while (true)
        count++;
}
