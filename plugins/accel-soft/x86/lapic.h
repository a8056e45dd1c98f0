/*
 * lapic.h: the local APIC of each virtual CPU: xAPIC page and x2APIC MSRs, IPIs, timer.
 */
#ifndef SOFT_X86_LAPIC_H
#define SOFT_X86_LAPIC_H

#include "state.h"

struct soft;

/* An interrupt message on its way: from an MSI or an ICR. */
struct apic_msg {
    uint32_t dest;
    uint8_t mode; /* delivery mode, APIC_FIXED ... */
    uint8_t vector;
    bool logical, level, broadcast;
};

enum {
    APIC_FIXED = 0,
    APIC_LOWEST = 1,
    APIC_SMI = 2,
    APIC_NMI = 4,
    APIC_INIT = 5,
    APIC_SIPI = 6,
    APIC_EXTINT = 7,
};

int lapic_new(struct vcpu *cpu);
void lapic_free(struct vcpu *cpu);
void lapic_reset(struct vcpu *cpu, bool init); /* power-on, or INIT (keeps the id and the mode) */

/*
 * An access of the APIC page by its own CPU: false if GPA is elsewhere (or the APIC is off or in
 * x2APIC mode), which makes it an access like any other.
 */
bool lapic_mmio(struct vcpu *cpu, uint64_t gpa, void *data, unsigned len, bool write);
/* MSRs 800h..8FFh; false: #GP(0). */
bool lapic_msr(struct vcpu *cpu, uint32_t index, uint64_t *val, bool write);
bool lapic_base_write(struct vcpu *cpu, uint64_t val);
void lapic_set_cr8(struct vcpu *cpu, unsigned val);
unsigned lapic_get_cr8(const struct vcpu *cpu);

/* Any thread: deliver a message to all CPUs it addresses; false: nobody took it. */
bool lapic_deliver(struct soft *s, const struct apic_msg *msg);
/* Any thread: decode and deliver a message-signalled interrupt. */
int lapic_msi(struct soft *s, uint64_t addr, uint32_t data);
/* Any thread: the level of the 8259's INTR pin changed. */
void lapic_extint(struct soft *s, uint32_t level);

/* Own thread, at an instruction boundary. */
enum { IRQ_NONE = -1, IRQ_EXTINT = -2 };
int lapic_pending(struct vcpu *cpu); /* vector that would be taken now, or IRQ_... */
void lapic_accept(struct vcpu *cpu, unsigned vector);  /* it is taken: in service */
void lapic_timer_poll(struct vcpu *cpu, uint64_t now); /* fires what is due, sets cpu->deadline */
void lapic_tsc_changed(struct vcpu *cpu); /* offset moved: deadlines are in guest TSC */
uint64_t lapic_deadline_read(struct vcpu *cpu);
void lapic_deadline_write(struct vcpu *cpu, uint64_t tsc);
/* Vector in service, or -1; for PV EOI. */
int lapic_in_service(const struct vcpu *cpu);
bool lapic_more_pending(const struct vcpu *cpu);
bool lapic_is_level(const struct vcpu *cpu, unsigned vector);
void lapic_eoi(struct vcpu *cpu);

void lapic_get(struct vcpu *cpu, mobo_x86_apic_t *out);
int lapic_set(struct vcpu *cpu, const mobo_x86_apic_t *in);

#endif
