/*
 * mirror.c: mirroring pages on demand, in batches. mirror.h says what mirrors are and why they are
 * safe. Rights are those of a walk for CPL 3 with its effects on A and D; neighbours are taken
 * where the page tables say without side effects that they may be (as x86/ftab.c does).
 * References: Intel SDM volume 3A, 4.6 (rights), 4.8 (A and D), 4.10.2.
 */
#include "mirror_int.h"

#include "../x86/ftab.h"
#include "../x86/vecstate.h"

#include <sys/mman.h>

enum { AROUND = 64 }; /* pages looked at with one that faulted, aligned; a power of two */
#define WRITTEN_BYTES (WRITTEN_PAGES / 8)

/* ---- life ---- */

void mirror_init(struct vcpu *cpu)
{
    struct soft *s = cpu->soft;
    if (s->mirror_prop == MIRROR_OFF || cpu->lockstep)
        return;
    void *p = mmap(NULL, sizeof *cpu->mirrors, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *w = mmap(NULL, WRITTEN_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED || w == MAP_FAILED || !space_open(s)) {
        if (p != MAP_FAILED)
            (void)munmap(p, sizeof *cpu->mirrors);
        if (w != MAP_FAILED)
            (void)munmap(w, WRITTEN_BYTES);
        return;
    }
    cpu->mirrors = p;
    cpu->mirrors->written = w;
    for (unsigned i = 0; i < MIRRORS; i++)
        cpu->mirrors->m[i].id = (uint16_t)(cpu->index * MIRRORS + i + 1);
}

void mirror_fini(struct vcpu *cpu)
{
    struct mirrors *ms = cpu->mirrors;
    if (!ms)
        return;
    for (unsigned i = 0; i < MIRRORS; i++) {
        if (ms->m[i].on)
            mirror_off(cpu, &ms->m[i]);
        space_map_free(&ms->m[i]);
    }
    space_close(cpu->soft);
    (void)munmap(ms->written, WRITTEN_BYTES);
    (void)munmap(ms, sizeof *ms);
    cpu->mirrors = NULL;
    cpu->rw_mirror = 0;
}

const struct mirror_stats *mirror_stats(const struct vcpu *cpu)
{
    return cpu->mirrors ? &cpu->mirrors->stats : NULL;
}

void mirror_view(struct vcpu *cpu)
{
    const struct mirror *m = cpu->mirrors->now;
    cpu->rw_mirror = m ? m->map : 0;
    ftab_view_update(cpu);
}

void mirror_break(struct vcpu *cpu, struct mirror *m)
{
    m->broken = m->contended = true;
    space_release(cpu, m, true);
}

/* ---- regions ---- */

/* The region of LINEAR; NULL: there is none yet, and no room for one. */
struct region *mirror_region(struct mirror *m, uint64_t linear)
{
    uint64_t base = linear & ~((UINT64_C(1) << REGION_BITS) - 1);
    unsigned i = (unsigned)((linear >> REGION_BITS) * 0x9e3779b1u >> 8) & (REGION_HASH - 1);
    while (m->hash[i] && m->region[m->hash[i] - 1].base != base)
        i = (i + 1) & (REGION_HASH - 1);
    if (m->hash[i])
        return &m->region[m->hash[i] - 1];
    if (m->regions == REGIONS)
        return NULL;
    struct region *r = &m->region[m->regions++];
    m->hash[i] = (uint16_t)m->regions;
    r->base = base;
    r->count = 0;
    r->large = r->huge = 0;
    for (unsigned k = 0; k < REGION_PAGES; k++)
        r->page[k] = 0;
    return r;
}

/* ---- filling ---- */

struct fill {
    struct vcpu *cpu;
    struct mirror *m;
    struct region *r;
    uint64_t linear;             /* the page that is wanted */
    unsigned acc;
    struct walk walk;
    /* the run being collected */
    uint64_t run_linear, run_len, run_gpa;
    const struct ram_slot *run_slot;
    bool run_write;
    bool done;                   /* the wanted page is mirrored */
};

static bool in_slot(const struct ram_slot *slot, uint64_t gpa, uint64_t len)
{
    return gpa - slot->gpa < slot->len && slot->len - (gpa - slot->gpa) >= len;
}

static bool apic_at(const struct vcpu *cpu, uint64_t gpa)
{
    uint64_t base = atomic_load_explicit(&cpu->apic_base, memory_order_relaxed);
    return (base & 0x800) && (base & PAGE_MASK) == gpa;
}

/* x86/smc.c has the protocol. */
static bool no_code(const struct ram_slot *slot, uint64_t gpa)
{
    const uint8_t *code = __atomic_load_n(&slot->code_pages, __ATOMIC_ACQUIRE);
    return !code || !__atomic_load_n(&code[(gpa - slot->gpa) >> PAGE_BITS], __ATOMIC_SEQ_CST);
}

static void run_flush(struct fill *f)
{
    struct mirrors *ms = f->cpu->mirrors;
    if (!f->run_len || f->m->broken)
        return;
    uint8_t *from = space_source(f->cpu, f->run_slot, f->run_gpa, f->run_write);
    uint64_t pages = f->run_len >> PAGE_BITS;
    if (!from) {
        f->run_len = 0;
        return;
    }
    if (!space_put(f->run_linear, from, f->run_len, f->run_write)) {
        mirror_break(f->cpu, f->m);
        f->run_len = 0;
        return;
    }
    ms->stats.batches++;
    ms->stats.pages += pages;
    f->m->calls++;
    atomic_fetch_add_explicit(&f->cpu->soft->granules->calls, 1, memory_order_relaxed);
    for (uint64_t k = 0; k < pages; k++) {
        uint64_t i = ((f->run_linear >> PAGE_BITS) + k) & (REGION_PAGES - 1);
        uint64_t gpa = f->run_gpa + (k << PAGE_BITS);
        if (!f->r->page[i]) {
            f->r->count++;
            f->m->pages++;
        }
        f->r->page[i] = gpa | MP_R | (f->run_write ? MP_W : 0u);
        if (f->run_write)
            ms->written[gpa >> (PAGE_BITS + 6)] |= UINT64_C(1) << (gpa >> PAGE_BITS & 63);
        if (f->run_linear + (k << PAGE_BITS) == f->linear)
            f->done = f->run_write || !(f->acc & ACC_W);
    }
    f->run_len = 0;
}

/* One page that the page tables give CPL 3; WRITE: for stores, as far as they are concerned. */
static void page_add(struct fill *f, uint64_t linear, uint64_t gpa, bool write)
{
    const struct vcpu *cpu = f->cpu;
    uint64_t have = f->r->page[(linear >> PAGE_BITS) & (REGION_PAGES - 1)];
    const struct ram_slot *slot = f->run_slot;
    if (!f->run_len || !in_slot(slot, gpa, PAGE_BYTES))
        slot = ram_slot_of(cpu->soft, gpa);
    if (!slot || !in_slot(slot, gpa, PAGE_BYTES) || apic_at(cpu, gpa) ||
        gpa >> PAGE_BITS >= WRITTEN_PAGES || linear < cpu->soft->granules->first)
        return;
    /* mirror.h, 4: the page that an access may straddle into from the granule below */
    if (!(linear & (GRANULE_BYTES - 1)) &&
        (linear == 0 || !space_owns(cpu, f->m, linear - PAGE_BYTES)))
        return;
    write = write && !(slot->flags & MOBO_MAP_READONLY) && no_code(slot, gpa);
    if (have == (gpa | MP_R | (write ? MP_W : 0u)))
        return;
    if (f->run_len && (slot != f->run_slot || linear != f->run_linear + f->run_len ||
                       gpa != f->run_gpa + f->run_len || write != f->run_write))
        run_flush(f);
    if (!f->run_len) {
        f->run_linear = linear;
        f->run_gpa = gpa;
        f->run_slot = slot;
        f->run_write = write;
    }
    f->run_len += PAGE_BYTES;
}

static void fill_large(struct fill *f)
{
    bool write = (f->walk.perm & ACC_W) && f->walk.writable;
    uint64_t gpa = f->walk.gpa - (f->linear - f->r->base);
    f->r->large = 1;
    f->r->huge |= f->walk.shift > REGION_BITS;
    for (unsigned k = 0; k < REGION_PAGES; k++)
        page_add(f, f->r->base + ((uint64_t)k << PAGE_BITS), gpa + ((uint64_t)k << PAGE_BITS),
                 write);
}

static void fill_around(struct fill *f)
{
    unsigned at = (f->linear >> PAGE_BITS) & (REGION_PAGES - 1);
    uint64_t rsvd = mmu_pte_reserved(f->cpu);
    bool pge = f->cpu->cr4 & CR4_PGE;
    for (unsigned i = at & ~(AROUND - 1u), end = i + AROUND; i < end; i++) {
        uint64_t linear = f->r->base + ((uint64_t)i << PAGE_BITS);
        uint64_t e = host_load(f->walk.table + i * 8, 8), all = e & f->walk.upper;
        if (i == at) {
            page_add(f, linear, f->walk.gpa, (f->walk.perm & ACC_W) && f->walk.writable);
            continue;
        }
        if ((e & (PTE_P | PTE_A)) != (PTE_P | PTE_A) || (e & rsvd) || !(all & PTE_U) ||
            (pge && (e & PTE_G)))
            continue;
        bool write = (all & PTE_W) && (e & PTE_D);
        uint64_t have = f->r->page[i];
        if (have && (have & PTE_FRAME) == (e & PTE_FRAME) && ((have & MP_W) || !write))
            continue;
        page_add(f, linear, e & PTE_FRAME, write);
    }
}

static bool fill(struct vcpu *cpu, struct mirror *m, uint64_t linear, unsigned acc)
{
    struct fill f = { .cpu = cpu, .m = m, .linear = linear & PAGE_MASK, .acc = acc };
    if (linear >= MIRROR_END || m->broken || m->stale)
        return false;
    if (m->calls >= CALLS_MAX ||
        atomic_load_explicit(&cpu->soft->granules->calls, memory_order_relaxed) >= CALLS_TOTAL) {
        m->crowded = true;
        return false;
    }
    if (!mmu_walk_ram(cpu, TLB_USER, f.linear, acc, &f.walk) || f.walk.global ||
        !space_claim(cpu, m, linear))
        return false;
    f.r = mirror_region(m, linear);
    if (!f.r) {
        m->crowded = true;
        return false;
    }
    if (f.walk.shift >= REGION_BITS)
        fill_large(&f);
    else if (f.walk.table)
        fill_around(&f);
    run_flush(&f);
    return f.done && !m->broken;
}

bool mirror_fill(struct vcpu *cpu, uint64_t linear, unsigned acc)
{
    struct mirrors *ms = cpu->mirrors;
    if (!ms || !ms->now || cpu->cpl != 3)
        return false;
    uint64_t begin = __builtin_ia32_rdtsc();
    ms->stats.faults++;
    bool done = fill(cpu, ms->now, linear, acc);
    if (!done)
        ms->stats.refused++;
    ms->stats.ticks += __builtin_ia32_rdtsc() - begin + 8000; /* and what the signal takes */
    return done;
}

void mirror_denied(struct vcpu *cpu, uint64_t linear)
{
    struct mirrors *ms = cpu->mirrors;
    if (ms && ms->now && cpu->cpl == 3 && !space_owns(cpu, ms->now, linear)) {
        ms->now->contended = true;
        ms->stats.denied++;
        ms->stats.denied_at = linear;
    }
}
