/* test-ioapic.c: the I/O APIC, through its window and lines (Intel 290566). */
#include "board.h"

static const uint64_t base = 0xfec00000;

static struct fake *ioapic_new(const char *version)
{
    struct fake *f = fake_new(1 << 20, 1);
    assert_non_null(fake_add_(f, "io", dev_pc("ioapic"), version, "id=5"));
    fake_reset(f);
    return f;
}

static uint32_t reg(struct fake *f, uint8_t r)
{
    fake_write(f, base, r, 4);
    return (uint32_t)fake_read(f, base + 0x10, 4);
}

static void set_reg(struct fake *f, uint8_t r, uint32_t v)
{
    fake_write(f, base, r, 1);
    fake_write(f, base + 0x10, v, 4);
}

static void set_rte(struct fake *f, unsigned pin, uint64_t rte)
{
    set_reg(f, (uint8_t)(0x11 + 2 * pin), (uint32_t)(rte >> 32));
    set_reg(f, (uint8_t)(0x10 + 2 * pin), (uint32_t)rte);
}

static void registers(void **state)
{
    (void)state;
    struct fake *f = ioapic_new("version=0x11");
    assert_int_equal(reg(f, 0), 5u << 24);
    assert_int_equal(reg(f, 1), 23u << 16 | 0x11);
    assert_int_equal(reg(f, 2), 5u << 24);
    for (unsigned pin = 0; pin < 24; pin++) {
        assert_int_equal(reg(f, (uint8_t)(0x10 + 2 * pin)), 0x10000);
        assert_int_equal(reg(f, (uint8_t)(0x11 + 2 * pin)), 0);
    }
    assert_int_equal(reg(f, 0x40), 0);
    assert_int_equal(reg(f, 0xff), 0);
    set_reg(f, 0, 0xffffffff);
    assert_int_equal(reg(f, 0), 0x0f000000);
    set_rte(f, 3, ~UINT64_C(0));
    assert_int_equal(reg(f, 0x16), 0x1afff); /* delivery status and remote IRR are read-only */
    assert_int_equal(reg(f, 0x17), 0xff000000);
    assert_int_equal(fake_read(f, base + 0x20, 4), 0);
    fake_free(f);
}

static void edge_message(void **state)
{
    (void)state;
    struct fake *f = ioapic_new("version=0x20");
    mobo_irq_t line = fake_wire(f, "io", 4);
    set_rte(f, 4, UINT64_C(3) << 56 | 0x51);
    mobo_irq_set(line, 1);
    assert_int_equal(fake_msi_count(f), 1);
    assert_int_equal(fake_msi_at(f, 0).addr, 0xfee03000);
    assert_int_equal(fake_msi_at(f, 0).data, 0x51);
    mobo_irq_set(line, 0);
    assert_int_equal(fake_msi_count(f), 1);
    mobo_irq_pulse(line);
    assert_int_equal(fake_msi_count(f), 2);
    set_rte(f, 4, UINT64_C(0x0f) << 56 | 1 << 11 | 1 << 8 | 0x52); /* logical, lowest priority */
    mobo_irq_pulse(line);
    assert_int_equal(fake_msi_at(f, 2).addr, 0xfee0f004);
    assert_int_equal(fake_msi_at(f, 2).data, 0x152);
    fake_free(f);
}

static void masked_edge_is_lost(void **state)
{
    (void)state;
    struct fake *f = ioapic_new("version=0x20");
    mobo_irq_t line = fake_wire(f, "io", 4);
    set_rte(f, 4, 1 << 16 | 0x51);
    mobo_irq_set(line, 1);
    set_rte(f, 4, 0x51);
    assert_int_equal(fake_msi_count(f), 0);
    fake_free(f);
}

static void level_waits_for_eoi(void **state)
{
    (void)state;
    struct fake *f = ioapic_new("version=0x20");
    mobo_irq_t line = fake_wire(f, "io", 20), other = fake_wire(f, "io", 20);
    set_rte(f, 20, 1 << 15 | 0x61);
    mobo_irq_set(line, 1);
    assert_int_equal(fake_msi_count(f), 1);
    assert_int_equal(fake_msi_at(f, 0).data, 0xc061);
    assert_int_equal(reg(f, 0x10 + 40), 1 << 15 | 1 << 14 | 0x61);
    mobo_irq_set(other, 1);
    mobo_irq_set(line, 0);
    mobo_irq_set(line, 1);
    assert_int_equal(fake_msi_count(f), 1);
    fake_eoi(f, 0x60);
    assert_int_equal(fake_msi_count(f), 1);
    fake_eoi(f, 0x61); /* still asserted: at once again */
    assert_int_equal(fake_msi_count(f), 2);
    mobo_irq_set(line, 0);
    mobo_irq_set(other, 0);
    fake_eoi(f, 0x61);
    assert_int_equal(fake_msi_count(f), 2);
    assert_int_equal(reg(f, 0x10 + 40), 1 << 15 | 0x61);
    fake_free(f);
}

