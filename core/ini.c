/*
 * ini.c: reads INI files and command-line overrides into struct ini, with the place of every key.
 *
 * inih does the parsing, line by line, from our own reader. The reader sees each line first: it
 * checks the bytes, counts, takes sections and includes (of which inih reports no line and no
 * empty ones) and keeps the text of values beside, because inih's line is 200 bytes short on most
 * systems. inih gets "key = @". What keys mean is not known here: see schema.c.
 */
#include "front.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILE_MAX_LEN = 1 << 20,
    LINE_MAX_LEN = VALUE_MAX_LEN + 256,
    INCLUDE_DEPTH = 16,
    INCLUDE_FILES = 64,
    SECTIONS_MAX = 1024,
    KEYS_MAX = 1024,
};

/* One file being read. */
struct reader {
    struct front *f;
    const struct reader *includer;
    unsigned depth;
    const char *file, *dir; /* as shown; absolute folder */
    dev_t dev;
    ino_t ino;
    const char *text;
    size_t len, at;
    unsigned line;
    struct ini local;      /* this file's own sections */
    bool in_section, skip; /* skip: the section's head was wrong, its keys are not looked at */
    const char *value;     /* of the key that inih is being handed */
};

static bool read_path(struct front *f, const char *file, const struct reader *includer,
                      struct ini_pos at);

/* ---- the tables ------------------------------------------------------------------------------ */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

struct ini_section *ini_find(const struct ini *ini, const char *name, const char *variant)
{
    for (unsigned i = 0; i < ini->section_count; i++) {
        struct ini_section *s = &ini->sections[i];
        if (strcmp(s->name, name) == 0 && same_text(s->variant, variant))
            return s;
    }
    return NULL;
}

struct ini_key *ini_key(const struct ini_section *s, const char *name)
{
    for (unsigned i = 0; i < s->key_count; i++) {
        if (strcmp(s->keys[i].name, name) == 0)
            return &s->keys[i];
    }
    return NULL;
}

const char *ini_label(struct front *f, const struct ini_section *s)
{
    return s->variant ? arena_format(&f->arena, "%s@%s", s->name, s->variant) : s->name;
}

static struct ini_section *add_section(struct front *f, struct ini *ini, struct ini_section s)
{
    ini->sections = arena_grow(&f->arena, ini->sections, ini->section_count, sizeof s);
    ini->sections[ini->section_count] = s;
    return &ini->sections[ini->section_count++];
}

/* Set a key; an older value of the same key gives way. */
static void put_key(struct front *f, struct ini_section *s, struct ini_key key)
{
    struct ini_key *old = ini_key(s, key.name);
    if (old) {
        *old = key;
        return;
    }
    s->keys = arena_grow(&f->arena, s->keys, s->key_count, sizeof key);
    s->keys[s->key_count++] = key;
}

/* The sections of an including file go over those of what it includes, key by key. */
static void merge(struct front *f, const struct ini *from)
{
    for (unsigned i = 0; i < from->section_count; i++) {
        const struct ini_section *s = &from->sections[i];
        struct ini_section *into = ini_find(&f->ini, s->name, s->variant);
        if (!into) {
            (void)add_section(f, &f->ini, *s);
            continue;
        }
        into->pos = s->pos;
        for (unsigned k = 0; k < s->key_count; k++)
            put_key(f, into, s->keys[k]);
    }
}

/* ---- lines ----------------------------------------------------------------------------------- */

static struct ini_pos here(const struct reader *r)
{
    return (struct ini_pos){ r->file, r->line };
}

static struct ini_section *current(const struct reader *r)
{
    return r->in_section ? &r->local.sections[r->local.section_count - 1] : NULL;
}

#define line_fault(r, ...)                                                                         \
    fault((r)->f, here(r), current(r) ? ini_label((r)->f, current(r)) : NULL, __VA_ARGS__)

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static void strip(const char **text, size_t *len)
{
    while (*len && is_space(**text)) {
        ++*text;
        --*len;
    }
    while (*len && is_space((*text)[*len - 1]))
        --*len;
}

