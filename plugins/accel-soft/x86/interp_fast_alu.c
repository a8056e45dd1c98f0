/*
 * interp_fast_alu.c: handlers of ADD OR ADC SBB AND SUB XOR CMP TEST INC DEC NEG NOT for all shapes
 * and sizes without a LOCK prefix.
 */
#include "ops.h"

static inline uint64_t do_add(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    uint64_t r = a + b;
    flags_add(cpu, a, b, r, bits);
    return r;
}

static inline uint64_t do_adc(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    uint64_t r = a + b + flag_c(cpu);
    flags_add(cpu, a, b, r, bits);
    return r;
}

static inline uint64_t do_sub(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    uint64_t r = a - b;
    flags_sub(cpu, a, b, r, bits);
    return r;
}

static inline uint64_t do_sbb(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    uint64_t r = a - b - flag_c(cpu);
    flags_sub(cpu, a, b, r, bits);
    return r;
}

static inline uint64_t do_and(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    flags_logic(cpu, a & b, bits);
    return a & b;
}

static inline uint64_t do_or(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    flags_logic(cpu, a | b, bits);
    return a | b;
}

static inline uint64_t do_xor(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    flags_logic(cpu, a ^ b, bits);
    return a ^ b;
}

static inline void do_cmp(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    flags_sub(cpu, a, b, a - b, bits);
}

static inline void do_test(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    flags_logic(cpu, a & b, bits);
}

static inline uint64_t do_inc(struct vcpu *cpu, uint64_t a, unsigned bits)
{
    flags_inc(cpu, a + 1, bits);
    return a + 1;
}

static inline uint64_t do_dec(struct vcpu *cpu, uint64_t a, unsigned bits)
{
    flags_dec(cpu, a - 1, bits);
    return a - 1;
}

static inline uint64_t do_neg(struct vcpu *cpu, uint64_t a, unsigned bits)
{
    flags_sub(cpu, 0, a, 0 - a, bits);
    return 0 - a;
}

static inline uint64_t do_not(struct vcpu *cpu, uint64_t a, unsigned bits)
{
    (void)cpu;
    (void)bits;
    return ~a;
}

#define OPS_FILE "ops_alu.h"
#include "ops_kinds.h"

/* ---- registers ---- */

