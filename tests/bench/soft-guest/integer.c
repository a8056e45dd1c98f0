/* integer.c: general-register work: arithmetic, tables, calls, branches that depend on data. The
 * nine tests of which the integer target of accel-soft speaks. */
#include "bench.h"
#include <stdlib.h>
#include <string.h>

#ifdef __clang__
#pragma GCC diagnostic ignored "-Wgnu-label-as-value"
#endif
#pragma GCC diagnostic ignored "-Wpedantic" /* labels as values: the test of them is the point */

static uint64_t alu(uint64_t n)
{
    uint64_t a = 0x123456789abcdef, b = 0xfedcba9876543210, c = 7;
    for (uint64_t i = 0; i < n * 1000; i++) {
        a = (a << 7 | a >> 57) + b;
        b ^= a >> 3;
        c += b ^ (c << 13 | c >> 51);
    }
    return a ^ b ^ c;
}

static uint64_t crc32(uint64_t n)
{
    static uint32_t table[256];
    static unsigned char data[65536];
    if (!table[1]) {
        uint64_t s = 1;
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int k = 0; k < 8; k++)
                c = c & 1 ? 0xedb88320 ^ c >> 1 : c >> 1;
            table[i] = c;
        }
        for (size_t i = 0; i < sizeof data; i++)
            data[i] = (unsigned char)next_random(&s);
    }
    uint32_t crc = ~0u;
    for (uint64_t r = 0; r < n; r++) {
        for (size_t i = 0; i < sizeof data; i++)
            crc = table[(crc ^ data[i]) & 255] ^ crc >> 8;
    }
    return crc;
}

#define LEAF(name, expression)                                                                     \
    __attribute__((noinline)) static uint64_t name(uint64_t x)                                     \
    {                                                                                              \
        return expression;                                                                         \
    }
LEAF(leaf_a, x * 3 + 1)
LEAF(leaf_b, x ^ x >> 7)
LEAF(leaf_c, (x << 5) - x)
LEAF(leaf_d, x + 0x9e3779b97f4a7c15)
#undef LEAF

static uint64_t icall(uint64_t n)
{
    static uint64_t (*const volatile leaves[4])(uint64_t) = { leaf_a, leaf_b, leaf_c, leaf_d };
    uint64_t x = 1;
    for (uint64_t i = 0; i < n * 1000; i++)
        x = leaves[(i + (i >> 3)) & 3](x);
    return x;
}

static uint64_t hash(uint64_t n)
{
    struct node {
        struct node *next;
        uint64_t key, count;
    };
    static struct node *heads[1024], nodes[2048];
    uint64_t sum = 0;
    for (uint64_t r = 0; r < n; r++) {
        uint64_t seed = 5, used = 0;
        memset(heads, 0, sizeof heads);
        for (int i = 0; i < 3000; i++) {
            uint64_t key = next_random(&seed) & 2047, slot = (key * 0x9e3779b97f4a7c15) >> 54;
            struct node *p = heads[slot];
            while (p && p->key != key)
                p = p->next;
            if (!p) {
                p = &nodes[used++];
                *p = (struct node){ heads[slot], key, 0 };
                heads[slot] = p;
            }
            p->count++;
        }
        for (int i = 0; i < 1024; i++) {
            for (struct node *p = heads[i]; p; p = p->next)
                sum += p->key * p->count;
        }
    }
    return sum;
}

static uint64_t sieve(uint64_t n)
{
    static unsigned char composite[65536];
    uint64_t count = 0;
    for (uint64_t r = 0; r < n; r++) {
        memset(composite, 0, sizeof composite);
        for (unsigned i = 2; i < 65536; i++) {
            if (composite[i])
                continue;
            count++;
            for (unsigned k = i * 2; k < 65536; k += i)
                composite[k] = 1;
        }
    }
    return count;
}