static void masked_level_comes_after_unmasking(void **state)
{
    (void)state;
    struct fake *f = ioapic_new("version=0x20");
    mobo_irq_t line = fake_wire(f, "io", 20);
    set_rte(f, 20, 1 << 16 | 1 << 15 | 0x61);
    mobo_irq_set(line, 1);
    assert_int_equal(fake_msi_count(f), 0);
    set_rte(f, 20, 1 << 15 | 0x61);
    assert_int_equal(fake_msi_count(f), 1);
    fake_free(f);
}

static void eoi_register(void **state)
{
    (void)state;
    struct fake *f = ioapic_new("version=0x20"), *g = ioapic_new("version=0x11");
    struct fake *both[] = { f, g };
    for (int i = 0; i < 2; i++) {
        mobo_irq_set(fake_wire(both[i], "io", 20), 1);
        set_rte(both[i], 20, 1 << 15 | 0x61);
        assert_int_equal(fake_msi_count(both[i]), 1);
        fake_write(both[i], base + 0x40, 0x61, 4);
        assert_int_equal(fake_msi_count(both[i]), i ? 1 : 2); /* the 82093AA has none */
    }
    fake_free(f);
    fake_free(g);
}

/* How systems end a level interrupt on an 82093AA: edge and masked, then level again. */
static void edge_clears_remote_irr(void **state)
{
    (void)state;
    struct fake *f = ioapic_new("version=0x11");
    mobo_irq_set(fake_wire(f, "io", 20), 1);
    set_rte(f, 20, 1 << 15 | 0x61);
    set_rte(f, 20, 1 << 16 | 0x61);
    assert_int_equal(reg(f, 0x10 + 40), 1 << 16 | 0x61);
    set_rte(f, 20, 1 << 15 | 0x61);
    assert_int_equal(fake_msi_count(f), 2);
    fake_free(f);
}

static void narrow_writes_to_the_window_do_nothing(void **state)
{
    (void)state;
    struct fake *f = ioapic_new("version=0x20");
    fake_write(f, base, 0x10, 4);
    fake_write(f, base + 0x10, 0x51, 1);
    fake_write(f, base + 0x10, 0x51, 2);
    assert_int_equal(reg(f, 0x10), 0x10000);
    assert_int_equal(fake_read(f, base + 0x12, 1), 1);
    fake_free(f);
}

static void a_reset_masks_all(void **state)
{
    (void)state;
    struct fake *f = ioapic_new("version=0x20");
    set_rte(f, 4, 0x51);
    fake_reset(f);
    mobo_irq_pulse(fake_wire(f, "io", 4));
    assert_int_equal(fake_msi_count(f), 0);
    fake_free(f);
}

static void state_survives(void **state)
{
    (void)state;
    struct fake *f = ioapic_new("version=0x20"), *g = ioapic_new("version=0x20");
    mobo_irq_set(fake_wire(f, "io", 20), 1);
    set_rte(f, 20, 1 << 15 | 0x61);
    uint8_t buf[512];
    assert_true(fake_state_len(dev_pc("ioapic")) <= sizeof buf);
    fake_save(f, "io", buf);
    assert_int_equal(fake_load(g, "io", buf), 0);
    assert_int_equal(fake_msi_count(g), 0);
    fake_eoi(g, 0x61);
    assert_int_equal(fake_msi_count(g), 1);
    fake_free(f);
    fake_free(g);
}

static void bad_settings_are_refused(void **state)
{
    (void)state;
    struct fake *f = fake_new(1 << 20, 1);
    assert_null(fake_add_(f, "a", dev_pc("ioapic"), "version=0x12"));
    assert_non_null(strstr(fake_failure(f), "0x11"));
    assert_null(fake_add_(f, "b", dev_pc("ioapic"), "base=0xfec00800"));
    assert_non_null(strstr(fake_failure(f), "multiple of 4K"));
    fake_free(f);
}

static void describes_itself(void **state)
{
    (void)state;
    struct fake *f = ioapic_new("version=0x20");
    const mobo_fw_device_t *d = fake_fw(f, 0);
    assert_non_null(d);
    assert_int_equal(d->kind, MOBO_FW_IOAPIC);
    assert_int_equal(d->id, 5);
    assert_int_equal(d->arg[1], 24);
    assert_int_equal(d->res[0].base, base);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registers),
        cmocka_unit_test(edge_message),
        cmocka_unit_test(masked_edge_is_lost),
        cmocka_unit_test(level_waits_for_eoi),
        cmocka_unit_test(masked_level_comes_after_unmasking),
        cmocka_unit_test(eoi_register),
        cmocka_unit_test(edge_clears_remote_irr),
        cmocka_unit_test(narrow_writes_to_the_window_do_nothing),
        cmocka_unit_test(a_reset_masks_all),
        cmocka_unit_test(state_survives),
        cmocka_unit_test(bad_settings_are_refused),
        cmocka_unit_test(describes_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
