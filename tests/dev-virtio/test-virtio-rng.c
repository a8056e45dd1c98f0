/* test-virtio-rng.c: random bytes, the cap on a request, and the rate limit. */
#include "guest.h"

#include <string.h>

static struct fake *machine(struct guest *g, const char *const *settings)
{
    struct fake *f = guest_machine();
    assert_non_null(fake_add(f, "rng", fake_class(PLUGINS "/dev-virtio.so", "rng"), settings));
    fake_reset(f);
    guest_at(g, f, "rng");
    guest_start(g, 0, 1, 8);
    return f;
}

static void ask(struct guest *g, uint64_t gpa, uint32_t len)
{
    guest_add(g, 0, &(struct guest_buf){ gpa, len, G_WRITE }, 1);
    guest_kick(g, 0);
}

static void test_bytes(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g, NULL);
    uint64_t a = guest_alloc(&g, 65536), b = guest_alloc(&g, 64);
    uint32_t id, len;
    ask(&g, b, 32);
    assert_int_equal(guest_used(&g, 0, &id, &len), 1);
    assert_int_equal(len, 32);
    uint8_t zeros[64] = { 0 };
    assert_memory_not_equal(guest_ptr(&g, b), zeros, 32);
    assert_memory_equal(guest_ptr(&g, b + 32), zeros, 32);
    ask(&g, a, 65536); /* a large request gets a part: no memory is taken for it */
    assert_int_equal(guest_used(&g, 0, &id, &len), 1);
    assert_int_equal(len, 4096);
    ask(&g, a, 0x7fffffff); /* the part that is written is RAM: that is enough */
    assert_int_equal(guest_used(&g, 0, &id, &len), 1);
    assert_int_equal(len, 4096);
    guest_add(&g, 0, &(struct guest_buf){ a, 16, 0 }, 1); /* nothing to write to */
    guest_kick(&g, 0);
    assert_int_equal(guest_used(&g, 0, &id, &len), 1);
    assert_int_equal(len, 0);
    ask(&g, g.base, 16); /* its own registers */
    assert_int_equal(guest_used(&g, 0, &id, &len), 0);
    assert_int_equal(guest_in(&g, R_STATUS), 15 | G_NEEDS_RESET);
    fake_free(f);
}

static void test_rate(void **state)
{
    (void)state;
    static const char *const settings[] = { "max-bytes=100", "period=50", NULL };
    struct guest g;
    struct fake *f = machine(&g, settings);
    uint64_t a = guest_alloc(&g, 64);
    uint32_t id, len, total = 0;
    for (int i = 0; i < 4; i++)
        guest_add(&g, 0, &(struct guest_buf){ a, 64, G_WRITE }, 1);
    guest_kick(&g, 0);
    while (guest_used(&g, 0, &id, &len))
        total += len;
    assert_int_equal(total, 100);
    fake_step(f, 49 * UINT64_C(1000000));
    fake_run(f);
    assert_int_equal(guest_used(&g, 0, &id, &len), 0);
    fake_step(f, 2 * UINT64_C(1000000));
    fake_run(f);
    while (guest_used(&g, 0, &id, &len))
        total += len;
    assert_int_equal(total, 200);
    /* Storming does not help. */
    for (int i = 0; i < 1000; i++) {
        guest_kick(&g, 0);
    }
    assert_int_equal(guest_used(&g, 0, &id, &len), 0);
    fake_free(f);
}

/* A driver that keeps the queue full and kicks: one run is on its way, never more. */
static void test_kicks_do_not_pile_up(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g, NULL);
    uint64_t a = guest_alloc(&g, 64);
    uint32_t id, len, used = 0;
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 8 && (round == 0 || i < (int)used); i++)
            guest_add(&g, 0, &(struct guest_buf){ a, 8, G_WRITE }, 1);
        guest_out(&g, R_NOTIFY, 0);
        (void)fake_bells(f);
        for (used = 0; guest_used(&g, 0, &id, &len);)
            used++;
    }
    assert_in_range(fake_run(f), 1, 2);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_kicks_do_not_pile_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
