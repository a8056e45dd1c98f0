/*
 * test-virtio-blk.c: the block device against a backend that holds requests until the test ends
 * them, in the order the test likes.
 */
#include "guest.h"

#include <stdlib.h>
#include <string.h>

#include <mobo/block.h>

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2, S_NONE = 0xee };
enum { HELD = 64 };
#define F_RO (UINT64_C(1) << 5)
#define F_BLK_SIZE (UINT64_C(1) << 6)
#define F_FLUSH (UINT64_C(1) << 9)
#define F_MQ (UINT64_C(1) << 12)
#define F_DISCARD (UINT64_C(1) << 13)
#define F_ZEROES (UINT64_C(1) << 14)

/* ---- the backend ----------------------------------------------------------------------------- */

struct disk {
    mobo_obj_t *obj;
    uint64_t length; /* properties */
    uint32_t block, readonly;
    mobo_block_req_t *held[HELD];
    uint32_t count, total;
};

static void disk_info(void *self, mobo_block_info_t *info)
{
    struct disk *d = self;
    info->block_size = d->block;
    info->length = d->length;
    info->physical_block = 4096;
    info->read_only = d->readonly;
    info->can_discard = 1;
    info->write_cache = 1;
}

static void disk_submit(void *self, mobo_block_req_t *req)
{
    struct disk *d = self;
    assert_true(d->count < HELD);
    if (req->op != MOBO_BLOCK_FLUSH)
        assert_true(req->len && req->len <= d->length && req->off <= d->length - req->len &&
                    req->off % d->block == 0 && req->len % d->block == 0);
    d->held[d->count++] = req;
    d->total++;
}

static const mobo_block_ops_t disk_ops = {
    .size = sizeof disk_ops, .info = disk_info, .submit = disk_submit,
};
static const mobo_iface_t disk_provides[] = { { MOBO_BLOCK, &disk_ops }, { NULL, NULL } };
static const mobo_prop_t disk_props[] = {
    MOBO_U64(struct disk, length, "1048576", "bytes"), MOBO_U32(struct disk, block, "512", "bytes"),
    MOBO_BOOL(struct disk, readonly, "no", "read-only"), MOBO_END,
};
static const mobo_class_t disk_class = {
    MOBO_CLASS(struct disk, disk_props, NULL), .name = "disk", .summary = "disk of the tests",
    .provides = disk_provides,
};

static struct disk *disk_of(struct guest *g)
{
    return fake_self(g->f, "disk");
}

/* End the request at INDEX; reads are filled with FILL. */
static void finish(struct guest *g, unsigned index, int rc, int fill)
{
    struct disk *d = disk_of(g);
    assert_true(index < d->count);
    mobo_block_req_t *req = d->held[index];
    d->count--;
    memmove(&d->held[index], &d->held[index + 1], (d->count - index) * sizeof *d->held);
    for (uint32_t i = 0; rc == 0 && req->op == MOBO_BLOCK_READ && i < req->iov_count; i++)
        memset(req->iov[i].base, fill, req->iov[i].len);
    mobo_block_done(req, rc);
    fake_run(g->f);
}

/* ---- the driver ------------------------------------------------------------------------------ */

struct request {
    uint64_t header, data, status;
    uint16_t head;
};

static struct fake *machine(struct guest *g, const char *const *disk, const char *const *blk)
{
    struct fake *f = guest_machine();
    assert_non_null(fake_add(f, "disk", &disk_class, disk));
    assert_non_null(fake_add(f, "vda", fake_class(PLUGINS "/dev-virtio.so", "blk"), blk));
    fake_reset(f);
    guest_at(g, f, "vda");
    return f;
}

/* Header, data (readable or writable) and status as three descriptors; not kicked. */
static struct request ask(struct guest *g, unsigned queue, uint32_t type, uint64_t sector,
                          uint64_t data, uint32_t len)
{
    struct request r = { guest_alloc(g, 16), data, guest_alloc(g, 1), 0 };
    memcpy(guest_ptr(g, r.header), &type, 4);
    memcpy((uint8_t *)guest_ptr(g, r.header) + 8, &sector, 8);
    *(uint8_t *)guest_ptr(g, r.status) = S_NONE;
    uint32_t dir = type == T_IN || type == T_GET_ID ? G_WRITE : 0;
    const struct guest_buf with[] = { { r.header, 16, 0 }, { data, len, dir },
                                      { r.status, 1, G_WRITE } };
    const struct guest_buf without[] = { { r.header, 16, 0 }, { r.status, 1, G_WRITE } };
    r.head = len ? guest_add(g, queue, with, 3) : guest_add(g, queue, without, 2);
    return r;
}

