// White space around the answer does not count.
#include <iostream>

int main() {
    long long a, b;
    std::cin >> a >> b;
    std::cout << "\n\n  \t" << a + b << "   \n\n\n";
}
