/*
 * int_bmi.c: the VEX-encoded integer instructions: ANDN BEXTR BLSI BLSMSK BLSR BZHI MULX PDEP PEXT
 * RORX SARX SHLX SHRX. Operands are 32 or 64 bits wide, destinations are written whole.
 * Reference: Intel SDM volume 2, 2.3 and the instructions' pages.
 */
#include "int.h"

/* Which operand is encoded where. */
struct places {
    int8_t reg, v, rm; /* index into opnd, -1: none */
};

static struct places places_of(const struct x86_insn *in)
{
    switch (in->op) {
    case OP_ANDN: case OP_PDEP: case OP_PEXT: case OP_MULX:
        return (struct places){ .reg = 0, .v = 1, .rm = 2 };
    case OP_BEXTR: case OP_BZHI: case OP_SARX: case OP_SHLX: case OP_SHRX:
        return (struct places){ .reg = 0, .v = 2, .rm = 1 };
    case OP_RORX: return (struct places){ .reg = 0, .v = -1, .rm = 1 };
    default: return (struct places){ .reg = -1, .v = 0, .rm = 1 }; /* BLSR BLSMSK BLSI */
    }
}

bool int_bmi(struct rw_tr *t, const struct x86_insn *in)
{
    struct places at = places_of(in);
    const struct x86_operand *m = &in->opnd[at.rm];
    unsigned reg = in->modrm >> 3 & 7, v = 0, w = in->opsize == 8;
    unsigned pp = in->pp == 0x66 ? 1 : in->pp == 0xf3 ? 2 : in->pp == 0xf2 ? 3 : 0;
    bool mem = m->kind == OPND_MEM, state = int_spilled(m), folded = false;

    if (mem)
        rw_mem(t, in, m->size, ACC_R);
    if (at.v >= 0) {
        const struct x86_operand *o = &in->opnd[at.v];
        v = rw_host_reg(o->reg);
        if (v == H_SPILLED) {
            v = H_T1;
            if (mem && (o->rw & OPND_READ)) {
                rw_mem_fold(t);
                folded = true;
            }
            if (o->rw & OPND_READ)
                e_load(t, H_T1, STATE_GPR(o->reg));
        }
    }
    if (at.reg >= 0) {
        reg = rw_host_reg(in->opnd[at.reg].reg);
        if (reg == H_SPILLED)
            reg = H_T0;
    }
    rw_flags_before_op(t);
    if (state)
        e1(t, 0x65);
    e_vex(t, in->map, pp, w, 0, in->opcode, reg, v, mem && !folded ? H_T1 : 0,
          mem ? H_T0 : state ? 0 : rw_host_reg(m->reg));
    if (mem && folded)
        e_modrm_t0(t, reg);
    else if (mem)
        e_modrm_t0t1(t, reg);
    else if (state)
        e_modrm_abs(t, reg, (uint32_t)STATE_GPR(m->reg));
    else
        e_modrm_r(t, reg, rw_host_reg(m->reg));
    if (in->op == OP_RORX)
        e1(t, (unsigned)in->imm & 0xff);

    /* in this order: MULX of one register twice leaves the high half there */
    if (at.v >= 0 && (in->opnd[at.v].rw & OPND_WRITE) && v == H_T1)
        e_store(t, H_T1, STATE_GPR(in->opnd[at.v].reg));
    if (reg == H_T0)
        e_store(t, H_T0, STATE_GPR(in->opnd[at.reg].reg));
    return true;
}
