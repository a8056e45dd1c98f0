/*
 * test-good-kernels.c: kernels that can be booted: every byte that boot-linux puts into low memory,
 * the kernel and the initrd in their places, and the registers of CPU 0. Written from boot.rst,
 * zero-page.rst and Xen's pvh.pandoc and start_info.h, not from the plugin.
 */
#include "kernels.h"

#include <mobo/arch/x86.h>

#include <stdlib.h>
#include <unistd.h>

enum { RAM = 32 * MIB, INITRD_LEN = 5000, RSDP = 0xe1230 };
/* Where the plugin puts things; boot.rst leaves that to the loader. */
enum { START_INFO = 0x6000, ZERO_PAGE = 0x7000, GDT = 0x8000, PML4 = 0x9000, CMDLINE = 0x20000 };

static uint64_t rsdp(void *self)
{
    (void)self;
    return RSDP;
}

struct acpi {
    mobo_obj_t *obj;
};
static const mobo_acpi_ops_t acpi_ops = { .size = sizeof acpi_ops, .rsdp = rsdp };
static const mobo_iface_t acpi_ifaces[] = { { MOBO_ACPI, &acpi_ops }, { 0 } };
static const mobo_class_t acpi_class = {
    MOBO_CLASS(struct acpi, NULL, NULL), .name = "acpi", .provides = acpi_ifaces,
};

static char keys[4][160];

/* Guest memory is full of 0xa5 before, so that what is not written shows. */
static struct fake *booted(uint64_t ram, const struct kernel *k, const char *protocol, int initrd)
{
    uint8_t content[INITRD_LEN];
    memset(content, 0x5a, sizeof content);
    (void)snprintf(keys[0], sizeof keys[0], "kernel=%s", file_of("kernel", k->bytes, k->len));
    (void)snprintf(keys[1], sizeof keys[1], "protocol=%s", protocol);
    (void)snprintf(keys[2], sizeof keys[2], "cmdline=console=ttyS0 quiet");
    if (initrd)
        (void)snprintf(keys[3], sizeof keys[3], "initrd=%s",
                       file_of("initrd", content, sizeof content));
    const char *const settings[] = { keys[0], keys[1], keys[2], initrd ? keys[3] : NULL, NULL };
    struct fake *f = fake_new(ram, 1);
    assert_non_null(fake_add(f, "acpi0", &acpi_class, NULL));
    if (!fake_add(f, "boot", fake_class(PLUGINS "/boot-linux.so", "linux"), settings))
        fail_msg("%s", fake_failure(f));
    memset(fake_ram(f), 0xa5, RAM);
    return f;
}

static struct fake *run(const struct kernel *k, const char *protocol, int initrd)
{
    struct fake *f = booted(RAM, k, protocol, initrd);
    fake_reset(f);
    if (fake_requests(f, MOBO_VM_FAIL))
        fail_msg("%s", fake_failure(f));
    assert_int_equal(fake_maps(f), 0);
    assert_string_equal((char *)fake_ram(f) + CMDLINE, "console=ttyS0 quiet");
    return f;
}

static void same(const char *what, const uint8_t *got, const uint8_t *want, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        if (got[i] != want[i])
            fail_msg("%s: byte 0x%x is 0x%02x, not 0x%02x", what, i, got[i], want[i]);
}

