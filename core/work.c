/*
 * work.c: a few threads for host calls that take long. A piece of work is a task that runs its first
 * half here and its second half, as a post, on its object's loop.
 */
#include "runtime.h"

#include <errno.h>
#include <time.h>

static void work_step(struct runtime *rt, struct task *t)
{
    struct work *w = &rt->work;
    struct object *o = t->o;
    w->busy++;
    w->last = o;
    pthread_mutex_unlock(&w->lock);
    t->work(t->arg);
    loop_push(o->loop, t);
    pthread_mutex_lock(&w->lock);
    w->busy--;
    w->done++;
    if (!w->busy && !w->queue.count)
        pthread_cond_broadcast(&w->idle);
}

static void *work_main(void *arg)
{
    struct runtime *rt = arg;
    struct work *w = &rt->work;
    os_thread_name("worker");
    pthread_mutex_lock(&w->lock);
    for (;;) {
        struct task *t = task_pop(&w->queue);
        if (t) {
            work_step(rt, t);
            continue;
        }
        if (w->end)
            break;
        w->waiting++;
        pthread_cond_wait(&w->wake, &w->lock);
        w->waiting--;
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void no_second_half(void *self, void *arg)
{
    (void)self;
    (void)arg;
}

int task_work(mobo_obj_t *obj, void (*fn)(void *arg), void (*done)(void *self, void *arg),
              void *arg)
{
    enum { MOST = sizeof((struct work *)0)->threads / sizeof(pthread_t) };
    struct object *o = object_of(obj);
    struct runtime *rt = runtime_of(o);
    struct work *w = &rt->work;
    if (atomic_load(&o->rt->closed))
        return MOBO_ECANCELED;
    struct task *t = loop_task(o->loop);
    if (!t)
        return MOBO_ENOMEM;
    *t = (struct task){ .o = o, .work = fn, .fn = done ? done : no_second_half, .arg = arg };
    pthread_mutex_lock(&w->lock);
    if (w->queue.count >= w->waiting && w->thread_count < MOST &&
        pthread_create(&w->threads[w->thread_count], NULL, work_main, rt) == 0)
        w->thread_count++;
    task_push(&w->queue, t);
    bool nobody = w->thread_count == 0;
    if (nobody)
        (void)task_pop(&w->queue); /* the only one: without a thread nothing was ever queued */
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    if (!nobody)
        return 0;
    fn(arg); /* a host without threads to spare: slow is better than never */
    loop_push(o->loop, t);
    return 0;
}

void work_start(struct runtime *rt)
{
    pthread_mutex_init(&rt->work.lock, NULL);
    pthread_cond_init(&rt->work.wake, NULL);
    pthread_cond_init(&rt->work.idle, NULL);
}

/* Work owns memory of its object, so there is no leaving before it is back. */
void work_drain(struct runtime *rt)
{
    enum { PATIENCE = 5 };
    struct work *w = &rt->work;
    pthread_mutex_lock(&w->lock);
    while (w->busy || w->queue.count) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += PATIENCE;
        if (pthread_cond_timedwait(&w->idle, &w->lock, &until) == ETIMEDOUT && w->last)
            log_line(MOBO_WARN, "waiting for a host call of [%s]; interrupt again to leave at once",
                     w->last->pub.name);
    }
    pthread_mutex_unlock(&w->lock);
}

void work_end(struct runtime *rt)
{
    struct work *w = &rt->work;
    pthread_mutex_lock(&w->lock);
    w->end = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
    while (w->thread_count)
        pthread_join(w->threads[--w->thread_count], NULL);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->wake);
    pthread_cond_destroy(&w->idle);
}
