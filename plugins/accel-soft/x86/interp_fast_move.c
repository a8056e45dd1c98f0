/*
 * interp_fast_move.c: handlers of MOV, MOVZX, MOVSX, LEA, CMOVcc, SETcc, XCHG of registers, and
 * PUSH and POP of registers in 64-bit and flat 32-bit code.
 */
#include "ops.h"

#define OPS_FILE "ops_move.h"
#include "ops_kinds.h"

/* ---- registers ---- */

HANDLER(mov8)
{
    reg_set(cpu, op->r, reg_get(cpu, op->m, 8), 8);
    NEXT;
}

HANDLER(mov16)
{
    reg_set(cpu, op->r, reg_get(cpu, op->m, 16), 16);
    NEXT;
}

HANDLER(mov32)
{
    reg_set(cpu, op->r, reg_get(cpu, op->m, 32), 32);
    NEXT;
}

HANDLER(mov64)
{
    reg_set(cpu, op->r, r64(cpu, op->m), 64);
    NEXT;
}

HANDLER(movi8)
{
    reg_set(cpu, op->r, (uint64_t)op->imm, 8);
    NEXT;
}

HANDLER(movi16)
{
    reg_set(cpu, op->r, (uint64_t)op->imm, 16);
    NEXT;
}

HANDLER(movi64)
{
    reg_set(cpu, op->r, op->a, 64);
    NEXT;
}

#define EXTEND(name, bits, to, val)                                                                \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        uint64_t v = reg_get(cpu, op->m, bits);                                                    \
        reg_set(cpu, op->r, val, to);                                                              \
        NEXT;                                                                                      \
    }
EXTEND(rzx8_16, 8, 16, v)
EXTEND(rzx8_64, 8, 64, v)
EXTEND(rzx16_64, 16, 64, v)
EXTEND(rsx8_16, 8, 16, sign_extend(v, 8))
EXTEND(rsx8_32, 8, 32, sign_extend(v, 8))
EXTEND(rsx8_64, 8, 64, sign_extend(v, 8))
EXTEND(rsx16_32, 16, 32, sign_extend(v, 16))
EXTEND(rsx16_64, 16, 64, sign_extend(v, 16))
EXTEND(rsx32_64, 32, 64, sign_extend(v, 32))

HANDLER(lea64_b)
{
    reg_set(cpu, op->r, ea_b(cpu, op), 64);
    NEXT;
}

HANDLER(lea64)
{
    reg_set(cpu, op->r, ea_sum(cpu, op), 64);
    NEXT;
}

HANDLER(lea32)
{
    reg_set(cpu, op->r, ea_sum(cpu, op), 32);
    NEXT;
}

HANDLER(xchg32)
{
    uint64_t v = reg_get(cpu, op->r, 32);
    reg_set(cpu, op->r, reg_get(cpu, op->m, 32), 32);
    reg_set(cpu, op->m, v, 32);
    NEXT;
}

HANDLER(xchg64)
{
    uint64_t v = r64(cpu, op->r);
    reg_set(cpu, op->r, r64(cpu, op->m), 64);
    reg_set(cpu, op->m, v, 64);
    NEXT;
}

/* ---- conditions ---- */

#define EACH_CC(X)                                                                                 \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

