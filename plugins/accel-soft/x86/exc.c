/*
 * exc.c: raising and delivering exceptions and interrupts in every mode: real, protected (16- and
 * 32-bit gates, stack switch, virtual-8086), long (IST). Task gates end in task.c; which interrupt
 * comes next is decided in loop.c.
 * References: Intel SDM volume 3A, chapter 6; AMD64 APM volume 2, chapter 8.
 */
#include "sys.h"

enum kind {
    KIND_FAULT,  /* exception of an instruction: EXT is 1 */
    KIND_SOFT,   /* INT n, INT3, INTO: EXT is 0, gate DPL counts */
    KIND_ICEBP,  /* INT1: EXT is 1, gate DPL does not count */
    KIND_EXTERN, /* interrupt, NMI */
};

struct delivery {
    unsigned vector;
    enum kind kind;
    bool has_error;
    uint32_t error, ext;
    uint64_t ret; /* rip to return to */
};

enum { DELIVERING_BENIGN = 0xff };

/* ---- raising --------------------------------------------------------------------------------- */

static bool contributory(unsigned vector)
{
    return vector == VEC_DE || (vector >= VEC_TS && vector <= VEC_GP);
}

/* SDM volume 3A, table 6-5: what a second exception during the delivery of a first makes of it. */
static bool makes_double(unsigned first, unsigned second)
{
    if (first == VEC_PF)
        return second == VEC_PF || contributory(second);
    return contributory(first) && contributory(second);
}

static bool has_error_code(unsigned vector)
{
    return vector == VEC_DF || (vector >= VEC_TS && vector <= VEC_PF) || vector == VEC_AC;
}

static _Noreturn void raise_any(struct vcpu *cpu, unsigned vector, uint32_t error)
{
    if (cpu->in_delivery) {
        unsigned first = cpu->delivering;
        if (first == VEC_DF && (contributory(vector) || vector == VEC_PF)) {
            cpu->shutdown = 1;
        } else if (first != DELIVERING_BENIGN && makes_double(first, vector)) {
            vector = VEC_DF;
            error = 0;
        }
        cpu->in_delivery = 0;
    }
    cpu->exc_pending = 1;
    cpu->exc_vector = (uint8_t)vector;
    cpu->exc_has_error = has_error_code(vector);
    cpu->exc_error = error;
    cpu->faults++;
    longjmp(cpu->unwind, 1);
}

void x86_raise(struct vcpu *cpu, unsigned vector)
{
    raise_any(cpu, vector, 0);
}

void x86_raise_err(struct vcpu *cpu, unsigned vector, uint32_t error)
{
    raise_any(cpu, vector, error);
}

void x86_raise_pf(struct vcpu *cpu, uint64_t linear, uint32_t error)
{
    cpu->cr2 = linear;
    cpu->exc_payload = linear;
    raise_any(cpu, VEC_PF, error);
}

void x86_unwind(struct vcpu *cpu)
{
    longjmp(cpu->unwind, 2);
}

/* ---- delivery -------------------------------------------------------------------------------- */

/*
 * RFLAGS as pushed: RF is set for faults so that an instruction breakpoint does not hit again
 * (SDM volume 3B, 17.3.1.1), and for an interrupt between two iterations of a string instruction;
 * clear for traps and other interrupts.
 */
static uint64_t flags_image(const struct vcpu *cpu, const struct delivery *d)
{
    uint64_t image = cpu_rflags(cpu) & ~(uint64_t)FL_RF;
    if ((d->kind == KIND_FAULT && d->vector != VEC_DB) ||
        (d->kind == KIND_EXTERN && cpu->rep_midway))
        image |= FL_RF;
    return image;
}

static void deliver_real(struct vcpu *cpu, const struct delivery *d)
{
    if (d->vector * 4 + 3 > cpu->idt_limit)
        x86_raise_err(cpu, VEC_GP, 0);
    uint32_t entry = (uint32_t)mem_read_sys(cpu, lin(cpu, cpu->idt_base + d->vector * 4), 4);
    struct stack st;
    stack_current(cpu, &st);
    stack_push(cpu, &st, flags_image(cpu, d) & 0xffff, 2);
    stack_push(cpu, &st, cpu->seg[SEG_CS].sel, 2);
    stack_push(cpu, &st, d->ret & 0xffff, 2);
    stack_commit(cpu, &st);
    cpu_set_rflags(cpu, 0, FL_IF | FL_TF | FL_AC | FL_RF);
    cpu->rip = entry & 0xffff;
    seg_load_real(cpu, SEG_CS, (uint16_t)(entry >> 16));
}

