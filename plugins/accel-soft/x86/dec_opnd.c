/*
 * dec_opnd.c: the operands of an instruction whose form is known: the memory operand with its
 * displacement, registers, immediates, x87. Validity of prefixes and modes is dec.c's.
 */
#include "dec_int.h"

/* ---- the memory operand ---------------------------------------------------------------------- */

static void address16(struct dec *d)
{
    static const uint8_t base[8] = { REG_RBX, REG_RBX, REG_RBP, REG_RBP,
                                     REG_RSI, REG_RDI, REG_RBP, REG_RBX };
    static const uint8_t index[4] = { REG_RSI, REG_RDI, REG_RSI, REG_RDI };
    struct x86_insn *in = d->in;

    in->base = base[d->rm];
    if (d->rm < 4)
        in->index = index[d->rm];
    if (d->mod == 0 && d->rm == 6) {
        in->base = REG_NONE;
        in->disp = sign_extend(number(d, 2), 2);
    } else if (d->mod) {
        in->disp = sign_extend(number(d, d->mod), d->mod);
    }
}

static void address32(struct dec *d, bool vsib)
{
    struct x86_insn *in = d->in;
    unsigned disp = d->mod == 1 ? 1 : d->mod == 2 ? 4 : 0;

    in->base = d->rm | d->rex_b;
    if (d->rm == 4) {
        uint8_t sib = byte(d);

        in->base = (sib & 7) | d->rex_b;
        in->index = ((sib >> 3) & 7) | d->rex_x;
        in->scale = (uint8_t)(1 << (sib >> 6));
        if (in->index == 4 && !vsib) {
            in->index = REG_NONE;
            in->scale = 1;
        }
        if ((sib & 7) == 5 && d->mod == 0) {
            in->base = REG_NONE;
            disp = 4;
        }
    } else if (d->rm == 5 && d->mod == 0) {
        in->base = d->bits == 64 ? REG_RIP : REG_NONE;
        in->flags |= d->bits == 64 ? INSN_RIP_REL : 0;
        disp = 4;
    }
    if (disp)
        in->disp = sign_extend(number(d, disp), disp);
}

void x86_dec_memory(struct dec *d, bool vsib)
{
    struct x86_insn *in = d->in;

    d->mem = true;
    if (in->addrsize == 2)
        address16(d);
    else
        address32(d, vsib);
    if (d->seg == REG_NONE)
        in->seg = in->base == REG_RSP || in->base == REG_RBP ? SEG_SS : SEG_DS;
}

/* ---- operands -------------------------------------------------------------------------------- */

static unsigned operand_size(const struct dec *d, unsigned what, bool mem)
{
    const struct x86_insn *in = d->in;
    unsigned opsize = in->opsize, vector = in->vex_l ? 32 : 16;

    switch (what & S_MASK) {
    case S_1: return 1;
    case S_2: return 2;
    case S_4: return 4;
    case S_8: return 8;
    case S_16: return 16;
    case S_10: return 10;
    case S_V: case S_Z: case S_SB: return opsize;
    case S_Y: return d->rex_w && d->bits == 64 ? 8 : 4;
    case S_X: return vector;
    case S_XH: return vector / 2;
    case S_XQ: return vector / 4;
    case S_XO: return vector / 8;
    case S_P: return opsize + 2;
    case S_S: return d->bits == 64 ? 10 : 6;
    case S_A: return opsize * 2;
    case S_MODE: return d->bits == 64 ? 8 : 4;
    case S_F: return d->rex_w ? 8 : 4;
    case S_DD: return in->vex_l ? 32 : 8;
    case S_MB: return mem ? 1 : 4;
    case S_MW: return mem ? 2 : 4;
    case S_MWV: return mem ? 2 : opsize;
    case S_ENV: return opsize == 2 ? 14 : 28;
    case S_SAVE: return opsize == 2 ? 94 : 108;
    case S_CX: return opsize == 8 ? 16 : 8;
    case S_SX: return opsize == 2 ? 2 : 4;
    default: return 0;
    }
}

