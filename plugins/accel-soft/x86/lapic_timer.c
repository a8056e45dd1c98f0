/*
 * lapic_timer.c: the timer of the local APIC: one-shot, periodic, TSC deadline. It only computes
 * cpu->deadline; that it is noticed in time is loop.c's business.
 *
 * The timer counts at 1 GHz: a tick is a nanosecond (CPUID leaf 40000010h says so).
 * Reference: Intel SDM volume 3A, 11.5.4.
 */
#include "lapic_int.h"
#include "wide.h"

unsigned lapic_timer_mode(const struct lapic *l)
{
    return (reg_get(l, REG_LVT_TIMER) >> 17) & 3;
}

static unsigned timer_divide(const struct lapic *l)
{
    uint32_t d = reg_get(l, REG_TIMER_DIV);
    return ((((d >> 1) & 4) | (d & 3)) + 1) & 7; /* log2; 7 means 1 */
}

static uint64_t timer_period(const struct lapic *l)
{
    return (uint64_t)reg_get(l, REG_TIMER_INIT) << timer_divide(l);
}

static void set_deadline(struct vcpu *cpu, uint64_t ns)
{
    atomic_store_explicit(&cpu->deadline, ns, memory_order_relaxed);
    cpu->timer_dirty = 1;
    want_loop(cpu);
}

static void lvt_fire(struct vcpu *cpu, unsigned reg)
{
    uint32_t lvt = reg_get(cpu->lapic, reg);
    if (!(lvt & LVT_MASKED))
        lapic_set_irr(cpu, lvt & 0xff, false);
}

/* Host time at which the guest's TSC reaches the deadline. */
static void arm_tsc_deadline(struct vcpu *cpu, uint64_t now)
{
    if (cpu->tsc_deadline == 0) {
        set_deadline(cpu, ~0ull);
        return;
    }
    uint64_t tsc = cpu_tsc(cpu), left = cpu->tsc_deadline > tsc ? cpu->tsc_deadline - tsc : 0;
    uint64_t hz = cpu->soft->model.tsc_hz, rest;
    /* Beyond a day it may as well be looked at again then; keeps the quotient in range. */
    if (!hz || left / hz >= 86400) {
        set_deadline(cpu, now + 86400000000000ull);
        return;
    }
    u128 scaled = (u128)left * 1000000000u;
    set_deadline(cpu, now + div_wide((uint64_t)(scaled >> 64), (uint64_t)scaled, hz, &rest));
}

void lapic_timer_start(struct vcpu *cpu)
{
    struct lapic *l = cpu->lapic;
    uint64_t now = soft_now();
    switch (lapic_timer_mode(l)) {
    case APIC_TIMER_DEADLINE:
        arm_tsc_deadline(cpu, now);
        break;
    case APIC_TIMER_ONESHOT:
    case APIC_TIMER_PERIODIC:
        l->timer_begin = now;
        set_deadline(cpu, reg_get(l, REG_TIMER_INIT) ? now + timer_period(l) : ~0ull);
        break;
    default:
        set_deadline(cpu, ~0ull);
    }
}

uint32_t lapic_timer_current(const struct vcpu *cpu)
{
    const struct lapic *l = cpu->lapic;
    uint64_t period = timer_period(l);
    if (lapic_timer_mode(l) > APIC_TIMER_PERIODIC || period == 0)
        return 0;
    uint64_t gone = soft_now() - l->timer_begin;
    if (gone >= period && lapic_timer_mode(l) == APIC_TIMER_ONESHOT)
        return 0;
    return (uint32_t)((period - gone % period) >> timer_divide(l));
}

void lapic_timer_poll(struct vcpu *cpu, uint64_t now)
{
    struct lapic *l = cpu->lapic;
    if (atomic_load_explicit(&cpu->deadline, memory_order_relaxed) > now)
        return;
    switch (lapic_timer_mode(l)) {
    case APIC_TIMER_DEADLINE:
        if (cpu->tsc_deadline && cpu_tsc(cpu) < cpu->tsc_deadline) {
            arm_tsc_deadline(cpu, now + 1); /* the two clocks disagree by a little: never early */
            return;
        }
        cpu->tsc_deadline = 0;
        set_deadline(cpu, ~0ull);
        break;
    case APIC_TIMER_PERIODIC: {
        /* Periods that nobody saw are lost, as they are when interrupts stay off for long. */
        uint64_t period = timer_period(l);
        if (period < 20000)
            period = 20000; /* a guest cannot ask for more than 50,000 interrupts a second */
        l->timer_begin += (now - l->timer_begin) / period * period;
        set_deadline(cpu, l->timer_begin + period);
        break;
    }
    default:
        set_deadline(cpu, ~0ull);
    }
    lvt_fire(cpu, REG_LVT_TIMER);
}

void lapic_deadline_write(struct vcpu *cpu, uint64_t tsc)
{
    if (lapic_timer_mode(cpu->lapic) != APIC_TIMER_DEADLINE || !(cpu->apic_base & APIC_BASE_EN))
        return;
    cpu->tsc_deadline = tsc;
    arm_tsc_deadline(cpu, soft_now());
}

uint64_t lapic_deadline_read(struct vcpu *cpu)
{
    return lapic_timer_mode(cpu->lapic) == APIC_TIMER_DEADLINE ? cpu->tsc_deadline : 0;
}

void lapic_tsc_changed(struct vcpu *cpu)
{
    if (lapic_timer_mode(cpu->lapic) == APIC_TIMER_DEADLINE && cpu->tsc_deadline)
        arm_tsc_deadline(cpu, soft_now());
}

/* A restored state: a count-down in progress goes on from its current count. */
void lapic_timer_resume(struct vcpu *cpu, uint32_t current)
{
    struct lapic *l = cpu->lapic;
    lapic_timer_start(cpu);
    uint64_t period = timer_period(l), left = (uint64_t)current << timer_divide(l);
    if (lapic_timer_mode(l) > APIC_TIMER_PERIODIC || period == 0)
        return;
    bool goes_on = left || lapic_timer_mode(l) == APIC_TIMER_PERIODIC;
    l->timer_begin -= left < period ? period - left : 0;
    set_deadline(cpu, goes_on ? l->timer_begin + period : ~0ull);
}
