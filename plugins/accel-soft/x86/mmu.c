/*
 * mmu.c: filling and flushing the software TLB, and what the CPU's mode means for it. The walk
 * itself is in walk.c, accesses are in gmem.c.
 */
#include "mmu.h"

#include "../interp.h"
#include "../rw/rw.h"
#include "../rw/lockstep.h"
#include "../rw/mirror.h"
#include "flags.h"
#include "ftab.h"
#include "vecstate.h"

#include <stdlib.h>

static void slot_clear(struct tlb_set *set, unsigned i)
{
    set->e[i].r = set->e[i].w = TLB_NONE;
    set->note[i].page = TLB_NONE;
}

static void set_clear(struct tlb_set *set)
{
    for (unsigned i = 0; i < TLB_ENTRIES; i++) {
        slot_clear(set, i);
        set->note[i].listed = 0;
    }
    set->own = set->global = 0;
}

static void large_clear(struct tlb *tlb)
{
    for (unsigned i = 0; i < 2; i++) {
        tlb->large[i].lo = ~(uint64_t)0;
        tlb->large[i].hi = 0;
        tlb->large[i].shift = 0;
    }
}

int mmu_init(struct vcpu *cpu)
{
    cpu->tlb = aligned_alloc(64, (sizeof *cpu->tlb + 63) & ~(size_t)63);
    if (!cpu->tlb)
        return MOBO_ENOMEM;
    for (unsigned i = 0; i < TLB_SETS; i++)
        set_clear(&cpu->tlb->set[i]);
    large_clear(cpu->tlb);
    memset(cpu->tlb->exec_seen, 0, sizeof cpu->tlb->exec_seen);
    cpu->tlb_now = cpu->tlb->set[TLB_SUPER_AC].e;
    return 0;
}

void mmu_fini(struct vcpu *cpu)
{
    free(cpu->tlb);
    cpu->tlb = NULL;
}

/* Which entry's stores may go straight to RAM: right, RAM, not ROM, no decoded code there. */
static uint64_t write_tag(const struct vcpu *cpu, const struct ram_slot *slot,
                          const struct tlb_note *note)
{
    if (!(note->perm & ACC_W) || !note->host || note->readonly || cpu->lockstep)
        return TLB_NONE; /* lockstep looks at each store */
    const uint8_t *code = slot->code_pages;
    if (code && __atomic_load_n(&code[(note->gpa - slot->gpa) >> PAGE_BITS], __ATOMIC_SEQ_CST))
        return TLB_NONE;
    return note->page;
}

/* Each access has to be looked at: alignment checks, watched data. */
static bool never_fast(const struct vcpu *cpu, unsigned set_no, uint64_t page)
{
    return set_no == TLB_USER_AC || (cpu->debug_watch && debug_page_watched(cpu, page));
}

static void fill(struct vcpu *cpu, unsigned set_no, uint64_t linear, const struct walk *walk)
{
    struct tlb_set *set = &cpu->tlb->set[set_no];
    unsigned i = tlb_index(linear);
    struct tlb_note *note = &set->note[i];
    struct tlb_entry *e = &set->e[i];

    note->page = linear & PAGE_MASK;
    note->gpa = walk->gpa;
    note->perm = walk->perm;
    note->shift = walk->shift;
    note->global = walk->global;
    note->readonly = 0;
    note->host = NULL;
    e->r = e->w = TLB_NONE;
    cpu->tlb_fills++;

    const struct ram_slot *slot = ram_slot_of(cpu->soft, walk->gpa);
    bool apic = (cpu->apic_base & 0x800) && (cpu->apic_base & PAGE_MASK) == walk->gpa;
    if (slot && !apic && slot->len - (walk->gpa - slot->gpa) >= PAGE_BYTES) {
        note->host = slot->host + (walk->gpa - slot->gpa);
        note->readonly = (slot->flags & MOBO_MAP_READONLY) != 0;
        e->addend = (uintptr_t)note->host - (uintptr_t)note->page;
        if (note->perm & ACC_R)
            e->r = note->page;
        e->w = write_tag(cpu, slot, note);
        if (never_fast(cpu, set_no, note->page))
            e->r = e->w = TLB_NONE;
    }

    uint8_t bit = note->global ? 2 : 1;
    if (!(note->listed & bit)) {
        note->listed |= bit;
        if (note->global)
            set->list_global[set->global++] = (uint16_t)i;
        else
            set->list_own[set->own++] = (uint16_t)i;
    }
    if (walk->shift > PAGE_BITS) {
        uint64_t lo = linear & ~((UINT64_C(1) << walk->shift) - 1);
        uint64_t hi = lo + (UINT64_C(1) << walk->shift) - 1;
        unsigned half = linear >> 63;
        if (lo < cpu->tlb->large[half].lo)
            cpu->tlb->large[half].lo = lo;
        if (hi > cpu->tlb->large[half].hi)
            cpu->tlb->large[half].hi = hi;
        if (walk->shift > cpu->tlb->large[half].shift)
            cpu->tlb->large[half].shift = walk->shift;
    }
}

