/* test-uart.c: the 16550A with and without a backend (National PC16550D). */
#include "board.h"

enum { PORT = 0x3f8 };

static struct fake *uart_new(void)
{
    struct fake *f = bare_new();
    fake_char(f, "char0");
    assert_non_null(fake_add_(f, "com1", dev_pc("uart"), "char=char0"));
    fake_reset(f);
    fake_run(f);
    return f;
}

static unsigned in(struct fake *f, unsigned reg)
{
    return (unsigned)fake_in(f, PORT + reg, 1);
}

static void out(struct fake *f, unsigned reg, unsigned val)
{
    fake_out(f, PORT + reg, val, 1);
}

static unsigned irq(struct fake *f)
{
    return fake_level(f, "isa0", 4);
}

/* 115200 baud, FIFOs with a trigger level of eight, all interrupts through OUT2. */
static void program(struct fake *f, unsigned ier)
{
    out(f, 3, 0x83);
    out(f, 0, 1);
    out(f, 1, 0);
    out(f, 3, 0x03);
    out(f, 2, 0x81);
    out(f, 4, 0x0b);
    in(f, 6);
    out(f, 1, ier);
}

static void expect_output(struct fake *f, const char *text)
{
    char buf[256];
    uint32_t n = fake_char_take(f, "char0", buf, sizeof buf);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(buf, text, n);
}

static void type(struct fake *f, const char *text)
{
    fake_char_type(f, "char0", text, (uint32_t)strlen(text));
    fake_run(f);
}

static void reset_values(void **state)
{
    (void)state;
    struct fake *f = uart_new();
    assert_int_equal(in(f, 1), 0);
    assert_int_equal(in(f, 2), 0x01);
    assert_int_equal(in(f, 3), 0);
    assert_int_equal(in(f, 4), 0);
    assert_int_equal(in(f, 5), 0x60);
    assert_int_equal(in(f, 6) & 0xf0, 0xb0);
    assert_int_equal(in(f, 0), 0);
    fake_free(f);
}

/* What Linux' autoconfig does to tell a 16550A from older chips. */
static void looks_like_a_16550a(void **state)
{
    (void)state;
    struct fake *f = uart_new();
    out(f, 7, 0x5a);
    assert_int_equal(in(f, 7), 0x5a);
    out(f, 1, 0xff);
    assert_int_equal(in(f, 1), 0x0f);
    out(f, 1, 0);
    out(f, 4, 0x1a); /* loopback, RTS and OUT2 */
    assert_int_equal(in(f, 6) & 0xf0, 0x90);
    out(f, 4, 0);
    out(f, 2, 0x01);
    assert_int_equal(in(f, 2) >> 6, 3);
    out(f, 2, 0);
    assert_int_equal(in(f, 2) >> 6, 0);
    out(f, 3, 0x80);
    out(f, 0, 0x34);
    out(f, 1, 0x12);
    assert_int_equal(in(f, 0), 0x34);
    assert_int_equal(in(f, 1), 0x12);
    out(f, 3, 0);
    assert_int_equal(in(f, 1), 0);
    fake_free(f);
}

static void output_and_thre(void **state)
{
    (void)state;
    struct fake *f = uart_new();
    program(f, 0);
    out(f, 0, 'h');
    assert_int_equal(in(f, 5), 0x60);
    assert_int_equal(irq(f), 0);
    out(f, 1, 0x02); /* enabling THRE with an empty register interrupts at once */
    assert_int_equal(irq(f), 1);
    assert_int_equal(in(f, 2), 0xc2);
    assert_int_equal(irq(f), 0); /* reading IIR was the answer */
    assert_int_equal(in(f, 2), 0xc1);
    out(f, 0, 'i');
    assert_int_equal(irq(f), 1);
    assert_int_equal(in(f, 2), 0xc2);
    expect_output(f, "hi");
    fake_free(f);
}

static void a_slow_backend_holds_thre(void **state)
{
    (void)state;
    struct fake *f = uart_new();
    program(f, 0x02);
    in(f, 2);
    fake_char_room(f, "char0", 2);
    for (const char *c = "abcdef"; *c; c++)
        out(f, 0, (unsigned char)*c);
    assert_int_equal(in(f, 5) & 0x60, 0);
    assert_int_equal(irq(f), 0);
    expect_output(f, "ab");
    fake_char_room(f, "char0", 3);
    fake_run(f);
    assert_int_equal(in(f, 5) & 0x60, 0);
    expect_output(f, "cde");
    for (unsigned i = 0; i < 30; i++)
        out(f, 0, 'x'); /* fifteen fit */
    fake_char_room(f, "char0", 100);
    fake_run(f);
    assert_int_equal(in(f, 5) & 0x60, 0x60);
    assert_int_equal(irq(f), 1);
    assert_int_equal(in(f, 2), 0xc2);
    expect_output(f, "fxxxxxxxxxxxxxxx");
    fake_free(f);
}

