/*
 * test-bad-kernels.c: kernel files, initrds and command lines that cannot be booted. Each one is an
 * error of init with a message that says what is wrong; none gets as far as guest memory.
 */
#include "kernels.h"

#include <sys/stat.h>
#include <unistd.h>

enum { RAM = 32 * MIB };
#define ALL UINT32_MAX
enum kind { BZ64, BZ32, ELF64, ELF32, ELF64_PVH, ELF32_PVH, KINDS };

static void make(struct kernel *k, enum kind kind)
{
    if (kind == BZ64 || kind == BZ32)
        kernel_bz(k, kind == BZ64);
    else
        kernel_elf(k, kind == ELF64 || kind == ELF64_PVH, kind == ELF64_PVH || kind == ELF32_PVH);
}

/* Build the object; the message of its refusal, or NULL if it took the kernel. */
static const char *refusal(uint64_t ram, const char *const *settings)
{
    static char text[512];
    struct fake *f = fake_new(ram, 1);
    const mobo_class_t *c = fake_class(PLUGINS "/boot-linux.so", "linux");
    int taken = fake_add(f, "boot", c, settings) != NULL;
    (void)snprintf(text, sizeof text, "%s", fake_failure(f));
    if (fake_maps(f))
        fail_msg("%u pieces of guest memory are not given back", fake_maps(f));
    fake_free(f);
    return taken ? NULL : text;
}

static void expect(const char *what, const char *got, const char *want)
{
    if (!got)
        fail_msg("%s: it was accepted", what);
    else if (!strstr(got, want))
        fail_msg("%s: \"%s\" does not say \"%s\"", what, got, want);
}

static char kernel_key[160];

static const char *kernel_is(const struct kernel *k)
{
    (void)snprintf(kernel_key, sizeof kernel_key, "kernel=%s", file_of("kernel", k->bytes, k->len));
    return kernel_key;
}

struct poke {
    uint32_t off, bytes;
    uint64_t val;
};
struct damage {
    const char *what;
    enum kind kind;
    struct poke poke[3];
    const char *want, *protocol;
    uint64_t ram;
};

/* ph64(n, field): the field of program header n; likewise 32. */
#define PH64(n, field) (ELF64_PHDR + 56 * (n) + (field))
enum { TYPE = 0, OFF = 8, PADDR = 24, FILESZ = 32, MEMSZ = 40 };

