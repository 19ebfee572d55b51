/* Makes the n-th system call of a kind fail, of those that concern a watched folder. For LD_PRELOAD.

   What it is told, and what it counts, is shared with the processes that are forked from the one that loads it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { WRITE, SYNC, RENAME, OPEN, TRUNCATE, UNLINK, MKDIR, NUM_KINDS };

static struct plan {
    char folder[PATH_MAX]; /* empty: nothing is watched */
    int kind, error, is_paused;
    long number; /* from 1; 0: none fails */
    long counts[NUM_KINDS];
} *plan;

__attribute__((constructor)) static void begin(void) {
    plan = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

void fault_plan(const char *folder, int kind, long number, int error) {
    memset(plan, 0, sizeof *plan);
    snprintf(plan->folder, sizeof plan->folder, "%s", folder);
    plan->kind = kind;
    plan->number = number;
    plan->error = error;
}

void fault_pause(int is_paused) { plan->is_paused = is_paused; }

long fault_count(int kind) { return plan->counts[kind]; }

static int is_watched(const char *path) {
    size_t length = strlen(plan->folder);
    return length && !plan->is_paused && !strncmp(path, plan->folder, length) && (path[length] == '/' || !path[length]);
}

/* Whether this call is to fail; then errno says why. */
static int fails(enum kind kind, const char *path) {
    if (!plan || !is_watched(path)) return 0;
    long number = __atomic_add_fetch(&plan->counts[kind], 1, __ATOMIC_SEQ_CST);
    if (kind != (enum kind)plan->kind || number != plan->number) return 0;
    errno = plan->error;
    return 1;
}

static int fails_at(enum kind kind, int file) {
    char link[64], path[PATH_MAX];
    int before = errno;
    if (!plan || !*plan->folder) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0) return 0;
    path[length] = 0;
    return fails(kind, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *data, size_t size) {
    return fails_at(WRITE, file) ? -1 : REAL(write)(file, data, size);
}
ssize_t writev(int file, const struct iovec *parts, int count) {
    return fails_at(WRITE, file) ? -1 : REAL(writev)(file, parts, count);
}
ssize_t pwrite(int file, const void *data, size_t size, off_t offset) {
    return fails_at(WRITE, file) ? -1 : REAL(pwrite)(file, data, size, offset);
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) {
    return fails_at(WRITE, file) ? -1 : REAL(pwrite64)(file, data, size, offset);
}
int fsync(int file) { return fails_at(SYNC, file) ? -1 : REAL(fsync)(file); }
int fdatasync(int file) { return fails_at(SYNC, file) ? -1 : REAL(fdatasync)(file); }
int ftruncate(int file, off_t size) { return fails_at(TRUNCATE, file) ? -1 : REAL(ftruncate)(file, size); }
int ftruncate64(int file, off64_t size) { return fails_at(TRUNCATE, file) ? -1 : REAL(ftruncate64)(file, size); }
int rename(const char *from, const char *to) { return fails(RENAME, to) ? -1 : REAL(rename)(from, to); }
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    return fails(RENAME, to) ? -1 : REAL(renameat)(from_folder, from, to_folder, to);
}
int unlink(const char *path) { return fails(UNLINK, path) ? -1 : REAL(unlink)(path); }
int unlinkat(int folder, const char *path, int flags) {
    return fails(UNLINK, path) ? -1 : REAL(unlinkat)(folder, path, flags);
}
int mkdir(const char *path, mode_t mode) { return fails(MKDIR, path) ? -1 : REAL(mkdir)(path, mode); }

#define MODE                                  \
    mode_t mode = 0;                          \
    if (flags & (O_CREAT | __O_TMPFILE)) {    \
        va_list arguments;                    \
        va_start(arguments, flags);           \
        mode = va_arg(arguments, mode_t);     \
        va_end(arguments);                    \
    }

int open(const char *path, int flags, ...) {
    MODE return fails(OPEN, path) ? -1 : REAL(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE return fails(OPEN, path) ? -1 : REAL(open64)(path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    MODE return fails(OPEN, path) ? -1 : REAL(openat)(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE return fails(OPEN, path) ? -1 : REAL(openat64)(folder, path, flags, mode);
}
int creat(const char *path, mode_t mode) { return fails(OPEN, path) ? -1 : REAL(creat)(path, mode); }