static void set_gpr(const struct dec *d, struct x86_operand *o, unsigned reg)
{
    o->kind = OPND_GPR;
    o->reg = (uint8_t)reg;
    if (o->size == 1 && !d->in->rex && reg >= 4 && reg < 8) {
        o->reg = (uint8_t)(reg - 4);
        o->high = 1;
    }
}

static void set_xmm(struct x86_operand *o, unsigned reg)
{
    o->kind = OPND_XMM;
    o->reg = (uint8_t)reg;
    o->size = o->size > 16 ? 32 : 16;
}

/* An immediate, by its size code. */
static void set_imm(struct dec *d, struct x86_operand *o, unsigned what)
{
    struct x86_insn *in = d->in;

    o->kind = OPND_IMM;
    switch (what & S_MASK) {
    case S_SB: in->imm = (uint64_t)sign_extend(immediate(d, 1), 1); break;
    case S_Z:
        if (o->size == 2)
            in->imm = (uint64_t)sign_extend(immediate(d, 2), 2);
        else
            in->imm = (uint64_t)sign_extend(immediate(d, 4), 4);
        break;
    default: in->imm = immediate(d, o->size); break;
    }
}

static void set_target(struct dec *d, struct x86_operand *o, unsigned what)
{
    o->kind = OPND_IMM;
    o->size = (what & S_MASK) == S_1 ? 1 : d->in->opsize == 2 ? 2 : 4;
    d->in->imm = (uint64_t)sign_extend(immediate(d, o->size), o->size);
}

/* Fill one operand from its description; false: undefined instruction. */
static bool operand(struct dec *d, struct x86_operand *o, unsigned what)
{
    struct x86_insn *in = d->in;
    unsigned kind = what & K_MASK;
    uint8_t low3 = in->opcode & 7;

    o->rw = (what >> 10) & 3;
    o->size = (uint8_t)operand_size(d, what, d->mem);
    switch (kind) {
    case K_G: set_gpr(d, o, d->reg); break;
    case K_E: case K_W: case K_Q: case K_M: case K_VSIB:
        if (d->mem) {
            o->kind = OPND_MEM;
        } else if (kind == K_E) {
            set_gpr(d, o, d->rm | d->rex_b);
        } else if (kind == K_W) {
            set_xmm(o, d->rm | d->rex_b);
        } else if (kind == K_Q) {
            o->kind = OPND_MM;
            o->reg = d->rm;
            o->size = 8;
        } else {
            return false;
        }
        break;
    case K_R:
        set_gpr(d, o, d->rm | d->rex_b);
        return !d->mem;
    case K_N:
        o->kind = OPND_MM;
        o->reg = d->rm;
        return !d->mem;
    case K_U:
        set_xmm(o, d->rm | d->rex_b);
        return !d->mem;
    case K_Z: set_gpr(d, o, low3 | d->rex_b); break;
    case K_A: set_gpr(d, o, REG_RAX); break;
    case K_DX: set_gpr(d, o, REG_RDX); break;
    case K_CL: set_gpr(d, o, REG_RCX); break;
    case K_B:
        set_gpr(d, o, d->bits == 64 ? in->vex_v : in->vex_v & 7u);
        d->vvvv_used = true;
        break;
    case K_H:
        set_xmm(o, d->bits == 64 ? in->vex_v : in->vex_v & 7u);
        d->vvvv_used = true;
        break;
    case K_V: set_xmm(o, d->reg); break;
    case K_P:
        o->kind = OPND_MM;
        o->reg = d->reg & 7;
        break;
    case K_ONE:
        o->kind = OPND_IMM;
        in->imm = 1;
        break;
    case K_I: set_imm(d, o, what); break;
    case K_L:
        in->imm = immediate(d, 1);
        set_xmm(o, (unsigned)(in->imm >> 4) & (d->bits == 64 ? 15 : 7));
        break;
    case K_J: set_target(d, o, what); break;
    case K_FAR:
        o->kind = OPND_IMM;
        in->imm = immediate(d, in->opsize);
        in->imm2 = immediate(d, 2);
        break;
    case K_O:
        o->kind = OPND_MEM;
        in->disp = (int64_t)number(d, in->addrsize);
        if (d->seg == REG_NONE)
            in->seg = SEG_DS;
        break;
    case K_S: case K_SOP: case K_SES: case K_SDS: case K_SLO:
        o->kind = OPND_SEG;
        o->reg = kind == K_S     ? d->reg & 7
                 : kind == K_SOP ? (in->opcode >> 3) & 7
                 : kind == K_SES ? SEG_ES
                 : kind == K_SDS ? SEG_DS
                                 : low3;
        return o->reg <= SEG_GS && !(kind == K_S && o->reg == SEG_CS && (o->rw & OPND_WRITE));
    case K_C:
        o->kind = OPND_CR;
        o->reg = d->reg;
        return d->reg == 0 || (d->reg >= 2 && d->reg <= 4) || d->reg == 8;
    case K_D:
        o->kind = OPND_DR;
        o->reg = d->reg;
        return d->reg < 8;
    default: return false;
    }
    return true;
}

