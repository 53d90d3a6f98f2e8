/* Fails the n-th call of one class on paths below given folders, or on descriptors that lead there.

FAULT_CLASS open, opendir, read, pread, write, fsync, rename, close, mkdir, unlink, flock; FAULT_N counts from 1 over all processes
of a run; FAULT_ERRNO the answer; FAULT_PATHS folders, ':' between them; FAULT_COUNTER a file of 8 bytes that holds the count. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define NEXT(type, name, ...)                                     \
    static type (*next_##name)(__VA_ARGS__);                       \
    if (!next_##name) next_##name = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static long *counter(void) {
    static long *count;
    if (!count && getenv("FAULT_COUNTER")) {
        int file = syscall(SYS_openat, AT_FDCWD, getenv("FAULT_COUNTER"), O_RDWR, 0);
        void *page = file < 0 ? MAP_FAILED : mmap(0, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (file >= 0) syscall(SYS_close, file);
        if (page != MAP_FAILED) count = page;
    }
    return count;
}

static int is_below(const char *path) {
    const char *folder = getenv("FAULT_PATHS");
    while (path && folder && *folder) {
        size_t length = strcspn(folder, ":");
        if (!strncmp(path, folder, length) && (path[length] == '/' || !path[length])) return 1;
        folder += length + (folder[length] == ':');
    }
    return 0;
}

static int fails(const char *class, const char *path) {
    const char *wanted = getenv("FAULT_CLASS");
    if (!wanted || strcmp(wanted, class) || !is_below(path) || !counter()) return 0;
    if (__atomic_add_fetch(counter(), 1, __ATOMIC_SEQ_CST) != atol(getenv("FAULT_N"))) return 0;
    errno = atoi(getenv("FAULT_ERRNO"));
    return 1;
}

static int fails_at(const char *class, int file) {
    char link[40], path[PATH_MAX];
    if (!getenv("FAULT_CLASS") || strcmp(getenv("FAULT_CLASS"), class)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(class, path);
}

#define OPEN(name)                                                      \
    int name(const char *path, int flags, ...) {                        \
        va_list rest;                                                   \
        va_start(rest, flags);                                          \
        int mode = va_arg(rest, int);                                   \
        va_end(rest);                                                   \
        NEXT(int, name, const char *, int, ...);                        \
        return fails("open", path) ? -1 : next_##name(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

DIR *opendir(const char *path) {
    NEXT(DIR *, opendir, const char *);
    return fails("opendir", path) ? NULL : next_opendir(path);
}
ssize_t read(int file, void *to, size_t size) {
    NEXT(ssize_t, read, int, void *, size_t);
    return fails_at("read", file) ? -1 : next_read(file, to, size);
}
#define PREAD(name)                                                        \
    ssize_t name(int file, void *to, size_t size, off_t at) {              \
        NEXT(ssize_t, name, int, void *, size_t, off_t);                   \
        return fails_at("pread", file) ? -1 : next_##name(file, to, size, at); \
    }
PREAD(pread)
PREAD(pread64)
ssize_t write(int file, const void *from, size_t size) {
    NEXT(ssize_t, write, int, const void *, size_t);
    return fails_at("write", file) ? -1 : next_write(file, from, size);
}
#define PWRITE(name)                                                         \
    ssize_t name(int file, const void *from, size_t size, off_t at) {        \
        NEXT(ssize_t, name, int, const void *, size_t, off_t);               \
        return fails_at("write", file) ? -1 : next_##name(file, from, size, at); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)
int fsync(int file) {
    NEXT(int, fsync, int);
    return fails_at("fsync", file) ? -1 : next_fsync(file);
}
int close(int file) {
    NEXT(int, close, int);
    if (!fails_at("close", file)) return next_close(file);
    int answer = errno;
    next_close(file); /* as Linux has it: closed all the same */
    errno = answer;
    return -1;
}
int rename(const char *from, const char *to) {
    NEXT(int, rename, const char *, const char *);
    return fails("rename", to) ? -1 : next_rename(from, to);
}
int mkdir(const char *path, mode_t mode) {
    NEXT(int, mkdir, const char *, mode_t);
    return fails("mkdir", path) ? -1 : next_mkdir(path, mode);
}
int unlink(const char *path) {
    NEXT(int, unlink, const char *);
    return fails("unlink", path) ? -1 : next_unlink(path);
}
int flock(int file, int operation) {
    NEXT(int, flock, int, int);
    return fails_at("flock", file) ? -1 : next_flock(file, operation);
}