#define BINARY(name, bits)                                                                         \
    HANDLER(name##_rr##bits)                                                                       \
    {                                                                                              \
        uint64_t a = reg_get(cpu, op->r, bits), b = reg_get(cpu, op->m, bits);                     \
        reg_set(cpu, op->r, do_##name(cpu, a, b, bits), bits);                                     \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_ri##bits)                                                                       \
    {                                                                                              \
        uint64_t a = reg_get(cpu, op->r, bits);                                                    \
        reg_set(cpu, op->r, do_##name(cpu, a, (uint64_t)(int64_t)op->imm, bits), bits);            \
        NEXT;                                                                                      \
    }
#define COMPARE(name, bits)                                                                        \
    HANDLER(name##_rr##bits)                                                                       \
    {                                                                                              \
        do_##name(cpu, reg_get(cpu, op->r, bits), reg_get(cpu, op->m, bits), bits);                \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(name##_ri##bits)                                                                       \
    {                                                                                              \
        do_##name(cpu, reg_get(cpu, op->r, bits), (uint64_t)(int64_t)op->imm, bits);               \
        NEXT;                                                                                      \
    }
#define UNARY(name, bits)                                                                          \
    HANDLER(name##_r##bits)                                                                        \
    {                                                                                              \
        reg_set(cpu, op->r, do_##name(cpu, reg_get(cpu, op->r, bits), bits), bits);                \
        NEXT;                                                                                      \
    }
#define ALL(X, name) X(name, 8) X(name, 16) X(name, 32) X(name, 64)
ALL(BINARY, add)
ALL(BINARY, or)
ALL(BINARY, adc)
ALL(BINARY, sbb)
ALL(BINARY, and)
ALL(BINARY, sub)
ALL(BINARY, xor)
ALL(COMPARE, cmp)
ALL(COMPARE, test)
ALL(UNARY, inc)
ALL(UNARY, dec)
ALL(UNARY, neg)
ALL(UNARY, not)

/* XOR and SUB of a register with itself, the idiom for zero */
HANDLER(zero_r32)
{
    reg_set(cpu, op->r, 0, 64);
    cpu->cc_res = cpu->cc_src = 0;
    NEXT;
}

/* TEST of a register with itself */
HANDLER(test_self32)
{
    cpu->cc_res = sign_extend(reg_get(cpu, op->r, 32), 32);
    cpu->cc_src = 0;
    NEXT;
}

HANDLER(test_self64)
{
    cpu->cc_res = r64(cpu, op->r);
    cpu->cc_src = 0;
    NEXT;
}

/* ---- selection ---- */

enum { ROW_ADD, ROW_OR, ROW_ADC, ROW_SBB, ROW_AND, ROW_SUB, ROW_XOR, ROW_CMP, ROW_TEST, ROWS };

static int row_of(enum x86_op op)
{
    switch (op) {
    case OP_ADD:
        return ROW_ADD;
    case OP_OR:
        return ROW_OR;
    case OP_ADC:
        return ROW_ADC;
    case OP_SBB:
        return ROW_SBB;
    case OP_AND:
        return ROW_AND;
    case OP_SUB:
        return ROW_SUB;
    case OP_XOR:
        return ROW_XOR;
    case OP_CMP:
        return ROW_CMP;
    case OP_TEST:
        return ROW_TEST;
    default:
        return -1;
    }
}

#define SIZES(shape) { shape##8, shape##16, shape##32, shape##64 },
#define SIZES_MEM(shape)                                                                           \
    { BY_KIND(shape##8), BY_KIND(shape##16), BY_KIND(shape##32), BY_KIND(shape##64) },
#define ROWS_OF(X, shape)                                                                          \
    X(add##shape) X(or##shape) X(adc##shape) X(sbb##shape) X(and##shape) X(sub##shape)             \
    X(xor##shape) X(cmp##shape) X(test##shape)

static op_fn select_binary(struct build *b, const struct x86_insn *in, struct dop *op, int row)
{
    static const op_fn rr[ROWS][4] = { ROWS_OF(SIZES, _rr) };
    static const op_fn ri[ROWS][4] = { ROWS_OF(SIZES, _ri) };
    static const op_fn rm[ROWS][4][KINDS] = { ROWS_OF(SIZES_MEM, _rm) };
    static const op_fn mr[ROWS][4][KINDS] = { ROWS_OF(SIZES_MEM, _mr) };
    static const op_fn mi[ROWS][4][KINDS] = { ROWS_OF(SIZES_MEM, _mi) };
    const struct x86_operand *to = &in->opnd[0], *from = &in->opnd[1];
    unsigned n = size_log(to->size);

    if (from->kind == OPND_IMM)
        op->imm = (int32_t)in->imm;
    if (to->kind == OPND_GPR)
        op->r = (uint8_t)op_reg(to);
    if (from->kind == OPND_GPR)
        op->m = (uint8_t)op_reg(from);
    if (to->kind == OPND_GPR && from->kind == OPND_GPR) {
        if (op->r == op->m && n >= 2) {
            if (row == ROW_XOR || row == ROW_SUB)
                return zero_r32;
            if (row == ROW_TEST)
                return n == 2 ? test_self32 : test_self64;
        }
        return rr[row][n];
    }
    if (to->kind == OPND_GPR && from->kind == OPND_IMM)
        return ri[row][n];
    if (to->kind == OPND_GPR && from->kind == OPND_MEM)
        return rm[row][n][op_address(b, in, op)];
    if (to->kind == OPND_MEM && from->kind == OPND_GPR)
        return mr[row][n][op_address(b, in, op)];
    if (to->kind == OPND_MEM && from->kind == OPND_IMM)
        return mi[row][n][op_address(b, in, op)];
    return NULL;
}

op_fn fast_alu(struct build *b, const struct x86_insn *in, struct dop *op)
{
    static const op_fn unary[4][4] = { SIZES(inc_r) SIZES(dec_r) SIZES(neg_r) SIZES(not_r) };
    static const op_fn unary_mem[4][4][KINDS] = { SIZES_MEM(inc_m) SIZES_MEM(dec_m)
                                                  SIZES_MEM(neg_m) SIZES_MEM(not_m) };
    int row = row_of(in->op);
    if (row >= 0)
        return select_binary(b, in, op, row);
    if (in->op < OP_INC || in->op > OP_NOT)
        return NULL;
    const struct x86_operand *to = &in->opnd[0];
    unsigned n = size_log(to->size), which = in->op - OP_INC;
    if (to->kind == OPND_MEM)
        return unary_mem[which][n][op_address(b, in, op)];
    op->r = (uint8_t)op_reg(to);
    return unary[which][n];
}
