/*
 * int_form.c: the generic re-encoder: a guest instruction with a ModRM byte becomes the same host
 * instruction with registers as they are mapped. Operands come out of T0, T1 or cpu->gpr where
 * they have no host register. Instructions that have better forms, or none, are elsewhere.
 * Reference: Intel SDM volume 2, chapter 2.
 */
#include "int.h"

void int_put(struct rw_tr *t, const struct int_form *f, bool lock, unsigned reg, bool reg_high,
             struct int_rm rm)
{
    bool mem = rm.at == AT_T0T1 || rm.at == AT_T0, host = rm.at == AT_REG;
    bool reg_byte = f->reg.kind == OPND_GPR && f->reg.size == 1 && !reg_high;
    bool rm_byte = f->rm.kind == OPND_GPR && f->rm.size == 1 && host;
    /* SPL to DIL need a REX, which AH to BH do not stand */
    bool rex = (reg_byte && reg >= 4 && reg < 8) || (rm_byte && rm.reg >= 4 && rm.reg < 8);

    if (lock)
        e1(t, 0xf0);
    if (rm.at == AT_STATE)
        e1(t, 0x65);
    if (f->prefix)
        e1(t, f->prefix);
    e_op(t, f->size, f->map, f->opcode, reg_high ? reg + 4 : reg, rm.at == AT_T0T1 ? H_T1 : 0,
         mem ? H_T0 : host ? rm.reg : 0, rex);
    reg = (reg_high ? reg + 4 : reg) & 7;
    if (rm.at == AT_T0T1)
        e_modrm_t0t1(t, reg);
    else if (rm.at == AT_T0)
        e_modrm_t0(t, reg);
    else if (rm.at == AT_STATE)
        e_modrm_abs(t, reg, (uint32_t)STATE_GPR(rm.reg));
    else
        e_modrm_r(t, reg, rm.at == AT_HIGH ? rm.reg + 4u : rm.reg);
    for (unsigned i = 0; i < f->imm_len; i++)
        e1(t, (unsigned)(f->imm >> (8 * i)) & 0xff);
}

/* rorx dst, src, count: 64 bits. No flags. */
static void rorx(struct rw_tr *t, unsigned dst, unsigned src, unsigned count)
{
    e_vex(t, 3, 3, 1, 0, 0xf0, dst, 0, 0, src);
    e_modrm_r(t, dst, src);
    e1(t, count);
}

/* Bits 15..8 of host register REG = bits 7..0 of T1. No flags. */
static void merge_high(struct rw_tr *t, unsigned reg)
{
    rorx(t, reg, reg, 8);
    e_rr(t, 1, 0, 0x8a, reg, H_T1);
    rorx(t, reg, reg, 56);
}

/* The rm operand, memory apart; *store: T0 goes back to cpu->gpr. */
static struct int_rm rm_register(struct rw_tr *t, const struct int_form *f, bool *store)
{
    const struct x86_operand *o = &f->rm;
    bool writes = o->rw & OPND_WRITE;

    if (o->high)
        return (struct int_rm){ AT_HIGH, o->reg };
    if (!int_spilled(o))
        return (struct int_rm){ AT_REG, (uint8_t)rw_host_reg(o->reg) };
    /* Stores of other widths would hold up the next load: through T0 then. */
    if (!f->no_state && (!writes || (o->size == 8 && !(f->reg.rw & OPND_WRITE))))
        return (struct int_rm){ AT_STATE, o->reg };
    if (!int_whole(o))
        e_load(t, H_T0, STATE_GPR(o->reg));
    *store = writes;
    return (struct int_rm){ AT_REG, H_T0 };
}

void int_form(struct rw_tr *t, const struct x86_insn *in, const struct int_form *f)
{
    const struct x86_operand *g = &f->reg;
    bool mem = f->rm.kind == OPND_MEM, reg_operand = g->kind == OPND_GPR;
    bool lock = mem && (in->flags & INSN_LOCK), store_rm = false, store_reg = false, merge = false;
    bool reg_high = reg_operand && g->high;
    unsigned reg = f->ext;
    struct int_rm rm;

    if (mem) {
        rw_mem(t, in, f->rm.size, int_acc(&f->rm));
        rm = (struct int_rm){ AT_T0T1, 0 };
    } else {
        rm = rm_register(t, f, &store_rm);
    }
    if (reg_operand && int_spilled(g)) {
        store_reg = g->rw & OPND_WRITE;
        if (mem && int_whole(g)) {
            reg = H_T0; /* the address is used up by then */
        } else {
            reg = H_T1;
            if (mem) {
                rw_mem_fold(t);
                rm.at = AT_T0;
            }
            if (!int_whole(g))
                e_load(t, reg, STATE_GPR(g->reg));
        }
    } else if (reg_high && mem) {
        /* [T0] needs a REX prefix: work in T1 */
        rw_mem_fold(t);
        rm.at = AT_T0;
        reg = H_T1;
        reg_high = false;
        merge = g->rw & OPND_WRITE;
        rorx(t, reg, g->reg, 8);
    } else if (reg_high) {
        reg = g->reg;
    } else if (reg_operand) {
        reg = rw_host_reg(g->reg);
    }
    if (rm.at == AT_HIGH && reg >= 8) { /* MOVZX ESP, AH */
        rorx(t, H_T0, rm.reg, 8);
        rm = (struct int_rm){ AT_REG, H_T0 };
    }
    rw_flags_before_op(t);
    int_put(t, f, lock, reg, reg_high, rm);
    if (merge)
        merge_high(t, g->reg);
    if (store_reg) /* first: XADD of a register with itself keeps the sum */
        e_store(t, reg, STATE_GPR(g->reg));
    if (store_rm)
        e_store(t, H_T0, STATE_GPR(f->rm.reg));
}

/* Is the first operand the one in ModRM.reg? */
static bool reg_first(const struct x86_insn *in)
{
    switch (in->op) {
    case OP_MOVZX: case OP_MOVSX: case OP_CMOV: case OP_IMUL2: case OP_BSF: case OP_BSR:
    case OP_TZCNT: case OP_LZCNT: case OP_POPCNT: case OP_CRC32: case OP_ADCX: case OP_ADOX:
        return true;
    case OP_ADD: case OP_OR: case OP_ADC: case OP_SBB: case OP_AND: case OP_SUB: case OP_XOR:
    case OP_CMP:
        return in->opcode < 0x40 && (in->opcode & 2);
    case OP_MOV: return in->opcode == 0x8a || in->opcode == 0x8b;
    case OP_MOVBE: return in->opcode == 0xf0;
    default: return false;
    }
}

struct int_form int_form_of(const struct x86_insn *in)
{
    struct int_form f = { .size = in->opsize, .map = in->map, .opcode = in->opcode,
                          .ext = in->modrm >> 3 & 7, .imm = in->imm, .imm_len = in->imm_len };
    unsigned rm = reg_first(in) ? 1 : 0, reg = 1 - rm;
    f.rm = in->opnd[rm];
    if (reg < in->operands && in->opnd[reg].kind == OPND_GPR)
        f.reg = in->opnd[reg];
    return f;
}
