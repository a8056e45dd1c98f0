/*
 * task.c: hardware task switches with 16- and 32-bit TSSs: JMP, CALL, IRET with NT set, and task
 * gates (the double-fault handler of 32-bit Linux is one). Long mode has none. Reference: Intel SDM
 * volume 3A, chapter 7, in particular tables 7-1 and 7-2.
 */
#include "sys.h"

#include <stddef.h>

/* Where things are in the two formats (SDM volume 3A, figures 7-2 and 7-10). */
struct tss_layout {
    unsigned size, bytes, cr3, eip, flags, gpr, seg, segs, ldt, trap;
};

static const struct tss_layout tss16 = { .size = 44,
                                         .bytes = 2,
                                         .eip = 0x0e,
                                         .flags = 0x10,
                                         .gpr = 0x12,
                                         .seg = 0x22,
                                         .segs = 4,
                                         .ldt = 0x2a };
static const struct tss_layout tss32 = { .size = 104,
                                         .bytes = 4,
                                         .cr3 = 0x1c,
                                         .eip = 0x20,
                                         .flags = 0x24,
                                         .gpr = 0x28,
                                         .seg = 0x48,
                                         .segs = 6,
                                         .ldt = 0x60,
                                         .trap = 0x64 };

struct tss_image {
    uint32_t cr3, eip, flags, gpr[8];
    uint16_t seg[6], ldt, trap;
};

static const struct tss_layout *tss_layout(unsigned type)
{
    return type & 8 ? &tss32 : &tss16;
}

static uint32_t tss_get(struct vcpu *cpu, uint64_t base, unsigned off, unsigned bytes)
{
    return (uint32_t)mem_read_sys(cpu, lin(cpu, base + off), bytes);
}

static void tss_load(struct vcpu *cpu, uint64_t base, const struct tss_layout *l,
                     struct tss_image *t)
{
    memset(t, 0, sizeof *t);
    if (l->cr3)
        t->cr3 = tss_get(cpu, base, l->cr3, 4);
    t->eip = tss_get(cpu, base, l->eip, l->bytes);
    t->flags = tss_get(cpu, base, l->flags, l->bytes);
    for (unsigned i = 0; i < 8; i++)
        t->gpr[i] = tss_get(cpu, base, l->gpr + i * l->bytes, l->bytes);
    for (unsigned i = 0; i < l->segs; i++)
        t->seg[i] = (uint16_t)tss_get(cpu, base, l->seg + i * l->bytes, 2);
    t->ldt = (uint16_t)tss_get(cpu, base, l->ldt, 2);
    if (l->trap)
        t->trap = (uint16_t)tss_get(cpu, base, l->trap, 2);
}

static void tss_save(struct vcpu *cpu, uint64_t base, const struct tss_layout *l, uint64_t eip,
                     uint64_t flags)
{
    mem_write_sys(cpu, lin(cpu, base + l->eip), eip, l->bytes);
    mem_write_sys(cpu, lin(cpu, base + l->flags), flags, l->bytes);
    for (unsigned i = 0; i < 8; i++)
        mem_write_sys(cpu, lin(cpu, base + l->gpr + i * l->bytes), cpu->gpr[i], l->bytes);
    for (unsigned i = 0; i < l->segs; i++)
        mem_write_sys(cpu, lin(cpu, base + l->seg + i * l->bytes), cpu->seg[i].sel, 2);
}

static void load_task_ldt(struct vcpu *cpu, uint16_t sel)
{
    uint32_t err = sel & 0xfffcu;
    struct desc d;
    seg_make_null(cpu, SEG_LDT, sel);
    if (sel_null(sel))
        return;
    if ((sel & 4) || !desc_fetch(cpu, sel, &d) || desc_s(d.lo) || desc_type(d.lo) != 2 ||
        !desc_p(d.lo))
        x86_raise_err(cpu, VEC_TS, err);
    seg_from_desc(cpu, SEG_LDT, sel, d.lo);
}

static void load_task_cs(struct vcpu *cpu, uint16_t sel)
{
    uint32_t err = sel & 0xfffcu;
    struct desc d;
    if (sel_null(sel) || !desc_fetch(cpu, sel, &d) || !desc_code(d.lo))
        x86_raise_err(cpu, VEC_TS, err);
    unsigned rpl = sel & 3, dpl = desc_dpl(d.lo);
    if (desc_conforming(d.lo) ? dpl > rpl : dpl != rpl)
        x86_raise_err(cpu, VEC_TS, err);
    if (!desc_p(d.lo))
        x86_raise_err(cpu, VEC_NP, err);
    desc_set_accessed(cpu, &d);
    seg_set_cs(cpu, sel, d.lo, rpl);
}

static void load_task_data(struct vcpu *cpu, unsigned seg, uint16_t sel)
{
    uint32_t err = sel & 0xfffcu;
    struct desc d;
    if (sel_null(sel)) {
        seg_make_null(cpu, seg, sel);
        return;
    }
    if (!desc_fetch(cpu, sel, &d) || !desc_s(d.lo) || (desc_code(d.lo) && !(desc_type(d.lo) & 2)))
        x86_raise_err(cpu, VEC_TS, err);
    if (!desc_conforming(d.lo) && ((sel & 3u) > desc_dpl(d.lo) || cpu->cpl > desc_dpl(d.lo)))
        x86_raise_err(cpu, VEC_TS, err);
    if (!desc_p(d.lo))
        x86_raise_err(cpu, VEC_NP, err);
    desc_set_accessed(cpu, &d);
    seg_from_desc(cpu, seg, sel, d.lo);
}