/* All operands of a form, with the extra one of VEX. */
bool x86_dec_operands(struct dec *d, const struct form *f)
{
    struct x86_insn *in = d->in;
    unsigned count = 0;
    bool extra = d->vex && f->flags & (T_NDS | T_NDD);

    if (extra && f->flags & T_NDD)
        if (!operand(d, &in->opnd[count++], (unsigned)K_H | (f->opnd[0] & S_MASK) | WR))
            return false;
    for (unsigned i = 0; i < 4 && f->opnd[i]; i++) {
        unsigned what = f->opnd[i];

        if (extra && i == 0)
            what = (what & ~(unsigned)RW) | (f->flags & T_NDD ? RD : WR);
        if (!operand(d, &in->opnd[count++], what))
            return false;
        if (extra && i == 0 && f->flags & T_NDS)
            if (!operand(d, &in->opnd[count++], (unsigned)K_H | (f->opnd[0] & S_MASK) | RD))
                return false;
    }
    in->operands = (uint8_t)count;
    return true;
}

static void x87_register(struct x86_operand *o, unsigned reg, unsigned rw)
{
    *o = (struct x86_operand){ .kind = OPND_ST, .reg = (uint8_t)reg, .size = 10, .rw = rw & 3 };
}

bool x86_dec_x87(struct dec *d)
{
    struct x86_insn *in = d->in;
    struct x87_form f;
    bool sti_first;

    in->op = OP_X87;
    if (!x86_x87_form(in->opcode, in->modrm, &f))
        return false;
    in->feature = f.feature;
    if (d->mem) {
        in->operands = 1;
        return operand(d, &in->opnd[0], (unsigned)K_M | f.mem);
    }
    switch (f.regs) {
    case X87_AX:
        in->operands = 1;
        return operand(d, &in->opnd[0], (unsigned)K_A | S_2 | WR);
    case X87_NONE: return true;
    case X87_0: case X87_I:
        x87_register(&in->opnd[0], f.regs == X87_I ? d->rm : 0,
                     f.regs == X87_I ? OPND_READ : OPND_READ | OPND_WRITE);
        in->operands = 1;
        return true;
    default: break;
    }
    sti_first = f.regs == X87_I_0 || f.regs == X87_ST;
    x87_register(&in->opnd[0], sti_first ? d->rm : 0,
                 f.regs == X87_CMP  ? OPND_READ
                 : f.regs == X87_ST ? OPND_WRITE
                                    : OPND_READ | OPND_WRITE);
    x87_register(&in->opnd[1], sti_first ? 0 : d->rm,
                 f.regs == X87_XCH ? OPND_READ | OPND_WRITE : OPND_READ);
    in->operands = 2;
    return true;
}
