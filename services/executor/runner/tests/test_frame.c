/* The frame decoders under the sanitizers: what is right is taken, each single wrong thing is refused, and no bytes
 * whatever make them read outside the body. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../frame.h"

static int failures;

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);                                   \
            failures++;                                                                                                \
        }                                                                                                              \
    } while (0)

/* A body in a block of exactly its size, so that the address sanitizer sees one byte too many. */
static uint8_t *exact(const uint8_t *bytes, size_t size) {
    uint8_t *block = malloc(size > 0 ? size : 1);
    if (block == NULL)
        abort();
    memcpy(block, bytes, size);
    return block;
}

static void numbers_keep_their_value(void) {
    uint8_t at[8];
    put_u64(at, UINT64_C(0x0123456789abcdef));
    EXPECT(at[0] == 0xef && at[7] == 0x01);
    EXPECT(get_u64(at) == UINT64_C(0x0123456789abcdef));
    put_u32(at, 0xfedcba98u);
    EXPECT(get_u32(at) == 0xfedcba98u);
    put_u16(at, 0xff01);
    EXPECT(get_u16(at) == 0xff01);
}

static void header_is_checked(void) {
    uint8_t at[FRAME_HEADER_BYTES];
    struct frame_header header;
    encode_header(at, FRAME_RUN, 7, 48);
    EXPECT(decode_header(at, &header) == FRAME_OK);
    EXPECT(header.kind == FRAME_RUN && header.sequence == 7 && header.length_bytes == 48 && header.descriptors == 0);
    EXPECT(memcmp(at, "ASZE", 4) == 0);
    at[0] ^= 1;
    EXPECT(decode_header(at, &header) == FRAME_BAD_MAGIC);
    at[0] ^= 1;
    at[4] = 2;
    EXPECT(decode_header(at, &header) == FRAME_BAD_VERSION);
    at[4] = FRAME_VERSION;
    put_u16(at + 6, FRAME_DESCRIPTORS_MAX + 1);
    EXPECT(decode_header(at, &header) == FRAME_BAD_DESCRIPTORS);
    put_u16(at + 6, 0);
    put_u32(at + 12, FRAME_BODY_MAX_BYTES + 1);
    EXPECT(decode_header(at, &header) == FRAME_TOO_LONG);
}

static void configure_is_checked(void) {
    uint8_t body[CONFIGURE_BODY_BYTES];
    struct configure out;
    put_u32(body, (1u << CONTROL_COUNT) - 1);
    put_u32(body + 4, 10000);
    put_u32(body + 8, 10001);
    put_u32(body + 12, 0);
    EXPECT(decode_configure(body, sizeof body, CONTROL_COUNT, &out) == FRAME_OK);
    EXPECT(out.compile_uid == 10000 && out.test_uid == 10001);
    EXPECT(decode_configure(body, sizeof body - 1, CONTROL_COUNT, &out) == FRAME_BAD_LENGTH);
    EXPECT(decode_configure(body, sizeof body, CONTROL_COUNT - 1, &out) == FRAME_BAD_DESCRIPTORS);
    static const uint32_t bad_uids[] = {0, 10001, 65534, 0xffffffffu};
    for (size_t i = 0; i < sizeof bad_uids / sizeof bad_uids[0]; i++) {
        put_u32(body + 4, bad_uids[i]);
        EXPECT(decode_configure(body, sizeof body, CONTROL_COUNT, &out) == FRAME_BAD_FIELD);
    }
    put_u32(body + 4, 10000);
    put_u32(body, 1);
    EXPECT(decode_configure(body, sizeof body, CONTROL_COUNT, &out) == FRAME_BAD_FIELD);
}

static size_t place_body(uint8_t *body, const char *name, size_t name_bytes) {
    put_u64(body, 5);
    put_u16(body + 8, (uint16_t)name_bytes);
    put_u16(body + 10, 0);
    put_u32(body + 12, 0);
    memcpy(body + PLACE_FIXED_BYTES, name, name_bytes);
    return PLACE_FIXED_BYTES + name_bytes;
}