static void input_at_the_trigger_level(void **state)
{
    (void)state;
    struct fake *f = uart_new();
    program(f, 0x01);
    type(f, "1234567");
    assert_int_equal(irq(f), 0);
    type(f, "8");
    assert_int_equal(irq(f), 1);
    assert_int_equal(in(f, 2), 0xc4);
    assert_int_equal(in(f, 5), 0x61);
    for (unsigned i = 1; i <= 8; i++)
        assert_int_equal(in(f, 0), '0' + i);
    assert_int_equal(irq(f), 0);
    assert_int_equal(in(f, 5), 0x60);
    fake_free(f);
}

static void input_below_it_times_out(void **state)
{
    (void)state;
    struct fake *f = uart_new();
    program(f, 0x01);
    type(f, "ab");
    fake_step(f, 300000);
    assert_int_equal(irq(f), 0);
    fake_step(f, 60000); /* four characters at 115200 baud: 347 us */
    assert_int_equal(irq(f), 1);
    assert_int_equal(in(f, 2), 0xcc);
    assert_int_equal(in(f, 0), 'a');
    assert_int_equal(irq(f), 0); /* the wait starts over */
    fake_step(f, 400000);
    assert_int_equal(irq(f), 1);
    assert_int_equal(in(f, 0), 'b');
    fake_step(f, MS);
    assert_int_equal(irq(f), 0);
    fake_free(f);
}

static void a_flood_waits_in_the_backend(void **state)
{
    (void)state;
    struct fake *f = uart_new();
    program(f, 0x01);
    char text[1001];
    for (unsigned i = 0; i < 1000; i++)
        text[i] = (char)('a' + i % 26);
    text[1000] = 0;
    type(f, text);
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(in(f, 5), 0x61); /* never an overrun */
        assert_int_equal(in(f, 0), (unsigned char)text[i]);
    }
    assert_int_equal(in(f, 5), 0x60);
    type(f, "again");
    assert_int_equal(in(f, 0), 'a');
    fake_free(f);
}

static void without_fifos(void **state)
{
    (void)state;
    struct fake *f = uart_new();
    out(f, 4, 0x08);
    out(f, 1, 0x01);
    type(f, "xy");
    assert_int_equal(irq(f), 1);
    assert_int_equal(in(f, 2), 0x04);
    assert_int_equal(in(f, 0), 'x');
    assert_int_equal(in(f, 0), 'y');
    assert_int_equal(irq(f), 0);
    fake_char_room(f, "char0", 0);
    out(f, 0, '1');
    out(f, 0, '2'); /* one register only */
    fake_char_room(f, "char0", 9);
    fake_run(f);
    expect_output(f, "1");
    fake_free(f);
}

static void loopback(void **state)
{
    (void)state;
    struct fake *f = uart_new();
    program(f, 0x01);
    out(f, 4, 0x1b);
    type(f, "outside");
    for (unsigned i = 0; i < 17; i++)
        out(f, 0, 'A' + i);
    assert_int_equal(in(f, 5) & 0x03, 0x03); /* the seventeenth is an overrun */
    assert_int_equal(in(f, 5) & 0x02, 0);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(in(f, 0), 'A' + i);
    expect_output(f, "");
    out(f, 4, 0x0b);
    assert_int_equal(in(f, 0), 'o'); /* waited for the end of the loop */
    fake_free(f);
}

static void line_status_interrupt(void **state)
{
    (void)state;
    struct fake *f = uart_new();
    program(f, 0x05);
    out(f, 4, 0x1b);
    for (unsigned i = 0; i < 17; i++)
        out(f, 0, 'A');
    assert_int_equal(in(f, 2), 0xc6); /* before received data */
    in(f, 5);
    assert_int_equal(in(f, 2), 0xc4);
    fake_free(f);
}

static void modem_status(void **state)
{
    (void)state;
    struct fake *f = uart_new();
    program(f, 0x08);
    assert_int_equal(irq(f), 0);
    fake_char_event(f, "char0", MOBO_CHAR_CLOSED);
    fake_run(f);
    assert_int_equal(irq(f), 1);
    assert_int_equal(in(f, 2), 0xc0);
    assert_int_equal(in(f, 6), 0x38); /* no carrier, and it has changed */
    assert_int_equal(irq(f), 0);
    fake_char_event(f, "char0", MOBO_CHAR_OPENED);
    fake_run(f);
    assert_int_equal(in(f, 6), 0xb8);
    out(f, 4, 0x14); /* ring in the loop, and its end */
    in(f, 6);
    out(f, 4, 0x10);
    assert_int_equal(in(f, 6) & 0x0f, 0x04);
    fake_free(f);
}

