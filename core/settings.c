/*
 * settings.c: gives each property of a class its value: out of the section, its variant, or the
 * default. Links keep their text here; links.c finds what they name.
 */
#include "front.h"

enum { MIB = 1 << 20 };

#define SET(member) .offset = (uint32_t)offsetof(struct machine_settings, member)

static const mobo_prop_t machine_props[] = {
    { .name = "memory", .type = MOBO_T_SIZE, SET(memory), .def = "512M", .min = MIB,
      .max = UINT64_C(1) << 44, .doc = "RAM of the guest; a multiple of 4K" },
    { .name = "low-memory", .type = MOBO_T_SIZE, SET(low_memory), .def = "3G", .min = MIB,
      .max = UINT64_C(4) << 30,
      .doc = "RAM below 4G ends here, and the rest starts at 4G; a multiple of 4K" },
    { .name = "cpus", .type = MOBO_T_U32, SET(cpus), .def = "1", .min = 1, .max = 64,
      .doc = "virtual CPUs" },
    { .name = "arch", .type = MOBO_T_ENUM, SET(arch), .def = "x86-64", .arg = "x86-64|arm64",
      .doc = "architecture of the guest" },
    { .name = "huge-pages", .type = MOBO_T_ENUM, SET(huge_pages), .def = "no",
      .arg = "no|2M|1G|try", .doc = "host pages behind guest RAM; try: if there are any" },
    { .name = "on-reset", .type = MOBO_T_ENUM, SET(on_reset), .def = "reset",
      .arg = "reset|exit", .doc = "what a reset by the guest does; exit: exit code 3" },
    { .name = "on-crash", .type = MOBO_T_ENUM, SET(on_crash), .def = "exit",
      .arg = "exit|reset|pause", .doc = "what a triple fault does; exit: exit code 4" },
    MOBO_END,
};

static bool hidden_key(const struct setting_list *hidden, const char *name)
{
    for (unsigned i = 0; hidden && i < hidden->count; i++) {
        if (strcmp(hidden->items[i].prop->name, name) == 0)
            return true;
    }
    return false;
}

/* The key of property P in section S: by its name, or by an alias, which gets a warning. */
static struct ini_key *key_of(struct front *f, const struct ini_section *s,
                              const mobo_prop_t *props, const mobo_prop_t *p)
{
    struct ini_key *found = s ? ini_key(s, p->name) : NULL;
    if (found)
        found->used = true;
    for (const mobo_prop_t *a = props; s && a->name; a++) {
        struct ini_key *k =
            a->alias_of && strcmp(a->alias_of, p->name) == 0 ? ini_key(s, a->name) : NULL;
        if (!k)
            continue;
        if (found && found != k)
            fault(f, k->pos, ini_label(f, s), "'%s' is the old name of '%s', which is set too",
                  a->name, p->name);
        else if (!k->used)
            warning(f, k->pos, ini_label(f, s), "'%s' is the old name of '%s'", a->name, p->name);
        k->used = true;
        found = k;
    }
    return found;
}

static void set_from_key(struct front *f, struct setting *set, const struct ini_key *key,
                         const char *label)
{
    char why[MESSAGE_MAX] = "";
    set->key = key;
    set->origin = FROM_KEY;
    if (!prop_parse(set->prop, key->value, &set->value, why)) {
        fault(f, key->pos, label, *key->value ? "%s = %.80s: %s" : "%s =%s: %s", key->name,
              key->value, why);
        set->origin = FROM_NOTHING;
        return;
    }
    if (set->prop->type == MOBO_T_PATH && *key->value && *key->value != '/')
        set->value.text =
            arena_format(&f->arena, "%s/%s", strcmp(key->dir, "/") ? key->dir : "", key->value);
}

static void set_default(struct front *f, struct setting *set, const struct ini_section *base,
                        const struct ini_section *variant)
{
    const mobo_prop_t *p = set->prop;
    char why[MESSAGE_MAX];
    set->origin = FROM_DEFAULT;
    if (p->def) {
        (void)prop_parse(p, p->def, &set->value, why); /* verify.c has tried it */
        if (p->type == MOBO_T_LINK && !*p->def)
            set->origin = FROM_NOTHING;
        return;
    }
    set->origin = FROM_NOTHING;
    if (p->type == MOBO_T_LINK || p->flags & MOBO_P_OPTIONAL)
        return; /* links.c decides */
    const struct ini_section *s = base ? base : variant;
    fault(f, s->pos, ini_label(f, s), "key '%s' is missing: %s", p->name, p->doc);
}

void settings_fill(struct front *f, struct setting_list *list, const mobo_prop_t *props,
                   const struct ini_section *base, const struct ini_section *variant,
                   const struct setting_list *hidden)
{
    unsigned count = 0;
    for (const mobo_prop_t *p = props; p && p->name; p++)
        count += !p->alias_of;
    list->items = arena_alloc(&f->arena, (count + 1) * sizeof *list->items);
    for (const mobo_prop_t *p = props; p && p->name; p++) {
        if (p->alias_of)
            continue;
        struct setting *set = &list->items[list->count++];
        set->prop = p;
        /* A key that the device has too is the device's; the bus sees its default. */
        bool taken = hidden_key(hidden, p->name);
        struct ini_key *b = taken || !base ? NULL : key_of(f, base, props, p);
        struct ini_key *v = taken || !variant ? NULL : key_of(f, variant, props, p);
        if (v)
            set_from_key(f, set, v, ini_label(f, variant));
        else if (b)
            set_from_key(f, set, b, ini_label(f, base));
        else if (!taken || p->def)
            set_default(f, set, base, variant);
        else
            set->origin = FROM_NOTHING;
    }
}

void settings_machine(struct front *f)
{
    static const struct ini_section none = { .name = "machine" };
    const struct ini_section *s = ini_find(&f->ini, "machine", NULL);
    struct setting_list *list = arena_alloc(&f->arena, sizeof *list);
    struct machine_settings *set = &f->m.set;
    unsigned before = f->faults;
    settings_fill(f, list, machine_props, s ? s : &none, NULL, NULL);
    f->machine_settings = list;
    if (f->faults > before)
        return;
    for (unsigned i = 0; i < list->count; i++)
        prop_store(list->items[i].prop, &list->items[i].value, set);
    for (unsigned i = 0; i < 2; i++) {
        const struct ini_key *k = list->items[i].key;
        uint64_t bytes = i ? set->low_memory : set->memory;
        if (bytes % 4096)
            fault(f, k->pos, "machine", "%s = %.80s: not a multiple of 4K", k->name, k->value);
    }
    uint64_t page = set->huge_pages == HUGE_2M   ? 2 * MIB
                    : set->huge_pages == HUGE_1G ? 1024 * MIB
                                                 : 1;
    const struct ini_key *huge = list->items[4].key; /* set, or it is `no` */
    if (set->memory % page)
        fault(f, huge->pos, "machine", "huge-pages = %s: memory = %llu bytes is not a multiple of "
              "this size; use `try` to start without", huge->value,
              (unsigned long long)set->memory);
}

/* [machine]: the same tables, into struct machine_settings. */
const mobo_class_t machine_class = {
    MOBO_CLASS(struct machine_settings, machine_props, NULL),
    .name = "machine",
    .summary = "settings of the machine as a whole",
};
