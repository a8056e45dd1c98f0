/*
 * str.c: string instructions with 64-bit addresses and without FS and GS. REP MOVS and REP STOS are
 * a C function that works by chunks up to the next page end of either side; single MOVS STOS LODS
 * SCAS CMPS are host code. DF = 1, REP with LODS SCAS CMPS, and whatever a view does not have, is
 * the interpreter's (x86/interp_string.c).
 *
 * Registers are committed after each chunk, so a fault or an interrupt leaves a restartable
 * instruction (SDM volume 2B, REP).
 */
#include "sys.h"

#include "../x86/ftab.h"
#include "../x86/repeat.h"
#include "../x86/vecstate.h"

/* ---- repetitions, called by rewritten code --------------------------------------------------- */

/*
 * Host address of LINEAR for ACC, good up to the page end; NULL: the interpreter's. The view alone
 * does not tell addresses that are not canonical.
 */
static uint8_t *place(struct vcpu *cpu, uint64_t linear, unsigned acc)
{
    uint64_t mask = cpu->cpl == 3 ? FTAB_MASK_USER : FTAB_MASK_SUPER;
    uint64_t i = (linear & mask) >> PAGE_BITS;
    if (cpu->cpl == 3 ? linear >> 47 != 0
                      : (uint64_t)((int64_t)(linear << 16) >> 16) != linear)
        return NULL;
    if (acc & ACC_W)
        i |= UINT64_C(1) << FTAB_WRITE_BIT;
    const volatile uint64_t *entry = &cpu->view_now[i];
    uint64_t addend = *entry;
    if (!addend) {
        if (!ftab_fill(cpu, linear, acc))
            return NULL;
        addend = *entry;
        if (!addend)
            return NULL;
    }
    return (uint8_t *)(uintptr_t)(linear + addend);
}

/* Whole elements from LINEAR to the end of its page. */
static inline uint64_t room(uint64_t linear, unsigned log2)
{
    return (PAGE_BYTES - (linear & (PAGE_BYTES - 1))) >> log2;
}

/* Between two chunks, COUNT not 0 any more: true if the run loop wants to look. */
static bool interrupted(struct vcpu *cpu, uint64_t ret)
{
    unsigned off;
    if (!atomic_load_explicit(&cpu->exit_req, memory_order_relaxed))
        return false;
    const struct rw_block *b = rw_block_at(cpu->rw, ret - 1, &off);
    if (!b)
        return false;
    cpu->rip = b->rip + off;
    cpu->rep_midway = 1;
    return true;
}

static inline uint64_t rep_movs(struct vcpu *cpu, uint64_t ret, unsigned log2)
{
    if (!VEC_KEPT_BY_C)
        vec_out(cpu);
    uint64_t *rcx = &cpu->gpr[REG_RCX], *rsi = &cpu->gpr[REG_RSI], *rdi = &cpu->gpr[REG_RDI];
    if (cpu->fl & FL_DF)
        return rw_on_insn(cpu, ret);
    while (*rcx) {
        uint64_t n = room(*rsi, log2), m = room(*rdi, log2);
        n = m < n ? m : n;
        n = *rcx < n ? *rcx : n;
        const uint8_t *from = n ? place(cpu, *rsi, ACC_R) : NULL;
        uint8_t *to = from ? place(cpu, *rdi, ACC_W) : NULL;
        if (!to)
            return rw_on_insn(cpu, ret); /* or an element over two pages */
        repeat_movs(to, from, n, 1u << log2);
        *rsi += n << log2;
        *rdi += n << log2;
        *rcx -= n;
        if (*rcx && interrupted(cpu, ret))
            return 0;
    }
    return ret;
}

static inline uint64_t rep_stos(struct vcpu *cpu, uint64_t ret, unsigned log2)
{
    if (!VEC_KEPT_BY_C)
        vec_out(cpu);
    uint64_t *rcx = &cpu->gpr[REG_RCX], *rdi = &cpu->gpr[REG_RDI], val = cpu->gpr[REG_RAX];
    if (cpu->fl & FL_DF)
        return rw_on_insn(cpu, ret);
    while (*rcx) {
        uint64_t n = room(*rdi, log2);
        n = *rcx < n ? *rcx : n;
        uint8_t *to = n ? place(cpu, *rdi, ACC_W) : NULL;
        if (!to)
            return rw_on_insn(cpu, ret);
        repeat_stos(to, val, n, 1u << log2);
        *rdi += n << log2;
        *rcx -= n;
        if (*rcx && interrupted(cpu, ret))
            return 0;
    }
    return ret;
}

static uint64_t rep_movs1(struct vcpu *cpu, uint64_t ret)
{
    return rep_movs(cpu, ret, 0);
}

static uint64_t rep_movs2(struct vcpu *cpu, uint64_t ret)
{
    return rep_movs(cpu, ret, 1);
}

static uint64_t rep_movs4(struct vcpu *cpu, uint64_t ret)
{
    return rep_movs(cpu, ret, 2);
}

