/* test-pit.c: the 8254 and port 61h, against the machine's clock (Intel 231164). */
#include "board.h"

enum { HZ = 1193182 };

static struct fake *pit_new(void)
{
    struct fake *f = bare_new();
    assert_non_null(fake_add(f, "pit0", dev_pc("pit"), NULL));
    fake_reset(f);
    return f;
}

static void load(struct fake *f, unsigned c, unsigned control, unsigned count)
{
    fake_out(f, 0x43, c << 6 | 0x30 | control, 1);
    fake_out(f, 0x40 + c, count & 0xff, 1);
    fake_out(f, 0x40 + c, count >> 8, 1);
}

/* The least time after which TICKS whole ticks have passed since time 0. */
static uint64_t ns(uint64_t ticks)
{
    return (ticks * SECOND + HZ - 1) / HZ;
}

static void go_to(struct fake *f, uint64_t time)
{
    fake_step(f, time - fake_now(f));
}

static unsigned count(struct fake *f, unsigned c)
{
    fake_out(f, 0x43, c << 6, 1);
    unsigned low = (unsigned)fake_in(f, 0x40 + c, 1);
    return low | (unsigned)fake_in(f, 0x40 + c, 1) << 8;
}

static unsigned status(struct fake *f, unsigned c)
{
    fake_out(f, 0x43, 0xe0 | 2u << c, 1);
    return (unsigned)fake_in(f, 0x40 + c, 1);
}

static unsigned edges(struct fake *f)
{
    return fake_edges(f, "isa0", 0);
}

static void stands_still_until_programmed(void **state)
{
    (void)state;
    struct fake *f = pit_new();
    assert_true(fake_deadline(f) == UINT64_MAX);
    fake_step(f, SECOND);
    assert_int_equal(edges(f), 0);
    fake_free(f);
}

static void rate_generator_does_not_drift(void **state)
{
    (void)state;
    struct fake *f = pit_new();
    load(f, 0, 4, 11932); /* HZ = 100 */
    unsigned before = edges(f);
    fake_step(f, UINT64_C(1000) * SECOND);
    /* 1193182 * 1000 ticks, the first of them loading the count. */
    assert_int_equal(edges(f) - before, (UINT64_C(1000) * HZ - 1) / 11932);
    fake_free(f);
}

static void square_wave_rate(void **state)
{
    (void)state;
    struct fake *f = pit_new();
    load(f, 0, 6, 0); /* 65536: 18.2 Hz */
    unsigned before = edges(f);
    fake_step(f, UINT64_C(100) * SECOND);
    assert_int_equal(edges(f) - before, (UINT64_C(100) * HZ - 1) / 65536);
    fake_free(f);
}

static void one_shot(void **state)
{
    (void)state;
    struct fake *f = pit_new();
    load(f, 0, 0, 1000);
    assert_int_equal(fake_level(f, "isa0", 0), 0);
    go_to(f, ns(1001) - 1);
    assert_int_equal(edges(f), 0);
    go_to(f, ns(1001)); /* N + 1 pulses (231164, "Mode 0") */
    assert_int_equal(edges(f), 1);
    assert_int_equal(fake_level(f, "isa0", 0), 1);
    fake_step(f, SECOND);
    assert_int_equal(edges(f), 1);
    load(f, 0, 0, 10); /* the control word drops OUT */
    assert_int_equal(fake_level(f, "isa0", 0), 0);
    fake_step(f, MS);
    assert_int_equal(edges(f), 2);
    fake_free(f);
}

static void software_strobe(void **state)
{
    (void)state;
    struct fake *f = pit_new();
    load(f, 0, 8, 1000);
    assert_int_equal(fake_level(f, "isa0", 0), 1); /* idles high */
    unsigned before = edges(f);
    fake_step(f, SECOND);
    assert_int_equal(edges(f), before + 1);
    fake_free(f);
}

static void counts_down(void **state)
{
    (void)state;
    struct fake *f = pit_new();
    load(f, 2, 0, 0xffff);
    fake_out(f, 0x61, 1, 1);
    go_to(f, ns(1 + 0x1234));
    assert_int_equal(count(f, 2), 0xffff - 0x1234);
    load(f, 0, 4, 1000);
    fake_step(f, ns(1 + 3 * 1000 + 250));
    assert_in_range(count(f, 0), 749, 751);
    load(f, 0, 6, 1000);
    fake_step(f, ns(1 + 100)); /* mode 3 counts by two */
    assert_in_range(count(f, 0), 798, 802);
    fake_free(f);
}

