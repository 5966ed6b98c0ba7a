/*
 * Counters and limits of the sandbox's cgroup (v1 files), through descriptors that the host opened and passed: inside,
 * the cgroup mounts are read-only and the program has no way to these files. One standing group serves all runs,
 * because attaching a process to a fresh group waits for a grace period (0.4 to 15 ms measured, 123 ms at worst).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runner.h"

/* The kernel charges memory in batches of up to 64 pages a CPU: a smaller change of the idle usage is noise. */
enum { USAGE_NOISE_BYTES = 256 * 1024 };

static int controls[CONTROL_COUNT];
static uint64_t limit_in_force_bytes, allowance_bytes, usage_when_set_bytes;
static uint32_t process_limit;

void controls_take(const int descriptors[CONTROL_COUNT]) { memcpy(controls, descriptors, sizeof controls); }

static void read_text(enum control control, char *text, size_t capacity) {
    ssize_t size = pread(controls[control], text, capacity - 1, 0);
    if (size <= 0)
        fault(STAGE_CONTROL, size < 0 ? errno : EIO, "a counter of the cgroup could not be read");
    text[size] = '\0';
}

static uint64_t read_number(enum control control) {
    char text[64], *end;
    read_text(control, text, sizeof text);
    uint64_t value = strtoull(text, &end, 10);
    require(end != text, STAGE_CONTROL, "a counter of the cgroup is no number");
    return value;
}

static int write_number(enum control control, uint64_t value) {
    char digits[24];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    ssize_t size = pwrite(controls[control], digits + at, sizeof digits - at, 0);
    return size < 0 ? errno : 0;
}

uint64_t control_cpu_usage_ns(void) { return read_number(CONTROL_CPU_USAGE); }

struct cpu_reading cpu_read(void) {
    struct timespec own;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own) != 0)
        fault(STAGE_CONTROL, errno, "the runner's own processor time could not be read");
    uint64_t own_ns = (uint64_t)own.tv_sec * 1000000000u + (uint64_t)own.tv_nsec;
    return (struct cpu_reading){control_cpu_usage_ns(), own_ns};
}

uint64_t cpu_used_ns(const struct cpu_reading *since) {
    struct cpu_reading now = cpu_read();
    uint64_t group = now.group_ns - since->group_ns, own = now.own_ns - since->own_ns;
    return group > own ? group - own : 0;
}

uint64_t control_memory_usage_bytes(void) { return read_number(CONTROL_MEMORY_USAGE); }

uint64_t control_memory_peak_bytes(void) { return read_number(CONTROL_MEMORY_PEAK); }

void control_reset_peak(void) {
    int error = write_number(CONTROL_MEMORY_PEAK, 0);
    if (error != 0)
        fault(STAGE_CONTROL, error, "the memory peak could not be reset");
}

struct oom_state control_oom_state(void) {
    char text[256];
    read_text(CONTROL_OOM_STATE, text, sizeof text);
    const char *under = strstr(text, "under_oom "), *stopped = strstr(text, "oom_kill ");
    require(under != NULL && stopped != NULL, STAGE_CONTROL, "expected under_oom and oom_kill in the memory state");
    return (struct oom_state){under[10] == '1', strtoull(stopped + 9, NULL, 10)};
}

int control_oom_event(void) { return controls[CONTROL_OOM_EVENT]; }

void control_forget_memory_limit(void) { limit_in_force_bytes = 0; }

uint64_t control_limit_memory(uint64_t limit_bytes) {
    uint64_t usage = control_memory_usage_bytes();
    uint64_t drift = usage > usage_when_set_bytes ? usage - usage_when_set_bytes : usage_when_set_bytes - usage;
    if (limit_bytes == limit_in_force_bytes && drift < USAGE_NOISE_BYTES)
        return allowance_bytes;
    uint64_t allowed = (usage + limit_bytes + 4095) & ~(uint64_t)4095;
    /* Memory with swap may never be less than memory: raise it first, lower it last. */
    bool raised = allowed > allowance_bytes && allowance_bytes > 0;
    enum control first = raised ? CONTROL_MEMORY_AND_SWAP_LIMIT : CONTROL_MEMORY_LIMIT;
    enum control last = raised ? CONTROL_MEMORY_LIMIT : CONTROL_MEMORY_AND_SWAP_LIMIT;
    int error = write_number(first, allowed);
    if (error == EINVAL && allowance_bytes == 0) {
        /* The very first time nobody told what the host had set: try the other order. */
        enum control swapped = first;
        first = last;
        last = swapped;
        error = write_number(first, allowed);
    }
    if (error == 0)
        error = write_number(last, allowed);
    if (error != 0)
        fault(STAGE_CONTROL, error, "the memory limit could not be set");
    limit_in_force_bytes = limit_bytes;
    usage_when_set_bytes = usage;
    allowance_bytes = allowed;
    return allowed;
}

void control_limit_processes(uint32_t limit) {
    if (limit == process_limit)
        return;
    /* The runner's own two threads live in the same group. */
    int error = write_number(CONTROL_PROCESS_LIMIT, (uint64_t)limit + 2);
    if (error != 0)
        fault(STAGE_CONTROL, error, "the process limit could not be set");
    process_limit = limit;
}
