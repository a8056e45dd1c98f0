/*
 * override.c: `section.key=value` from the command line, laid over the sections of the file.
 */
#include "front.h"

#include <unistd.h>

static const struct ini_pos command_line = { "command line", 0 };

/* One override, split. The section may carry @CLASS; keys hold no dot, so the last one counts. */
struct override {
    const char *section, *variant, *key, *value;
};

static bool split(struct front *f, const char *text, struct override *o)
{
    const char *equals = strchr(text, '=');
    if (!equals) {
        fault(f, command_line, NULL, "'%.80s' is no SECTION.KEY=VALUE", text);
        return false;
    }
    const char *dot = equals;
    while (dot > text && *dot != '.')
        dot--;
    const char *at = memchr(text, '@', (size_t)(dot - text));
    size_t section_len = (size_t)((at ? at : dot) - text);
    size_t value_len = strlen(equals + 1);
    const char *value = equals + 1;
    if (*dot != '.' || !text_is_name(text, section_len, "") ||
        !text_is_name(dot + 1, (size_t)(equals - dot - 1), "") || (at && at + 1 == dot)) {
        fault(f, command_line, NULL, "'%.80s' is no SECTION.KEY=VALUE", text);
        return false;
    }
    while (value_len && (*value == ' ' || *value == '\t')) {
        value++;
        value_len--;
    }
    while (value_len && (value[value_len - 1] == ' ' || value[value_len - 1] == '\t'))
        value_len--;
    if (value_len > VALUE_MAX_LEN || text_bad_byte(value, value_len) < value_len) {
        fault(f, command_line, NULL, "the value of '%.80s' %s", text,
              value_len > VALUE_MAX_LEN ? "is longer than 65536 bytes"
                                        : "holds a control character or is no UTF-8");
        return false;
    }
    struct arena *a = &f->arena;
    *o = (struct override){
        .section = arena_text(a, text, section_len),
        .variant = at ? arena_text(a, at + 1, (size_t)(dot - at - 1)) : NULL,
        .key = arena_text(a, dot + 1, (size_t)(equals - dot - 1)),
        .value = arena_text(a, value, value_len),
    };
    return true;
}

static struct ini_section *append(struct front *f, const struct override *o)
{
    struct ini *ini = &f->ini;
    struct ini_section s = { .name = o->section, .variant = o->variant, .pos = command_line };
    ini->sections = arena_grow(&f->arena, ini->sections, ini->section_count, sizeof s);
    ini->sections[ini->section_count] = s;
    return &ini->sections[ini->section_count++];
}

/* The section an override means; new ones come into being with their `type`. */
static struct ini_section *section_for(struct front *f, const struct override *o)
{
    struct ini_section *s = ini_find(&f->ini, o->section, o->variant);
    if (s)
        return s;
    bool known = strcmp(o->section, "machine") == 0 || ini_find(&f->ini, o->section, NULL);
    if (o->variant ? known : known || strcmp(o->key, "type") == 0)
        return append(f, o);
    struct guess g = guess_start(o->section);
    for (unsigned i = 0; i < f->ini.section_count; i++)
        guess_offer(&g, f->ini.sections[i].name);
    guess_offer(&g, "machine");
    fault(f, command_line, NULL, "no section [%s] to set %s in%s", o->section, o->key,
          guess_text(&g));
    return NULL;
}

static void apply(struct front *f, const struct override *o, const char *dir)
{
    struct ini_section *s = section_for(f, o);
    if (!s)
        return;
    struct ini_key key = { .name = o->key, .value = o->value, .pos = command_line, .dir = dir };
    struct ini_key *old = ini_key(s, o->key);
    if (old) {
        *old = key;
        return;
    }
    s->keys = arena_grow(&f->arena, s->keys, s->key_count, sizeof key);
    s->keys[s->key_count++] = key;
}

void ini_override(struct front *f, char *const *overrides, unsigned count)
{
    char cwd[4096];
    const char *dir = getcwd(cwd, sizeof cwd) ? arena_text(&f->arena, cwd, strlen(cwd)) : "/";
    struct override *list = arena_alloc(&f->arena, (count + 1) * sizeof *list);
    unsigned good = 0;
    for (unsigned i = 0; i < count; i++)
        good += split(f, overrides[i], &list[good]);
    /* Types first: they make sections that other overrides, in any order, may speak of. */
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < good; i++) {
            if ((strcmp(list[i].key, "type") == 0) == (pass == 0))
                apply(f, &list[i], dir);
        }
    }
}
