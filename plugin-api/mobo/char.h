/*
 * mobo/char.h: "mobo.char/1", a stream of bytes both ways: terminals, files, sockets. Provided by
 * char-* backends, used by serial ports and consoles.
 *
 * The owner pulls: after a READABLE event it reads until read returns 0; after write took less than
 * it was given, a WRITABLE event says when to go on. So flow control needs no words of its own.
 */
#ifndef MOBO_CHAR_H
#define MOBO_CHAR_H

#include <mobo/base.h>
#include <mobo/host.h>

#define MOBO_CHAR "mobo.char/1"

enum {
    MOBO_CHAR_READABLE = 1, /* bytes wait; not repeated until read has returned 0 */
    MOBO_CHAR_WRITABLE = 2, /* room again, after a short write */
    MOBO_CHAR_OPENED = 4,   /* the other end is there */
    MOBO_CHAR_CLOSED = 8,   /* the other end is gone; writes are swallowed */
    MOBO_CHAR_RESIZED = 16, /* winsize has a new answer */
};

typedef struct mobo_char_ops {
    uint32_t size, _pad;
    /*
     * [locked, from the owner's init] One owner only: MOBO_EBUSY for a second one. `event` runs
     * [locked] by the owner, on the owner's loop. An end that is there from the start gives OPENED.
     */
    int (*open)(void *self, mobo_obj_t *owner, void (*event)(void *owner_self, uint32_t events));
    uint32_t (*read)(void *self, void *buf, uint32_t len);        /* [locked] bytes read; 0: none */
    uint32_t (*write)(void *self, const void *buf, uint32_t len); /* [locked] bytes taken */
    /* [locked] Columns and rows of the terminal; MOBO_ENOTSUP if it is none. */
    int (*winsize)(void *self, uint32_t *cols, uint32_t *rows);
} mobo_char_ops_t;

typedef struct mobo_char {
    const mobo_char_ops_t *ops;
    void *self;
} mobo_char_t;

static inline int mobo_char_open(mobo_char_t c, mobo_obj_t *owner,
                                 void (*event)(void *owner_self, uint32_t events))
{
    const mobo_host_t *host = mobo_enter(c.self);
    int rc = c.ops->open(c.self, owner, event);
    mobo_leave(host, c.self);
    return rc;
}

static inline uint32_t mobo_char_read(mobo_char_t c, void *buf, uint32_t len)
{
    const mobo_host_t *host = mobo_enter(c.self);
    uint32_t n = c.ops->read(c.self, buf, len);
    mobo_leave(host, c.self);
    return n;
}

static inline uint32_t mobo_char_write(mobo_char_t c, const void *buf, uint32_t len)
{
    const mobo_host_t *host = mobo_enter(c.self);
    uint32_t n = c.ops->write(c.self, buf, len);
    mobo_leave(host, c.self);
    return n;
}

static inline int mobo_char_winsize(mobo_char_t c, uint32_t *cols, uint32_t *rows)
{
    if (!MOBO_HAS(c.ops, winsize))
        return MOBO_ENOTSUP;
    const mobo_host_t *host = mobo_enter(c.self);
    int rc = c.ops->winsize(c.self, cols, rows);
    mobo_leave(host, c.self);
    return rc;
}

#endif
