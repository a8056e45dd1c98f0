/*
 * board.c: the PC board from inside: empty ports and addresses, 8259, 8254, I/O APIC, RTC, UART and
 * PM timer, each with the interrupt it raises.
 */
#include "guest.h"

enum { RAM_END = 0x10000000, HOLE = 0xc0000000 };
enum { V_PIC = 0x30, V1 = 0x41, V2 = 0x51 };
enum { PIC1 = 0x20, PIC2 = 0xa0 };

static void t_empty_ports(void)
{
    static const u16 ports[] = { 0x100, 0x1f0, 0x2e8, 0x402, 0x4000, 0xfff8, 0xffff - 3 };
    for (unsigned i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        EQ(inb(ports[i]), 0xff);
        EQ(inw(ports[i]), 0xffff);
        EQ(inl(ports[i]), 0xffffffff);
        EQ(inw((u16)(ports[i] + 1)), 0xffff);
        outl(ports[i], 0);
    }
    /* Across the borders of the RTC at 70h and 71h. */
    outb(0x70, 0x48);
    outb(0x71, 0x5a);
    EQ(inl(0x70) >> 8 & 0xff, 0x5a);
    EQ(inl(0x70) >> 16, 0xffff);
    EQ(inl(0x6e) >> 24, 0x5a);
    EQ(inl(0x6e) & 0xffff, 0xffff);
    EQ(inw(0x71), 0xff5a);
    outw(0x70, 0x6b48); /* index and data in one */
    EQ(inb(0x71), 0x6b);
}

static void t_empty_memory(void)
{
    static const u64 at[] = { HOLE, RAM_END, 0xfed00000, 0xfffffff0, 0xd0200000 };
    for (unsigned i = 0; i < sizeof at / sizeof at[0]; i++) {
        u64 a = at[i];
        EQ(*(volatile u8 *)a, 0xff);
        EQ(*(volatile u16 *)(a + 1), 0xffff);
        EQ(*(volatile u32 *)(a + 3), 0xffffffff);
        EQ(*(volatile u64 *)(a + 5), ~0ull);
        u64 v[2] = { 0, 0 };
        __asm__ volatile("movups (%0), %%xmm0\n\tmovups %%xmm0, (%1)"
                         :
                         : "r"(a), "r"(v)
                         : "memory");
        EQ(v[0] & v[1], ~0ull);
        *(volatile u8 *)a = 0;
        *(volatile u64 *)(a + 5) = 0;
        __asm__ volatile("lock orl $1, (%0)" : : "r"(a) : "memory", "cc");
        EQ(*(volatile u64 *)a, ~0ull);
    }
    /* Across the end of RAM. */
    *(volatile u32 *)(RAM_END - 4) = 0x12345678;
    EQ(*(volatile u64 *)(RAM_END - 4), 0xffffffff12345678);
    *(volatile u64 *)(RAM_END - 4) = 0x1111111122222222;
    EQ(*(volatile u64 *)(RAM_END - 4), 0xffffffff22222222);
    __asm__ volatile("lock addq $1, (%0)" : : "r"(RAM_END - 4ull) : "memory", "cc");
    EQ(*(volatile u32 *)(RAM_END - 4), 0x22222223);
    /* Across the border of the I/O APIC. */
    write32(acpi.ioapic, 1);
    EQ(*(volatile u64 *)((u64)acpi.ioapic - 4), 0x1ffffffff);
    /* No code there either: all ones is no instruction. */
    __asm__ volatile(TRY "call *%0" END : : "r"((u64)HOLE) : "memory");
    EQ(fault.vec, UD);
}

static void t_port_sweep(void)
{
    u32 before = inl(acpi.pm_tmr);
    u32 sum = 0;
    for (u32 p = 0; p < 0x10000; p++) {
        sum += inb((u16)p);
        sum += inw((u16)p);
        sum += inl((u16)p);
    }
    for (u32 value = 0; value < 2; value++)
        for (u32 p = 0; p < 0x10000; p++) {
            /* Left out: power-off, reset, and the console. */
            if ((p + 4 > acpi.pm1a_cnt && p < acpi.pm1a_cnt + 2u) ||
                (p + 4 > acpi.reset_port && p <= acpi.reset_port) || (p + 4 > 0x3f8 && p < 0x400))
                continue;
            outb((u16)p, (u8)(0 - value));
            outw((u16)p, (u16)(0 - value));
            outl((u16)p, 0 - value);
        }
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    outw(acpi.pm1a_evt + 2, 0);
    CHECK(inl(acpi.pm_tmr) != before);
    EQ(sum == 0, 0);
}

static void count_pic(struct frame *f)
{
    irq_count[f->vec]++;
    if (f->vec >= V_PIC + 8)
        outb(PIC2, 0x20);
    outb(PIC1, 0x20);
}

