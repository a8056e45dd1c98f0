/*
 * lockstep_log.c: memory of a unit of lockstep: which RAM pages are stored to, what was there, and
 * what the interpreter left. It does not know instructions or registers.
 *
 * The interpreter runs first. Before its first store to a page the page is copied; each store is
 * noted with its bytes. Then just those bytes are put back (devices may write to the rest of the
 * page meanwhile), the rewriter runs on the same memory, again with a copy before its first store
 * to any further page, and all of these pages are compared as a whole: a store that goes astray
 * within a page that the unit writes to is seen, and there are no others it could go to, since the
 * rewriter's tables permit no other.
 *
 * Some of this runs while the guest's vector registers are live: general registers only.
 */
#include "lockstep_int.h"

#include "../x86/mmu.h"

#include <sys/mman.h>

int ls_log_init(struct lockstep *ls)
{
    void *p = mmap(NULL, LS_PAGES * sizeof *ls->page, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return MOBO_ENOMEM;
    ls->page = p;
    return MOBO_OK;
}

void ls_log_fini(struct lockstep *ls)
{
    if (ls->page)
        (void)munmap(ls->page, LS_PAGES * sizeof *ls->page);
}

static unsigned hash_of(uint64_t gpa)
{
    return (unsigned)((gpa >> PAGE_BITS) * 0x9e3779b1u >> 8) & (LS_HASH - 1);
}

static struct ls_page *find(struct lockstep *ls, uint64_t gpa)
{
    for (unsigned h = hash_of(gpa); ls->hash[h]; h = (h + 1) & (LS_HASH - 1))
        if (ls->page[ls->hash[h] - 1].gpa == (gpa & PAGE_MASK))
            return &ls->page[ls->hash[h] - 1];
    return NULL;
}

static bool enter(struct lockstep *ls, uint64_t gpa, uint8_t *host)
{
    gpa &= PAGE_MASK;
    if (find(ls, gpa))
        return true;
    if (ls->pages == LS_PAGES)
        return false;
    struct ls_page *p = &ls->page[ls->pages];
    p->gpa = gpa;
    p->host = host;
    p->whole = 0;
    memcpy(p->old, host, PAGE_BYTES);
    if (ls->phase == LS_RW)
        memcpy(p->after, p->old, PAGE_BYTES);
    unsigned h = hash_of(gpa);
    while (ls->hash[h])
        h = (h + 1) & (LS_HASH - 1);
    ls->hash[h] = (uint16_t)++ls->pages;
    return true;
}

/* ---- hooks ---- */

void lockstep_page(struct vcpu *cpu, uint64_t gpa, uint8_t *host)
{
    struct lockstep *ls = cpu->lockstep;
    if (ls->phase == LS_IDLE || enter(ls, gpa, host))
        return;
    ls->aborted = 1; /* too many pages: the unit ends before this access */
    longjmp(cpu->unwind, 2);
}

bool lockstep_filled(struct vcpu *cpu, uint64_t gpa, uint8_t *host, uint64_t *entry)
{
    struct lockstep *ls = cpu->lockstep;
    if (ls->phase != LS_RW || ls->entries == sizeof ls->entry / sizeof *ls->entry ||
        !enter(ls, gpa, host))
        return false;
    ls->entry[ls->entries++] = entry;
    return true;
}

void lockstep_stored(struct vcpu *cpu, uint64_t gpa, uint64_t len)
{
    struct lockstep *ls = cpu->lockstep;
    if (ls->phase != LS_INTERP)
        return;
    while (len) {
        uint64_t off = gpa & (PAGE_BYTES - 1), n = PAGE_BYTES - off < len ? PAGE_BYTES - off : len;
        struct ls_page *p = find(ls, gpa);
        struct ls_store *last = ls->stores ? &ls->store[ls->stores - 1] : NULL;
        gpa += n;
        len -= n;
        if (!p)
            continue; /* not through a hook: the tables' own A and D bits */
        unsigned page = (unsigned)(p - ls->page);
        if (last && last->page == page && last->off + last->len == off) {
            last->len = (uint16_t)(last->len + n);
        } else if (last && last->page == page && off + n == last->off) {
            last->off = (uint16_t)off;
            last->len = (uint16_t)(last->len + n);
        } else if (ls->stores == LS_STORES) {
            p->whole = 1;
        } else {
            ls->store[ls->stores++] =
                (struct ls_store){ (uint16_t)page, (uint16_t)off, (uint16_t)n };
        }
    }
}

/* ---- the unit ---- */

void ls_log_begin(struct lockstep *ls)
{
    if (ls->pages > 64)
        memset(ls->hash, 0, sizeof ls->hash);
    else
        for (unsigned i = 0; i < ls->pages; i++)
            for (unsigned h = hash_of(ls->page[i].gpa); ls->hash[h]; h = (h + 1) & (LS_HASH - 1))
                ls->hash[h] = 0;
    ls->pages = ls->stores = ls->entries = 0;
}

static void put_back(struct lockstep *ls, const struct ls_page *p, unsigned off, unsigned len)
{
    memcpy(p->host + off, p->old + off, len);
    smc_stored(ls->cpu, p->gpa + off, len); /* what was decoded from it meanwhile is void */
}

static void undo(struct lockstep *ls)
{
    for (unsigned i = 0; i < ls->stores; i++)
        put_back(ls, &ls->page[ls->store[i].page], ls->store[i].off, ls->store[i].len);
    for (unsigned i = 0; i < ls->pages; i++)
        if (ls->page[i].whole)
            put_back(ls, &ls->page[i], 0, PAGE_BYTES);
}

void ls_log_turn(struct lockstep *ls)
{
    for (unsigned i = 0; i < ls->pages; i++)
        memcpy(ls->page[i].after, ls->page[i].host, PAGE_BYTES);
    undo(ls);
}

bool ls_log_same(const struct lockstep *ls)
{
    for (unsigned i = 0; i < ls->pages; i++)
        if (memcmp(ls->page[i].host, ls->page[i].after, PAGE_BYTES) != 0)
            return false;
    return true;
}

/*
 * Bytes outside the interpreter's stores that are not what it left: the rewriter's, or those of a
 * device or another thread. Put them back for the next try, and keep them in case it does not
 * write them again.
 */
static void revert_page(struct lockstep *ls, const struct ls_page *p)
{
    for (unsigned off = 0; off < PAGE_BYTES; off++) {
        if (p->host[off] == p->after[off])
            continue;
        if (ls->strays < LS_STRAY)
            ls->stray[ls->strays++] =
                (struct ls_stray){ p->host + off, p->after[off], p->host[off] };
        p->host[off] = p->after[off];
        smc_stored(ls->cpu, p->gpa + off, 1);
    }
}

void ls_log_revert(struct lockstep *ls)
{
    for (unsigned i = 0; i < ls->pages; i++)
        if (memcmp(ls->page[i].host, ls->page[i].after, PAGE_BYTES) != 0)
            revert_page(ls, &ls->page[i]);
    undo(ls);
}

/* Later finds win; a byte that the unit itself has changed since then keeps its value. */
void ls_log_end(struct lockstep *ls)
{
    for (unsigned i = 0; i < ls->strays; i++) {
        const struct ls_stray *s = &ls->stray[i];
        bool ours = false;
        for (unsigned k = 0; k < ls->stores && !ours; k++) {
            const uint8_t *from = ls->page[ls->store[k].page].host + ls->store[k].off;
            ours = s->at >= from && s->at < from + ls->store[k].len;
        }
        if (!ours && *s->at == s->was) {
            *s->at = s->found;
            ls->count.dma++;
        }
    }
    ls->strays = 0;
}

void ls_log_close(struct lockstep *ls)
{
    for (unsigned i = 0; i < ls->entries; i++)
        *ls->entry[i] = 0;
    ls->entries = 0;
}
