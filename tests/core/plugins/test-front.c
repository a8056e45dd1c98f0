/*
 * test-front: classes for the tests of the INI reader and the schema check: one of each role, and
 * a device with a property of every type. Nothing here runs: a disk never starts.
 */
#include "test-front.h"

struct accel {
    mobo_obj_t *obj;
    uint32_t fast, common;
};

static const mobo_prop_t accel_props[] = {
    MOBO_BOOL(struct accel, fast, "no", "be fast"),
    MOBO_U32(struct accel, common, "1", "a key that [slow] has, too", .max = 5),
    MOBO_END,
};

static int ram_map(void *self, uint64_t gpa, void *host, uint64_t len, uint32_t flags)
{
    (void)self, (void)gpa, (void)host, (void)len, (void)flags;
    return 0;
}

static int ram_unmap(void *self, uint64_t gpa, uint64_t len)
{
    (void)self, (void)gpa, (void)len;
    return 0;
}

static int vcpu_new(void *self, uint32_t index, void **vcpu)
{
    (void)index;
    *vcpu = self;
    return 0;
}

static void vcpu_nothing(void *vcpu)
{
    (void)vcpu;
}

static int run(void *vcpu, const mobo_exits_t *up, void *ctx)
{
    (void)vcpu, (void)up, (void)ctx;
    return 0;
}

static const mobo_accel_ops_t accel_ops = {
    .size = sizeof accel_ops,
    .ram_map = ram_map,
    .ram_unmap = ram_unmap,
    .vcpu_new = vcpu_new,
    .vcpu_reset = vcpu_nothing,
    .run = run,
    .kick = vcpu_nothing,
};
static const mobo_iface_t accel_provides[] = { { MOBO_ACCEL, &accel_ops }, { 0 } };
static const mobo_class_t accel = {
    MOBO_CLASS(struct accel, accel_props, NULL),
    .name = "accel",
    .summary = "no accelerator",
    .provides = accel_provides,
};

static const mobo_prop_t slow_props[] = {
    MOBO_U32(struct slow, level, "3", "how slow", .min = 1, .max = 9),
    MOBO_U32(struct slow, common, "1", "a key that [accel] has, too", .max = 5),
    MOBO_END,
};
static const mobo_class_t slow = {
    MOBO_CLASS(struct slow, slow_props, NULL),
    .name = "slow",
    .summary = "another one",
    .provides = accel_provides,
};

struct chip {
    mobo_obj_t *obj;
};

static uint32_t lines(void *self)
{
    (void)self;
    return 16;
}

static void set(void *self, uint32_t line, uint32_t level)
{
    (void)self, (void)line, (void)level;
}

static const mobo_irqchip_ops_t chip_ops = { .size = sizeof chip_ops, .lines = lines, .set = set };
static const mobo_iface_t chip_provides[] = { { MOBO_IRQCHIP, &chip_ops }, { 0 } };
static const mobo_class_t chip = {
    MOBO_CLASS(struct chip, NULL, NULL),
    .name = "chip",
    .summary = "interrupt controller",
    .provides = chip_provides,
};

static int attach(void *self, mobo_obj_t *dev, const mobo_mmio_desc_t *desc)
{
    (void)self, (void)dev, (void)desc;
    return 0;
}

static const mobo_prop_t bus_props[] = {
    MOBO_LINK_OPT(struct bus, chip, MOBO_IRQCHIP, "where its interrupts go"),
    MOBO_END,
};
static const mobo_prop_t child_props[] = {
    MOBO_U64(struct child, at, NULL, "address of the window", .max = 0xffff0000),
    MOBO_STR(struct child, label, "", "what is printed on it"),
    MOBO_IRQ(struct child, irq, "line on the bus"),
    MOBO_END,
};
static const mobo_mmio_ops_t bus_ops = { .size = sizeof bus_ops, .attach = attach };
static const mobo_iface_t bus_provides[] = { { MOBO_MMIO_BUS, &bus_ops }, { 0 } };
static const mobo_class_t bus = {
    MOBO_CLASS(struct bus, bus_props, NULL),
    .name = "bus",
    .summary = "bus with a child schema",
    .provides = bus_provides,
    .child_props = child_props,
    .child_size = sizeof(struct child),
};

static void info(void *self, mobo_block_info_t *out)
{
    (void)self;
    out->block_size = 512;
}

static void submit(void *self, mobo_block_req_t *req)
{
    (void)self;
    mobo_block_done(req, MOBO_EIO);
}

static const mobo_prop_t disk_props[] = {
    MOBO_PATH(struct disk, path, NULL, "image file"),
    MOBO_END,
};
static int disk_init(void *self)
{
    struct disk *d = self;
    return mobo_fail_code(d->obj, MOBO_ENOENT, "%s does not exist", d->path);
}

static const mobo_block_ops_t disk_ops = { .size = sizeof disk_ops,
                                           .info = info,
                                           .submit = submit };
static const mobo_iface_t disk_provides[] = { { MOBO_BLOCK, &disk_ops }, { 0 } };
static const mobo_class_t disk = {
    MOBO_CLASS(struct disk, disk_props, NULL),
    .name = "disk",
    .summary = "backend",
    .provides = disk_provides,
    .init = disk_init,
};

static const mobo_prop_t dev_props[] = {
    MOBO_BUS(struct dev, bus, MOBO_MMIO_BUS, "bus it sits on"),
    MOBO_LINK(struct dev, drive, "mobo.block/2|" MOBO_BLOCK, "its disk"),
    MOBO_IRQ(struct dev, line, "a line of its own"),
    MOBO_U32(struct dev, queues, "1", "request queues", .min = 1, .max = 64),
    MOBO_ENUM(struct dev, cache, "writeback", "writeback|writethrough|none", "cache policy"),
    MOBO_BOOL(struct dev, flag, "no", "a switch"),
    MOBO_U64(struct dev, count, "0", "a large number"),
    MOBO_SIZE(struct dev, bytes, "4K", "a size", .min = 512, .max = 1 << 20),
    MOBO_STR(struct dev, serial, "", "serial number", .max = 20),
    MOBO_MAC(struct dev, mac, "52:54:00:12:34:56", "network address"),
    { .name = "queue-count", .alias_of = "queues" },
    MOBO_END,
};
static const mobo_field_t dev_state[] = { MOBO_STATE(struct dev, queues), MOBO_END };
static const mobo_class_t dev = {
    MOBO_CLASS(struct dev, dev_props, dev_state),
    .name = "dev",
    .summary = "device with a key of every type",
};

/* Links to whatever provides an interface, both ways: for circles. */
struct knot {
    mobo_obj_t *obj;
    mobo_irqchip_t next;
};

static const mobo_prop_t knot_props[] = {
    MOBO_LINK(struct knot, next, MOBO_IRQCHIP, "the next in the row"),
    MOBO_END,
};
static const mobo_class_t knot = {
    MOBO_CLASS(struct knot, knot_props, NULL),
    .name = "knot",
    .summary = "chip behind a chip",
    .provides = chip_provides,
};

MOBO_PLUGIN("test-front", "1.0", "MIT", &accel, &slow, &chip, &bus, &disk, &dev, &knot)
