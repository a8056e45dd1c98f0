/*
 * loop.c: event loops, one thread each, and the calls posted to them. libuv waits; what is waited
 * for are three descriptors: its own wake-up, the next deadline (timer.c), the watched files
 * (watch.c). uv handles are touched on their loop's thread only.
 */
#include "runtime.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- queues of tasks ------------------------------------------------------------------------- */

void task_push(struct task_queue *q, struct task *t)
{
    t->next = NULL;
    if (!q->head)
        q->tail = &q->head;
    *q->tail = t;
    q->tail = &t->next;
    q->count++;
}

struct task *task_pop(struct task_queue *q)
{
    struct task *t = q->head;
    if (t) {
        q->head = t->next;
        q->count--;
    }
    return t;
}

/* Take out what belongs to O; tasks of the pool go to *spare, doorbells keep theirs. */
void task_purge(struct task_queue *q, const struct object *o, struct task **spare)
{
    struct task_queue keep = { 0 };
    struct task *t;
    while ((t = task_pop(q))) {
        if (t->o != o) {
            task_push(&keep, t);
        } else if (!t->bell) {
            t->next = *spare;
            *spare = t;
        }
    }
    *q = keep;
    if (q->head) { /* the tail may point into the queue's own head */
        struct task **tail = &q->head;
        while (*tail)
            tail = &(*tail)->next;
        q->tail = tail;
    }
}

/* ---- posting --------------------------------------------------------------------------------- */

/* An empty task, from the loop's spare ones where there is one. */
struct task *loop_task(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    struct task *t = l->spare;
    if (t)
        l->spare = t->next;
    pthread_mutex_unlock(&l->lock);
    return t ? t : malloc(sizeof *t);
}

void loop_push(struct loop *l, struct task *t)
{
    pthread_mutex_lock(&l->lock);
    bool first = l->queue.count == 0;
    task_push(&l->queue, t);
    pthread_mutex_unlock(&l->lock);
    if (first)
        uv_async_send(&l->wake);
}

