/*
 * test-virtqueue.c: the chain walker against hand-made rings: what it must take, what it must
 * refuse and with which words, and the arithmetic of indices that wrap.
 */
#include "guest.h"

#include <string.h>

#include <virtqueue/virtqueue.h>

enum { SIZE = 8, DESC = 0x1000, AVAIL = 0x2000, USED = 0x3000, TABLE = 0x4000, DATA = 0x8000 };
enum { RAM = 1 << 20 };
enum { N = G_NEXT, W = G_WRITE, I = G_INDIRECT };

struct d {
    uint64_t gpa;
    uint32_t len;
    uint16_t flags, next;
};

struct chain_case {
    const char *name, *why;     /* NULL: it is a good chain of */
    uint32_t readable, count;   /* so many descriptors */
    uint32_t read_len, write_len;
    uint16_t head;
    struct d d[SIZE];
    struct d t[10];             /* the indirect table */
    uint32_t without;           /* features that are not agreed */
};

static const struct chain_case cases[] = {
    { "one readable",
      .readable = 1, .count = 1, .read_len = 16, .write_len = 0,
      .d = { { DATA, 16, 0, 0 } } },
    { "one writable",
      .readable = 0, .count = 1, .read_len = 0, .write_len = 16,
      .d = { { DATA, 16, W, 0 } } },
    { "next without the flag is ignored",
      .readable = 1, .count = 1, .read_len = 4, .write_len = 0,
      .d = { { DATA, 4, 0, 999 } } },
    { "readable then writable",
      .readable = 1, .count = 2, .read_len = 16, .write_len = 512,
      .d = { { DATA, 16, N, 1 }, { DATA, 512, W, 0 } } },
    { "any order in the table",
      .readable = 2, .count = 3, .read_len = 3, .write_len = 4, .head = 7,
      .d = { { 0 }, { 0 }, { DATA, 4, W, 0 }, { DATA, 2, N, 2 }, { 0 }, { 0 }, { 0 },
        { DATA, 1, N, 3 } } },
    { "as long as the queue",
      .readable = 8, .count = 8, .read_len = 8, .write_len = 0,
      .d = { { DATA, 1, N, 1 }, { DATA, 1, N, 2 }, { DATA, 1, N, 3 }, { DATA, 1, N, 4 },
        { DATA, 1, N, 5 }, { DATA, 1, N, 6 }, { DATA, 1, N, 7 }, { DATA, 1, 0, 0 } } },
    { "longest total",
      .readable = 1, .count = 2, .read_len = 0x7fffffff, .write_len = 0x80000000u,
      .d = { { DATA, 0x7fffffff, N, 1 }, { DATA, 0x80000000u, W, 0 } } },
    { "highest address",
      .readable = 1, .count = 1, .read_len = 16, .write_len = 0,
      .d = { { UINT64_MAX - 16, 16, 0, 0 } } },
    { "indirect",
      .readable = 1, .count = 2, .read_len = 16, .write_len = 512,
      .d = { { TABLE, 32, I, 0 } },
      .t = { { DATA, 16, N, 1 }, { DATA, 512, W, 0 } } },
    { "indirect marked writable",
      .readable = 1, .count = 1, .read_len = 16, .write_len = 0,
      .d = { { TABLE, 16, I | W, 0 } },
      .t = { { DATA, 16, 0, 0 } } },
    { "indirect behind direct",
      .readable = 2, .count = 3, .read_len = 17, .write_len = 2,
      .d = { { DATA, 16, N, 3 }, { 0 }, { 0 },
      { TABLE, 32, I, 0 } }, .t = { { DATA, 1, N, 1 }, { DATA, 2, W, 0 } } },
    { "indirect table longer than its chain",
      .readable = 1, .count = 1, .read_len = 9, .write_len = 0,
      .d = { { TABLE, 16 * 10, I, 0 } },
      .t = { { DATA, 9, 0, 0 } } },
    { "indirect as long as the queue",
      .readable = 8, .count = 8, .read_len = 8, .write_len = 0,
      .d = { { TABLE, 16 * 8, I, 0 } },
      .t = { { DATA, 1, N, 1 }, { DATA, 1, N, 2 }, { DATA, 1, N, 3 }, { DATA, 1, N, 4 },
        { DATA, 1, N, 5 }, { DATA, 1, N, 6 }, { DATA, 1, N, 7 }, { DATA, 1, 0, 0 } } },

    { "head just outside", "outside its table", .head = 8 },
    { "head far outside", "outside its table", .head = 0xffff },
    { "next just outside", "outside its table", .d = { { DATA, 1, N, 8 } } },
    { "next far outside", "outside its table", .d = { { DATA, 1, N, 0xffff } } },
    { "loop to itself", "more descriptors than", .d = { { DATA, 1, N, 0 } } },
    { "loop of two", "more descriptors than", .d = { { DATA, 1, N, 1 }, { DATA, 1, N, 0 } } },
    { "loop behind a start", "more descriptors than",
      .d = { { DATA, 1, N, 1 }, { DATA, 1, N, 2 }, { DATA, 1, N, 1 } } },
    { "loop of writable ones", "more descriptors than", .d = { { DATA, 1, N | W, 0 } } },
    { "zero length", "length 0", .d = { { DATA, 0, 0, 0 } } },
    { "zero length writable", "length 0", .d = { { DATA, 0, W, 0 } } },
    { "zero length in the middle", "length 0", .d = { { DATA, 1, N, 1 }, { DATA, 0, N, 2 },
      { DATA, 1, 0, 0 } } },
    { "loop of zero length", "length 0", .d = { { DATA, 0, N, 0 } } },
    { "readable behind writable", "readable descriptor follows",
      .d = { { DATA, 1, N | W, 1 }, { DATA, 1, 0, 0 } } },
    { "readable behind both", "readable descriptor follows",
      .d = { { DATA, 1, N, 1 }, { DATA, 1, N | W, 2 }, { DATA, 1, 0, 0 } } },
    { "address overflow by one", "end of the address space",
      .d = { { UINT64_MAX - 15, 16, 0, 0 } } },
    { "address overflow far", "end of the address space",
      .d = { { UINT64_MAX, UINT32_MAX, 0, 0 } } },
    { "total one too long", "longer than 2^32",
      .d = { { DATA, 0x80000000u, N, 1 }, { DATA, 0x80000000u, 0, 0 } } },
    { "total of both parts too long", "longer than 2^32",
      .d = { { DATA, UINT32_MAX, N, 1 }, { DATA, 1, W, 0 } } },
    { "total wraps many times", "longer than 2^32",
      .d = { { DATA, UINT32_MAX, N | W, 1 }, { DATA, UINT32_MAX, N | W, 2 },
             { DATA, UINT32_MAX, W, 0 } } },
    { "indirect not agreed", "without the feature", .d = { { TABLE, 16, I, 0 } },
      .t = { { DATA, 1, 0, 0 } }, .without = VQ_INDIRECT },
    { "indirect with next", "indirect descriptor with NEXT", .d = { { TABLE, 16, I | N, 1 },
      { DATA, 1, 0, 0 } }, .t = { { DATA, 1, 0, 0 } } },
    { "indirect in indirect", "inside an indirect table", .d = { { TABLE, 16, I, 0 } },
      .t = { { TABLE, 16, I, 0 } } },
    { "indirect behind direct in indirect", "inside an indirect table",
      .d = { { TABLE, 32, I, 0 } },
      .t = { { DATA, 1, N, 1 }, { TABLE, 16, I, 0 } } },
    { "indirect table is the ring itself", "inside an indirect table",
      .d = { { DESC, 16 * SIZE, I, 0 } } },
    { "indirect of no bytes", "multiple of 16", .d = { { TABLE, 0, I, 0 } } },
    { "indirect of 15 bytes", "multiple of 16", .d = { { TABLE, 15, I, 0 } } },
    { "indirect of 17 bytes", "multiple of 16", .d = { { TABLE, 17, I, 0 } } },
    { "indirect of 4 GiB", "multiple of 16", .d = { { TABLE, UINT32_MAX, I, 0 } } },
    { "indirect of too many entries", "more than 65536", .d = { { TABLE, 0xfffffff0u, I, 0 } } },
    { "indirect at the end of memory", "end of the address space",
      .d = { { UINT64_MAX - 14, 16, I, 0 } } },
    { "indirect outside RAM", "not in RAM", .d = { { RAM, 16, I, 0 } } },
    { "indirect half outside RAM", "not in RAM", .d = { { RAM - 8, 16, I, 0 } } },
    { "indirect next outside its table", "outside its table", .d = { { TABLE, 16, I, 0 } },
      .t = { { DATA, 1, N, 1 }, { DATA, 1, 0, 0 } } },
    { "indirect loop", "more descriptors than", .d = { { TABLE, 16 * 10, I, 0 } },
      .t = { { DATA, 1, N, 0 } } },
    { "indirect longer than the queue", "more descriptors than", .d = { { TABLE, 16 * 9, I, 0 } },
      .t = { { DATA, 1, N, 1 }, { DATA, 1, N, 2 }, { DATA, 1, N, 3 }, { DATA, 1, N, 4 },
             { DATA, 1, N, 5 }, { DATA, 1, N, 6 }, { DATA, 1, N, 7 }, { DATA, 1, N, 8 },
             { DATA, 1, 0, 0 } } },
    { "direct and indirect longer than the queue", "more descriptors than",
      .d = { { DATA, 1, N, 1 }, { TABLE, 16 * 8, I, 0 } },
      .t = { { DATA, 1, N, 1 }, { DATA, 1, N, 2 }, { DATA, 1, N, 3 }, { DATA, 1, N, 4 },
             { DATA, 1, N, 5 }, { DATA, 1, N, 6 }, { DATA, 1, N, 7 }, { DATA, 1, 0, 0 } } },
    { "indirect zero length", "length 0",
      .d = { { TABLE, 16, I, 0 } }, .t = { { DATA, 0, W, 0 } } },
    { "indirect wrong order", "readable descriptor follows", .d = { { TABLE, 32, I, 0 } },
      .t = { { DATA, 1, N | W, 1 }, { DATA, 1, 0, 0 } } },
    { "order across the indirect border", "readable descriptor follows",
      .d = { { DATA, 1, N | W, 1 }, { TABLE, 16, I, 0 } }, .t = { { DATA, 1, 0, 0 } } },
};

