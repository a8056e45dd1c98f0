/*
 * aml.c: the AML writer. An object with a body is written first and gets its PkgLength when it is
 * closed, by moving the body up: tables are small, and the shortest encoding is then always right.
 */
#include "aml.h"

#include <string.h>

enum { OP_ZERO = 0x00, OP_ONE = 0x01, OP_NAME = 0x08, OP_BYTE = 0x0a, OP_WORD = 0x0b,
       OP_DWORD = 0x0c, OP_STRING = 0x0d, OP_QWORD = 0x0e, OP_SCOPE = 0x10, OP_BUFFER = 0x11,
       OP_PACKAGE = 0x12, OP_METHOD = 0x14, DUAL_NAME = 0x2e, MULTI_NAME = 0x2f, OP_EXT = 0x5b,
       EXT_DEVICE = 0x82, OP_RETURN = 0xa4 };

void aml_init(struct aml *a, void *buf, uint32_t cap)
{
    memset(a, 0, sizeof *a);
    a->buf = buf;
    a->cap = cap;
}

int aml_done(struct aml *a, uint32_t *len)
{
    *len = a->len;
    return a->failed || a->depth ? -1 : 0;
}

void aml_bytes(struct aml *a, const void *bytes, uint32_t len)
{
    if (a->failed || len > a->cap - a->len) {
        a->failed = 1;
        return;
    }
    memcpy(a->buf + a->len, bytes, len);
    a->len += len;
}

static void byte(struct aml *a, unsigned v)
{
    uint8_t b = (uint8_t)v;
    aml_bytes(a, &b, 1);
}

static void little(struct aml *a, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        byte(a, (unsigned)(v >> 8 * i) & 0xff);
}

/* ---- names (20.2.2) -------------------------------------------------------------------------- */

static int lead(char c)
{
    return (c >= 'A' && c <= 'Z') || c == '_';
}

/* One segment of up to four characters, filled up with underscores. */
static void segment(struct aml *a, const char *text, size_t n)
{
    char seg[4] = { '_', '_', '_', '_' };
    int ok = n >= 1 && n <= 4 && lead(text[0]);
    for (size_t i = 0; ok && i < n; i++)
        ok = lead(text[i]) || (text[i] >= '0' && text[i] <= '9');
    if (!ok) {
        a->failed = 1;
        return;
    }
    memcpy(seg, text, n);
    aml_bytes(a, seg, sizeof seg);
}

void aml_path(struct aml *a, const char *path)
{
    unsigned count = 1;
    while (*path == '\\' || *path == '^')
        byte(a, (unsigned char)*path++);
    if (!*path) {
        byte(a, OP_ZERO); /* the null name: the root itself */
        return;
    }
    for (const char *p = path; *p; p++)
        count += *p == '.';
    if (count == 2) {
        byte(a, DUAL_NAME);
    } else if (count > 2) {
        byte(a, MULTI_NAME);
        byte(a, count);
    }
    for (;;) {
        size_t n = strcspn(path, ".");
        segment(a, path, n);
        if (!path[n])
            return;
        path += n + 1;
    }
}

/* ---- objects with a body (20.2.4) ------------------------------------------------------------ */

static void open_object(struct aml *a)
{
    if (a->depth == AML_DEPTH) {
        a->failed = 1;
        return;
    }
    a->start[a->depth++] = a->len;
}

/* PkgLength counts itself: 1 byte to 63, 2 to 4095, 3 to 2^20 - 1, 4 to 2^28 - 1. */
static unsigned pkg_length(uint32_t body, uint8_t *out)
{
    unsigned bytes = body + 1 < 1u << 6 ? 1 : body + 2 < 1u << 12 ? 2 : body + 3 < 1u << 20 ? 3 : 4;
    uint32_t v = body + bytes;
    if (bytes == 1) {
        out[0] = (uint8_t)v;
        return 1;
    }
    out[0] = (uint8_t)((bytes - 1) << 6 | (v & 0xf));
    for (unsigned i = 1; i < bytes; i++)
        out[i] = (uint8_t)(v >> (8 * i - 4));
    return bytes;
}

void aml_end(struct aml *a)
{
    uint8_t head[4];
    if (a->failed || a->depth == 0) {
        a->failed = 1;
        return;
    }
    uint32_t at = a->start[--a->depth], body = a->len - at;
    unsigned n = pkg_length(body, head);
    if (body >= 1u << 27 || n > a->cap - a->len) {
        a->failed = 1;
        return;
    }
    memmove(a->buf + at + n, a->buf + at, body);
    memcpy(a->buf + at, head, n);
    a->len += n;
}

void aml_scope(struct aml *a, const char *path)
{
    byte(a, OP_SCOPE);
    open_object(a);
    aml_path(a, path);
}

void aml_device(struct aml *a, const char *name)
{
    byte(a, OP_EXT);
    byte(a, EXT_DEVICE);
    open_object(a);
    aml_path(a, name);
}

void aml_method(struct aml *a, const char *name, unsigned args, int serialized)
{
    if (args > 7)
        a->failed = 1;
    byte(a, OP_METHOD);
    open_object(a);
    aml_path(a, name);
    byte(a, args | (serialized ? 8 : 0));
}

void aml_package(struct aml *a, unsigned count)
{
    if (count > 255)
        a->failed = 1;
    byte(a, OP_PACKAGE);
    open_object(a);
    byte(a, count);
}

