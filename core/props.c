/*
 * props.c: the types of properties: from the text of an INI value to a value, and into an
 * instance. Links and irqs are only taken apart here; what they name is looked up in links.c.
 */
#include "front.h"

#include <ctype.h>

static const struct {
    const char *name;
    uint32_t width;
} types[] = {
    [MOBO_T_U32] = { "u32", sizeof(uint32_t) },     [MOBO_T_U64] = { "u64", sizeof(uint64_t) },
    [MOBO_T_BOOL] = { "bool", sizeof(uint32_t) },   [MOBO_T_SIZE] = { "size", sizeof(uint64_t) },
    [MOBO_T_STR] = { "string", sizeof(char *) },    [MOBO_T_ENUM] = { "enum", sizeof(uint32_t) },
    [MOBO_T_LINK] = { "link", 2 * sizeof(void *) }, [MOBO_T_IRQ] = { "irq", sizeof(mobo_irq_t) },
    [MOBO_T_PATH] = { "path", sizeof(char *) },     [MOBO_T_MAC] = { "mac", 6 },
};

uint32_t prop_width(uint32_t type)
{
    return type < sizeof types / sizeof types[0] ? types[type].width : 0;
}

const char *prop_type_name(uint32_t type)
{
    return prop_width(type) ? types[type].name : "?";
}

/* Digits of BASE; *text ends behind them. False: none, or more than 64 bits. */
static bool digits(const char **text, unsigned base, uint64_t *num)
{
    const char *t = *text;
    uint64_t n = 0;
    for (;; t++) {
        unsigned d;
        if (*t >= '0' && *t <= '9')
            d = (unsigned)(*t - '0');
        else if (base == 16 && isxdigit((unsigned char)*t))
            d = (unsigned)(tolower((unsigned char)*t) - 'a' + 10);
        else
            break;
        if (__builtin_mul_overflow(n, base, &n) || __builtin_add_overflow(n, d, &n))
            return false;
    }
    bool any = t > *text;
    *text = t;
    *num = n;
    return any;
}

static bool number(const char **text, uint64_t *num)
{
    if ((*text)[0] == '0' && ((*text)[1] == 'x' || (*text)[1] == 'X')) {
        *text += 2;
        return digits(text, 16, num);
    }
    return digits(text, 10, num);
}

/* A size as people write it: the largest unit that divides it. */
static void size_text(uint64_t n, char *out, size_t len)
{
    static const char units[] = " KMGT";
    unsigned u = 0;
    while (n && n % 1024 == 0 && u < 4) {
        n /= 1024;
        u++;
    }
    (void)snprintf(out, len, u ? "%llu%c" : "%llu", (unsigned long long)n, units[u]);
}

static uint64_t upper(const mobo_prop_t *p)
{
    uint64_t all = p->type == MOBO_T_U32 ? UINT32_MAX : UINT64_MAX;
    return p->max ? p->max : all; /* min alone: no upper limit */
}

static void bound_text(const mobo_prop_t *p, uint64_t n, char *out, size_t len)
{
    if (p->type == MOBO_T_SIZE)
        size_text(n, out, len);
    else
        (void)snprintf(out, len, "%llu", (unsigned long long)n);
}

void prop_range(const mobo_prop_t *p, char text[MESSAGE_MAX])
{
    char low[32], high[32];
    bound_text(p, p->min, low, sizeof low);
    bound_text(p, p->max, high, sizeof high);
    const char *unit = p->type == MOBO_T_STR || p->type == MOBO_T_PATH ? " bytes" : "";
    text[0] = '\0';
    if (p->type == MOBO_T_ENUM || p->type == MOBO_T_LINK)
        message(text, "%s", p->arg);
    else if (p->max)
        message(text, "%s..%s%s", low, high, unit);
    else if (p->min)
        message(text, "%s or more%s", low, unit);
}

static bool in_range(const mobo_prop_t *p, uint64_t n, char why[MESSAGE_MAX])
{
    if (n >= p->min && n <= upper(p))
        return true;
    if (p->min || p->max) {
        char range[MESSAGE_MAX];
        prop_range(p, range);
        message(why, "out of range %.200s", range);
    } else {
        message(why, "more than %llu", (unsigned long long)upper(p));
    }
    return false;
}

static bool parse_number(const mobo_prop_t *p, const char *text, struct value *v,
                         char why[MESSAGE_MAX])
{
    const char *t = text;
    if (*t == '-') {
        message(why, "negative numbers have no meaning here");
        return false;
    }
    if (!number(&t, &v->num)) {
        bool large = *text >= '0' && *text <= '9' && text[strspn(text, "0123456789")] == '\0';
        message(why, large ? "more than 64 bits" : "not a number (decimal or 0x...)");
        return false;
    }
    if (*t) {
        message(why, "not a number: '%.20s' stands behind it", t);
        return false;
    }
    return in_range(p, v->num, why);
}

static bool parse_size(const mobo_prop_t *p, const char *text, struct value *v,
                       char why[MESSAGE_MAX])
{
    static const char units[] = "KMGT";
    const char *t = text;
    bool good = number(&t, &v->num);
    const char *unit = good && *t ? strchr(units, toupper((unsigned char)*t)) : NULL;
    if (unit)
        t++;
    if (!good || *t) {
        message(why, "not a size: a number with K, M, G or T behind it, such as 512M");
        return false;
    }
    unsigned shift = unit ? (unsigned)(unit - units + 1) * 10 : 0;
    if (v->num > UINT64_MAX >> shift) {
        message(why, "more than 64 bits");
        return false;
    }
    v->num <<= shift;
    return in_range(p, v->num, why);
}

