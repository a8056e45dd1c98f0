/*
 * chario.h: what the char-* backends on file descriptors share: telling the owner, reading and
 * writing without ever waiting, waking up when it goes on. Compiled into each of them. It opens and
 * closes nothing.
 */
#ifndef CHARIO_H
#define CHARIO_H

#include <mobo/char.h>
#include <mobo/plugin.h>

/* How a descriptor is kept from blocking. */
enum {
    CHARIO_NONBLOCK = 1, /* O_NONBLOCK is set, on an open file description of our own */
    CHARIO_SOCKET = 2,   /* MSG_DONTWAIT */
    CHARIO_POLLED = 3,   /* shared with other processes: poll first, write little */
};

enum { CHARIO_IN_ENDED = 1, CHARIO_OUT_ENDED = 2 };

struct chario {
    mobo_obj_t *obj;   /* the backend */
    mobo_obj_t *owner; /* the device, once it has opened us */
    void (*event)(void *owner_self, uint32_t events);
    uint32_t pending;  /* MOBO_CHAR_... not yet delivered */
    int posted;
    int in, out;       /* descriptors, -1: none */
    uint32_t in_kind, out_kind;
    mobo_watch_t *in_watch, *out_watch; /* out_watch is NULL if both are one descriptor */
    uint32_t wanted;   /* MOBO_FD_... that somebody waits for */
    /* [locked] WHAT ended: the backend decides what that means. ERR: errno; 0: end of file */
    void (*ended)(void *self, uint32_t what, int err);
};

/* Every backend's instance starts like this: what the watches get as `self`. */
struct chario_head {
    mobo_obj_t *obj;
    struct chario io;
};
#define CHARIO_CHECK_HEAD(T)                                                                       \
    _Static_assert(offsetof(T, io) == offsetof(struct chario_head, io),                            \
                   "the instance must start like struct chario_head")

/* From init: no descriptors yet. */
void chario_init(struct chario *c, mobo_obj_t *obj, void (*ended)(void *, uint32_t, int));
/* The `open` of mobo.char/1; watching begins here. */
int chario_open(struct chario *c, mobo_obj_t *owner, void (*event)(void *, uint32_t));
/* Let the owner know, on its loop; events told before it hears fold into one. */
void chario_tell(struct chario *c, uint32_t events);

/* Descriptors to use from now on (they may be one); detach before closing them. */
int chario_attach(struct chario *c, int in, uint32_t in_kind, int out, uint32_t out_kind);
void chario_detach(struct chario *c);
void chario_detach_in(struct chario *c); /* one of two that are not one */
void chario_detach_out(struct chario *c);

/* As in mobo.char/1. Without a descriptor read gives 0 and write swallows. */
uint32_t chario_read(struct chario *c, void *buf, uint32_t len);
uint32_t chario_write(struct chario *c, const void *buf, uint32_t len);

#endif
