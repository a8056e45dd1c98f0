/*
 * link.c: how control gets from block to block: links (jumps to known addresses, patched once their
 * target has code), jump caches (all other jumps), and what a change of the guest's mappings means
 * for both. Nothing here knows an instruction; the code that follows a link or probes a jump cache
 * is flow.c's and glue.c's.
 *
 * A link or a jump cache entry says "this linear address is that code", so it must go when the
 * mapping may have changed, at the latest when the guest flushes its TLB:
 *  - A link within a page leads from bytes of one guest-physical page to others of the same page.
 *    Whoever executes the first may execute the second, whatever is mapped where.
 *  - Links to other pages exist only from and to the kernel's upper half. `cross` has the pages that
 *    they lead to; a flush walks the guest's tables for each and cuts the links to those that have
 *    moved.
 *  - Jump caches are emptied: that of one context of CPL 3 when its part of the TLB is, the kernel's
 *    with the upper half. Single pages (INVLPG) lose their entries only.
 *  - Return pairs live as long as the jump cache of their privilege level.
 */
#include "blk.h"
#include "emit.h"

#include "../x86/mmu.h"

enum {
    STUB_CALL = 5,    /* bytes of the call in a link's stub */
    REGION_BITS = 21,
};

/* ---- jump caches ---- */

/*
 * An empty slot has the tag of another slot: no probe compares it with an address that it equals.
 * (An address that is not canonical would not do: a guest may jump there, and the probe's match
 * would skip the check that makes it #GP.)
 */
static void jc_empty(const struct rw *rw, struct rw_jump_cache *jc, unsigned i)
{
    struct rw_jc *e = &jc->e[i];
    e->rip = i == 0; /* 0 belongs to slot 0, 1 does not */
    e->host = (uint64_t)(uintptr_t)rw->rx_base + rw->glue.lookup_slow;
}

static void filters_clear(struct rw_jump_cache *jc)
{
    for (unsigned i = 0; i < 4; i++)
        jc->pages[i] = jc->regions[i] = 0;
}

void rw_jcs_reset(struct rw *rw)
{
    for (unsigned c = 0; c <= RW_CONTEXTS; c++) {
        struct rw_jump_cache *jc = &rw->jcs->cache[c];
        for (unsigned i = 0; i < RW_JC_ENTRIES; i++) {
            jc_empty(rw, jc, i);
            jc->listed[i] = 0;
        }
        jc->count = 0;
        filters_clear(jc);
    }
    rw->pages->kernel_lower = false;
}

static void jc_clear(const struct rw *rw, struct rw_jump_cache *jc)
{
    for (unsigned n = 0; n < jc->count; n++) {
        jc_empty(rw, jc, jc->list[n]);
        jc->listed[jc->list[n]] = 0;
    }
    jc->count = 0;
    filters_clear(jc);
}

static void jc_clear_kernel(struct rw *rw)
{
    jc_clear(rw, &rw->jcs->cache[RW_JC_KERNEL]);
    rw->pages->kernel_lower = false;
}

/* Filters over pages and over 2 MiB regions: 256 bits by a hash. */
static unsigned filter_bit(uint64_t number)
{
    return (unsigned)(number ^ number >> 8 ^ number >> 16) & 255;
}

static void filter_add(uint64_t filter[4], uint64_t number)
{
    filter[filter_bit(number) >> 6] |= UINT64_C(1) << (filter_bit(number) & 63);
}

static bool filter_has(const uint64_t filter[4], uint64_t number)
{
    return filter[filter_bit(number) >> 6] >> (filter_bit(number) & 63) & 1;
}

/* Entries of the page, or of the larger aligned range, that LINEAR is in. */
static void jc_clear_range(const struct rw *rw, struct rw_jump_cache *jc, uint64_t linear,
                           unsigned shift)
{
    if ((shift == PAGE_BITS && !filter_has(jc->pages, linear >> PAGE_BITS)) ||
        (shift <= REGION_BITS && !filter_has(jc->regions, linear >> REGION_BITS)))
        return;
    for (unsigned n = 0; n < jc->count; n++) {
        struct rw_jc *e = &jc->e[jc->list[n]];
        if ((e->rip ^ linear) >> shift == 0)
            jc_empty(rw, jc, jc->list[n]);
    }
}

