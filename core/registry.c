/*
 * registry.c: from the words behind `type` to classes: where plugins are looked for, which file a
 * word means, and each file loaded once.
 */
#include "front.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static void add_dir(struct registry *r, const char *dir)
{
    if (r->dir_count < sizeof r->dirs / sizeof r->dirs[0])
        r->dirs[r->dir_count++] = dir;
}

/* The user's folders, unless the program runs with rights of somebody else; then our own. */
static void find_dirs(struct front *f, struct registry *r)
{
    const char *list = secure_getenv("MOBO_PLUGIN_PATH"), *word;
    size_t len;
    bool own_rights = getuid() == geteuid() && getgid() == getegid();
    while (own_rights && text_word(&list, ':', &word, &len)) {
        if (len && *word == '/')
            add_dir(r, arena_text(&f->arena, word, len));
    }
    if (!f->prefix)
        return;
    /* Installed, the folder is named after the ABI; in a build tree it is lib/mobo. */
    const char *installed = arena_format(&f->arena, "%s/%s", f->prefix, MOBO_PLUGIN_DIR);
    add_dir(r, access(installed, F_OK) == 0 ? installed
                                            : arena_format(&f->arena, "%s/lib/mobo", f->prefix));
}

static struct registry *registry(struct front *f)
{
    if (!f->registry) {
        f->registry = arena_alloc(&f->arena, sizeof *f->registry);
        find_dirs(f, f->registry);
    }
    return f->registry;
}

static struct module *add_module(struct front *f, const char *name, const char *path)
{
    struct registry *r = registry(f);
    for (unsigned i = 0; i < r->module_count; i++) {
        if (strcmp(r->modules[i]->plugin.path, path) == 0)
            return r->modules[i];
    }
    struct module *m = arena_alloc(&f->arena, sizeof *m);
    m->plugin.name = name;
    m->plugin.path = path;
    m->fd = -1;
    r->modules = arena_grow(&f->arena, r->modules, r->module_count, sizeof(struct module *));
    r->modules[r->module_count++] = m;
    return m;
}

/* The file of a plugin in the plugin folders; the last folder's name if it is in none. */
static const char *path_of(struct front *f, const char *name)
{
    const struct registry *r = registry(f);
    const char *path = NULL;
    for (unsigned i = 0; i < r->dir_count; i++) {
        path = arena_format(&f->arena, "%s/%s.so", r->dirs[i], name);
        if (access(path, F_OK) == 0)
            break;
    }
    return path ? path : arena_format(&f->arena, "/nowhere/%s.so", name);
}

/* PATH/FILE.so, PATH/FILE.so:CLASS */
static bool want_path(struct front *f, struct type *t, const char *dir)
{
    const char *suffix = strstr(t->word, ".so");
    while (suffix && suffix[3] && suffix[3] != ':')
        suffix = strstr(suffix + 1, ".so");
    if (!suffix)
        return false;
    size_t len = (size_t)(suffix - t->word) + 3;
    const char *file = arena_text(&f->arena, t->word, len);
    const char *slash = strrchr(file, '/');
    if (suffix[3])
        t->class_name = suffix + 4;
    if (!slash) {
        t->error = arena_format(&f->arena, "write ./%s for a file, or leave out .so", file);
        return true;
    }
    const char *path = *file == '/' ? file : arena_format(&f->arena, "%s/%s", dir, file);
    t->module = add_module(f, arena_text(&f->arena, slash + 1, strlen(slash + 1) - 3), path);
    return true;
}

struct type type_want(struct front *f, const char *word, size_t len, const char *dir)
{
    struct type t = { .word = arena_text(&f->arena, word, len) };
    if (want_path(f, &t, dir))
        return t;
    const char *slash = strchr(t.word, '/');
    size_t name_len = slash ? (size_t)(slash - t.word) : len;
    if (!text_is_name(t.word, name_len, "") ||
        (slash && !text_is_name(slash + 1, strlen(slash + 1), ""))) {
        t.error = arena_format(&f->arena,
                               "'%.80s' is no type: PLUGIN, PLUGIN/CLASS or "
                               "./FILE.so:CLASS",
                               t.word);
        return t;
    }
    const char *name = arena_text(&f->arena, t.word, name_len);
    t.class_name = slash ? slash + 1 : NULL;
    t.module = add_module(f, name, path_of(f, name));
    return t;
}

