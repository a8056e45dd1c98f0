/*
 * blk.c: virtio block device (virtio 1.2, 5.2): chains become requests of a "mobo.block/1" backend,
 * which end in any order. It does not cache, merge or order anything, and does no I/O itself.
 *
 * Every request has a slot out of a fixed pool, one for each descriptor there can be. A reset
 * forgets the chains (their generation is over) but not the slots: those come back when the backend
 * is done with them.
 */
#include <stdlib.h>

#include "classes.h"
#include "virtio.h"

/* 5.2.3: features. */
#define BLK_F_SEG_MAX (UINT64_C(1) << 2)
#define BLK_F_RO (UINT64_C(1) << 5)
#define BLK_F_BLK_SIZE (UINT64_C(1) << 6)
#define BLK_F_FLUSH (UINT64_C(1) << 9)
#define BLK_F_TOPOLOGY (UINT64_C(1) << 10)
#define BLK_F_MQ (UINT64_C(1) << 12)
#define BLK_F_DISCARD (UINT64_C(1) << 13)
#define BLK_F_WRITE_ZEROES (UINT64_C(1) << 14)

/* 5.2.6: request types, and the status byte. */
enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
enum { WRITE_ZEROES_UNMAP = 1 };

/* 5.2.4: offsets in the configuration space. */
enum {
    CFG_CAPACITY = 0,
    CFG_SEG_MAX = 12,
    CFG_BLK_SIZE = 20,
    CFG_PHYSICAL_BLOCK_EXP = 24,
    CFG_MIN_IO_SIZE = 26,
    CFG_NUM_QUEUES = 34,
    CFG_MAX_DISCARD_SECTORS = 36,
    CFG_MAX_DISCARD_SEG = 40,
    CFG_DISCARD_SECTOR_ALIGNMENT = 44,
    CFG_MAX_WRITE_ZEROES_SECTORS = 48,
    CFG_MAX_WRITE_ZEROES_SEG = 52,
    CFG_WRITE_ZEROES_MAY_UNMAP = 56,
    CFG_BYTES = 60,
};

enum { SECTOR = 512, ID_BYTES = 20, SEGMENTS = 126, RANGES = 16 };
enum { MAX_RANGE_SECTORS = 1 << 22 }; /* 2 GiB to a discard or write-zeroes range */

/* struct virtio_blk_req without its data, and struct virtio_blk_discard_write_zeroes (5.2.6). */
struct header {
    uint32_t type, reserved;
    uint64_t sector;
};
struct range {
    uint64_t sector;
    uint32_t sectors, flags;
};

struct slot {
    mobo_block_req_t req;  /* first: the backend gives it back */
    struct vq_chain chain; /* without its buffers, of which only the last one is still wanted */
    uint64_t status_gpa;
    mobo_iov_t *iov;       /* SEGMENTS + 2 of them: a buffer may straddle two pieces of RAM */
    uint32_t iov_count;
    uint32_t type;
    uint8_t queue;
    uint8_t range, ranges; /* of DISCARD and WRITE_ZEROES: done so far, in all */
    struct range todo[RANGES];
};

struct blk {
    mobo_obj_t *obj;
    mobo_mmio_t bus;
    mobo_irq_t irq;
    struct virtio v;
    mobo_block_t drive; /* properties */
    const char *serial;
    uint32_t queues, queue_size;
    mobo_block_info_t info; /* as it was at the start: requests are checked against this */
    uint32_t slots, idle_count;
    uint32_t hungry; /* bit n: queue n has chains that found no slot */
    struct slot *slot;
    struct slot **idle;
    mobo_iov_t *iovs;
    struct vq_buf *bufs;
};
VIRTIO_CHECK_HEAD(struct blk);
enum { IOVS = SEGMENTS + 2 };

/* ---- ending a request ------------------------------------------------------------------------ */

static uint8_t status_of(int rc)
{
    return rc == 0 ? S_OK : rc == MOBO_ENOTSUP ? S_UNSUPP : S_IOERR;
}

