/*
 * fwdesc.c: the neutral description of the machine that firmware plugins read: devices, and which
 * memory is free. It knows no table format and no architecture's holes.
 */
#include "runtime.h"

#include <stdlib.h>
#include <string.h>

/* A described device, or (in the other list) a reserved piece of memory. */
struct fw_entry {
    struct fw_entry *next;
    struct object *o;
    mobo_fw_device_t dev;
    char *strings[4];
    mobo_fw_res_t *res;
    mobo_mem_range_t piece;
};

static void entry_free(struct fw_entry *e)
{
    for (unsigned i = 0; i < 4; i++)
        free(e->strings[i]);
    free(e->res);
    free(e);
}

static void entry_append(struct fw_entry **list, struct fw_entry *e)
{
    while (*list)
        list = &(*list)->next;
    *list = e;
}

/* ---- devices --------------------------------------------------------------------------------- */

static bool copy_string(struct fw_entry *e, unsigned slot, const char **member)
{
    if (!*member)
        return true;
    *member = e->strings[slot] = strdup(*member);
    return *member != NULL;
}

static bool copy_resources(struct fw_entry *e)
{
    const uint8_t *from = (const uint8_t *)e->dev.res;
    uint32_t stride = e->dev.res_stride ? e->dev.res_stride : sizeof *e->res;
    uint32_t take = stride < sizeof *e->res ? stride : sizeof *e->res;
    e->res = calloc((size_t)e->dev.res_count + 1, sizeof *e->res);
    if (!e->res)
        return false;
    for (uint32_t i = 0; i < e->dev.res_count; i++)
        memcpy(&e->res[i], from + (size_t)i * stride, take);
    e->dev.res = e->res;
    e->dev.res_stride = sizeof *e->res;
    return true;
}

static int fw_describe(mobo_obj_t *obj, const mobo_fw_device_t *dev)
{
    struct object *o = object_of(obj);
    struct fw *fw = &runtime_of(o)->fw;
    struct fw_entry *e = calloc(1, sizeof *e);
    if (!e)
        return MOBO_ENOMEM;
    e->o = o;
    memcpy(&e->dev, dev, dev->size < sizeof e->dev ? dev->size : sizeof e->dev);
    e->dev.size = sizeof e->dev;
    if (!copy_string(e, 0, &e->dev.name) || !copy_string(e, 1, &e->dev.acpi_hid) ||
        !copy_string(e, 2, &e->dev.acpi_cid) || !copy_string(e, 3, &e->dev.fdt_compatible) ||
        !copy_resources(e)) {
        entry_free(e);
        return MOBO_ENOMEM;
    }
    pthread_mutex_lock(&fw->lock);
    entry_append(&fw->entries, e);
    pthread_mutex_unlock(&fw->lock);
    return 0;
}

