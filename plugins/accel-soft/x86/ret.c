/*
 * ret.c: IRET in every mode, and the fast system calls SYSCALL, SYSRET, SYSENTER, SYSEXIT. Where
 * Intel and AMD differ the vendor string of the CPU model decides.
 * References: Intel SDM volume 2 (IRET, SYSCALL, SYSRET, SYSENTER, SYSEXIT); AMD64 APM volume
 * 2, 6.1.
 */
#include "sys.h"

/* ---- IRET ------------------------------------------------------------------------------------ */

static uint64_t iret_flags_mask(const struct vcpu *cpu, unsigned bytes)
{
    uint64_t mask = FL_ARITH | FL_TF | FL_DF | FL_NT;
    if (bytes > 2)
        mask |= FL_RF | FL_AC | FL_ID;
    if (cpu->cpl <= iopl(cpu))
        mask |= FL_IF;
    if (cpu->cpl == 0) {
        mask |= FL_IOPL;
        if (bytes > 2)
            mask |= FL_VIF | FL_VIP;
    }
    return mask;
}

static void iret_real(struct vcpu *cpu, unsigned bytes)
{
    bool vm = is_vm86(cpu);
    if (vm && iopl(cpu) < 3)
        x86_raise_err(cpu, VEC_GP, 0);
    struct stack st;
    stack_current(cpu, &st);
    uint64_t off = stack_pop(cpu, &st, bytes);
    uint16_t sel = (uint16_t)stack_pop(cpu, &st, bytes);
    uint64_t flags = stack_pop(cpu, &st, bytes);
    if (off > (vm ? 0xffff : cpu->seg[SEG_CS].limit))
        x86_raise_err(cpu, VEC_GP, 0);
    uint64_t mask = FL_ARITH | FL_TF | FL_IF | FL_DF | FL_NT;
    if (bytes > 2)
        mask |= FL_RF | FL_AC | FL_ID;
    if (!vm)
        mask |= FL_IOPL;
    stack_commit(cpu, &st);
    cpu->rip = off;
    cpu_set_rflags(cpu, flags, mask);
    seg_load_real(cpu, SEG_CS, sel);
}

/* From CPL 0 into virtual-8086 mode (SDM volume 2A, IRET, RETURN-TO-VIRTUAL-8086-MODE). */
static void iret_vm86(struct vcpu *cpu, struct stack *st, uint64_t off, uint16_t cs, uint64_t flags)
{
    static const uint8_t order[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
    if (off > 0xffff)
        x86_raise_err(cpu, VEC_GP, 0);
    uint64_t sp = stack_pop(cpu, st, 4);
    uint16_t sel[SEG_COUNT] = { 0 };
    sel[SEG_CS] = cs;
    sel[SEG_SS] = (uint16_t)stack_pop(cpu, st, 4);
    for (unsigned i = 0; i < sizeof order; i++)
        sel[order[i]] = (uint16_t)stack_pop(cpu, st, 4);
    cpu_set_rflags(cpu, flags, FL_WRITABLE);
    for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++)
        cpu->seg[seg] = (struct seg){ .base = (uint64_t)sel[seg] << 4,
                                      .limit = 0xffff,
                                      .sel = sel[seg],
                                      .attr = 0x3 | ATTR_S | 3 << 5 | ATTR_P };
    cpu->gpr[REG_RSP] = sp & 0xffffffff;
    cpu->rip = off;
    mode_update(cpu);
}