struct ring {
    struct fake *f;
    struct vq q;
    struct vq_buf bufs[SIZE];
    struct vq_chain chain;
};

static void put16(struct ring *r, uint64_t gpa, uint16_t val)
{
    memcpy(fake_ram(r->f) + gpa, &val, 2);
}

static uint16_t get16(struct ring *r, uint64_t gpa)
{
    uint16_t val;
    memcpy(&val, fake_ram(r->f) + gpa, 2);
    return val;
}

static void put_desc(struct ring *r, uint64_t table, unsigned i, const struct d *d)
{
    uint8_t *to = fake_ram(r->f) + table + 16 * i;
    memcpy(to, &d->gpa, 8);
    memcpy(to + 8, &d->len, 4);
    memcpy(to + 12, &d->flags, 2);
    memcpy(to + 14, &d->next, 2);
}

static void ring_init(struct ring *r, uint32_t features)
{
    memset(r, 0, sizeof *r);
    r->f = fake_new(RAM, 1);
    (void)fake_char(r->f, "dev");
    r->chain.buf = r->bufs;
    r->chain.room = SIZE;
    assert_int_equal(vq_start(&r->q, fake_obj(r->f, "dev"), SIZE, DESC, AVAIL, USED, features), 0);
}

/* Offer the chain that starts at HEAD. */
static void offer(struct ring *r, uint16_t head)
{
    uint16_t idx = get16(r, AVAIL + 2);
    put16(r, AVAIL + 4 + 2 * (idx % SIZE), head);
    put16(r, AVAIL + 2, (uint16_t)(idx + 1));
}

