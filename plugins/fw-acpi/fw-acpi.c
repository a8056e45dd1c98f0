/*
 * fw-acpi: ACPI tables out of the neutral description of the machine, written into guest memory at
 * each reset. All of them lie between 0xe0000 and 0xfffff, where every kernel looks for the RSDP
 * (ACPI 6.5, 5.2.5.1) and no memory map offers RAM. No firmware has to run, and none may use the
 * same range.
 */
#include "fw-acpi.h"

#include <stdlib.h>

struct acpi {
    mobo_obj_t *obj;
    const char *oem_id, *oem_table_id;
    uint8_t *buf;
    uint64_t rsdp;
};

static int acpi_init(void *self)
{
    struct acpi *s = self;
    mobo_vm_info_t vm;
    mobo_vm_info(s->obj, &vm);
    if (vm.memory < AREA_BASE + AREA_LEN)
        return mobo_fail(s->obj, "memory is %llu bytes; the tables need the first MiB",
                         (unsigned long long)vm.memory);
    if (!(s->buf = malloc(AREA_LEN)))
        return mobo_fail_code(s->obj, MOBO_ENOMEM, "the host has no memory for the tables");
    return s->obj->host->fw->reserve(s->obj, AREA_BASE, AREA_LEN, MOBO_MEM_RESERVED);
}

static void acpi_fini(void *self)
{
    free(((struct acpi *)self)->buf);
}

static void survey(struct acpi *s, struct board *b)
{
    const mobo_fw_device_t *d;
    mobo_vm_info_t vm;
    mobo_vm_info(s->obj, &vm);
    *b = (struct board){ .obj = s->obj, .vcpus = vm.vcpus };
    for (uint32_t i = 0; (d = s->obj->host->fw->device(s->obj, i)); i++) {
        b->pm = d->kind == MOBO_FW_ACPI_PM ? d : b->pm;
        b->rtc = d->kind == MOBO_FW_RTC ? d : b->rtc;
        b->has_pic |= d->kind == MOBO_FW_PIC8259;
        b->has_i8042 |= d->kind == MOBO_FW_I8042;
        b->has_pci |= d->kind == MOBO_FW_PCI_HOST;
        b->has_legacy |= d->kind == MOBO_FW_UART || d->kind == MOBO_FW_I8042;
    }
    for (uint32_t i = 0; b->pm && i < b->pm->res_count; i++) {
        mobo_fw_res_t r = fw_res(b->pm, i);
        if (r.role != MOBO_ROLE_SCI)
            continue;
        b->sci = (uint32_t)r.base;
        b->sci_flags = r.flags;
    }
}

static void build(struct area *m, const struct board *b)
{
    area_put(m, 0, RSDP_LEN); /* at the front, filled in last */
    uint32_t facs = put_facs(m);
    uint32_t dsdt = put_dsdt(m, b);
    put_fadt(m, b, facs, dsdt);
    put_madt(m, b);
    put_waet(m);
    uint32_t rsdt = put_root(m, "RSDT", 4);
    uint32_t xsdt = put_root(m, "XSDT", 8);
    put_rsdp(m, 0, rsdt, xsdt);
}

/* A reset cannot fail, so a machine whose tables do not fit ends here. */
static void acpi_reset(void *self)
{
    struct acpi *s = self;
    struct board b;
    struct area m = { .buf = s->buf, .oem_id = s->oem_id, .oem_table_id = s->oem_table_id };
    survey(s, &b);
    if (!b.pm)
        mobo_log(s->obj, MOBO_INFO, "no ACPI hardware (dev-pc/pm): the guest cannot power off");
    memset(s->buf, 0, AREA_LEN);
    build(&m, &b);
    s->rsdp = AREA_BASE;
    if (m.failed) {
        mobo_log(s->obj, MOBO_ERROR, "the tables of %u virtual CPUs and all devices need more than "
                 "the %u bytes at 0x%x; use fewer", b.vcpus, AREA_LEN, AREA_BASE);
    } else if (mobo_dma_write(s->obj, AREA_BASE, s->buf, AREA_LEN)) {
        mobo_log(s->obj, MOBO_ERROR, "there is no RAM at 0x%x for the tables", AREA_BASE);
    } else {
        return;
    }
    mobo_vm_request(s->obj, MOBO_VM_FAIL);
}

static uint64_t acpi_rsdp(void *self)
{
    return ((struct acpi *)self)->rsdp;
}

static const mobo_acpi_ops_t acpi_ops = { .size = sizeof acpi_ops, .rsdp = acpi_rsdp };
static const mobo_iface_t ifaces[] = { { MOBO_ACPI, &acpi_ops }, { 0 } };

static const mobo_prop_t props[] = {
    MOBO_NAMED(struct acpi, oem_id, "oem-id", MOBO_T_STR, "MOBO", "OEM id, up to 6 characters",
               .min = 1, .max = 6),
    MOBO_NAMED(struct acpi, oem_table_id, "oem-table-id", MOBO_T_STR, "MOBOMACH",
               "OEM table id, up to 8 characters", .min = 1, .max = 8),
    MOBO_END,
};

static const mobo_class_t acpi = {
    MOBO_CLASS(struct acpi, props, NULL), .name = "acpi",
    .summary = "ACPI tables in guest memory", .provides = ifaces, .init = acpi_init,
    .reset = acpi_reset, .fini = acpi_fini,
};

MOBO_PLUGIN("fw-acpi", "0.1", "MIT", &acpi)