static void jc_enter(struct vcpu *cpu, const struct rw_block *b)
{
    struct rw *rw = cpu->rw;
    unsigned i = rw_jc_offset(b->rip) / sizeof(struct rw_jc);
    struct rw_jc *entries = cpu->cpl == 0 ? rw->jc_kernel : rw->jc_user;
    struct rw_jump_cache *jc = (struct rw_jump_cache *)(void *)entries; /* its first member */
    jc->e[i].rip = b->rip;
    jc->e[i].host = (uint64_t)(uintptr_t)rw->rx_base + b->entry_mem;
    filter_add(jc->pages, b->rip >> PAGE_BITS);
    filter_add(jc->regions, b->rip >> REGION_BITS);
    if (!jc->listed[i]) {
        jc->listed[i] = 1;
        jc->list[jc->count++] = (uint16_t)i;
    }
    if (cpu->cpl == 0 && !(b->rip >> 63))
        rw->pages->kernel_lower = true;
}

void rw_jcs_forget(struct rw *rw, const struct rw_block *b)
{
    unsigned i = rw_jc_offset(b->rip) / sizeof(struct rw_jc);
    uint64_t host = (uint64_t)(uintptr_t)rw->rx_base + b->entry_mem;
    unsigned first = b->cpl == 0 ? RW_JC_KERNEL : 0, last = b->cpl == 0 ? RW_JC_KERNEL + 1
                                                                       : RW_CONTEXTS;
    for (unsigned c = first; c < last; c++) {
        struct rw_jump_cache *jc = &rw->jcs->cache[c];
        if (jc->count && jc->e[i].rip == b->rip && jc->e[i].host == host)
            jc_empty(rw, jc, i);
    }
}

static bool wanted(const struct vcpu *cpu)
{
    return cpu->lockstep || atomic_load_explicit(&cpu->exit_req, memory_order_relaxed) != 0;
}

uint64_t rw_on_lookup(struct vcpu *cpu, uint64_t rip)
{
    struct rw *rw = cpu->rw;
    rw->stats.lookups++;
    cpu->rip = rip;
    if (wanted(cpu))
        return 0;
    const struct rw_block *b = rw_find(cpu, rip);
    if (!b)
        return 0;
    rw->stats.lookup_found++;
    jc_enter(cpu, b);
    return (uint64_t)(uintptr_t)rw->rx_base + b->entry_mem;
}

/* ---- links ---- */

void rw_cut(struct rw *rw, struct rw_link *l)
{
    struct rw_link **p = &l->to->in;
    while (*p && *p != l)
        p = &(*p)->next_in;
    if (*p)
        *p = l->next_in;
    l->to = NULL;
    l->next_in = NULL;
    e_fix32(rw, l->site, l->stub);
    rw->stats.unlinks++;
}

static struct rw_cross *cross_slot(struct rw_pages *pages, uint64_t lin)
{
    unsigned i = (unsigned)(lin >> PAGE_BITS) * 0x9e3779b1u >> 19;
    _Static_assert(RW_CROSS_SLOTS == 1 << 13, "19 bits are shifted out");
    while (pages->cross[i].lin && pages->cross[i].lin != lin)
        i = (i + 1) & (RW_CROSS_SLOTS - 1);
    return &pages->cross[i];
}

static bool same_page(const struct rw_block *a, const struct rw_block *b)
{
    return ((a->rip ^ b->rip) | (a->gpa ^ b->gpa)) >> PAGE_BITS == 0;
}

/* Links from other pages to the kernel's blocks there. */
static void cross_cut(struct rw *rw, struct rw_cross *c)
{
    struct rw_page *page = c->gpa == RW_NOWHERE ? NULL : rw_page_find(rw, c->gpa);
    for (struct rw_block *b = page ? page->first : NULL; b; b = b->page_next) {
        if (b->cpl != 0 || (b->rip & PAGE_MASK) != c->lin)
            continue;
        for (struct rw_link *l = b->in, *next; l; l = next) {
            next = l->next_in;
            if (!same_page(l->from, b))
                rw_cut(rw, l);
        }
    }
    c->gpa = RW_NOWHERE;
}