static void test_chains(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct chain_case *c = &cases[i];
        struct ring r;
        ring_init(&r, (VQ_INDIRECT | VQ_EVENT_IDX) & ~c->without);
        for (unsigned j = 0; j < SIZE; j++)
            put_desc(&r, DESC, j, &c->d[j]);
        for (unsigned j = 0; j < sizeof c->t / sizeof *c->t; j++)
            put_desc(&r, TABLE, j, &c->t[j]);
        offer(&r, c->head);
        int rc = vq_pop(&r.q, &r.chain);
        if (rc != (c->why ? MOBO_EFAULT : 1))
            fail_msg("%s: pop gives %d (%s)", c->name, rc, r.q.why ? r.q.why : "fine");
        if (c->why) {
            if (!r.q.broken || !strstr(r.q.why, c->why))
                fail_msg("%s: the reason is '%s'", c->name, r.q.why ? r.q.why : "");
            assert_int_equal(vq_pop(&r.q, &r.chain), MOBO_EFAULT); /* and it stays broken */
            assert_int_equal(vq_wants_interrupt(&r.q), 0);
        } else if (r.chain.readable != c->readable || r.chain.count != c->count ||
                   r.chain.read_len != c->read_len || r.chain.write_len != c->write_len ||
                   r.chain.head != c->head) {
            fail_msg("%s: %u of %u descriptors readable, %u and %u bytes", c->name,
                     r.chain.readable, r.chain.count, r.chain.read_len, r.chain.write_len);
        }
        fake_free(r.f);
    }
}

