/* What a disk would hold after a loss of power, for a program that is started with this in LD_PRELOAD; and a clock
 * that is off.
 *
 * SKYCLAW_TEST_POWER=DIR:SHADOW   Nothing below DIR is durable before it is synced. SHADOW/tree holds what is: of each
 *                                 file the content as of its last fsync or fdatasync, of each directory the names as of
 *                                 its last fsync. A new file that is synced keeps its name, as file systems do; a rename,
 *                                 a replacement or a removal takes effect when the directory is synced. Names are links
 *                                 to SHADOW/files/INODE-BIRTH. What is below DIR when the program starts is durable.
 * SKYCLAW_TEST_CLOCK_MS=N         The time of day is N milliseconds ahead (or behind).
 *
 * Nothing is really synced: the machine that runs the tests keeps its power, and so they are fast.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096

static char state[PATH_MAX], tree[PATH_MAX], files[PATH_MAX];
static size_t state_length;
static long long clock_ms;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static void die(const char *what, const char *path) {
    dprintf(2, "power shim: %s %s: %s\n", what, path, strerror(errno));
    _exit(99);
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

/* The part below DIR, with its slash; nothing for what is elsewhere or has no name any more. */
static const char *below(const char *path) {
    if (!state_length || strncmp(path, state, state_length)) return NULL;
    const char *rest = path + state_length;
    if (*rest && *rest != '/') return NULL;
    size_t length = strlen(rest);
    if (length > 10 && !strcmp(rest + length - 10, " (deleted)")) return NULL;
    return rest;
}

/* Where the durable content of an inode is. Numbers are used again, so the time of birth belongs to it. */
static int store_of(int dirfd, const char *path, int flags, char *store, struct statx *at) {
    if (statx(dirfd, path, flags, STATX_BASIC_STATS | STATX_BTIME, at)) return 0;
    snprintf(store, PATH_MAX, "%s/%llu-%lld.%u", files, (unsigned long long)at->stx_ino,
             (long long)at->stx_btime.tv_sec, at->stx_btime.tv_nsec);
    return 1;
}

/* Brings the durable content up to date in place, block by block: killed in between, some blocks are old and some
 * new, as on a disk, and none is lost. */
static void copy(int from, const char *store) {
    int to = open(store, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (to < 0) die("open", store);
    static char new[64 * BLOCK], old[64 * BLOCK];
    off_t at = 0;
    for (;;) {
        ssize_t got = pread(from, new, sizeof new, at);
        if (got < 0) die("read for", store);
        if (got == 0) break;
        ssize_t had = pread(to, old, got, at);
        if (had != got || memcmp(old, new, got))
            for (ssize_t block = 0; block < got; block += BLOCK) {
                ssize_t size = got - block < BLOCK ? got - block : BLOCK;
                if (had >= block + size && !memcmp(old + block, new + block, size)) continue;
                if (pwrite(to, new + block, size, at + block) != size) die("write", store);
            }
        at += got;
    }
    struct stat is;
    if (fstat(to, &is) || (is.st_size > at && ftruncate(to, at))) die("cut", store);
    close(to);
}

static int same(const char *name, const char *store) {
    struct stat one, other;
    return !lstat(name, &one) && !stat(store, &other) && one.st_ino == other.st_ino;
}

static void sync_file(int fd, const char *rest) {
    char store[PATH_MAX], name[2 * PATH_MAX];
    struct statx at;
    if (!store_of(fd, "", AT_EMPTY_PATH, store, &at)) return;
    int reading = fd, flags = fcntl(fd, F_GETFL);
    if ((flags & O_ACCMODE) == O_WRONLY) {
        char self[64];
        snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
        reading = open(self, O_RDONLY | O_CLOEXEC);
        if (reading < 0) die("open again", rest);
    }
    copy(reading, store);
    if (reading != fd) close(reading);
    snprintf(name, sizeof name, "%s%s", tree, rest);
    if (link(store, name) && errno != EEXIST && errno != ENOENT) die("name", name);
}

static void sync_dir(const char *real, const char *durable, int contents);

static void keep_entry(const char *real, const char *durable, int contents) {
    char store[PATH_MAX];
    struct statx at;
    if (!store_of(AT_FDCWD, real, AT_SYMLINK_NOFOLLOW, store, &at)) return;
    if (S_ISDIR(at.stx_mode)) {
        struct stat there;
        int is_new = lstat(durable, &there) != 0;
        if (is_new && mkdir(durable, 0700)) die("make", durable);
        /* One that was moved here brings what was durable in it. */
        if (is_new || contents) sync_dir(real, durable, contents);
        return;
    }
    if (!S_ISREG(at.stx_mode)) return;
    if (contents) {
        int fd = open(real, O_RDONLY | O_CLOEXEC);
        if (fd < 0) return;
        copy(fd, store);
        close(fd);
    } else {
        /* Never synced: there is a name, and nothing behind it. */
        int fd = open(store, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0) die("open", store);
        close(fd);
    }
    if (same(durable, store)) return;
    unlink(durable);
    if (link(store, durable)) die("name", durable);
}

/* Makes the names in a directory durable, with `contents` also what is in the files. */
static void sync_dir(const char *real, const char *durable, int contents) {
    char one[2 * PATH_MAX], other[2 * PATH_MAX];
    DIR *dir = opendir(real);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        snprintf(one, sizeof one, "%s/%s", real, entry->d_name);
        snprintf(other, sizeof other, "%s/%s", durable, entry->d_name);
        keep_entry(one, other, contents);
    }
    closedir(dir);
    dir = opendir(durable);
    if (!dir) die("read", durable);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        struct stat there;
        snprintf(one, sizeof one, "%s/%s", real, entry->d_name);
        snprintf(other, sizeof other, "%s/%s", durable, entry->d_name);
        if (lstat(one, &there) && unlink(other) && errno == EISDIR) rmdir(other);
    }
    closedir(dir);
}

