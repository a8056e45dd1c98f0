/* test-pm.c: ACPI fixed hardware and the reset port (ACPI 6.5, 4.8). */
#include "board.h"

enum { BASE = 0x600, STS = 0, EN = 2, CNT = 4, TMR = 8, HZ = 3579545 };

static struct fake *pm_new(const char *setting)
{
    struct fake *f = bare_new();
    assert_non_null(fake_add_(f, "pm0", dev_pc("pm"), "chip=isa0", setting));
    fake_reset(f);
    return f;
}

static unsigned in(struct fake *f, unsigned reg, unsigned bytes)
{
    return (unsigned)fake_in(f, BASE + reg, bytes);
}

static void out(struct fake *f, unsigned reg, unsigned val, unsigned bytes)
{
    fake_out(f, BASE + reg, val, bytes);
}

static unsigned sci(struct fake *f)
{
    return fake_level(f, "isa0", 9);
}

static void always_in_acpi_mode(void **state)
{
    (void)state;
    struct fake *f = pm_new("base=0x600");
    assert_int_equal(in(f, CNT, 2), 1);
    out(f, CNT, 0, 2);
    assert_int_equal(in(f, CNT, 2), 1);
    out(f, CNT, 0x1c02, 2);
    assert_int_equal(in(f, CNT, 2), 0x1c03);
    assert_int_equal(in(f, CNT + 1, 1), 0x1c);
    assert_int_equal(in(f, CNT + 2, 2), 0);
    fake_free(f);
}

static void power_off_and_refused_sleep(void **state)
{
    (void)state;
    struct fake *f = pm_new("base=0x600");
    out(f, CNT, 5 << 10, 2); /* without SLP_EN */
    assert_int_equal(fake_requests(f, MOBO_VM_OFF), 0);
    out(f, CNT, 3 << 10 | 1 << 13, 2);
    assert_int_equal(fake_requests(f, MOBO_VM_OFF), 0);
    assert_non_null(strstr(fake_last_log(f, MOBO_WARN), "sleep type 3"));
    out(f, CNT, 5 << 10 | 1 << 13, 2);
    assert_int_equal(fake_requests(f, MOBO_VM_OFF), 1);
    assert_int_equal(in(f, CNT, 2) & 1 << 13, 0); /* SLP_EN reads 0 */
    out(f, CNT + 1, 0x34, 1); /* a byte is enough */
    assert_int_equal(fake_requests(f, MOBO_VM_OFF), 2);
    fake_free(f);
}

static void reset_port(void **state)
{
    (void)state;
    struct fake *f = pm_new("base=0x600");
    assert_int_equal(fake_in(f, 0xcf9, 1), 0);
    fake_out(f, 0xcf9, 0x02, 1);
    assert_int_equal(fake_requests(f, MOBO_VM_RESET), 0);
    assert_int_equal(fake_in(f, 0xcf9, 1), 0x02);
    fake_out(f, 0xcf9, 0x06, 1);
    assert_int_equal(fake_requests(f, MOBO_VM_RESET), 1);
    fake_out(f, 0xcf9, 0x06, 1); /* no rising bit */
    assert_int_equal(fake_requests(f, MOBO_VM_RESET), 1);
    fake_reset(f);
    fake_out(f, 0xcf9, 0x06, 1);
    assert_int_equal(fake_requests(f, MOBO_VM_RESET), 2);
    fake_free(f);
}

static void timer_counts(void **state)
{
    (void)state;
    struct fake *f = pm_new("timer-bits=32"), *g = pm_new("timer-bits=24");
    fake_step(f, UINT64_C(100) * SECOND);
    fake_step(g, UINT64_C(100) * SECOND);
    assert_int_equal(in(f, TMR, 4), 357954500);
    assert_int_equal(in(g, TMR, 4), 357954500 & 0xffffff);
    assert_int_equal(in(f, TMR, 1), 357954500 & 0xff);
    out(f, TMR, 0, 4); /* read-only */
    assert_int_equal(in(f, TMR, 4), 357954500);
    fake_free(f);
    fake_free(g);
}

