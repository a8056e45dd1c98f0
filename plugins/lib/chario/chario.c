/*
 * chario.c: non-blocking streams on file descriptors for char-* backends. Each watch sleeps unless
 * somebody waits for it, so a stream that nobody reads costs nothing.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "chario.h"

/*
 * A blocking descriptor that polls writable takes at least this much without blocking: a pipe has a
 * page free (pipe(7)), a terminal 256 bytes.
 */
enum { POLLED_STEP = 256 };

static void ready(void *self, uint32_t events);

void chario_init(struct chario *c, mobo_obj_t *obj, void (*ended)(void *, uint32_t, int))
{
    c->obj = obj;
    c->ended = ended;
    c->in = c->out = -1;
}

/* ---- events ---------------------------------------------------------------------------------- */

/* [locked] by the owner. Its link to us points down, so our lock may be taken. */
static void deliver(void *owner_self, void *arg)
{
    struct chario *c = arg;
    void *self = mobo_self(c->obj);
    const mobo_host_t *host = mobo_enter(self);
    uint32_t events = c->pending;
    c->pending = 0;
    c->posted = 0;
    mobo_leave(host, self);
    if (events)
        c->event(owner_self, events);
}

void chario_tell(struct chario *c, uint32_t events)
{
    c->pending |= events;
    /* Of two opposite events only the newer one is still true. */
    if (events & MOBO_CHAR_OPENED)
        c->pending &= ~(uint32_t)MOBO_CHAR_CLOSED;
    else if (events & MOBO_CHAR_CLOSED)
        c->pending &= ~(uint32_t)MOBO_CHAR_OPENED;
    if (!c->owner || c->posted || !c->pending)
        return;
    c->posted = mobo_post(c->owner, deliver, c) == 0;
}

/* ---- descriptors ----------------------------------------------------------------------------- */

/* One watch for each descriptor: a host polls a descriptor once. */
static int watch(struct chario *c)
{
    int rc = 0;
    c->wanted = c->in >= 0 ? MOBO_FD_READ : 0;
    if (c->in >= 0 && !c->in_watch)
        rc = mobo_fd_watch(c->obj, c->in, MOBO_FD_READ, ready, &c->in_watch);
    if (rc == 0 && c->out >= 0 && c->out != c->in && !c->out_watch)
        rc = mobo_fd_watch(c->obj, c->out, 0, ready, &c->out_watch);
    return rc;
}

/* Somebody waits for EVENT, or nobody does any more. */
static void want(struct chario *c, uint32_t event, int on)
{
    mobo_watch_t *w = event == MOBO_FD_WRITE && c->out != c->in ? c->out_watch : c->in_watch;
    uint32_t mine = c->in == c->out ? MOBO_FD_READ | MOBO_FD_WRITE : event;
    c->wanted = on ? c->wanted | event : c->wanted & ~event;
    if (w)
        mobo_fd_update(c->obj, w, c->wanted & mine);
}

/* It sleeps then until the owner has read all there is, or has come up short again. */
static void ready(void *self, uint32_t events)
{
    struct chario *c = &((struct chario_head *)self)->io;
    events &= c->wanted;
    if (events & MOBO_FD_READ) {
        want(c, MOBO_FD_READ, 0);
        chario_tell(c, MOBO_CHAR_READABLE);
    }
    if (events & MOBO_FD_WRITE) {
        want(c, MOBO_FD_WRITE, 0);
        chario_tell(c, MOBO_CHAR_WRITABLE);
    }
}

int chario_open(struct chario *c, mobo_obj_t *owner, void (*event)(void *, uint32_t))
{
    if (c->owner)
        return MOBO_EBUSY;
    c->owner = owner;
    c->event = event;
    chario_tell(c, 0);
    return watch(c);
}

int chario_attach(struct chario *c, int in, uint32_t in_kind, int out, uint32_t out_kind)
{
    c->in = in;
    c->in_kind = in_kind;
    c->out = out;
    c->out_kind = out_kind;
    return c->owner ? watch(c) : 0;
}

static void unwatch(struct chario *c, mobo_watch_t **w, uint32_t event)
{
    want(c, event, 0);
    if (*w)
        mobo_fd_drop(c->obj, *w);
    *w = NULL;
}

void chario_detach_in(struct chario *c)
{
    unwatch(c, &c->in_watch, MOBO_FD_READ);
    c->in = -1;
}

void chario_detach_out(struct chario *c)
{
    unwatch(c, &c->out_watch, MOBO_FD_WRITE);
    c->out = -1;
}

void chario_detach(struct chario *c)
{
    unwatch(c, &c->in_watch, MOBO_FD_READ);
    unwatch(c, &c->out_watch, MOBO_FD_WRITE);
    c->in = c->out = -1;
}

/* ---- input ----------------------------------------------------------------------------------- */

static ssize_t read_once(const struct chario *c, void *buf, uint32_t len)
{
    if (c->in_kind == CHARIO_POLLED) {
        struct pollfd p = { .fd = c->in, .events = POLLIN };
        if (poll(&p, 1, 0) <= 0) {
            errno = EAGAIN;
            return -1;
        }
    }
    if (c->in_kind == CHARIO_SOCKET)
        return recv(c->in, buf, len, MSG_DONTWAIT);
    return read(c->in, buf, len);
}

uint32_t chario_read(struct chario *c, void *buf, uint32_t len)
{
    ssize_t n;
    if (c->in < 0 || len == 0)
        return 0;
    do {
        n = read_once(c, buf, len);
    } while (n < 0 && errno == EINTR);
    if (n > 0)
        return (uint32_t)n;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        want(c, MOBO_FD_READ, 1);
        return 0;
    }
    c->ended(mobo_self(c->obj), CHARIO_IN_ENDED, n < 0 ? errno : 0);
    return 0;
}

/* ---- output ---------------------------------------------------------------------------------- */

static ssize_t write_once(const struct chario *c, const void *buf, uint32_t len)
{
    if (c->out_kind == CHARIO_SOCKET)
        return send(c->out, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (c->out_kind == CHARIO_POLLED) {
        struct pollfd p = { .fd = c->out, .events = POLLOUT };
        if (poll(&p, 1, 0) <= 0) {
            errno = EAGAIN;
            return -1;
        }
        if (len > POLLED_STEP)
            len = POLLED_STEP;
    }
    return write(c->out, buf, len);
}

uint32_t chario_write(struct chario *c, const void *buf, uint32_t len)
{
    const uint8_t *bytes = buf;
    uint32_t done = 0;
    while (done < len) {
        if (c->out < 0)
            return len; /* nobody there: swallowed */
        ssize_t n = write_once(c, bytes + done, len - done);
        if (n >= 0) {
            done += (uint32_t)n;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            want(c, MOBO_FD_WRITE, 1);
            return done;
        } else if (errno != EINTR) {
            c->ended(mobo_self(c->obj), CHARIO_OUT_ENDED, errno);
            if (c->out >= 0)
                return len; /* this one is lost, the backend goes on */
        }
    }
    return done;
}