/* Write the status byte and give chain and slot back. */
static void slot_end(struct blk *b, struct slot *s, uint8_t status)
{
    struct virtio_queue *q = &b->v.queue[s->queue];
    /* A read that failed may have changed any part of the memory all the same. */
    vq_unmap(b->obj, s->iov, s->iov_count, s->type == T_IN ? s->req.len : 0);
    s->iov_count = 0;
    if (vq_current(&q->vq, &s->chain)) {
        /*
         * The status byte is the last one; what lies before it was written only if a read went
         * well. used.len counts from the first byte on (2.7.8.2), so a failed read has 0.
         */
        uint32_t len = status == S_OK || s->chain.write_len == 1 ? s->chain.write_len : 0;
        if (mobo_dma_write(b->obj, s->status_gpa, &status, 1))
            virtio_broken(&b->v, s->queue, "a status byte is not in RAM");
        else
            virtio_push(&b->v, s->queue, &s->chain, len);
    }
    b->idle[b->idle_count++] = s;
}

static void blk_done(void *self, void *req);

/* The next range of a DISCARD or WRITE_ZEROES. */
static void range_submit(struct blk *b, struct slot *s)
{
    const struct range *r = &s->todo[s->range++];
    s->req.op = s->type == T_DISCARD ? MOBO_BLOCK_DISCARD : MOBO_BLOCK_ZERO;
    s->req.off = r->sector * SECTOR;
    s->req.len = (uint64_t)r->sectors * SECTOR;
    s->req.flags =
        s->type == T_WRITE_ZEROES && (r->flags & WRITE_ZEROES_UNMAP) ? MOBO_BLOCK_UNMAP : 0;
    mobo_block_submit(b->drive, &s->req);
}

static void blk_done(void *self, void *req)
{
    struct blk *b = self;
    struct slot *s = req;
    unsigned queue = s->queue;
    int current = vq_current(&b->v.queue[queue].vq, &s->chain);
    if (s->req.rc == 0 && s->range < s->ranges && current) {
        range_submit(b, s);
        return;
    }
    slot_end(b, s, status_of(s->req.rc));
    virtio_flush(&b->v, queue);
    for (unsigned i = 0; b->hungry && i < b->queues; i++) {
        uint32_t bit = 1u << i;
        if (b->hungry & bit) {
            b->hungry &= ~bit;
            virtio_run(&b->v, i);
        }
    }
}

/* ---- starting one ---------------------------------------------------------------------------- */

/* Is [sector, sector + len / 512) on the disk, in whole blocks? */
static int in_bounds(const struct blk *b, uint64_t sector, uint64_t len)
{
    uint64_t size = b->info.length;
    if (sector > UINT64_MAX / SECTOR)
        return 0;
    uint64_t off = sector * SECTOR;
    return len <= size && off <= size - len && off % b->info.block_size == 0 &&
           len % b->info.block_size == 0;
}

/* 5.2.6.2: returns the status to end with, or -1 if the request is with the backend. */
static int transfer(struct blk *b, struct slot *s, const struct vq_chain *chain, uint64_t sector)
{
    int in = s->type == T_IN;
    uint32_t off = in ? 0 : (uint32_t)sizeof(struct header);
    uint32_t len = in ? chain->write_len - 1 : chain->read_len - off;
    if (!in && b->info.read_only)
        return S_IOERR;
    if (!in_bounds(b, sector, len))
        return S_IOERR;
    if (len == 0)
        return S_OK;
    if (vq_map(&b->v.queue[s->queue].vq, chain, in, off, len, s->iov, IOVS, &s->iov_count))
        return S_IOERR;
    s->req.op = in ? MOBO_BLOCK_READ : MOBO_BLOCK_WRITE;
    s->req.off = sector * SECTOR;
    s->req.len = len;
    s->req.iov = s->iov;
    s->req.iov_count = s->iov_count;
    /* 5.2.6.2: without FLUSH the driver takes a completed write for stable. */
    if (!in && b->info.write_cache && !virtio_has(&b->v, BLK_F_FLUSH))
        s->req.flags = MOBO_BLOCK_FUA;
    mobo_block_submit(b->drive, &s->req);
    return -1;
}

static int ranges(struct blk *b, struct slot *s, const struct vq_chain *chain)
{
    uint32_t off = sizeof(struct header), len = chain->read_len - off;
    uint32_t allowed = s->type == T_WRITE_ZEROES ? WRITE_ZEROES_UNMAP : 0;
    uint64_t feature = s->type == T_DISCARD ? BLK_F_DISCARD : BLK_F_WRITE_ZEROES;
    if (!virtio_has(&b->v, feature))
        return S_UNSUPP;
    if (b->info.read_only || len == 0 || len % sizeof(struct range) || len > sizeof s->todo)
        return S_IOERR;
    if (vq_read(&b->v.queue[s->queue].vq, chain, off, s->todo, len))
        return S_IOERR;
    s->ranges = (uint8_t)(len / sizeof(struct range));
    for (unsigned i = 0; i < s->ranges; i++) {
        const struct range *r = &s->todo[i];
        if (r->flags & ~allowed)
            return S_UNSUPP; /* 5.2.6.2 */
        if (r->sectors > MAX_RANGE_SECTORS ||
            !in_bounds(b, r->sector, (uint64_t)r->sectors * SECTOR))
            return S_IOERR;
    }
    range_submit(b, s);
    return -1;
}

