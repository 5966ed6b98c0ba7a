/*
 * One run: spawn, watch, stop, count, clean, report.
 *
 * Processor time comes from the cgroup, never from rusage: a grandchild whose parent ignores SIGCHLD is missing there
 * (0.5 ms told, 420 ms used). The runner's own share of the group is subtracted.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runner.h"

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif
#ifndef __WALL
#define __WALL 0x40000000
#endif

enum {
    OUTPUT_CHUNK_BYTES = 64 * 1024,
    CHILD_STACK_BYTES = 64 * 1024,
    /* A process that the kernel cannot end keeps wait4 from returning: then the host's own deadline ends us. */
    SWEEP_PATIENCE_S = 5,
    /* A charge is refused before the counter reaches the limit when it wants several pages at once. */
    MEMORY_EDGE_BYTES = 64 * 1024,
    MEMORY_NOISE_BYTES = 512 * 1024,
    WAIT_WORTH_TELLING_NS = 1000 * 1000,
    STACK_SPARE_BYTES = 16 * 1024 * 1024,
};

enum watched { WATCH_PROCESS, WATCH_STDOUT, WATCH_STDERR, WATCH_OOM, WATCH_CHILDREN, WATCH_CHANNEL, WATCH_COUNT };

/* Everything that one run changes. */
struct course {
    const struct run *limits;
    struct report report;
    uint32_t sequence;
    pid_t process;
    bool reaped;
    int wait_status;
    int pidfd, stdout_pipe, stderr_pipe;
    uint64_t started_ns, ended_ns, oom_stopped, memory_idle_bytes, memory_allowed_bytes;
    struct cpu_reading cpu_start;
    bool oom_seen;
    uint32_t orphans_stopped;
    size_t chunk_filled_bytes, chunk_sent_bytes; /* `sent` counts the header too, 0 while no frame is under way */
    size_t tail_at_bytes;
};

struct child {
    const struct run *run;
    int input, output, error;
    uid_t uid;
    volatile int failed_step, failed_errno;
};

enum child_step { CHILD_SETUP = 1, CHILD_EXEC = 2 };

static char child_stack[CHILD_STACK_BYTES] __attribute__((aligned(16)));
static uint8_t chunk[FRAME_HEADER_BYTES + OUTPUT_CHUNK_BYTES];
static char error_head[ERROR_KEPT_MAX_BYTES / 2 + 1], error_tail[ERROR_KEPT_MAX_BYTES], dropped[OUTPUT_CHUNK_BYTES];
static char error_ordered[ERROR_KEPT_MAX_BYTES];
static int children_signal = -1, nothing = -1;

void run_prepare(void) {
    memset(child_stack, 1, sizeof child_stack);
    memset(chunk, 1, sizeof chunk);
    memset(error_head, 1, sizeof error_head);
    memset(error_tail, 1, sizeof error_tail);
    memset(error_ordered, 1, sizeof error_ordered);
    memset(dropped, 1, sizeof dropped);
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &children, NULL) != 0)
        fault(STAGE_START, errno, "SIGCHLD could not be blocked");
    children_signal = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (children_signal < 0 || nothing < 0)
        fault(STAGE_START, errno, "expected /dev/null and signals as descriptors");
}

/* --- in the child: the runner's memory is shared, so only raw system calls and locals --- */

static void child_limit(int resource, uint64_t value) {
    struct rlimit limit = {value, value};
    (void)syscall(SYS_prlimit64, 0, resource, &limit, NULL);
}

static int child_setup(const struct child *child) {
    const struct run *run = child->run;
    sigset_t none;
    sigemptyset(&none);
    if (syscall(SYS_setsid) < 0 || syscall(SYS_setgroups, 0, NULL) != 0 ||
        syscall(SYS_setresgid, child->uid, child->uid, child->uid) != 0)
        return -1;
    child_limit(RLIMIT_CPU, run->cpu_time_limit_ns / 1000000000u + 2); /* a backstop only; the runner's clock decides */
    child_limit(RLIMIT_NOFILE, 1024);
    /* Recursion may use all memory there is and is then short of memory, not of stack; not "unlimited", which turns the
       memory layout around. */
    child_limit(RLIMIT_STACK, run->memory_limit_bytes + STACK_SPARE_BYTES);
    child_limit(RLIMIT_CORE, 0);
    child_limit(RLIMIT_MEMLOCK, 0);
    child_limit(RLIMIT_MSGQUEUE, 0);
    child_limit(RLIMIT_RTPRIO, 0);
    child_limit(RLIMIT_NICE, 0);
    if (syscall(SYS_setresuid, child->uid, child->uid, child->uid) != 0 || syscall(SYS_dup2, child->input, 0) != 0 ||
        syscall(SYS_dup2, child->output, 1) != 1 || syscall(SYS_dup2, child->error, 2) != 2 ||
        syscall(SYS_close_range, 3, ~0u, 0) != 0)
        return -1;
    const char *folder = run->phase == PHASE_COMPILE ? ARTIFACT_FOLDER : WORK_FOLDER;
    if (syscall(SYS_chdir, folder) != 0 || syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8) != 0)
        return -1;
    return 0;
}