static const mobo_fw_device_t *fw_device(mobo_obj_t *obj, uint32_t index)
{
    struct fw *fw = &runtime_of(object_of(obj))->fw;
    pthread_mutex_lock(&fw->lock);
    const struct fw_entry *e = fw->entries;
    while (e && index--)
        e = e->next;
    pthread_mutex_unlock(&fw->lock);
    return e ? &e->dev : NULL;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void ranges_forget(struct fw *fw)
{
    free(fw->ranges);
    fw->ranges = NULL;
    fw->range_count = 0;
}

static int fw_reserve(mobo_obj_t *obj, uint64_t gpa, uint64_t len, uint32_t kind)
{
    struct object *o = object_of(obj);
    struct fw *fw = &runtime_of(o)->fw;
    if (!len || gpa > UINT64_MAX - len || kind < MOBO_MEM_RESERVED || kind > MOBO_MEM_ACPI_NVS)
        return MOBO_EINVAL;
    pthread_mutex_lock(&fw->lock);
    int rc = 0;
    const struct fw_entry *e = fw->reserved;
    while (e && (e->piece.base != gpa || e->piece.len != len || e->piece.kind != kind))
        e = e->next;
    if (!e) { /* each reset reserves the same again */
        struct fw_entry *piece = calloc(1, sizeof *piece);
        rc = piece ? 0 : MOBO_ENOMEM;
        if (piece) {
            piece->o = o;
            piece->piece = (mobo_mem_range_t){ .base = gpa, .len = len, .kind = kind };
            entry_append(&fw->reserved, piece);
            ranges_forget(fw);
        }
    }
    pthread_mutex_unlock(&fw->lock);
    return rc;
}

/* Of overlapping pieces the stricter one counts. */
static unsigned strictness(uint32_t kind)
{
    switch (kind) {
    case MOBO_MEM_RESERVED:
        return 4;
    case MOBO_MEM_ACPI_NVS:
        return 3;
    case MOBO_MEM_ACPI:
        return 2;
    case MOBO_MEM_RAM:
        return 1;
    default:
        return 0;
    }
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void piece_add(mobo_mem_range_t *pieces, uint64_t *edges, unsigned *n, mobo_mem_range_t r)
{
    if (!r.len)
        return;
    edges[2 * *n] = r.base;
    edges[2 * *n + 1] = r.base + r.len;
    pieces[(*n)++] = r;
}

/* What the memory between two edges is; edges of all pieces are known, so one byte speaks for all. */
static uint32_t kind_at(const mobo_mem_range_t *pieces, unsigned count, uint64_t gpa)
{
    uint32_t kind = 0;
    for (unsigned i = 0; i < count; i++)
        if (gpa >= pieces[i].base && gpa - pieces[i].base < pieces[i].len &&
            strictness(pieces[i].kind) > strictness(kind))
            kind = pieces[i].kind;
    return kind;
}

static bool ranges_make(struct runtime *rt)
{
    struct fw *fw = &rt->fw;
    unsigned most = 2, n = 0;
    for (const struct fw_entry *e = fw->reserved; e; e = e->next)
        most++;
    mobo_mem_range_t *pieces = calloc(most, sizeof *pieces);
    uint64_t *edges = calloc(2 * (size_t)most, sizeof *edges);
    mobo_mem_range_t *out = calloc(2 * (size_t)most, sizeof *out);
    if (pieces && edges && out) {
        piece_add(pieces, edges, &n, (mobo_mem_range_t){ 0, rt->low, MOBO_MEM_RAM, 0 });
        piece_add(pieces, edges, &n,
                  (mobo_mem_range_t){ (uint64_t)1 << 32, rt->high, MOBO_MEM_RAM, 0 });
        for (const struct fw_entry *e = fw->reserved; e; e = e->next)
            piece_add(pieces, edges, &n, e->piece);
        qsort(edges, 2 * (size_t)n, sizeof *edges, by_number);
        for (unsigned i = 0; i + 1 < 2 * n; i++) {
            uint64_t len = edges[i + 1] - edges[i];
            uint32_t kind = len ? kind_at(pieces, n, edges[i]) : 0;
            mobo_mem_range_t *last = fw->range_count ? &out[fw->range_count - 1] : NULL;
            if (!kind)
                continue;
            if (last && last->kind == kind && last->base + last->len == edges[i])
                last->len += len;
            else
                out[fw->range_count++] = (mobo_mem_range_t){ edges[i], len, kind, 0 };
        }
        fw->ranges = out;
        out = NULL;
    }
    free(pieces);
    free(edges);
    free(out);
    return fw->ranges != NULL;
}

static int fw_memory(mobo_obj_t *obj, uint32_t index, mobo_mem_range_t *range)
{
    struct runtime *rt = runtime_of(object_of(obj));
    struct fw *fw = &rt->fw;
    int rc = 0;
    pthread_mutex_lock(&fw->lock);
    if (!fw->ranges && !ranges_make(rt)) {
        rc = MOBO_ENOMEM;
    } else if (index < fw->range_count) {
        *range = fw->ranges[index];
        rc = 1;
    }
    pthread_mutex_unlock(&fw->lock);
    return rc;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void list_release(struct fw_entry **list, const struct object *o)
{
    while (*list) {
        struct fw_entry *e = *list;
        if (o && e->o != o) {
            list = &e->next;
            continue;
        }
        *list = e->next;
        entry_free(e);
    }
}

void fw_release(struct object *o)
{
    struct fw *fw = &runtime_of(o)->fw;
    pthread_mutex_lock(&fw->lock);
    list_release(&fw->entries, o);
    list_release(&fw->reserved, o);
    ranges_forget(fw);
    pthread_mutex_unlock(&fw->lock);
}

void fw_end(struct runtime *rt)
{
    list_release(&rt->fw.entries, NULL);
    list_release(&rt->fw.reserved, NULL);
    ranges_forget(&rt->fw);
    pthread_mutex_destroy(&rt->fw.lock);
}

const mobo_fw_api_t fw_api = {
    .size = sizeof fw_api,
    .describe = fw_describe,
    .device = fw_device,
    .reserve = fw_reserve,
    .memory = fw_memory,
};
