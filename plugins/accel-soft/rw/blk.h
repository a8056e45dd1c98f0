/*
 * blk.h: the tables behind rw.h's blocks and jump caches, for cache.c, blk.c and link.c alone.
 */
#ifndef SOFT_RW_BLK_H
#define SOFT_RW_BLK_H

#include "rw.h"

enum {
    RW_HASH_BITS = 16,
    RW_PAGE_BUCKETS = 1 << 12,
    RW_CROSS_SLOTS = 1 << 13,     /* of them three quarters are used */
    RW_CONTEXTS = 16,             /* of CPL 3: ftab.h */
    RW_JC_KERNEL = RW_CONTEXTS,   /* index of CPL 0's jump cache */
};

/* A guest-physical page with blocks, or that once had some: it stays until the cache is flushed. */
struct rw_page {
    uint64_t gpa;
    const void *map;              /* what smc_enter() gave: smc_leave() wants it */
    struct rw_page *next;
    struct rw_block *first;
    bool entered;                 /* counted in with smc.c */
};

/*
 * A linear page of the upper half that links lead to from other pages, and where it was mapped when
 * the last one was made. lin 0: free slot; gpa RW_NOWHERE: no such links at present.
 */
struct rw_cross {
    uint64_t lin, gpa;
};
#define RW_NOWHERE (~(uint64_t)0)

struct rw_pages {
    struct rw_page *bucket[RW_PAGE_BUCKETS];
    struct rw_cross cross[RW_CROSS_SLOTS]; /* open addressing by lin */
    uint16_t cross_list[RW_CROSS_SLOTS];   /* used slots */
    unsigned crosses;
    bool upper_own;               /* code of the upper half was found on a page that is not global */
    bool lower_global;            /* and of the lower half on a page that is */
    bool kernel_lower;            /* CPL 0's jump cache holds addresses of the lower half */
};

struct rw_jump_cache {
    struct rw_jc e[RW_JC_ENTRIES];
    uint16_t list[RW_JC_ENTRIES]; /* slots that are not empty, or were not */
    uint8_t listed[RW_JC_ENTRIES];
    unsigned count;
    uint64_t pages[4], regions[4]; /* filters: 4 KiB and 2 MiB that entries are in */
};

struct rw_jcs {
    struct rw_jump_cache cache[RW_CONTEXTS + 1];
};

static inline unsigned rw_hash(uint64_t rip, unsigned cpl)
{
    return (unsigned)((rip + cpl) * UINT64_C(0x9e3779b97f4a7c15) >> (64 - RW_HASH_BITS));
}

/* ---- cache.c ---- */

/* Memory of CPU's rewriter; 0, or an MOBO_E... and *why. */
int rw_new(struct vcpu *cpu, const char **why);
void rw_free(struct vcpu *cpu);
/* Forget all code. Between blocks only: no host address of the cache may be in use. */
void rw_flush(struct vcpu *cpu);
/* Empty pair stacks: bit 0 that of CPL 0, bit 1 that of CPL 3. */
void rw_pairs_reset(struct vcpu *cpu, unsigned which);

/* ---- blk.c ---- */

struct rw_page *rw_page_find(const struct rw *rw, uint64_t gpa);

/* ---- link.c ---- */

void rw_jcs_reset(struct rw *rw);                       /* all empty, whatever they hold */
void rw_jcs_forget(struct rw *rw, const struct rw_block *b);
void rw_cut(struct rw *rw, struct rw_link *l);          /* to its stub again */

#endif
