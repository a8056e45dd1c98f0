/*
 * test-virtio-transport.c: the registers of virtio-mmio and the status machine, on an rng device,
 * which has the fewest features of its own.
 */
#include "guest.h"

#include <stdlib.h>
#include <string.h>

static struct fake *machine(struct guest *g)
{
    struct fake *f = guest_machine();
    assert_non_null(fake_add(f, "rng", fake_class(PLUGINS "/dev-virtio.so", "rng"), NULL));
    fake_reset(f);
    guest_at(g, f, "rng");
    return f;
}

static void test_identity(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g);
    assert_int_equal(guest_in(&g, 0x00), 0x74726976);
    assert_int_equal(guest_in(&g, 0x04), 2);
    assert_int_equal(guest_in(&g, 0x08), 4);
    assert_int_equal(guest_offer(&g), G_VERSION_1 | G_EVENT_IDX | G_INDIRECT_DESC);
    guest_out(&g, 0x14, 2); /* features from bit 64 on: none */
    assert_int_equal(guest_in(&g, 0x10), 0);
    assert_int_equal(guest_in(&g, R_QMAX), 8);
    guest_out(&g, R_QSEL, 1);
    assert_int_equal(guest_in(&g, R_QMAX), 0);
    guest_out(&g, R_QSEL, 0xffffffff);
    assert_int_equal(guest_in(&g, R_QMAX), 0);
    assert_int_equal(guest_in(&g, R_QREADY), 0);
    guest_out(&g, 0xac, 0);
    for (uint32_t r = 0xb0; r <= 0xbc; r += 4)
        assert_int_equal(guest_in(&g, r), 0xffffffff); /* no shared memory */
    /* 8 and 16 bits wide: nothing, and no harm (4.2.2.2). */
    assert_int_equal(fake_read(f, g.base, 1), 0);
    assert_int_equal(fake_read(f, g.base, 2), 0);
    fake_write(f, g.base + R_STATUS, 1, 1);
    assert_int_equal(guest_in(&g, R_STATUS), 0);
    assert_int_equal(guest_in(&g, R_CONFIG), 0); /* rng has no configuration space */
    fake_free(f);
}

/* Each row: the writes, and what the status is after the last one. */
static void test_status_order(void **state)
{
    (void)state;
    static const struct {
        uint8_t write[6];
        uint8_t status;
        int features; /* negotiate VERSION_1 after the DRIVER bit */
    } rows[] = {
        { { 1 }, 1, 0 },
        { { 1, 3 }, 3, 0 },
        { { 3 }, 3, 0 },            /* both at once is in order */
        { { 2 }, 0, 0 },            /* DRIVER without ACKNOWLEDGE */
        { { 1, 5 }, 1, 0 },         /* DRIVER_OK too early */
        { { 1, 9 }, 1, 0 },
        { { 1, 3, 11 }, 3, 0 },     /* FEATURES_OK without VERSION_1 */
        { { 1, 3, 11 }, 11, 1 },
        { { 1, 3, 7 }, 3, 1 },      /* DRIVER_OK without FEATURES_OK */
        { { 1, 3, 15 }, 15, 1 },
        { { 1, 3, 15 }, 3, 0 },     /* refused features: no DRIVER_OK either */
        { { 1, 3, 11, 15 }, 15, 1 },
        { { 1, 3, 11, 3 }, 11, 1 }, /* a bit cannot be cleared */
        { { 1, 3, 11, 15, 8 }, 15, 1 },
        { { 1, 3, 16 }, 3, 0 },     /* a bit that does not exist */
        { { 1, 3, 3 | 64 }, 3, 0 }, /* NEEDS_RESET is the device's */
        { { 1, 0x81 }, 0x81, 0 },
        { { 1, 0x81, 0x83 }, 0x81, 0 }, /* after FAILED only a reset */
        { { 1, 3, 11, 15, 0x8f, 0xff }, 0x8f, 1 },
    };
    struct guest g;
    struct fake *f = machine(&g);
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        guest_out(&g, R_STATUS, 0);
        assert_int_equal(guest_in(&g, R_STATUS), 0);
        for (unsigned j = 0; j < 6 && rows[i].write[j]; j++) {
            guest_out(&g, R_STATUS, rows[i].write[j]);
            if (rows[i].features && (rows[i].write[j] & 0xf) == 3) {
                guest_out(&g, 0x24, 1);
                guest_out(&g, 0x20, 1);
            }
        }
        if (guest_in(&g, R_STATUS) != rows[i].status)
            fail_msg("row %u: status 0x%x", i, guest_in(&g, R_STATUS));
    }
    fake_free(f);
}

