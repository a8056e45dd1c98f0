/* dev-scratch: a register that raises an interrupt when it is given its match value. */
#include <mobo/plugin.h>

struct scratch {
    mobo_obj_t *obj; /* always first; filled in by the core */
    mobo_mmio_t bus;
    mobo_irq_t irq;
    uint32_t match;
    uint32_t value, pending;
};

enum { REG_VALUE = 0x0, REG_PENDING = 0x4, REG_END = 0x8 };

static uint64_t scratch_read(void *self, uint64_t off, unsigned bytes)
{
    struct scratch *s = self;
    (void)bytes;
    return off == REG_VALUE ? s->value : s->pending;
}

static void scratch_write(void *self, uint64_t off, uint64_t val, unsigned bytes)
{
    struct scratch *s = self;
    (void)bytes;
    if (off == REG_VALUE) {
        s->value = (uint32_t)val;
        s->pending |= s->value == s->match;
    } else {
        s->pending &= ~(uint32_t)val; /* write one to clear */
    }
    mobo_irq_set(s->irq, s->pending);
}

static const mobo_region_t regs = {
    .size = sizeof regs, .name = "regs", .length = REG_END,
    .min_access = 4, .max_access = 4, .read = scratch_read, .write = scratch_write,
};

static int scratch_init(void *self)
{
    struct scratch *s = self;
    if (s->match == 0)
        return mobo_fail(s->obj, "match must not be 0: the register resets to 0");
    return mobo_mmio_attach(s->bus, s->obj, .region = &regs, .irq = &s->irq, .irq_count = 1,
                            .irq_flags = MOBO_IRQ_LEVEL, .fdt_compatible = "example,scratch",
                            .acpi_hid = "EXMP0001");
}

static void scratch_reset(void *self)
{
    struct scratch *s = self;
    s->value = s->pending = 0;
}

static const mobo_prop_t props[] = {
    MOBO_BUS(struct scratch, bus, MOBO_MMIO_BUS, "bus the registers appear on"),
    MOBO_IRQ(struct scratch, irq, "line raised while PENDING is not 0"),
    MOBO_U32(struct scratch, match, "42", "value that sets PENDING"),
    MOBO_END,
};
static const mobo_field_t state[] = {
    MOBO_STATE(struct scratch, value), MOBO_STATE(struct scratch, pending), MOBO_END,
};
static const mobo_class_t scratch = {
    MOBO_CLASS(struct scratch, props, state), .name = "scratch",
    .summary = "scratch register with a match interrupt", .init = scratch_init,
    .reset = scratch_reset,
};
MOBO_PLUGIN("dev-scratch", "1.0", "MIT", &scratch)
