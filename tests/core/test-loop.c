/*
 * test-loop.c: what happens later: timers, posts, work, watched files, doorbells, and which thread
 * it happens on.
 */
#include "fake.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static const uint64_t MS = 1000000;

enum { TIMERS = 8, POSTERS = 4, POSTS = 5000 };

struct dev {
    mobo_obj_t *obj;
    mobo_timer_t *timer[TIMERS];
    uint32_t handle;
    unsigned order[64], fired;
    uint64_t due, late;         /* of the accuracy test */
    atomic_uint count, done, bells[3];
    uintptr_t thread;
    bool inside;                /* a callback runs: no second one may */
    unsigned last[POSTERS + 1];
    mobo_watch_t *watch[3];
    int fd[3];
    unsigned seen[3];
    unsigned late_work[20];
};

static struct dev *dev;

static bool running_long_enough(unsigned ms)
{
    nanosleep(&(struct timespec){ .tv_nsec = (long)ms * 1000000 }, NULL);
    return true;
}

static int over(void)
{
    fake_request(MOBO_VM_OFF);
    return FAKE_HALT;
}

static int run(const mobo_class_t *c, fake_guest_t *guest, const char *thread)
{
    fake_new(1, 2 << 20, guest);
    fake_add("dev", c, thread);
    return fake_run();
}

/* Calls that change the device from the guest's thread do so as the device would: locked. */
static void enter(void)
{
    (void)mobo_enter(dev);
}

static void leave(void)
{
    mobo_leave(dev->obj->host, dev);
}

/* ---- timers ---------------------------------------------------------------------------------- */

#define TICK(n)                                                                                    \
    static void tick##n(void *self)                                                                \
    {                                                                                              \
        struct dev *d = self;                                                                      \
        d->order[d->fired++ % 64] = n;                                                             \
        atomic_fetch_add(&d->count, 1);                                                            \
    }
TICK(0)
TICK(1)
TICK(2)
TICK(3)

static void tick_late(void *self)
{
    struct dev *d = self;
    uint64_t now = mobo_now(d->obj, MOBO_CLOCK_VM);
    CHECK(now >= d->due); /* never early */
    d->late += now - d->due;
    if (++d->fired < 50) {
        d->due = now + 2 * MS;
        mobo_timer_set(d->obj, d->timer[4], d->due);
    }
    atomic_fetch_add(&d->count, 1);
}

/* Cancels the other one of a pair that is due at the same moment. */
static void tick_cancels(void *self)
{
    struct dev *d = self;
    mobo_timer_cancel(d->obj, d->timer[0]);
    mobo_timer_cancel(d->obj, d->timer[6]);
    atomic_fetch_add(&d->count, 1);
}

static void tick_past(void *self)
{
    struct dev *d = self;
    if (++d->fired < 1000)
        mobo_timer_set(d->obj, d->timer[7], 0);
    atomic_fetch_add(&d->count, 1);
}

static int timers_init(void *self)
{
    static void (*const fn[TIMERS])(void *) = { tick0,        tick1,        tick2,    tick3, tick_late,
                                                tick_cancels, tick_cancels, tick_past };
    dev = self;
    for (unsigned i = 0; i < TIMERS; i++)
        CHECK(mobo_timer_new(dev->obj, fn[i], &dev->timer[i]) == 0);
    return 0;
}