static void test_geometry(void **state)
{
    (void)state;
    static const struct {
        uint64_t desc, avail, used;
        uint16_t size;
        int good;
    } g[] = {
        { DESC, AVAIL, USED, 8, 1 }, { DESC, AVAIL, USED, 1, 1 }, { DESC, AVAIL, USED, 1024, 1 },
        { DESC, AVAIL, USED, 0, 0 }, { DESC, AVAIL, USED, 3, 0 }, { DESC, AVAIL, USED, 2048, 0 },
        { DESC, AVAIL, USED, 0xffff, 0 }, { DESC + 8, AVAIL, USED, 8, 0 },
        { DESC, AVAIL + 1, USED, 8, 0 }, { DESC, AVAIL, USED + 2, 8, 0 },
        { UINT64_MAX - 127, AVAIL, USED, 8, 0 }, { UINT64_MAX - 15 - 128, AVAIL, USED, 8, 1 },
        { DESC, UINT64_MAX - 1, USED, 8, 0 }, { DESC, AVAIL, UINT64_MAX - 3, 8, 0 },
    };
    struct ring r;
    ring_init(&r, 0);
    for (unsigned i = 0; i < sizeof g / sizeof *g; i++) {
        int rc = vq_start(&r.q, fake_obj(r.f, "dev"), g[i].size, g[i].desc, g[i].avail,
                          g[i].used, 0);
        if ((rc == 0) != g[i].good)
            fail_msg("geometry %u: %d", i, rc);
        assert_int_equal(r.q.live, g[i].good);
    }
    /* Rings that are not RAM are found by the first access. */
    assert_int_equal(vq_start(&r.q, fake_obj(r.f, "dev"), 8, DESC, RAM, USED, 0), 0);
    assert_int_equal(vq_pop(&r.q, &r.chain), MOBO_EFAULT);
    assert_int_equal(vq_start(&r.q, fake_obj(r.f, "dev"), 8, RAM, AVAIL, USED, 0), 0);
    offer(&r, 0);
    assert_int_equal(vq_pop(&r.q, &r.chain), MOBO_EFAULT);
    assert_string_equal(r.q.why, "a descriptor table is not in RAM");
    fake_free(r.f);
}

