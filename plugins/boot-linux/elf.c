/*
 * elf.c: an uncompressed vmlinux: loadable segments and the PVH note, ELF32 and ELF64 alike. The
 * file is not trusted: every offset and size is checked against the file and the guest's memory.
 */
#include "boot.h"

#include <elf.h>
#include <stdlib.h>

enum { XEN_ELFNOTE_PHYS32_ENTRY = 18, NOTES_MAX = 1 << 20, PHDRS_MAX = 64 };

/* One program header, whichever class the file has. */
struct phdr {
    uint32_t type;
    uint64_t off, paddr, file_len, mem_len;
};

static uint64_t align4(uint64_t n)
{
    return (n + 3) & ~3ull;
}

/* The 32-bit entry point out of the notes, or 0. */
static uint64_t pvh_entry(const uint8_t *notes, uint64_t len)
{
    uint64_t at = 0;
    while (len - at >= sizeof(Elf32_Nhdr)) {
        Elf32_Nhdr n; /* the same layout in both classes */
        memcpy(&n, notes + at, sizeof n);
        at += sizeof n;
        uint64_t name = align4(n.n_namesz), desc = align4(n.n_descsz);
        if (name > len - at || desc > len - at - name)
            return 0;
        if (n.n_type == XEN_ELFNOTE_PHYS32_ENTRY && n.n_namesz == 4 &&
            !memcmp(notes + at, "Xen", 4) && n.n_descsz >= 4) {
            uint32_t entry;
            memcpy(&entry, notes + at + name, sizeof entry);
            return entry;
        }
        at += name + desc;
    }
    return 0;
}

static int add_segment(struct boot *b, struct plan *plan, const struct phdr *ph)
{
    if (ph->mem_len == 0)
        return 0;
    if (ph->file_len > ph->mem_len || ph->off > b->kernel_image.len ||
        ph->file_len > b->kernel_image.len - ph->off)
        return mobo_fail(b->obj, "kernel %s is cut off or damaged: a segment of %llu bytes at %llu",
                         b->kernel, (unsigned long long)ph->file_len, (unsigned long long)ph->off);
    if (ph->paddr < ADDR_HIGH || ph->paddr > b->low_ram || ph->mem_len > b->low_ram - ph->paddr)
        return mobo_fail(b->obj, "kernel %s wants memory at 0x%llx+0x%llx; RAM is 0x%x..0x%llx",
                         b->kernel, (unsigned long long)ph->paddr, (unsigned long long)ph->mem_len,
                         ADDR_HIGH, (unsigned long long)b->low_ram);
    if (plan->segment_count == SEGMENTS_MAX)
        return mobo_fail(b->obj, "kernel %s has more than %d segments", b->kernel, SEGMENTS_MAX);
    plan->segment[plan->segment_count++] = (struct segment){
        .off = ph->off, .file_len = ph->file_len, .gpa = ph->paddr, .mem_len = ph->mem_len,
    };
    if (!plan->high || ph->paddr < plan->low)
        plan->low = ph->paddr;
    if (ph->paddr + ph->mem_len > plan->high)
        plan->high = ph->paddr + ph->mem_len;
    return 0;
}

static int read_phdr(struct boot *b, bool is64, uint64_t off, struct phdr *out)
{
    Elf64_Phdr p64;
    Elf32_Phdr p32;
    int rc = is64 ? image_read(b->obj, &b->kernel_image, off, &p64, sizeof p64)
                  : image_read(b->obj, &b->kernel_image, off, &p32, sizeof p32);
    if (rc)
        return rc;
    if (is64)
        *out = (struct phdr){ p64.p_type, p64.p_offset, p64.p_paddr, p64.p_filesz, p64.p_memsz };
    else
        *out = (struct phdr){ p32.p_type, p32.p_offset, p32.p_paddr, p32.p_filesz, p32.p_memsz };
    return 0;
}

