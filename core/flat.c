/*
 * flat.c: the flat view of the map (sorted stretches, found by binary search, without a lock) and
 * guest accesses through it. It never reaches memory on behalf of a device: that is dma.c's.
 */
#include "runtime.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "registers are copied as host integers");

/* ---- building -------------------------------------------------------------------------------- */

/* Fill the parts of REGION's range that no stretch covers yet. */
static unsigned flats_insert(struct flat *flats, unsigned count, struct region *r)
{
    uint64_t at = r->base, last = r->base + (r->len - 1);
    unsigned i = 0;
    while (i < count && flats[i].last < at)
        i++;
    for (;;) {
        if (i < count && flats[i].base <= at) {
            if (flats[i].last >= last)
                return count;
            at = flats[i++].last + 1;
            continue;
        }
        uint64_t end = i < count && flats[i].base <= last ? flats[i].base - 1 : last;
        memmove(&flats[i + 1], &flats[i], (count - i) * sizeof *flats);
        flats[i] = (struct flat){ .base = at, .last = end, .off = at - r->base, .region = r };
        count++;
        if (end == last)
            return count;
        at = end + 1;
        i++;
    }
}

static int by_priority(const void *a, const void *b)
{
    const struct region *x = *(struct region *const *)a, *y = *(struct region *const *)b;
    return (x->priority < y->priority) - (x->priority > y->priority);
}

static unsigned flats_build(struct flat *flats, struct region **sorted, unsigned count,
                            uint32_t space)
{
    unsigned n = 0;
    for (unsigned i = 0; i < count; i++)
        if (sorted[i]->space == space)
            n = flats_insert(flats, n, sorted[i]);
    return n;
}

struct view *view_new(struct region *const *regions, unsigned count)
{
    /* Each region adds at most one stretch and one more for each stretch it goes around. */
    unsigned most = 2 * count + 1;
    struct view *v = calloc(1, sizeof *v + 3 * (size_t)most * sizeof(struct flat));
    struct region **sorted = calloc(count + 1, sizeof *sorted);
    unsigned n = 0;
    if (!v || !sorted) {
        free(v);
        free(sorted);
        return NULL;
    }
    for (unsigned i = 0; i < count; i++)
        if (regions[i]->enabled)
            sorted[n++] = regions[i];
    if (n)
        qsort(sorted, n, sizeof *sorted, by_priority);
    v->mem = (struct flat *)(v + 1);
    v->io = v->mem + most;
    v->ram = v->io + most;
    v->mem_count = flats_build(v->mem, sorted, n, MOBO_SPACE_MEM);
    v->io_count = flats_build(v->io, sorted, n, MOBO_SPACE_IO);
    for (unsigned i = 0; i < v->mem_count; i++)
        if (v->mem[i].region->host)
            v->ram[v->ram_count++] = v->mem[i];
    free(sorted);
    return v;
}

/* ---- publishing ------------------------------------------------------------------------------ */

static struct gate_slot *gate_of_thread(struct map *map)
{
    static _Thread_local char here; /* never written: its address tells threads apart */
    uint64_t mixed = ((uint64_t)(uintptr_t)&here >> 6) * 0x9e3779b97f4a7c15u;
    return &map->gate[mixed >> 59];
}
_Static_assert(GATE_SLOTS == 32, "gate_of_thread takes 5 bits");

/*
 * All sequentially consistent: a reader either shows up in its slot before the writer looks there,
 * or loads the view after the writer has replaced it.
 */
const struct view *view_enter(struct map *map, struct gate_slot **slot)
{
    *slot = gate_of_thread(map);
    atomic_fetch_add(&(*slot)->readers, 1);
    return atomic_load(&map->view);
}

void view_leave(struct gate_slot *slot)
{
    atomic_fetch_sub(&slot->readers, 1);
}

/* Callers hold map.lock. Readers are out after some hundred instructions, or a bounded copy. */
void view_swap(struct map *map, struct view *view)
{
    struct view *old = atomic_exchange(&map->view, view);
    for (unsigned i = 0; i < GATE_SLOTS; i++)
        while (atomic_load(&map->gate[i].readers))
            sched_yield();
    free(old);
}

const struct flat *flat_find(const struct flat *flats, unsigned count, uint64_t addr, uint64_t *gap)
{
    unsigned low = 0, high = count; /* the first stretch that ends at or after addr */
    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        if (flats[mid].last < addr)
            low = mid + 1;
        else
            high = mid;
    }
    if (low < count && flats[low].base <= addr)
        return &flats[low];
    *gap = low < count ? flats[low].base - addr : 0;
    return NULL;
}

/* ---- registers ------------------------------------------------------------------------------- */

static uint64_t ones(unsigned bytes)
{
    return bytes == 8 ? UINT64_MAX : ((uint64_t)1 << 8 * bytes) - 1;
}

