// expect: AC, row: A6
// The right sum only if the memory of its parent and of the first process cannot be read.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

static int readable(int process) {
    char name[64], word[64];
    snprintf(name, sizeof name, "/proc/%d/mem", process);
    if (open(name, O_RDONLY) >= 0)
        return 1;
    struct iovec here = {word, sizeof word}, there = {(void *)0x400000, sizeof word};
    return process_vm_readv(process, &here, 1, &there, 1, 0) > 0;
}

int main(void) {
    long long a, b;
    if (scanf("%lld %lld", &a, &b) != 2)
        return 1;
    printf("%lld\n", readable(1) || readable(getppid()) ? a + b + 1 : a + b);
    return 0;
}