static void bcd(void **state)
{
    (void)state;
    struct fake *f = pit_new();
    load(f, 0, 1, 0x1000);
    go_to(f, ns(1 + 1));
    assert_int_equal(count(f, 0), 0x0999);
    go_to(f, ns(1 + 1001));
    assert_int_equal(count(f, 0), 0x9999); /* goes on from 0 */
    load(f, 0, 5, 0);
    fake_step(f, ns(2));
    assert_int_equal(count(f, 0), 0x9999); /* 0 is 10000 */
    fake_free(f);
}

static void byte_order_and_latches(void **state)
{
    (void)state;
    struct fake *f = pit_new();
    load(f, 0, 4, 0x8000);
    go_to(f, ns(1 + 0x100));
    fake_out(f, 0x43, 0x00, 1);
    unsigned low = (unsigned)fake_in(f, 0x40, 1);
    fake_step(f, MS); /* the latch holds */
    fake_out(f, 0x43, 0x00, 1); /* a second latch is ignored */
    assert_int_equal((fake_in(f, 0x40, 1) << 8 | low), 0x7f00);
    fake_out(f, 0x43, 0x14, 1); /* low byte only */
    fake_out(f, 0x40, 0x80, 1);
    fake_step(f, ns(2));
    assert_int_equal(fake_in(f, 0x40, 1), 0x7f);
    fake_out(f, 0x43, 0x24, 1); /* high byte only */
    fake_out(f, 0x40, 0x80, 1);
    fake_step(f, ns(2));
    assert_int_equal(fake_in(f, 0x40, 1), 0x7f);
    assert_int_equal(fake_in(f, 0x43, 1), 0xff);
    fake_free(f);
}

static void read_back(void **state)
{
    (void)state;
    struct fake *f = pit_new();
    fake_out(f, 0x43, 0xb4, 1);
    assert_int_equal(status(f, 2), 0xf4); /* OUT high, null count, both bytes, mode 2 */
    load(f, 0, 0, 5);
    assert_int_equal(status(f, 0), 0x70); /* written, not loaded before the next pulse */
    fake_step(f, ns(2));
    assert_int_equal(status(f, 0), 0x30);
    fake_step(f, ns(10));
    assert_int_equal(status(f, 0), 0xb0);
    fake_out(f, 0x43, 0xc2, 1); /* status and count of counter 0: status comes first */
    assert_int_equal(fake_in(f, 0x40, 1), 0xb0);
    fake_in(f, 0x40, 1);
    fake_in(f, 0x40, 1);
    load(f, 1, 7, 0x100);
    fake_step(f, ns(2));
    assert_int_equal(status(f, 1) & 0x7f, 0x37);
    fake_out(f, 0x43, 0x7c, 1); /* mode 6 is mode 2 */
    assert_int_equal(status(f, 1) & 0x0e, 0x04);
    fake_free(f);
}

static void new_count_waits_for_the_period(void **state)
{
    (void)state;
    struct fake *f = pit_new();
    load(f, 0, 4, 10000);
    unsigned before = edges(f);
    go_to(f, ns(1 + 500));
    fake_out(f, 0x40, 100, 1);
    fake_out(f, 0x40, 0, 1);
    go_to(f, ns(1 + 10000) - 1);
    assert_int_equal(edges(f), before);
    go_to(f, ns(1 + 10000 + 300));
    assert_int_equal(edges(f), before + 4);
    fake_free(f);
}

static void gate_of_counter_two(void **state)
{
    (void)state;
    struct fake *f = pit_new();
    load(f, 2, 0, 1000); /* gate low: stands */
    fake_step(f, SECOND);
    assert_int_equal(count(f, 2), 1000);
    assert_int_equal(fake_in(f, 0x61, 1) & 0x20, 0);
    fake_out(f, 0x61, 1, 1);
    fake_step(f, ns(400));
    fake_out(f, 0x61, 0, 1);
    assert_in_range(count(f, 2), 599, 601);
    fake_step(f, SECOND);
    assert_in_range(count(f, 2), 599, 601);
    fake_out(f, 0x61, 1, 1);
    assert_int_equal(fake_in(f, 0x61, 1) & 0x20, 0);
    fake_step(f, ns(605));
    assert_int_equal(fake_in(f, 0x61, 1) & 0x21, 0x21);
    /* Mode 1: a rising gate starts it, and starts it again. */
    load(f, 2, 2, 1000);
    assert_int_equal(fake_in(f, 0x61, 1) & 0x20, 0x20);
    fake_out(f, 0x61, 0, 1);
    fake_out(f, 0x61, 1, 1);
    fake_step(f, ns(600));
    assert_int_equal(fake_in(f, 0x61, 1) & 0x20, 0);
    fake_out(f, 0x61, 0, 1);
    fake_out(f, 0x61, 1, 1);
    fake_step(f, ns(600));
    assert_int_equal(fake_in(f, 0x61, 1) & 0x20, 0);
    fake_step(f, ns(600));
    assert_int_equal(fake_in(f, 0x61, 1) & 0x20, 0x20);
    /* Mode 3 with the gate low: OUT is high. */
    load(f, 2, 6, 1000);
    fake_step(f, ns(700));
    assert_int_equal(fake_in(f, 0x61, 1) & 0x20, 0);
    fake_out(f, 0x61, 2, 1);
    assert_int_equal(fake_in(f, 0x61, 1) & 0x23, 0x22);
    fake_free(f);
}