static uint8_t status(struct guest *g, const struct request *r)
{
    return *(uint8_t *)guest_ptr(g, r->status);
}

/* A request that is to end without the backend; returns its status. */
static uint8_t at_once(struct guest *g, uint32_t type, uint64_t sector, uint64_t data, uint32_t len)
{
    uint32_t id, used, before = disk_of(g)->total;
    struct request r = ask(g, 0, type, sector, data, len);
    guest_kick(g, 0);
    assert_int_equal(disk_of(g)->total, before);
    assert_int_equal(guest_used(g, 0, &id, &used), 1);
    assert_int_equal(id, r.head);
    return status(g, &r);
}

static void test_config(void **state)
{
    (void)state;
    static const char *const disk[] = { "block=1024", "length=3145728", NULL };
    static const char *const blk[] = { "queues=4", "queue-size=64", NULL };
    struct guest g;
    struct fake *f = machine(&g, disk, blk);
    assert_int_equal(guest_in(&g, 0x08), 2);
    uint64_t offer = guest_offer(&g);
    assert_true(offer & F_BLK_SIZE && offer & F_FLUSH && offer & F_MQ && offer & F_DISCARD);
    assert_false(offer & F_RO);
    assert_int_equal(fake_read(f, g.base + R_CONFIG, 8), 6144);
    assert_int_equal(guest_in(&g, R_CONFIG + 12), 62);   /* seg_max */
    assert_int_equal(guest_in(&g, R_CONFIG + 20), 1024); /* blk_size */
    assert_int_equal(fake_read(f, g.base + R_CONFIG + 24, 1), 2); /* 4096 = 1024 << 2 */
    assert_int_equal(fake_read(f, g.base + R_CONFIG + 34, 2), 4); /* num_queues */
    assert_int_equal(guest_in(&g, R_CONFIG + 60), 0); /* behind the end */
    fake_write(f, g.base + R_CONFIG, 1, 8);           /* nothing is writable */
    assert_int_equal(fake_read(f, g.base + R_CONFIG, 8), 6144);
    fake_free(f);
    static const char *const readonly[] = { "readonly=yes", NULL };
    f = machine(&g, readonly, NULL);
    offer = guest_offer(&g);
    assert_true(offer & F_RO && !(offer & (F_DISCARD | F_MQ)));
    fake_free(f);
}

