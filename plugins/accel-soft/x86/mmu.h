/*
 * mmu.h: the software TLB and the fast path of memory accesses.
 *
 * One direct-mapped set per kind of access (user; supervisor with SMAP enforced; supervisor
 * without) so that a change of CPL or RFLAGS.AC only changes cpu->tlb_now. An entry answers only
 * for plain RAM; everything else (MMIO, pages that hold decoded code, page-crossing accesses)
 * misses on purpose and is sorted out in mmu.c and gmem.c from the side table `note`.
 */
#ifndef SOFT_X86_MMU_H
#define SOFT_X86_MMU_H

#include "../soft.h"

enum { PAGE_BITS = 12, PAGE_BYTES = 1 << PAGE_BITS };
#define PAGE_MASK (~(uint64_t)(PAGE_BYTES - 1))
#define TLB_NONE (~(uint64_t)0) /* low bits set: equals no page address */

enum { TLB_BITS = 10, TLB_ENTRIES = 1 << TLB_BITS };
enum { TLB_USER = 0, TLB_SUPER = 1, TLB_SUPER_AC = 2, TLB_USER_AC = 3, TLB_SETS = 4 };
enum { ACC_R = 1, ACC_W = 2, ACC_X = 4 };

struct tlb_entry {
    uint64_t r, w;      /* linear page that may be read, written through addend; or TLB_NONE */
    uintptr_t addend;   /* host address - linear address */
    uint64_t pad;
};

/* What is known about the page of an entry, fast or not. */
struct tlb_note {
    uint64_t page;      /* linear page, or TLB_NONE */
    uint64_t gpa;       /* guest-physical page */
    uint8_t *host;      /* NULL: not RAM */
    uint8_t perm;       /* ACC_... that need no walk */
    uint8_t shift;      /* log2 of the mapping's size */
    uint8_t global;
    uint8_t readonly;   /* host is ROM: writes are MMIO */
    uint8_t listed;     /* bit 0: in list_own, bit 1: in list_global */
};

struct tlb_set {
    struct tlb_entry e[TLB_ENTRIES];
    struct tlb_note note[TLB_ENTRIES];
    uint16_t list_own[TLB_ENTRIES], list_global[TLB_ENTRIES]; /* filled slots: flushes are short */
    unsigned own, global;
};

struct tlb {
    struct tlb_set set[TLB_SETS];
    /* Large mappings lie within [lo, hi) of either half: INVLPG elsewhere drops single entries. */
    struct {
        uint64_t lo, hi;
        unsigned shift;   /* of the largest */
    } large[2];
    uint64_t exec_seen[64]; /* hashed: pages that decoded blocks were looked up by */
};

static inline unsigned tlb_index(uint64_t linear)
{
    return (unsigned)(linear >> PAGE_BITS) & (TLB_ENTRIES - 1);
}

/* INVLPG of a page without code need not disturb the look-up of blocks; may err to true. */
static inline bool tlb_exec_seen(const struct tlb *tlb, uint64_t linear)
{
    uint64_t page = linear >> PAGE_BITS;
    return tlb->exec_seen[(page >> 6) & 63] >> (page & 63) & 1;
}

static inline void tlb_exec_note(struct tlb *tlb, uint64_t linear)
{
    uint64_t page = linear >> PAGE_BITS;
    tlb->exec_seen[(page >> 6) & 63] |= UINT64_C(1) << (page & 63);
}

/* Which set an access of the current privilege uses. */
static inline unsigned tlb_set_now(const struct vcpu *cpu)
{
    if (cpu->cpl == 3)
        return (cpu->fl & FL_AC) && (cpu->cr0 & CR0_AM) ? TLB_USER_AC : TLB_USER;
    return (cpu->cr4 & CR4_SMAP) && !(cpu->fl & FL_AC) ? TLB_SUPER : TLB_SUPER_AC;
}

typedef uint16_t __attribute__((aligned(1), may_alias)) mem16;
typedef uint32_t __attribute__((aligned(1), may_alias)) mem32;
typedef uint64_t __attribute__((aligned(1), may_alias)) mem64;

/*
 * Host address of [linear, linear + bytes), or NULL if it takes the slow path. The tag is compared
 * with the page of the last byte, so a page-crossing access misses.
 */
static inline uint8_t *tlb_host_r(const struct vcpu *cpu, uint64_t linear, unsigned bytes)
{
    const struct tlb_entry *e = &cpu->tlb_now[tlb_index(linear)];
    if (__builtin_expect(e->r != ((linear + (bytes - 1)) & PAGE_MASK), 0))
        return NULL;
    return (uint8_t *)(uintptr_t)(linear + e->addend);
}

static inline uint8_t *tlb_host_w(const struct vcpu *cpu, uint64_t linear, unsigned bytes)
{
    const struct tlb_entry *e = &cpu->tlb_now[tlb_index(linear)];
    if (__builtin_expect(e->w != ((linear + (bytes - 1)) & PAGE_MASK), 0))
        return NULL;
    return (uint8_t *)(uintptr_t)(linear + e->addend);
}