/* A comment inside a line starts with a semicolon that has a blank before it. */
static size_t comment_at(const char *text, size_t len)
{
    for (size_t i = 1; i < len; i++) {
        if (text[i] == ';' && is_space(text[i - 1]))
            return i;
    }
    return len;
}

static void explain_byte(struct reader *r, const char *text, size_t bad)
{
    unsigned c = (unsigned char)text[bad];
    size_t column = bad + 1;
    if (c == 0)
        line_fault(r, "column %zu holds a NUL byte; remove it", column);
    else if (c < 0x20 || c == 0x7f)
        line_fault(r, "column %zu holds the control character 0x%02x; remove it", column, c);
    else
        line_fault(r, "column %zu: byte 0x%02x is no UTF-8; save the file as UTF-8", column, c);
}

/* A class as `type` spells it: PLUGIN, PLUGIN/CLASS, PATH.so:CLASS. */
static bool is_variant(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!text_is_name(text + i, 1, "/.:+"))
            return false;
    }
    return len > 0;
}

static void take_section(struct reader *r, const char *text, size_t len)
{
    const char *end = memchr(text, ']', len);
    r->in_section = false;
    r->skip = true;
    if (!end) {
        line_fault(r, "']' is missing behind the section's name");
        return;
    }
    const char *rest = end + 1;
    size_t rest_len = len - (size_t)(rest - text);
    strip(&rest, &rest_len);
    if (rest_len && *rest != ';' && *rest != '#') {
        line_fault(r, "'%.*s' stands behind the section's ']'; give it a line of its own",
                   (int)(rest_len > 40 ? 40 : rest_len), rest);
        return;
    }
    const char *name = text + 1;
    size_t name_len = (size_t)(end - name);
    strip(&name, &name_len);
    const char *at = memchr(name, '@', name_len);
    size_t base_len = at ? (size_t)(at - name) : name_len;
    size_t variant_len = at ? name_len - base_len - 1 : 0;
    if (name_len == 0) {
        line_fault(r, "the section has no name");
        return;
    }
    if (!text_is_name(name, base_len, "") || (at && !is_variant(at + 1, variant_len))) {
        line_fault(r,
                   "[%.*s] is no section name: letters, digits, - and _ (at most %d), then "
                   "@CLASS if the section is for one class",
                   (int)(name_len > 80 ? 80 : name_len), name, NAME_MAX_LEN);
        return;
    }
    if (r->local.section_count == SECTIONS_MAX) {
        line_fault(r, "more than %d sections; split the machine", SECTIONS_MAX);
        r->at = r->len;
        return;
    }
    struct ini_section s = { .name = arena_text(&r->f->arena, name, base_len), .pos = here(r) };
    if (at)
        s.variant = arena_text(&r->f->arena, at + 1, variant_len);
    const struct ini_section *first = ini_find(&r->local, s.name, s.variant);
    if (first) {
        line_fault(r, "section [%s] stands twice, first in line %u; join the two",
                   ini_label(r->f, &s), first->pos.line);
        return;
    }
    (void)add_section(r->f, &r->local, s);
    r->in_section = true;
    r->skip = false;
}

char *machines_dir(struct front *f)
{
    return f->prefix ? arena_format(&f->arena, "%s/share/mobo/machines", f->prefix) : NULL;
}

