/*
 * life.c: a machine from power-on to its end. The control thread (the caller's) starts objects,
 * waits for requests, and is the only one that holds and releases CPUs and loops.
 */
#include "runtime.h"

#include <stdlib.h>
#include <string.h>

enum { BIT_RESET = 1 << MOBO_VM_RESET, BIT_OFF = 1 << MOBO_VM_OFF, BIT_CRASH = 1 << MOBO_VM_CRASH,
       BIT_QUIT = 1 << MOBO_VM_QUIT, BIT_FAIL = 1 << MOBO_VM_FAIL,
       BIT_SIGNAL = 1 << REQUEST_SIGNAL };

enum { STILL_RUNNING = -1 };

/* ---- stats ----------------------------------------------------------------------------------- */

static void stats_allow(struct runtime *rt, bool allow)
{
    pthread_mutex_lock(&rt->stats_lock);
    rt->stats_allowed = allow;
    pthread_mutex_unlock(&rt->stats_lock);
}

static void stats_write(struct runtime *rt)
{
    uint64_t mmio = 0, pio = 0, posts = 0, timers = 0, events = 0;
    for (uint32_t i = 0; rt->vcpus && i < rt->m->set.cpus; i++) {
        mmio += atomic_load(&rt->vcpus[i].mmio);
        pio += atomic_load(&rt->vcpus[i].pio);
    }
    for (struct loop *l = rt->loops; l; l = l->next) {
        posts += atomic_load(&l->posts);
        timers += atomic_load(&l->timers_fired);
        events += atomic_load(&l->fd_events);
    }
    log_line(MOBO_ERROR, "stats: %llu ns of guest time", (unsigned long long)clock_vm(rt));
    log_line(MOBO_ERROR, "stats: exits: %llu memory, %llu ports", (unsigned long long)mmio,
             (unsigned long long)pio);
    log_line(MOBO_ERROR, "stats: %llu doorbells, %llu messages, %llu posts, %llu timers, %llu file "
                         "events, %llu pieces of work",
             (unsigned long long)atomic_load(&rt->bells_rung),
             (unsigned long long)atomic_load(&rt->msis), (unsigned long long)posts,
             (unsigned long long)timers, (unsigned long long)events,
             (unsigned long long)atomic_load(&rt->work.done));
    char text[4096];
    if (!rt->accel.stats)
        return;
    uint32_t len = rt->accel.stats(rt->accel_self, text, sizeof text - 1);
    text[len < sizeof text ? len : sizeof text - 1] = 0;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        log_line(MOBO_ERROR, "stats: [%s]: %s", rt->accel_object->pub.name, line);
}

/* On any thread; nothing before the machine is complete or after its end begins. */
void stats_print(struct runtime *rt)
{
    pthread_mutex_lock(&rt->stats_lock);
    if (rt->stats_allowed)
        stats_write(rt);
    pthread_mutex_unlock(&rt->stats_lock);
}

/* ---- start ----------------------------------------------------------------------------------- */

static bool accel_complete(const mobo_accel_ops_t *a)
{
    return a->ram_map && a->ram_unmap && a->vcpu_new && a->vcpu_reset && a->run && a->kick;
}

/* If O is the accelerator: from now on it gets memory, messages and bells. */
static int accel_take(struct runtime *rt, struct object *o)
{
    const mobo_accel_ops_t *ops = object_iface(o, MOBO_ACCEL);
    if (!ops)
        return 0;
    if (rt->accel_object) {
        log_line(MOBO_ERROR, "[%s] and [%s] both provide " MOBO_ACCEL "; keep one",
                 rt->accel_object->pub.name, o->pub.name);
        return MOBO_EEXIST;
    }
    memcpy(&rt->accel, ops, ops->size < sizeof rt->accel ? ops->size : sizeof rt->accel);
    if (!accel_complete(&rt->accel)) {
        log_line(MOBO_ERROR, "[%s]: " MOBO_ACCEL " lacks a required function", o->pub.name);
        memset(&rt->accel, 0, sizeof rt->accel);
        return MOBO_ENOTSUP;
    }
    rt->accel_object = o;
    rt->accel_self = o->self;
    rt->accel_caps = rt->accel.caps ? rt->accel.caps(o->self) : 0;
    return map_accel(rt);
}

/* 0, or the exit code. */
static int start_objects(struct runtime *rt)
{
    struct machine *m = rt->m;
    for (unsigned i = 0; i < m->object_count; i++) {
        if (object_start(m->objects[i]) < 0)
            return EXIT_BAD_INPUT;
        if (accel_take(rt, m->objects[i]) < 0)
            return EXIT_BAD_INPUT;
    }
    if (!rt->accel_object) {
        log_line(MOBO_ERROR, "no section provides " MOBO_ACCEL "; add one with an accelerator");
        return EXIT_BAD_INPUT;
    }
    return 0;
}

/* From here on the guest can make objects talk. */
static void limit_logs(struct runtime *rt)
{
    for (unsigned i = 0; i < rt->m->object_count; i++) {
        struct object_runtime *r = rt->m->objects[i]->rt;
        pthread_mutex_lock(&r->log_lock);
        r->log_tokens = 0;
        r->log_time = 0; /* long ago: a full bucket */
        pthread_mutex_unlock(&r->log_lock);
    }
}

/*
 * The CPUs are held, the loops parked, and no work runs. Lines fall first, then CPUs, then objects
 * in start order: a loader of kernels comes last, and sets registers of CPUs that are reset already.
 */
