/*
 * stack.c: PUSH, POP and LEAVE of rewritten code. Calls and returns are in flow.c, PUSHF and POPF
 * in sys.c; ENTER and 16-bit operands are the interpreter's.
 *
 * Each looks its stack slot up, accesses it, and only then moves RSP. A run of them, a function's
 * prologue or epilogue, pays for one look-up: all its slots lie in one page (checked), so the host
 * address of one leads to all, and once the first access has not faulted none will. Plain register
 * moves within a run come along, and a RET at its end. Up to its first access a run has committed
 * nothing, so it restarts at its first instruction. A run that crosses a page's end is the
 * interpreter's, all of it: no instruction but the first may be resumed at (slow.c).
 * Reference: Intel SDM volume 2 (PUSH, POP, LEAVE).
 */
#include "emit.h"

#include "../x86/mmu.h"

enum { RUN_SLOTS = 15, CC_A = 7 }; /* displacements of one byte: up to 8 * 15 */

struct run {
    unsigned first, last; /* instructions */
    unsigned slots;
};

static bool is_gpr(const struct x86_operand *o, unsigned size)
{
    return o->kind == OPND_GPR && o->size == size && !o->high;
}

static bool simple_push(const struct x86_insn *in)
{
    return in->op == OP_PUSH && in->opsize == 8 &&
           (is_gpr(&in->opnd[0], 8) || in->opnd[0].kind == OPND_IMM);
}

static bool simple_pop(const struct x86_insn *in)
{
    return in->op == OP_POP && in->opsize == 8 && is_gpr(&in->opnd[0], 8) &&
           in->opnd[0].reg != REG_RSP;
}

/* A move that neither faults nor touches flags, memory or RSP (reading it is fine). */
static bool plain_move(const struct x86_insn *in)
{
    if (in->op == OP_NOP)
        return true;
    if (in->op != OP_MOV || in->operands != 2 || (in->flags & INSN_LOCK))
        return false;
    const struct x86_operand *to = &in->opnd[0], *from = &in->opnd[1];
    if ((!is_gpr(to, 8) && !is_gpr(to, 4)) || to->reg == REG_RSP)
        return false;
    if (from->kind == OPND_IMM)
        return true;
    return is_gpr(from, to->size) && (from->reg != REG_RSP || to->size == 8);
}

/* ---- pieces ---- */

/* mov REG, [T0 + DISP] (opcode 8b) or the other way round (89). */
static void emit_t0_disp(struct rw_tr *t, unsigned opcode, unsigned reg, unsigned disp)
{
    e_op(t, 8, 0, opcode, reg, 0, H_T0, false);
    e1(t, (disp ? 0x40 : 0) | (reg & 7) << 3 | (H_T0 & 7));
    if (disp)
        e1(t, disp);
}

/* What PUSH stores, to [T0 + DISP]; RSP is at host RSP + SP. Destroys T1. */
static void emit_push_value(struct rw_tr *t, const struct x86_insn *in, unsigned disp, int sp)
{
    const struct x86_operand *o = &in->opnd[0];
    if (o->kind == OPND_IMM) {
        e_op(t, 8, 0, 0xc7, 0, 0, H_T0, false);
        e1(t, (disp ? 0x40 : 0) | (H_T0 & 7));
        if (disp)
            e1(t, disp);
        e4(t, (uint32_t)in->imm);
        return;
    }
    unsigned reg = rw_host_reg(o->reg);
    if (reg == H_SPILLED) {
        e_load(t, H_T1, STATE_GPR(o->reg));
        reg = H_T1;
    } else if (reg == H_RSP && sp) {
        e_lea_disp(t, H_T1, H_RSP, sp);
        reg = H_T1;
    }
    emit_t0_disp(t, 0x89, reg, disp);
}

/* What POP loads, from [T0 + DISP]. Destroys T1. */
static void emit_pop_value(struct rw_tr *t, const struct x86_insn *in, unsigned disp)
{
    unsigned reg = rw_host_reg(in->opnd[0].reg);
    if (reg != H_SPILLED) {
        emit_t0_disp(t, 0x8b, reg, disp);
        return;
    }
    emit_t0_disp(t, 0x8b, H_T1, disp);
    e_store(t, H_T1, STATE_GPR(in->opnd[0].reg));
}

