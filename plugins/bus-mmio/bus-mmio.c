/*
 * bus-mmio: devices that are one window of memory-mapped registers, such as virtio-mmio. It gives
 * each child an address and interrupt lines, and describes it to the firmware plugins. It never
 * looks at what is inside a window.
 */
#include <mobo/firmware.h>
#include <mobo/plugin.h>

enum { MAX_IRQ = 4, MAX_TAKEN = 256, MAX_HID = 32 };

struct mmio {
    mobo_obj_t *obj;
    mobo_irqchip_t chip;
    uint64_t base, size, slot_size;
    uint32_t first_irq, irq_count;
    uint32_t next_line; /* counts all lines given: the first irq_count children do not share */
    struct {
        uint64_t base, len;
    } taken[MAX_TAKEN];
    uint32_t taken_count;
    struct {
        const char *hid;
        uint32_t count;
    } uids[MAX_HID];
};

struct mmio_child {
    uint64_t at;
};

static int mmio_init(void *self)
{
    struct mmio *s = self;
    uint32_t lines = s->chip.ops->lines(s->chip.self);
    if (s->slot_size == 0 || s->slot_size & (s->slot_size - 1) || s->slot_size < 8)
        return mobo_fail(s->obj, "slot-size %llu is not a power of two from 8 on",
                         (unsigned long long)s->slot_size);
    if (s->base & (s->slot_size - 1))
        return mobo_fail(s->obj, "base 0x%llx is not a multiple of slot-size",
                         (unsigned long long)s->base);
    if (s->size < s->slot_size || s->base > UINT64_MAX - s->size)
        return mobo_fail(s->obj, "size 0x%llx does not hold one slot",
                         (unsigned long long)s->size);
    if (s->irq_count == 0 || s->irq_count > lines || s->first_irq > lines - s->irq_count)
        return mobo_fail(s->obj, "lines %u to %u are wanted, the chip has lines 0 to %u",
                         s->first_irq, s->first_irq + s->irq_count - 1, lines - 1);
    return 0;
}

static int is_taken(const struct mmio *s, uint64_t base, uint64_t len)
{
    for (uint32_t i = 0; i < s->taken_count; i++)
        if (base < s->taken[i].base + s->taken[i].len && s->taken[i].base < base + len)
            return 1;
    return 0;
}

/* The lowest free place for LEN bytes, aligned to slots. */
static int free_slot(struct mmio *s, mobo_obj_t *dev, uint64_t len, uint64_t *base)
{
    for (uint64_t off = 0; len <= s->size && off <= s->size - len; off += s->slot_size)
        if (!is_taken(s, s->base + off, len)) {
            *base = s->base + off;
            return 0;
        }
    return mobo_fail_code(s->obj, MOBO_ENOSPC, "no room for the 0x%llx bytes of [%s]; enlarge size",
                          (unsigned long long)len, dev->name);
}

static int place(struct mmio *s, mobo_obj_t *dev, const mobo_mmio_desc_t *d, uint64_t *base)
{
    const struct mmio_child *child = mobo_child(s->obj, dev);
    *base = child ? child->at : 0;
    if (s->taken_count == MAX_TAKEN)
        return mobo_fail_code(s->obj, MOBO_ENOSPC, "more than %d children", MAX_TAKEN);
    if (!*base) {
        int rc = free_slot(s, dev, d->region->length, base);
        if (rc)
            return rc;
    }
    if (*base > UINT64_MAX - d->region->length)
        return mobo_fail(s->obj, "[%s] reaches behind the last address; choose a lower at",
                         dev->name);
    const mobo_place_t p = { .size = sizeof p, .space = MOBO_SPACE_MEM, .base = *base,
                             .region = d->region };
    uint32_t handle = 0;
    int rc = mobo_region_add(dev, &p, &handle);
    if (rc)
        return rc;
    if (d->handle)
        *d->handle = handle;
    s->taken[s->taken_count].base = *base;
    s->taken[s->taken_count++].len = d->region->length;
    return 0;
}

