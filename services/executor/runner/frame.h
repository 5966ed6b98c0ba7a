/*
 * Frames of the runner protocol, version 1 (PROTOCOL.md): layouts, bounds, checks. Pure: no system call happens here,
 * so that the host can test and sanitize it. Integers are little-endian whatever the machine is.
 */
#ifndef ASSIZE_FRAME_H
#define ASSIZE_FRAME_H

#include <stddef.h>
#include <stdint.h>

enum {
    FRAME_MAGIC = 0x455a5341, /* the bytes "ASZE" */
    FRAME_VERSION = 1,
    FRAME_HEADER_BYTES = 16,
    FRAME_BODY_MAX_BYTES = 64 * 1024,   /* of a frame that the host sends */
    FRAME_DESCRIPTORS_MAX = 8,
    CONFIGURE_BODY_BYTES = 16,
    PLACE_FIXED_BYTES = 16,
    RUN_FIXED_BYTES = 48,
    HELLO_BODY_BYTES = 32,
    REPORT_FIXED_BYTES = 80,
    FAULT_FIXED_BYTES = 8,
    NAME_MAX_BYTES = 255,
    ARGUMENTS_MAX = 1024,               /* argv and environment together */
    ERROR_KEPT_MAX_BYTES = 256 * 1024,
};

enum frame_kind {
    FRAME_CONFIGURE = 1,
    FRAME_PLACE = 2,
    FRAME_RUN = 3,
    FRAME_SEAL = 4,
    FRAME_HELLO = 128,
    FRAME_DONE = 129,
    FRAME_OUTPUT = 130,
    FRAME_REPORT = 131,
    FRAME_FAULT = 132,
};

/* Bits of CONFIGURE's mask; the descriptors come in the order of the bits. */
enum control {
    CONTROL_CPU_USAGE,
    CONTROL_MEMORY_PEAK,
    CONTROL_MEMORY_USAGE,
    CONTROL_MEMORY_LIMIT,
    CONTROL_MEMORY_AND_SWAP_LIMIT,
    CONTROL_OOM_STATE,
    CONTROL_OOM_EVENT,
    CONTROL_PROCESS_LIMIT,
    CONTROL_COUNT,
};

enum phase { PHASE_COMPILE = 1, PHASE_TEST = 2 };
enum ending { ENDING_EXITED = 1, ENDING_SIGNALED = 2, ENDING_STOPPED_BY_LIMIT = 3, ENDING_NOT_STARTED = 4 };
enum limit { LIMIT_NONE = 0, LIMIT_CPU_TIME = 1, LIMIT_WALL_TIME = 2, LIMIT_MEMORY = 3, LIMIT_OUTPUT = 4 };
enum place_flag { PLACE_EXECUTABLE = 1 };

/* Why a frame cannot be believed; each ends the conversation. */
enum frame_error {
    FRAME_OK = 0,
    FRAME_BAD_MAGIC,
    FRAME_BAD_VERSION,
    FRAME_TOO_LONG,
    FRAME_BAD_LENGTH,
    FRAME_BAD_FIELD,
    FRAME_BAD_NAME,
    FRAME_BAD_STRINGS,
    FRAME_BAD_DESCRIPTORS,
};

struct frame_header {
    uint8_t kind;
    uint16_t descriptors;
    uint32_t sequence;
    uint32_t length_bytes;
};

struct configure {
    uint32_t controls;
    uint32_t compile_uid;
    uint32_t test_uid;
};

struct place {
    uint64_t size_bytes;
    uint16_t flags;
    char name[NAME_MAX_BYTES + 1];
};

struct run {
    uint8_t phase;
    uint32_t process_limit;
    uint64_t cpu_time_limit_ns;
    uint64_t wall_time_limit_ns;
    uint64_t memory_limit_bytes;
    uint64_t output_limit_bytes;
    uint32_t error_kept_bytes;
    uint16_t argument_count;
    uint16_t environment_count;
    /* Both end with a null pointer and point into the frame's body. */
    char *arguments[ARGUMENTS_MAX + 2];
    char **environment;
};

struct report {
    uint8_t ending;
    uint8_t limit;
    int32_t code; /* exit code, signal number, or errno where it was not started */
    uint32_t stopped_processes;
    uint32_t left_inodes;
    uint64_t cpu_time_ns;
    uint64_t wall_time_ns;
    uint64_t memory_peak_bytes;
    uint64_t runnable_wait_ns;
    uint64_t stdout_length_bytes;
    uint64_t stderr_length_bytes;
    uint32_t stdout_rest_bytes; /* what OUTPUT frames did not carry already */
    uint32_t stderr_head_bytes;
    uint32_t stderr_tail_bytes;
};

void put_u16(uint8_t *at, uint16_t value);
void put_u32(uint8_t *at, uint32_t value);
void put_u64(uint8_t *at, uint64_t value);
uint16_t get_u16(const uint8_t *at);
uint32_t get_u32(const uint8_t *at);
uint64_t get_u64(const uint8_t *at);

void encode_header(uint8_t at[FRAME_HEADER_BYTES], uint8_t kind, uint32_t sequence, uint32_t length_bytes);
void encode_report(uint8_t at[REPORT_FIXED_BYTES], const struct report *report);

enum frame_error decode_header(const uint8_t at[FRAME_HEADER_BYTES], struct frame_header *header);
enum frame_error decode_configure(const uint8_t *body, size_t length_bytes, unsigned descriptors, struct configure *out);
enum frame_error decode_place(const uint8_t *body, size_t length_bytes, unsigned descriptors, struct place *out);
/* The body stays owned by the caller and must outlive `out`; one byte after it is not needed. */
enum frame_error decode_run(uint8_t *body, size_t length_bytes, unsigned descriptors, struct run *out);
const char *frame_error_text(enum frame_error error);

#endif
