/*
 * verify.c: is a plugin's description sound? Every table is walked before it is believed: sizes,
 * strides, names, offsets inside the instance, defaults that parse. Then the tables are copied, in
 * the core's own stride, so that nobody else tests sizes. Runs in the probe's child first.
 */
#include "front.h"

/* What ABI 1.0 had. These never change; the structs may grow. */
enum {
    PLUGIN_V1 = 40,
    CLASS_V1 = 112,
    PROP_V1 = 72,
    FIELD_V1 = 32,
    STRIDE_MAX = 4096,
    ITEMS_MAX = 1024,
    INSTANCE_MAX = 64 << 20,
};
_Static_assert(sizeof(mobo_plugin_t) >= PLUGIN_V1 && sizeof(mobo_class_t) >= CLASS_V1 &&
                   sizeof(mobo_prop_t) >= PROP_V1 && sizeof(mobo_field_t) >= FIELD_V1,
               "only growth");

static void copy_grown(void *to, size_t to_len, const void *from, size_t from_len)
{
    memset(to, 0, to_len);
    memcpy(to, from, from_len < to_len ? from_len : to_len);
}

/* Item INDEX of a table that the plugin walks with STRIDE; false at its end. */
static bool prop_at(const mobo_prop_t *table, uint32_t stride, unsigned index, mobo_prop_t *p)
{
    if (!table)
        return false;
    copy_grown(p, sizeof *p, (const char *)table + (size_t)index * stride, stride);
    return p->name != NULL;
}

static bool field_at(const mobo_field_t *table, uint32_t stride, unsigned index, mobo_field_t *f)
{
    if (!table)
        return false;
    copy_grown(f, sizeof *f, (const char *)table + (size_t)index * stride, stride);
    return f->name != NULL;
}

static uint32_t alignment(uint32_t type, uint32_t width)
{
    return type == MOBO_T_MAC ? 1 : width < 8 ? width : 8;
}

static bool prop_type_sound(const mobo_prop_t *p, uint32_t block, char why[MESSAGE_MAX])
{
    struct value v;
    char text[MESSAGE_MAX] = "";
    uint32_t width = prop_width(p->type);
    if (!width)
        message(why, "has type %u, which this mobo does not know", p->type);
    else if (width > block || p->offset > block - width)
        message(why, "lies outside its block of %u bytes", block);
    else if (p->offset % alignment(p->type, width))
        message(why, "lies at the odd offset %u", p->offset);
    else if ((p->type == MOBO_T_ENUM || p->type == MOBO_T_LINK) && (!p->arg || !*p->arg))
        message(why, "names no %s", p->type == MOBO_T_ENUM ? "words" : "interface");
    else if (p->max && p->min > p->max)
        message(why, "has a minimum above its maximum");
    else if (p->def && !prop_parse(p, p->def, &v, text) && !(p->type == MOBO_T_LINK && !*p->def))
        message(why, "has the default '%.80s': %.400s", p->def, text);
    else
        return true;
    return false;
}

static bool prop_sound(const mobo_class_t *c, const mobo_prop_t *table, unsigned index,
                       uint32_t block, char why[MESSAGE_MAX])
{
    mobo_prop_t p, other;
    bool alias_found = false;
    (void)prop_at(table, c->prop_stride, index, &p);
    if (!text_is_name(p.name, strlen(p.name), "") || strcmp(p.name, "type") == 0 ||
        strcmp(p.name, "thread") == 0 || strcmp(p.name, "include") == 0) {
        message(why, "'%.80s' is no name for a property", p.name);
        return false;
    }
    for (unsigned i = 0; prop_at(table, c->prop_stride, i, &other); i++) {
        if (i < index && strcmp(other.name, p.name) == 0) {
            message(why, "property '%s' stands twice", p.name);
            return false;
        }
        if (p.alias_of && !other.alias_of && strcmp(other.name, p.alias_of) == 0)
            alias_found = true;
    }
    if (p.alias_of && !alias_found) {
        message(why, "property '%s' is an alias of '%.80s', which is none", p.name, p.alias_of);
        return false;
    }
    if (p.alias_of)
        return true;
    char text[MESSAGE_MAX] = "";
    if (!p.doc || !*p.doc)
        message(text, "has no doc text");
    if (*text || !prop_type_sound(&p, block, text)) {
        message(why, "property '%s' %.800s", p.name, text);
        return false;
    }
    return true;
}