static int child_main(void *argument) {
    struct child *child = argument;
    child->failed_step = CHILD_SETUP;
    if (child_setup(child) == 0) {
        child->failed_step = CHILD_EXEC;
        syscall(SYS_execve, child->run->arguments[0], child->run->arguments, child->run->environment);
    }
    child->failed_errno = errno;
    syscall(SYS_exit_group, 127);
    return 127;
}

/* --- in the runner again --- */

static void make_pipe(int ends[2]) {
    if (pipe2(ends, O_CLOEXEC) != 0)
        fault(STAGE_SPAWN, errno, "a pipe could not be made");
    if (fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0)
        fault(STAGE_SPAWN, errno, "a pipe could not be made non-blocking");
}

static void spawn(struct course *course, int input, uid_t uid) {
    int output[2], error[2];
    make_pipe(output);
    make_pipe(error);
    struct child child = {course->limits, input >= 0 ? input : nothing, output[1], error[1], uid, 0, 0};
    course->stdout_pipe = output[0];
    course->stderr_pipe = error[0];
    course->started_ns = monotonic_ns();
    int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
    course->process = clone(child_main, child_stack + sizeof child_stack, flags, &child, &course->pidfd, NULL, NULL);
    if (course->process < 0)
        fault(STAGE_SPAWN, errno, "no process could be made");
    (void)close(output[1]);
    (void)close(error[1]);
    if (input >= 0)
        (void)close(input);
    if (child.failed_errno == 0)
        return;
    if (child.failed_step == CHILD_SETUP)
        fault(STAGE_SPAWN, child.failed_errno, "the process could not be confined");
    course->report.ending = ENDING_NOT_STARTED;
    course->report.code = child.failed_errno;
}

/* Sends what is kept of standard output as a frame of its own; without `wait`, as much as the socket takes now. */
static void flush_chunk(struct course *course, bool wait) {
    if (course->chunk_filled_bytes == 0)
        return;
    size_t whole = FRAME_HEADER_BYTES + course->chunk_filled_bytes;
    if (course->chunk_sent_bytes == 0)
        encode_header(chunk, FRAME_OUTPUT, course->sequence, (uint32_t)course->chunk_filled_bytes);
    if (wait) {
        channel_send(chunk + course->chunk_sent_bytes, whole - course->chunk_sent_bytes);
        course->chunk_sent_bytes = whole;
    } else {
        course->chunk_sent_bytes += channel_offer(chunk + course->chunk_sent_bytes, whole - course->chunk_sent_bytes);
    }
    if (course->chunk_sent_bytes == whole)
        course->chunk_filled_bytes = course->chunk_sent_bytes = 0;
}

static bool chunk_full(const struct course *course) {
    return course->chunk_filled_bytes == OUTPUT_CHUNK_BYTES || course->chunk_sent_bytes > 0;
}

/* Reads standard output once. False when there is nothing more to read now. */
static bool read_output(struct course *course) {
    struct report *report = &course->report;
    uint64_t allowed = course->limits->output_limit_bytes;
    size_t room = OUTPUT_CHUNK_BYTES - course->chunk_filled_bytes;
    bool beyond = report->stdout_length_bytes >= allowed;
    /* Past the limit one byte is enough to know; it is never forwarded. */
    uint64_t want = beyond ? 1 : allowed - report->stdout_length_bytes;
    uint8_t *into = beyond ? (uint8_t *)dropped : chunk + FRAME_HEADER_BYTES + course->chunk_filled_bytes;
    ssize_t size = read(course->stdout_pipe, into, !beyond && want > room ? room : (size_t)want);
    if (size <= 0)
        return size < 0 && errno == EINTR;
    report->stdout_length_bytes += (uint64_t)size;
    if (beyond)
        report->limit = LIMIT_OUTPUT;
    else
        course->chunk_filled_bytes += (size_t)size;
    return true;
}

