/* The conversation: which frame may come when, and what each does. The state table is in PROTOCOL.md. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "runner.h"

enum state { STATE_STARTED, STATE_OPEN, STATE_COMPILED, STATE_SEALED };
enum { OWN_END = 30, HOST_END = 31 };

static uint8_t body[FRAME_BODY_MAX_BYTES];
static struct run run_asked;
static uint32_t answering;
static struct configure configured;

uint64_t monotonic_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

_Noreturn void fault(enum stage stage, int error, const char *text) {
    uint8_t frame[FRAME_HEADER_BYTES + FAULT_FIXED_BYTES + 256];
    size_t text_bytes = strlen(text);
    if (text_bytes > 256)
        text_bytes = 256;
    encode_header(frame, FRAME_FAULT, answering, (uint32_t)(FAULT_FIXED_BYTES + text_bytes));
    put_u32(frame + FRAME_HEADER_BYTES, (uint32_t)stage);
    put_u32(frame + FRAME_HEADER_BYTES + 4, (uint32_t)error);
    memcpy(frame + FRAME_HEADER_BYTES + FAULT_FIXED_BYTES, text, text_bytes);
    if (channel_descriptor() >= 0)
        (void)send(channel_descriptor(), frame, FRAME_HEADER_BYTES + FAULT_FIXED_BYTES + text_bytes,
                   MSG_DONTWAIT | MSG_NOSIGNAL);
    else
        (void)dprintf(STDOUT_FILENO, "assize-runner fault %d %d %s\n", (int)stage, error, text);
    _exit(3);
}

void require(bool held, enum stage stage, const char *text) {
    if (!held)
        fault(stage, 0, text);
}

static void answer(uint8_t kind, const uint8_t *content, uint32_t content_bytes) {
    uint8_t frame[FRAME_HEADER_BYTES + HELLO_BODY_BYTES];
    encode_header(frame, kind, answering, content_bytes);
    memcpy(frame + FRAME_HEADER_BYTES, content, content_bytes);
    channel_send(frame, FRAME_HEADER_BYTES + content_bytes);
}

static void say_hello(bool locked) {
    uint8_t content[HELLO_BODY_BYTES];
    uint64_t counts[3];
    folders_counts(counts);
    put_u32(content, FRAME_VERSION);
    put_u32(content + 4, locked);
    for (size_t i = 0; i < 3; i++)
        put_u64(content + 8 + 8 * i, counts[i]);
    answer(FRAME_HELLO, content, sizeof content);
}

/* Makes the pair, tells the host where its end is, and keeps that end open until the host has spoken through it. */
static void make_channel(void) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0 || dup3(pair[0], OWN_END, O_CLOEXEC) < 0 ||
        dup3(pair[1], HOST_END, O_CLOEXEC) < 0)
        fault(STAGE_START, errno, "the channel could not be made");
    (void)close(pair[0]);
    (void)close(pair[1]);
    channel_open(OWN_END);
}

static void announce_channel(void) {
    if (dprintf(STDOUT_FILENO, "assize-runner %d %d\n", FRAME_VERSION, HOST_END) < 0)
        fault(STAGE_START, errno, "the channel could not be announced");
    /* From here on the channel is the only way out: the standard descriptors lead nowhere. */
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nowhere < 0 || dup2(nowhere, 0) < 0 || dup2(nowhere, 1) < 0 || dup2(nowhere, 2) < 0)
        fault(STAGE_START, errno, "expected /dev/null");
    (void)close(nowhere);
}

static void check(enum frame_error error) {
    if (error != FRAME_OK)
        fault(STAGE_PROTOCOL, 0, frame_error_text(error));
}

static enum state on_configure(const struct frame_header *header, const int *descriptors) {
    check(decode_configure(body, header->length_bytes, header->descriptors, &configured));
    controls_take(descriptors);
    answer(FRAME_DONE, body, 0);
    return STATE_OPEN;
}

static enum state on_place(const struct frame_header *header, const int *descriptors) {
    struct place place;
    check(decode_place(body, header->length_bytes, header->descriptors, &place));
    folder_place(&place, descriptors[0]);
    (void)close(descriptors[0]);
    answer(FRAME_DONE, body, 0);
    return STATE_OPEN;
}

static enum state on_run(enum state state, const struct frame_header *header, const int *descriptors) {
    check(decode_run(body, header->length_bytes, header->descriptors, &run_asked));
    bool compiles = run_asked.phase == PHASE_COMPILE;
    require(compiles == (state != STATE_SEALED), STAGE_PROTOCOL,
            compiles ? "expected no compile run once the folder is sealed" : "expected SEAL before the first test run");
    run_perform(&run_asked, header->sequence, header->descriptors == 1 ? descriptors[0] : -1,
                compiles ? configured.compile_uid : configured.test_uid);
    return compiles ? STATE_COMPILED : STATE_SEALED;
}

static enum state on_seal(const struct frame_header *header) {
    require(header->length_bytes == 0 && header->descriptors == 0, STAGE_PROTOCOL, "expected an empty SEAL");
    folder_seal(configured.compile_uid);
    filter_tighten();
    control_forget_memory_limit();
    answer(FRAME_DONE, body, 0);
    return STATE_SEALED;
}

static enum state on_frame(enum state state, const struct frame_header *header, const int *descriptors) {
    switch (header->kind) {
    case FRAME_CONFIGURE:
        require(state == STATE_STARTED, STAGE_PROTOCOL, "expected CONFIGURE once, and first");
        return on_configure(header, descriptors);
    case FRAME_PLACE:
        require(state == STATE_OPEN, STAGE_PROTOCOL, "expected PLACE after CONFIGURE and before the first run");
        return on_place(header, descriptors);
    case FRAME_RUN:
        require(state != STATE_STARTED, STAGE_PROTOCOL, "expected CONFIGURE before RUN");
        return on_run(state, header, descriptors);
    case FRAME_SEAL:
        require(state == STATE_OPEN || state == STATE_COMPILED, STAGE_PROTOCOL, "expected SEAL once, after CONFIGURE");
        return on_seal(header);
    default:
        fault(STAGE_PROTOCOL, 0, "expected CONFIGURE, PLACE, RUN or SEAL");
    }
}

int main(void) {
    /* The program must not read our memory, descriptors or environment through /proc. */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)umask(022);
    make_channel();
    memset(body, 1, sizeof body);
    memset(&run_asked, 0, sizeof run_asked);
    folders_open();
    run_prepare();
    bool locked = mlockall(MCL_CURRENT | MCL_FUTURE) == 0;
    say_hello(locked);
    filter_install();
    watchdog_start(); /* under the filter, and before the host looks for it */
    announce_channel();
    enum state state = STATE_STARTED;
    for (;;) {
        struct frame_header header;
        int descriptors[FRAME_DESCRIPTORS_MAX];
        if (!channel_receive(&header, body, descriptors))
            return 0;
        /* The host has its end: without our copy of it, its going away ends the stream. */
        if (state == STATE_STARTED)
            (void)close(HOST_END);
        answering = header.sequence;
        state = on_frame(state, &header, descriptors);
    }
}