static void place_takes_flat_names_only(void) {
    uint8_t body[PLACE_FIXED_BYTES + 512];
    struct place out;
    size_t size = place_body(body, "main.c", 6);
    EXPECT(decode_place(body, size, 1, &out) == FRAME_OK);
    EXPECT(strcmp(out.name, "main.c") == 0 && out.size_bytes == 5 && out.flags == 0);
    EXPECT(decode_place(body, size, 0, &out) == FRAME_BAD_DESCRIPTORS);
    EXPECT(decode_place(body, size + 1, 1, &out) == FRAME_BAD_LENGTH);
    static const char *const bad[] = {"", ".", "..", "/etc/passwd", "../x", "a/b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        EXPECT(decode_place(body, place_body(body, bad[i], strlen(bad[i])), 1, &out) == FRAME_BAD_NAME);
    EXPECT(decode_place(body, place_body(body, "a\0b", 3), 1, &out) == FRAME_BAD_NAME);
    char longest[NAME_MAX_BYTES + 1];
    memset(longest, 'x', sizeof longest);
    EXPECT(decode_place(body, place_body(body, longest, NAME_MAX_BYTES), 1, &out) == FRAME_OK);
    EXPECT(decode_place(body, place_body(body, longest, NAME_MAX_BYTES + 1), 1, &out) == FRAME_BAD_NAME);
    size = place_body(body, "x", 1);
    put_u16(body + 10, 2);
    EXPECT(decode_place(body, size, 1, &out) == FRAME_BAD_FIELD);
}

static size_t run_body(uint8_t *body, const char *strings, size_t strings_bytes, unsigned argc, unsigned envc) {
    memset(body, 0, RUN_FIXED_BYTES);
    body[0] = PHASE_TEST;
    put_u32(body + 4, 16);
    put_u64(body + 8, 1000000000);
    put_u64(body + 16, 2000000000);
    put_u64(body + 24, 1 << 28);
    put_u64(body + 32, 1 << 20);
    put_u32(body + 40, 4096);
    put_u16(body + 44, (uint16_t)argc);
    put_u16(body + 46, (uint16_t)envc);
    memcpy(body + RUN_FIXED_BYTES, strings, strings_bytes);
    return RUN_FIXED_BYTES + strings_bytes;
}

static enum frame_error run_decoded(const uint8_t *body, size_t size, unsigned descriptors, struct run *out) {
    uint8_t *block = exact(body, size);
    enum frame_error error = decode_run(block, size, descriptors, out);
    if (error == FRAME_OK) {
        EXPECT(out->arguments[out->argument_count] == NULL);
        EXPECT(out->environment[out->environment_count] == NULL);
    }
    free(block);
    return error;
}

static void run_is_checked(void) {
    static struct run out;
    uint8_t body[RUN_FIXED_BYTES + 64];
    const char strings[] = "/box/program\0-x\0LANG=C";
    size_t size = run_body(body, strings, sizeof strings, 2, 1);
    uint8_t *block = exact(body, size);
    EXPECT(decode_run(block, size, 1, &out) == FRAME_OK);
    EXPECT(strcmp(out.arguments[0], "/box/program") == 0 && strcmp(out.arguments[1], "-x") == 0);
    EXPECT(strcmp(out.environment[0], "LANG=C") == 0 && out.environment[1] == NULL);
    EXPECT(out.process_limit == 16 && out.wall_time_limit_ns == 2000000000);
    free(block);
    EXPECT(run_decoded(body, size, 2, &out) == FRAME_BAD_DESCRIPTORS);
    EXPECT(run_decoded(body, size - 1, 0, &out) == FRAME_BAD_STRINGS);
    EXPECT(run_decoded(body, RUN_FIXED_BYTES - 1, 0, &out) == FRAME_BAD_LENGTH);
    size = run_body(body, strings, sizeof strings, 1, 1);
    EXPECT(run_decoded(body, size, 0, &out) == FRAME_BAD_STRINGS);
    size = run_body(body, strings, sizeof strings, 3, 1);
    EXPECT(run_decoded(body, size, 0, &out) == FRAME_BAD_STRINGS);
    size = run_body(body, strings, sizeof strings, 0, 3);
    EXPECT(run_decoded(body, size, 0, &out) == FRAME_BAD_STRINGS);
    size = run_body(body, "program", 8, 1, 0);
    EXPECT(run_decoded(body, size, 0, &out) == FRAME_BAD_STRINGS);
    size = run_body(body, strings, sizeof strings, ARGUMENTS_MAX, 1);
    EXPECT(run_decoded(body, size, 0, &out) == FRAME_BAD_STRINGS);
}

static void limits_of_a_run_are_checked(void) {
    static struct run out;
    static const size_t amounts[] = {8, 16, 24};
    uint8_t body[RUN_FIXED_BYTES + 16];
    for (size_t i = 0; i < sizeof amounts / sizeof amounts[0]; i++) {
        size_t size = run_body(body, "/x", 3, 1, 0);
        put_u64(body + amounts[i], 0);
        EXPECT(run_decoded(body, size, 0, &out) == FRAME_BAD_FIELD);
        put_u64(body + amounts[i], UINT64_MAX);
        EXPECT(run_decoded(body, size, 0, &out) == FRAME_BAD_FIELD);
    }
    size_t size = run_body(body, "/x", 3, 1, 0);
    put_u64(body + 32, UINT64_MAX);
    EXPECT(run_decoded(body, size, 0, &out) == FRAME_BAD_FIELD);
    size = run_body(body, "/x", 3, 1, 0);
    put_u32(body + 4, 0);
    EXPECT(run_decoded(body, size, 0, &out) == FRAME_BAD_FIELD);
    size = run_body(body, "/x", 3, 1, 0);
    put_u32(body + 40, ERROR_KEPT_MAX_BYTES + 1);
    EXPECT(run_decoded(body, size, 0, &out) == FRAME_BAD_FIELD);
    size = run_body(body, "/x", 3, 1, 0);
    body[0] = 3;
    EXPECT(run_decoded(body, size, 0, &out) == FRAME_BAD_FIELD);
}

static void report_has_its_layout(void) {
    uint8_t at[REPORT_FIXED_BYTES];
    struct report report = {.ending = ENDING_SIGNALED, .limit = LIMIT_MEMORY, .code = 11, .stopped_processes = 3,
                            .left_inodes = 4, .cpu_time_ns = 5, .wall_time_ns = 6, .memory_peak_bytes = 7,
                            .runnable_wait_ns = 8, .stdout_length_bytes = 9, .stderr_length_bytes = 10,
                            .stdout_rest_bytes = 11, .stderr_head_bytes = 12, .stderr_tail_bytes = 13};
    encode_report(at, &report);
    EXPECT(at[0] == 2 && at[1] == 3 && get_u32(at + 4) == 11 && get_u32(at + 8) == 3 && get_u32(at + 12) == 4);
    for (unsigned i = 0; i < 6; i++)
        EXPECT(get_u64(at + 16 + 8 * i) == 5 + i);
    for (unsigned i = 0; i < 3; i++)
        EXPECT(get_u32(at + 64 + 4 * i) == 11 + i);
    EXPECT(get_u32(at + 76) == 0);
}

/* Valid bodies with a few bytes changed and cut anywhere: any answer will do, reading outside will not. */
static void no_bytes_make_it_read_outside(void) {
    static struct run run;
    struct place place;
    struct configure configure;
    uint32_t noise = 12345;
    for (int round = 0; round < 200000; round++) {
        uint8_t body[RUN_FIXED_BYTES + 32];
        size_t size = round % 2 ? run_body(body, "/box/a\0b\0C=d\0e", 15, 3, 1) : place_body(body, "name.c", 6);
        for (int change = 0; change < 3; change++) {
            noise = noise * 1664525u + 1013904223u;
            body[(noise >> 8) % size] = (uint8_t)(noise >> 24);
        }
        noise = noise * 1664525u + 1013904223u;
        size_t cut = (noise >> 16) % 4 == 0 ? (noise >> 8) % (size + 1) : size;
        uint8_t *block = exact(body, cut);
        (void)decode_run(block, cut, noise & 1, &run);
        (void)decode_place(block, cut, 1, &place);
        (void)decode_configure(block, cut, CONTROL_COUNT, &configure);
        free(block);
    }
}

int main(void) {
    numbers_keep_their_value();
    header_is_checked();
    configure_is_checked();
    place_takes_flat_names_only();
    run_is_checked();
    limits_of_a_run_are_checked();
    report_has_its_layout();
    no_bytes_make_it_read_outside();
    for (int error = FRAME_OK; error <= FRAME_BAD_DESCRIPTORS; error++)
        EXPECT(strlen(frame_error_text((enum frame_error)error)) > 0);
    if (failures == 0)
        printf("frames: all as expected\n");
    return failures == 0 ? 0 : 1;
}
