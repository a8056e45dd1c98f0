/*
 * dma.c: guest RAM for devices. It knows the memory of the map and nothing else, so that no transfer
 * a guest asks for can reach a register: not the device's own, not another's.
 */
#include "runtime.h"

#include <string.h>

enum { ALIASES = 8 }; /* addresses one piece of memory may be visible at */

static uint8_t *host_at(const struct flat *f, uint64_t gpa)
{
    return f->region->host + f->off + (gpa - f->base);
}

static const struct flat *ram_find(const struct view *v, uint64_t gpa, bool write)
{
    uint64_t gap;
    const struct flat *f = flat_find(v->ram, v->ram_count, gpa, &gap);
    return f && !(write && f->region->readonly) ? f : NULL;
}

/* How much of LEN bytes from GPA on lies in F. */
static uint64_t part_in(const struct flat *f, uint64_t gpa, uint64_t len)
{
    return len - 1 <= f->last - gpa ? len : f->last - gpa + 1;
}

/* All of [gpa, gpa + len) is memory, in however many stretches; len > 0. */
static bool all_ram(const struct view *v, uint64_t gpa, uint64_t len, bool write)
{
    if (len - 1 > UINT64_MAX - gpa)
        return false;
    for (;;) {
        const struct flat *f = ram_find(v, gpa, write);
        if (!f)
            return false;
        uint64_t part = part_in(f, gpa, len);
        if (part == len)
            return true;
        gpa += part;
        len -= part;
    }
}

static int copy(mobo_obj_t *obj, uint64_t gpa, uint8_t *buf, uint64_t len, bool write)
{
    struct runtime *rt = runtime_of(object_of(obj));
    struct gate_slot *slot;
    if (!len)
        return 0;
    const struct view *v = view_enter(&rt->map, &slot);
    if (!all_ram(v, gpa, len, write)) {
        view_leave(slot);
        return MOBO_EFAULT;
    }
    uint64_t start = gpa, whole = len;
    while (len) {
        const struct flat *f = ram_find(v, gpa, write);
        uint64_t part = part_in(f, gpa, len);
        if (write)
            memcpy(host_at(f, gpa), buf, part);
        else
            memcpy(buf, host_at(f, gpa), part);
        buf += part;
        gpa += part;
        len -= part;
    }
    view_leave(slot);
    if (write)
        ram_written(rt, start, whole);
    return 0;
}

static int dma_read(mobo_obj_t *obj, uint64_t gpa, void *buf, uint64_t len)
{
    return copy(obj, gpa, buf, len, false);
}

static int dma_write(mobo_obj_t *obj, uint64_t gpa, const void *buf, uint64_t len)
{
    return copy(obj, gpa, (uint8_t *)(uintptr_t)buf, len, true); /* only read */
}

/* The host address of one aligned cell. */
static int cell(mobo_obj_t *obj, uint64_t gpa, uint32_t bytes, bool write, uint8_t **host)
{
    struct runtime *rt = runtime_of(object_of(obj));
    struct gate_slot *slot;
    if ((bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8) || gpa % bytes)
        return MOBO_EINVAL;
    const struct view *v = view_enter(&rt->map, &slot);
    const struct flat *f = ram_find(v, gpa, write);
    int rc = MOBO_EFAULT;
    if (f && part_in(f, gpa, bytes) == bytes) {
        *host = host_at(f, gpa);
        rc = 0;
    }
    view_leave(slot);
    return rc;
}

static int dma_load(mobo_obj_t *obj, uint64_t gpa, uint32_t bytes, uint64_t *val)
{
    uint8_t *p;
    int rc = cell(obj, gpa, bytes, false, &p);
    if (rc < 0)
        return rc;
    switch (bytes) {
    case 1:
        *val = __atomic_load_n(p, __ATOMIC_ACQUIRE);
        break;
    case 2:
        *val = __atomic_load_n((uint16_t *)(void *)p, __ATOMIC_ACQUIRE);
        break;
    case 4:
        *val = __atomic_load_n((uint32_t *)(void *)p, __ATOMIC_ACQUIRE);
        break;
    default:
        *val = __atomic_load_n((uint64_t *)(void *)p, __ATOMIC_ACQUIRE);
        break;
    }
    return 0;
}

static int dma_store(mobo_obj_t *obj, uint64_t gpa, uint32_t bytes, uint64_t val)
{
    uint8_t *p;
    int rc = cell(obj, gpa, bytes, true, &p);
    if (rc < 0)
        return rc;
    switch (bytes) {
    case 1:
        __atomic_store_n(p, (uint8_t)val, __ATOMIC_RELEASE);
        break;
    case 2:
        __atomic_store_n((uint16_t *)(void *)p, (uint16_t)val, __ATOMIC_RELEASE);
        break;
    case 4:
        __atomic_store_n((uint32_t *)(void *)p, (uint32_t)val, __ATOMIC_RELEASE);
        break;
    default:
        __atomic_store_n((uint64_t *)(void *)p, val, __ATOMIC_RELEASE);
        break;
    }
    ram_written(runtime_of(object_of(obj)), gpa, bytes);
    return 0;
}

static int dma_map(mobo_obj_t *obj, uint64_t gpa, uint64_t len, uint32_t for_write, void **host,
                   uint64_t *got)
{
    struct runtime *rt = runtime_of(object_of(obj));
    struct gate_slot *slot;
    if (!len)
        return MOBO_EINVAL;
    const struct view *v = view_enter(&rt->map, &slot);
    int rc = MOBO_EFAULT;
    if (all_ram(v, gpa, len, for_write)) {
        const struct flat *f = ram_find(v, gpa, for_write);
        *host = host_at(f, gpa);
        *got = part_in(f, gpa, len);
        rc = 0;
    }
    view_leave(slot);
    return rc;
}

/* Memory itself lives as long as its object, so giving it back only has to report the writes. */
static void dma_unmap(mobo_obj_t *obj, void *host, uint64_t len, uint64_t written)
{
    struct runtime *rt = runtime_of(object_of(obj));
    struct gate_slot *slot;
    const uint8_t *from = host;
    if (written > len)
        written = len;
    if (!written || !rt->accel.ram_written)
        return;
    struct { uint64_t gpa, len; } seen[ALIASES];
    unsigned count = 0;
    const struct view *v = view_enter(&rt->map, &slot);
    for (unsigned i = 0; i < v->ram_count && count < ALIASES; i++) {
        const struct flat *f = &v->ram[i];
        const uint8_t *start = f->region->host + f->off;
        if (from < start || (uint64_t)(from - start) > f->last - f->base)
            continue;
        seen[count].gpa = f->base + (uint64_t)(from - start);
        seen[count].len = part_in(f, seen[count].gpa, written);
        count++;
    }
    view_leave(slot);
    while (count--)
        ram_written(rt, seen[count].gpa, seen[count].len);
}

const mobo_mem_api_t mem_api = {
    .size = sizeof mem_api,
    .read = dma_read,
    .write = dma_write,
    .load = dma_load,
    .store = dma_store,
    .map = dma_map,
    .unmap = dma_unmap,
    .ram_new = ram_new,
    .region_add = region_add,
    .region_move = region_move,
    .region_drop = region_drop,
    .ram_dirty = ram_dirty,
};
