/*
 * The clocks of a run, in a thread of their own. The host gives this thread a real-time class, which the runner's main
 * thread must not have: the kernel lends real time only sparsely, and a row of short runs would use it up. It sleeps on
 * a timer that arming and disarming move (a microsecond), and wakes only where a limit may have expired. Then it stops
 * everything at once; the main thread sees the first process end, and does the rest.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "runner.h"

/* How long past the earliest possible moment the processor clock is read again. */
enum { CPU_CHECK_SLACK_NS = 100 * 1000, STACK_BYTES = 64 * 1024 };

static struct {
    bool armed;
    enum limit expired;
    uint64_t expired_at_ns, wall_end_ns, cpu_time_limit_ns;
    struct cpu_reading start;
    unsigned processors;
} watch;

static pthread_mutex_t lock;
static int timer = -1;
static char stack[STACK_BYTES] __attribute__((aligned(4096)));

static void wake_at(uint64_t at_ns) {
    struct itimerspec when = {{0, 0}, {(time_t)(at_ns / 1000000000u), (long)(at_ns % 1000000000u)}};
    if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL) != 0)
        fault(STAGE_CONTROL, errno, "the clock of the run could not be set");
}

/* Which limit has expired at `now`; if none, when to look again. Called with the lock. */
static enum limit look(uint64_t now, uint64_t *again_ns) {
    if (now >= watch.wall_end_ns)
        return LIMIT_WALL_TIME;
    uint64_t used = cpu_used_ns(&watch.start);
    if (used >= watch.cpu_time_limit_ns)
        return LIMIT_CPU_TIME;
    uint64_t earliest = now + (watch.cpu_time_limit_ns - used) / watch.processors + CPU_CHECK_SLACK_NS;
    *again_ns = earliest < watch.wall_end_ns ? earliest : watch.wall_end_ns;
    return LIMIT_NONE;
}

static void *watchdog(void *nothing) {
    (void)nothing;
    for (;;) {
        uint64_t expirations, again_ns = 0;
        if (read(timer, &expirations, sizeof expirations) != sizeof expirations && errno != EINTR)
            fault(STAGE_CONTROL, errno, "the clock of the run could not be read");
        (void)pthread_mutex_lock(&lock);
        if (watch.armed) {
            uint64_t now = monotonic_ns();
            watch.expired = look(now, &again_ns);
            if (watch.expired == LIMIT_NONE) {
                wake_at(again_ns);
            } else {
                (void)kill(-1, SIGKILL);
                watch.expired_at_ns = now;
                watch.armed = false;
            }
        }
        (void)pthread_mutex_unlock(&lock);
    }
    return NULL;
}

void watchdog_start(void) {
    pthread_mutexattr_t inherited;
    pthread_attr_t attributes;
    pthread_t thread;
    memset(stack, 1, sizeof stack);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (timer < 0)
        fault(STAGE_START, errno, "the clock of the runs could not be made");
    /* Whoever holds the lock runs at the priority of who waits for it. */
    if (pthread_mutexattr_init(&inherited) != 0 || pthread_mutexattr_setprotocol(&inherited, PTHREAD_PRIO_INHERIT) != 0 ||
        pthread_mutex_init(&lock, &inherited) != 0 || pthread_attr_init(&attributes) != 0 ||
        pthread_attr_setstack(&attributes, stack, sizeof stack) != 0 ||
        pthread_create(&thread, &attributes, watchdog, NULL) != 0)
        fault(STAGE_START, 0, "the watchdog could not be started");
}

void watchdog_arm(const struct run *run, uint64_t started_ns, struct cpu_reading start) {
    cpu_set_t allowed;
    unsigned processors = 1;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0)
        processors = (unsigned)CPU_COUNT(&allowed);
    (void)pthread_mutex_lock(&lock);
    watch.armed = true;
    watch.expired = LIMIT_NONE;
    watch.expired_at_ns = 0;
    watch.wall_end_ns = started_ns + run->wall_time_limit_ns;
    watch.cpu_time_limit_ns = run->cpu_time_limit_ns;
    watch.start = start;
    watch.processors = processors > 0 ? processors : 1;
    uint64_t earliest = started_ns + run->cpu_time_limit_ns / watch.processors;
    wake_at(earliest < watch.wall_end_ns ? earliest : watch.wall_end_ns);
    (void)pthread_mutex_unlock(&lock);
}

enum limit watchdog_disarm(uint64_t *expired_at_ns) {
    (void)pthread_mutex_lock(&lock);
    enum limit expired = watch.expired;
    *expired_at_ns = watch.expired_at_ns;
    watch.armed = false;
    watch.expired = LIMIT_NONE;
    wake_at(0);
    (void)pthread_mutex_unlock(&lock);
    return expired;
}
