/*
 * ftab_flush.c: what the flat page tables forget and when, the contexts, and which view is in use.
 * References: Intel SDM volume 3A, 4.10.2 (PCIDs and global pages), 4.10.4 (invalidation); volume
 * 2, MOV CR3, INVLPG, INVPCID. Forgetting more than asked is always allowed.
 */
#include "ftab_int.h"

/* ---- one table ------------------------------------------------------------------------------- */

static void zero(uint64_t *to, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        ((volatile uint64_t *)to)[i] = 0; /* volatile: must not become a call of memset */
}

static void lines_zero(uint64_t *entries, uint64_t lines)
{
    if (lines == ~(uint64_t)0) {
        zero(entries, 512);
        return;
    }
    for (; lines; lines &= lines - 1)
        zero(entries + (unsigned)__builtin_ctzll(lines) * 8, 8);
}

static void region_flush(struct ftab_table *t, uint64_t number)
{
    struct ftab_region *region = &t->region[number];
    if (!(region->r | region->w))
        return;
    if (region->r)
        lines_zero(t->r + number * 512, region->r);
    if (region->w)
        lines_zero(t->w + number * 512, region->w);
    region->r = region->w = region->n = 0;
    region->flags &= ~(uint32_t)REGION_LARGE;
}

void ftab_table_flush(struct ftab_table *t)
{
    for (uint32_t k = 0; k < t->count; k++) {
        region_flush(t, t->list[k]);
        t->region[t->list[k]].flags &= ~(uint32_t)(REGION_LISTED | REGION_LISTED_N);
    }
    t->count = t->count_n = 0;
    t->huge = 0;
}

void ftab_table_flush_nonglobal(struct ftab_table *t)
{
    for (uint32_t k = 0; k < t->count_n; k++) {
        uint64_t number = t->list_n[k];
        struct ftab_region *region = &t->region[number];
        uint64_t lines = region->n;
        region->flags &= ~(uint32_t)REGION_LISTED_N;
        region->n = 0;
        if (region->r & lines)
            lines_zero(t->r + number * 512, region->r & lines);
        if (region->w & lines)
            lines_zero(t->w + number * 512, region->w & lines);
        region->r &= ~lines;
        region->w &= ~lines;
    }
    t->count_n = 0;
}

/* All that INVLPG of the page has to drop: of a large mapping, all of it (SDM 4.10.4.1). */
static void page_flush(struct ftab_table *t, uint64_t linear)
{
    uint64_t i = half_index(linear), number = i >> 9;
    struct ftab_region *region = &t->region[number];
    if (!t->count)
        return;
    if (t->huge && (t->region[number & ~(uint64_t)511].flags & REGION_HUGE)) {
        for (uint64_t k = number & ~(uint64_t)511; k <= (number | 511); k++)
            region_flush(t, k);
        return;
    }
    if ((region->flags | t->region[number ^ 1].flags) & REGION_LARGE) {
        region_flush(t, number); /* a 4 MiB page is two regions */
        region_flush(t, number ^ 1);
        return;
    }
    uint64_t line = UINT64_C(1) << ((i >> 3) & 63);
    if (region->r & line)
        t->r[i] = 0;
    if (region->w & line)
        t->w[i] = 0;
}

/* ---- contexts -------------------------------------------------------------------------------- */

/* Generation numbers have 37 bits in the keys of the paging-structure cache. */
static void psc_void(struct ftab *ft, struct ftab_context *c)
{
    if (++ft->gen >> 37) {
        for (unsigned i = 0; i < PSC_ENTRIES; i++)
            ft->psc[i].key = 0;
        for (unsigned i = 0; i < ft->contexts; i++)
            ft->context[i].gen = i + 1;
        ft->gen = FTAB_CONTEXTS + 1;
    }
    c->gen = ft->gen;
}

void ftab_context_void(struct vcpu *cpu, struct ftab_context *c)
{
    struct ftab *ft = cpu->ftab;
    ftab_table_flush(&c->u);
    c->global = false;
    psc_void(ft, c);
    if (ft->hooks.dropped)
        ft->hooks.dropped(cpu, c->u.number);
}

