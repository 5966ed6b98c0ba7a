/*
 * What preflight runs in a sandbox: each mode tries to exceed one limit and tells on standard output what it got.
 * It says what it saw and judges nothing; services/executor/core/preflight.py does.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned long number(const char *text) { return strtoul(text, NULL, 10); }

static int probe_memory(unsigned long bytes) {
    const unsigned long step = 1 << 20;
    for (unsigned long held = 0; held < bytes; held += step) {
        char *part = mmap(NULL, step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (part == MAP_FAILED) {
            printf("refused after %lu\n", held);
            return 0;
        }
        memset(part, 1, step);
    }
    printf("held %lu\n", bytes);
    return 0;
}

static int probe_processes(unsigned long wanted) {
    unsigned long made = 0;
    for (unsigned long i = 0; i < wanted; i++) {
        pid_t child = fork();
        if (child == 0) {
            pause();
            _exit(0);
        }
        if (child < 0)
            break;
        made++;
    }
    printf("%lu\n", made);
    return 0;
}

static int probe_bytes(const char *path, unsigned long wanted) {
    static char block[65536];
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    unsigned long written = 0;
    while (file >= 0 && written < wanted) {
        ssize_t size = write(file, block, sizeof block);
        if (size <= 0)
            break;
        written += (unsigned long)size;
    }
    printf("%lu %s\n", written, written < wanted ? strerror(errno) : "written");
    return 0;
}

static int probe_inodes(const char *folder, unsigned long wanted) {
    unsigned long made = 0;
    char path[4096];
    for (; made < wanted; made++) {
        (void)snprintf(path, sizeof path, "%s/%lu", folder, made);
        int file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
        if (file < 0)
            break;
        (void)close(file);
    }
    printf("%lu %s\n", made, made < wanted ? strerror(errno) : "made");
    return 0;
}

static int probe_output(unsigned long bytes) {
    static char block[4096];
    memset(block, 'x', sizeof block);
    while (bytes >= sizeof block) {
        ssize_t size = write(1, block, sizeof block);
        if (size <= 0)
            return 1;
        bytes -= (unsigned long)size;
    }
    return 0;
}

/* A child whose end is never waited for: its time is missing in rusage, not in the cgroup. */
static int probe_cpu(void) {
    (void)signal(SIGCHLD, SIG_IGN);
    pid_t child = fork();
    if (child == 0)
        for (;;)
            ;
    pause();
    return 0;
}

