/*
 * mobo/firmware.h: the neutral description of the machine, from which fw-acpi, fw-fdt, fw-smbios
 * and fw-cfg make what a guest reads. Buses write it, entry by entry, when devices attach; a device
 * that sits on no bus describes itself with host->fw->describe.
 */
#ifndef MOBO_FIRMWARE_H
#define MOBO_FIRMWARE_H

#include <mobo/base.h>
#include <mobo/host.h>

/* What an entry is, where firmware must know more than an id and resources. */
enum {
    MOBO_FW_DEVICE = 1,   /* a device with a HID and/or a compatible string */
    MOBO_FW_IOAPIC = 2,   /* id: I/O APIC id; one MEM; arg[0]: first GSI, arg[1]: inputs */
    MOBO_FW_PIC8259 = 3,  /* the pair of 8259s */
    MOBO_FW_PIT8254 = 4,
    MOBO_FW_RTC = 5,      /* MC146818; arg[0]: CMOS index of the century byte, 0: none */
    MOBO_FW_UART = 6,     /* 16550 */
    MOBO_FW_ACPI_PM = 7,  /* ACPI fixed hardware; resources by role; arg[0]: reset value, */
                          /* arg[1]: SLP_TYP of S5, arg[2]: bits of the PM timer */
    MOBO_FW_HPET = 8,
    MOBO_FW_PCI_HOST = 9,
    MOBO_FW_I8042 = 10,
    MOBO_FW_ISA_OVERRIDE = 11, /* arg[0]: ISA line, arg[1]: GSI, irq_flags in arg[2] */
};

enum { MOBO_RES_MEM = 1, MOBO_RES_IO = 2, MOBO_RES_IRQ = 3 };

enum {
    MOBO_IRQ_EDGE = 0,       /* edge, active high */
    MOBO_IRQ_LEVEL = 1,      /* level triggered */
    MOBO_IRQ_ACTIVE_LOW = 2,
    MOBO_IRQ_SHARED = 4,
};

/* Roles of the resources of MOBO_FW_ACPI_PM (ACPI 6.5, 4.8). 0: no special role. */
enum {
    MOBO_ROLE_NONE = 0,
    MOBO_ROLE_PM1_EVT = 1,
    MOBO_ROLE_PM1_CNT = 2,
    MOBO_ROLE_PM_TMR = 3,
    MOBO_ROLE_GPE0 = 4,
    MOBO_ROLE_RESET = 5,   /* the reset register; value in arg[0] of the entry */
    MOBO_ROLE_SCI = 6,     /* IRQ: the GSI of the SCI */
};

typedef struct mobo_fw_res {
    uint32_t kind;  /* MOBO_RES_... */
    uint32_t flags; /* IRQ: MOBO_IRQ_... */
    uint32_t role;  /* MOBO_ROLE_... */
    uint32_t _pad;
    uint64_t base;  /* address, port or global system interrupt */
    uint64_t len;   /* bytes, ports or lines */
} mobo_fw_res_t;

struct mobo_fw_device {
    uint32_t size, kind;        /* MOBO_FW_... */
    const char *name;           /* the section's name */
    const char *acpi_hid;       /* NULL: none */
    const char *acpi_cid;       /* NULL: none */
    const char *fdt_compatible; /* NULL: none; several are separated by commas in the FDT's sense */
    uint32_t id;                /* I/O APIC id, UID ...; counted by the bus */
    uint32_t res_count, res_stride, _pad;
    const mobo_fw_res_t *res;
    uint64_t arg[4];            /* by kind */
};

/* ---- mobo.acpi/1: who has put ACPI tables into guest memory --------------------------------------- */

#define MOBO_ACPI "mobo.acpi/1"

typedef struct mobo_acpi_ops {
    uint32_t size, _pad;
    uint64_t (*rsdp)(void *self); /* [locked, from reset on] guest-physical address of the RSDP */
} mobo_acpi_ops_t;

typedef struct mobo_acpi {
    const mobo_acpi_ops_t *ops;
    void *self;
} mobo_acpi_t;

static inline uint64_t mobo_acpi_rsdp(mobo_acpi_t a)
{
    const mobo_host_t *host = mobo_enter(a.self);
    uint64_t gpa = a.ops->rsdp(a.self);
    mobo_leave(host, a.self);
    return gpa;
}

#endif