static void timer_status_and_interrupt(void **state)
{
    (void)state;
    struct fake *f = pm_new("timer-bits=24");
    uint64_t half = ((UINT64_C(1) << 23) * SECOND + HZ - 1) / HZ;
    assert_true(fake_deadline(f) == UINT64_MAX); /* nobody waits for it */
    fake_step(f, half - 1);
    assert_int_equal(in(f, STS, 2), 0);
    fake_step(f, 1);
    assert_int_equal(in(f, STS, 2), 1);
    assert_int_equal(sci(f), 0);
    out(f, STS, 1, 2);
    assert_int_equal(in(f, STS, 2), 0);
    out(f, EN, 1, 2);
    fake_step(f, half);
    assert_int_equal(sci(f), 1);
    fake_step(f, half * 10);
    assert_int_equal(fake_edges(f, "isa0", 9), 1);
    out(f, STS, 1, 2);
    assert_int_equal(sci(f), 0);
    fake_step(f, half);
    assert_int_equal(sci(f), 1);
    out(f, EN, 0, 2);
    assert_int_equal(sci(f), 0);
    fake_free(f);
}

static void enables_keep_their_bits_only(void **state)
{
    (void)state;
    struct fake *f = pm_new("base=0x600");
    out(f, STS, 0xffffffff, 4); /* status and enable in one access */
    assert_int_equal(in(f, STS, 4), 0x05210000);
    out(f, EN, 0, 1);
    assert_int_equal(in(f, EN, 2), 0x0500);
    fake_free(f);
}

static void describes_itself(void **state)
{
    (void)state;
    struct fake *f = pm_new("base=0xb000");
    const mobo_fw_device_t *d = fake_fw(f, 0);
    assert_int_equal(d->kind, MOBO_FW_ACPI_PM);
    assert_int_equal(d->arg[0], 6);
    assert_int_equal(d->arg[1], 5);
    assert_int_equal(d->arg[2], 32);
    for (uint32_t i = 0; i < d->res_count; i++)
        if (d->res[i].role == MOBO_ROLE_PM_TMR)
            assert_int_equal(d->res[i].base, 0xb008);
        else if (d->res[i].role == MOBO_ROLE_SCI)
            assert_int_equal(d->res[i].flags, MOBO_IRQ_LEVEL);
    fake_free(f);
}

static void bad_settings_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "base=0x601", "base=0x10000", "timer-bits=16" };
    for (unsigned i = 0; i < 3; i++) {
        struct fake *f = bare_new();
        assert_null(fake_add_(f, "pm0", dev_pc("pm"), "chip=isa0", bad[i]));
        assert_true(*fake_failure(f));
        fake_free(f);
    }
}

static void state_survives(void **state)
{
    (void)state;
    struct fake *f = pm_new("timer-bits=24"), *g = pm_new("timer-bits=24");
    out(f, EN, 1, 2);
    fake_step(f, UINT64_C(3) * SECOND);
    uint8_t buf[64];
    assert_true(fake_state_len(dev_pc("pm")) <= sizeof buf);
    fake_save(f, "pm0", buf);
    assert_int_equal(fake_load(g, "pm0", buf), 0);
    assert_int_equal(sci(g), 1);
    fake_free(f);
    fake_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(always_in_acpi_mode),
        cmocka_unit_test(power_off_and_refused_sleep),
        cmocka_unit_test(reset_port),
        cmocka_unit_test(timer_counts),
        cmocka_unit_test(timer_status_and_interrupt),
        cmocka_unit_test(enables_keep_their_bits_only),
        cmocka_unit_test(describes_itself),
        cmocka_unit_test(bad_settings_are_refused),
        cmocka_unit_test(state_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