static void iret_protected(struct vcpu *cpu, unsigned bytes)
{
    if (cpu->fl & FL_NT) {
        if (is_long(cpu))
            x86_raise_err(cpu, VEC_GP, 0);
        uint16_t link = (uint16_t)mem_read_sys(cpu, lin(cpu, cpu->seg[SEG_TR].base), 2);
        task_switch(cpu, link, TASK_IRET, cpu->insn_rip, false, 0, 0);
        return;
    }
    struct stack st;
    stack_current(cpu, &st);
    uint64_t frame[5];
    bool peek = bytes == 8 && stack_peek(cpu, &st, frame, 5);
    uint64_t off = peek ? frame[0] : stack_pop(cpu, &st, bytes);
    uint16_t sel = (uint16_t)(peek ? frame[1] : stack_pop(cpu, &st, bytes));
    uint64_t flags = peek ? frame[2] : stack_pop(cpu, &st, bytes);
    if (!is_long(cpu) && bytes == 4 && (flags & FL_VM) && cpu->cpl == 0) {
        iret_vm86(cpu, &st, off, sel, flags);
        return;
    }
    uint64_t mask = iret_flags_mask(cpu, bytes);
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
    bool to64 = is_long(cpu) && desc_l(cs.lo);
    if (to64 && desc_d(cs.lo))
        x86_raise_err(cpu, VEC_GP, err);
    bool outer = rpl > cpu->cpl, has_ss = outer || cpu->code_bits == 64;
    uint64_t sp = 0;
    uint16_t new_ss = 0;
    bool null_ss = false;
    if (has_ss) {
        sp = peek ? frame[3] : stack_pop(cpu, &st, bytes);
        new_ss = (uint16_t)(peek ? frame[4] : stack_pop(cpu, &st, bytes));
        null_ss = sel_null(new_ss) && to64 && rpl != 3 && (new_ss & 3) == rpl;
        if (!null_ss)
            seg_check_stack(cpu, new_ss, rpl, VEC_GP, 0, &ss);
    }
    if (to64 ? !canonical(off) : off > desc_limit(cs.lo))
        x86_raise_err(cpu, VEC_GP, 0);
    desc_set_accessed(cpu, &cs);

    cpu_set_rflags(cpu, flags, mask);
    seg_set_cs(cpu, sel, cs.lo, rpl);
    cpu->rip = off;
    if (!has_ss) {
        stack_commit(cpu, &st);
    } else if (null_ss) {
        seg_make_null(cpu, SEG_SS, new_ss);
        cpu->seg[SEG_SS].attr = (uint16_t)(ATTR_UNUSABLE | rpl << 5);
        cpu->gpr[REG_RSP] = sp;
    } else {
        seg_from_desc(cpu, SEG_SS, new_ss, ss.lo);
        /* A 16-bit stack segment takes SP only: what "espfix" in Linux is about. */
        stack_set_sp(cpu, sp, to64 ? ~0ull : desc_d(ss.lo) ? 0xffffffff : 0xffff);
    }
    if (outer)
        seg_drop_privileged(cpu);
    mode_update(cpu);
}

void iret_execute(struct vcpu *cpu, const struct x86_insn *in)
{
    cpu->nmi_blocked = 0; /* even if IRET faults (SDM volume 3A, 6.7.1) */
    if (atomic_load_explicit(&cpu->nmi_pending, memory_order_relaxed))
        want_loop(cpu);
    cpu->insn_rip = insn_next(cpu, in); /* what a nested task's TSS gets as its EIP */
    if (is_protected(cpu))
        iret_protected(cpu, in->opsize);
    else
        iret_real(cpu, in->opsize);
    if (cpu->fl & FL_IF)
        if_was_set(cpu);
}

/* ---- SYSCALL, SYSRET ------------------------------------------------------------------------- */

static void do_syscall(struct vcpu *cpu, uint64_t next)
{
    if (!(cpu->efer & EFER_SCE) || !(cpu->cr0 & CR0_PE) || (!is_amd(cpu) && cpu->code_bits != 64))
        x86_raise(cpu, VEC_UD);
    uint16_t sel = (uint16_t)(cpu->star >> 32) & 0xfffc;
    if (is_long(cpu)) {
        bool from64 = cpu->code_bits == 64;
        cpu->gpr[REG_RCX] = from64 ? next : (uint32_t)next;
        cpu->gpr[11] = cpu_rflags(cpu) & ~(uint64_t)FL_RF;
        cpu->rip = from64 ? cpu->lstar : cpu->cstar;
        cpu_set_rflags(cpu, 0, (cpu->fmask & FL_WRITABLE) | FL_RF);
        seg_flat_code(cpu, sel, 0, 64);
    } else {
        cpu->gpr[REG_RCX] = (uint32_t)next;
        cpu->rip = (uint32_t)cpu->star;
        cpu_set_rflags(cpu, 0, FL_VM | FL_IF | FL_RF);
        seg_flat_code(cpu, sel, 0, 32);
    }
    seg_flat_stack(cpu, (uint16_t)(sel + 8), 0);
    cpu->cpl = 0;
    if (!(cpu->fl & FL_TF))
        cpu->single_step = 0;
    mode_update(cpu);
}

