/* Records what a process does to files below a folder, for tools/powercut.py; or ends it before the
 * k-th such act, or lets one fail, for the tests. Preloaded; it does nothing until it is told to.
 *
 * The log is a sequence of acts, little-endian: u8 kind, u64 inode, u64 offset, u32 size, bytes. A
 * write is logged before it is made, a sync once it has returned.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, SYNC, SYNC_RANGE, TRUNCATE, CREATE, MAKE, RENAME, REMOVE, NOTE };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[512];
static int log_fd = -1;
static long acts_left = -1;
static int failing_kind, failing_code;

static ssize_t (*real_write)(int, const void *, size_t);

static void find_real(void) { real_write = dlsym(RTLD_NEXT, "write"); }

static uint64_t tracked(int fd);

static bool is_active(void) { return log_fd >= 0 || acts_left >= 0 || failing_kind; }

int recorder_start(const char *log, const char *folder) {
    find_real();
    snprintf(root, sizeof root, "%s/", folder);
    log_fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return log_fd < 0 ? -1 : 0;
}

/* End the process before act number `acts`, counted from 0. */
void recorder_crash_at(const char *folder, long acts) {
    find_real();
    snprintf(root, sizeof root, "%s/", folder);
    acts_left = acts;
}

/* Let the next act of this kind fail: WRITE, SYNC, or SYNC_RANGE for a write that syncs. */
void recorder_fail(const char *folder, int kind, int code) {
    find_real();
    snprintf(root, sizeof root, "%s/", folder);
    failing_code = code;
    failing_kind = kind;
}

static bool fails(int kind) {
    if (failing_kind != kind) return false;
    failing_kind = 0;
    errno = failing_code;
    return true;
}

static bool write_fails(int fd) {
    return is_active() && tracked(fd) && fails(fcntl(fd, F_GETFL) & O_DSYNC ? SYNC_RANGE : WRITE);
}

static void put(const void *bytes, size_t size) {
    for (const char *at = bytes; size > 0;) {
        ssize_t done = real_write(log_fd, at, size);
        if (done <= 0) _exit(3);
        at += done;
        size -= (size_t)done;
    }
}

static void act(uint8_t kind, uint64_t inode, uint64_t offset, const struct iovec *parts,
                int count) {
    uint32_t size = 0;
    pthread_mutex_lock(&lock);
    if (acts_left == 0) _exit(9);
    if (acts_left > 0) acts_left--;
    if (log_fd >= 0) {
        for (int i = 0; i < count; i++) size += (uint32_t)parts[i].iov_len;
        put(&kind, 1);
        put(&inode, 8);
        put(&offset, 8);
        put(&size, 4);
        for (int i = 0; i < count; i++) put(parts[i].iov_base, parts[i].iov_len);
    }
    pthread_mutex_unlock(&lock);
}

static void act_words(uint8_t kind, uint64_t inode, uint64_t offset, const char *a, const char *b) {
    struct iovec parts[3] = {{(void *)a, strlen(a)}, {"\0", 1}, {(void *)b, strlen(b)}};
    act(kind, inode, offset, parts, *b ? 3 : 1);
}

void recorder_note(uint64_t number) { act(NOTE, 0, number, NULL, 0); }

static bool is_below(const char *path) {
    return strncmp(path, root, strlen(root)) == 0 || strncmp(path, root, strlen(root) - 1) == 0;
}

static uint64_t inode_at(const char *path) {
    struct stat found;
    return lstat(path, &found) == 0 ? found.st_ino : 0;
}

/* The inode of an open file or folder below the root; 0 if it is none. */
static uint64_t tracked(int fd) {
    if (!is_active() || fd == log_fd) return 0;
    char link[64], path[1024];
    struct stat found;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0) return 0;
    path[size] = 0;
    return is_below(path) && fstat(fd, &found) == 0 ? found.st_ino : 0;
}

#define REAL(type, name, ...)                \
    static type (*real)(__VA_ARGS__) = NULL; \
    if (real == NULL) real = dlsym(RTLD_NEXT, name)

