/*
 * emit.h: host machine code, byte by byte. Only forms that the rewriter needs; operands are host
 * registers (enum in rw.h), [T0 + T1], [T0], or a member of struct vcpu through GS. Nothing here
 * knows the guest.
 * Reference: Intel SDM volume 2, chapter 2.
 */
#ifndef SOFT_RW_EMIT_H
#define SOFT_RW_EMIT_H

#include "rw.h"

static inline void e1(struct rw_tr *t, unsigned b)
{
    *t->p++ = (uint8_t)b;
}

static inline void e2(struct rw_tr *t, unsigned v)
{
    e1(t, v);
    e1(t, v >> 8);
}

static inline void e4(struct rw_tr *t, uint32_t v)
{
    e2(t, v & 0xffff);
    e2(t, v >> 16);
}

static inline void e8(struct rw_tr *t, uint64_t v)
{
    e4(t, (uint32_t)v);
    e4(t, (uint32_t)(v >> 32));
}

/* Offset in the cache of the next byte, and the rel32 of a jump whose rel32 ends there + 4. */
static inline uint32_t e_here(const struct rw_tr *t)
{
    return (uint32_t)(t->p - t->rw->rw_base);
}

static inline void e_rel32(struct rw_tr *t, uint32_t target)
{
    e4(t, target - (e_here(t) + 4));
}

typedef uint32_t rw_unaligned32 __attribute__((aligned(1), may_alias));

typedef uint32_t __attribute__((aligned(1), may_alias)) e_unaligned32;

/* Fill in a rel32 written before. */
static inline void e_fix32(struct rw *rw, uint32_t site, uint32_t target)
{
    uint32_t rel = target - (site + 4);
    uint8_t *p = rw->rw_base + site;
    *(volatile e_unaligned32 *)(void *)p = rel;
}

/*
 * What precedes ModRM. opsize 1, 2, 4, 8: 66 and REX.W follow from it (1: a REX is forced where
 * SPL BPL SIL DIL or a high host register need it). map: 0 one byte, 1 0F, 2 0F38, 3 0F3A. reg,
 * index, base: host registers (0 where there is none).
 */
static inline void e_op(struct rw_tr *t, unsigned opsize, unsigned map, unsigned opcode,
                        unsigned reg, unsigned index, unsigned base, bool byte_regs)
{
    unsigned rex = (opsize == 8 ? 8u : 0) | (reg >> 3 & 1) << 2 | (index >> 3 & 1) << 1 |
                   (base >> 3 & 1);
    if (opsize == 2)
        e1(t, 0x66);
    if (rex || byte_regs)
        e1(t, 0x40 | rex);
    if (map)
        e1(t, 0x0f);
    if (map == 2)
        e1(t, 0x38);
    if (map == 3)
        e1(t, 0x3a);
    e1(t, opcode);
}

