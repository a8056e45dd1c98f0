/*
 * dsdt.c: the DSDT: processors, one Device() for each described device with an id, and the _S5 that
 * power-off needs. PCI host bridges get their own description when there is a PCI bus.
 */
#include "fw-acpi.h"

#include <aml/aml.h>

enum { MAX_NAMES = 256, MAX_PORTS = 255 };

struct names {
    char used[MAX_NAMES][5];
    uint32_t count;
};

mobo_fw_res_t fw_res(const mobo_fw_device_t *d, uint32_t i)
{
    mobo_fw_res_t r = { 0 };
    uint32_t stride = d->res_stride ? d->res_stride : (uint32_t)sizeof r;
    memcpy(&r, (const char *)d->res + (size_t)i * stride, stride < sizeof r ? stride : sizeof r);
    return r;
}

uint32_t isa_line_of(const struct board *b, uint64_t gsi)
{
    const mobo_fw_device_t *d;
    uint32_t line = gsi < 16 ? (uint32_t)gsi : ~UINT32_C(0);
    for (uint32_t i = 0; (d = b->obj->host->fw->device(b->obj, i)); i++) {
        if (d->kind != MOBO_FW_ISA_OVERRIDE)
            continue;
        if (d->arg[1] == gsi)
            return (uint32_t)d->arg[0];
        if (d->arg[0] == line)
            line = ~UINT32_C(0); /* that line goes elsewhere */
    }
    return line;
}

/* C000 to CFFF are the processors. */
static int is_used(const struct names *n, const char *name)
{
    if (name[0] == 'C' && strspn(name + 1, "0123456789ABCDEF") == 3)
        return 1;
    for (uint32_t i = 0; i < n->count; i++)
        if (memcmp(n->used[i], name, 4) == 0)
            return 1;
    return 0;
}

/* A name of four characters out of the section's name: COM1 for com1; D000 where that clashes. */
static int make_name(struct names *n, const char *section, char *name)
{
    unsigned len = 0;
    memcpy(name, "____", 5);
    for (; *section && len < 4; section++) {
        char c = *section;
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        if ((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9' && len > 0))
            name[len++] = c;
    }
    for (unsigned i = 0; (len == 0 || *section || is_used(n, name)) && i < 0x1000; i++) {
        snprintf(name, 5, "D%03X", i);
        section = "";
        len = 4;
    }
    if (n->count == MAX_NAMES)
        return -1;
    memcpy(n->used[n->count++], name, 5);
    return 0;
}

static void put_irq(struct aml *a, const struct board *b, mobo_fw_res_t r)
{
    uint32_t line = isa_line_of(b, r.base);
    if (line < 16 && !(r.flags & (MOBO_IRQ_LEVEL | MOBO_IRQ_ACTIVE_LOW))) {
        aml_crs_irq(a, line);
        return;
    }
    aml_crs_gsi(a, (uint32_t)r.base, (r.flags & MOBO_IRQ_LEVEL ? AML_IRQ_LEVEL : 0) |
                (r.flags & MOBO_IRQ_ACTIVE_LOW ? AML_IRQ_LOW : 0) |
                (r.flags & MOBO_IRQ_SHARED ? AML_IRQ_SHARED : 0));
}

static void put_resources(struct aml *a, const struct board *b, const mobo_fw_device_t *d)
{
    if (!d->res_count)
        return;
    aml_crs_begin(a);
    for (uint32_t i = 0; i < d->res_count; i++) {
        mobo_fw_res_t r = fw_res(d, i);
        if (r.kind == MOBO_RES_IO && r.len <= MAX_PORTS)
            aml_crs_io(a, (uint16_t)r.base, (uint8_t)r.len);
        else if (r.kind == MOBO_RES_IRQ)
            put_irq(a, b, r);
        else if (r.kind == MOBO_RES_MEM && r.base + r.len <= UINT64_C(1) << 32)
            aml_crs_mem32(a, (uint32_t)r.base, (uint32_t)r.len);
        else if (r.kind == MOBO_RES_MEM)
            aml_crs_mem64(a, r.base, r.len);
    }
    aml_crs_end(a);
}

/* ACPI0007 is a processor as a device (8.4); the MADT names the same ids. */
static void put_cpus(struct aml *a, const struct board *b)
{
    char name[5];
    for (uint32_t i = 0; i < b->vcpus; i++) {
        snprintf(name, sizeof name, "C%03X", i & 0xfff);
        aml_device(a, name);
        aml_name_str(a, "_HID", "ACPI0007");
        aml_name_int(a, "_UID", i);
        aml_end(a);
    }
}

static void put_device(struct aml *a, const struct board *b, struct names *n,
                       const mobo_fw_device_t *d)
{
    char name[5];
    if (make_name(n, d->name, name)) {
        a->failed = 1;
        return;
    }
    aml_device(a, name);
    aml_name_eisa(a, "_HID", d->acpi_hid);
    if (d->acpi_cid)
        aml_name_eisa(a, "_CID", d->acpi_cid);
    aml_name_int(a, "_UID", d->id);
    put_resources(a, b, d);
    aml_end(a);
}

/* Package (4) { PM1a SLP_TYP, PM1b SLP_TYP, 0, 0 }: some systems fault on a shorter one (7.4.2). */
static void put_s5(struct aml *a, const struct board *b)
{
    if (!b->pm)
        return;
    aml_name(a, "\\_S5_");
    aml_package(a, 4);
    aml_int(a, b->pm->arg[1]);
    aml_int(a, b->pm->arg[1]);
    aml_int(a, 0);
    aml_int(a, 0);
    aml_end(a);
}

uint32_t put_dsdt(struct area *m, const struct board *b)
{
    struct names names = { .count = 0 };
    const mobo_fw_device_t *d;
    struct aml a;
    uint32_t len, start = table_begin(m, "DSDT", 2);
    if (m->failed)
        return 0;
    aml_init(&a, m->buf + m->len, AREA_LEN - m->len);
    aml_scope(&a, "\\_SB_");
    put_cpus(&a, b);
    for (uint32_t i = 0; (d = b->obj->host->fw->device(b->obj, i)); i++)
        if (d->acpi_hid)
            put_device(&a, b, &names, d);
    aml_end(&a);
    put_s5(&a, b);
    if (aml_done(&a, &len)) {
        m->failed = 1;
        return 0;
    }
    m->len += len;
    table_end(m, start);
    return start;
}
