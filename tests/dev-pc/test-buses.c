/* test-buses.c: bus-isa and bus-mmio: placing, wiring, describing, and what they refuse. */
#include "board.h"

#include <mobo/bus.h>

/* A device of the test's own that attaches to whichever bus it is given. */
struct toy {
    mobo_obj_t *obj;
    mobo_mmio_t mmio;
    mobo_isa_t isa;
    mobo_irq_t irq;
    uint32_t length, level;
};

static uint64_t toy_read(void *self, uint64_t off, unsigned bytes)
{
    (void)self;
    (void)bytes;
    return 0x40 + off;
}

static void toy_write(void *self, uint64_t off, uint64_t val, unsigned bytes)
{
    struct toy *s = self;
    (void)off;
    (void)bytes;
    mobo_irq_set(s->irq, (uint32_t)val);
}

static int toy_init(void *self)
{
    struct toy *s = self;
    const mobo_region_t region = { .size = sizeof region, .name = "toy", .length = s->length,
                                   .read = toy_read, .write = toy_write };
    if (s->mmio.ops)
        return mobo_mmio_attach(s->mmio, s->obj, .region = &region, .irq = &s->irq, .irq_count = 1,
                                .acpi_hid = "LNRO0005", .irq_flags = s->level);
    const mobo_isa_io_t io = { .base = 0x300, .region = &region };
    const uint32_t line = 5;
    return mobo_isa_attach(s->isa, s->obj, .io = &io, .io_count = 1, .irq = &s->irq,
                           .irq_count = 1, .irq_line = &line, .acpi_hid = "PNP0C02");
}

static const mobo_prop_t mmio_props[] = {
    MOBO_BUS(struct toy, mmio, MOBO_MMIO_BUS, "bus"),
    MOBO_IRQ(struct toy, irq, "line"),
    MOBO_U32(struct toy, length, "0x200", "length of the window"),
    MOBO_U32(struct toy, level, "1", "interrupt flags"),
    MOBO_END,
};
static const mobo_prop_t isa_props[] = {
    MOBO_BUS(struct toy, isa, MOBO_ISA_BUS, "bus"),
    MOBO_IRQ(struct toy, irq, "line"),
    MOBO_U32(struct toy, length, "8", "length of the window"),
    MOBO_END,
};
static const mobo_class_t mmio_toy = {
    MOBO_CLASS(struct toy, mmio_props, NULL), .name = "toy", .init = toy_init,
};
static const mobo_class_t isa_toy = {
    MOBO_CLASS(struct toy, isa_props, NULL), .name = "toy", .init = toy_init,
};

static const mobo_class_t *mmio_class(void)
{
    return fake_class(PLUGINS "/bus-mmio.so", "mmio");
}

static struct fake *mmio_new(const char *setting)
{
    struct fake *f = fake_new(1 << 20, 1);
    fake_chip(f, "chip0", 24);
    assert_non_null(fake_add_(f, "mmio0", mmio_class(), setting));
    return f;
}

static void slots_in_turn(void **state)
{
    (void)state;
    struct fake *f = mmio_new("irq-count=2");
    char name[] = "toy0";
    for (unsigned i = 0; i < 5; i++, name[3]++)
        assert_non_null(fake_add(f, name, &mmio_toy, NULL));
    for (unsigned i = 0; i < 5; i++) {
        const mobo_fw_device_t *d = fake_fw(f, i);
        assert_int_equal(d->id, i);
        assert_int_equal(d->res[0].base, 0xd0000000u + i * 0x1000);
        assert_int_equal(d->res[0].len, 0x200);
        assert_int_equal(d->res[1].base, 16 + i % 2);
        assert_int_equal(d->res[1].flags, MOBO_IRQ_LEVEL | MOBO_IRQ_SHARED);
        assert_int_equal(fake_read(f, 0xd0000000u + i * 0x1000, 1), 0x40);
    }
    fake_write(f, 0xd0000000, 1, 1);
    fake_write(f, 0xd0002000, 1, 1); /* the third shares with the first */
    assert_int_equal(fake_level(f, "chip0", 16), 1);
    assert_int_equal(fake_level(f, "chip0", 17), 0);
    fake_write(f, 0xd0000000, 0, 1);
    assert_int_equal(fake_level(f, "chip0", 16), 1);
    fake_write(f, 0xd0002000, 0, 1);
    assert_int_equal(fake_level(f, "chip0", 16), 0);
    fake_free(f);
}

static void chosen_addresses(void **state)
{
    (void)state;
    struct fake *f = mmio_new("slot-size=8K");
    assert_non_null(fake_add_(f, "a", &mmio_toy, "at=0xd0000000"));
    assert_non_null(fake_add_(f, "b", &mmio_toy, "length=0x3000")); /* two slots */
    assert_non_null(fake_add_(f, "c", &mmio_toy, "level=0"));
    assert_non_null(fake_add_(f, "d", &mmio_toy, "at=0xe0000000"));
    assert_int_equal(fake_fw(f, 1)->res[0].base, 0xd0002000);
    assert_int_equal(fake_fw(f, 2)->res[0].base, 0xd0006000);
    assert_int_equal(fake_fw(f, 2)->res[1].flags, MOBO_IRQ_EDGE);
    assert_int_equal(fake_fw(f, 3)->res[0].base, 0xe0000000);
    assert_null(fake_add_(f, "e", &mmio_toy, "at=0xd0000100"));
    assert_null(fake_add_(f, "g", &mmio_toy, "at=0xffffffffffffff00"));
    assert_non_null(strstr(fake_failure(f), "[g]"));
    fake_free(f);
}