static void test_read_write(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g, NULL, NULL);
    guest_start(&g, F_FLUSH, 1, 16);
    struct disk *d = disk_of(&g);
    uint64_t buf = guest_alloc(&g, 4096);
    uint32_t id, len;
    struct request r = ask(&g, 0, T_IN, 3, buf, 1024);
    guest_kick(&g, 0);
    assert_int_equal(d->count, 1);
    assert_true(d->held[0]->op == MOBO_BLOCK_READ && d->held[0]->off == 1536 &&
                d->held[0]->len == 1024);
    assert_int_equal(guest_used(&g, 0, &id, &len), 0);
    finish(&g, 0, 0, 0x5a);
    assert_int_equal(guest_used(&g, 0, &id, &len), 1);
    assert_int_equal(id, r.head);
    assert_int_equal(len, 1025);
    assert_int_equal(status(&g, &r), S_OK);
    assert_int_equal(((uint8_t *)guest_ptr(&g, buf))[1023], 0x5a);
    assert_int_equal(((uint8_t *)guest_ptr(&g, buf))[1024], 0);
    assert_int_equal(fake_level(f, "chip", 0), 1);
    memcpy(guest_ptr(&g, buf), "written", 7);
    r = ask(&g, 0, T_OUT, 2047, buf, 512);
    guest_kick(&g, 0);
    assert_int_equal(d->held[0]->flags, 0); /* FLUSH is agreed */
    assert_memory_equal(d->held[0]->iov[0].base, "written", 7);
    finish(&g, 0, 0, 0);
    assert_int_equal(guest_used(&g, 0, &id, &len), 1);
    assert_int_equal(len, 1);
    assert_int_equal(status(&g, &r), S_OK);
    r = ask(&g, 0, T_FLUSH, 0, 0, 0);
    guest_kick(&g, 0);
    assert_int_equal(d->held[0]->op, MOBO_BLOCK_FLUSH);
    finish(&g, 0, MOBO_EIO, 0);
    assert_int_equal(guest_used(&g, 0, &id, &len), 1);
    assert_int_equal(status(&g, &r), S_IOERR);
    /* A failed read: the bytes before the status were not written, and used.len does not say so. */
    r = ask(&g, 0, T_IN, 0, buf, 512);
    guest_kick(&g, 0);
    uint64_t before = fake_mapped_writes(f);
    finish(&g, 0, MOBO_EIO, 0);
    assert_int_equal(fake_mapped_writes(f) - before, 512); /* but nobody knows: the core is told */
    assert_int_equal(guest_used(&g, 0, &id, &len), 1);
    assert_int_equal(len, 0);
    assert_int_equal(status(&g, &r), S_IOERR);
    assert_int_equal(fake_maps(f), 0);
    /* Without FLUSH each write is durable. */
    guest_start(&g, 0, 1, 16);
    r = ask(&g, 0, T_OUT, 0, buf, 512);
    guest_kick(&g, 0);
    assert_int_equal(d->held[0]->flags, MOBO_BLOCK_FUA);
    finish(&g, 0, 0, 0);
    assert_int_equal(guest_used(&g, 0, &id, &len), 1);
    assert_int_equal(at_once(&g, T_FLUSH, 0, 0, 0), S_UNSUPP);
    fake_free(f);
}

static void test_bounds(void **state)
{
    (void)state;
    struct guest g;
    static const char *const disk[] = { "block=1024", NULL };
    struct fake *f = machine(&g, disk, NULL); /* 2048 sectors */
    guest_start(&g, F_FLUSH, 1, 16);
    uint64_t buf = guest_alloc(&g, 8192);
    static const struct { uint64_t sector; uint32_t len; } bad[] = {
        { 2048, 1024 }, { 2046, 2048 }, { UINT64_MAX, 1024 }, { UINT64_MAX / 512, 1024 },
        { UINT64_MAX / 512 + 1, 1024 }, { UINT64_C(1) << 55, 1024 }, { 1, 1024 }, { 0, 512 },
        { 0, 1023 }, { 0, 1025 }, { 2047, 1024 }, { 0x7fffffffffffffff, 1024 },
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(at_once(&g, T_IN, bad[i].sector, buf, bad[i].len), S_IOERR);
        assert_int_equal(at_once(&g, T_OUT, bad[i].sector, buf, bad[i].len), S_IOERR);
    }
    assert_int_equal(at_once(&g, T_IN, 0, 0, 0), S_OK); /* nothing to do */
    assert_int_equal(at_once(&g, 99, 0, buf, 512), S_UNSUPP);
    /* Data that is not RAM: an error status, and no one is called. Registers, a hole, the edge. */
    assert_int_equal(at_once(&g, T_IN, 0, g.base, 1024), S_IOERR);
    assert_int_equal(at_once(&g, T_OUT, 0, UINT64_C(1) << 40, 1024), S_IOERR);
    assert_int_equal(at_once(&g, T_IN, 0, fake_ram_len(f) - 512, 1024), S_IOERR);
    assert_int_equal(fake_maps(f), 0);
    assert_int_equal(guest_in(&g, R_STATUS), 15);
    struct request r = ask(&g, 0, T_IN, 2046, buf, 1024); /* the last block is fine */
    guest_kick(&g, 0);
    finish(&g, 0, 0, 1);
    assert_int_equal(status(&g, &r), S_OK);
    fake_free(f);
}

