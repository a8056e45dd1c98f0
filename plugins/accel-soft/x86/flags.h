/*
 * flags.h: the arithmetic flags, kept as a result and a word of carries so that an operation stores
 * two words and a condition needs no knowledge of the operation that set it.
 *
 *   cc_res   the result, sign extended to 64 bits: ZF, SF and (low byte) PF
 *   cc_src   bit 63   carry out of the top bit: CF
 *            bit 62   carry into the top bit: OF = bit 63 ^ bit 62
 *            bit 3    carry out of bit 3: AF
 *            bit 0    SF is the opposite of the result's sign
 *            bit 8    PF is the opposite of the result's parity
 *
 * The last two are set only when flags are loaded as a whole (POPF, SAHF, IRET), where SF, ZF and
 * PF may contradict each other. The idea of carry vectors is from Mihocka and Shwartsman,
 * "Virtualization without direct execution" (2008).
 */
#ifndef SOFT_X86_FLAGS_H
#define SOFT_X86_FLAGS_H

#include "state.h"

#define CC_CARRY (UINT64_C(1) << 63)
#define CC_TOP (UINT64_C(3) << 62)
#define CC_AUX UINT64_C(8)

static inline uint64_t sign_extend(uint64_t val, unsigned bits)
{
    switch (bits) {
    case 8:
        return (uint64_t)(int64_t)(int8_t)val;
    case 16:
        return (uint64_t)(int64_t)(int16_t)val;
    case 32:
        return (uint64_t)(int64_t)(int32_t)val;
    default:
        return val;
    }
}

static inline uint64_t zero_extend(uint64_t val, unsigned bits)
{
    switch (bits) {
    case 8:
        return (uint8_t)val;
    case 16:
        return (uint16_t)val;
    case 32:
        return (uint32_t)val;
    default:
        return val;
    }
}

/* ---- reading ---- */

static inline bool flag_c(const struct vcpu *cpu)
{
    return cpu->cc_src >> 63;
}

static inline bool flag_z(const struct vcpu *cpu)
{
    return cpu->cc_res == 0;
}

static inline bool flag_s(const struct vcpu *cpu)
{
    return ((cpu->cc_res >> 63) ^ cpu->cc_src) & 1;
}

static inline bool flag_o(const struct vcpu *cpu)
{
    return (cpu->cc_src ^ (cpu->cc_src << 1)) >> 63;
}

static inline bool flag_a(const struct vcpu *cpu)
{
    return (cpu->cc_src >> 3) & 1;
}

static inline bool flag_p(const struct vcpu *cpu)
{
    unsigned v = (unsigned)(cpu->cc_res & 0xff);
    v ^= v >> 4;
    /* bit n of 0x9669: the parity of n is even */
    return ((0x9669u >> (v & 15)) ^ (unsigned)(cpu->cc_src >> 8)) & 1;
}

/* Condition codes of Jcc, SETcc, CMOVcc (SDM volume 1, appendix B). */
static inline bool flag_cc(const struct vcpu *cpu, unsigned cc)
{
    bool v = false;
    switch (cc >> 1) {
    case 0:
        v = flag_o(cpu);
        break;
    case 1:
        v = flag_c(cpu);
        break;
    case 2:
        v = flag_z(cpu);
        break;
    case 3:
        v = (cpu->cc_src >> 63) | (uint64_t)(cpu->cc_res == 0);
        break;
    case 4:
        v = flag_s(cpu);
        break;
    case 5:
        v = flag_p(cpu);
        break;
    case 6:
        v = flag_s(cpu) != flag_o(cpu);
        break;
    case 7:
        v = (unsigned)flag_z(cpu) | (unsigned)(flag_s(cpu) != flag_o(cpu));
        break;
    }
    return v ^ (cc & 1);
}

/* ---- setting ---- */

static inline void flags_carries(struct vcpu *cpu, uint64_t res, uint64_t carries, unsigned bits)
{
    cpu->cc_res = sign_extend(res, bits);
    cpu->cc_src = bits == 64 ? carries & (CC_TOP | CC_AUX)
                             : (carries << (64 - bits)) | (carries & CC_AUX);
}

/* r = a + b (+ carry) */
static inline void flags_add(struct vcpu *cpu, uint64_t a, uint64_t b, uint64_t r, unsigned bits)
{
    flags_carries(cpu, r, (a & b) | ((a | b) & ~r), bits);
}

/* r = a - b (- borrow) */
static inline void flags_sub(struct vcpu *cpu, uint64_t a, uint64_t b, uint64_t r, unsigned bits)
{
    flags_carries(cpu, r, (~a & b) | ((~a | b) & r), bits);
}

static inline void flags_logic(struct vcpu *cpu, uint64_t r, unsigned bits)
{
    cpu->cc_res = sign_extend(r, bits);
    cpu->cc_src = 0;
}

/* All six from a result and CF, OF, AF. */
static inline void flags_coa(struct vcpu *cpu, uint64_t r, unsigned bits, bool c, bool o, bool a)
{
    cpu->cc_res = sign_extend(r, bits);
    cpu->cc_src = (uint64_t)c << 63 | (uint64_t)(c ^ o) << 62 | (uint64_t)a << 3;
}

static inline void flags_inc(struct vcpu *cpu, uint64_t r, unsigned bits)
{
    uint64_t res = sign_extend(r, bits), c = cpu->cc_src & CC_CARRY;
    uint64_t o = res == sign_extend(UINT64_C(1) << (bits - 1), bits);
    cpu->cc_res = res;
    cpu->cc_src = c | ((c >> 1) ^ (o << 62)) | ((res & 15) == 0 ? CC_AUX : 0);
}

static inline void flags_dec(struct vcpu *cpu, uint64_t r, unsigned bits)
{
    uint64_t res = sign_extend(r, bits), c = cpu->cc_src & CC_CARRY;
    uint64_t o = res == sign_extend((UINT64_C(1) << (bits - 1)) - 1, bits);
    cpu->cc_res = res;
    cpu->cc_src = c | ((c >> 1) ^ (o << 62)) | ((res & 15) == 15 ? CC_AUX : 0);
}

/* CF and OF only: rotates. */
static inline void flags_set_co(struct vcpu *cpu, bool c, bool o)
{
    cpu->cc_src = (cpu->cc_src & ~CC_TOP) | (uint64_t)c << 63 | (uint64_t)(c ^ o) << 62;
}

/* CF only: BT, CLC, ADCX. */
static inline void flags_set_c(struct vcpu *cpu, bool c)
{
    flags_set_co(cpu, c, flag_o(cpu));
}

/* The six from their places in RFLAGS. */
static inline void flags_load(struct vcpu *cpu, uint64_t fl)
{
    bool z = fl & FL_ZF, p = fl & FL_PF, s = fl & FL_SF, c = fl & FL_CF, o = fl & FL_OF;
    cpu->cc_res = z ? 0 : 1;
    cpu->cc_src = (uint64_t)c << 63 | (uint64_t)(c ^ o) << 62 | (uint64_t)(p != z) << 8 |
                  ((fl & FL_AF) ? CC_AUX : 0) | (s ? 1 : 0);
}

static inline uint64_t flags_arith(const struct vcpu *cpu)
{
    return (flag_c(cpu) ? FL_CF : 0) | (flag_p(cpu) ? FL_PF : 0) | (flag_a(cpu) ? FL_AF : 0) |
           (flag_z(cpu) ? FL_ZF : 0) | (flag_s(cpu) ? FL_SF : 0) | (flag_o(cpu) ? FL_OF : 0);
}

#endif
