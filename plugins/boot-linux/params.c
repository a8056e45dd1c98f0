/*
 * params.c: what a kernel entered by the Linux boot protocol finds: the zero page with the e820 map,
 * a flat descriptor table, identity page tables for the 64-bit entry, and its first registers.
 * Linux, Documentation/arch/x86/boot.rst and zero-page.rst.
 */
#include "boot.h"

enum {
    ZP_RSDP = 0x070,       /* acpi_rsdp_addr */
    ZP_E820_COUNT = 0x1e8,
    ZP_HDR = SETUP_HEADER_OFF,
    ZP_BOOT_FLAG = 0x1fe,
    ZP_MAGIC = 0x202,
    ZP_VERSION = 0x206,
    ZP_LOADER = 0x210,
    ZP_LOADFLAGS = 0x211,
    ZP_CODE32 = 0x214,
    ZP_RAMDISK = 0x218,
    ZP_RAMDISK_LEN = 0x21c,
    ZP_CMDLINE = 0x228,
    ZP_ALIGNMENT = 0x230,
    ZP_E820 = 0x2d0,
    ZP_E820_MAX = 128,
    ZP_SIZE = 0x1000,
};
enum { LOADER_UNDEFINED = 0xff, LOADED_HIGH = 1 };
enum { PTE_P = 1, PTE_W = 2, PDE_PS = 0x80 };

enum { /* mobo_x86_seg_t.attr */
    ATTR_CODE = 0xb | 1 << 4 | 1 << 7, ATTR_DATA = 0x3 | 1 << 4 | 1 << 7, ATTR_TSS = 0xb | 1 << 7,
    ATTR_L = 1 << 9, ATTR_DB = 1 << 10, ATTR_G = 1 << 11,
};

static void put(uint8_t *p, uint64_t val, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++, val >>= 8)
        p[i] = (uint8_t)val;
}

int guest_write(struct boot *b, uint64_t gpa, const void *buf, uint64_t len)
{
    int rc = mobo_dma_write(b->obj, gpa, buf, len);
    return rc ? mobo_fail_code(b->obj, rc, "guest address 0x%llx is not RAM",
                               (unsigned long long)gpa) : 0;
}

int memory_map(struct boot *b, mobo_mem_range_t *range, int max)
{
    for (int n = 0;; n++) {
        mobo_mem_range_t r;
        int rc = b->obj->host->fw->memory(b->obj, (uint32_t)n, &r);
        if (rc < 0)
            return mobo_fail_code(b->obj, rc, "no memory for the memory map");
        if (rc == 0)
            return n;
        if (n == max)
            return mobo_fail(b->obj, "the memory map has more than %d pieces", max);
        range[n] = r;
    }
}

/* The words of MOBO_MEM_... are the numbers of e820 (ACPI 6.5, table 15.2). */
static int put_e820(struct boot *b, uint8_t *zp)
{
    mobo_mem_range_t range[ZP_E820_MAX];
    int n = memory_map(b, range, ZP_E820_MAX);
    if (n < 0)
        return n;
    for (int i = 0; i < n; i++) {
        uint8_t *e = zp + ZP_E820 + 20 * i;
        put(e, range[i].base, 8);
        put(e + 8, range[i].len, 8);
        put(e + 16, range[i].kind, 4);
    }
    put(zp + ZP_E820_COUNT, (uint64_t)n, 1);
    return 0;
}

/* Four GiB, one to one, in 2 MiB pages: every x86-64 CPU has those, 1 GiB ones not. */
static int write_page_tables(struct boot *b)
{
    uint8_t t[6 * 0x1000];
    memset(t, 0, sizeof t);
    put(t, (ADDR_PAGE_TABLES + 0x1000) | PTE_P | PTE_W, 8);
    for (unsigned i = 0; i < 4; i++)
        put(t + 0x1000 + 8 * i, (ADDR_PAGE_TABLES + 0x2000 + 0x1000 * i) | PTE_P | PTE_W, 8);
    for (uint64_t i = 0; i < 4 * 512; i++)
        put(t + 0x2000 + 8 * i, i << 21 | PTE_P | PTE_W | PDE_PS, 8);
    return guest_write(b, ADDR_PAGE_TABLES, t, sizeof t);
}

