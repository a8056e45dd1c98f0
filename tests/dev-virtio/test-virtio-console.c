/*
 * test-virtio-console.c: the console: data both ways, flow control in both directions, sizes, and
 * the control messages of several ports.
 */
#include "guest.h"

#include <string.h>

enum { RX = 0, TX = 1, CRX = 2, CTX = 3, RX1 = 4, TX1 = 5 };
enum { DEVICE_READY, DEVICE_ADD, DEVICE_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, NAME };
#define F_SIZE UINT64_C(1)
#define F_MULTIPORT UINT64_C(2)
#define F_EMERG UINT64_C(4)

static struct fake *machine(struct guest *g, unsigned ports)
{
    static const char *const one[] = { "char=c0", "queue-size=8", NULL };
    static const char *const two[] = { "char=c0", "char1=c1", "name1=org.example.a",
                                       "queue-size=8", NULL };
    struct fake *f = guest_machine();
    (void)fake_char(f, "c0");
    (void)fake_char(f, "c1");
    fake_char_room(f, "c0", 1 << 20);
    fake_char_room(f, "c1", 1 << 20);
    fake_char_winsize(f, "c0", 80, 25);
    assert_non_null(fake_add(f, "hvc", fake_class(PLUGINS "/dev-virtio.so", "console"),
                             ports > 1 ? two : one));
    fake_reset(f);
    fake_run(f);
    guest_at(g, f, "hvc");
    return f;
}

static void give(struct guest *g, unsigned queue, uint64_t gpa, uint32_t len)
{
    guest_add(g, queue, &(struct guest_buf){ gpa, len, G_WRITE }, 1);
    guest_kick(g, queue);
}

static void say(struct guest *g, unsigned queue, const void *bytes, uint32_t len)
{
    uint64_t gpa = guest_alloc(g, len);
    memcpy(guest_ptr(g, gpa), bytes, len);
    guest_add(g, queue, &(struct guest_buf){ gpa, len, 0 }, 1);
    guest_kick(g, queue);
}

static void test_data(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g, 1);
    assert_int_equal(guest_offer(&g) & 7, F_SIZE | F_EMERG);
    guest_out(&g, R_QSEL, 2);
    assert_int_equal(guest_in(&g, R_QMAX), 0); /* one port: no control queues */
    guest_start(&g, F_SIZE, 2, 8);
    uint32_t id, len;
    char out[64] = { 0 };
    say(&g, TX, "hello", 5);
    assert_int_equal(guest_used(&g, TX, &id, &len), 1);
    assert_int_equal(len, 0);
    assert_int_equal(fake_char_take(f, "c0", out, sizeof out), 5);
    assert_string_equal(out, "hello");
    /* Input waits for a buffer, and a small buffer takes a part. */
    fake_char_type(f, "c0", "abcdef", 6);
    fake_run(f);
    uint64_t buf = guest_alloc(&g, 64);
    give(&g, RX, buf, 4);
    assert_int_equal(guest_used(&g, RX, &id, &len), 1);
    assert_int_equal(len, 4);
    assert_memory_equal(guest_ptr(&g, buf), "abcd", 4);
    give(&g, RX, buf, 32);
    assert_int_equal(guest_used(&g, RX, &id, &len), 1);
    assert_int_equal(len, 2);
    assert_memory_equal(guest_ptr(&g, buf), "efcd", 4);
    give(&g, RX, buf, 32); /* nothing there: the buffer stays the device's */
    assert_int_equal(guest_used(&g, RX, &id, &len), 0);
    fake_char_type(f, "c0", "z", 1);
    fake_run(f);
    assert_int_equal(guest_used(&g, RX, &id, &len), 1);
    assert_int_equal(len, 1);
    fake_free(f);
}

/* The backend is full: the driver's chain waits, nothing is lost, doubled or buffered. */
static void test_output_blocked(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g, 1);
    guest_start(&g, 0, 2, 8);
    char out[64] = { 0 };
    uint32_t id, len;
    fake_char_room(f, "c0", 3);
    say(&g, TX, "abcdefgh", 8);
    say(&g, TX, "ij", 2);
    assert_int_equal(guest_used(&g, TX, &id, &len), 0);
    assert_int_equal(fake_char_take(f, "c0", out, sizeof out), 3);
    for (int i = 0; i < 3; i++)
        guest_kick(&g, TX); /* kicks while blocked change nothing */
    for (int i = 0; i < 4; i++) {
        fake_char_room(f, "c0", 2);
        fake_run(f);
    }
    assert_int_equal(fake_char_take(f, "c0", out + 3, sizeof out - 3), 7);
    assert_string_equal(out, "abcdefghij");
    assert_int_equal(guest_used(&g, TX, &id, &len), 1);
    assert_int_equal(guest_used(&g, TX, &id, &len), 1);
    /* Reset in the middle: the next chain starts at its first byte. */
    fake_char_room(f, "c0", 3);
    say(&g, TX, "123456", 6);
    guest_start(&g, 0, 2, 8);
    fake_char_room(f, "c0", 64);
    fake_run(f);
    say(&g, TX, "new", 3);
    memset(out, 0, sizeof out);
    assert_int_equal(fake_char_take(f, "c0", out, sizeof out), 6);
    assert_string_equal(out, "123new");
    fake_free(f);
}

