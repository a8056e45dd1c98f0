/*
 * virtio.c: the device-independent half of a virtio device (virtio 1.2, chapter 2): the status
 * machine, feature negotiation, queues and their budgets, the configuration space. It knows no
 * register layout and no device type.
 */
#include "virtio.h"

int virtio_has(const struct virtio *v, uint64_t feature)
{
    return (v->status & VIRTIO_FEATURES_OK) && (v->driver_features & feature) == feature;
}

int virtio_running(const struct virtio *v)
{
    return (v->status & (VIRTIO_DRIVER_OK | VIRTIO_NEEDS_RESET | VIRTIO_FAILED)) ==
           VIRTIO_DRIVER_OK;
}

/* ---- queues ---------------------------------------------------------------------------------- */

void virtio_broken(struct virtio *v, unsigned queue, const char *why)
{
    vq_break(&v->queue[queue].vq, why);
    if (v->status & VIRTIO_NEEDS_RESET)
        return;
    mobo_log(v->obj, MOBO_WARN, "queue %u is unusable until the driver resets the device: %s",
             queue, why);
    v->status |= VIRTIO_NEEDS_RESET;
    if (v->status & VIRTIO_DRIVER_OK)
        v->transport->interrupt(v, VIRTIO_IRQ_CONFIG, 0); /* 2.1.2 */
}

static void queue_run_posted(void *self, void *arg)
{
    struct virtio_head *head = self;
    struct virtio_queue *q = arg;
    q->posted = 0;
    virtio_run(&head->v, q->index);
}

/* A run that is on its way looks too: else each kick of a full queue would add one for ever. */
void virtio_queue_kicked(void *self, void *arg)
{
    struct virtio_head *head = self;
    struct virtio_queue *q = arg;
    if (!q->posted)
        virtio_run(&head->v, q->index);
}

void virtio_queue_post(struct virtio *v, unsigned queue)
{
    struct virtio_queue *q = &v->queue[queue];
    if (q->posted)
        return;
    q->posted = mobo_post(v->obj, queue_run_posted, q) == 0;
}

void virtio_run(struct virtio *v, unsigned queue)
{
    struct virtio_queue *q = &v->queue[queue];
    if (!virtio_running(v) || !q->vq.live)
        return;
    q->budget = q->vq.size;
    (void)vq_kicks(&q->vq, 0);
    v->ops->run(v, queue);
    virtio_flush(v, queue);
}

int virtio_pop(struct virtio *v, unsigned queue, struct vq_chain *chain)
{
    struct virtio_queue *q = &v->queue[queue];
    if (!virtio_running(v))
        return 0;
    if (q->budget == 0) {
        virtio_queue_post(v, queue);
        return 0;
    }
    int rc;
    do {
        rc = vq_pop(&q->vq, chain);
    } while (rc == 0 && vq_kicks(&q->vq, 1));
    if (rc > 0) {
        q->budget--;
        return 1;
    }
    if (q->vq.broken)
        virtio_broken(v, queue, q->vq.why);
    return 0;
}

void virtio_unpop(struct virtio *v, unsigned queue, const struct vq_chain *chain)
{
    vq_unpop(&v->queue[queue].vq, chain);
}

void virtio_push(struct virtio *v, unsigned queue, const struct vq_chain *chain, uint32_t len)
{
    struct virtio_queue *q = &v->queue[queue];
    if (!virtio_running(v))
        return;
    vq_push(&q->vq, chain, len);
    if (q->vq.broken)
        virtio_broken(v, queue, q->vq.why);
}

void virtio_flush(struct virtio *v, unsigned queue)
{
    struct virtio_queue *q = &v->queue[queue];
    if (!virtio_running(v))
        return;
    if (vq_wants_interrupt(&q->vq))
        v->transport->interrupt(v, VIRTIO_IRQ_QUEUE, queue);
    if (q->vq.broken)
        virtio_broken(v, queue, q->vq.why);
}