static bool parse_bool(const char *text, struct value *v, char why[MESSAGE_MAX])
{
    static const char *const words[] = { "no", "yes", "off", "on", "false", "true" };
    struct guess g = guess_start(text);
    for (unsigned i = 0; i < 6; i++) {
        if (strcmp(text, words[i]) == 0) {
            v->num = i & 1;
            return true;
        }
        guess_offer(&g, words[i]);
    }
    message(why, "neither yes nor no%s", guess_text(&g));
    return false;
}

static bool parse_enum(const mobo_prop_t *p, const char *text, struct value *v,
                       char why[MESSAGE_MAX])
{
    const char *list = p->arg, *word;
    size_t len, text_len = strlen(text);
    struct guess g = guess_start(text);
    char copy[16][NAME_MAX_LEN + 1]; /* the guess borrows its words; 16 offers are plenty */
    for (unsigned i = 0; text_word(&list, '|', &word, &len); i++) {
        if (len == text_len && memcmp(word, text, len) == 0) {
            v->num = i;
            return true;
        }
        if (i < 16 && len <= NAME_MAX_LEN) {
            memcpy(copy[i], word, len);
            copy[i][len] = '\0';
            guess_offer(&g, copy[i]);
        }
    }
    message(why, "not one of %.400s%s", p->arg, guess_text(&g));
    return false;
}

static bool parse_mac(const char *text, struct value *v, char why[MESSAGE_MAX])
{
    bool good = strlen(text) == 17;
    for (unsigned i = 0; i < 6 && good; i++) {
        const char *t = text + 3 * i;
        uint64_t byte = 0;
        good = isxdigit((unsigned char)t[0]) && isxdigit((unsigned char)t[1]) &&
               (t[2] == ':' || i == 5) && digits(&t, 16, &byte) && t == text + 3 * i + 2;
        v->mac[i] = (uint8_t)byte;
    }
    if (!good)
        message(why, "not a MAC address such as 52:54:00:12:34:56");
    else if (v->mac[0] & 1)
        message(why, "a multicast address; the first byte must be even");
    return good && !(v->mac[0] & 1);
}

static bool parse_name(const char *text, size_t len, struct value *v, char why[MESSAGE_MAX])
{
    v->text = text;
    v->text_len = len;
    if (text_is_name(text, len, ""))
        return true;
    message(why, "not the name of a section");
    return false;
}

/* CHIP:LINE, or LINE. */
static bool parse_irq(const char *text, struct value *v, char why[MESSAGE_MAX])
{
    const char *colon = strrchr(text, ':');
    const char *line = colon ? colon + 1 : text;
    if (colon && !parse_name(text, (size_t)(colon - text), v, why))
        return false;
    if (number(&line, &v->num) && !*line && v->num <= UINT32_MAX)
        return true;
    message(why, "not an interrupt: CHIP:LINE, or LINE");
    return false;
}

static bool parse_text(const mobo_prop_t *p, const char *text, struct value *v,
                       char why[MESSAGE_MAX])
{
    v->text = text;
    v->text_len = strlen(text);
    if (v->text_len >= p->min && (!p->max || v->text_len <= p->max))
        return true;
    char range[MESSAGE_MAX];
    prop_range(p, range);
    message(why, "%zu bytes long; allowed: %.100s", v->text_len, range);
    return false;
}

bool prop_parse(const mobo_prop_t *p, const char *text, struct value *v, char why[MESSAGE_MAX])
{
    *v = (struct value){ .num = 0 };
    if (!*text && p->type != MOBO_T_STR && p->type != MOBO_T_PATH) {
        bool unset =
            (p->type == MOBO_T_LINK || p->type == MOBO_T_IRQ) && (p->flags & MOBO_P_OPTIONAL);
        if (!unset)
            message(why, "the value is missing");
        return unset;
    }
    switch (p->type) {
    case MOBO_T_U32:
    case MOBO_T_U64:
        return parse_number(p, text, v, why);
    case MOBO_T_SIZE:
        return parse_size(p, text, v, why);
    case MOBO_T_BOOL:
        return parse_bool(text, v, why);
    case MOBO_T_ENUM:
        return parse_enum(p, text, v, why);
    case MOBO_T_STR:
    case MOBO_T_PATH:
        return parse_text(p, text, v, why);
    case MOBO_T_LINK:
        return parse_name(text, strlen(text), v, why);
    case MOBO_T_IRQ:
        return parse_irq(text, v, why);
    case MOBO_T_MAC:
        return parse_mac(text, v, why);
    }
    message(why, "a property of a type this mobo does not know");
    return false;
}

void prop_store(const mobo_prop_t *p, const struct value *v, void *base)
{
    char *member = (char *)base + p->offset;
    uint32_t num = (uint32_t)v->num;
    switch (p->type) {
    case MOBO_T_U32:
    case MOBO_T_BOOL:
    case MOBO_T_ENUM:
        memcpy(member, &num, sizeof num);
        break;
    case MOBO_T_U64:
    case MOBO_T_SIZE:
        memcpy(member, &v->num, sizeof v->num);
        break;
    case MOBO_T_STR:
    case MOBO_T_PATH:
        memcpy(member, &v->text, sizeof v->text);
        break;
    case MOBO_T_MAC:
        memcpy(member, v->mac, sizeof v->mac);
        break;
    }
}