static bool props_sound(const mobo_class_t *c, const mobo_prop_t *table, uint32_t block,
                        char why[MESSAGE_MAX])
{
    mobo_prop_t p;
    unsigned buses = 0;
    if (table && (c->prop_stride < PROP_V1 || c->prop_stride > STRIDE_MAX || c->prop_stride % 8)) {
        message(why, "prop_stride is %u, ABI 1.0 has %d", c->prop_stride, PROP_V1);
        return false;
    }
    for (unsigned i = 0; prop_at(table, c->prop_stride, i, &p); i++) {
        if (i == ITEMS_MAX) {
            message(why, "more than %d properties: the table has no end", ITEMS_MAX);
            return false;
        }
        buses += (p.flags & MOBO_P_BUS) != 0;
        if (!prop_sound(c, table, i, block, why))
            return false;
    }
    if (buses > 1)
        message(why, "more than one MOBO_P_BUS link");
    return buses <= 1;
}

static bool fields_sound(const mobo_class_t *c, char why[MESSAGE_MAX])
{
    mobo_field_t f;
    if (c->state &&
        (c->field_stride < FIELD_V1 || c->field_stride > STRIDE_MAX || c->field_stride % 8)) {
        message(why, "field_stride is %u, ABI 1.0 has %d", c->field_stride, FIELD_V1);
        return false;
    }
    for (unsigned i = 0; field_at(c->state, c->field_stride, i, &f); i++) {
        uint64_t len = (uint64_t)f.width * f.count;
        bool width = f.type == MOBO_F_BYTES ? f.width == 1
                                            : f.type == MOBO_F_UINT && f.width && f.width <= 8 &&
                                                  (f.width & (f.width - 1)) == 0;
        if (i == ITEMS_MAX || !width || len > c->instance_size ||
            f.offset > c->instance_size - len) {
            message(why, "state field '%.80s' has a wrong type, width or place", f.name);
            return false;
        }
    }
    return true;
}

/* The interfaces that the core itself calls must have what it calls. */
static const char *missing_function(const mobo_iface_t *i)
{
    if (strcmp(i->id, MOBO_IRQCHIP) == 0) {
        const mobo_irqchip_ops_t *o = i->ops;
        return !MOBO_HAS(o, lines) ? "lines" : !MOBO_HAS(o, set) ? "set" : NULL;
    }
    if (strcmp(i->id, MOBO_ACCEL) == 0) {
        const mobo_accel_ops_t *o = i->ops;
        return !MOBO_HAS(o, ram_map)      ? "ram_map"
               : !MOBO_HAS(o, ram_unmap)  ? "ram_unmap"
               : !MOBO_HAS(o, vcpu_new)   ? "vcpu_new"
               : !MOBO_HAS(o, vcpu_reset) ? "vcpu_reset"
               : !MOBO_HAS(o, run)        ? "run"
               : !MOBO_HAS(o, kick)       ? "kick"
                                          : NULL;
    }
    return NULL;
}

static bool ifaces_sound(const mobo_class_t *c, char why[MESSAGE_MAX])
{
    const mobo_iface_t *i = c->provides;
    for (unsigned n = 0; i && i->id; i++, n++) {
        uint32_t size = 0;
        const char *slash = strrchr(i->id, '/');
        if (i->ops)
            memcpy(&size, i->ops, sizeof size);
        if (n == ITEMS_MAX || !slash || slash == i->id || slash[1] < '0' || slash[1] > '9') {
            message(why, "'%.80s' is no interface id such as mobo.block/1", i->id);
            return false;
        }
        const char *missing = size >= 8 ? missing_function(i) : NULL;
        if (size < 8 || missing) {
            message(why,
                    missing ? "interface %.80s lacks the function '%s'"
                            : "interface %.80s has an empty table%s",
                    i->id, missing ? missing : "");
            return false;
        }
    }
    return true;
}