struct virtio_queue *virtio_queue_setup(struct virtio *v, uint32_t queue)
{
    if (queue >= VIRTIO_QUEUES || v->queue[queue].size_max == 0) {
        mobo_log(v->obj, MOBO_WARN, "the driver sets up queue %u, which does not exist", queue);
        return NULL;
    }
    /* 3.1.1: queues are set up between FEATURES_OK and DRIVER_OK; then they are as they are. */
    uint32_t phase = VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK | VIRTIO_FAILED;
    if ((v->status & phase) != VIRTIO_FEATURES_OK || v->queue[queue].vq.live) {
        mobo_log(v->obj, MOBO_WARN, "the driver changes queue %u at the wrong time (status 0x%x)",
                 queue, v->status);
        return NULL;
    }
    return &v->queue[queue];
}

void virtio_queue_enable(struct virtio *v, struct virtio_queue *q)
{
    uint32_t features = 0;
    if (virtio_has(v, VIRTIO_F_INDIRECT_DESC))
        features |= VQ_INDIRECT;
    if (virtio_has(v, VIRTIO_F_EVENT_IDX))
        features |= VQ_EVENT_IDX;
    if (q->size > q->size_max) {
        virtio_broken(v, q->index, "the queue size is above the maximum");
        return;
    }
    if (vq_start(&q->vq, v->obj, q->size, q->desc, q->avail, q->used, features))
        virtio_broken(v, q->index, q->vq.why);
}

void virtio_queue_disable(struct virtio *v, struct virtio_queue *q)
{
    (void)v;
    vq_stop(&q->vq); /* requests in flight complete into nothing: their generation is over */
}

/* ---- status and features --------------------------------------------------------------------- */

void virtio_reset(struct virtio *v)
{
    v->status = 0;
    v->driver_features = 0;
    for (unsigned i = 0; i < VIRTIO_QUEUES; i++) {
        struct virtio_queue *q = &v->queue[i];
        vq_stop(&q->vq);
        q->desc = q->avail = q->used = 0;
        q->size = q->size_max;
    }
    if (v->ops->reset)
        v->ops->reset(v);
    v->transport->reset(v);
}

static int features_agreed(const struct virtio *v)
{
    return (v->driver_features & ~v->features) == 0 && (v->driver_features & VIRTIO_F_VERSION_1);
}

/* 3.1.1, steps 2 to 8: each bit needs the ones before it, and none goes away but by a reset. */
void virtio_status_write(struct virtio *v, uint32_t val)
{
    static const uint32_t steps[] = { VIRTIO_ACKNOWLEDGE, VIRTIO_DRIVER, VIRTIO_FEATURES_OK,
                                      VIRTIO_DRIVER_OK };
    if (val == 0) {
        virtio_reset(v);
        return;
    }
    val &= ~(uint32_t)VIRTIO_NEEDS_RESET; /* the device's own: drivers write back what they read */
    uint32_t old = v->status & ~(uint32_t)VIRTIO_NEEDS_RESET, seen = 0;
    int gap = 0, wrong = (old & ~val) != 0;
    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (!(val & steps[i]))
            gap = 1;
        else if (gap)
            wrong = 1;
        seen |= steps[i];
    }
    if (wrong || (val & ~(seen | VIRTIO_FAILED)) || (old & VIRTIO_FAILED)) {
        mobo_log(v->obj, MOBO_WARN, "the driver writes status 0x%x over 0x%x: ignored", val,
                 v->status);
        return;
    }
    uint32_t set = val & ~old;
    v->status |= set & (VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FAILED);
    if (set & VIRTIO_FEATURES_OK) {
        if (!features_agreed(v)) {
            mobo_log(v->obj, MOBO_WARN, "the driver wants features 0x%llx out of 0x%llx: refused%s",
                     (unsigned long long)v->driver_features, (unsigned long long)v->features,
                     v->driver_features & VIRTIO_F_VERSION_1 ? "" : " (no VERSION_1)");
            return;
        }
        v->status |= VIRTIO_FEATURES_OK;
    }
    if ((set & VIRTIO_DRIVER_OK) && !(v->status & (VIRTIO_FAILED | VIRTIO_NEEDS_RESET))) {
        v->status |= VIRTIO_DRIVER_OK;
        if (v->ops->started)
            v->ops->started(v);
        /* Chains may have been made available before: their kick is not to be counted on. */
        for (unsigned i = 0; i < VIRTIO_QUEUES; i++)
            if (v->queue[i].vq.live)
                virtio_queue_post(v, i);
    }
}