static uint32_t next_uid(struct mmio *s, const char *hid)
{
    for (unsigned i = 0; hid && i < MAX_HID; i++) {
        if (s->uids[i].hid && strcmp(s->uids[i].hid, hid) != 0)
            continue;
        s->uids[i].hid = hid;
        return s->uids[i].count++;
    }
    return 0;
}

static int mmio_attach(void *self, mobo_obj_t *dev, const mobo_mmio_desc_t *d)
{
    struct mmio *s = self;
    mobo_fw_res_t res[1 + MAX_IRQ] = { 0 };
    uint64_t base;
    if (d->irq_count > MAX_IRQ)
        return mobo_fail(s->obj, "[%s] wants %u lines; this bus gives at most %d", dev->name,
                         d->irq_count, MAX_IRQ);
    int rc = place(s, dev, d, &base);
    if (rc)
        return rc;
    res[0] = (mobo_fw_res_t){ .kind = MOBO_RES_MEM, .base = base, .len = d->region->length };
    uint32_t res_count = 1;
    for (uint32_t i = 0; i < d->irq_count; i++) {
        if (d->irq[i].ops)
            continue; /* wired by the INI: where to is unknown here, so it is not described */
        uint32_t line = s->first_irq + s->next_line++ % s->irq_count;
        rc = mobo_wire(dev, s->chip.self, line, &d->irq[i]);
        if (rc)
            return rc;
        uint32_t flags = d->irq_flags;
        if (flags & MOBO_IRQ_LEVEL)
            flags |= MOBO_IRQ_SHARED; /* a later child may come onto the same line */
        res[res_count++] = (mobo_fw_res_t){ .kind = MOBO_RES_IRQ, .flags = flags, .len = 1,
                                            .base = s->chip.ops->gsi(s->chip.self, line) };
    }
    if (!d->acpi_hid && !d->fdt_compatible)
        return 0;
    const mobo_fw_device_t fw = {
        .size = sizeof fw, .kind = d->fw_kind ? d->fw_kind : MOBO_FW_DEVICE, .name = dev->name,
        .acpi_hid = d->acpi_hid, .fdt_compatible = d->fdt_compatible,
        .id = next_uid(s, d->acpi_hid), .res_count = res_count, .res_stride = sizeof res[0],
        .res = res,
    };
    return s->obj->host->fw->describe(dev, &fw);
}

static const mobo_mmio_ops_t mmio_ops = { .size = sizeof mmio_ops, .attach = mmio_attach };
static const mobo_iface_t ifaces[] = { { MOBO_MMIO_BUS, &mmio_ops }, { 0 } };

static const mobo_prop_t props[] = {
    MOBO_LINK(struct mmio, chip, MOBO_IRQCHIP, "interrupt controller whose lines the children get"),
    MOBO_U64(struct mmio, base, "0xd0000000", "guest-physical address of the window"),
    MOBO_SIZE(struct mmio, size, "2M", "length of the window"),
    MOBO_NAMED(struct mmio, slot_size, "slot-size", MOBO_T_SIZE, "4K",
               "children without `at` are placed in steps of this"),
    MOBO_NAMED(struct mmio, first_irq, "first-irq", MOBO_T_U32, "16",
               "first of the lines given to children"),
    MOBO_NAMED(struct mmio, irq_count, "irq-count", MOBO_T_U32, "8",
               "how many lines; more children than lines share them", .min = 1, .max = 1024),
    MOBO_END,
};
static const mobo_prop_t child_props[] = {
    MOBO_U64(struct mmio_child, at, "0", "guest-physical address; 0: the next free slot"),
    MOBO_END,
};

static const mobo_class_t mmio = {
    MOBO_CLASS(struct mmio, props, NULL), .name = "mmio",
    .summary = "bus of memory-mapped register windows", .provides = ifaces, .init = mmio_init,
    .child_props = child_props, .child_size = sizeof(struct mmio_child),
};

MOBO_PLUGIN("bus-mmio", "0.1", "MIT", &mmio)
