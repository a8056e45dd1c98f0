/* fakeobj.c: objects of the fake host: classes out of plugins, properties, state, fake backends. */
#include "fakepriv.h"

#include <dlfcn.h>
#include <stdlib.h>

struct fake *fake_new(uint64_t ram_len, uint32_t vcpus)
{
    struct fake *f = calloc(1, sizeof *f);
    if (!f || !(f->ram = calloc(1, ram_len ? ram_len : 1)))
        fake_die("no memory for %llu bytes of RAM", (unsigned long long)ram_len);
    f->ram_len = ram_len;
    f->vcpus = vcpus;
    return f;
}

void fake_free(struct fake *f)
{
    for (unsigned i = f->object_count; i-- > 0;) {
        struct fake_obj *o = f->objects[i];
        if (o->c->fini) {
            fake_enter(o);
            o->c->fini(o->self);
            fake_leave(o);
        }
        free(o->self);
        free(o->child);
        free(o);
    }
    for (unsigned i = 0; i < f->string_count; i++)
        free(f->strings[i]);
    for (unsigned i = 0; i < f->ram_count; i++)
        free(f->rams[i]);
    for (unsigned i = 0; i < f->block_count; i++)
        free(f->blocks[i].buf);
    free(f->ram);
    free(f);
}

char *fake_string(struct fake *f, const char *text)
{
    if (f->string_count == FAKE_STRINGS)
        fake_die("more than %d strings", FAKE_STRINGS);
    return f->strings[f->string_count++] = strdup(text);
}

struct fake_obj *fake_find(struct fake *f, const char *name)
{
    for (unsigned i = 0; i < f->object_count; i++)
        if (strcmp(f->objects[i]->name, name) == 0)
            return f->objects[i];
    fake_die("no object [%s]", name);
}

struct fake_obj *fake_by_self(struct fake *f, const void *self)
{
    for (unsigned i = 0; i < f->object_count; i++)
        if (f->objects[i]->self == self)
            return f->objects[i];
    return NULL;
}

mobo_obj_t *fake_obj(struct fake *f, const char *name)
{
    return &fake_find(f, name)->pub;
}

void *fake_self(struct fake *f, const char *name)
{
    for (unsigned i = 0; i < f->object_count; i++)
        if (strcmp(f->objects[i]->name, name) == 0)
            return f->objects[i]->self;
    return NULL;
}

const void *fake_iface_of(const struct fake_obj *o, const char *id)
{
    for (const mobo_iface_t *i = o->c->provides; i && i->id; i++)
        if (strcmp(i->id, id) == 0)
            return i->ops;
    return NULL;
}

const void *fake_iface(struct fake *f, const char *name, const char *id)
{
    return fake_iface_of(fake_find(f, name), id);
}

const mobo_class_t *fake_class(const char *path, const char *class_name)
{
    void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!h)
        fake_die("%s", dlerror());
    mobo_plugin_entry_t entry;
    void *sym = dlsym(h, "mobo_plugin_v1");
    if (!sym)
        fake_die("%s has no mobo_plugin_v1", path);
    memcpy(&entry, &sym, sizeof entry);
    const mobo_class_t *const *c = entry()->classes;
    for (; *c; c++)
        if (strcmp((*c)->name, class_name) == 0)
            return *c;
    fake_die("%s has no class %s", path, class_name);
}

/* ---- properties ------------------------------------------------------------------------------ */

/* Does the list "a|b|c" hold WORD (LEN bytes)? Its index, or -1. */
static int word_index(const char *list, const char *word, size_t len)
{
    for (int i = 0;; i++) {
        size_t n = strcspn(list, "|");
        if (n == len && memcmp(list, word, n) == 0)
            return i;
        if (!list[n])
            return -1;
        list += n + 1;
    }
}

static uint64_t number(struct fake_obj *o, const mobo_prop_t *p, const char *text)
{
    char *end;
    uint64_t v = strtoull(text, &end, 0);
    if (p->type == MOBO_T_SIZE && *end) {
        const char *units = "KMGT", *u = strchr(units, *end);
        if (!u)
            fake_die("[%s] %s=%s is no size", o->name, p->name, text);
        v <<= 10 * (u - units + 1);
        end++;
    }
    if (!*text || *end)
        fake_die("[%s] %s=%s is no number", o->name, p->name, text);
    if ((p->min || p->max) && (v < p->min || v > p->max))
        fake_die("[%s] %s=%s is out of range", o->name, p->name, text);
    return v;
}

