/*
 * os-linux.c: memory by memfd, deadlines by timerfd, readiness by epoll.
 *
 * Files of plugins are polled by an epoll set of our own and not by uv_poll: uv_poll_init() switches
 * the file to O_NONBLOCK, and a terminal shares that flag with the shell that started us.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { ALIGN = 2 << 20 };
static const uint64_t SECOND = 1000000000;

/* ---- memory ---------------------------------------------------------------------------------- */

static bool mem_map(struct os_mem *mem, uint64_t align, int flags)
{
    /* One aligned window, with at least one inaccessible ALIGN on each side. */
    mem->reserved_len = mem->len + 2 * align + align;
    mem->reserved = mmap(NULL, mem->reserved_len, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mem->reserved == MAP_FAILED)
        return false;
    uintptr_t start = ((uintptr_t)mem->reserved + align + align - 1) & ~(uintptr_t)(align - 1);
    mem->host = mmap((void *)start, mem->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | flags,
                     mem->fd, 0);
    if (mem->host != MAP_FAILED)
        return true;
    int saved = errno;
    munmap(mem->reserved, mem->reserved_len);
    errno = saved;
    return false;
}

bool os_mem_new(struct os_mem *mem, const char *name, uint64_t len, uint64_t page,
                const char **why)
{
    unsigned kind = 0;
    if (page)
        kind = MFD_HUGETLB | (page == (uint64_t)1 << 30 ? MFD_HUGE_1GB : MFD_HUGE_2MB);
    memset(mem, 0, sizeof *mem);
    mem->len = len;
    mem->fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | kind);
    if (len > INT64_MAX / 2) {
        *why = "no host has that much";
        if (mem->fd >= 0)
            close(mem->fd);
        return false;
    }
    if (mem->fd < 0) {
        *why = page ? "the host has no huge pages of this size" : strerror(errno);
        return false;
    }
    /* Huge pages are reserved now: a missing one would be a SIGBUS in the middle of the guest. */
    if (ftruncate(mem->fd, (off_t)len) < 0 ||
        fcntl(mem->fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0 ||
        !mem_map(mem, page > ALIGN ? page : ALIGN, page ? 0 : MAP_NORESERVE)) {
        *why = page ? "the host has not enough free huge pages (see /proc/meminfo, HugePages_Free)"
                    : strerror(errno);
        close(mem->fd);
        mem->fd = -1;
        mem->host = NULL;
        return false;
    }
    return true;
}

void os_mem_free(struct os_mem *mem)
{
    if (!mem->host)
        return;
    munmap(mem->reserved, mem->reserved_len);
    close(mem->fd);
    mem->host = NULL;
}

/* ---- time ------------------------------------------------------------------------------------ */

static uint64_t clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

uint64_t os_now(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t os_now_real(void)
{
    return clock_ns(CLOCK_REALTIME);
}

int os_timer_new(void)
{
    return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
}

void os_timer_arm(int fd, uint64_t when)
{
    struct itimerspec t = { 0 };
    if (when > INT64_MAX)
        when = INT64_MAX;
    t.it_value.tv_sec = (time_t)(when / SECOND);
    t.it_value.tv_nsec = (long)(when % SECOND);
    (void)timerfd_settime(fd, TFD_TIMER_ABSTIME, &t, NULL);
}

void os_timer_take(int fd)
{
    uint64_t n;
    ssize_t got = read(fd, &n, sizeof n);
    (void)got; /* EAGAIN: somebody set a later deadline meanwhile */
}

/* ---- events ---------------------------------------------------------------------------------- */

int os_event_new(bool set)
{
    return eventfd(set, EFD_CLOEXEC | EFD_NONBLOCK);
}

void os_event_take(int fd)
{
    os_timer_take(fd); /* a counter like a timer's */
}

/* ---- readiness ------------------------------------------------------------------------------- */

int os_pollset_new(void)
{
    return epoll_create1(EPOLL_CLOEXEC);
}

int os_pollset_set(int set, int fd, uint32_t old, uint32_t events, void *tag)
{
    struct epoll_event e = { .data.ptr = tag };
    if (events & OS_READ)
        e.events |= EPOLLIN | EPOLLRDHUP;
    if (events & OS_WRITE)
        e.events |= EPOLLOUT;
    /* No interest means no entry: epoll reports hang-ups even to those who asked for nothing. */
    int op = !events ? EPOLL_CTL_DEL : old ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (!events && !old)
        return 0;
    if (epoll_ctl(set, op, fd, &e) == 0)
        return 0;
    return errno == EPERM ? 1 : -errno;
}

unsigned os_pollset_take(int set, struct os_ready *ready, unsigned max)
{
    enum { BATCH = 32 };
    struct epoll_event e[BATCH];
    int n = epoll_wait(set, e, max < BATCH ? (int)max : BATCH, 0);
    for (int i = 0; i < n; i++) {
        ready[i].tag = e[i].data.ptr;
        ready[i].events = 0;
        if (e[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            ready[i].events |= OS_READ;
        if (e[i].events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
            ready[i].events |= OS_WRITE;
    }
    return n < 0 ? 0 : (unsigned)n;
}

/* Read-only for output, too: who writes there still gets EBADF. */
void os_std_fill(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", O_RDONLY); /* the lowest free one: this */
}

void os_thread_name(const char *name)
{
    char text[16]; /* the kernel's limit */
    strncpy(text, name, sizeof text - 1);
    text[sizeof text - 1] = 0;
    (void)pthread_setname_np(pthread_self(), text);
}