/* The widest access that is allowed, aligned at OFF and not longer than LEN; 0: all are too wide. */
static unsigned width_at(const mobo_region_t *ops, uint64_t off, uint32_t len)
{
    unsigned width = ops->max_access;
    while (width > len || off % width)
        width /= 2;
    return width < ops->min_access ? 0 : width;
}

static void region_read(struct region *r, uint64_t off, uint8_t *data, uint32_t len)
{
    while (len) {
        unsigned width = width_at(&r->ops, off, len), skip = 0, take = width;
        if (!width) { /* out of the middle of an aligned minimal read */
            width = r->ops.min_access;
            skip = (unsigned)(off % width);
            take = width - skip < len ? width - skip : len;
        }
        uint64_t val = UINT64_MAX;
        if (r->ops.read)
            val = r->ops.read(r->owner->self, off - skip, width) & ones(width);
        val >>= 8 * skip;
        memcpy(data, &val, take);
        data += take;
        off += take;
        len -= take;
    }
}

static void region_write(struct region *r, uint64_t off, const uint8_t *data, uint32_t len)
{
    while (len) {
        unsigned take = width_at(&r->ops, off, len);
        if (take) {
            uint64_t val = 0;
            memcpy(&val, data, take);
            if (r->ops.write)
                r->ops.write(r->owner->self, off, val, take);
        } else {
            unsigned rest = r->ops.min_access - (unsigned)(off % r->ops.min_access);
            take = rest < len ? rest : len;
            if (log_shown(MOBO_DEBUG))
                log_line(MOBO_DEBUG, "[%s]: %s: store of %u bytes at 0x%llx dropped: too narrow",
                         r->owner->pub.name, r->ops.name ? r->ops.name : "?", take,
                         (unsigned long long)off);
        }
        data += take;
        off += take;
        len -= take;
    }
}

static void region_access(struct region *r, uint64_t off, uint8_t *data, uint32_t len, bool write)
{
    bool lock = !object_parallel(r->owner);
    if (lock)
        object_enter(r->owner);
    if (!atomic_load(&r->live)) { /* it went away while we waited */
        if (!write)
            memset(data, 0xff, len);
    } else if (write) {
        region_write(r, off, data, len);
    } else {
        region_read(r, off, data, len);
    }
    if (lock)
        object_leave(r->owner);
}

/* ---- accesses -------------------------------------------------------------------------------- */

/* Memory the accelerator could not map: parts of pages, or while a change is under way. */
static void memory_access(struct runtime *rt, const struct flat *f, uint64_t addr, void *data,
                          uint32_t len, bool write)
{
    uint8_t *host = f->region->host + f->off + (addr - f->base);
    if (!write) {
        memcpy(data, host, len);
    } else if (!f->region->readonly) {
        memcpy(host, data, len);
        ram_written(rt, addr, len);
    }
}

static void unclaimed(uint32_t space, uint64_t addr, void *data, uint32_t len, bool write)
{
    if (log_shown(MOBO_DEBUG))
        log_line(MOBO_DEBUG, "unclaimed %s of %u bytes at %s 0x%llx", write ? "store" : "load", len,
                 space == MOBO_SPACE_IO ? "port" : "address", (unsigned long long)addr);
    if (!write)
        memset(data, 0xff, len);
}

/* One piece within a stretch or a gap; returns its length. */
static uint32_t access_piece(struct runtime *rt, uint32_t space, uint64_t addr, uint8_t *data,
                             uint32_t len, bool write, bool whole)
{
    struct gate_slot *slot;
    const struct view *v = view_enter(&rt->map, &slot);
    uint64_t gap;
    const struct flat *found = space == MOBO_SPACE_IO
                                   ? flat_find(v->io, v->io_count, addr, &gap)
                                   : flat_find(v->mem, v->mem_count, addr, &gap);
    struct flat f = found ? *found : (struct flat){ 0 };
    view_leave(slot);
    if (!found) {
        len = gap && gap < len ? (uint32_t)gap : len;
        unclaimed(space, addr, data, len, write);
        return len;
    }
    whole = whole && len - 1 <= f.last - addr;
    if (len - 1 > f.last - addr)
        len = (uint32_t)(f.last - addr) + 1;
    uint64_t off = f.off + (addr - f.base);
    if (f.region->host)
        memory_access(rt, &f, addr, data, len, write);
    else if (!write || !whole || !doorbell_match(f.region, off, data, len))
        region_access(f.region, off, data, len, write);
    return len;
}

void map_access(struct runtime *rt, uint32_t space, uint64_t addr, void *data, uint32_t len,
                bool write)
{
    uint8_t *at = data;
    bool whole = true;
    while (len) {
        uint32_t done = access_piece(rt, space, addr, at, len, write, whole);
        at += done;
        len -= done;
        whole = false;
        if (len && addr > UINT64_MAX - done) { /* there is nothing behind 2^64 - 1 */
            unclaimed(space, UINT64_MAX, at, len, write);
            return;
        }
        addr += done;
    }
}
