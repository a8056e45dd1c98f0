/*
 * timer.c: the clocks, and one heap of deadlines per loop. Deadlines count in VM time, which stands
 * still while the machine is paused; one descriptor per loop is armed with the earliest.
 *
 * VM time = frozen while it stands, else host time - offset.
 */
#include "runtime.h"

#include <stdlib.h>

static const uint64_t RUNNING = UINT64_MAX;

uint64_t clock_vm(struct runtime *rt)
{
    uint64_t frozen = atomic_load(&rt->clock_frozen);
    return frozen != RUNNING ? frozen : os_now() - atomic_load(&rt->clock_offset);
}

void clock_start(struct runtime *rt)
{
    uint64_t frozen = atomic_load(&rt->clock_frozen);
    if (frozen == RUNNING)
        return;
    atomic_store(&rt->clock_offset, os_now() - frozen);
    atomic_store(&rt->clock_frozen, RUNNING);
    for (struct loop *l = rt->loops; l; l = l->next)
        timer_rearm(l);
}

void clock_stop(struct runtime *rt)
{
    atomic_store(&rt->clock_frozen, clock_vm(rt));
    for (struct loop *l = rt->loops; l; l = l->next)
        timer_rearm(l);
}

uint64_t time_now(mobo_obj_t *obj, uint32_t clock)
{
    switch (clock) {
    case MOBO_CLOCK_HOST:
        return os_now();
    case MOBO_CLOCK_REAL:
        return os_now_real();
    default:
        return clock_vm(runtime_of(object_of(obj)));
    }
}

/* ---- the heap; timer_lock is held ------------------------------------------------------------ */

static void heap_put(struct loop *l, unsigned i, mobo_timer_t *t)
{
    l->heap[i] = t;
    t->at = i + 1;
}

