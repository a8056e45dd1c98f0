/*
 * bzimage.c: the bzImage format: the setup header, where the protected-mode kernel goes, and by
 * which protocol it is entered. Linux, Documentation/arch/x86/boot.rst.
 */
#include "boot.h"

/* Offsets in the file, which are those in struct boot_params. */
enum {
    HDR_SETUP_SECTS = 0x1f1,
    HDR_SYSSIZE = 0x1f4, /* the protected-mode code in units of 16 bytes */
    HDR_BOOT_FLAG = 0x1fe,
    HDR_JUMP = 0x200, /* the second byte says where the header ends */
    HDR_MAGIC = 0x202,
    HDR_VERSION = 0x206,
    HDR_LOADFLAGS = 0x211,
    HDR_INITRD_MAX = 0x22c,
    HDR_ALIGNMENT = 0x230,
    HDR_RELOCATABLE = 0x234,
    HDR_XLOADFLAGS = 0x236,
    HDR_CMDLINE_SIZE = 0x238,
    HDR_PREF_ADDRESS = 0x258,
    HDR_INIT_SIZE = 0x260,
    HDR_END = 0x264,
};
enum { LOADED_HIGH = 1, XLF_KERNEL_64 = 1 };

static uint64_t le(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = bytes; i--;)
        v = v << 8 | p[i];
    return v;
}

int bzimage_plan(struct boot *b, struct plan *plan)
{
    uint8_t head[SETUP_HEADER_OFF + SETUP_HEADER_MAX];
    const struct image *img = &b->kernel_image;
    if (img->len < sizeof head)
        return 1;
    int rc = image_read(b->obj, img, 0, head, sizeof head);
    if (rc)
        return rc;
    if (memcmp(head + HDR_MAGIC, "HdrS", 4) || le(head + HDR_BOOT_FLAG, 2) != 0xaa55)
        return 1;

    uint64_t version = le(head + HDR_VERSION, 2);
    if (version < 0x0206)
        return mobo_fail(b->obj, "kernel %s speaks boot protocol %llu.%02llu; 2.06 or newer is needed",
                         b->kernel, (unsigned long long)(version >> 8),
                         (unsigned long long)(version & 0xff));
    if (!(head[HDR_LOADFLAGS] & LOADED_HIGH))
        return mobo_fail(b->obj, "kernel %s is a zImage, made for low memory; a bzImage is needed",
                         b->kernel);
    uint64_t sects = head[HDR_SETUP_SECTS] ? head[HDR_SETUP_SECTS] : 4;
    uint64_t off = (sects + 1) * 512;
    if (off >= img->len)
        return mobo_fail(b->obj, "kernel %s is cut off: its setup alone takes %llu of %llu bytes",
                         b->kernel, (unsigned long long)off, (unsigned long long)img->len);

    uint64_t load = ADDR_HIGH, size = img->len - off;
    bool is64 = version >= 0x020c && (le(head + HDR_XLOADFLAGS, 2) & XLF_KERNEL_64);
    uint64_t entry = is64 ? 0x200 : 0; /* boot.rst, "64-bit Boot Protocol" */
    uint64_t mem = size, code = le(head + HDR_SYSSIZE, 4) * 16;
    if (code <= entry)
        code = entry + 1;
    if (code > size) /* a signature may follow the code, so that it may be less */
        return mobo_fail(b->obj, "kernel %s is cut off: it needs %llu bytes of code and has %llu",
                         b->kernel, (unsigned long long)code, (unsigned long long)size);
    if (version >= 0x020a) {
        if (head[HDR_RELOCATABLE] && le(head + HDR_PREF_ADDRESS, 8) > load)
            load = le(head + HDR_PREF_ADDRESS, 8);
        if (le(head + HDR_INIT_SIZE, 4) > mem)
            mem = le(head + HDR_INIT_SIZE, 4);
    } else if (mem < UINT64_MAX / 4) {
        mem *= 4; /* old kernels do not tell what they unpack to */
    }
    if (load > b->low_ram || mem > b->low_ram - load) {
        /* Little memory: a relocatable kernel also runs from the first aligned address. */
        uint64_t align = le(head + HDR_ALIGNMENT, 4);
        if (version >= 0x020a && head[HDR_RELOCATABLE] && align >= ADDR_HIGH && align < load)
            load = align;
        if (load > b->low_ram || mem > b->low_ram - load)
            return mobo_fail(b->obj,
                             "kernel %s needs %llu MiB from 0x%llx on, and RAM from 0 on ends at "
                             "%llu MiB; set memory in [machine]",
                             b->kernel, (unsigned long long)((mem + 0xfffff) >> 20),
                             (unsigned long long)load, (unsigned long long)(b->low_ram >> 20));
    }
    plan->entry = is64 ? ENTRY_LINUX64 : ENTRY_LINUX32;
    plan->start = load + entry;
    plan->low = load;
    plan->high = load + mem;
    plan->initrd_max = le(head + HDR_INITRD_MAX, 4);
    plan->cmdline_max = le(head + HDR_CMDLINE_SIZE, 4);
    if (!plan->cmdline_max)
        plan->cmdline_max = 255; /* boot.rst: protocol before 2.06 */
    plan->segment_count = 1;
    /* Only the file's bytes are written: what init_size adds is the kernel's own to clear. */
    plan->segment[0] = (struct segment){ .off = off, .file_len = size, .gpa = load, .mem_len = size };
    uint32_t end = HDR_MAGIC + head[HDR_JUMP + 1];
    if (end < HDR_END && version >= 0x020a)
        end = HDR_END;
    if (end > sizeof head)
        end = sizeof head;
    plan->setup_len = end - SETUP_HEADER_OFF;
    memcpy(plan->setup, head + SETUP_HEADER_OFF, plan->setup_len);
    return 0;
}