static int get_id(struct blk *b, struct slot *s, const struct vq_chain *chain)
{
    char id[ID_BYTES] = { 0 };
    uint32_t len = chain->write_len - 1 < ID_BYTES ? chain->write_len - 1 : ID_BYTES;
    memcpy(id, b->serial, strnlen(b->serial, ID_BYTES));
    return vq_write(&b->v.queue[s->queue].vq, chain, 0, id, len) ? S_IOERR : S_OK;
}

static int request_start(struct blk *b, struct slot *s, const struct vq_chain *chain,
                         const struct header *h)
{
    switch (h->type) {
    case T_IN:
    case T_OUT:
        return transfer(b, s, chain, h->sector);
    case T_FLUSH:
        if (!virtio_has(&b->v, BLK_F_FLUSH))
            return S_UNSUPP;
        s->req.op = MOBO_BLOCK_FLUSH;
        mobo_block_submit(b->drive, &s->req);
        return -1;
    case T_GET_ID:
        return get_id(b, s, chain);
    case T_DISCARD:
    case T_WRITE_ZEROES:
        return ranges(b, s, chain);
    default:
        return S_UNSUPP;
    }
}

static const char *request_take(struct blk *b, unsigned queue, const struct vq_chain *chain)
{
    struct header h;
    if (chain->read_len < sizeof h)
        return "a request is shorter than its header";
    if (chain->write_len == 0)
        return "a request has no room for its status";
    if (vq_read(&b->v.queue[queue].vq, chain, 0, &h, sizeof h))
        return "a request's header is not in RAM";
    struct slot *s = b->idle[--b->idle_count];
    const struct vq_buf *last = &chain->buf[chain->count - 1];
    *s = (struct slot){ .iov = s->iov, .chain = *chain, .queue = (uint8_t)queue, .type = h.type,
                        .status_gpa = last->gpa + last->len - 1 };
    s->chain.buf = NULL;
    s->req.size = sizeof s->req;
    s->req.owner = b->obj;
    s->req.done = blk_done;
    int status = request_start(b, s, chain, &h);
    if (status >= 0)
        slot_end(b, s, (uint8_t)status);
    return NULL;
}

static void blk_run(struct virtio *v, unsigned queue)
{
    struct blk *b = virtio_self(v);
    struct vq_chain chain = { .buf = b->bufs, .room = b->queue_size };
    for (;;) {
        if (b->idle_count == 0) {
            b->hungry |= 1u << queue;
            return;
        }
        if (!virtio_pop(v, queue, &chain))
            return;
        const char *why = request_take(b, queue, &chain);
        if (why) {
            virtio_broken(v, queue, why);
            return;
        }
    }
}