static int probe_network(void) {
    static const struct { int family, type; const char *name; } wanted[] = {
        {AF_UNIX, SOCK_STREAM, "unix"}, {AF_INET, SOCK_STREAM, "inet"}, {AF_INET, SOCK_DGRAM, "inet-datagram"},
        {AF_INET6, SOCK_STREAM, "inet6"}, {AF_NETLINK, SOCK_RAW, "netlink"}, {AF_PACKET, SOCK_RAW, "packet"},
        {AF_ALG, SOCK_SEQPACKET, "alg"}, {AF_VSOCK, SOCK_STREAM, "vsock"},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (socket(wanted[i].family, wanted[i].type, 0) >= 0)
            printf("%s ", wanted[i].name);
    FILE *interfaces = fopen("/proc/net/dev", "r");
    char line[512];
    while (interfaces != NULL && fgets(line, sizeof line, interfaces) != NULL) {
        char *colon = strchr(line, ':');
        if (colon == NULL)
            continue;
        *colon = '\0';
        printf("interface:%s ", line + strspn(line, " "));
    }
    if (interfaces != NULL)
        (void)fclose(interfaces);
    printf("\n");
    return 0;
}

/* Calls in a child, because being stopped by seccomp is one of the two right answers. */
static void try_call(const char *name, long call, long a, long b, long c, long d) {
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        long answer = syscall(call, a, b, c, d, 0L, 0L);
        /* Filters refuse with these four; everything else means that the kernel looked at it. */
        bool refused = errno == EPERM || errno == EACCES || errno == ENOSYS || errno == ENOLCK;
        _exit(answer == -1 && refused ? 0 : 1);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        printf("%s:untried ", name);
    else if (WIFEXITED(status) && WEXITSTATUS(status) == 1)
        printf("%s ", name);
}

static void try_old_entry(void) {
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        long answer = 20; /* getpid of the 32-bit table */
        __asm__ volatile("int $0x80" : "+a"(answer) : : "memory", "r8", "r9", "r10", "r11");
        _exit(answer > 0 ? 1 : 0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        printf("int80:untried ");
    else if (WIFEXITED(status) && WEXITSTATUS(status) == 1)
        printf("int80 ");
}

static int probe_calls(void) {
    /* Every argument is one that the kernel itself would answer with something else than a refusal by permission. */
    static char zeros[256];
    const long buffer = (long)zeros;
    try_call("ptrace", SYS_ptrace, 0, 0, 0, 0);
    try_call("mount", SYS_mount, 0, 0, 0, 0);
    try_call("umount2", SYS_umount2, 0, 0, 0, 0);
    try_call("pivot_root", SYS_pivot_root, 0, 0, 0, 0);
    try_call("unshare", SYS_unshare, 0x10000000, 0, 0, 0);
    try_call("setns", SYS_setns, -1, 0, 0, 0);
    try_call("clone-namespace", SYS_clone, 0x10000000 | SIGCHLD, 0, 0, 0);
    try_call("clone3", 435, buffer, 88, 0, 0);
    try_call("bpf", SYS_bpf, 0, buffer, 64, 0);
    try_call("perf_event_open", SYS_perf_event_open, buffer, 0, -1, -1);
    try_call("userfaultfd", SYS_userfaultfd, 1, 0, 0, 0);
    try_call("io_uring_setup", 425, 4, buffer, 0, 0);
    try_call("keyctl", SYS_keyctl, 0, -3, 0, 0);
    try_call("add_key", SYS_add_key, 0, 0, 0, 0);
    try_call("request_key", SYS_request_key, 0, 0, 0, 0);
    try_call("process_vm_readv", SYS_process_vm_readv, getpid(), 0, 0, 0);
    try_call("kcmp", SYS_kcmp, getpid(), getpid(), 1, 0);
    try_call("pidfd_getfd", 438, -1, 0, 0, 0);
    try_call("open_by_handle_at", SYS_open_by_handle_at, -1, 0, 0, 0);
    try_call("name_to_handle_at", SYS_name_to_handle_at, -100, 0, 0, 0);
    try_call("personality", SYS_personality, 0x0040000, 0, 0, 0);
    try_call("memfd_secret", 447, 0, 0, 0, 0);
    try_call("modify_ldt", SYS_modify_ldt, 0, buffer, 16, 0);
    try_call("shmget", SYS_shmget, 0, 4096, 0600, 0);
    try_call("msgget", SYS_msgget, 0, 0600, 0, 0);
    try_call("semget", SYS_semget, 0, 1, 0600, 0);
    try_call("mq_open", SYS_mq_open, (long)"q", O_CREAT | O_RDWR, 0600, 0);
    try_call("inotify_init1", SYS_inotify_init1, 0, 0, 0, 0);
    try_call("kexec_load", SYS_kexec_load, 0, 0, 0, 0);
    try_call("finit_module", SYS_finit_module, -1, 0, 0, 0);
    try_call("flock", SYS_flock, 0, 2, 0, 0);
    try_call("x32-getpid", 0x40000000 | SYS_getpid, 0, 0, 0, 0);
    try_old_entry();
    printf("\n");
    return 0;
}

static void try_writing(const char *folder) {
    char path[4200];
    (void)snprintf(path, sizeof path, "%s/.assize-probe", folder);
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (file < 0)
        return;
    (void)close(file);
    (void)unlink(path);
    printf("%s\n", folder);
}

/* Every mount point and every folder that distributions leave open to all. */
static int probe_writable(void) {
    static const char *const usual[] = {"/", "/etc", "/usr", "/usr/bin", "/var", "/var/tmp", "/run", "/run/lock", "/home",
                                        "/root", "/opt", "/srv", "/mnt", "/media", "/lib", "/boot", "/var/lock", "/var/log"};
    char line[8192];
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++)
        try_writing(usual[i]);
    FILE *mounts = fopen("/proc/self/mountinfo", "r");
    while (mounts != NULL && fgets(line, sizeof line, mounts) != NULL) {
        char point[4096];
        if (sscanf(line, "%*s %*s %*s %*s %4095s", point) == 1 && strcmp(point, "/") != 0)
            try_writing(point);
    }
    if (mounts != NULL)
        (void)fclose(mounts);
    return 0;
}

static int probe_privileges(void) {
    char line[512];
    uid_t real, effective, saved;
    if (getresuid(&real, &effective, &saved) != 0)
        return 1;
    FILE *status = fopen("/proc/self/status", "r");
    if (status == NULL)
        return 1;
    printf("uids %u %u %u groups %d\n", real, effective, saved, getgroups(0, NULL));
    while (fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, "Cap", 3) == 0 || strncmp(line, "NoNewPrivs", 10) == 0 || strncmp(line, "Seccomp:", 8) == 0)
            printf("%s", line);
    (void)fclose(status);
    return 0;
}