static void pic_init(void)
{
    outb(PIC1, 0x11);
    outb(PIC1 + 1, V_PIC);
    outb(PIC1 + 1, 4);
    outb(PIC1 + 1, 1);
    outb(PIC2, 0x11);
    outb(PIC2 + 1, V_PIC + 8);
    outb(PIC2 + 1, 2);
    outb(PIC2 + 1, 1);
    outb(PIC1 + 1, 0xff);
    outb(PIC2 + 1, 0xff);
    for (int i = 0; i < 16; i++) {
        hook[V_PIC + i] = count_pic;
        irq_count[V_PIC + i] = 0;
    }
}

static void pit_periodic(u32 divisor)
{
    outb(0x43, 0x34);
    outb(0x40, (u8)divisor);
    outb(0x40, (u8)(divisor >> 8));
}

static void pit_stop(void)
{
    outb(0x43, 0x30);
}

static void t_pit_through_8259(void)
{
    pic_init();
    lapic_write(LAPIC_LINT0, 0x700); /* ExtINT */
    outb(PIC1 + 1, 0xfe);
    pit_periodic(1193);
    CHECK(wait_count(&irq_count[V_PIC], 20, 5000));
    /* Masked, nothing comes; the request waits. */
    outb(PIC1 + 1, 0xff);
    u32 n = irq_count[V_PIC];
    irq_on();
    delay_us(5000);
    irq_off();
    EQ(irq_count[V_PIC], n);
    outb(PIC1, 0x0a);
    EQ(inb(PIC1) & 1, 1); /* IRR */
    pit_stop();
    lapic_write(LAPIC_LINT0, 0x10700);
    EQ(inb(PIC1 + 1), 0xff);
}

static void t_rtc_through_8259(void)
{
    pic_init();
    lapic_write(LAPIC_LINT0, 0x700);
    outb(PIC1 + 1, 0xfb);
    outb(PIC2 + 1, 0xfe);
    outb(0x70, 0x0a);
    outb(0x71, 0x26); /* 1024 Hz */
    outb(0x70, 0x0c);
    inb(0x71);
    outb(0x70, 0x0b);
    outb(0x71, 0x42);
    bool first = false;
    irq_on();
    for (int i = 0; i < 100 && !first; i++) {
        delay_us(1000);
        first = irq_count[V_PIC + 8] != 0;
    }
    CHECK(first);
    /* Level-like: no other before register C is read. */
    delay_us(5000);
    EQ(irq_count[V_PIC + 8], 1);
    for (u32 i = 2; i < 6; i++) {
        outb(0x70, 0x0c);
        EQ(inb(0x71) & 0xc0, 0xc0);
        CHECK(wait_count(&irq_count[V_PIC + 8], i, 1000));
    }
    irq_off();
    outb(0x70, 0x0b);
    outb(0x71, 2);
    outb(0x70, 0x0c);
    inb(0x71);
    outb(PIC1 + 1, 0xff);
    lapic_write(LAPIC_LINT0, 0x10000);
}

static void t_pit_through_ioapic(void)
{
    irq_count[V1] = 0;
    EQ(ioapic_read(1) >> 16 & 0xff, 23);
    ioapic_route(acpi.isa_gsi[0], V1);
    pit_periodic(1193);
    CHECK(wait_count(&irq_count[V1], 50, 5000));
    ioapic_route(acpi.isa_gsi[0], V1 | 1 << 16);
    irq_on();
    delay_us(100);
    u32 n = irq_count[V1];
    delay_us(5000);
    irq_off();
    EQ(irq_count[V1], n);
    pit_stop();
    /* Mode 0: one edge. */
    ioapic_route(acpi.isa_gsi[0], V1);
    irq_count[V1] = 0;
    outb(0x43, 0x30);
    outb(0x40, 0);
    outb(0x40, 8);
    CHECK(wait_count(&irq_count[V1], 1, 1000));
    irq_on();
    delay_us(10000);
    irq_off();
    EQ(irq_count[V1], 1);
    ioapic_route(acpi.isa_gsi[0], 1 << 16);
}

static void t_ioapic_registers(void)
{
    ioapic_write(0x10 + 2 * 20, 0xffffffff);
    EQ(ioapic_read(0x10 + 2 * 20), 0x1afff); /* status and remote IRR are read only */
    ioapic_write(0x11 + 2 * 20, 0xffffffff);
    EQ(ioapic_read(0x11 + 2 * 20), 0xff000000);
    ioapic_route(20, 1 << 16);
    ioapic_write(1, 0);
    EQ(ioapic_read(1) >> 16 & 0xff, 23);
    write32(acpi.ioapic, 0xff); /* no such register */
    (void)read32(acpi.ioapic + 0x10);
    write32(acpi.ioapic + 0x10, 0x12345678);
}

