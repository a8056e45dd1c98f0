/*
 * mirror_flush.c: what mirrors forget and when. A flush of a context only marks its mirror; as soon
 * as the context is the current one and the flush is done, the guest's page tables are compared
 * with what is mirrored, and what they do not say any more goes. That is what a TLB may do: drop
 * everything, and load again at once. Mirrors of other contexts stay marked until then: their page
 * tables may still change without another flush.
 * Reference: Intel SDM volume 3A, 4.10.4.
 */
#include "mirror_int.h"

#include "../x86/ftab.h"

static uint16_t pcid_now(const struct vcpu *cpu)
{
    return cpu->cr4 & CR4_PCIDE ? cpu->cr3 & 0xfff : 0;
}

/* ---- taking away ---- */

/* Pages [FROM, FROM + COUNT) of the region, all of them mirrored. */
static void unmap(struct vcpu *cpu, struct mirror *m, struct region *r, unsigned from,
                  unsigned count)
{
    if (!m->broken) {
        uint64_t linear = r->base + ((uint64_t)from << PAGE_BITS);
        if (!space_clear(linear, (uint64_t)count << PAGE_BITS))
            mirror_break(cpu, m);
        m->calls++;
        atomic_fetch_add_explicit(&cpu->soft->granules->calls, 1, memory_order_relaxed);
    }
    for (unsigned i = from; i < from + count; i++)
        r->page[i] = 0;
    r->count -= count;
    m->pages -= count;
    cpu->mirrors->stats.unmapped += count;
}

static void unmap_region(struct vcpu *cpu, struct mirror *m, struct region *r)
{
    for (unsigned i = 0; i < REGION_PAGES && r->count; i++) {
        unsigned n = 0;
        while (i + n < REGION_PAGES && r->page[i + n])
            n++;
        if (n)
            unmap(cpu, m, r, i, n);
        i += n;
    }
    r->large = r->huge = 0;
}

void mirror_empty(struct vcpu *cpu, struct mirror *m)
{
    struct granules *g = cpu->soft->granules;
    for (unsigned n = 0; n < m->granules && !m->broken && m->pages; n++) {
        uint64_t from = (uint64_t)m->granule[n] << MIRROR_GRANULE_BITS;
        uint64_t end = from + GRANULE_BYTES, low = end, high = from;
        for (unsigned i = 0; i < m->regions; i++) {
            uint64_t base = m->region[i].base;
            if (!m->region[i].count || base < from || base >= end)
                continue;
            low = base < low ? base : low;
            high = base > high ? base : high;
        }
        if (low == end)
            continue;
        high += UINT64_C(1) << REGION_BITS;
        if (low < g->first && from == 0)
            low = g->first;
        if (high == MIRROR_END)
            high -= PAGE_BYTES;
        if (!space_clear(low, high - low))
            mirror_break(cpu, m);
    }
    cpu->mirrors->stats.unmapped += m->pages;
    if (!m->broken) /* else they are still there */
        atomic_fetch_sub_explicit(&g->calls, m->calls, memory_order_relaxed);
    m->pages = m->calls = m->regions = 0;
    for (unsigned i = 0; i < REGION_HASH; i++)
        m->hash[i] = 0;
}

void mirror_off(struct vcpu *cpu, struct mirror *m)
{
    struct mirrors *ms = cpu->mirrors;
    mirror_empty(cpu, m);
    space_release(cpu, m, false);
    m->on = m->stale = m->other = m->contended = m->crowded = false;
    if (ms->now == m) {
        ms->now = NULL;
        if (cpu->ftab)
            mirror_view(cpu);
    }
}

/* ---- reading the page tables again ---- */

/* An entry in RAM; 0: elsewhere, or reserved bits. */
static uint64_t entry(const struct vcpu *cpu, uint64_t table, unsigned index)
{
    uint64_t gpa = (table & PTE_FRAME) + index * 8u;
    const struct ram_slot *slot = ram_slot_of(cpu->soft, gpa);
    if (!slot || slot->len - (gpa - slot->gpa) < 8)
        return 0;
    return host_load(slot->host + (gpa - slot->gpa), 8);
}

