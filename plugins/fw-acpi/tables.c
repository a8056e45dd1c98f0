/* tables.c: the fixed tables of ACPI 6.5, chapter 5: RSDP, RSDT, XSDT, FADT, FACS, MADT, WAET. */
#include "fw-acpi.h"

enum { FADT_WBINVD = 1 << 0, FADT_PROC_C1 = 1 << 2, FADT_SLP_BUTTON = 1 << 5, FADT_FIX_RTC = 1 << 6,
       FADT_TMR_VAL_EXT = 1 << 8, FADT_RESET_REG_SUP = 1 << 10,
       FADT_HW_REDUCED = 1 << 20 };
enum { BOOT_LEGACY = 1 << 0, BOOT_8042 = 1 << 1, BOOT_NO_VGA = 1 << 2, BOOT_NO_CMOS = 1 << 5 };
enum { MADT_PCAT_COMPAT = 1 };
static const uint32_t lapic_base = 0xfee00000;
enum { SLOW_C2 = 0xfff, SLOW_C3 = 0xfff };
enum { ALL_PROCESSORS = 0xff, LINT1 = 1 };

/* Appends V; returns the offset it went to. */
uint32_t area_put(struct area *m, uint64_t v, unsigned bytes)
{
    uint32_t at = m->len;
    if (m->failed || bytes > AREA_LEN - m->len) {
        m->failed = 1;
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++)
        m->buf[m->len++] = (uint8_t)(i < 8 ? v >> 8 * i : 0);
    return at;
}

static void set(struct area *m, uint32_t at, uint64_t v, unsigned bytes)
{
    if (at > AREA_LEN - bytes) {
        m->failed = 1;
        return;
    }
    for (unsigned i = 0; i < bytes; i++)
        m->buf[at + i] = (uint8_t)(v >> 8 * i);
}

static void put_text(struct area *m, const char *text, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        area_put(m, *text ? (uint8_t)*text++ : ' ', 1);
}

void area_align(struct area *m, uint32_t to)
{
    while (m->len & (to - 1) && !m->failed)
        area_put(m, 0, 1);
}

uint8_t checksum(const uint8_t *p, uint32_t len)
{
    uint8_t sum = 0;
    while (len--)
        sum += *p++;
    return (uint8_t)-sum;
}

/* The header of 5.2.6; length and checksum are filled in by table_end. */
uint32_t table_begin(struct area *m, const char *signature, uint8_t revision)
{
    area_align(m, 16);
    uint32_t start = m->len;
    put_text(m, signature, 4);
    area_put(m, 0, 4);
    area_put(m, revision, 1);
    area_put(m, 0, 1);
    put_text(m, m->oem_id, 6);
    put_text(m, m->oem_table_id, 8);
    area_put(m, 1, 4);
    put_text(m, "MOBO", 4);
    area_put(m, 1, 4);
    return start;
}

void table_end(struct area *m, uint32_t start)
{
    if (m->failed)
        return;
    set(m, start + 4, m->len - start, 4);
    m->buf[start + 9] = checksum(m->buf + start, m->len - start);
}

static void list_table(struct area *m, uint32_t start)
{
    if (m->table_count == MAX_TABLES)
        m->failed = 1;
    else
        m->table[m->table_count++] = start;
}

/* 5.2.5.3; at a place kept for it, since it points to what is written last. */
void put_rsdp(struct area *m, uint32_t at, uint32_t rsdt, uint32_t xsdt)
{
    if (m->failed)
        return;
    uint8_t *p = m->buf + at;
    memcpy(p, "RSD PTR ", 8);
    memset(p + 9, ' ', 6);
    memcpy(p + 9, m->oem_id, strlen(m->oem_id)); /* at most 6: the property's limit */
    p[15] = 2;
    set(m, at + 16, AREA_BASE + rsdt, 4);
    set(m, at + 20, RSDP_LEN, 4);
    set(m, at + 24, AREA_BASE + xsdt, 8);
    p[8] = checksum(p, 20);
    p[32] = checksum(p, RSDP_LEN);
}

/* 5.2.10; not a table of the usual form: no checksum, aligned to 64. */
uint32_t put_facs(struct area *m)
{
    area_align(m, 64);
    uint32_t start = m->len;
    put_text(m, "FACS", 4);
    area_put(m, FACS_LEN, 4);
    area_put(m, 0, 24);
    area_put(m, 2, 1); /* version */
    area_put(m, 0, FACS_LEN - 33);
    return start;
}

/* ---- FADT (5.2.9) ---------------------------------------------------------------------------- */