static void test_id_and_readonly(void **state)
{
    (void)state;
    static const char *const disk[] = { "readonly=yes", NULL };
    static const char *const blk[] = { "serial=twenty-characters-xy", NULL };
    static const char *const three[] = { "serial=abc", NULL };
    struct guest g;
    struct fake *f = machine(&g, disk, blk);
    guest_start(&g, F_RO, 1, 16);
    uint64_t buf = guest_alloc(&g, 512);
    memset(guest_ptr(&g, buf), 0xa5, 512);
    assert_int_equal(at_once(&g, T_GET_ID, 0, buf, 20), S_OK);
    assert_memory_equal(guest_ptr(&g, buf), "twenty-characters-xy", 20);
    assert_int_equal(((uint8_t *)guest_ptr(&g, buf))[20], 0xa5);
    assert_int_equal(at_once(&g, T_OUT, 0, buf, 512), S_IOERR);
    fake_free(f);
    f = machine(&g, NULL, three);
    guest_start(&g, 0, 1, 16);
    buf = guest_alloc(&g, 32);
    memset(guest_ptr(&g, buf), 0xa5, 32);
    assert_int_equal(at_once(&g, T_GET_ID, 0, buf, 20), S_OK);
    assert_memory_equal(guest_ptr(&g, buf), "abc\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
    assert_int_equal(at_once(&g, T_GET_ID, 0, buf, 2), S_OK);
    fake_free(f);
}

static void test_out_of_order(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g, NULL, NULL);
    guest_start(&g, F_FLUSH | G_EVENT_IDX, 1, 64);
    uint64_t buf = guest_alloc(&g, 16 * 512);
    struct request r[16];
    uint32_t id, len;
    for (unsigned i = 0; i < 16; i++)
        r[i] = ask(&g, 0, T_IN, i, buf + i * 512, 512);
    guest_kick(&g, 0);
    struct disk *d = disk_of(&g);
    assert_int_equal(d->count, 16); /* all at once with the backend */
    for (unsigned i = 0; i < 16; i++) {
        unsigned pick = (i * 7) % d->count;
        unsigned sector = (unsigned)(d->held[pick]->off / 512);
        finish(&g, pick, 0, (int)(0x40 + sector));
        assert_int_equal(guest_used(&g, 0, &id, &len), 1);
        assert_int_equal(id, r[sector].head);
        assert_int_equal(((uint8_t *)guest_ptr(&g, buf))[sector * 512], 0x40 + sector);
    }
    assert_int_equal(guest_used(&g, 0, &id, &len), 0);
    fake_free(f);
}

/* Requests in flight when the driver resets: their ends are dropped, their slots come back. */
static void test_reset_in_flight(void **state)
{
    (void)state;
    static const char *const blk[] = { "queue-size=4", NULL };
    struct guest g;
    struct fake *f = machine(&g, NULL, blk);
    guest_start(&g, F_FLUSH | G_INDIRECT_DESC, 1, 4);
    struct disk *d = disk_of(&g);
    uint64_t table[12], buf = guest_alloc(&g, 512), st = guest_alloc(&g, 12);
    uint64_t header = guest_alloc(&g, 16);
    for (unsigned i = 0; i < 12; i++) { /* three-part chains in indirect tables: one entry each */
        table[i] = guest_alloc(&g, 48);
        const struct { uint64_t gpa; uint32_t len; uint16_t flags, next; } t[3] = {
            { header, 16, G_NEXT, 1 }, { buf, 512, G_NEXT | G_WRITE, 2 }, { st + i, 1, G_WRITE, 0 },
        };
        memcpy(guest_ptr(&g, table[i]), t, sizeof t);
        *(uint8_t *)guest_ptr(&g, st + i) = S_NONE;
    }
    for (unsigned i = 0; i < 4; i++)
        guest_add(&g, 0, &(struct guest_buf){ table[i], 48, G_INDIRECT }, 1);
    guest_kick(&g, 0);
    assert_int_equal(d->count, 4);
    guest_start(&g, F_FLUSH | G_INDIRECT_DESC, 1, 4); /* resets first */
    for (unsigned i = 4; i < 8; i++)
        guest_add(&g, 0, &(struct guest_buf){ table[i], 48, G_INDIRECT }, 1);
    guest_kick(&g, 0);
    assert_int_equal(d->count, 4); /* no slot is free */
    uint32_t id, len;
    finish(&g, 0, 0, 1); /* an old one ends: silently, and a new one starts */
    assert_int_equal(guest_used(&g, 0, &id, &len), 0);
    assert_int_equal(*(uint8_t *)guest_ptr(&g, st), S_NONE);
    assert_int_equal(d->count, 4);
    for (unsigned i = 0; i < 3; i++)
        finish(&g, 0, 0, 1);
    assert_int_equal(guest_used(&g, 0, &id, &len), 0);
    assert_int_equal(d->count, 4);
    for (unsigned i = 0; i < 4; i++) {
        finish(&g, 0, 0, 1);
        assert_int_equal(guest_used(&g, 0, &id, &len), 1);
        assert_int_equal(*(uint8_t *)guest_ptr(&g, st + 4 + i), S_OK);
    }
    assert_int_equal(fake_maps(f), 0);
    /* The machine resets with requests in flight. */
    for (unsigned i = 8; i < 12; i++)
        guest_add(&g, 0, &(struct guest_buf){ table[i], 48, G_INDIRECT }, 1);
    guest_kick(&g, 0);
    fake_reset(f);
    while (d->count)
        finish(&g, 0, 0, 1);
    for (unsigned i = 8; i < 12; i++)
        assert_int_equal(*(uint8_t *)guest_ptr(&g, st + i), S_NONE);
    assert_int_equal(fake_maps(f), 0);
    assert_int_equal(fake_level(f, "chip", 0), 0);
    fake_free(f);
}

