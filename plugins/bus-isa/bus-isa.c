/*
 * bus-isa: ports and the sixteen ISA interrupts. It puts a child's windows into the I/O space,
 * gives it a line, and hands each line to the 8259 pair and to the I/O APIC. It does not arbitrate
 * ports (the core refuses overlaps) and knows no ISA DMA.
 */
#include <mobo/firmware.h>
#include <mobo/plugin.h>

enum { LINES = 16, CASCADE = 2, TIMER = 0, TIMER_PIN = 2, MAX_RES = 8, MAX_IRQ = 4, MAX_HID = 32 };

struct isa {
    mobo_obj_t *obj;
    mobo_irqchip_t pic, ioapic;
    mobo_irq_t to_pic[LINES], to_ioapic[LINES];
    struct {
        const char *hid; /* static text of the device's plugin, which is never unloaded */
        uint32_t count;
    } uids[MAX_HID];
};

struct isa_child {
    uint32_t io, line;
};

/* The I/O APIC input of an ISA line. The timer is on 2, as on every PC: 0 is for the 8259. */
static uint32_t pin_of(uint32_t line)
{
    return line == TIMER ? TIMER_PIN : line;
}

static uint32_t isa_lines(void *self)
{
    (void)self;
    return LINES;
}

static void isa_set(void *self, uint32_t line, uint32_t level)
{
    struct isa *s = self;
    if (line >= LINES)
        return;
    mobo_irq_set(s->to_pic[line], level);
    mobo_irq_set(s->to_ioapic[line], level);
}

static uint32_t isa_gsi(void *self, uint32_t line)
{
    struct isa *s = self;
    if (line >= LINES || line == CASCADE)
        return ~UINT32_C(0);
    return s->ioapic.ops ? s->ioapic.ops->gsi(s->ioapic.self, pin_of(line)) : line;
}

static int wire_lines(struct isa *s, const mobo_irqchip_t *chip, int is_ioapic, mobo_irq_t *to)
{
    if (!chip->ops)
        return 0;
    if (chip->ops->lines(chip->self) < LINES)
        return mobo_fail(s->obj, "%s has %u inputs; sixteen are needed",
                         is_ioapic ? "ioapic" : "pic", chip->ops->lines(chip->self));
    for (uint32_t n = 0; n < LINES; n++) {
        if (n == CASCADE)
            continue;
        int rc = mobo_wire(s->obj, chip->self, is_ioapic ? pin_of(n) : n, &to[n]);
        if (rc)
            return rc;
    }
    return 0;
}

static int isa_init(void *self)
{
    struct isa *s = self;
    int rc = wire_lines(s, &s->pic, 0, s->to_pic);
    if (!rc)
        rc = wire_lines(s, &s->ioapic, 1, s->to_ioapic);
    if (rc || !s->ioapic.ops)
        return rc;
    const mobo_fw_device_t d = { .size = sizeof d, .kind = MOBO_FW_ISA_OVERRIDE,
                                 .name = s->obj->name,
                                 .arg = { TIMER, isa_gsi(s, TIMER), MOBO_IRQ_EDGE, 0 } };
    return s->obj->host->fw->describe(s->obj, &d);
}

/* _UID counts from 0 for each HID. */
static uint32_t next_uid(struct isa *s, const char *hid)
{
    for (unsigned i = 0; hid && i < MAX_HID; i++) {
        if (s->uids[i].hid && strcmp(s->uids[i].hid, hid) != 0)
            continue;
        s->uids[i].hid = hid;
        return s->uids[i].count++;
    }
    return 0;
}

static int place_windows(struct isa *s, mobo_obj_t *dev, const mobo_isa_desc_t *d, uint32_t moved,
                         mobo_fw_res_t *res)
{
    for (uint32_t i = 0; i < d->io_count; i++) {
        mobo_isa_io_t io;
        memcpy(&io, (const char *)d->io + (size_t)i * d->io_stride, sizeof io);
        uint64_t base = i == 0 && moved ? moved : io.base;
        if (io.region->length > 0x10000 || base > 0x10000 - io.region->length)
            return mobo_fail(s->obj, "[%s] reaches behind port 0xffff; choose a lower io",
                             dev->name);
        const mobo_place_t place = { .size = sizeof place, .space = MOBO_SPACE_IO, .base = base,
                                     .region = io.region };
        uint32_t handle;
        int rc = mobo_region_add(dev, &place, &handle);
        if (rc)
            return rc;
        res[i] = (mobo_fw_res_t){ .kind = MOBO_RES_IO, .base = base, .len = io.region->length };
    }
    return 0;
}

