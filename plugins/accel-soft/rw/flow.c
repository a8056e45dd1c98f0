/*
 * flow.c: near jumps, calls and returns of rewritten code. Which guest addresses have code, and
 * what happens to a link when it is followed or cut, is in link.c and blk.c; far transfers, INT
 * and SYSCALL are in sys.c.
 *
 * Edges. A target that is known and cannot be mapped elsewhere behind the block's back (the same
 * page, or kernel code that jumps within the upper half) is a link: a rel32 that link.c points at
 * the target's code. Any other target is looked up in the jump cache, with a constant slot if the
 * target is known. An edge that does not lead forward polls exit_req, so no chain of blocks runs
 * for ever; nor does one of calls and matched returns, since what returns goes on behind its call.
 * Returns that do not match are glue.ret_miss's, which polls.
 *
 * Calls and returns. A call pushes a pair on the host's stack: the guest's return address as a tag,
 * and by a host CALL the place behind it. A return whose address equals the topmost tag is a host
 * RET, which the host predicts. Pairs are hints: the guest's address decides, host addresses on
 * that stack are always code of this cache, and a stack that is full just starts over. A pair's two
 * words never lie on two pages, so the guard page stops both or none. Behind the host CALL is
 * nothing but a link to the return address: links are cut when the code there changes.
 *
 * Flags are in HOST or MEM across links, in MEM across everything else.
 * Reference: Intel SDM volume 2 (CALL, Jcc, JMP, LOOP, RET).
 */
#include "emit.h"

#include "../x86/mmu.h"

enum { CC_E = 4, CC_NE = 5, CC_A = 7 };

static bool is_canonical48(uint64_t rip)
{
    return (uint64_t)((int64_t)(rip << 16) >> 16) == rip;
}

static bool fits_imm32(uint64_t v)
{
    return v == (uint64_t)(int64_t)(int32_t)(uint32_t)v;
}

/* Short jump forward; returns where its displacement is, which skip8_here() fills in. */
static uint8_t *skip8(struct rw_tr *t, unsigned opcode)
{
    e1(t, opcode);
    e1(t, 0);
    return t->p - 1;
}

static void skip8_here(const struct rw_tr *t, uint8_t *at)
{
    *at = (uint8_t)(t->p - at - 1);
}

/* ---- pieces ---- */

/* cmp dword gs:[exit_req], 0: not equal means leave. */
static void emit_poll(struct rw_tr *t)
{
    e1(t, 0x65);
    e1(t, 0x83);
    e_modrm_abs(t, 7, (uint32_t)STATE(exit_req));
    e1(t, 0);
}

/* Leave for the run loop if it asks for it; T0 is where the guest goes on. */
static void emit_poll_t0(struct rw_tr *t)
{
    emit_poll(t);
    e_jcc(t, CC_NE, t->rw->glue.leave_t0);
}

static bool linkable(const struct rw_tr *t, uint64_t rip)
{
    if ((rip ^ t->rip) >> 12 == 0)
        return true;
    return t->cpl == 0 && t->rip >> 63 && rip >> 63;
}

/* PLACE: of the flags on this edge. */
static struct rw_cold *new_link(struct rw_tr *t, uint64_t rip, unsigned place)
{
    struct rw_cold *cold = rw_cold_new(t, COLD_LINK);
    cold->link = (uint8_t)t->links;
    t->link[t->links++] = (struct rw_link){ .rip = rip, .flags_mem = place == FLAGS_MEM,
                                            .flags_dead = place == FLAGS_DEAD };
    return cold;
}

/* The rel32 of a link; the opcode is there already. */
static void emit_link(struct rw_tr *t, struct rw_cold *cold)
{
    t->link[cold->link].site = e_here(t);
    rw_cold_site(t, cold);
}

/* Where the run loop asks for it take the link's stub, which leaves then (rw_on_link). Flags in MEM
   or dead. */
static void emit_poll_link(struct rw_tr *t, struct rw_cold *cold)
{
    emit_poll(t);
    e1(t, 0x0f);
    e1(t, 0x80 | CC_NE);
    rw_cold_site(t, cold);
}

/* T1 = jump cache; flags: equal if the slot of the constant T0 = rip is its. Returns the offset. */
static uint32_t emit_probe_const(struct rw_tr *t, uint64_t rip)
{
    uint32_t off = rw_jc_offset(rip);
    e_load(t, H_T1, STATE(rw_jc));
    e_op(t, 8, 0, 0x39, H_T0, 0, H_T1, false); /* cmp [T1 + off], T0 */
    e1(t, 0x80 | (H_T0 & 7) << 3 | (H_T1 & 7));
    e4(t, off);
    return off;
}

