/*
 * mobo/bus.h: the buses whose children are plain register windows, and interrupt controllers.
 * A bus never calls a device: it puts the device's regions into the core's map, and the core calls.
 */
#ifndef MOBO_BUS_H
#define MOBO_BUS_H

#include <mobo/base.h>
#include <mobo/host.h>

/* ---- mobo.irqchip/1: something with interrupt inputs ------------------------------------------- */

#define MOBO_IRQCHIP "mobo.irqchip/1"

typedef struct mobo_irqchip_ops {
    uint32_t size, _pad;
    uint32_t (*lines)(void *self); /* [any] how many inputs; they count from 0 */
    /* [any] The OR of all sources of the wire changed to level 0 or 1. Takes no object lock. */
    void (*set)(void *self, uint32_t line, uint32_t level);
    /* [any] The global system interrupt (ACPI 6.5, 5.2.13) of an input, or ~0 if it has none. */
    uint32_t (*gsi)(void *self, uint32_t line);
} mobo_irqchip_ops_t;

typedef struct mobo_irqchip {
    const mobo_irqchip_ops_t *ops;
    void *self;
} mobo_irqchip_t;

/* ---- mobo.bus.mmio/1: memory-mapped registers --------------------------------------------------- */

#define MOBO_MMIO_BUS "mobo.bus.mmio/1"

typedef struct mobo_mmio_desc {
    uint32_t size;
    uint32_t irq_count;           /* entries of irq */
    const mobo_region_t *region;  /* the one window */
    mobo_irq_t *irq;              /* unset ones are given a line by the bus */
    const char *fdt_compatible;   /* NULL: not described to the guest by FDT */
    const char *acpi_hid;         /* NULL: not described to the guest by ACPI */
    uint32_t fw_kind, irq_flags;  /* mobo/firmware.h; 0: MOBO_FW_DEVICE; MOBO_IRQ_EDGE ... */
    uint32_t *handle;             /* out, may be NULL: the region's handle, for doorbells */
} mobo_mmio_desc_t;

typedef struct mobo_mmio_ops {
    uint32_t size, _pad;
    /* [locked, from the device's init] Places the window, wires the interrupts, describes both. */
    int (*attach)(void *self, mobo_obj_t *dev, const mobo_mmio_desc_t *desc);
} mobo_mmio_ops_t;

typedef struct mobo_mmio {
    const mobo_mmio_ops_t *ops;
    void *self;
} mobo_mmio_t;

static inline int mobo_mmio_attach_(mobo_mmio_t bus, mobo_obj_t *dev, const mobo_mmio_desc_t *desc)
{
    const mobo_host_t *host = mobo_enter(bus.self);
    int rc = bus.ops->attach(bus.self, dev, desc);
    mobo_leave(host, bus.self);
    return rc;
}
/* mobo_mmio_attach(s->bus, s->obj, .region = &regs, .irq = &s->irq, .irq_count = 1) */
#define mobo_mmio_attach(bus, dev, ...)                                                            \
    mobo_mmio_attach_((bus), (dev),                                                                \
                      &(const mobo_mmio_desc_t){ .size = sizeof(mobo_mmio_desc_t), __VA_ARGS__ })

/* ---- mobo.bus.isa/1: ports and the sixteen ISA interrupts ---------------------------------------- */

#define MOBO_ISA_BUS "mobo.bus.isa/1"

/* One window of ports. */
typedef struct mobo_isa_io {
    uint16_t base, _pad[3];      /* the port the device sits at unless `io` in the INI moves it */
    const mobo_region_t *region;
} mobo_isa_io_t;

typedef struct mobo_isa_desc {
    uint32_t size;
    uint32_t io_count, io_stride; /* entries of io, sizeof(mobo_isa_io_t) */
    uint32_t irq_count;
    const mobo_isa_io_t *io;
    mobo_irq_t *irq;              /* set ones (MOBO_IRQ properties) stay; unset ones get irq_line */
    const uint32_t *irq_line;     /* ISA lines of unset entries; NULL: none */
    const char *acpi_hid;         /* "PNP0501"; NULL: not described */
    uint32_t fw_kind, _pad;       /* mobo/firmware.h; 0: MOBO_FW_DEVICE */
    uint64_t arg[4];              /* mobo_fw_device_t.arg, by fw_kind */
} mobo_isa_desc_t;

typedef struct mobo_isa_ops {
    uint32_t size, _pad;
    int (*attach)(void *self, mobo_obj_t *dev, const mobo_isa_desc_t *desc);
} mobo_isa_ops_t;

typedef struct mobo_isa {
    const mobo_isa_ops_t *ops;
    void *self;
} mobo_isa_t;

static inline int mobo_isa_attach_(mobo_isa_t bus, mobo_obj_t *dev, const mobo_isa_desc_t *desc)
{
    const mobo_host_t *host = mobo_enter(bus.self);
    int rc = bus.ops->attach(bus.self, dev, desc);
    mobo_leave(host, bus.self);
    return rc;
}
#define mobo_isa_attach(bus, dev, ...)                                                             \
    mobo_isa_attach_((bus), (dev),                                                                 \
                     &(const mobo_isa_desc_t){ .size = sizeof(mobo_isa_desc_t),                    \
                                               .io_stride = sizeof(mobo_isa_io_t), __VA_ARGS__ })

#endif
