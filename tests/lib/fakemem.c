/* fakemem.c: guest memory, the address map and guest accesses of the fake monitor. */
#include "fakepriv.h"

#include <stdlib.h>

/* ---- memory ---------------------------------------------------------------------------------- */

static bool in_ram(struct fake *f, uint64_t gpa, uint64_t len)
{
    return len <= f->ram_len && gpa <= f->ram_len - len;
}

static int mem_read(mobo_obj_t *obj, uint64_t gpa, void *buf, uint64_t len)
{
    struct fake *f = fake_of(obj)->f;
    if (!in_ram(f, gpa, len))
        return MOBO_EFAULT;
    if (len)
        memcpy(buf, f->ram + gpa, len);
    return 0;
}

static int mem_write(mobo_obj_t *obj, uint64_t gpa, const void *buf, uint64_t len)
{
    struct fake *f = fake_of(obj)->f;
    if (!in_ram(f, gpa, len))
        return MOBO_EFAULT;
    if (len)
        memcpy(f->ram + gpa, buf, len);
    return 0;
}

static bool width_ok(uint32_t bytes)
{
    return bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
}

static int mem_load(mobo_obj_t *obj, uint64_t gpa, uint32_t bytes, uint64_t *val)
{
    if (!width_ok(bytes) || gpa & (bytes - 1))
        return MOBO_EINVAL;
    *val = 0;
    return mem_read(obj, gpa, val, bytes);
}

static int mem_store(mobo_obj_t *obj, uint64_t gpa, uint32_t bytes, uint64_t val)
{
    if (!width_ok(bytes) || gpa & (bytes - 1))
        return MOBO_EINVAL;
    return mem_write(obj, gpa, &val, bytes);
}

static int mem_map(mobo_obj_t *obj, uint64_t gpa, uint64_t len, uint32_t for_write, void **host,
                   uint64_t *got)
{
    struct fake *f = fake_of(obj)->f;
    (void)for_write;
    if (len == 0)
        return MOBO_EINVAL;
    if (gpa >= f->ram_len)
        return MOBO_EFAULT;
    *got = len <= f->ram_len - gpa ? len : f->ram_len - gpa;
    *host = f->ram + gpa;
    f->maps++;
    return 0;
}

static void mem_unmap(mobo_obj_t *obj, void *host, uint64_t len, uint64_t written)
{
    struct fake *f = fake_of(obj)->f;
    if (f->maps == 0 || (uint8_t *)host < f->ram || (uint8_t *)host >= f->ram + f->ram_len)
        fake_die("[%s] unmaps what it never mapped", obj->name);
    if (written > len)
        fake_die("[%s] says it wrote more than it mapped", obj->name);
    f->mapped_writes += written;
    f->maps--;
}

static int mem_ram_new(mobo_obj_t *obj, const char *name, uint64_t len, uint32_t flags, void **host)
{
    struct fake *f = fake_of(obj)->f;
    (void)name;
    (void)flags;
    if (f->ram_count == FAKE_RAMS)
        return MOBO_ENOMEM;
    *host = aligned_alloc(4096, (len + 4095) & ~UINT64_C(4095));
    if (!*host)
        return MOBO_ENOMEM;
    memset(*host, 0, (len + 4095) & ~UINT64_C(4095));
    f->rams[f->ram_count++] = *host;
    return 0;
}

static uint64_t place_len(const struct fake_place *p)
{
    return p->place.region ? p->region.length : p->place.ram_len;
}

static int overlap(struct fake *f, const struct fake_place *new)
{
    for (unsigned i = 0; i < f->place_count; i++) {
        const struct fake_place *p = &f->places[i];
        if (p == new || !p->used || !p->enabled || p->place.space != new->place.space ||
            p->place.priority != new->place.priority)
            continue;
        if (p->place.base < new->place.base + place_len(new) &&
            new->place.base < p->place.base + place_len(p))
            return fake_fail(&new->owner->pub, MOBO_EEXIST, "the window overlaps another one");
    }
    return 0;
}

static int mem_region_add(mobo_obj_t *owner, const mobo_place_t *place, uint32_t *handle)
{
    struct fake *f = fake_of(owner)->f;
    if (f->place_count == FAKE_REGIONS)
        return MOBO_ENOMEM;
    struct fake_place *p = &f->places[f->place_count];
    *p = (struct fake_place){ .owner = fake_of(owner), .place = *place, .used = true,
                              .enabled = !place->disabled };
    if (place->space != MOBO_SPACE_MEM && place->space != MOBO_SPACE_IO)
        fake_die("[%s] region in space %u", owner->name, place->space);
    if (place->region) {
        p->region = *place->region;
        if (!p->region.min_access)
            p->region.min_access = 1;
        if (!p->region.max_access)
            p->region.max_access = 8;
        if (!p->region.length || !p->region.name || !p->region.read || !p->region.write)
            fake_die("[%s] region without a name, length, read or write", owner->name);
    }
    int rc = p->enabled ? overlap(f, p) : 0;
    if (rc)
        return rc;
    f->place_count++;
    if (handle)
        *handle = f->place_count;
    return 0;
}

static struct fake_place *place_of(mobo_obj_t *owner, uint32_t handle)
{
    struct fake *f = fake_of(owner)->f;
    if (handle == 0 || handle > f->place_count || !f->places[handle - 1].used ||
        f->places[handle - 1].owner != fake_of(owner))
        fake_die("[%s] uses region handle %u, which is not its own", owner->name, handle);
    return &f->places[handle - 1];
}

static int mem_region_move(mobo_obj_t *owner, uint32_t handle, uint64_t base, uint32_t enabled)
{
    struct fake_place *p = place_of(owner, handle);
    p->place.base = base;
    p->enabled = enabled;
    return enabled ? overlap(fake_of(owner)->f, p) : 0;
}

