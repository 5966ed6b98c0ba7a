/* The sum is kept in 32 bits. */
#include <stdint.h>
#include <stdio.h>

int main(void) {
    int count;
    if (scanf("%d", &count) != 1)
        return 1;
    uint32_t sum = 0;
    for (int at = 0, value; at < count && scanf("%d", &value) == 1; at++)
        sum += (uint32_t)value;
    printf("%d\n", (int)sum);
    return 0;
}