static void test_ranges(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g, NULL, NULL);
    guest_start(&g, F_FLUSH | F_DISCARD | F_ZEROES, 1, 64);
    struct disk *d = disk_of(&g);
    struct range { uint64_t sector; uint32_t count, flags; } *t;
    uint64_t buf = guest_alloc(&g, 20 * sizeof *t);
    t = guest_ptr(&g, buf);
    uint32_t id, len;
    t[0] = (struct range){ 8, 8, 0 };
    t[1] = (struct range){ 64, 1, 0 };
    struct request r = ask(&g, 0, T_DISCARD, 0, buf, 32);
    guest_kick(&g, 0);
    assert_int_equal(d->count, 1); /* one after the other */
    assert_true(d->held[0]->op == MOBO_BLOCK_DISCARD && d->held[0]->off == 4096 &&
                d->held[0]->len == 4096);
    memset(t, 0xff, 32); /* too late to change the copy */
    finish(&g, 0, 0, 0);
    assert_true(d->count == 1 && d->held[0]->off == 64 * 512 && d->held[0]->len == 512);
    assert_int_equal(status(&g, &r), S_NONE);
    finish(&g, 0, 0, 0);
    assert_int_equal(status(&g, &r), S_OK);
    assert_int_equal(guest_used(&g, 0, &id, &len), 1);
    t[0] = (struct range){ 0, 8, 1 };
    r = ask(&g, 0, T_ZEROES, 0, buf, 16);
    guest_kick(&g, 0);
    assert_true(d->held[0]->op == MOBO_BLOCK_ZERO && d->held[0]->flags == MOBO_BLOCK_UNMAP);
    finish(&g, 0, MOBO_ENOTSUP, 0);
    assert_int_equal(status(&g, &r), S_UNSUPP);
    assert_int_equal(guest_used(&g, 0, &id, &len), 1);
    static const struct { uint32_t type; struct range r; uint32_t len; uint8_t status; } bad[] = {
        { T_DISCARD, { 0, 8, 1 }, 16, S_UNSUPP }, { T_ZEROES, { 0, 8, 2 }, 16, S_UNSUPP },
        { T_DISCARD, { 2048, 1, 0 }, 16, S_IOERR }, { T_DISCARD, { 2047, 2, 0 }, 16, S_IOERR },
        { T_DISCARD, { UINT64_MAX, 1, 0 }, 16, S_IOERR },
        { T_DISCARD, { 0, UINT32_MAX, 0 }, 16, S_IOERR }, { T_DISCARD, { 0, 1, 0 }, 15, S_IOERR },
        { T_DISCARD, { 0, 1, 0 }, 17, S_IOERR }, { T_ZEROES, { 0, 1, 0 }, 0, S_IOERR },
        { T_DISCARD, { 0, 1, 0 }, 17 * 16, S_IOERR },
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        memset(t, 0, 20 * sizeof *t);
        t[0] = bad[i].r;
        if (at_once(&g, bad[i].type, 0, buf, bad[i].len) != bad[i].status)
            fail_msg("range %u", i);
    }
    guest_start(&g, F_FLUSH, 1, 64); /* not agreed */
    assert_int_equal(at_once(&g, T_DISCARD, 0, buf, 16), S_UNSUPP);
    fake_free(f);
}