/* plain_move(); destroys T1. */
static void emit_move(struct rw_tr *t, const struct x86_insn *in, int sp)
{
    if (in->op == OP_NOP)
        return;
    const struct x86_operand *o = &in->opnd[0], *s = &in->opnd[1];
    unsigned reg = rw_host_reg(o->reg), dst = reg == H_SPILLED ? H_T1 : reg;
    if (s->kind == OPND_IMM) {
        e_mov_ri(t, dst, o->size == 4 ? (uint32_t)in->imm : in->imm);
    } else if (s->reg == REG_RSP) {
        e_lea_disp(t, dst, H_RSP, sp);
    } else if (rw_host_reg(s->reg) == H_SPILLED) {
        e_state(t, o->size, 0, 0x8b, dst, STATE_GPR(s->reg));
    } else {
        e_rr(t, o->size, 0, 0x8b, dst, rw_host_reg(s->reg));
    }
    if (reg == H_SPILLED)
        e_store(t, H_T1, STATE_GPR(o->reg));
}

/* ---- one instruction ---- */

static bool emit_push(struct rw_tr *t, const struct x86_insn *in)
{
    if (in->opsize != 8)
        return false;
    if (in->opnd[0].kind == OPND_MEM) {
        rw_mem(t, in, 8, ACC_R);
        rw_flags_before_op(t);
        e_op(t, 8, 0, 0x8b, H_T0, H_T1, H_T0, false); /* mov T0, [T0 + T1] */
        e_modrm_t0t1(t, H_T0);
        e_store(t, H_T0, STATE(rw_park));
    } else if (!simple_push(in)) {
        return false;
    }
    e_lea_disp(t, H_T0, H_RSP, -8);
    rw_mem_t0(t, 8, ACC_W);
    rw_flags_before_op(t);
    rw_mem_fold(t);
    if (in->opnd[0].kind == OPND_MEM) {
        e_load(t, H_T1, STATE(rw_park));
        emit_t0_disp(t, 0x89, H_T1, 0);
    } else {
        emit_push_value(t, in, 0, 0);
    }
    e_lea_disp(t, H_RSP, H_RSP, -8);
    return true;
}

/* POP to memory: the address is computed with RSP already moved, but nothing is committed yet. */
static bool emit_pop_mem(struct rw_tr *t, const struct x86_insn *in)
{
    struct x86_insn moved = *in;
    if (in->base == REG_RSP) {
        moved.disp += 8;
        if (moved.disp > INT32_MAX)
            return false;
    }
    e_mov_rr(t, H_T0, H_RSP);
    rw_mem_t0(t, 8, ACC_R);
    rw_flags_before_op(t);
    e_op(t, 8, 0, 0x8b, H_T0, H_T1, H_T0, false); /* mov T0, [T0 + T1] */
    e_modrm_t0t1(t, H_T0);
    e_store(t, H_T0, STATE(rw_park));
    rw_mem(t, &moved, 8, ACC_W);
    rw_flags_before_op(t);
    rw_mem_fold(t);
    e_load(t, H_T1, STATE(rw_park));
    emit_t0_disp(t, 0x89, H_T1, 0);
    e_lea_disp(t, H_RSP, H_RSP, 8);
    return true;
}

static bool emit_pop(struct rw_tr *t, const struct x86_insn *in)
{
    const struct x86_operand *o = &in->opnd[0];
    if (in->opsize != 8)
        return false;
    if (o->kind == OPND_MEM)
        return emit_pop_mem(t, in);
    if (!is_gpr(o, 8))
        return false;
    e_mov_rr(t, H_T0, H_RSP);
    rw_mem_t0(t, 8, ACC_R);
    rw_flags_before_op(t);
    rw_mem_fold(t);
    emit_pop_value(t, in, 0);
    if (o->reg != REG_RSP) /* POP RSP: the value wins */
        e_lea_disp(t, H_RSP, H_RSP, 8);
    return true;
}

static bool emit_leave(struct rw_tr *t, const struct x86_insn *in)
{
    if (in->opsize != 8)
        return false;
    e_mov_rr(t, H_T0, H_RBP);
    rw_mem_t0(t, 8, ACC_R);
    rw_flags_before_op(t);
    e_op(t, 8, 0, 0x8b, H_T0, H_T1, H_T0, false); /* mov T0, [T0 + T1] */
    e_modrm_t0t1(t, H_T0);
    e_lea_disp(t, H_RSP, H_RBP, 8);
    e_mov_rr(t, H_RBP, H_T0);
    return true;
}

static bool emit_one(struct rw_tr *t, const struct x86_insn *in)
{
    switch (in->op) {
    case OP_PUSH:
        return emit_push(t, in);
    case OP_POP:
        return emit_pop(t, in);
    case OP_LEAVE:
        return emit_leave(t, in);
    default:
        return false;
    }
}

/* ---- runs ---- */

static bool near_ret(const struct rw_tr *t, unsigned i)
{
    return i < t->n && t->in[i].op == OP_RET && t->in[i].opsize == 8;
}

