/* Room for a hundred numbers, and an honest check. */
#include <assert.h>
#include <stdio.h>

int main(void) {
    int count, values[100];
    if (scanf("%d", &count) != 1)
        return 1;
    assert(count <= 100);
    long long sum = 0;
    for (int at = 0; at < count && scanf("%d", &values[at]) == 1; at++)
        sum += values[at];
    printf("%lld\n", sum);
    return 0;
}
