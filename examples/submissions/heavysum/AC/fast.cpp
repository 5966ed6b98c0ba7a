#include <cstdio>

int main() {
    int count;
    if (std::scanf("%d", &count) != 1)
        return 1;
    long long sum = 0;
    for (int at = 0; at < count; at++) {
        int value;
        if (std::scanf("%d", &value) != 1)
            return 1;
        sum += value;
    }
    std::printf("%lld\n", sum);
}
