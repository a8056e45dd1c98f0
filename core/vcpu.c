/*
 * vcpu.c: one thread per virtual CPU, the answers to exits, and the reins: hold, run, end. Threads
 * that are held wait on a condition; none of them ever spins.
 */
#include "runtime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- exits ----------------------------------------------------------------------------------- */

/* After an access that asked for a reset or the like, the guest must not get further. */
static void leave_if_asked(struct vcpu *v)
{
    struct runtime *rt = v->rt;
    /* In this order: control sets the command before it takes the requests. */
    if (atomic_load(&rt->control.requests) || atomic_load(&rt->control.command) != VCPU_RUN)
        rt->accel.kick(v->handle);
}

static void exit_mmio(void *ctx, uint64_t gpa, void *data, uint32_t len, uint32_t write)
{
    struct vcpu *v = ctx;
    atomic_fetch_add_explicit(&v->mmio, 1, memory_order_relaxed);
    map_access(v->rt, MOBO_SPACE_MEM, gpa, data, len, write);
    leave_if_asked(v);
}

static void exit_pio(void *ctx, uint32_t port, void *data, uint32_t len, uint32_t write)
{
    struct vcpu *v = ctx;
    atomic_fetch_add_explicit(&v->pio, 1, memory_order_relaxed);
    map_access(v->rt, MOBO_SPACE_IO, port, data, len, write);
    leave_if_asked(v);
}

static void exit_stop(void *ctx, uint32_t why, uint64_t arg)
{
    struct vcpu *v = ctx;
    (void)arg;
    v->stopped = true;
    switch (why) {
    case MOBO_STOP_TRIPLE_FAULT:
        log_line(MOBO_INFO, "CPU %u: triple fault", v->index);
        control_request(v->rt, MOBO_VM_CRASH);
        break;
    case MOBO_STOP_RESET:
        control_request(v->rt, MOBO_VM_RESET);
        break;
    default:
        control_request(v->rt, MOBO_VM_FAIL);
        break;
    }
}

static int exit_intack(void *ctx)
{
    struct vcpu *v = ctx;
    return wires_intack(v->rt);
}

static void exit_eoi(void *ctx, uint32_t vector)
{
    struct vcpu *v = ctx;
    wires_eoi(v->rt, vector);
}

static const mobo_exits_t exits = {
    .size = sizeof exits,
    .mmio = exit_mmio,
    .pio = exit_pio,
    .stop = exit_stop,
    .intack = exit_intack,
    .eoi = exit_eoi,
};

/* ---- the threads ----------------------------------------------------------------------------- */

/* Wait for leave to run; false: the end. control.lock is held. */
static bool wait_for_go(struct vcpu *v)
{
    struct control *c = &v->rt->control;
    while (c->command == VCPU_HOLD || (c->command == VCPU_RUN && v->stopped)) {
        if (!v->held) {
            v->held = true;
            c->held++;
            pthread_cond_broadcast(&c->changed);
        }
        pthread_cond_wait(&c->cpus, &c->lock);
    }
    if (v->held) {
        v->held = false;
        c->held--;
    }
    return c->command == VCPU_RUN;
}