void virtio_features_write(struct virtio *v, uint32_t word, uint32_t val)
{
    if ((v->status & (VIRTIO_DRIVER | VIRTIO_FEATURES_OK)) != VIRTIO_DRIVER) {
        mobo_log(v->obj, MOBO_WARN, "the driver changes features at the wrong time (status 0x%x)",
                 v->status);
        return;
    }
    if (word > 1)
        return; /* bits from 64 on: none is offered, and drivers write zeros */
    uint64_t mask = UINT64_C(0xffffffff) << (32 * word);
    v->driver_features = (v->driver_features & ~mask) | ((uint64_t)val << (32 * word));
}

/* ---- configuration space --------------------------------------------------------------------- */

uint64_t virtio_config_read(const struct virtio *v, uint64_t off, unsigned bytes)
{
    uint64_t val = 0;
    if (bytes <= 8 && bytes <= v->config_len && off <= v->config_len - bytes)
        memcpy(&val, v->config + off, bytes);
    return val;
}

void virtio_config_write(struct virtio *v, uint64_t off, uint64_t val, unsigned bytes)
{
    if (v->ops->config_write && bytes <= 8 && bytes <= v->config_len &&
        off <= v->config_len - bytes) {
        uint8_t raw[8];
        memcpy(raw, &val, sizeof raw);
        v->ops->config_write(v, (uint32_t)off, raw, bytes);
    }
}

void virtio_config_set(struct virtio *v, uint32_t off, uint64_t val, uint32_t bytes)
{
    if (bytes <= 8 && bytes <= v->config_len && off <= v->config_len - bytes)
        memcpy(v->config + off, &val, bytes);
}

void virtio_config_changed(struct virtio *v)
{
    v->generation++;
    if (virtio_running(v))
        v->transport->interrupt(v, VIRTIO_IRQ_CONFIG, 0);
}

/* ---- life ------------------------------------------------------------------------------------ */

void virtio_init(struct virtio *v, mobo_obj_t *obj, const virtio_ops_t *ops, uint64_t features,
                 uint32_t config_len)
{
    v->obj = obj;
    v->ops = ops;
    v->features =
        features | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
    v->config_len = config_len <= VIRTIO_CONFIG_BYTES ? config_len : VIRTIO_CONFIG_BYTES;
}

int virtio_queue_add(struct virtio *v, unsigned queue, uint32_t size)
{
    if (queue >= VIRTIO_QUEUES)
        return mobo_fail(v->obj, "there are at most %d queues", VIRTIO_QUEUES);
    if (size < 2 || size > VQ_SIZE_MAX || (size & (size - 1)))
        return mobo_fail(v->obj, "queue-size %u is not a power of two between 2 and %d", size,
                         VQ_SIZE_MAX);
    v->queue[queue].index = (uint8_t)queue;
    v->queue[queue].size_max = v->queue[queue].size = (uint16_t)size;
    return 0;
}

/* A snapshot is as hostile as a guest: nothing that live code trusts is taken unchecked. */
int virtio_loaded(struct virtio *v)
{
    if (v->driver_features & ~v->features)
        return mobo_fail(v->obj, "the snapshot has features 0x%llx; this device offers 0x%llx",
                         (unsigned long long)v->driver_features, (unsigned long long)v->features);
    for (unsigned i = 0; i < VIRTIO_QUEUES; i++) {
        struct virtio_queue *q = &v->queue[i];
        q->posted = 0;
        if (q->size > q->size_max || vq_loaded(&q->vq, v->obj, q->size_max))
            return mobo_fail(v->obj, "the snapshot's queue %u is impossible", i);
        if (q->vq.live && virtio_running(v))
            virtio_queue_post(v, i);
    }
    return 0;
}
