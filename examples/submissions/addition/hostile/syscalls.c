/* Asks the kernel for what no program needs, each call in a process of its own. Prints the right sum only if every
   call failed or ended its process. */
#define _GNU_SOURCE
#include <linux/bpf.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CALLS = 17, SUCCEEDED = 42 };

static long attempt(int which) {
    static char room[256];
    switch (which) {
    case 0: return syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL);
    case 1: return syscall(SYS_unshare, CLONE_NEWUSER);
    case 2: return syscall(SYS_ptrace, PTRACE_ATTACH, getppid(), NULL, NULL);
    case 3: return syscall(SYS_bpf, BPF_MAP_CREATE, room, 64);
    case 4: return syscall(SYS_keyctl, 0, -3, 1, 0, 0);
    case 5: return syscall(SYS_io_uring_setup, 8, room);
    case 6: return syscall(SYS_perf_event_open, room, 0, -1, -1, 0);
    case 7: return syscall(SYS_userfaultfd, 0);
    case 8: return syscall(SYS_open_by_handle_at, -100, room, 0);
    case 9: return syscall(SYS_kexec_load, 0, 0, room, 0);
    case 10: return syscall(SYS_init_module, room, sizeof room, "");
    case 11: return syscall(SYS_setns, 0, 0);
    case 12: return syscall(SYS_pivot_root, "/tmp", "/tmp");
    case 13: return syscall(SYS_personality, 0x0040000);
    case 14: return syscall(SYS_add_key, "user", "note", "text", 4, -3);
    case 15: return syscall(SYS_setuid, 0);
    case 16: return syscall(SYS_chroot, "/tmp");
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
        if (child < 0)
            return 1;
        if (child == 0)
            _exit(attempt(which) >= 0 ? SUCCEEDED : 0);
        int status;
        waitpid(child, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == SUCCEEDED) {
            fprintf(stderr, "call %d was granted\n", which);
            granted++;
        }
    }
    printf("%lld\n", granted == 0 ? a + b : a + b + 1);
    return 0;
}