static void *vcpu_main(void *arg)
{
    struct vcpu *v = arg;
    struct runtime *rt = v->rt;
    struct control *c = &rt->control;
    char name[16];
    (void)snprintf(name, sizeof name, "cpu%u", v->index);
    os_thread_name(name);
    pthread_mutex_lock(&c->lock);
    while (wait_for_go(v)) {
        pthread_mutex_unlock(&c->lock);
        int rc = rt->accel.run(v->handle, &exits, v);
        if (rc < 0 && !v->stopped) {
            log_line(MOBO_ERROR, "CPU %u: the accelerator ends with error %d", v->index, rc);
            exit_stop(v, MOBO_STOP_FAIL, 0);
        }
        pthread_mutex_lock(&c->lock);
        /* Control has not seen the request yet, or command would be HOLD: wait until it has. */
        if (atomic_load(&c->requests))
            v->stopped = true;
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

int vcpus_new(struct runtime *rt)
{
    rt->vcpus = calloc(rt->m->set.cpus, sizeof *rt->vcpus);
    if (!rt->vcpus)
        return MOBO_ENOMEM;
    for (uint32_t i = 0; i < rt->m->set.cpus; i++) {
        struct vcpu *v = &rt->vcpus[i];
        v->rt = rt;
        v->index = i;
        int rc = rt->accel.vcpu_new(rt->accel_self, i, &v->handle);
        if (rc < 0) {
            log_line(MOBO_ERROR, "[%s]: the accelerator gives no CPU number %u (error %d)",
                     rt->accel_object->pub.name, i, rc);
            return rc;
        }
    }
    return 0;
}

int vcpus_start(struct runtime *rt)
{
    for (uint32_t i = 0; i < rt->m->set.cpus; i++) {
        struct vcpu *v = &rt->vcpus[i];
        if (pthread_create(&v->thread, NULL, vcpu_main, v) != 0) {
            log_line(MOBO_ERROR, "CPU %u: the host gives no thread", i);
            return MOBO_EFAIL;
        }
        v->started = true;
    }
    return 0;
}

static unsigned vcpus_started(const struct runtime *rt)
{
    unsigned n = 0;
    for (uint32_t i = 0; rt->vcpus && i < rt->m->set.cpus; i++)
        n += rt->vcpus[i].started;
    return n;
}

static void vcpus_kick(struct runtime *rt)
{
    for (uint32_t i = 0; i < rt->m->set.cpus; i++)
        rt->accel.kick(rt->vcpus[i].handle);
}

/* All are out of the accelerator, and stay out. */
void vcpus_stop(struct runtime *rt)
{
    struct control *c = &rt->control;
    unsigned all = vcpus_started(rt);
    if (!all)
        return;
    pthread_mutex_lock(&c->lock);
    c->command = VCPU_HOLD;
    pthread_mutex_unlock(&c->lock);
    vcpus_kick(rt);
    pthread_mutex_lock(&c->lock);
    while (c->held < all) {
        enum { AGAIN_NS = 100000000 };
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_nsec += AGAIN_NS;
        if (t.tv_nsec >= 1000000000) {
            t.tv_nsec -= 1000000000;
            t.tv_sec++;
        }
        /* A kick is never lost by contract; asking again costs nothing and survives a bug. */
        if (pthread_cond_timedwait(&c->changed, &c->lock, &t) == ETIMEDOUT && c->held < all) {
            pthread_mutex_unlock(&c->lock);
            vcpus_kick(rt);
            pthread_mutex_lock(&c->lock);
        }
    }
    pthread_mutex_unlock(&c->lock);
}

void vcpus_go(struct runtime *rt)
{
    struct control *c = &rt->control;
    pthread_mutex_lock(&c->lock);
    for (uint32_t i = 0; i < rt->m->set.cpus; i++)
        rt->vcpus[i].stopped = false;
    c->command = VCPU_RUN;
    pthread_cond_broadcast(&c->cpus);
    pthread_mutex_unlock(&c->lock);
}

void vcpus_end(struct runtime *rt)
{
    struct control *c = &rt->control;
    vcpus_stop(rt);
    pthread_mutex_lock(&c->lock);
    c->command = VCPU_END;
    pthread_cond_broadcast(&c->cpus);
    pthread_mutex_unlock(&c->lock);
    for (uint32_t i = 0; rt->vcpus && i < rt->m->set.cpus; i++) {
        if (rt->vcpus[i].started)
            pthread_join(rt->vcpus[i].thread, NULL);
        rt->vcpus[i].started = false;
    }
}

void vcpus_reset(struct runtime *rt)
{
    for (uint32_t i = 0; i < rt->m->set.cpus; i++)
        rt->accel.vcpu_reset(rt->vcpus[i].handle);
}

/* [any] */
void control_request(struct runtime *rt, uint32_t what)
{
    struct control *c = &rt->control;
    pthread_mutex_lock(&c->lock);
    atomic_fetch_or(&c->requests, (uint32_t)1 << what);
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}
