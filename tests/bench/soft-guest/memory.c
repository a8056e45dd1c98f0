/* memory.c: copies, fills and walks that are larger than the caches of a CPU or of a translator. */
#include "bench.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MIB = 1 << 20 };

/* Zeroed memory, touched, in 4 KiB pages on every machine. */
static unsigned char *area(size_t size)
{
    unsigned char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        exit(2);
    madvise(p, size, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < size; i += 4096)
        p[i] = (unsigned char)(i >> 12);
    return p;
}

static uint64_t memcpy_1m(uint64_t n)
{
    static unsigned char *a, *b;
    if (!a) {
        a = area(MIB);
        b = area(MIB);
    }
    for (uint64_t r = 0; r < n; r++) {
        a[r & (MIB - 1)]++;
        memcpy(b, a, MIB);
        __asm__ volatile("" : : "r"(b) : "memory");
    }
    return b[4096 * 5];
}

static uint64_t rep_movsb(uint64_t n)
{
    static unsigned char *a, *b;
    if (!a) {
        a = area(MIB);
        b = area(MIB);
    }
    for (uint64_t r = 0; r < n; r++) {
        const unsigned char *from = a;
        unsigned char *to = b;
        size_t count = MIB;
        __asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
    }
    return b[4096 * 7];
}

static uint64_t rep_stosq(uint64_t n)
{
    static unsigned char *b;
    if (!b)
        b = area(MIB);
    for (uint64_t r = 0; r < n; r++) {
        unsigned char *to = b;
        size_t count = MIB / 8;
        __asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(0x0101010101010101) : "memory");
    }
    return b[777];
}

static uint64_t stream(uint64_t n)
{
    enum { ITEMS = 1 << 20 }; /* three arrays of 8 MiB */
    static double *a, *b, *c;
    if (!a) {
        a = (double *)(void *)area(ITEMS * 8);
        b = (double *)(void *)area(ITEMS * 8);
        c = (double *)(void *)area(ITEMS * 8);
        for (size_t i = 0; i < ITEMS; i++) {
            b[i] = (double)i;
            c[i] = (double)(i & 255);
        }
    }
    for (uint64_t r = 0; r < n; r++) {
        for (size_t i = 0; i < ITEMS; i++)
            a[i] = b[i] + 3 * c[i];
        __asm__ volatile("" : : "r"(a) : "memory");
    }
    return (uint64_t)a[12345];
}

static uint64_t chase64m(uint64_t n)
{
    enum { LINES = 64 * MIB / 64 };
    static uint64_t *lines, at;
    if (!lines) {
        /* Sattolo's shuffle in place: every line holds the number of the next, in one cycle. */
        lines = (uint64_t *)(void *)area((size_t)LINES * 64);
        uint64_t s = 11;
        for (uint64_t i = 0; i < LINES; i++)
            lines[i * 8] = i;
        for (uint64_t i = LINES - 1; i; i--) {
            uint64_t k = next_random(&s) % i, t = lines[i * 8];
            lines[i * 8] = lines[k * 8];
            lines[k * 8] = t;
        }
    }
    uint64_t p = at;
    for (uint64_t i = 0; i < n * 1000; i++)
        p = lines[p * 8];
    at = p;
    return p;
}

const struct test memory_tests[] = {
    { .group = "memory", .name = "memcpy1M", .run = memcpy_1m, .ops = 1 },
    { .group = "memory", .name = "rep-movsb1M", .run = rep_movsb, .ops = 1 },
    { .group = "memory", .name = "rep-stosq1M", .run = rep_stosq, .ops = 1 },
    { .group = "memory", .name = "stream8M", .run = stream, .ops = 1 },
    { .group = "memory", .name = "chase64M", .run = chase64m, .ops = 1000 },
    { .name = NULL },
};
