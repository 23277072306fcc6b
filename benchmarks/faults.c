/* Faults of a file system, for `benchmarks.faults`: a library that is loaded before libc (LD_PRELOAD).

   Only regular files and folders below FAULT_FOLDER count.
   FAULT_WRITE=N   the Nth write and all later ones fail: the disk is full (ENOSPC)
   FAULT_RENAME=N  the process is killed right after its Nth rename of a folder */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long writes, renames;

static int is_below(const char *path) {
    const char *folder = getenv("FAULT_FOLDER");
    return folder && strncmp(path, folder, strlen(folder)) == 0;
}

static int disk_is_full(int file) {
    const char *limit = getenv("FAULT_WRITE");
    struct stat status;
    char link[64], path[PATH_MAX];
    if (!limit || fstat(file, &status) || !S_ISREG(status.st_mode)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path) && atomic_fetch_add(&writes, 1) + 1 >= atol(limit);
}

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

ssize_t write(int file, const void *data, size_t size) {
    if (disk_is_full(file)) return errno = ENOSPC, -1;
    return ((ssize_t (*)(int, const void *, size_t))next("write"))(file, data, size);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    if (disk_is_full(file)) return errno = ENOSPC, -1;
    return ((ssize_t (*)(int, const struct iovec *, int))next("writev"))(file, parts, count);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) {
    if (disk_is_full(file)) return errno = ENOSPC, -1;
    return ((ssize_t (*)(int, const void *, size_t, off64_t))next("pwrite64"))(file, data, size, offset);
}

static void kill_after_rename(int is_folder) {
    const char *limit = getenv("FAULT_RENAME");
    if (is_folder && limit && atomic_fetch_add(&renames, 1) + 1 == atol(limit)) raise(SIGKILL);
}

static int is_folder(const char *path) {
    struct stat status;
    return is_below(path) && lstat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

int rename(const char *from, const char *to) {
    int folder = is_folder(from);
    int result = ((int (*)(const char *, const char *))next("rename"))(from, to);
    if (result == 0) kill_after_rename(folder);
    return result;
}