/* T1 = slot of T0; flags: equal if it is its. */
static void emit_probe(struct rw_tr *t)
{
    e_op(t, 4, 0, 0x69, H_T1, 0, H_T0, false); /* imul T1d, T0d, ... as rw_jc_offset */
    e_modrm_r(t, H_T1, H_T0);
    e4(t, 0x9e3779b1);
    e_op(t, 4, 0, 0xc1, 0, 0, H_T1, false); /* shr T1d, 16 */
    e_modrm_r(t, 5, H_T1);
    e1(t, 16);
    e_op(t, 4, 0, 0x83, 0, 0, H_T1, false); /* and T1d, -16: 16 bits are left */
    e_modrm_r(t, 4, H_T1);
    e1(t, 0xf0);
    _Static_assert((RW_JC_ENTRIES - 1) << 4 == 0xfff0, "the hash is cut to 16 bits");
    e_state(t, 8, 0, 0x03, H_T1, STATE(rw_jc));
    e_op(t, 8, 0, 0x39, H_T0, 0, H_T1, false); /* cmp [T1], T0 */
    e1(t, (H_T0 & 7) << 3 | (H_T1 & 7));
}

/* jmp (EXT 4) or call (EXT 2) through [T1 + off]. */
static void emit_through_t1(struct rw_tr *t, unsigned ext, uint32_t off)
{
    bool small = off < 128;
    e1(t, 0x41);
    e1(t, 0xff);
    e1(t, (small ? 0x40 : 0x80) | ext << 3 | (H_T1 & 7));
    if (small)
        e1(t, off);
    else
        e4(t, off);
}

/*
 * The interpreter's turn (#GP of the jump itself) unless T0 is canonical: bits 63..47 are all 0 or
 * all 1. Needs the flags in MEM and nothing committed; destroys T1.
 */
static void emit_check_canonical(struct rw_tr *t)
{
    e_mov_rr(t, H_T1, H_T0);
    e_op(t, 8, 0, 0xc1, 0, 0, H_T1, false); /* sar T1, 47: 0 or -1 */
    e_modrm_r(t, 7, H_T1);
    e1(t, 47);
    e_op(t, 8, 0, 0xff, 0, 0, H_T1, false); /* inc T1 */
    e_modrm_r(t, 0, H_T1);
    e_op(t, 8, 0, 0x83, 0, 0, H_T1, false); /* cmp T1, 1 */
    e_modrm_r(t, 7, H_T1);
    e1(t, 1);
    e1(t, 0x0f);
    e1(t, 0x80 | CC_A);
    rw_cold_site(t, rw_cold_new(t, COLD_INSN));
}

/* ---- direct edges ---- */

/* Go to RIP, known; BACK: the edge polls. The flags are where t->flags says. */
static void emit_edge(struct rw_tr *t, uint64_t rip, bool back)
{
    bool link = linkable(t, rip);
    unsigned place = t->flags;
    if (back || !link) {
        if (place == FLAGS_HOST && rw_live_at(t, rip) == 0)
            place = FLAGS_DEAD;
        else
            rw_flags_to_mem(t);
        if (place != FLAGS_DEAD)
            place = FLAGS_MEM;
    }
    if (!link) {
        e_mov_ri(t, H_T0, rip);
        uint32_t off = emit_probe_const(t, rip);
        e_jcc(t, CC_NE, t->rw->glue.lookup_slow);
        if (back)
            emit_poll_t0(t);
        emit_through_t1(t, 4, off + 8);
        return;
    }
    struct rw_cold *cold = new_link(t, rip, place);
    if (back)
        emit_poll_link(t, cold);
    e1(t, 0xe9);
    emit_link(t, cold);
}

/* Behind the last instruction: what it has left live is what the edge has to keep. */
void rw_emit_goto(struct rw_tr *t, uint64_t rip)
{
    struct rw_fl *fl = &t->fl[t->cur];
    *fl = (struct rw_fl){ .reads = fl->live };
    emit_edge(t, rip, false);
}

/*
 * An edge that is taken on a condition, as code that is jumped over otherwise: flags that it moves
 * about stay where they were for the other way. SKIP: opcode of the short jump.
 */
static void emit_edge_skipped(struct rw_tr *t, uint64_t rip, bool back, unsigned skip)
{
    uint8_t place = t->flags;
    uint8_t *at = skip8(t, skip);
    emit_edge(t, rip, back); /* 90 bytes at most */
    skip8_here(t, at);
    t->flags = place;
}