/* Generic address structure (5.2.3.2) of a block in the I/O space; all 0: not there. */
static void put_gas(struct area *m, mobo_fw_res_t r)
{
    area_put(m, r.len ? 1 : 0, 1);
    area_put(m, r.len * 8, 1);
    area_put(m, 0, 1);
    area_put(m, 0, 1); /* access size: undefined, as the older fields have it */
    area_put(m, r.base, 8);
}

/* The resource of the ACPI hardware that has ROLE; length 0: there is none. */
static mobo_fw_res_t by_role(const struct board *b, uint32_t role)
{
    for (uint32_t i = 0; b->pm && i < b->pm->res_count; i++) {
        mobo_fw_res_t r = fw_res(b->pm, i);
        if (r.role == role && r.kind == MOBO_RES_IO)
            return r;
    }
    return (mobo_fw_res_t){ .kind = MOBO_RES_IO };
}

static uint32_t fadt_flags(const struct board *b)
{
    uint32_t flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC;
    if (!b->pm)
        flags |= FADT_HW_REDUCED; /* without PM1 blocks nothing else is valid (5.2.9.1) */
    if (b->pm && b->pm->arg[2] == 32)
        flags |= FADT_TMR_VAL_EXT;
    if (by_role(b, MOBO_ROLE_RESET).len)
        flags |= FADT_RESET_REG_SUP;
    return flags;
}

static uint16_t boot_arch(const struct board *b)
{
    return (uint16_t)((b->has_legacy ? BOOT_LEGACY : 0) | (b->has_i8042 ? BOOT_8042 : 0) |
                      (b->has_pci ? 0 : BOOT_NO_VGA) | (b->rtc ? 0 : BOOT_NO_CMOS));
}

/* Revision 6, 276 bytes: full ACPI hardware, without an SMI command port. */
uint32_t put_fadt(struct area *m, const struct board *b, uint32_t facs, uint32_t dsdt)
{
    mobo_fw_res_t none = { 0 }, evt = by_role(b, MOBO_ROLE_PM1_EVT),
                  cnt = by_role(b, MOBO_ROLE_PM1_CNT), tmr = by_role(b, MOBO_ROLE_PM_TMR),
                  gpe = by_role(b, MOBO_ROLE_GPE0), reset = by_role(b, MOBO_ROLE_RESET);
    uint32_t start = table_begin(m, "FACP", 6);
    area_put(m, AREA_BASE + facs, 4);
    area_put(m, AREA_BASE + dsdt, 4);
    area_put(m, 0, 2);         /* reserved, preferred PM profile: unspecified */
    area_put(m, b->sci, 2);
    area_put(m, 0, 4);         /* SMI_CMD: none, always in ACPI mode */
    area_put(m, 0, 4);         /* ACPI_ENABLE, ACPI_DISABLE, S4BIOS_REQ, PSTATE_CNT */
    area_put(m, evt.base, 4);
    area_put(m, 0, 4);
    area_put(m, cnt.base, 4);
    area_put(m, 0, 4);
    area_put(m, 0, 4);         /* PM2_CNT_BLK */
    area_put(m, tmr.base, 4);
    area_put(m, gpe.base, 4);
    area_put(m, 0, 4);
    area_put(m, evt.len, 1);
    area_put(m, cnt.len, 1);
    area_put(m, 0, 1);
    area_put(m, tmr.len, 1);
    area_put(m, gpe.len, 1);
    area_put(m, 0, 3);         /* GPE1_BLK_LEN, GPE1_BASE, CST_CNT */
    area_put(m, SLOW_C2, 2);   /* above 100 and 1000 us: no C2 and no C3 */
    area_put(m, SLOW_C3, 2);
    area_put(m, 0, 8);         /* FLUSH_SIZE, FLUSH_STRIDE, DUTY, DAY_ALRM, MON_ALRM */
    area_put(m, b->rtc ? b->rtc->arg[0] : 0, 1);
    area_put(m, boot_arch(b), 2);
    area_put(m, 0, 1);
    area_put(m, fadt_flags(b), 4);
    reset.len = reset.len ? 1 : 0;
    put_gas(m, reset);
    area_put(m, reset.len ? b->pm->arg[0] : 0, 1);
    area_put(m, 0, 2);         /* ARM_BOOT_ARCH */
    area_put(m, 5, 1);         /* minor version: ACPI 6.5 */
    area_put(m, AREA_BASE + facs, 8);
    area_put(m, AREA_BASE + dsdt, 8);
    put_gas(m, evt);
    put_gas(m, none);
    put_gas(m, cnt);
    put_gas(m, none);
    put_gas(m, none);
    put_gas(m, tmr);
    put_gas(m, gpe);
    put_gas(m, none);
    put_gas(m, none);          /* SLEEP_CONTROL_REG, SLEEP_STATUS_REG: hardware-reduced only */
    put_gas(m, none);
    area_put(m, 0, 8);         /* hypervisor vendor identity */
    table_end(m, start);
    list_table(m, start);
    return start;
}

