/*
 * wide.h: the division that C has no operator for. The compiler's own for 128 bits is a function of
 * its library, which may use vector registers (vecstate.h).
 */
#ifndef SOFT_X86_WIDE_H
#define SOFT_X86_WIDE_H

#include <stdint.h>

/* hi:lo / d; hi < d, or the host's processor would fault. */
static inline uint64_t div_wide(uint64_t hi, uint64_t lo, uint64_t d, uint64_t *rem)
{
    uint64_t q, r;
    __asm__("divq %4" : "=a"(q), "=d"(r) : "a"(lo), "d"(hi), "r"(d) : "cc");
    *rem = r;
    return q;
}

#endif
