/*
 * far.c: far JMP, CALL and RET in every mode: direct, through call gates (16-, 32- and 64-bit, with
 * stack switch) and to tasks. IRET and the fast system calls are in ret.c.
 * References: Intel SDM volume 2 (CALL, JMP, RET), volume 3A, 5.8; AMD64 APM volume 2, 4.11.
 */
#include "sys.h"

struct target {
    uint16_t sel;
    uint64_t off;
    unsigned bytes; /* operand size: what a CALL pushes */
    bool call;
};

/* The offset in a code segment that is about to be loaded. */
static void check_offset(struct vcpu *cpu, uint64_t lo, uint64_t off, uint32_t err)
{
    if (is_long(cpu) && desc_l(lo)) {
        if (!canonical(off))
            x86_raise_err(cpu, VEC_GP, err);
    } else if (off > desc_limit(lo)) {
        x86_raise_err(cpu, VEC_GP, err);
    }
}

static void check_code_width(struct vcpu *cpu, uint64_t lo, uint32_t err)
{
    if (is_long(cpu) && desc_l(lo) && desc_d(lo))
        x86_raise_err(cpu, VEC_GP, err);
}

static void far_real(struct vcpu *cpu, const struct target *t, uint64_t next)
{
    if (t->off > (is_vm86(cpu) ? 0xffff : cpu->seg[SEG_CS].limit))
        x86_raise_err(cpu, VEC_GP, 0);
    if (t->call) {
        struct stack st;
        stack_current(cpu, &st);
        stack_push(cpu, &st, cpu->seg[SEG_CS].sel, t->bytes);
        stack_push(cpu, &st, next, t->bytes);
        stack_commit(cpu, &st);
    }
    cpu->rip = t->off;
    seg_load_real(cpu, SEG_CS, t->sel);
}

static void far_code(struct vcpu *cpu, const struct target *t, struct desc *d, uint64_t next)
{
    uint32_t err = t->sel & 0xfffcu;
    unsigned rpl = t->sel & 3, dpl = desc_dpl(d->lo);
    if (desc_conforming(d->lo) ? dpl > cpu->cpl : (rpl > cpu->cpl || dpl != cpu->cpl))
        x86_raise_err(cpu, VEC_GP, err);
    if (!desc_p(d->lo))
        x86_raise_err(cpu, VEC_NP, err);
    check_code_width(cpu, d->lo, err);
    struct stack st;
    if (t->call) {
        stack_current(cpu, &st);
        stack_push(cpu, &st, cpu->seg[SEG_CS].sel, t->bytes);
        stack_push(cpu, &st, next, t->bytes);
    }
    check_offset(cpu, d->lo, t->off, 0);
    desc_set_accessed(cpu, d);
    if (t->call)
        stack_commit(cpu, &st);
    seg_set_cs(cpu, t->sel, d->lo, cpu->cpl);
    cpu->rip = t->off;
    mode_update(cpu);
}

/* ---- call gates ------------------------------------------------------------------------------ */

/* A CALL through a gate to an inner ring: new stack out of the TSS, parameters copied. */
static void gate_inner(struct vcpu *cpu, uint64_t gate, unsigned bytes, uint16_t sel,
                       struct desc *cs, uint64_t off, uint64_t next)
{
    const struct seg *tr = &cpu->seg[SEG_TR];
    unsigned level = desc_dpl(cs->lo);
    uint32_t tss_err = tr->sel & 0xfffcu;
    struct stack st;
    struct desc ss = { 0, 0, 0 };
    uint16_t new_ss = (uint16_t)level;
    if (is_long(cpu)) {
        uint32_t at = 4 + 8 * level;
        if (tr->limit < 7 || at > tr->limit - 7)
            x86_raise_err(cpu, VEC_TS, tss_err);
        st = (struct stack){
            .sp = mem_read_sys(cpu, tr->base + at, 8), .mask = ~0ull, .cpl = level, .flat64 = true
        };
        stack_push(cpu, &st, cpu->seg[SEG_SS].sel, 8);
        stack_push(cpu, &st, cpu->gpr[REG_RSP], 8);
    } else {
        bool wide = (tr->attr & 8) != 0;
        uint32_t at = wide ? 4 + 8 * level : 2 + 4 * level, len = wide ? 6 : 4;
        if (tr->limit < len - 1 || at > tr->limit - (len - 1))
            x86_raise_err(cpu, VEC_TS, tss_err);
        uint64_t sp = mem_read_sys(cpu, lin(cpu, tr->base + at), wide ? 4 : 2);
        new_ss = (uint16_t)mem_read_sys(cpu, lin(cpu, tr->base + at + (wide ? 4 : 2)), 2);
        seg_check_stack(cpu, new_ss, level, VEC_TS, 0, &ss);
        stack_from_desc(cpu, &st, ss.lo, sp, level, new_ss & 0xfffcu);
        struct stack old;
        stack_current(cpu, &old);
        unsigned count = (gate >> 32) & 31;
        uint64_t param[31];
        for (unsigned i = 0; i < count; i++)
            param[i] = stack_pop(cpu, &old, bytes);
        stack_push(cpu, &st, cpu->seg[SEG_SS].sel, bytes);
        stack_push(cpu, &st, cpu->gpr[REG_RSP], bytes);
        while (count > 0)
            stack_push(cpu, &st, param[--count], bytes);
    }
    stack_push(cpu, &st, cpu->seg[SEG_CS].sel, bytes);
    stack_push(cpu, &st, next, bytes);
    check_offset(cpu, cs->lo, off, 0);
    desc_set_accessed(cpu, cs);

