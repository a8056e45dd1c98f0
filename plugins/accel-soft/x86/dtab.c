/*
 * dtab.c: instructions about descriptor tables and descriptors: LGDT SGDT LIDT SIDT LLDT SLDT LTR
 * STR SMSW LAR LSL VERR VERW ARPL. References: Intel SDM volume 2; volume 3A, 5.10; AMD64 APM
 * volume 3.
 */
#include "sys.h"

bool dtab_handles(enum x86_op op)
{
    switch (op) {
    case OP_LGDT:
    case OP_SGDT:
    case OP_LIDT:
    case OP_SIDT:
    case OP_LLDT:
    case OP_SLDT:
    case OP_LTR:
    case OP_STR:
    case OP_SMSW:
    case OP_LAR:
    case OP_LSL:
    case OP_VERR:
    case OP_VERW:
    case OP_ARPL:
        return true;
    default:
        return false;
    }
}

bool dtab_needs_protected(enum x86_op op)
{
    return op == OP_LLDT || op == OP_SLDT || op == OP_LTR || op == OP_STR || op == OP_LAR ||
           op == OP_LSL || op == OP_VERR || op == OP_VERW || op == OP_ARPL;
}

static void check_umip(struct vcpu *cpu)
{
    if ((cpu->cr4 & CR4_UMIP) && cpu->cpl != 0)
        x86_raise_err(cpu, VEC_GP, 0);
}

static void do_load_table(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = cpu->code_bits == 64 ? 8 : 4;
    uint16_t limit = (uint16_t)mem_read(cpu, insn_linear(cpu, in, 0, 2, 0), 2);
    uint64_t base = mem_read(cpu, insn_linear(cpu, in, 2, bytes, 0), bytes);
    if (bytes == 4 && in->opsize == 2)
        base &= 0xffffff;
    if (bytes == 8 && !canonical(base))
        x86_raise_err(cpu, VEC_GP, 0);
    if (in->op == OP_LGDT) {
        cpu->gdt_base = base;
        cpu->gdt_limit = limit;
    } else {
        cpu->idt_base = base;
        cpu->idt_limit = limit;
    }
}

static void do_store_table(struct vcpu *cpu, const struct x86_insn *in)
{
    check_umip(cpu);
    unsigned bytes = cpu->code_bits == 64 ? 8 : 4;
    bool gdt = in->op == OP_SGDT;
    uint64_t at = insn_linear(cpu, in, 0, 2 + bytes, 1);
    mem_probe_write(cpu, at, 2 + bytes);
    mem_write(cpu, at, gdt ? cpu->gdt_limit : cpu->idt_limit, 2);
    mem_write(cpu, insn_linear(cpu, in, 2, bytes, 1), gdt ? cpu->gdt_base : cpu->idt_base, bytes);
}

/* A register takes the operand size, memory always 16 bits. */
static void store_word(struct vcpu *cpu, const struct x86_insn *in, uint64_t val)
{
    check_umip(cpu);
    if (in->opnd[0].kind == OPND_MEM)
        opnd_write(cpu, in, 0, val & 0xffff, 2);
    else
        opnd_write(cpu, in, 0, val, in->opsize);
}

static uint64_t system_base(struct vcpu *cpu, uint16_t sel, struct desc *d)
{
    uint64_t base = desc_base(d->lo);
    if (!is_long(cpu))
        return base;
    if (!desc_fetch_high(cpu, sel, d) || ((d->hi >> 40) & 0x1f) != 0)
        x86_raise_err(cpu, VEC_GP, sel & 0xfffcu);
    base |= d->hi << 32;
    if (!canonical(base))
        x86_raise_err(cpu, VEC_GP, sel & 0xfffcu);
    return base;
}

static void do_lldt(struct vcpu *cpu, uint16_t sel)
{
    uint32_t err = sel & 0xfffcu;
    struct desc d;
    if (sel_null(sel)) {
        seg_make_null(cpu, SEG_LDT, sel);
        return;
    }
    if ((sel & 4) || !desc_fetch(cpu, sel, &d) || desc_s(d.lo) || desc_type(d.lo) != 2)
        x86_raise_err(cpu, VEC_GP, err);
    if (!desc_p(d.lo))
        x86_raise_err(cpu, VEC_NP, err);
    uint64_t base = system_base(cpu, sel, &d);
    seg_from_desc(cpu, SEG_LDT, sel, d.lo);
    cpu->seg[SEG_LDT].base = base;
}

