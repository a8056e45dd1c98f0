/*
 * lapic.c: the registers of the local APIC: xAPIC page, x2APIC MSRs, priorities. The timer is in
 * lapic_timer.c, messages between APICs (IPIs, MSIs, the INTR pin) are in ipi.c.
 *
 * IRR and TMR are set by any thread (atomic OR) and looked at by the CPU's own thread after
 * REQ_EVENT; everything else belongs to the CPU's own thread. The registers that senders read to
 * find their targets (id, LDR, DFR, SVR, TPR, LVT0) are atomic words. Reference: Intel SDM volume
 * 3A, chapter 11 ("Advanced Programmable Interrupt Controller").
 */
#include "lapic_int.h"

enum { LVT_COUNT_REGS = 6 };

static const uint8_t lvt_off[LVT_COUNT_REGS] = { REG_LVT_TIMER, REG_LVT_THERMAL, REG_LVT_PERF,
                                                 REG_LVT_LINT0, REG_LVT_LINT1,   REG_LVT_ERROR };
static const uint32_t lvt_mask[LVT_COUNT_REGS] = { 0x710ff, 0x117ff, 0x117ff,
                                                   0x1f7ff, 0x1f7ff, 0x110ff };

/* ---- priorities (SDM 11.8.3) ----------------------------------------------------------------- */

static int highest(const _Atomic uint32_t *bits)
{
    for (int i = 7; i >= 0; i--) {
        uint32_t word = atomic_load_explicit(&bits[i], memory_order_acquire);
        if (word)
            return i * 32 + 31 - __builtin_clz(word);
    }
    return -1;
}

int lapic_in_service(const struct vcpu *cpu)
{
    return highest(cpu->lapic->isr);
}

static void ppr_update(struct lapic *l)
{
    int isr = highest(l->isr);
    uint32_t tpr = reg_get(l, REG_TPR), class = isr < 0 ? 0 : (uint32_t)isr & 0xf0;
    reg_set(l, REG_PPR, (tpr & 0xf0) >= class ? tpr : class);
}

static int pending_fixed(const struct lapic *l)
{
    int irr = highest(l->irr);
    return irr >= 0 && ((uint32_t)irr & 0xf0) > (reg_get(l, REG_PPR) & 0xf0) ? irr : IRQ_NONE;
}

/* The 8259 reaches the CPU through LINT0 in ExtINT mode, or directly while the APIC is off. */
static bool extint_open(const struct vcpu *cpu)
{
    if (!(cpu->apic_base & APIC_BASE_EN))
        return cpu->index == 0;
    uint32_t lvt = reg_get(cpu->lapic, REG_LVT_LINT0);
    return !(lvt & LVT_MASKED) && ((lvt >> 8) & 7) == APIC_EXTINT;
}

int lapic_pending(struct vcpu *cpu)
{
    struct lapic *l = cpu->lapic;
    bool extint = atomic_load_explicit(&cpu->soft->extint, memory_order_acquire) != 0;
    if (cpu->extint_latched || (extint && extint_open(cpu)))
        return IRQ_EXTINT;
    if (!(cpu->apic_base & APIC_BASE_EN))
        return IRQ_NONE;
    return pending_fixed(l);
}

void lapic_accept(struct vcpu *cpu, unsigned vector)
{
    struct lapic *l = cpu->lapic;
    uint32_t bit = 1u << (vector & 31);
    atomic_fetch_and(&l->irr[vector / 32], ~bit);
    atomic_fetch_or_explicit(&l->isr[vector / 32], bit, memory_order_relaxed);
    ppr_update(l);
}

bool lapic_more_pending(const struct vcpu *cpu)
{
    return highest(cpu->lapic->irr) >= 0;
}

bool lapic_is_level(const struct vcpu *cpu, unsigned vector)
{
    uint32_t word = atomic_load_explicit(&cpu->lapic->tmr[vector / 32], memory_order_relaxed);
    return (word >> (vector & 31)) & 1;
}

void lapic_eoi(struct vcpu *cpu)
{
    struct lapic *l = cpu->lapic;
    int vector = highest(l->isr);
    if (vector < 0)
        return;
    atomic_fetch_and_explicit(&l->isr[vector / 32], ~(1u << (vector & 31)), memory_order_relaxed);
    ppr_update(l);
    if (lapic_is_level(cpu, (unsigned)vector) && cpu->up && MOBO_HAS(cpu->up, eoi))
        cpu->up->eoi(cpu->up_ctx, (uint32_t)vector);
    want_loop(cpu); /* the next one may have been waiting for this */
}

unsigned lapic_get_cr8(const struct vcpu *cpu)
{
    return reg_get(cpu->lapic, REG_TPR) >> 4;
}

