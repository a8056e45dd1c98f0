/*
 * bytes.c: the functions that a compiler calls on its own (copies of structures, zeroing of
 * variables), with general registers only. The names are libc's; being hidden symbols of the
 * plugin they are what all of its code calls, and nobody else's. See vecstate.h for why.
 *
 * Not for guest memory that needs single-copy accesses: that is mmu.h's host_load and host_store.
 * Builds with sanitizers leave this file out: they replace these functions themselves.
 */
#include <stddef.h>
#include <stdint.h>

typedef uint16_t __attribute__((aligned(1), may_alias)) any16;
typedef uint32_t __attribute__((aligned(1), may_alias)) any32;
typedef uint64_t __attribute__((aligned(1), may_alias)) any64;

/* <string.h> may have inline ones. */
void *memcpy(void *restrict to, const void *restrict from, size_t len);
void *memmove(void *to, const void *from, size_t len);
void *memset(void *to, int byte, size_t len);
int memcmp(const void *a, const void *b, size_t len);
int bcmp(const void *a, const void *b, size_t len); /* clang: where only equality matters */

enum { REP_FROM = 64 }; /* from here on REP MOVS and REP STOS are faster than a loop */

/* At most 16 bytes: all are read before the first is written, so they may overlap. */
static void move_short(uint8_t *to, const uint8_t *from, size_t len)
{
    if (len >= 8) {
        uint64_t a = *(const any64 *)from, b = *(const any64 *)(from + len - 8);
        *(any64 *)to = a;
        *(any64 *)(to + len - 8) = b;
    } else if (len >= 4) {
        uint32_t a = *(const any32 *)from, b = *(const any32 *)(from + len - 4);
        *(any32 *)to = a;
        *(any32 *)(to + len - 4) = b;
    } else if (len >= 2) {
        uint16_t a = *(const any16 *)from, b = *(const any16 *)(from + len - 2);
        *(any16 *)to = a;
        *(any16 *)(to + len - 2) = b;
    } else if (len) {
        *to = *from;
    }
}

/* From the low end; also where TO lies below FROM and they overlap. */
static void move_up(uint8_t *to, const uint8_t *from, size_t len)
{
    if (len >= REP_FROM) {
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(len) : : "memory");
        return;
    }
    for (; len > 16; len -= 8, to += 8, from += 8)
        *(any64 *)to = *(const any64 *)from;
    move_short(to, from, len);
}

void *memcpy(void *restrict to, const void *restrict from, size_t len)
{
    move_up(to, from, len);
    return to;
}

void *memmove(void *to, const void *from, size_t len)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    if ((uintptr_t)t - (uintptr_t)f >= len) {
        move_up(t, f, len);
        return to;
    }
    for (; len > 16; len -= 8)
        *(any64 *)(t + len - 8) = *(const any64 *)(f + len - 8);
    move_short(t, f, len);
    return to;
}

void *memset(void *to, int byte, size_t len)
{
    uint8_t *t = to;
    const uint64_t val = (uint8_t)byte * UINT64_C(0x0101010101010101);
    if (len >= REP_FROM) {
        __asm__ volatile("rep stosb" : "+D"(t), "+c"(len) : "a"(byte) : "memory");
        return to;
    }
    if (len >= 8) {
        *(any64 *)(t + len - 8) = val;
        for (; len > 8; len -= 8, t += 8)
            *(any64 *)t = val;
        return to;
    }
    for (; len; len--)
        *t++ = (uint8_t)byte;
    return to;
}

int memcmp(const void *a, const void *b, size_t len)
{
    const uint8_t *x = a, *y = b;
    for (; len >= 8 && *(const any64 *)x == *(const any64 *)y; len -= 8) {
        x += 8;
        y += 8;
    }
    for (; len; len--, x++, y++)
        if (*x != *y)
            return *x < *y ? -1 : 1;
    return 0;
}

int bcmp(const void *a, const void *b, size_t len)
{
    return memcmp(a, b, len);
}
