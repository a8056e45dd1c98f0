/*
 * kernels.h: small kernel files for the tests of boot-linux: headers and a pattern of bytes. They
 * cannot run.
 */
#ifndef KERNELS_H
#define KERNELS_H

#include "fakehost.h" /* before cmocka.h, whose macro fail() would hit a member of that name */

#include <setjmp.h>

#include <cmocka.h>

enum { MIB = 1 << 20 };

enum {
    BZ_SETUP_BYTES = 5 * 512, /* setup_sects is 4 */
    BZ_CODE_BYTES = 8192,
    BZ_INIT_SIZE = 3 * MIB,
    BZ_PREF_ADDRESS = 16 * MIB,
};

/* Where things are in the ELF files. */
enum {
    ELF64_PHDR = 64,      /* a PT_LOAD, a PT_NOTE and a second PT_LOAD */
    ELF32_PHDR = 52,
    ELF_NOTE = 0x200,     /* a note of somebody else's, then the PVH one */
    ELF_NOTE_LEN = 16 + 4 + 12 + 4 + 8,
    ELF_NOTE_PVH = ELF_NOTE + 20,
    ELF_TEXT = 0x1000,
    ELF_TEXT_LEN = 0x1800,
    ELF_TEXT_MEM = 0x3000, /* with its bss */
    ELF_DATA = 0x3000,
    ELF_DATA_LEN = 0x123,
    ELF_LEN = 0x4000,
    ELF_TEXT_GPA = 0x1000000,
    ELF_DATA_GPA = 0x1010000,
    ELF_ENTRY = ELF_TEXT_GPA + 0x40,
    ELF_PVH_ENTRY = ELF_TEXT_GPA + 0x80,
};

struct kernel {
    uint32_t len;
    uint8_t bytes[0x5000];
};

void put(void *to, uint64_t val, unsigned bytes);
void kernel_bz(struct kernel *k, int is64);          /* boot protocol 2.15, relocatable */
void kernel_elf(struct kernel *k, int is64, int pvh);

/* Files in a folder of this process; the name stays valid. */
const char *file_of(const char *name, const void *bytes, uint64_t len);
const char *file_path(const char *name);
int files_setup(void **state);
int files_teardown(void **state);

#endif
