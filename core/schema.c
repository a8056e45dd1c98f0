/*
 * schema.c: the check of a whole machine: sections become objects with classes, every key finds
 * its property, and every fault is reported. Order and cycles: graph.c. Nothing is created here.
 */
#include "front.h"

/* ---- types ----------------------------------------------------------------------------------- */

/* `type = a, b`: name the words to the loader. */
static void read_types(struct front *f, struct front_object *o)
{
    const char *list = o->type_key->value, *word;
    size_t len;
    unsigned count = 0;
    while (text_word(&list, ',', &word, &len)) {
        for (; len && (*word == ' ' || *word == '\t'); word++)
            len--;
        while (len && (word[len - 1] == ' ' || word[len - 1] == '\t'))
            len--;
        struct choice c = { .type = { .word = "" } };
        if (len)
            c.type = type_want(f, word, len, o->type_key->dir);
        else
            c.type.error = "an empty type; write PLUGIN or PLUGIN/CLASS";
        o->choices = arena_grow(&f->arena, o->choices, count, sizeof c);
        o->choices[count++] = c;
    }
    o->o.candidate_count = count; /* until find_classes() */
}

static struct front_object *add_object(struct front *f, struct ini_section *s)
{
    struct front_object *o = arena_alloc(&f->arena, sizeof *o);
    o->o.pub.host = NULL;
    o->o.pub.name = s->name;
    o->o.machine = &f->m;
    o->o.section = s;
    o->type_key = ini_key(s, "type");
    f->m.objects = arena_grow(&f->arena, f->m.objects, f->m.object_count, sizeof(struct object *));
    f->m.objects[f->m.object_count++] = &o->o;
    return o;
}

static void make_objects(struct front *f)
{
    for (unsigned i = 0; i < f->ini.section_count; i++) {
        struct ini_section *s = &f->ini.sections[i];
        if (s->variant || strcmp(s->name, "machine") == 0)
            continue;
        struct front_object *o = add_object(f, s);
        if (o->type_key) {
            o->type_key->used = true;
            read_types(f, o);
            continue;
        }
        struct guess g = guess_start(s->name);
        guess_offer(&g, "machine");
        fault(f, s->pos, s->name, "no type: write type = PLUGIN or PLUGIN/CLASS%s",
              g.best ? guess_text(&g) : "");
        o->incomplete = true;
    }
}

static bool is_variant_of(const struct ini_section *v, const struct object *o, const char *word,
                          const struct klass *k)
{
    return v->variant && strcmp(v->name, o->pub.name) == 0 &&
           (strcmp(v->variant, word) == 0 || (k && strcmp(v->variant, k->type) == 0));
}

static struct ini_section *variant_of(struct front *f, const struct object *o, const char *word,
                                      const struct klass *k)
{
    for (unsigned i = 0; i < f->ini.section_count; i++) {
        if (is_variant_of(&f->ini.sections[i], o, word, k))
            return &f->ini.sections[i];
    }
    return NULL;
}

/* Candidates that load stay, in the user's order. A missing plugin is bad only if none is left. */
static void find_classes(struct front *f, struct front_object *o)
{
    unsigned asked = o->o.candidate_count, found = 0;
    o->o.candidates = arena_alloc(&f->arena, (asked + 1) * sizeof *o->o.candidates);
    struct choice *kept = arena_alloc(&f->arena, (asked + 1) * sizeof *kept);
    unsigned loaded = 0;
    const char *error;
    for (unsigned i = 0; i < asked; i++)
        loaded += type_class(f, &o->choices[i].type, &error) != NULL;
    for (unsigned i = 0; i < asked; i++) {
        const struct type *t = &o->choices[i].type;
        const struct klass *k = type_class(f, t, &error);
        bool twice = false;
        for (unsigned n = 0; n < found; n++)
            twice |= k && o->o.candidates[n].klass == k;
        if (twice)
            fault(f, o->type_key->pos, o->o.pub.name, "type '%s' stands twice", t->word);
        if (k && !twice) {
            o->o.candidates[found].klass = k;
            o->o.candidates[found].variant = variant_of(f, &o->o, t->word, k);
            kept[found++] = o->choices[i];
        } else if (!k) {
            o->incomplete = true;
            if (loaded && t->module && t->module->missing)
                warning(f, o->type_key->pos, o->o.pub.name, "%s; the other types remain", error);
            else
                fault(f, o->type_key->pos, o->o.pub.name, "%s", error);
        }
    }
    o->o.candidate_count = found;
    o->o.klass = found ? o->o.candidates[0].klass : NULL;
    o->choices = kept;
}