static int isa_attach(void *self, mobo_obj_t *dev, const mobo_isa_desc_t *d)
{
    struct isa *s = self;
    const struct isa_child *child = mobo_child(s->obj, dev);
    mobo_fw_res_t res[MAX_RES + MAX_IRQ] = { 0 };
    if (d->io_count > MAX_RES || d->irq_count > MAX_IRQ)
        return mobo_fail(s->obj, "[%s] wants %u windows and %u lines; an ISA device has at most %d "
                         "and %d", dev->name, d->io_count, d->irq_count, MAX_RES, MAX_IRQ);
    int rc = place_windows(s, dev, d, child ? child->io : 0, res);
    if (rc)
        return rc;
    uint32_t res_count = d->io_count;
    for (uint32_t i = 0; i < d->irq_count; i++) {
        if (d->irq[i].ops || !d->irq_line)
            continue; /* wired by the INI: where to is unknown here, so it is not described */
        uint32_t line = i == 0 && child && child->line ? child->line : d->irq_line[i];
        if (line >= LINES || line == CASCADE)
            return mobo_fail(s->obj, "[%s] wants ISA line %u; lines are 0 to 15 without 2",
                             dev->name, line);
        rc = mobo_wire(dev, s, line, &d->irq[i]);
        if (rc)
            return rc;
        res[res_count++] = (mobo_fw_res_t){ .kind = MOBO_RES_IRQ, .flags = MOBO_IRQ_EDGE,
                                            .base = isa_gsi(s, line), .len = 1 };
    }
    uint32_t kind = d->fw_kind ? d->fw_kind : MOBO_FW_DEVICE;
    if (!d->acpi_hid && kind == MOBO_FW_DEVICE)
        return 0;
    mobo_fw_device_t fw = { .size = sizeof fw, .kind = kind, .name = dev->name,
                            .acpi_hid = d->acpi_hid, .id = next_uid(s, d->acpi_hid),
                            .res_count = res_count, .res_stride = sizeof res[0], .res = res };
    if (MOBO_HAS(d, arg))
        memcpy(fw.arg, d->arg, sizeof fw.arg);
    return s->obj->host->fw->describe(dev, &fw);
}

static const mobo_irqchip_ops_t chip_ops = {
    .size = sizeof chip_ops, .lines = isa_lines, .set = isa_set, .gsi = isa_gsi,
};
static const mobo_isa_ops_t isa_ops = { .size = sizeof isa_ops, .attach = isa_attach };
static const mobo_iface_t ifaces[] = {
    { MOBO_ISA_BUS, &isa_ops }, { MOBO_IRQCHIP, &chip_ops }, { 0 },
};

static const mobo_prop_t props[] = {
    MOBO_LINK_OPT(struct isa, pic, MOBO_IRQCHIP, "8259 pair the sixteen lines go to", .def = ""),
    MOBO_LINK_OPT(struct isa, ioapic, MOBO_IRQCHIP, "I/O APIC the lines go to (line 0: input 2)",
                  .def = ""),
    MOBO_END,
};
static const mobo_prop_t child_props[] = {
    MOBO_U32(struct isa_child, io, "0", "first port; 0: where the device sits by custom",
             .max = 0xffff),
    MOBO_U32(struct isa_child, line, "0", "ISA interrupt line; 0: the device's customary one",
             .max = 15),
    MOBO_END,
};

static const mobo_class_t isa = {
    MOBO_CLASS(struct isa, props, NULL), .name = "isa",
    .summary = "ISA bus: ports and sixteen interrupt lines", .provides = ifaces, .init = isa_init,
    .child_props = child_props, .child_size = sizeof(struct isa_child),
};

MOBO_PLUGIN("bus-isa", "0.1", "MIT", &isa)
