/*
 * virtio.h: a virtio device without a transport and without a purpose: status, features, queues and
 * configuration space (virtio 1.2, chapter 2). A class (blk, rng, console) fills in a virtio_ops
 * and never sees a register; a transport (mmio now, PCI later) turns registers into the calls at
 * the end of this file and never sees a class.
 */
#ifndef VIRTIO_H
#define VIRTIO_H

#include <mobo/block.h>
#include <mobo/bus.h>
#include <mobo/plugin.h>

#include "virtqueue/virtqueue.h"

/* 2.1: device status. */
enum {
    VIRTIO_ACKNOWLEDGE = 1,
    VIRTIO_DRIVER = 2,
    VIRTIO_DRIVER_OK = 4,
    VIRTIO_FEATURES_OK = 8,
    VIRTIO_NEEDS_RESET = 64,
    VIRTIO_FAILED = 128,
};

/* 6: feature bits that belong to no device type. */
#define VIRTIO_F_INDIRECT_DESC (UINT64_C(1) << 28)
#define VIRTIO_F_EVENT_IDX (UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1 (UINT64_C(1) << 32)

/* 5: device types. */
enum { VIRTIO_ID_BLOCK = 2, VIRTIO_ID_CONSOLE = 3, VIRTIO_ID_RNG = 4 };

enum { VIRTIO_QUEUES = 16, VIRTIO_CONFIG_BYTES = 64 };

struct virtio;

typedef struct virtio_ops {
    uint32_t id; /* VIRTIO_ID_... */
    /* DRIVER_OK is set and chains may be waiting (or room has come): pop what can be served. */
    void (*run)(struct virtio *v, unsigned queue);
    void (*started)(struct virtio *v); /* DRIVER_OK was set; may be NULL */
    /* The driver, or the machine, resets the device: forget all requests. May be NULL. */
    void (*reset)(struct virtio *v);
    /* The driver wrote v->config[off .. off + len). May be NULL: nothing is writable. */
    void (*config_write)(struct virtio *v, uint32_t off, const uint8_t *buf, uint32_t len);
} virtio_ops_t;

enum { VIRTIO_IRQ_QUEUE = 1, VIRTIO_IRQ_CONFIG = 2 };

typedef struct virtio_transport {
    /* WHAT happened; QUEUE matters for VIRTIO_IRQ_QUEUE. */
    void (*interrupt)(struct virtio *v, uint32_t what, unsigned queue);
    void (*reset)(struct virtio *v); /* the transport's own registers */
} virtio_transport_t;

/* One queue: the ring, and what the driver sets before it is enabled. */
struct virtio_queue {
    struct vq vq;
    uint64_t desc, avail, used; /* as written by the driver */
    uint16_t size;              /* likewise; at most size_max */
    uint16_t size_max;          /* 0: the queue does not exist */
    uint8_t posted;             /* a run of the queue is on its way */
    uint8_t index;
    uint32_t budget;            /* chains that this run may still pop */
};

/* What the mmio transport keeps (virtio 1.2, 4.2.2). */
struct virtio_mmio {
    uint32_t features_sel, driver_features_sel, queue_sel, shm_sel;
    uint32_t interrupt_status;
};

struct virtio {
    mobo_obj_t *obj;
    const virtio_ops_t *ops;
    const virtio_transport_t *transport;
    uint64_t features;        /* offered */
    uint64_t driver_features; /* as written; agreed once FEATURES_OK is set */
    uint32_t status;
    uint32_t generation;      /* of the configuration space (2.5.1) */
    uint32_t config_len;
    uint8_t config[VIRTIO_CONFIG_BYTES];
    struct virtio_queue queue[VIRTIO_QUEUES];
    struct virtio_mmio mmio;
};

/* The start of every class's instance: what a transport's callbacks get as `self`. */
struct virtio_head {
    mobo_obj_t *obj;
    mobo_mmio_t bus;
    mobo_irq_t irq;
    struct virtio v;
};
static inline void *virtio_self(struct virtio *v)
{
    return (char *)v - offsetof(struct virtio_head, v);
}
#define VIRTIO_CHECK_HEAD(T)                                                                       \
    _Static_assert(offsetof(T, bus) == offsetof(struct virtio_head, bus) &&                        \
                       offsetof(T, irq) == offsetof(struct virtio_head, irq) &&                    \
                       offsetof(T, v) == offsetof(struct virtio_head, v),                          \
                   "the instance must start like struct virtio_head")

/* Keys that every class has. */
#define VIRTIO_PROPS(T)                                                                            \
    MOBO_BUS(T, bus, MOBO_MMIO_BUS, "bus the device sits on"),                                     \
        MOBO_IRQ(T, irq, "interrupt line; the bus gives one if absent")