/* Keeps the first half and the last half of what may be kept, and counts the rest. */
static bool read_error(struct course *course) {
    struct report *report = &course->report;
    size_t head_most = course->limits->error_kept_bytes / 2, tail_most = course->limits->error_kept_bytes - head_most;
    ssize_t size = read(course->stderr_pipe, dropped, sizeof dropped);
    if (size <= 0)
        return size < 0 && errno == EINTR;
    report->stderr_length_bytes += (uint64_t)size;
    size_t left = (size_t)size, head = head_most - report->stderr_head_bytes;
    const char *at = dropped;
    if (head > left)
        head = left;
    memcpy(error_head + report->stderr_head_bytes, at, head);
    report->stderr_head_bytes += (uint32_t)head;
    at += head;
    left -= head;
    if (left > tail_most) {
        at += left - tail_most;
        left = tail_most;
    }
    while (left > 0) {
        size_t part = tail_most - course->tail_at_bytes;
        if (part > left)
            part = left;
        memcpy(error_tail + course->tail_at_bytes, at, part);
        course->tail_at_bytes = (course->tail_at_bytes + part) % tail_most;
        at += part;
        left -= part;
    }
    uint64_t beyond_head = report->stderr_length_bytes - report->stderr_head_bytes;
    report->stderr_tail_bytes = (uint32_t)(beyond_head < tail_most ? beyond_head : tail_most);
    return true;
}

/* How long the first thread was ready without a processor: the second number of schedstat. Evidence only. */
static uint64_t runnable_wait_ns(pid_t process) {
    char path[64], text[96];
    (void)snprintf(path, sizeof path, "/proc/%d/schedstat", (int)process);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    ssize_t size = read(file, text, sizeof text - 1);
    (void)close(file);
    if (size <= 0)
        return 0;
    text[size] = '\0';
    char *second = strchr(text, ' ');
    return second == NULL ? 0 : strtoull(second, NULL, 10);
}

static bool was_stopped(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }

/* Takes the children that ended by themselves, so that orphans do not fill the process limit. */
static void reap_orphans(struct course *course) {
    struct signalfd_siginfo told;
    while (read(children_signal, &told, sizeof told) > 0)
        ;
    for (;;) {
        siginfo_t ended = {0};
        /* Look first: the first process is read from /proc before it is taken. */
        if (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid == 0)
            return;
        if (ended.si_pid == course->process)
            return;
        int status;
        if (wait4(ended.si_pid, &status, __WALL, NULL) == ended.si_pid && was_stopped(status))
            course->orphans_stopped++;
    }
}

static void watch_memory(struct course *course) {
    uint64_t events;
    if (read(control_oom_event(), &events, sizeof events) < 0)
        return;
    if (control_oom_state().under) {
        course->oom_seen = true;
        course->report.limit = LIMIT_MEMORY;
    }
}

/* Waits until the first process has ended (by itself or by the watchdog) or its output or memory is too much. */
static void attend(struct course *course) {
    struct report *report = &course->report;
    struct pollfd watched[WATCH_COUNT] = {
        [WATCH_PROCESS] = {course->pidfd, POLLIN, 0},       [WATCH_STDOUT] = {course->stdout_pipe, POLLIN, 0},
        [WATCH_STDERR] = {course->stderr_pipe, POLLIN, 0},  [WATCH_OOM] = {control_oom_event(), POLLIN, 0},
        [WATCH_CHILDREN] = {children_signal, POLLIN, 0},    [WATCH_CHANNEL] = {channel_descriptor(), 0, 0},
    };
    bool output_open = true;
    while (report->limit == LIMIT_NONE) {
        /* Standard output waits in its pipe while the host has not taken what was read of it. */
        watched[WATCH_STDOUT].fd = output_open && !chunk_full(course) ? course->stdout_pipe : -1;
        watched[WATCH_CHANNEL].events = chunk_full(course) ? POLLOUT : 0;
        int ready = poll(watched, WATCH_COUNT, -1);
        if (ready < 0 && errno != EINTR && errno != ENOMEM)
            fault(STAGE_CONTROL, errno, "the run could not be watched");
        if (ready <= 0)
            continue;
        if (watched[WATCH_CHANNEL].revents & (POLLHUP | POLLERR))
            _exit(0); /* The host is gone: ending the sandbox ends everything in it. */
        if (watched[WATCH_CHANNEL].revents & POLLOUT)
            flush_chunk(course, false);
        if (watched[WATCH_STDOUT].revents != 0) {
            if (!read_output(course) && watched[WATCH_STDOUT].revents & POLLHUP)
                output_open = false;
            if (chunk_full(course))
                flush_chunk(course, false);
        }
        if (watched[WATCH_STDERR].revents != 0 && !read_error(course) && watched[WATCH_STDERR].revents & POLLHUP)
            watched[WATCH_STDERR].fd = -1;
        if (watched[WATCH_OOM].revents != 0)
            watch_memory(course);
        if (watched[WATCH_PROCESS].revents != 0)
            return;
        if (watched[WATCH_CHILDREN].revents != 0)
            reap_orphans(course);
    }
}