static void take_include(struct reader *r, const char *value)
{
    struct front *f = r->f;
    if (!*value) {
        line_fault(r, "include names no file");
        return;
    }
    if (f->no_include)
        return;
    if (r->depth + 1 >= INCLUDE_DEPTH || ++f->files > INCLUDE_FILES) {
        line_fault(r, "include = %.200s: more than %d levels or %d files", value, INCLUDE_DEPTH,
                   INCLUDE_FILES);
        return;
    }
    const char *slash = strrchr(r->file, '/');
    const char *path = value;
    if (*value != '/' && slash)
        path = arena_format(&f->arena, "%.*s%s", (int)(slash - r->file + 1), r->file, value);
    const char *shared = machines_dir(f);
    if (*value != '/' && access(path, F_OK) != 0 && shared) {
        const char *other = arena_format(&f->arena, "%s/%s", shared, value);
        if (access(other, F_OK) == 0) {
            path = other;
        } else {
            line_fault(r, "include = %.200s: no such file beside this one or in %s", value, shared);
            return;
        }
    }
    (void)read_path(f, path, r, here(r));
}

/* A line "KEY = VALUE". True: it is inih's turn, with the key in OUT. */
static bool take_key(struct reader *r, const char *text, size_t len, char *out, int out_len)
{
    const char *equals = memchr(text, '=', len);
    if (!equals) {
        bool colon = memchr(text, ':', len) != NULL;
        line_fault(r, "'%.*s' is neither [section] nor key = value%s", (int)(len > 60 ? 60 : len),
                   text, colon ? " (write = instead of :)" : "");
        return false;
    }
    const char *name = text, *value = equals + 1;
    size_t name_len = (size_t)(equals - text), value_len = len - name_len - 1;
    strip(&name, &name_len);
    value_len = comment_at(value, value_len);
    strip(&value, &value_len);
    if (name_len == 0) {
        line_fault(r, "there is no key before the '='");
        return false;
    }
    if (!text_is_name(name, name_len, "")) {
        line_fault(r, "'%.*s' is no key: letters, digits, - and _, at most %d",
                   (int)(name_len > 80 ? 80 : name_len), name, NAME_MAX_LEN);
        return false;
    }
    if (value_len > VALUE_MAX_LEN) {
        line_fault(r, "the value of '%.*s' has %zu bytes; the limit is %d", (int)name_len, name,
                   value_len, VALUE_MAX_LEN);
        return false;
    }
    r->value = arena_text(&r->f->arena, value, value_len);
    int n = snprintf(out, (size_t)out_len, "%.*s = @\n", (int)name_len, name);
    return n > 0 && n < out_len;
}

/* fgets() for inih. */
static char *next_line(char *out, int out_len, void *stream)
{
    struct reader *r = stream;
    while (r->at < r->len) {
        const char *text = r->text + r->at;
        const char *newline = memchr(text, '\n', r->len - r->at);
        size_t len = newline ? (size_t)(newline - text) : r->len - r->at;
        r->at += len + (newline != NULL);
        r->line++;
        if (len && text[len - 1] == '\r')
            len--;
        if (len > LINE_MAX_LEN) {
            line_fault(r, "the line has %zu bytes; the limit is %d", len, LINE_MAX_LEN);
            continue;
        }
        size_t bad = text_bad_byte(text, len);
        if (bad < len) {
            explain_byte(r, text, bad);
            continue;
        }
        strip(&text, &len);
        if (len == 0 || *text == ';' || *text == '#')
            continue;
        if (*text == '[')
            take_section(r, text, len);
        else if (!r->skip && take_key(r, text, len, out, out_len))
            return out;
    }
    return NULL;
}

static int take_pair(struct reader *r, const char *name)
{
    struct front *f = r->f;
    if (strcmp(name, "include") == 0) {
        if (r->in_section)
            line_fault(r, "include must stand before the first section");
        else
            take_include(r, r->value);
        return 1;
    }
    struct ini_section *s = current(r);
    if (!s) {
        line_fault(r, "key '%s' stands before the first section", name);
        return 1;
    }
    const struct ini_key *first = ini_key(s, name);
    if (first) {
        line_fault(r, "key '%s' stands twice, first in line %u", name, first->pos.line);
        return 1;
    }
    if (s->key_count == KEYS_MAX) {
        line_fault(r, "more than %d keys in one section", KEYS_MAX);
        return 1;
    }
    put_key(f, s,
            (struct ini_key){ .name = arena_text(&f->arena, name, strlen(name)),
                              .value = r->value,
                              .pos = here(r),
                              .dir = r->dir });
    return 1;
}

