// The right answer is out, but the program never ends.
#include <iostream>

int main() {
    long long a, b;
    std::cin >> a >> b;
    std::cout << a + b << std::endl;
    for (volatile unsigned long count = 0;; count = count + 1)
        ;
}