static void a_full_window(void **state)
{
    (void)state;
    struct fake *f = mmio_new("size=8K");
    assert_non_null(fake_add(f, "a", &mmio_toy, NULL));
    assert_non_null(fake_add(f, "b", &mmio_toy, NULL));
    assert_null(fake_add(f, "c", &mmio_toy, NULL));
    assert_non_null(strstr(fake_failure(f), "[c]"));
    fake_free(f);
}

static void a_line_of_ones_own(void **state)
{
    (void)state;
    struct fake *f = mmio_new("size=8K");
    assert_non_null(fake_add_(f, "a", &mmio_toy, "irq=chip0:3"));
    fake_write(f, 0xd0000000, 1, 1);
    assert_int_equal(fake_level(f, "chip0", 3), 1);
    assert_int_equal(fake_fw(f, 0)->res_count, 1);
    fake_free(f);
}

static void bad_mmio_settings(void **state)
{
    (void)state;
    static const char *const bad[] = { "slot-size=3000", "slot-size=0", "base=0xd0000800",
                                       "size=1", "first-irq=20", "first-irq=0xffffffff",
                                       "irq-count=25", "base=0xfffffffffffff000" };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct fake *f = fake_new(1 << 20, 1);
        fake_chip(f, "chip0", 24);
        assert_null(fake_add_(f, "mmio0", mmio_class(), bad[i]));
        assert_true(*fake_failure(f));
        fake_free(f);
    }
}

static void isa_lines_reach_both_controllers(void **state)
{
    (void)state;
    struct fake *f = board_new(1 << 20, 1);
    for (uint32_t n = 0; n < 16; n++) {
        if (n == 2)
            continue;
        mobo_irq_t line = fake_wire(f, "isa0", n);
        mobo_irq_set(line, 1);
        assert_int_equal(fake_level(f, "pic0", n), 1);
        assert_int_equal(fake_level(f, "ioapic0", n ? n : 2), 1);
        mobo_irq_set(line, 0);
        assert_int_equal(fake_level(f, "pic0", n), 0);
        assert_int_equal(fake_level(f, "ioapic0", n ? n : 2), 0);
    }
    const mobo_irqchip_ops_t *ops = fake_iface(f, "isa0", MOBO_IRQCHIP);
    void *isa = fake_self(f, "isa0");
    assert_int_equal(ops->lines(isa), 16);
    assert_int_equal(ops->gsi(isa, 0), 2);
    assert_int_equal(ops->gsi(isa, 9), 9);
    assert_int_equal(ops->gsi(isa, 2), ~0u);
    assert_int_equal(ops->gsi(isa, 16), ~0u);
    ops->set(isa, 99, 1);
    unsigned overrides = 0;
    for (uint32_t i = 0; fake_fw(f, i); i++)
        if (fake_fw(f, i)->kind == MOBO_FW_ISA_OVERRIDE) {
            assert_int_equal(fake_fw(f, i)->arg[0], 0);
            assert_int_equal(fake_fw(f, i)->arg[1], 2);
            overrides++;
        }
    assert_int_equal(overrides, 1);
    fake_free(f);
}

static void isa_children(void **state)
{
    (void)state;
    struct fake *f = bare_new();
    assert_non_null(fake_add(f, "a", &isa_toy, NULL));
    assert_non_null(fake_add_(f, "b", &isa_toy, "io=0x310", "line=7"));
    fake_out(f, 0x300, 1, 1);
    assert_int_equal(fake_level(f, "isa0", 5), 1);
    fake_out(f, 0x310, 1, 1);
    assert_int_equal(fake_level(f, "isa0", 7), 1);
    assert_int_equal(fake_in(f, 0x313, 1), 0x43);
    assert_int_equal(fake_fw(f, 1)->id, 1);
    assert_null(fake_add(f, "c", &isa_toy, NULL)); /* the ports are taken */
    assert_null(fake_add_(f, "d", &isa_toy, "io=0x320", "line=2"));
    assert_non_null(strstr(fake_failure(f), "ISA line 2"));
    assert_null(fake_add_(f, "e", &isa_toy, "io=0xfffc"));
    assert_non_null(strstr(fake_failure(f), "0xffff"));
    fake_free(f);
}

/* A chip that is too small for the sixteen lines. */
static void isa_needs_sixteen_inputs(void **state)
{
    (void)state;
    struct fake *f = fake_new(1 << 20, 1);
    fake_chip(f, "chip0", 8);
    assert_null(fake_add_(f, "isa0", fake_class(PLUGINS "/bus-isa.so", "isa"), "pic=chip0"));
    assert_non_null(strstr(fake_failure(f), "sixteen"));
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_in_turn),
        cmocka_unit_test(chosen_addresses),
        cmocka_unit_test(a_full_window),
        cmocka_unit_test(a_line_of_ones_own),
        cmocka_unit_test(bad_mmio_settings),
        cmocka_unit_test(isa_lines_reach_both_controllers),
        cmocka_unit_test(isa_children),
        cmocka_unit_test(isa_needs_sixteen_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
