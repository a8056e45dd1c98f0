/*
 * rng.c: virtio entropy device (virtio 1.2, 5.4): fills the driver's buffers with random bytes of
 * the host. It has no source but the host's own generator.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "classes.h"
#include "virtio.h"

/* The most that one request gets: a driver that asks for more asks again (5.4.6.2 allows less). */
enum { RNG_CHUNK = 4096 };
#define NS_PER_MS UINT64_C(1000000)

struct rng {
    mobo_obj_t *obj;
    mobo_mmio_t bus;
    mobo_irq_t irq;
    struct virtio v;
    uint64_t max_bytes; /* properties */
    uint32_t period, queue_size;
    uint64_t left;      /* bytes that may still be given in this period */
    uint64_t refill_at; /* VM time of the next period */
    mobo_timer_t *timer;
    struct vq_buf *bufs;
};
VIRTIO_CHECK_HEAD(struct rng);

/* How many bytes may be given now; 0 sets the timer that looks again. */
static uint64_t rng_allowance(struct rng *r)
{
    if (r->max_bytes == 0)
        return RNG_CHUNK;
    uint64_t now = mobo_now(r->obj, MOBO_CLOCK_VM);
    if (now >= r->refill_at) {
        r->left = r->max_bytes;
        r->refill_at = now + r->period * NS_PER_MS;
    }
    if (r->left == 0)
        mobo_timer_set(r->obj, r->timer, r->refill_at);
    return r->left;
}

static void rng_run(struct virtio *v, unsigned queue)
{
    struct rng *r = virtio_self(v);
    struct vq_chain chain = { .buf = r->bufs, .room = r->queue_size };
    uint64_t allowed;
    while ((allowed = rng_allowance(r)) && virtio_pop(v, queue, &chain)) {
        uint8_t bytes[RNG_CHUNK];
        uint64_t len = chain.write_len < sizeof bytes ? chain.write_len : sizeof bytes;
        if (len > allowed)
            len = allowed;
        /* Before the host's generator is seeded (early at its boot) there is nothing to give. */
        ssize_t got = len ? getrandom(bytes, len, GRND_NONBLOCK) : 0;
        if (got < 0) {
            virtio_unpop(v, queue, &chain);
            mobo_timer_set(r->obj, r->timer,
                           mobo_now(r->obj, MOBO_CLOCK_VM) + 100 * NS_PER_MS);
            return;
        }
        if (vq_write(&v->queue[queue].vq, &chain, 0, bytes, (uint32_t)got)) {
            virtio_broken(v, queue, "a buffer is not RAM");
            return;
        }
        if (r->max_bytes)
            r->left -= (uint64_t)got;
        virtio_push(v, queue, &chain, (uint32_t)got);
    }
}

static void rng_tick(void *self)
{
    struct rng *r = self;
    virtio_run(&r->v, 0);
}

static const virtio_ops_t rng_ops = { .id = VIRTIO_ID_RNG, .run = rng_run };

static int rng_init(void *self)
{
    struct rng *r = self;
    virtio_init(&r->v, r->obj, &rng_ops, 0, 0);
    int rc = virtio_queue_add(&r->v, 0, r->queue_size);
    if (rc)
        return rc;
    r->bufs = calloc(r->queue_size, sizeof *r->bufs);
    if (!r->bufs)
        return mobo_fail_code(r->obj, MOBO_ENOMEM, "no memory for %u descriptors", r->queue_size);
    rc = mobo_timer_new(r->obj, rng_tick, &r->timer);
    return rc ? rc : virtio_mmio_attach((struct virtio_head *)self);
}

static void rng_reset(void *self)
{
    struct rng *r = self;
    virtio_reset(&r->v);
    r->left = r->refill_at = 0;
}

static int rng_loaded(void *self, uint32_t version)
{
    (void)version;
    struct rng *r = self;
    if (r->left > r->max_bytes)
        r->left = r->max_bytes;
    return virtio_mmio_loaded((struct virtio_head *)self);
}

static void rng_fini(void *self)
{
    struct rng *r = self;
    free(r->bufs);
}

static const mobo_prop_t props[] = {
    VIRTIO_PROPS(struct rng),
    MOBO_NAMED(struct rng, max_bytes, "max-bytes", MOBO_T_SIZE, "0",
               "random bytes given in a period at most; 0: no limit"),
    MOBO_U32(struct rng, period, "1000", "length of that period in milliseconds", .min = 1,
             .max = 3600000),
    MOBO_NAMED(struct rng, queue_size, "queue-size", MOBO_T_U32, "8",
               "entries of the queue, a power of two", .min = 2, .max = VQ_SIZE_MAX),
    MOBO_END,
};
static const mobo_field_t state[] = {
    VIRTIO_STATE(struct rng), MOBO_STATE(struct rng, left), MOBO_STATE(struct rng, refill_at),
    MOBO_END,
};
const mobo_class_t virtio_rng_class = {
    MOBO_CLASS(struct rng, props, state), .name = "rng",
    .summary = "virtio entropy device", .init = rng_init, .reset = rng_reset,
    .fini = rng_fini, .loaded = rng_loaded,
};