static void all_are(const char *what, const uint8_t *p, uint8_t val, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        if (p[i] != val)
            fail_msg("%s: byte 0x%llx is 0x%02x, not 0x%02x", what, (unsigned long long)i, p[i],
                     val);
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* RAM, the EBDA, the PC's hole, RAM: the numbers are those of e820. */
static const struct {
    uint64_t base, len;
    uint32_t type;
} memory_map[] = {
    { 0, 0x9fc00, 1 }, { 0x9fc00, 0x400, 2 }, { 0xa0000, 0x60000, 2 }, { MIB, RAM - MIB, 1 },
};
enum { MAP_COUNT = sizeof memory_map / sizeof *memory_map };

static void loader_fields(uint8_t *zp, uint64_t code32, uint64_t initrd)
{
    put(zp + 0x070, RSDP, 8);      /* acpi_rsdp_addr */
    put(zp + 0x1e8, MAP_COUNT, 1); /* e820_entries */
    put(zp + 0x210, 0xff, 1);      /* type_of_loader: not a registered one */
    put(zp + 0x211, 0x01, 1);      /* loadflags: LOADED_HIGH */
    put(zp + 0x214, code32, 4);
    put(zp + 0x218, initrd, 4);
    put(zp + 0x21c, initrd ? INITRD_LEN : 0, 4);
    put(zp + 0x228, CMDLINE, 4);
    for (unsigned i = 0; i < MAP_COUNT; i++) {
        put(zp + 0x2d0 + 20 * i, memory_map[i].base, 8);
        put(zp + 0x2d0 + 20 * i + 8, memory_map[i].len, 8);
        put(zp + 0x2d0 + 20 * i + 16, memory_map[i].type, 4);
    }
}

static void check_page_tables(struct fake *f)
{
    static uint8_t t[6 * 4096];
    memset(t, 0, sizeof t);
    put(t, PML4 + 0x1003, 8);
    for (unsigned i = 0; i < 4; i++)
        put(t + 0x1000 + 8 * i, PML4 + 0x2003 + 0x1000 * i, 8);
    for (uint64_t i = 0; i < 2048; i++)
        put(t + 0x2000 + 8 * i, i * 0x200000 + 0x83, 8);
    same("page tables", fake_ram(f) + PML4, t, sizeof t);
    all_are("behind the page tables", fake_ram(f) + PML4 + sizeof t, 0xa5, 4096);
}

static void seg_is(const mobo_x86_seg_t *s, uint16_t selector, uint32_t limit, uint16_t attr)
{
    assert_int_equal(s->base, 0);
    assert_int_equal(s->selector, selector);
    assert_int_equal(s->limit, limit);
    assert_int_equal(s->attr, attr);
}

/* Flat, ring 0, __BOOT_CS 0x10 and __BOOT_DS 0x18, interrupts off; paging only for 64 bits. */
static void check_cpu(struct fake *f, int is64, uint64_t rip, uint64_t rsi, uint64_t rbx)
{
    uint32_t len;
    const mobo_x86_sregs_t *s = fake_vcpu_block(f, 0, MOBO_X86_SREGS, &len);
    assert_non_null(s);
    assert_int_equal(len, sizeof *s);
    seg_is(&s->cs, 0x10, UINT32_MAX, is64 ? 0xa9b : 0xc9b);
    const mobo_x86_seg_t *data[] = { &s->ds, &s->es, &s->ss, &s->fs, &s->gs };
    for (unsigned i = 0; i < 5; i++)
        seg_is(data[i], 0x18, UINT32_MAX, 0xc93);
    seg_is(&s->tr, 0x20, 0x67, 0x8b);
    assert_int_equal(s->gdt_base, GDT);
    assert_int_equal(s->gdt_limit, 39);
    assert_int_equal(s->cr0, is64 ? 0x80000011 : 0x11);
    assert_int_equal(s->cr3, is64 ? PML4 : 0);
    assert_int_equal(s->cr4, is64 ? 0x20 : 0);
    assert_int_equal(s->efer, is64 ? 0x500 : 0);
    mobo_x86_regs_t want = { .rip = rip, .rflags = 2 };
    want.gpr[6] = rsi;
    want.gpr[3] = rbx;
    const mobo_x86_regs_t *r = fake_vcpu_block(f, 0, MOBO_X86_REGS, &len);
    assert_non_null(r);
    assert_int_equal(len, sizeof *r);
    assert_memory_equal(r, &want, sizeof want);

    uint64_t gdt[5] = { 0, 0, is64 ? 0x00af9b000000ffff : 0x00cf9b000000ffff, 0x00cf93000000ffff,
                        0x00008b0000000067 };
    assert_memory_equal(fake_ram(f) + GDT, gdt, sizeof gdt);
}

/* ---- bzImage --------------------------------------------------------------------------------- */

static void check_bz(struct fake *f, const struct kernel *k, uint64_t load, uint64_t initrd)
{
    uint8_t zp[4096] = { 0 };
    memcpy(zp + 0x1f1, k->bytes + 0x1f1, 0x26c - 0x1f1);
    loader_fields(zp, load, initrd);
    same("zero page", fake_ram(f) + ZERO_PAGE, zp, sizeof zp);
    same("code", fake_ram(f) + load, k->bytes + BZ_SETUP_BYTES, BZ_CODE_BYTES);
    all_are("below the code", fake_ram(f) + MIB, 0xa5, load - MIB);
    all_are("behind the code", fake_ram(f) + load + BZ_CODE_BYTES, 0xa5, 4096);
    if (!initrd)
        return;
    all_are("initrd", fake_ram(f) + initrd, 0x5a, INITRD_LEN);
    all_are("below the initrd", fake_ram(f) + initrd - 4096, 0xa5, 4096);
}

static void bzimage_64(void **state)
{
    (void)state;
    struct kernel k;
    kernel_bz(&k, 1);
    struct fake *f = run(&k, "auto", 1);
    check_bz(f, &k, BZ_PREF_ADDRESS, RAM - 8192);
    check_page_tables(f);
    check_cpu(f, 1, BZ_PREF_ADDRESS + 0x200, ZERO_PAGE, 0);
    all_are("the vectors", fake_ram(f), 0xa5, START_INFO);
    fake_free(f);
    f = run(&k, "bzimage", 0);
    check_bz(f, &k, BZ_PREF_ADDRESS, 0);
    fake_free(f);
}

static void bzimage_32(void **state)
{
    (void)state;
    struct kernel k;
    kernel_bz(&k, 0);
    put(k.bytes + 0x22c, 24 * MIB - 1, 4);
    struct fake *f = run(&k, "auto", 1);
    check_bz(f, &k, BZ_PREF_ADDRESS, 24 * MIB - 8192);
    check_cpu(f, 0, BZ_PREF_ADDRESS, ZERO_PAGE, 0);
    all_are("no page tables", fake_ram(f) + PML4, 0xa5, 4096);
    fake_free(f);
}

static void bzimage_that_is_not_relocatable(void **state)
{
    (void)state;
    struct kernel k;
    kernel_bz(&k, 1);
    put(k.bytes + 0x234, 0, 1);
    struct fake *f = run(&k, "auto", 0);
    check_bz(f, &k, MIB, 0);
    check_cpu(f, 1, MIB + 0x200, ZERO_PAGE, 0);
    fake_free(f);
}

/* pref_address is more than there is RAM: the first aligned address does as well. */
static void bzimage_in_little_memory(void **state)
{
    (void)state;
    struct kernel k;
    kernel_bz(&k, 1);
    put(k.bytes + 0x258, RAM - 2 * MIB, 8);
    struct fake *f = run(&k, "auto", 0);
    check_bz(f, &k, 2 * MIB, 0);
    fake_free(f);
}

/* A signed kernel has bytes behind its code; they are read into memory with it. */
static void bzimage_with_a_signature(void **state)
{
    (void)state;
    struct kernel k;
    kernel_bz(&k, 1);
    put(k.bytes + 0x1f4, BZ_CODE_BYTES / 16 - 92, 4);
    struct fake *f = run(&k, "auto", 0);
    check_bz(f, &k, BZ_PREF_ADDRESS, 0);
    fake_free(f);
}

/* ---- ELF ------------------------------------------------------------------------------------- */

static void check_segments(struct fake *f, const struct kernel *k)
{
    const uint8_t *ram = fake_ram(f);
    same("text", ram + ELF_TEXT_GPA, k->bytes + ELF_TEXT, ELF_TEXT_LEN);
    all_are("bss", ram + ELF_TEXT_GPA + ELF_TEXT_LEN, 0, ELF_TEXT_MEM - ELF_TEXT_LEN);
    all_are("between", ram + ELF_TEXT_GPA + ELF_TEXT_MEM, 0xa5,
            ELF_DATA_GPA - ELF_TEXT_GPA - ELF_TEXT_MEM);
    same("data", ram + ELF_DATA_GPA, k->bytes + ELF_DATA, ELF_DATA_LEN);
    all_are("behind the data", ram + ELF_DATA_GPA + ELF_DATA_LEN, 0xa5, 4096);
    all_are("initrd", ram + RAM - 8192, 0x5a, INITRD_LEN);
}

static void elf_by_the_64_bit_protocol(void **state)
{
    (void)state;
    struct kernel k;
    static const char *const protocol[] = { "auto", "linux64", "linux64" };
    for (int i = 0; i < 3; i++) {
        kernel_elf(&k, 1, i == 2);
        struct fake *f = run(&k, protocol[i], 1);
        uint8_t zp[4096] = { 0 };
        put(zp + 0x1fe, 0xaa55, 2);
        memcpy(zp + 0x202, "HdrS", 4);
        put(zp + 0x206, 0x020c, 2);
        put(zp + 0x230, 0x1000000, 4);
        loader_fields(zp, ELF_TEXT_GPA, RAM - 8192);
        same("zero page", fake_ram(f) + ZERO_PAGE, zp, sizeof zp);
        check_segments(f, &k);
        check_page_tables(f);
        check_cpu(f, 1, ELF_ENTRY, ZERO_PAGE, 0);
        fake_free(f);
    }
}

static void check_start_info(struct fake *f, int initrd)
{
    uint8_t want[56 + 32 + 24 * MAP_COUNT] = { 0 };
    put(want, 0x336ec578, 4);
    put(want + 4, 1, 4);               /* version: with a memory map */
    put(want + 12, initrd ? 1 : 0, 4); /* nr_modules */
    put(want + 16, initrd ? START_INFO + 56 : 0, 8);
    put(want + 24, CMDLINE, 8);
    put(want + 32, RSDP, 8);
    put(want + 40, START_INFO + 56 + 32, 8);
    put(want + 48, MAP_COUNT, 4);
    put(want + 56, initrd ? RAM - 8192 : 0, 8);
    put(want + 64, initrd ? INITRD_LEN : 0, 8);
    for (unsigned i = 0; i < MAP_COUNT; i++) {
        put(want + 88 + 24 * i, memory_map[i].base, 8);
        put(want + 88 + 24 * i + 8, memory_map[i].len, 8);
        put(want + 88 + 24 * i + 16, memory_map[i].type, 4);
    }
    same("start_info", fake_ram(f) + START_INFO, want, sizeof want);
}

static void elf_by_pvh(void **state)
{
    (void)state;
    struct kernel k;
    for (int is64 = 0; is64 < 2; is64++) {
        kernel_elf(&k, is64, 1);
        struct fake *f = run(&k, is64 ? "auto" : "pvh", 1);
        check_segments(f, &k);
        check_start_info(f, 1);
        check_cpu(f, 0, ELF_PVH_ENTRY, 0, START_INFO);
        all_are("no zero page", fake_ram(f) + ZERO_PAGE, 0xa5, 4096);
        fake_free(f);
        f = run(&k, "auto", 0);
        check_start_info(f, 0);
        fake_free(f);
    }
}

/* ---- memory, resets -------------------------------------------------------------------------- */

/* The initrd is at the very end of RAM, whatever RAM there is. */
static void memory_of_any_size(void **state)
{
    (void)state;
    static const uint64_t sizes[] = { 128ull * MIB, 600ull * MIB, 129ull * MIB + 4096,
                                      1024ull * MIB, 3072ull * MIB, 3072ull * MIB - 4096 };
    struct kernel k;
    kernel_bz(&k, 1);
    put(k.bytes + 0x22c, UINT32_MAX, 4);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct fake *f = booted(sizes[i], &k, "auto", 1);
        fake_reset(f);
        assert_int_equal(fake_requests(f, MOBO_VM_FAIL), 0);
        uint32_t at;
        memcpy(&at, fake_ram(f) + ZERO_PAGE + 0x218, 4);
        assert_int_equal(at, sizes[i] - 8192);
        fake_free(f);
    }
}