static bool class_sound(const mobo_class_t *from, mobo_class_t *c, char why[MESSAGE_MAX])
{
    char text[MESSAGE_MAX] = "";
    if (from->size < CLASS_V1 || from->size > 65536) {
        message(why, "a class table has %u bytes, ABI 1.0 has %d", from->size, CLASS_V1);
        return false;
    }
    copy_grown(c, sizeof *c, from, from->size);
    if (!c->name || !text_is_name(c->name, strlen(c->name), "")) {
        message(why, "a class has no proper name");
        return false;
    }
    if (!c->summary || !*c->summary)
        message(text, "has no summary");
    else if (c->instance_size < sizeof(void *) || c->instance_size > INSTANCE_MAX)
        message(text, "has an instance of %u bytes", c->instance_size);
    else if (c->child_props && (c->child_size == 0 || c->child_size > INSTANCE_MAX))
        message(text, "has a child block of %u bytes", c->child_size);
    else if (props_sound(c, c->props, c->instance_size, text) &&
             props_sound(c, c->child_props, c->child_size, text) && fields_sound(c, text) &&
             ifaces_sound(c, text))
        return true;
    message(why, "class %s: %.900s", c->name, text);
    return false;
}

bool plugin_verify(const mobo_plugin_t *desc, const char *name, char why[MESSAGE_MAX])
{
    unsigned n = 0;
    if (desc->size < PLUGIN_V1 || desc->size > 65536) {
        message(why, "its description has %u bytes, ABI 1.0 has %d", desc->size, PLUGIN_V1);
        return false;
    }
    if (!desc->name || strcmp(desc->name, name) != 0) {
        message(why, "calls itself '%.80s'; file and plugin must have the same name",
                desc->name ? desc->name : "");
        return false;
    }
    if (!desc->version || !desc->license || !desc->classes || !desc->classes[0]) {
        message(why, "has no %s",
                !desc->version   ? "version"
                : !desc->license ? "license"
                                 : "classes");
        return false;
    }
    for (; desc->classes[n]; n++) {
        mobo_class_t c, other;
        if (n == ITEMS_MAX || !class_sound(desc->classes[n], &c, why))
            return false;
        for (unsigned i = 0; i < n; i++) {
            copy_grown(&other, sizeof other, desc->classes[i], desc->classes[i]->size);
            if (strcmp(other.name, c.name) == 0) {
                message(why, "class '%s' stands twice", c.name);
                return false;
            }
        }
    }
    return true;
}

static const mobo_prop_t *copy_props(const mobo_prop_t *table, uint32_t stride, struct arena *a)
{
    mobo_prop_t *copy = NULL, p;
    unsigned n = 0;
    while (prop_at(table, stride, n, &p)) {
        copy = arena_grow(a, copy, n, sizeof *copy);
        copy[n++] = p;
    }
    if (table) {
        copy = arena_grow(a, copy, n, sizeof *copy);
        copy[n] = (mobo_prop_t)MOBO_END;
    }
    return copy;
}

static const mobo_field_t *copy_fields(const mobo_field_t *table, uint32_t stride, struct arena *a)
{
    mobo_field_t *copy = NULL, f;
    unsigned n = 0;
    while (field_at(table, stride, n, &f)) {
        copy = arena_grow(a, copy, n, sizeof *copy);
        copy[n++] = f;
    }
    if (table) {
        copy = arena_grow(a, copy, n, sizeof *copy);
        copy[n] = (mobo_field_t)MOBO_END;
    }
    return copy;
}

void plugin_classes(struct module *m, struct arena *a)
{
    const mobo_class_t *const *from = m->plugin.desc->classes;
    unsigned count = 0;
    while (from[count])
        count++;
    m->klasses = arena_alloc(a, count * sizeof *m->klasses);
    m->klass_count = count;
    for (unsigned i = 0; i < count; i++) {
        struct klass *k = &m->klasses[i];
        copy_grown(&k->c, sizeof k->c, from[i], from[i]->size);
        k->c.props = copy_props(k->c.props, k->c.prop_stride, a);
        k->c.child_props = copy_props(k->c.child_props, k->c.prop_stride, a);
        k->c.state = copy_fields(k->c.state, k->c.field_stride, a);
        k->c.prop_stride = sizeof(mobo_prop_t);
        k->c.field_stride = sizeof(mobo_field_t);
        k->plugin = &m->plugin;
        k->type = count == 1 ? m->plugin.name : arena_format(a, "%s/%s", m->plugin.name, k->c.name);
    }
}
