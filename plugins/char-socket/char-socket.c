/*
 * char-socket.c: a UNIX stream socket as a "mobo.char/1": listening for one client at a time, or
 * connecting to a server. It speaks no protocol: bytes are bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "chario/chario.h"

#define NS_PER_S UINT64_C(1000000000)

struct sock {
    mobo_obj_t *obj;
    struct chario io;
    const char *path; /* properties */
    uint32_t server, wait, reconnect;
    int listener, peer; /* -1: none */
    mobo_watch_t *listen_watch;
    mobo_timer_t *timer;
    dev_t dev; /* the socket file we made, so that we remove no other one */
    ino_t ino;
    struct sockaddr_un addr;
};
CHARIO_CHECK_HEAD(struct sock);

/* ---- the peer -------------------------------------------------------------------------------- */

static void listen_on(struct sock *s, int on)
{
    if (s->listen_watch)
        mobo_fd_update(s->obj, s->listen_watch, on ? MOBO_FD_READ : 0);
}

static int peer_set(struct sock *s, int fd)
{
    s->peer = fd;
    listen_on(s, 0); /* others wait in the backlog until this one goes */
    chario_tell(&s->io, MOBO_CHAR_OPENED);
    return chario_attach(&s->io, fd, CHARIO_SOCKET, fd, CHARIO_SOCKET);
}

static int connect_once(const struct sock *s)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&s->addr, sizeof s->addr)) {
        int err = errno;
        (void)close(fd);
        errno = err;
        return -1;
    }
    return fd;
}

static void reconnect_later(struct sock *s)
{
    if (!s->server && s->reconnect)
        mobo_timer_set(s->obj, s->timer,
                       mobo_now(s->obj, MOBO_CLOCK_VM) + s->reconnect * NS_PER_S);
}

static void reconnect_tick(void *self)
{
    struct sock *s = self;
    int fd = s->peer < 0 ? connect_once(s) : -1;
    if (fd >= 0)
        (void)peer_set(s, fd);
    else if (s->peer < 0)
        reconnect_later(s);
}

static void peer_drop(struct sock *s)
{
    if (s->peer < 0)
        return;
    chario_detach(&s->io);
    (void)close(s->peer);
    s->peer = -1;
    chario_tell(&s->io, MOBO_CHAR_CLOSED);
    listen_on(s, 1);
    reconnect_later(s);
}

static void sock_ended(void *self, uint32_t what, int err)
{
    (void)what;
    struct sock *s = self;
    if (err && err != EPIPE && err != ECONNRESET)
        mobo_log(s->obj, MOBO_WARN, "%s: %s", s->path, strerror(err));
    peer_drop(s);
}

static void client_waits(void *self, uint32_t events)
{
    (void)events;
    struct sock *s = self;
    if (s->peer >= 0) {
        listen_on(s, 0);
        return;
    }
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        (void)peer_set(s, fd);
}

/* ---- mobo.char/1 ----------------------------------------------------------------------------- */

static int sock_open(void *self, mobo_obj_t *owner, void (*event)(void *, uint32_t))
{
    return chario_open(&((struct sock *)self)->io, owner, event);
}

static uint32_t sock_read(void *self, void *buf, uint32_t len)
{
    return chario_read(&((struct sock *)self)->io, buf, len);
}

static uint32_t sock_write(void *self, const void *buf, uint32_t len)
{
    return chario_write(&((struct sock *)self)->io, buf, len);
}

/* ---- life ------------------------------------------------------------------------------------ */

/* A socket file that is in the way: removed if nobody listens any more. */
static int stale_remove(struct sock *s)
{
    struct stat st;
    if (lstat(s->path, &st))
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return mobo_fail_code(s->obj, MOBO_EEXIST, "%s exists and is no socket: remove it, or "
                              "choose another path", s->path);
    int fd = connect_once(s);
    if (fd >= 0 || errno == EAGAIN) { /* EAGAIN: alive, with a full backlog */
        if (fd >= 0)
            (void)close(fd);
        return mobo_fail_code(s->obj, MOBO_EBUSY, "%s is in use: another process listens there",
                              s->path);
    }
    if (errno != ECONNREFUSED || unlink(s->path))
        return mobo_fail_code(s->obj, MOBO_EACCES, "the old socket %s is in the way: %s", s->path,
                              strerror(errno));
    return 0;
}

