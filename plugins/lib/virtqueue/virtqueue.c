/*
 * virtqueue.c: the rings of a split virtqueue (virtio 1.2, 2.7.4 to 2.7.10): starting, popping,
 * pushing, and who wants to be told. What a chain holds is chain.c's.
 */
#include <mobo/class.h>

#include "virtqueue/virtqueue.h"

/* virtio 1.2, 2.7.5: a descriptor, little-endian, 16 bytes. */
enum { DESC_BYTES = 16, DESC_F_NEXT = 1, DESC_F_WRITE = 2, DESC_F_INDIRECT = 4 };
/* 2.7.6 and 2.7.8: flags, idx, ring[]. */
enum { RING_FLAGS = 0, RING_IDX = 2, RING_ENTRIES = 4 };
enum { AVAIL_ENTRY = 2, USED_ENTRY = 8 };
enum { AVAIL_F_NO_INTERRUPT = 1, USED_F_NO_NOTIFY = 1 };

struct desc {
    uint64_t gpa;
    uint32_t len;
    uint16_t flags, next;
};

static uint64_t avail_bytes(uint16_t size)
{
    return RING_ENTRIES + (uint64_t)AVAIL_ENTRY * size + 2; /* and used_event */
}

static uint64_t used_bytes(uint16_t size)
{
    return RING_ENTRIES + (uint64_t)USED_ENTRY * size + 2; /* and avail_event */
}

void vq_break(struct vq *q, const char *why)
{
    if (!q->broken)
        q->why = why;
    q->broken = 1;
}

static const char *geometry_fault(uint16_t size, uint64_t desc, uint64_t avail, uint64_t used)
{
    if (size == 0 || size > VQ_SIZE_MAX || (size & (size - 1)))
        return "the queue size is no power of two up to 1024";
    if (desc % 16 || avail % 2 || used % 4)
        return "a ring is not aligned (virtio 1.2, 2.7)";
    if (desc > UINT64_MAX - (uint64_t)DESC_BYTES * size ||
        avail > UINT64_MAX - avail_bytes(size) || used > UINT64_MAX - used_bytes(size))
        return "a ring reaches beyond the end of the address space";
    return NULL;
}

int vq_start(struct vq *q, mobo_obj_t *obj, uint16_t size, uint64_t desc, uint64_t avail,
             uint64_t used, uint32_t features)
{
    *q = (struct vq){ .obj = obj, .size = size, .desc = desc, .avail = avail, .used = used,
                      .features = features, .generation = q->generation + 1, .live = 1 };
    const char *why = geometry_fault(size, desc, avail, used);
    if (!why)
        return 0;
    q->live = 0;
    vq_break(q, why);
    return MOBO_EINVAL;
}

void vq_stop(struct vq *q)
{
    *q = (struct vq){ .obj = q->obj, .generation = q->generation + 1 };
}

int vq_loaded(struct vq *q, mobo_obj_t *obj, uint16_t size_max)
{
    q->obj = obj;
    q->generation++;
    q->in_flight = 0;
    q->why = q->broken ? "it was broken when the snapshot was taken" : NULL;
    if (!q->live)
        return 0;
    if (q->size > size_max || geometry_fault(q->size, q->desc, q->avail, q->used) ||
        q->next_used != q->next_avail)
        return MOBO_EINVAL;
    return 0;
}

static int load16(struct vq *q, uint64_t gpa, uint16_t *val)
{
    uint64_t wide = 0;
    if (mobo_dma_load(q->obj, gpa, 2, &wide)) {
        vq_break(q, "a ring is not in RAM");
        return MOBO_EFAULT;
    }
    *val = (uint16_t)wide;
    return 0;
}

static int store16(struct vq *q, uint64_t gpa, uint16_t val)
{
    if (mobo_dma_store(q->obj, gpa, 2, val)) {
        vq_break(q, "a ring is not in RAM");
        return MOBO_EFAULT;
    }
    return 0;
}

/* How many chains wait; or MOBO_EFAULT. */
static int waiting(struct vq *q)
{
    uint16_t idx;
    if (load16(q, q->avail + RING_IDX, &idx))
        return MOBO_EFAULT;
    uint16_t count = (uint16_t)(idx - q->next_avail);
    /* The driver owns size descriptors, so it cannot have offered more heads than that. */
    if (count > q->size - q->in_flight) {
        vq_break(q, "the available index is more than the queue's size ahead");
        return MOBO_EFAULT;
    }
    return count;
}

static int desc_read(struct vq *q, uint64_t table, uint32_t index, struct desc *d)
{
    uint8_t raw[DESC_BYTES];
    if (mobo_dma_read(q->obj, table + (uint64_t)index * DESC_BYTES, raw, sizeof raw)) {
        vq_break(q, "a descriptor table is not in RAM");
        return MOBO_EFAULT;
    }
    memcpy(&d->gpa, raw, 8);
    memcpy(&d->len, raw + 8, 4);
    memcpy(&d->flags, raw + 12, 2);
    memcpy(&d->next, raw + 14, 2);
    return 0;
}

/* Add one checked descriptor to the chain; the text says why it cannot be. */
static const char *chain_add(struct vq *q, struct vq_chain *c, const struct desc *d)
{
    int write = d->flags & DESC_F_WRITE;
    if (c->count >= q->size || c->count >= c->room)
        return "a chain has more descriptors than the queue";
    if (d->len == 0)
        return "a descriptor has length 0";
    if (d->gpa > UINT64_MAX - d->len)
        return "a buffer reaches beyond the end of the address space";
    if (!write && c->count > c->readable)
        return "a device-readable descriptor follows a device-writable one (virtio 1.2, 2.7.4.2)";
    /* 2.7.5.2: at most 2^32 bytes; one less, because used.len has 32 bits. */
    if (d->len > UINT32_MAX - c->read_len - c->write_len)
        return "a chain is longer than 2^32 - 1 bytes";
    c->buf[c->count++] = (struct vq_buf){ .gpa = d->gpa, .len = d->len };
    if (write) {
        c->write_len += d->len;
    } else {
        c->read_len += d->len;
        c->readable++;
    }
    return NULL;
}

