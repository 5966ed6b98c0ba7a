// expect: AC, row: A9
// Each call in a process of its own; the right sum only if every one failed or ended its process.
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CALLS = 20, SUCCEEDED = 42, X32 = 0x40000000 };

static long attempt(int which) {
    static char room[256];
    long number = 20; /* getpid of i386 */
    switch (which) {
    case 0: return syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL);
    case 1: return syscall(SYS_umount2, "/proc", 2);
    case 2: return syscall(SYS_unshare, CLONE_NEWUSER | CLONE_NEWNET);
    case 3: return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    case 4: return syscall(SYS_ptrace, PTRACE_ATTACH, getppid(), NULL, NULL);
    case 5: return syscall(SYS_bpf, 0, room, 64);
    case 6: return syscall(SYS_keyctl, 0, -3, 1, 0, 0);
    case 7: return syscall(SYS_add_key, "user", "note", "text", 4, -3);
    case 8: return syscall(SYS_io_uring_setup, 8, room);
    case 9: return syscall(SYS_perf_event_open, room, 0, -1, -1, 0);
    case 10: return syscall(SYS_userfaultfd, 0);
    case 11: return syscall(SYS_open_by_handle_at, -100, room, 0);
    case 12: return syscall(SYS_kexec_load, 0, 0, room, 0);
    case 13: return syscall(SYS_init_module, room, sizeof room, "");
    case 14: return syscall(SYS_personality, 0x0040000);
    case 15: return syscall(SYS_setns, 0, 0);
    case 16: return syscall(SYS_setuid, 0);
    case 17: return syscall(SYS_chroot, "/tmp");
    case 18: return syscall(X32 | SYS_getpid);
    case 19: __asm__ volatile("int $0x80" : "+a"(number) : : "memory"); return number;
    default: return -1;
    }
}

int main(void) {
    long long a, b;
    int granted = 0;
    if (scanf("%lld %lld", &a, &b) != 2)
        return 1;
    for (int which = 0; which < CALLS; which++) {
        pid_t child = fork();
        if (child == 0)
            _exit(attempt(which) >= 0 ? SUCCEEDED : 0);
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) != child)
            return 1;
        if (WIFEXITED(status) && WEXITSTATUS(status) == SUCCEEDED) {
            fprintf(stderr, "call %d was granted\n", which);
            granted++;
        }
    }
    printf("%lld\n", granted == 0 ? a + b : a + b + 1);
    return 0;
}