static void out2_gates_the_interrupt(void **state)
{
    (void)state;
    struct fake *f = uart_new();
    program(f, 0x02);
    assert_int_equal(irq(f), 1);
    out(f, 4, 0x03);
    assert_int_equal(irq(f), 0);
    out(f, 4, 0x0b);
    assert_int_equal(irq(f), 1);
    fake_free(f);
}

static void fcr_clears(void **state)
{
    (void)state;
    struct fake *f = uart_new();
    program(f, 0x01);
    type(f, "12345678");
    out(f, 2, 0x83);
    assert_int_equal(in(f, 5), 0x60);
    assert_int_equal(irq(f), 0);
    fake_char_room(f, "char0", 0);
    out(f, 0, 'x');
    assert_int_equal(in(f, 5), 0);
    out(f, 2, 0x85);
    assert_int_equal(in(f, 5), 0x60);
    fake_char_room(f, "char0", 9);
    fake_run(f);
    expect_output(f, "");
    fake_free(f);
}

static void without_a_backend(void **state)
{
    (void)state;
    struct fake *f = bare_new();
    assert_non_null(fake_add_(f, "com2", dev_pc("uart"), "io=0x2f8", "line=3"));
    fake_reset(f);
    for (unsigned i = 0; i < 100; i++)
        fake_out(f, 0x2f8, 'x', 1);
    assert_int_equal(fake_in(f, 0x2fd, 1), 0x60);
    assert_int_equal(fake_in(f, 0x2fe, 1) & 0xf0, 0xb0);
    fake_out(f, 0x2fc, 8, 1);
    fake_out(f, 0x2f9, 2, 1);
    assert_int_equal(fake_level(f, "isa0", 3), 1);
    const mobo_fw_device_t *d = fake_fw(f, 0);
    assert_string_equal(d->acpi_hid, "PNP0501");
    assert_int_equal(d->kind, MOBO_FW_UART);
    assert_int_equal(d->res[0].base, 0x2f8);
    assert_int_equal(d->res[1].base, 3);
    fake_free(f);
}

static void a_taken_backend_is_refused(void **state)
{
    (void)state;
    struct fake *f = uart_new();
    assert_null(fake_add_(f, "com2", dev_pc("uart"), "io=0x2f8", "line=3", "char=char0"));
    assert_non_null(strstr(fake_failure(f), "[com1]"));
    fake_free(f);
}

static void state_survives(void **state)
{
    (void)state;
    struct fake *f = uart_new(), *g = uart_new();
    program(f, 0x01);
    type(f, "abc");
    uint8_t buf[256];
    assert_true(fake_state_len(dev_pc("uart")) <= sizeof buf);
    fake_save(f, "com1", buf);
    assert_int_equal(fake_load(g, "com1", buf), 0);
    fake_step(g, MS);
    assert_int_equal(irq(g), 1);
    assert_int_equal(in(g, 0), 'a');
    memset(buf, 0xff, sizeof buf);
    assert_int_not_equal(fake_load(g, "com1", buf), 0);
    fake_free(f);
    fake_free(g);
}

static void any_access(void **state)
{
    (void)state;
    struct fake *f = uart_new();
    uint32_t x = 99;
    char sink[4096];
    for (int i = 0; i < 200000; i++) {
        x = x * 1103515245 + 12345;
        if (x & 0x10000)
            out(f, x >> 8 & 7, x >> 20 & 0xff);
        else
            assert_true(in(f, x >> 8 & 7) <= 0xff);
        if (!(x & 0xe00000)) {
            fake_char_room(f, "char0", x >> 24 & 7);
            type(f, "xyz");
            fake_step(f, x >> 10);
            fake_char_take(f, "char0", sink, sizeof sink);
        }
        if (!(x & 0xff00000))
            fake_reset(f);
        if (i % 5000 == 0) { /* the fake backend's buffer is finite */
            fake_free(f);
            f = uart_new();
        }
    }
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reset_values),
        cmocka_unit_test(looks_like_a_16550a),
        cmocka_unit_test(output_and_thre),
        cmocka_unit_test(a_slow_backend_holds_thre),
        cmocka_unit_test(input_at_the_trigger_level),
        cmocka_unit_test(input_below_it_times_out),
        cmocka_unit_test(a_flood_waits_in_the_backend),
        cmocka_unit_test(without_fifos),
        cmocka_unit_test(loopback),
        cmocka_unit_test(line_status_interrupt),
        cmocka_unit_test(modem_status),
        cmocka_unit_test(out2_gates_the_interrupt),
        cmocka_unit_test(fcr_clears),
        cmocka_unit_test(without_a_backend),
        cmocka_unit_test(a_taken_backend_is_refused),
        cmocka_unit_test(state_survives),
        cmocka_unit_test(any_access),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
