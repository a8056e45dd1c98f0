/*
 * console.c: virtio console device (virtio 1.2, 5.3): up to four ports, each with a "mobo.char/1".
 * It buffers nothing: what the backend does not take stays in the driver's queue, and what the
 * driver has no room for stays in the backend.
 */
#include <stdlib.h>

#include "console.h"

VIRTIO_CHECK_HEAD(struct console);

/* 5.3.4: offsets in the configuration space. */
enum { CFG_COLS = 0, CFG_ROWS = 2, CFG_MAX_PORTS = 4, CFG_EMERG_WR = 8, CFG_BYTES = 12 };
/* How many bytes one run moves at most: then the loop serves others. */
enum { RUN_BYTES = 65536 };

int console_multiport(const struct console *c)
{
    return virtio_has(&c->v, CONSOLE_F_MULTIPORT);
}

/* ---- data ------------------------------------------------------------------------------------ */

/* Driver to backend. A chain that is taken in part stays first in the queue; sent[] is how far. */
static void port_transmit(struct console *c, unsigned port)
{
    unsigned queue = port_rx(port) + 1;
    struct vq_chain chain = { .buf = c->bufs, .room = c->queue_size };
    uint32_t budget = RUN_BYTES;
    while (virtio_pop(&c->v, queue, &chain)) {
        while (c->sent[port] < chain.read_len) {
            uint8_t buf[PORT_CHUNK];
            uint32_t len = chain.read_len - c->sent[port];
            if (len > sizeof buf)
                len = sizeof buf;
            if (len > budget)
                len = budget;
            if (len == 0) {
                virtio_unpop(&c->v, queue, &chain);
                virtio_queue_post(&c->v, queue);
                return;
            }
            if (vq_read(&c->v.queue[queue].vq, &chain, c->sent[port], buf, len)) {
                virtio_broken(&c->v, queue, "a buffer is not RAM");
                return;
            }
            uint32_t taken = mobo_char_write(c->link[port], buf, len);
            c->sent[port] += taken;
            budget -= taken;
            if (taken < len) { /* WRITABLE will come */
                virtio_unpop(&c->v, queue, &chain);
                return;
            }
        }
        c->sent[port] = 0;
        virtio_push(&c->v, queue, &chain, 0);
    }
}

/* Backend to driver; only while the driver has buffers, so that the backend holds the rest. */
static void port_receive(struct console *c, unsigned port)
{
    unsigned queue = port_rx(port);
    struct vq_chain chain = { .buf = c->bufs, .room = c->queue_size };
    uint32_t budget = RUN_BYTES;
    if (console_multiport(c) && !c->guest_open[port])
        return;
    while (c->readable[port] && virtio_pop(&c->v, queue, &chain)) {
        uint8_t buf[PORT_CHUNK];
        uint32_t len = chain.write_len < sizeof buf ? chain.write_len : sizeof buf;
        if (budget < sizeof buf) {
            virtio_unpop(&c->v, queue, &chain);
            virtio_queue_post(&c->v, queue);
            return;
        }
        if (len)
            len = mobo_char_read(c->link[port], buf, len);
        if (len == 0 && chain.write_len) {
            c->readable[port] = 0;
            virtio_unpop(&c->v, queue, &chain);
            return;
        }
        if (vq_write(&c->v.queue[queue].vq, &chain, 0, buf, len)) {
            virtio_broken(&c->v, queue, "a buffer is not RAM");
            return;
        }
        budget -= len;
        virtio_push(&c->v, queue, &chain, len);
    }
}

static void console_run(struct virtio *v, unsigned queue)
{
    struct console *c = virtio_self(v);
    if (queue == CONTROL_RX) {
        console_tell(c);
    } else if (queue == CONTROL_TX) {
        console_control(c);
    } else {
        unsigned port = queue < 2 ? 0 : queue / 2 - 1;
        if (queue % 2)
            port_transmit(c, port);
        else
            port_receive(c, port);
    }
}

