/* test-rtc.c: the MC146818, against the host's clock and the machine's. */
#include "board.h"

#include <stdlib.h>
#include <time.h>

enum { A = 10, B = 11, C = 12, D = 13, CENTURY = 0x32 };

static uint8_t get(struct fake *f, unsigned reg)
{
    fake_out(f, 0x70, reg, 1);
    return (uint8_t)fake_in(f, 0x71, 1);
}

static void set(struct fake *f, unsigned reg, unsigned val)
{
    fake_out(f, 0x70, reg, 1);
    fake_out(f, 0x71, val, 1);
}

static struct fake *rtc_at(const char *base)
{
    struct fake *f = bare_new();
    char setting[64];
    snprintf(setting, sizeof setting, "base=%s", base);
    assert_non_null(fake_add_(f, "rtc0", dev_pc("rtc"), setting));
    fake_reset(f);
    return f;
}

/* Compare the whole time, as the registers hold it. */
static void expect_time(struct fake *f, unsigned century, unsigned year, unsigned month,
                        unsigned day, unsigned weekday, unsigned h, unsigned m, unsigned s)
{
    assert_int_equal(get(f, CENTURY), century);
    assert_int_equal(get(f, 9), year);
    assert_int_equal(get(f, 8), month);
    assert_int_equal(get(f, 7), day);
    assert_int_equal(get(f, 6), weekday);
    assert_int_equal(get(f, 4), h);
    assert_int_equal(get(f, 2), m);
    assert_int_equal(get(f, 0), s);
}

/* Register C without the flag of the periodic interrupt, which is always running. */
static unsigned flags(struct fake *f)
{
    return get(f, C) & 0xbf;
}

static unsigned edges(struct fake *f)
{
    return fake_edges(f, "isa0", 8);
}

static void host_time_in_utc(void **state)
{
    (void)state;
    struct fake *f = bare_new();
    assert_non_null(fake_add(f, "rtc0", dev_pc("rtc"), NULL));
    fake_reset(f);
    expect_time(f, 0x20, 0x23, 0x11, 0x14, 3, 0x22, 0x13, 0x20); /* 1700000000 */
    assert_int_equal(get(f, A), 0x26);
    assert_int_equal(get(f, B), 0x02);
    assert_int_equal(get(f, D), 0x80);
    assert_int_equal(fake_in(f, 0x70, 1), 0xff);
    fake_free(f);
}

static void local_time(void **state)
{
    (void)state;
    setenv("TZ", "XXX-05:30", 1); /* five and a half hours ahead */
    struct fake *f = rtc_at("localtime");
    expect_time(f, 0x20, 0x23, 0x11, 0x15, 4, 0x03, 0x43, 0x20);
    unsetenv("TZ");
    fake_free(f);
}

static void calendar(void **state)
{
    (void)state;
    struct fake *f = rtc_at("2024-02-28T23:59:59");
    expect_time(f, 0x20, 0x24, 2, 0x28, 4, 0x23, 0x59, 0x59);
    fake_step(f, SECOND);
    expect_time(f, 0x20, 0x24, 2, 0x29, 5, 0, 0, 0);
    fake_step(f, UINT64_C(86400) * SECOND);
    expect_time(f, 0x20, 0x24, 3, 1, 6, 0, 0, 0);
    fake_free(f);
    f = rtc_at("1999-12-31T23:59:59");
    fake_step(f, SECOND);
    expect_time(f, 0x20, 0, 1, 1, 7, 0, 0, 0);
    fake_free(f);
    f = rtc_at("2100-02-28");
    fake_step(f, UINT64_C(86400) * SECOND);
    expect_time(f, 0x21, 0, 3, 1, 2, 0, 0, 0); /* no leap year */
    fake_free(f);
}