static void blk_forget(struct virtio *v)
{
    struct blk *b = virtio_self(v);
    b->hungry = 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

static const virtio_ops_t blk_ops = { .id = VIRTIO_ID_BLOCK, .run = blk_run, .reset = blk_forget };

static uint64_t blk_features(const struct blk *b)
{
    uint64_t f = BLK_F_SEG_MAX | BLK_F_BLK_SIZE | BLK_F_TOPOLOGY;
    if (b->info.read_only)
        f |= BLK_F_RO;
    if (b->info.write_cache)
        f |= BLK_F_FLUSH;
    if (b->queues > 1)
        f |= BLK_F_MQ;
    if (b->info.can_discard && !b->info.read_only)
        f |= BLK_F_DISCARD | BLK_F_WRITE_ZEROES;
    return f;
}

static void blk_config(struct blk *b)
{
    struct virtio *v = &b->v;
    uint32_t block = b->info.block_size;
    uint32_t physical = b->info.physical_block < block ? block : b->info.physical_block;
    uint32_t exp = 0;
    while (exp < 16 && ((uint64_t)block << (exp + 1)) <= physical)
        exp++;
    uint32_t segments = b->queue_size > 2 ? b->queue_size - 2 : 1;
    virtio_config_set(v, CFG_CAPACITY, b->info.length / SECTOR, 8);
    virtio_config_set(v, CFG_SEG_MAX, segments < SEGMENTS ? segments : SEGMENTS, 4);
    virtio_config_set(v, CFG_BLK_SIZE, block, 4);
    virtio_config_set(v, CFG_PHYSICAL_BLOCK_EXP, exp, 1);
    virtio_config_set(v, CFG_MIN_IO_SIZE, UINT64_C(1) << exp, 2);
    virtio_config_set(v, CFG_NUM_QUEUES, b->queues, 2);
    if (!(v->features & BLK_F_DISCARD))
        return;
    virtio_config_set(v, CFG_MAX_DISCARD_SECTORS, MAX_RANGE_SECTORS, 4);
    virtio_config_set(v, CFG_MAX_DISCARD_SEG, RANGES, 4);
    virtio_config_set(v, CFG_DISCARD_SECTOR_ALIGNMENT, physical / SECTOR, 4);
    virtio_config_set(v, CFG_MAX_WRITE_ZEROES_SECTORS, MAX_RANGE_SECTORS, 4);
    virtio_config_set(v, CFG_MAX_WRITE_ZEROES_SEG, RANGES, 4);
    virtio_config_set(v, CFG_WRITE_ZEROES_MAY_UNMAP, 1, 1);
}

static int blk_pool(struct blk *b)
{
    b->slots = b->queues * b->queue_size;
    b->slot = calloc(b->slots, sizeof *b->slot);
    b->idle = calloc(b->slots, sizeof(struct slot *));
    b->iovs = calloc((size_t)b->slots * IOVS, sizeof *b->iovs); /* only what is used gets pages */
    b->bufs = calloc(b->queue_size, sizeof *b->bufs);
    if (!b->slot || !b->idle || !b->iovs || !b->bufs)
        return mobo_fail_code(b->obj, MOBO_ENOMEM,
                              "no memory for %u requests: lower queues or queue-size", b->slots);
    for (uint32_t i = 0; i < b->slots; i++) {
        b->slot[i].iov = b->iovs + (size_t)i * IOVS;
        b->idle[b->idle_count++] = &b->slot[b->slots - 1 - i];
    }
    return 0;
}

static int blk_init(void *self)
{
    struct blk *b = self;
    mobo_block_info(b->drive, &b->info);
    uint32_t block = b->info.block_size;
    if (block < SECTOR || (block & (block - 1)) || b->info.length % block)
        return mobo_fail(b->obj, "drive has %llu bytes in blocks of %u; a disk has whole blocks of "
                         "512 bytes or a larger power of two",
                         (unsigned long long)b->info.length, block);
    virtio_init(&b->v, b->obj, &blk_ops, blk_features(b), CFG_BYTES);
    blk_config(b);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < b->queues; i++)
        rc = virtio_queue_add(&b->v, i, b->queue_size);
    if (rc == 0)
        rc = blk_pool(b);
    return rc ? rc : virtio_mmio_attach((struct virtio_head *)self);
}

static void blk_reset(void *self)
{
    virtio_reset(&((struct blk *)self)->v);
}

static int blk_loaded(void *self, uint32_t version)
{
    (void)version;
    struct blk *b = self;
    blk_config(b); /* the disk as it is now, whatever the snapshot says */
    return virtio_mmio_loaded((struct virtio_head *)self);
}

static void blk_fini(void *self)
{
    struct blk *b = self;
    free(b->slot);
    free(b->idle);
    free(b->iovs);
    free(b->bufs);
}

static const mobo_prop_t props[] = {
    VIRTIO_PROPS(struct blk),
    MOBO_LINK(struct blk, drive, MOBO_BLOCK, "disk shown to the guest"),
    MOBO_STR(struct blk, serial, "", "serial number, at most 20 characters", .max = ID_BYTES),
    MOBO_U32(struct blk, queues, "1", "request queues", .min = 1, .max = VIRTIO_QUEUES),
    MOBO_NAMED(struct blk, queue_size, "queue-size", MOBO_T_U32, "256",
               "entries of each queue, a power of two", .min = 2, .max = VQ_SIZE_MAX),
    MOBO_END,
};
static const mobo_field_t state[] = { VIRTIO_STATE(struct blk), MOBO_END };
const mobo_class_t virtio_blk_class = {
    MOBO_CLASS(struct blk, props, state), .name = "blk", .summary = "virtio block device",
    .init = blk_init, .reset = blk_reset, .fini = blk_fini, .loaded = blk_loaded,
};
