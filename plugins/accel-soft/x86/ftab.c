/*
 * ftab.c: filling the flat page tables. ftab.h says what they are and why they are safe; here is
 * what goes in: pages of RAM that the present mode may access, and their neighbours where the page
 * tables say without side effects that they may be (accessed and dirty bits already set).
 * References: Intel SDM volume 3A, 4.6 (rights), 4.8 (A and D), 4.10.2 and 4.10.3 (what may be
 * cached: any translation that could be used, even if it was not).
 */
#include "ftab_int.h"

#include "../rw/lockstep.h"

enum { LARGE_PAGES = 32 }; /* neighbours within a mapping above 4 KiB: 4 lines at a time */

/* One fill: where the entry goes, and what the walk found. */
struct fill {
    struct vcpu *cpu;
    struct ftab *ft;
    struct ftab_table *t;
    struct ftab_region *region;
    uint64_t linear, i;          /* page, and its index in the half */
    unsigned set, acc;
    const struct ram_slot *slot; /* that holds the page */
    bool may_write;              /* by the walk, and not ROM */
    uint64_t lines_r, lines_w, lines_n;
    struct walk walk;
};

static bool table_of(struct fill *f)
{
    struct vcpu *cpu = f->cpu;
    struct ftab *ft = f->ft;
    f->i = half_index(f->linear);
    f->set = TLB_SUPER;
    if (cpu->cpl == 3) {
        f->t = &ft->now->u;
        f->set = TLB_USER;
        return f->linear >> 47 == 0;
    }
    if (f->linear >> 47 & 1) {
        f->t = &ft->k;
        return f->linear >> 47 == (1u << 17) - 1;
    }
    f->t = &ft->s;
    if (cpu->view_now == cpu->view_user) {
        f->t = &ft->now->u;
        f->set = TLB_USER; /* stricter than the supervisor's rights with AC = 1 */
    }
    return f->linear >> 47 == 0;
}

/* The look-up that missed has made the host provide memory, be the address good or not. */
static void touched(struct ftab *ft, struct ftab_table *t, struct ftab_region *region,
                    uint32_t what)
{
    if (!(region->flags & what)) {
        region->flags |= what;
        t->touched++;
        ft->touched++;
    }
}

static bool walk(struct fill *f)
{
    struct ftab *ft = f->ft;
    uint64_t key = ftab_psc_key(ft, f->linear);
    struct ftab_psc *c = ftab_psc_slot(ft, f->linear);
    if (c->key == key) {
        f->walk.table = c->table;
        f->walk.upper = c->upper;
        if (mmu_walk_last(f->cpu, f->set, f->linear, f->acc, ft->rsvd, &f->walk))
            return true;
        c->key = 0; /* perhaps it is out of date and the tables do say yes */
    }
    ft->stats.walks++;
    if (!mmu_walk_ram(f->cpu, f->set, f->linear, f->acc, &f->walk))
        return false;
    if (f->walk.table) {
        c->key = key;
        c->table = f->walk.table;
        c->upper = f->walk.upper;
    }
    return true;
}

static inline bool in_slot(const struct ram_slot *slot, uint64_t gpa, uint64_t len)
{
    return gpa - slot->gpa < slot->len && slot->len - (gpa - slot->gpa) >= len;
}

/* The local APIC covers RAM. */
static inline bool apic_within(const struct vcpu *cpu, uint64_t gpa, uint64_t len)
{
    uint64_t base = atomic_load_explicit(&cpu->apic_base, memory_order_relaxed);
    return (base & 0x800) && (base & PAGE_MASK) - gpa < len;
}

/* Stores to a RAM page may go straight to it: no decoded code there (smc.c has the protocol). */
static inline bool no_code(const struct ram_slot *slot, uint64_t gpa)
{
    const uint8_t *code = __atomic_load_n(&slot->code_pages, __ATOMIC_ACQUIRE);
    return !code || !__atomic_load_n(&code[(gpa - slot->gpa) >> PAGE_BITS], __ATOMIC_SEQ_CST);
}

/* The entry for stores that a place (struct ftab_rev) names, and its linear page. */
static uint64_t *place_entry(struct ftab *ft, uint64_t place, uint64_t *linear)
{
    unsigned number = (place >> 1) & 31;
    struct ftab_table *t = number == TABLE_K   ? &ft->k
                           : number == TABLE_S ? &ft->s
                                               : &ft->context[number].u;
    *linear = place & PAGE_MASK;
    return &t->w[half_index(place)];
}

/*
 * Make LINEAR of F's table the place where the page GPA may be stored to. If it is entered
 * elsewhere that entry goes, or, for a neighbour (STEAL false), stays and nothing is claimed.
 */
