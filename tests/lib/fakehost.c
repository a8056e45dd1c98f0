/* fakehost.c: the fake monitor: its log, clock, tasks and objects, and the table of tables. */
#include "fakepriv.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

void fake_die(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fputs("fake host: ", stderr);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    va_end(ap);
    abort();
}

void fake_enter(struct fake_obj *o)
{
    if (o->c->flags & MOBO_PARALLEL)
        return;
    if (o->held++)
        fake_die("[%s] is entered twice: a deadlock in the real monitor", o->name);
}

void fake_leave(struct fake_obj *o)
{
    if (!(o->c->flags & MOBO_PARALLEL))
        o->held--;
}

/* ---- log ------------------------------------------------------------------------------------- */

static void log_log(mobo_obj_t *obj, uint32_t level, const char *text)
{
    struct fake *f = fake_of(obj)->f;
    if (level < 1 || level > MOBO_DEBUG)
        fake_die("[%s] logs at level %u", obj->name, level);
    snprintf(f->logs[level], sizeof f->logs[level], "%s", text);
    f->log_counts[level]++;
}

int fake_fail(mobo_obj_t *obj, int code, const char *text)
{
    struct fake *f = fake_of(obj)->f;
    snprintf(f->failure, sizeof f->failure, "%s", text);
    return code;
}

static int log_shown(mobo_obj_t *obj, uint32_t level)
{
    (void)obj;
    (void)level;
    return 1;
}

const char *fake_failure(struct fake *f)
{
    return f->failure;
}

const char *fake_last_log(struct fake *f, uint32_t level)
{
    return f->logs[level & 7];
}

uint32_t fake_log_count(struct fake *f, uint32_t level)
{
    return f->log_counts[level & 7];
}

/* ---- time ------------------------------------------------------------------------------------ */

static uint64_t time_now(mobo_obj_t *obj, uint32_t clock)
{
    struct fake *f = fake_of(obj)->f;
    return clock == MOBO_CLOCK_REAL ? f->real + f->now : f->now;
}

static int time_timer_new(mobo_obj_t *obj, void (*fn)(void *self), mobo_timer_t **timer)
{
    struct fake *f = fake_of(obj)->f;
    if (f->timer_count == FAKE_TIMERS)
        return MOBO_ENOMEM;
    *timer = &f->timers[f->timer_count++];
    **timer = (mobo_timer_t){ .owner = fake_of(obj), .fn = fn };
    return 0;
}

static void time_timer_set(mobo_timer_t *timer, uint64_t deadline)
{
    timer->deadline = deadline;
    timer->set = true;
}

static void time_timer_cancel(mobo_timer_t *timer)
{
    timer->set = false;
}

static mobo_timer_t *earliest(struct fake *f)
{
    mobo_timer_t *t = NULL;
    for (unsigned i = 0; i < f->timer_count; i++)
        if (f->timers[i].set && (!t || f->timers[i].deadline < t->deadline))
            t = &f->timers[i];
    return t;
}

uint64_t fake_now(struct fake *f)
{
    return f->now;
}

uint64_t fake_deadline(struct fake *f)
{
    mobo_timer_t *t = earliest(f);
    return t ? t->deadline : UINT64_MAX;
}

/* A timer that keeps setting itself into the past would spin for ever; that is a bug to report. */
void fake_step(struct fake *f, uint64_t ns)
{
    uint64_t end = f->now + ns;
    unsigned stuck = 0;
    for (mobo_timer_t *t; (t = earliest(f)) && t->deadline <= end;) {
        stuck = t->deadline > f->now ? 0 : stuck + 1;
        if (stuck > 1000000)
            fake_die("[%s] sets a timer again and again without time going on", t->owner->name);
        if (t->deadline > f->now)
            f->now = t->deadline;
        t->set = false;
        fake_enter(t->owner);
        t->fn(t->owner->self);
        fake_leave(t->owner);
    }
    f->now = end;
}

