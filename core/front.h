/*
 * front.h: what the files of the front share: INI reader, plugin loader, schema check, commands.
 * Nothing here is seen by the back, which knows core.h only.
 */
#ifndef MOBO_FRONT_H
#define MOBO_FRONT_H

#include "core.h"

#include <sys/types.h>

enum { MESSAGE_MAX = 1024, NAME_MAX_LEN = 63, VALUE_MAX_LEN = 65536 };

/* ---- text.c: memory that lives as long as the machine, and words ----------------------------- */

struct arena {
    struct arena_block *last;
};

/* Zeroed. Without memory the process ends here (exit 1): no guest exists yet. */
void *arena_alloc(struct arena *a, size_t len);
char *arena_text(struct arena *a, const char *text, size_t len);
__attribute__((format(printf, 2, 3))) char *arena_format(struct arena *a, const char *format, ...);
/* Room for one more item behind COUNT items; OLD is what the last call returned. */
void *arena_grow(struct arena *a, void *old, unsigned count, size_t item);
void arena_free(struct arena *a);

__attribute__((format(printf, 2, 3))) void message(char text[MESSAGE_MAX], const char *format, ...);

bool text_is_name(const char *text, size_t len, const char *also);
/* Offset of the first byte that is no UTF-8 text (controls but TAB count), or LEN. */
size_t text_bad_byte(const char *text, size_t len);
/* The next word of a list such as "a|b|c"; *list starts at the list. */
bool text_word(const char **list, char separator, const char **word, size_t *len);

/* " (did you mean 'x'?)": the nearest of the words offered, if it is near. */
struct guess {
    const char *word, *best;
    unsigned distance;
    char text[NAME_MAX_LEN + 32];
};
struct guess guess_start(const char *word);
void guess_offer(struct guess *g, const char *candidate);
const char *guess_text(struct guess *g);

/* ---- props.c: values ------------------------------------------------------------------------- */

struct value {
    uint64_t num;     /* numbers, sizes, bool, index of an enum's word, line of an irq */
    const char *text; /* strings and paths; the name of a link's or irq's object, NULL: none */
    size_t text_len;
    uint8_t mac[6];
};

bool prop_parse(const mobo_prop_t *p, const char *text, struct value *v, char why[MESSAGE_MAX]);
/* All types but links and irqs. BASE is the block that p->offset counts from. */
void prop_store(const mobo_prop_t *p, const struct value *v, void *base);
uint32_t prop_width(uint32_t type); /* bytes of the member; 0: unknown type */
const char *prop_type_name(uint32_t type);
void prop_range(const mobo_prop_t *p, char text[MESSAGE_MAX]); /* for people; may be empty */

/* ---- the state of the front ------------------------------------------------------------------ */

struct front {
    struct machine m; /* first: machine_free() finds its way back */
    struct arena arena;
    struct ini ini;
    unsigned faults;
    uint64_t said[64]; /* hashes of the last messages */
    unsigned said_next;
    unsigned files;  /* INI files read, for the limit on includes */
    bool no_include; /* fuzzing: open no file */
    char *prefix;    /* folder above the executable's */
    struct registry *registry;
    struct setting_list *machine_settings;
};

struct front *front_new(void);
void front_free(struct front *f);

/* log_at(), counted. The same words about the same place are said once. */
__attribute__((format(printf, 4, 5))) void fault(struct front *f, struct ini_pos pos,
                                                 const char *section, const char *format, ...);
/* The same at MOBO_WARN, not counted. */
__attribute__((format(printf, 4, 5))) void warning(struct front *f, struct ini_pos pos,
                                                   const char *section, const char *format, ...);

/* ---- ini.c ----------------------------------------------------------------------------------- */

void ini_read(struct front *f, const char *file);
void ini_read_text(struct front *f, const char *name, const char *text, size_t len);
void ini_override(struct front *f, char *const *overrides, unsigned count);
struct ini_section *ini_find(const struct ini *ini, const char *name, const char *variant);
struct ini_key *ini_key(const struct ini_section *s, const char *name);
const char *ini_label(struct front *f, const struct ini_section *s); /* "name@variant" */
char *machines_dir(struct front *f);