static void test_features(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g);
    /* Bits that are not offered. */
    assert_int_equal(guest_negotiate(&g, UINT64_C(1) << 3), G_ACK | G_DRIVER);
    assert_int_equal(guest_negotiate(&g, UINT64_C(1) << 40), G_ACK | G_DRIVER);
    /* Too late: FEATURES_OK is set. */
    assert_int_equal(guest_negotiate(&g, G_EVENT_IDX), 11);
    guest_out(&g, 0x24, 0);
    guest_out(&g, 0x20, 0xffffffff);
    guest_go(&g);
    assert_int_equal(guest_in(&g, R_STATUS), 15);
    /* Again with another set, after a reset. */
    assert_int_equal(guest_negotiate(&g, G_INDIRECT_DESC), 11);
    assert_int_equal(guest_negotiate(&g, G_INDIRECT_DESC | G_EVENT_IDX), 11);
    /* Too early: no DRIVER. Nothing sticks. */
    guest_out(&g, R_STATUS, 0);
    guest_out(&g, 0x24, 1);
    guest_out(&g, 0x20, 1);
    guest_out(&g, R_STATUS, 1);
    guest_out(&g, R_STATUS, 3);
    guest_out(&g, R_STATUS, 11);
    assert_int_equal(guest_in(&g, R_STATUS), 3);
    fake_free(f);
}

/* Queue registers only between FEATURES_OK and DRIVER_OK, and not while the queue is on. */
static void test_queue_window(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g);
    guest_out(&g, R_STATUS, 1);
    guest_out(&g, R_STATUS, 3);
    guest_out(&g, R_QSEL, 0);
    guest_out(&g, R_QREADY, 1);
    assert_int_equal(guest_in(&g, R_QREADY), 0);
    assert_int_equal(guest_negotiate(&g, 0), 11);
    guest_queue(&g, 0, 4);
    assert_int_equal(guest_in(&g, R_QREADY), 1);
    /* Frozen: neither size nor addresses move now. */
    guest_out(&g, R_QNUM, 8);
    guest_out(&g, 0x80, 0x7ffffff0);
    guest_go(&g);
    uint64_t buf = guest_alloc(&g, 64);
    uint32_t id, len;
    for (unsigned i = 0; i < 9; i++) { /* more than 4: the ring wraps at the old size */
        guest_add(&g, 0, &(struct guest_buf){ buf, 64, G_WRITE }, 1);
        guest_kick(&g, 0);
        assert_int_equal(guest_used(&g, 0, &id, &len), 1);
        assert_int_equal(id, i % 4);
        assert_int_equal(len, 64);
    }
    /* Off is always possible (Linux does it to leave), on again is not before a reset. */
    guest_out(&g, R_QREADY, 0);
    assert_int_equal(guest_in(&g, R_QREADY), 0);
    guest_out(&g, R_QREADY, 1);
    assert_int_equal(guest_in(&g, R_QREADY), 0);
    guest_kick(&g, 0);
    assert_int_equal(guest_in(&g, R_STATUS), 15);
    /* A size above the maximum, or none: the device asks for a reset. */
    static const uint32_t sizes[] = { 0, 3, 16, 0x10008, 0xffffffff };
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(guest_negotiate(&g, 0), 11);
        guest_out(&g, R_QSEL, 0);
        guest_out(&g, R_QNUM, sizes[i]);
        guest_out(&g, R_QREADY, 1);
        assert_int_equal(guest_in(&g, R_QREADY), 0);
        assert_int_equal(guest_in(&g, R_STATUS), 11 | G_NEEDS_RESET);
        guest_out(&g, R_STATUS, 15); /* and does not start without */
        assert_int_equal(guest_in(&g, R_STATUS), 11 | G_NEEDS_RESET);
    }
    fake_free(f);
}

