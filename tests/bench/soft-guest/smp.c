/* smp.c: two CPUs at once: work side by side, one cache line fought over, hand-overs, and the
 * messages between CPUs that taking a page away needs. Meaningful only with two CPUs. */
#include "bench.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static _Atomic uint64_t shared;
static _Atomic bool stop;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* Runs fn(n) here and in a second thread, each on a CPU of its own, and waits for both. */
struct work {
    void (*fn)(uint64_t);
    uint64_t n;
};

static bool two_cpus(void)
{
    return sysconf(_SC_NPROCESSORS_ONLN) >= 2;
}

static void cpu_take(size_t cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

static void *second(void *arg)
{
    const struct work *w = arg;
    cpu_take(1);
    w->fn(w->n);
    return NULL;
}

static void in_parallel(void (*fn)(uint64_t), uint64_t n)
{
    pthread_t thread;
    struct work w = { fn, n };
    cpu_take(0);
    if (pthread_create(&thread, NULL, second, &w))
        exit(2);
    fn(n);
    pthread_join(thread, NULL);
}

static void mix(uint64_t n)
{
    uint64_t a = 1, b = 2;
    for (uint64_t i = 0; i < n * 1000; i++) {
        a = (a << 7 | a >> 57) + b;
        b ^= a >> 3;
    }
    __asm__ volatile("" : : "r"(a));
}

static uint64_t alu_two(uint64_t n)
{
    in_parallel(mix, n);
    return 1;
}

static void count(uint64_t n)
{
    for (uint64_t i = 0; i < n * 1000; i++)
        atomic_fetch_add(&shared, 1);
}

static uint64_t atomic_two(uint64_t n)
{
    atomic_store(&shared, 0);
    in_parallel(count, n);
    return atomic_load(&shared) / n;
}

static void locked(uint64_t n)
{
    for (uint64_t i = 0; i < n * 100; i++) {
        pthread_mutex_lock(&mutex);
        atomic_store_explicit(&shared, atomic_load_explicit(&shared, memory_order_relaxed) + 1,
                              memory_order_relaxed);
        pthread_mutex_unlock(&mutex);
    }
}

static uint64_t mutex_two(uint64_t n)
{
    atomic_store(&shared, 0);
    in_parallel(locked, n);
    return atomic_load(&shared) / n;
}

/* A wake-up on another CPU and back: IPIs and leaving HLT. */
static int there[2], back[2];

static void *echo(void *arg)
{
    unsigned char byte;
    (void)arg;
    cpu_take(1);
    while (read(there[0], &byte, 1) == 1 && byte)
        if (write(back[1], &byte, 1) != 1)
            break;
    return NULL;
}

static uint64_t wake_other(uint64_t n)
{
    pthread_t thread;
    unsigned char byte = 1;
    if (pipe(there) || pipe(back) || pthread_create(&thread, NULL, echo, NULL))
        exit(2);
    cpu_take(0);
    for (uint64_t i = 0; i < n * 20; i++) {
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            exit(3);
    }
    byte = 0;
    if (write(there[1], &byte, 1) != 1)
        exit(4);
    pthread_join(thread, NULL);
    close(there[0]);
    close(there[1]);
    close(back[0]);
    close(back[1]);
    return 1;
}

/* Takes the right to write away and gives it back while the other CPU reads the page: each time a
 * message must flush the other's TLB. */
static unsigned char *volatile page;

static void *reader(void *arg)
{
    uint64_t sum = 0;
    (void)arg;
    cpu_take(1);
    while (!atomic_load_explicit(&stop, memory_order_relaxed))
        sum += page[64];
    return (void *)(uintptr_t)(sum & 1);
}

static uint64_t shootdown(uint64_t n)
{
    pthread_t thread;
    unsigned char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        exit(2);
    p[64] = 1;
    page = p;
    atomic_store(&stop, false);
    if (pthread_create(&thread, NULL, reader, NULL))
        exit(3);
    cpu_take(0);
    for (uint64_t i = 0; i < n * 20; i++) {
        p[0]++;
        if (mprotect(p, 4096, PROT_READ) || mprotect(p, 4096, PROT_READ | PROT_WRITE))
            exit(4);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    munmap(p, 4096);
    return 1;
}

const struct test smp_tests[] = {
    { .group = "smp", .name = "alu-two", .run = alu_two, .ops = 1000, .usable = two_cpus },
    { .group = "smp", .name = "atomic-two", .run = atomic_two, .ops = 2000, .usable = two_cpus },
    { .group = "smp", .name = "mutex-two", .run = mutex_two, .ops = 200, .usable = two_cpus },
    { .group = "smp", .name = "wake-other", .run = wake_other, .ops = 20, .usable = two_cpus },
    { .group = "smp", .name = "shootdown", .run = shootdown, .ops = 20, .usable = two_cpus },
    { .name = NULL },
};
