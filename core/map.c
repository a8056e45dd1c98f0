/*
 * map.c: the places of the address map. Each change builds a new flat view, publishes it, and tells
 * the accelerator what became different in its mappings. Accesses themselves are flat.c's.
 */
#include "runtime.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, IO_PORTS = 0x10000 };

/* ---- what the accelerator has ---------------------------------------------------------------- */

static uint8_t *flat_host(const struct flat *f)
{
    return f->region->host + f->off;
}

static bool same_mapping(const struct flat *a, const struct flat *b)
{
    return a->base == b->base && a->last == b->last && flat_host(a) == flat_host(b) &&
           a->region->readonly == b->region->readonly;
}

static bool in_list(const struct flat *list, unsigned count, const struct flat *f)
{
    for (unsigned i = 0; i < count; i++)
        if (same_mapping(&list[i], f))
            return true;
    return false;
}

/*
 * The whole pages of memory in a view: what an accelerator can map. Rests of pages that a window
 * covers partly leave through exits.mmio, and flat.c serves them.
 */
static struct flat *mappings_of(const struct view *v, unsigned *count)
{
    struct flat *list = calloc(v->ram_count + 1, sizeof *list);
    *count = 0;
    for (unsigned i = 0; list && i < v->ram_count; i++) {
        struct flat f = v->ram[i];
        uint64_t skip = (PAGE - f.base % PAGE) % PAGE;
        uint64_t end = (f.last + 1) & ~(uint64_t)(PAGE - 1); /* memory never ends at 2^64 */
        if (f.base + skip >= end)
            continue;
        f.base += skip;
        f.off += skip;
        f.last = end - 1;
        list[(*count)++] = f;
    }
    return list;
}

static int map_into_accel(struct runtime *rt, const struct flat *f)
{
    uint32_t flags = f->region->readonly ? MOBO_MAP_READONLY : 0;
    int rc = rt->accel.ram_map(rt->accel_self, f->base, flat_host(f), f->last - f->base + 1, flags);
    if (rc < 0)
        log_line(MOBO_ERROR, "[%s]: the accelerator refuses memory at 0x%llx, %llu bytes (%d)",
                 rt->accel_object->pub.name, (unsigned long long)f->base,
                 (unsigned long long)(f->last - f->base + 1), rc);
    return rc;
}

static void hand_doorbells(struct map *map)
{
    for (unsigned i = 0; i < map->count; i++)
        for (struct doorbell *b = atomic_load(&map->regions[i]->bells); b; b = b->next)
            doorbell_hand(b);
}

/*
 * Publish what the regions say. Memory leaves the accelerator before the change is visible and
 * joins it after, so that a virtual CPU in between lands in flat.c and finds old or new, never both.
 */
static int map_update(struct runtime *rt)
{
    struct map *map = &rt->map;
    unsigned count;
    struct view *v = view_new(map->regions, map->count);
    struct flat *wanted = v ? mappings_of(v, &count) : NULL;
    int rc = 0;
    if (!wanted) {
        free(v);
        return MOBO_ENOMEM;
    }
    bool accel = rt->accel.ram_map;
    for (unsigned i = 0; accel && i < map->mapped_count; i++) {
        struct flat *old = &map->mapped[i];
        if (!in_list(wanted, count, old) && rt->accel.ram_unmap)
            (void)rt->accel.ram_unmap(rt->accel_self, old->base, old->last - old->base + 1);
    }
    for (unsigned i = 0; i < map->count; i++)
        atomic_store(&map->regions[i]->live, map->regions[i]->enabled);
    view_swap(map, v);
    for (unsigned i = 0; accel && i < count; i++)
        if (!in_list(map->mapped, map->mapped_count, &wanted[i]) &&
            map_into_accel(rt, &wanted[i]) < 0)
            rc = MOBO_EFAIL;
    free(map->mapped);
    map->mapped = wanted;
    map->mapped_count = accel ? count : 0;
    hand_doorbells(map);
    return rc;
}

int map_accel(struct runtime *rt)
{
    pthread_mutex_lock(&rt->map.lock);
    rt->map.mapped_count = 0;
    int rc = map_update(rt);
    pthread_mutex_unlock(&rt->map.lock);
    return rc;
}

/* ---- checks ---------------------------------------------------------------------------------- */

static const char *region_name(const struct region *r)
{
    if (!r->owner)
        return "guest RAM";
    return r->ops.name ? r->ops.name : "memory";
}

