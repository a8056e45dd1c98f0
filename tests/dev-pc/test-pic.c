/* test-pic.c: the 8259 pair, through its ports and lines (Intel 231468). */
#include "board.h"

static struct fake *pic_new(void)
{
    struct fake *f = fake_new(1 << 20, 1);
    assert_non_null(fake_add(f, "pic0", dev_pc("pic"), NULL));
    fake_reset(f);
    return f;
}

/* What every PC does: vectors 30h and 38h, 8086 mode, ICW4 as given; nothing masked. */
static void program(struct fake *f, uint8_t icw4)
{
    for (unsigned c = 0; c < 2; c++) {
        uint32_t port = c ? 0xa0 : 0x20;
        fake_out(f, port, 0x11, 1);
        fake_out(f, port + 1, c ? 0x38 : 0x30, 1);
        fake_out(f, port + 1, c ? 2 : 4, 1);
        fake_out(f, port + 1, icw4, 1);
        fake_out(f, port + 1, 0, 1);
    }
}

static void pulse(struct fake *f, uint32_t line)
{
    mobo_irq_pulse(fake_wire(f, "pic0", line));
}

static unsigned isr(struct fake *f, uint32_t port)
{
    fake_out(f, port, 0x0b, 1);
    return (unsigned)fake_in(f, port, 1);
}

static unsigned irr(struct fake *f, uint32_t port)
{
    fake_out(f, port, 0x0a, 1);
    return (unsigned)fake_in(f, port, 1);
}

static void silent_until_programmed(void **state)
{
    (void)state;
    struct fake *f = pic_new();
    for (uint32_t n = 0; n < 16; n++)
        if (n != 2)
            pulse(f, n);
    assert_int_equal(fake_extint(f), 0);
    assert_int_equal(fake_in(f, 0x21, 1), 0xff);
    fake_free(f);
}

static void edge_is_served_once(void **state)
{
    (void)state;
    struct fake *f = pic_new();
    program(f, 1);
    mobo_irq_t line = fake_wire(f, "pic0", 4);
    mobo_irq_set(line, 1);
    assert_int_equal(fake_extint(f), 1);
    assert_int_equal(irr(f, 0x20), 0x10);
    assert_int_equal(fake_intack(f), 0x34);
    assert_int_equal(fake_extint(f), 0);
    assert_int_equal(isr(f, 0x20), 0x10);
    fake_out(f, 0x20, 0x20, 1);
    assert_int_equal(isr(f, 0x20), 0);
    assert_int_equal(fake_extint(f), 0); /* still high: no new edge */
    mobo_irq_set(line, 0);
    mobo_irq_set(line, 1);
    assert_int_equal(fake_extint(f), 1);
    fake_free(f);
}

static void level_comes_back(void **state)
{
    (void)state;
    struct fake *f = pic_new();
    program(f, 1);
    fake_out(f, 0x4d0, 0xff, 1);
    fake_out(f, 0x4d1, 0xff, 1);
    assert_int_equal(fake_in(f, 0x4d0, 2), 0xdef8); /* the old lines are always edge */
    mobo_irq_t line = fake_wire(f, "pic0", 9);
    mobo_irq_set(line, 1);
    assert_int_equal(fake_intack(f), 0x39);
    fake_out(f, 0xa0, 0x20, 1);
    fake_out(f, 0x20, 0x20, 1);
    assert_int_equal(fake_extint(f), 1); /* still asserted */
    mobo_irq_set(line, 0);
    assert_int_equal(fake_extint(f), 0);
    fake_free(f);
}

static void priorities(void **state)
{
    (void)state;
    struct fake *f = pic_new();
    program(f, 1);
    pulse(f, 5);
    assert_int_equal(fake_intack(f), 0x35);
    pulse(f, 6);
    assert_int_equal(fake_extint(f), 0); /* lower than the one in service */
    pulse(f, 3);
    assert_int_equal(fake_intack(f), 0x33); /* higher: nested */
    fake_out(f, 0x20, 0x20, 1);
    assert_int_equal(isr(f, 0x20), 0x20); /* non-specific EOI ended the higher one */
    assert_int_equal(fake_extint(f), 0);
    fake_out(f, 0x20, 0x65, 1); /* specific EOI of 5 */
    assert_int_equal(fake_intack(f), 0x36);
    fake_free(f);
}