static void bad_dates_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "base=yesterday", "base=2026-13-01", "base=2026-02-30",
                                       "base=2026-01-01T25:00:00", "base=2026-01-01x", "base=",
                                       "base=1969-12-31" };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct fake *f = bare_new();
        assert_null(fake_add_(f, "rtc0", dev_pc("rtc"), bad[i]));
        assert_non_null(strstr(fake_failure(f), "2026-01-31T12:00:00"));
        fake_free(f);
    }
}

static void formats(void **state)
{
    (void)state;
    struct fake *f = rtc_at("2026-11-22T15:45:30");
    set(f, B, 0x06); /* binary, 24 hours */
    expect_time(f, 20, 26, 11, 22, 1, 15, 45, 30);
    set(f, B, 0x00); /* BCD, 12 hours */
    assert_int_equal(get(f, 4), 0x83);
    set(f, B, 0x04);
    assert_int_equal(get(f, 4), 0x83);
    fake_free(f);
    f = rtc_at("2026-11-22T00:00:00");
    set(f, B, 0x00);
    assert_int_equal(get(f, 4), 0x12);
    fake_step(f, UINT64_C(12) * 3600 * SECOND);
    assert_int_equal(get(f, 4), 0x92);
    fake_free(f);
}

static void the_guest_sets_the_clock(void **state)
{
    (void)state;
    struct fake *f = rtc_at("2026-11-22T15:45:30");
    set(f, B, 0x82);
    fake_step(f, UINT64_C(10) * SECOND);
    assert_int_equal(get(f, 0), 0x30); /* SET stops the clock */
    set(f, CENTURY, 0x19);
    set(f, 9, 0x85);
    set(f, 8, 0x10);
    set(f, 7, 0x26);
    set(f, 4, 0x01);
    set(f, 2, 0x21);
    set(f, 0, 0x00);
    set(f, B, 0x02);
    expect_time(f, 0x19, 0x85, 0x10, 0x26, 7, 1, 0x21, 0);
    fake_step(f, UINT64_C(3600) * SECOND);
    assert_int_equal(get(f, 4), 0x02);
    set(f, 2, 0x59); /* without SET: one field at a time */
    assert_int_equal(get(f, 2), 0x59);
    assert_int_equal(get(f, 4), 0x02);
    fake_reset(f); /* the battery keeps it */
    assert_int_equal(get(f, 9), 0x85);
    fake_free(f);
}

static void divider_reset_starts_half_a_second_off(void **state)
{
    (void)state;
    struct fake *f = rtc_at("2026-11-22T15:45:30");
    fake_step(f, SECOND / 4);
    set(f, A, 0x76);
    fake_step(f, UINT64_C(5) * SECOND);
    assert_int_equal(get(f, 0), 0x30);
    set(f, A, 0x26);
    fake_step(f, SECOND / 2 - 1000);
    assert_int_equal(get(f, 0), 0x30);
    fake_step(f, 2000);
    assert_int_equal(get(f, 0), 0x31);
    fake_free(f);
}

static void update_in_progress(void **state)
{
    (void)state;
    struct fake *f = rtc_at("2026-11-22T15:45:30");
    fake_step(f, SECOND - 250000);
    assert_int_equal(get(f, A) & 0x80, 0);
    fake_step(f, 10000);
    assert_int_equal(get(f, A) & 0x80, 0x80);
    assert_int_equal(get(f, 0), 0x30);
    fake_step(f, 240000);
    assert_int_equal(get(f, A) & 0x80, 0);
    assert_int_equal(get(f, 0), 0x31);
    set(f, B, 0x82);
    fake_step(f, SECOND - 100000);
    assert_int_equal(get(f, A) & 0x80, 0); /* never while stopped */
    fake_free(f);
}

