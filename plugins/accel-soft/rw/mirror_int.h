/*
 * mirror_int.h: what the mirror*.c files share. mirror.c maps, mirror_flush.c unmaps,
 * mirror_space.c owns the address space, mirror_policy.c decides.
 */
#ifndef SOFT_RW_MIRROR_INT_H
#define SOFT_RW_MIRROR_INT_H

#include "mirror.h"

#include "../x86/mmu.h"

enum {
    MIRRORS = 4,                 /* of a CPU */
    REGION_BITS = 21, REGION_PAGES = 512,
    REGIONS = 2048,              /* of a mirror: 4 GiB */
    REGION_HASH = 4096,
    GRANULES = 1 << (47 - MIRROR_GRANULE_BITS),
    GRANULES_MAX = 64,           /* of a mirror */
    CALLS_MAX = 7000,            /* of a mirror; each may leave two mappings of the host's */
    CALLS_TOTAL = 14000,         /* of all: the host allows 65530 mappings (vm.max_map_count) */
    CANDIDATES = 32,
};
#define GRANULE_BYTES (UINT64_C(1) << MIRROR_GRANULE_BITS)
#define MIRROR_END (UINT64_C(1) << 47)

/* A mirrored page: guest-physical page | these. 0: not mirrored. */
enum { MP_R = 1, MP_W = 2 };

struct region {
    uint64_t base;               /* linear; 2 MiB */
    uint32_t count;              /* pages mirrored */
    uint8_t large, huge;         /* some came from a mapping of 2 MiB, of 1 GiB */
    uint64_t page[REGION_PAGES];
};

struct mirror {
    uint64_t map;                /* address of the granule map, 30 mod 64; 0: none yet */
    uint64_t base;               /* CR3 without PCID and flags */
    uint16_t pcid, id;           /* id: owner of granules, never 0 */
    bool on, stale, broken;      /* broken: a call of the host failed; off for good */
    /* mirror_policy.c shall switch it off: another program by now; addresses or host mappings
       cannot be had */
    bool other, contended, crowded;
    uint32_t pages, calls, regions, granules;
    uint32_t granule[GRANULES_MAX];
    uint16_t hash[REGION_HASH];  /* region number + 1; open addressing, cleared as a whole */
    struct region *region;       /* REGIONS of them */
    /* mirror_policy.c */
    uint64_t used, stamp;        /* user time in the window; last use */
    uint64_t cost_mark;          /* stats.ticks when the window began */
    uint32_t windows;
};

/* A context that may be promoted. */
struct candidate {
    uint64_t base, ticks, need, stamp;
};

struct mirrors {
    struct mirror m[MIRRORS];
    struct mirror *now;          /* of the current context; NULL: not mirrored */
    struct mirror_stats stats;
    struct ram_slot slot[SOFT_SLOTS_MAX]; /* as they were when the pages were mapped */
    unsigned slot_count;
    uint64_t *written;           /* a bit per guest-physical page: perhaps mirrored for stores */
    uint64_t last;               /* TSC of the last look (policy) */
    struct candidate candidate[CANDIDATES];
};
#define WRITTEN_PAGES (UINT64_C(1) << 28) /* guest-physical addresses below 2^40 */

/* Of a machine: who owns which granule. */
struct granules {
    _Atomic uint32_t lock;
    uint32_t users;
    _Atomic uint32_t calls;      /* of all mirrors */
    _Atomic uint32_t wanted[SOFT_VCPUS_MAX]; /* another CPU would like granules of this one's */
    uint64_t first;              /* lowest address that can be mapped */
    uint8_t state[GRANULES];     /* GR_... */
    uint16_t owner[GRANULES];
    /* RAM once more, for loads only */
    struct {
        uint8_t *host, *alias;
        uint64_t len;
    } alias[SOFT_SLOTS_MAX];
    unsigned aliases;
};
enum { GR_REFUSED = 1, GR_RESERVED = 2, GR_GUARD = 4 /* its first page only */ };

/* ---- mirror_space.c ---- */

bool space_open(struct soft *s);
void space_close(struct soft *s);
bool space_map_new(struct mirror *m);     /* granule map and regions */
void space_map_free(struct mirror *m);
/* The granule of LINEAR for M; false: not to be had. */
bool space_claim(struct vcpu *cpu, struct mirror *m, uint64_t linear);
/* All granules of M, which has nothing mapped in them; REFUSE: never again. */
void space_release(struct vcpu *cpu, struct mirror *m, bool refuse);
bool space_owns(const struct vcpu *cpu, const struct mirror *m, uint64_t linear);
/* Where RAM is to be mapped from, for stores or for loads only; NULL: it cannot be. */
uint8_t *space_source(struct vcpu *cpu, const struct ram_slot *slot, uint64_t gpa, bool write);
void space_forget_ram(struct soft *s);    /* slots have changed */
bool space_put(uint64_t linear, uint8_t *source, uint64_t len, bool write);
bool space_clear(uint64_t linear, uint64_t len);

/* ---- mirror.c ---- */

struct region *mirror_region(struct mirror *m, uint64_t linear);
/* A call of the host failed: M is off for good. */
void mirror_break(struct vcpu *cpu, struct mirror *m);
/* What R12 is in CPL 3, after mirrors->now has changed. */
void mirror_view(struct vcpu *cpu);

/* ---- mirror_flush.c ---- */

void mirror_empty(struct vcpu *cpu, struct mirror *m); /* no page is mirrored any more */
void mirror_revalidate(struct vcpu *cpu, struct mirror *m);
void mirror_off(struct vcpu *cpu, struct mirror *m);   /* between blocks, or in a flush */

#endif