#define CONDITIONAL(cc)                                                                            \
    HANDLER(cmov32_##cc)                                                                           \
    {                                                                                              \
        uint64_t v = reg_get(cpu, op->m, 32), old = reg_get(cpu, op->r, 32);                       \
        reg_set(cpu, op->r, flag_cc(cpu, cc) ? v : old, 32);                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(cmov64_##cc)                                                                           \
    {                                                                                              \
        uint64_t v = r64(cpu, op->m), old = r64(cpu, op->r);                                       \
        reg_set(cpu, op->r, flag_cc(cpu, cc) ? v : old, 64);                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(set_##cc)                                                                              \
    {                                                                                              \
        reg_set(cpu, op->r, flag_cc(cpu, cc), 8);                                                  \
        NEXT;                                                                                      \
    }
EACH_CC(CONDITIONAL)

/* ---- stack ---- */

#define STACK_OPS(bits, linear_of)                                                                 \
    HANDLER(push##bits##_s)                                                                        \
    {                                                                                              \
        uint64_t v = reg_get(cpu, op->m, bits), sp = linear_of(cpu->gpr[REG_RSP] - (bits) / 8);    \
        interp_sync(cpu, op);                                                                      \
        mem_write(cpu, seg_linear(cpu, SEG_SS, sp, (bits) / 8, 1), v, (bits) / 8);                 \
        reg_set(cpu, REG_RSP * 8, sp, bits);                                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(push##bits)                                                                            \
    {                                                                                              \
        uint64_t sp = linear_of(cpu->gpr[REG_RSP] - (bits) / 8);                                   \
        uint8_t *p = tlb_host_w(cpu, sp, (bits) / 8);                                              \
        if (UNLIKELY(!p))                                                                          \
            CALL_OP(push##bits##_s);                                                               \
        host_store(p, reg_get(cpu, op->m, bits), (bits) / 8);                                      \
        reg_set(cpu, REG_RSP * 8, sp, bits);                                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(pushi##bits##_s)                                                                       \
    {                                                                                              \
        uint64_t sp = linear_of(cpu->gpr[REG_RSP] - (bits) / 8);                                   \
        interp_sync(cpu, op);                                                                      \
        mem_write(cpu, seg_linear(cpu, SEG_SS, sp, (bits) / 8, 1), op->a, (bits) / 8);             \
        reg_set(cpu, REG_RSP * 8, sp, bits);                                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(pushi##bits)                                                                           \
    {                                                                                              \
        uint64_t sp = linear_of(cpu->gpr[REG_RSP] - (bits) / 8);                                   \
        uint8_t *p = tlb_host_w(cpu, sp, (bits) / 8);                                              \
        if (UNLIKELY(!p))                                                                          \
            CALL_OP(pushi##bits##_s);                                                              \
        host_store(p, op->a, (bits) / 8);                                                          \
        reg_set(cpu, REG_RSP * 8, sp, bits);                                                       \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(pop##bits##_s)                                                                         \
    {                                                                                              \
        uint64_t sp = linear_of(cpu->gpr[REG_RSP]);                                                \
        interp_sync(cpu, op);                                                                      \
        uint64_t v = mem_read(cpu, seg_linear(cpu, SEG_SS, sp, (bits) / 8, 0), (bits) / 8);        \
        reg_set(cpu, REG_RSP * 8, sp + (bits) / 8, bits);                                          \
        reg_set(cpu, op->r, v, bits);                                                              \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(pop##bits)                                                                             \
    {                                                                                              \
        uint64_t sp = linear_of(cpu->gpr[REG_RSP]);                                                \
        const uint8_t *p = tlb_host_r(cpu, sp, (bits) / 8);                                        \
        if (UNLIKELY(!p))                                                                          \
            CALL_OP(pop##bits##_s);                                                                \
        uint64_t v = host_load(p, (bits) / 8);                                                     \
        reg_set(cpu, REG_RSP * 8, sp + (bits) / 8, bits);                                          \
        reg_set(cpu, op->r, v, bits); /* POP RSP: the value wins */                                \
        NEXT;                                                                                      \
    }

#define LINEAR64(x) (x)
#define LINEAR32(x) ((uint32_t)(x))
STACK_OPS(64, LINEAR64)
STACK_OPS(32, LINEAR32)

/* ---- selection ---- */

static op_fn select_mov(struct build *b, const struct x86_insn *in, struct dop *op)
{
    static const op_fn load[4][KINDS] = { BY_KIND(ld8), BY_KIND(ld16), BY_KIND(ld32),
                                          BY_KIND(ld64) };
    static const op_fn store[4][KINDS] = { BY_KIND(st8), BY_KIND(st16), BY_KIND(st32),
                                           BY_KIND(st64) };
    static const op_fn store_imm[4][KINDS] = { BY_KIND(sti8), BY_KIND(sti16), BY_KIND(sti32),
                                               BY_KIND(sti64) };
    static const op_fn reg[4] = { mov8, mov16, mov32, mov64 };
    static const op_fn imm[4] = { movi8, movi16, movi64, movi64 };
    const struct x86_operand *to = &in->opnd[0], *from = &in->opnd[1];
    unsigned n = size_log(to->size);

    if (to->kind == OPND_GPR && from->kind == OPND_MEM) {
        op->r = (uint8_t)op_reg(to);
        return load[n][op_address(b, in, op)];
    }
    if (to->kind == OPND_MEM && from->kind == OPND_GPR) {
        op->m = (uint8_t)op_reg(from);
        return store[n][op_address(b, in, op)];
    }
    if (to->kind == OPND_MEM && from->kind == OPND_IMM) {
        op->imm = (int32_t)in->imm;
        return store_imm[n][op_address(b, in, op)];
    }
    if (to->kind == OPND_GPR && from->kind == OPND_GPR) {
        op->r = (uint8_t)op_reg(to);
        op->m = (uint8_t)op_reg(from);
        return reg[n];
    }
    if (to->kind == OPND_GPR && from->kind == OPND_IMM) {
        op->r = (uint8_t)op_reg(to);
        op->imm = (int32_t)in->imm;
        op->a = to->size == 4 ? (uint32_t)in->imm : in->imm;
        return imm[n];
    }
    return NULL;
}

static op_fn select_extend(struct build *b, const struct x86_insn *in, struct dop *op)
{
    /* [sign][source 8, 16, 32][destination 16, 32, 64] */
    static const op_fn mem[2][3][3][KINDS] = {
        { { BY_KIND(zx8_16), BY_KIND(zx8_64), BY_KIND(zx8_64) },
          { BY_KIND(ld16), BY_KIND(zx16_64), BY_KIND(zx16_64) } },
        { { BY_KIND(sx8_16), BY_KIND(sx8_32), BY_KIND(sx8_64) },
          { BY_KIND(ld16), BY_KIND(sx16_32), BY_KIND(sx16_64) },
          { BY_KIND(ld16), BY_KIND(ld32), BY_KIND(sx32_64) } },
    };
    static const op_fn reg[2][3][3] = {
        { { rzx8_16, rzx8_64, rzx8_64 }, { mov16, rzx16_64, rzx16_64 } },
        { { rsx8_16, rsx8_32, rsx8_64 },
          { mov16, rsx16_32, rsx16_64 },
          { mov16, mov32, rsx32_64 } },
    };
    const struct x86_operand *to = &in->opnd[0], *from = &in->opnd[1];
    unsigned sign = in->op == OP_MOVSX, f = size_log(from->size), t = size_log(to->size);

    if (to->kind != OPND_GPR || f > 2 || t < 1)
        return NULL;
    if (f == 2 && t == 1)
        return NULL; /* MOVSXD with a 16-bit destination: reads 4 or 2 bytes by model */
    op->r = (uint8_t)op_reg(to);
    if (from->kind == OPND_MEM)
        return mem[sign][f][t - 1][op_address(b, in, op)];
    op->m = (uint8_t)op_reg(from);
    return reg[sign][f][t - 1];
}

static op_fn select_lea(struct build *b, const struct x86_insn *in, struct dop *op)
{
    unsigned size = in->opnd[0].size;
    if (size == 2 || in->addrsize == 2)
        return NULL;
    op->r = (uint8_t)op_reg(&in->opnd[0]);
    (void)op_address(b, in, op);
    if (size == 4 || in->addrsize == 4)
        return lea32;
    return in->index == REG_NONE ? lea64_b : lea64;
}

static op_fn select_condition(const struct x86_insn *in, struct dop *op)
{
#define ROW(cc) { cmov32_##cc, cmov64_##cc, set_##cc },
    static const op_fn fns[16][3] = { EACH_CC(ROW) };
#undef ROW
    unsigned size = in->opnd[0].size;
    if (in->opnd[0].kind != OPND_GPR)
        return NULL;
    op->r = (uint8_t)op_reg(&in->opnd[0]);
    if (in->op == OP_SETCC)
        return fns[in->cc & 15][2];
    if (in->opnd[1].kind != OPND_GPR || size < 4)
        return NULL;
    op->m = (uint8_t)op_reg(&in->opnd[1]);
    return fns[in->cc & 15][size == 8];
}

static op_fn select_stack(struct build *b, const struct x86_insn *in, struct dop *op)
{
    bool wide = in->opsize == 8 && (b->mode & MODE_CODE) == MODE_CODE64;
    bool flat32 = in->opsize == 4 && (b->mode & MODE_CODE) == MODE_CODE32 &&
                  (b->mode & MODE_FLAT) && (b->mode & MODE_STACK32);
    const struct x86_operand *o = &in->opnd[0];
    if (!wide && !flat32)
        return NULL;
    if (in->op == OP_PUSH && o->kind == OPND_IMM) {
        op->a = in->imm;
        return wide ? pushi64 : pushi32;
    }
    if (o->kind != OPND_GPR)
        return NULL;
    op->r = op->m = (uint8_t)op_reg(o);
    if (in->op == OP_PUSH)
        return wide ? push64 : push32;
    return wide ? pop64 : pop32;
}

op_fn fast_move(struct build *b, const struct x86_insn *in, struct dop *op)
{
    switch (in->op) {
    case OP_MOV:
    case OP_MOVNTI:
        return select_mov(b, in, op);
    case OP_MOVZX:
    case OP_MOVSX:
        return select_extend(b, in, op);
    case OP_LEA:
        return select_lea(b, in, op);
    case OP_CMOV:
    case OP_SETCC:
        return select_condition(in, op);
    case OP_PUSH:
    case OP_POP:
        return select_stack(b, in, op);
    case OP_XCHG:
        if (in->opnd[0].kind != OPND_GPR || in->opnd[1].kind != OPND_GPR || in->opnd[0].size < 4)
            return NULL;
        op->r = (uint8_t)op_reg(&in->opnd[0]);
        op->m = (uint8_t)op_reg(&in->opnd[1]);
        return in->opnd[0].size == 8 ? xchg64 : xchg32;
    default:
        return NULL;
    }
}
