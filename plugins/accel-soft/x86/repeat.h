/*
 * repeat.h: the host's own string instructions for chunks of the guest's: elements ascending, one
 * after the other, so that overlapping operands come out as they do on the guest's processor. They
 * use general registers only. Checking addresses is the caller's.
 */
#ifndef SOFT_X86_REPEAT_H
#define SOFT_X86_REPEAT_H

#include <stdint.h>

/* N elements of BYTES (1, 2, 4, 8) from FROM to TO. */
static inline void repeat_movs(uint8_t *to, const uint8_t *from, uint64_t n, unsigned bytes)
{
    switch (bytes) {
    case 1:
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
        break;
    case 2:
        __asm__ volatile("rep movsw" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
        break;
    case 4:
        __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
        break;
    default:
        __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
        break;
    }
}

/* N elements of BYTES with the value VAL. */
static inline void repeat_stos(uint8_t *to, uint64_t val, uint64_t n, unsigned bytes)
{
    switch (bytes) {
    case 1:
        __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(val) : "memory");
        break;
    case 2:
        __asm__ volatile("rep stosw" : "+D"(to), "+c"(n) : "a"(val) : "memory");
        break;
    case 4:
        __asm__ volatile("rep stosl" : "+D"(to), "+c"(n) : "a"(val) : "memory");
        break;
    default:
        __asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(val) : "memory");
        break;
    }
}

#endif