static void refresh_toggles(void **state)
{
    (void)state;
    struct fake *f = pit_new();
    unsigned changes = 0, last = (unsigned)fake_in(f, 0x61, 1) & 0x10;
    for (unsigned i = 0; i < 10000; i++) {
        fake_step(f, 1000);
        unsigned now = (unsigned)fake_in(f, 0x61, 1) & 0x10;
        changes += now != last;
        last = now;
    }
    assert_in_range(changes, 660, 665); /* every 15.09 us in 10 ms */
    fake_free(f);
}

/* Counts of 2, which no guest can serve, do not keep the host busy. */
static void a_flood_of_ticks_is_thinned_out(void **state)
{
    (void)state;
    struct fake *f = pit_new();
    load(f, 0, 4, 2);
    unsigned before = edges(f);
    fake_step(f, SECOND);
    assert_in_range(edges(f) - before, 10000, 50000);
    load(f, 0, 4, 60); /* 20 kHz: all of them come */
    fake_step(f, SECOND / 100);
    before = edges(f);
    fake_step(f, SECOND);
    assert_in_range(edges(f) - before, HZ / 60 - 1, HZ / 60 + 1);
    fake_free(f);
}

static void late_ticks_catch_up_but_not_for_ever(void **state)
{
    (void)state;
    struct fake *f = pit_new();
    /* The fake host is never late by itself; a saved state that is loaded later is. */
    load(f, 0, 4, 1193);
    uint8_t buf[512];
    struct fake *g = pit_new();
    assert_true(fake_state_len(dev_pc("pit")) <= sizeof buf);
    fake_save(f, "pit0", buf);
    fake_step(g, UINT64_C(5500000)); /* five and a half periods */
    assert_int_equal(fake_load(g, "pit0", buf), 0);
    fake_step(g, 0);
    assert_int_equal(edges(g), 5);
    fake_step(g, MS);
    assert_int_equal(edges(g), 6);
    struct fake *h = pit_new();
    fake_step(h, UINT64_C(3600) * SECOND);
    assert_int_equal(fake_load(h, "pit0", buf), 0);
    fake_step(h, 0);
    assert_int_equal(edges(h), 1);
    fake_step(h, SECOND);
    assert_in_range(edges(h), 1000, 1002);
    memset(buf, 0xff, sizeof buf);
    assert_int_not_equal(fake_load(h, "pit0", buf), 0);
    fake_free(f);
    fake_free(g);
    fake_free(h);
}

/* Random accesses: nothing may divide by zero, hang, or answer more than a byte. */
static void any_access(void **state)
{
    (void)state;
    struct fake *f = pit_new();
    uint32_t x = 1;
    static const uint16_t ports[] = { 0x40, 0x41, 0x42, 0x43, 0x43, 0x61 };
    for (int i = 0; i < 200000; i++) {
        x = x * 1103515245 + 12345;
        uint32_t port = ports[(x >> 8) % 6];
        if (x & 0x10000)
            fake_out(f, port, x >> 20 & 0xff, 1);
        else
            assert_true(fake_in(f, port, 1) <= 0xff);
        if (!(x & 0x700000))
            fake_step(f, x >> 12);
    }
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stands_still_until_programmed),
        cmocka_unit_test(rate_generator_does_not_drift),
        cmocka_unit_test(square_wave_rate),
        cmocka_unit_test(one_shot),
        cmocka_unit_test(software_strobe),
        cmocka_unit_test(counts_down),
        cmocka_unit_test(bcd),
        cmocka_unit_test(byte_order_and_latches),
        cmocka_unit_test(read_back),
        cmocka_unit_test(new_count_waits_for_the_period),
        cmocka_unit_test(gate_of_counter_two),
        cmocka_unit_test(refresh_toggles),
        cmocka_unit_test(a_flood_of_ticks_is_thinned_out),
        cmocka_unit_test(late_ticks_catch_up_but_not_for_ever),
        cmocka_unit_test(any_access),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
