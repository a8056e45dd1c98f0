/*
 * interp_fast_misc.c: handlers of what is neither a move nor plain arithmetic but frequent: shifts
 * by an immediate, multiplication, sign extension of the accumulator, bit tests and scans of
 * registers, LEAVE, NOP, and the flag instructions of the kernel's critical sections.
 */
#include "ops.h"

HANDLER(nop)
{
    NEXT;
}

/* ---- shifts of a register by a constant that is neither 0 nor as wide as the register ---- */

#define SHIFTS(bits)                                                                               \
    HANDLER(shl##bits)                                                                             \
    {                                                                                              \
        uint64_t a = reg_get(cpu, op->r, bits), r = a << op->x;                                    \
        bool c = (a >> ((bits)-op->x)) & 1;                                                        \
        flags_coa(cpu, r, bits, c, ((r >> ((bits)-1)) & 1) != c, false);                           \
        reg_set(cpu, op->r, r, bits);                                                              \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(shr##bits)                                                                             \
    {                                                                                              \
        uint64_t a = reg_get(cpu, op->r, bits), r = a >> op->x;                                    \
        bool o = op->x == 1 ? (a >> ((bits)-1)) & 1 : (r >> ((bits)-2)) & 1;                       \
        flags_coa(cpu, r, bits, (a >> (op->x - 1)) & 1, o, false);                                 \
        reg_set(cpu, op->r, r, bits);                                                              \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(sar##bits)                                                                             \
    {                                                                                              \
        int64_t a = (int64_t)sign_extend(reg_get(cpu, op->r, bits), bits);                         \
        uint64_t r = (uint64_t)(a >> op->x);                                                       \
        flags_coa(cpu, r, bits, (a >> (op->x - 1)) & 1, false, false);                             \
        reg_set(cpu, op->r, r, bits);                                                              \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(rol##bits)                                                                             \
    {                                                                                              \
        uint64_t a = reg_get(cpu, op->r, bits), r = a << op->x | a >> ((bits)-op->x);              \
        flags_set_co(cpu, r & 1, ((r >> ((bits)-1)) & 1) != (r & 1));                              \
        reg_set(cpu, op->r, r, bits);                                                              \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(ror##bits)                                                                             \
    {                                                                                              \
        uint64_t a = reg_get(cpu, op->r, bits), r = a >> op->x | a << ((bits)-op->x);              \
        bool top = (r >> ((bits)-1)) & 1;                                                          \
        flags_set_co(cpu, top, top != ((r >> ((bits)-2)) & 1));                                    \
        reg_set(cpu, op->r, r, bits);                                                              \
        NEXT;                                                                                      \
    }
SHIFTS(32)
SHIFTS(64)

/* By CL: count 0 leaves the flags. */
#define SHIFTS_CL(bits)                                                                            \
    HANDLER(shl_cl##bits)                                                                          \
    {                                                                                              \
        uint64_t a = reg_get(cpu, op->r, bits), n = cpu->gpr[REG_RCX] & ((bits)-1), r = a << n;    \
        if (n) {                                                                                   \
            bool c = (a >> ((bits)-n)) & 1;                                                        \
            flags_coa(cpu, r, bits, c, ((r >> ((bits)-1)) & 1) != c, false);                       \
        }                                                                                          \
        reg_set(cpu, op->r, r, bits);                                                              \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(shr_cl##bits)                                                                          \
    {                                                                                              \
        uint64_t a = reg_get(cpu, op->r, bits), n = cpu->gpr[REG_RCX] & ((bits)-1), r = a >> n;    \
        if (n) {                                                                                   \
            bool o = n == 1 ? (a >> ((bits)-1)) & 1 : (r >> ((bits)-2)) & 1;                       \
            flags_coa(cpu, r, bits, (a >> (n - 1)) & 1, o, false);                                 \
        }                                                                                          \
        reg_set(cpu, op->r, r, bits);                                                              \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(sar_cl##bits)                                                                          \
    {                                                                                              \
        int64_t a = (int64_t)sign_extend(reg_get(cpu, op->r, bits), bits);                         \
        uint64_t n = cpu->gpr[REG_RCX] & ((bits)-1), r = (uint64_t)(a >> n);                       \
        if (n)                                                                                     \
            flags_coa(cpu, r, bits, (a >> (n - 1)) & 1, false, false);                             \
        reg_set(cpu, op->r, r, bits);                                                              \
        NEXT;                                                                                      \
    }
SHIFTS_CL(32)
SHIFTS_CL(64)

/* ---- multiply ---- */

__extension__ typedef __int128 s128;

static inline void imul_flags(struct vcpu *cpu, uint64_t r, unsigned bits, bool over)
{
    flags_coa(cpu, r, bits, over, over, false);
}

HANDLER(imul32)
{
    int64_t r = (int64_t)(int32_t)reg_get(cpu, op->r, 32) * (int32_t)reg_get(cpu, op->m, 32);
    imul_flags(cpu, (uint64_t)r, 32, r != (int32_t)r);
    reg_set(cpu, op->r, (uint64_t)r, 32);
    NEXT;
}

HANDLER(imul64)
{
    uint64_t a = r64(cpu, op->r), b = r64(cpu, op->m);
    s128 r = (s128)(int64_t)a * (int64_t)b;
    imul_flags(cpu, (uint64_t)r, 64, r != (int64_t)r);
    reg_set(cpu, op->r, (uint64_t)r, 64);
    NEXT;
}

HANDLER(imuli32)
{
    int64_t r = (int64_t)(int32_t)reg_get(cpu, op->m, 32) * op->imm;
    imul_flags(cpu, (uint64_t)r, 32, r != (int32_t)r);
    reg_set(cpu, op->r, (uint64_t)r, 32);
    NEXT;
}

HANDLER(imuli64)
{
    s128 r = (s128)(int64_t)r64(cpu, op->m) * op->imm;
    imul_flags(cpu, (uint64_t)r, 64, r != (int64_t)r);
    reg_set(cpu, op->r, (uint64_t)r, 64);
    NEXT;
}

/* ---- accumulator ---- */

HANDLER(cwde)
{
    reg_set(cpu, REG_RAX * 8, sign_extend(cpu->gpr[REG_RAX], 16), 32);
    NEXT;
}

HANDLER(cdqe)
{
    cpu->gpr[REG_RAX] = sign_extend(cpu->gpr[REG_RAX], 32);
    NEXT;
}

HANDLER(cdq)
{
    cpu->gpr[REG_RDX] = (uint32_t)((int32_t)(uint32_t)cpu->gpr[REG_RAX] >> 31);
    NEXT;
}

HANDLER(cqo)
{
    cpu->gpr[REG_RDX] = (uint64_t)((int64_t)cpu->gpr[REG_RAX] >> 63);
    NEXT;
}

/* ---- bits of registers; op->x: a constant bit number ---- */

#define BITS(bits)                                                                                 \
    HANDLER(bt_i##bits)                                                                            \
    {                                                                                              \
        flags_set_c(cpu, (reg_get(cpu, op->r, bits) >> op->x) & 1);                                \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(bt_r##bits)                                                                            \
    {                                                                                              \
        flags_set_c(cpu, (reg_get(cpu, op->r, bits) >> (r64(cpu, op->m) & ((bits)-1))) & 1);       \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(bsf##bits)                                                                             \
    {                                                                                              \
        uint64_t a = reg_get(cpu, op->m, bits);                                                    \
        flags_logic(cpu, a, bits);                                                                 \
        if (a)                                                                                     \
            reg_set(cpu, op->r, (unsigned)__builtin_ctzll(a), bits);                               \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(bsr##bits)                                                                             \
    {                                                                                              \
        uint64_t a = reg_get(cpu, op->m, bits);                                                    \
        flags_logic(cpu, a, bits);                                                                 \
        if (a)                                                                                     \
            reg_set(cpu, op->r, 63u - (unsigned)__builtin_clzll(a), bits);                         \
        NEXT;                                                                                      \
    }
BITS(32)
BITS(64)

HANDLER(bswap32)
{
    reg_set(cpu, op->r, __builtin_bswap32((uint32_t)r64(cpu, op->r)), 32);
    NEXT;
}

HANDLER(bswap64)
{
    reg_set(cpu, op->r, __builtin_bswap64(r64(cpu, op->r)), 64);
    NEXT;
}

/* ---- 64-bit stack frames and flags ---- */

HANDLER(leave64_s)
{
    uint64_t sp = cpu->gpr[REG_RBP];
    interp_sync(cpu, op);
    cpu->gpr[REG_RBP] = mem_read(cpu, seg_linear(cpu, SEG_SS, sp, 8, 0), 8);
    cpu->gpr[REG_RSP] = sp + 8;
    NEXT;
}

HANDLER(leave64)
{
    uint64_t sp = cpu->gpr[REG_RBP];
    const uint8_t *p = tlb_host_r(cpu, sp, 8);
    if (UNLIKELY(!p))
        CALL_OP(leave64_s);
    cpu->gpr[REG_RBP] = host_load(p, 8);
    cpu->gpr[REG_RSP] = sp + 8;
    NEXT;
}

HANDLER(pushf64_s)
{
    uint64_t sp = cpu->gpr[REG_RSP] - 8;
    interp_sync(cpu, op);
    mem_write(cpu, seg_linear(cpu, SEG_SS, sp, 8, 1), cpu_rflags(cpu) & ~(uint64_t)FL_RF, 8);
    cpu->gpr[REG_RSP] = sp;
    NEXT;
}

HANDLER(pushf64)
{
    uint64_t sp = cpu->gpr[REG_RSP] - 8;
    uint8_t *p = tlb_host_w(cpu, sp, 8);
    if (UNLIKELY(!p))
        CALL_OP(pushf64_s);
    host_store(p, (cpu->fl & ~(uint32_t)FL_RF) | flags_arith(cpu), 8);
    cpu->gpr[REG_RSP] = sp;
    NEXT;
}

HANDLER(cld)
{
    cpu->fl &= ~(uint32_t)FL_DF;
    NEXT;
}

/* CLI in ring 0; elsewhere the system side decides. */
HANDLER(cli)
{
    cpu->fl &= ~(uint32_t)FL_IF;
    NEXT;
}

/* ---- selection ---- */

static op_fn select_shift(const struct x86_insn *in, struct dop *op)
{
    static const op_fn imm[][2] = {
        [OP_ROL - OP_ROL] = { rol32, rol64 }, [OP_ROR - OP_ROL] = { ror32, ror64 },
        [OP_SHL - OP_ROL] = { shl32, shl64 }, [OP_SHR - OP_ROL] = { shr32, shr64 },
        [OP_SAR - OP_ROL] = { sar32, sar64 },
    };
    static const op_fn cl[][2] = {
        [OP_SHL - OP_ROL] = { shl_cl32, shl_cl64 },
        [OP_SHR - OP_ROL] = { shr_cl32, shr_cl64 },
        [OP_SAR - OP_ROL] = { sar_cl32, sar_cl64 },
    };
    const struct x86_operand *to = &in->opnd[0], *by = &in->opnd[1];
    unsigned wide = to->size == 8, row = in->op - OP_ROL;
    if (to->kind != OPND_GPR || to->size < 4)
        return NULL;
    op->r = (uint8_t)op_reg(to);
    if (by->kind == OPND_IMM) {
        op->x = in->imm & (wide ? 63 : 31);
        return op->x ? imm[row][wide] : NULL;
    }
    return by->kind == OPND_GPR ? cl[row][wide] : NULL;
}

static op_fn select_imul(const struct x86_insn *in, struct dop *op)
{
    unsigned wide = in->opnd[0].size == 8;
    if (in->opnd[0].size < 4 || in->opnd[1].kind != OPND_GPR)
        return NULL;
    op->r = (uint8_t)op_reg(&in->opnd[0]);
    op->m = (uint8_t)op_reg(&in->opnd[1]);
    if (in->operands == 2)
        return wide ? imul64 : imul32;
    op->imm = (int32_t)in->imm;
    return wide ? imuli64 : imuli32;
}

static op_fn select_bits(const struct x86_insn *in, struct dop *op)
{
    const struct x86_operand *a = &in->opnd[0], *b = &in->opnd[1];
    unsigned wide = a->size == 8;
    if (a->kind != OPND_GPR || a->size < 4)
        return NULL;
    op->r = (uint8_t)op_reg(a);
    if (in->op == OP_BT && b->kind == OPND_IMM) {
        op->x = in->imm & (wide ? 63 : 31);
        return wide ? bt_i64 : bt_i32;
    }
    if (b->kind != OPND_GPR)
        return NULL;
    op->m = (uint8_t)op_reg(b);
    if (in->op == OP_BT)
        return wide ? bt_r64 : bt_r32;
    if (in->op == OP_BSF)
        return wide ? bsf64 : bsf32;
    return wide ? bsr64 : bsr32;
}

op_fn fast_misc(struct build *b, const struct x86_insn *in, struct dop *op)
{
    bool long64 = (b->mode & MODE_CODE) == MODE_CODE64;
    switch (in->op) {
    case OP_NOP:
    case OP_PREFETCH:
        return nop;
    case OP_ROL:
    case OP_ROR:
    case OP_SHL:
    case OP_SHR:
    case OP_SAR:
        return select_shift(in, op);
    case OP_IMUL2:
        return select_imul(in, op);
    case OP_CBW:
        return in->opsize == 8 ? cdqe : in->opsize == 4 ? cwde : NULL;
    case OP_CWD:
        return in->opsize == 8 ? cqo : in->opsize == 4 ? cdq : NULL;
    case OP_BT:
    case OP_BSF:
    case OP_BSR:
        return select_bits(in, op);
    case OP_BSWAP:
        op->r = (uint8_t)op_reg(&in->opnd[0]);
        return in->opnd[0].size == 8 ? bswap64 : in->opnd[0].size == 4 ? bswap32 : NULL;
    case OP_LEAVE:
        return long64 && in->opsize == 8 ? leave64 : NULL;
    case OP_PUSHF:
        return long64 && in->opsize == 8 ? pushf64 : NULL;
    case OP_CLD:
        return cld;
    case OP_CLI:
        return long64 && !(b->mode & (MODE_USER | MODE_INNER)) ? cli : NULL;
    default:
        return NULL;
    }
}