static void list(const char *path) {
    DIR *folder = opendir(path);
    struct dirent *each;
    if (folder == NULL)
        printf("unreadable:%s ", path);
    while (folder != NULL && (each = readdir(folder)) != NULL)
        if (strcmp(each->d_name, ".") != 0 && strcmp(each->d_name, "..") != 0)
            printf("%s/%s ", path, each->d_name);
    if (folder != NULL)
        (void)closedir(folder);
}

static int probe_descriptors(void) {
    DIR *folder = opendir("/proc/self/fd");
    struct dirent *each;
    if (folder == NULL)
        return 1;
    while ((each = readdir(folder)) != NULL)
        if (each->d_name[0] != '.' && atoi(each->d_name) != dirfd(folder))
            printf("%s ", each->d_name);
    (void)closedir(folder);
    printf("\n");
    return 0;
}

/* Leaves files, folders in folders, and a process in a session of its own. */
static int probe_leave(void) {
    (void)mkdir("/work/a", 0700);
    (void)mkdir("/work/a/b", 0700);
    (void)chmod("/work/a", 0);
    int file = open("/tmp/left", O_WRONLY | O_CREAT, 0600);
    if (file >= 0)
        (void)close(file);
    if (fork() == 0) {
        (void)setsid();
        if (fork() == 0)
            for (;;)
                pause();
        _exit(0);
    }
    return 0;
}

/* What a run finds: the other processes and the files of its folders. Nothing is right. */
static int probe_found(void) {
    DIR *processes = opendir("/proc");
    struct dirent *each;
    while (processes != NULL && (each = readdir(processes)) != NULL) {
        int id = atoi(each->d_name);
        if (id > 1 && id != getpid())
            printf("process:%d ", id);
    }
    if (processes != NULL)
        (void)closedir(processes);
    list("/work");
    list("/tmp");
    printf("\n");
    return 0;
}

int main(int count, char **words) {
    const char *mode = count > 1 ? words[1] : "";
    if (strcmp(mode, "memory") == 0 && count == 3)
        return probe_memory(number(words[2]));
    if (strcmp(mode, "processes") == 0 && count == 3)
        return probe_processes(number(words[2]));
    if (strcmp(mode, "bytes") == 0 && count == 4)
        return probe_bytes(words[2], number(words[3]));
    if (strcmp(mode, "inodes") == 0 && count == 4)
        return probe_inodes(words[2], number(words[3]));
    if (strcmp(mode, "output") == 0 && count == 3)
        return probe_output(number(words[2]));
    if (strcmp(mode, "cpu") == 0)
        return probe_cpu();
    if (strcmp(mode, "wall") == 0) {
        (void)pause();
        return 0;
    }
    if (strcmp(mode, "network") == 0)
        return probe_network();
    if (strcmp(mode, "calls") == 0)
        return probe_calls();
    if (strcmp(mode, "writable") == 0)
        return probe_writable();
    if (strcmp(mode, "privileges") == 0)
        return probe_privileges();
    if (strcmp(mode, "descriptors") == 0)
        return probe_descriptors();
    if (strcmp(mode, "leave") == 0)
        return probe_leave();
    if (strcmp(mode, "found") == 0)
        return probe_found();
    return 64;
}
