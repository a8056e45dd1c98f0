/*
 * interp_fast_flow.c: handlers of near jumps, calls and returns in 64-bit and flat 32-bit code.
 * Direct ones follow links; indirect ones look their target up by address and leave to the loop in
 * interp.c when it is not there.
 */
#include "ops.h"

/* The block at TO if it is known under the present mode and mappings. */
static inline const struct block *known(const struct vcpu *cpu, uint64_t to)
{
    const struct lookup *e = &cpu->interp->lookup[lookup_index(to)];
    if (LIKELY(e->rip == to && e->key == cpu->code_key[to >> 63]))
        return e->block;
    return NULL;
}

/* Go to TO, where block B begins: a dropped block's handlers lead out again. */
#define ENTER_BLOCK(b, to)                                                                         \
    do {                                                                                           \
        if (UNLIKELY(op_poll(cpu, op->count))) {                                                   \
            cpu->rip = (to);                                                                       \
            return NULL;                                                                           \
        }                                                                                          \
        GOTO(block_ops(b));                                                                        \
    } while (0)

#define LEAVE_FOR(to)                                                                              \
    do {                                                                                           \
        cpu->rip = (to);                                                                           \
        cpu->insns += op->count;                                                                   \
        return NULL;                                                                               \
    } while (0)

static uint64_t target_check(struct vcpu *cpu, uint64_t to)
{
    if (cpu->code_bits == 64 ? !is_canonical(cpu, to) : to > cpu->seg[SEG_CS].limit)
        x86_raise_err(cpu, VEC_GP, 0);
    return to;
}

static void push_return(struct vcpu *cpu, uint64_t sp, uint64_t val, unsigned bytes)
{
    mem_write(cpu, seg_linear(cpu, SEG_SS, sp, bytes, 1), val, bytes);
}

/* ---- slow forms: called when the fast one has found anything unusual ---- */

#define JUMP(to, name) LEAVE_FOR(target_check(cpu, to))
#define CALL(to, sp, name)                                                                         \
    do {                                                                                           \
        (void)target_check(cpu, to);                                                               \
        push_return(cpu, sp, block_of(op)->rip + op->off + op->x, 8);                              \
        cpu->gpr[REG_RSP] = sp;                                                                    \
        LEAVE_FOR(to);                                                                             \
    } while (0)
#define K(name) name##_s
#define EA(bytes, write) ea_s(cpu, op, (bytes), (write))
#define LD(var, at, bits, name) var = mem_read(cpu, at, (bits) / 8)
#include "ops_flow.h"
#undef K
#undef EA
#undef LD
#undef JUMP
#undef CALL

