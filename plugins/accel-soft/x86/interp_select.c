/*
 * interp_select.c: which handler executes an instruction: a fast one for its shape, the one that
 * executes any x86_insn, or another part of the CPU (system, vectors).
 */
#include "interp_gen.h"
#include "ops.h"

static const struct xrec *op_rec(const struct dop *op)
{
    return (const struct xrec *)(uintptr_t)op->a;
}

/* ---- handlers of whole instructions ---- */

HANDLER(op_gen)
{
    const struct xrec *rec = op_rec(op);
    interp_sync(cpu, op);
    rec->exec(cpu, &rec->in);
    NEXT;
}

/* String instructions move rip themselves when they are done. */
HANDLER(op_strings)
{
    const struct xrec *rec = op_rec(op);
    interp_sync(cpu, op);
    uint64_t rip = cpu->rip;
    rec->exec(cpu, &rec->in);
    if (UNLIKELY(cpu->rip == rip)) {
        cpu->insns += op->idx;
        return NULL;
    }
    NEXT;
}

/* The instruction sets rip. */
HANDLER(op_gen_flow)
{
    const struct xrec *rec = op_rec(op);
    interp_sync(cpu, op);
    rec->exec(cpu, &rec->in);
    cpu->insns += op->count;
    return NULL;
}

/* The last of its block though it does not jump: POPF. */
HANDLER(op_gen_last)
{
    const struct xrec *rec = op_rec(op);
    interp_sync(cpu, op);
    rec->exec(cpu, &rec->in);
    cpu->rip = next_rip(cpu, &rec->in);
    if ((cpu->fl & FL_IF) && cpu->event_waiting)
        atomic_fetch_or_explicit(&cpu->exit_req, REQ_EVENT, memory_order_relaxed);
    cpu->insns += op->count;
    return NULL;
}

static void vec_exec(struct vcpu *cpu, const struct xrec *rec)
{
    vec_execute(cpu, &rec->in, rec->bytes);
}

HANDLER(op_vec)
{
    interp_sync(cpu, op);
    vec_exec(cpu, op_rec(op));
    NEXT;
}

HANDLER(op_vec_last)
{
    const struct xrec *rec = op_rec(op);
    interp_sync(cpu, op);
    vec_exec(cpu, rec);
    cpu->rip = next_rip(cpu, &rec->in);
    cpu->insns += op->count;
    return NULL;
}

static void sys_exec(struct vcpu *cpu, const struct x86_insn *in)
{
    if ((in->flags & INSN_PRIV) && cpu->cpl != 0)
        x86_raise_err(cpu, VEC_GP, 0);
    sys_execute(cpu, in);
}

/* A system instruction that changes nothing decoding depends on; INS and OUTS may stop half-way. */
HANDLER(op_sys)
{
    const struct xrec *rec = op_rec(op);
    interp_sync(cpu, op);
    uint64_t next = next_rip(cpu, &rec->in);
    sys_exec(cpu, &rec->in);
    if (UNLIKELY(cpu->rip != next)) {
        cpu->insns += op->count;
        return NULL;
    }
    NEXT;
}

HANDLER(op_sys_last)
{
    interp_sync(cpu, op);
    sys_exec(cpu, &op_rec(op)->in);
    cpu->insns += op->count;
    return NULL;
}

/* PAUSE: a guest that spins gives the host's CPU away after a while, if others may need it. */
HANDLER(op_pause)
{
    if (cpu->soft->vcpu_count > 1 && (++cpu->interp->pauses & 63) == 0)
        atomic_fetch_or_explicit(&cpu->exit_req, REQ_YIELD, memory_order_relaxed);
    NEXT;
}

const struct dop *op_undefined(struct vcpu *cpu, const struct dop *op)
{
    interp_sync(cpu, op);
    x86_raise(cpu, VEC_UD);
}

const struct dop *op_too_long(struct vcpu *cpu, const struct dop *op)
{
    interp_sync(cpu, op);
    x86_raise_err(cpu, VEC_GP, 0);
}

const struct dop *op_fall(struct vcpu *cpu, const struct dop *op)
{
    FOLLOW(LINKS(op), op->count);
}

const struct dop *op_leave(struct vcpu *cpu, const struct dop *op)
{
    cpu->rip = op->a;
    cpu->insns += op->count;
    return NULL;
}

