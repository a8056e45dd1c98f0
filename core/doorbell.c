/*
 * doorbell.c: guest stores that only say "look here". They are answered on the object's loop, and an
 * accelerator that can does not even leave the guest for them.
 */
#include "runtime.h"

#include <stdlib.h>
#include <string.h>

int doorbell_new(mobo_obj_t *obj, uint32_t handle, uint64_t off, uint32_t len, uint64_t match,
                 uint32_t any_value, void (*fn)(void *self, void *arg), void *arg)
{
    struct object *o = object_of(obj);
    struct runtime *rt = runtime_of(o);
    if ((len != 1 && len != 2 && len != 4 && len != 8) || !fn)
        return MOBO_EINVAL;
    struct doorbell *b = calloc(1, sizeof *b);
    struct task *t = calloc(1, sizeof *t);
    int rc = b && t ? 0 : MOBO_ENOMEM;
    pthread_mutex_lock(&rt->map.lock);
    struct region *r = rc == 0 ? map_region(o, handle) : NULL;
    if (rc == 0 && (!r || r->host))
        rc = MOBO_ENOENT;
    if (rc == 0 && (len > r->len || off > r->len - len))
        rc = MOBO_EINVAL;
    if (rc == 0) {
        *b = (struct doorbell){ .o = o, .region = r, .off = off, .len = len, .match = match,
                                .any_value = any_value, .fn = fn, .arg = arg, .task = t };
        *t = (struct task){ .o = o, .bell = b };
        b->next = atomic_load(&r->bells);
        atomic_store(&r->bells, b); /* virtual CPUs walk the list without a lock */
        doorbell_hand(b);
    }
    pthread_mutex_unlock(&rt->map.lock);
    if (rc < 0) {
        free(b);
        free(t);
    }
    return rc;
}

/* A store that met no accelerator's event: true if it rang a bell. No lock is held. */
bool doorbell_match(struct region *r, uint64_t off, const void *data, uint32_t len)
{
    uint64_t val = 0;
    struct doorbell *b = atomic_load(&r->bells);
    if (!b || len > sizeof val)
        return false;
    memcpy(&val, data, len);
    uint64_t mask = len == 8 ? UINT64_MAX : ((uint64_t)1 << 8 * len) - 1;
    while (b && (b->off != off || b->len != len || (!b->any_value && (b->match & mask) != val)))
        b = b->next;
    if (!b || !atomic_load(&r->live))
        return false;
    atomic_store(&b->pending, true);
    if (!atomic_exchange(&b->queued, true))
        loop_push(b->o->loop, b->task);
    return true;
}

/* On the loop. Cleared before fn runs: a store from now on wants another look. */
void doorbell_run(struct doorbell *b)
{
    struct object *o = b->o;
    bool lock = !object_parallel(o);
    bool rung = atomic_exchange(&b->pending, false);
    if (lock)
        object_enter(o);
    if (rung && !atomic_load(&o->rt->closed)) {
        atomic_fetch_add_explicit(&runtime_of(o)->bells_rung, 1, memory_order_relaxed);
        b->fn(o->self, b->arg);
    }
    if (lock)
        object_leave(o);
}

static int accel_bell(struct doorbell *b, uint64_t addr, uint32_t add)
{
    struct runtime *rt = runtime_of(b->o);
    return rt->accel.doorbell(rt->accel_self, b->region->space, addr, b->len, b->match,
                              b->any_value, b->watch->fd, add);
}

/*
 * Give it to the accelerator at its present address, or take it back. map.lock is held. What the
 * accelerator refuses keeps working through doorbell_match().
 */
void doorbell_hand(struct doorbell *b)
{
    struct runtime *rt = runtime_of(b->o);
    const struct region *r = b->region;
    if (!rt->accel.doorbell || !(rt->accel_caps & MOBO_ACCEL_DOORBELL))
        return;
    uint64_t addr = r->base + b->off;
    if (b->handed && (!r->enabled || addr != b->handed_addr)) {
        (void)accel_bell(b, b->handed_addr, 0);
        b->handed = false;
    }
    if (!r->enabled || b->handed)
        return;
    if (!b->watch)
        b->watch = watch_bell(b);
    if (b->watch && accel_bell(b, addr, 1) == 0) {
        b->handed = true;
        b->handed_addr = addr;
    }
}

/* Rings from before a reset mean nothing after it. The loops are parked. */
void doorbells_clear(struct runtime *rt)
{
    pthread_mutex_lock(&rt->map.lock);
    for (unsigned i = 0; i < rt->map.count; i++)
        for (struct doorbell *b = atomic_load(&rt->map.regions[i]->bells); b; b = b->next) {
            if (b->watch)
                os_event_take(b->watch->fd);
            /* One that is queued runs into pending == false, and does nothing. */
            atomic_store(&b->pending, false);
        }
    pthread_mutex_unlock(&rt->map.lock);
}

/* The region is hidden and its object's tasks and watches are gone; map.lock is held. */
void doorbells_free(struct region *r)
{
    struct doorbell *b = atomic_exchange(&r->bells, NULL);
    while (b) {
        struct doorbell *next = b->next;
        free(b->task);
        free(b);
        b = next;
    }
}