static void slave_through_the_cascade(void **state)
{
    (void)state;
    struct fake *f = pic_new();
    program(f, 1);
    pulse(f, 14);
    pulse(f, 12);
    assert_int_equal(fake_intack(f), 0x3c);
    assert_int_equal(isr(f, 0x20), 0x04);
    assert_int_equal(isr(f, 0xa0), 0x10);
    pulse(f, 8); /* higher inside the slave, but the master's input 2 is in service */
    assert_int_equal(fake_extint(f), 0);
    fake_out(f, 0xa0, 0x20, 1);
    fake_out(f, 0x20, 0x20, 1);
    assert_int_equal(fake_intack(f), 0x38);
    fake_out(f, 0xa0, 0x20, 1);
    fake_out(f, 0x20, 0x20, 1);
    assert_int_equal(fake_intack(f), 0x3e);
    fake_free(f);
}

static void special_fully_nested(void **state)
{
    (void)state;
    struct fake *f = pic_new();
    program(f, 0x11);
    pulse(f, 12);
    assert_int_equal(fake_intack(f), 0x3c);
    pulse(f, 8);
    assert_int_equal(fake_intack(f), 0x38);
    fake_free(f);
}

static void automatic_eoi_and_rotation(void **state)
{
    (void)state;
    struct fake *f = pic_new();
    program(f, 3);
    pulse(f, 4);
    assert_int_equal(fake_intack(f), 0x34);
    assert_int_equal(isr(f, 0x20), 0);
    fake_out(f, 0x20, 0x80, 1); /* rotate in automatic EOI mode */
    pulse(f, 4);
    assert_int_equal(fake_intack(f), 0x34);
    pulse(f, 4);
    pulse(f, 5);
    assert_int_equal(fake_intack(f), 0x35); /* 4 is the lowest now */
    fake_free(f);
}

static void rotation_and_set_priority(void **state)
{
    (void)state;
    struct fake *f = pic_new();
    program(f, 1);
    fake_out(f, 0x20, 0xc3, 1); /* 3 is the lowest: 4 is the highest */
    pulse(f, 0);
    pulse(f, 4);
    assert_int_equal(fake_intack(f), 0x34);
    fake_out(f, 0x20, 0xa0, 1); /* rotate on non-specific EOI: 4 is the lowest */
    assert_int_equal(isr(f, 0x20), 0);
    pulse(f, 4);
    assert_int_equal(fake_intack(f), 0x30);
    fake_out(f, 0x20, 0xe0, 1); /* rotate on specific EOI of 0 */
    assert_int_equal(fake_intack(f), 0x34);
    fake_free(f);
}

static void special_mask(void **state)
{
    (void)state;
    struct fake *f = pic_new();
    program(f, 1);
    pulse(f, 3);
    assert_int_equal(fake_intack(f), 0x33);
    fake_out(f, 0x21, 0x08, 1);
    pulse(f, 6);
    assert_int_equal(fake_extint(f), 0);
    fake_out(f, 0x20, 0x68, 1); /* special mask mode: the masked 3 blocks nobody */
    assert_int_equal(fake_extint(f), 1);
    assert_int_equal(fake_intack(f), 0x36);
    fake_out(f, 0x20, 0x20, 1); /* does not touch the masked level */
    assert_int_equal(isr(f, 0x20), 0x08);
    fake_free(f);
}

static void poll_mode(void **state)
{
    (void)state;
    struct fake *f = pic_new();
    program(f, 1);
    pulse(f, 6);
    fake_out(f, 0x20, 0x0c, 1);
    assert_int_equal(fake_in(f, 0x20, 1), 0x86);
    assert_int_equal(isr(f, 0x20), 0x40);
    assert_int_equal(fake_extint(f), 0);
    fake_out(f, 0x20, 0x0c, 1);
    assert_int_equal(fake_in(f, 0x20, 1), 0);
    fake_free(f);
}

