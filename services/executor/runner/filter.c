/*
 * The runner's own seccomp filter, installed on itself at start and inherited by every program: installing one for each
 * run cost 25 to 80 microseconds. It stands beside the backend's profile (deploy/seccomp) and holds where a backend has
 * none. `filter_tighten` adds, once the artifact folder is sealed, what compilers may need and tests must not have:
 * file locks, since all runs of a test case share the inode of its sealed input, and a lock on it would be a channel
 * between submissions.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runner.h"

#if !defined(__x86_64__)
#error "the filter names system calls of x86-64"
#endif

#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#define SYS_io_uring_enter 426
#define SYS_io_uring_register 427
#endif
enum {
    NR_open_tree = 428, NR_move_mount = 429, NR_fsopen = 430, NR_fsconfig = 431, NR_fsmount = 432, NR_fspick = 433,
    NR_clone3 = 435, NR_pidfd_getfd = 438, NR_mount_setattr = 442, NR_quotactl_fd = 443, NR_landlock_create = 444,
    NR_memfd_secret = 447, NR_x32_first = 0x40000000,
    /* CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET */
    CLONE_NAMESPACES = 0x7e020000,
};

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
#define IF_EQUAL(value, skip_else) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), 0, (skip_else))
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, (uint32_t)(action))
#define REFUSE(error) RETURN(SECCOMP_RET_ERRNO | (error))
#define REFUSE_CALL(number, error) IF_EQUAL(number, 1), REFUSE(error)
#define STOP_CALL(number) IF_EQUAL(number, 1), RETURN(SECCOMP_RET_KILL_PROCESS)
#define ONLY_X86_64                                                                                                    \
    LOAD(arch), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0), RETURN(SECCOMP_RET_KILL_PROCESS),        \
        LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, NR_x32_first, 0, 1), RETURN(SECCOMP_RET_KILL_PROCESS)

static void install(struct sock_filter *filter, unsigned short length) {
    struct sock_fprog program = {length, filter};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
        fault(STAGE_START, errno, "the seccomp filter could not be installed");
}

void filter_install(void) {
    struct sock_filter filter[] = {
        ONLY_X86_64,
        /* Nothing that honest programs ask for: the attempt ends the process, so that the outcome shows it. */
        STOP_CALL(SYS_ptrace), STOP_CALL(SYS_mount), STOP_CALL(SYS_umount2), STOP_CALL(SYS_pivot_root),
        STOP_CALL(SYS_chroot), STOP_CALL(SYS_unshare), STOP_CALL(SYS_setns), STOP_CALL(SYS_bpf),
        STOP_CALL(SYS_keyctl), STOP_CALL(SYS_add_key), STOP_CALL(SYS_request_key), STOP_CALL(SYS_kexec_load),
        STOP_CALL(SYS_kexec_file_load), STOP_CALL(SYS_init_module), STOP_CALL(SYS_finit_module),
        STOP_CALL(SYS_delete_module), STOP_CALL(SYS_open_by_handle_at), STOP_CALL(SYS_swapon), STOP_CALL(SYS_swapoff),
        STOP_CALL(SYS_reboot), STOP_CALL(NR_open_tree), STOP_CALL(NR_move_mount), STOP_CALL(NR_fsopen),
        STOP_CALL(NR_fsconfig), STOP_CALL(NR_fsmount), STOP_CALL(NR_fspick), STOP_CALL(NR_mount_setattr),
        /* What runtimes probe for and do without. */
        REFUSE_CALL(SYS_socket, EACCES), REFUSE_CALL(SYS_connect, EACCES), REFUSE_CALL(SYS_bind, EACCES),
        REFUSE_CALL(SYS_listen, EACCES), REFUSE_CALL(SYS_accept, EACCES), REFUSE_CALL(SYS_accept4, EACCES),
        REFUSE_CALL(SYS_perf_event_open, EPERM), REFUSE_CALL(SYS_userfaultfd, EPERM),
        REFUSE_CALL(SYS_process_vm_readv, EPERM), REFUSE_CALL(SYS_process_vm_writev, EPERM),
        REFUSE_CALL(SYS_kcmp, EPERM), REFUSE_CALL(NR_pidfd_getfd, EPERM), REFUSE_CALL(SYS_name_to_handle_at, EPERM),
        REFUSE_CALL(SYS_shmget, ENOSYS), REFUSE_CALL(SYS_msgget, ENOSYS), REFUSE_CALL(SYS_semget, ENOSYS),
        REFUSE_CALL(SYS_mq_open, ENOSYS), REFUSE_CALL(SYS_inotify_init, ENOSYS), REFUSE_CALL(SYS_inotify_init1, ENOSYS),
        REFUSE_CALL(SYS_fanotify_init, ENOSYS), REFUSE_CALL(SYS_io_uring_setup, ENOSYS),
        REFUSE_CALL(SYS_io_uring_enter, ENOSYS), REFUSE_CALL(SYS_io_uring_register, ENOSYS),
        REFUSE_CALL(NR_memfd_secret, ENOSYS), REFUSE_CALL(NR_landlock_create, ENOSYS),
        REFUSE_CALL(SYS_modify_ldt, EPERM), REFUSE_CALL(SYS_quotactl, EPERM), REFUSE_CALL(NR_quotactl_fd, EPERM),
        REFUSE_CALL(SYS_syslog, EPERM), REFUSE_CALL(SYS_acct, EPERM), REFUSE_CALL(SYS_clock_settime, EPERM),
        REFUSE_CALL(SYS_settimeofday, EPERM), REFUSE_CALL(SYS_adjtimex, EPERM), REFUSE_CALL(SYS_clock_adjtime, EPERM),
        REFUSE_CALL(SYS_iopl, EPERM), REFUSE_CALL(SYS_ioperm, EPERM),
        /* clone3's flags lie in memory where a filter cannot look: libc falls back to clone. */
        REFUSE_CALL(NR_clone3, ENOSYS),
        IF_EQUAL(SYS_clone, 4), LOAD(args[0]), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_NAMESPACES, 0, 1),
        REFUSE(EPERM), RETURN(SECCOMP_RET_ALLOW),
        IF_EQUAL(SYS_socketpair, 4), LOAD(args[0]), IF_EQUAL(AF_UNIX, 1), RETURN(SECCOMP_RET_ALLOW), REFUSE(EACCES),
        IF_EQUAL(SYS_personality, 6), LOAD(args[0]), IF_EQUAL(0, 1), RETURN(SECCOMP_RET_ALLOW),
        IF_EQUAL(0xffffffff, 1), RETURN(SECCOMP_RET_ALLOW), REFUSE(EPERM),
        RETURN(SECCOMP_RET_ALLOW),
    };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        fault(STAGE_START, errno, "no_new_privs could not be set");
    install(filter, sizeof filter / sizeof filter[0]);
}

void filter_tighten(void) {
    struct sock_filter filter[] = {
        ONLY_X86_64,
        REFUSE_CALL(SYS_flock, ENOLCK),
        IF_EQUAL(SYS_fcntl, 7), LOAD(args[1]),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, F_SETLK, 4, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, F_SETLKW, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, F_OFD_SETLK, 2, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, F_OFD_SETLKW, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, F_SETLEASE, 0, 1), REFUSE(ENOLCK),
        RETURN(SECCOMP_RET_ALLOW),
    };
    install(filter, sizeof filter / sizeof filter[0]);
}