static void load_checked(struct front *f, struct module *m)
{
    char why[MESSAGE_MAX];
    if (m->error)
        return;
    if (!plugin_load(f->registry, m, why)) {
        m->error = arena_text(&f->arena, why, strlen(why));
        return;
    }
    plugin_classes(m, &f->arena);
    log_line(MOBO_INFO, "loaded %s: %s %s, ABI %d.%u", m->plugin.path, m->plugin.name,
             m->plugin.desc->version, MOBO_ABI_MAJOR, m->plugin.desc->abi_minor);
}

void registry_load(struct front *f)
{
    struct registry *r = registry(f);
    char why[MESSAGE_MAX];
    struct module **fresh = arena_alloc(&f->arena, (r->module_count + 1) * sizeof *fresh);
    unsigned count = 0;
    for (unsigned i = 0; i < r->module_count; i++) {
        struct module *m = r->modules[i];
        if (m->tried)
            continue;
        m->tried = true;
        m->fd = plugin_open(m->plugin.path, &m->missing, why);
        if (m->fd < 0)
            m->error = arena_text(&f->arena, why, strlen(why));
        else
            fresh[count++] = m;
    }
    plugin_probe(r, fresh, count, &f->arena);
    for (unsigned i = 0; i < count; i++)
        load_checked(f, fresh[i]);
}

/* "did you mean" out of what lies in the plugin folders. */
static const char *guess_plugin(struct front *f, const char *name)
{
    struct registry *r = registry(f);
    struct guess g = guess_start(name);
    for (unsigned i = 0; i < r->dir_count; i++) {
        DIR *d = opendir(r->dirs[i]);
        for (const struct dirent *e; d && (e = readdir(d));) {
            size_t len = strlen(e->d_name);
            if (len > 3 && strcmp(e->d_name + len - 3, ".so") == 0)
                guess_offer(&g, arena_text(&f->arena, e->d_name, len - 3));
        }
        if (d)
            (void)closedir(d);
    }
    const char *text = guess_text(&g);
    return arena_text(&f->arena, text, strlen(text));
}

const struct klass *type_class(struct front *f, const struct type *t, const char **error)
{
    const struct module *m = t->module;
    *error = t->error;
    if (!m)
        return NULL;
    if (m->missing) {
        *error = arena_format(&f->arena, "no plugin '%s' (%s)%s", m->plugin.name, m->plugin.path,
                              guess_plugin(f, m->plugin.name));
        return NULL;
    }
    if (m->error) {
        bool named = strstr(m->error, m->plugin.path) != NULL;
        *error = named ? m->error : arena_format(&f->arena, "%s: %s", m->plugin.path, m->error);
        return NULL;
    }
    if (!t->class_name && m->klass_count == 1)
        return &m->klasses[0];
    struct guess g = guess_start(t->class_name ? t->class_name : "");
    const char *all = "";
    for (unsigned i = 0; i < m->klass_count; i++) {
        const char *name = m->klasses[i].c.name;
        if (t->class_name && strcmp(t->class_name, name) == 0)
            return &m->klasses[i];
        guess_offer(&g, name);
        all = arena_format(&f->arena, "%s%s%s", all, *all ? ", " : "", name);
    }
    *error = t->class_name ? arena_format(&f->arena, "plugin %s has no class '%.80s'%s",
                                          m->plugin.name, t->class_name, guess_text(&g))
                           : arena_format(&f->arena,
                                          "plugin %s has several classes; write %s/CLASS with "
                                          "one of %s",
                                          m->plugin.name, t->word, all);
    return NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void registry_want_all(struct front *f)
{
    struct registry *r = registry(f);
    for (unsigned i = 0; i < r->dir_count; i++) {
        const char **names = NULL;
        unsigned count = 0;
        DIR *d = opendir(r->dirs[i]);
        for (const struct dirent *e; d && (e = readdir(d));) {
            size_t len = strlen(e->d_name);
            if (len <= 3 || strcmp(e->d_name + len - 3, ".so") != 0)
                continue;
            names = arena_grow(&f->arena, names, count, sizeof *names);
            names[count++] = arena_text(&f->arena, e->d_name, len - 3);
        }
        if (d)
            (void)closedir(d);
        if (count)
            qsort(names, count, sizeof *names, by_name);
        for (unsigned n = 0; n < count; n++)
            (void)type_want(f, names[n], strlen(names[n]), "/");
    }
}