static bool emit_jcc(struct rw_tr *t, const struct x86_insn *in, uint64_t rip, bool back)
{
    rw_flags_before_op(t);
    if (linkable(t, rip) && !back) {
        e1(t, 0x0f);
        e1(t, 0x80 | in->cc);
        emit_link(t, new_link(t, rip, FLAGS_HOST));
    } else {
        emit_edge_skipped(t, rip, back, 0x70 | (in->cc ^ 1));
    }
    return true;
}

/* LOOP, LOOPE, LOOPNE, JRCXZ: the host's own, over a short jump. No flags change. */
static bool emit_loop(struct rw_tr *t, const struct x86_insn *in, uint64_t rip, bool back)
{
    rw_flags_before_op(t);
    if (in->addrsize == 4)
        e1(t, 0x67);
    e1(t, in->op == OP_LOOPNE ? 0xe0 : in->op == OP_LOOPE ? 0xe1 : in->op == OP_LOOP ? 0xe2 : 0xe3);
    e1(t, 2);
    emit_edge_skipped(t, rip, back, 0xeb);
    return true;
}

/* ---- calls ---- */

/* Push the guest's return address: the write that may go wrong, then RSP. */
static void emit_push_return(struct rw_tr *t, uint64_t ret)
{
    e_lea_disp(t, H_T0, H_RSP, -8);
    rw_mem_t0(t, 8, ACC_W);
    rw_flags_before_op(t);
    if (fits_imm32(ret)) {
        e_op(t, 8, 0, 0xc7, 0, H_T1, H_T0, false); /* mov qword [T0 + T1], imm32 */
        e_modrm_t0t1(t, 0);
        e4(t, (uint32_t)ret);
        e_mov_rr(t, H_RSP, H_T0);
        return;
    }
    rw_mem_fold(t);
    e_mov_ri(t, H_T1, ret);
    e_op(t, 8, 0, 0x89, H_T1, 0, H_T0, false); /* mov [T0], T1 */
    e_modrm_t0(t, H_T1);
    e_lea_disp(t, H_RSP, H_RSP, -8);
}

/* The first half of the pair; REG is free for a constant that is no imm32. */
static void emit_push_tag(struct rw_tr *t, uint64_t ret, unsigned reg)
{
    if (fits_imm32(ret)) {
        e1(t, 0x68);
        e4(t, (uint32_t)ret);
        return;
    }
    e_mov_ri(t, reg, ret);
    e1(t, 0x41); /* push T0 or T1 */
    e1(t, 0x50 | (reg & 7));
}

/* Host RET comes back here, flags in MEM: drop the tag and go on. */
static void emit_continue(struct rw_tr *t, uint64_t ret)
{
    e_lea_disp_rsp(t, 8);
    t->flags = FLAGS_MEM;
    emit_edge(t, ret, false);
    t->ended = 1;
}

/* T0 is the target, T1 + OFF its slot, and the comparison of both has just been made. */
static void emit_call_slot(struct rw_tr *t, uint64_t ret, uint32_t off, bool poll)
{
    uint8_t *miss = skip8(t, 0x70 | CC_NE);
    if (poll)
        emit_poll_t0(t);
    emit_push_tag(t, ret, H_T0);
    emit_through_t1(t, 2, off + 8);
    uint8_t *over = skip8(t, 0xeb);
    skip8_here(t, miss);
    emit_push_tag(t, ret, H_T1);
    e_call(t, t->rw->glue.lookup_slow);
    skip8_here(t, over);
    emit_continue(t, ret);
}

static bool emit_call(struct rw_tr *t, uint64_t rip, uint64_t ret, bool back)
{
    if (!is_canonical48(ret))
        return false;
    emit_push_return(t, ret);
    if (!linkable(t, rip)) {
        e_mov_ri(t, H_T0, rip);
        uint32_t off = emit_probe_const(t, rip);
        emit_call_slot(t, ret, off, back);
        return true;
    }
    struct rw_cold *cold = new_link(t, rip, t->flags);
    if (back)
        emit_poll_link(t, cold);
    emit_push_tag(t, ret, H_T1);
    e1(t, 0xe8);
    emit_link(t, cold);
    emit_continue(t, ret);
    return true;
}