/* [name@class]: there must be such an object, with such a class among its types. */
static void check_variant(struct front *f, struct ini_section *s)
{
    const struct object *o = object_find(f, s->name, strlen(s->name));
    const char *label = ini_label(f, s);
    struct ini_key *k;
    if (!o) {
        struct guess g = guess_start(s->name);
        for (unsigned i = 0; i < f->m.object_count; i++)
            guess_offer(&g, f->m.objects[i]->pub.name);
        fault(f, s->pos, label, "no section [%s] that this could be a variant of%s", s->name,
              guess_text(&g));
        return;
    }
    static const char *const common[] = { "type", "thread" };
    for (unsigned i = 0; i < 2; i++) {
        if ((k = ini_key(s, common[i]))) {
            k->used = true;
            fault(f, k->pos, label, "key '%s' belongs into [%s]", common[i], s->name);
        }
    }
    const struct front_object *fo = front_object(o);
    if (!fo->type_key)
        return;
    struct guess g = guess_start(s->variant);
    for (unsigned i = 0; i < o->candidate_count; i++) {
        if (is_variant_of(s, o, fo->choices[i].type.word, o->candidates[i].klass))
            return;
        guess_offer(&g, fo->choices[i].type.word);
    }
    const char *at = strstr(fo->type_key->value, s->variant);
    if (fo->incomplete && at) { /* for a plugin that is not installed */
        for (unsigned i = 0; i < s->key_count; i++)
            s->keys[i].used = true;
        return;
    }
    fault(f, s->pos, label, "'%s' is not among the types of [%s]: %.200s%s", s->variant, s->name,
          fo->type_key->value, guess_text(&g));
}

/* ---- keys ------------------------------------------------------------------------------------ */

static void fill_own(struct front *f, struct front_object *o)
{
    struct ini_key *thread = ini_key(o->o.section, "thread");
    if (thread) {
        thread->used = true;
        o->o.thread = thread->value;
        if (!text_is_name(thread->value, strlen(thread->value), ""))
            fault(f, thread->pos, o->o.pub.name, "thread = %.80s: not a name", thread->value);
    }
    for (unsigned i = 0; i < o->o.candidate_count; i++) {
        const struct candidate *c = &o->o.candidates[i];
        settings_fill(f, &o->choices[i].own, c->klass->c.props, o->o.section, c->variant, NULL);
    }
}

/* Own links first: the bus among them brings more keys, and `irq = 4` may mean it. */
static void link_own(struct front *f, struct front_object *o)
{
    for (unsigned i = 0; i < o->o.candidate_count; i++) {
        struct choice *c = &o->choices[i];
        struct setting_list links = { .items = c->own.items }, rest;
        for (unsigned n = 0; n < c->own.count; n++) {
            struct setting *s = &c->own.items[n];
            if (!(s->prop->flags & MOBO_P_BUS) || s->prop->type != MOBO_T_LINK)
                continue;
            links = (struct setting_list){ s, 1 };
            links_resolve_list(f, &o->o, &links, NULL);
            c->bus = s->target;
            c->bus_unknown = !s->target && !(s->origin == FROM_KEY && !*s->key->value);
            rest = (struct setting_list){ c->own.items, n };
            links_resolve_list(f, &o->o, &rest, c->bus);
            rest = (struct setting_list){ s + 1, c->own.count - n - 1 };
            links_resolve_list(f, &o->o, &rest, c->bus);
            break;
        }
        if (!links.count)
            links_resolve_list(f, &o->o, &c->own, NULL);
        if (i == 0)
            o->o.bus = c->bus;
    }
}