static int read_note(struct boot *b, const struct phdr *ph, uint64_t *entry)
{
    if (ph->file_len > NOTES_MAX || ph->off > b->kernel_image.len ||
        ph->file_len > b->kernel_image.len - ph->off)
        return 0; /* damaged notes only cost the PVH entry */
    uint8_t *notes = malloc(ph->file_len ? ph->file_len : 1);
    if (!notes)
        return mobo_fail_code(b->obj, MOBO_ENOMEM, "no memory for %llu bytes of ELF notes",
                              (unsigned long long)ph->file_len);
    int rc = image_read(b->obj, &b->kernel_image, ph->off, notes, ph->file_len);
    if (!rc && !*entry)
        *entry = pvh_entry(notes, ph->file_len);
    free(notes);
    return rc;
}

int elf_plan(struct boot *b, struct plan *plan)
{
    Elf64_Ehdr e;
    if (b->kernel_image.len < sizeof e)
        return 1;
    int rc = image_read(b->obj, &b->kernel_image, 0, &e, sizeof e);
    if (rc)
        return rc;
    if (memcmp(e.e_ident, ELFMAG, SELFMAG))
        return 1;
    unsigned class = e.e_ident[EI_CLASS];
    if ((class != ELFCLASS32 && class != ELFCLASS64) || e.e_ident[EI_DATA] != ELFDATA2LSB)
        return mobo_fail(b->obj, "kernel %s is an ELF file of class %u and byte order %u, not x86",
                         b->kernel, class, e.e_ident[EI_DATA]);
    bool is64 = class == ELFCLASS64;
    uint64_t phoff = e.e_phoff, entry = e.e_entry, count = e.e_phnum;
    unsigned machine = e.e_machine, size = sizeof(Elf64_Phdr), entsize = e.e_phentsize;
    if (!is64) {
        Elf32_Ehdr e32;
        memcpy(&e32, &e, sizeof e32);
        phoff = e32.e_phoff;
        entry = e32.e_entry;
        count = e32.e_phnum;
        size = sizeof(Elf32_Phdr);
        entsize = e32.e_phentsize;
    }
    if (machine != (is64 ? EM_X86_64 : EM_386))
        return mobo_fail(b->obj, "kernel %s is an ELF file for machine %u, not x86", b->kernel,
                         machine);
    if (count == 0 || count > PHDRS_MAX)
        return mobo_fail(b->obj, "kernel %s has %llu program headers; 1 to %d are possible",
                         b->kernel, (unsigned long long)count, PHDRS_MAX);
    if (entsize != size)
        return mobo_fail(b->obj, "kernel %s is damaged: its program headers have %u bytes, not %u",
                         b->kernel, entsize, size);
    uint64_t pvh = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct phdr ph;
        if (phoff > b->kernel_image.len || (rc = read_phdr(b, is64, phoff + i * size, &ph)))
            return rc ? rc : mobo_fail(b->obj, "kernel %s is cut off or damaged", b->kernel);
        if (ph.type == PT_LOAD && (rc = add_segment(b, plan, &ph)))
            return rc;
        if (ph.type == PT_NOTE && (rc = read_note(b, &ph, &pvh)))
            return rc;
    }
    if (!plan->segment_count)
        return mobo_fail(b->obj, "kernel %s has nothing to load", b->kernel);
    if (b->protocol == PROTO_PVH && !pvh)
        return mobo_fail(b->obj, "kernel %s has no PVH entry note (CONFIG_PVH)", b->kernel);
    if (b->protocol != PROTO_LINUX64 && pvh) {
        plan->entry = ENTRY_PVH;
        plan->start = pvh;
    } else if (is64) {
        plan->entry = ENTRY_LINUX64;
        plan->start = entry;
    } else {
        return mobo_fail(b->obj, "kernel %s is a 32-bit ELF file without a PVH entry note; "
                                 "use its bzImage", b->kernel);
    }
    if (plan->start < plan->low || plan->start >= plan->high)
        return mobo_fail(b->obj, "kernel %s: its entry point 0x%llx is outside its segments",
                         b->kernel, (unsigned long long)plan->start);
    plan->initrd_max = UINT32_MAX;
    plan->cmdline_max = 2047; /* COMMAND_LINE_SIZE of x86 less the terminator */
    return 0;
}
