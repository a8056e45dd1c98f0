/*
 * lapic_int.h: what lapic.c and ipi.c share: register numbers (xAPIC offset / 16) and the
 * structure.
 */
#ifndef SOFT_X86_LAPIC_INT_H
#define SOFT_X86_LAPIC_INT_H

#include "sys.h"

enum {
    REG_ID = 0x02,
    REG_VERSION = 0x03,
    REG_TPR = 0x08,
    REG_PPR = 0x0a,
    REG_EOI = 0x0b,
    REG_LDR = 0x0d,
    REG_DFR = 0x0e,
    REG_SVR = 0x0f,
    REG_ISR = 0x10,
    REG_TMR = 0x18,
    REG_IRR = 0x20,
    REG_ESR = 0x28,
    REG_ICR = 0x30,
    REG_ICR2 = 0x31,
    REG_LVT_TIMER = 0x32,
    REG_LVT_THERMAL = 0x33,
    REG_LVT_PERF = 0x34,
    REG_LVT_LINT0 = 0x35,
    REG_LVT_LINT1 = 0x36,
    REG_LVT_ERROR = 0x37,
    REG_TIMER_INIT = 0x38,
    REG_TIMER_CUR = 0x39,
    REG_TIMER_DIV = 0x3e,
    REG_SELF_IPI = 0x3f,
    REG_COUNT = 0x40,
};
enum { LVT_MASKED = 1 << 16, SVR_ENABLED = 1 << 8 };
enum { APIC_BASE_BSP = 1 << 8, APIC_BASE_EXTD = 1 << 10, APIC_BASE_EN = 1 << 11 };
enum { ESR_SEND_VECTOR = 1 << 5, ESR_RECV_VECTOR = 1 << 6, ESR_ILLEGAL_REG = 1 << 7 };

struct lapic {
    _Atomic uint32_t reg[REG_COUNT];
    _Atomic uint32_t irr[8], tmr[8], isr[8];
    uint32_t esr_pending;
    uint64_t timer_begin; /* host ns when the count-down began */
};

static inline uint32_t reg_get(const struct lapic *l, unsigned reg)
{
    return atomic_load_explicit(&l->reg[reg], memory_order_relaxed);
}

static inline void reg_set(struct lapic *l, unsigned reg, uint32_t val)
{
    atomic_store_explicit(&l->reg[reg], val, memory_order_relaxed);
}

/* lapic_timer.c */
enum { APIC_TIMER_ONESHOT = 0, APIC_TIMER_PERIODIC = 1, APIC_TIMER_DEADLINE = 2 };
unsigned lapic_timer_mode(const struct lapic *l);
uint32_t lapic_timer_current(const struct vcpu *cpu);
void lapic_timer_start(struct vcpu *cpu);
void lapic_timer_resume(struct vcpu *cpu, uint32_t current);

/* Any thread. */
void lapic_set_irr(struct vcpu *cpu, unsigned vector, bool level);
/* Own thread: an ICR was written; dest has 8 bits (xAPIC) or 32 (x2APIC). */
void lapic_send(struct vcpu *cpu, uint32_t icr, uint32_t dest);
void lapic_error(struct vcpu *cpu, uint32_t bit);
void lapic_reset_regs(struct vcpu *cpu, bool power_on);

#endif
