/*
 * text.c: the front's memory (freed all at once) and the small things it does with words. It knows
 * nothing about INI files or plugins.
 */
#include "front.h"

#include <stdlib.h>

struct arena_block {
    struct arena_block *before;
    max_align_t data[];
};

void *arena_alloc(struct arena *a, size_t len)
{
    struct arena_block *b = NULL;
    if (len <= SIZE_MAX / 2)
        b = calloc(1, sizeof *b + len);
    if (!b) {
        log_line(MOBO_ERROR, "no memory for %zu bytes while reading the machine", len);
        exit(EXIT_OTHER);
    }
    b->before = a->last;
    a->last = b;
    return b->data;
}

void arena_free(struct arena *a)
{
    while (a->last) {
        struct arena_block *b = a->last;
        a->last = b->before;
        free(b);
    }
}

char *arena_text(struct arena *a, const char *text, size_t len)
{
    char *copy = arena_alloc(a, len + 1);
    memcpy(copy, text, len);
    return copy;
}

char *arena_format(struct arena *a, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int len = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    char *text = arena_alloc(a, len > 0 ? (size_t)len + 1 : 1);
    va_start(ap, format);
    (void)vsnprintf(text, len > 0 ? (size_t)len + 1 : 1, format, ap);
    va_end(ap);
    return text;
}

void *arena_grow(struct arena *a, void *old, unsigned count, size_t item)
{
    if (count && (count & (count - 1))) /* room is always a power of two */
        return old;
    char *grown = arena_alloc(a, (size_t)(count ? count * 2 : 1) * item);
    if (count)
        memcpy(grown, old, count * item);
    return grown;
}

void message(char text[MESSAGE_MAX], const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, MESSAGE_MAX, format, ap);
    va_end(ap);
}

bool text_is_name(const char *text, size_t len, const char *also)
{
    if (len == 0 || len > NAME_MAX_LEN)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '_';
        if (!plain && !(c && strchr(also, c)))
            return false;
    }
    return true;
}

/* Bytes of the sequence at TEXT, 0: none that Unicode 15, table 3-7 allows. */
static size_t utf8_sequence(const unsigned char *t, size_t len)
{
    if (t[0] < 0x80)
        return 1;
    size_t n = t[0] >= 0xc2 && t[0] <= 0xdf ? 2 : (t[0] & 0xf0) == 0xe0 ? 3 : 0;
    if (t[0] >= 0xf0 && t[0] <= 0xf4)
        n = 4;
    if (n == 0 || n > len)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((t[i] & 0xc0) != 0x80)
            return 0;
    }
    bool overlong = (t[0] == 0xe0 && t[1] < 0xa0) || (t[0] == 0xf0 && t[1] < 0x90);
    bool surrogate = t[0] == 0xed && t[1] > 0x9f;
    bool beyond = t[0] == 0xf4 && t[1] > 0x8f;
    return overlong || surrogate || beyond ? 0 : n;
}

size_t text_bad_byte(const char *text, size_t len)
{
    const unsigned char *t = (const unsigned char *)text;
    for (size_t i = 0; i < len;) {
        size_t n = utf8_sequence(t + i, len - i);
        if (n == 0 || (t[i] < 0x20 && t[i] != '\t') || t[i] == 0x7f)
            return i;
        i += n;
    }
    return len;
}

bool text_word(const char **list, char separator, const char **word, size_t *len)
{
    if (!*list)
        return false;
    const char *end = strchr(*list, separator);
    *word = *list;
    *len = end ? (size_t)(end - *list) : strlen(*list);
    *list = end ? end + 1 : NULL;
    return true;
}

/* Optimal string alignment: insertions, deletions, replacements, swapped neighbours. */
static unsigned distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b);
    unsigned d[NAME_MAX_LEN + 1][NAME_MAX_LEN + 1];
    if (la > NAME_MAX_LEN || lb > NAME_MAX_LEN)
        return NAME_MAX_LEN;
    for (size_t i = 0; i <= la; i++) {
        for (size_t j = 0; j <= lb; j++) {
            unsigned best = (unsigned)(i + j);
            if (i && j) {
                best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
                best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
                best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                    d[i - 2][j - 2] + 1 < best)
                    best = d[i - 2][j - 2] + 1;
            }
            d[i][j] = best;
        }
    }
    return d[la][lb];
}

struct guess guess_start(const char *word)
{
    size_t len = strlen(word);
    return (struct guess){ .word = word, .distance = (unsigned)(len < 4 ? 2 : len / 3 + 2) };
}

void guess_offer(struct guess *g, const char *candidate)
{
    unsigned d = distance(g->word, candidate);
    if (d < g->distance) {
        g->distance = d;
        g->best = candidate;
    }
}

const char *guess_text(struct guess *g)
{
    g->text[0] = '\0';
    if (g->best)
        (void)snprintf(g->text, sizeof g->text, " (did you mean '%s'?)", g->best);
    return g->text;
}