void lapic_set_cr8(struct vcpu *cpu, unsigned val)
{
    reg_set(cpu->lapic, REG_TPR, val << 4);
    ppr_update(cpu->lapic);
    want_loop(cpu);
}

/* ---- registers ------------------------------------------------------------------------------- */

void lapic_error(struct vcpu *cpu, uint32_t bit)
{
    struct lapic *l = cpu->lapic;
    uint32_t before = l->esr_pending;
    l->esr_pending |= bit;
    uint32_t lvt = reg_get(l, REG_LVT_ERROR);
    if (!(before & bit) && !(lvt & LVT_MASKED) && (lvt & 0xff) >= 16)
        lapic_set_irr(cpu, lvt & 0xff, false);
}

static void lvt_write(struct vcpu *cpu, unsigned n, uint32_t val)
{
    struct lapic *l = cpu->lapic;
    unsigned reg = lvt_off[n];
    uint32_t old = reg_get(l, reg);
    val &= lvt_mask[n];
    if (!(reg_get(l, REG_SVR) & SVR_ENABLED))
        val |= LVT_MASKED; /* SDM 11.4.7.2 */
    if (n == 0 && !(cpu->soft->model.leaf1_ecx & (1u << 24)))
        val &= ~0x40000u; /* no TSC-deadline mode in this model */
    reg_set(l, reg, val);
    if (n == 0 && ((old ^ val) & 0x60000)) {
        /* Changing the mode between deadline and count-down disarms (SDM 11.5.4.1). */
        if (((old | val) & 0x40000) != 0) {
            cpu->tsc_deadline = 0;
            reg_set(l, REG_TIMER_INIT, 0);
        }
        lapic_timer_start(cpu);
    }
    if (reg == REG_LVT_LINT0)
        want_loop(cpu);
}

static void svr_write(struct vcpu *cpu, uint32_t val)
{
    struct lapic *l = cpu->lapic;
    reg_set(l, REG_SVR, val & 0x1ff);
    if (!(val & SVR_ENABLED))
        for (unsigned i = 0; i < LVT_COUNT_REGS; i++)
            reg_set(l, lvt_off[i], reg_get(l, lvt_off[i]) | LVT_MASKED);
}

static bool x2apic(const struct vcpu *cpu)
{
    return (cpu->apic_base & APIC_BASE_EXTD) != 0;
}

/* REG is the xAPIC offset divided by 16; false: no such register, or it is read-only. */
static bool reg_write(struct vcpu *cpu, unsigned reg, uint32_t val)
{
    struct lapic *l = cpu->lapic;
    for (unsigned i = 0; i < LVT_COUNT_REGS; i++) {
        if (lvt_off[i] == reg) {
            lvt_write(cpu, i, val);
            return true;
        }
    }
    switch (reg) {
    case REG_ID:
        if (x2apic(cpu))
            return false;
        reg_set(l, REG_ID, val & 0xff000000);
        return true;
    case REG_TPR:
        reg_set(l, REG_TPR, val & 0xff);
        ppr_update(l);
        want_loop(cpu);
        return true;
    case REG_EOI:
        if (pv_eoi_taken(cpu, true))
            lapic_eoi(cpu); /* the guest had ended the other one through memory already */
        lapic_eoi(cpu);
        return true;
    case REG_LDR:
        if (x2apic(cpu))
            return false;
        reg_set(l, REG_LDR, val & 0xff000000);
        return true;
    case REG_DFR:
        if (x2apic(cpu))
            return false;
        reg_set(l, REG_DFR, val | 0x0fffffff);
        return true;
    case REG_SVR:
        svr_write(cpu, val);
        return true;
    case REG_ESR:
        reg_set(l, REG_ESR, l->esr_pending);
        l->esr_pending = 0;
        return true;
    case REG_ICR:
        if (x2apic(cpu))
            return false; /* one 64-bit MSR there */
        val &= ~(1u << 12);
        reg_set(l, REG_ICR, val);
        lapic_send(cpu, val, reg_get(l, REG_ICR2) >> 24);
        return true;
    case REG_ICR2:
        if (x2apic(cpu))
            return false;
        reg_set(l, REG_ICR2, val & 0xff000000);
        return true;
    case REG_TIMER_INIT:
        if (lapic_timer_mode(l) == APIC_TIMER_DEADLINE)
            return true;
        reg_set(l, REG_TIMER_INIT, val);
        lapic_timer_start(cpu);
        return true;
    case REG_TIMER_DIV:
        reg_set(l, REG_TIMER_DIV, val & 0xb);
        lapic_timer_start(cpu);
        return true;
    case REG_SELF_IPI:
        if (!x2apic(cpu))
            return false;
        lapic_send(cpu, (val & 0xff) | 0x40000, 0);
        return true;
    default:
        return false;
    }
}

