/*
 * blk.c: rewritten blocks: finding them by guest address, having them made, dropping them when
 * their code changes, and the way back from a host address. How control gets from one to the next
 * is link.c; the memory is cache.c's.
 *
 * A block is known by rip, CPL and guest-physical address, so one rip may have several, of which
 * the present mapping names one. A dropped block is found by nobody, and no link leads to it, but
 * its code stays as it is until the whole cache is flushed: the CPU may be in the middle of it, and
 * return pairs may lead into it. Both get out again: what follows a slow path looks at `valid`, and
 * behind a call there is nothing but a link.
 */
#include "blk.h"

#include "../interp.h"
#include "../x86/mmu.h"

#include "stats.h"

enum { TRIES = 8, META_SLACK = 256 };

/* ---- pages ---- */

static struct rw_page **bucket_of(const struct rw *rw, uint64_t gpa)
{
    return &rw->pages->bucket[(gpa >> PAGE_BITS) & (RW_PAGE_BUCKETS - 1)];
}

struct rw_page *rw_page_find(const struct rw *rw, uint64_t gpa)
{
    struct rw_page *p = *bucket_of(rw, gpa);
    while (p && p->gpa != (gpa & PAGE_MASK))
        p = p->next;
    return p;
}

static void *meta(struct rw *rw, size_t size)
{
    void *p = rw->meta + rw->meta_used;
    rw->meta_used += (size + 15) & ~(size_t)15;
    return p;
}

/* Count the page in before its bytes are read: smc.c says why. */
static struct rw_page *page_enter(struct vcpu *cpu, uint64_t gpa)
{
    struct rw *rw = cpu->rw;
    struct rw_page *p = rw_page_find(rw, gpa);
    if (!p) {
        struct rw_page **bucket = bucket_of(rw, gpa);
        p = meta(rw, sizeof *p);
        *p = (struct rw_page){ .gpa = gpa & PAGE_MASK, .next = *bucket };
        *bucket = p;
    }
    if (!p->entered) {
        p->map = smc_enter(cpu, gpa);
        p->entered = true;
    }
    return p;
}

bool rw_have(struct vcpu *cpu, uint64_t gpa)
{
    const struct rw_page *p = rw_page_find(cpu->rw, gpa);
    return p && p->entered;
}

/* ---- dropping ---- */

static void block_kill(struct rw *rw, struct rw_block *b)
{
    struct rw_block **p = &rw->hash[rw_hash(b->rip, b->cpl)];
    while (*p && *p != b)
        p = &(*p)->hash_next;
    if (*p)
        *p = b->hash_next;
    while (b->in)
        rw_cut(rw, b->in);
    rw_jcs_forget(rw, b);
    b->valid = 0;
    rw->stats.invalidated++;
}

void rw_drop_page(struct vcpu *cpu, uint64_t gpa)
{
    struct rw *rw = cpu->rw;
    struct rw_page *p = rw_page_find(rw, gpa);
    if (!p || !p->entered)
        return;
    for (struct rw_block *b = p->first, *next; b; b = next) {
        next = b->page_next;
        block_kill(rw, b);
    }
    p->first = NULL;
    p->entered = false;
    smc_leave(cpu, p->gpa, p->map);
}

void rw_drop_all(struct vcpu *cpu)
{
    struct rw *rw = cpu->rw;
    for (unsigned i = 0; i < RW_PAGE_BUCKETS; i++)
        for (struct rw_page *p = rw->pages->bucket[i]; p; p = p->next)
            rw_drop_page(cpu, p->gpa);
    rw->full = 1; /* the run loop gets all of its memory back */
}

/* ---- making ---- */

/* The translator's result, moved from its work space to where it stays. */
static struct rw_block *keep(struct rw *rw, const struct rw_block *made)
{
    struct rw_block *b = meta(rw, sizeof *b);
    *b = *made;
    b->link = meta(rw, made->links * sizeof *b->link);
    memcpy(b->link, made->link, made->links * sizeof *b->link);
    b->side = meta(rw, made->sides * sizeof *b->side);
    memcpy(b->side, made->side, made->sides * sizeof *b->side);
    for (unsigned i = 0; i < b->links; i++) {
        b->link[i].from = b;
        b->link[i].to = NULL;
        b->link[i].next_in = NULL;
    }
    b->in = NULL;
    b->valid = 1;
    return b;
}

static bool room(struct rw *rw)
{
    size_t worst = sizeof(struct rw_block) + sizeof rw->tr->link + sizeof rw->tr->side +
                   sizeof(struct rw_page) + META_SLACK;
    if (rw->meta_size - rw->meta_used >= worst && rw->count < rw->by_code_max)
        return true;
    rw->full = 1;
    return false;
}

/* by_code, and for each 4 KiB of the cache which of its blocks is the last to begin before it. */
static void enter_by_code(struct rw *rw, struct rw_block *b)
{
    uint32_t i = rw->count++;
    rw->by_code[i] = b;
    for (uint32_t c = (b->code >> RW_CHUNK_BITS) + 1;
         c <= (b->code + b->size + 15) >> RW_CHUNK_BITS || c == (b->code >> RW_CHUNK_BITS) + 1; c++)
        rw->chunk[c] = i;
}