    seg_set_cs(cpu, sel, cs->lo, level);
    if (is_long(cpu)) {
        seg_make_null(cpu, SEG_SS, new_ss);
        cpu->seg[SEG_SS].attr = (uint16_t)(ATTR_UNUSABLE | level << 5);
    } else {
        seg_from_desc(cpu, SEG_SS, new_ss, ss.lo);
    }
    stack_commit(cpu, &st);
    cpu->rip = off;
    mode_update(cpu);
}

static void far_gate(struct vcpu *cpu, const struct target *t, struct desc *g, uint64_t next)
{
    uint32_t err = t->sel & 0xfffcu;
    unsigned rpl = t->sel & 3, dpl = desc_dpl(g->lo);
    if (dpl < cpu->cpl || dpl < rpl)
        x86_raise_err(cpu, VEC_GP, err);
    if (!desc_p(g->lo))
        x86_raise_err(cpu, VEC_NP, err);
    unsigned bytes = desc_type(g->lo) & 8 ? 4 : 2;
    uint64_t off = (g->lo & 0xffff) | (bytes == 4 ? (g->lo >> 32) & 0xffff0000 : 0);
    if (is_long(cpu)) {
        if (!desc_fetch_high(cpu, t->sel, g) || ((g->hi >> 40) & 0x1f) != 0)
            x86_raise_err(cpu, VEC_GP, err);
        off |= g->hi << 32;
        bytes = 8;
    }
    uint16_t sel = (uint16_t)(g->lo >> 16);
    uint32_t cs_err = sel & 0xfffcu;
    struct desc cs;
    if (sel_null(sel))
        x86_raise_err(cpu, VEC_GP, 0);
    if (!desc_fetch(cpu, sel, &cs) || !desc_code(cs.lo) || desc_dpl(cs.lo) > cpu->cpl)
        x86_raise_err(cpu, VEC_GP, cs_err);
    if (is_long(cpu) && (!desc_l(cs.lo) || desc_d(cs.lo)))
        x86_raise_err(cpu, VEC_GP, cs_err);
    if (!desc_p(cs.lo))
        x86_raise_err(cpu, VEC_NP, cs_err);
    bool outer = !desc_conforming(cs.lo) && desc_dpl(cs.lo) < cpu->cpl;
    if (!t->call && outer)
        x86_raise_err(cpu, VEC_GP, cs_err);
    if (outer) {
        gate_inner(cpu, g->lo, bytes, sel, &cs, off, next);
        return;
    }
    struct stack st;
    if (t->call) {
        stack_current(cpu, &st);
        stack_push(cpu, &st, cpu->seg[SEG_CS].sel, bytes);
        stack_push(cpu, &st, next, bytes);
    }
    check_offset(cpu, cs.lo, off, 0);
    desc_set_accessed(cpu, &cs);
    if (t->call)
        stack_commit(cpu, &st);
    seg_set_cs(cpu, sel, cs.lo, cpu->cpl);
    cpu->rip = off;
    mode_update(cpu);
}

static void far_task(struct vcpu *cpu, const struct target *t, const struct desc *d, uint64_t next)
{
    uint32_t err = t->sel & 0xfffcu;
    unsigned dpl = desc_dpl(d->lo);
    if (dpl < cpu->cpl || dpl < (t->sel & 3u))
        x86_raise_err(cpu, VEC_GP, err);
    if (!desc_p(d->lo))
        x86_raise_err(cpu, VEC_NP, err);
    uint16_t sel = desc_type(d->lo) == 5 ? (uint16_t)(d->lo >> 16) : t->sel;
    task_switch(cpu, sel, t->call ? TASK_CALL : TASK_JMP, next, false, 0, 0);
}