/*
 * AMD leaves the attributes of SS as they are (Linux: X86_BUG_SYSRET_SS_ATTRS works around it); a
 * flat stack segment is a value that both kinds of guests accept.
 */
static void do_sysret(struct vcpu *cpu, const struct x86_insn *in)
{
    if (!(cpu->efer & EFER_SCE) || (!is_amd(cpu) && cpu->code_bits != 64))
        x86_raise(cpu, VEC_UD);
    if (!(cpu->cr0 & CR0_PE) || cpu->cpl != 0)
        x86_raise_err(cpu, VEC_GP, 0);
    uint16_t sel = (uint16_t)(cpu->star >> 48);
    uint64_t target = cpu->gpr[REG_RCX];
    if (in->opsize == 8) {
        /* Intel faults here, in ring 0 with the user's RSP; AMD at the fetch, in ring 3. */
        if (!is_amd(cpu) && !canonical(target))
            x86_raise_err(cpu, VEC_GP, 0);
        cpu->rip = target;
        seg_flat_code(cpu, (uint16_t)((sel + 16) | 3), 3, 64);
    } else {
        cpu->rip = (uint32_t)target;
        seg_flat_code(cpu, (uint16_t)(sel | 3), 3, 32);
    }
    seg_flat_stack(cpu, (uint16_t)((sel + 8) | 3), 3);
    if (is_long(cpu))
        cpu_set_rflags(cpu, cpu->gpr[11], FL_WRITABLE & ~(FL_RF | FL_VM));
    else
        cpu_set_rflags(cpu, FL_IF, FL_IF);
    cpu->cpl = 3;
    mode_update(cpu);
    if (cpu->fl & FL_IF)
        if_was_set(cpu);
}

/* ---- SYSENTER, SYSEXIT ----------------------------------------------------------------------- */

static void do_sysenter(struct vcpu *cpu)
{
    if (is_amd(cpu) && is_long(cpu))
        x86_raise(cpu, VEC_UD);
    uint16_t sel = (uint16_t)cpu->sysenter_cs & 0xfffc;
    if (!(cpu->cr0 & CR0_PE) || sel == 0)
        x86_raise_err(cpu, VEC_GP, 0);
    bool wide = is_long(cpu);
    cpu_set_rflags(cpu, 0, FL_VM | FL_IF | FL_RF);
    cpu->rip = wide ? cpu->sysenter_eip : (uint32_t)cpu->sysenter_eip;
    cpu->gpr[REG_RSP] = wide ? cpu->sysenter_esp : (uint32_t)cpu->sysenter_esp;
    seg_flat_code(cpu, sel, 0, wide ? 64 : 32);
    seg_flat_stack(cpu, (uint16_t)(sel + 8), 0);
    cpu->cpl = 0;
    mode_update(cpu);
}

static void do_sysexit(struct vcpu *cpu, const struct x86_insn *in)
{
    if (is_amd(cpu) && is_long(cpu))
        x86_raise(cpu, VEC_UD);
    uint16_t sel = (uint16_t)cpu->sysenter_cs & 0xfffc;
    uint64_t rip = cpu->gpr[REG_RDX], rsp = cpu->gpr[REG_RCX];
    bool wide = in->opsize == 8;
    if (!(cpu->cr0 & CR0_PE) || cpu->cpl != 0 || sel == 0)
        x86_raise_err(cpu, VEC_GP, 0);
    if (wide && (!canonical(rip) || !canonical(rsp)))
        x86_raise_err(cpu, VEC_GP, 0);
    cpu->rip = wide ? rip : (uint32_t)rip;
    cpu->gpr[REG_RSP] = wide ? rsp : (uint32_t)rsp;
    seg_flat_code(cpu, (uint16_t)((sel + (wide ? 32 : 16)) | 3), 3, wide ? 64 : 32);
    seg_flat_stack(cpu, (uint16_t)((sel + (wide ? 40 : 24)) | 3), 3);
    cpu->cpl = 3;
    mode_update(cpu);
}

void fast_execute(struct vcpu *cpu, const struct x86_insn *in)
{
    switch (in->op) {
    case OP_SYSCALL:
        do_syscall(cpu, insn_next(cpu, in));
        break;
    case OP_SYSRET:
        do_sysret(cpu, in);
        break;
    case OP_SYSENTER:
        do_sysenter(cpu);
        break;
    default:
        do_sysexit(cpu, in);
        break;
    }
}
