/*
 * describe.c: `mobo describe` and `mobo list`: what plugins say about themselves, for people and,
 * with --json, for editors and for the generator of the reference pages.
 */
#include "front.h"

#include <stdlib.h>

/* ---- for people ------------------------------------------------------------------------------ */

static void print_prop(const mobo_prop_t *p)
{
    char range[MESSAGE_MAX];
    if (p->alias_of) {
        printf("  %-14s old name of %s\n", p->name, p->alias_of);
        return;
    }
    prop_range(p, range);
    bool link = p->type == MOBO_T_LINK;
    printf("  %-14s %s", p->name, prop_type_name(p->type));
    if (*range)
        printf(" %s", range);
    if (p->def && *p->def)
        printf(", default %s", p->def);
    else if (p->flags & MOBO_P_OPTIONAL || p->def)
        printf(", optional");
    else if (link)
        printf(", default: the only provider");
    else
        printf(", required");
    printf("%s\n  %-14s   %s\n", p->flags & MOBO_P_BUS ? ", the bus" : "", "", p->doc);
}

static void print_props(const char *title, const mobo_prop_t *props)
{
    if (!props || !props->name)
        return;
    printf("\n%s:\n", title);
    for (const mobo_prop_t *p = props; p->name; p++)
        print_prop(p);
}

static void print_class(const char *type, const mobo_class_t *c, const struct plugin *plugin)
{
    printf("%s: %s\n", type, c->summary);
    if (plugin)
        printf("plugin %s %s, %s\n", plugin->name, plugin->desc->version, plugin->desc->license);
    for (const mobo_iface_t *i = c->provides; i && i->id; i++)
        printf("%s%s%s", i == c->provides ? "provides " : ", ", i->id, i[1].id ? "" : "\n");
    print_props("keys", c->props);
    print_props("keys of sections on this bus", c->child_props);
}

/* ---- JSON (RFC 8259) ------------------------------------------------------------------------- */

/* Text out of a plugin may be anything; what is no UTF-8 becomes U+FFFD. */
static void json_text(const char *text)
{
    size_t len = strlen(text);
    putchar('"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            printf("\\u%04x", c);
        else if (c < 0x80)
            putchar(c);
        else {
            size_t n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
            bool good = n <= len - i && text_bad_byte(text + i, n) == n;
            printf("%.*s", good ? (int)n : 6, good ? text + i : "\\ufffd");
            i += good ? n - 1 : 0;
        }
    }
    putchar('"');
}

static void json_member(const char *name, const char *text)
{
    printf("\"%s\": ", name);
    if (text)
        json_text(text);
    else
        printf("null");
}

static void json_words(const char *name, const char *list)
{
    const char *word;
    size_t len;
    printf(", \"%s\": [", name);
    for (unsigned n = 0; text_word(&list, '|', &word, &len); n++) {
        char copy[MESSAGE_MAX];
        message(copy, "%.*s", (int)(len > 1000 ? 1000 : len), word);
        printf("%s", n ? ", " : "");
        json_text(copy);
    }
    printf("]");
}

static void json_prop(const mobo_prop_t *p)
{
    printf("      {");
    json_member("name", p->name);
    if (p->alias_of) {
        printf(", ");
        json_member("alias_of", p->alias_of);
        printf("}");
        return;
    }
    printf(", \"type\": \"%s\", ", prop_type_name(p->type));
    json_member("doc", p->doc);
    printf(", ");
    json_member("default", p->def);
    bool optional = p->def || p->flags & MOBO_P_OPTIONAL || p->type == MOBO_T_LINK;
    printf(", \"required\": %s", optional ? "false" : "true");
    if (p->type == MOBO_T_ENUM)
        json_words("values", p->arg);
    if (p->type == MOBO_T_LINK)
        json_words("interfaces", p->arg);
    if (p->flags & MOBO_P_BUS)
        printf(", \"bus\": true");
    if (p->min)
        printf(", \"min\": %llu", (unsigned long long)p->min);
    if (p->max)
        printf(", \"max\": %llu", (unsigned long long)p->max);
    printf("}");
}

static void json_props(const char *name, const mobo_prop_t *props)
{
    printf(",\n    \"%s\": [", name);
    for (const mobo_prop_t *p = props; p && p->name; p++) {
        printf("%s\n", p == props ? "" : ",");
        json_prop(p);
    }
    printf("]");
}

static void json_class(const char *type, const mobo_class_t *c, const struct plugin *plugin)
{
    printf("  {\n    ");
    json_member("type", type);
    if (plugin) {
        printf(",\n    ");
        json_member("plugin", plugin->name);
        printf(", ");
        json_member("version", plugin->desc->version);
        printf(", ");
        json_member("license", plugin->desc->license);
    }
    printf(",\n    ");
    json_member("summary", c->summary);
    printf(",\n    \"provides\": [");
    for (const mobo_iface_t *i = c->provides; i && i->id; i++) {
        printf("%s", i == c->provides ? "" : ", ");
        json_text(i->id);
    }
    printf("]");
    json_props("properties", c->props);
    json_props("child_properties", c->child_props);
    printf("\n  }");
}

/* ---- commands -------------------------------------------------------------------------------- */

static int describe_module(struct front *f, const struct type *t, bool json)
{
    const struct module *m = t->module;
    const char *error = NULL;
    const struct klass *one = NULL;
    bool all = m && !m->error && !t->class_name;
    if (!all)
        one = type_class(f, t, &error);
    if (!all && !one) {
        log_line(MOBO_ERROR, "%s", error);
        return EXIT_BAD_INPUT;
    }
    for (unsigned i = 0; i < m->klass_count; i++) {
        const struct klass *k = &m->klasses[i];
        if (one && k != one)
            continue;
        bool first = one || i == 0;
        if (json) {
            printf("%s", first ? "" : ",\n");
            json_class(k->type, &k->c, &m->plugin);
        } else {
            printf("%s", first ? "" : "\n");
            print_class(k->type, &k->c, &m->plugin);
        }
    }
    return 0;
}

int cmd_describe(const char *type, bool json)
{
    struct front *f = front_new();
    char *cwd = realpath(".", NULL);
    int rc = 0;
    if (json)
        printf("[\n");
    if (strcmp(type, "machine") == 0 && json)
        json_class("machine", &machine_class, NULL);
    else if (strcmp(type, "machine") == 0)
        print_class("machine", &machine_class, NULL);
    else {
        struct type t = type_want(f, type, strlen(type), cwd ? cwd : "/");
        registry_load(f);
        rc = describe_module(f, &t, json);
    }
    if (json)
        printf("\n]\n");
    free(cwd);
    front_free(f);
    return rc;
}

int cmd_list(void)
{
    struct front *f = front_new();
    int rc = 0;
    registry_want_all(f);
    registry_load(f);
    const struct registry *r = f->registry;
    for (unsigned i = 0; i < r->module_count; i++) {
        const struct module *m = r->modules[i];
        if (m->error) {
            log_line(MOBO_ERROR, "%s: %s", m->plugin.path, m->error);
            rc = EXIT_BAD_INPUT;
        }
        for (unsigned k = 0; !m->error && k < m->klass_count; k++)
            printf("%-22s %s\n", m->klasses[k].type, m->klasses[k].c.summary);
    }
    front_free(f);
    return rc;
}