/* The interface of O that a link with the ids "a|b" takes, or NULL. */
static const void *first_iface(const struct fake_obj *o, const char *ids)
{
    while (*ids) {
        size_t n = strcspn(ids, "|");
        char id[64];
        snprintf(id, sizeof id, "%.*s", (int)n, ids);
        const void *ops = fake_iface_of(o, id);
        if (ops)
            return ops;
        ids += n + (ids[n] == '|');
    }
    return NULL;
}

static void set_link(struct fake_obj *o, const mobo_prop_t *p, uint8_t *member, const char *text)
{
    struct {
        const void *ops;
        void *self;
    } link = { NULL, NULL };
    struct fake_obj *to = NULL;
    if (text && !*text)
        return; /* an empty default: only by the user's word */
    if (text) {
        to = fake_find(o->f, text);
    } else {
        for (unsigned i = 0; i < o->f->object_count; i++) {
            struct fake_obj *other = o->f->objects[i];
            if (other == o || !first_iface(other, p->arg))
                continue;
            if (to && p->flags & MOBO_P_OPTIONAL)
                return;
            if (to)
                fake_die("[%s] %s: name one of [%s], [%s]", o->name, p->name, to->name,
                         other->name);
            to = other;
        }
    }
    if (!to && p->flags & MOBO_P_OPTIONAL)
        return;
    if (!to || !(link.ops = first_iface(to, p->arg)))
        fake_die("[%s] %s: nothing provides %s", o->name, p->name, p->arg);
    link.self = to->self;
    memcpy(member, &link, sizeof link);
    if (p->flags & MOBO_P_BUS)
        o->bus = to;
}

static void set_irq(struct fake_obj *o, const mobo_prop_t *p, uint8_t *member, const char *text)
{
    mobo_irq_t irq;
    const char *colon = strchr(text, ':');
    char chip[32];
    snprintf(chip, sizeof chip, "%.*s", colon ? (int)(colon - text) : 0, text);
    struct fake_obj *to = colon ? fake_find(o->f, chip) : o->bus;
    if (!to || fake_source_new(to, (uint32_t)strtoul(colon ? colon + 1 : text, NULL, 0), &irq))
        fake_die("[%s] %s=%s names no line", o->name, p->name, text);
    memcpy(member, &irq, sizeof irq);
}

static void set_prop(struct fake_obj *o, const mobo_prop_t *p, uint8_t *base, const char *text)
{
    uint8_t *member = base + p->offset;
    if (p->type == MOBO_T_LINK) {
        set_link(o, p, member, text);
        return;
    }
    if (!text && p->type == MOBO_T_IRQ)
        return;
    if (!text)
        fake_die("[%s] %s is required", o->name, p->name);
    uint64_t v64 = 0;
    uint32_t v = 0;
    int index;
    switch (p->type) {
    case MOBO_T_U32:
        v = (uint32_t)number(o, p, text);
        memcpy(member, &v, sizeof v);
        break;
    case MOBO_T_U64:
    case MOBO_T_SIZE:
        v64 = number(o, p, text);
        memcpy(member, &v64, sizeof v64);
        break;
    case MOBO_T_BOOL:
        index = word_index("no|yes|off|on|false|true", text, strlen(text));
        if (index < 0)
            fake_die("[%s] %s=%s is neither yes nor no", o->name, p->name, text);
        v = (uint32_t)index & 1;
        memcpy(member, &v, sizeof v);
        break;
    case MOBO_T_ENUM:
        index = word_index(p->arg, text, strlen(text));
        if (index < 0)
            fake_die("[%s] %s=%s is none of %s", o->name, p->name, text, p->arg);
        v = (uint32_t)index;
        memcpy(member, &v, sizeof v);
        break;
    case MOBO_T_STR:
    case MOBO_T_PATH: {
        const char *s = fake_string(o->f, text);
        memcpy(member, &s, sizeof s);
        break;
    }
    case MOBO_T_IRQ:
        set_irq(o, p, member, text);
        break;
    case MOBO_T_MAC:
        for (unsigned i = 0; i < 6; i++)
            member[i] = (uint8_t)strtoul(text + 3 * i, NULL, 16);
        break;
    default:
        fake_die("[%s] %s has the unknown type %u", o->name, p->name, p->type);
    }
}

static const char *setting(const char *const *settings, const char *key)
{
    size_t n = strlen(key);
    for (; settings && *settings; settings++)
        if (strncmp(*settings, key, n) == 0 && (*settings)[n] == '=')
            return *settings + n + 1;
    return NULL;
}

static bool known(const mobo_prop_t *p, const char *pair)
{
    for (; p && p->name; p++)
        if (strlen(p->name) == strcspn(pair, "=") && strncmp(p->name, pair, strlen(p->name)) == 0)
            return true;
    return false;
}