/* State that every class has. */
#define VIRTIO_QUEUE_STATE(T, i)                                                                   \
    VQ_STATE(T, v.queue[i].vq), MOBO_STATE(T, v.queue[i].desc), MOBO_STATE(T, v.queue[i].avail),   \
        MOBO_STATE(T, v.queue[i].used), MOBO_STATE(T, v.queue[i].size)
#define VIRTIO_STATE(T)                                                                            \
    MOBO_STATE(T, v.driver_features), MOBO_STATE(T, v.status), MOBO_STATE(T, v.generation),        \
        MOBO_STATE_ARRAY(T, v.config), MOBO_STATE(T, v.mmio.features_sel),                         \
        MOBO_STATE(T, v.mmio.driver_features_sel), MOBO_STATE(T, v.mmio.queue_sel),                \
        MOBO_STATE(T, v.mmio.shm_sel), MOBO_STATE(T, v.mmio.interrupt_status),                     \
        VIRTIO_QUEUE_STATE(T, 0), VIRTIO_QUEUE_STATE(T, 1), VIRTIO_QUEUE_STATE(T, 2),              \
        VIRTIO_QUEUE_STATE(T, 3), VIRTIO_QUEUE_STATE(T, 4), VIRTIO_QUEUE_STATE(T, 5),              \
        VIRTIO_QUEUE_STATE(T, 6), VIRTIO_QUEUE_STATE(T, 7), VIRTIO_QUEUE_STATE(T, 8),              \
        VIRTIO_QUEUE_STATE(T, 9), VIRTIO_QUEUE_STATE(T, 10), VIRTIO_QUEUE_STATE(T, 11),            \
        VIRTIO_QUEUE_STATE(T, 12), VIRTIO_QUEUE_STATE(T, 13), VIRTIO_QUEUE_STATE(T, 14),           \
        VIRTIO_QUEUE_STATE(T, 15)

/* ---- for classes (all [locked]) -------------------------------------------------------------- */

/* From init, before attaching: features beside those of the rings, and the queues. */
void virtio_init(struct virtio *v, mobo_obj_t *obj, const virtio_ops_t *ops, uint64_t features,
                 uint32_t config_len);
/* Size is a power of two up to VQ_SIZE_MAX, or the function says in the log what it must be. */
int virtio_queue_add(struct virtio *v, unsigned queue, uint32_t size);
int virtio_loaded(struct virtio *v);

/* 1 if the driver has agreed to the feature. */
int virtio_has(const struct virtio *v, uint64_t feature);
/* 1 between DRIVER_OK and reset or failure. */
int virtio_running(const struct virtio *v);

/*
 * The next chain of a queue: 1, or 0 if there is none for now: then `run` is called when there is.
 * One run pops no more chains than the queue is long; the rest comes with a run posted for it.
 */
int virtio_pop(struct virtio *v, unsigned queue, struct vq_chain *chain);
/* The chain cannot be used now: it stays first in the queue, and only virtio_run looks again. */
void virtio_unpop(struct virtio *v, unsigned queue, const struct vq_chain *chain);
void virtio_push(struct virtio *v, unsigned queue, const struct vq_chain *chain, uint32_t len);
/* Interrupt the driver if it wants to hear of the pushes since the last call. */
void virtio_flush(struct virtio *v, unsigned queue);
/* Look at a queue again, now, as if it had been kicked. */
void virtio_run(struct virtio *v, unsigned queue);
/* The driver broke a rule: stop the queue and set DEVICE_NEEDS_RESET (2.1.2). */
void virtio_broken(struct virtio *v, unsigned queue, const char *why);

/* Little-endian fields of the configuration space. */
void virtio_config_set(struct virtio *v, uint32_t off, uint64_t val, uint32_t bytes);
/* They changed while the driver runs: new generation and a configuration interrupt. */
void virtio_config_changed(struct virtio *v);

/* ---- for transports (all [locked]) ----------------------------------------------------------- */

void virtio_reset(struct virtio *v);
void virtio_status_write(struct virtio *v, uint32_t val);
void virtio_features_write(struct virtio *v, uint32_t word, uint32_t val);
uint64_t virtio_config_read(const struct virtio *v, uint64_t off, unsigned bytes);
void virtio_config_write(struct virtio *v, uint64_t off, uint64_t val, unsigned bytes);
/* The queue whose registers may be written now, or NULL (and a line in the log). */
struct virtio_queue *virtio_queue_setup(struct virtio *v, uint32_t queue);
void virtio_queue_enable(struct virtio *v, struct virtio_queue *q);
void virtio_queue_disable(struct virtio *v, struct virtio_queue *q);
/* Run the queue soon, from the object's loop: never on a virtual CPU's thread. */
void virtio_queue_post(struct virtio *v, unsigned queue);
/* The function of a doorbell; arg is the struct virtio_queue. */
void virtio_queue_kicked(void *self, void *arg);

/* transport_mmio.c */
int virtio_mmio_attach(struct virtio_head *head);
int virtio_mmio_loaded(struct virtio_head *head);

#endif