static void update_ended_interrupt(void **state)
{
    (void)state;
    struct fake *f = rtc_at("2026-11-22T15:45:30");
    assert_true(fake_deadline(f) == UINT64_MAX); /* no interrupt, no timer */
    fake_step(f, SECOND + 1000);
    assert_int_equal(flags(f), 0x10); /* the flag comes all the same */
    assert_int_equal(flags(f), 0);
    set(f, B, 0x12);
    fake_step(f, SECOND);
    assert_int_equal(fake_level(f, "isa0", 8), 1);
    fake_step(f, UINT64_C(5) * SECOND);
    assert_int_equal(edges(f), 1); /* held until C is read */
    assert_int_equal(flags(f), 0x90);
    assert_int_equal(fake_level(f, "isa0", 8), 0);
    for (unsigned i = 0; i < 10; i++) {
        fake_step(f, SECOND);
        assert_int_equal(flags(f), 0x90);
    }
    assert_int_equal(edges(f), 11);
    fake_free(f);
}

static void alarm_interrupt(void **state)
{
    (void)state;
    struct fake *f = rtc_at("2026-11-22T15:45:30");
    set(f, 1, 0x10);
    set(f, 3, 0x46);
    set(f, 5, 0x15);
    set(f, B, 0x22);
    fake_step(f, UINT64_C(39) * SECOND);
    assert_int_equal(edges(f), 0);
    fake_step(f, UINT64_C(2) * SECOND);
    assert_int_equal(edges(f), 1);
    assert_int_equal(flags(f), 0xb0);
    fake_step(f, UINT64_C(86400) * SECOND); /* every day */
    assert_int_equal(edges(f), 2);
    get(f, C);
    set(f, 3, 0xc0); /* any minute, any hour */
    set(f, 5, 0xff);
    fake_step(f, UINT64_C(60) * SECOND);
    assert_int_equal(edges(f), 3);
    get(f, C);
    set(f, 1, 0x99); /* a second that never comes */
    uint64_t at = fake_deadline(f);
    assert_true(at == UINT64_MAX);
    fake_free(f);
}

/* Compared second by second, for any fields (among them "any") and at any time of day. */
static void alarm_is_found_wherever_it_is(void **state)
{
    (void)state;
    struct fake *f = rtc_at("2026-03-01T00:00:00");
    uint32_t x = 12345, now = 0;
    set(f, B, 6); /* binary, 24 hours */
    for (int i = 0; i < 300; i++) {
        uint32_t field[3], of[3] = { 60, 60, 24 };
        for (int j = 0; j < 3; j++) {
            x = x * 1664525 + 1013904223;
            field[j] = x >> 30 ? (x >> 8) % of[j] : 0xff;
            set(f, 1 + 2 * (unsigned)j, field[j]);
        }
        (void)get(f, C);
        set(f, B, 0x26);
        uint32_t t = now + 1;
        while ((field[0] != 0xff && field[0] != t % 60) ||
               (field[1] != 0xff && field[1] != t / 60 % 60) ||
               (field[2] != 0xff && field[2] != t / 3600 % 24))
            t++;
        assert_int_equal(fake_deadline(f), t * UINT64_C(1000000000));
        set(f, B, 6);
        uint32_t step = (x >> 4) % 5000;
        fake_step(f, step * UINT64_C(1000000000));
        assert_int_equal((flags(f) & 0x20) != 0, step >= t - now);
        now += step;
    }
    fake_free(f);
}

/* An alarm that never comes must not cost a search through the day at each access. */
static void an_impossible_alarm_is_cheap(void **state)
{
    (void)state;
    struct fake *f = rtc_at("2026-03-01T00:00:00");
    set(f, B, 6);
    set(f, 1, 0x7f);
    set(f, 3, 0xff);
    set(f, 5, 0xff);
    set(f, B, 0x26);
    clock_t start = clock();
    for (unsigned i = 0; i < 4000; i++)
        set(f, 0x40, i & 0xff);
    assert_true(clock() - start < CLOCKS_PER_SEC / 2);
    assert_true(fake_deadline(f) == UINT64_MAX);
    fake_free(f);
}

