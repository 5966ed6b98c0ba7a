static char big[1024 * 1024 * 1024];

int main(void) {
    for (unsigned long at = 0; at < sizeof big; at += 4096)
        ((volatile char *)big)[at] = 1;
    return 0;
}