static void check_page(struct vcpu *cpu, struct mirror *m, struct region *r, unsigned i,
                       uint64_t gpa, uint64_t rights, unsigned *gone)
{
    const uint64_t need = PTE_P | PTE_U | PTE_A;
    uint64_t have = r->page[i];
    bool good = (rights & need) == need && (have & PTE_FRAME) == gpa &&
                (!(have & MP_W) || (rights & (PTE_W | PTE_D)) == (PTE_W | PTE_D));
    if (have && !good) {
        ++*gone;
        return;
    }
    if (*gone)
        unmap(cpu, m, r, i - *gone, *gone);
    *gone = 0;
}

static void check_region(struct vcpu *cpu, struct mirror *m, struct region *r)
{
    uint64_t e = m->base, rights = ~(uint64_t)0, table = 0;
    const struct ram_slot *slot = NULL;
    unsigned gone = 0;
    bool pge = cpu->cr4 & CR4_PGE, large = false;
    uint64_t rsvd = mmu_pte_reserved(cpu);
    for (unsigned shift = 39; shift >= REGION_BITS && !large; shift -= 9) {
        e = entry(cpu, e, (unsigned)(r->base >> shift) & 511);
        if (!(e & PTE_P) || (e & rsvd)) {
            unmap_region(cpu, m, r);
            return;
        }
        large = shift <= 30 && (e & PTE_PS);
        table = (e & PTE_FRAME) & (large ? ~((UINT64_C(1) << shift) - 1) : ~(uint64_t)0);
        if (large)
            table += r->base & ((UINT64_C(1) << shift) - 1);
        /* D is that of the last entry; A has been set on the way, or none of it is mirrored */
        rights &= large ? e : e | PTE_D;
    }
    if (!large)
        slot = ram_slot_of(cpu->soft, table);
    if ((large && (!r->large || (pge && (e & PTE_G)))) || (!large && r->large) ||
        (!large && (!slot || slot->len - (table - slot->gpa) < PAGE_BYTES))) {
        unmap_region(cpu, m, r);
        return;
    }
    const uint8_t *pt = large ? NULL : slot->host + (table - slot->gpa);
    for (unsigned i = 0; i < REGION_PAGES; i++) {
        if (large) {
            check_page(cpu, m, r, i, table + ((uint64_t)i << PAGE_BITS), rights, &gone);
            continue;
        }
        uint64_t pte = host_load(pt + i * 8, 8);
        if ((pte & rsvd) || (pge && (pte & PTE_G)))
            pte = 0;
        check_page(cpu, m, r, i, pte & PTE_FRAME, rights & pte, &gone);
    }
    if (gone)
        unmap(cpu, m, r, REGION_PAGES - gone, gone);
}

static bool same_ram(const struct vcpu *cpu)
{
    const struct mirrors *ms = cpu->mirrors;
    const struct soft *s = cpu->soft;
    if (ms->slot_count != s->slot_count)
        return false;
    for (unsigned i = 0; i < s->slot_count; i++)
        if (ms->slot[i].gpa != s->slot[i].gpa || ms->slot[i].len != s->slot[i].len ||
            ms->slot[i].host != s->slot[i].host || ms->slot[i].flags != s->slot[i].flags)
            return false;
    return true;
}

void mirror_revalidate(struct vcpu *cpu, struct mirror *m)
{
    struct mirrors *ms = cpu->mirrors;
    uint64_t begin = __builtin_ia32_rdtsc();
    uint32_t before = m->pages;
    ms->stats.checks++;
    if (!(cpu->cr0 & CR0_PG) || !(cpu->efer & EFER_LMA)) {
        mirror_empty(cpu, m);
    } else {
        for (unsigned i = 0; i < m->regions && m->pages; i++)
            if (m->region[i].count)
                check_region(cpu, m, &m->region[i]);
    }
    m->stale = false;
    if (before >= 16 && m->pages < before / 8)
        m->other = true; /* another program by now */
    ms->stats.ticks += __builtin_ia32_rdtsc() - begin;
}

