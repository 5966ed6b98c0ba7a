// Counts every number up from nothing, one step at a time.
#include <iostream>

int main() {
    int count;
    std::cin >> count;
    volatile long long sum = 0;
    for (int at = 0; at < count; at++) {
        int value;
        std::cin >> value;
        for (int step = 0; step < value; step++)
            sum = sum + 1;
        for (int step = 0; step > value; step--)
            sum = sum - 1;
    }
    std::cout << sum << '\n';
}
