/* fakeirq.c: wires, messages, the machine and the firmware description of the fake monitor. */
#include "fakepriv.h"

#include <stdlib.h>

/* ---- interrupts ------------------------------------------------------------------------------ */

static struct fake_wire *wire_at(struct fake_obj *chip, uint32_t line)
{
    struct fake *f = chip->f;
    for (unsigned i = 0; i < f->wire_count; i++)
        if (f->wires[i].chip == chip && f->wires[i].line == line)
            return &f->wires[i];
    if (f->wire_count == FAKE_WIRES)
        fake_die("more than %d wires", FAKE_WIRES);
    f->wires[f->wire_count] = (struct fake_wire){ .chip = chip, .line = line };
    return &f->wires[f->wire_count++];
}

static void source_set(void *source, uint64_t line, uint32_t level)
{
    struct fake_source *s = source;
    (void)line;
    struct fake_wire *w = s->wire;
    if (s->level == level)
        return;
    s->level = level;
    w->count += level ? 1u : ~0u;
    uint32_t now = w->count != 0;
    if (now == w->level)
        return;
    w->level = now;
    w->edges += now;
    const mobo_irqchip_ops_t *ops = fake_iface_of(w->chip, MOBO_IRQCHIP);
    ops->set(w->chip->self, w->line, now);
}

static const mobo_irq_ops_t source_ops = { .size = sizeof source_ops, .set = source_set };

int fake_source_new(struct fake_obj *chip, uint32_t line, mobo_irq_t *irq)
{
    struct fake *f = chip->f;
    const mobo_irqchip_ops_t *ops = fake_iface_of(chip, MOBO_IRQCHIP);
    if (!ops)
        fake_die("[%s] is wired to, but provides no %s", chip->name, MOBO_IRQCHIP);
    if (line >= ops->lines(chip->self))
        return fake_fail(&chip->pub, MOBO_EINVAL, "no such interrupt line");
    if (f->source_count == FAKE_SOURCES)
        return MOBO_ENOMEM;
    struct fake_source *s = &f->sources[f->source_count++];
    *s = (struct fake_source){ f, wire_at(chip, line), 0 };
    *irq = (mobo_irq_t){ &source_ops, s, line };
    return 0;
}

static int irq_wire(mobo_obj_t *obj, void *chip, uint32_t line, mobo_irq_t *irq)
{
    struct fake_obj *o = fake_by_self(fake_of(obj)->f, chip);
    if (!o)
        fake_die("[%s] wires itself to something that is no object", obj->name);
    return fake_source_new(o, line, irq);
}

static int irq_msi(mobo_obj_t *obj, uint64_t addr, uint32_t data)
{
    struct fake *f = fake_of(obj)->f;
    f->msis[f->msi_count++ % FAKE_MSIS] = (struct fake_msi){ obj, addr, data };
    return 0;
}

static int irq_extint_attach(mobo_obj_t *obj, int (*ack)(void *self))
{
    struct fake *f = fake_of(obj)->f;
    if (f->pic)
        return fake_fail(obj, MOBO_EEXIST, "there is an 8259 already");
    f->pic = fake_of(obj);
    f->ack = ack;
    return 0;
}

static void irq_extint(mobo_obj_t *obj, uint32_t level)
{
    fake_of(obj)->f->extint = level;
}

static int irq_eoi_attach(mobo_obj_t *obj, void (*eoi)(void *self, uint32_t vector))
{
    struct fake *f = fake_of(obj)->f;
    if (f->eoi_count == 8)
        return MOBO_ENOMEM;
    f->eoi_owner[f->eoi_count] = fake_of(obj);
    f->eoi[f->eoi_count++] = eoi;
    return 0;
}

uint32_t fake_level(struct fake *f, const char *chip, uint32_t line)
{
    return wire_at(fake_find(f, chip), line)->level;
}

uint32_t fake_edges(struct fake *f, const char *chip, uint32_t line)
{
    return wire_at(fake_find(f, chip), line)->edges;
}

mobo_irq_t fake_wire(struct fake *f, const char *chip, uint32_t line)
{
    mobo_irq_t irq = { NULL, NULL, 0 };
    if (fake_source_new(fake_find(f, chip), line, &irq))
        fake_die("[%s] has no line %u", chip, line);
    return irq;
}

uint32_t fake_msi_count(struct fake *f)
{
    return f->msi_count;
}

struct fake_msi fake_msi_at(struct fake *f, uint32_t index)
{
    if (index >= f->msi_count || f->msi_count - index > FAKE_MSIS)
        fake_die("message %u of %u is not kept", index, f->msi_count);
    return f->msis[index % FAKE_MSIS];
}

void fake_msi_clear(struct fake *f)
{
    f->msi_count = 0;
}

uint32_t fake_extint(struct fake *f)
{
    return f->extint;
}

int fake_intack(struct fake *f)
{
    return f->ack ? f->ack(f->pic->self) : MOBO_ENOENT;
}

void fake_eoi(struct fake *f, uint32_t vector)
{
    for (unsigned i = 0; i < f->eoi_count; i++)
        f->eoi[i](f->eoi_owner[i]->self, vector);
}

/* ---- machine --------------------------------------------------------------------------------- */

static void vm_info(mobo_obj_t *obj, mobo_vm_info_t *info)
{
    struct fake *f = fake_of(obj)->f;
    info->arch = MOBO_ARCH_X86_64;
    info->vcpus = f->vcpus;
    info->memory = f->ram_len;
}

static void vm_request(mobo_obj_t *obj, uint32_t what)
{
    if (what < 8)
        fake_of(obj)->f->requests[what]++;
}