static void fill_child(struct front *f, struct front_object *o)
{
    for (unsigned i = 0; i < o->o.candidate_count; i++) {
        struct choice *c = &o->choices[i];
        if (!c->bus)
            continue;
        const struct object *bus = c->bus;
        c->child = arena_alloc(&f->arena, (bus->candidate_count + 1) * sizeof *c->child);
        for (unsigned b = 0; b < bus->candidate_count; b++) {
            settings_fill(f, &c->child[b], bus->candidates[b].klass->c.child_props, o->o.section,
                          o->o.candidates[i].variant, &c->own);
            links_resolve_list(f, &o->o, &c->child[b], c->bus);
        }
    }
}

static void offer_props(struct guess *g, const mobo_prop_t *props)
{
    for (const mobo_prop_t *p = props; p && p->name; p++) {
        if (!p->alias_of)
            guess_offer(g, p->name);
    }
}

static void offer_all(struct guess *g, const struct front_object *o)
{
    guess_offer(g, "type");
    guess_offer(g, "thread");
    for (unsigned i = 0; i < o->o.candidate_count; i++) {
        offer_props(g, o->o.candidates[i].klass->c.props);
        const struct object *bus = o->choices[i].bus;
        for (unsigned b = 0; bus && b < bus->candidate_count; b++)
            offer_props(g, bus->candidates[b].klass->c.child_props);
    }
}

/* Keys that nobody has claimed. Silent where a class is missing that might know them. */
static void unknown_keys(struct front *f, struct ini_section *s)
{
    struct object *o = object_find(f, s->name, strlen(s->name));
    bool machine = strcmp(s->name, "machine") == 0;
    bool judge = machine || (o && !front_object(o)->incomplete);
    for (unsigned i = 0; o && judge && i < o->candidate_count; i++)
        judge = !front_object(o)->choices[i].bus_unknown;
    for (unsigned i = 0; judge && i < s->key_count; i++) {
        const struct ini_key *k = &s->keys[i];
        if (k->used)
            continue;
        struct guess g = guess_start(k->name);
        if (machine)
            offer_props(&g, machine_class.props);
        else
            offer_all(&g, front_object(o));
        fault(f, k->pos, ini_label(f, s), "unknown key '%s'%s", k->name, guess_text(&g));
    }
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void check_accel(struct front *f, bool needed, const char *file)
{
    const struct object *first = NULL;
    for (unsigned i = 0; i < f->m.object_count; i++) {
        const struct object *o = f->m.objects[i];
        bool any = false;
        for (unsigned c = 0; c < o->candidate_count; c++)
            any |= klass_provides(o->candidates[c].klass, MOBO_ACCEL, NULL);
        if (any && !object_provides(o, MOBO_ACCEL))
            fault(f, o->section->pos, o->pub.name,
                  "accelerators and other classes cannot be alternatives of each other");
        if (any && first)
            fault(f, o->section->pos, o->pub.name,
                  "a second accelerator beside [%s]; write type = A, B in one section",
                  first->pub.name);
        if (any && !first)
            first = o;
        if (front_object(o)->incomplete)
            needed = false; /* it may be the one whose plugin does not load */
    }
    if (!first && needed)
        fault(f, (struct ini_pos){ file, 0 }, NULL,
              "no section provides " MOBO_ACCEL "; add [accel] with type = accel-soft");
}

static void each(struct front *f, void (*step)(struct front *f, struct front_object *o))
{
    for (unsigned i = 0; i < f->m.object_count; i++)
        step(f, front_object(f->m.objects[i]));
}

void schema_check(struct front *f, bool needs_accel, const char *file)
{
    make_objects(f);
    registry_load(f);
    each(f, find_classes);
    settings_machine(f);
    for (unsigned i = 0; i < f->ini.section_count; i++) {
        if (f->ini.sections[i].variant)
            check_variant(f, &f->ini.sections[i]);
    }
    each(f, fill_own);
    each(f, link_own);
    each(f, fill_child);
    for (unsigned i = 0; i < f->ini.section_count; i++)
        unknown_keys(f, &f->ini.sections[i]);
    check_accel(f, needs_accel, file);
}