static uint64_t rep_movs8(struct vcpu *cpu, uint64_t ret)
{
    return rep_movs(cpu, ret, 3);
}

static uint64_t rep_stos1(struct vcpu *cpu, uint64_t ret)
{
    return rep_stos(cpu, ret, 0);
}

static uint64_t rep_stos2(struct vcpu *cpu, uint64_t ret)
{
    return rep_stos(cpu, ret, 1);
}

static uint64_t rep_stos4(struct vcpu *cpu, uint64_t ret)
{
    return rep_stos(cpu, ret, 2);
}

static uint64_t rep_stos8(struct vcpu *cpu, uint64_t ret)
{
    return rep_stos(cpu, ret, 3);
}

/* ---- single ones ----------------------------------------------------------------------------- */

/* The interpreter's turn if DF is set. Flags go to MEM. */
static void need_up(struct rw_tr *t)
{
    rw_flags_clobber(t);
    rw_test_byte(t, STATE(fl) + 1, FL_DF >> 8);
    rw_guard(t, CC_NE, rw_cold_new(t, COLD_INSN));
}

/* op REG, [T0 + T1] (or the other way) with an operand of SIZE; OPCODE is that of 16 bits and up */
static void op_mem(struct rw_tr *t, unsigned size, unsigned opcode, unsigned reg)
{
    e_op(t, size, 0, size == 1 ? opcode - 1 : opcode, reg, H_T1, H_T0, false);
    e_modrm_t0t1(t, reg);
}

/* T1 = element at [REG]; all faults of it are over. */
static void load(struct rw_tr *t, unsigned size, unsigned reg)
{
    e_mov_rr(t, H_T0, reg);
    rw_mem_t0(t, size, ACC_R);
    rw_side_add(t, false);
    op_mem(t, size, 0x8b, H_T1);
}

static void advance(struct rw_tr *t, unsigned size, unsigned reg)
{
    e_lea_disp(t, reg, reg, (int32_t)size);
}

/* T1 = element at [RSI], T0 = host address of the one at [RDI], which is not kept across a call. */
static void both(struct rw_tr *t, unsigned size, unsigned acc)
{
    load(t, size, H_RSI);
    e_store(t, H_T1, STATE(rw_park));
    e_mov_rr(t, H_T0, H_RDI);
    rw_mem_t0(t, size, acc);
    rw_mem_fold(t);
    e_load(t, H_T1, STATE(rw_park));
}

static bool emit_once(struct rw_tr *t, const struct x86_insn *in)
{
    unsigned size = in->opsize;
    need_up(t);
    switch (in->op) {
    case OP_MOVS:
        both(t, size, ACC_W);
        rw_side_add(t, false);
        e_op(t, size, 0, size == 1 ? 0x88 : 0x89, H_T1, 0, H_T0, false);
        e_modrm_t0(t, H_T1);
        advance(t, size, H_RSI);
        advance(t, size, H_RDI);
        return true;
    case OP_STOS:
        e_mov_rr(t, H_T0, H_RDI);
        rw_mem_t0(t, size, ACC_W);
        rw_side_add(t, false);
        op_mem(t, size, 0x89, H_RAX);
        advance(t, size, H_RDI);
        return true;
    case OP_LODS:
        e_mov_rr(t, H_T0, H_RSI);
        rw_mem_t0(t, size, ACC_R);
        rw_side_add(t, false);
        op_mem(t, size, 0x8b, H_RAX);
        advance(t, size, H_RSI);
        return true;
    case OP_SCAS:
        e_mov_rr(t, H_T0, H_RDI);
        rw_mem_t0(t, size, ACC_R);
        rw_flags_before_op(t);
        op_mem(t, size, 0x3b, H_RAX);
        advance(t, size, H_RDI);
        return true;
    default: /* CMPS */
        both(t, size, ACC_R);
        rw_flags_before_op(t);
        e_op(t, size, 0, size == 1 ? 0x3a : 0x3b, H_T1, 0, H_T0, false);
        e_modrm_t0(t, H_T1);
        advance(t, size, H_RSI);
        advance(t, size, H_RDI);
        return true;
    }
}

bool rw_emit_str(struct rw_tr *t, const struct x86_insn *in)
{
    static const rw_helper movs[] = { rep_movs1, rep_movs2, rep_movs4, rep_movs8 };
    static const rw_helper stos[] = { rep_stos1, rep_stos2, rep_stos4, rep_stos8 };
    unsigned log2 = in->opsize == 8 ? 3 : in->opsize >> 1;
    switch (in->op) {
    case OP_MOVS:
    case OP_STOS:
    case OP_LODS:
    case OP_SCAS:
    case OP_CMPS:
        break;
    default:
        return false;
    }
    if (in->addrsize != 8 || in->seg == SEG_FS || in->seg == SEG_GS)
        return false;
    if (in->rep == REP_NONE)
        return emit_once(t, in);
    if (in->op != OP_MOVS && in->op != OP_STOS)
        return false;
    rw_call_helper(t, (in->op == OP_MOVS ? movs : stos)[log2]);
    return true;
}