static void test_index_jump(void **state)
{
    (void)state;
    static const struct { uint16_t idx; int rc; } jumps[] = {
        { 0, 0 }, { 1, 1 }, { SIZE, 1 }, { SIZE + 1, MOBO_EFAULT }, { 0x8000, MOBO_EFAULT },
        { 0xffff, MOBO_EFAULT },
    };
    for (unsigned i = 0; i < sizeof jumps / sizeof *jumps; i++) {
        struct ring r;
        ring_init(&r, 0);
        put_desc(&r, DESC, 0, &(struct d){ DATA, 1, 0, 0 });
        put16(&r, AVAIL + 2, jumps[i].idx);
        assert_int_equal(vq_pop(&r.q, &r.chain), jumps[i].rc);
        fake_free(r.f);
    }
    /* The same head again and again: no more chains in flight than the queue has entries. */
    struct ring r;
    ring_init(&r, 0);
    put_desc(&r, DESC, 0, &(struct d){ DATA, 1, 0, 0 });
    for (unsigned i = 0; i < SIZE; i++) {
        offer(&r, 0);
        assert_int_equal(vq_pop(&r.q, &r.chain), 1);
    }
    offer(&r, 0);
    assert_int_equal(vq_pop(&r.q, &r.chain), MOBO_EFAULT);
    fake_free(r.f);
}

/* 200,000 chains, pushed out of order in pairs: all indices pass 65535 three times. */
static void test_wrap(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r, VQ_EVENT_IDX);
    for (unsigned i = 0; i < SIZE; i++)
        put_desc(&r, DESC, i, &(struct d){ DATA, 4, W, 0 });
    for (uint32_t n = 0; n < 100000; n++) {
        struct vq_buf more[SIZE];
        struct vq_chain a = r.chain, b = { .buf = more, .room = SIZE };
        uint16_t first = (uint16_t)(n % SIZE), second = (uint16_t)((n + 3) % SIZE);
        offer(&r, first);
        offer(&r, second);
        assert_int_equal(vq_pop(&r.q, &a), 1);
        assert_int_equal(vq_pop(&r.q, &b), 1);
        assert_int_equal(vq_pop(&r.q, &r.chain), 0);
        uint16_t at = get16(&r, USED + 2);
        vq_push(&r.q, &b, 2);
        vq_push(&r.q, &a, 1);
        assert_int_equal(get16(&r, USED + 2), (uint16_t)(at + 2));
        uint32_t e[2];
        memcpy(e, fake_ram(r.f) + USED + 4 + 8 * (at % SIZE), 8);
        assert_true(e[0] == second && e[1] == 2);
        memcpy(e, fake_ram(r.f) + USED + 4 + 8 * ((at + 1u) % SIZE), 8);
        assert_true(e[0] == first && e[1] == 1);
    }
    assert_int_equal(r.q.broken, 0);
    fake_free(r.f);
}

/* One chain through the queue; returns whether the driver is to be interrupted. */
static int one(struct ring *r)
{
    offer(r, 0);
    assert_int_equal(vq_pop(&r->q, &r->chain), 1);
    vq_push(&r->q, &r->chain, 0);
    return vq_wants_interrupt(&r->q);
}

