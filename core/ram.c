/*
 * ram.c: guest RAM (one sealed memfd: [0, low) and the rest from 4 GiB on) and the memory of
 * devices. Where the guest sees it is map.c's.
 */
#include "runtime.h"

#include <stdlib.h>

enum { PAGE = 4096 };
static const uint64_t HIGH_BASE = (uint64_t)1 << 32;

/* Pages of the wanted kind, or, for `try`, of any. 0 or the exit code. */
static int ram_alloc(struct runtime *rt, const struct machine_settings *set)
{
    uint64_t page = set->huge_pages == HUGE_NO   ? 0
                    : set->huge_pages == HUGE_1G ? (uint64_t)1 << 30
                                                 : (uint64_t)1 << 21;
    const char *word = set->huge_pages == HUGE_1G ? "1G" : "2M";
    const char *why = NULL;
    bool fits = !page || set->memory % page == 0;
    if (!fits)
        why = "memory is not a multiple of this size";
    else if (os_mem_new(&rt->ram, "mobo-ram", set->memory, page, &why))
        return 0;
    if (set->huge_pages == HUGE_TRY) {
        log_line(MOBO_INFO, "guest memory without huge pages: %s", why);
        if (os_mem_new(&rt->ram, "mobo-ram", set->memory, 0, &why))
            return 0;
        page = 0;
    }
    if (page)
        log_line(MOBO_ERROR, "[machine]: huge-pages = %s: %s; use `try` to start without", word,
                 why);
    else
        log_line(MOBO_ERROR, "[machine]: memory = %llu bytes: %s; use less",
                 (unsigned long long)set->memory, why);
    return page && !fits ? EXIT_BAD_INPUT : EXIT_OTHER;
}

static bool ram_place(struct runtime *rt, uint64_t base, uint64_t off, uint64_t len)
{
    mobo_place_t place = {
        .size = sizeof place, .space = MOBO_SPACE_MEM, .base = base,
        .ram = rt->ram.host + off, .ram_len = len,
    };
    uint32_t handle;
    return len == 0 || map_add(rt, NULL, &place, &handle) == 0;
}

int ram_start(struct runtime *rt)
{
    const struct machine_settings *set = &rt->m->set;
    if (!set->memory || set->memory % PAGE || set->low_memory % PAGE ||
        set->low_memory > HIGH_BASE) {
        log_line(MOBO_ERROR, "[machine]: memory and low-memory are multiples of 4K, "
                             "and low-memory is at most 4G");
        return EXIT_BAD_INPUT;
    }
    rt->low = set->memory;
    if (set->low_memory && rt->low > set->low_memory)
        rt->low = set->low_memory;
    rt->high = set->memory - rt->low;
    int code = ram_alloc(rt, set);
    if (code)
        return code;
    bool placed = ram_place(rt, 0, 0, rt->low) && ram_place(rt, HIGH_BASE, rt->low, rt->high);
    return placed ? 0 : EXIT_OTHER;
}

void ram_end(struct runtime *rt)
{
    os_mem_free(&rt->ram);
}

void ram_written(struct runtime *rt, uint64_t gpa, uint64_t len)
{
    if (rt->accel.ram_written)
        rt->accel.ram_written(rt->accel_self, gpa, len);
}

int ram_new(mobo_obj_t *obj, const char *name, uint64_t len, uint32_t flags, void **host)
{
    struct object *o = object_of(obj);
    const char *why;
    if (!len || len > INT64_MAX - PAGE)
        return MOBO_EINVAL;
    struct ram_area *a = calloc(1, sizeof *a);
    if (!a)
        return MOBO_ENOMEM;
    a->len = (len + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    a->readonly = flags & MOBO_RAM_READONLY;
    if (!os_mem_new(&a->mem, name ? name : "mobo-device", a->len, 0, &why)) {
        free(a);
        return MOBO_ENOMEM;
    }
    a->next = o->rt->ram;
    o->rt->ram = a;
    *host = a->mem.host;
    return 0;
}

void ram_release(struct object *o)
{
    while (o->rt->ram) {
        struct ram_area *a = o->rt->ram;
        o->rt->ram = a->next;
        os_mem_free(&a->mem);
        free(a);
    }
}

/* The dirty log of the accelerator, for every place at which the area is visible. */
int ram_dirty(mobo_obj_t *obj, void *ram, uint64_t off, uint64_t len, uint64_t *bitmap)
{
    struct runtime *rt = runtime_of(object_of(obj));
    if (!(rt->accel_caps & MOBO_ACCEL_DIRTY_LOG) || !rt->accel.ram_dirty)
        return MOBO_ENOTSUP;
    if (off % PAGE || len % PAGE || !len)
        return MOBO_EINVAL;
    struct gate_slot *slot;
    const struct view *v = view_enter(&rt->map, &slot);
    uint64_t gpa = 0;
    bool found = false;
    for (unsigned i = 0; i < v->ram_count && !found; i++) {
        const struct flat *f = &v->ram[i];
        uint64_t span = f->last - f->base + 1;
        const uint8_t *start = f->region->host + f->off;
        const uint8_t *want = (const uint8_t *)ram + off;
        found = want >= start && len <= span && (uint64_t)(want - start) <= span - len;
        if (found)
            gpa = f->base + (uint64_t)(want - start);
    }
    view_leave(slot);
    return found ? rt->accel.ram_dirty(rt->accel_self, gpa, len, bitmap) : MOBO_ENOTSUP;
}
