/*
 * int.h: what the emitters of integer instructions (int*.c) share: one host instruction with a
 * ModRM byte, and the generic re-encoder.
 */
#ifndef SOFT_RW_INT_H
#define SOFT_RW_INT_H

#include "emit.h"

#include "../x86/mmu.h"

/* Where a ModRM.rm operand is on the host. */
enum int_at {
    AT_REG,   /* host register reg */
    AT_HIGH,  /* AH CH DH BH: reg 0..3 */
    AT_T0T1,  /* [T0 + T1] */
    AT_T0,    /* [T0] */
    AT_STATE, /* cpu->gpr[reg] */
};
struct int_rm {
    uint8_t at, reg;
};

/*
 * A host instruction with a ModRM byte. Its reg field is EXT, or the register operand. VEX forms
 * have V (vvvv) too.
 */
struct int_form {
    uint8_t prefix;      /* mandatory 66, F3, F2 */
    uint8_t size;        /* operand size: 1, 2, 4, 8 */
    uint8_t map, opcode, ext;
    uint8_t no_state;    /* the memory form of this instruction means something else */
    uint8_t imm_len;
    uint64_t imm;
    struct x86_operand rm, reg; /* kind OPND_NONE: there is none */
};

/* Encode it: lock, prefix, REX, opcode, ModRM, immediate. HIGH: REG is AH + 4. */
void int_put(struct rw_tr *t, const struct int_form *f, bool lock, unsigned reg, bool reg_high,
             struct int_rm rm);
/* Operand look-up, flags, the instruction, results back where they live. */
void int_form(struct rw_tr *t, const struct x86_insn *in, const struct int_form *f);
/* The form that IN has in the guest's code. */
struct int_form int_form_of(const struct x86_insn *in);

/* int_alu.c: ADD to CMP, TEST. int_mov.c, int_bits.c, int_bmi.c. Nothing emitted if false. */
bool int_alu(struct rw_tr *t, const struct x86_insn *in);
bool int_mov(struct rw_tr *t, const struct x86_insn *in);
bool int_lea(struct rw_tr *t, const struct x86_insn *in);
bool int_xchg(struct rw_tr *t, const struct x86_insn *in);
bool int_bswap(struct rw_tr *t, const struct x86_insn *in);
bool int_bit(struct rw_tr *t, const struct x86_insn *in);
bool int_bmi(struct rw_tr *t, const struct x86_insn *in);

static inline bool int_spilled(const struct x86_operand *o)
{
    return o->kind == OPND_GPR && rw_host_reg(o->reg) == H_SPILLED;
}

/* A write of that size leaves nothing of the old register. */
static inline bool int_whole(const struct x86_operand *o)
{
    return o->size >= 4 && !(o->rw & OPND_READ);
}

static inline unsigned int_acc(const struct x86_operand *o)
{
    return o->rw & OPND_WRITE ? ACC_W : ACC_R;
}

#endif