const struct tlb_note *mmu_page(struct vcpu *cpu, unsigned set_no, uint64_t linear, unsigned acc)
{
    struct tlb_set *set = &cpu->tlb->set[set_no];
    unsigned i = tlb_index(linear);
    struct tlb_note *note = &set->note[i];
    if (note->page == (linear & PAGE_MASK) && (note->perm & acc) == acc) {
        /* known, but slow: perhaps the decoded code on it is gone by now */
        if (note->host && (acc & ACC_W) && set->e[i].w == TLB_NONE &&
            !never_fast(cpu, set_no, note->page)) {
            const struct ram_slot *slot = ram_slot_of(cpu->soft, note->gpa);
            if (slot)
                set->e[i].w = write_tag(cpu, slot, note);
        }
        if (cpu->lockstep && (acc & ACC_W) && note->host && !note->readonly)
            lockstep_page(cpu, note->gpa, note->host);
        return note;
    }
    struct walk walk;
    if (!mmu_walk(cpu, set_no, linear, acc, &walk)) {
        /* the entry that led here may be stale: a fault drops it (SDM 4.10.4.1) */
        if (note->page == (linear & PAGE_MASK))
            slot_clear(set, i);
        if (cpu->ftab)
            ftab_drop_stale(cpu, linear);
        x86_raise_pf(cpu, linear, walk.error);
    }
    fill(cpu, set_no, linear, &walk);
    if (cpu->lockstep && (acc & ACC_W) && note->host && !note->readonly)
        lockstep_page(cpu, note->gpa, note->host);
    return note;
}

bool mmu_protect(struct vcpu *cpu, uint64_t gpa)
{
    bool found = false;
    for (unsigned s = 0; s < TLB_SETS; s++) {
        struct tlb_set *set = &cpu->tlb->set[s];
        for (unsigned i = 0; i < TLB_ENTRIES; i++)
            if (set->e[i].w != TLB_NONE && set->note[i].gpa == gpa) {
                set->e[i].w = TLB_NONE;
                found = true;
            }
    }
    if (cpu->ftab && ftab_protect(cpu, gpa))
        found = true;
    if (cpu->mirrors && mirror_protect(cpu, gpa))
        found = true;
    return found;
}

void tlb_flush(struct vcpu *cpu)
{
    struct tlb *tlb = cpu->tlb;
    for (unsigned s = 0; s < TLB_SETS; s++) {
        struct tlb_set *set = &tlb->set[s];
        for (unsigned n = 0; n < set->own; n++) {
            slot_clear(set, set->list_own[n]);
            set->note[set->list_own[n]].listed = 0;
        }
        for (unsigned n = 0; n < set->global; n++) {
            slot_clear(set, set->list_global[n]);
            set->note[set->list_global[n]].listed = 0;
        }
        set->own = set->global = 0;
    }
    large_clear(tlb);
    memset(tlb->exec_seen, 0, sizeof tlb->exec_seen);
    interp_code_moved(cpu, true);
    if (cpu->ftab)
        ftab_flush_all(cpu);
    if (cpu->rw)
        rw_code_moved(cpu, true);
}

/* This TLB keeps one context, so what is not global belongs to the current PCID. */
static void flush_own(struct vcpu *cpu)
{
    for (unsigned s = 0; s < TLB_SETS; s++) {
        struct tlb_set *set = &cpu->tlb->set[s];
        for (unsigned n = 0; n < set->own; n++) {
            unsigned i = set->list_own[n];
            set->note[i].listed &= (uint8_t)~1u;
            if (!set->note[i].global)
                slot_clear(set, i);
        }
        set->own = 0;
    }
    interp_code_moved(cpu, false);
}