/* ---- file.c, probe.c, verify.c, loader.c: plugins -------------------------------------------- */

struct module {
    struct plugin plugin;
    int fd;
    bool tried, missing;
    const char *error; /* why it cannot be used; NULL: it is loaded */
    struct klass *klasses;
    unsigned klass_count;
};

struct registry {
    const char *dirs[16];
    unsigned dir_count;
    struct module **modules;
    unsigned module_count;
    char dl_error[512];
    bool ready;
};

/* Open and check; -1 with the reason in WHY. *missing: there is no such file. */
int plugin_open(const char *path, bool *missing, char why[MESSAGE_MAX]);
/* Load all of MODULES in a child first, so that what crashes, exits or spins only hurts the child.
 */
void plugin_probe(struct registry *r, struct module **modules, unsigned count, struct arena *a);
/* In this process. */
bool plugin_load(struct registry *r, struct module *m, char why[MESSAGE_MAX]);
bool plugin_verify(const mobo_plugin_t *desc, const char *name, char why[MESSAGE_MAX]);
void plugin_classes(struct module *m, struct arena *a);

/*
 * A TYPE is PLUGIN, PLUGIN/CLASS, PATH/FILE.so or PATH/FILE.so:CLASS; relative paths count from
 * DIR. First all types are named with type_want(), then registry_load() opens the files, then
 * type_class() finds the classes.
 */
struct type {
    const char *word;
    struct module *module; /* NULL: the word is no type, see error */
    const char *class_name;
    const char *error;
};
struct type type_want(struct front *f, const char *word, size_t len, const char *dir);
void registry_load(struct front *f);
const struct klass *type_class(struct front *f, const struct type *t, const char **error);
void registry_want_all(struct front *f); /* every *.so of the plugin folders */
void registry_free(struct registry *r);

/* ---- settings.c, schema.c, links.c, graph.c -------------------------------------------------- */

enum origin { FROM_DEFAULT, FROM_KEY, FROM_AUTO, FROM_NOTHING };

struct setting {
    const mobo_prop_t *prop;
    const struct ini_key *key; /* FROM_KEY */
    enum origin origin;
    struct value value;
    struct object *target; /* links and irqs */
};

struct setting_list {
    struct setting *items;
    unsigned count;
};

/* The front's side of a candidate. */
struct choice {
    struct type type;
    struct setting_list own;
    struct object *bus;
    struct setting_list *child; /* one list for each candidate of the bus */
    bool bus_unknown;
};

struct front_object {
    struct object o; /* first */
    struct choice *choices;
    struct ini_key *type_key;
    bool incomplete; /* a candidate's plugin is missing or the type is wrong: keys are not judged */
};

extern const mobo_class_t machine_class;

static inline struct front_object *front_object(const struct object *o)
{
    return (struct front_object *)o;
}

/* All checks but the order; builds f->m.objects in file order. */
void schema_check(struct front *f, bool needs_accel, const char *file);
/* Give each of PROPS its value out of BASE and VARIANT (which may be NULL) or its default. */
void settings_fill(struct front *f, struct setting_list *list, const mobo_prop_t *props,
                   const struct ini_section *base, const struct ini_section *variant,
                   const struct setting_list *hidden);
void settings_machine(struct front *f);
void links_resolve_list(struct front *f, struct object *o, struct setting_list *list,
                        struct object *bus);
struct object *object_find(const struct front *f, const char *name, size_t len);
bool klass_provides(const struct klass *k, const char *ids, size_t *index);
bool object_provides(const struct object *o, const char *ids); /* with each of its candidates */
void graph_sort(struct front *f);

enum { LOAD_NEEDS_ACCEL = 1 };
/* Like machine_load(); NULL: faults were printed. */
struct front *front_load(const char *file, char *const *overrides, unsigned count, unsigned flags);

/* ---- commands -------------------------------------------------------------------------------- */

int cmd_explain(struct front *f);
int cmd_list(void);
int cmd_describe(const char *type, bool json);

#endif