struct tss_stack {
    uint64_t sp;
    uint16_t ss;
};

/* SS:(E)SP of a level out of a 16- or 32-bit TSS (SDM volume 3A, figures 7-2 and 7-10). */
static struct tss_stack tss_stack(struct vcpu *cpu, unsigned level, uint32_t ext)
{
    const struct seg *tr = &cpu->seg[SEG_TR];
    bool wide = (tr->attr & 8) != 0;
    uint32_t off = wide ? 4 + 8 * level : 2 + 4 * level, len = wide ? 6 : 4;
    struct tss_stack out;
    if (tr->limit < len - 1 || off > tr->limit - (len - 1))
        x86_raise_err(cpu, VEC_TS, (tr->sel & 0xfffcu) | ext);
    unsigned bytes = wide ? 4 : 2;
    out.sp = mem_read_sys(cpu, lin(cpu, tr->base + off), bytes);
    out.ss = (uint16_t)mem_read_sys(cpu, lin(cpu, tr->base + off + bytes), 2);
    return out;
}

static void push_frame(struct vcpu *cpu, struct stack *st, const struct delivery *d, unsigned bytes)
{
    stack_push(cpu, st, flags_image(cpu, d), bytes);
    stack_push(cpu, st, cpu->seg[SEG_CS].sel, bytes);
    stack_push(cpu, st, d->ret, bytes);
    if (d->has_error)
        stack_push(cpu, st, d->error, bytes);
}

static void push_vm86_segs(struct vcpu *cpu, struct stack *st, unsigned bytes)
{
    static const uint8_t order[] = { SEG_GS, SEG_FS, SEG_DS, SEG_ES };
    for (unsigned i = 0; i < sizeof order; i++)
        stack_push(cpu, st, cpu->seg[order[i]].sel, bytes);
}

/* Reads and checks the code segment a gate names; its new CPL comes back. */
static unsigned gate_code(struct vcpu *cpu, uint16_t sel, uint32_t ext, struct desc *cs)
{
    uint32_t err = (sel & 0xfffcu) | ext;
    if (sel_null(sel))
        x86_raise_err(cpu, VEC_GP, ext);
    if (!desc_fetch(cpu, sel, cs) || !desc_code(cs->lo) || desc_dpl(cs->lo) > cpu->cpl)
        x86_raise_err(cpu, VEC_GP, err);
    if (!desc_p(cs->lo))
        x86_raise_err(cpu, VEC_NP, err);
    unsigned level = desc_conforming(cs->lo) ? cpu->cpl : desc_dpl(cs->lo);
    if (is_vm86(cpu) && level != 0)
        x86_raise_err(cpu, VEC_GP, err);
    return level;
}

static void gate_flags(struct vcpu *cpu, bool interrupt_gate)
{
    cpu_set_rflags(cpu, 0, FL_TF | FL_NT | FL_VM | FL_RF | (interrupt_gate ? (unsigned)FL_IF : 0u));
}

