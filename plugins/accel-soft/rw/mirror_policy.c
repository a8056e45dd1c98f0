/*
 * mirror_policy.c: which contexts are mirrored. Time of CPL 3 is sampled where rewritten code is
 * left with the CPU in CPL 3, which the guest's timer sees to. A context that has used some 50 ms is
 * promoted; it is demoted, and must use more until the next time, when what the mirror costs is a
 * tenth of what it has used since, or when it cannot have the addresses it uses.
 */
#include "mirror_int.h"

#include "blk.h"

#include "../x86/ftab.h"

enum {
    USED_MS = 50,              /* of user time until a promotion */
    WINDOW_MS = 200,
    SAMPLE_MS = 12,            /* what one sample counts at most */
    IDLE_MS = 200,             /* a mirror that another CPU asks for goes if unused so long */
    BACK_OFF_MAX = 64,
};

static uint64_t ms_ticks(const struct vcpu *cpu, unsigned ms)
{
    return cpu->soft->model.tsc_hz / 1000 * ms;
}

static uint16_t pcid_now(const struct vcpu *cpu)
{
    return cpu->cr4 & CR4_PCIDE ? cpu->cr3 & 0xfff : 0;
}

static struct candidate *candidate(struct vcpu *cpu, uint64_t base)
{
    struct mirrors *ms = cpu->mirrors;
    struct candidate *oldest = &ms->candidate[0];
    for (unsigned i = 0; i < CANDIDATES; i++) {
        struct candidate *c = &ms->candidate[i];
        if (c->base == base)
            return c;
        if (c->stamp < oldest->stamp)
            oldest = c;
    }
    *oldest = (struct candidate){ .base = base, .need = ms_ticks(cpu, USED_MS) };
    return oldest;
}

static void demote(struct vcpu *cpu, struct mirror *m, bool back_off)
{
    struct candidate *c = candidate(cpu, m->base);
    cpu->mirrors->stats.demotions++;
    c->ticks = 0;
    c->stamp = m->stamp;
    if (back_off && c->need < ms_ticks(cpu, USED_MS) * BACK_OFF_MAX)
        c->need *= 4;
    else if (!back_off)
        c->need = ms_ticks(cpu, USED_MS);
    mirror_off(cpu, m);
    /* its jump cache and pairs hold blocks of mirror mode */
    for (unsigned i = 0; i < ftab_contexts(cpu); i++) {
        uint64_t base;
        uint16_t pcid;
        if (ftab_context_key(cpu, i, &base, &pcid) && base == m->base && pcid == m->pcid)
            rw_context_dropped(cpu, i);
    }
}

bool mirror_promote(struct vcpu *cpu)
{
    struct mirrors *ms = cpu->mirrors;
    struct mirror *m = NULL;
    if (!ms || ms->now || !rw_mode_ok(cpu))
        return false;
    for (unsigned i = 0; i < MIRRORS; i++) {
        struct mirror *k = &ms->m[i];
        if (!k->broken && (!m || (m->on && (!k->on || k->stamp < m->stamp))))
            m = k;
    }
    if (!m || !space_map_new(m))
        return false;
    if (m->on) {
        ms->stats.evictions++;
        demote(cpu, m, false);
    }
    if (m->broken)
        return false;
    m->base = cpu->cr3 & PTE_FRAME;
    m->pcid = pcid_now(cpu);
    m->on = true;
    m->stale = false;
    m->used = 0;
    m->windows = 0;
    m->cost_mark = ms->stats.ticks;
    m->stamp = __builtin_ia32_rdtsc();
    ms->now = m;
    ms->stats.promotions++;
    mirror_settled(cpu); /* notes the RAM, the first time */
    mirror_view(cpu);
    rw_context_dropped(cpu, ftab_context(cpu));
    return true;
}

static void window(struct vcpu *cpu, struct mirror *m)
{
    struct mirrors *ms = cpu->mirrors;
    uint64_t cost = ms->stats.ticks - m->cost_mark;
    if (m->used < ms_ticks(cpu, WINDOW_MS))
        return;
    /* the first window pays for what is there already */
    if (cost > m->used / (m->windows ? 10 : 2))
        demote(cpu, m, true);
    m->windows++;
    m->used = 0;
    m->cost_mark = ms->stats.ticks;
}

void mirror_turn(struct vcpu *cpu)
{
    struct mirrors *ms = cpu->mirrors;
    struct granules *g = cpu->soft->granules;
    uint64_t tsc = __builtin_ia32_rdtsc(), gone = tsc - ms->last;
    ms->last = tsc;
    for (unsigned i = 0; i < MIRRORS; i++)
        if (ms->m[i].on && (ms->m[i].other || ms->m[i].contended || ms->m[i].crowded))
            demote(cpu, &ms->m[i], ms->m[i].contended || ms->m[i].crowded);
    if (atomic_load_explicit(&g->wanted[cpu->index], memory_order_relaxed)) {
        atomic_store(&g->wanted[cpu->index], 0);
        for (unsigned i = 0; i < MIRRORS; i++)
            if (ms->m[i].on && &ms->m[i] != ms->now &&
                tsc - ms->m[i].stamp > ms_ticks(cpu, IDLE_MS))
                demote(cpu, &ms->m[i], false);
    }
    if (cpu->cpl != 3 || !rw_mode_ok(cpu))
        return;
    if (gone > ms_ticks(cpu, SAMPLE_MS))
        gone = ms_ticks(cpu, SAMPLE_MS);
    if (ms->now) {
        ms->now->stamp = tsc;
        ms->now->used += gone;
        window(cpu, ms->now);
        return;
    }
    struct candidate *c = candidate(cpu, cpu->cr3 & PTE_FRAME);
    c->stamp = tsc;
    c->ticks += gone;
    if (c->ticks >= c->need && !mirror_promote(cpu))
        c->ticks = 0;
}