static int write_gdt(struct boot *b, bool is64)
{
    uint64_t gdt[5] = {
        [SEL_CODE / 8] = is64 ? 0x00af9b000000ffff : 0x00cf9b000000ffff,
        [SEL_DATA / 8] = 0x00cf93000000ffff,
        [SEL_TSS / 8] = 0x00008b0000000067,
    };
    return guest_write(b, ADDR_GDT, gdt, sizeof gdt);
}

int regs_set(struct boot *b, enum entry entry, uint64_t rip, uint64_t rsi, uint64_t rbx)
{
    mobo_x86_sregs_t s;
    bool is64 = entry == ENTRY_LINUX64;
    const mobo_vm_api_t *vm = b->obj->host->vm;
    int rc = vm->vcpu_get(b->obj, 0, MOBO_X86_SREGS, &s, sizeof s);
    if (rc || (rc = write_gdt(b, is64)) || (is64 && (rc = write_page_tables(b))))
        return rc;
    mobo_x86_seg_t data = { .limit = UINT32_MAX, .selector = SEL_DATA,
                            .attr = ATTR_DATA | ATTR_DB | ATTR_G };
    s.ds = s.es = s.ss = s.fs = s.gs = data;
    s.cs = (mobo_x86_seg_t){ .limit = UINT32_MAX, .selector = SEL_CODE,
                             .attr = (uint16_t)(ATTR_CODE | ATTR_G | (is64 ? ATTR_L : ATTR_DB)) };
    s.tr = (mobo_x86_seg_t){ .limit = 0x67, .selector = SEL_TSS, .attr = ATTR_TSS };
    s.gdt_base = ADDR_GDT;
    s.gdt_limit = 5 * 8 - 1;
    s.idt_base = s.idt_limit = 0;
    s.cr0 = 0x11; /* PE, ET */
    s.cr4 = s.efer = s.cr3 = 0;
    if (is64) {
        s.cr3 = ADDR_PAGE_TABLES;
        s.cr4 = 0x20;       /* PAE */
        s.efer = 0x500;     /* LME, LMA */
        s.cr0 |= 1u << 31;  /* PG */
    }
    mobo_x86_regs_t r = { .gpr = { [6] = rsi, [3] = rbx }, .rip = rip, .rflags = 2 };
    rc = vm->vcpu_set(b->obj, 0, MOBO_X86_SREGS, &s, sizeof s);
    return rc ? rc : vm->vcpu_set(b->obj, 0, MOBO_X86_REGS, &r, sizeof r);
}

int params_linux(struct boot *b)
{
    uint8_t zp[ZP_SIZE];
    const struct plan *plan = &b->plan;
    memset(zp, 0, sizeof zp);
    memcpy(zp + ZP_HDR, plan->setup, plan->setup_len);
    if (!plan->setup_len) { /* a vmlinux has no header of its own: the least that kernels look at */
        put(zp + ZP_BOOT_FLAG, 0xaa55, 2);
        memcpy(zp + ZP_MAGIC, "HdrS", 4);
        put(zp + ZP_VERSION, 0x020c, 2);
        put(zp + ZP_ALIGNMENT, 0x1000000, 4);
    }
    zp[ZP_LOADER] = LOADER_UNDEFINED;
    zp[ZP_LOADFLAGS] |= LOADED_HIGH;
    put(zp + ZP_CODE32, plan->low, 4);
    if (b->initrd_image.len) {
        put(zp + ZP_RAMDISK, b->initrd_gpa, 4);
        put(zp + ZP_RAMDISK_LEN, b->initrd_image.len, 4);
    }
    put(zp + ZP_CMDLINE, ADDR_CMDLINE, 4);
    if (b->acpi.ops)
        put(zp + ZP_RSDP, mobo_acpi_rsdp(b->acpi), 8);
    int rc = put_e820(b, zp);
    if (rc || (rc = guest_write(b, ADDR_ZERO_PAGE, zp, sizeof zp)))
        return rc;
    return regs_set(b, plan->entry, plan->start, ADDR_ZERO_PAGE, 0);
}