static void load_task_segments(struct vcpu *cpu, const struct tss_image *t)
{
    static const uint8_t data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
    load_task_ldt(cpu, t->ldt);
    if (t->flags & FL_VM) {
        for (unsigned i = 0; i < 6; i++)
            cpu->seg[i] = (struct seg){ .base = (uint64_t)t->seg[i] << 4,
                                        .limit = 0xffff,
                                        .sel = t->seg[i],
                                        .attr = 0x3 | ATTR_S | 3 << 5 | ATTR_P };
        mode_update(cpu);
        return;
    }
    struct desc ss;
    load_task_cs(cpu, t->seg[SEG_CS]);
    seg_check_stack(cpu, t->seg[SEG_SS], cpu->cpl, VEC_TS, 0, &ss);
    seg_from_desc(cpu, SEG_SS, t->seg[SEG_SS], ss.lo);
    mode_update(cpu);
    for (unsigned i = 0; i < sizeof data; i++)
        load_task_data(cpu, data[i], t->seg[data[i]]);
    mode_update(cpu);
}

/* The new task's registers, selectors still without descriptors: from here on faults are its own.
 */
static void enter_task(struct vcpu *cpu, const struct tss_image *t, const struct tss_layout *l,
                       bool nested)
{
    if (l->cr3 && (cpu->cr0 & CR0_PG)) {
        cpu->cr3 = t->cr3;
        if (cpu->cr4 & CR4_PAE)
            cr_load_pdpte(cpu, t->cr3);
        tlb_flush_context(cpu);
    }
    cpu->rip = t->eip;
    for (unsigned i = 0; i < 8; i++)
        cpu->gpr[i] = l->bytes == 4 ? t->gpr[i] : (cpu->gpr[i] & 0xffff0000) | t->gpr[i];
    uint64_t flags = t->flags | (nested ? (unsigned)FL_NT : 0u);
    cpu_set_rflags(cpu, flags, l->bytes == 4 ? FL_WRITABLE : 0xffff & FL_WRITABLE);
    if (l->bytes == 2)
        cpu_set_rflags(cpu, 0, FL_VM | FL_RF | FL_AC);
    for (unsigned i = 0; i < 6; i++)
        seg_make_null(cpu, i, t->seg[i]);
    cpu->cpl = (uint8_t)(t->flags & FL_VM ? 3 : t->seg[SEG_CS] & 3);
    mode_update(cpu);
}

void task_switch(struct vcpu *cpu, uint16_t sel, enum task_reason why, uint64_t next,
                 bool has_error, uint32_t error, unsigned ext)
{
    uint32_t err = (sel & 0xfffcu) | ext;
    unsigned bad = why == TASK_IRET ? VEC_TS : VEC_GP;
    struct desc d;
    if (sel_null(sel) || (sel & 4) || !desc_fetch(cpu, sel, &d))
        x86_raise_err(cpu, bad, err);
    unsigned type = desc_s(d.lo) ? 0 : desc_type(d.lo), want = why == TASK_IRET ? 3 : 1;
    if ((type & 7) != want)
        x86_raise_err(cpu, bad, err);
    if (!desc_p(d.lo))
        x86_raise_err(cpu, VEC_NP, err);
    const struct tss_layout *to = tss_layout(type), *from = tss_layout(cpu->seg[SEG_TR].attr);
    uint64_t base = desc_base(d.lo), old_base = cpu->seg[SEG_TR].base;
    if (desc_limit(d.lo) < to->size - 1)
        x86_raise_err(cpu, VEC_TS, err);

    uint64_t old_flags = cpu_rflags(cpu);
    if (why == TASK_IRET)
        old_flags &= ~(uint64_t)FL_NT;
    uint16_t old_sel = cpu->seg[SEG_TR].sel;
    struct desc old;
    struct tss_image t;
    tss_save(cpu, old_base, from, next, old_flags);
    tss_load(cpu, base, to, &t);
    if (why == TASK_CALL || why == TASK_INT)
        mem_write_sys(cpu, lin(cpu, base), old_sel, 2);
    if ((why == TASK_JMP || why == TASK_IRET) && desc_fetch(cpu, old_sel, &old))
        desc_set_busy(cpu, old.addr, false);
    if (why != TASK_IRET)
        desc_set_busy(cpu, d.addr, true);

    cpu->cr0 |= CR0_TS;
    seg_from_desc(cpu, SEG_TR, sel, d.lo | 2ull << 40);
    enter_task(cpu, &t, to, why == TASK_CALL || why == TASK_INT);
    load_task_segments(cpu, &t);
    if (has_error) {
        struct stack st;
        stack_current(cpu, &st);
        stack_push(cpu, &st, error, to->bytes);
        stack_commit(cpu, &st);
    }
    if (cpu->rip > cpu->seg[SEG_CS].limit)
        x86_raise_err(cpu, VEC_GP, 0);
    if (t.trap & 1) {
        cpu->dr6 |= 1u << 15; /* BT */
        x86_raise(cpu, VEC_DB);
    }
}