static void reset_brings_all_of_it_back(void **state)
{
    (void)state;
    struct kernel k;
    kernel_elf(&k, 1, 1);
    struct fake *f = run(&k, "auto", 1);
    uint8_t *before = malloc(RAM);
    assert_non_null(before);
    memcpy(before, fake_ram(f), RAM);
    memset(fake_ram(f), 0xa5, RAM);
    fake_reset(f);
    assert_memory_equal(fake_ram(f), before, RAM);
    check_cpu(f, 0, ELF_PVH_ENTRY, 0, START_INFO);
    free(before);
    fake_free(f);
}

/* Between init and reset somebody cuts the file: the machine ends, and says which file it was. */
static void files_that_shrink(void **state)
{
    (void)state;
    struct kernel k;
    for (int i = 0; i < 3; i++) {
        if (i == 0)
            kernel_bz(&k, 1);
        else
            kernel_elf(&k, 1, 1);
        const char *name = i == 2 ? "initrd" : "kernel";
        struct fake *f = booted(RAM, &k, "auto", 1);
        assert_int_equal(truncate(file_path(name), 4500), 0);
        fake_reset(f);
        assert_int_equal(fake_requests(f, MOBO_VM_FAIL), 1);
        assert_non_null(strstr(fake_failure(f), file_path(name)));
        assert_non_null(strstr(fake_failure(f), "ends at byte 4500"));
        assert_int_equal(fake_maps(f), 0);
        fake_free(f);
    }
}