/* Writing. */

static void written(int fd, uint64_t inode, uint64_t offset, ssize_t size) {
    int flags = fcntl(fd, F_GETFL);
    if (size <= 0 || !(flags & O_DSYNC)) return;
    char range[8];
    uint64_t bytes = (uint64_t)size;
    memcpy(range, &bytes, 8);
    struct iovec part = {range, 8};
    act(SYNC_RANGE, inode, offset, &part, 1);
}

static uint64_t begin(int fd, const struct iovec *parts, int count, off_t offset) {
    uint64_t inode = tracked(fd);
    if (inode) act(WRITE, inode, (uint64_t)offset, parts, count);
    return inode;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    struct iovec part = {(void *)data, size};
    if (write_fails(fd)) return -1;
    uint64_t inode = begin(fd, &part, 1, offset);
    ssize_t done = real(fd, data, size, offset);
    if (inode) written(fd, inode, (uint64_t)offset, done);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    return pwrite(fd, data, size, offset);
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    struct iovec part = {(void *)data, size};
    off_t offset = is_active() ? lseek(fd, 0, SEEK_CUR) : 0;
    if (write_fails(fd)) return -1;
    uint64_t inode = offset < 0 ? 0 : begin(fd, &part, 1, offset);
    ssize_t done = real(fd, data, size);
    if (inode) written(fd, inode, (uint64_t)offset, done);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    off_t offset = is_active() ? lseek(fd, 0, SEEK_CUR) : 0;
    if (write_fails(fd)) return -1;
    uint64_t inode = offset < 0 ? 0 : begin(fd, parts, count, offset);
    ssize_t done = real(fd, parts, count);
    if (inode) written(fd, inode, (uint64_t)offset, done);
    return done;
}

int ftruncate(int fd, off_t size) {
    REAL(int, "ftruncate", int, off_t);
    uint64_t inode = tracked(fd);
    if (inode) act(TRUNCATE, inode, (uint64_t)size, NULL, 0);
    return real(fd, size);
}

int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

/* Syncing. A map that is written would escape us: say so. */

int msync(void *address, size_t size, int flags) {
    REAL(int, "msync", void *, size_t, int);
    if (is_active()) _exit(4);
    return real(address, size, flags);
}

static int synced(int fd, int result) {
    uint64_t inode = result == 0 ? tracked(fd) : 0;
    if (inode) act(SYNC, inode, 0, NULL, 0);
    return result;
}

int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    if (is_active() && tracked(fd) && fails(SYNC)) return -1;
    return synced(fd, real(fd));
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    return synced(fd, real(fd));
}

/* Names. */

static int opened(const char *path, int flags, mode_t mode, int (*real)(const char *, int, ...)) {
    bool is_new = is_active() && flags & O_CREAT && is_below(path) && inode_at(path) == 0;
    int fd = real(path, flags, mode);
    if (is_new && fd >= 0) act_words(CREATE, inode_at(path), 0, path, "");
    return fd;
}

int open(const char *path, int flags, ...) {
    REAL(int, "open", const char *, int, ...);
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return opened(path, flags, mode, real);
}

int open64(const char *path, int flags, ...) {
    REAL(int, "open64", const char *, int, ...);
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return opened(path, flags, mode, real);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    int result = real(path, mode);
    if (result == 0 && is_active() && is_below(path)) act_words(MAKE, inode_at(path), 0, path, "");
    return result;
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    if (is_active() && is_below(from)) act_words(RENAME, inode_at(from), 0, from, to);
    return real(from, to);
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    if (is_active() && is_below(path)) act_words(REMOVE, inode_at(path), 0, path, "");
    return real(path);
}

int unlinkat(int folder, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    if (is_active() && tracked(folder)) act_words(REMOVE, 0, 0, path, "");
    return real(folder, path, flags);
}

int rmdir(const char *path) {
    REAL(int, "rmdir", const char *);
    if (is_active() && is_below(path)) act_words(REMOVE, inode_at(path), 0, path, "");
    return real(path);
}