/* A link to another page of the upper half is about to be made; false: it may not. */
static bool cross_add(struct rw *rw, const struct rw_block *to)
{
    struct rw_pages *pages = rw->pages;
    struct rw_cross *c = cross_slot(pages, to->rip & PAGE_MASK);
    if (!c->lin) {
        if (pages->crosses >= RW_CROSS_SLOTS / 4 * 3)
            return false;
        *c = (struct rw_cross){ to->rip & PAGE_MASK, RW_NOWHERE };
        pages->cross_list[pages->crosses++] = (uint16_t)(c - pages->cross);
    }
    if (c->gpa != (to->gpa & PAGE_MASK)) {
        cross_cut(rw, c);
        c->gpa = to->gpa & PAGE_MASK;
    }
    return true;
}

static bool may_link(struct rw *rw, const struct rw_block *from, const struct rw_block *to)
{
    if (!from->valid || from->cpl != to->cpl || from->mirror != to->mirror)
        return false;
    if (same_page(from, to))
        return true;
    /* the same linear page elsewhere: FROM is not what is mapped there any more */
    if ((from->rip ^ to->rip) >> PAGE_BITS == 0)
        return false;
    return to->cpl == 0 && from->rip >> 63 && to->rip >> 63 && cross_add(rw, to);
}

/*
 * flags_dead: flow.c has seen in code of the same page that nobody reads them. Should the target
 * read them by its own account, any will do: those in MEM.
 */
static void patch(struct rw *rw, struct rw_link *l, struct rw_block *to)
{
    bool mem = l->flags_mem || (l->flags_dead && to->live_in);
    if (l->to)
        rw_cut(rw, l);
    l->to = to;
    l->next_in = to->in;
    to->in = l;
    e_fix32(rw, l->site, mem ? to->entry_mem : to->entry);
}

uint64_t rw_on_link(struct vcpu *cpu, uint64_t ret)
{
    struct rw *rw = cpu->rw;
    unsigned off, i = 0;
    uint32_t stub = (uint32_t)(ret - STUB_CALL - (uint64_t)(uintptr_t)rw->rx_base);
    struct rw_block *from = rw_block_at(rw, ret - 1, &off);
    while (from && i < from->links && from->link[i].stub != stub)
        i++;
    if (!from || i == from->links)
        return 0; /* cannot be */
    struct rw_link *l = &from->link[i];
    cpu->rip = l->rip;
    if (wanted(cpu))
        return 0;
    struct rw_block *to = rw_find(cpu, l->rip);
    if (!to)
        return 0;
    rw->stats.links++;
    if (may_link(rw, from, to))
        patch(rw, l, to);
    return (uint64_t)(uintptr_t)rw->rx_base + to->entry_mem;
}

/* ---- mappings change ---- */

static unsigned which_lower(const struct rw *rw)
{
    return rw->pages->kernel_lower ? 3 : 2;
}

/* Where the page is now; large mappings are walked once for all pages in a row. */
static uint64_t gpa_now(struct vcpu *cpu, uint64_t lin, struct walk *last, uint64_t *last_lin)
{
    uint64_t in_mapping = (UINT64_C(1) << last->shift) - 1;
    if (*last_lin != RW_NOWHERE && (*last_lin ^ lin) >> last->shift == 0)
        return (last->gpa & ~in_mapping) | (lin & in_mapping);
    unsigned set = (cpu->cr4 & CR4_SMAP) ? TLB_SUPER : TLB_SUPER_AC;
    *last_lin = RW_NOWHERE;
    if (!mmu_walk_ram(cpu, set, lin, ACC_X, last))
        return RW_NOWHERE;
    *last_lin = lin;
    return last->gpa;
}

static void upper_verify(struct vcpu *cpu)
{
    struct rw *rw = cpu->rw;
    struct rw_pages *pages = rw->pages;
    struct walk last = { .shift = PAGE_BITS };
    uint64_t last_lin = RW_NOWHERE;
    bool own = false;
    for (unsigned n = 0; n < pages->crosses; n++) {
        struct rw_cross *c = &pages->cross[pages->cross_list[n]];
        if (c->gpa == RW_NOWHERE)
            continue;
        if (gpa_now(cpu, c->lin, &last, &last_lin) != c->gpa)
            cross_cut(rw, c);
        else if (!last.global)
            own = true;
    }
    pages->upper_own = own;
    jc_clear_kernel(rw);
    rw_pairs_reset(cpu, 1);
}

