/*
 * explain.c: `mobo explain`: the whole machine as one INI file, every key with where it came from.
 * What it prints is a machine again, and means the same (paths are absolute, links are named).
 */
#include "front.h"

static void print_origin(const struct setting *s)
{
    if (s->origin == FROM_AUTO)
        printf(" ; the only one that provides %s\n", s->prop->arg);
    else if (s->origin != FROM_KEY)
        printf(" ; default\n");
    else if (s->key->pos.line)
        printf(" ; %s:%u\n", s->key->pos.file, s->key->pos.line);
    else
        printf(" ; %s\n", s->key->pos.file);
}

static void print_value(const struct setting *s)
{
    if (s->prop->type == MOBO_T_IRQ && s->target)
        printf("%s:%llu", s->target->pub.name, (unsigned long long)s->value.num);
    else if (s->target)
        printf("%s", s->target->pub.name);
    else if (s->prop->type == MOBO_T_PATH)
        printf("%s", s->value.text);
    else
        printf("%s", s->key ? s->key->value : s->prop->def ? s->prop->def : "");
}

static void print_list(const struct setting_list *list)
{
    for (unsigned i = 0; i < list->count; i++) {
        const struct setting *s = &list->items[i];
        if (s->origin == FROM_NOTHING) {
            printf("; %s is not set: %s\n", s->prop->name, s->prop->doc);
            continue;
        }
        printf("%s = ", s->prop->name);
        print_value(s);
        print_origin(s);
    }
}

/* The bus's keys; the device's own, where both have one, are printed already. */
static void print_child(const struct choice *c, unsigned bus_candidate)
{
    const struct setting_list *list = &c->child[bus_candidate];
    for (unsigned i = 0; i < list->count; i++) {
        bool own = false;
        for (unsigned n = 0; n < c->own.count; n++)
            own |= strcmp(c->own.items[n].prop->name, list->items[i].prop->name) == 0;
        if (!own)
            print_list(&(struct setting_list){ &list->items[i], 1 });
    }
}

static void print_keys(const struct choice *c)
{
    print_list(&c->own);
    if (!c->bus || !c->bus->candidate_count)
        return;
    printf("; for its place on [%s]:\n", c->bus->pub.name);
    for (unsigned b = 0; b < c->bus->candidate_count; b++)
        print_child(c, b);
}

static void print_place(struct ini_pos pos)
{
    if (pos.line)
        printf(" ; %s:%u\n", pos.file, pos.line);
    else
        printf(" ; %s\n", pos.file);
}

static void print_object(const struct front_object *o)
{
    printf("\n[%s]", o->o.pub.name);
    print_place(o->o.section->pos);
    printf("type =");
    for (unsigned i = 0; i < o->o.candidate_count; i++) {
        const struct plugin *p = o->o.candidates[i].klass->plugin;
        const char *word = o->choices[i].type.word;
        printf("%s %s", i ? "," : "", strstr(word, ".so") ? p->path : word);
        if (strstr(word, ".so"))
            printf(":%s", o->o.candidates[i].klass->c.name);
    }
    print_place(o->type_key->pos);
    const struct ini_key *thread = ini_key(o->o.section, "thread");
    if (thread) {
        printf("thread = %s", thread->value);
        print_place(thread->pos);
    }
    if (o->o.candidate_count == 1) {
        print_keys(&o->choices[0]);
        return;
    }
    for (unsigned i = 0; i < o->o.candidate_count; i++) {
        printf("\n[%s@%s]\n", o->o.pub.name, o->o.candidates[i].klass->type);
        print_keys(&o->choices[i]);
    }
}

int cmd_explain(struct front *f)
{
    printf("; the machine, completely, in the order it starts\n[machine]\n");
    print_list(f->machine_settings);
    for (unsigned i = 0; i < f->m.object_count; i++)
        print_object(front_object(f->m.objects[i]));
    return 0;
}