void fake_set_real(struct fake *f, uint64_t ns)
{
    f->real = ns;
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static int push(struct fake_obj *o, struct fake_task task)
{
    struct fake *f = o->f;
    if (f->task_tail - f->task_head == FAKE_TASKS)
        fake_die("[%s] has posted more than %d calls", o->name, FAKE_TASKS);
    f->tasks[f->task_tail++ % FAKE_TASKS] = task;
    return 0;
}

static int task_post(mobo_obj_t *obj, void (*fn)(void *self, void *arg), void *arg)
{
    return push(fake_of(obj), (struct fake_task){ .owner = fake_of(obj), .fn = fn, .arg = arg });
}

static int task_work(mobo_obj_t *obj, void (*fn)(void *arg), void (*done)(void *self, void *arg),
                     void *arg)
{
    return push(fake_of(obj),
                (struct fake_task){ .owner = fake_of(obj), .fn = done, .work = fn, .arg = arg });
}

static int task_fd_watch(mobo_obj_t *obj, int fd, uint32_t events,
                         void (*fn)(void *self, uint32_t events), mobo_watch_t **watch)
{
    struct fake *f = fake_of(obj)->f;
    for (unsigned i = 0; i < FAKE_WATCHES; i++) {
        if (f->watches[i].used)
            continue;
        f->watches[i] = (mobo_watch_t){ fake_of(obj), fn, fd, events, true };
        *watch = &f->watches[i];
        return 0;
    }
    return MOBO_ENOMEM;
}

static void task_fd_update(mobo_watch_t *watch, uint32_t events)
{
    watch->events = events;
}

static void task_fd_drop(mobo_watch_t *watch)
{
    watch->used = false;
}

static int task_doorbell(mobo_obj_t *obj, uint32_t handle, uint64_t off, uint32_t len,
                         uint64_t match, uint32_t any_value, void (*fn)(void *self, void *arg),
                         void *arg)
{
    struct fake *f = fake_of(obj)->f;
    if (handle == 0 || handle > f->place_count)
        return MOBO_ENOENT;
    if (f->bell_count == FAKE_BELLS)
        return MOBO_ENOMEM;
    f->bells[f->bell_count++] = (struct fake_bell){ fake_of(obj), handle, len, any_value, off,
                                                    match, fn, arg, false };
    return 0;
}

unsigned fake_bells(struct fake *f)
{
    unsigned count = 0;
    for (unsigned i = 0; i < f->bell_count; i++) {
        struct fake_bell *b = &f->bells[i];
        if (!b->pending)
            continue;
        b->pending = false;
        fake_enter(b->owner);
        b->fn(b->owner->self, b->arg);
        fake_leave(b->owner);
        count++;
    }
    return count;
}

unsigned fake_run(struct fake *f)
{
    unsigned count = 0;
    for (bool again = true; again;) {
        again = false;
        while (f->task_head != f->task_tail) {
            struct fake_task t = f->tasks[f->task_head++ % FAKE_TASKS];
            if (t.work)
                t.work(t.arg);
            fake_enter(t.owner);
            t.fn(t.owner->self, t.arg);
            fake_leave(t.owner);
            again = true;
            if (++count > 1000000)
                fake_die("[%s] posts calls for ever", t.owner->name);
        }
        unsigned rung = fake_bells(f);
        again = again || rung;
        count += rung;
    }
    return count;
}

unsigned fake_poll(struct fake *f, int timeout_ms)
{
    struct pollfd fds[FAKE_WATCHES];
    mobo_watch_t *who[FAKE_WATCHES];
    unsigned n = 0, count = 0;
    for (unsigned i = 0; i < FAKE_WATCHES; i++) {
        mobo_watch_t *w = &f->watches[i];
        if (!w->used || !w->events)
            continue;
        fds[n] = (struct pollfd){ .fd = w->fd,
                                  .events = (short)((w->events & MOBO_FD_READ ? POLLIN : 0) |
                                                    (w->events & MOBO_FD_WRITE ? POLLOUT : 0)) };
        who[n++] = w;
    }
    if (poll(fds, n, timeout_ms) <= 0)
        return 0;
    for (unsigned i = 0; i < n; i++) {
        uint32_t events = (fds[i].revents & (POLLIN | POLLHUP | POLLERR) ? MOBO_FD_READ : 0) |
                          (fds[i].revents & POLLOUT ? MOBO_FD_WRITE : 0);
        events &= who[i]->events;
        if (!who[i]->used || !events)
            continue;
        fake_enter(who[i]->owner);
        who[i]->fn(who[i]->owner->self, events);
        fake_leave(who[i]->owner);
        count++;
    }
    return count;
}

/* ---- objects --------------------------------------------------------------------------------- */

static void obj_enter(void *self)
{
    fake_enter(fake_of(*(mobo_obj_t **)self));
}

static void obj_leave(void *self)
{
    fake_leave(fake_of(*(mobo_obj_t **)self));
}

static void *obj_child(mobo_obj_t *obj, mobo_obj_t *dev)
{
    return fake_of(dev)->bus == fake_of(obj) ? fake_of(dev)->child : NULL;
}

static void *obj_self(mobo_obj_t *obj)
{
    return fake_of(obj)->self;
}

static const void *query(const char *id)
{
    (void)id;
    return NULL;
}

static const mobo_log_api_t log_api = { sizeof log_api, 0, log_log, fake_fail, log_shown };
static const mobo_time_api_t time_api = {
    .size = sizeof time_api, .now = time_now, .timer_new = time_timer_new,
    .timer_set = time_timer_set, .timer_cancel = time_timer_cancel,
};
static const mobo_task_api_t task_api = {
    .size = sizeof task_api, .post = task_post, .work = task_work, .fd_watch = task_fd_watch,
    .fd_update = task_fd_update, .fd_drop = task_fd_drop, .doorbell = task_doorbell,
};
static const mobo_obj_api_t obj_api = {
    .size = sizeof obj_api, .enter = obj_enter, .leave = obj_leave, .child = obj_child,
    .self = obj_self,
};

const mobo_host_t fake_host = {
    .size = sizeof fake_host, .abi_minor = MOBO_ABI_MINOR, .version = "fake", .log = &log_api,
    .mem = &fake_mem_api, .time = &time_api, .task = &task_api, .irq = &fake_irq_api,
    .vm = &fake_vm_api,
    .fw = &fake_fw_api, .obj = &obj_api, .query = query,
};
