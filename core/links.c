/*
 * links.c: finds the objects that links and irqs name, or the only one that fits, and checks that
 * it provides what is asked for. Objects are not built here: see build.c.
 */
#include "front.h"

struct object *object_find(const struct front *f, const char *name, size_t len)
{
    for (unsigned i = 0; i < f->m.object_count; i++) {
        struct object *o = f->m.objects[i];
        if (strlen(o->pub.name) == len && memcmp(o->pub.name, name, len) == 0)
            return o;
    }
    return NULL;
}

/* IDS: interface ids separated by |, best first. *index: which entry of `provides` it is. */
bool klass_provides(const struct klass *k, const char *ids, size_t *index)
{
    const char *list = ids, *id;
    size_t len;
    while (text_word(&list, '|', &id, &len)) {
        const mobo_iface_t *i = k->c.provides;
        for (size_t n = 0; i && i[n].id; n++) {
            if (strlen(i[n].id) == len && memcmp(i[n].id, id, len) == 0) {
                if (index)
                    *index = n;
                return true;
            }
        }
    }
    return false;
}

bool object_provides(const struct object *o, const char *ids)
{
    for (unsigned i = 0; i < o->candidate_count; i++) {
        if (!klass_provides(o->candidates[i].klass, ids, NULL))
            return false;
    }
    return o->candidate_count > 0;
}

static const char *provided_text(struct front *f, const struct klass *k)
{
    const char *all = "";
    const mobo_iface_t *i = k->c.provides;
    for (; i && i->id; i++)
        all = arena_format(&f->arena, "%s%s%s", all, *all ? ", " : "", i->id);
    return *all ? all : "nothing";
}

static void add_dep(struct front *f, struct object *o, struct object *dep)
{
    for (unsigned i = 0; i < o->dep_count; i++) {
        if (o->deps[i] == dep)
            return;
    }
    o->deps = arena_grow(&f->arena, o->deps, o->dep_count, sizeof(struct object *));
    o->deps[o->dep_count++] = dep;
}

/* Where to complain about a setting: its key, or the section. */
static struct ini_pos place(const struct object *o, const struct setting *s)
{
    return s->key ? s->key->pos : o->section->pos;
}

/* NULL after a complaint. *known: false if a broken `type` is to blame, reported elsewhere. */
static struct object *named(struct front *f, struct object *o, const struct setting *s,
                            const char *ids, bool *known)
{
    const char *text = arena_text(&f->arena, s->value.text, s->value.text_len);
    struct object *target = object_find(f, text, s->value.text_len);
    *known = true;
    if (!target) {
        struct guess g = guess_start(text);
        for (unsigned i = 0; i < f->m.object_count; i++)
            guess_offer(&g, f->m.objects[i]->pub.name);
        fault(f, place(o, s), o->pub.name, "%s = %s: no such section%s", s->prop->name, text,
              guess_text(&g));
        return NULL;
    }
    if (front_object(target)->incomplete && target->candidate_count == 0) {
        *known = false;
        return NULL;
    }
    for (unsigned i = 0; i < target->candidate_count; i++) {
        const struct klass *k = target->candidates[i].klass;
        if (klass_provides(k, ids, NULL))
            continue;
        fault(f, place(o, s), o->pub.name, "%s = %s: %s provides %s; wanted: %s", s->prop->name,
              text, k->type, provided_text(f, k), ids);
        return NULL;
    }
    return target;
}

/* The only object but O that provides IDS. *count: how many there are, *names: who. */
static struct object *only_one(struct front *f, const struct object *o, const char *ids,
                               unsigned *count, const char **names, bool *unknown)
{
    struct object *found = NULL;
    *count = 0;
    *names = "";
    for (unsigned i = 0; i < f->m.object_count; i++) {
        struct object *other = f->m.objects[i];
        if (front_object(other)->incomplete && other->candidate_count == 0)
            *unknown = true;
        if (other == o || !object_provides(other, ids))
            continue;
        *names = arena_format(&f->arena, "%s%s[%s]", *names, *count ? ", " : "", other->pub.name);
        found = other;
        ++*count;
    }
    return *count == 1 ? found : NULL;
}

static void resolve_auto(struct front *f, struct object *o, struct setting *s)
{
    unsigned count;
    const char *names;
    bool unknown = false;
    if (s->prop->def)
        return; /* an empty default: only by the user's word */
    s->target = only_one(f, o, s->prop->arg, &count, &names, &unknown);
    if (s->target)
        s->origin = FROM_AUTO;
    else if (s->prop->flags & MOBO_P_OPTIONAL || (unknown && count == 0))
        return;
    else if (count)
        fault(f, o->section->pos, o->pub.name, "key '%s' is missing: %s provide %s; choose one",
              s->prop->name, names, s->prop->arg);
    else
        fault(f, o->section->pos, o->pub.name,
              "key '%s' is missing, and no section provides %s: %s", s->prop->name, s->prop->arg,
              s->prop->doc);
}

static void resolve_link(struct front *f, struct object *o, struct setting *s)
{
    bool known;
    if (s->value.text)
        s->target = named(f, o, s, s->prop->arg, &known);
    else if (!s->key)
        resolve_auto(f, o, s);
    if (s->target == o) {
        fault(f, place(o, s), o->pub.name, "%s = %s: an object cannot link to itself",
              s->prop->name, o->pub.name);
        s->target = NULL;
    }
}

/* CHIP:LINE; or LINE on the bus if that is an interrupt controller, else on the only one. */
static void resolve_irq(struct front *f, struct object *o, struct setting *s, struct object *bus)
{
    bool known, unknown = false;
    unsigned count;
    const char *names;
    if (s->value.text) {
        s->target = named(f, o, s, MOBO_IRQCHIP, &known);
        return;
    }
    if (bus && object_provides(bus, MOBO_IRQCHIP)) {
        s->target = bus;
        return;
    }
    s->target = only_one(f, o, MOBO_IRQCHIP, &count, &names, &unknown);
    if (s->target || (unknown && count == 0))
        return;
    if (count)
        fault(f, place(o, s), o->pub.name, "%s = %llu: on which of %s? Write CHIP:%llu",
              s->prop->name, (unsigned long long)s->value.num, names,
              (unsigned long long)s->value.num);
    else
        fault(f, place(o, s), o->pub.name, "%s = %llu: no section provides " MOBO_IRQCHIP,
              s->prop->name, (unsigned long long)s->value.num);
}

static bool has_value(const struct setting *s)
{
    return s->origin == FROM_DEFAULT || (s->origin == FROM_KEY && *s->key->value);
}

void links_resolve_list(struct front *f, struct object *o, struct setting_list *list,
                        struct object *bus)
{
    for (unsigned i = 0; i < list->count; i++) {
        struct setting *s = &list->items[i];
        bool bad = s->key && s->origin == FROM_NOTHING; /* its value did not parse */
        if (bad)
            continue;
        if (s->prop->type == MOBO_T_LINK)
            resolve_link(f, o, s);
        else if (s->prop->type == MOBO_T_IRQ && has_value(s))
            resolve_irq(f, o, s, bus);
        if (s->target)
            add_dep(f, o, s->target);
    }
}