static void machine_reset(struct runtime *rt)
{
    doorbells_clear(rt);
    wires_clear(rt);
    atomic_fetch_and(&rt->control.requests, ~(uint32_t)(BIT_RESET | BIT_CRASH));
    vcpus_reset(rt);
    atomic_store(&rt->control.resetting, true);
    for (unsigned i = 0; i < rt->m->object_count; i++)
        object_reset(rt->m->objects[i]);
    atomic_store(&rt->control.resetting, false);
}

static void machine_go(struct runtime *rt)
{
    clock_start(rt);
    loops_go(rt);
    /* A loader that gave up in its reset, or a CPU before it, has asked for the end: none runs. */
    if (!(atomic_load(&rt->control.requests) & (BIT_FAIL | BIT_OFF | BIT_QUIT | BIT_SIGNAL)))
        vcpus_go(rt);
}

/* ---- requests -------------------------------------------------------------------------------- */

/* CPUs that come out from now on see the command before they see that nothing is asked any more. */
static uint32_t wait_request(struct runtime *rt)
{
    struct control *c = &rt->control;
    pthread_mutex_lock(&c->lock);
    while (!atomic_load(&c->requests))
        pthread_cond_wait(&c->changed, &c->lock);
    c->command = VCPU_HOLD;
    uint32_t asked = atomic_exchange(&c->requests, 0);
    pthread_mutex_unlock(&c->lock);
    vcpus_stop(rt);
    return asked;
}

/* Work writes into guest RAM that it was lent: none is left when kernels are loaded anew. */
static void reset_now(struct runtime *rt)
{
    loops_park(rt);
    work_drain(rt);
    machine_reset(rt);
    machine_go(rt);
}

/* The exit code, or STILL_RUNNING. The CPUs are held. */
static int answer(struct runtime *rt, uint32_t asked)
{
    const struct machine_settings *set = &rt->m->set;
    if (asked & BIT_FAIL)
        return EXIT_OTHER;
    if (asked & BIT_QUIT)
        return EXIT_GUEST_OFF;
    if (asked & BIT_SIGNAL)
        return EXIT_OTHER;
    if (asked & BIT_OFF)
        return EXIT_GUEST_OFF;
    if (asked & BIT_CRASH) {
        log_line(set->on_crash == ON_CRASH_RESET ? MOBO_INFO : MOBO_ERROR,
                 "the guest crashed (triple fault)%s",
                 set->on_crash == ON_CRASH_PAUSE ? "; paused" : "");
        if (set->on_crash == ON_CRASH_EXIT)
            return EXIT_GUEST_CRASH;
        if (set->on_crash == ON_CRASH_PAUSE) {
            clock_stop(rt); /* loops go on: the user can still leave, or reset */
            return STILL_RUNNING;
        }
    } else if (set->on_reset == ON_RESET_EXIT) {
        return EXIT_GUEST_RESET;
    }
    log_line(MOBO_INFO, "reset");
    reset_now(rt);
    return STILL_RUNNING;
}

static int machine_main(struct runtime *rt)
{
    int code = start_objects(rt);
    if (code)
        return code;
    if (vcpus_new(rt) < 0 || loops_run(rt) < 0 || vcpus_start(rt) < 0)
        return EXIT_OTHER;
    limit_logs(rt);
    stats_allow(rt, true);
    reset_now(rt);
    do
        code = answer(rt, wait_request(rt));
    while (code == STILL_RUNNING);
    vcpus_end(rt);
    loops_settle(rt);
    return code;
}

/* ---- birth and death ------------------------------------------------------------------------- */

/* 0, or the exit code. */
static int runtime_open(struct runtime *rt, struct machine *m)
{
    rt->m = m;
    m->rt = rt;
    pthread_mutex_init(&rt->control.lock, NULL);
    pthread_cond_init(&rt->control.cpus, NULL);
    pthread_cond_init(&rt->control.changed, NULL);
    pthread_mutex_init(&rt->fw.lock, NULL);
    pthread_mutex_init(&rt->stats_lock, NULL);
    work_start(rt);
    signals_start(rt);
    if (!map_start(rt))
        return EXIT_OTHER;
    for (unsigned i = 0; i < m->object_count; i++) {
        m->objects[i]->machine = m;
        if (!object_open(rt, m->objects[i]))
            return EXIT_OTHER;
    }
    return ram_start(rt);
}

static void runtime_close(struct runtime *rt)
{
    struct machine *m = rt->m;
    stats_allow(rt, false);
    work_drain(rt);
    vcpus_end(rt);
    loops_end(rt);
    for (unsigned i = m->object_count; i-- > 0;) {
        if (m->objects[i] == rt->accel_object) { /* those that are left go without */
            memset(&rt->accel, 0, sizeof rt->accel);
            rt->accel_object = NULL;
            rt->accel_self = NULL;
        }
        object_end(m->objects[i]);
    }
    work_end(rt);
    signals_end(rt);
    for (unsigned i = 0; i < m->object_count; i++)
        object_close(m->objects[i]);
    loops_free(rt);
    map_end(rt);
    ram_end(rt);
    fw_end(rt);
    free(rt->vcpus);
    pthread_mutex_destroy(&rt->stats_lock);
    pthread_mutex_destroy(&rt->control.lock);
    pthread_cond_destroy(&rt->control.cpus);
    pthread_cond_destroy(&rt->control.changed);
    m->rt = NULL;
}

int machine_run(struct machine *m, bool print_stats)
{
    struct runtime *rt = aligned_alloc(_Alignof(struct runtime), sizeof *rt);
    if (!rt) {
        log_line(MOBO_ERROR, "no memory for the machine");
        return EXIT_OTHER;
    }
    memset(rt, 0, sizeof *rt);
    term_save();
    int code = runtime_open(rt, m);
    if (!code)
        code = machine_main(rt);
    if (print_stats)
        stats_print(rt);
    runtime_close(rt);
    term_restore();
    free(rt);
    return code;
}