static int guest_timers(struct fake_cpu *cpu)
{
    mobo_obj_t *obj = dev->obj;
    (void)cpu;
    /* in the order of deadlines, not of the calls; the later call of one timer counts */
    enter();
    uint64_t now = mobo_now(obj, MOBO_CLOCK_VM);
    mobo_timer_set(obj, dev->timer[2], now + 30 * MS);
    mobo_timer_set(obj, dev->timer[0], now + 10 * MS);
    mobo_timer_set(obj, dev->timer[1], now + 5 * MS);
    mobo_timer_set(obj, dev->timer[3], now + 15 * MS);
    mobo_timer_set(obj, dev->timer[1], now + 20 * MS);
    mobo_timer_set(obj, dev->timer[3], now + 25 * MS);
    mobo_timer_cancel(obj, dev->timer[3]);
    leave();
    CHECK(fake_wait(&dev->count, 3) && running_long_enough(10));
    CHECK(dev->fired == 3 && dev->order[0] == 0 && dev->order[1] == 1 && dev->order[2] == 2);

    /* cancelled while it is due already: held up by the lock, then cancelled under the lock */
    for (unsigned i = 0; i < 50; i++) {
        unsigned fired = dev->fired;
        enter();
        mobo_timer_set(obj, dev->timer[0], 1);
        usleep(500); /* the loop waits for the lock now */
        mobo_timer_cancel(obj, dev->timer[0]);
        leave();
        usleep(200);
        enter();
        CHECK(dev->fired == fired);
        leave();
    }

    /* one cancels what is due together with it */
    enter();
    atomic_store(&dev->count, 0);
    now = mobo_now(obj, MOBO_CLOCK_VM);
    mobo_timer_set(obj, dev->timer[5], now + 2 * MS);
    mobo_timer_set(obj, dev->timer[6], now + 2 * MS);
    mobo_timer_set(obj, dev->timer[0], now + 3 * MS);
    leave();
    CHECK(fake_wait(&dev->count, 1) && running_long_enough(10));
    CHECK(atomic_load(&dev->count) == 1);

    /* deadlines in the past fire at once, and do not starve the rest: a post gets through */
    enter();
    dev->fired = 0;
    atomic_store(&dev->count, 0);
    mobo_timer_set(obj, dev->timer[7], 0);
    leave();
    CHECK(fake_wait(&dev->count, 1000));

    /* fifty deadlines: never early (see tick_late), on average not more than 2 ms late */
    enter();
    dev->fired = 0;
    dev->late = 0;
    atomic_store(&dev->count, 0);
    dev->due = mobo_now(obj, MOBO_CLOCK_VM) + MS;
    mobo_timer_set(obj, dev->timer[4], dev->due);
    leave();
    CHECK(fake_wait(&dev->count, 50));
    CHECK(dev->late / 50 < 2 * MS);
    print_message("timers: %llu us late on average\n", (unsigned long long)(dev->late / 50000));
    return over();
}

static void test_timers(void **state)
{
    static const mobo_class_t c = { MOBO_CLASS(struct dev, NULL, NULL), .name = "timers",
                                    .summary = "-", .init = timers_init };
    (void)state;
    assert_int_equal(run(&c, guest_timers, NULL), EXIT_GUEST_OFF);
}

/* ---- posts and work -------------------------------------------------------------------------- */

struct poster {
    pthread_t thread;
    unsigned number;
};

static void count_post(void *self, void *arg)
{
    struct dev *d = self;
    unsigned word = (unsigned)(uintptr_t)arg, who = word >> 24, n = word & 0xffffff;
    CHECK(!d->inside); /* one callback of an object at a time */
    d->inside = true;
    CHECK(n == d->last[who] + 1); /* in the order of the posts */
    d->last[who] = n;
    d->inside = false;
    atomic_fetch_add(&d->count, 1);
}

static void *post_many(void *arg)
{
    const struct poster *p = arg;
    for (unsigned i = 1; i <= POSTS; i++)
        CHECK(mobo_post(dev->obj, count_post, (void *)(uintptr_t)(p->number << 24 | i)) == 0);
    return NULL;
}

static void slow(void *arg)
{
    unsigned *value = arg;
    usleep(2000);
    (*value)++;
}

static void slow_done(void *self, void *arg)
{
    struct dev *d = self;
    CHECK(*(unsigned *)arg == 1);
    CHECK(!d->inside);
    atomic_fetch_add(&d->done, 1);
}

static unsigned work_items[20];

static int guest_posts(struct fake_cpu *cpu)
{
    struct poster p[POSTERS];
    (void)cpu;
    for (unsigned i = 0; i < POSTERS; i++) {
        p[i].number = i;
        CHECK(pthread_create(&p[i].thread, NULL, post_many, &p[i]) == 0);
    }
    for (unsigned i = 0; i < POSTERS; i++)
        pthread_join(p[i].thread, NULL);
    CHECK(fake_wait(&dev->count, POSTERS * POSTS));

    for (unsigned i = 0; i < 20; i++)
        CHECK(mobo_work(dev->obj, slow, slow_done, &work_items[i]) == 0);
    CHECK(fake_wait(&dev->done, 20));
    for (unsigned i = 0; i < 20; i++)
        CHECK(work_items[i] == 1);
    /* what is under way at power-off comes to its end before the object does */
    for (unsigned i = 0; i < 20; i++)
        CHECK(mobo_work(dev->obj, slow, i % 2 ? slow_done : NULL, &dev->late_work[i]) == 0);
    return over();
}