void fake_props(struct fake_obj *o, const char *const *settings)
{
    /* Links first, so that the bus is known when an irq names one of its lines. */
    for (int round = 0; round < 2; round++)
        for (const mobo_prop_t *p = o->c->props; p && p->name; p++) {
            const char *text = setting(settings, p->name);
            if (!p->doc || !*p->doc)
                fake_die("[%s] property %s has no doc text", o->name, p->name);
            if (!p->alias_of && (p->type == MOBO_T_LINK) == (round == 0))
                set_prop(o, p, o->self, text ? text : p->def);
        }
    const mobo_prop_t *child = o->bus ? o->bus->c->child_props : NULL;
    if (o->bus && o->bus->c->child_size)
        o->child = calloc(1, o->bus->c->child_size);
    for (const mobo_prop_t *p = child; p && p->name; p++) {
        const char *text = setting(settings, p->name);
        set_prop(o, p, o->child, text ? text : p->def);
    }
    for (; settings && *settings; settings++)
        if (!known(o->c->props, *settings) && !known(child, *settings))
            fake_die("[%s] unknown setting %s", o->name, *settings);
}

struct fake_obj *fake_obj_new(struct fake *f, const char *name, const mobo_class_t *c)
{
    if (f->object_count == FAKE_OBJECTS)
        fake_die("more than %d objects", FAKE_OBJECTS);
    struct fake_obj *o = calloc(1, sizeof *o);
    snprintf(o->name, sizeof o->name, "%s", name);
    o->pub = (mobo_obj_t){ &fake_host, o->name };
    o->f = f;
    o->c = c;
    o->self = calloc(1, c->instance_size);
    mobo_obj_t *pub = &o->pub;
    memcpy(o->self, &pub, sizeof pub);
    f->objects[f->object_count++] = o;
    return o;
}

void *fake_add(struct fake *f, const char *name, const mobo_class_t *c,
               const char *const *settings)
{
    struct fake_obj *o = fake_obj_new(f, name, c);
    fake_props(o, settings);
    int rc = 0;
    if (c->init) {
        fake_enter(o);
        rc = c->init(o->self);
        fake_leave(o);
    }
    return rc ? NULL : o->self;
}

void fake_reset(struct fake *f)
{
    for (unsigned i = 0; i < f->object_count; i++) {
        struct fake_obj *o = f->objects[i];
        if (!o->c->reset)
            continue;
        fake_enter(o);
        o->c->reset(o->self);
        fake_leave(o);
    }
}

/* ---- state ----------------------------------------------------------------------------------- */

uint32_t fake_state_len(const mobo_class_t *c)
{
    uint32_t len = 0;
    for (const mobo_field_t *s = c->state; s && s->name; s++)
        len += s->width * s->count;
    return len;
}

void fake_save(struct fake *f, const char *name, void *buf)
{
    struct fake_obj *o = fake_find(f, name);
    uint8_t *to = buf;
    for (const mobo_field_t *s = o->c->state; s && s->name; s++) {
        memcpy(to, (uint8_t *)o->self + s->offset, s->width * s->count);
        to += s->width * s->count;
    }
}

int fake_load(struct fake *f, const char *name, const void *buf)
{
    struct fake_obj *o = fake_find(f, name);
    const uint8_t *from = buf;
    for (const mobo_field_t *s = o->c->state; s && s->name; s++) {
        memcpy((uint8_t *)o->self + s->offset, from, s->width * s->count);
        from += s->width * s->count;
    }
    fake_enter(o);
    int rc = o->c->loaded ? o->c->loaded(o->self, o->c->state_version) : 0;
    fake_leave(o);
    return rc;
}

/* ---- a recording interrupt controller -------------------------------------------------------- */

struct chip {
    mobo_obj_t *obj;
    uint32_t lines;
};

static uint32_t chip_lines(void *self)
{
    return ((struct chip *)self)->lines;
}

static void chip_set(void *self, uint32_t line, uint32_t level)
{
    (void)self; /* the wire itself has recorded it */
    (void)line;
    (void)level;
}

static uint32_t chip_gsi(void *self, uint32_t line)
{
    (void)self;
    return line;
}

static const mobo_irqchip_ops_t chip_ops = { sizeof chip_ops, 0, chip_lines, chip_set, chip_gsi };
static const mobo_iface_t chip_ifaces[] = { { MOBO_IRQCHIP, &chip_ops }, { 0 } };
static const mobo_class_t chip_class = {
    MOBO_CLASS(struct chip, NULL, NULL), .name = "fake-chip", .provides = chip_ifaces,
    .flags = MOBO_PARALLEL,
};

