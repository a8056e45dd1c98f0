/* kernels.c: see kernels.h. Offsets: Linux, Documentation/arch/x86/boot.rst; System V ABI, ELF. */
#include "kernels.h"

#include <stdlib.h>

static char folder[64];

void put(void *to, uint64_t val, unsigned bytes)
{
    uint8_t *p = to;
    for (unsigned i = 0; i < bytes; i++, val >>= 8)
        p[i] = (uint8_t)val;
}

/* No two pages alike. */
static void pattern(struct kernel *k, uint32_t off, uint32_t len)
{
    for (uint32_t i = off; i < off + len; i++)
        k->bytes[i] = (uint8_t)(i * 7 + i / 251 + 1);
}

void kernel_bz(struct kernel *k, int is64)
{
    memset(k, 0, sizeof *k);
    k->len = BZ_SETUP_BYTES + BZ_CODE_BYTES;
    pattern(k, BZ_SETUP_BYTES, BZ_CODE_BYTES);
    uint8_t *p = k->bytes;
    put(p + 0x1f1, BZ_SETUP_BYTES / 512 - 1, 1);
    put(p + 0x1f4, BZ_CODE_BYTES / 16, 4);
    put(p + 0x1fa, 0xffff, 2);              /* vid_mode */
    put(p + 0x1fe, 0xaa55, 2);
    put(p + 0x200, 0x6aeb, 2);              /* jump over the header, which ends at 0x26c */
    memcpy(p + 0x202, "HdrS", 4);
    put(p + 0x206, 0x020f, 2);
    put(p + 0x211, 0x01, 1);                /* LOADED_HIGH */
    put(p + 0x214, 0x100000, 4);
    put(p + 0x22c, 0x7fffffff, 4);          /* initrd_addr_max */
    put(p + 0x230, 2 * MIB, 4);             /* kernel_alignment */
    put(p + 0x234, 1, 1);                   /* relocatable */
    put(p + 0x235, 21, 1);                  /* min_alignment */
    put(p + 0x236, is64 ? 0x3f : 0, 2);     /* xloadflags */
    put(p + 0x238, 2047, 4);                /* cmdline_size */
    put(p + 0x258, BZ_PREF_ADDRESS, 8);
    put(p + 0x260, BZ_INIT_SIZE, 4);
    put(p + 0x264, 0x190, 4);               /* handover_offset */
    put(p + 0x268, 0x1234, 4);              /* kernel_info_offset */
    put(p + 0x26c, 0xcccc, 2);              /* behind the header: code */
}

static void phdr(uint8_t *p, int is64, const uint64_t f[5])
{
    enum { TYPE, OFF, PADDR, FILESZ, MEMSZ };
    static const uint8_t at[2][5] = { { 0, 4, 12, 16, 20 }, { 0, 8, 24, 32, 40 } };
    for (int i = TYPE; i <= MEMSZ; i++)
        put(p + at[is64][i], f[i], i == TYPE || !is64 ? 4 : 8);
}

void kernel_elf(struct kernel *k, int is64, int pvh)
{
    static const uint64_t segments[3][5] = {
        { 1, ELF_TEXT, ELF_TEXT_GPA, ELF_TEXT_LEN, ELF_TEXT_MEM },
        { 4, ELF_NOTE, 0, ELF_NOTE_LEN, ELF_NOTE_LEN },
        { 1, ELF_DATA, ELF_DATA_GPA, ELF_DATA_LEN, ELF_DATA_LEN },
    };
    memset(k, 0, sizeof *k);
    k->len = ELF_LEN;
    pattern(k, ELF_TEXT, ELF_LEN - ELF_TEXT);
    uint8_t *p = k->bytes;
    memcpy(p, "\177ELF", 4);
    put(p + 4, is64 ? 2 : 1, 1);
    put(p + 5, 1, 1);
    put(p + 6, 1, 1);
    put(p + 16, 2, 2);
    put(p + 18, is64 ? 62 : 3, 2);
    put(p + 20, 1, 4);
    put(p + 24, ELF_ENTRY, is64 ? 8 : 4);
    put(p + (is64 ? 32 : 28), is64 ? ELF64_PHDR : ELF32_PHDR, is64 ? 8 : 4);
    put(p + (is64 ? 54 : 42), is64 ? 56 : 32, 2);
    put(p + (is64 ? 56 : 44), 3, 2);
    for (unsigned i = 0; i < 3; i++)
        phdr(p + (is64 ? ELF64_PHDR + 56 * i : ELF32_PHDR + 32 * i), is64, segments[i]);
    uint8_t *n = p + ELF_NOTE;
    put(n, 2, 4);
    put(n + 4, 1, 4);
    put(n + 8, 18, 4);       /* the same number under another name means nothing */
    memcpy(n + 12, "Ab", 3);
    put(n + 16, 0xff, 4);
    put(n + 20, 4, 4);
    put(n + 24, 8, 4);
    put(n + 28, pvh ? 18 : 6, 4);
    memcpy(n + 32, "Xen", 4);
    put(n + 36, ELF_PVH_ENTRY, 8);
}

const char *file_path(const char *name)
{
    static char path[8][128];
    static unsigned next;
    char *p = path[next++ % 8];
    (void)snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

const char *file_of(const char *name, const void *bytes, uint64_t len)
{
    const char *path = file_path(name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    return path;
}

int files_setup(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/mobo-kernels-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

int files_teardown(void **state)
{
    (void)state;
    char command[96];
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}