/* HOST: the page's bytes. NULL: no room, or nothing here that can be rewritten. */
static struct rw_block *block_make(struct vcpu *cpu, uint64_t rip, uint64_t gpa,
                                   const uint8_t *host)
{
    struct rw *rw = cpu->rw;
    if (!room(rw))
        return NULL;
    struct rw_page *page = page_enter(cpu, gpa);
    uint64_t begin = __builtin_ia32_rdtsc();
    for (unsigned i = 0; i < TRIES; i++) {
        uint32_t mark = rw->used;
        struct rw_block *made = rw_translate(cpu, rip, gpa);
        if (!made)
            return NULL;
        unsigned lo = made->look_lo, len = made->look_hi - lo;
        smc_lines(cpu, (gpa & PAGE_MASK) + lo, len);
        atomic_thread_fence(memory_order_seq_cst);
        if (memcmp(rw->tr->page + lo, host + lo, len) != 0) {
            rw->used = mark; /* somebody wrote in between */
            continue;
        }
        struct rw_block *b = keep(rw, made), **slot = &rw->hash[rw_hash(rip, b->cpl)];
        b->hash_next = *slot;
        *slot = b;
        b->page_next = page->first;
        page->first = b;
        enter_by_code(rw, b);
        rw->stats.translate_ticks += __builtin_ia32_rdtsc() - begin;
        if (rw->perf_map)
            rw_perf_block(rw, b);
        return b;
    }
    return NULL;
}

/* ---- finding ---- */

bool rw_mode_ok(const struct vcpu *cpu)
{
    return cpu->code_bits == 64 && (cpu->cr0 & CR0_PG) && (cpu->cpl == 0 || cpu->cpl == 3) &&
           !(cpu->fl & FL_TF) && !cpu->debug_armed &&
           !(cpu->cpl == 3 && (cpu->fl & FL_AC) && (cpu->cr0 & CR0_AM));
}

struct rw_block *rw_find(struct vcpu *cpu, uint64_t rip)
{
    struct rw *rw = cpu->rw;
    cpu->rip = rip;
    if (!rw_mode_ok(cpu))
        return NULL;
    if (!is_canonical(cpu, rip))
        x86_raise_err(cpu, VEC_GP, 0);
    const struct tlb_note *note = mmu_page(cpu, tlb_set_now(cpu), rip, ACC_X);
    tlb_exec_note(cpu->tlb, rip);
    if (!note->host)
        return NULL;
    if (rip >> 63 && !note->global)
        rw->pages->upper_own = true;
    if (!(rip >> 63) && note->global)
        rw->pages->lower_global = true;
    uint64_t gpa = note->gpa + (rip & (PAGE_BYTES - 1));
    bool mirror = cpu->cpl == 3 && cpu->rw_mirror;
    struct rw_block *b = rw->hash[rw_hash(rip, cpu->cpl)];
    while (b && (b->rip != rip || b->gpa != gpa || b->cpl != cpu->cpl || b->mirror != mirror))
        b = b->hash_next;
    return b ? b : block_make(cpu, rip, gpa, note->host);
}

/* ---- back from host addresses ---- */

static struct rw_block *block_at(const struct rw *rw, uint64_t host)
{
    uint64_t at = host - (uint64_t)(uintptr_t)rw->rx_base;
    if (at >= rw->used || at < rw->glue_end || !rw->count)
        return NULL;
    unsigned last = rw->by_code[rw->count - 1]->code >> RW_CHUNK_BITS, c = at >> RW_CHUNK_BITS;
    unsigned lo = rw->chunk[c], hi = c < last ? rw->chunk[c + 1] + 1 : rw->count;
    while (hi - lo > 1) {
        unsigned mid = lo + (hi - lo) / 2;
        if (rw->by_code[mid]->code <= at)
            lo = mid;
        else
            hi = mid;
    }
    if (lo >= rw->count)
        return NULL;
    struct rw_block *b = rw->by_code[lo];
    return at >= b->code && at - b->code < b->size ? b : NULL;
}

/* The last entry at or before the address; the first one for what comes before it. */
static const struct rw_side *side_at(const struct rw *rw, const struct rw_block *b, uint64_t host)
{
    uint64_t at = host - (uint64_t)(uintptr_t)rw->rx_base - b->code;
    unsigned lo = 0, hi = b->sides;
    while (hi - lo > 1) {
        unsigned mid = lo + (hi - lo) / 2;
        if (b->side[mid].host <= at)
            lo = mid;
        else
            hi = mid;
    }
    return &b->side[lo];
}

struct rw_block *rw_block_at(const struct rw *rw, uint64_t host, unsigned *guest_off)
{
    struct rw_block *b = block_at(rw, host);
    if (b)
        *guest_off = b->sides ? side_at(rw, b, host)->guest : 0;
    return b;
}

bool rw_place_at(const struct rw *rw, uint64_t host, unsigned *guest_off, enum rw_flag_place *place)
{
    const struct rw_block *b = block_at(rw, host);
    if (!b || !b->sides)
        return false;
    const struct rw_side *side = side_at(rw, b, host);
    *guest_off = side->guest;
    *place = (enum rw_flag_place)side->place;
    return true;
}

/* Starts come in the order of the guest's addresses. */
uint64_t rw_host_of(const struct rw *rw, const struct rw_block *b, unsigned off)
{
    for (unsigned i = 0; i < b->sides; i++) {
        if (!b->side[i].start || b->side[i].guest < off)
            continue;
        if (b->side[i].guest > off)
            break;
        return (uint64_t)(uintptr_t)rw->rx_base + b->code + b->side[i].host;
    }
    return 0;
}