static void test_event_idx(void **state)
{
    (void)state;
    enum { USED_EVENT = AVAIL + 4 + 2 * SIZE, AVAIL_EVENT = USED + 4 + 8 * SIZE };
    struct ring r;
    ring_init(&r, VQ_EVENT_IDX);
    put_desc(&r, DESC, 0, &(struct d){ DATA, 4, W, 0 });
    assert_int_equal(vq_wants_interrupt(&r.q), 0); /* nothing was pushed */
    assert_int_equal(one(&r), 1);                  /* used_event 0: tell of the first */
    assert_int_equal(vq_wants_interrupt(&r.q), 0); /* once */
    assert_int_equal(one(&r), 0);                  /* it did not move on */
    put16(&r, USED_EVENT, 4);
    assert_int_equal(one(&r), 0); /* 3 */
    assert_int_equal(one(&r), 0); /* 4 */
    assert_int_equal(one(&r), 1); /* entry 4 is used now */
    put16(&r, USED_EVENT, 7);     /* several at once that pass it */
    for (int i = 0; i < 5; i++) {
        offer(&r, 0);
        assert_int_equal(vq_pop(&r.q, &r.chain), 1);
        vq_push(&r.q, &r.chain, 0);
    }
    assert_int_equal(vq_wants_interrupt(&r.q), 1);
    /* Across the wrap of the index. */
    put16(&r, USED_EVENT, 0x5000);
    while (get16(&r, USED + 2) != 0xfffe)
        (void)one(&r);
    put16(&r, USED_EVENT, 1);
    assert_int_equal(one(&r), 0); /* 0xfffe */
    assert_int_equal(one(&r), 0); /* 0xffff */
    assert_int_equal(one(&r), 0); /* 0 */
    assert_int_equal(one(&r), 1); /* 1 */
    /* Kicks: avail_event follows when they are wanted, and only then. */
    uint16_t seen = get16(&r, AVAIL_EVENT);
    assert_int_equal(vq_kicks(&r.q, 0), 0);
    assert_int_equal(get16(&r, AVAIL_EVENT), seen);
    assert_int_equal(vq_kicks(&r.q, 1), 0);
    assert_int_equal(get16(&r, AVAIL_EVENT), 2);
    offer(&r, 0);
    assert_int_equal(vq_kicks(&r.q, 1), 1); /* it came before the wish: look again */
    fake_free(r.f);
}

static void test_flags(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r, 0);
    put_desc(&r, DESC, 0, &(struct d){ DATA, 4, W, 0 });
    assert_int_equal(one(&r), 1);
    put16(&r, AVAIL, 1); /* VIRTQ_AVAIL_F_NO_INTERRUPT */
    assert_int_equal(one(&r), 0);
    assert_int_equal(vq_kicks(&r.q, 0), 0);
    assert_int_equal(get16(&r, USED), 1); /* VIRTQ_USED_F_NO_NOTIFY */
    assert_int_equal(vq_kicks(&r.q, 1), 0);
    assert_int_equal(get16(&r, USED), 0);
    fake_free(r.f);
}

static void test_stale(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r, 0);
    put_desc(&r, DESC, 0, &(struct d){ DATA, 4, W, 0 });
    offer(&r, 0);
    assert_int_equal(vq_pop(&r.q, &r.chain), 1);
    struct vq_chain old = r.chain;
    vq_stop(&r.q);
    vq_push(&r.q, &old, 4); /* stopped: nothing is written */
    assert_int_equal(get16(&r, USED + 2), 0);
    assert_int_equal(vq_start(&r.q, fake_obj(r.f, "dev"), SIZE, DESC, AVAIL, USED, 0), 0);
    assert_int_equal(vq_pop(&r.q, &r.chain), 1); /* index 1 again, from the start */
    vq_push(&r.q, &old, 4);                      /* started anew: the old one is nobody's */
    assert_int_equal(get16(&r, USED + 2), 0);
    vq_push(&r.q, &r.chain, 4);
    assert_int_equal(get16(&r, USED + 2), 1);
    vq_push(&r.q, &r.chain, 4); /* twice: nothing is in flight */
    assert_int_equal(get16(&r, USED + 2), 1);
    fake_free(r.f);
}

static void test_unpop(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r, 0);
    put_desc(&r, DESC, 0, &(struct d){ DATA, 4, W, 0 });
    offer(&r, 0);
    assert_int_equal(vq_pop(&r.q, &r.chain), 1);
    vq_unpop(&r.q, &r.chain);
    assert_int_equal(vq_pop(&r.q, &r.chain), 1);
    vq_push(&r.q, &r.chain, 0);
    assert_int_equal(vq_pop(&r.q, &r.chain), 0);
    fake_free(r.f);
}