static int posts_init(void *self)
{
    dev = self;
    memset(work_items, 0, sizeof work_items);
    /* posts wait until every object has been reset */
    CHECK(mobo_post(dev->obj, count_post, (void *)(uintptr_t)(POSTERS << 24 | 1)) == 0);
    CHECK(atomic_load(&dev->count) == 0);
    return 0;
}

static void posts_reset(void *self)
{
    struct dev *d = self;
    CHECK(atomic_load(&d->count) == 0);
    CHECK(mobo_post(d->obj, count_post, (void *)(uintptr_t)(POSTERS << 24 | 2)) == 0);
}

static void posts_fini(void *self)
{
    struct dev *d = self;
    for (unsigned i = 0; i < 20; i++)
        CHECK(d->late_work[i] == 1);
}

static void test_posts(void **state)
{
    static const mobo_class_t c = { MOBO_CLASS(struct dev, NULL, NULL), .name = "posts",
                                    .summary = "-", .init = posts_init, .reset = posts_reset,
                                    .fini = posts_fini };
    (void)state;
    assert_int_equal(run(&c, guest_posts, NULL), EXIT_GUEST_OFF);
}

/* ---- loop threads ---------------------------------------------------------------------------- */

static void note_thread(void *self, void *arg)
{
    struct dev *d = self;
    (void)arg;
    d->thread = (uintptr_t)pthread_self();
    atomic_fetch_add(&d->count, 1);
}

static int threads_init(void *self)
{
    struct dev *d = self;
    return mobo_post(d->obj, note_thread, NULL);
}

static int guest_threads(struct fake_cpu *cpu)
{
    struct dev *d[4];
    (void)cpu;
    for (unsigned i = 0; i < 4; i++) {
        d[i] = fake.list[1 + i]->self;
        CHECK(fake_wait(&d[i]->count, 1));
    }
    CHECK(d[0]->thread == d[1]->thread); /* the default loop */
    CHECK(d[2]->thread == d[3]->thread); /* the one named "io" */
    CHECK(d[0]->thread != d[2]->thread && d[2]->thread != (uintptr_t)pthread_self());
    return over();
}

static void test_threads(void **state)
{
    static const mobo_class_t c = { MOBO_CLASS(struct dev, NULL, NULL), .name = "threads",
                                    .summary = "-", .init = threads_init };
    (void)state;
    fake_new(1, 2 << 20, guest_threads);
    fake_add("a", &c, NULL);
    fake_add("b", &c, NULL);
    fake_add("c", &c, "io");
    fake_add("d", &c, "io");
    assert_int_equal(fake_run(), EXIT_GUEST_OFF);
}

/* ---- files ----------------------------------------------------------------------------------- */

static void on_pipe(void *self, uint32_t events)
{
    struct dev *d = self;
    char byte;
    CHECK(events == MOBO_FD_READ);
    if (read(d->fd[0], &byte, 1) != 1) { /* the other end is gone */
        mobo_fd_drop(d->obj, d->watch[0]);
        atomic_fetch_add(&d->done, 1);
        return;
    }
    d->seen[0]++;
    atomic_fetch_add(&d->count, 1);
}

static void on_file(void *self, uint32_t events)
{
    struct dev *d = self;
    CHECK(events == MOBO_FD_READ);
    if (++d->seen[1] == 100) /* always ready: again and again until told otherwise */
        mobo_fd_update(d->obj, d->watch[1], 0);
    CHECK(d->seen[1] <= 100);
    atomic_fetch_add(&d->bells[1], 1);
}

static void on_null(void *self, uint32_t events)
{
    struct dev *d = self;
    CHECK(events == (MOBO_FD_READ | MOBO_FD_WRITE));
    mobo_fd_drop(d->obj, d->watch[2]);
    atomic_fetch_add(&d->bells[2], 1);
}