static bool reg_read(struct vcpu *cpu, unsigned reg, uint32_t *val)
{
    struct lapic *l = cpu->lapic;
    if (reg >= REG_ISR && reg < REG_ISR + 8) {
        if (pv_eoi_taken(cpu, false))
            lapic_eoi(cpu);
        *val = atomic_load(&l->isr[reg - REG_ISR]);
        return true;
    }
    if (reg >= REG_TMR && reg < REG_TMR + 8) {
        *val = atomic_load(&l->tmr[reg - REG_TMR]);
        return true;
    }
    if (reg >= REG_IRR && reg < REG_IRR + 8) {
        *val = atomic_load(&l->irr[reg - REG_IRR]);
        return true;
    }
    switch (reg) {
    case REG_TIMER_CUR:
        *val = lapic_timer_current(cpu);
        return true;
    case REG_DFR:
        if (x2apic(cpu))
            return false;
        break;
    case REG_ID:
    case REG_VERSION:
    case REG_TPR:
    case REG_PPR:
    case REG_LDR:
    case REG_SVR:
    case REG_ESR:
    case REG_ICR:
    case REG_ICR2:
    case REG_LVT_TIMER:
    case REG_LVT_THERMAL:
    case REG_LVT_PERF:
    case REG_LVT_LINT0:
    case REG_LVT_LINT1:
    case REG_LVT_ERROR:
    case REG_TIMER_INIT:
    case REG_TIMER_DIV:
        break;
    default:
        return false;
    }
    *val = reg_get(l, reg);
    return true;
}

bool lapic_mmio(struct vcpu *cpu, uint64_t gpa, void *data, unsigned len, bool write)
{
    const uint64_t frame = ~0xfffull;
    if ((cpu->apic_base & (APIC_BASE_EN | APIC_BASE_EXTD)) != APIC_BASE_EN ||
        ((gpa ^ cpu->apic_base) & frame & ((1ull << 52) - 1)))
        return false;
    unsigned off = gpa & 0xfff, reg = off / 16;
    uint32_t val = 0;
    if (write) {
        /* Registers are written whole and aligned (SDM 11.4.1); anything else goes nowhere. */
        if (len >= 4 && (off & 15) == 0) {
            memcpy(&val, data, 4);
            if (reg >= REG_COUNT || !reg_write(cpu, reg, val))
                lapic_error(cpu, reg < 2 || reg >= REG_COUNT ? ESR_ILLEGAL_REG : 0);
        }
        return true;
    }
    memset(data, 0, len);
    if (reg < REG_COUNT && reg_read(cpu, reg, &val) && (off & 15) < 4) {
        uint64_t wide = (uint64_t)val >> (8 * (off & 15));
        memcpy(data, &wide, len < 8 ? len : 8);
    }
    return true;
}

bool lapic_msr(struct vcpu *cpu, uint32_t index, uint64_t *val, bool write)
{
    unsigned reg = index - 0x800;
    if (!x2apic(cpu) || reg >= REG_COUNT)
        return false;
    if (write) {
        if (reg == REG_ICR) {
            uint32_t low = (uint32_t)*val & ~(1u << 12);
            reg_set(cpu->lapic, REG_ICR, low);
            reg_set(cpu->lapic, REG_ICR2, (uint32_t)(*val >> 32));
            lapic_send(cpu, low, (uint32_t)(*val >> 32));
            return true;
        }
        if (*val >> 32 || ((reg == REG_EOI || reg == REG_ESR) && *val))
            return false;
        return reg_write(cpu, reg, (uint32_t)*val);
    }
    if (reg == REG_ICR2)
        return false;
    uint32_t low;
    if (!reg_read(cpu, reg, &low))
        return false;
    *val = low;
    if (reg == REG_ICR)
        *val |= (uint64_t)reg_get(cpu->lapic, REG_ICR2) << 32;
    return true;
}

/* IA32_APIC_BASE (SDM 11.4.4, 11.12.5): which mode changes are allowed is table 11-5. */
bool lapic_base_write(struct vcpu *cpu, uint64_t val)
{
    uint64_t old = cpu->apic_base;
    uint64_t x2 = cpu->soft->model.leaf1_ecx & (1u << 21) ? APIC_BASE_EXTD : 0;
    uint64_t known = ((1ull << cpu->soft->model.phys_bits) - 1) & ~0xfffull;
    if (val & ~(known | APIC_BASE_EN | APIC_BASE_BSP | x2))
        return false;
    unsigned from = (old >> 10) & 3, to = (val >> 10) & 3;
    if (to == 1 || (from == 3 && to == 2) || (from == 0 && to == 3))
        return false;
    cpu->apic_base = val;
    if (from != to) {
        struct lapic *l = cpu->lapic;
        if (to == 0)
            lapic_reset_regs(cpu, false);
        if (to == 3) {
            reg_set(l, REG_ID, cpu->index);
            reg_set(l, REG_LDR, (cpu->index >> 4) << 16 | 1u << (cpu->index & 15));
        } else {
            reg_set(l, REG_ID, cpu->index << 24);
        }
    }
    if ((old ^ val) & ~0xfffull)
        tlb_flush(cpu);
    want_loop(cpu);
    return true;
}