static void settled(struct vcpu *cpu)
{
    if (cpu->ftab->hooks.settled)
        cpu->ftab->hooks.settled(cpu);
}

static uint16_t pcid_now(const struct vcpu *cpu)
{
    return cpu->cr4 & CR4_PCIDE ? cpu->cr3 & 0xfff : 0;
}

/* The context of CR3: the one with that base, or with the PCID at least if that is EMPTY now. */
static struct ftab_context *context_find(struct vcpu *cpu, bool empty)
{
    struct ftab *ft = cpu->ftab;
    uint64_t base = cpu->cr3 & PTE_FRAME;
    uint16_t pcid = pcid_now(cpu);
    struct ftab_context *same = NULL, *oldest = NULL;
    for (unsigned n = 0; n < ft->contexts; n++) {
        struct ftab_context *c = &ft->context[n];
        if (c->valid && c->pcid == pcid) {
            if (c->base == base)
                return c;
            same = c;
        }
        if (!oldest || (oldest->valid && (!c->valid || c->stamp < oldest->stamp)))
            oldest = c;
    }
    struct ftab_context *c = empty && same ? same : oldest;
    if (c == oldest && c->valid) {
        ftab_context_void(cpu, c);
        ftab_release_context(ft, c);
        ft->stats.recycles++;
    }
    c->valid = true;
    c->base = base;
    c->pcid = pcid;
    return c;
}

void ftab_cr3_written(struct vcpu *cpu, bool keep)
{
    struct ftab *ft = cpu->ftab;
    struct ftab_context *old = ft->now;
    uint16_t pcid = pcid_now(cpu);
    if (keep && old->valid && old->pcid == pcid && old->base == (cpu->cr3 & PTE_FRAME))
        return;
    /* What is not global belongs to the PCID that was current. */
    ftab_table_flush(&ft->s);
    ftab_table_flush_nonglobal(&ft->k);
    if (!keep)
        ftab_flush_pcid(cpu, pcid);
    ft->now = context_find(cpu, !keep);
    ft->now->stamp = ++ft->clock;
    if (ft->now == old) {
        settled(cpu);
        return;
    }
    ft->stats.switches++;
    ft->stats.kept += ft->now->u.count != 0;
    ftab_view_update(cpu);
    if (ft->hooks.switched)
        ft->hooks.switched(cpu, ft->now->u.number);
    settled(cpu);
}

/* ---- flushes --------------------------------------------------------------------------------- */

void ftab_flush_all(struct vcpu *cpu)
{
    struct ftab *ft = cpu->ftab;
    unsigned before = ft->now->u.number;
    ft->stats.flush_all++;
    ftab_table_flush(&ft->s);
    ftab_table_flush(&ft->k);
    for (unsigned n = 0; n < ft->contexts; n++) {
        ftab_context_void(cpu, &ft->context[n]);
        ft->context[n].valid = false;
    }
    uint64_t ram = 0;
    for (unsigned n = 0; n < cpu->soft->slot_count; n++)
        ram += cpu->soft->slot[n].len;
    /* 4 KiB of entries cover 2 MiB: all of RAM four times over, and 128 MiB for sparse use. */
    ram = (ram >> 21) * 4 + 32768;
    ft->budget = ram < UINT32_MAX / 2 ? (uint32_t)ram : UINT32_MAX / 2;
    ft->rsvd = mmu_pte_reserved(cpu);
    ft->now = context_find(cpu, true);
    ft->now->stamp = ++ft->clock;
    ftab_view_update(cpu);
    if (ft->now->u.number != before && ft->hooks.switched)
        ft->hooks.switched(cpu, ft->now->u.number);
    settled(cpu);
}