static int pipe_in = -1;

static int files_init(void *self)
{
    int ends[2];
    char name[] = "/tmp/mobo-test-XXXXXX";
    struct dev *d = dev = self;
    CHECK(pipe(ends) == 0);
    pipe_in = ends[1];
    d->fd[0] = ends[0];
    d->fd[1] = mkstemp(name);
    (void)unlink(name);
    d->fd[2] = open("/dev/null", O_RDWR);
    CHECK(mobo_fd_watch(d->obj, d->fd[0], MOBO_FD_READ, on_pipe, &d->watch[0]) == 0);
    CHECK(mobo_fd_watch(d->obj, d->fd[1], MOBO_FD_READ, on_file, &d->watch[1]) == 0);
    CHECK(mobo_fd_watch(d->obj, d->fd[2], MOBO_FD_READ | MOBO_FD_WRITE, on_null, &d->watch[2]) == 0);
    CHECK(mobo_fd_watch(d->obj, -1, MOBO_FD_READ, on_null, &d->watch[2]) == MOBO_EINVAL);
    CHECK(mobo_fd_watch(d->obj, d->fd[1], 8, on_null, &d->watch[2]) == MOBO_EINVAL);
    return 0;
}

static void files_fini(void *self)
{
    struct dev *d = self;
    mobo_fd_update(d->obj, d->watch[1], MOBO_FD_READ); /* without effect by now */
    mobo_fd_drop(d->obj, d->watch[1]);
    for (unsigned i = 0; i < 3; i++)
        close(d->fd[i]);
}

static int guest_files(struct fake_cpu *cpu)
{
    (void)cpu;
    CHECK(write(pipe_in, "abc", 3) == 3);
    CHECK(fake_wait(&dev->count, 3));
    enter();
    mobo_fd_update(dev->obj, dev->watch[0], 0);
    leave();
    CHECK(write(pipe_in, "de", 2) == 2);
    CHECK(running_long_enough(10) && atomic_load(&dev->count) == 3);
    enter();
    mobo_fd_update(dev->obj, dev->watch[0], MOBO_FD_READ);
    leave();
    CHECK(fake_wait(&dev->count, 5));
    close(pipe_in);
    CHECK(fake_wait(&dev->done, 1));
    CHECK(fake_wait(&dev->bells[1], 100) && fake_wait(&dev->bells[2], 1));
    CHECK(running_long_enough(10));
    CHECK(atomic_load(&dev->done) == 1 && atomic_load(&dev->bells[2]) == 1);
    CHECK(atomic_load(&dev->bells[1]) == 100);
    /* the flags of the file are as they were: a terminal shares them with the shell */
    CHECK(!(fcntl(dev->fd[0], F_GETFL) & O_NONBLOCK));
    return over();
}

static void test_files(void **state)
{
    static const mobo_class_t c = { MOBO_CLASS(struct dev, NULL, NULL), .name = "files",
                                    .summary = "-", .init = files_init, .fini = files_fini };
    (void)state;
    assert_int_equal(run(&c, guest_files, NULL), EXIT_GUEST_OFF);
}

/* ---- doorbells ------------------------------------------------------------------------------- */

enum { BASE = 0x200000 };

static void reg_write(void *self, uint64_t off, uint64_t val, unsigned bytes)
{
    struct dev *d = self;
    (void)off;
    (void)val;
    (void)bytes;
    atomic_fetch_add(&d->count, 1);
}

static const mobo_region_t regs = { .size = sizeof regs, .name = "regs", .length = 0x100,
                                    .write = reg_write };

static void on_bell(void *self, void *arg)
{
    struct dev *d = self;
    CHECK((uintptr_t)pthread_self() != d->thread);
    atomic_fetch_add(&d->bells[(uintptr_t)arg], 1);
}

