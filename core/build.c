/*
 * build.c: makes instances: memory, properties, links, irqs, the block the bus keeps for a child.
 * Everything was checked before; what can still go wrong is memory and the line of an interrupt.
 */
#include "front.h"

#include <stdlib.h>

const void *object_iface(const struct object *o, const char *id)
{
    size_t n;
    if (!o->klass || !klass_provides(o->klass, id, &n))
        return NULL;
    return o->klass->c.provides[n].ops;
}

static const struct ini_key *path_key(const struct setting_list *list, const char *text)
{
    for (unsigned i = 0; i < list->count; i++) {
        const struct setting *s = &list->items[i];
        if (s->prop->type == MOBO_T_PATH && s->key && *s->key->value && s->value.text &&
            strstr(text, s->value.text))
            return s->key;
    }
    return NULL;
}

struct ini_pos object_place(const struct object *o, const char *text)
{
    const struct ini_key *key = NULL;
    for (unsigned i = 0; !key && i < o->candidate_count; i++)
        key = path_key(&front_object(o)->choices[i].own, text);
    return key ? key->pos : o->section->pos;
}

/* All typed links have this shape (mobo_block_t, mobo_mmio_t, ...). */
struct link {
    const void *ops;
    void *self;
};

static void build_link(const struct setting *s, char *member)
{
    const struct object *target = s->target;
    struct link link = { .ops = NULL };
    size_t n;
    if (target && target->self && klass_provides(target->klass, s->prop->arg, &n))
        link = (struct link){ target->klass->c.provides[n].ops, target->self };
    memcpy(member, &link, sizeof link);
}

static int build_irq(struct object *o, const struct setting *s, char *member)
{
    struct object *chip = s->target;
    mobo_irq_t irq = { .ops = NULL };
    const mobo_irqchip_ops_t *ops = chip ? object_iface(chip, MOBO_IRQCHIP) : NULL;
    if (!ops)
        return 0;
    uint32_t lines = ops->lines(chip->self);
    if (s->value.num >= lines) {
        log_at(s->key ? s->key->pos : o->section->pos, o->pub.name,
               "%s = %llu: [%s] has the lines 0 to %u", s->prop->name,
               (unsigned long long)s->value.num, chip->pub.name, lines ? lines - 1 : 0);
        return MOBO_EINVAL;
    }
    int rc = wire_source(o, chip, (uint32_t)s->value.num, &irq);
    memcpy(member, &irq, sizeof irq);
    return rc;
}

static int build_block(struct object *o, const struct setting_list *list, void *block)
{
    for (unsigned i = 0; i < list->count; i++) {
        const struct setting *s = &list->items[i];
        char *member = (char *)block + s->prop->offset;
        int rc = 0;
        if (s->prop->type == MOBO_T_LINK)
            build_link(s, member);
        else if (s->prop->type == MOBO_T_IRQ)
            rc = build_irq(o, s, member);
        else if (s->origin != FROM_NOTHING)
            prop_store(s->prop, &s->value, block);
        else if (s->prop->type == MOBO_T_STR || s->prop->type == MOBO_T_PATH)
            prop_store(s->prop, &(struct value){ .text = "" }, block);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static const struct setting_list *child_list(const struct choice *c)
{
    const struct object *bus = c->bus;
    for (unsigned i = 0; bus && i < bus->candidate_count; i++) {
        if (bus->candidates[i].klass == bus->klass)
            return &c->child[i];
    }
    return NULL;
}

static int no_memory(const struct object *o, uint32_t bytes)
{
    log_at(o->section->pos, o->pub.name, "no memory for an instance of %u bytes", bytes);
    return MOBO_ENOMEM;
}

int object_build(struct object *o, unsigned n)
{
    const struct choice *c = &front_object(o)->choices[n];
    const mobo_class_t *k = &o->candidates[n].klass->c;
    mobo_obj_t *pub = &o->pub;
    free(o->self);
    free(o->child);
    o->child = NULL;
    o->klass = o->candidates[n].klass;
    o->bus = c->bus;
    o->pub.host = &host_services;
    o->self = calloc(1, k->instance_size);
    if (!o->self)
        return no_memory(o, k->instance_size);
    memcpy(o->self, &pub, sizeof pub);
    int rc = build_block(o, &c->own, o->self);
    const mobo_class_t *bus = c->bus ? &c->bus->klass->c : NULL;
    if (rc < 0 || !bus || !bus->child_size)
        return rc;
    o->child = calloc(1, bus->child_size);
    if (!o->child)
        return no_memory(o, bus->child_size);
    const struct setting_list *list = child_list(c);
    return list ? build_block(o, list, o->child) : 0;
}
