/*
 * scratch.c: drives examples/dev-scratch at d0100000h: its registers, and its level interrupt at
 * input 20 of the I/O APIC.
 */
#include "guest.h"

enum { INPUT = 20, V1 = 0x41, MATCH = 7 };
#define VALUE UINT64_C(0xd0100000)
#define PENDING UINT64_C(0xd0100004)

static void t_registers(void)
{
    EQ(read32(VALUE), 0);
    write32(VALUE, 0x12345678);
    EQ(read32(VALUE), 0x12345678);
    EQ(read32(PENDING), 0);
    EQ(*(volatile u64 *)VALUE, 0x12345678);   /* split into two */
    EQ(*(volatile u16 *)(VALUE + 2), 0x1234); /* taken out of an aligned read */
    EQ(*(volatile u8 *)(VALUE + 1), 0x56);
    *(volatile u8 *)VALUE = 1; /* narrower than the device takes: dropped */
    EQ(read32(VALUE), 0x12345678);
    EQ(read32(VALUE + 8), ~0u); /* behind its registers */
    EQ(*(volatile u64 *)PENDING, 0xffffffff00000000);
    EQ(*(volatile u32 *)(VALUE + 2), 0x00001234);
}

static volatile u32 stray;

static void serve(struct frame *f)
{
    (void)f;
    if (!(read32(PENDING) & 1))
        stray++;
    write32(PENDING, 1);
    irq_count[V1]++;
    lapic_write(LAPIC_EOI, 0);
}

static void t_interrupt(void)
{
    hook[V1] = serve;
    ioapic_route(INPUT, 1 << 15 | V1);
    for (u32 i = 1; i <= 100; i++) {
        write32(VALUE, MATCH);
        CHECK(wait_count(&irq_count[V1], i, 1000));
        write32(VALUE, 0);
    }
    irq_on();
    delay_us(1000);
    irq_off();
    EQ(irq_count[V1], 100);
    EQ(stray, 0);
    EQ(read32(PENDING), 0);
}

static void again(struct frame *f)
{
    (void)f;
    if (++irq_count[V1] == 3)
        write32(PENDING, 1);
    lapic_write(LAPIC_EOI, 0);
}

/* A level that stays is delivered again after each EOI. */
static void t_level(void)
{
    hook[V1] = again;
    irq_count[V1] = 0;
    write32(VALUE, MATCH);
    CHECK(wait_count(&irq_count[V1], 3, 1000));
    irq_on();
    delay_us(1000);
    irq_off();
    EQ(irq_count[V1], 3);
    EQ(ioapic_read(0x10 + 2 * INPUT) & 1 << 14, 0); /* remote IRR is clear */
    /* Raised while masked: it comes when the mask goes. */
    ioapic_route(INPUT, 1 << 16 | 1 << 15 | V1);
    irq_count[V1] = 2;
    write32(VALUE, MATCH);
    irq_on();
    delay_us(1000);
    EQ(irq_count[V1], 2);
    ioapic_route(INPUT, 1 << 15 | V1);
    CHECK(wait_count(&irq_count[V1], 3, 1000));
    irq_off();
    hook[V1] = 0;
    ioapic_route(INPUT, 1 << 16);
}

const struct test tests[] = {
    { "registers", t_registers },
    { "interrupt", t_interrupt },
    { "level", t_level },
    { 0 },
};
