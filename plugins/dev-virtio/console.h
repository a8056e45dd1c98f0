/*
 * console.h: what console.c (the ports' data) and console_control.c (the control queues) share.
 */
#ifndef VIRTIO_CONSOLE_H
#define VIRTIO_CONSOLE_H

#include <mobo/char.h>

#include "classes.h"
#include "virtio.h"

/* virtio 1.2, 5.3.3: features. */
#define CONSOLE_F_SIZE (UINT64_C(1) << 0)
#define CONSOLE_F_MULTIPORT (UINT64_C(1) << 1)
#define CONSOLE_F_EMERG_WRITE (UINT64_C(1) << 2)

enum { PORTS = 4, PORT_CHUNK = 4096 };

/* 5.3.2: port 0 has queues 0 and 1, control has 2 and 3, port n has 2n + 2 and 2n + 3. */
enum { CONTROL_RX = 2, CONTROL_TX = 3 };
static inline unsigned port_rx(unsigned port)
{
    return port == 0 ? 0 : 2 * port + 2;
}

/* What the driver is still to be told about a port: bits of `tell`. */
enum { TELL_ADD = 1, TELL_CONSOLE = 2, TELL_NAME = 4, TELL_OPEN = 8, TELL_RESIZE = 16 };

struct console {
    mobo_obj_t *obj;
    mobo_mmio_t bus;
    mobo_irq_t irq;
    struct virtio v;
    mobo_char_t link[PORTS]; /* properties; port 0 always has one */
    const char *name[PORTS];
    uint32_t queue_size;
    uint32_t ports;             /* highest port with a link, plus 1 */
    uint8_t readable[PORTS];    /* the backend may have bytes */
    uint8_t host_open[PORTS];   /* somebody is at the backend's other end */
    uint8_t guest_open[PORTS];  /* likewise in the guest (MULTIPORT) */
    uint8_t ready[PORTS];       /* the driver has taken the port (MULTIPORT) */
    uint8_t tell[PORTS];        /* TELL_... */
    uint32_t sent[PORTS];       /* bytes of the first chain of the transmit queue that are gone */
    uint16_t cols[PORTS], rows[PORTS];
    struct vq_buf *bufs;
};

int console_multiport(const struct console *c);
/* Tell what is to be told, as far as the driver has given buffers. */
void console_tell(struct console *c);
/* Messages from the driver wait. */
void console_control(struct console *c);

#endif