void ftab_flush_pcid(struct vcpu *cpu, unsigned pcid)
{
    struct ftab *ft = cpu->ftab;
    ft->stats.flush_context++;
    for (unsigned n = 0; n < ft->contexts; n++)
        if (ft->context[n].valid && ft->context[n].pcid == pcid)
            ftab_context_void(cpu, &ft->context[n]);
    if (ft->now->pcid == pcid) {
        ftab_table_flush(&ft->s);
        ftab_table_flush_nonglobal(&ft->k);
    }
    settled(cpu);
}

void ftab_flush_nonglobal(struct vcpu *cpu)
{
    struct ftab *ft = cpu->ftab;
    ft->stats.flush_context++;
    for (unsigned n = 0; n < ft->contexts; n++)
        if (ft->context[n].valid)
            ftab_context_void(cpu, &ft->context[n]);
    ftab_table_flush(&ft->s);
    ftab_table_flush_nonglobal(&ft->k);
    settled(cpu);
}

/* S and K hold what belongs to the current PCID, and global pages. */
void ftab_flush_pcid_page(struct vcpu *cpu, unsigned pcid, uint64_t linear)
{
    struct ftab *ft = cpu->ftab;
    bool now = ft->now->pcid == pcid, upper = linear >> 47 & 1;
    ft->stats.flush_page++;
    for (unsigned n = 0; n < ft->contexts; n++) {
        struct ftab_context *c = &ft->context[n];
        if (!c->valid || (c->pcid != pcid && !c->global))
            continue;
        if (!upper)
            page_flush(&c->u, linear);
        if (c->pcid == pcid) /* all of them go with any page (SDM 4.10.4.1) */
            psc_void(ft, c);
    }
    if (now && !upper)
        page_flush(&ft->s, linear);
    if (now && upper)
        page_flush(&ft->k, linear);
    if (ft->hooks.page)
        ft->hooks.page(cpu, pcid, linear);
}

void ftab_flush_page(struct vcpu *cpu, uint64_t linear)
{
    ftab_flush_pcid_page(cpu, cpu->ftab->now->pcid, linear);
}

void ftab_drop_stale(struct vcpu *cpu, uint64_t linear)
{
    struct ftab *ft = cpu->ftab;
    struct ftab_psc *c = ftab_psc_slot(ft, linear);
    if (c->key == ftab_psc_key(ft, linear))
        c->key = 0;
    if (linear >> 47 & 1) {
        page_flush(&ft->k, linear);
    } else {
        page_flush(&ft->now->u, linear);
        page_flush(&ft->s, linear);
    }
    if (ft->hooks.page)
        ft->hooks.page(cpu, ft->now->pcid, linear);
}

/* ---- views ----------------------------------------------------------------------------------- */

void ftab_view_update(struct vcpu *cpu)
{
    struct ftab *ft = cpu->ftab;
    bool watch = cpu->debug_watch;
    cpu->view_user = watch ? ft->empty : ft->now->view;
    cpu->view_kernel = watch ? ft->empty : ft->kernel;
    if (cpu->cpl == 3)
        cpu->view_now = (cpu->fl & FL_AC) && (cpu->cr0 & CR0_AM) ? ft->empty : cpu->view_user;
    else
        cpu->view_now = (cpu->cr4 & CR4_SMAP) && (cpu->fl & FL_AC) ? cpu->view_user
                                                                   : cpu->view_kernel;
    cpu->rw_view3 = cpu->rw_mirror ? cpu->rw_mirror : (uint64_t)(uintptr_t)cpu->view_user;
}

unsigned ftab_context(const struct vcpu *cpu)
{
    return cpu->ftab->now->u.number;
}

bool ftab_context_key(const struct vcpu *cpu, unsigned context, uint64_t *base, uint16_t *pcid)
{
    const struct ftab_context *c = &cpu->ftab->context[context % FTAB_CONTEXTS];
    *base = c->base;
    *pcid = c->pcid;
    return c->valid;
}

unsigned ftab_contexts(const struct vcpu *cpu)
{
    return cpu->ftab->contexts;
}

const struct ftab_stats *ftab_stats(const struct vcpu *cpu)
{
    return &cpu->ftab->stats;
}
