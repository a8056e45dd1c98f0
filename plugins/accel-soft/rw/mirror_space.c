/*
 * mirror_space.c: the address space of mirrors: granules and who owns them, granule maps, and the
 * calls of the host that put RAM of the guest at a guest's address and take it away. What is put
 * where is mirror.c's; why none of it is dangerous is in mirror.h.
 *
 * RAM is known by its host address only, so a second mapping of it is made by mremap() with an old
 * size of 0, which the host grants for shared memory (mremap(2)). It inherits the rights of the
 * first; what is for loads only comes from an alias of all RAM made for that purpose.
 */
#include "mirror_int.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* Linux 4.17 */
#endif

enum { NOTHING = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE };
#define MAP_SIZE (GRANULES + (UINT64_C(1) << 34) + PAGE_BYTES)
#define MAPS_AT UINT64_C(0x080000000000) /* 8 TiB: where guests have nothing, as a rule */
#define REGIONS_BYTES (REGIONS * sizeof(struct region))
#define WRITTEN_BYTES (WRITTEN_PAGES / 8)

static void *pointer(uint64_t linear)
{
    return (void *)(uintptr_t)linear;
}

static void lock(struct granules *g)
{
    while (atomic_exchange_explicit(&g->lock, 1, memory_order_acquire))
        while (atomic_load_explicit(&g->lock, memory_order_relaxed))
            __builtin_ia32_pause();
}

static void unlock(struct granules *g)
{
    atomic_store_explicit(&g->lock, 0, memory_order_release);
}

/* ---- life ---- */

/* The main thread's stack may grow down to its limit, and would hit a reservation. */
static void refuse_stack(struct granules *g)
{
    struct rlimit limit = { .rlim_cur = 0 };
    uint64_t top = getauxval(AT_RANDOM), size = UINT64_C(16) << 30;
    if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur < size)
        size = limit.rlim_cur + (UINT64_C(64) << 20); /* and its guard gap */
    uint64_t low = top > size ? top - size : 0;
    for (uint64_t n = low >> MIRROR_GRANULE_BITS; n <= top >> MIRROR_GRANULE_BITS; n++)
        if (n < GRANULES)
            g->state[n] = GR_REFUSED;
}

bool space_open(struct soft *s)
{
    struct granules *g = s->granules;
    if (!g) {
        void *p = mmap(NULL, sizeof *g, PROT_READ | PROT_WRITE, NOTHING, -1, 0);
        if (p == MAP_FAILED)
            return false;
        s->granules = g = p;
        refuse_stack(g);
    }
    g->users++;
    return true;
}

void space_close(struct soft *s)
{
    struct granules *g = s->granules;
    if (!g || --g->users)
        return;
    for (uint64_t n = 0; n < GRANULES; n++) {
        uint64_t from = n ? n << MIRROR_GRANULE_BITS : g->first;
        uint64_t end = (n + 1) << MIRROR_GRANULE_BITS;
        if (end == MIRROR_END)
            end -= PAGE_BYTES;
        if (g->state[n] & GR_REFUSED) /* broken: somebody else may be in its hole */
            continue;
        if (g->state[n] & GR_RESERVED)
            (void)munmap(pointer(from), end - from);
        else if (g->state[n] & GR_GUARD)
            (void)munmap(pointer(from), PAGE_BYTES);
    }
    space_forget_ram(s);
    (void)munmap(g, sizeof *g);
    s->granules = NULL;
}

bool space_map_new(struct mirror *m)
{
    if (m->map)
        return true;
    void *p = mmap(pointer(MAPS_AT), MAP_SIZE, PROT_NONE, NOTHING, -1, 0);
    if (p == MAP_FAILED)
        return false;
    void *r = mmap(NULL, REGIONS_BYTES, PROT_READ | PROT_WRITE, NOTHING, -1, 0);
    if (r == MAP_FAILED || mprotect(p, 2 * GRANULES + PAGE_BYTES, PROT_READ | PROT_WRITE) != 0) {
        if (r != MAP_FAILED)
            (void)munmap(r, REGIONS_BYTES);
        (void)munmap(p, MAP_SIZE);
        return false;
    }
    (void)madvise(r, REGIONS_BYTES, MADV_NOHUGEPAGE);
    m->region = r;
    m->map = (uint64_t)(uintptr_t)p - MIRROR_FLAT;
    return true;
}

void space_map_free(struct mirror *m)
{
    if (!m->map)
        return;
    (void)munmap(pointer(m->map + MIRROR_FLAT), MAP_SIZE);
    (void)munmap(m->region, REGIONS_BYTES);
    m->map = 0;
}

/* ---- granules ---- */

static bool nothing_at(uint64_t from, uint64_t len)
{
    void *p = mmap(pointer(from), len, PROT_NONE, NOTHING | MAP_FIXED_NOREPLACE, -1, 0);
    if (p == pointer(from))
        return true;
    if (p != MAP_FAILED) /* a kernel that takes the address as a hint */
        (void)munmap(p, len);
    return false;
}