static bool overlap(const struct region *a, const struct region *b)
{
    return a->space == b->space && a->base <= b->base + (b->len - 1) &&
           b->base <= a->base + (a->len - 1);
}

/* Another enabled region at the same addresses with the same priority. */
static int check_free(const struct runtime *rt, const struct region *r)
{
    for (unsigned i = 0; i < rt->map.count; i++) {
        const struct region *q = rt->map.regions[i];
        if (q == r || !q->enabled || q->priority != r->priority || !overlap(q, r))
            continue;
        const char *whose = q->owner ? q->owner->pub.name : "machine";
        if (r->owner) /* RAM comes first, when there is nothing to lie over */
            mobo_log(&r->owner->pub, MOBO_WARN,
                     "%s at 0x%llx, 0x%llx bytes, lies over %s of [%s] at 0x%llx, 0x%llx bytes; "
                     "move one of them",
                     region_name(r), (unsigned long long)r->base, (unsigned long long)r->len,
                     region_name(q), whose, (unsigned long long)q->base,
                     (unsigned long long)q->len);
        return MOBO_EEXIST;
    }
    return 0;
}

static bool fits(uint32_t space, uint64_t base, uint64_t len)
{
    if (!len || base > UINT64_MAX - (len - 1))
        return false;
    return space == MOBO_SPACE_MEM || (len <= IO_PORTS && base <= IO_PORTS - len);
}

static bool width_ok(uint32_t bytes)
{
    return bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
}

/* Registers: a private copy of the description, its defaults filled in. */
static int take_ops(struct region *r, const mobo_region_t *given)
{
    size_t size = given->size < sizeof r->ops ? given->size : sizeof r->ops;
    memcpy(&r->ops, given, size);
    r->ops.min_access = r->ops.min_access ? r->ops.min_access : 1;
    r->ops.max_access = r->ops.max_access ? r->ops.max_access : 8;
    r->len = r->ops.length;
    if (!width_ok(r->ops.min_access) || !width_ok(r->ops.max_access) ||
        r->ops.min_access > r->ops.max_access || r->len % r->ops.min_access)
        return MOBO_EINVAL;
    return 0;
}

/* Memory: from ram_new of the same object; the machine's own is trusted. */
static int take_ram(struct region *r, const mobo_place_t *place)
{
    r->host = place->ram;
    r->len = place->ram_len;
    r->readonly = place->ram_flags & MOBO_RAM_READONLY;
    if (place->space != MOBO_SPACE_MEM || place->base % PAGE || r->len % PAGE ||
        r->len > UINT64_MAX - PAGE || place->base > UINT64_MAX - PAGE - r->len)
        return MOBO_EINVAL;
    if (!r->owner)
        return 0;
    for (const struct ram_area *a = r->owner->rt->ram; a; a = a->next) {
        if (r->host < a->mem.host || r->len > a->len ||
            (uint64_t)(r->host - a->mem.host) > a->len - r->len)
            continue;
        r->readonly = r->readonly || a->readonly;
        return 0;
    }
    return MOBO_EINVAL;
}

/* ---- changes --------------------------------------------------------------------------------- */

static bool make_room(struct map *map)
{
    if (map->count < map->room)
        return true;
    unsigned room = map->room ? 2 * map->room : 32;
    struct region **bigger = realloc(map->regions, room * sizeof *bigger);
    if (!bigger)
        return false;
    map->regions = bigger;
    map->room = room;
    return true;
}

static int region_check(struct region *r, const mobo_place_t *place)
{
    int rc;
    if (place->space != MOBO_SPACE_MEM && place->space != MOBO_SPACE_IO)
        return MOBO_EINVAL;
    if (!place->region == !place->ram)
        return MOBO_EINVAL;
    rc = place->region ? take_ops(r, place->region) : take_ram(r, place);
    if (rc == 0 && !fits(r->space, r->base, r->len))
        rc = MOBO_EINVAL;
    return rc;
}