/* Guest memory is shared with other CPUs: each access is one host access. */
static inline uint64_t host_load(const uint8_t *p, unsigned bytes)
{
    switch (bytes) {
    case 1:
        return *(const volatile uint8_t *)p;
    case 2:
        return *(const volatile mem16 *)p;
    case 4:
        return *(const volatile mem32 *)p;
    default:
        return *(const volatile mem64 *)p;
    }
}

static inline void host_store(uint8_t *p, uint64_t val, unsigned bytes)
{
    switch (bytes) {
    case 1:
        *(volatile uint8_t *)p = (uint8_t)val;
        break;
    case 2:
        *(volatile mem16 *)p = (uint16_t)val;
        break;
    case 4:
        *(volatile mem32 *)p = (uint32_t)val;
        break;
    default:
        *(volatile mem64 *)p = val;
        break;
    }
}

static inline bool is_canonical(const struct vcpu *cpu, uint64_t linear)
{
    unsigned s = 64 - (cpu->soft->model.linear_bits ? cpu->soft->model.linear_bits : 48);
    return (uint64_t)((int64_t)(linear << s) >> s) == linear;
}

/* The slot of guest RAM that holds the page, or NULL. */
static inline const struct ram_slot *ram_slot_of(const struct soft *s, uint64_t gpa)
{
    for (unsigned i = 0; i < s->slot_count; i++)
        if (gpa - s->slot[i].gpa < s->slot[i].len)
            return &s->slot[i];
    return NULL;
}

/* ---- mmu.c ---- */

int mmu_init(struct vcpu *cpu);
void mmu_fini(struct vcpu *cpu);
/* The note of a linear page with the right to do ACC, after a walk if need be; raises #PF. */
const struct tlb_note *mmu_page(struct vcpu *cpu, unsigned set, uint64_t linear, unsigned acc);
/* Stores to that guest-physical page are slow from now on; true if some were direct so far. */
bool mmu_protect(struct vcpu *cpu, uint64_t gpa);

/* ---- walk.c ---- */

struct walk {
    uint64_t gpa;       /* of the 4 KiB page */
    uint8_t perm, shift, global;
    uint8_t writable;   /* W at all levels: perm has ACC_W without it where CR0.WP is 0 */
    uint32_t error;     /* of #PF when the walk says no */
    /* Of a 4 KiB page, tables of 8-byte entries: */
    uint8_t *table;     /* host address of the last table; NULL: other sizes, or not in RAM */
    uint64_t upper;     /* U and W if all levels above have them, NX if one has it */
};

/* Bits of page-table entries. */
enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 0x20, PTE_D = 0x40, PTE_PS = 0x80, PTE_G = 0x100 };
#define PTE_NX (UINT64_C(1) << 63)
#define PTE_FRAME UINT64_C(0x000ffffffffff000)

/* Walk the page tables for ACC in SET's rights and set A and D; false: page fault, see error. */
bool mmu_walk(struct vcpu *cpu, unsigned set, uint64_t linear, unsigned acc, struct walk *out);
/* The same, but false too if a table is not in RAM: no device hears of it. */
bool mmu_walk_ram(struct vcpu *cpu, unsigned set, uint64_t linear, unsigned acc,
                  struct walk *out);
/* The last step of a walk again, from out->table and out->upper. */
bool mmu_walk_last(struct vcpu *cpu, unsigned set, uint64_t linear, unsigned acc,
                   uint64_t reserved, struct walk *out);
/* Bits that must be 0 in an 8-byte entry of a page table. */
uint64_t mmu_pte_reserved(const struct vcpu *cpu);

/* ---- gmem.c ---- */

/* A memory operand, translated and with all rights checked: at most two pages. */
struct span {
    unsigned parts;
    struct {
        uint8_t *host;  /* NULL: MMIO at gpa */
        uint64_t gpa;
        uint32_t len;
        bool writable;  /* host may be written (not ROM) */
    } part[2];
};

void span_make(struct vcpu *cpu, struct span *s, unsigned set, uint64_t linear, unsigned len,
               unsigned acc);
void span_read(struct vcpu *cpu, struct span *s, void *buf);
void span_write(struct vcpu *cpu, struct span *s, const void *buf);

/*
 * A locked read-modify-write of 1, 2, 4, 8 or 16 bytes: begin (may fault, nothing done yet), then
 * load, compute and cas until it succeeds, then end. Where the bytes are not in one page of RAM all
 * other CPUs stand still in between.
 */
struct locked {
    struct span span;
    unsigned bytes;
    bool alone;         /* others are parked */
};

void locked_begin(struct vcpu *cpu, struct locked *l, uint64_t linear, unsigned bytes);
void locked_load(struct vcpu *cpu, struct locked *l, void *old);
/* Stores NEW if memory still holds OLD; else OLD becomes what is there. */
bool locked_cas(struct vcpu *cpu, struct locked *l, void *old, const void *new);
void locked_end(struct vcpu *cpu, struct locked *l);

/* ---- smc.c ---- */

/* After a store to RAM that may hold decoded code of any CPU. */
void smc_stored(struct vcpu *cpu, uint64_t gpa, uint64_t len);

#endif