static bool claim(struct fill *f, uint64_t linear, uint64_t gpa, uint64_t host, bool steal)
{
    if (gpa >> PAGE_BITS >= REV_PAGES)
        return false;
    struct ftab_rev *rev = &f->ft->rev[gpa >> PAGE_BITS];
    uint64_t *word = f->t->number == TABLE_K ? &rev->upper : &rev->lower;
    uint64_t place = linear | (unsigned)f->t->number << 1 | 1, old = *word;
    if (old == place)
        return true;
    if (old) {
        uint64_t old_linear, *e = place_entry(f->ft, old, &old_linear);
        if (*e && *e + old_linear == host) {
            if (!steal)
                return false;
            *e = 0;
            f->ft->stats.steals++;
        }
    }
    *word = place;
    return true;
}

bool ftab_protect(struct vcpu *cpu, uint64_t gpa)
{
    struct ftab *ft = cpu->ftab;
    const struct ram_slot *slot = ram_slot_of(cpu->soft, gpa);
    if (!slot || gpa >> PAGE_BITS >= REV_PAGES)
        return false;
    uint64_t host = (uint64_t)(uintptr_t)slot->host + ((gpa & PAGE_MASK) - slot->gpa);
    struct ftab_rev *rev = &ft->rev[gpa >> PAGE_BITS];
    bool found = false;
    for (unsigned n = 0; n < 2; n++) {
        uint64_t *word = n ? &rev->upper : &rev->lower, linear;
        if (!*word)
            continue;
        uint64_t *e = place_entry(ft, *word, &linear);
        if (*e && *e + linear == host) {
            *e = 0;
            found = true;
        }
        *word = 0;
    }
    ft->stats.protects += found;
    return found;
}

/*
 * Enter one page, which has the index I. True: it may now be accessed as the walk wanted; false
 * also for an entry that would be 0 (host == linear) and so a miss. The entry for stores is made
 * and dropped together with the one for loads, or dropped alone: so the two never disagree.
 */
static bool put(struct fill *f, uint64_t i, uint64_t linear, uint64_t gpa, uint64_t host,
                bool write, bool global, bool neighbour)
{
    uint64_t line = UINT64_C(1) << ((i >> 3) & 63), entry = host - linear;
    if (host >> 47 || !entry)
        return false;
    f->t->r[i] = entry;
    f->lines_r |= line;
    if (!global)
        f->lines_n |= line;
    if (write && f->cpu->lockstep) /* each page that is stored to is looked at, and for once only */
        write = !neighbour && (f->acc & ACC_W) &&
                lockstep_filled(f->cpu, gpa, (uint8_t *)(uintptr_t)host, &f->t->w[i]);
    if (!write || !claim(f, linear, gpa, host, !neighbour))
        return !(f->acc & ACC_W);
    f->t->w[i] = entry;
    f->lines_w |= line;
    return true;
}

/* The page alone. */
static bool put_self(struct fill *f)
{
    uint64_t host = (uint64_t)(uintptr_t)f->slot->host + (f->walk.gpa - f->slot->gpa);
    return put(f, f->i, f->linear, f->walk.gpa, host,
               f->may_write && no_code(f->slot, f->walk.gpa), f->walk.global, false);
}

/* Entry I is there, for stores too if they are possible. */
static inline bool have(const struct fill *f, uint64_t i, bool write)
{
    uint64_t line = UINT64_C(1) << ((i >> 3) & 63);
    return (f->region->r & line) && f->t->r[i] &&
           (!write || ((f->region->w & line) && f->t->w[i]));
}

/* The entries whose page-table entries share a cache line with the one just walked. */
static void fill_line(struct fill *f)
{
    const struct vcpu *cpu = f->cpu;
    const struct ram_slot *slot = f->slot;
    const uint8_t *table = f->walk.table + (f->i & 511 & ~(uint64_t)7) * 8;
    bool smap = f->set == TLB_SUPER && (cpu->cr4 & CR4_SMAP), pge = cpu->cr4 & CR4_PGE;

    for (unsigned n = 0; n < 8; n++) {
        uint64_t i = (f->i & ~(uint64_t)7) + n;
        uint64_t e = host_load(table + n * 8, 8), all = e & f->walk.upper, gpa = e & PTE_FRAME;
        if (i == f->i || (e & (PTE_P | PTE_A)) != (PTE_P | PTE_A) || (e & f->ft->rsvd))
            continue;
        if (f->set == TLB_USER ? !(all & PTE_U) : smap && (all & PTE_U))
            continue;
        bool write = (all & PTE_W) && (e & PTE_D);
        if (have(f, i, write) || apic_within(cpu, gpa, PAGE_BYTES))
            continue;
        if (!in_slot(slot, gpa, PAGE_BYTES)) {
            const struct ram_slot *other = ram_slot_of(cpu->soft, gpa);
            if (!other || !in_slot(other, gpa, PAGE_BYTES))
                continue;
            slot = other;
        }
        write = write && !(slot->flags & MOBO_MAP_READONLY) && no_code(slot, gpa);
        (void)put(f, i, (f->linear & ~(uint64_t)0x7fff) + (uint64_t)n * PAGE_BYTES, gpa,
                  (uint64_t)(uintptr_t)slot->host + (gpa - slot->gpa), write,
                  (e & PTE_G) && pge, true);
        f->ft->stats.around++;
    }
}