#if INI_HANDLER_LINENO
static int on_pair(void *user, const char *section, const char *name, const char *value, int line)
{
    (void)line;
#else
static int on_pair(void *user, const char *section, const char *name, const char *value)
{
#endif
    (void)section;
    (void)value;
    return take_pair(user, name);
}

/* ---- files ----------------------------------------------------------------------------------- */

static void read_lines(struct reader *r, const char *text, size_t len)
{
    r->line = 1;
    if (len >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0)) {
        line_fault(r, "the file is UTF-16; save it as UTF-8");
        return;
    }
    bool mark = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0; /* UTF-8's, which some add */
    r->text = text + (mark ? 3 : 0);
    r->len = len - (mark ? 3 : 0);
    r->line = 0;
    (void)ini_parse_stream(next_line, r, on_pair, r);
    merge(r->f, &r->local);
}

void ini_read_text(struct front *f, const char *name, const char *text, size_t len)
{
    struct reader r = { .f = f, .file = name, .dir = "/" };
    read_lines(&r, text, len);
}

/* Where the complaint about a file goes: to the line that includes it, or to the file itself. */
static void file_fault(struct front *f, const char *file, const struct reader *includer,
                       struct ini_pos at, const char *why)
{
    if (includer)
        fault(f, at, NULL, "include = %s: %s", file, why);
    else
        fault(f, (struct ini_pos){ file, 0 }, NULL, "%s", why);
}

static bool is_cycle(struct front *f, const struct reader *r, const struct reader *includer,
                     struct ini_pos at)
{
    const char *chain = r->file;
    for (const struct reader *p = includer; p; p = p->includer) {
        chain = arena_format(&f->arena, "%s -> %s", p->file, chain);
        if (p->dev == r->dev && p->ino == r->ino) {
            fault(f, at, NULL, "include cycle: %s", chain);
            return true;
        }
    }
    return false;
}

static ssize_t read_all(int fd, char *buf, size_t len)
{
    size_t got = 0;
    while (got < len) {
        ssize_t n = read(fd, buf + got, len - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

static bool read_open(struct front *f, struct reader *r, int fd, const struct reader *includer,
                      struct ini_pos at)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || S_ISDIR(st.st_mode)) {
        file_fault(f, r->file, includer, at, "is a folder; name an INI file");
        return false;
    }
    r->dev = st.st_dev;
    r->ino = st.st_ino;
    if (is_cycle(f, r, includer, at))
        return false;
    char *text = arena_alloc(&f->arena, FILE_MAX_LEN + 1);
    ssize_t len = read_all(fd, text, FILE_MAX_LEN + 1);
    if (len < 0 || len > FILE_MAX_LEN) {
        file_fault(f, r->file, includer, at, len < 0 ? strerror(errno) : "is larger than 1 MiB");
        return false;
    }
    char *whole = realpath(r->file, NULL);
    const char *slash = whole ? strrchr(whole, '/') : NULL;
    r->dir = slash && slash > whole ? arena_text(&f->arena, whole, (size_t)(slash - whole)) : "/";
    free(whole);
    read_lines(r, text, (size_t)len);
    return true;
}

static bool read_path(struct front *f, const char *file, const struct reader *includer,
                      struct ini_pos at)
{
    struct reader r = { .f = f,
                        .includer = includer,
                        .depth = includer ? includer->depth + 1 : 0,
                        .file = arena_text(&f->arena, file, strlen(file)) };
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        file_fault(f, r.file, includer, at, strerror(errno));
        return false;
    }
    bool good = read_open(f, &r, fd, includer, at);
    (void)close(fd);
    return good;
}

void ini_read(struct front *f, const char *file)
{
    (void)read_path(f, file, NULL, (struct ini_pos){ NULL, 0 });
}
