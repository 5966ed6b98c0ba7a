/* The channel: one end of a socketpair whose other end the host has taken. Nothing of the program ever holds it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runner.h"

static int channel = -1;

void channel_open(int descriptor) { channel = descriptor; }

int channel_descriptor(void) { return channel; }

/* Reads exactly `length_bytes`; descriptors that come along are appended. False at a clean end of the stream. */
static bool receive_bytes(uint8_t *at, size_t length_bytes, int descriptors[FRAME_DESCRIPTORS_MAX], unsigned *count) {
    size_t got = 0;
    while (got < length_bytes) {
        struct iovec part = {at + got, length_bytes - got};
        union {
            struct cmsghdr header;
            char bytes[CMSG_SPACE(sizeof(int) * FRAME_DESCRIPTORS_MAX)];
        } ancillary;
        struct msghdr message = {0};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = ancillary.bytes;
        message.msg_controllen = sizeof ancillary.bytes;
        ssize_t size = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
        if (size < 0 && errno == EINTR)
            continue;
        if (size == 0 && got == 0)
            return false;
        if (size <= 0)
            fault(STAGE_CHANNEL, size < 0 ? errno : EPIPE, "expected the rest of a frame");
        if (message.msg_flags & MSG_CTRUNC)
            fault(STAGE_PROTOCOL, 0, frame_error_text(FRAME_BAD_DESCRIPTORS));
        for (struct cmsghdr *each = CMSG_FIRSTHDR(&message); each != NULL; each = CMSG_NXTHDR(&message, each)) {
            if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS)
                continue;
            size_t passed = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            if (*count + passed > FRAME_DESCRIPTORS_MAX)
                fault(STAGE_PROTOCOL, 0, frame_error_text(FRAME_BAD_DESCRIPTORS));
            memcpy(descriptors + *count, CMSG_DATA(each), passed * sizeof(int));
            *count += (unsigned)passed;
        }
        got += (size_t)size;
    }
    return true;
}

bool channel_receive(struct frame_header *header, uint8_t *body, int descriptors[FRAME_DESCRIPTORS_MAX]) {
    uint8_t head[FRAME_HEADER_BYTES];
    unsigned count = 0;
    if (!receive_bytes(head, sizeof head, descriptors, &count))
        return false;
    enum frame_error error = decode_header(head, header);
    if (error != FRAME_OK)
        fault(STAGE_PROTOCOL, 0, frame_error_text(error));
    if (header->length_bytes > 0 && !receive_bytes(body, header->length_bytes, descriptors, &count))
        fault(STAGE_CHANNEL, EPIPE, "expected the body of a frame");
    if (count != header->descriptors)
        fault(STAGE_PROTOCOL, 0, frame_error_text(FRAME_BAD_DESCRIPTORS));
    return true;
}

size_t channel_offer(const void *bytes, size_t length_bytes) {
    ssize_t size = send(channel, bytes, length_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (size >= 0)
        return (size_t)size;
    /* Without memory for a buffer the socket is full for us: the program is about to be stopped for its hunger. */
    if (errno == EAGAIN || errno == EINTR || errno == ENOMEM || errno == ENOBUFS)
        return 0;
    /* Nobody listens: the host is gone, and with it every use of this sandbox. */
    _exit(0);
}

void channel_send(const void *bytes, size_t length_bytes) {
    const uint8_t *at = bytes;
    while (length_bytes > 0) {
        size_t size = channel_offer(at, length_bytes);
        if (size == 0) {
            struct pollfd writable = {channel, POLLOUT, 0};
            (void)poll(&writable, 1, 100);
        }
        at += size;
        length_bytes -= size;
    }
}
