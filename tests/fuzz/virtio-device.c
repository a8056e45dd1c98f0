// sources: plugins/lib/virtqueue/virtqueue.c plugins/lib/virtqueue/chain.c
// sources: plugins/dev-virtio/virtio.c plugins/dev-virtio/transport_mmio.c plugins/dev-virtio/blk.c
// sources: plugins/dev-virtio/rng.c plugins/dev-virtio/console.c
// sources: plugins/dev-virtio/console_control.c
// sources: tests/lib/fakehost.c tests/lib/fakemem.c tests/lib/fakeirq.c tests/lib/fakeobj.c
// includes: plugins/lib plugins/dev-virtio tests/lib
/*
 * virtio-device.c (fuzz): blk, rng and console as a hostile driver sees them: register
 * accesses, ring contents, kicks and resets in any order. The first byte chooses the device;
 * half of the inputs start behind a correct initialisation, so that the rings are reached.
 */
#include <stdlib.h>
#include <string.h>

#include <fakehost.h>

#include <mobo/block.h>

#include "classes.h"

enum { RAM = 65536, BASE = 0x10000000, QUEUES = 6, HELD = 64, SIZE = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* ---- a bus, and a disk that holds requests --------------------------------------------------- */

struct bus {
    mobo_obj_t *obj;
};

static int bus_attach(void *self, mobo_obj_t *dev, const mobo_mmio_desc_t *d)
{
    (void)self;
    const mobo_place_t place = { .size = sizeof place, .space = MOBO_SPACE_MEM, .base = BASE,
                                 .region = d->region };
    return mobo_region_add(dev, &place, d->handle);
}

static const mobo_mmio_ops_t bus_ops = { .size = sizeof bus_ops, .attach = bus_attach };
static const mobo_iface_t bus_provides[] = { { MOBO_MMIO_BUS, &bus_ops }, { NULL, NULL } };
static const mobo_class_t bus_class = {
    MOBO_CLASS(struct bus, NULL, NULL), .name = "bus", .summary = "bus", .provides = bus_provides,
};

struct disk {
    mobo_obj_t *obj;
    mobo_block_req_t *held[HELD];
    unsigned count;
};

static void disk_info(void *self, mobo_block_info_t *info)
{
    (void)self;
    info->block_size = 512;
    info->length = 65536;
    info->physical_block = 4096;
    info->can_discard = info->write_cache = 1;
}

static void disk_submit(void *self, mobo_block_req_t *req)
{
    struct disk *d = self;
    uint64_t total = 0;
    if (req->op != MOBO_BLOCK_FLUSH && (req->len > 65536 || req->off > 65536 - req->len))
        abort(); /* the device let it through */
    for (uint32_t i = 0; i < req->iov_count; i++)
        total += req->iov[i].len;
    if ((req->op == MOBO_BLOCK_READ || req->op == MOBO_BLOCK_WRITE) && total != req->len)
        abort();
    if (d->count == HELD)
        abort();
    d->held[d->count++] = req;
}

static void disk_end(struct disk *d, unsigned which, int rc)
{
    if (d->count == 0)
        return;
    which %= d->count;
    mobo_block_req_t *req = d->held[which];
    d->held[which] = d->held[--d->count];
    for (uint32_t i = 0; rc == 0 && req->op == MOBO_BLOCK_READ && i < req->iov_count; i++)
        memset(req->iov[i].base, 0x5a, req->iov[i].len); /* the sanitizer checks the bounds */
    mobo_block_done(req, rc);
}

static const mobo_block_ops_t disk_ops = {
    .size = sizeof disk_ops, .info = disk_info, .submit = disk_submit,
};
static const mobo_iface_t disk_provides[] = { { MOBO_BLOCK, &disk_ops }, { NULL, NULL } };
static const mobo_class_t disk_class = {
    MOBO_CLASS(struct disk, NULL, NULL), .name = "disk", .summary = "disk",
    .provides = disk_provides,
};

/* ---- the driver ------------------------------------------------------------------------------ */

static void out(struct fake *f, uint32_t reg, uint32_t val)
{
    fake_write(f, BASE + reg, val, 4);
}

/* Queue n: descriptors at n * 1024, available ring 512 behind, used ring 640 behind. */
static void initialise(struct fake *f)
{
    out(f, 0x70, 1);
    out(f, 0x70, 3);
    for (uint32_t i = 0; i < 2; i++) {
        out(f, 0x14, i);
        out(f, 0x24, i);
        out(f, 0x20, (uint32_t)fake_read(f, BASE + 0x10, 4));
    }
    out(f, 0x70, 11);
    for (uint32_t i = 0; i < QUEUES; i++) {
        out(f, 0x30, i);
        if (fake_read(f, BASE + 0x34, 4) == 0)
            continue;
        out(f, 0x38, SIZE);
        out(f, 0x80, i * 1024);
        out(f, 0x90, i * 1024 + 512);
        out(f, 0xa0, i * 1024 + 640);
        out(f, 0x44, 1);
    }
    out(f, 0x70, 15);
}

static void offer(struct fake *f, uint32_t queue)
{
    uint8_t *avail = fake_ram(f) + queue % QUEUES * 1024 + 512;
    uint16_t idx;
    memcpy(&idx, avail + 2, 2);
    idx++;
    memcpy(avail + 2, &idx, 2);
    out(f, 0x50, queue % QUEUES);
}

static void build(struct fake *f, unsigned kind)
{
    static const char *const blk[] = { "queues=2", "queue-size=8", "serial=fuzz", NULL };
    static const char *const rng[] = { "max-bytes=1000", NULL };
    static const char *const console[] = { "char=c0", "char1=c1", "name1=a", "queue-size=8", NULL };
    (void)fake_add(f, "bus", &bus_class, NULL);
    (void)fake_char(f, "c0");
    (void)fake_char(f, "c1");
    fake_char_room(f, "c0", 300);
    fake_char_room(f, "c1", 300);
    (void)fake_add(f, "disk", &disk_class, NULL);
    if (!fake_add(f, "dev",
                  kind == 0   ? &virtio_blk_class
                  : kind == 1 ? &virtio_rng_class
                              : &virtio_console_class,
                  kind == 0   ? blk
                  : kind == 1 ? rng
                              : console))
        abort();
    fake_reset(f);
    (void)fake_run(f);
}

static void step(struct fake *f, const uint8_t *op)
{
    struct disk *d = fake_self(f, "disk");
    uint32_t val;
    char sink[64];
    memcpy(&val, op + 2, 4);
    switch (op[0] % 10) {
    case 0: /* any register, any width; the status and notify registers more often */
        fake_write(f, BASE + (op[1] & 1 ? 0x70u : op[1] * 2u), val & 0x80 ? val : val & 0xf,
                   op[1] & 1 ? 4 : 1u << (val >> 30));
        break;
    case 1:
        (void)fake_read(f, BASE + op[1] * 2u, 1u << (op[2] & 3));
        break;
    case 2: /* a descriptor that may make sense */
        memcpy(fake_ram(f) + op[1] % QUEUES * 1024 + op[2] % SIZE * 16,
               &(struct { uint64_t gpa; uint32_t len; uint16_t flags, next; }){
                   8192 + op[3] * 32u, op[4] * (op[4] & 1 ? 16u : 512u), op[5] & 7,
                   op[5] >> 3 & 7 },
               16);
        break;
    case 3: /* RAM anywhere */
        memcpy(fake_ram(f) + (val & 0x3fff), op + 1, 4);
        break;
    case 4: /* a request's header */
        memcpy(fake_ram(f) + 8192 + op[1] * 32u,
               &(struct { uint32_t type, pad; uint64_t sector; }){ op[2] & 15, 0, op[3] & 0x7f },
               16);
        break;
    case 5:
    case 6:
        offer(f, op[1]);
        break;
    case 7:
        disk_end(d, op[1], op[2] & 7 ? 0 : MOBO_EIO);
        break;
    case 8:
        fake_char_type(f, op[1] & 1 ? "c1" : "c0", op, 5);
        (void)fake_char_take(f, op[1] & 1 ? "c1" : "c0", sink, sizeof sink);
        fake_char_room(f, op[1] & 1 ? "c1" : "c0", op[2]);
        break;
    default:
        if (op[1] == 0)
            fake_reset(f);
        else if (op[1] < 32)
            initialise(f);
        else
            fake_step(f, (uint64_t)op[1] * 10000000);
        break;
    }
    if (op[0] & 0x80)
        (void)fake_run(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    enum { OP = 6, OPS = 256 };
    if (len < 1 + OP)
        return 0;
    struct fake *f = fake_new(RAM, 1);
    build(f, data[0] % 3);
    if (data[0] & 0x80)
        initialise(f);
    size_t ops = (len - 1) / OP;
    for (size_t i = 0; i < ops && i < OPS; i++)
        step(f, data + 1 + i * OP);
    (void)fake_run(f);
    struct disk *d = fake_self(f, "disk");
    while (d->count) {
        disk_end(d, 0, 0);
        (void)fake_run(f);
    }
    if (fake_maps(f))
        abort(); /* borrowed memory was not given back */
    fake_free(f);
    return 0;
}