/* A machine with eight instructions that runs a nested loop: the shape of every interpreter. */
static uint64_t bytecode(uint64_t n)
{
    enum { PUSH, ADD, XOR, LOAD, STORE, LESS, JUMP_IF, HALT };
    static const unsigned char code[] = {
        PUSH, 0, STORE, 0,                                      /* i = 0 */
        LOAD, 1, LOAD,  0,   ADD,  PUSH,    77, XOR,  STORE, 1, /* sum = (sum + i) ^ 77 */
        LOAD, 0, PUSH,  1,   ADD,  STORE,   0,                  /* i = i + 1 */
        LOAD, 0, PUSH,  200, LESS, JUMP_IF, 4,  HALT,           /* while i < 200 */
    };
    uint64_t vars[2] = { 0, 1 }, stack[16];
    for (uint64_t r = 0; r < n; r++) {
        static const void *const labels[] = { &&push,  &&add,  &&exor,    &&load,
                                              &&store, &&less, &&jump_if, &&halt };
        const unsigned char *pc = code;
        uint64_t *sp = stack;
#define NEXT goto *labels[*pc++]
        NEXT;
    push:
        *sp++ = *pc++;
        NEXT;
    add:
        sp--;
        sp[-1] += *sp;
        NEXT;
    exor:
        sp--;
        sp[-1] ^= *sp;
        NEXT;
    load:
        *sp++ = vars[*pc++];
        NEXT;
    store:
        vars[*pc++] = *--sp;
        NEXT;
    less:
        sp--;
        sp[-1] = sp[-1] < *sp;
        NEXT;
    jump_if:
        pc = *--sp ? code + *pc : pc + 1;
        NEXT;
    halt:;
#undef NEXT
    }
    return vars[1];
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t sort(uint64_t n)
{
    static uint32_t data[50000];
    for (uint64_t r = 0; r < n; r++) {
        uint64_t s = 9;
        for (size_t i = 0; i < 50000; i++)
            data[i] = (uint32_t)next_random(&s);
        qsort(data, 50000, sizeof *data, compare);
    }
    return data[0] ^ (uint64_t)data[25000] << 32;
}

static uint64_t chase(uint64_t n)
{
    enum { LINES = 4 << 20 >> 6 };
    struct line {
        struct line *next;
        char pad[56];
    };
    static struct line lines[LINES], *at;
    if (!at) {
        static uint32_t order[LINES];
        uint64_t s = 3;
        for (uint32_t i = 0; i < LINES; i++)
            order[i] = i;
        for (uint32_t i = LINES - 1; i; i--) {
            uint32_t k = (uint32_t)(next_random(&s) % i), t = order[i]; /* one cycle over all */
            order[i] = order[k];
            order[k] = t;
        }
        for (uint32_t i = 0; i < LINES; i++)
            lines[order[i]].next = &lines[order[(i + 1) % LINES]];
        at = lines;
    }
    struct line *p = at;
    for (uint64_t i = 0; i < n * 1000; i++)
        p = p->next;
    at = p;
    return (uint64_t)(p - lines);
}

__attribute__((noinline)) static uint64_t fib(unsigned k)
{
    /* The barriers keep gcc from unrolling the recursion. */
    if (k < 2)
        return k;
    uint64_t a = fib(k - 1);
    __asm__ volatile("" : "+r"(a));
    uint64_t b = fib(k - 2);
    __asm__ volatile("" : "+r"(b));
    return a + b;
}

static uint64_t fib24(uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += fib(24);
    return sum;
}

const struct test integer_tests[] = {
    { .group = "integer", .name = "alu", .run = alu, .ops = 1000 },
    { .group = "integer", .name = "crc32", .run = crc32, .ops = 1 },
    { .group = "integer", .name = "icall", .run = icall, .ops = 1000 },
    { .group = "integer", .name = "hash", .run = hash, .ops = 1 },
    { .group = "integer", .name = "sieve", .run = sieve, .ops = 1 },
    { .group = "integer", .name = "bytecode", .run = bytecode, .ops = 200 },
    { .group = "integer", .name = "qsort", .run = sort, .ops = 1 },
    { .group = "integer", .name = "chase4M", .run = chase, .ops = 1000 },
    { .group = "integer", .name = "fib", .run = fib24, .ops = 1 },
    { .name = NULL },
};