/* Granule N and the first page behind it, which may be reserved already. */
static bool reserve(struct granules *g, uint64_t n)
{
    uint64_t from = n << MIRROR_GRANULE_BITS, end = from + GRANULE_BYTES;
    uint64_t low = g->state[n] & GR_GUARD ? from + PAGE_BYTES : from;
    bool done;
    if (end == MIRROR_END)
        end -= PAGE_BYTES; /* the host maps nothing there */
    if (n == 0) { /* vm.mmap_min_addr */
        g->first = PAGE_BYTES;
        done = nothing_at(g->first, end - g->first);
        if (!done) {
            g->first = 64 << 10;
            done = nothing_at(g->first, end - g->first);
        }
        low = g->first;
    } else {
        done = nothing_at(low, end - low);
    }
    if (!done)
        return false;
    if (n + 1 < GRANULES && !(g->state[n + 1] & (GR_RESERVED | GR_GUARD))) {
        if (!nothing_at(end, PAGE_BYTES)) {
            (void)munmap(pointer(low), end - low);
            return false;
        }
        g->state[n + 1] |= GR_GUARD;
    }
    g->state[n] |= GR_RESERVED;
    return true;
}

static uint8_t *permit(const struct mirror *m, uint64_t n)
{
    return (uint8_t *)pointer(m->map) + n;
}

static uint8_t *flat(const struct mirror *m, uint64_t n)
{
    return (uint8_t *)pointer(m->map) + (int64_t)n + MIRROR_FLAT;
}

bool space_owns(const struct vcpu *cpu, const struct mirror *m, uint64_t linear)
{
    return linear < MIRROR_END &&
           cpu->soft->granules->owner[linear >> MIRROR_GRANULE_BITS] == m->id;
}

bool space_claim(struct vcpu *cpu, struct mirror *m, uint64_t linear)
{
    struct granules *g = cpu->soft->granules;
    uint64_t n = linear >> MIRROR_GRANULE_BITS;
    if (linear >= MIRROR_END || m->broken)
        return false;
    if (*permit(m, n))
        return true;
    *flat(m, n) = 1;
    if (m->granules == GRANULES_MAX)
        return false;
    lock(g);
    if (!(g->state[n] & (GR_REFUSED | GR_RESERVED)) && !reserve(g, n))
        g->state[n] |= GR_REFUSED;
    bool mine = !(g->state[n] & GR_REFUSED) && !g->owner[n];
    if (mine)
        g->owner[n] = m->id;
    else if (g->owner[n])
        atomic_store(&g->wanted[(g->owner[n] - 1u) / MIRRORS], 1);
    unlock(g);
    if (mine) {
        m->granule[m->granules++] = (uint32_t)n;
        *permit(m, n) = 1;
        *flat(m, n) = 0;
    }
    return mine;
}

void space_release(struct vcpu *cpu, struct mirror *m, bool refuse)
{
    struct granules *g = cpu->soft->granules;
    lock(g);
    for (unsigned i = 0; i < m->granules; i++) {
        *permit(m, m->granule[i]) = 0;
        if (refuse)
            g->state[m->granule[i]] |= GR_REFUSED;
        g->owner[m->granule[i]] = 0;
    }
    unlock(g);
    m->granules = 0;
    for (uint64_t *p = pointer(m->map + MIRROR_FLAT), *end = p + GRANULES / 8; p < end; p++)
        if (*p)
            *p = 0;
}

/* ---- RAM ---- */

uint8_t *space_source(struct vcpu *cpu, const struct ram_slot *slot, uint64_t gpa, bool write)
{
    struct granules *g = cpu->soft->granules;
    uint8_t *alias = NULL;
    unsigned i = 0;
    lock(g);
    while (i < g->aliases && (g->alias[i].host != slot->host || g->alias[i].len != slot->len))
        i++;
    if (i < g->aliases) {
        alias = g->alias[i].alias;
    } else if (i < SOFT_SLOTS_MAX) {
        void *p = mremap(slot->host, 0, slot->len, MREMAP_MAYMOVE);
        if (p != MAP_FAILED && mprotect(p, slot->len, PROT_READ) != 0) {
            (void)munmap(p, slot->len);
            p = MAP_FAILED;
        }
        g->alias[i].host = slot->host; /* noted if it cannot be, too */
        g->alias[i].len = slot->len;
        g->alias[i].alias = alias = p == MAP_FAILED ? NULL : p;
        g->aliases++;
    }
    unlock(g);
    if (!alias)
        return NULL; /* memory that is not shared */
    return (write ? slot->host : alias) + (gpa - slot->gpa);
}

void space_forget_ram(struct soft *s)
{
    struct granules *g = s->granules;
    lock(g);
    for (unsigned i = 0; i < g->aliases; i++)
        if (g->alias[i].alias)
            (void)munmap(g->alias[i].alias, g->alias[i].len);
    g->aliases = 0;
    unlock(g);
}

bool space_put(uint64_t linear, uint8_t *source, uint64_t len, bool write)
{
    if (mremap(source, 0, len, MREMAP_MAYMOVE | MREMAP_FIXED, pointer(linear)) != pointer(linear))
        return false;
    /* else each page would be a fault of the host's */
    (void)madvise(pointer(linear), len, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
    return true;
}

bool space_clear(uint64_t linear, uint64_t len)
{
    return mmap(pointer(linear), len, PROT_NONE, NOTHING | MAP_FIXED, -1, 0) == pointer(linear);
}
