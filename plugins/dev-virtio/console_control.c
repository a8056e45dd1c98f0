/*
 * console_control.c: the control queues of a console with several ports (virtio 1.2, 5.3.6.2).
 * What the driver is to be told is kept as bits, not as messages: a driver that gives no buffers
 * costs no memory, and hears the newest state when it does.
 */
#include "console.h"

/* 5.3.6.2: struct virtio_console_control and its events. */
enum {
    DEVICE_READY = 0,
    DEVICE_ADD = 1,
    PORT_READY = 3,
    CONSOLE_PORT = 4,
    RESIZE = 5,
    PORT_OPEN = 6,
    PORT_NAME = 7,
};

enum { NAME_MAX_BYTES = 64 };

struct control {
    uint32_t id;
    uint16_t event, value;
};

struct message {
    struct control head;
    uint8_t tail[NAME_MAX_BYTES];
};

/* One message about a port: 1 if sent, 0 if there is no buffer for it now. */
static int send(struct console *c, unsigned port, uint16_t event, uint16_t value, const void *tail,
                uint32_t tail_len)
{
    struct message m = { .head = { .id = port, .event = event, .value = value } };
    struct vq_chain chain = { .buf = c->bufs, .room = c->queue_size };
    uint32_t len = (uint32_t)sizeof m.head + tail_len;
    if (tail_len > sizeof m.tail || !virtio_pop(&c->v, CONTROL_RX, &chain))
        return 0;
    if (tail_len)
        memcpy(m.tail, tail, tail_len);
    if (len > chain.write_len) {
        virtio_broken(&c->v, CONTROL_RX, "a control buffer is too short for the message");
        return 0;
    }
    if (vq_write(&c->v.queue[CONTROL_RX].vq, &chain, 0, &m, len)) {
        virtio_broken(&c->v, CONTROL_RX, "a buffer is not RAM");
        return 0;
    }
    virtio_push(&c->v, CONTROL_RX, &chain, len);
    return 1;
}

/* The lowest of the bits; their order is the order of the messages. */
static int tell_one(struct console *c, unsigned port, uint8_t bit)
{
    uint16_t size[2] = { c->cols[port], c->rows[port] }; /* the order of the specification */
    const char *name = c->name[port];
    switch (bit) {
    case TELL_ADD:
        return send(c, port, DEVICE_ADD, 1, NULL, 0);
    case TELL_CONSOLE:
        return send(c, port, CONSOLE_PORT, 1, NULL, 0);
    case TELL_NAME:
        return send(c, port, PORT_NAME, 1, name, (uint32_t)strnlen(name, NAME_MAX_BYTES));
    case TELL_OPEN:
        /* A console is always open: its output goes somewhere, even if nobody looks. */
        return send(c, port, PORT_OPEN, port == 0 || c->host_open[port], NULL, 0);
    default:
        return send(c, port, RESIZE, 0, size, sizeof size);
    }
}

void console_tell(struct console *c)
{
    if (!console_multiport(c))
        return;
    for (unsigned port = 0; port < c->ports; port++) {
        for (uint8_t bit = TELL_ADD; bit <= TELL_RESIZE; bit = (uint8_t)(bit << 1)) {
            if (!(c->tell[port] & bit) || (bit != TELL_ADD && !c->ready[port]))
                continue;
            /* Sizes are for the console (5.3.6.2), and for one that has a size. */
            int skip = bit == TELL_RESIZE && (port != 0 || !c->cols[port] ||
                                              !virtio_has(&c->v, CONSOLE_F_SIZE));
            if (!skip && !tell_one(c, port, bit))
                return;
            c->tell[port] &= (uint8_t)~bit;
        }
    }
}

static void handle(struct console *c, const struct control *m)
{
    if (m->event == DEVICE_READY) {
        for (unsigned i = 0; m->value && i < c->ports; i++)
            c->tell[i] |= TELL_ADD;
        return;
    }
    if (m->id >= c->ports) {
        mobo_log(c->obj, MOBO_WARN, "the driver speaks of port %u; there are %u", m->id, c->ports);
        return;
    }
    if (m->event == PORT_READY) {
        c->ready[m->id] = m->value != 0;
        if (!m->value)
            return;
        c->tell[m->id] |= TELL_OPEN | TELL_RESIZE;
        if (m->id == 0)
            c->tell[m->id] |= TELL_CONSOLE;
        else if (*c->name[m->id])
            c->tell[m->id] |= TELL_NAME;
    } else if (m->event == PORT_OPEN) {
        c->guest_open[m->id] = m->value != 0;
        virtio_queue_post(&c->v, port_rx(m->id));
    }
}

void console_control(struct console *c)
{
    struct vq_chain chain = { .buf = c->bufs, .room = c->queue_size };
    while (virtio_pop(&c->v, CONTROL_TX, &chain)) {
        struct control m;
        if (vq_read(&c->v.queue[CONTROL_TX].vq, &chain, 0, &m, sizeof m)) {
            virtio_broken(&c->v, CONTROL_TX, "a control message is short, or not in RAM");
            return;
        }
        virtio_push(&c->v, CONTROL_TX, &chain, 0);
        handle(c, &m);
    }
    virtio_queue_post(&c->v, CONTROL_RX);
}