/* ---- events of the backends ------------------------------------------------------------------ */

static void port_resized(struct console *c, unsigned port)
{
    uint32_t cols, rows;
    if (mobo_char_winsize(c->link[port], &cols, &rows))
        return;
    c->cols[port] = (uint16_t)(cols > UINT16_MAX ? UINT16_MAX : cols);
    c->rows[port] = (uint16_t)(rows > UINT16_MAX ? UINT16_MAX : rows);
    if (port == 0) {
        virtio_config_set(&c->v, CFG_COLS, c->cols[0], 2);
        virtio_config_set(&c->v, CFG_ROWS, c->rows[0], 2);
        if (virtio_has(&c->v, CONSOLE_F_SIZE))
            virtio_config_changed(&c->v);
    }
    c->tell[port] |= TELL_RESIZE;
}

static void console_event(struct console *c, unsigned port, uint32_t events)
{
    if (events & (MOBO_CHAR_OPENED | MOBO_CHAR_CLOSED)) {
        c->host_open[port] = (events & MOBO_CHAR_OPENED) != 0;
        c->tell[port] |= TELL_OPEN;
    }
    if (events & (MOBO_CHAR_RESIZED | MOBO_CHAR_OPENED))
        port_resized(c, port);
    if (console_multiport(c) && c->tell[port])
        virtio_run(&c->v, CONTROL_RX);
    if (events & MOBO_CHAR_READABLE) {
        c->readable[port] = 1;
        virtio_run(&c->v, port_rx(port));
    }
    if (events & (MOBO_CHAR_WRITABLE | MOBO_CHAR_CLOSED))
        virtio_run(&c->v, port_rx(port) + 1);
}

static void event0(void *self, uint32_t events)
{
    console_event(self, 0, events);
}

static void event1(void *self, uint32_t events)
{
    console_event(self, 1, events);
}

static void event2(void *self, uint32_t events)
{
    console_event(self, 2, events);
}

static void event3(void *self, uint32_t events)
{
    console_event(self, 3, events);
}

/* ---- life ------------------------------------------------------------------------------------ */

/* 5.3.4: one character to the console, in any state: for guests that are about to die. */
static void emergency_write(struct virtio *v, uint32_t off, const uint8_t *buf, uint32_t len)
{
    struct console *c = virtio_self(v);
    (void)len;
    if (off == CFG_EMERG_WR)
        (void)mobo_char_write(c->link[0], buf, 1);
}

static void console_forget(struct virtio *v)
{
    struct console *c = virtio_self(v);
    for (unsigned i = 0; i < PORTS; i++) {
        c->sent[i] = 0;
        c->guest_open[i] = c->ready[i] = c->tell[i] = 0;
    }
}

static const virtio_ops_t console_ops = {
    .id = VIRTIO_ID_CONSOLE, .run = console_run, .reset = console_forget,
    .config_write = emergency_write,
};

static int console_open(struct console *c)
{
    static void (*const event[PORTS])(void *, uint32_t) = { event0, event1, event2, event3 };
    for (unsigned i = 0; i < c->ports; i++) {
        if (!c->link[i].ops)
            return mobo_fail(c->obj, "char%u is not set although char%u is: ports are numbered "
                             "without gaps", i, c->ports - 1);
        int rc = mobo_char_open(c->link[i], c->obj, event[i]);
        if (rc == MOBO_EBUSY)
            return mobo_fail_code(c->obj, rc, "the backend of port %u has an owner already: give "
                                  "each port one of its own", i);
        if (rc)
            return rc;
    }
    return 0;
}

