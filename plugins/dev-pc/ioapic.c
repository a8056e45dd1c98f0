/*
 * ioapic.c: the I/O APIC (Intel 82093AA, order number 290566), with the EOI register of its
 * successors when version is 0x20. It turns 24 inputs into messages to the local APICs. Polarity is
 * kept but not applied: a wire's level 1 means "asserted" whatever the voltage would be.
 */
#include "dev-pc.h"

#include <pthread.h>

enum { INPUTS = 24 };
enum { IOREGSEL = 0x00, IOWIN = 0x10, IOEOI = 0x40, WINDOW = 0x1000 };
enum { IOAPICID = 0x00, IOAPICVER = 0x01, IOAPICARB = 0x02, IOREDTBL = 0x10 };
enum { RTE_VECTOR = 0xff, RTE_DELIVERY = 0x700, RTE_LOGICAL = 1 << 11, RTE_STATUS = 1 << 12,
       RTE_REMOTE_IRR = 1 << 14, RTE_LEVEL = 1 << 15, RTE_MASKED = 1 << 16 };
#define RTE_WRITABLE UINT64_C(0xff0000000001afff) /* all but reserved and read-only bits */

struct ioapic {
    mobo_obj_t *obj;
    uint32_t prop_id, gsi_base, version;
    uint64_t base;
    pthread_mutex_t mutex; /* everything below */
    uint32_t id, select;
    uint32_t lines;        /* levels of the inputs */
    uint64_t rte[INPUTS];
};

/* Message format: Intel SDM volume 3A, 11.11. */
static int deliver(struct ioapic *s, uint64_t rte)
{
    uint64_t addr = UINT64_C(0xfee00000) | (rte >> 56) << 12 | (rte & RTE_LOGICAL ? 4 : 0);
    uint32_t data = (uint32_t)(rte & (RTE_VECTOR | RTE_DELIVERY));
    if (rte & RTE_LEVEL)
        data |= 1u << 15 | 1u << 14; /* level triggered, asserted */
    return mobo_msi(s->obj, addr, data);
}

/* A level input is sent once; Remote IRR holds it back until the local APIC's EOI. */
static void serve_level(struct ioapic *s, unsigned n)
{
    uint64_t rte = s->rte[n];
    if (!(rte & RTE_LEVEL) || rte & (RTE_MASKED | RTE_REMOTE_IRR) || !(s->lines & 1u << n))
        return;
    if (deliver(s, rte) >= 0) /* set when a local APIC accepts it, not before */
        s->rte[n] |= RTE_REMOTE_IRR;
}

static void end_of(struct ioapic *s, uint32_t vector)
{
    for (unsigned n = 0; n < INPUTS; n++) {
        uint64_t rte = s->rte[n];
        if ((rte & RTE_VECTOR) != vector || !(rte & RTE_LEVEL) || !(rte & RTE_REMOTE_IRR))
            continue;
        s->rte[n] &= ~(uint64_t)RTE_REMOTE_IRR;
        serve_level(s, n);
    }
}

static void ioapic_eoi(void *self, uint32_t vector)
{
    struct ioapic *s = self;
    pthread_mutex_lock(&s->mutex);
    end_of(s, vector);
    pthread_mutex_unlock(&s->mutex);
}

static uint32_t ioapic_lines(void *self)
{
    (void)self;
    return INPUTS;
}

/* An edge on a masked input is lost, as the data sheet wants it (290566, 3.2.4, bit 16). */
static void ioapic_set(void *self, uint32_t line, uint32_t level)
{
    struct ioapic *s = self;
    if (line >= INPUTS)
        return;
    uint32_t bit = 1u << line;
    pthread_mutex_lock(&s->mutex);
    uint32_t rising = level && !(s->lines & bit);
    s->lines = level ? s->lines | bit : s->lines & ~bit;
    if (s->rte[line] & RTE_LEVEL)
        serve_level(s, line);
    else if (rising && !(s->rte[line] & RTE_MASKED))
        (void)deliver(s, s->rte[line]);
    pthread_mutex_unlock(&s->mutex);
}

static uint32_t ioapic_gsi(void *self, uint32_t line)
{
    return line < INPUTS ? ((struct ioapic *)self)->gsi_base + line : ~UINT32_C(0);
}

static uint32_t reg_read(const struct ioapic *s)
{
    uint32_t r = s->select;
    if (r == IOAPICID || r == IOAPICARB)
        return s->id << 24;
    if (r == IOAPICVER)
        return (INPUTS - 1) << 16 | s->version;
    if (r >= IOREDTBL && r < IOREDTBL + 2 * INPUTS)
        return (uint32_t)(s->rte[(r - IOREDTBL) / 2] >> (r & 1 ? 32 : 0));
    return 0;
}

static void reg_write(struct ioapic *s, uint32_t val)
{
    uint32_t r = s->select;
    if (r == IOAPICID) {
        s->id = val >> 24 & 0xf;
        return;
    }
    if (r < IOREDTBL || r >= IOREDTBL + 2 * INPUTS)
        return;
    unsigned n = (r - IOREDTBL) / 2, shift = r & 1 ? 32 : 0;
    uint64_t mask = RTE_WRITABLE & UINT64_C(0xffffffff) << shift;
    s->rte[n] = (s->rte[n] & ~mask) | ((uint64_t)val << shift & mask);
    /* Turning an input to edge clears Remote IRR: how systems end an interrupt without an EOI. */
    if (!(s->rte[n] & RTE_LEVEL))
        s->rte[n] &= ~(uint64_t)RTE_REMOTE_IRR;
    serve_level(s, n);
}

