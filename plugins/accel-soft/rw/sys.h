/*
 * sys.h: what the emitters of system and string instructions (sys*.c, str.c) share: checks that end
 * in the interpreter, small pieces of code on struct vcpu, calls of C functions.
 */
#ifndef SOFT_RW_SYS_H
#define SOFT_RW_SYS_H

#include "emit.h"

#include "../x86/mmu.h"

enum { CC_E = 4, CC_NE = 5, CC_NS = 9 };
enum { SHIFT_L = 4, SHIFT_R = 5, SHIFT_A = 7 };
enum { RW_PAUSES = 64 }; /* PAUSE gives the host's CPU away once in so many */

/* The guest has the instruction. */
bool rw_has(const struct rw_tr *t, const struct x86_insn *in);
/* jcc to COLD */
void rw_guard(struct rw_tr *t, unsigned cc, struct rw_cold *cold);

/* test byte gs:[off], imm */
static inline void rw_test_byte(struct rw_tr *t, size_t off, unsigned imm)
{
    e_state(t, 1, 0, 0xf6, 0, off);
    e1(t, imm);
}

/* cmp byte gs:[off], imm */
static inline void rw_cmp_byte(struct rw_tr *t, size_t off, unsigned imm)
{
    e_state(t, 1, 0, 0x80, 7, off);
    e1(t, imm);
}

/* mov byte gs:[off], imm */
static inline void rw_put_byte(struct rw_tr *t, size_t off, unsigned imm)
{
    e_state(t, 1, 0, 0xc6, 0, off);
    e1(t, imm);
}

/* An interrupt is held back: who sets IF has to tell the run loop, which the interpreter does. */
static inline void rw_guard_event_waiting(struct rw_tr *t)
{
    rw_cmp_byte(t, STATE(event_waiting), 0);
    rw_guard(t, CC_NE, rw_cold_new(t, COLD_INSN));
}

/* shl, shr, sar reg, n */
static inline void rw_shift(struct rw_tr *t, unsigned opsize, unsigned kind, unsigned reg,
                            unsigned n)
{
    e_rr(t, opsize, 0, 0xc1, kind, reg);
    e1(t, n);
}

/* and, or, test (EXT 4, 1; 0 of F7) reg32, imm32 */
static inline void rw_and32(struct rw_tr *t, unsigned reg, uint32_t imm)
{
    e_rr(t, 4, 0, 0x81, 4, reg);
    e4(t, imm);
}

static inline void rw_or32(struct rw_tr *t, unsigned reg, uint32_t imm)
{
    e_rr(t, 4, 0, 0x81, 1, reg);
    e4(t, imm);
}

static inline void rw_test32(struct rw_tr *t, unsigned reg, uint32_t imm)
{
    e_rr(t, 4, 0, 0xf7, 0, reg);
    e4(t, imm);
}

/* Short forward jump; rw_skip_here says where to. */
static inline uint8_t *rw_skip(struct rw_tr *t, unsigned cc)
{
    e1(t, 0x70 | cc);
    e1(t, 0);
    return t->p - 1;
}

static inline void rw_skip_here(const struct rw_tr *t, uint8_t *at)
{
    *at = (uint8_t)(t->p - at - 1);
}

/* What C derives from CPL and AC (cpu_mode_changed) is out of date: slow.c sees to it. */
static inline void rw_mode_dirty(struct rw_tr *t)
{
    rw_put_byte(t, STATE(rw_mode_dirty), 1);
}

/*
 * reg32 = the six flags of the image, at their places in RFLAGS, from fl_image; and fl_image from
 * T0, which has them at their places in RFLAGS: destroys T0 and T1.
 */
void rw_image_to_arith(struct rw_tr *t, unsigned reg);
void rw_t0_to_image(struct rw_tr *t);

/*
 * Call a C function FN(cpu, ret): RET is the host address behind the call. It returns where to go
 * on (RET, if all is done), or 0. Destroys T0 and T1; flags are in both places then.
 */
typedef uint64_t (*rw_helper)(struct vcpu *cpu, uint64_t ret);
void rw_call_helper(struct rw_tr *t, rw_helper fn);

/* sys_call.c */
bool rw_emit_transfer(struct rw_tr *t, const struct x86_insn *in);
/* sys_handed.c */
bool rw_emit_handed(struct rw_tr *t, const struct x86_insn *in);
/* sys_flags.c */
bool rw_emit_pushf(struct rw_tr *t, const struct x86_insn *in);
bool rw_emit_popf(struct rw_tr *t, const struct x86_insn *in);

#endif