static void deliver_protected(struct vcpu *cpu, const struct delivery *d)
{
    uint32_t idt_err = d->vector * 8 + 2 + d->ext;
    if (d->vector * 8 + 7 > cpu->idt_limit)
        x86_raise_err(cpu, VEC_GP, idt_err);
    uint64_t gate = mem_read_sys(cpu, lin(cpu, cpu->idt_base + d->vector * 8), 8);
    unsigned type = (gate >> 40) & 0x1f;
    if (type != 5 && type != 6 && type != 7 && type != 14 && type != 15)
        x86_raise_err(cpu, VEC_GP, idt_err);
    if (d->kind == KIND_SOFT && desc_dpl(gate) < cpu->cpl)
        x86_raise_err(cpu, VEC_GP, idt_err);
    if (!desc_p(gate))
        x86_raise_err(cpu, VEC_NP, idt_err);
    uint16_t sel = (uint16_t)(gate >> 16);
    if (type == 5) {
        task_switch(cpu, sel, TASK_INT, d->ret, d->has_error, d->error, d->ext);
        return;
    }
    unsigned bytes = type & 8 ? 4 : 2;
    uint64_t entry = (gate & 0xffff) | (bytes == 4 ? (gate >> 32) & 0xffff0000 : 0);
    struct desc cs, ss;
    unsigned level = gate_code(cpu, sel, d->ext, &cs);
    struct stack st;
    bool from_vm86 = is_vm86(cpu), inner = level < cpu->cpl;
    struct tss_stack ts = { 0, 0 };
    if (inner) {
        ts = tss_stack(cpu, level, d->ext);
        seg_check_stack(cpu, ts.ss, level, VEC_TS, d->ext, &ss);
        stack_from_desc(cpu, &st, ss.lo, ts.sp, level, (ts.ss & 0xfffcu) | d->ext);
        if (from_vm86)
            push_vm86_segs(cpu, &st, bytes);
        stack_push(cpu, &st, cpu->seg[SEG_SS].sel, bytes);
        stack_push(cpu, &st, cpu->gpr[REG_RSP], bytes);
    } else {
        stack_current(cpu, &st);
        st.error = d->ext;
    }
    if (entry > desc_limit(cs.lo))
        x86_raise_err(cpu, VEC_GP, d->ext);
    push_frame(cpu, &st, d, bytes);
    desc_set_accessed(cpu, &cs);

    if (from_vm86) {
        static const uint8_t data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
        for (unsigned i = 0; i < sizeof data; i++)
            seg_make_null(cpu, data[i], 0);
    }
    gate_flags(cpu, (type & 1) == 0);
    seg_set_cs(cpu, sel, cs.lo, level);
    if (inner)
        seg_from_desc(cpu, SEG_SS, ts.ss, ss.lo);
    stack_commit(cpu, &st);
    cpu->rip = entry;
    mode_update(cpu);
}

/* RSPn or ISTn out of the 64-bit TSS (SDM volume 3A, figure 7-11). */
static uint64_t tss_rsp(struct vcpu *cpu, uint32_t off, uint32_t ext)
{
    const struct seg *tr = &cpu->seg[SEG_TR];
    if (tr->limit < 7 || off > tr->limit - 7)
        x86_raise_err(cpu, VEC_TS, (tr->sel & 0xfffcu) | ext);
    uint64_t rsp = mem_read_sys(cpu, tr->base + off, 8);
    if (!canonical(rsp))
        x86_raise_err(cpu, VEC_SS, ext);
    return rsp;
}

static void deliver_long(struct vcpu *cpu, const struct delivery *d)
{
    uint32_t idt_err = d->vector * 8 + 2 + d->ext;
    if (d->vector * 16 + 15 > cpu->idt_limit)
        x86_raise_err(cpu, VEC_GP, idt_err);
    uint64_t lo = mem_read_sys(cpu, cpu->idt_base + d->vector * 16, 8);
    uint64_t hi = mem_read_sys(cpu, cpu->idt_base + d->vector * 16 + 8, 8);
    unsigned type = (lo >> 40) & 0x1f;
    if (type != 14 && type != 15)
        x86_raise_err(cpu, VEC_GP, idt_err);
    if (d->kind == KIND_SOFT && desc_dpl(lo) < cpu->cpl)
        x86_raise_err(cpu, VEC_GP, idt_err);
    if (!desc_p(lo))
        x86_raise_err(cpu, VEC_NP, idt_err);
    uint16_t sel = (uint16_t)(lo >> 16);
    uint64_t entry = (lo & 0xffff) | ((lo >> 32) & 0xffff0000) | hi << 32;
    struct desc cs;
    unsigned level = gate_code(cpu, sel, d->ext, &cs);
    if (!desc_l(cs.lo) || desc_d(cs.lo))
        x86_raise_err(cpu, VEC_GP, (sel & 0xfffcu) | d->ext);
    unsigned ist = (lo >> 32) & 7;
    bool inner = level < cpu->cpl;
    uint64_t rsp = cpu->gpr[REG_RSP];
    if (ist)
        rsp = tss_rsp(cpu, 0x24 + 8 * (ist - 1), d->ext);
    else if (inner)
        rsp = tss_rsp(cpu, 4 + 8 * level, d->ext);
    struct stack st = {
        .sp = rsp & ~15ull, .mask = ~0ull, .cpl = level, .error = d->ext, .flat64 = true
    };
    const uint64_t frame[] = { d->error, d->ret, cpu->seg[SEG_CS].sel, flags_image(cpu, d),
                               cpu->gpr[REG_RSP], cpu->seg[SEG_SS].sel };
    stack_push_frame(cpu, &st, frame + !d->has_error, 5 + d->has_error);
    if (!canonical(entry))
        x86_raise_err(cpu, VEC_GP, d->ext);
    desc_set_accessed(cpu, &cs);

    gate_flags(cpu, type == 14);
    seg_set_cs(cpu, sel, cs.lo, level);
    if (inner) {
        seg_make_null(cpu, SEG_SS, (uint16_t)level);
        cpu->seg[SEG_SS].attr = (uint16_t)(ATTR_UNUSABLE | level << 5);
    }
    cpu->gpr[REG_RSP] = st.sp;
    cpu->rip = entry;
    mode_update(cpu);
}