static int server_start(struct sock *s)
{
    struct stat st;
    int rc = stale_remove(s);
    if (rc)
        return rc;
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode of the descriptor is the mode that bind gives the file, from the first moment on. */
    if (s->listener < 0 || fchmod(s->listener, 0600) ||
        bind(s->listener, (const struct sockaddr *)&s->addr, sizeof s->addr))
        return mobo_fail_code(s->obj, MOBO_EACCES, "cannot create the socket %s: %s", s->path,
                              strerror(errno));
    if (lstat(s->path, &st) == 0) {
        s->dev = st.st_dev;
        s->ino = st.st_ino;
    }
    if (listen(s->listener, 1))
        return mobo_fail_code(s->obj, MOBO_EFAIL, "cannot listen on %s: %s", s->path,
                              strerror(errno));
    if (s->wait) {
        mobo_log(s->obj, MOBO_INFO, "waiting for a client on %s", s->path);
        struct pollfd p = { .fd = s->listener, .events = POLLIN };
        while (poll(&p, 1, -1) < 0 && errno == EINTR) {
        }
    }
    rc = mobo_fd_watch(s->obj, s->listener, MOBO_FD_READ, client_waits, &s->listen_watch);
    if (rc == 0 && s->wait)
        client_waits(s, 0);
    return rc;
}

static int client_start(struct sock *s)
{
    int fd = connect_once(s);
    if (fd >= 0)
        return peer_set(s, fd);
    if (!s->reconnect)
        return mobo_fail_code(s->obj, MOBO_ENOENT, "cannot connect to %s: %s; start the server "
                              "first, or set reconnect", s->path, strerror(errno));
    reconnect_later(s);
    return 0;
}

static int sock_init(void *self)
{
    struct sock *s = self;
    s->listener = s->peer = -1;
    chario_init(&s->io, s->obj, sock_ended);
    size_t len = strlen(s->path);
    if (len >= sizeof s->addr.sun_path)
        return mobo_fail(s->obj, "%s has %zu bytes; the path of a socket has at most %zu", s->path,
                         len, sizeof s->addr.sun_path - 1);
    s->addr.sun_family = AF_UNIX;
    memcpy(s->addr.sun_path, s->path, len + 1);
    int rc = mobo_timer_new(s->obj, reconnect_tick, &s->timer);
    if (rc)
        return rc;
    return s->server ? server_start(s) : client_start(s);
}

static void sock_fini(void *self)
{
    struct sock *s = self;
    struct stat st;
    if (s->ino && lstat(s->path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino)
        (void)unlink(s->path);
    if (s->peer > 0)
        (void)close(s->peer);
    if (s->listener > 0)
        (void)close(s->listener);
}

static const mobo_prop_t props[] = {
    MOBO_PATH(struct sock, path, NULL, "UNIX socket, at most 107 bytes"),
    MOBO_BOOL(struct sock, server, "yes", "listen (mode 0600, one client at a time), or connect"),
    MOBO_BOOL(struct sock, wait, "no", "server: start the machine when a client is there"),
    MOBO_U32(struct sock, reconnect, "0", "client: seconds between attempts; 0: only one",
             .max = 3600),
    MOBO_END,
};
static const mobo_char_ops_t ops = {
    .size = sizeof ops, .open = sock_open, .read = sock_read, .write = sock_write,
};
static const mobo_iface_t provides[] = { { MOBO_CHAR, &ops }, { NULL, NULL } };
static const mobo_class_t sock_class = {
    MOBO_CLASS(struct sock, props, NULL), .name = "socket",
    .summary = "character stream on a UNIX socket", .provides = provides,
    .init = sock_init, .fini = sock_fini,
};
MOBO_PLUGIN("char-socket", "0.1.0", "MIT", &sock_class)
