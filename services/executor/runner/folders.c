/*
 * The three writable folders, each a file system of its own with a size and a number of inodes. Nothing of the program
 * lives while this code runs (the sweep has proved it), so that a name means the same from one call to the next; links
 * are never followed all the same. The walk acts as the program's own user (setfsuid): it can do nothing that the
 * program could not have done. Loops are bounded by the inodes that a folder may hold.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runner.h"

enum {
    LISTING_BYTES = 8192,
    SEAL_DEPTH_MAX = 24,
    /* Each inode costs a few calls; whoever leaves more than this has found a way around the inode limit. */
    REMOVALS_MAX = 200 * 1000,
};

/* The record that getdents64 writes. */
struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short record_bytes;
    unsigned char type;
    char name[];
};

struct folder {
    const char *path;
    int descriptor;
    uint64_t free_inodes; /* when empty, or once sealed */
};

static struct folder artifact = {ARTIFACT_FOLDER, -1, 0}, work = {WORK_FOLDER, -1, 0};
static struct folder temporary = {TEMPORARY_FOLDER, -1, 0};
static bool sealed;
static char top_listing[LISTING_BYTES], sub_listing[LISTING_BYTES], seal_listing[SEAL_DEPTH_MAX + 1][LISTING_BYTES];
static uint32_t lifted;

static uint64_t free_inodes(const struct folder *folder) {
    struct statfs counts;
    if (fstatfs(folder->descriptor, &counts) != 0)
        fault(STAGE_CLEAN, errno, "the inodes of a folder could not be counted");
    return counts.f_ffree;
}

static void open_folder(struct folder *folder) {
    struct stat state;
    struct statfs counts;
    folder->descriptor = open(folder->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder->descriptor < 0)
        fault(STAGE_START, errno, "expected the folders /box, /work and /tmp");
    if (fstat(folder->descriptor, &state) != 0 || fstatfs(folder->descriptor, &counts) != 0)
        fault(STAGE_START, errno, "a writable folder could not be looked at");
    require(counts.f_files > 0, STAGE_START, "expected each writable folder to have a limit of inodes");
    require(state.st_uid == 0, STAGE_START, "expected the writable folders to belong to root");
    if (fchmod(folder->descriptor, 01777) != 0)
        fault(STAGE_START, errno, "a writable folder could not be opened to programs");
    folder->free_inodes = counts.f_ffree;
}

void folders_open(void) {
    open_folder(&artifact);
    open_folder(&work);
    open_folder(&temporary);
    memset(top_listing, 1, sizeof top_listing);
    memset(sub_listing, 1, sizeof sub_listing);
    memset(seal_listing, 1, sizeof seal_listing);
}

void folders_counts(uint64_t counts[3]) {
    counts[0] = artifact.free_inodes;
    counts[1] = work.free_inodes;
    counts[2] = temporary.free_inodes;
}