static void test_copy_and_map(void **state)
{
    (void)state;
    struct ring r;
    ring_init(&r, VQ_INDIRECT);
    static const struct d d[] = {
        { DATA, 3, N, 1 }, { DATA + 0x100, 5, N, 2 }, { DATA + 0x200, 2, N | W, 3 },
        { DATA + 0x300, 6, W, 0 },
    };
    for (unsigned i = 0; i < 4; i++)
        put_desc(&r, DESC, i, &d[i]);
    memcpy(fake_ram(r.f) + DATA, "abc", 3);
    memcpy(fake_ram(r.f) + DATA + 0x100, "defgh", 5);
    offer(&r, 0);
    assert_int_equal(vq_pop(&r.q, &r.chain), 1);
    char buf[16] = { 0 };
    assert_int_equal(vq_read(&r.q, &r.chain, 0, buf, 8), 0);
    assert_string_equal(buf, "abcdefgh");
    memset(buf, 0, sizeof buf);
    assert_int_equal(vq_read(&r.q, &r.chain, 2, buf, 3), 0);
    assert_string_equal(buf, "cde");
    memset(buf, 0, sizeof buf);
    assert_int_equal(vq_read(&r.q, &r.chain, 3, buf, 1), 0);
    assert_string_equal(buf, "d");
    assert_int_equal(vq_read(&r.q, &r.chain, 8, buf, 0), 0);
    assert_int_equal(vq_read(&r.q, &r.chain, 0, buf, 9), MOBO_ERANGE);
    assert_int_equal(vq_read(&r.q, &r.chain, 8, buf, 1), MOBO_ERANGE);
    assert_int_equal(vq_read(&r.q, &r.chain, UINT32_MAX, buf, 2), MOBO_ERANGE);
    assert_int_equal(vq_write(&r.q, &r.chain, 1, "XYZ", 3), 0);
    assert_memory_equal(fake_ram(r.f) + DATA + 0x200, "\0X", 2);
    assert_memory_equal(fake_ram(r.f) + DATA + 0x300, "YZ\0\0", 4);
    assert_int_equal(vq_write(&r.q, &r.chain, 6, "XYZ", 3), MOBO_ERANGE);
    mobo_iov_t iov[4];
    uint32_t count;
    assert_int_equal(vq_map(&r.q, &r.chain, 1, 1, 7, iov, 4, &count), 0);
    assert_int_equal(count, 2);
    assert_ptr_equal(iov[0].base, fake_ram(r.f) + DATA + 0x201);
    assert_int_equal(iov[0].len, 1);
    assert_int_equal(iov[1].len, 6);
    vq_unmap(fake_obj(r.f, "dev"), iov, count, 3);
    assert_int_equal(vq_map(&r.q, &r.chain, 0, 0, 8, iov, 1, &count), MOBO_ERANGE);
    assert_int_equal(vq_map(&r.q, &r.chain, 0, 1, 8, iov, 4, &count), MOBO_ERANGE);
    assert_int_equal(fake_maps(r.f), 0); /* nothing stays borrowed on an error */
    /* Not RAM: the second piece. */
    put_desc(&r, DESC, 1, &(struct d){ RAM - 2, 5, N, 2 });
    offer(&r, 0);
    assert_int_equal(vq_pop(&r.q, &r.chain), 1);
    assert_int_equal(vq_map(&r.q, &r.chain, 0, 0, 8, iov, 4, &count), MOBO_EFAULT);
    assert_int_equal(fake_maps(r.f), 0);
    assert_int_equal(vq_read(&r.q, &r.chain, 0, buf, 8), MOBO_EFAULT);
    fake_free(r.f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chains), cmocka_unit_test(test_geometry),
        cmocka_unit_test(test_index_jump), cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_event_idx), cmocka_unit_test(test_flags),
        cmocka_unit_test(test_stale), cmocka_unit_test(test_unpop),
        cmocka_unit_test(test_copy_and_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