/* ---- MADT (5.2.12) --------------------------------------------------------------------------- */

/* Local APIC ids are the vCPU numbers; ids above 254 need the x2APIC form. */
static void put_processors(struct area *m, const struct board *b)
{
    for (uint32_t i = 0; i < b->vcpus; i++) {
        if (i < 255) {
            area_put(m, 0x0800, 2); /* type 0, 8 bytes */
            area_put(m, i, 1);
            area_put(m, i, 1);
            area_put(m, 1, 4);
        } else {
            area_put(m, 0x1009, 2); /* type 9, 16 bytes */
            area_put(m, 0, 2);
            area_put(m, i, 4);
            area_put(m, 1, 4);
            area_put(m, i, 4);
        }
    }
}

static uint16_t inti_flags(uint32_t irq_flags)
{
    return (uint16_t)((irq_flags & MOBO_IRQ_ACTIVE_LOW ? 3 : 1) |
                      (irq_flags & MOBO_IRQ_LEVEL ? 3 : 1) << 2);
}

static void put_override(struct area *m, uint64_t line, uint64_t gsi, uint16_t flags)
{
    area_put(m, 0x0a02, 2); /* type 2, 10 bytes */
    area_put(m, 0, 1);      /* ISA */
    area_put(m, line, 1);
    area_put(m, gsi, 4);
    area_put(m, flags, 2);
}

static void put_ioapics(struct area *m, const struct board *b)
{
    const mobo_fw_device_t *d;
    for (uint32_t i = 0; (d = b->obj->host->fw->device(b->obj, i)); i++) {
        if (d->kind != MOBO_FW_IOAPIC || d->res_count == 0)
            continue;
        area_put(m, 0x0c01, 2); /* type 1, 12 bytes */
        area_put(m, d->id, 1);
        area_put(m, 0, 1);
        area_put(m, fw_res(d, 0).base, 4);
        area_put(m, d->arg[0], 4);
    }
}

static void put_overrides(struct area *m, const struct board *b)
{
    const mobo_fw_device_t *d;
    uint32_t sci_line = b->pm ? isa_line_of(b, b->sci) : ~UINT32_C(0);
    for (uint32_t i = 0; (d = b->obj->host->fw->device(b->obj, i)); i++)
        if (d->kind == MOBO_FW_ISA_OVERRIDE && d->arg[0] != sci_line)
            put_override(m, d->arg[0], d->arg[1],
                         d->arg[2] == MOBO_IRQ_EDGE ? 0 : inti_flags((uint32_t)d->arg[2]));
    if (sci_line < 16)
        put_override(m, sci_line, b->sci, inti_flags(b->sci_flags));
}

void put_madt(struct area *m, const struct board *b)
{
    uint32_t start = table_begin(m, "APIC", 5);
    area_put(m, lapic_base, 4);
    area_put(m, b->has_pic ? MADT_PCAT_COMPAT : 0, 4);
    put_processors(m, b);
    put_ioapics(m, b);
    put_overrides(m, b);
    area_put(m, 0x0604, 2); /* local APIC NMI: every processor's LINT1, by the bus's rules */
    area_put(m, ALL_PROCESSORS, 1);
    area_put(m, 0, 2);
    area_put(m, LINT1, 1);
    table_end(m, start);
    list_table(m, start);
}

/* Microsoft's "Windows ACPI Emulated Devices Table": one read of the PM timer is enough here. */
void put_waet(struct area *m)
{
    uint32_t start = table_begin(m, "WAET", 1);
    area_put(m, 2, 4);
    table_end(m, start);
    list_table(m, start);
}

/* RSDT (4-byte entries) or XSDT (8-byte entries). */
uint32_t put_root(struct area *m, const char *signature, unsigned entry_bytes)
{
    uint32_t start = table_begin(m, signature, 1);
    for (uint32_t i = 0; i < m->table_count; i++)
        area_put(m, AREA_BASE + m->table[i], entry_bytes);
    table_end(m, start);
    return start;
}