void *fake_chip(struct fake *f, const char *name, uint32_t lines)
{
    struct chip *c = fake_obj_new(f, name, &chip_class)->self;
    c->lines = lines;
    return c;
}

/* ---- a character backend --------------------------------------------------------------------- */

enum { CHAR_BUF = 1 << 16 };

struct chr {
    mobo_obj_t *obj;
    mobo_obj_t *owner;
    void (*event)(void *owner_self, uint32_t events);
    uint8_t in[CHAR_BUF], out[CHAR_BUF];
    uint32_t in_len, in_pos, out_len, room, cols, rows, is_short;
    uint32_t events[64], event_head, event_tail;
};

static void deliver(void *owner_self, void *arg)
{
    struct chr *c = arg;
    c->event(owner_self, c->events[c->event_head++ % 64]);
}

static void raise_event(struct chr *c, uint32_t events)
{
    if (!c->owner)
        return;
    c->events[c->event_tail++ % 64] = events;
    (void)mobo_post(c->owner, deliver, c);
}

static int chr_open(void *self, mobo_obj_t *owner, void (*event)(void *owner_self, uint32_t events))
{
    struct chr *c = self;
    if (c->owner)
        return mobo_fail_code(c->obj, MOBO_EBUSY, "in use by [%s]", c->owner->name);
    c->owner = owner;
    c->event = event;
    raise_event(c, MOBO_CHAR_OPENED);
    return 0;
}

static uint32_t chr_read(void *self, void *buf, uint32_t len)
{
    struct chr *c = self;
    uint32_t n = c->in_len - c->in_pos < len ? c->in_len - c->in_pos : len;
    memcpy(buf, c->in + c->in_pos, n);
    c->in_pos += n;
    return n;
}

static uint32_t chr_write(void *self, const void *buf, uint32_t len)
{
    struct chr *c = self;
    uint32_t n = len < c->room ? len : c->room;
    if (n > CHAR_BUF - c->out_len)
        n = CHAR_BUF - c->out_len;
    memcpy(c->out + c->out_len, buf, n);
    c->out_len += n;
    c->room -= n;
    c->is_short |= n < len;
    return n;
}

static int chr_winsize(void *self, uint32_t *cols, uint32_t *rows)
{
    struct chr *c = self;
    if (!c->cols)
        return MOBO_ENOTSUP;
    *cols = c->cols;
    *rows = c->rows;
    return 0;
}

static const mobo_char_ops_t chr_ops = { sizeof chr_ops, 0, chr_open, chr_read, chr_write,
                                         chr_winsize };
static const mobo_iface_t chr_ifaces[] = { { MOBO_CHAR, &chr_ops }, { 0 } };
static const mobo_class_t chr_class = {
    MOBO_CLASS(struct chr, NULL, NULL), .name = "fake-char", .provides = chr_ifaces,
};

void *fake_char(struct fake *f, const char *name)
{
    struct chr *c = fake_obj_new(f, name, &chr_class)->self;
    c->room = CHAR_BUF;
    return c;
}

void fake_char_room(struct fake *f, const char *name, uint32_t room)
{
    struct chr *c = fake_find(f, name)->self;
    c->room = room;
    if (room && c->is_short) {
        c->is_short = 0;
        raise_event(c, MOBO_CHAR_WRITABLE);
    }
}

void fake_char_type(struct fake *f, const char *name, const void *bytes, uint32_t len)
{
    struct chr *c = fake_find(f, name)->self;
    if (c->in_pos == c->in_len)
        c->in_pos = c->in_len = 0;
    if (len > CHAR_BUF - c->in_len)
        fake_die("[%s] is given too much to type", name);
    memcpy(c->in + c->in_len, bytes, len);
    c->in_len += len;
    raise_event(c, MOBO_CHAR_READABLE);
}

uint32_t fake_char_take(struct fake *f, const char *name, void *buf, uint32_t len)
{
    struct chr *c = fake_find(f, name)->self;
    uint32_t n = c->out_len < len ? c->out_len : len;
    memcpy(buf, c->out, n);
    memmove(c->out, c->out + n, c->out_len - n);
    c->out_len -= n;
    return n;
}

void fake_char_winsize(struct fake *f, const char *name, uint32_t cols, uint32_t rows)
{
    struct chr *c = fake_find(f, name)->self;
    c->cols = cols;
    c->rows = rows;
    raise_event(c, MOBO_CHAR_RESIZED);
}

void fake_char_event(struct fake *f, const char *name, uint32_t events)
{
    raise_event(fake_find(f, name)->self, events);
}