static void test_big_chains(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g, 1);
    guest_start(&g, 0, 2, 8);
    static char out[300000];
    uint32_t id, len;
    uint64_t buf = guest_alloc(&g, 200000);
    memset(guest_ptr(&g, buf), 'x', 200000);
    guest_add(&g, TX, (const struct guest_buf[]){ { buf, 100000, 0 }, { buf, 100000, 0 } }, 2);
    guest_kick(&g, TX); /* more than one run moves, and more than the backend holds */
    uint32_t total = 0;
    for (int i = 0; i < 10; i++) {
        total += fake_char_take(f, "c0", out + total, sizeof out - total);
        fake_char_room(f, "c0", 1 << 20);
        fake_run(f);
    }
    assert_int_equal(guest_used(&g, TX, &id, &len), 1);
    assert_int_equal(total, 200000);
    /* A chain that is not RAM, and one of 4 GiB that is not either. */
    guest_add(&g, TX, &(struct guest_buf){ fake_ram_len(f) - 100, 200, 0 }, 1);
    guest_kick(&g, TX);
    assert_int_equal(guest_in(&g, R_STATUS), 15 | G_NEEDS_RESET);
    guest_start(&g, 0, 2, 8);
    fake_char_type(f, "c0", "q", 1);
    give(&g, RX, g.base, 16);
    assert_int_equal(guest_in(&g, R_STATUS), 15 | G_NEEDS_RESET);
    fake_free(f);
}

static void test_size(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g, 1);
    assert_int_equal(fake_read(f, g.base + R_CONFIG, 2), 80);
    assert_int_equal(fake_read(f, g.base + R_CONFIG + 2, 2), 25);
    guest_start(&g, F_SIZE, 2, 8);
    uint32_t generation = guest_in(&g, R_GEN);
    fake_char_winsize(f, "c0", 132, 50);
    fake_char_event(f, "c0", MOBO_CHAR_RESIZED);
    fake_run(f);
    assert_int_equal(guest_in(&g, R_ISR) & 2, 2);
    assert_int_not_equal(guest_in(&g, R_GEN), generation);
    assert_int_equal(guest_in(&g, R_CONFIG), 132 | 50 << 16);
    fake_free(f);
}

static void test_emergency(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g, 1);
    char out[8] = { 0 };
    guest_out(&g, R_CONFIG + 8, 'P'); /* before anything is negotiated */
    fake_write(f, g.base + R_CONFIG + 8, '!', 1);
    guest_out(&g, R_CONFIG, 0xffffffff); /* the size is not writable */
    guest_out(&g, R_CONFIG + 12, 'x');   /* behind the end */
    assert_int_equal(fake_char_take(f, "c0", out, sizeof out), 2);
    assert_string_equal(out, "P!");
    assert_int_equal(guest_in(&g, R_CONFIG), 80 | 25 << 16);
    fake_free(f);
}

struct control {
    uint32_t id;
    uint16_t event, value;
};

static void control(struct guest *g, uint32_t port, uint16_t event, uint16_t value)
{
    const struct control c = { port, event, value };
    uint32_t id, len;
    say(g, CTX, &c, sizeof c);
    assert_int_equal(guest_used(g, CTX, &id, &len), 1);
}

/* The next message of the device; fails the test if it is another one. */
static void expect(struct guest *g, uint64_t buf, uint32_t port, uint16_t event, uint16_t value,
                   const void *tail, uint32_t tail_len)
{
    uint32_t id, len;
    struct control c;
    give(g, CRX, buf, 128);
    if (!guest_used(g, CRX, &id, &len))
        fail_msg("no message: port %u, event %u is missing", port, event);
    memcpy(&c, guest_ptr(g, buf), sizeof c);
    if (c.id != port || c.event != event || c.value != value || len != sizeof c + tail_len)
        fail_msg("port %u, event %u, value %u, %u bytes instead of port %u, event %u", c.id,
                 c.event, c.value, len, port, event);
    if (tail_len)
        assert_memory_equal((uint8_t *)guest_ptr(g, buf) + sizeof c, tail, tail_len);
}