int map_add(struct runtime *rt, struct object *owner, const mobo_place_t *given, uint32_t *handle)
{
    struct map *map = &rt->map;
    mobo_place_t place = { 0 };
    memcpy(&place, given, given->size < sizeof place ? given->size : sizeof place);
    struct region *r = calloc(1, sizeof *r);
    if (!r)
        return MOBO_ENOMEM;
    r->owner = owner;
    r->space = place.space;
    r->base = place.base;
    r->priority = place.priority;
    r->enabled = !place.disabled;
    int rc = region_check(r, &place);
    if (rc < 0) {
        log_line(MOBO_WARN, "[%s]: no region can be 0x%llx bytes at 0x%llx of space %u, accesses "
                            "of %u to %u bytes",
                 owner ? owner->pub.name : "machine", (unsigned long long)r->len,
                 (unsigned long long)r->base, r->space, r->ops.min_access, r->ops.max_access);
        free(r);
        return rc;
    }
    pthread_mutex_lock(&map->lock);
    rc = r->enabled ? check_free(rt, r) : 0;
    if (rc == 0 && !make_room(map))
        rc = MOBO_ENOMEM;
    if (rc == 0) {
        map->regions[map->count++] = r;
        rc = map_update(rt);
        if (rc == MOBO_ENOMEM)
            map->count--; /* nothing was published */
    }
    if (rc == 0 && handle)
        *handle = map->count;
    pthread_mutex_unlock(&map->lock);
    if (rc < 0 && rc != MOBO_EFAIL)
        free(r);
    return rc;
}

struct region *map_region(struct object *o, uint32_t handle)
{
    const struct map *map = &runtime_of(o)->map;
    struct region *r = handle && handle <= map->count ? map->regions[handle - 1] : NULL;
    return r && r->owner == o && !r->dropped ? r : NULL;
}

int region_add(mobo_obj_t *owner, const mobo_place_t *place, uint32_t *handle)
{
    struct object *o = object_of(owner);
    return map_add(runtime_of(o), o, place, handle);
}

int region_move(mobo_obj_t *owner, uint32_t handle, uint64_t base, uint32_t enabled)
{
    struct object *o = object_of(owner);
    struct runtime *rt = runtime_of(o);
    pthread_mutex_lock(&rt->map.lock);
    struct region *r = map_region(o, handle);
    int rc = MOBO_ENOENT;
    if (r) {
        uint64_t old_base = r->base;
        bool old_enabled = r->enabled;
        r->base = base;
        r->enabled = enabled;
        rc = fits(r->space, base, r->len) && !(r->host && base % PAGE) ? 0 : MOBO_EINVAL;
        if (rc == 0 && enabled)
            rc = check_free(rt, r);
        if (rc == 0 && (old_base != base || old_enabled != (bool)enabled))
            rc = map_update(rt);
        if (rc < 0 && rc != MOBO_EFAIL) {
            r->base = old_base;
            r->enabled = old_enabled;
        }
    }
    pthread_mutex_unlock(&rt->map.lock);
    return rc;
}

int region_drop(mobo_obj_t *owner, uint32_t handle)
{
    struct object *o = object_of(owner);
    struct runtime *rt = runtime_of(o);
    pthread_mutex_lock(&rt->map.lock);
    struct region *r = map_region(o, handle);
    int rc = MOBO_ENOENT;
    if (r) {
        bool was = r->enabled;
        r->enabled = false;
        rc = map_update(rt);
        /* The struct stays: a virtual CPU may hold it while it waits for the owner's lock. */
        r->dropped = rc == 0;
        if (rc < 0)
            r->enabled = was;
    }
    pthread_mutex_unlock(&rt->map.lock);
    return rc;
}

/* All regions of an object go; no virtual CPU and no loop runs. */
void map_release(struct object *o)
{
    struct runtime *rt = runtime_of(o);
    bool any = false;
    pthread_mutex_lock(&rt->map.lock);
    for (unsigned i = 0; i < rt->map.count; i++) {
        struct region *r = rt->map.regions[i];
        if (r->owner != o || r->dropped)
            continue;
        any = any || r->enabled;
        r->enabled = false;
        r->dropped = true;
    }
    if (any)
        (void)map_update(rt);
    for (unsigned i = 0; i < rt->map.count; i++)
        if (rt->map.regions[i]->owner == o)
            doorbells_free(rt->map.regions[i]);
    pthread_mutex_unlock(&rt->map.lock);
}

bool map_start(struct runtime *rt)
{
    pthread_mutex_init(&rt->map.lock, NULL);
    return map_update(rt) == 0; /* an empty view: readers need no test for none */
}

void map_end(struct runtime *rt)
{
    struct map *map = &rt->map;
    for (unsigned i = 0; i < map->count; i++)
        free(map->regions[i]);
    free(map->regions);
    free(map->mapped);
    free(atomic_load(&map->view));
    pthread_mutex_destroy(&map->lock);
}