static void periodic_interrupt(void **state)
{
    (void)state;
    static const struct {
        unsigned rate, hz;
    } t[] = { { 1, 256 }, { 2, 128 }, { 3, 8192 }, { 6, 1024 }, { 15, 2 } };
    for (unsigned i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct fake *f = rtc_at("2026-11-22T15:45:30");
        set(f, A, 0x20 | t[i].rate);
        set(f, B, 0x42);
        for (unsigned k = 0; k < 20000; k++) {
            fake_step(f, 50000);
            get(f, C);
        }
        assert_int_equal(edges(f), t[i].hz);
        fake_free(f);
    }
    struct fake *f = rtc_at("2026-11-22T15:45:30");
    set(f, A, 0x20);
    set(f, B, 0x42);
    fake_step(f, SECOND);
    assert_int_equal(edges(f), 0); /* rate 0: none */
    fake_free(f);
}

static void memory_sizes(void **state)
{
    (void)state;
    struct fake *f = fake_new(UINT64_C(96) << 20, 1);
    assert_non_null(fake_add(f, "isa0", fake_class(PLUGINS "/bus-isa.so", "isa"), NULL));
    assert_non_null(fake_add(f, "rtc0", dev_pc("rtc"), NULL));
    fake_reset(f);
    assert_int_equal(get(f, 0x15) | get(f, 0x16) << 8, 640);
    assert_int_equal(get(f, 0x17) | get(f, 0x18) << 8, 0xffff);
    assert_int_equal(get(f, 0x30) | get(f, 0x31) << 8, 0xffff);
    assert_int_equal(get(f, 0x34) | get(f, 0x35) << 8, 80 * 16);
    assert_int_equal(get(f, 0x5b) | get(f, 0x5c) | get(f, 0x5d), 0);
    fake_free(f);
}

static void nmi_bit_and_ram(void **state)
{
    (void)state;
    struct fake *f = rtc_at("utc");
    set(f, 0x80 | 0x40, 0x5a);
    assert_int_equal(get(f, 0x40), 0x5a);
    set(f, C, 0xff);
    set(f, D, 0);
    assert_int_equal(get(f, C), 0);
    assert_int_equal(get(f, D), 0x80);
    fake_free(f);
}

static void state_survives(void **state)
{
    (void)state;
    struct fake *f = rtc_at("2026-11-22T15:45:30"), *g = rtc_at("utc");
    set(f, B, 0x12);
    uint8_t buf[256];
    assert_true(fake_state_len(dev_pc("rtc")) <= sizeof buf);
    fake_save(f, "rtc0", buf);
    assert_int_equal(fake_load(g, "rtc0", buf), 0);
    assert_int_equal(get(g, 0), 0x30);
    fake_step(g, SECOND);
    assert_int_equal(edges(g), 1);
    fake_free(f);
    fake_free(g);
}

static void any_access(void **state)
{
    (void)state;
    struct fake *f = rtc_at("2026-11-22T15:45:30");
    uint32_t x = 7;
    for (int i = 0; i < 100000; i++) {
        x = x * 1103515245 + 12345;
        unsigned reg = x & 0x10000 ? x >> 8 & 15 : x >> 8 & 0x7f;
        if (x & 0x20000)
            set(f, reg, x >> 20 & 0xff);
        else
            get(f, reg);
        if (!(x & 0xf00000))
            fake_step(f, x);
    }
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_time_in_utc),
        cmocka_unit_test(local_time),
        cmocka_unit_test(calendar),
        cmocka_unit_test(bad_dates_are_refused),
        cmocka_unit_test(formats),
        cmocka_unit_test(the_guest_sets_the_clock),
        cmocka_unit_test(divider_reset_starts_half_a_second_off),
        cmocka_unit_test(update_in_progress),
        cmocka_unit_test(update_ended_interrupt),
        cmocka_unit_test(alarm_interrupt),
        cmocka_unit_test(alarm_is_found_wherever_it_is),
        cmocka_unit_test(an_impossible_alarm_is_cheap),
        cmocka_unit_test(periodic_interrupt),
        cmocka_unit_test(memory_sizes),
        cmocka_unit_test(nmi_bit_and_ram),
        cmocka_unit_test(state_survives),
        cmocka_unit_test(any_access),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
