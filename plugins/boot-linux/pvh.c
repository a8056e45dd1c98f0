/*
 * pvh.c: the PVH direct boot: hvm_start_info and its lists, then the 32-bit entry with EBX pointing
 * there. Xen, xen/include/public/arch-x86/hvm/start_info.h (version 1) and docs/misc/pvh.pandoc.
 */
#include "boot.h"

enum { MEMMAP_MAX = 128 };
#define PVH_MAGIC 0x336ec578u

struct start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist, cmdline, rsdp, memmap;
    uint32_t memmap_entries, reserved;
};
struct module {
    uint64_t paddr, size, cmdline, reserved;
};
struct memmap_entry {
    uint64_t addr, size;
    uint32_t type, reserved; /* the numbers of e820, which MOBO_MEM_... are */
};

/* The three follow one another from ADDR_START_INFO on. */
struct pvh_block {
    struct start_info info;
    struct module initrd;
    struct memmap_entry map[MEMMAP_MAX];
};
_Static_assert(sizeof(struct pvh_block) <= ADDR_ZERO_PAGE - ADDR_START_INFO, "fits below 0x7000");
_Static_assert(sizeof(struct start_info) == 56 && sizeof(struct memmap_entry) == 24, "as in Xen");

int pvh_start(struct boot *b)
{
    struct pvh_block p;
    memset(&p, 0, sizeof p);
    p.info.magic = PVH_MAGIC;
    p.info.version = 1;
    p.info.cmdline = ADDR_CMDLINE;
    if (b->initrd_image.len) {
        p.info.nr_modules = 1;
        p.info.modlist = ADDR_START_INFO + offsetof(struct pvh_block, initrd);
        p.initrd.paddr = b->initrd_gpa;
        p.initrd.size = b->initrd_image.len;
    }
    if (b->acpi.ops)
        p.info.rsdp = mobo_acpi_rsdp(b->acpi);
    p.info.memmap = ADDR_START_INFO + offsetof(struct pvh_block, map);
    mobo_mem_range_t range[MEMMAP_MAX];
    int n = memory_map(b, range, MEMMAP_MAX);
    if (n < 0)
        return n;
    for (int i = 0; i < n; i++)
        p.map[i] = (struct memmap_entry){ .addr = range[i].base, .size = range[i].len,
                                          .type = range[i].kind };
    p.info.memmap_entries = (uint32_t)n;
    int rc = guest_write(b, ADDR_START_INFO, &p, sizeof p);
    return rc ? rc : regs_set(b, ENTRY_PVH, b->plan.start, 0, ADDR_START_INFO);
}