static const struct damage damages[] = {
    { "setup larger than the file", BZ64, { { 0x1f1, 1, 255 } }, .want = "cut off" },
    { "setup that ends with the file", BZ64, { { 0x1f1, 1, 20 }, { 0x1f4, 4, 0 } },
      .want = "cut off" },
    { "more code announced than there is", BZ64, { { 0x1f4, 4, BZ_CODE_BYTES / 16 + 1 } },
      .want = "cut off" },
    { "any amount of code announced", BZ64, { { 0x1f4, 4, ALL } }, .want = "cut off" },
    { "an entry behind the code", BZ64, { { 0x1f1, 1, 19 }, { 0x1f4, 4, 0 } },
      .want = "cut off" },
    { "no boot flag", BZ64, { { 0x1fe, 2, 0 } }, .want = "neither" },
    { "no HdrS", BZ64, { { 0x202, 1, 'h' } }, .want = "neither" },
    { "an old boot protocol", BZ64, { { 0x206, 2, 0x0205 } }, .want = "2.05" },
    { "a zImage", BZ64, { { 0x211, 1, 0 } }, .want = "zImage" },
    { "init_size 2^32 - 1", BZ64, { { 0x260, 4, ALL } }, .want = "4096 MiB" },
    { "init_size 2^32 - 1, 32 bits", BZ32, { { 0x260, 4, ALL } }, .want = "set memory" },
    { "init_size one page too large", BZ64, { { 0x260, 4, RAM - 2 * MIB + 4096 } },
      .want = "set memory" },
    { "pref_address beyond RAM, odd alignment", BZ64,
      { { 0x258, 8, RAM }, { 0x230, 4, 4096 } }, .want = "set memory" },
    { "pref_address 2^64 - 1", BZ64, { { 0x258, 8, UINT64_MAX }, { 0x230, 4, 0 } },
      .want = "0xffffffffffffffff" },
    { "pref_address where the sum wraps", BZ64,
      { { 0x258, 8, (uint64_t)-BZ_INIT_SIZE }, { 0x230, 4, 0 } }, .want = "set memory" },
    { "RAM below 1 MiB", BZ64, { { 0 } }, .want = "set memory", .ram = 512 * 1024 },
    { "linux64 for a bzImage", BZ64, { { 0 } }, .want = "no ELF", .protocol = "linux64" },
    { "pvh for a bzImage", BZ32, { { 0 } },
      .want = "no ELF", .protocol = "pvh" },
    { "bzimage for an ELF file", ELF64, { { 0 } }, .want = "neither", .protocol = "bzimage" },
    { "class 9", ELF64, { { 4, 1, 9 } }, .want = "class 9" },
    { "big endian", ELF64, { { 5, 1, 2 } }, .want = "byte order 2" },
    { "arm64", ELF64, { { 18, 2, 183 } }, .want = "machine 183" },
    { "x86-64 in a 32-bit file", ELF32_PVH, { { 18, 2, 62 } }, .want = "machine 62" },
    { "no program headers", ELF64, { { 56, 2, 0 } }, .want = "0 program headers" },
    { "65535 program headers", ELF64, { { 56, 2, 65535 } }, .want = "65535 program headers" },
    { "program headers of 1 byte", ELF64, { { 54, 2, 1 } }, .want = "program headers have 1 " },
    { "program headers of 64 bits", ELF32_PVH, { { 42, 2, 56 } },
      .want = "program headers have 56 " },
    { "e_phoff 2^64 - 1", ELF64, { { 32, 8, UINT64_MAX } }, .want = "cut off" },
    { "e_phoff 2^64 - 64", ELF64, { { 32, 8, UINT64_MAX - 63 } }, .want = "cut off" },
    { "e_phoff 2^63 - 1", ELF64, { { 32, 8, INT64_MAX } }, .want = "cut off" },
    { "e_phoff at the end", ELF64, { { 32, 8, ELF_LEN } }, .want = "cut off" },
    { "e_phoff just before the end", ELF64, { { 32, 8, ELF_LEN - 60 } }, .want = "cut off" },
    { "e_phoff 2^32 - 1", ELF32_PVH, { { 28, 4, ALL } }, .want = "cut off" },
    { "p_offset 2^64 - 1", ELF64, { { PH64(0, OFF), 8, UINT64_MAX } }, .want = "cut off" },
    { "p_offset + p_filesz wraps", ELF64,
      { { PH64(0, OFF), 8, UINT64_MAX - 0xfff }, { PH64(0, FILESZ), 8, 0x1000 } },
      .want = "cut off" },
    { "p_filesz 2^64 - 1", ELF64,
      { { PH64(0, FILESZ), 8, UINT64_MAX }, { PH64(0, MEMSZ), 8, UINT64_MAX } },
      .want = "cut off" },
    { "p_filesz above p_memsz", ELF64, { { PH64(0, FILESZ), 8, ELF_TEXT_MEM + 1 } },
      .want = "damaged" },
    { "p_paddr in low memory", ELF64, { { PH64(0, PADDR), 8, 0x8000 } }, .want = "0x8000+" },
    { "p_paddr one below 1 MiB", ELF64, { { PH64(0, PADDR), 8, MIB - 1 } }, .want = "0xfffff+" },
    { "p_paddr beyond RAM", ELF64, { { PH64(0, PADDR), 8, RAM } }, .want = "RAM is" },
    { "the second p_paddr beyond RAM", ELF64_PVH, { { PH64(2, PADDR), 8, RAM - 1 } },
      .want = "RAM is" },
    { "p_paddr 2^64 - 1", ELF64, { { PH64(0, PADDR), 8, UINT64_MAX } }, .want = "RAM is" },
    { "p_paddr + p_memsz wraps", ELF64,
      { { PH64(0, PADDR), 8, (uint64_t)-0x1000 } }, .want = "RAM is" },
    { "p_memsz 2^64 - 1", ELF64, { { PH64(0, MEMSZ), 8, UINT64_MAX } }, .want = "RAM is" },
    { "nothing to load", ELF64, { { PH64(0, TYPE), 4, 0 }, { PH64(2, TYPE), 4, 0 } },
      .want = "nothing to load" },
    { "segments of no size", ELF64,
      { { PH64(0, MEMSZ), 8, 0 }, { PH64(2, MEMSZ), 8, 0 } }, .want = "nothing to load" },
    { "e_entry outside", ELF64, { { 24, 8, ELF_DATA_GPA + ELF_DATA_LEN } }, .want = "entry point" },
    { "e_entry below", ELF64, { { 24, 8, ELF_TEXT_GPA - 1 } }, .want = "entry point" },
    { "the PVH entry outside", ELF64_PVH, { { ELF_NOTE_PVH + 16, 4, 0x2000 } },
      .want = "entry point" },
    { "32 bits without a note", ELF32, { { 0 } }, .want = "without a PVH" },
    { "32 bits with linux64", ELF32_PVH, { { 0 } }, .want = "32-bit ELF", .protocol = "linux64" },
    { "no note", ELF64, { { 0 } },
      .want = "no PVH", .protocol = "pvh" },
    { "n_namesz 2^32 - 1", ELF64_PVH, { { ELF_NOTE, 4, ALL } },
      .want = "no PVH", .protocol = "pvh" },
    { "n_descsz 2^32 - 1", ELF64_PVH, { { ELF_NOTE_PVH + 4, 4, ALL } },
      .want = "no PVH", .protocol = "pvh" },
    { "n_descsz behind the end", ELF64_PVH, { { ELF_NOTE_PVH + 4, 4, 12 } },
      .want = "no PVH", .protocol = "pvh" },
    { "n_descsz 3", ELF64_PVH, { { ELF_NOTE_PVH + 4, 4, 3 } },
      .want = "no PVH", .protocol = "pvh" },
    { "a name that is not Xen", ELF64_PVH, { { ELF_NOTE_PVH + 12, 4, 0 } },
      .want = "no PVH", .protocol = "pvh" },
    { "notes of 2^64 - 1 bytes", ELF64_PVH, { { PH64(1, FILESZ), 8, UINT64_MAX } },
      .want = "no PVH", .protocol = "pvh" },
    { "notes behind the file", ELF64_PVH, { { PH64(1, OFF), 8, UINT64_MAX - 8 } },
      .want = "no PVH", .protocol = "pvh" },
    { "notes of no size", ELF64_PVH, { { PH64(1, FILESZ), 8, 0 } },
      .want = "no PVH", .protocol = "pvh" },
};

