/*
 * ftab_int.h: the tables behind ftab.h, for the ftab*.c files alone.
 *
 * A table covers one half of the linear address space (2^35 pages). Beside its two arrays it keeps
 * a record per 2 MiB region, which is what one 4 KiB page of entries covers: which of its 64 lines
 * (of 64 bytes, 8 entries) may hold something. A flush visits the regions on the list and zeroes
 * just those lines. Invariant: an entry that is not 0 lies in a line whose bit is set, in a region
 * that is on the list; without that bit neither array needs to be touched.
 */
#ifndef SOFT_X86_FTAB_INT_H
#define SOFT_X86_FTAB_INT_H

#include "ftab.h"

#define HALF_PAGES (UINT64_C(1) << 35)                 /* entries of one half */
#define HALF_BYTES (HALF_PAGES * 8)                    /* 256 GiB */
#define VIEW_BYTES (4 * HALF_BYTES)                    /* 1 TiB */
#define REGIONS (HALF_PAGES >> 9)
#define REGION_BYTES (REGIONS * sizeof(struct ftab_region))
#define ADDRESS_SPACE (UINT64_C(62) << 40)             /* for the views of all CPUs */

enum {
    REGION_LISTED = 1, REGION_LISTED_N = 2,
    REGION_LARGE = 4,      /* entries of mappings above 4 KiB: INVLPG drops them together */
    REGION_HUGE = 32,      /* first region of 1 GiB: some of it is one mapping */
    REGION_TOUCHED_R = 8, REGION_TOUCHED_W = 16, /* the host has given a page for these entries */
};

struct ftab_region {
    uint64_t r, w;         /* lines */
    uint64_t n;            /* lines of r, w with non-global entries; K only */
    uint32_t flags;        /* REGION_... */
    uint32_t pad;
};

enum { LIST_MAX = 1 << 17 };

struct ftab_table {
    uint64_t *r, *w;       /* HALF_PAGES entries each */
    struct ftab_region *region;
    uint32_t *list, *list_n; /* regions with lines; with non-global lines (K only) */
    uint32_t count, count_n;
    uint32_t touched;      /* host pages of entries since the last release */
    uint8_t huge;          /* there were mappings above 2 MiB */
    uint8_t number;        /* contexts: 0..15; see enum */
};
enum { TABLE_S = 30, TABLE_K = 31 };

struct ftab_context {
    struct ftab_table u;
    uint64_t *view;
    uint64_t base;         /* CR3 without PCID and flags */
    uint64_t gen;          /* of the paging-structure cache */
    uint64_t stamp;        /* last use */
    uint16_t pcid;
    bool valid;
    bool global;           /* U holds global pages: INVLPG reaches them from any context */
};

/*
 * Paging-structure cache (SDM volume 3A, 4.10.3): the page table of a 2 MiB region. Keyed by
 * context through its generation number, so flushing a context's takes no loop.
 */
struct ftab_psc {
    uint64_t key;          /* linear >> 21 (27 bits) | generation << 27; 0: nothing */
    uint8_t *table;        /* host address of the page table */
    uint64_t upper;        /* as in struct walk */
    uint64_t pad;
};
enum { PSC_BITS = 10, PSC_ENTRIES = 1 << PSC_BITS };

/*
 * Where a RAM page is entered for stores, so that ftab_protect() finds it: at one place of the
 * lower half (any context or S) and one of the upper half at a time. A place is the linear page |
 * number of the table << 1 | 1; 0: nowhere. It may be out of date: the entry itself tells.
 */
struct ftab_rev {
    uint64_t lower, upper;
};
#define REV_PAGES (UINT64_C(1) << 28) /* guest-physical addresses below 2^40 */

struct ftab {
    struct ftab_psc psc[PSC_ENTRIES];
    struct ftab_context *now;
    struct ftab_table s, k;
    uint64_t *kernel;      /* the kernel's view */
    uint64_t *empty;       /* of the virtual machine */
    struct ftab_rev *rev;
    uint64_t rsvd;         /* reserved bits of a page-table entry, in the present mode */
    uint64_t gen, clock;   /* last one given out */
    uint32_t touched, budget; /* host pages of all tables; release them when there are more */
    uint32_t empty_misses;
    unsigned contexts;
    int fd;                /* the memory of K */
    uint8_t *arena;        /* one reservation for all of it */
    uint64_t arena_len;
    struct ftab_hooks hooks;
    struct ftab_stats stats;
    struct ftab_context context[FTAB_CONTEXTS];
};

/* The entry's index in its half. */
static inline uint64_t half_index(uint64_t linear)
{
    return (linear & FTAB_MASK_USER) >> PAGE_BITS;
}

static inline uint64_t ftab_psc_key(const struct ftab *ft, uint64_t linear)
{
    return ((linear >> 21) & ((1u << 27) - 1)) | ft->now->gen << 27;
}

static inline struct ftab_psc *ftab_psc_slot(struct ftab *ft, uint64_t linear)
{
    return &ft->psc[(linear >> 21 ^ linear >> (21 + PSC_BITS)) & (PSC_ENTRIES - 1)];
}

/* ---- ftab_flush.c ---- */

void ftab_table_flush(struct ftab_table *t);
void ftab_table_flush_nonglobal(struct ftab_table *t);
void ftab_context_void(struct vcpu *cpu, struct ftab_context *c);

/* ---- ftab_map.c ---- */

/* Give the memory of a context's table, or of all tables, back; they must be empty. */
void ftab_release_context(struct ftab *ft, struct ftab_context *c);
void ftab_release_all(struct ftab *ft);
void ftab_renew_empty(struct ftab *ft);

#endif