static int mem_region_drop(mobo_obj_t *owner, uint32_t handle)
{
    place_of(owner, handle)->used = false;
    return 0;
}

static int mem_ram_dirty(mobo_obj_t *obj, void *ram, uint64_t off, uint64_t len, uint64_t *bitmap)
{
    (void)obj;
    (void)ram;
    (void)off;
    (void)len;
    (void)bitmap;
    return MOBO_ENOTSUP;
}

uint8_t *fake_ram(struct fake *f)
{
    return f->ram;
}

uint64_t fake_ram_len(struct fake *f)
{
    return f->ram_len;
}

uint32_t fake_maps(struct fake *f)
{
    return f->maps;
}

uint64_t fake_mapped_writes(struct fake *f)
{
    return f->mapped_writes;
}

/* ---- guest accesses -------------------------------------------------------------------------- */

static struct fake_place *look_up(struct fake *f, uint32_t space, uint64_t addr)
{
    struct fake_place *best = NULL;
    for (unsigned i = 0; i < f->place_count; i++) {
        struct fake_place *p = &f->places[i];
        if (p->used && p->enabled && p->place.space == space && addr >= p->place.base &&
            addr - p->place.base < place_len(p) &&
            (!best || p->place.priority > best->place.priority))
            best = p;
    }
    return best;
}

static uint64_t region_read(struct fake_place *p, uint64_t off, unsigned bytes)
{
    unsigned width = bytes < p->region.min_access ? p->region.min_access : bytes;
    uint64_t base = off & ~(uint64_t)(width - 1);
    fake_enter(p->owner);
    uint64_t val = p->region.read(p->owner->self, base, width);
    fake_leave(p->owner);
    return val >> (8 * (off - base));
}

static bool ring(struct fake *f, struct fake_place *p, uint64_t off, uint64_t val, unsigned bytes)
{
    for (unsigned i = 0; i < f->bell_count; i++) {
        struct fake_bell *b = &f->bells[i];
        if (&f->places[b->handle - 1] != p || b->off != off || b->len != bytes ||
            (!b->any && b->match != val))
            continue;
        b->pending = true;
        return true;
    }
    return false;
}

static void region_write(struct fake *f, struct fake_place *p, uint64_t off, uint64_t val,
                         unsigned bytes)
{
    if (ring(f, p, off, val, bytes) || bytes < p->region.min_access)
        return;
    fake_enter(p->owner);
    p->region.write(p->owner->self, off, val, bytes);
    fake_leave(p->owner);
}

/* One access, cut into naturally aligned pieces that the region takes, as the core does. */
static uint64_t access(struct fake *f, uint32_t space, uint64_t addr, uint64_t val, unsigned bytes,
                       bool write)
{
    uint64_t out = 0;
    for (unsigned done = 0; done < bytes;) {
        uint64_t a = addr + done;
        struct fake_place *p = look_up(f, space, a);
        unsigned width = 1;
        unsigned max = p && p->place.region ? p->region.max_access : 8;
        while (width * 2 <= max && done + width * 2 <= bytes && !(a & (width * 2 - 1)))
            width *= 2;
        uint64_t mask = width == 8 ? ~UINT64_C(0) : (UINT64_C(1) << (8 * width)) - 1;
        uint64_t got = mask;
        uint64_t piece = val >> (8 * done) & mask;
        if (!p && space == MOBO_SPACE_MEM && in_ram(f, a, width)) {
            memcpy(write ? (void *)(f->ram + a) : (void *)&got, write ? (void *)&piece : f->ram + a,
                   width);
        } else if (p && !p->place.region) {
            uint8_t *host = (uint8_t *)p->place.ram + (a - p->place.base);
            if (!write)
                memcpy(&got, host, width);
            else if (!(p->place.ram_flags & MOBO_RAM_READONLY))
                memcpy(host, &piece, width);
        } else if (p && write) {
            region_write(f, p, a - p->place.base, piece, width);
        } else if (p) {
            got = region_read(p, a - p->place.base, width);
        }
        out |= (got & mask) << (8 * done);
        done += width;
    }
    return out;
}

uint64_t fake_in(struct fake *f, uint32_t port, unsigned bytes)
{
    return access(f, MOBO_SPACE_IO, port, 0, bytes, false);
}

void fake_out(struct fake *f, uint32_t port, uint64_t val, unsigned bytes)
{
    access(f, MOBO_SPACE_IO, port, val, bytes, true);
}

uint64_t fake_read(struct fake *f, uint64_t gpa, unsigned bytes)
{
    return access(f, MOBO_SPACE_MEM, gpa, 0, bytes, false);
}

void fake_write(struct fake *f, uint64_t gpa, uint64_t val, unsigned bytes)
{
    access(f, MOBO_SPACE_MEM, gpa, val, bytes, true);
}

uint64_t fake_region(struct fake *f, const char *name, unsigned region_index, uint32_t *space)
{
    for (unsigned i = 0, n = 0; i < f->place_count; i++) {
        const struct fake_place *p = &f->places[i];
        if (!p->used || strcmp(p->owner->name, name) != 0 || n++ != region_index)
            continue;
        if (space)
            *space = p->place.space;
        return p->place.base;
    }
    fake_die("[%s] has no region number %u", name, region_index);
}

const mobo_mem_api_t fake_mem_api = {
    .size = sizeof fake_mem_api, .read = mem_read, .write = mem_write, .load = mem_load,
    .store = mem_store, .map = mem_map, .unmap = mem_unmap, .ram_new = mem_ram_new,
    .region_add = mem_region_add, .region_move = mem_region_move, .region_drop = mem_region_drop,
    .ram_dirty = mem_ram_dirty,
};