static int no_map(mobo_obj_t *obj, uint32_t index, mobo_mem_range_t *range)
{
    (void)obj;
    (void)index;
    (void)range;
    return MOBO_ENOMEM;
}

static void a_host_without_a_memory_map(void **state)
{
    (void)state;
    struct kernel k;
    for (int pvh = 0; pvh < 2; pvh++) {
        kernel_elf(&k, 1, pvh);
        struct fake *f = booted(RAM, &k, "auto", 0);
        mobo_obj_t *obj = fake_obj(f, "boot");
        mobo_fw_api_t fw = *obj->host->fw;
        mobo_host_t host = *obj->host;
        fw.memory = no_map;
        host.fw = &fw;
        obj->host = &host;
        fake_reset(f);
        assert_int_equal(fake_requests(f, MOBO_VM_FAIL), 1);
        assert_string_equal(fake_failure(f), "no memory for the memory map");
        fake_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bzimage_64),
        cmocka_unit_test(bzimage_32),
        cmocka_unit_test(bzimage_that_is_not_relocatable),
        cmocka_unit_test(bzimage_in_little_memory),
        cmocka_unit_test(bzimage_with_a_signature),
        cmocka_unit_test(elf_by_the_64_bit_protocol),
        cmocka_unit_test(elf_by_pvh),
        cmocka_unit_test(memory_of_any_size),
        cmocka_unit_test(reset_brings_all_of_it_back),
        cmocka_unit_test(files_that_shrink),
        cmocka_unit_test(a_host_without_a_memory_map),
    };
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