static void t_uart_interrupt(void)
{
    irq_count[V2] = 0;
    ioapic_route(acpi.isa_gsi[4], V2);
    outb(0x3f8 + 4, 0x0b); /* OUT2 gates the line */
    outb(0x3f8 + 1, 2);    /* transmitter empty */
    CHECK(wait_count(&irq_count[V2], 1, 1000));
    EQ(inb(0x3f8 + 2) & 0xf, 2);
    EQ(inb(0x3f8 + 2) & 1, 1); /* reading IIR took it away */
    outb(0x3f8 + 1, 0);
    ioapic_route(acpi.isa_gsi[4], 1 << 16);
    outb(0x3f8 + 7, 0xa5); /* scratch */
    EQ(inb(0x3f8 + 7), 0xa5);
    /* Loop-back: what is sent comes in. */
    outb(0x3f8 + 4, 0x10);
    outb(0x3f8, 'x');
    for (int i = 0; i < 1000 && !(inb(0x3f8 + 5) & 1); i++)
        delay_us(10);
    EQ(inb(0x3f8), 'x');
    outb(0x3f8 + 4, 3);
}

static void t_pm_timer(void)
{
    u32 a = inl(acpi.pm_tmr), b = inl(acpi.pm_tmr);
    CHECK(b - a < 0x80000000);
    /* Against channel 2 of the 8254: 3579545 / 1193182 = 3. */
    bool near = false;
    for (int i = 0; i < 20 && !near; i++) {
        outb(0x61, (u8)((inb(0x61) & ~2) | 1));
        outb(0x43, 0xb0);
        outb(0x42, 0xff);
        outb(0x42, 0xff);
        outb(0x43, 0x80);
        u32 c1 = inb(0x42);
        c1 |= (u32)inb(0x42) << 8;
        a = inl(acpi.pm_tmr);
        delay_us(20000);
        outb(0x43, 0x80);
        u32 c2 = inb(0x42);
        c2 |= (u32)inb(0x42) << 8;
        b = inl(acpi.pm_tmr);
        u32 counted = (c1 - c2) & 0xffff, ticks = b - a;
        near = ticks > counted * 3 - counted / 10 && ticks < counted * 3 + counted / 10;
    }
    CHECK(near);
    EQ(inw(acpi.pm_tmr) == 0xffff && inw(acpi.pm_tmr) == 0xffff, 0);
    EQ(inw(acpi.pm1a_cnt) & 1, 1); /* SCI_EN: always in ACPI mode */
}

static void t_pit_channel2(void)
{
    outb(0x61, (u8)((inb(0x61) & ~2) & ~1)); /* gate off */
    outb(0x43, 0xb0);
    outb(0x42, 0x00);
    outb(0x42, 0x10);
    EQ(inb(0x61) & 0x20, 0);
    outb(0x61, (u8)(inb(0x61) | 1));
    bool out = false;
    for (int i = 0; i < 1000 && !out; i++) {
        delay_us(100);
        out = inb(0x61) & 0x20;
    }
    CHECK(out);
    /* The read-back command latches the status: mode 0, both bytes, output high. */
    outb(0x43, 0xe8);
    EQ(inb(0x42) & 0xbf, 0xb0);
    u8 before = inb(0x61) & 0x10;
    bool toggles = false;
    for (int i = 0; i < 10000 && !toggles; i++)
        toggles = (inb(0x61) & 0x10) != before;
    CHECK(toggles);
}

static void t_rtc(void)
{
    outb(0x70, 0x0d);
    EQ(inb(0x71), 0x80); /* VRT: the battery is well */
    outb(0x70, 0x0a);
    outb(0x71, 0x26);
    outb(0x70, 0x00);
    u8 s = inb(0x71);
    CHECK((s & 15) < 10 && s < 0x60);
    /* UIP is seen within a second and a bit. */
    bool uip = false;
    u32 begin = inl(acpi.pm_tmr);
    while (!uip && inl(acpi.pm_tmr) - begin < 3579545 * 3u / 2) {
        outb(0x70, 0x0a);
        uip = inb(0x71) & 0x80;
    }
    CHECK(uip);
    for (u8 i = 0x40; i < 0x60; i++) {
        outb(0x70, i);
        outb(0x71, (u8)(i * 5));
    }
    for (u8 i = 0x40; i < 0x60; i++) {
        outb(0x70, i);
        EQ(inb(0x71), (u8)(i * 5));
    }
}

static void t_uart_flood(void)
{
    /* 64 KiB into the loop: no byte may block the guest. */
    outb(0x3f8 + 4, 0x10);
    for (u32 i = 0; i < 65536; i++)
        outb(0x3f8, (u8)i);
    outb(0x3f8 + 2, 7); /* FIFOs on and cleared */
    outb(0x3f8 + 4, 3);
    EQ(inb(0x3f8 + 5) & 0x20, 0x20);
    outb(0x3f8 + 2, 0);
}

const struct test tests[] = {
    { "empty-ports", t_empty_ports },
    { "empty-memory", t_empty_memory },
    { "pit-through-ioapic", t_pit_through_ioapic },
    { "pit-through-8259", t_pit_through_8259 },
    { "rtc-through-8259", t_rtc_through_8259 },
    { "ioapic-registers", t_ioapic_registers },
    { "uart-interrupt", t_uart_interrupt },
    { "uart-flood", t_uart_flood },
    { "pm-timer", t_pm_timer },
    { "pit-channel2", t_pit_channel2 },
    { "rtc", t_rtc },
    { "port-sweep", t_port_sweep },
    { 0 },
};