/* ---- operands ---- */

unsigned op_reg(const struct x86_operand *o)
{
    return o->high ? (o->reg & 3u) * 8 + 1 : (o->reg & 15u) * 8;
}

unsigned op_address(struct build *b, const struct x86_insn *in, struct dop *op)
{
    const unsigned none = offsetof(struct vcpu, zero);
    uint64_t next = b->rip + in->len;
    bool rip = in->base == REG_RIP;

    op->a = (uint64_t)in->disp + (rip ? next : 0);
    op->base = (uint8_t)(rip || in->base == REG_NONE ? none : (in->base & 15u) * 8);
    op->index = (uint8_t)(in->index == REG_NONE ? none : (in->index & 15u) * 8);
    op->scale = (uint8_t)(in->scale == 8 ? 3 : in->scale == 4 ? 2 : in->scale == 2 ? 1 : 0);
    op->fl = (uint8_t)(in->seg | (in->addrsize == 2 ? DOP_A16 : in->addrsize == 4 ? DOP_A32 : 0));
    op->seg = none / 8;
    if ((b->mode & MODE_CODE) == MODE_CODE64) {
        bool far = in->seg == SEG_FS || in->seg == SEG_GS;
        if (far)
            op->seg = (uint8_t)((offsetof(struct vcpu, seg) + in->seg * sizeof(struct seg)) / 8);
        if (in->addrsize == 8)
            return in->index == REG_NONE && !far ? KIND_B : KIND_F;
        return far ? KIND_S : KIND_D;
    }
    if ((b->mode & MODE_FLAT) && in->addrsize == 4 && in->seg <= SEG_DS && in->seg != SEG_CS)
        return KIND_D;
    return KIND_S;
}

/* ---- selection ---- */

/* Bit counts that older processors execute as scans (SDM volume 2, TZCNT and LZCNT). */
static void without_feature(struct x86_insn *in)
{
    if (in->op == OP_TZCNT)
        in->op = OP_BSF;
    else if (in->op == OP_LZCNT)
        in->op = OP_BSR;
    else if (in->feature != FEAT_PREFETCHW)
        in->op = OP_UD;
}

static gen_fn gen_find(enum x86_op op)
{
    gen_fn (*const tables[])(enum x86_op) = { gen_move, gen_arith, gen_shift, gen_bits };
    for (unsigned i = 0; i < sizeof tables / sizeof *tables; i++) {
        gen_fn fn = tables[i](op);
        if (fn)
            return fn;
    }
    return NULL;
}

bool interp_select(struct build *b, struct x86_insn *in, const uint8_t *bytes, struct dop *op)
{
    bool last = in->flags & INSN_ENDS_BLOCK, ends = false;

    if (in->feature != FEAT_BASE && !cpu_has(b->cpu, in->feature))
        without_feature(in);
    if (in->op == OP_PAUSE) {
        op->fn = op_pause;
        return false;
    }
    if (in->op == OP_UD) {
        op->fn = op_undefined;
        return true;
    }
    if (!(in->flags & INSN_LOCK)) {
        op_fn fn = fast_flow(b, in, op, &ends);
        if (!fn)
            fn = fast_move(b, in, op);
        if (!fn)
            fn = fast_alu(b, in, op);
        if (!fn)
            fn = fast_misc(b, in, op);
        if (fn) {
            op->fn = fn;
            return ends;
        }
    }

    struct xrec *rec = b->rec;
    b->rec_used = true;
    rec->in = *in;
    memset(rec->bytes, 0, sizeof rec->bytes);
    memcpy(rec->bytes, bytes, in->len);
    op->a = (uintptr_t)rec;
    if ((rec->exec = gen_flow(in->op))) {
        op->fn = op_gen_flow;
        return true;
    }
    if ((rec->exec = gen_string(in->op))) {
        op->fn = op_strings;
        return last;
    }
    if ((rec->exec = gen_find(in->op))) {
        op->fn = last ? op_gen_last : op_gen;
        return last;
    }
    if (vec_handles(in->op))
        op->fn = last ? op_vec_last : op_vec;
    else if (sys_handles(in->op))
        op->fn = last ? op_sys_last : op_sys;
    else
        op->fn = op_undefined;
    return last || op->fn == op_undefined;
}
