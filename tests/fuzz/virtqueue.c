// sources: plugins/lib/virtqueue/virtqueue.c plugins/lib/virtqueue/chain.c
// includes: plugins/lib
/*
 * virtqueue.c (fuzz): the chain walker on random guest memory that also changes while it is
 * read, as a second virtual CPU would change it. The input is a header, a stream of operations,
 * and RAM. Besides the sanitizers, the invariants at the end of each operation catch mistakes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <mobo/class.h>
#include <mobo/host.h>

#include "virtqueue/virtqueue.h"

enum { RAM = 16384, OPS = 96, CHAINS = 4 };

struct world {
    mobo_obj_t obj; /* first: what the walker knows as its object */
    uint8_t ram[RAM];
    uint8_t flips[32]; /* what other CPUs write, one after the other */
    unsigned flip, maps;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* After some accesses a byte of RAM is another one. */
static void flip(struct world *w)
{
    uint8_t at = w->flips[w->flip % 32], val = w->flips[(w->flip + 1) % 32];
    w->flip++;
    if (at & 1)
        w->ram[(at >> 1) * 16u + val % 16u] = val; /* the first 2 KiB: rings and tables */
}

static struct world *of(mobo_obj_t *obj)
{
    return (struct world *)obj;
}

static int mem_read(mobo_obj_t *obj, uint64_t gpa, void *buf, uint64_t len)
{
    struct world *w = of(obj);
    if (len > RAM || gpa > RAM - len)
        return MOBO_EFAULT;
    memcpy(buf, w->ram + gpa, len);
    flip(w);
    return 0;
}

static int mem_write(mobo_obj_t *obj, uint64_t gpa, const void *buf, uint64_t len)
{
    if (len > RAM || gpa > RAM - len)
        return MOBO_EFAULT;
    memcpy(of(obj)->ram + gpa, buf, len);
    flip(of(obj));
    return 0;
}

static int mem_load(mobo_obj_t *obj, uint64_t gpa, uint32_t bytes, uint64_t *val)
{
    *val = 0;
    return gpa % bytes ? MOBO_EINVAL : mem_read(obj, gpa, val, bytes);
}

static int mem_store(mobo_obj_t *obj, uint64_t gpa, uint32_t bytes, uint64_t val)
{
    return gpa % bytes ? MOBO_EINVAL : mem_write(obj, gpa, &val, bytes);
}

/* RAM is in two pieces in the host, so that mappings are cut. */
static int mem_map(mobo_obj_t *obj, uint64_t gpa, uint64_t len, uint32_t for_write, void **host,
                   uint64_t *got)
{
    struct world *w = of(obj);
    (void)for_write;
    if (gpa >= RAM)
        return MOBO_EFAULT;
    uint64_t end = gpa < RAM / 2 ? RAM / 2 : RAM;
    *host = w->ram + gpa;
    *got = len < end - gpa ? len : end - gpa;
    w->maps++;
    return 0;
}

static void mem_unmap(mobo_obj_t *obj, void *host, uint64_t len, uint64_t written)
{
    struct world *w = of(obj);
    uint8_t *p = host;
    if (w->maps == 0 || p < w->ram || p > w->ram + RAM || len > (uint64_t)(w->ram + RAM - p) ||
        written > len)
        abort();
    w->maps--;
}

static const mobo_mem_api_t mem = {
    .size = sizeof mem, .read = mem_read, .write = mem_write, .load = mem_load,
    .store = mem_store, .map = mem_map, .unmap = mem_unmap,
};
static const mobo_host_t host = { .size = sizeof host, .mem = &mem };

static void check_chain(const struct vq *q, const struct vq_chain *c)
{
    uint64_t sum[2] = { 0, 0 };
    if (c->count == 0 || c->count > q->size || c->readable > c->count || c->head >= q->size)
        abort();
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->buf[i].len == 0 || c->buf[i].gpa > UINT64_MAX - c->buf[i].len)
            abort();
        sum[i >= c->readable] += c->buf[i].len;
    }
    if (sum[0] != c->read_len || sum[1] != c->write_len || sum[0] + sum[1] > UINT32_MAX)
        abort();
}