void tlb_cr3_written(struct vcpu *cpu, bool keep)
{
    flush_own(cpu); /* flushing more than asked is always allowed */
    if (cpu->ftab)
        ftab_cr3_written(cpu, keep);
}

void tlb_flush_context(struct vcpu *cpu)
{
    tlb_cr3_written(cpu, false);
}

void tlb_flush_pcid(struct vcpu *cpu, unsigned pcid)
{
    flush_own(cpu);
    if (cpu->ftab)
        ftab_flush_pcid(cpu, pcid);
}

void tlb_flush_nonglobal(struct vcpu *cpu)
{
    flush_own(cpu);
    if (cpu->ftab)
        ftab_flush_nonglobal(cpu);
}

/* Any entry of the large mapping that holds the address goes with it (SDM 4.10.4.1). */
static void flush_large(struct vcpu *cpu, uint64_t linear)
{
    for (unsigned s = 0; s < TLB_SETS; s++) {
        struct tlb_set *set = &cpu->tlb->set[s];
        for (unsigned i = 0; i < TLB_ENTRIES; i++) {
            const struct tlb_note *note = &set->note[i];
            if (note->page != TLB_NONE && note->shift > PAGE_BITS &&
                (note->page ^ linear) >> note->shift == 0)
                slot_clear(set, i);
        }
    }
    interp_code_moved(cpu, true);
}

static void flush_own_page(struct vcpu *cpu, uint64_t linear)
{
    struct tlb *tlb = cpu->tlb;
    unsigned half = linear >> 63, i = tlb_index(linear);
    for (unsigned s = 0; s < TLB_SETS; s++)
        if (tlb->set[s].note[i].page == (linear & PAGE_MASK))
            slot_clear(&tlb->set[s], i);
    bool large = linear >= tlb->large[half].lo && linear <= tlb->large[half].hi;
    if (large)
        flush_large(cpu, linear);
    else if (tlb_exec_seen(tlb, linear))
        interp_code_moved(cpu, true);
    if (cpu->rw)
        rw_page_moved(cpu, linear, large ? tlb->large[half].shift : PAGE_BITS);
}

void tlb_flush_page(struct vcpu *cpu, uint64_t linear)
{
    flush_own_page(cpu, linear);
    if (cpu->ftab)
        ftab_flush_page(cpu, linear);
}

void tlb_flush_pcid_page(struct vcpu *cpu, unsigned pcid, uint64_t linear)
{
    if (pcid == (cpu->cr4 & CR4_PCIDE ? cpu->cr3 & 0xfff : 0))
        flush_own_page(cpu, linear);
    if (cpu->ftab)
        ftab_flush_pcid_page(cpu, pcid, linear);
    if (cpu->rw && pcid != (cpu->cr4 & CR4_PCIDE ? cpu->cr3 & 0xfff : 0))
        rw_code_moved(cpu, true); /* rare: no list of what other contexts have on the page */
}

void cpu_mode_changed(struct vcpu *cpu)
{
    bool lma = cpu->efer & EFER_LMA;
    const struct seg *cs = &cpu->seg[SEG_CS], *ss = &cpu->seg[SEG_SS];
    if (lma && (cs->attr & ATTR_L)) {
        cpu->code_bits = cpu->stack_bits = 64;
        cpu->flat = 1;
    } else {
        cpu->code_bits = (cs->attr & ATTR_DB) ? 32 : 16;
        cpu->stack_bits = (ss->attr & ATTR_DB) ? 32 : 16;
        cpu->flat = 1;
        for (unsigned i = SEG_ES; i <= SEG_DS; i++) {
            const struct seg *s = &cpu->seg[i];
            bool expand_down = (s->attr & 0x1c) == 0x14;
            bool writable = i == SEG_CS || (s->attr & 0xa) == 0x2;
            if (s->base != 0 || s->limit != 0xffffffff || (s->attr & ATTR_UNUSABLE) ||
                expand_down || !writable)
                cpu->flat = 0;
        }
    }
    cpu->tlb_now = cpu->tlb->set[tlb_set_now(cpu)].e;
    if (cpu->ftab)
        ftab_view_update(cpu);
    interp_mode_changed(cpu);
    if (cpu->vec_live)
        vec_ready_update(cpu);
}