static void damaged_kernels_are_refused(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof damages / sizeof *damages; i++) {
        const struct damage *d = &damages[i];
        struct kernel k;
        make(&k, d->kind);
        for (unsigned j = 0; j < 3; j++)
            put(k.bytes + d->poke[j].off, d->poke[j].val, d->poke[j].bytes);
        char protocol[32];
        (void)snprintf(protocol, sizeof protocol, "protocol=%s",
                       d->protocol ? d->protocol : "auto");
        const char *const settings[] = { kernel_is(&k), protocol, NULL };
        expect(d->what, refusal(d->ram ? d->ram : RAM, settings), d->want);
    }
}

/* At every length, with every protocol that could take it. */
static void cut_kernels_are_refused(void **state)
{
    (void)state;
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct kernel k;
        make(&k, kind);
        /* In an ELF file nobody misses what lies behind the last segment. */
        uint32_t whole = kind <= BZ32 ? k.len : ELF_DATA + ELF_DATA_LEN;
        for (uint32_t len = 0; len < whole; len += len < 0x300 ? 3 : 127) {
            k.len = len;
            char what[64];
            (void)snprintf(what, sizeof what, "kind %d cut at %u", (int)kind, len);
            const char *const settings[] = { kernel_is(&k), NULL };
            const char *want = !len          ? "is empty"
                               : len < 64    ? "neither"
                               : kind > BZ32 ? "cut off"
                               : len < 0x290 ? "neither"
                                             : "cut off";
            expect(what, refusal(RAM, settings), want);
        }
    }
}

static void too_many_segments(void **state)
{
    (void)state;
    struct kernel k;
    kernel_elf(&k, 1, 0);
    uint8_t first[56];
    memcpy(first, k.bytes + ELF64_PHDR, sizeof first);
    for (unsigned i = 0; i < 17; i++)
        memcpy(k.bytes + 0x400 + 56 * i, first, sizeof first);
    put(k.bytes + 32, 0x400, 8);
    put(k.bytes + 56, 16, 2);
    const char *const settings[] = { kernel_is(&k), NULL };
    assert_null(refusal(RAM, settings));
    put(k.bytes + 56, 17, 2);
    expect("17 segments", refusal(RAM, (const char *const[]){ kernel_is(&k), NULL }),
           "more than 16 segments");
}