static uint64_t ioapic_read(void *self, uint64_t off, unsigned bytes)
{
    struct ioapic *s = self;
    (void)bytes;
    pthread_mutex_lock(&s->mutex);
    uint32_t reg = off < 4 ? s->select : off >= IOWIN && off < IOWIN + 4 ? reg_read(s) : 0;
    pthread_mutex_unlock(&s->mutex);
    return reg >> 8 * (off & 3);
}

/* IOREGSEL is an 8-bit register that may be written with any width; IOWIN takes 32 bits only. */
static void ioapic_write(void *self, uint64_t off, uint64_t val, unsigned bytes)
{
    struct ioapic *s = self;
    pthread_mutex_lock(&s->mutex);
    if (off == IOREGSEL)
        s->select = val & 0xff;
    else if (off == IOWIN && bytes == 4)
        reg_write(s, (uint32_t)val);
    else if (off == IOEOI && bytes == 4 && s->version >= 0x20)
        end_of(s, val & 0xff);
    pthread_mutex_unlock(&s->mutex);
}

static const mobo_region_t region = {
    .size = sizeof region, .name = "ioapic", .length = WINDOW, .max_access = 4,
    .read = ioapic_read, .write = ioapic_write,
};

static int ioapic_init(void *self)
{
    struct ioapic *s = self;
    if (s->version != 0x11 && s->version != 0x20)
        return mobo_fail(s->obj, "version is 0x%x; there are 0x11 and 0x20", s->version);
    if (s->base & (WINDOW - 1) || s->base > UINT32_MAX)
        return mobo_fail(s->obj, "base 0x%llx is not a multiple of 4K below 4G",
                         (unsigned long long)s->base);
    if (pthread_mutex_init(&s->mutex, NULL))
        return mobo_fail_code(s->obj, MOBO_ENOMEM, "the host has no memory for a mutex");
    const mobo_place_t place = { .size = sizeof place, .space = MOBO_SPACE_MEM, .base = s->base,
                                 .region = &region };
    uint32_t handle;
    int rc = mobo_region_add(s->obj, &place, &handle);
    if (!rc)
        rc = s->obj->host->irq->eoi_attach(s->obj, ioapic_eoi);
    if (rc)
        return rc;
    const mobo_fw_res_t res = { .kind = MOBO_RES_MEM, .base = s->base, .len = WINDOW };
    const mobo_fw_device_t fw = { .size = sizeof fw, .kind = MOBO_FW_IOAPIC,
                                  .name = s->obj->name, .id = s->prop_id, .res_count = 1,
                                  .res_stride = sizeof res, .res = &res,
                                  .arg = { s->gsi_base, INPUTS, 0, 0 } };
    return s->obj->host->fw->describe(s->obj, &fw);
}

/* 290566, 3.2: all inputs masked, the rest 0. Inputs keep their levels: they are driven. */
static void ioapic_reset(void *self)
{
    struct ioapic *s = self;
    pthread_mutex_lock(&s->mutex);
    s->id = s->prop_id;
    s->select = 0;
    for (unsigned n = 0; n < INPUTS; n++)
        s->rte[n] = RTE_MASKED;
    pthread_mutex_unlock(&s->mutex);
}

static int ioapic_loaded(void *self, uint32_t version)
{
    struct ioapic *s = self;
    (void)version;
    for (unsigned n = 0; n < INPUTS; n++)
        s->rte[n] &= RTE_WRITABLE | RTE_REMOTE_IRR;
    s->id &= 0xf;
    s->select &= 0xff;
    s->lines &= (1u << INPUTS) - 1;
    return 0;
}

static const mobo_prop_t props[] = {
    MOBO_NAMED(struct ioapic, prop_id, "id", MOBO_T_U32, "0", "I/O APIC id", .max = 15),
    MOBO_U64(struct ioapic, base, "0xfec00000", "guest-physical address of the registers"),
    MOBO_NAMED(struct ioapic, gsi_base, "gsi-base", MOBO_T_U32, "0",
               "global system interrupt of input 0"),
    MOBO_U32(struct ioapic, version, "0x20", "0x11: 82093AA; 0x20: with an EOI register"),
    MOBO_END,
};
static const mobo_field_t state[] = {
    MOBO_STATE(struct ioapic, id), MOBO_STATE(struct ioapic, select),
    MOBO_STATE(struct ioapic, lines), MOBO_STATE_ARRAY(struct ioapic, rte), MOBO_END,
};

static const mobo_irqchip_ops_t chip_ops = {
    .size = sizeof chip_ops, .lines = ioapic_lines, .set = ioapic_set, .gsi = ioapic_gsi,
};
static const mobo_iface_t ifaces[] = { { MOBO_IRQCHIP, &chip_ops }, { 0 } };

const mobo_class_t ioapic_class = {
    MOBO_CLASS(struct ioapic, props, state), .flags = MOBO_PARALLEL, .name = "ioapic",
    .summary = "I/O APIC with 24 inputs (82093AA)", .provides = ifaces, .init = ioapic_init,
    .reset = ioapic_reset, .loaded = ioapic_loaded,
};