/* The run that begins at the current instruction; false: none that is worth it. */
static bool find_run(const struct rw_tr *t, struct run *r)
{
    const struct x86_insn *in = &t->in[t->cur];
    bool push = in->op == OP_PUSH;
    *r = (struct run){ .first = t->cur, .last = t->cur };
    if (in->op == OP_LEAVE) {
        r->slots = 1;
    } else {
        for (unsigned i = t->cur; i < t->n && r->slots < RUN_SLOTS - 1; i++) {
            in = &t->in[i];
            if (push ? simple_push(in) : simple_pop(in)) {
                r->slots++;
                r->last = i;
            } else if (i == t->cur || !plain_move(in)) {
                break;
            }
        }
    }
    if (!push && r->slots && near_ret(t, r->last + 1)) {
        r->slots++;
        r->last++;
    }
    return r->slots >= 2 && t->p + 160 + (size_t)20 * (r->last - r->first + 1) < t->limit;
}

/*
 * T0 is the lowest slot: T0 = its host address, or the interpreter's turn. The access of one
 * byte is looked up, and what x86/ftab.h asks of widths holds for all slots: o + 8 * slots <= 4096,
 * aligned or not, o being the offset in the page.
 */
static void emit_run_check(struct rw_tr *t, const struct run *r, unsigned acc)
{
    e_rr(t, 4, 0, 0x8b, H_T1, H_T0);
    e_op(t, 4, 0, 0x81, 0, 0, H_T1, false); /* and T1d, 0xfff */
    e_modrm_r(t, 4, H_T1);
    e4(t, 0xfff);
    e_op(t, 4, 0, 0x81, 0, 0, H_T1, false); /* cmp T1d, 4096 - 8 * slots */
    e_modrm_r(t, 7, H_T1);
    e4(t, 4096 - 8 * r->slots);
    e1(t, 0x0f);
    e1(t, 0x80 | CC_A);
    rw_cold_site(t, rw_cold_new(t, COLD_INSN));
    rw_mem_t0(t, 1, acc);
    rw_flags_before_op(t);
    rw_mem_fold(t);
}

static void emit_push_run(struct rw_tr *t, const struct run *r)
{
    int size = 8 * (int)r->slots, sp = 0;
    rw_flags_clobber(t);
    e_lea_disp(t, H_T0, H_RSP, -size);
    emit_run_check(t, r, ACC_W);
    for (unsigned i = r->first; i <= r->last; i++) {
        const struct x86_insn *in = &t->in[i];
        if (in->op == OP_PUSH) {
            emit_push_value(t, in, (unsigned)(size + sp - 8), sp);
            sp -= 8;
        } else {
            emit_move(t, in, sp);
        }
    }
    e_lea_disp(t, H_RSP, H_RSP, -size);
}

/* The pops; RSP then stays where it was if a RET follows, which moves it over all. */
static void emit_pop_run(struct rw_tr *t, const struct run *r)
{
    int sp = 0;
    bool ret = t->in[r->last].op == OP_RET;
    rw_flags_clobber(t);
    e_mov_rr(t, H_T0, H_RSP);
    emit_run_check(t, r, ACC_R);
    for (unsigned i = r->first; i <= r->last - ret; i++) {
        const struct x86_insn *in = &t->in[i];
        if (in->op == OP_POP) {
            emit_pop_value(t, in, (unsigned)sp);
            sp += 8;
        } else {
            emit_move(t, in, sp);
        }
    }
    if (ret) {
        emit_t0_disp(t, 0x8b, H_T0, (unsigned)sp);
        t->cur = r->last;
        rw_emit_ret_tail(t, &t->in[r->last], sp);
    } else {
        e_lea_disp(t, H_RSP, H_RSP, sp);
    }
}

/* LEAVE and RET. */
static void emit_leave_run(struct rw_tr *t, const struct run *r)
{
    rw_flags_clobber(t);
    e_mov_rr(t, H_T0, H_RBP);
    emit_run_check(t, r, ACC_R);
    emit_t0_disp(t, 0x8b, H_T1, 0);
    emit_t0_disp(t, 0x8b, H_T0, 8);
    e_lea_disp(t, H_RSP, H_RBP, 8);
    e_mov_rr(t, H_RBP, H_T1);
    t->cur = r->last;
    rw_emit_ret_tail(t, &t->in[r->last], 0);
}

bool rw_emit_stack(struct rw_tr *t, const struct x86_insn *in)
{
    struct run r;
    if (in->op != OP_PUSH && in->op != OP_POP && in->op != OP_LEAVE)
        return false;
    if (in->op == OP_LEAVE && in->opsize != 8)
        return false;
    if (!find_run(t, &r))
        return emit_one(t, in);
    if (in->op == OP_PUSH)
        emit_push_run(t, &r);
    else if (in->op == OP_POP)
        emit_pop_run(t, &r);
    else
        emit_leave_run(t, &r);
    t->cur = r.last;
    return true;
}
