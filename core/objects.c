/*
 * objects.c: the life of one object: its candidates tried in turn, init, reset, fini, and the
 * release of all it got from the core, whether init had come to its end or not.
 */
#include "runtime.h"

#include <stdlib.h>
#include <string.h>

bool object_open(struct runtime *rt, struct object *o)
{
    o->pub.host = &host_services;
    o->rt = calloc(1, sizeof *o->rt);
    if (!o->rt)
        return false;
    pthread_mutex_init(&o->lock, NULL);
    pthread_mutex_init(&o->rt->log_lock, NULL);
    o->rt->log_tokens = UINT32_MAX / 2; /* no limit before the guest runs */
    o->rt->log_time = os_now();
    o->loop = loop_get(rt, o->thread);
    return o->loop != NULL;
}

void object_close(struct object *o)
{
    if (!o->rt)
        return;
    free(o->rt->reasons);
    pthread_mutex_destroy(&o->rt->log_lock);
    pthread_mutex_destroy(&o->lock);
    free(o->rt);
    o->rt = NULL;
    o->loop = NULL;
}

/* Each callback is over or will see `closed`; then fini; then everything the core holds for O. */
static void object_release(struct object *o, bool call_fini)
{
    atomic_store(&o->rt->closed, true);
    timers_quiet(o);
    watches_quiet(o);
    work_drain(runtime_of(o));
    if (call_fini && o->klass->c.fini) {
        object_enter(o);
        o->klass->c.fini(o->self);
        object_leave(o);
    }
    loop_release(o);
    map_release(o); /* takes doorbells back from the accelerator, so before their watches go */
    watches_release(o);
    timers_release(o);
    wires_release(o);
    fw_release(o);
    ram_release(o);
    log_quiet_ends(o);
}

static int object_try(struct object *o, unsigned n)
{
    atomic_store(&o->rt->closed, false);
    int rc = object_build(o, n);
    bool built = rc >= 0;
    if (built && o->klass->c.init) {
        object_enter(o);
        rc = o->klass->c.init(o->self);
        object_leave(o);
    }
    if (rc < 0)
        object_release(o, built);
    o->inited = rc >= 0;
    return rc;
}

/* What candidate N had to say, or its code. */
static void say_reasons(struct object *o, unsigned n, int rc, unsigned level)
{
    struct object_runtime *r = o->rt;
    const char *type = o->candidates[n].klass->type;
    char *rest = NULL;
    char *text = r->reasons ? strtok_r(r->reasons, "\n", &rest) : NULL;
    for (; text; text = strtok_r(NULL, "\n", &rest)) {
        if (level == MOBO_ERROR)
            log_at(object_place(o, text), o->pub.name, "%s", text);
        else
            log_line(level, "[%s]: not %s: %s", o->pub.name, type, text);
        rc = 0;
    }
    if (rc && level == MOBO_ERROR)
        log_at(object_place(o, ""), o->pub.name, "%s does not start and gives no reason (error %d)", type, rc);
    else if (rc)
        log_line(level, "[%s]: not %s (error %d)", o->pub.name, type, rc);
    free(r->reasons);
    r->reasons = NULL;
}

int object_start(struct object *o)
{
    struct object_runtime *r = o->rt;
    bool choice = o->candidate_count > 1;
    /* With a choice, reasons of those not taken are for -v; all of them if none is left. */
    struct {
        char *text;
        int rc;
    } *failed = calloc(o->candidate_count + 1, sizeof *failed);
    unsigned n = 0;
    int rc = MOBO_ENOMEM;
    for (; failed && n < o->candidate_count; n++) {
        r->keep_reasons = true;
        rc = object_try(o, n);
        r->keep_reasons = false;
        if (rc >= 0)
            break;
        failed[n].text = r->reasons;
        failed[n].rc = rc;
        r->reasons = NULL;
    }
    for (unsigned i = 0; i < n; i++) {
        r->reasons = failed[i].text;
        say_reasons(o, i, failed[i].rc, rc < 0 ? MOBO_ERROR : MOBO_INFO);
    }
    if (rc >= 0 && choice)
        log_line(MOBO_INFO, "[%s]: %s", o->pub.name, o->klass->type);
    free(failed);
    return rc;
}

void object_end(struct object *o)
{
    if (!o->rt || !o->inited)
        return;
    object_release(o, true);
    o->inited = false;
}

void object_reset(struct object *o)
{
    if (!o->klass->c.reset)
        return;
    object_enter(o);
    o->klass->c.reset(o->self);
    object_leave(o);
}
