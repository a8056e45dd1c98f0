/* reset.c: asks for a reset by the register of the FADT until CMOS RAM has counted 1000 of them. */
#include "guest.h"

enum { LOW = 0x50, HIGH = 0x51, MARK = 0x52, TIMES = 1000 };

static u8 cmos(u8 index)
{
    outb(0x70, index);
    return inb(0x71);
}

static void set_cmos(u8 index, u8 v)
{
    outb(0x70, index);
    outb(0x71, v);
}

static u64 dirty;

static void t_storm(void)
{
    EQ(dirty, 0); /* the image is loaded anew */
    dirty = 1;
    if (cmos(MARK) != 0xa7) {
        set_cmos(MARK, 0xa7);
        set_cmos(LOW, 0);
        set_cmos(HIGH, 0);
    }
    u32 n = cmos(LOW) | (u32)cmos(HIGH) << 8;
    if (n == TIMES)
        return;
    n++;
    set_cmos(LOW, (u8)n);
    set_cmos(HIGH, (u8)(n >> 8));
    outb(acpi.reset_port, acpi.reset_value);
    for (;;)
        __asm__ volatile("cli; hlt");
}

const struct test tests[] = {
    { "storm", t_storm },
    { 0 },
};