int task_post(mobo_obj_t *obj, void (*fn)(void *self, void *arg), void *arg)
{
    struct object *o = object_of(obj);
    if (atomic_load(&o->rt->closed))
        return MOBO_ECANCELED;
    struct task *t = loop_task(o->loop);
    if (!t)
        return MOBO_ENOMEM;
    *t = (struct task){ .o = o, .fn = fn, .arg = arg };
    loop_push(o->loop, t);
    return 0;
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void task_run(struct task *t)
{
    struct object *o = t->o;
    object_enter(o);
    if (!atomic_load(&o->rt->closed))
        t->fn(o->self, t->arg);
    object_leave(o);
}

/* The lock is held. False: the thread ends. */
static bool stand_by(struct loop *l)
{
    while (l->park && !l->end) {
        l->parked = true;
        pthread_cond_broadcast(&l->changed);
        pthread_cond_wait(&l->changed, &l->lock);
    }
    l->parked = false;
    return !l->end;
}

/*
 * At most what was queued at the start, so that timers and files get their turn. Parking is asked
 * before each call: after loops_park() no callback runs.
 */
static void on_wake(uv_async_t *wake)
{
    struct loop *l = wake->data;
    pthread_mutex_lock(&l->lock);
    unsigned budget = l->queue.count;
    bool go = stand_by(l);
    while (go && budget--) {
        struct task *t = task_pop(&l->queue);
        if (!t)
            break;
        pthread_mutex_unlock(&l->lock);
        if (t->bell) {
            atomic_store(&t->bell->queued, false);
            doorbell_run(t->bell);
        } else {
            task_run(t);
        }
        atomic_fetch_add_explicit(&l->posts, 1, memory_order_relaxed);
        pthread_mutex_lock(&l->lock);
        if (!t->bell) {
            t->next = l->spare;
            l->spare = t;
        }
        go = stand_by(l);
    }
    bool more = l->queue.count > 0;
    if (!more)
        pthread_cond_broadcast(&l->changed); /* for loops_settle */
    pthread_mutex_unlock(&l->lock);
    if (!go)
        uv_stop(&l->uv);
    else if (more)
        uv_async_send(&l->wake);
}

static void on_timer(uv_poll_t *poll, int status, int events)
{
    struct loop *l = poll->data;
    (void)status;
    (void)events;
    os_timer_take(l->timer_fd);
    timer_expire(l);
}

static void on_files(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    watch_ready(poll->data);
}

static void *loop_main(void *arg)
{
    struct loop *l = arg;
    os_thread_name(l->name);
    uv_async_send(&l->wake); /* threads start parked: let on_wake see it */
    uv_run(&l->uv, UV_RUN_DEFAULT);
    return NULL;
}

/* ---- birth and death ------------------------------------------------------------------------- */

/* The first uv_loop_init() aborts the process if it gets no descriptors for its pipe. */
static bool descriptors_left(void)
{
    int fd[4]; /* an epoll set, a pipe, an event */
    unsigned want = sizeof fd / sizeof *fd, n = 0;
    while (n < want && (fd[n] = os_event_new(false)) >= 0)
        n++;
    for (unsigned i = 0; i < n; i++)
        close(fd[i]);
    return n == want;
}

static bool loop_open(struct loop *l)
{
    l->timer_fd = os_timer_new();
    l->set_fd = os_pollset_new();
    if (l->timer_fd < 0 || l->set_fd < 0 || !descriptors_left() || uv_loop_init(&l->uv) < 0)
        return false;
    l->uv_ok = true;
    /* The timer's and the set's descriptors are ours alone: uv_poll may make them non-blocking. */
    if (uv_async_init(&l->uv, &l->wake, on_wake) < 0 ||
        uv_poll_init(&l->uv, &l->timer_poll, l->timer_fd) < 0 ||
        uv_poll_init(&l->uv, &l->set_poll, l->set_fd) < 0)
        return false;
    l->wake.data = l->timer_poll.data = l->set_poll.data = l;
    return uv_poll_start(&l->timer_poll, UV_READABLE, on_timer) == 0 &&
           uv_poll_start(&l->set_poll, UV_READABLE, on_files) == 0;
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void loop_free(struct loop *l)
{
    if (l->uv_ok) {
        uv_walk(&l->uv, close_handle, NULL);
        uv_run(&l->uv, UV_RUN_DEFAULT);
        uv_loop_close(&l->uv);
    }
    watch_bury(l);
    if (l->timer_fd >= 0)
        close(l->timer_fd);
    if (l->set_fd >= 0)
        close(l->set_fd);
    for (struct task *t; (t = l->spare);) {
        l->spare = t->next;
        free(t);
    }
    free(l->heap);
    free(l->name);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->timer_lock);
    free(l);
}

/* The loop of that name; NULL: the default one. All are made before the first thread starts. */
struct loop *loop_get(struct runtime *rt, const char *name)
{
    const char *wanted = name ? name : "loop";
    for (struct loop *l = rt->loops; l; l = l->next)
        if (!strcmp(l->name, wanted))
            return l;
    struct loop *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->rt = rt;
    l->name = strdup(wanted);
    l->park = true;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    pthread_mutex_init(&l->timer_lock, NULL);
    if (!l->name || !loop_open(l)) {
        log_line(MOBO_ERROR, "thread %s: the host gives no event loop (too many open files?)",
                 wanted);
        loop_free(l);
        return NULL;
    }
    l->next = rt->loops;
    rt->loops = l;
    return l;
}

int loops_run(struct runtime *rt)
{
    for (struct loop *l = rt->loops; l; l = l->next) {
        if (pthread_create(&l->thread, NULL, loop_main, l) != 0) {
            log_line(MOBO_ERROR, "thread %s: the host gives no thread", l->name);
            return MOBO_EFAIL;
        }
        l->started = true;
    }
    return 0;
}

void loops_park(struct runtime *rt)
{
    for (struct loop *l = rt->loops; l; l = l->next) {
        pthread_mutex_lock(&l->lock);
        l->park = true;
        pthread_mutex_unlock(&l->lock);
        uv_async_send(&l->wake);
    }
    for (struct loop *l = rt->loops; l; l = l->next) {
        pthread_mutex_lock(&l->lock);
        while (l->started && !l->parked)
            pthread_cond_wait(&l->changed, &l->lock);
        pthread_mutex_unlock(&l->lock);
    }
}

void loops_go(struct runtime *rt)
{
    for (struct loop *l = rt->loops; l; l = l->next) {
        pthread_mutex_lock(&l->lock);
        l->park = false;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->lock);
    }
}

static bool loop_settle(struct loop *l, const struct timespec *until)
{
    pthread_mutex_lock(&l->lock);
    int rc = 0;
    while (l->started && l->queue.count && rc == 0)
        rc = pthread_cond_timedwait(&l->changed, &l->lock, until);
    pthread_mutex_unlock(&l->lock);
    return rc == 0;
}

/* So that what the guest last said (console output, writes) gets out: work and posts may chain. */
void loops_settle(struct runtime *rt)
{
    enum { ROUNDS = 16 };
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    for (unsigned n = 0; n < ROUNDS; n++) {
        work_drain(rt);
        for (struct loop *l = rt->loops; l; l = l->next)
            if (!loop_settle(l, &until))
                return;
    }
}

void loops_end(struct runtime *rt)
{
    for (struct loop *l = rt->loops; l; l = l->next) {
        if (!l->started)
            continue;
        pthread_mutex_lock(&l->lock);
        l->end = true;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->lock);
        uv_async_send(&l->wake);
        pthread_join(l->thread, NULL);
        l->started = false;
    }
}

void loops_free(struct runtime *rt)
{
    while (rt->loops) {
        struct loop *l = rt->loops;
        rt->loops = l->next;
        loop_free(l);
    }
}

/* Nothing of O's is queued any more; the loops are parked or gone. */
void loop_release(struct object *o)
{
    if (!o->loop)
        return;
    pthread_mutex_lock(&o->loop->lock);
    task_purge(&o->loop->queue, o, &o->loop->spare);
    pthread_mutex_unlock(&o->loop->lock);
}

const mobo_task_api_t task_api = {
    .size = sizeof task_api,
    .post = task_post,
    .work = task_work,
    .fd_watch = fd_watch,
    .fd_update = fd_update,
    .fd_drop = fd_drop,
    .doorbell = doorbell_new,
};
