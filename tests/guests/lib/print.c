/*
 * print.c: the console of a guest (a 16550 at 3f8h, polled), the few functions of a C library that
 * the compiler may call, and the loop over the tests. Knows no paging and no interrupts.
 */
#include "guest.h"
#include "run.h"

#include <stdarg.h>

static int failures, skipped;
static const char *running;

static void put(char c)
{
    while (!(inb(0x3f8 + 5) & 0x20))
        cpu_relax();
    outb(0x3f8, (u8)c);
}

static void put_hex(u64 v)
{
    int shift = 60;
    while (shift && !(v >> shift & 15))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        put("0123456789abcdef"[v >> shift & 15]);
}

static void put_dec(u32 v)
{
    char text[10];
    int n = 0;
    do {
        text[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    while (n)
        put(text[--n]);
}

/* %s %c %d %u %x %lx %llx: enough for messages. */
void printf(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    for (; *format; format++) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        int longs = 0;
        while (*++format == 'l')
            longs++;
        switch (*format) {
        case 's':
            for (const char *s = va_arg(ap, const char *); *s; s++)
                put(*s);
            break;
        case 'c':
            put((char)va_arg(ap, int));
            break;
        case 'd':
        case 'u': {
            int v = va_arg(ap, int);
            if (*format == 'd' && v < 0) {
                put('-');
                v = -v;
            }
            put_dec((u32)v);
            break;
        }
        case 'x':
            put_hex(longs > 1    ? va_arg(ap, unsigned long long)
                    : longs == 1 ? va_arg(ap, unsigned long)
                                 : va_arg(ap, unsigned));
            break;
        default:
            put(*format);
        }
    }
    va_end(ap);
}

/* Only the first failure of a test is told: what follows it is mostly its consequence. */
void test_fail(int line, const char *what)
{
    if (!failures++)
        printf("FAIL %s: line %d: %s\n", running, line, what);
}

void test_fail_eq(int line, const char *what, u64 got, u64 want)
{
    if (!failures++)
        printf("FAIL %s: line %d: %s is 0x%llx, not 0x%llx\n", running, line, what,
               (unsigned long long)got, (unsigned long long)want);
}

void test_skip(const char *why)
{
    if (!failures && !skipped++)
        printf("SKIP %s: %s\n", running, why);
}

void tests_run(void)
{
    for (const struct test *t = tests; t->name; t++) {
        running = t->name;
        failures = skipped = 0;
        printf("RUN %s\n", t->name);
        t->fn();
        if (!failures && !skipped)
            printf("PASS %s\n", t->name);
    }
}

void *memset(void *to, int byte, size_t len)
{
    void *p = to;
    __asm__ volatile("rep stosb" : "+D"(p), "+c"(len) : "a"(byte) : "memory");
    return to;
}

void *memcpy(void *to, const void *from, size_t len)
{
    void *p = to;
    __asm__ volatile("rep movsb" : "+D"(p), "+S"(from), "+c"(len) : : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t len)
{
    const u8 *p = a, *q = b;
    for (; len; len--, p++, q++)
        if (*p != *q)
            return *p - *q;
    return 0;
}
