/*
 * int_alu.c: ADD OR ADC SBB AND SUB XOR CMP and TEST: the forms that registers in memory make worth
 * choosing. All others are int_form.c's.
 */
#include "int.h"

/* AL, AX, EAX, RAX with an immediate: no ModRM byte. */
static bool accumulator(struct rw_tr *t, const struct x86_insn *in)
{
    if (in->has_modrm)
        return false;
    rw_flags_before_op(t);
    e_op(t, in->opsize, 0, in->opcode, 0, 0, 0, false);
    for (unsigned i = 0; i < in->imm_len; i++)
        e1(t, (unsigned)(in->imm >> (8 * i)) & 0xff);
    return true;
}

/* XOR or SUB of a register with itself does not read it; TEST reads it once. */
static bool same_spilled(struct rw_tr *t, const struct x86_insn *in)
{
    const struct x86_operand *a = &in->opnd[0], *b = &in->opnd[1];
    if (b->kind != OPND_GPR || !int_spilled(a) || a->reg != b->reg)
        return false;
    if ((in->op == OP_XOR || in->op == OP_SUB) && a->size >= 4) {
        rw_flags_before_op(t);
        e_rr(t, 4, 0, in->op == OP_XOR ? 0x31 : 0x29, H_T0, H_T0);
        e_store(t, H_T0, STATE_GPR(a->reg));
        return true;
    }
    if (in->op == OP_TEST) { /* CMP with 0 sets the same flags */
        rw_flags_before_op(t);
        e_state(t, a->size, 0, a->size == 1 ? 0x80 : 0x83, 7, STATE_GPR(a->reg));
        e1(t, 0);
        return true;
    }
    return false;
}

/* op r12, [memory]: through T0, without a detour for the register. */
static bool spilled_from_memory(struct rw_tr *t, const struct x86_insn *in)
{
    const struct x86_operand *a = &in->opnd[0], *b = &in->opnd[1];
    unsigned opcode = in->opcode & 0x38u;
    bool commutes = in->op != OP_SBB && in->op != OP_SUB, byte = a->size == 1;
    if (b->kind != OPND_MEM || !int_spilled(a))
        return false;
    if (in->op != OP_CMP && a->size != 8 && (a->size != 4 || !commutes))
        return false;
    rw_mem(t, in, b->size, ACC_R);
    e_op(t, a->size, 0, byte ? 0x8a : 0x8b, H_T0, H_T1, H_T0, false);
    e_modrm_t0t1(t, H_T0);
    rw_flags_before_op(t);
    if (in->op == OP_CMP || a->size == 8) { /* op gs:[], T0 */
        e_state(t, a->size, 0, opcode | (byte ? 0 : 1), H_T0, STATE_GPR(a->reg));
    } else {
        e_state(t, 4, 0, opcode | 3, H_T0, STATE_GPR(a->reg));
        e_store(t, H_T0, STATE_GPR(a->reg));
    }
    return true;
}

bool int_alu(struct rw_tr *t, const struct x86_insn *in)
{
    const struct x86_operand *a = &in->opnd[0], *b = &in->opnd[1];
    bool test = in->op == OP_TEST;

    if (accumulator(t, in) || same_spilled(t, in))
        return true;
    if (!test && spilled_from_memory(t, in))
        return true;
    struct int_form f = int_form_of(in);
    if (test && b->kind == OPND_IMM) {
        f.ext = 0; /* 1 is its alias */
    } else if (a->kind == OPND_GPR && b->kind == OPND_GPR) {
        /* the direction that has the spilled register, if it is one, in ModRM.rm */
        bool swap = int_spilled(b) && !int_spilled(a);
        if (!test)
            f.opcode = (uint8_t)((in->opcode & 0x39u) | (swap ? 2 : 0));
        f.rm = swap ? *b : *a;
        f.reg = swap ? *a : *b;
    }
    int_form(t, in, &f);
    return true;
}