/* T0 = operand of an indirect jump or call; flags to MEM. */
static void emit_target(struct rw_tr *t, const struct x86_insn *in)
{
    if (in->opnd[0].kind == OPND_MEM) {
        rw_mem(t, in, 8, ACC_R);
        rw_flags_before_op(t);
        e_op(t, 8, 0, 0x8b, H_T0, H_T1, H_T0, false); /* mov T0, [T0 + T1] */
        e_modrm_t0t1(t, H_T0);
        return;
    }
    rw_flags_clobber(t);
    rw_flags_before_op(t);
    unsigned reg = rw_host_reg(in->opnd[0].reg);
    if (reg == H_SPILLED)
        e_load(t, H_T0, STATE_GPR(in->opnd[0].reg));
    else
        e_mov_rr(t, H_T0, reg);
}

static bool indirect_ok(const struct x86_insn *in)
{
    return in->opsize == 8 && in->opnd[0].size == 8 &&
           (in->opnd[0].kind == OPND_MEM || in->opnd[0].kind == OPND_GPR);
}

static bool emit_jmp_ind(struct rw_tr *t, const struct x86_insn *in)
{
    if (!indirect_ok(in))
        return false;
    emit_target(t, in);
    emit_probe(t);
    uint8_t *miss = skip8(t, 0x70 | CC_NE);
    emit_poll_t0(t);
    emit_through_t1(t, 4, 8);
    skip8_here(t, miss);
    emit_check_canonical(t);
    e_jmp(t, t->rw->glue.lookup_slow);
    t->ended = 1;
    return true;
}

/* The target is read and checked before the return address is pushed. */
static bool emit_call_ind(struct rw_tr *t, const struct x86_insn *in, uint64_t ret)
{
    if (!indirect_ok(in) || !is_canonical48(ret))
        return false;
    emit_target(t, in);
    e_store(t, H_T0, STATE(rw_park));
    emit_check_canonical(t);
    emit_push_return(t, ret);
    e_load(t, H_T0, STATE(rw_park));
    emit_probe(t);
    emit_call_slot(t, ret, 0, true);
    return true;
}

/*
 * RET with the return address in T0; RSP is still BEHIND bytes short of its slot (stack.c). Nothing
 * of the RET is committed before the pair has matched or the address is known to be canonical.
 */
void rw_emit_ret_tail(struct rw_tr *t, const struct x86_insn *in, int32_t behind)
{
    int32_t drop = 8 + (int32_t)(in->imm & 0xffff);
    e1(t, 0x4c); /* cmp T0, [rsp + 8] */
    e1(t, 0x3b);
    e1(t, 0x74);
    e1(t, 0x24);
    e1(t, 8);
    uint8_t *miss = skip8(t, 0x70 | CC_NE);
    e_lea_disp(t, H_RSP, H_RSP, behind + drop);
    e1(t, 0xc3);
    skip8_here(t, miss);
    if (behind)
        e_lea_disp(t, H_RSP, H_RSP, behind);
    emit_check_canonical(t);
    e_lea_disp(t, H_RSP, H_RSP, drop);
    e_jmp(t, t->rw->glue.ret_miss);
    t->ended = 1;
}

static bool emit_ret(struct rw_tr *t, const struct x86_insn *in)
{
    if (in->opsize != 8)
        return false;
    e_mov_rr(t, H_T0, H_RSP);
    rw_mem_t0(t, 8, ACC_R);
    rw_flags_before_op(t);
    e_op(t, 8, 0, 0x8b, H_T0, H_T1, H_T0, false); /* mov T0, [T0 + T1] */
    e_modrm_t0t1(t, H_T0);
    rw_emit_ret_tail(t, in, 0);
    return true;
}

bool rw_emit_flow(struct rw_tr *t, const struct x86_insn *in)
{
    uint64_t rip = rw_rip_of(t, t->cur), next = rip + in->len, to = next + in->imm;
    switch (in->op) {
    case OP_JMP_IND:
        return emit_jmp_ind(t, in);
    case OP_CALL_IND:
        return emit_call_ind(t, in, next);
    case OP_RET:
        return emit_ret(t, in);
    case OP_JMP_REL:
    case OP_JCC:
    case OP_CALL_REL:
    case OP_LOOP:
    case OP_LOOPE:
    case OP_LOOPNE:
    case OP_JCXZ:
        break;
    default:
        return false;
    }
    if (in->opsize != 8 || !is_canonical48(to)) /* #GP is the interpreter's */
        return false;
    bool back = to <= rip;
    if (in->op == OP_JCC)
        return emit_jcc(t, in, to, back);
    if (in->op == OP_CALL_REL)
        return emit_call(t, to, next, back);
    if (in->op != OP_JMP_REL)
        return emit_loop(t, in, to, back);
    emit_edge(t, to, back);
    t->ended = 1;
    return true;
}