/* ---- reset, snapshot ------------------------------------------------------------------------- */

/* After power-up, after INIT, and while globally disabled (SDM 11.4.7). */
void lapic_reset_regs(struct vcpu *cpu, bool power_on)
{
    struct lapic *l = cpu->lapic;
    for (unsigned i = 0; i < 8; i++) {
        atomic_store(&l->irr[i], 0);
        atomic_store(&l->isr[i], 0);
        atomic_store(&l->tmr[i], 0);
    }
    uint32_t id = reg_get(l, REG_ID), ldr = reg_get(l, REG_LDR);
    for (unsigned i = 0; i < REG_COUNT; i++)
        reg_set(l, i, 0);
    bool keep = !power_on && x2apic(cpu);
    reg_set(l, REG_ID, power_on ? cpu->index << 24 : id);
    reg_set(l, REG_LDR, keep ? ldr : 0);
    reg_set(l, REG_VERSION, 0x14 | (LVT_COUNT_REGS - 1) << 16);
    reg_set(l, REG_DFR, 0xffffffff);
    reg_set(l, REG_SVR, 0xff);
    for (unsigned i = 0; i < LVT_COUNT_REGS; i++)
        reg_set(l, lvt_off[i], LVT_MASKED);
    l->esr_pending = 0;
    l->timer_begin = 0;
    cpu->tsc_deadline = 0;
    cpu->extint_latched = 0;
    atomic_store(&cpu->deadline, ~0ull);
    cpu->timer_dirty = 1;
}

void lapic_reset(struct vcpu *cpu, bool init)
{
    if (!init)
        cpu->apic_base = 0xfee00000 | APIC_BASE_EN | (cpu->index == 0 ? APIC_BASE_BSP : 0);
    lapic_reset_regs(cpu, !init);
}

int lapic_new(struct vcpu *cpu)
{
    cpu->lapic = calloc(1, sizeof *cpu->lapic);
    return cpu->lapic ? MOBO_OK : MOBO_ENOMEM;
}

void lapic_free(struct vcpu *cpu)
{
    free(cpu->lapic);
    cpu->lapic = NULL;
}

void lapic_get(struct vcpu *cpu, mobo_x86_apic_t *out)
{
    memset(out, 0, sizeof *out);
    for (unsigned reg = 0; reg < REG_COUNT; reg++) {
        uint32_t val;
        if (reg_read(cpu, reg, &val))
            memcpy(out->reg + reg * 16, &val, 4);
    }
    out->tsc_deadline = cpu->tsc_deadline;
}

/* Called with apic_base already set. A count-down in progress goes on from its current count. */
int lapic_set(struct vcpu *cpu, const mobo_x86_apic_t *in)
{
    struct lapic *l = cpu->lapic;
    uint32_t val[REG_COUNT];
    for (unsigned reg = 0; reg < REG_COUNT; reg++)
        memcpy(&val[reg], in->reg + reg * 16, 4);
    for (unsigned i = 0; i < 8; i++) {
        uint32_t low = i == 0 ? 0xffff0000 : 0xffffffff; /* vectors below 16 do not exist */
        atomic_store(&l->isr[i], val[REG_ISR + i] & low);
        atomic_store(&l->tmr[i], val[REG_TMR + i] & low);
        atomic_store(&l->irr[i], val[REG_IRR + i] & low);
    }
    static const uint8_t plain[] = { REG_LDR, REG_ESR, REG_ICR, REG_ICR2, REG_TIMER_INIT };
    for (unsigned i = 0; i < sizeof plain; i++)
        reg_set(l, plain[i], val[plain[i]]);
    reg_set(l, REG_ID, x2apic(cpu) ? cpu->index : val[REG_ID] & 0xff000000);
    reg_set(l, REG_DFR, val[REG_DFR] | 0x0fffffff);
    reg_set(l, REG_TPR, val[REG_TPR] & 0xff);
    reg_set(l, REG_SVR, val[REG_SVR] & 0x1ff);
    reg_set(l, REG_TIMER_DIV, val[REG_TIMER_DIV] & 0xb);
    for (unsigned i = 0; i < LVT_COUNT_REGS; i++)
        reg_set(l, lvt_off[i], val[lvt_off[i]] & lvt_mask[i]);
    ppr_update(l);
    cpu->tsc_deadline = in->tsc_deadline;
    lapic_timer_resume(cpu, val[REG_TIMER_CUR]);
    return MOBO_OK;
}