/* Chains that are no requests: the device asks for a reset, and runs on after it. */
static void test_malformed(void **state)
{
    (void)state;
    struct guest g;
    struct fake *f = machine(&g, NULL, NULL);
    uint64_t ram = fake_ram_len(f), h = 0x8000;
    const struct guest_buf bad[][3] = {
        { { h, 15, 0 }, { h, 1, G_WRITE }, { 0 } },
        { { h, 16, 0 }, { 0 }, { 0 } },
        { { h, 1, G_WRITE }, { 0 }, { 0 } },
        { { ram - 8, 16, 0 }, { h, 1, G_WRITE }, { 0 } },
        { { h, 8, 0 }, { ram, 8, 0 }, { h, 1, G_WRITE } },
        { { h, 16, 0 }, { ram, 1, G_WRITE }, { 0 } },
        { { h, 16, 0 }, { g.base + R_STATUS, 1, G_WRITE }, { 0 } },
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        guest_start(&g, F_FLUSH, 1, 16);
        memset(guest_ptr(&g, h), 0, 16);
        *(uint32_t *)guest_ptr(&g, h) = T_GET_ID;
        unsigned n = bad[i][2].len ? 3 : bad[i][1].len ? 2 : 1;
        guest_add(&g, 0, bad[i], n);
        guest_kick(&g, 0);
        if (guest_in(&g, R_STATUS) != (15 | G_NEEDS_RESET))
            fail_msg("chain %u: status 0x%x", i, guest_in(&g, R_STATUS));
    }
    guest_start(&g, F_FLUSH, 1, 16);
    uint64_t buf = guest_alloc(&g, 32);
    assert_int_equal(at_once(&g, T_GET_ID, 0, buf, 20), S_OK);
    assert_int_equal(disk_of(&g)->total, 0);
    fake_free(f);
}

static void test_queues(void **state)
{
    (void)state;
    static const char *const blk[] = { "queues=3", "queue-size=16", NULL };
    struct guest g;
    struct fake *f = machine(&g, NULL, blk);
    guest_start(&g, F_FLUSH | F_MQ, 3, 16);
    uint64_t buf = guest_alloc(&g, 3 * 512);
    struct request r[3];
    uint32_t id, len;
    for (unsigned i = 0; i < 3; i++) {
        r[i] = ask(&g, i, T_IN, i, buf + 512 * i, 512);
        guest_kick(&g, i);
    }
    assert_int_equal(disk_of(&g)->count, 3);
    static const struct { uint8_t held, queue; } order[] = { { 2, 2 }, { 0, 0 }, { 0, 1 } };
    for (unsigned i = 0; i < 3; i++) {
        finish(&g, order[i].held, 0, 1);
        assert_int_equal(guest_used(&g, order[i].queue, &id, &len), 1);
        assert_int_equal(status(&g, &r[order[i].queue]), S_OK);
        assert_int_equal(guest_used(&g, 1, &id, &len), 0);
    }
    fake_free(f);
}

/* Settings that cannot be, and the text that says what would do. */
static void test_settings(void **state)
{
    (void)state;
    static const struct { const char *disk[3], *blk[3], *text; } bad[] = {
        { { NULL }, { "queue-size=100" }, "queue-size 100 is not a power of two" },
        { { "length=1000" }, { NULL }, "whole blocks" },
        { { "block=100" }, { NULL }, "whole blocks" },
        { { "block=1000", "length=1000000" }, { NULL }, "whole blocks" },
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct fake *f = guest_machine();
        assert_non_null(fake_add(f, "disk", &disk_class, bad[i].disk));
        assert_null(fake_add(f, "vda", fake_class(PLUGINS "/dev-virtio.so", "blk"), bad[i].blk));
        if (!strstr(fake_failure(f), bad[i].text))
            fail_msg("settings %u: %s", i, fake_failure(f));
        fake_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config), cmocka_unit_test(test_read_write),
        cmocka_unit_test(test_bounds), cmocka_unit_test(test_id_and_readonly),
        cmocka_unit_test(test_out_of_order), cmocka_unit_test(test_reset_in_flight),
        cmocka_unit_test(test_ranges), cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_queues), cmocka_unit_test(test_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
