/*
 * int_mov.c: MOV, LEA, XCHG, BSWAP. No flags anywhere here.
 */
#include "int.h"

/* mov gpr, immediate */
static void mov_imm(struct rw_tr *t, const struct x86_insn *in)
{
    const struct x86_operand *a = &in->opnd[0];
    unsigned h = rw_host_reg(a->reg);
    uint64_t v = a->size == 4 ? (uint32_t)in->imm : in->imm;

    if (a->size >= 4 && h != H_SPILLED) {
        e_mov_ri(t, h, v);
    } else if (a->size >= 4 && v == (uint64_t)(int64_t)(int32_t)v) {
        e_state(t, 8, 0, 0xc7, 0, STATE_GPR(a->reg));
        e4(t, (uint32_t)v);
    } else if (a->size >= 4) {
        e_mov_ri(t, H_T0, v);
        e_store(t, H_T0, STATE_GPR(a->reg));
    } else {
        unsigned reg = h == H_SPILLED ? H_T0 : a->high ? a->reg + 4u : h;
        if (h == H_SPILLED)
            e_load(t, H_T0, STATE_GPR(a->reg));
        e_op(t, a->size, 0, (a->size == 1 ? 0xb0 : 0xb8) | (reg & 7), 0, 0, reg,
             a->size == 1 && !a->high && reg >= 4 && reg < 8);
        e1(t, (unsigned)v & 0xff);
        if (a->size == 2)
            e1(t, (unsigned)(v >> 8) & 0xff);
        if (h == H_SPILLED)
            e_store(t, H_T0, STATE_GPR(a->reg));
    }
}

/* mov gpr, gpr: 32 and 64 bits */
static void mov_reg(struct rw_tr *t, const struct x86_insn *in)
{
    const struct x86_operand *a = &in->opnd[0], *b = &in->opnd[1];
    unsigned to = rw_host_reg(a->reg), from = rw_host_reg(b->reg);

    if (to == H_SPILLED && from != H_SPILLED && a->size == 8) {
        e_store(t, from, STATE_GPR(a->reg));
        return;
    }
    unsigned temp = to == H_SPILLED ? H_T0 : to;
    if (from == H_SPILLED)
        e_state(t, a->size, 0, 0x8b, temp, STATE_GPR(b->reg));
    else
        e_rr(t, a->size, 0, 0x8b, temp, from);
    if (to == H_SPILLED)
        e_store(t, H_T0, STATE_GPR(a->reg));
}

/* A0 to A3: the accumulator and an absolute address */
static void mov_absolute(struct rw_tr *t, const struct x86_insn *in)
{
    struct int_form f = { .size = in->opsize };
    bool load = in->opnd[1].kind == OPND_MEM;
    f.opcode = (uint8_t)((load ? 0x8a : 0x88) | (in->opsize == 1 ? 0 : 1));
    f.rm = in->opnd[load];
    f.reg = in->opnd[!load];
    int_form(t, in, &f);
}

bool int_mov(struct rw_tr *t, const struct x86_insn *in)
{
    const struct x86_operand *a = &in->opnd[0], *b = &in->opnd[1];

    if (a->kind == OPND_GPR && b->kind == OPND_IMM) {
        mov_imm(t, in);
    } else if (a->kind == OPND_GPR && b->kind == OPND_GPR && a->size >= 4) {
        mov_reg(t, in);
    } else if (!in->has_modrm) {
        mov_absolute(t, in);
    } else {
        struct int_form f = int_form_of(in);
        int_form(t, in, &f);
    }
    return true;
}

bool int_lea(struct rw_tr *t, const struct x86_insn *in)
{
    const struct x86_operand *a = &in->opnd[0];
    unsigned h = rw_host_reg(a->reg);

    if (a->size >= 4) {
        rw_lea(t, in, a->size, h == H_SPILLED ? H_T0 : h);
        if (h == H_SPILLED)
            e_store(t, H_T0, STATE_GPR(a->reg));
        return true;
    }
    rw_lea(t, in, 4, H_T0);
    if (h == H_SPILLED) {
        e_load(t, H_T1, STATE_GPR(a->reg));
        h = H_T1;
    }
    e_rr(t, 2, 0, 0x8b, h, H_T0);
    if (h == H_T1)
        e_store(t, H_T1, STATE_GPR(a->reg));
    return true;
}

/* With memory the generic form does it, and the host locks as the guest would. */
bool int_xchg(struct rw_tr *t, const struct x86_insn *in)
{
    const struct x86_operand *a = &in->opnd[0], *b = &in->opnd[1];
    if (a->kind == OPND_MEM) {
        struct int_form f = int_form_of(in);
        int_form(t, in, &f);
        return true;
    }
    bool sa = int_spilled(a), sb = int_spilled(b);
    unsigned ra = sa ? H_T0 : a->high ? a->reg + 4u : rw_host_reg(a->reg);
    unsigned rb = sb ? H_T1 : b->high ? b->reg + 4u : rw_host_reg(b->reg);
    if (sa)
        e_load(t, ra, STATE_GPR(a->reg));
    if (sb)
        e_load(t, rb, STATE_GPR(b->reg));
    if (a->size == 8 && sa && !sb) {
        e_store(t, rb, STATE_GPR(a->reg));
        e_mov_rr(t, rb, ra);
        return true;
    }
    if (a->size == 8 && sb && !sa) {
        e_store(t, ra, STATE_GPR(b->reg));
        e_mov_rr(t, ra, rb);
        return true;
    }
    e_op(t, a->size, 0, a->size == 1 ? 0x86 : 0x87, rb, 0, ra,
         a->size == 1 && ((!a->high && ra >= 4 && ra < 8) || (!b->high && rb >= 4 && rb < 8)));
    e_modrm_r(t, rb, ra);
    if (sa)
        e_store(t, ra, STATE_GPR(a->reg));
    if (sb)
        e_store(t, rb, STATE_GPR(b->reg));
    return true;
}

bool int_bswap(struct rw_tr *t, const struct x86_insn *in)
{
    const struct x86_operand *a = &in->opnd[0];
    unsigned h = rw_host_reg(a->reg);
    if (a->size == 2)
        return false; /* undefined */
    if (h == H_SPILLED)
        e_load(t, H_T0, STATE_GPR(a->reg));
    unsigned reg = h == H_SPILLED ? H_T0 : h;
    e_op(t, a->size, 1, 0xc8 | (reg & 7), 0, 0, reg, false);
    if (h == H_SPILLED)
        e_store(t, H_T0, STATE_GPR(a->reg));
    return true;
}