/* Takes the first process if it ended by itself, so that its status is its own and not the sweep's. */
static void take_first(struct course *course) {
    struct pollfd ended = {course->pidfd, POLLIN, 0};
    /* Looking it up costs as much as all else here. A thread cannot have waited longer than the run took beyond what it
       used, so a smaller difference tells enough. */
    if (course->ended_ns - course->started_ns > cpu_used_ns(&course->cpu_start) + WAIT_WORTH_TELLING_NS)
        course->report.runnable_wait_ns = runnable_wait_ns(course->process);
    if (poll(&ended, 1, 0) == 1 && wait4(course->process, &course->wait_status, __WALL, NULL) == course->process)
        course->reaped = true;
}

/* Stops every process but the runner, until the kernel says that there is none. */
static void sweep(struct course *course) {
    uint64_t patience_end = monotonic_ns() + SWEEP_PATIENCE_S * UINT64_C(1000000000);
    bool first_was_left = !course->reaped;
    for (;;) {
        (void)kill(-1, SIGKILL);
        int status;
        pid_t gone = wait4(-1, &status, __WALL, NULL);
        if (gone < 0 && errno == ECHILD)
            break;
        if (gone < 0 && errno != EINTR)
            fault(STAGE_SWEEP, errno, "the processes of the run could not be waited for");
        require(monotonic_ns() < patience_end, STAGE_SWEEP, "the processes of the run did not end in time");
        for (; gone > 0; gone = wait4(-1, &status, __WALL | WNOHANG, NULL)) {
            if (first_was_left && gone == course->process) {
                course->wait_status = status;
                course->reaped = true;
                first_was_left = false;
            } else if (was_stopped(status)) {
                course->report.stopped_processes++;
            }
        }
    }
    require(kill(-1, 0) < 0 && errno == ESRCH, STAGE_SWEEP, "a process of the run is left");
}

static void drain(struct course *course) {
    while (course->report.limit != LIMIT_OUTPUT) {
        if (course->chunk_filled_bytes == OUTPUT_CHUNK_BYTES || course->chunk_sent_bytes > 0)
            flush_chunk(course, true);
        if (!read_output(course))
            break;
    }
    while (read_error(course))
        ;
    (void)close(course->stdout_pipe);
    (void)close(course->stderr_pipe);
    (void)close(course->pidfd);
}

static void settle_memory(struct course *course, uint64_t peak_bytes) {
    struct report *report = &course->report;
    /* Page cache that the run brought into the group stays after it and is not the program's: what the empty sandbox
       holds afterwards is subtracted when it is more than what it held before. */
    uint64_t idle = control_memory_usage_bytes();
    if (idle < course->memory_idle_bytes)
        idle = course->memory_idle_bytes;
    report->memory_peak_bytes = peak_bytes > idle ? peak_bytes - idle : 0;
    uint64_t limit = course->limits->memory_limit_bytes;
    bool touched_limit = peak_bytes + MEMORY_EDGE_BYTES >= course->memory_allowed_bytes &&
                         report->memory_peak_bytes + MEMORY_NOISE_BYTES >= limit;
    bool hungry = course->oom_seen || control_oom_state().stopped > course->oom_stopped || touched_limit ||
                  report->memory_peak_bytes >= limit;
    /* A program that goes on after it was refused memory runs into a clock, but it was the memory that failed it. */
    if (hungry && report->limit != LIMIT_OUTPUT)
        report->limit = LIMIT_MEMORY;
}

