/*
 * ini: libFuzzer target for the INI reader and the override parser. The input is an INI file;
 * lines behind a NUL byte are overrides. Includes are not followed: no input names a file.
 *
 * Beyond "no crash", what comes out must be well formed: names within their limits, values free of
 * control characters, no key or section twice.
 */
// sources: core/text.c core/ini.c core/override.c
// libs: -linih
#include "front.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* The front's messages go nowhere, and cost no time. */
void log_line(unsigned level, const char *format, ...)
{
    (void)level;
    (void)format;
}

void log_at(struct ini_pos pos, const char *section, const char *format, ...)
{
    (void)pos;
    (void)section;
    (void)format;
}

void fault(struct front *f, struct ini_pos pos, const char *section, const char *format, ...)
{
    char text[MESSAGE_MAX];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof text, format, ap); /* arguments must be readable */
    va_end(ap);
    (void)pos;
    (void)section;
    f->faults++;
}

static void must(int condition)
{
    if (!condition)
        abort();
}

static void check_section(const struct ini *ini, unsigned index)
{
    const struct ini_section *s = &ini->sections[index];
    must(text_is_name(s->name, strlen(s->name), ""));
    must(ini_find(ini, s->name, s->variant) == s);
    for (unsigned i = 0; i < s->key_count; i++) {
        const struct ini_key *k = &s->keys[i];
        size_t len = strlen(k->value);
        must(ini_key(s, k->name) == k);
        must(text_is_name(k->name, strlen(k->name), ""));
        must(len <= VALUE_MAX_LEN && text_bad_byte(k->value, len) == len);
        must(len == 0 || (k->value[0] != ' ' && k->value[len - 1] != ' '));
        must(k->pos.file != NULL && k->dir != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct front f = { .no_include = true };
    char *lines[16], *text = malloc(len + 1);
    unsigned count = 0;
    if (!text)
        return 0;
    memcpy(text, data, len);
    text[len] = '\0';
    size_t ini_len = strlen(text);
    ini_read_text(&f, "fuzz.ini", text, ini_len);
    for (size_t at = ini_len + 1; at < len && count < 16; at += strlen(text + at) + 1)
        lines[count++] = text + at;
    ini_override(&f, lines, count);
    for (unsigned i = 0; i < f.ini.section_count; i++)
        check_section(&f.ini, i);
    arena_free(&f.arena);
    free(text);
    return 0;
}