void folder_place(const struct place *place, int content) {
    mode_t mode = place->flags & PLACE_EXECUTABLE ? 0755 : 0644;
    int file = openat(artifact.descriptor, place->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (file < 0)
        fault(STAGE_PLACE, errno, "the file could not be made");
    uint64_t done = 0;
    while (done < place->size_bytes) {
        size_t want = sizeof sub_listing;
        if (place->size_bytes - done < want)
            want = (size_t)(place->size_bytes - done);
        ssize_t got = pread(content, sub_listing, want, (off_t)done);
        if (got <= 0)
            fault(STAGE_PLACE, got < 0 ? errno : EIO, "expected as many bytes of the file as were announced");
        if (write(file, sub_listing, (size_t)got) != got)
            fault(STAGE_PLACE, errno, "the file does not fit into the artifact folder");
        done += (uint64_t)got;
    }
    if (close(file) != 0)
        fault(STAGE_PLACE, errno, "the file could not be closed");
}

static bool is_self_or_parent(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

static long list(int folder, char *into) {
    long size = syscall(SYS_getdents64, folder, into, LISTING_BYTES);
    return size < 0 ? 0 : size;
}

/* Empties one level below the top: files go, folders that are not empty are lifted to the top. */
static uint32_t remove_level(int top, const char *name) {
    uint32_t calls = 1;
    int folder = openat(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        return calls;
    for (long size; (size = list(folder, sub_listing)) > 0;) {
        for (long at = 0; at < size; calls++) {
            const struct entry *each = (const struct entry *)(sub_listing + at);
            at += each->record_bytes;
            if (is_self_or_parent(each->name) || unlinkat(folder, each->name, 0) == 0)
                continue;
            (void)fchmodat(folder, each->name, 0700, 0);
            if (unlinkat(folder, each->name, AT_REMOVEDIR) == 0)
                continue;
            char unique[32];
            (void)snprintf(unique, sizeof unique, ".lifted-%u", lifted++);
            (void)renameat(folder, each->name, top, unique);
        }
    }
    (void)close(folder);
    (void)unlinkat(top, name, AT_REMOVEDIR);
    return calls;
}

/* Removes everything without recursion: however deep the program nested, each folder comes up to the top once. */
static void remove_all(int top) {
    uint32_t calls = 0;
    bool found = true;
    while (found && calls < REMOVALS_MAX) {
        found = false;
        if (lseek(top, 0, SEEK_SET) < 0)
            return;
        for (long size; (size = list(top, top_listing)) > 0 && calls < REMOVALS_MAX;) {
            for (long at = 0; at < size; calls++) {
                const struct entry *each = (const struct entry *)(top_listing + at);
                at += each->record_bytes;
                if (is_self_or_parent(each->name))
                    continue;
                found = true;
                if (unlinkat(top, each->name, 0) == 0)
                    continue;
                (void)fchmodat(top, each->name, 0700, 0);
                if (unlinkat(top, each->name, AT_REMOVEDIR) != 0)
                    calls += remove_level(top, each->name);
            }
        }
    }
}

static uint32_t clean(struct folder *folder, uid_t uid) {
    uint64_t now_free = free_inodes(folder);
    if (now_free == folder->free_inodes)
        return 0;
    setfsuid(uid);
    remove_all(folder->descriptor);
    setfsuid(0);
    require(free_inodes(folder) == folder->free_inodes, STAGE_CLEAN, "a folder could not be emptied");
    return (uint32_t)(folder->free_inodes - now_free);
}

uint32_t folders_clean(uid_t uid) {
    uint32_t left = clean(&work, uid) + clean(&temporary, uid);
    require(!sealed || free_inodes(&artifact) == artifact.free_inodes, STAGE_CLEAN, "the sealed folder has changed");
    return left;
}

static void seal_level(int folder, int depth, uid_t uid);

static void seal_entry(int folder, const char *name, int depth, uid_t uid) {
    struct stat state;
    if (fstatat(folder, name, &state, AT_SYMLINK_NOFOLLOW) != 0)
        fault(STAGE_SEAL, errno, "a file of the artifact folder could not be looked at");
    if (S_ISLNK(state.st_mode) || state.st_uid == 0)
        return; /* A link has no mode, and what root placed is not writable for others. */
    require(state.st_uid == uid, STAGE_SEAL, "a file of the artifact folder belongs to somebody unknown");
    if (S_ISREG(state.st_mode)) {
        mode_t mode = state.st_mode & 0111 ? 0555 : 0444;
        if (fchmodat(folder, name, mode, 0) != 0)
            fault(STAGE_SEAL, errno, "a file of the artifact folder could not be sealed");
        return;
    }
    if (!S_ISDIR(state.st_mode)) {
        if (unlinkat(folder, name, 0) != 0)
            fault(STAGE_SEAL, errno, "a FIFO or socket of the artifact folder could not be removed");
        return;
    }
    /* Deeper than any compiler nests: closed to the test user as a whole, instead of walked. */
    bool walked = depth < SEAL_DEPTH_MAX;
    if (fchmodat(folder, name, walked ? 0755 : 0, 0) != 0)
        fault(STAGE_SEAL, errno, "a folder of the artifact folder could not be sealed");
    if (!walked)
        return;
    int below = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (below < 0)
        fault(STAGE_SEAL, errno, "a folder of the artifact folder could not be opened");
    seal_level(below, depth + 1, uid);
    (void)close(below);
}

static void seal_level(int folder, int depth, uid_t uid) {
    char *listing = seal_listing[depth];
    for (long size; (size = list(folder, listing)) > 0;) {
        for (long at = 0; at < size;) {
            const struct entry *each = (const struct entry *)(listing + at);
            at += each->record_bytes;
            if (!is_self_or_parent(each->name))
                seal_entry(folder, each->name, depth, uid);
        }
    }
}

void folder_seal(uid_t compile_uid) {
    if (fchmod(artifact.descriptor, 0755) != 0 || lseek(artifact.descriptor, 0, SEEK_SET) < 0)
        fault(STAGE_SEAL, errno, "the artifact folder could not be closed to writers");
    setfsuid(compile_uid);
    seal_level(artifact.descriptor, 0, compile_uid);
    setfsuid(0);
    artifact.free_inodes = free_inodes(&artifact);
    sealed = true;
}
