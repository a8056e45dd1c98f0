/*
 * load.c: from a file name to a checked machine, and back to nothing.
 */
#include "front.h"

#include <stdlib.h>
#include <unistd.h>

/* Alternatives have keys in common; what is wrong with one of those is found for each. */
static bool said_before(struct front *f, struct ini_pos pos, const char *text)
{
    enum { SAID = sizeof f->said / sizeof f->said[0] };
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ pos.line; /* FNV-1a */
    for (const char *t = pos.file ? pos.file : ""; *t; t++)
        hash = (hash ^ (unsigned char)*t) * UINT64_C(0x100000001b3);
    for (const char *t = text; *t; t++)
        hash = (hash ^ (unsigned char)*t) * UINT64_C(0x100000001b3);
    for (unsigned i = 0; i < SAID; i++) {
        if (f->said[i] == hash)
            return true;
    }
    f->said[f->said_next++ % SAID] = hash;
    return false;
}

void fault(struct front *f, struct ini_pos pos, const char *section, const char *format, ...)
{
    char text[MESSAGE_MAX];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    f->faults++;
    if (!said_before(f, pos, text))
        log_at(pos, section, "%s", text);
}

void warning(struct front *f, struct ini_pos pos, const char *section, const char *format, ...)
{
    char text[MESSAGE_MAX], line[32] = "";
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (said_before(f, pos, text))
        return;
    if (pos.line)
        (void)snprintf(line, sizeof line, ":%u", pos.line);
    log_line(MOBO_WARN, "%s%s: [%s]: %s", pos.file, line, section, text);
}

/* /usr of /usr/bin/mobo: plugins and boards lie at fixed places below it. */
static char *find_prefix(struct arena *a)
{
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
    if (len <= 0)
        return NULL;
    path[len] = '\0';
    for (unsigned i = 0; i < 2; i++) {
        char *slash = strrchr(path, '/');
        if (!slash)
            return NULL;
        *slash = '\0';
    }
    return arena_text(a, path, strlen(path));
}

struct front *front_new(void)
{
    struct front *f = calloc(1, sizeof *f);
    if (!f) {
        log_line(MOBO_ERROR, "no memory to read a machine");
        exit(EXIT_OTHER);
    }
    f->m.ini = &f->ini;
    f->prefix = find_prefix(&f->arena);
    return f;
}

void front_free(struct front *f)
{
    if (!f)
        return;
    for (unsigned i = 0; i < f->m.object_count; i++) {
        free(f->m.objects[i]->self);
        free(f->m.objects[i]->child);
    }
    registry_free(f->registry);
    arena_free(&f->arena);
    free(f);
}

struct front *front_load(const char *file, char *const *overrides, unsigned count, unsigned flags)
{
    struct front *f = front_new();
    ini_read(f, file);
    if (!f->faults)
        ini_override(f, overrides, count);
    if (!f->faults) /* a line that is not understood makes others look wrong */
        schema_check(f, (flags & LOAD_NEEDS_ACCEL) != 0, file);
    if (!f->faults)
        graph_sort(f);
    if (!f->faults)
        return f;
    front_free(f);
    return NULL;
}

struct machine *machine_load(const char *file, char *const *overrides, unsigned override_count)
{
    struct front *f = front_load(file, overrides, override_count, LOAD_NEEDS_ACCEL);
    return f ? &f->m : NULL;
}

void machine_free(struct machine *m)
{
    front_free((struct front *)m);
}
