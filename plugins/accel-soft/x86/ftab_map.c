/*
 * ftab_map.c: address space and memory of the flat page tables. What is in them is not known here.
 *
 * All of it is reserved at the start and costs nothing until it is touched: the views (1 TiB each),
 * records of regions, lists, the reverse map. Memory goes back only when a context is recycled or
 * when a guest has touched more of the tables than makes sense, which a hostile one can do with one
 * access per 2 MiB: then the areas are mapped anew, because only that frees the host's own page
 * tables too.
 */
#include "ftab_int.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { RELEASE_PAGES = 8192 }; /* 32 MiB: a recycled context that touched more gives them back */
#define LIST_BYTES ((uint64_t)LIST_MAX * sizeof(uint32_t))
#define REV_BYTES (REV_PAGES * sizeof(struct ftab_rev))
/* Hints: guests have their programs above and below, where rw/mirror.h wants to map them. */
#define ARENAS_AT (UINT64_C(16) << 40)
#define EMPTY_AT (ARENAS_AT + ADDRESS_SPACE + VIEW_BYTES)
#define TABLE_BYTES (REGION_BYTES + 2 * LIST_BYTES)

enum part { PART_OWN, PART_K, PART_K_WRITABLE };

/* Map fresh memory at AT, or the half of the memory of K that begins at OFF. */
static bool map(const struct ftab *ft, void *at, uint64_t len, enum part part, uint64_t off)
{
    int prot = part == PART_K ? PROT_READ : PROT_READ | PROT_WRITE;
    int flags = MAP_FIXED | MAP_NORESERVE;
    flags |= part == PART_OWN ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    if (mmap(at, len, prot, flags, part == PART_OWN ? -1 : ft->fd, (off_t)off) == MAP_FAILED)
        return false;
    /* Sparse: a huge page would be 2 MiB for one entry. Neither a fork nor a core wants them. */
    if (part == PART_OWN)
        (void)madvise(at, len, MADV_NOHUGEPAGE);
    (void)madvise(at, len, MADV_DONTFORK);
    (void)madvise(at, len, MADV_DONTDUMP);
    return true;
}

/* The lower half, loads and stores, at VIEW. */
static bool map_lower(const struct ftab *ft, uint64_t *view)
{
    return map(ft, view, HALF_BYTES, PART_OWN, 0) &&
           map(ft, view + 2 * HALF_PAGES, HALF_BYTES, PART_OWN, 0);
}

static bool map_upper(const struct ftab *ft, uint64_t *view)
{
    enum part part = view == ft->kernel ? PART_K_WRITABLE : PART_K;
    return map(ft, view + HALF_PAGES, HALF_BYTES, part, 0) &&
           map(ft, view + 3 * HALF_PAGES, HALF_BYTES, part, HALF_BYTES);
}

static bool map_empty(void *at)
{
    if (mmap(at, VIEW_BYTES, PROT_READ, MAP_FIXED | MAP_NORESERVE | MAP_PRIVATE | MAP_ANONYMOUS,
             -1, 0) == MAP_FAILED)
        return false;
    (void)madvise(at, VIEW_BYTES, MADV_DONTFORK);
    (void)madvise(at, VIEW_BYTES, MADV_DONTDUMP);
    return true;
}

/* Where mapping anew does not succeed, at least the data goes. */
static void renew_lower(const struct ftab *ft, uint64_t *view)
{
    if (!map_lower(ft, view)) {
        (void)madvise(view, HALF_BYTES, MADV_DONTNEED);
        (void)madvise(view + 2 * HALF_PAGES, HALF_BYTES, MADV_DONTNEED);
    }
}

static void renew_records(const struct ftab *ft, struct ftab_table *t)
{
    if (!map(ft, t->region, TABLE_BYTES, PART_OWN, 0))
        (void)madvise(t->region, TABLE_BYTES, MADV_DONTNEED);
    t->count = t->count_n = 0;
    t->touched = 0;
    t->huge = 0;
}

void ftab_release_context(struct ftab *ft, struct ftab_context *c)
{
    if (c->u.touched <= RELEASE_PAGES)
        return;
    ft->touched -= c->u.touched;
    ft->stats.releases++;
    renew_lower(ft, c->view);
    renew_records(ft, &c->u);
}

void ftab_release_all(struct ftab *ft)
{
    ft->stats.releases++;
    /* Emptied first: should a mapping not be renewed, it holds nothing either. */
    ftab_table_flush(&ft->s);
    ftab_table_flush(&ft->k);
    renew_lower(ft, ft->kernel);
    renew_records(ft, &ft->s);
    renew_records(ft, &ft->k);
    for (unsigned n = 0; n < ft->contexts; n++) {
        ftab_table_flush(&ft->context[n].u);
        renew_lower(ft, ft->context[n].view);
        renew_records(ft, &ft->context[n].u);
        (void)map_upper(ft, ft->context[n].view);
    }
    (void)map_upper(ft, ft->kernel);
    /* The pages of K themselves: no longer mapped now, truncating frees them. */
    if (ftruncate(ft->fd, 0) < 0 || ftruncate(ft->fd, (off_t)(2 * HALF_BYTES)) < 0)
        (void)madvise(ft->kernel + HALF_PAGES, HALF_BYTES, MADV_REMOVE);
    if (!map(ft, ft->rev, REV_BYTES, PART_OWN, 0))
        (void)madvise(ft->rev, REV_BYTES, MADV_DONTNEED);
    ft->touched = 0;
}

