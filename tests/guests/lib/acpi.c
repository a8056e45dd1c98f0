/*
 * acpi.c: reads the machine's ACPI tables (ACPI 6.5, 5.2): the PM1a and PM timer ports and the
 * reset register out of the FADT, CPUs and interrupt controllers out of the MADT; delays,
 * power-off.
 */
#include "guest.h"
#include "run.h"

struct acpi acpi;

static u64 get(u64 gpa, unsigned bytes)
{
    u64 v = 0;
    memcpy(&v, (void *)(uintptr_t)gpa, bytes);
    return v;
}

static void read_fadt(u64 t)
{
    acpi.pm1a_evt = (u16)get(t + 56, 4);
    acpi.pm1a_cnt = (u16)get(t + 64, 4);
    acpi.pm_tmr = (u16)get(t + 76, 4);
    acpi.reset_port = (u16)get(t + 120, 8); /* RESET_REG is 12 bytes from 116 on */
    acpi.reset_value = (u8)get(t + 128, 1);
}

static void read_madt(u64 t)
{
    u64 end = t + get(t + 4, 4);
    acpi.lapic = (u32)get(t + 36, 4);
    for (unsigned i = 0; i < 16; i++)
        acpi.isa_gsi[i] = i;
    for (u64 e = t + 44; e + 2 <= end && get(e + 1, 1); e += get(e + 1, 1)) {
        u64 type = get(e, 1);
        if (type == 0 && get(e + 4, 4) & 1 && acpi.cpus < sizeof acpi.apic_id)
            acpi.apic_id[acpi.cpus++] = (u8)get(e + 3, 1);
        if (type == 1 && !acpi.ioapic)
            acpi.ioapic = (u32)get(e + 4, 4);
        if (type == 2 && get(e + 3, 1) < 16) /* an override of an ISA line */
            acpi.isa_gsi[get(e + 3, 1)] = (u32)get(e + 4, 4);
    }
}

/* INFO: hvm_start_info, whose rsdp_paddr is at 32. */
void acpi_init(u64 info)
{
    u64 rsdp = get(info + 32, 8);
    if (get(info, 4) != 0x336ec578 || !rsdp || memcmp((void *)(uintptr_t)rsdp, "RSD PTR ", 8)) {
        printf("FAIL start: no ACPI tables\n");
        return;
    }
    u64 rsdt = get(rsdp + 16, 4);
    u64 count = (get(rsdt + 4, 4) - 36) >> 2;
    for (u64 i = 0; i < count; i++) {
        u64 t = get(rsdt + 36 + 4 * i, 4);
        if (get(t, 4) == 0x50434146) /* "FACP" */
            read_fadt(t);
        if (get(t, 4) == 0x43495041) /* "APIC" */
            read_madt(t);
    }
}

void delay_us(u32 n)
{
    u32 ticks = n * 3 + n / 2 + n / 12 + 1, begin = inl(acpi.pm_tmr); /* 3.579545 MHz */
    while (inl(acpi.pm_tmr) - begin < ticks)
        cpu_relax();
}

bool wait_count(volatile u32 *counter, u32 n, u32 ms)
{
    irq_on();
    for (u32 i = 0; i < ms * 20 && *counter < n; i++)
        delay_us(50);
    irq_off();
    return *counter >= n;
}

/* Sleep type 5 is what \_S5 of this board says. */
void power_off(void)
{
    outw(acpi.pm1a_cnt, 5 << 10 | 1 << 13);
    for (;;)
        __asm__ volatile("cli; hlt");
}