static void check_queue(const struct vq *q)
{
    if (!q->live)
        return;
    if (q->in_flight > q->size || (uint16_t)(q->next_used + q->in_flight) != q->next_avail)
        abort();
    if (q->broken && !q->why)
        abort();
}

static void use_chain(struct world *w, struct vq *q, const struct vq_chain *c, uint8_t arg)
{
    uint8_t buf[256] = { 0 };
    mobo_iov_t iov[8];
    uint32_t count = 0, n = arg % sizeof buf, off = (uint32_t)arg * arg;
    (void)vq_read(q, c, off, buf, n);
    (void)vq_write(q, c, off, buf, n);
    for (int dir = 0; dir < 2; dir++) {
        uint32_t size = dir ? c->write_len : c->read_len;
        uint32_t from = off < size ? off : 0;
        if (vq_map(q, c, dir, from, size - from, iov, 8, &count) == 0) {
            uint64_t total = 0;
            for (uint32_t i = 0; i < count; i++) {
                memset(iov[i].base, arg, iov[i].len);
                total += iov[i].len;
            }
            if (total != size - from)
                abort();
            vq_unmap(&w->obj, iov, count, dir ? total : 0);
        }
        if (w->maps)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct world w;
    static struct vq_buf bufs[CHAINS][VQ_SIZE_MAX];
    enum { HEADER = 8 };
    if (len < HEADER + OPS + sizeof w.flips)
        return 0;
    memset(&w, 0, sizeof w);
    w.obj.host = &host;
    w.obj.name = "fuzz";
    const uint8_t *ops = data + HEADER;
    memcpy(w.flips, ops + OPS, sizeof w.flips);
    size_t rest = len - HEADER - OPS - sizeof w.flips;
    memcpy(w.ram, ops + OPS + sizeof w.flips, rest < RAM ? rest : RAM);

    struct vq q = { 0 };
    struct vq_chain chain[CHAINS];
    int held[CHAINS] = { 0 };
    for (unsigned i = 0; i < CHAINS; i++)
        chain[i] = (struct vq_chain){ .buf = bufs[i], .room = VQ_SIZE_MAX };
    uint16_t size = (uint16_t)(1u << (data[0] % 11));
    /* Rings near the start of RAM, or anywhere for some. */
    uint64_t desc = (uint64_t)(data[1] % 16) * 64, avail = 1024u + data[2] * 2u;
    uint64_t used = data[3] & 1 ? 1024u + data[3] * 4u : 8192;
    if (data[4] == 0xff)
        memcpy(&desc, data, 8);
    if (vq_start(&q, &w.obj, size, desc, avail, used, data[5] & 3))
        return 0;
    for (unsigned i = 0; i < OPS; i++) {
        unsigned slot = (ops[i] >> 3) % CHAINS;
        switch (ops[i] & 7) {
        case 0:
        case 1:
            if (!held[slot] && vq_pop(&q, &chain[slot]) == 1) {
                check_chain(&q, &chain[slot]);
                held[slot] = 1;
            }
            break;
        case 2:
            if (held[slot])
                use_chain(&w, &q, &chain[slot], ops[i]);
            break;
        case 3:
            vq_push(&q, &chain[slot], held[slot] ? chain[slot].write_len : 0);
            held[slot] = 0;
            break;
        case 4:
            (void)vq_wants_interrupt(&q);
            break;
        case 5:
            (void)vq_kicks(&q, ops[i] >> 7);
            break;
        case 6:
            if (ops[i] >> 6 == 3) {
                (void)vq_start(&q, &w.obj, size, desc, avail, used, data[5] & 3);
            } else if (w.ram[avail + 2] < 250) { /* the driver offers more */
                w.ram[avail + 2]++;
            }
            break;
        default:
            if (held[slot] && slot == 0 && !held[1] && !held[2] && !held[3])
                vq_unpop(&q, &chain[slot]);
            held[0] = slot == 0 ? 0 : held[0];
            break;
        }
        check_queue(&q);
    }
    return 0;
}