static void test_multiport(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g, 2);
    assert_int_equal(guest_offer(&g) & 7, F_SIZE | F_EMERG | F_MULTIPORT);
    assert_int_equal(guest_in(&g, R_CONFIG + 4), 2);
    guest_start(&g, F_SIZE | F_MULTIPORT, 6, 8);
    uint64_t buf = guest_alloc(&g, 128), data = guest_alloc(&g, 64);
    uint32_t id, len;
    fake_char_event(f, "c1", MOBO_CHAR_OPENED);
    fake_run(f);
    fake_char_type(f, "c1", "early", 5); /* nobody has opened the port yet */
    fake_run(f);
    give(&g, RX1, data, 64);
    assert_int_equal(guest_used(&g, RX1, &id, &len), 0);
    control(&g, 0xffffffff, DEVICE_READY, 1);
    expect(&g, buf, 0, DEVICE_ADD, 1, NULL, 0);
    expect(&g, buf, 1, DEVICE_ADD, 1, NULL, 0);
    control(&g, 0, PORT_READY, 1);
    control(&g, 1, PORT_READY, 1);
    const uint16_t size[2] = { 80, 25 };
    expect(&g, buf, 0, CONSOLE_PORT, 1, NULL, 0);
    expect(&g, buf, 0, PORT_OPEN, 1, NULL, 0);
    expect(&g, buf, 0, RESIZE, 0, size, 4);
    expect(&g, buf, 1, NAME, 1, "org.example.a", 13);
    expect(&g, buf, 1, PORT_OPEN, 1, NULL, 0);
    control(&g, 1, PORT_OPEN, 1);
    assert_int_equal(guest_used(&g, RX1, &id, &len), 1);
    assert_memory_equal(guest_ptr(&g, data), "early", 5);
    char out[16] = { 0 };
    say(&g, TX1, "port1", 5);
    assert_int_equal(fake_char_take(f, "c1", out, sizeof out), 5);
    assert_string_equal(out, "port1");
    /* Many changes, one message: the newest state. */
    for (int i = 0; i < 100; i++)
        fake_char_event(f, "c1", i % 2 ? MOBO_CHAR_OPENED : MOBO_CHAR_CLOSED);
    fake_char_event(f, "c1", MOBO_CHAR_CLOSED);
    fake_run(f);
    expect(&g, buf, 1, PORT_OPEN, 0, NULL, 0);
    give(&g, CRX, buf, 128);
    assert_int_equal(guest_used(&g, CRX, &id, &len), 0);
    /* Nonsense from the driver: other ports, other events, a short message. */
    control(&g, 2, PORT_READY, 1);
    control(&g, 0xfffffffe, PORT_OPEN, 1);
    control(&g, 0, 99, 1);
    assert_int_equal(guest_in(&g, R_STATUS), 15);
    say(&g, CTX, "short", 5);
    assert_int_equal(guest_in(&g, R_STATUS), 15 | G_NEEDS_RESET);
    /* After a reset it all begins anew. */
    guest_start(&g, F_SIZE | F_MULTIPORT, 6, 8);
    buf = guest_alloc(&g, 128);
    give(&g, CRX, buf, 128);
    assert_int_equal(guest_used(&g, CRX, &id, &len), 0);
    control(&g, 0, DEVICE_READY, 1);
    assert_int_equal(guest_used(&g, CRX, &id, &len), 1);
    fake_free(f);
}

/* MULTIPORT offered, not taken: port 0 works, and the driver hears nothing of others. */
static void test_multiport_refused(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g, 2);
    guest_start(&g, 0, 2, 8);
    uint64_t buf = guest_alloc(&g, 16);
    uint32_t id, len;
    fake_char_type(f, "c0", "in", 2);
    give(&g, RX, buf, 16);
    assert_int_equal(guest_used(&g, RX, &id, &len), 1);
    assert_int_equal(len, 2);
    fake_free(f);
}

static void test_settings(void **state)
{
    (void)state;
    static const char *const gap[] = { "char=c0", "char2=c1", NULL };
    static const char *const twice[] = { "char=c0", "char1=c0", NULL };
    const mobo_class_t *c = fake_class(PLUGINS "/dev-virtio.so", "console");
    struct fake *f = guest_machine();
    (void)fake_char(f, "c0");
    (void)fake_char(f, "c1");
    assert_null(fake_add(f, "hvc", c, gap));
    assert_non_null(strstr(fake_failure(f), "without gaps"));
    assert_null(fake_add(f, "hvc2", c, twice));
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data), cmocka_unit_test(test_output_blocked),
        cmocka_unit_test(test_big_chains), cmocka_unit_test(test_size),
        cmocka_unit_test(test_emergency), cmocka_unit_test(test_multiport),
        cmocka_unit_test(test_multiport_refused), cmocka_unit_test(test_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
