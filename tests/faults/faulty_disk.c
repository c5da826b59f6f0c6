/* A disk that fails when told to: loaded with LD_PRELOAD, it lets calls below FAULTY_FOLDER fail.
 *
 * faulty_arm(call, first, last, error) counts calls of one kind from 1 on and fails those from `first` to `last` with
 * `error`; faulty_counts fills in how many there were of each kind since. Kinds: open (for writing), write, fsync,
 * rename, mkdir, unlink, close (of what was open for writing).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { OPEN, WRITE, FSYNC, RENAME, MKDIR, UNLINK, CLOSE, KINDS };

static atomic_long counts[KINDS];
static int armed_kind = -1, armed_error;
static long armed_first, armed_last;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

void faulty_arm(int kind, long first, long last, int error) {
    for (int k = 0; k < KINDS; k++)
        atomic_store(&counts[k], 0);
    armed_first = first, armed_last = last, armed_error = error;
    armed_kind = kind;
}

void faulty_counts(long *found) {
    for (int k = 0; k < KINDS; k++)
        found[k] = atomic_load(&counts[k]);
}

static int below(const char *path) {
    const char *folder = getenv("FAULTY_FOLDER");
    return folder && strncmp(path, folder, strlen(folder)) == 0;
}

static int inside(int at, const char *path) {
    char whole[2 * PATH_MAX], link[64];
    if (path[0] == '/')
        return below(path);
    snprintf(link, sizeof link, "/proc/self/%s", "cwd");
    if (at != AT_FDCWD)
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t size = readlink(link, whole, PATH_MAX);
    if (size < 0)
        return 0;
    snprintf(whole + size, sizeof whole - size, "/%s", path);
    return below(whole);
}

static int of(int fd) {
    char path[PATH_MAX + 1], link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX);
    if (size < 0)
        return 0;
    path[size] = 0;
    return below(path);
}

static int fails(enum kind kind) {
    long n = atomic_fetch_add(&counts[kind], 1) + 1;
    if (kind != armed_kind || n < armed_first || n > armed_last)
        return 0;
    errno = armed_error;
    return 1;
}

#define OPENS(name)                                                                                                    \
    int name(const char *path, int flags, ...) {                                                                      \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                                        \
        va_end(more);                                                                                                  \
        if (flags & (O_WRONLY | O_RDWR) && inside(AT_FDCWD, path) && fails(OPEN))                                      \
            return -1;                                                                                                 \
        return REAL(name)(path, flags, mode);                                                                          \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name)                                                                                                 \
    int name(int at, const char *path, int flags, ...) {                                                              \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                                        \
        va_end(more);                                                                                                  \
        if (flags & (O_WRONLY | O_RDWR) && inside(at, path) && fails(OPEN))                                            \
            return -1;                                                                                                 \
        return REAL(name)(at, path, flags, mode);                                                                      \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

ssize_t write(int fd, const void *data, size_t size) {
    return of(fd) && fails(WRITE) ? -1 : REAL(write)(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    return of(fd) && fails(WRITE) ? -1 : REAL(writev)(fd, parts, count);
}

int fsync(int fd) { return of(fd) && fails(FSYNC) ? -1 : REAL(fsync)(fd); }

int fdatasync(int fd) { return of(fd) && fails(FSYNC) ? -1 : REAL(fdatasync)(fd); }

int close(int fd) {
    int flags = fcntl(fd, F_GETFL);
    int failed = flags >= 0 && flags & (O_WRONLY | O_RDWR) && of(fd) && fails(CLOSE), error = errno;
    int closed = REAL(close)(fd);
    if (failed)
        errno = error;
    return failed ? -1 : closed;
}

int rename(const char *from, const char *to) {
    return inside(AT_FDCWD, to) && fails(RENAME) ? -1 : REAL(rename)(from, to);
}

int renameat(int a, const char *from, int b, const char *to) {
    return inside(b, to) && fails(RENAME) ? -1 : REAL(renameat)(a, from, b, to);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    return inside(b, to) && fails(RENAME) ? -1 : REAL(renameat2)(a, from, b, to, flags);
}

int mkdir(const char *path, mode_t mode) {
    return inside(AT_FDCWD, path) && fails(MKDIR) ? -1 : REAL(mkdir)(path, mode);
}

int unlink(const char *path) { return inside(AT_FDCWD, path) && fails(UNLINK) ? -1 : REAL(unlink)(path); }

int unlinkat(int at, const char *path, int flags) {
    return inside(at, path) && fails(UNLINK) ? -1 : REAL(unlinkat)(at, path, flags);
}

int rmdir(const char *path) { return inside(AT_FDCWD, path) && fails(UNLINK) ? -1 : REAL(rmdir)(path); }
