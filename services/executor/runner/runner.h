/*
 * The runner: process 1 of a sandbox. It does what the host asks for over one channel (PROTOCOL.md) and trusts nothing
 * that a program left behind.
 *
 * Theory of operation. No heap: every buffer is static, written once at start and locked, so that a program that eats
 * all memory of the sandbox cannot make the runner wait for a page. A run is: reset the counters, spawn (a clone that
 * shares memory until exec), arm the watchdog (a thread with the clocks), wait on the process, its two pipes and the
 * memory event, then stop whatever lives (`kill(-1)` until there is no child), read the counters, empty the writable folders,
 * prove by their inode counts that they are empty, and report. Two kinds of failure are kept apart: what a program did
 * is in the report; what the runner could not do is `fault`, after which the sandbox is of no further use.
 */
#ifndef ASSIZE_RUNNER_H
#define ASSIZE_RUNNER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "frame.h"

#define ARTIFACT_FOLDER "/box"
#define WORK_FOLDER "/work"
#define TEMPORARY_FOLDER "/tmp"

/* Stages of a fault; PROTOCOL.md lists them. */
enum stage {
    STAGE_START = 1,
    STAGE_CONFIGURE = 2,
    STAGE_PLACE = 3,
    STAGE_SEAL = 4,
    STAGE_SPAWN = 5,
    STAGE_CONTROL = 6,
    STAGE_SWEEP = 7,
    STAGE_CLEAN = 8,
    STAGE_PROTOCOL = 9,
    STAGE_CHANNEL = 10,
};

/* Tells the host what we could not do, and ends the sandbox. `error` is an errno or 0. */
_Noreturn void fault(enum stage stage, int error, const char *text);
void require(bool held, enum stage stage, const char *text);

uint64_t monotonic_ns(void);

/* channel.c */
void channel_open(int descriptor);
int channel_descriptor(void);
/* Waits for the next frame; false at the end of the stream. Received descriptors belong to the caller. */
bool channel_receive(struct frame_header *header, uint8_t *body, int descriptors[FRAME_DESCRIPTORS_MAX]);
void channel_send(const void *bytes, size_t length_bytes);
/* Sends what the socket takes now; returns how much. */
size_t channel_offer(const void *bytes, size_t length_bytes);

/* controls.c: the cgroup through descriptors that the host opened and passed. */
void controls_take(const int descriptors[CONTROL_COUNT]);
uint64_t control_cpu_usage_ns(void);
uint64_t control_memory_usage_bytes(void);
uint64_t control_memory_peak_bytes(void);
void control_reset_peak(void);
struct oom_state { bool under; uint64_t stopped; };
struct oom_state control_oom_state(void);
int control_oom_event(void);
/* Lets the program use `limit_bytes` more than the sandbox holds now. Returns what the sandbox may hold in all. */
uint64_t control_limit_memory(uint64_t limit_bytes);
void control_forget_memory_limit(void);
void control_limit_processes(uint32_t limit);

/* folders.c */
void folders_open(void);
void folders_counts(uint64_t counts[3]);
void folder_place(const struct place *place, int content);
void folder_seal(uid_t compile_uid);
/* Empties the work and temporary folders of what `uid` left; returns how many inodes that were. */
uint32_t folders_clean(uid_t uid);

/* filter.c */
void filter_install(void);
void filter_tighten(void);

/* watchdog.c */
struct cpu_reading { uint64_t group_ns, own_ns; };
struct cpu_reading cpu_read(void);
/* What the programs have used since a reading: the group's share less the runner's own. */
uint64_t cpu_used_ns(const struct cpu_reading *since);
void watchdog_start(void);
void watchdog_arm(const struct run *run, uint64_t started_ns, struct cpu_reading start);
/* Which clock expired, and when. After this returns the watchdog stops nothing any more. */
enum limit watchdog_disarm(uint64_t *expired_at_ns);

/* run.c */
void run_prepare(void);
void run_perform(const struct run *run, uint32_t sequence, int input, uid_t uid);

#endif