static int console_init(void *self)
{
    struct console *c = self;
    for (unsigned i = 0; i < PORTS; i++)
        if (c->link[i].ops)
            c->ports = i + 1;
    int rc = console_open(c);
    if (rc)
        return rc;
    /* SIZE even without a terminal: 0 x 0 is "unknown", and a snapshot may meet one later. */
    uint64_t features = CONSOLE_F_EMERG_WRITE | CONSOLE_F_SIZE;
    if (c->ports > 1)
        features |= CONSOLE_F_MULTIPORT;
    virtio_init(&c->v, c->obj, &console_ops, features, CFG_BYTES);
    virtio_config_set(&c->v, CFG_MAX_PORTS, c->ports, 4);
    for (unsigned i = 0; i < c->ports; i++)
        port_resized(c, i);
    unsigned queues = c->ports > 1 ? 2 * c->ports + 2 : 2;
    for (unsigned i = 0; rc == 0 && i < queues; i++)
        rc = virtio_queue_add(&c->v, i, c->queue_size);
    if (rc)
        return rc;
    c->bufs = calloc(c->queue_size, sizeof *c->bufs);
    if (!c->bufs)
        return mobo_fail_code(c->obj, MOBO_ENOMEM, "no memory for %u descriptors", c->queue_size);
    return virtio_mmio_attach((struct virtio_head *)self);
}

static void console_reset(void *self)
{
    virtio_reset(&((struct console *)self)->v);
}

static int console_loaded(void *self, uint32_t version)
{
    (void)version;
    struct console *c = self;
    virtio_config_set(&c->v, CFG_MAX_PORTS, c->ports, 4);
    for (unsigned i = 0; i < c->ports; i++) {
        c->readable[i] = 1; /* ask: what the backend has is not in the snapshot */
        port_resized(c, i);
        c->tell[i] |= TELL_OPEN;
    }
    return virtio_mmio_loaded((struct virtio_head *)self);
}

static void console_fini(void *self)
{
    struct console *c = self;
    free(c->bufs);
}

static const mobo_prop_t props[] = {
    VIRTIO_PROPS(struct console),
    MOBO_NAMED(struct console, link[0], "char", MOBO_T_LINK, NULL, "backend of port 0, the console",
               .arg = MOBO_CHAR),
    MOBO_NAMED(struct console, link[1], "char1", MOBO_T_LINK, "", "backend of port 1",
               .arg = MOBO_CHAR, .flags = MOBO_P_OPTIONAL),
    MOBO_NAMED(struct console, link[2], "char2", MOBO_T_LINK, "", "backend of port 2",
               .arg = MOBO_CHAR, .flags = MOBO_P_OPTIONAL),
    MOBO_NAMED(struct console, link[3], "char3", MOBO_T_LINK, "", "backend of port 3",
               .arg = MOBO_CHAR, .flags = MOBO_P_OPTIONAL),
    MOBO_NAMED(struct console, name[1], "name1", MOBO_T_STR, "",
               "name of port 1: /dev/virtio-ports/NAME in the guest", .max = 64),
    MOBO_NAMED(struct console, name[2], "name2", MOBO_T_STR, "", "name of port 2", .max = 64),
    MOBO_NAMED(struct console, name[3], "name3", MOBO_T_STR, "", "name of port 3", .max = 64),
    MOBO_NAMED(struct console, queue_size, "queue-size", MOBO_T_U32, "64",
               "entries of each queue, a power of two", .min = 2, .max = VQ_SIZE_MAX),
    MOBO_END,
};
static const mobo_field_t state[] = {
    VIRTIO_STATE(struct console), MOBO_STATE_ARRAY(struct console, guest_open),
    MOBO_STATE_ARRAY(struct console, ready), MOBO_STATE_ARRAY(struct console, tell),
    MOBO_STATE_ARRAY(struct console, sent), MOBO_END,
};
const mobo_class_t virtio_console_class = {
    MOBO_CLASS(struct console, props, state), .name = "console",
    .summary = "virtio console and serial ports", .init = console_init, .reset = console_reset,
    .fini = console_fini, .loaded = console_loaded,
};