static void settle_ending(struct course *course, enum limit stopped_by) {
    struct report *report = &course->report;
    if (report->ending == ENDING_NOT_STARTED)
        return;
    if (stopped_by != LIMIT_NONE) {
        report->ending = ENDING_STOPPED_BY_LIMIT;
        report->code = 0;
    } else if (WIFEXITED(course->wait_status)) {
        report->ending = ENDING_EXITED;
        report->code = WEXITSTATUS(course->wait_status);
    } else {
        report->ending = ENDING_SIGNALED;
        report->code = WTERMSIG(course->wait_status);
    }
}

static void send_report(struct course *course) {
    static uint8_t head[FRAME_HEADER_BYTES + REPORT_FIXED_BYTES];
    struct report *report = &course->report;
    if (course->chunk_sent_bytes > 0)
        flush_chunk(course, true);
    report->stdout_rest_bytes = (uint32_t)course->chunk_filled_bytes;
    uint32_t tail = report->stderr_tail_bytes;
    size_t oldest = report->stderr_length_bytes - report->stderr_head_bytes > tail ? course->tail_at_bytes : 0;
    for (uint32_t i = 0; i < tail; i++)
        error_ordered[i] = error_tail[(oldest + i) % tail];
    encode_header(head, FRAME_REPORT, course->sequence,
                  (uint32_t)(REPORT_FIXED_BYTES + report->stdout_rest_bytes + report->stderr_head_bytes + tail));
    encode_report(head + FRAME_HEADER_BYTES, report);
    /* The small frame goes out in one piece: the chunk's own header place is not wide enough for it. */
    if (report->stdout_rest_bytes + report->stderr_head_bytes + tail <= sizeof dropped - sizeof head) {
        uint8_t *whole = (uint8_t *)dropped, *at = whole;
        memcpy(at, head, sizeof head);
        at += sizeof head;
        memcpy(at, chunk + FRAME_HEADER_BYTES, report->stdout_rest_bytes);
        at += report->stdout_rest_bytes;
        memcpy(at, error_head, report->stderr_head_bytes);
        at += report->stderr_head_bytes;
        memcpy(at, error_ordered, tail);
        channel_send(whole, (size_t)(at - whole) + tail);
        return;
    }
    channel_send(head, sizeof head);
    channel_send(chunk + FRAME_HEADER_BYTES, report->stdout_rest_bytes);
    channel_send(error_head, report->stderr_head_bytes);
    channel_send(error_ordered, tail);
}

void run_perform(const struct run *run, uint32_t sequence, int input, uid_t uid) {
    struct course course = {.limits = run, .sequence = sequence, .pidfd = -1};
    uint64_t events;
    control_limit_processes(run->process_limit);
    course.memory_allowed_bytes = control_limit_memory(run->memory_limit_bytes);
    (void)read(control_oom_event(), &events, sizeof events); /* what a former run left unread */
    course.oom_stopped = control_oom_state().stopped;
    course.memory_idle_bytes = control_memory_usage_bytes();
    control_reset_peak();
    course.cpu_start = cpu_read();
    spawn(&course, input, uid);
    watchdog_arm(run, course.started_ns, course.cpu_start);
    attend(&course);
    course.ended_ns = monotonic_ns();
    uint64_t expired_at_ns;
    enum limit expired = watchdog_disarm(&expired_at_ns);
    if (expired != LIMIT_NONE) {
        course.report.limit = (uint8_t)expired;
        course.ended_ns = expired_at_ns;
        course.report.stopped_processes = course.orphans_stopped; /* by the watchdog, before the sweep saw them */
    }
    enum limit stopped_by = (enum limit)course.report.limit;
    take_first(&course);
    sweep(&course);
    course.report.wall_time_ns = course.ended_ns - course.started_ns;
    course.report.cpu_time_ns = cpu_used_ns(&course.cpu_start);
    uint64_t peak_bytes = control_memory_peak_bytes();
    drain(&course);
    course.report.left_inodes = folders_clean(uid);
    settle_ending(&course, stopped_by);
    if (course.report.limit == LIMIT_NONE && course.report.cpu_time_ns >= run->cpu_time_limit_ns)
        course.report.limit = LIMIT_CPU_TIME;
    settle_memory(&course, peak_bytes);
    send_report(&course);
}