void ftab_renew_empty(struct ftab *ft)
{
    ft->empty_misses = 0;
    (void)map_empty(ft->empty);
}

/* ---- init, fini ------------------------------------------------------------------------------ */

static void table_at(struct ftab_table *t, unsigned number, uint64_t *loads, uint8_t **at)
{
    t->number = (uint8_t)number;
    t->r = loads;
    t->w = loads + 2 * HALF_PAGES;
    t->region = (struct ftab_region *)(void *)*at;
    t->list = (uint32_t *)(void *)(*at + REGION_BYTES);
    t->list_n = t->list + LIST_MAX;
    *at += TABLE_BYTES;
}

static bool map_all(struct ftab *ft, uint64_t index)
{
    uint64_t views = ft->contexts + 1u;
    ft->arena_len = views * VIEW_BYTES + (views + 1) * TABLE_BYTES + REV_BYTES;
    void *want = (void *)(uintptr_t)(ARENAS_AT + index * ft->arena_len);
    void *p = mmap(want, ft->arena_len, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return false;
    ft->arena = p;
    ft->kernel = p;
    uint8_t *at = ft->arena + views * VIEW_BYTES;
    table_at(&ft->s, TABLE_S, ft->kernel, &at);
    table_at(&ft->k, TABLE_K, ft->kernel + HALF_PAGES, &at);
    for (unsigned n = 0; n < ft->contexts; n++) {
        struct ftab_context *c = &ft->context[n];
        c->view = ft->kernel + (n + 1) * (VIEW_BYTES / 8);
        table_at(&c->u, n, c->view, &at);
        if (!map_lower(ft, c->view) || !map_upper(ft, c->view))
            return false;
    }
    ft->rev = (struct ftab_rev *)(void *)at;
    return map_lower(ft, ft->kernel) && map_upper(ft, ft->kernel) &&
           map(ft, ft->arena + views * VIEW_BYTES, (views + 1) * TABLE_BYTES, PART_OWN, 0) &&
           map(ft, ft->rev, REV_BYTES, PART_OWN, 0);
}

static bool empty_get(struct ftab *ft, struct soft *s)
{
    if (!s->ftab_empty) {
        void *p = mmap((void *)(uintptr_t)EMPTY_AT, VIEW_BYTES, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                       -1, 0);
        if (p == MAP_FAILED)
            return false;
        s->ftab_empty = p;
    }
    s->ftab_users++;
    ft->empty = s->ftab_empty;
    return map_empty(ft->empty);
}

static const char *set_up(struct ftab *ft, struct vcpu *cpu, unsigned contexts)
{
    struct rlimit limit;
    unsigned cpus = cpu->soft->vcpu_count ? cpu->soft->vcpu_count : 1;
    uint64_t views = ADDRESS_SPACE / cpus / VIEW_BYTES;
    if (views < 2)
        return "the flat page tables of so many CPUs do not fit the address space";
    ft->contexts = views - 1 < FTAB_CONTEXTS ? (unsigned)views - 1 : FTAB_CONTEXTS;
    if (contexts && contexts < ft->contexts)
        ft->contexts = contexts;
    if (cpu->soft->model.linear_bits > 48)
        return "the flat page tables are for linear addresses of 48 bits";
    /* ftruncate() beyond it would be a signal */
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < 2 * HALF_BYTES)
        return "the limit of file sizes (ulimit -f) leaves no room for the flat page tables";
    ft->fd = memfd_create("mobo-ftab", MFD_CLOEXEC);
    if (ft->fd < 0 || ftruncate(ft->fd, (off_t)(2 * HALF_BYTES)) < 0)
        return "no memory file for the flat page tables";
    if (!map_all(ft, cpu->index) || !empty_get(ft, cpu->soft))
        return "the host does not reserve the address space of the flat page tables "
               "(vm.overcommit_memory = 2, or ulimit -v)";
    return NULL;
}

int ftab_init(struct vcpu *cpu, unsigned contexts, const struct ftab_hooks *hooks,
              const char **why)
{
    struct ftab *ft = calloc(1, sizeof *ft);
    if (!ft) {
        *why = "no memory";
        return MOBO_ENOMEM;
    }
    ft->fd = -1;
    cpu->ftab = ft;
    *why = set_up(ft, cpu, contexts);
    if (*why) {
        ftab_fini(cpu);
        return MOBO_ENOMEM;
    }
    if (hooks)
        ft->hooks = *hooks;
    ft->now = &ft->context[0];
    ftab_flush_all(cpu);
    return MOBO_OK;
}

void ftab_fini(struct vcpu *cpu)
{
    struct ftab *ft = cpu->ftab;
    struct soft *s = cpu->soft;
    if (!ft)
        return;
    if (ft->empty && --s->ftab_users == 0) {
        (void)munmap(s->ftab_empty, VIEW_BYTES);
        s->ftab_empty = NULL;
    }
    if (ft->arena)
        (void)munmap(ft->arena, ft->arena_len);
    if (ft->fd >= 0)
        (void)close(ft->fd);
    free(ft);
    cpu->ftab = NULL;
    cpu->view_now = cpu->view_user = cpu->view_kernel = NULL;
}