static int kept(int fd) {
    char path[PATH_MAX];
    struct stat is;
    if (!state_length || !path_of(fd, path) || fstat(fd, &is)) return 0;
    const char *rest = below(path);
    if (!rest) return 0;
    pthread_mutex_lock(&one_at_a_time);
    if (S_ISDIR(is.st_mode)) {
        char durable[2 * PATH_MAX];
        snprintf(durable, sizeof durable, "%s%s", tree, rest);
        if (!access(durable, F_OK)) sync_dir(path, durable, 0);
    } else if (S_ISREG(is.st_mode)) {
        sync_file(fd, rest);
    }
    pthread_mutex_unlock(&one_at_a_time);
    return 1;
}

int fsync(int fd) { return kept(fd) ? 0 : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return kept(fd) ? 0 : (int)syscall(SYS_fdatasync, fd); }

int clock_gettime(clockid_t id, struct timespec *at) {
    int done = (int)syscall(SYS_clock_gettime, id, at);
    if (!done && clock_ms && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        long long nanos = at->tv_nsec + (clock_ms % 1000) * 1000000;
        at->tv_sec += clock_ms / 1000;
        if (nanos < 0) at->tv_sec--, nanos += 1000000000;
        if (nanos >= 1000000000) at->tv_sec++, nanos -= 1000000000;
        at->tv_nsec = nanos;
    }
    return done;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    at->tv_sec = exact.tv_sec;
    at->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return (time_t)-1;
    if (out) *out = exact.tv_sec;
    return exact.tv_sec;
}

__attribute__((constructor)) static void begin(void) {
    const char *off = getenv("SKYCLAW_TEST_CLOCK_MS");
    if (off) clock_ms = atoll(off);
    const char *both = getenv("SKYCLAW_TEST_POWER");
    const char *colon = both ? strchr(both, ':') : NULL;
    char asked[PATH_MAX];
    if (!colon) return;
    snprintf(asked, sizeof asked, "%.*s", (int)(colon - both), both);
    /* The kernel tells paths without symbolic links. */
    if (!realpath(asked, state)) die("find", asked);
    snprintf(tree, sizeof tree, "%s/tree", colon + 1);
    snprintf(files, sizeof files, "%s/files", colon + 1);
    if (mkdir(files, 0700) && errno != EEXIST) die("make", files);
    int fresh = !mkdir(tree, 0700);
    if (!fresh && errno != EEXIST) die("make", tree);
    state_length = strlen(state);
    if (fresh) sync_dir(state, tree, 1);
}
