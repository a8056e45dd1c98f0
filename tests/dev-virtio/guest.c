/* guest.c: a bus and a driver for tests of virtio-mmio devices; see guest.h. */
#include "guest.h"

#include <string.h>

struct bus {
    mobo_obj_t *obj;
    mobo_irqchip_t chip;
    uint32_t count;
};

static int bus_attach(void *self, mobo_obj_t *dev, const mobo_mmio_desc_t *d)
{
    struct bus *b = self;
    const mobo_place_t place = { .size = sizeof place, .space = MOBO_SPACE_MEM,
                                 .base = 0x10000000 + b->count * UINT64_C(0x1000),
                                 .region = d->region };
    uint32_t handle;
    int rc = mobo_region_add(dev, &place, &handle);
    if (d->handle)
        *d->handle = handle;
    assert_string_equal(d->acpi_hid, "LNRO0005");
    assert_string_equal(d->fdt_compatible, "virtio,mmio");
    assert_int_equal(d->irq_flags, MOBO_IRQ_LEVEL);
    assert_int_equal(d->irq_count, 1);
    return rc ? rc : mobo_wire(dev, b->chip.self, b->count++, d->irq);
}

static const mobo_mmio_ops_t bus_ops = { .size = sizeof bus_ops, .attach = bus_attach };
static const mobo_iface_t bus_provides[] = { { MOBO_MMIO_BUS, &bus_ops }, { NULL, NULL } };
static const mobo_prop_t bus_props[] = {
    MOBO_LINK(struct bus, chip, MOBO_IRQCHIP, "chip"), MOBO_END,
};
static const mobo_class_t bus_class = {
    MOBO_CLASS(struct bus, bus_props, NULL), .name = "bus", .summary = "bus of the tests",
    .provides = bus_provides,
};

struct fake *guest_machine(void)
{
    struct fake *f = fake_new(16 << 20, 1);
    (void)fake_chip(f, "chip", 16);
    assert_non_null(fake_add(f, "bus", &bus_class, NULL));
    return f;
}

void guest_at(struct guest *g, struct fake *f, const char *device)
{
    *g = (struct guest){ .f = f, .base = fake_region(f, device, 0, NULL), .heap = 0x100000 };
}

uint32_t guest_in(struct guest *g, uint32_t reg)
{
    return (uint32_t)fake_read(g->f, g->base + reg, 4);
}

void guest_out(struct guest *g, uint32_t reg, uint32_t val)
{
    fake_write(g->f, g->base + reg, val, 4);
}

uint64_t guest_offer(struct guest *g)
{
    guest_out(g, 0x14, 1);
    uint64_t f = (uint64_t)guest_in(g, 0x10) << 32;
    guest_out(g, 0x14, 0);
    return f | guest_in(g, 0x10);
}

uint64_t guest_alloc(struct guest *g, uint32_t len)
{
    uint64_t at = g->heap;
    g->heap += (len + 15u) & ~15u;
    assert_true(g->heap <= fake_ram_len(g->f));
    memset(guest_ptr(g, at), 0, len);
    return at;
}

void *guest_ptr(struct guest *g, uint64_t gpa)
{
    return fake_ram(g->f) + gpa;
}

uint32_t guest_negotiate(struct guest *g, uint64_t features)
{
    features |= G_VERSION_1;
    g->features = features;
    guest_out(g, R_STATUS, 0);
    guest_out(g, R_STATUS, G_ACK);
    guest_out(g, R_STATUS, G_ACK | G_DRIVER);
    guest_out(g, 0x24, 0);
    guest_out(g, 0x20, (uint32_t)features);
    guest_out(g, 0x24, 1);
    guest_out(g, 0x20, (uint32_t)(features >> 32));
    guest_out(g, R_STATUS, G_ACK | G_DRIVER | G_FEATURES_OK);
    return guest_in(g, R_STATUS);
}

void guest_queue(struct guest *g, unsigned queue, uint16_t size)
{
    struct guest_queue *q = &g->q[queue];
    *q = (struct guest_queue){ .size = size };
    q->desc = guest_alloc(g, 16u * size);
    q->avail = guest_alloc(g, 6u + 2u * size);
    q->used = guest_alloc(g, 6u + 8u * size);
    guest_out(g, R_QSEL, queue);
    assert_int_equal(guest_in(g, R_QREADY), 0);
    assert_true(guest_in(g, R_QMAX) >= size);
    guest_out(g, R_QNUM, size);
    const uint64_t at[3] = { q->desc, q->avail, q->used };
    for (unsigned i = 0; i < 3; i++) {
        guest_out(g, 0x80 + 0x10 * i, (uint32_t)at[i]);
        guest_out(g, 0x84 + 0x10 * i, (uint32_t)(at[i] >> 32));
    }
    guest_out(g, R_QREADY, 1);
}

void guest_go(struct guest *g)
{
    guest_out(g, R_STATUS, guest_in(g, R_STATUS) | G_DRIVER_OK);
    fake_run(g->f);
}

void guest_start(struct guest *g, uint64_t features, unsigned queues, uint16_t size)
{
    assert_int_equal(guest_negotiate(g, features), G_ACK | G_DRIVER | G_FEATURES_OK);
    for (unsigned i = 0; i < queues; i++) {
        guest_queue(g, i, size);
        assert_int_equal(guest_in(g, R_QREADY), 1);
    }
    guest_go(g);
    assert_int_equal(guest_in(g, R_STATUS), G_ACK | G_DRIVER | G_FEATURES_OK | G_DRIVER_OK);
}

void guest_desc(struct guest *g, unsigned queue, uint16_t index, uint64_t gpa, uint32_t len,
                uint16_t flags, uint16_t next)
{
    uint8_t *d = guest_ptr(g, g->q[queue].desc + 16u * index);
    memcpy(d, &gpa, 8);
    memcpy(d + 8, &len, 4);
    memcpy(d + 12, &flags, 2);
    memcpy(d + 14, &next, 2);
}

void guest_avail(struct guest *g, unsigned queue, uint16_t head)
{
    struct guest_queue *q = &g->q[queue];
    uint8_t *avail = guest_ptr(g, q->avail);
    memcpy(avail + 4 + 2 * (q->avail_idx % q->size), &head, 2);
    q->avail_idx++;
    memcpy(avail + 2, &q->avail_idx, 2);
}

uint16_t guest_add(struct guest *g, unsigned queue, const struct guest_buf *bufs, unsigned count)
{
    struct guest_queue *q = &g->q[queue];
    uint16_t head = q->next_desc;
    for (unsigned i = 0; i < count; i++) {
        uint16_t at = q->next_desc;
        q->next_desc = (uint16_t)((at + 1) % q->size);
        uint16_t flags = (uint16_t)(bufs[i].flags | (i + 1 < count ? G_NEXT : 0));
        guest_desc(g, queue, at, bufs[i].gpa, bufs[i].len, flags, q->next_desc);
    }
    guest_avail(g, queue, head);
    return head;
}

void guest_kick(struct guest *g, unsigned queue)
{
    guest_out(g, R_NOTIFY, queue);
    fake_run(g->f);
}

int guest_used(struct guest *g, unsigned queue, uint32_t *id, uint32_t *len)
{
    struct guest_queue *q = &g->q[queue];
    const uint8_t *used = guest_ptr(g, q->used);
    uint16_t idx;
    memcpy(&idx, used + 2, 2);
    if (idx == q->used_idx)
        return 0;
    const uint8_t *e = used + 4 + 8 * (q->used_idx++ % q->size);
    memcpy(id, e, 4);
    memcpy(len, e + 4, 4);
    return 1;
}
