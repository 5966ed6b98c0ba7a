// expect: AC, row: A10
// SysV memory and message queues live on without a process; the right sum only if there are none to be had.
#include <stdio.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

int main(void) {
    long long a, b;
    if (scanf("%lld %lld", &a, &b) != 2)
        return 1;
    int found = shmget(4711, 4096, 0600) >= 0 || msgget(4711, 0600) >= 0 || semget(4711, 1, 0600) >= 0;
    (void)shmget(4711, 4096, IPC_CREAT | 0600);
    (void)msgget(4711, IPC_CREAT | 0600);
    (void)semget(4711, 1, IPC_CREAT | 0600);
    printf("%lld\n", found ? a + b + 1 : a + b);
    return 0;
}