static void files_that_are_none(void **state)
{
    (void)state;
    char key[160];
    const char *const settings[] = { key, NULL };
    (void)snprintf(key, sizeof key, "kernel=%s", file_path("nothing"));
    expect("absent", refusal(RAM, settings), "No such file");
    (void)snprintf(key, sizeof key, "kernel=%s", file_path("."));
    expect("a directory", refusal(RAM, settings), "not a regular file");
    const char *fifo = file_path("fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    (void)snprintf(key, sizeof key, "kernel=%s", fifo);
    expect("a FIFO", refusal(RAM, settings), "not a regular file");
    expect("a device", refusal(RAM, (const char *const[]){ "kernel=/dev/zero", NULL }),
           "not a regular file");
}

static void initrds_that_do_not_fit(void **state)
{
    (void)state;
    struct kernel k;
    char key[160];
    kernel_bz(&k, 1);
    const char *const settings[] = { kernel_is(&k), key, NULL };
    (void)snprintf(key, sizeof key, "initrd=%s", file_of("initrd", "", 0));
    expect("an empty initrd", refusal(RAM, settings), "is empty");
    (void)snprintf(key, sizeof key, "initrd=%s", file_path("."));
    expect("a directory", refusal(RAM, settings), "not a regular file");

    const char *path = file_of("initrd", "x", 1);
    (void)snprintf(key, sizeof key, "initrd=%s", path);
    assert_null(refusal(RAM, settings));
    /* The room between the kernel's end and the end of RAM, and one byte more. */
    off_t room = RAM - BZ_PREF_ADDRESS - BZ_INIT_SIZE;
    assert_int_equal(truncate(path, room), 0);
    assert_null(refusal(RAM, settings));
    assert_int_equal(truncate(path, room + 1), 0);
    expect("one byte too much", refusal(RAM, settings), "does not fit");
    assert_int_equal(truncate(path, (off_t)RAM * 4), 0);
    expect("larger than RAM", refusal(RAM, settings), "does not fit");
    assert_int_equal(truncate(path, INT64_MAX >> 20), 0);
    expect("8 TiB", refusal(RAM, settings), "does not fit");

    assert_int_equal(truncate(path, 4096), 0);
    static const uint32_t max[] = { 1, 4095, MIB, BZ_PREF_ADDRESS + BZ_INIT_SIZE + 4094 };
    for (unsigned i = 0; i < sizeof max / sizeof *max; i++) {
        put(k.bytes + 0x22c, max[i], 4);
        (void)kernel_is(&k);
        expect("a low initrd_addr_max", refusal(RAM, settings), "does not fit");
    }
    put(k.bytes + 0x22c, BZ_PREF_ADDRESS + BZ_INIT_SIZE + 4095, 4);
    (void)kernel_is(&k);
    assert_null(refusal(RAM, settings));
}

static void command_lines_that_are_too_long(void **state)
{
    (void)state;
    static char line[70000] = "cmdline=";
    static const struct {
        enum kind kind;
        uint32_t cmdline_size, max;
    } table[] = {
        { BZ64, 2047, 2047 }, { BZ64, 5, 5 }, { BZ64, 0, 255 }, { BZ64, ALL, 65535 },
        { ELF64, 0, 2047 },   { ELF64_PVH, 0, 2047 },
    };
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        struct kernel k;
        make(&k, table[i].kind);
        if (table[i].kind == BZ64)
            put(k.bytes + 0x238, table[i].cmdline_size, 4);
        const char *const settings[] = { kernel_is(&k), line, NULL };
        memset(line + 8, 'a', table[i].max + 1);
        line[8 + table[i].max] = 0;
        assert_null(refusal(RAM, settings));
        line[8 + table[i].max] = 'a';
        line[9 + table[i].max] = 0;
        expect("a long line", refusal(RAM, settings), "this kernel takes");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_kernels_are_refused),
        cmocka_unit_test(cut_kernels_are_refused),
        cmocka_unit_test(too_many_segments),
        cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(initrds_that_do_not_fit),
        cmocka_unit_test(command_lines_that_are_too_long),
    };
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