static void far_to(struct vcpu *cpu, const struct target *t, uint64_t next)
{
    if (!is_protected(cpu)) {
        far_real(cpu, t, next);
        return;
    }
    if (sel_null(t->sel))
        x86_raise_err(cpu, VEC_GP, 0);
    struct desc d;
    if (!desc_fetch(cpu, t->sel, &d))
        x86_raise_err(cpu, VEC_GP, t->sel & 0xfffcu);
    if (desc_code(d.lo)) {
        far_code(cpu, t, &d, next);
        return;
    }
    unsigned type = desc_s(d.lo) ? 0 : desc_type(d.lo);
    if (type == 12 || (type == 4 && !is_long(cpu)))
        far_gate(cpu, t, &d, next);
    else if (!is_long(cpu) && (type == 1 || type == 5 || type == 9))
        far_task(cpu, t, &d, next);
    else
        x86_raise_err(cpu, VEC_GP, t->sel & 0xfffcu);
}

/* ---- RET far --------------------------------------------------------------------------------- */

static void retf_real(struct vcpu *cpu, const struct x86_insn *in)
{
    struct stack st;
    stack_current(cpu, &st);
    uint64_t off = stack_pop(cpu, &st, in->opsize);
    uint16_t sel = (uint16_t)stack_pop(cpu, &st, in->opsize);
    if (off > (is_vm86(cpu) ? 0xffff : cpu->seg[SEG_CS].limit))
        x86_raise_err(cpu, VEC_GP, 0);
    st.sp = (st.sp + in->imm) & st.mask;
    stack_commit(cpu, &st);
    cpu->rip = off;
    seg_load_real(cpu, SEG_CS, sel);
}

static void retf_protected(struct vcpu *cpu, const struct x86_insn *in)
{
    struct stack st;
    stack_current(cpu, &st);
    uint64_t off = stack_pop(cpu, &st, in->opsize);
    uint16_t sel = (uint16_t)stack_pop(cpu, &st, in->opsize);
    uint32_t err = sel & 0xfffcu;
    unsigned rpl = sel & 3;
    struct desc cs, ss = { 0, 0, 0 };
    if (sel_null(sel))
        x86_raise_err(cpu, VEC_GP, 0);
    if (!desc_fetch(cpu, sel, &cs) || !desc_code(cs.lo) || rpl < cpu->cpl)
        x86_raise_err(cpu, VEC_GP, err);
    if (desc_conforming(cs.lo) ? desc_dpl(cs.lo) > rpl : desc_dpl(cs.lo) != rpl)
        x86_raise_err(cpu, VEC_GP, err);
    if (!desc_p(cs.lo))
        x86_raise_err(cpu, VEC_NP, err);
    check_code_width(cpu, cs.lo, err);
    st.sp = (st.sp + in->imm) & st.mask;
    if (rpl == cpu->cpl) {
        check_offset(cpu, cs.lo, off, 0);
        desc_set_accessed(cpu, &cs);
        stack_commit(cpu, &st);
        seg_set_cs(cpu, sel, cs.lo, rpl);
        cpu->rip = off;
        mode_update(cpu);
        return;
    }
    uint64_t sp = stack_pop(cpu, &st, in->opsize);
    uint16_t new_ss = (uint16_t)stack_pop(cpu, &st, in->opsize);
    bool to64 = is_long(cpu) && desc_l(cs.lo);
    bool null_ss = sel_null(new_ss) && to64 && rpl != 3 && (new_ss & 3) == rpl;
    if (!null_ss)
        seg_check_stack(cpu, new_ss, rpl, VEC_GP, 0, &ss);
    check_offset(cpu, cs.lo, off, 0);
    desc_set_accessed(cpu, &cs);
    seg_set_cs(cpu, sel, cs.lo, rpl);
    if (null_ss) {
        seg_make_null(cpu, SEG_SS, new_ss);
        cpu->seg[SEG_SS].attr = (uint16_t)(ATTR_UNUSABLE | rpl << 5);
    } else {
        seg_from_desc(cpu, SEG_SS, new_ss, ss.lo);
    }
    cpu->rip = off;
    uint64_t mask = to64 ? ~0ull : desc_d(ss.lo) ? 0xffffffff : 0xffff;
    stack_set_sp(cpu, sp + in->imm, mask);
    seg_drop_privileged(cpu);
    mode_update(cpu);
}

void far_execute(struct vcpu *cpu, const struct x86_insn *in)
{
    if (in->op == OP_RETF) {
        if (is_protected(cpu))
            retf_protected(cpu, in);
        else
            retf_real(cpu, in);
        return;
    }
    struct target t = { .bytes = in->opsize, .call = in->op == OP_CALL_FAR };
    if (in->opnd[0].kind == OPND_MEM) {
        t.off = mem_read(cpu, insn_linear(cpu, in, 0, in->opsize, 0), in->opsize);
        t.sel = (uint16_t)mem_read(cpu, insn_linear(cpu, in, in->opsize, 2, 0), 2);
    } else {
        t.off = in->imm & width_mask(in->opsize);
        t.sel = (uint16_t)in->imm2;
    }
    far_to(cpu, &t, insn_next(cpu, in));
}