/* ---- what the flat tables tell ---- */

void mirror_dropped(struct vcpu *cpu, unsigned context)
{
    struct mirrors *ms = cpu->mirrors;
    uint64_t base;
    uint16_t pcid;
    if (!ms || !ftab_context_key(cpu, context, &base, &pcid))
        return;
    for (unsigned i = 0; i < MIRRORS; i++)
        if (ms->m[i].on && ms->m[i].base == base && ms->m[i].pcid == pcid)
            ms->m[i].stale = true;
}

void mirror_settled(struct vcpu *cpu)
{
    struct mirrors *ms = cpu->mirrors;
    struct mirror *now = NULL;
    if (!ms)
        return;
    if (!same_ram(cpu)) {
        for (unsigned i = 0; i < MIRRORS; i++)
            if (ms->m[i].on)
                mirror_empty(cpu, &ms->m[i]);
        for (unsigned i = 0; i < cpu->soft->slot_count; i++)
            ms->slot[i] = cpu->soft->slot[i];
        if (ms->slot_count) /* a change, not the first look: all CPUs are parked */
            space_forget_ram(cpu->soft);
        ms->slot_count = cpu->soft->slot_count;
    }
    for (unsigned i = 0; i < MIRRORS; i++)
        if (ms->m[i].on && ms->m[i].base == (cpu->cr3 & PTE_FRAME) &&
            ms->m[i].pcid == pcid_now(cpu))
            now = &ms->m[i];
    if (now && now->stale)
        mirror_revalidate(cpu, now);
    if (now != ms->now) {
        ms->now = now;
        mirror_view(cpu);
    }
}

void mirror_page(struct vcpu *cpu, unsigned pcid, uint64_t linear)
{
    struct mirrors *ms = cpu->mirrors;
    if (!ms || linear >= MIRROR_END)
        return;
    for (unsigned n = 0; n < MIRRORS; n++) {
        struct mirror *m = &ms->m[n];
        if (!m->on || m->pcid != pcid || !m->pages)
            continue;
        for (unsigned i = 0; i < m->regions; i++) {
            struct region *r = &m->region[i];
            unsigned at = (unsigned)(linear >> PAGE_BITS) & (REGION_PAGES - 1);
            bool same = (r->base ^ linear) >> REGION_BITS == 0;
            if (!r->count)
                continue;
            if (r->huge && (r->base ^ linear) >> 30 == 0)
                unmap_region(cpu, m, r);
            else if (r->large && same)
                unmap_region(cpu, m, r);
            else if (same && r->page[at])
                unmap(cpu, m, r, at, 1);
        }
    }
}

/* No stores to that guest-physical page from now on; true if there could have been some. */
bool mirror_protect(struct vcpu *cpu, uint64_t gpa)
{
    struct mirrors *ms = cpu->mirrors;
    uint64_t page = gpa >> PAGE_BITS;
    bool found = false;
    if (!ms || page >= WRITTEN_PAGES || !(ms->written[page >> 6] >> (page & 63) & 1))
        return false;
    ms->written[page >> 6] &= ~(UINT64_C(1) << (page & 63));
    for (unsigned n = 0; n < MIRRORS; n++) {
        struct mirror *m = &ms->m[n];
        for (unsigned i = 0; m->on && i < m->regions; i++) {
            struct region *r = &m->region[i];
            for (unsigned k = 0; r->count && k < REGION_PAGES; k++)
                if ((r->page[k] & MP_W) && (r->page[k] & PTE_FRAME) == (gpa & PTE_FRAME)) {
                    unmap(cpu, m, r, k, 1);
                    found = true;
                }
        }
    }
    return found;
}