static void deliver(struct vcpu *cpu, const struct delivery *d)
{
    cpu->in_delivery = 1;
    cpu->delivering = d->kind == KIND_FAULT ? (uint8_t)d->vector : DELIVERING_BENIGN;
    if (!(cpu->cr0 & CR0_PE))
        deliver_real(cpu, d);
    else if (is_long(cpu))
        deliver_long(cpu, d);
    else
        deliver_protected(cpu, d);
    cpu->in_delivery = 0;
    cpu->inhibit = 0;
}

/* ---- what the rest of the CPU calls ---------------------------------------------------------- */

void x86_deliver_pending(struct vcpu *cpu)
{
    struct delivery d = { .vector = cpu->exc_vector,
                          .kind = KIND_FAULT,
                          .ext = 1,
                          .ret = cpu->rip,
                          .has_error = cpu->exc_has_error,
                          .error = cpu->exc_error };
    cpu->exc_pending = 0;
    cpu->single_step = 0;
    if (d.vector == VEC_DB)
        cpu->dr7 &= ~0x2000ull; /* GD is cleared on entry (SDM volume 3B, 17.2.4) */
    if (cpu->soft->trace_prop)
        trace_event(cpu, "exception", d.vector, d.has_error, d.error);
    deliver(cpu, &d);
}

void x86_soft_int(struct vcpu *cpu, unsigned vector, bool int3_or_into)
{
    struct delivery d = { .vector = vector, .kind = KIND_SOFT, .ret = cpu->rip };
    cpu->rip = cpu->insn_rip; /* faults of the delivery name the INT itself */
    if (cpu->soft->trace_prop)
        trace_event(cpu, "software interrupt", vector, false, 0);
    /* INT n (not INT3, INTO) in virtual-8086 mode needs IOPL 3 (SDM volume 3B, 20.3.3). */
    if (is_vm86(cpu) && !int3_or_into && iopl(cpu) < 3)
        x86_raise_err(cpu, VEC_GP, 0);
    deliver(cpu, &d);
    cpu->single_step = 0;
}

/* INT1: a trap through vector 1 as if the processor had raised it. */
void x86_icebp(struct vcpu *cpu)
{
    struct delivery d = { .vector = VEC_DB, .kind = KIND_ICEBP, .ext = 1, .ret = cpu->rip };
    cpu->rip = cpu->insn_rip;
    deliver(cpu, &d);
    cpu->single_step = 0;
}

void x86_deliver_irq(struct vcpu *cpu, unsigned vector)
{
    struct delivery d = { .vector = vector, .kind = KIND_EXTERN, .ext = 1, .ret = cpu->rip };
    cpu->interrupts++;
    if (cpu->soft->trace_prop)
        trace_event(cpu, vector == VEC_NMI ? "NMI" : "interrupt", vector, false, 0);
    deliver(cpu, &d);
}
