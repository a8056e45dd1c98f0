/* os.c: what a kernel is asked for all day: system calls, faults, processes, switches between them.
 * Everything is done in memory of our own, so that the file system under the tree does not matter.
 */
#include "bench.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t getppid_loop(uint64_t n)
{
    long sum = 0;
    for (uint64_t i = 0; i < n * 100; i++)
        sum |= syscall(SYS_getppid);
    return sum != 0;
}

static uint64_t clock_loop(uint64_t n)
{
    struct timespec t = { 0, 0 };
    long sum = 0;
    for (uint64_t i = 0; i < n * 100; i++) {
        clock_gettime(CLOCK_MONOTONIC, &t);
        sum |= t.tv_nsec;
    }
    return sum != 0;
}

static uint64_t pread_loop(uint64_t n)
{
    static int fd = -1;
    static char data[4096];
    if (fd < 0) {
        fd = memfd_create("bench", 0);
        for (int i = 0; i < 64; i++) {
            memset(data, 'a' + i % 16, sizeof data);
            if (write(fd, data, sizeof data) != sizeof data)
                exit(2);
        }
    }
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n * 64; i++) {
        if (pread(fd, data, sizeof data, (off_t)(i % 64 * 4096)) != sizeof data)
            exit(3);
        sum += (unsigned char)data[i % 4096];
    }
    return sum / n;
}

static uint64_t page_fault(uint64_t n)
{
    enum { PAGES = 512 };
    static unsigned char *area;
    if (!area) {
        area = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (area == MAP_FAILED)
            exit(2);
        madvise(area, PAGES * 4096, MADV_NOHUGEPAGE);
    }
    uint64_t sum = 0;
    for (uint64_t r = 0; r < n; r++) {
        for (size_t i = 0; i < PAGES; i++)
            sum += ++area[i * 4096];
        madvise(area, PAGES * 4096, MADV_DONTNEED);
    }
    return sum / n;
}

static void child_wait(pid_t pid)
{
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
        exit(2);
}

static uint64_t fork_exit(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        child_wait(pid);
    }
    return 1;
}

static uint64_t exec_loop(uint64_t n, const char *path)
{
    for (uint64_t i = 0; i < n; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            execl(path, path, (char *)NULL);
            _exit(127);
        }
        child_wait(pid);
    }
    return 1;
}

static uint64_t exec_static(uint64_t n)
{
    return exec_loop(n, "/bench/true-static");
}
static uint64_t exec_dynamic(uint64_t n)
{
    return exec_loop(n, "/bench/true-dynamic");
}

/* n round trips of 100 with a second process that sends every byte back. */
static uint64_t pipe_loop(uint64_t n)
{
    int there[2], back[2];
    unsigned char byte = 1;
    if (pipe(there) || pipe(back))
        exit(2);
    pid_t pid = fork();
    if (pid == 0) {
        close(there[1]);
        close(back[0]);
        while (read(there[0], &byte, 1) == 1) {
            byte++;
            if (write(back[1], &byte, 1) != 1)
                break;
        }
        _exit(0);
    }
    close(there[0]);
    close(back[1]);
    for (uint64_t i = 0; i < n * 100; i++) {
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            exit(3);
    }
    close(there[1]);
    close(back[0]);
    child_wait(pid);
    return byte;
}

static volatile sig_atomic_t signals;

static void on_signal(int number)
{
    (void)number;
    signals = signals + 1;
}

static uint64_t signal_loop(uint64_t n)
{
    signal(SIGUSR1, on_signal);
    signals = 0;
    for (uint64_t i = 0; i < n * 100; i++)
        raise(SIGUSR1);
    return (uint64_t)signals / n;
}

static uint64_t mmap_loop(uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n * 20; i++) {
        unsigned char *p =
            mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            exit(2);
        p[100] = 3;
        sum += p[100];
        munmap(p, 65536);
    }
    return sum / n;
}

/* Two threads that hand a word to each other. */
static _Atomic uint32_t turn;

static void futex_hand(uint32_t mine, uint32_t theirs)
{
    uint32_t seen;
    while ((seen = atomic_load(&turn)) != mine)
        syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_store(&turn, theirs);
    syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *futex_partner(void *arg)
{
    for (uint64_t i = *(uint64_t *)arg; i; i--)
        futex_hand(1, 0);
    return NULL;
}

static uint64_t futex_loop(uint64_t n)
{
    pthread_t thread;
    uint64_t rounds = n * 50;
    atomic_store(&turn, 0);
    if (pthread_create(&thread, NULL, futex_partner, &rounds))
        exit(2);
    for (uint64_t i = 0; i < rounds; i++)
        futex_hand(0, 1);
    pthread_join(thread, NULL);
    return 1;
}

const struct test os_tests[] = {
    { .group = "os", .name = "getppid", .run = getppid_loop, .ops = 100 },
    { .group = "os", .name = "clock_gettime", .run = clock_loop, .ops = 100 },
    { .group = "os", .name = "pread4K", .run = pread_loop, .ops = 64 },
    { .group = "os", .name = "page-fault", .run = page_fault, .ops = 512 },
    { .group = "os", .name = "fork-exit-wait", .run = fork_exit, .ops = 1 },
    { .group = "os", .name = "exec-static", .run = exec_static, .ops = 1 },
    { .group = "os", .name = "exec-dynamic", .run = exec_dynamic, .ops = 1 },
    { .group = "os", .name = "pipe-ping-pong", .run = pipe_loop, .ops = 100 },
    { .group = "os", .name = "signal", .run = signal_loop, .ops = 100 },
    { .group = "os", .name = "mmap-munmap", .run = mmap_loop, .ops = 20 },
    { .group = "os", .name = "futex-hand-over", .run = futex_loop, .ops = 50 },
    { .name = NULL },
};