static void spurious_seven_and_fifteen(void **state)
{
    (void)state;
    struct fake *f = pic_new();
    program(f, 1);
    assert_int_equal(fake_intack(f), 0x37);
    assert_int_equal(isr(f, 0x20), 0); /* no ISR bit: how a system tells */
    pulse(f, 10);
    fake_out(f, 0xa1, 0x04, 1); /* masked between INTR and INTA */
    assert_int_equal(fake_extint(f), 0);
    fake_free(f);
}

static void masking_holds_back_and_keeps(void **state)
{
    (void)state;
    struct fake *f = pic_new();
    program(f, 1);
    fake_out(f, 0x21, 0x10, 1);
    pulse(f, 4);
    assert_int_equal(fake_extint(f), 0);
    fake_out(f, 0x21, 0, 1);
    assert_int_equal(fake_extint(f), 1);
    fake_free(f);
}

static void icw1_forgets(void **state)
{
    (void)state;
    struct fake *f = pic_new();
    program(f, 1);
    pulse(f, 4);
    fake_out(f, 0x20, 0x11, 1);
    assert_int_equal(fake_extint(f), 0);
    assert_int_equal(fake_in(f, 0x20, 1), 0); /* IRR is selected */
    fake_free(f);
}

static void single_without_icw4(void **state)
{
    (void)state;
    struct fake *f = pic_new();
    fake_out(f, 0x20, 0x12, 1); /* single, no ICW4: ICW2 is all */
    fake_out(f, 0x21, 0x40, 1);
    fake_out(f, 0x21, 0xfe, 1);
    assert_int_equal(fake_in(f, 0x21, 1), 0xfe);
    pulse(f, 0);
    assert_int_equal(fake_intack(f), 0x40);
    fake_free(f);
}

static void state_survives(void **state)
{
    (void)state;
    struct fake *f = pic_new(), *g = pic_new();
    program(f, 1);
    pulse(f, 4);
    assert_int_equal(fake_intack(f), 0x34);
    pulse(f, 1);
    uint8_t buf[256];
    assert_true(fake_state_len(dev_pc("pic")) <= sizeof buf);
    fake_save(f, "pic0", buf);
    assert_int_equal(fake_load(g, "pic0", buf), 0);
    assert_int_equal(fake_extint(g), 1);
    assert_int_equal(isr(g, 0x20), 0x10);
    assert_int_equal(fake_intack(g), 0x31);
    memset(buf, 0xff, sizeof buf);
    assert_int_not_equal(fake_load(g, "pic0", buf), 0);
    fake_free(f);
    fake_free(g);
}

/* Random accesses: nothing may crash or hang, and every answer is a byte. */
static void any_access(void **state)
{
    (void)state;
    struct fake *f = pic_new();
    uint32_t x = 12345;
    static const uint16_t ports[] = { 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1 };
    for (int i = 0; i < 200000; i++) {
        x = x * 1103515245 + 12345;
        uint32_t port = ports[(x >> 8) % 6];
        if (x & 0x10000)
            fake_out(f, port, x >> 20, 1);
        else if (x & 0x20000)
            assert_true(fake_in(f, port, 1) <= 0xff);
        else if (x & 0x40000)
            assert_in_range(fake_intack(f), 0, 255);
        else if (((x >> 20) & 15) != 2)
            ((const mobo_irqchip_ops_t *)fake_iface(f, "pic0", MOBO_IRQCHIP))
                ->set(fake_self(f, "pic0"), x >> 20 & 15, x >> 24 & 1);
    }
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silent_until_programmed),
        cmocka_unit_test(edge_is_served_once),
        cmocka_unit_test(level_comes_back),
        cmocka_unit_test(priorities),
        cmocka_unit_test(slave_through_the_cascade),
        cmocka_unit_test(special_fully_nested),
        cmocka_unit_test(automatic_eoi_and_rotation),
        cmocka_unit_test(rotation_and_set_priority),
        cmocka_unit_test(special_mask),
        cmocka_unit_test(poll_mode),
        cmocka_unit_test(spurious_seven_and_fifteen),
        cmocka_unit_test(masking_holds_back_and_keeps),
        cmocka_unit_test(icw1_forgets),
        cmocka_unit_test(single_without_icw4),
        cmocka_unit_test(state_survives),
        cmocka_unit_test(any_access),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