static int block_at(struct fake *f, uint32_t index, uint32_t block)
{
    for (unsigned i = 0; i < f->block_count; i++)
        if (f->blocks[i].index == index && f->blocks[i].block == block)
            return (int)i;
    return -1;
}

static int vm_vcpu_get(mobo_obj_t *obj, uint32_t index, uint32_t block, void *buf, uint32_t len)
{
    struct fake *f = fake_of(obj)->f;
    int i = block_at(f, index, block);
    memset(buf, 0, len);
    if (i >= 0)
        memcpy(buf, f->blocks[i].buf, len < f->blocks[i].len ? len : f->blocks[i].len);
    return 0;
}

static int vm_vcpu_set(mobo_obj_t *obj, uint32_t index, uint32_t block, const void *buf,
                       uint32_t len)
{
    struct fake *f = fake_of(obj)->f;
    int i = block_at(f, index, block);
    if (index >= f->vcpus)
        return MOBO_ENOENT;
    if (i < 0 && f->block_count == FAKE_BLOCKS)
        return MOBO_ENOMEM;
    if (i < 0)
        i = (int)f->block_count++;
    free(f->blocks[i].buf);
    f->blocks[i].index = index;
    f->blocks[i].block = block;
    f->blocks[i].len = len;
    f->blocks[i].buf = malloc(len ? len : 1);
    memcpy(f->blocks[i].buf, buf, len);
    return 0;
}

uint32_t fake_requests(struct fake *f, uint32_t what)
{
    return what < 8 ? f->requests[what] : 0;
}

const void *fake_vcpu_block(struct fake *f, uint32_t index, uint32_t block, uint32_t *len)
{
    int i = block_at(f, index, block);
    if (len)
        *len = i < 0 ? 0 : f->blocks[i].len;
    return i < 0 ? NULL : f->blocks[i].buf;
}

/* ---- firmware description -------------------------------------------------------------------- */

int fake_fw_add(struct fake *f, const mobo_fw_device_t *dev)
{
    if (f->fw_count == FAKE_FW || dev->res_count > 8)
        fake_die("[%s] describes too much", dev->name ? dev->name : "?");
    mobo_fw_device_t *d = &f->fw[f->fw_count];
    *d = *dev;
    d->name = fake_string(f, dev->name ? dev->name : "");
    d->acpi_hid = dev->acpi_hid ? fake_string(f, dev->acpi_hid) : NULL;
    d->acpi_cid = dev->acpi_cid ? fake_string(f, dev->acpi_cid) : NULL;
    d->fdt_compatible = dev->fdt_compatible ? fake_string(f, dev->fdt_compatible) : NULL;
    if (dev->res_count)
        memcpy(f->fw_res[f->fw_count], dev->res, dev->res_count * sizeof *dev->res);
    d->res = f->fw_res[f->fw_count++];
    return 0;
}

static int fw_describe(mobo_obj_t *obj, const mobo_fw_device_t *dev)
{
    return fake_fw_add(fake_of(obj)->f, dev);
}

const mobo_fw_device_t *fake_fw(struct fake *f, uint32_t index)
{
    return index < f->fw_count ? &f->fw[index] : NULL;
}

static const mobo_fw_device_t *fw_device(mobo_obj_t *obj, uint32_t index)
{
    return fake_fw(fake_of(obj)->f, index);
}

static int fw_reserve(mobo_obj_t *obj, uint64_t gpa, uint64_t len, uint32_t kind)
{
    struct fake *f = fake_of(obj)->f;
    for (uint32_t i = 0; i < f->reserved_count; i++)
        if (f->reserved[i].base == gpa && f->reserved[i].len == len)
            return 0;
    if (f->reserved_count == FAKE_RES)
        return MOBO_ENOMEM;
    f->reserved[f->reserved_count++] = (mobo_mem_range_t){ gpa, len, kind, 0 };
    return 0;
}

/* Cut [0, ram) at every border of a reserved range; number INDEX of the pieces. */
static int fw_memory(mobo_obj_t *obj, uint32_t index, mobo_mem_range_t *range)
{
    struct fake *f = fake_of(obj)->f;
    uint64_t at = 0;
    for (uint32_t n = 0; at < f->ram_len; n++) {
        uint64_t end = f->ram_len;
        uint32_t kind = MOBO_MEM_RAM;
        for (uint32_t i = 0; i < f->reserved_count; i++) {
            const mobo_mem_range_t *r = &f->reserved[i];
            if (r->base > at && r->base < end)
                end = r->base;
            if (at >= r->base && at - r->base < r->len) {
                kind = r->kind;
                if (r->base + r->len < end)
                    end = r->base + r->len;
            }
        }
        if (n == index) {
            *range = (mobo_mem_range_t){ at, end - at, kind, 0 };
            return 1;
        }
        at = end;
    }
    return 0;
}

const mobo_irq_api_t fake_irq_api = {
    .size = sizeof fake_irq_api, .wire = irq_wire, .msi = irq_msi,
    .extint_attach = irq_extint_attach,
    .extint = irq_extint, .eoi_attach = irq_eoi_attach,
};
const mobo_vm_api_t fake_vm_api = {
    .size = sizeof fake_vm_api, .info = vm_info, .request = vm_request, .vcpu_get = vm_vcpu_get,
    .vcpu_set = vm_vcpu_set,
};
const mobo_fw_api_t fake_fw_api = {
    .size = sizeof fake_fw_api, .describe = fw_describe, .device = fw_device, .reserve = fw_reserve,
    .memory = fw_memory,
};
