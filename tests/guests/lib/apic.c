/*
 * apic.c: local APIC (xAPIC, SDM 3A, 11.4), I/O APIC (Intel 290566), and the other CPUs: started by
 * INIT and SIPI, then given functions to run.
 */
#include "guest.h"
#include "run.h"

extern const u8 ap_begin[], ap_end[];
extern u64 ap_stack_pointer;

static struct cpu {
    u8 stack[STACK_SIZE];
    void (*volatile fn)(void *);
    void *volatile arg;
    volatile u32 up, busy;
    u64 pad;
} cpus[CPUS_MAX] __attribute__((aligned(4096)));

u32 lapic_read(u32 reg)
{
    return read32(0xfee00000 + reg);
}

void lapic_write(u32 reg, u32 v)
{
    write32(0xfee00000 + reg, v);
}

void lapic_ipi(u32 apic_id, u32 icr)
{
    lapic_write(LAPIC_ICR2, apic_id << 24);
    lapic_write(LAPIC_ICR, icr);
    while (lapic_read(LAPIC_ICR) & 1 << 12)
        cpu_relax();
}

u32 ioapic_read(u32 reg)
{
    write32(acpi.ioapic, reg);
    return read32(acpi.ioapic + 0x10);
}

void ioapic_write(u32 reg, u32 v)
{
    write32(acpi.ioapic, reg);
    write32(acpi.ioapic + 0x10, v);
}

void ioapic_route(unsigned input, u64 entry)
{
    ioapic_write(0x10 + 2 * input, 1 << 16); /* masked while both halves change */
    ioapic_write(0x11 + 2 * input, (u32)(entry >> 32));
    ioapic_write(0x10 + 2 * input, (u32)entry);
}

unsigned cpu_index(void)
{
    u64 sp = (u64)__builtin_frame_address(0), base = (u64)cpus;
    if (sp < base || sp >= base + sizeof cpus)
        return 0;
    return (unsigned)((sp - base) / sizeof cpus[0]);
}

void ap_loop(void)
{
    struct cpu *c = &cpus[cpu_index()];
    c->up = 1;
    for (;;) {
        while (!c->busy)
            cpu_relax();
        c->fn(c->arg);
        __atomic_store_n(&c->busy, 0, __ATOMIC_RELEASE);
    }
}

bool cpu_start(unsigned n)
{
    if (n >= acpi.cpus || n >= CPUS_MAX)
        return false;
    if (cpus[n].up)
        return true;
    memcpy((void *)AP_TRAMPOLINE, ap_begin, (size_t)(ap_end - ap_begin));
    ap_stack_pointer = (u64)(cpus[n].stack + STACK_SIZE);
    lapic_ipi(acpi.apic_id[n], 0x4500); /* INIT */
    delay_us(10000);
    lapic_ipi(acpi.apic_id[n], 0x4600 | AP_TRAMPOLINE >> 12);
    for (int i = 0; i < 1000 && !cpus[n].up; i++)
        delay_us(1000);
    return cpus[n].up;
}

void cpu_call(unsigned n, void (*fn)(void *), void *arg)
{
    cpus[n].fn = fn;
    cpus[n].arg = arg;
    __atomic_store_n(&cpus[n].busy, 1, __ATOMIC_RELEASE);
}

bool cpu_wait(unsigned n)
{
    for (int i = 0; i < 20000 && cpus[n].busy; i++)
        delay_us(100);
    return !cpus[n].busy;
}
