/*
 * walk.c: guest page tables: 32-bit with PSE, PAE, 4-level with 2 MiB and 1 GiB pages; rights,
 * reserved bits, accessed and dirty bits. Knows nothing of the TLB.
 * References: Intel SDM volume 3A, chapter 4 (4.3 to 4.8); AMD64 APM volume 2, chapter 5.
 */
#include "mmu.h"

/* How one paging mode looks. */
struct layout {
    unsigned levels, index_bits, entry_bytes;
};

/* *host: where A and D can be set. An entry that is not in RAM reads as 0 with ram_only. */
static uint64_t entry_load(struct vcpu *cpu, uint64_t gpa, unsigned bytes, bool ram_only,
                           uint8_t **host)
{
    const struct ram_slot *slot = ram_slot_of(cpu->soft, gpa);
    *host = NULL;
    if (!slot || slot->len - (gpa - slot->gpa) < bytes)
        return ram_only ? 0 : phys_read(cpu, gpa, bytes);
    uint8_t *p = slot->host + (gpa - slot->gpa);
    if (!(slot->flags & MOBO_MAP_READONLY))
        *host = p;
    return host_load(p, bytes);
}

/* Set bits in an entry that nobody changed since it was read; false: somebody did. */
static bool entry_mark(uint8_t *host, unsigned bytes, uint64_t old, uint64_t bits)
{
    if ((old & bits) == bits || !host)
        return true;
    if (bytes == 8) {
        uint64_t want = old;
        return __atomic_compare_exchange_n((uint64_t *)(void *)host, &want, old | bits, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    uint32_t want = (uint32_t)old;
    return __atomic_compare_exchange_n((uint32_t *)(void *)host, &want, (uint32_t)(old | bits),
                                       false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Bits that must be 0 in an entry of level LEVEL (0: the page table). SDM 4.4.2, 4.5.4. */
static uint64_t entry_reserved(const struct vcpu *cpu, const struct layout *lay, unsigned level,
                               uint64_t e)
{
    bool large = level > 0 && (e & PTE_PS);
    if (lay->entry_bytes == 4)
        return large && (cpu->cr4 & CR4_PSE) ? UINT64_C(1) << 21 : 0;
    unsigned phys = cpu->soft->model.phys_bits ? cpu->soft->model.phys_bits : 40;
    uint64_t rsvd = ((UINT64_C(1) << 52) - 1) & ~((UINT64_C(1) << phys) - 1);
    if (!(cpu->efer & EFER_NXE))
        rsvd |= PTE_NX;
    if (!(cpu->efer & EFER_LMA))
        rsvd |= UINT64_C(0x7ff) << 52; /* PAE: 62:52 too */
    if (level == 3)
        rsvd |= PTE_PS;
    if (large && level == 1)
        rsvd |= UINT64_C(0xff) << 13;
    if (large && level == 2)
        rsvd |= UINT64_C(0x1ffff) << 13;
    return rsvd;
}

static uint32_t fault_code(const struct vcpu *cpu, unsigned set, unsigned acc, uint32_t why)
{
    uint32_t code = why;
    if (acc & ACC_W)
        code |= PF_W;
    if (set == TLB_USER || set == TLB_USER_AC)
        code |= PF_U;
    /* I only where the hardware can tell: NX in use, or SMEP (SDM 4.7) */
    if ((acc & ACC_X) &&
        ((cpu->cr4 & CR4_SMEP) || ((cpu->efer & EFER_NXE) && (cpu->cr4 & CR4_PAE))))
        code |= PF_I;
    return code;
}

/* What SET may do with a page whose rights over all levels are `all` (U and W) and nx. */
static unsigned page_rights(const struct vcpu *cpu, unsigned set, uint64_t all, bool nx)
{
    bool user = all & PTE_U, write = all & PTE_W;
    if (set == TLB_USER || set == TLB_USER_AC)
        return user ? ACC_R | (write ? ACC_W : 0u) | (nx ? 0u : ACC_X) : 0;
    unsigned perm = ACC_R;
    if (write || !(cpu->cr0 & CR0_WP))
        perm |= ACC_W;
    if (user && set == TLB_SUPER && (cpu->cr4 & CR4_SMAP))
        perm = 0;
    if (!nx && !(user && (cpu->cr4 & CR4_SMEP)))
        perm |= ACC_X;
    return perm;
}

/* One try; -1: an entry changed under us, 0: fault, 1: done. */
static int walk_once(struct vcpu *cpu, unsigned set, uint64_t linear, unsigned acc,
                     const struct layout *lay, bool ram_only, struct walk *out)
{
    uint8_t *host[4];
    uint64_t entry[4], all = PTE_U | PTE_W, upper = 0, table = cpu->cr3;
    bool nx = false;
    unsigned level = lay->levels;

    if (lay->entry_bytes == 4)
        table &= 0xfffff000;
    else if (cpu->efer & EFER_LMA)
        table &= PTE_FRAME;
    else { /* PAE: the four top entries are registers */
        uint64_t top = cpu->pdpte[(linear >> 30) & 3];
        if (!(top & PTE_P)) {
            out->error = fault_code(cpu, set, acc, 0);
            return 0;
        }
        table = top & PTE_FRAME;
    }

    for (;;) {
        level--;
        unsigned shift = PAGE_BITS + level * lay->index_bits;
        uint64_t index = (linear >> shift) & ((1u << lay->index_bits) - 1);
        uint64_t e = entry_load(cpu, table + index * lay->entry_bytes, lay->entry_bytes, ram_only,
                                &host[level]);
        entry[level] = e;
        if (!(e & PTE_P)) {
            out->error = fault_code(cpu, set, acc, 0);
            return 0;
        }
        if (e & entry_reserved(cpu, lay, level, e)) {
            out->error = fault_code(cpu, set, acc, PF_P | PF_RSVD);
            return 0;
        }
        upper = (all & (PTE_U | PTE_W)) | (nx ? PTE_NX : 0);
        all &= e;
        if (lay->entry_bytes == 8 && (e & PTE_NX))
            nx = true;
        if (level == 0 || ((e & PTE_PS) && (lay->entry_bytes == 8 || (cpu->cr4 & CR4_PSE)))) {
            out->shift = (uint8_t)shift;
            break;
        }
        table = lay->entry_bytes == 4 ? e & 0xfffff000 : e & PTE_FRAME;
    }

    unsigned perm = page_rights(cpu, set, all, nx);
    if ((perm & acc) != acc) {
        out->error = fault_code(cpu, set, acc, PF_P);
        return 0;
    }
    for (unsigned i = lay->levels; i-- > level;) {
        uint64_t bits = PTE_A | (i == level && (acc & ACC_W) ? PTE_D : 0);
        if (!entry_mark(host[i], lay->entry_bytes, entry[i], bits))
            return -1;
    }
    uint64_t leaf = entry[level], frame = leaf & PTE_FRAME;
    if (lay->entry_bytes == 4) {
        frame = leaf & 0xfffff000;
        if (level == 1) /* PSE-36: bits 20:13 are address bits 39:32 */
            frame = (leaf & 0xffc00000) | ((leaf >> 13) & 0xff) << 32;
    }
    frame &= ~((UINT64_C(1) << out->shift) - 1);
    out->gpa = frame | (linear & ((UINT64_C(1) << out->shift) - 1) & PAGE_MASK);
    if (!(leaf & PTE_D) && !(acc & ACC_W))
        perm &= ~(unsigned)ACC_W; /* the first store has to come here and set D */
    out->perm = (uint8_t)perm;
    out->writable = (all & PTE_W) != 0;
    out->global = (leaf & PTE_G) && (cpu->cr4 & CR4_PGE);
    out->table = NULL;
    out->upper = upper;
    if (level == 0 && lay->entry_bytes == 8 && host[0])
        out->table = host[0] - ((linear >> PAGE_BITS) & 511) * 8;
    return 1;
}

static bool walk(struct vcpu *cpu, unsigned set, uint64_t linear, unsigned acc, bool ram_only,
                 struct walk *out)
{
    static const struct layout legacy = { 2, 10, 4 }, pae = { 2, 9, 8 }, four = { 4, 9, 8 };

    out->error = 0;
    if (!(cpu->cr0 & CR0_PG)) {
        out->gpa = linear & PAGE_MASK;
        out->perm = ACC_R | ACC_W | ACC_X;
        out->shift = PAGE_BITS;
        out->global = 0;
        out->writable = 1;
        out->table = NULL;
        return true;
    }
    const struct layout *lay = (cpu->efer & EFER_LMA) ? &four
                               : (cpu->cr4 & CR4_PAE) ? &pae
                                                      : &legacy;
    int done;
    do
        done = walk_once(cpu, set, linear, acc, lay, ram_only, out);
    while (done < 0);
    return done;
}

bool mmu_walk(struct vcpu *cpu, unsigned set, uint64_t linear, unsigned acc, struct walk *out)
{
    return walk(cpu, set, linear, acc, false, out);
}

bool mmu_walk_ram(struct vcpu *cpu, unsigned set, uint64_t linear, unsigned acc,
                  struct walk *out)
{
    return walk(cpu, set, linear, acc, true, out);
}

uint64_t mmu_pte_reserved(const struct vcpu *cpu)
{
    static const struct layout eight = { 4, 9, 8 };
    return entry_reserved(cpu, &eight, 0, 0);
}

bool mmu_walk_last(struct vcpu *cpu, unsigned set, uint64_t linear, unsigned acc,
                   uint64_t reserved, struct walk *out)
{
    uint8_t *host = out->table + ((linear >> PAGE_BITS) & 511) * 8;
    for (;;) {
        uint64_t e = host_load(host, 8);
        if (!(e & PTE_P) || (e & reserved))
            return false;
        uint64_t all = out->upper & e;
        unsigned perm = page_rights(cpu, set, all, (out->upper | e) & PTE_NX);
        if ((perm & acc) != acc)
            return false;
        if (!entry_mark(host, 8, e, PTE_A | (acc & ACC_W ? PTE_D : 0)))
            continue;
        if (!(e & PTE_D) && !(acc & ACC_W))
            perm &= ~(unsigned)ACC_W;
        out->gpa = e & PTE_FRAME;
        out->perm = (uint8_t)perm;
        out->shift = PAGE_BITS;
        out->writable = (all & PTE_W) != 0;
        out->global = (e & PTE_G) && (cpu->cr4 & CR4_PGE);
        return true;
    }
}