static int bells_init(void *self)
{
    struct dev *d = dev = self;
    const mobo_task_api_t *t = d->obj->host->task;
    mobo_place_t p = { .size = sizeof p, .space = MOBO_SPACE_MEM, .base = BASE, .region = &regs };
    CHECK(mobo_region_add(d->obj, &p, &d->handle) == 0);
    for (uintptr_t i = 0; i < 2; i++)
        CHECK(t->doorbell(d->obj, d->handle, 0x50, 4, i, 0, on_bell, (void *)i) == 0);
    CHECK(t->doorbell(d->obj, d->handle, 0x60, 2, 0, 1, on_bell, (void *)2) == 0);
    CHECK(t->doorbell(d->obj, d->handle, 0xfe, 4, 0, 1, on_bell, NULL) == MOBO_EINVAL);
    CHECK(t->doorbell(d->obj, d->handle, 0, 3, 0, 1, on_bell, NULL) == MOBO_EINVAL);
    CHECK(t->doorbell(d->obj, 77, 0, 4, 0, 1, on_bell, NULL) == MOBO_ENOENT);
    return 0;
}

static int guest_bells(struct fake_cpu *cpu)
{
    dev->thread = (uintptr_t)pthread_self();
    fake_store(cpu, BASE + 0x50, 0, 4);
    fake_store(cpu, BASE + 0x50, 1, 4);
    fake_store(cpu, BASE + 0x60, 0x1234, 2);
    CHECK(fake_wait(&dev->bells[0], 1) && fake_wait(&dev->bells[1], 1));
    CHECK(fake_wait(&dev->bells[2], 1) && atomic_load(&dev->count) == 0);
    /* not quite a match: a plain store */
    fake_store(cpu, BASE + 0x50, 2, 4);
    fake_store(cpu, BASE + 0x50, 0, 2);
    fake_store(cpu, BASE + 0x50, 0, 8);
    fake_store(cpu, BASE + 0x54, 0, 4);
    CHECK(atomic_load(&dev->count) == 4);
    /* while the object is busy, any number of stores folds into one call */
    enter();
    atomic_store(&dev->bells[0], 0);
    for (unsigned i = 0; i < 100; i++)
        fake_store(cpu, BASE + 0x50, 0, 4);
    leave();
    CHECK(fake_wait(&dev->bells[0], 1) && running_long_enough(5));
    CHECK(atomic_load(&dev->bells[0]) <= 2); /* one may have been on its way when we took the lock */
    /* hammered, the last one is never lost */
    for (unsigned i = 0; i < 2000; i++) {
        atomic_store(&dev->bells[1], 0);
        fake_store(cpu, BASE + 0x50, 1, 4);
        CHECK(fake_wait(&dev->bells[1], 1));
    }
    return over();
}

/* An accelerator that takes them over: the store never comes here, the event does. */
static int guest_events(struct fake_cpu *cpu)
{
    const mobo_mem_api_t *mem = dev->obj->host->mem;
    CHECK(atomic_load(&cpu->accel->bells_added) == 3);
    CHECK(cpu->accel->bell_addr >= BASE + 0x50 && cpu->accel->bell_addr <= BASE + 0x60);
    CHECK(eventfd_write(cpu->accel->bell_fd, 1) == 0);
    unsigned rung = 0;
    for (unsigned i = 0; i < 1000 && !rung; i++) {
        (void)running_long_enough(1);
        for (unsigned n = 0; n < 3; n++)
            rung += atomic_load(&dev->bells[n]);
    }
    CHECK(rung == 1);
    CHECK(mem->region_move(dev->obj, dev->handle, BASE + 0x1000, 1) == 0);
    CHECK(atomic_load(&cpu->accel->bells_removed) == 3);
    CHECK(atomic_load(&cpu->accel->bells_added) == 6);
    CHECK(cpu->accel->bell_addr >= BASE + 0x1050);
    return over();
}

static const mobo_class_t bells_class = { MOBO_CLASS(struct dev, NULL, NULL), .name = "bells",
                                          .summary = "-", .init = bells_init };

static void test_bells(void **state)
{
    (void)state;
    assert_int_equal(run(&bells_class, guest_bells, NULL), EXIT_GUEST_OFF);
}

static void test_bell_events(void **state)
{
    (void)state;
    fake_new(1, 2 << 20, guest_events);
    fake_caps = MOBO_ACCEL_DOORBELL;
    fake_add("dev", &bells_class, NULL);
    assert_int_equal(fake_run(), EXIT_GUEST_OFF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers), cmocka_unit_test(test_posts), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_files),  cmocka_unit_test(test_bells), cmocka_unit_test(test_bell_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
