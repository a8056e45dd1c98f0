/*
 * watch.c: files that plugins wait for. Each loop has one poll set; a watch is an entry of it, added
 * and taken away at once and from any thread. It never closes a plugin's file, nor changes its flags.
 */
#include "runtime.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static uint32_t os_events(uint32_t events)
{
    return (events & MOBO_FD_READ ? OS_READ : 0) | (events & MOBO_FD_WRITE ? OS_WRITE : 0);
}

/* Change what is polled. A file without poll is represented by an event that is always set. */
static int watch_poll(mobo_watch_t *w, uint32_t events)
{
    int set = w->o->loop->set_fd;
    uint32_t old = os_events(w->events), now = os_events(events);
    if (w->stand_in >= 0)
        return os_pollset_set(set, w->stand_in, old ? OS_READ : 0, now ? OS_READ : 0, w);
    int rc = os_pollset_set(set, w->fd, old, now, w);
    if (rc != 1)
        return rc;
    w->stand_in = os_event_new(true);
    return w->stand_in < 0 ? -errno : os_pollset_set(set, w->stand_in, 0, OS_READ, w);
}

static mobo_watch_t *watch_new(struct object *o, int fd)
{
    mobo_watch_t *w = calloc(1, sizeof *w);
    if (w) {
        w->o = o;
        w->fd = fd;
        w->stand_in = -1;
    }
    return w;
}

static void watch_free(mobo_watch_t *w)
{
    if (w->stand_in >= 0)
        close(w->stand_in);
    if (w->bell)
        close(w->fd);
    free(w);
}

/* An event descriptor that the accelerator signals in the place of a guest store. */
mobo_watch_t *watch_bell(struct doorbell *b)
{
    int fd = os_event_new(false);
    mobo_watch_t *w = fd >= 0 ? watch_new(b->o, fd) : NULL;
    if (!w || watch_poll(w, MOBO_FD_READ) != 0) {
        if (fd >= 0)
            close(fd);
        free(w);
        return NULL;
    }
    w->bell = b;
    w->events = MOBO_FD_READ;
    w->next = b->o->rt->watches;
    b->o->rt->watches = w;
    return w;
}

/* ---- the loop's side ------------------------------------------------------------------------- */

void watch_bury(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    mobo_watch_t *w = l->grave;
    l->grave = NULL;
    pthread_mutex_unlock(&l->lock);
    while (w) {
        mobo_watch_t *next = w->next;
        watch_free(w);
        w = next;
    }
}

static void watch_run(mobo_watch_t *w, uint32_t ready)
{
    struct object *o = w->o;
    if (w->bell) {
        os_event_take(w->fd);
        atomic_store(&w->bell->pending, true);
        doorbell_run(w->bell);
        return;
    }
    object_enter(o);
    uint32_t events = w->events;
    if (w->stand_in < 0)
        events &= (ready & OS_READ ? MOBO_FD_READ : 0u) | (ready & OS_WRITE ? MOBO_FD_WRITE : 0u);
    if (events && !w->dropped && !atomic_load(&o->rt->closed))
        w->fn(o->self, events);
    object_leave(o);
}

void watch_ready(struct loop *l)
{
    enum { BATCH = 32 };
    struct os_ready ready[BATCH];
    pthread_mutex_lock(&l->lock);
    bool park = l->park;
    pthread_mutex_unlock(&l->lock);
    if (park)
        return; /* level triggered: they come again */
    watch_bury(l); /* before the events are fetched: none names a buried watch */
    unsigned n = os_pollset_take(l->set_fd, ready, BATCH);
    for (unsigned i = 0; i < n; i++)
        watch_run(ready[i].tag, ready[i].events);
    atomic_fetch_add_explicit(&l->fd_events, n, memory_order_relaxed);
}

/* ---- the plugin's side ----------------------------------------------------------------------- */

int fd_watch(mobo_obj_t *obj, int fd, uint32_t events, void (*fn)(void *self, uint32_t events),
             mobo_watch_t **watch)
{
    struct object *o = object_of(obj);
    if (fd < 0 || events & ~(uint32_t)(MOBO_FD_READ | MOBO_FD_WRITE))
        return MOBO_EINVAL;
    object_check(o, "fd_watch");
    mobo_watch_t *w = watch_new(o, fd);
    if (!w)
        return MOBO_ENOMEM;
    w->fn = fn;
    int rc = watch_poll(w, events);
    if (rc != 0) {
        mobo_log(obj, MOBO_WARN, "file descriptor %d cannot be watched (host error %d)", fd, -rc);
        watch_free(w);
        return MOBO_EFAIL;
    }
    w->events = events;
    w->next = o->rt->watches;
    o->rt->watches = w;
    *watch = w;
    return 0;
}

void fd_update(mobo_watch_t *w, uint32_t events)
{
    events &= MOBO_FD_READ | MOBO_FD_WRITE;
    object_check(w->o, "fd_update");
    if (w->dropped || w->events == events)
        return;
    int rc = watch_poll(w, events);
    w->events = events;
    if (rc < 0)
        mobo_log(&w->o->pub, MOBO_WARN, "file descriptor %d was closed while watched", w->fd);
}

/* Not polled any more; the struct stays. */
static void watch_quiet(mobo_watch_t *w)
{
    if (!w->dropped)
        (void)watch_poll(w, 0);
    w->events = 0;
    w->dropped = true;
}

void fd_drop(mobo_watch_t *w)
{
    struct object *o = w->o;
    object_check(o, "fd_drop");
    watch_quiet(w);
    if (atomic_load(&o->rt->closed))
        return; /* from fini: goes with the object */
    mobo_watch_t **p = &o->rt->watches;
    while (*p && *p != w)
        p = &(*p)->next;
    if (!*p)
        return;
    *p = w->next;
    pthread_mutex_lock(&o->loop->lock);
    w->next = o->loop->grave;
    o->loop->grave = w;
    pthread_mutex_unlock(&o->loop->lock);
}

/* Before fini, which closes the files. */
void watches_quiet(struct object *o)
{
    for (mobo_watch_t *w = o->rt->watches; w; w = w->next)
        watch_quiet(w);
}

void watches_release(struct object *o)
{
    while (o->rt->watches) {
        mobo_watch_t *w = o->rt->watches;
        watch_quiet(w);
        o->rt->watches = w->next;
        watch_free(w);
    }
}