static void do_ltr(struct vcpu *cpu, uint16_t sel)
{
    uint32_t err = sel & 0xfffcu;
    struct desc d;
    if (sel_null(sel))
        x86_raise_err(cpu, VEC_GP, 0);
    if ((sel & 4) || !desc_fetch(cpu, sel, &d) || desc_s(d.lo) ||
        (desc_type(d.lo) != 9 && (is_long(cpu) || desc_type(d.lo) != 1)))
        x86_raise_err(cpu, VEC_GP, err);
    if (!desc_p(d.lo))
        x86_raise_err(cpu, VEC_NP, err);
    uint64_t base = system_base(cpu, sel, &d);
    desc_set_busy(cpu, d.addr, true);
    seg_from_desc(cpu, SEG_TR, sel, d.lo | 2ull << 40);
    cpu->seg[SEG_TR].base = base;
}

/* ---- LAR LSL VERR VERW ----------------------------------------------------------------------- */

static bool system_type_ok(const struct vcpu *cpu, unsigned type, bool lar)
{
    unsigned legacy = lar ? 0x1a3e : 0x0a0e, wide = lar ? 0x1a04 : 0x0a04;
    return ((is_long(cpu) ? wide : legacy) >> type) & 1;
}

/* Can the current code see the descriptor with that selector? */
static bool visible(struct vcpu *cpu, uint16_t sel, struct desc *d)
{
    if (sel_null(sel) || !desc_fetch(cpu, sel, d))
        return false;
    return desc_conforming(d->lo) || (cpu->cpl <= desc_dpl(d->lo) && (sel & 3u) <= desc_dpl(d->lo));
}

static void do_lar_lsl(struct vcpu *cpu, const struct x86_insn *in)
{
    bool lar = in->op == OP_LAR;
    uint16_t sel = (uint16_t)opnd_read(cpu, in, 1, 2);
    struct desc d;
    bool ok = visible(cpu, sel, &d) && (desc_s(d.lo) || system_type_ok(cpu, desc_type(d.lo), lar));
    if (ok)
        gpr_write(cpu, in->opnd[0].reg, lar ? (d.lo >> 32) & 0xffff00 : desc_limit(d.lo),
                  in->opsize);
    cpu_set_rflags(cpu, ok ? FL_ZF : 0, FL_ZF);
}

static void do_verify(struct vcpu *cpu, const struct x86_insn *in)
{
    uint16_t sel = (uint16_t)opnd_read(cpu, in, 0, 2);
    struct desc d;
    bool ok = visible(cpu, sel, &d) && desc_s(d.lo);
    if (ok && in->op == OP_VERW)
        ok = desc_writable(d.lo);
    else if (ok)
        ok = !desc_code(d.lo) || (desc_type(d.lo) & 2);
    cpu_set_rflags(cpu, ok ? FL_ZF : 0, FL_ZF);
}

static void do_arpl(struct vcpu *cpu, const struct x86_insn *in)
{
    if (in->opnd[0].kind == OPND_MEM)
        mem_probe_write(cpu, insn_linear(cpu, in, 0, 2, 1), 2);
    uint64_t dst = opnd_read(cpu, in, 0, 2), src = opnd_read(cpu, in, 1, 2);
    bool raise = (dst & 3) < (src & 3);
    if (raise)
        opnd_write(cpu, in, 0, (dst & ~3ull) | (src & 3), 2);
    cpu_set_rflags(cpu, raise ? FL_ZF : 0, FL_ZF);
}

void dtab_execute(struct vcpu *cpu, const struct x86_insn *in)
{
    if (dtab_needs_protected(in->op) && !is_protected(cpu))
        x86_raise(cpu, VEC_UD);
    switch (in->op) {
    case OP_LGDT:
    case OP_LIDT:
        do_load_table(cpu, in);
        break;
    case OP_SGDT:
    case OP_SIDT:
        do_store_table(cpu, in);
        break;
    case OP_LLDT:
        do_lldt(cpu, (uint16_t)opnd_read(cpu, in, 0, 2));
        break;
    case OP_LTR:
        do_ltr(cpu, (uint16_t)opnd_read(cpu, in, 0, 2));
        break;
    case OP_SLDT:
        store_word(cpu, in, cpu->seg[SEG_LDT].sel);
        break;
    case OP_STR:
        store_word(cpu, in, cpu->seg[SEG_TR].sel);
        break;
    case OP_SMSW:
        store_word(cpu, in, cpu->cr0);
        break;
    case OP_LAR:
    case OP_LSL:
        do_lar_lsl(cpu, in);
        break;
    case OP_VERR:
    case OP_VERW:
        do_verify(cpu, in);
        break;
    default:
        do_arpl(cpu, in);
        break;
    }
    cpu->rip = insn_next(cpu, in);
}
