/*
 * boot.h: what the parts of boot-linux share: the object, the plan for a kernel that was recognised,
 * and where the small tables lie in low memory.
 */
#ifndef BOOT_LINUX_BOOT_H
#define BOOT_LINUX_BOOT_H

#include <mobo/arch/x86.h>
#include <mobo/firmware.h>
#include <mobo/plugin.h>

#include <stdbool.h>

/*
 * Low memory below the EBDA is free at this point: real-mode structures that firmware would have
 * left there do not exist. 0..0xfff stays zero (the interrupt vectors of a BIOS).
 */
enum {
    ADDR_START_INFO = 0x6000, /* PVH: hvm_start_info, module list, memory map */
    ADDR_ZERO_PAGE = 0x7000,  /* struct boot_params */
    ADDR_GDT = 0x8000,
    ADDR_PAGE_TABLES = 0x9000, /* PML4, PDPT and four page directories: 24 KiB */
    ADDR_CMDLINE = 0x20000,
    CMDLINE_MAX = 0x10000,
    ADDR_EBDA = 0x9fc00,
    ADDR_HIGH = 0x100000,
};

enum { SEL_CODE = 0x10, SEL_DATA = 0x18, SEL_TSS = 0x20 }; /* boot.rst: __BOOT_CS, __BOOT_DS */

/* A file on the host that will be read into the guest. */
struct image {
    int fd;
    uint64_t len;
    const char *path;
};

enum protocol { PROTO_AUTO, PROTO_BZIMAGE, PROTO_LINUX64, PROTO_PVH };
enum entry { ENTRY_LINUX64, ENTRY_LINUX32, ENTRY_PVH };

enum { SEGMENTS_MAX = 16, SETUP_HEADER_OFF = 0x1f1, SETUP_HEADER_MAX = 0x290 - 0x1f1 };

/* What init learnt about the kernel, and what reset does. */
struct plan {
    enum entry entry;
    uint64_t start;             /* guest-physical entry point */
    uint64_t low, high;         /* guest memory the kernel takes, its bss and workspace included */
    uint64_t initrd_max;        /* the highest address an initrd byte may have */
    uint64_t cmdline_max;       /* bytes without the terminator */
    unsigned segment_count;
    struct segment {
        uint64_t off, file_len, gpa, mem_len;
    } segment[SEGMENTS_MAX];
    uint8_t setup[SETUP_HEADER_MAX]; /* bzImage: the setup header as it stands in the file */
    uint32_t setup_len;              /* 0: none (ELF) */
};

struct boot {
    mobo_obj_t *obj;
    const char *kernel, *initrd, *cmdline;
    uint32_t protocol;
    mobo_acpi_t acpi;
    struct image kernel_image, initrd_image;
    struct plan plan;
    uint64_t initrd_gpa;
    uint64_t low_ram;           /* RAM from 0 up to here without a hole */
};

/* image.c; a file that has become shorter since image_open is an error that names it. */
int image_open(mobo_obj_t *obj, const char *what, const char *path, struct image *img);
void image_close(struct image *img);
int image_read(mobo_obj_t *obj, const struct image *img, uint64_t off, void *buf, uint64_t len);
/* Copy LEN bytes at OFF of the file to guest memory at GPA, then zeros up to mem_len. */
int image_load(mobo_obj_t *obj, const struct image *img, uint64_t off, uint64_t len, uint64_t gpa,
               uint64_t mem_len);

/* The formats: 0 and *plan filled, 1 not this format, negative an error with its message. */
int bzimage_plan(struct boot *b, struct plan *plan);
int elf_plan(struct boot *b, struct plan *plan);

/* params.c, pvh.c: write the tables for the entry and set the registers of CPU 0. */
int params_linux(struct boot *b);
int pvh_start(struct boot *b);
int regs_set(struct boot *b, enum entry entry, uint64_t rip, uint64_t rsi, uint64_t rbx);
int guest_write(struct boot *b, uint64_t gpa, const void *buf, uint64_t len);
/* The memory map, at most MAX ranges of it: how many, or a negative error with its message. */
int memory_map(struct boot *b, mobo_mem_range_t *range, int max);

#endif