static void lower_moved(struct vcpu *cpu, struct rw_jump_cache *jc)
{
    struct rw *rw = cpu->rw;
    jc_clear(rw, jc);
    rw_pairs_reset(cpu, which_lower(rw));
    if (rw->pages->kernel_lower)
        jc_clear_kernel(rw);
}

void rw_code_moved(struct vcpu *cpu, bool upper_too)
{
    struct rw *rw = cpu->rw;
    if (!upper_too) {
        lower_moved(cpu, (struct rw_jump_cache *)(void *)rw->jc_user);
        return;
    }
    for (unsigned i = 0; i < RW_CONTEXTS; i++)
        jc_clear(rw, &rw->jcs->cache[i]);
    rw_pairs_reset(cpu, 2);
    upper_verify(cpu);
}

static void upper_moved(struct vcpu *cpu, uint64_t linear, unsigned shift)
{
    struct rw *rw = cpu->rw;
    struct rw_pages *pages = rw->pages;
    struct walk last = { .shift = PAGE_BITS };
    uint64_t last_lin = RW_NOWHERE;
    if (shift == PAGE_BITS) {
        struct rw_cross *c = cross_slot(pages, linear & PAGE_MASK);
        if (c->lin && c->gpa != RW_NOWHERE && gpa_now(cpu, c->lin, &last, &last_lin) != c->gpa)
            cross_cut(rw, c);
    } else {
        for (unsigned n = 0; n < pages->crosses; n++) {
            struct rw_cross *c = &pages->cross[pages->cross_list[n]];
            if ((c->lin ^ linear) >> shift == 0 && c->gpa != RW_NOWHERE &&
                gpa_now(cpu, c->lin, &last, &last_lin) != c->gpa)
                cross_cut(rw, c);
        }
    }
    jc_clear_range(rw, &rw->jcs->cache[RW_JC_KERNEL], linear, shift);
}

void rw_page_moved(struct vcpu *cpu, uint64_t linear, unsigned shift)
{
    struct rw *rw = cpu->rw;
    struct rw_pages *pages = rw->pages;
    unsigned pairs = 1;
    if (shift < PAGE_BITS)
        shift = PAGE_BITS;
    if (linear >> 63) {
        upper_moved(cpu, linear, shift);
    } else {
        pairs = which_lower(rw);
        jc_clear_range(rw, (struct rw_jump_cache *)(void *)rw->jc_user, linear, shift);
        for (unsigned i = 0; i < RW_CONTEXTS && pages->lower_global; i++)
            jc_clear_range(rw, &rw->jcs->cache[i], linear, shift);
        if (pages->kernel_lower)
            jc_clear_range(rw, &rw->jcs->cache[RW_JC_KERNEL], linear, shift);
    }
    if (shift > PAGE_BITS || tlb_exec_seen(cpu->tlb, linear))
        rw_pairs_reset(cpu, pairs);
}

void rw_context_dropped(struct vcpu *cpu, unsigned context)
{
    struct rw *rw = cpu->rw;
    if (!rw)
        return;
    lower_moved(cpu, &rw->jcs->cache[context % RW_CONTEXTS]);
    if (rw->pages->upper_own)
        upper_verify(cpu);
}

void rw_context_changed(struct vcpu *cpu, unsigned context)
{
    struct rw *rw = cpu->rw;
    if (!rw)
        return;
    rw->jc_user = rw->jcs->cache[context % RW_CONTEXTS].e;
    cpu->rw_jc_user = (uint64_t)(uintptr_t)rw->jc_user;
    if (cpu->cpl == 3)
        cpu->rw_jc = cpu->rw_jc_user;
    rw_pairs_reset(cpu, which_lower(rw));
    if (rw->pages->kernel_lower)
        jc_clear_kernel(rw);
    if (rw->pages->upper_own)
        upper_verify(cpu);
}
