/* Encoding and decoding of frames. Every decoder checks every byte: lengths, reserved fields, ranges, terminators. */
#include "frame.h"

#include <string.h>

void put_u16(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

void put_u32(uint8_t *at, uint32_t value) {
    put_u16(at, (uint16_t)value);
    put_u16(at + 2, (uint16_t)(value >> 16));
}

void put_u64(uint8_t *at, uint64_t value) {
    put_u32(at, (uint32_t)value);
    put_u32(at + 4, (uint32_t)(value >> 32));
}

uint16_t get_u16(const uint8_t *at) { return (uint16_t)(at[0] | (at[1] << 8)); }

uint32_t get_u32(const uint8_t *at) { return (uint32_t)get_u16(at) | ((uint32_t)get_u16(at + 2) << 16); }

uint64_t get_u64(const uint8_t *at) { return (uint64_t)get_u32(at) | ((uint64_t)get_u32(at + 4) << 32); }

void encode_header(uint8_t at[FRAME_HEADER_BYTES], uint8_t kind, uint32_t sequence, uint32_t length_bytes) {
    put_u32(at, FRAME_MAGIC);
    at[4] = FRAME_VERSION;
    at[5] = kind;
    put_u16(at + 6, 0); /* the runner passes no descriptors */
    put_u32(at + 8, sequence);
    put_u32(at + 12, length_bytes);
}

void encode_report(uint8_t at[REPORT_FIXED_BYTES], const struct report *report) {
    at[0] = report->ending;
    at[1] = report->limit;
    put_u16(at + 2, 0);
    put_u32(at + 4, (uint32_t)report->code);
    put_u32(at + 8, report->stopped_processes);
    put_u32(at + 12, report->left_inodes);
    put_u64(at + 16, report->cpu_time_ns);
    put_u64(at + 24, report->wall_time_ns);
    put_u64(at + 32, report->memory_peak_bytes);
    put_u64(at + 40, report->runnable_wait_ns);
    put_u64(at + 48, report->stdout_length_bytes);
    put_u64(at + 56, report->stderr_length_bytes);
    put_u32(at + 64, report->stdout_rest_bytes);
    put_u32(at + 68, report->stderr_head_bytes);
    put_u32(at + 72, report->stderr_tail_bytes);
    put_u32(at + 76, 0);
}

enum frame_error decode_header(const uint8_t at[FRAME_HEADER_BYTES], struct frame_header *header) {
    if (get_u32(at) != FRAME_MAGIC)
        return FRAME_BAD_MAGIC;
    if (at[4] != FRAME_VERSION)
        return FRAME_BAD_VERSION;
    header->kind = at[5];
    header->descriptors = get_u16(at + 6);
    header->sequence = get_u32(at + 8);
    header->length_bytes = get_u32(at + 12);
    if (header->descriptors > FRAME_DESCRIPTORS_MAX)
        return FRAME_BAD_DESCRIPTORS;
    if (header->length_bytes > FRAME_BODY_MAX_BYTES)
        return FRAME_TOO_LONG;
    return FRAME_OK;
}

enum frame_error decode_configure(const uint8_t *body, size_t length_bytes, unsigned descriptors, struct configure *out) {
    if (length_bytes != CONFIGURE_BODY_BYTES)
        return FRAME_BAD_LENGTH;
    out->controls = get_u32(body);
    out->compile_uid = get_u32(body + 4);
    out->test_uid = get_u32(body + 8);
    /* Version 1 judges by these controls alone, so that a host without one of them must not get this far. */
    if (out->controls != (1u << CONTROL_COUNT) - 1 || get_u32(body + 12) != 0)
        return FRAME_BAD_FIELD;
    /* 65534 is who unmapped owners appear as in a user namespace: it may own files that a program must not touch. */
    if (out->compile_uid == 0 || out->test_uid == 0 || out->compile_uid >= 65534 || out->test_uid >= 65534)
        return FRAME_BAD_FIELD;
    if (out->compile_uid == out->test_uid)
        return FRAME_BAD_FIELD;
    if (descriptors != CONTROL_COUNT)
        return FRAME_BAD_DESCRIPTORS;
    return FRAME_OK;
}

enum frame_error decode_place(const uint8_t *body, size_t length_bytes, unsigned descriptors, struct place *out) {
    if (length_bytes < PLACE_FIXED_BYTES)
        return FRAME_BAD_LENGTH;
    size_t name_bytes = get_u16(body + 8);
    out->size_bytes = get_u64(body);
    out->flags = get_u16(body + 10);
    if (length_bytes != PLACE_FIXED_BYTES + name_bytes)
        return FRAME_BAD_LENGTH;
    if ((out->flags & ~PLACE_EXECUTABLE) != 0 || get_u32(body + 12) != 0)
        return FRAME_BAD_FIELD;
    if (name_bytes == 0 || name_bytes > NAME_MAX_BYTES)
        return FRAME_BAD_NAME;
    memcpy(out->name, body + PLACE_FIXED_BYTES, name_bytes);
    out->name[name_bytes] = '\0';
    if (memchr(out->name, '\0', name_bytes) != NULL || memchr(out->name, '/', name_bytes) != NULL)
        return FRAME_BAD_NAME;
    if (strcmp(out->name, ".") == 0 || strcmp(out->name, "..") == 0)
        return FRAME_BAD_NAME;
    if (descriptors != 1)
        return FRAME_BAD_DESCRIPTORS;
    return FRAME_OK;
}

/* Splits `count` strings, each ended by a zero byte, off the body. Returns the rest's start, or NULL. */
static uint8_t *split_strings(uint8_t *at, const uint8_t *end, unsigned count, char **into) {
    for (unsigned i = 0; i < count; i++) {
        uint8_t *zero = at < end ? memchr(at, '\0', (size_t)(end - at)) : NULL;
        if (zero == NULL)
            return NULL;
        into[i] = (char *)at;
        at = zero + 1;
    }
    into[count] = NULL;
    return at;
}

enum frame_error decode_run(uint8_t *body, size_t length_bytes, unsigned descriptors, struct run *out) {
    if (length_bytes < RUN_FIXED_BYTES)
        return FRAME_BAD_LENGTH;
    out->phase = body[0];
    out->process_limit = get_u32(body + 4);
    out->cpu_time_limit_ns = get_u64(body + 8);
    out->wall_time_limit_ns = get_u64(body + 16);
    out->memory_limit_bytes = get_u64(body + 24);
    out->output_limit_bytes = get_u64(body + 32);
    out->error_kept_bytes = get_u32(body + 40);
    out->argument_count = get_u16(body + 44);
    out->environment_count = get_u16(body + 46);
    if (body[1] != 0 || body[2] != 0 || body[3] != 0)
        return FRAME_BAD_FIELD;
    if (out->phase != PHASE_COMPILE && out->phase != PHASE_TEST)
        return FRAME_BAD_FIELD;
    /* 2^62 ns or bytes are beyond any machine, and leave every sum of two of them representable. */
    const uint64_t most = (uint64_t)1 << 62;
    if (out->cpu_time_limit_ns == 0 || out->cpu_time_limit_ns > most || out->wall_time_limit_ns == 0 ||
        out->wall_time_limit_ns > most || out->memory_limit_bytes == 0 || out->memory_limit_bytes > most ||
        out->output_limit_bytes > most || out->process_limit == 0 || out->process_limit > 1u << 20 ||
        out->error_kept_bytes > ERROR_KEPT_MAX_BYTES)
        return FRAME_BAD_FIELD;
    if (out->argument_count == 0 || out->argument_count + out->environment_count > ARGUMENTS_MAX)
        return FRAME_BAD_STRINGS;
    uint8_t *const end = body + length_bytes;
    uint8_t *at = split_strings(body + RUN_FIXED_BYTES, end, out->argument_count, out->arguments);
    out->environment = out->arguments + out->argument_count + 1;
    if (at != NULL)
        at = split_strings(at, end, out->environment_count, out->environment);
    if (at != end || out->arguments[0][0] != '/')
        return FRAME_BAD_STRINGS;
    if (descriptors > 1)
        return FRAME_BAD_DESCRIPTORS;
    return FRAME_OK;
}

const char *frame_error_text(enum frame_error error) {
    switch (error) {
    case FRAME_OK: return "no error";
    case FRAME_BAD_MAGIC: return "expected the magic ASZE at the start of a frame";
    case FRAME_BAD_VERSION: return "expected protocol version 1";
    case FRAME_TOO_LONG: return "expected a body of at most 64 KiB";
    case FRAME_BAD_LENGTH: return "expected a body of the length that its fields tell";
    case FRAME_BAD_FIELD: return "a field is out of its range, or a reserved one is not zero";
    case FRAME_BAD_NAME: return "expected a file name of 1 to 255 bytes without slash or zero";
    case FRAME_BAD_STRINGS: return "expected as many zero-ended strings as told, the first an absolute path";
    case FRAME_BAD_DESCRIPTORS: return "expected as many descriptors as the frame's kind takes";
    }
    return "unknown error";
}
