/*
 * log.c: one line, one write, on standard error. Lines of objects carry the section's name; warnings
 * and errors of an object pass a token bucket, because most of them are caused by the guest.
 *
 * The level is the process's, like standard error itself.
 */
#include "runtime.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum {
    LINE_MAX_BYTES = 1024,
    BURST = 20,             /* lines at once */
    PER_SECOND = 2,         /* lines in the long run */
};

static atomic_uint level_shown = MOBO_WARN;

void log_set_level(unsigned level)
{
    atomic_store(&level_shown, level);
}

bool log_shown(unsigned level)
{
    return level <= atomic_load_explicit(&level_shown, memory_order_relaxed);
}

/* Control characters could drive the terminal the log is read on. */
static void make_harmless(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        bool c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0; /* U+0080 to U+009F */
        if ((*p < 0x20 && *p != '\t') || *p == 0x7f || c1)
            *p = '?';
    }
}

/* A terminal in raw mode wants the carriage return, too. */
static bool wants_return(void)
{
    struct termios t;
    return tcgetattr(STDERR_FILENO, &t) == 0 && !(t.c_oflag & OPOST);
}

__attribute__((format(printf, 1, 0))) static void emit(const char *format, va_list ap)
{
    char line[LINE_MAX_BYTES + 2];
    int n = vsnprintf(line, LINE_MAX_BYTES, format, ap);
    if (n < 0)
        return;
    make_harmless(line);
    size_t len = strlen(line);
    if (wants_return())
        line[len++] = '\r';
    line[len++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, len);
    (void)written; /* there is nowhere to complain */
}

__attribute__((format(printf, 1, 2))) static void emit_line(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    emit(format, ap);
    va_end(ap);
}

void log_line(unsigned level, const char *format, ...)
{
    if (!log_shown(level))
        return;
    char text[LINE_MAX_BYTES];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    emit_line("mobo: %s", text);
}

void log_at(struct ini_pos pos, const char *section, const char *format, ...)
{
    char where[LINE_MAX_BYTES / 2] = "mobo";
    char in[128] = "";
    char text[LINE_MAX_BYTES];
    if (pos.file && pos.line)
        (void)snprintf(where, sizeof where, "%s:%u", pos.file, pos.line);
    else if (pos.file)
        (void)snprintf(where, sizeof where, "%s", pos.file);
    if (section)
        (void)snprintf(in, sizeof in, " [%s]:", section);
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (log_shown(MOBO_ERROR))
        emit_line("%s:%s %s", where, in, text);
}

/* Whether a line of O may pass; *kept: how many did not since the last one that did. */
static bool bucket_take(struct object_runtime *r, uint32_t *kept)
{
    const uint64_t per_token = 1000000000u / PER_SECOND;
    pthread_mutex_lock(&r->log_lock);
    uint64_t now = os_now();
    uint64_t fresh = (now - r->log_time) / per_token;
    if (fresh >= BURST - r->log_tokens) {
        r->log_tokens = BURST;
        r->log_time = now;
    } else {
        r->log_tokens += (uint32_t)fresh;
        r->log_time += fresh * per_token;
    }
    bool pass = r->log_tokens > 0;
    *kept = 0;
    if (pass) {
        r->log_tokens--;
        *kept = r->log_kept;
        r->log_kept = 0;
    } else {
        r->log_kept++;
    }
    pthread_mutex_unlock(&r->log_lock);
    return pass;
}

static void say_kept(const struct object *o, uint32_t kept)
{
    if (kept)
        emit_line("mobo: [%s]: %u more lines suppressed", o->pub.name, kept);
}

void log_quiet_ends(struct object *o)
{
    say_kept(o, o->rt->log_kept);
    o->rt->log_kept = 0;
}

static void object_log(mobo_obj_t *obj, uint32_t level, const char *text)
{
    struct object *o = object_of(obj);
    uint32_t kept = 0;
    if (!log_shown(level) || (level <= MOBO_WARN && o->rt && !bucket_take(o->rt, &kept)))
        return;
    say_kept(o, kept);
    emit_line("mobo: [%s]: %s", obj->name, text);
}

static void reason_add(struct object_runtime *r, const char *text)
{
    pthread_mutex_lock(&r->log_lock);
    size_t had = r->reasons ? strlen(r->reasons) : 0;
    size_t len = strlen(text);
    char *joined = realloc(r->reasons, had + len + 2);
    if (joined) {
        memcpy(joined + had, text, len);
        memcpy(joined + had + len, "\n", 2);
        r->reasons = joined;
    }
    pthread_mutex_unlock(&r->log_lock);
}

static int object_fail(mobo_obj_t *obj, int code, const char *text)
{
    struct object *o = object_of(obj);
    uint32_t kept = 0;
    if (o->rt && o->rt->keep_reasons) {
        reason_add(o->rt, text);
    } else if (!o->rt || bucket_take(o->rt, &kept)) {
        say_kept(o, kept);
        log_at(object_place(o, text), obj->name, "%s", text);
    }
    return code;
}

static int object_shown(mobo_obj_t *obj, uint32_t level)
{
    (void)obj;
    return log_shown(level);
}

const mobo_log_api_t log_api = {
    .size = sizeof log_api,
    .log = object_log,
    .fail = object_fail,
    .shown = object_shown,
};