/* ModRM (and SIB) for a register, for [T0 + T1], for [T0], for gs:[disp32]. */
static inline void e_modrm_r(struct rw_tr *t, unsigned reg, unsigned rm)
{
    e1(t, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

static inline void e_modrm_t0t1(struct rw_tr *t, unsigned reg)
{
    e1(t, 0x04 | (reg & 7) << 3);
    e1(t, (H_T1 & 7) << 3 | (H_T0 & 7)); /* base R14 needs no displacement */
}

static inline void e_modrm_t0(struct rw_tr *t, unsigned reg)
{
    e1(t, (reg & 7) << 3 | (H_T0 & 7));
}

static inline void e_modrm_abs(struct rw_tr *t, unsigned reg, uint32_t disp)
{
    e1(t, 0x04 | (reg & 7) << 3);
    e1(t, 0x25);
    e4(t, disp);
}

/* op reg, rm (both host registers). */
static inline void e_rr(struct rw_tr *t, unsigned opsize, unsigned map, unsigned opcode,
                        unsigned reg, unsigned rm)
{
    bool byte_regs = opsize == 1 && ((reg >= 4 && reg < 8) || (rm >= 4 && rm < 8));
    e_op(t, opsize, map, opcode, reg, 0, rm, byte_regs);
    e_modrm_r(t, reg, rm);
}

/* mov dst, src: 64 bits; no flags. */
static inline void e_mov_rr(struct rw_tr *t, unsigned dst, unsigned src)
{
    e_rr(t, 8, 0, 0x8b, dst, src);
}

/* op reg, gs:[off]: a member of struct vcpu, for any opcode with ModRM. */
static inline void e_state(struct rw_tr *t, unsigned opsize, unsigned map, unsigned opcode,
                           unsigned reg, size_t off)
{
    e1(t, 0x65);
    e_op(t, opsize, map, opcode, reg, 0, 0, opsize == 1 && reg >= 4 && reg < 8);
    e_modrm_abs(t, reg, (uint32_t)off);
}

#define STATE(member) offsetof(struct vcpu, member)
#define STATE_GPR(g) (offsetof(struct vcpu, gpr) + 8 * (size_t)(g))

/* mov reg, gs:[off] and back, 64 bits. */
static inline void e_load(struct rw_tr *t, unsigned reg, size_t off)
{
    e_state(t, 8, 0, 0x8b, reg, off);
}

static inline void e_store(struct rw_tr *t, unsigned reg, size_t off)
{
    e_state(t, 8, 0, 0x89, reg, off);
}

/* The shortest way to have a constant in a register; no flags. */
static inline void e_mov_ri(struct rw_tr *t, unsigned reg, uint64_t v)
{
    if (v <= UINT32_MAX) {
        if (reg >= 8)
            e1(t, 0x41);
        e1(t, 0xb8 | (reg & 7));
        e4(t, (uint32_t)v);
    } else if (v == (uint64_t)(int64_t)(int32_t)v) {
        e1(t, 0x48 | reg >> 3);
        e1(t, 0xc7);
        e1(t, 0xc0 | (reg & 7));
        e4(t, (uint32_t)v);
    } else {
        e1(t, 0x48 | reg >> 3);
        e1(t, 0xb8 | (reg & 7));
        e8(t, v);
    }
}

/* lea dst, [base + disp]; base any host register but RSP and R12. No flags. */
static inline void e_lea_disp(struct rw_tr *t, unsigned dst, unsigned base, int32_t disp)
{
    e1(t, 0x48 | (dst >> 3) << 2 | base >> 3);
    e1(t, 0x8d);
    if (disp >= -128 && disp <= 127) {
        e1(t, 0x40 | (dst & 7) << 3 | (base & 7));
        e1(t, (unsigned)disp & 0xff);
    } else {
        e1(t, 0x80 | (dst & 7) << 3 | (base & 7));
        e4(t, (uint32_t)disp);
    }
}

/* lea rsp, [rsp + disp8] */
static inline void e_lea_disp_rsp(struct rw_tr *t, int disp)
{
    e1(t, 0x48);
    e1(t, 0x8d);
    e1(t, 0x64);
    e1(t, 0x24);
    e1(t, (unsigned)disp & 0xff);
}

/* jmp rel32, jcc rel32, call rel32 to a place in the cache. */
static inline void e_jmp(struct rw_tr *t, uint32_t target)
{
    e1(t, 0xe9);
    e_rel32(t, target);
}

static inline void e_jcc(struct rw_tr *t, unsigned cc, uint32_t target)
{
    e1(t, 0x0f);
    e1(t, 0x80 | cc);
    e_rel32(t, target);
}

static inline void e_call(struct rw_tr *t, uint32_t target)
{
    e1(t, 0xe8);
    e_rel32(t, target);
}

/*
 * A VEX instruction (BMI): m 1 0F, 2 0F38, 3 0F3A; pp 0, 1 (66), 2 (F3), 3 (F2); v: vvvv. index and
 * base: host registers of the memory operand or rm.
 */
static inline void e_vex(struct rw_tr *t, unsigned m, unsigned pp, unsigned w, unsigned l,
                         unsigned opcode, unsigned reg, unsigned v, unsigned index, unsigned base)
{
    e1(t, 0xc4);
    e1(t, (reg >> 3 ? 0 : 0x80) | (index >> 3 ? 0 : 0x40) | (base >> 3 ? 0 : 0x20) | m);
    e1(t, w << 7 | (~v & 15) << 3 | l << 2 | pp);
    e1(t, opcode);
}

#endif