static void heap_up(struct loop *l, unsigned i, mobo_timer_t *t)
{
    while (i > 0 && l->heap[(i - 1) / 2]->deadline > t->deadline) {
        heap_put(l, i, l->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(l, i, t);
}

static void heap_down(struct loop *l, unsigned i, mobo_timer_t *t)
{
    for (unsigned child; (child = 2 * i + 1) < l->timer_count; i = child) {
        if (child + 1 < l->timer_count && l->heap[child + 1]->deadline < l->heap[child]->deadline)
            child++;
        if (l->heap[child]->deadline >= t->deadline)
            break;
        heap_put(l, i, l->heap[child]);
    }
    heap_put(l, i, t);
}

static void heap_remove(struct loop *l, mobo_timer_t *t)
{
    if (!t->at)
        return;
    unsigned i = t->at - 1;
    t->at = 0;
    mobo_timer_t *last = l->heap[--l->timer_count];
    if (last == t)
        return;
    if (i > 0 && l->heap[(i - 1) / 2]->deadline > last->deadline)
        heap_up(l, i, last);
    else
        heap_down(l, i, last);
}

/* Arm the descriptor with the earliest deadline, in host time. */
static void arm(struct loop *l)
{
    uint64_t when = 0;
    if (l->timer_count && atomic_load(&l->rt->clock_frozen) == RUNNING &&
        __builtin_add_overflow(l->heap[0]->deadline, atomic_load(&l->rt->clock_offset), &when))
        when = UINT64_MAX;
    os_timer_arm(l->timer_fd, when);
}

void timer_rearm(struct loop *l)
{
    pthread_mutex_lock(&l->timer_lock);
    arm(l);
    pthread_mutex_unlock(&l->timer_lock);
}

/* ---- running --------------------------------------------------------------------------------- */

/* The next timer that is due, taken out of the heap; NULL: none is, and the descriptor is armed. */
static mobo_timer_t *take_due(struct loop *l)
{
    mobo_timer_t *t = NULL;
    pthread_mutex_lock(&l->timer_lock);
    if (l->timer_count && atomic_load(&l->rt->clock_frozen) == RUNNING &&
        l->heap[0]->deadline <= clock_vm(l->rt)) {
        t = l->heap[0];
        heap_remove(l, t);
        t->due = true;
    } else {
        arm(l);
    }
    pthread_mutex_unlock(&l->timer_lock);
    return t;
}

static void timer_run(struct loop *l, mobo_timer_t *t)
{
    struct object *o = t->o;
    object_enter(o);
    /* Cancelled or set anew while we waited for the lock? */
    pthread_mutex_lock(&l->timer_lock);
    bool due = t->due;
    t->due = false;
    pthread_mutex_unlock(&l->timer_lock);
    if (due && !atomic_load(&o->rt->closed)) {
        atomic_fetch_add_explicit(&l->timers_fired, 1, memory_order_relaxed);
        t->fn(o->self);
    }
    object_leave(o);
}

/* A bounded batch: a timer that sets itself to the past must not starve the rest of the loop. */
void timer_expire(struct loop *l)
{
    enum { BATCH = 64 };
    mobo_timer_t *t;
    for (unsigned n = 0; n < BATCH; n++) {
        pthread_mutex_lock(&l->lock);
        bool park = l->park;
        pthread_mutex_unlock(&l->lock);
        if (park)
            break;
        if (!(t = take_due(l)))
            return;
        timer_run(l, t);
    }
    timer_rearm(l);
}

/* ---- the plugin's side ----------------------------------------------------------------------- */

int timer_new(mobo_obj_t *obj, void (*fn)(void *self), mobo_timer_t **timer)
{
    struct object *o = object_of(obj);
    struct loop *l = o->loop;
    object_check(o, "timer_new");
    mobo_timer_t *t = calloc(1, sizeof *t);
    if (!t)
        return MOBO_ENOMEM;
    t->o = o;
    t->fn = fn;
    pthread_mutex_lock(&l->timer_lock);
    bool room = l->timers_made < l->timer_room;
    if (!room) {
        unsigned more = l->timer_room + 16;
        mobo_timer_t **heap = realloc(l->heap, more * sizeof *heap);
        room = heap != NULL;
        if (room) {
            l->heap = heap;
            l->timer_room = more;
        }
    }
    l->timers_made += room;
    pthread_mutex_unlock(&l->timer_lock);
    if (!room) {
        free(t);
        return MOBO_ENOMEM;
    }
    t->next = o->rt->timers;
    o->rt->timers = t;
    *timer = t;
    return 0;
}

void timer_set(mobo_timer_t *t, uint64_t deadline)
{
    struct loop *l = t->o->loop;
    pthread_mutex_lock(&l->timer_lock);
    bool was_first = t->at == 1;
    heap_remove(l, t);
    t->due = false;
    if (!atomic_load(&t->o->rt->closed)) {
        t->deadline = deadline;
        heap_up(l, l->timer_count++, t);
    }
    if (was_first || t->at == 1)
        arm(l);
    pthread_mutex_unlock(&l->timer_lock);
}

void timer_cancel(mobo_timer_t *t)
{
    struct loop *l = t->o->loop;
    pthread_mutex_lock(&l->timer_lock);
    t->due = false;
    heap_remove(l, t); /* the descriptor may wake the loop once for nothing */
    pthread_mutex_unlock(&l->timer_lock);
}

/* None runs any more, but fini may still name them. */
void timers_quiet(struct object *o)
{
    for (mobo_timer_t *t = o->rt->timers; t; t = t->next)
        timer_cancel(t);
}

void timers_release(struct object *o)
{
    while (o->rt->timers) {
        mobo_timer_t *t = o->rt->timers;
        timer_cancel(t);
        o->rt->timers = t->next;
        o->loop->timers_made--;
        free(t);
    }
}

const mobo_time_api_t time_api = {
    .size = sizeof time_api,
    .now = time_now,
    .timer_new = timer_new,
    .timer_set = timer_set,
    .timer_cancel = timer_cancel,
};