/* ---- data (20.2.3) --------------------------------------------------------------------------- */

void aml_int(struct aml *a, uint64_t v)
{
    if (v <= 1) {
        byte(a, v ? OP_ONE : OP_ZERO);
        return;
    }
    unsigned bytes = v <= UINT8_MAX ? 1 : v <= UINT16_MAX ? 2 : v <= UINT32_MAX ? 4 : 8;
    byte(a, bytes == 1 ? OP_BYTE : bytes == 2 ? OP_WORD : bytes == 4 ? OP_DWORD : OP_QWORD);
    little(a, v, bytes);
}

void aml_str(struct aml *a, const char *text)
{
    byte(a, OP_STRING);
    for (; *text; text++) {
        if ((unsigned char)*text > 0x7f)
            a->failed = 1; /* AML strings are ASCII */
        byte(a, (unsigned char)*text);
    }
    byte(a, 0);
}

void aml_buffer(struct aml *a, const void *bytes, uint32_t len)
{
    byte(a, OP_BUFFER);
    open_object(a);
    aml_int(a, len);
    aml_bytes(a, bytes, len);
    aml_end(a);
}

void aml_return(struct aml *a)
{
    byte(a, OP_RETURN);
}

void aml_name(struct aml *a, const char *name)
{
    byte(a, OP_NAME);
    aml_path(a, name);
}

void aml_name_int(struct aml *a, const char *name, uint64_t v)
{
    aml_name(a, name);
    aml_int(a, v);
}

void aml_name_str(struct aml *a, const char *name, const char *text)
{
    aml_name(a, name);
    aml_str(a, text);
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Three letters of five bits each and four hexadecimal digits, big-endian (19.3.4, EISAID). */
static int eisa(const char *id, uint32_t *v)
{
    uint32_t n = 0;
    if (strlen(id) != 7)
        return 0;
    for (int i = 0; i < 3; i++) {
        if (id[i] < 'A' || id[i] > 'Z')
            return 0;
        n = n << 5 | (uint32_t)(id[i] - 'A' + 1);
    }
    for (int i = 3; i < 7; i++) {
        if (hex(id[i]) < 0)
            return 0;
        n = n << 4 | (uint32_t)hex(id[i]);
    }
    *v = n >> 24 | (n >> 8 & 0xff00) | (n << 8 & 0xff0000) | n << 24;
    return 1;
}

void aml_name_eisa(struct aml *a, const char *name, const char *id)
{
    uint32_t v;
    if (eisa(id, &v))
        aml_name_int(a, name, v);
    else
        aml_name_str(a, name, id);
}

/* ---- resources (6.4) ------------------------------------------------------------------------- */

void aml_crs_begin(struct aml *a)
{
    a->res_len = 0;
}

static void put(struct aml *a, uint64_t v, unsigned bytes)
{
    if (bytes > AML_RES - a->res_len) {
        a->failed = 1;
        return;
    }
    for (unsigned i = 0; i < bytes; i++)
        a->res[a->res_len++] = (uint8_t)(v >> 8 * i);
}

void aml_crs_io(struct aml *a, uint16_t base, uint8_t len)
{
    put(a, 0x47, 1); /* I/O port descriptor, 6.4.2.5 */
    put(a, 1, 1);    /* all sixteen address bits are decoded */
    put(a, base, 2);
    put(a, base, 2);
    put(a, 1, 1);    /* alignment */
    put(a, len, 1);
}

void aml_crs_irq(struct aml *a, unsigned irq)
{
    if (irq > 15)
        a->failed = 1;
    put(a, 0x22, 1); /* IRQ descriptor without flags, 6.4.2.1 */
    put(a, UINT64_C(1) << (irq & 15), 2);
}

void aml_crs_gsi(struct aml *a, uint32_t gsi, unsigned flags)
{
    put(a, 0x89, 1); /* extended interrupt descriptor, 6.4.3.6 */
    put(a, 6, 2);
    put(a, 1u | (flags & AML_IRQ_LEVEL ? 0 : 2u) | (flags & AML_IRQ_LOW ? 4u : 0) |
           (flags & AML_IRQ_SHARED ? 8u : 0), 1);
    put(a, 1, 1);
    put(a, gsi, 4);
}

void aml_crs_mem32(struct aml *a, uint32_t base, uint32_t len)
{
    put(a, 0x86, 1); /* 32-bit fixed memory range, 6.4.3.4 */
    put(a, 9, 2);
    put(a, 1, 1);    /* read and write */
    put(a, base, 4);
    put(a, len, 4);
}

void aml_crs_mem64(struct aml *a, uint64_t base, uint64_t len)
{
    put(a, 0x8a, 1); /* QWord address space, 6.4.3.5.1 */
    put(a, 0x2b, 2);
    put(a, 0, 1);    /* memory */
    put(a, 0x0c, 1); /* both ends are fixed; positive decode; this device's own */
    put(a, 1, 1);    /* read and write, not cacheable */
    put(a, 0, 8);
    put(a, base, 8);
    put(a, base + len - 1, 8);
    put(a, 0, 8);
    put(a, len, 8);
}

void aml_crs_end(struct aml *a)
{
    put(a, 0x79, 1); /* end tag, 6.4.2.9; a checksum of 0 counts as right */
    put(a, 0, 1);
    aml_name(a, "_CRS");
    aml_buffer(a, a->res, a->res_len);
}