static void test_interrupt(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g);
    guest_start(&g, 0, 1, 8);
    uint64_t buf = guest_alloc(&g, 64);
    assert_int_equal(fake_level(f, "chip", 0), 0);
    guest_add(&g, 0, &(struct guest_buf){ buf, 64, G_WRITE }, 1);
    guest_kick(&g, 0);
    assert_int_equal(fake_level(f, "chip", 0), 1);
    assert_int_equal(guest_in(&g, R_ISR), 1);
    guest_out(&g, R_ACK, 2);
    assert_int_equal(fake_level(f, "chip", 0), 1);
    guest_out(&g, R_ACK, 1);
    assert_int_equal(fake_level(f, "chip", 0), 0);
    /* A broken ring: NEEDS_RESET and a configuration interrupt, and nothing more until reset. */
    guest_desc(&g, 0, 0, buf, 0, G_WRITE, 0);
    guest_avail(&g, 0, 0);
    guest_kick(&g, 0);
    assert_int_equal(guest_in(&g, R_STATUS), 15 | G_NEEDS_RESET);
    assert_int_equal(guest_in(&g, R_ISR), 2);
    assert_int_equal(fake_level(f, "chip", 0), 1);
    guest_out(&g, R_ACK, 2);
    guest_kick(&g, 0);
    assert_int_equal(guest_in(&g, R_ISR), 0);
    /* Linux adds to what it reads; that must not be taken for the device's bit. */
    guest_out(&g, R_STATUS, guest_in(&g, R_STATUS) | G_FAILED);
    assert_int_equal(guest_in(&g, R_STATUS), 15 | G_NEEDS_RESET | G_FAILED);
    guest_start(&g, 0, 1, 8);
    guest_add(&g, 0, &(struct guest_buf){ buf, 64, G_WRITE }, 1);
    guest_kick(&g, 0);
    assert_int_equal(guest_in(&g, R_ISR), 1);
    fake_reset(f);
    assert_int_equal(fake_level(f, "chip", 0), 0);
    assert_int_equal(guest_in(&g, R_STATUS), 0);
    fake_free(f);
}

/* Kicks of queues that do not exist, of queues that are off, before DRIVER_OK: nothing happens. */
static void test_stray_kicks(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g);
    uint32_t id, len;
    for (uint32_t i = 0; i < 20; i++)
        guest_kick(&g, i);
    guest_kick(&g, 0xffffffff);
    assert_int_equal(guest_negotiate(&g, 0), 11);
    guest_queue(&g, 0, 8);
    uint64_t buf = guest_alloc(&g, 64);
    guest_add(&g, 0, &(struct guest_buf){ buf, 64, G_WRITE }, 1);
    guest_kick(&g, 0);
    assert_int_equal(guest_used(&g, 0, &id, &len), 0);
    guest_go(&g); /* what was offered before is seen now, without another kick */
    assert_int_equal(guest_used(&g, 0, &id, &len), 1);
    /* A kick on its way when the reset comes. */
    guest_add(&g, 0, &(struct guest_buf){ buf, 64, G_WRITE }, 1);
    guest_out(&g, R_NOTIFY, 0);
    guest_out(&g, R_STATUS, 0);
    fake_run(f);
    assert_int_equal(guest_used(&g, 0, &id, &len), 0);
    fake_free(f);
}

static void test_snapshot(void **state)
{
    (void)state;
    const mobo_class_t *c = fake_class(PLUGINS "/dev-virtio.so", "rng");
    uint8_t *a = calloc(1, fake_state_len(c)), *b = calloc(1, fake_state_len(c));
    struct guest g;
    struct fake *f = machine(&g);
    guest_start(&g, G_EVENT_IDX, 1, 8);
    uint64_t buf = guest_alloc(&g, 64);
    guest_add(&g, 0, &(struct guest_buf){ buf, 64, G_WRITE }, 1);
    guest_kick(&g, 0);
    uint32_t id, len;
    assert_int_equal(guest_used(&g, 0, &id, &len), 1);
    fake_save(f, "rng", a);
    guest_out(&g, R_STATUS, 0);
    assert_int_equal(fake_level(f, "chip", 0), 0);
    assert_int_equal(fake_load(f, "rng", a), 0);
    fake_save(f, "rng", b);
    assert_memory_equal(a, b, fake_state_len(c));
    assert_int_equal(guest_in(&g, R_STATUS), 15);
    assert_int_equal(fake_level(f, "chip", 0), 1); /* the wire is raised again */
    guest_add(&g, 0, &(struct guest_buf){ buf, 64, G_WRITE }, 1);
    guest_kick(&g, 0);
    assert_int_equal(guest_used(&g, 0, &id, &len), 1);
    assert_int_equal(len, 64);
    free(a);
    free(b);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity), cmocka_unit_test(test_status_order),
        cmocka_unit_test(test_features), cmocka_unit_test(test_queue_window),
        cmocka_unit_test(test_interrupt), cmocka_unit_test(test_stray_kicks),
        cmocka_unit_test(test_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