/* A mapping above 4 KiB: the neighbours have the same rights, A and D. */
static void fill_large(struct fill *f)
{
    uint64_t host = (uint64_t)(uintptr_t)f->slot->host + (f->walk.gpa - f->slot->gpa);
    uint64_t from = f->i & ~(uint64_t)(LARGE_PAGES - 1), back = (f->i - from) << PAGE_BITS;
    uint64_t gpa = f->walk.gpa - back, bytes = (uint64_t)LARGE_PAGES << PAGE_BITS;

    f->region->flags |= REGION_LARGE;
    if (f->walk.shift > 22) { /* 4 MiB: ftab_flush.c drops the region next to it in any case */
        f->t->huge = 1;
        f->t->region[(f->i >> 9) & ~(uint64_t)511].flags |= REGION_HUGE;
    }
    if (!in_slot(f->slot, gpa, bytes) || apic_within(f->cpu, gpa, bytes))
        return;
    for (unsigned n = 0; n < LARGE_PAGES; n++) {
        uint64_t i = from + n, off = (uint64_t)n << PAGE_BITS;
        if (i == f->i || have(f, i, f->may_write))
            continue;
        (void)put(f, i, f->linear - back + off, gpa + off, host - back + off,
                  f->may_write && no_code(f->slot, gpa + off), f->walk.global, true);
        f->ft->stats.around++;
    }
}

/* Note what was filled, for flushes. */
static void record(struct fill *f)
{
    struct ftab_table *t = f->t;
    struct ftab_region *region = f->region;
    uint32_t number = (uint32_t)(f->i >> 9);
    region->r |= f->lines_r;
    region->w |= f->lines_w;
    touched(f->ft, t, region, REGION_TOUCHED_R);
    if (f->lines_w)
        touched(f->ft, t, region, REGION_TOUCHED_W);
    if (!(region->flags & REGION_LISTED)) {
        region->flags |= REGION_LISTED;
        t->list[t->count++] = number;
    }
    if (t->number == TABLE_K && f->lines_n) {
        region->n |= f->lines_n;
        if (!(region->flags & REGION_LISTED_N)) {
            region->flags |= REGION_LISTED_N;
            t->list_n[t->count_n++] = number;
        }
    }
}

static bool refuse(struct ftab *ft)
{
    ft->stats.refused++;
    return false;
}

bool ftab_fill(struct vcpu *cpu, uint64_t linear, unsigned acc)
{
    struct ftab *ft = cpu->ftab;
    struct fill f = { .cpu = cpu, .ft = ft, .linear = linear & PAGE_MASK, .acc = acc };
    if (cpu->view_now == ft->empty) {
        if (++ft->empty_misses == 1u << 14)
            ftab_renew_empty(ft);
        return refuse(ft);
    }
    bool good = table_of(&f);
    f.region = &f.t->region[f.i >> 9];
    touched(ft, f.t, f.region, acc & ACC_W ? REGION_TOUCHED_W : REGION_TOUCHED_R);
    if (ft->touched > ft->budget)
        ftab_release_all(ft);
    if (!good)
        return refuse(ft);
    if (have(&f, f.i, acc & ACC_W)) /* what missed was the test of alignment */
        return true;
    if (!walk(&f))
        return refuse(ft);
    f.slot = ram_slot_of(cpu->soft, f.walk.gpa);
    if (!f.slot || !in_slot(f.slot, f.walk.gpa, PAGE_BYTES) ||
        apic_within(cpu, f.walk.gpa, PAGE_BYTES))
        return refuse(ft);
    f.may_write = (f.walk.perm & ACC_W) && f.walk.writable &&
                  !(f.slot->flags & MOBO_MAP_READONLY);
    if (f.t->count >= LIST_MAX || f.t->count_n >= LIST_MAX)
        ftab_table_flush(f.t);

    bool done = put_self(&f);
    if (f.walk.shift > PAGE_BITS)
        fill_large(&f);
    else if (f.walk.table)
        fill_line(&f);
    if (f.t != &ft->k && f.t != &ft->s && (f.walk.global || f.lines_r != f.lines_n))
        ft->now->global = true;
    record(&f);
    if (!done)
        return refuse(ft);
    ft->stats.fills++;
    return true;
}