/* 2.7.5.3: the table that a chain's last descriptor may point to. LIMIT becomes its entries. */
static const char *indirect_enter(const struct vq *q, const struct desc *d, uint64_t *table,
                                  uint32_t *limit)
{
    if (!(q->features & VQ_INDIRECT))
        return "an indirect descriptor without the feature";
    if (d->flags & DESC_F_NEXT)
        return "an indirect descriptor with NEXT";
    if (d->len == 0 || d->len % DESC_BYTES)
        return "an indirect table's length is not a multiple of 16";
    /* Above this no index (16 bits) reaches, and the queue's size limits the chain anyway. */
    if (d->len / DESC_BYTES > UINT16_MAX + 1u)
        return "an indirect table has more than 65536 entries";
    if (d->gpa > UINT64_MAX - d->len)
        return "an indirect table reaches beyond the end of the address space";
    *table = d->gpa;
    *limit = d->len / DESC_BYTES;
    return NULL;
}

/*
 * Follow the chain that starts at c->head. Ends: each round either adds to the chain, which is
 * bounded by the queue's size, or enters the one indirect table.
 */
static const char *chain_walk(struct vq *q, struct vq_chain *c)
{
    uint64_t table = q->desc;
    uint32_t limit = q->size, index = c->head;
    int indirect = 0;
    for (;;) {
        struct desc d;
        const char *why;
        if (index >= limit)
            return "a descriptor's index is outside its table";
        if (desc_read(q, table, index, &d))
            return q->why;
        if (d.flags & DESC_F_INDIRECT) {
            if (indirect)
                return "an indirect descriptor inside an indirect table";
            if ((why = indirect_enter(q, &d, &table, &limit)))
                return why;
            indirect = 1;
            index = 0;
            continue;
        }
        if ((why = chain_add(q, c, &d)))
            return why;
        if (!(d.flags & DESC_F_NEXT))
            return NULL;
        index = d.next;
    }
}

int vq_pop(struct vq *q, struct vq_chain *chain)
{
    if (q->broken)
        return MOBO_EFAULT;
    if (!q->live)
        return 0;
    int count = waiting(q);
    if (count <= 0)
        return count;
    uint64_t slot = q->next_avail & (q->size - 1u);
    chain->count = chain->readable = chain->read_len = chain->write_len = 0;
    chain->generation = q->generation;
    if (load16(q, q->avail + RING_ENTRIES + slot * AVAIL_ENTRY, &chain->head))
        return MOBO_EFAULT;
    const char *why = chain_walk(q, chain);
    if (why) {
        vq_break(q, why);
        return MOBO_EFAULT;
    }
    q->next_avail++; /* free-running: the size divides 2^16 (virtio 1.2, 2.7.6) */
    q->in_flight++;
    return 1;
}

int vq_current(const struct vq *q, const struct vq_chain *chain)
{
    return q->live && chain->generation == q->generation;
}

void vq_unpop(struct vq *q, const struct vq_chain *chain)
{
    if (!vq_current(q, chain) || q->in_flight == 0)
        return;
    q->next_avail--;
    q->in_flight--;
}

void vq_push(struct vq *q, const struct vq_chain *chain, uint32_t len)
{
    if (!vq_current(q, chain) || q->broken || q->in_flight == 0)
        return;
    uint64_t slot = q->next_used & (q->size - 1u);
    uint32_t elem[2] = { chain->head, len };
    if (mobo_dma_write(q->obj, q->used + RING_ENTRIES + slot * USED_ENTRY, elem, sizeof elem)) {
        vq_break(q, "the used ring is not in RAM");
        return;
    }
    q->next_used++;
    q->in_flight--;
    (void)store16(q, q->used + RING_IDX, q->next_used); /* release: the entry is there before */
}

/* 2.7.10: has the ring, moving from OLD to NEW, passed EVENT? Differences wrap at 2^16. */
static int passed(uint16_t event, uint16_t new, uint16_t old)
{
    return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

int vq_wants_interrupt(struct vq *q)
{
    uint16_t old = q->signalled, wish;
    if (!q->live || q->broken || old == q->next_used)
        return 0;
    q->signalled = q->next_used;
    /* The used index must be visible before the driver's wish is read (2.7.7.1). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!(q->features & VQ_EVENT_IDX)) {
        if (load16(q, q->avail + RING_FLAGS, &wish))
            return 0;
        return !(wish & AVAIL_F_NO_INTERRUPT);
    }
    if (load16(q, q->avail + RING_ENTRIES + (uint64_t)AVAIL_ENTRY * q->size, &wish))
        return 0;
    return passed(wish, q->next_used, old);
}

int vq_kicks(struct vq *q, int on)
{
    if (!q->live || q->broken)
        return 0;
    if (q->features & VQ_EVENT_IDX) {
        /* A stale avail_event is the hint not to kick: nothing to do for !on. */
        if (on && store16(q, q->used + RING_ENTRIES + (uint64_t)USED_ENTRY * q->size,
                          q->next_avail))
            return 0;
    } else if (q->quiet == (on ? 1 : 0)) {
        if (store16(q, q->used + RING_FLAGS, on ? 0 : USED_F_NO_NOTIFY))
            return 0;
        q->quiet = !on;
    }
    if (!on)
        return 0;
    /* Our wish must be visible before we look for the last time (2.7.10.1). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return waiting(q) > 0;
}
