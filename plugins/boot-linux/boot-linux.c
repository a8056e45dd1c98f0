/*
 * boot-linux.c: the class: reads what the kernel file is when the machine is built, and puts it into
 * the guest at each reset. The formats and protocols are in the other files.
 */
#include "boot.h"

#include <mobo/plugin.h>

/* RAM from address 0 to its first hole. The map still shows all RAM: nothing is reserved yet. */
static uint64_t low_ram(mobo_obj_t *obj)
{
    uint64_t end = 0;
    uint8_t byte;
    /* Doubling, then bisecting, page by page: the map knows RAM only by its ends. */
    for (uint64_t step = 1ull << 31; step >= 4096; step >>= 1)
        if (!mobo_dma_read(obj, end + step - 1, &byte, 1))
            end += step;
    return end;
}

static int place_initrd(struct boot *b)
{
    struct plan *plan = &b->plan;
    uint64_t top = b->low_ram;
    if (plan->initrd_max && plan->initrd_max < top)
        top = (plan->initrd_max + 1) & ~4095ull;
    uint64_t need = (b->initrd_image.len + 4095) & ~4095ull;
    if (need > top || top - need < plan->high)
        return mobo_fail(b->obj,
                         "initrd %s (%llu MiB) does not fit between the kernel's end at %llu MiB and "
                         "%llu MiB; set memory in [machine]", b->initrd,
                         (unsigned long long)(need >> 20), (unsigned long long)(plan->high >> 20),
                         (unsigned long long)(top >> 20));
    b->initrd_gpa = top - need;
    return 0;
}

static int check_cmdline(struct boot *b)
{
    uint64_t len = strlen(b->cmdline), max = b->plan.cmdline_max;
    if (max > CMDLINE_MAX - 1)
        max = CMDLINE_MAX - 1;
    if (len > max)
        return mobo_fail(b->obj, "cmdline has %llu bytes; this kernel takes %llu",
                         (unsigned long long)len, (unsigned long long)max);
    return 0;
}

static int make_plan(struct boot *b)
{
    int rc = 1;
    if (b->protocol == PROTO_AUTO || b->protocol == PROTO_BZIMAGE)
        rc = bzimage_plan(b, &b->plan);
    if (rc > 0 && b->protocol != PROTO_BZIMAGE)
        rc = elf_plan(b, &b->plan);
    if (rc > 0 && b->protocol > PROTO_BZIMAGE)
        return mobo_fail(b->obj, "kernel %s is no ELF vmlinux for x86; leave protocol out unless "
                                 "it is one", b->kernel);
    if (rc > 0)
        return mobo_fail(b->obj, "kernel %s is neither a bzImage nor an ELF vmlinux for x86",
                         b->kernel);
    return rc;
}

static int boot_init(void *self)
{
    struct boot *b = self;
    const mobo_fw_api_t *fw = b->obj->host->fw;
    int rc = image_open(b->obj, "kernel", b->kernel, &b->kernel_image);
    if (rc || (*b->initrd && (rc = image_open(b->obj, "initrd", b->initrd, &b->initrd_image))))
        return rc;
    b->low_ram = low_ram(b->obj);
    if ((rc = make_plan(b)) || (rc = check_cmdline(b)))
        return rc;
    if (b->initrd_image.len && (rc = place_initrd(b)))
        return rc;
    /* The EBDA, and the PC's hole for the VGA window, option ROMs and the BIOS. */
    rc = fw->reserve(b->obj, ADDR_EBDA, 0xa0000 - ADDR_EBDA, MOBO_MEM_RESERVED);
    return rc ? rc : fw->reserve(b->obj, 0xa0000, ADDR_HIGH - 0xa0000, MOBO_MEM_RESERVED);
}

static int load(struct boot *b)
{
    const struct plan *plan = &b->plan;
    int rc = 0;
    for (unsigned i = 0; i < plan->segment_count && !rc; i++) {
        const struct segment *s = &plan->segment[i];
        rc = image_load(b->obj, &b->kernel_image, s->off, s->file_len, s->gpa, s->mem_len);
    }
    if (!rc && b->initrd_image.len)
        rc = image_load(b->obj, &b->initrd_image, 0, b->initrd_image.len, b->initrd_gpa,
                        b->initrd_image.len);
    if (!rc)
        rc = guest_write(b, ADDR_CMDLINE, b->cmdline, strlen(b->cmdline) + 1);
    if (rc)
        return rc;
    return plan->entry == ENTRY_PVH ? pvh_start(b) : params_linux(b);
}

/* Runs after the CPUs are at their power-on state: it moves CPU 0 from there into the kernel. */
static void boot_reset(void *self)
{
    struct boot *b = self;
    if (load(b))
        mobo_vm_request(b->obj, MOBO_VM_FAIL);
}

static void boot_fini(void *self)
{
    struct boot *b = self;
    image_close(&b->kernel_image);
    image_close(&b->initrd_image);
}

static const mobo_prop_t props[] = {
    MOBO_PATH(struct boot, kernel, NULL, "bzImage or ELF vmlinux"),
    MOBO_PATH(struct boot, initrd, "", "initial RAM disk; empty: none"),
    MOBO_STR(struct boot, cmdline, "", "kernel command line"),
    MOBO_ENUM(struct boot, protocol, "auto", "auto|bzimage|linux64|pvh",
              "how the kernel is entered; linux64 and pvh are for ELF files"),
    MOBO_LINK_OPT(struct boot, acpi, MOBO_ACPI, "who makes the ACPI tables"),
    MOBO_END,
};

static const mobo_class_t boot_class = {
    MOBO_CLASS(struct boot, props, NULL), .name = "linux",
    .summary = "boots a Linux kernel without firmware", .init = boot_init, .reset = boot_reset,
    .fini = boot_fini,
};

MOBO_PLUGIN("boot-linux", "0.1", "MIT", &boot_class)
