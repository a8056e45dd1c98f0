/*
 * int_bits.c: BT BTS BTR BTC, whose memory form with a register operand addresses a string of bits:
 * the look-up needs the address of the very word.
 * Reference: Intel SDM volume 2, BT.
 */
#include "int.h"

/* Bit number in a register, memory operand. */
static bool bit_string(struct rw_tr *t, const struct x86_insn *in)
{
    const struct x86_operand *m = &in->opnd[0], *b = &in->opnd[1];
    unsigned bits = m->size * 8u, reg = rw_host_reg(b->reg);
    struct int_form f = { .size = m->size, .map = 1, .opcode = in->opcode, .rm = *m };

    if (in->addrsize != 8)
        return false; /* the sum would have to be cut before the segment base comes to it */
    rw_flags_clobber(t); /* while T1 is free */
    rw_ea(t, in);
    /* T0 += (bit number >> log2 bits) * bytes, the number being signed */
    if (reg == H_SPILLED) {
        if (m->size == 8)
            e_load(t, H_T1, STATE_GPR(b->reg));
        else if (m->size == 4)
            e_state(t, 8, 0, 0x63, H_T1, STATE_GPR(b->reg));
        else
            e_state(t, 8, 1, 0xbf, H_T1, STATE_GPR(b->reg));
    } else {
        if (m->size == 8)
            e_mov_rr(t, H_T1, reg);
        else
            e_rr(t, 8, m->size == 2, m->size == 4 ? 0x63 : 0xbf, H_T1, reg);
    }
    e_rr(t, 8, 0, 0xc1, 7, H_T1); /* sar T1, log2 bits */
    e1(t, m->size == 8 ? 6 : m->size == 4 ? 5 : 4);
    e_op(t, 8, 0, 0x8d, H_T0, H_T1, H_T0, false); /* lea T0, [T0 + T1 * bytes] */
    e1(t, 0x04 | (H_T0 & 7) << 3);
    e1(t, (m->size == 8 ? 3u : m->size == 4 ? 2u : 1u) << 6 | (H_T1 & 7) << 3 | (H_T0 & 7));
    rw_mem_t0(t, m->size, int_acc(m));
    rw_mem_fold(t);
    /* T1 = the bit within the word */
    if (reg == H_SPILLED)
        e_state(t, 4, 0, 0x8b, H_T1, STATE_GPR(b->reg));
    else
        e_rr(t, 4, 0, 0x8b, H_T1, reg);
    e_rr(t, 4, 0, 0x83, 4, H_T1); /* and */
    e1(t, bits - 1);
    rw_flags_before_op(t);
    int_put(t, &f, in->flags & INSN_LOCK, H_T1, false, (struct int_rm){ AT_T0, 0 });
    return true;
}

bool int_bit(struct rw_tr *t, const struct x86_insn *in)
{
    bool number_in_reg = in->opnd[1].kind == OPND_GPR;
    if (in->opnd[0].kind == OPND_MEM && number_in_reg)
        return bit_string(t, in);
    struct int_form f = int_form_of(in);
    f.no_state = number_in_reg;
    int_form(t, in, &f);
    return true;
}