#define JUMP(to, name)                                                                             \
    do {                                                                                           \
        const struct block *b_ = known(cpu, to);                                                   \
        if (UNLIKELY(!b_))                                                                         \
            CALL_OP(name##_s);                                                                     \
        ENTER_BLOCK(b_, to);                                                                       \
    } while (0)
#define CALL(to, sp, name)                                                                         \
    do {                                                                                           \
        const struct block *b_ = known(cpu, to);                                                   \
        uint8_t *p_ = tlb_host_w(cpu, sp, 8);                                                      \
        if (UNLIKELY(!b_ || !p_))                                                                  \
            CALL_OP(name##_s);                                                                     \
        host_store(p_, block_of(op)->rip + op->off + op->x, 8);                                    \
        cpu->gpr[REG_RSP] = sp;                                                                    \
        ENTER_BLOCK(b_, to);                                                                       \
    } while (0)
#define LD(var, at, bits, name)                                                                    \
    const uint8_t *ld_ = tlb_host_r(cpu, at, (bits) / 8);                                          \
    if (UNLIKELY(!ld_))                                                                            \
        CALL_OP(name##_s);                                                                         \
    var = host_load(ld_, (bits) / 8)
#define K(name) name##_b
#define EA(bytes, write) ea_b(cpu, op)
#include "ops_flow.h"
#undef K
#undef EA
#define K(name) name##_f
#define EA(bytes, write) ea_f(cpu, op)
#include "ops_flow.h"
#undef K
#undef EA

HANDLER(jmp_r_s)
{
    interp_sync(cpu, op);
    LEAVE_FOR(target_check(cpu, r64(cpu, op->m)));
}

HANDLER(jmp_r)
{
    uint64_t to = r64(cpu, op->m);
    JUMP(to, jmp_r);
}

HANDLER(call_r_s)
{
    uint64_t to = r64(cpu, op->m), sp = cpu->gpr[REG_RSP] - 8;
    interp_sync(cpu, op);
    (void)target_check(cpu, to);
    push_return(cpu, sp, cpu->rip + op->x, 8);
    cpu->gpr[REG_RSP] = sp;
    LEAVE_FOR(to);
}

HANDLER(call_r)
{
    uint64_t to = r64(cpu, op->m), sp = cpu->gpr[REG_RSP] - 8;
    CALL(to, sp, call_r);
}

/* RET and RET imm16; 32-bit: flat stack, limit of CS 4 GiB. */
#define RETURN(bits, cut)                                                                          \
    HANDLER(ret##bits##_s)                                                                         \
    {                                                                                              \
        uint64_t sp = cut(cpu->gpr[REG_RSP]), n = (bits) / 8;                                      \
        interp_sync(cpu, op);                                                                      \
        uint64_t to = mem_read(cpu, seg_linear(cpu, SEG_SS, sp, (bits) / 8, 0), (bits) / 8);       \
        (void)target_check(cpu, to);                                                               \
        cpu->gpr[REG_RSP] = cut(sp + n + op->a);                                                   \
        LEAVE_FOR(to);                                                                             \
    }                                                                                              \
    HANDLER(ret##bits)                                                                             \
    {                                                                                              \
        uint64_t sp = cut(cpu->gpr[REG_RSP]), n = (bits) / 8;                                      \
        const uint8_t *p = tlb_host_r(cpu, sp, (bits) / 8);                                        \
        if (UNLIKELY(!p))                                                                          \
            CALL_OP(ret##bits##_s);                                                                \
        uint64_t to = host_load(p, (bits) / 8);                                                    \
        const struct block *b = known(cpu, to);                                                    \
        if (UNLIKELY(!b))                                                                          \
            CALL_OP(ret##bits##_s);                                                                \
        cpu->gpr[REG_RSP] = cut(sp + n + op->a);                                                   \
        ENTER_BLOCK(b, to);                                                                        \
    }
#define CUT64(x) (x)
#define CUT32(x) ((uint32_t)(x))
RETURN(64, CUT64)
RETURN(32, CUT32)

/* ---- direct ---- */

HANDLER(jmp)
{
    FOLLOW(LINKS(op), op->count);
}

#define DIRECT_CALL(bits, cut)                                                                     \
    HANDLER(call##bits##_s)                                                                        \
    {                                                                                              \
        uint64_t sp = cut(cpu->gpr[REG_RSP] - (bits) / 8);                                         \
        interp_sync(cpu, op);                                                                      \
        push_return(cpu, sp, op->a, (bits) / 8);                                                   \
        cpu->gpr[REG_RSP] = sp;                                                                    \
        FOLLOW(LINKS(op), op->count);                                                              \
    }                                                                                              \
    HANDLER(call##bits)                                                                            \
    {                                                                                              \
        uint64_t sp = cut(cpu->gpr[REG_RSP] - (bits) / 8);                                         \
        uint8_t *p = tlb_host_w(cpu, sp, (bits) / 8);                                              \
        if (UNLIKELY(!p))                                                                          \
            CALL_OP(call##bits##_s);                                                               \
        host_store(p, op->a, (bits) / 8);                                                          \
        cpu->gpr[REG_RSP] = sp;                                                                    \
        FOLLOW(LINKS(op), op->count);                                                              \
    }
DIRECT_CALL(64, CUT64)
DIRECT_CALL(32, CUT32)

/* Links: 0 not taken, 1 taken; two dops each. */
#define FOLLOW_IF(cond, links, count)                                                              \
    do {                                                                                           \
        if (cond)                                                                                  \
            FOLLOW((links) + 1, (count));                                                          \
        FOLLOW((links), (count));                                                                  \
    } while (0)

#define EACH_CC(X)                                                                                 \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define JCC(cc)                                                                                    \
    HANDLER(jcc_##cc)                                                                              \
    {                                                                                              \
        FOLLOW_IF(flag_cc(cpu, cc), LINKS(op), op->count);                                         \
    }
EACH_CC(JCC)

#define LOOPS(bits)                                                                                \
    HANDLER(jcxz##bits)                                                                            \
    {                                                                                              \
        FOLLOW_IF(reg_get(cpu, REG_RCX * 8, bits) == 0, LINKS(op), op->count);                     \
    }                                                                                              \
    HANDLER(loop##bits)                                                                            \
    {                                                                                              \
        uint64_t n = zero_extend(reg_get(cpu, REG_RCX * 8, bits) - 1, bits);                       \
        reg_set(cpu, REG_RCX * 8, n, bits);                                                        \
        FOLLOW_IF(n != 0, LINKS(op), op->count);                                                   \
    }
LOOPS(32)
LOOPS(64)

/* ---- selection ---- */

static bool add_link(struct build *b, uint64_t to)
{
    if ((b->mode & MODE_CODE) == MODE_CODE64 ? !is_canonical(b->cpu, to)
                                             : to > 0xffffffff)
        return false;
    b->link_rip[b->links++] = to;
    return true;
}

static op_fn select_direct(struct build *b, const struct x86_insn *in, struct dop *op)
{
#define ROW(cc) jcc_##cc,
    static const op_fn jcc[16] = { EACH_CC(ROW) };
#undef ROW
    bool wide = (b->mode & MODE_CODE) == MODE_CODE64;
    uint64_t next = b->rip + in->len, to = next + in->imm;
    if (!wide) {
        next = (uint32_t)next;
        to = (uint32_t)to;
    }
    switch (in->op) {
    case OP_JMP_REL:
        return add_link(b, to) ? jmp : NULL;
    case OP_CALL_REL:
        if (!wide && !(b->mode & MODE_FLAT && b->mode & MODE_STACK32))
            return NULL;
        op->a = next;
        return add_link(b, to) ? wide ? call64 : call32 : NULL;
    case OP_JCC:
    case OP_LOOP:
    case OP_JCXZ:
        if (in->op != OP_JCC && in->addrsize == 2)
            return NULL;
        if (!add_link(b, next) || !add_link(b, to))
            return NULL;
        if (in->op == OP_JCC)
            return jcc[in->cc & 15];
        if (in->op == OP_LOOP)
            return in->addrsize == 8 ? loop64 : loop32;
        return in->addrsize == 8 ? jcxz64 : jcxz32;
    default:
        return NULL;
    }
}

static op_fn select_indirect(struct build *b, const struct x86_insn *in, struct dop *op)
{
    /* no kind d: 32-bit addresses are rare here */
    static const op_fn jmp_m[KINDS] = { jmp_m_b, jmp_m_f, NULL, jmp_m_s };
    static const op_fn call_m[KINDS] = { call_m_b, call_m_f, NULL, call_m_s };
    bool call = in->op == OP_CALL_IND;
    if ((b->mode & MODE_CODE) != MODE_CODE64 || in->opsize != 8)
        return NULL;
    op->x = in->len;
    if (in->opnd[0].kind == OPND_MEM)
        return (call ? call_m : jmp_m)[op_address(b, in, op)];
    op->m = (uint8_t)op_reg(&in->opnd[0]);
    return call ? call_r : jmp_r;
}

static op_fn select_ret(struct build *b, const struct x86_insn *in, struct dop *op)
{
    bool wide = (b->mode & MODE_CODE) == MODE_CODE64;
    bool flat32 = in->opsize == 4 && (b->mode & MODE_CODE) == MODE_CODE32 &&
                  (b->mode & MODE_FLAT) && (b->mode & MODE_STACK32);
    op->a = in->imm & 0xffff;
    if (wide && in->opsize == 8)
        return ret64;
    return flat32 ? ret32 : NULL;
}

op_fn fast_flow(struct build *b, const struct x86_insn *in, struct dop *op, bool *ends)
{
    op_fn fn = NULL;
    if (b->mode & (MODE_ONCE | MODE_LIMIT))
        return NULL; /* no links; every target is checked */
    switch (in->op) {
    case OP_JMP_REL:
    case OP_JCC:
    case OP_CALL_REL:
    case OP_LOOP:
    case OP_JCXZ:
        if (in->opsize != 2)
            fn = select_direct(b, in, op);
        break;
    case OP_JMP_IND:
    case OP_CALL_IND:
        fn = select_indirect(b, in, op);
        break;
    case OP_RET:
        fn = select_ret(b, in, op);
        break;
    default:
        break;
    }
    if (!fn)
        b->links = 0;
    *ends = fn != NULL;
    return fn;
}
