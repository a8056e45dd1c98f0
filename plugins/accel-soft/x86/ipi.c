/*
 * ipi.c: messages to local APICs: finding the CPUs that a destination means, interprocessor
 * interrupts, message-signalled interrupts, the 8259's INTR pin. Runs on any thread; takes no lock.
 * References: Intel SDM volume 3A, 11.6 (IPIs, destinations), 11.11 (MSI), 11.12.10 (x2APIC ids).
 */
#include "lapic_int.h"

static uint32_t peek(const struct vcpu *cpu, unsigned reg)
{
    return atomic_load_explicit(&cpu->lapic->reg[reg], memory_order_relaxed);
}

void lapic_set_irr(struct vcpu *cpu, unsigned vector, bool level)
{
    struct lapic *l = cpu->lapic;
    uint32_t bit = 1u << (vector & 31);
    if (level)
        atomic_fetch_or(&l->tmr[vector / 32], bit);
    else
        atomic_fetch_and(&l->tmr[vector / 32], ~bit);
    atomic_fetch_or(&l->irr[vector / 32], bit);
    soft_request(cpu, REQ_EVENT);
}

static bool is_x2(const struct vcpu *cpu)
{
    return (cpu->apic_base & (APIC_BASE_EXTD | APIC_BASE_EN)) == (APIC_BASE_EXTD | APIC_BASE_EN);
}

static bool match_logical(const struct vcpu *cpu, uint32_t dest)
{
    uint32_t ldr = peek(cpu, REG_LDR);
    if (is_x2(cpu))
        return ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff);
    ldr >>= 24;
    if (peek(cpu, REG_DFR) >> 28 == 0xf)
        return (ldr & dest & 0xff) != 0;
    return (ldr >> 4) == ((dest >> 4) & 15) && (ldr & dest & 15);
}

static bool match(const struct vcpu *cpu, const struct apic_msg *msg)
{
    if (!(cpu->apic_base & APIC_BASE_EN))
        return false;
    if (msg->broadcast)
        return true;
    if (msg->logical)
        return match_logical(cpu, msg->dest);
    return (is_x2(cpu) ? cpu->index : peek(cpu, REG_ID) >> 24) == msg->dest;
}

static bool accept(struct vcpu *cpu, const struct apic_msg *msg)
{
    switch (msg->mode) {
    case APIC_FIXED:
    case APIC_LOWEST:
        if (!(peek(cpu, REG_SVR) & SVR_ENABLED) || msg->vector < 16)
            return false;
        lapic_set_irr(cpu, msg->vector, msg->level);
        return true;
    case APIC_NMI:
        atomic_store(&cpu->nmi_pending, 1);
        break;
    case APIC_INIT:
        atomic_store(&cpu->sipi_pending, 0);
        atomic_store(&cpu->init_pending, 1);
        break;
    case APIC_SIPI:
        atomic_store(&cpu->sipi_pending, 0x100u | msg->vector);
        break;
    case APIC_EXTINT:
        cpu->extint_latched = 1;
        break;
    default:
        return false; /* SMI: there is no system management mode */
    }
    soft_request(cpu, REQ_EVENT);
    return true;
}

static unsigned cpus(const struct soft *s)
{
    return atomic_load_explicit(&s->vcpu_ready, memory_order_acquire);
}

/* Lowest priority: the CPU with the lowest PPR; among equals they take turns. */
static bool deliver_lowest(struct soft *s, const struct apic_msg *msg)
{
    unsigned n = cpus(s), start = n ? atomic_fetch_add(&s->lowest_rr, 1) % n : 0;
    struct vcpu *best = NULL;
    for (unsigned i = 0; i < n; i++) {
        struct vcpu *cpu = s->vcpu[(start + i) % n];
        if (match(cpu, msg) && (peek(cpu, REG_SVR) & SVR_ENABLED) &&
            (!best || peek(cpu, REG_PPR) < peek(best, REG_PPR)))
            best = cpu;
    }
    return best && accept(best, msg);
}

bool lapic_deliver(struct soft *s, const struct apic_msg *msg)
{
    if (msg->mode == APIC_LOWEST)
        return deliver_lowest(s, msg);
    bool taken = false;
    unsigned n = cpus(s);
    for (unsigned i = 0; i < n; i++)
        if (match(s->vcpu[i], msg))
            taken |= accept(s->vcpu[i], msg);
    return taken;
}

void lapic_send(struct vcpu *cpu, uint32_t icr, uint32_t dest)
{
    bool x2 = (cpu->apic_base & APIC_BASE_EXTD) != 0;
    struct apic_msg msg = {
        .dest = dest, .mode = (icr >> 8) & 7, .vector = icr & 0xff, .logical = (icr >> 11) & 1
    };
    unsigned shorthand = (icr >> 18) & 3;
    if ((msg.mode == APIC_FIXED || msg.mode == APIC_LOWEST) && msg.vector < 16) {
        lapic_error(cpu, ESR_SEND_VECTOR);
        return;
    }
    /* INIT level de-assert only sets arbitration ids, which this APIC has not (SDM 11.6.1). */
    if (msg.mode == APIC_INIT && (icr & 0xc000) == 0x8000)
        return;
    if (shorthand == 1) {
        if (msg.mode == APIC_FIXED)
            accept(cpu, &msg);
        return;
    }
    if (shorthand == 0) {
        msg.broadcast = dest == (x2 ? 0xffffffff : 0xff);
        lapic_deliver(cpu->soft, &msg);
        return;
    }
    unsigned n = cpus(cpu->soft);
    msg.broadcast = true;
    for (unsigned i = 0; i < n; i++) {
        struct vcpu *other = cpu->soft->vcpu[i];
        if ((shorthand == 2 || other != cpu) && match(other, &msg))
            accept(other, &msg);
    }
}

/* Address FEExxxxxh: destination in bits 19..12, logical in bit 2 (SDM 11.11). */
int lapic_msi(struct soft *s, uint64_t addr, uint32_t data)
{
    if (addr >> 20 != 0xfee)
        return MOBO_EINVAL;
    struct apic_msg msg = { .dest = (addr >> 12) & 0xff,
                            .logical = (addr >> 2) & 1,
                            .vector = data & 0xff,
                            .mode = (data >> 8) & 7,
                            .level = (data >> 15) & 1 };
    msg.broadcast = msg.dest == 0xff;
    /* The redirection hint with a physical destination changes nothing; with a logical one it asks
       for the lowest priority. */
    if ((addr & 8) && msg.logical && msg.mode == APIC_FIXED)
        msg.mode = APIC_LOWEST;
    lapic_deliver(s, &msg);
    return MOBO_OK;
}

void lapic_extint(struct soft *s, uint32_t level)
{
    uint32_t old = atomic_exchange(&s->extint, level ? 1 : 0);
    if (!level || old)
        return;
    unsigned n = cpus(s);
    for (unsigned i = 0; i < n; i++) {
        struct vcpu *cpu = s->vcpu[i];
        uint32_t lvt = peek(cpu, REG_LVT_LINT0);
        bool on = (cpu->apic_base & APIC_BASE_EN) && !(lvt & LVT_MASKED);
        unsigned mode = (lvt >> 8) & 7;
        if (on && mode == APIC_NMI)
            atomic_store(&cpu->nmi_pending, 1);
        if (on && mode == APIC_FIXED && (lvt & 0xff) >= 16)
            lapic_set_irr(cpu, lvt & 0xff, (lvt >> 15) & 1);
        soft_request(cpu, REQ_EVENT);
    }
}
