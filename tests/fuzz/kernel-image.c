// sources: plugins/boot-linux/bzimage.c plugins/boot-linux/elf.c plugins/boot-linux/image.c
// includes: plugins/boot-linux
/*
 * kernel-image.c (fuzz): a kernel file of any content. What a plan says must lie inside the file
 * and inside guest RAM above 1 MiB, and a refusal must come with exactly one message. The first
 * bytes of the input choose the protocol and the size of RAM.
 */
#include "boot.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static unsigned messages;

static int log_fail(mobo_obj_t *obj, int code, const char *text)
{
    (void)obj;
    if (!*text || code >= 0)
        abort();
    messages++;
    return code;
}

static const mobo_log_api_t log_api = { .size = sizeof log_api, .fail = log_fail };
static const mobo_host_t host = { .size = sizeof host, .log = &log_api };

static void check_plan(const struct boot *b)
{
    const struct plan *p = &b->plan;
    if (p->low < ADDR_HIGH || p->low >= p->high || p->high > b->low_ram || p->start < p->low ||
        p->start >= p->high || !p->cmdline_max || !p->segment_count ||
        p->segment_count > SEGMENTS_MAX || p->setup_len > SETUP_HEADER_MAX)
        abort();
    for (unsigned i = 0; i < p->segment_count; i++) {
        const struct segment *s = &p->segment[i];
        uint64_t size = b->kernel_image.len;
        if (s->file_len > size || s->off > size - s->file_len || s->file_len > s->mem_len ||
            s->gpa < p->low || s->mem_len > p->high || s->gpa > p->high - s->mem_len)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static int fd = -1;
    if (fd < 0 && (fd = memfd_create("kernel", MFD_CLOEXEC)) < 0)
        abort();
    if (len < 3)
        return 0;
    mobo_obj_t obj = { .host = &host, .name = "fuzz" };
    struct boot b = { .obj = &obj, .kernel = "kernel", .initrd = "", .cmdline = "" };
    b.protocol = data[0] % 4;
    b.low_ram = (uint64_t)(data[1] + 1) << (12 + data[2] % 13); /* 4 KiB to 4 GiB */
    data += 3;
    len -= 3;
    if (ftruncate(fd, 0) || pwrite(fd, data, len, 0) != (ssize_t)len)
        abort();
    b.kernel_image = (struct image){ .fd = fd, .len = len, .path = "kernel" };
    for (int elf = 0; elf < 2; elf++) {
        messages = 0;
        memset(&b.plan, 0, sizeof b.plan);
        int rc = elf ? elf_plan(&b, &b.plan) : bzimage_plan(&b, &b.plan);
        if (messages != (rc < 0))
            abort();
        if (rc == 0)
            check_plan(&b);
    }
    return 0;
}
