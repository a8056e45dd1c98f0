/*
 * test-life.c: a machine from start to end: candidates, failing starts, resets, requests and exit
 * codes, wires and the other interrupt lines, signals, the log's limits.
 */
#include "fake.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINES = 8 };

static int over(void)
{
    fake_request(MOBO_VM_OFF);
    return FAKE_HALT;
}

/* ---- a chip with inputs ---------------------------------------------------------------------- */

struct chip {
    mobo_obj_t *obj;
    atomic_uint level[LINES], changes[LINES];
    atomic_bool busy[LINES];
    atomic_uint eois;
};

static uint32_t chip_lines(void *self)
{
    (void)self;
    return LINES;
}

static void chip_set(void *self, uint32_t line, uint32_t level)
{
    struct chip *c = self;
    CHECK(!atomic_exchange(&c->busy[line], true)); /* ordered: never two at once */
    CHECK(atomic_exchange(&c->level[line], level) == !level); /* changes only */
    atomic_fetch_add(&c->changes[line], 1);
    atomic_store(&c->busy[line], false);
}

static int chip_ack(void *self)
{
    struct chip *c = self;
    CHECK(c->obj != NULL);
    return 0x20;
}

static void chip_eoi(void *self, uint32_t vector)
{
    struct chip *c = self;
    CHECK(vector == 0x44);
    atomic_fetch_add(&c->eois, 1);
}

static int chip_init(void *self)
{
    struct chip *c = self;
    CHECK(c->obj->host->irq->extint_attach(c->obj, chip_ack) == 0);
    CHECK(c->obj->host->irq->eoi_attach(c->obj, chip_eoi) == 0);
    return 0;
}

static const mobo_irqchip_ops_t chip_ops = { .size = sizeof chip_ops, .lines = chip_lines,
                                             .set = chip_set };
static const mobo_iface_t chip_provides[] = { { MOBO_IRQCHIP, &chip_ops }, { 0 } };
static const mobo_class_t chip_class = { MOBO_CLASS(struct chip, NULL, NULL), .name = "chip",
                                         .summary = "-", .provides = chip_provides,
                                         .init = chip_init };

static struct chip *chip(void)
{
    return fake.list[1]->self;
}

/* ---- wires ----------------------------------------------------------------------------------- */

enum { SOURCES = 4, TOGGLES = 20000 };

struct wired {
    mobo_obj_t *obj;
    mobo_irq_t irq[SOURCES];
};

static struct wired *wired;

static int wired_init(void *self)
{
    mobo_irq_t none = { .ops = NULL };
    wired = self;
    for (unsigned i = 0; i < SOURCES; i++)
        CHECK(mobo_wire(wired->obj, chip(), 3, &wired->irq[i]) == 0);
    mobo_irq_set(none, 1); /* swallowed */
    return 0;
}

static void *toggle(void *arg)
{
    mobo_irq_t *irq = arg;
    for (unsigned i = 0; i < TOGGLES; i++) {
        mobo_irq_set(*irq, 1);
        CHECK(atomic_load(&chip()->level[3]) == 1); /* ours is high, so the OR is */
        mobo_irq_set(*irq, 0);
    }
    return NULL;
}

static int guest_wires(struct fake_cpu *cpu)
{
    struct chip *c = chip();
    pthread_t thread[SOURCES];
    /* the OR of the sources, and only its changes */
    mobo_irq_set(wired->irq[0], 1);
    mobo_irq_set(wired->irq[1], 1);
    mobo_irq_set(wired->irq[1], 7);
    CHECK(c->level[3] == 1 && c->changes[3] == 1);
    mobo_irq_set(wired->irq[0], 0);
    CHECK(c->level[3] == 1 && c->changes[3] == 1);
    mobo_irq_set(wired->irq[1], 0);
    CHECK(c->level[3] == 0 && c->changes[3] == 2);
    mobo_irq_pulse(wired->irq[2]);
    CHECK(c->level[3] == 0 && c->changes[3] == 4);
    for (unsigned i = 0; i < SOURCES; i++)
        CHECK(pthread_create(&thread[i], NULL, toggle, &wired->irq[i]) == 0);
    for (unsigned i = 0; i < SOURCES; i++)
        pthread_join(thread[i], NULL);
    CHECK(c->level[3] == 0 && c->changes[3] % 2 == 0);

    /* messages and the lines between 8259, IOAPIC and CPU */
    CHECK(mobo_msi(wired->obj, 0xfee00000, 0x31) == 0);
    CHECK(atomic_load(&cpu->accel->msis) == 1);
    wired->obj->host->irq->extint(wired->obj, 5);
    CHECK(atomic_load(&cpu->accel->extint) == 1);
    CHECK(cpu->up->intack(cpu->ctx) == 0x20);
    cpu->up->eoi(cpu->ctx, 0x44);
    CHECK(c->eois == 1);
    return over();
}

static const mobo_class_t wired_class = { MOBO_CLASS(struct wired, NULL, NULL), .name = "wired",
                                          .summary = "-", .init = wired_init };

static void test_wires(void **state)
{
    (void)state;
    fake_new(1, 2 << 20, guest_wires);
    fake_add("chip", &chip_class, NULL);
    fake_add("wired", &wired_class, NULL);
    assert_int_equal(fake_run(), EXIT_GUEST_OFF);
}

static int bad_wire_init(void *self)
{
    struct wired *w = self;
    CHECK(mobo_wire(w->obj, w, 0, &w->irq[0]) == MOBO_ENOTSUP); /* no chip */
    CHECK(w->obj->host->irq->extint_attach(w->obj, chip_ack) == MOBO_EEXIST);
    return mobo_wire(w->obj, chip(), LINES, &w->irq[0]); /* one too many */
}

static void test_bad_wire(void **state)
{
    static const mobo_class_t c = { MOBO_CLASS(struct wired, NULL, NULL), .name = "bad",
                                    .summary = "-", .init = bad_wire_init };
    (void)state;
    fake_new(1, 2 << 20, guest_wires);
    fake_add("chip", &chip_class, NULL);
    fake_add("bad", &c, NULL);
    assert_int_equal(fake_run(), EXIT_BAD_INPUT);
}

/* ---- resets ---------------------------------------------------------------------------------- */

enum { STORM = 1000 };

struct plain {
    mobo_obj_t *obj;
    mobo_irq_t irq;
    mobo_timer_t *timer;
    unsigned resets, level_at_reset;
    uint32_t handle;
    atomic_uint ticks, posts, inside;
};

static struct plain *plain;

static void plain_tick(void *self)
{
    struct plain *p = self;
    CHECK(atomic_exchange(&p->inside, 1) == 0);
    atomic_fetch_add(&p->ticks, 1);
    mobo_timer_set(p->obj, p->timer, mobo_now(p->obj, MOBO_CLOCK_VM) + 100000);
    atomic_store(&p->inside, 0);
}

static void plain_post(void *self, void *arg)
{
    struct plain *p = self;
    (void)arg;
    CHECK(atomic_exchange(&p->inside, 1) == 0);
    atomic_fetch_add(&p->posts, 1);
    atomic_store(&p->inside, 0);
}

static void plain_write(void *self, uint64_t off, uint64_t val, unsigned bytes)
{
    struct plain *p = self;
    (void)bytes;
    CHECK(atomic_exchange(&p->inside, 1) == 0);
    if (off == 0)
        mobo_irq_set(p->irq, val & 1);
    (void)mobo_post(p->obj, plain_post, NULL);
    atomic_store(&p->inside, 0);
    if (val & 2)
        mobo_vm_request(p->obj, MOBO_VM_RESET);
}

static const mobo_region_t plain_regs = { .size = sizeof plain_regs, .name = "regs", .length = 4,
                                          .write = plain_write };

static int plain_init(void *self)
{
    mobo_place_t place = { .size = sizeof place, .space = MOBO_SPACE_IO, .base = 0x100,
                           .region = &plain_regs };
    uint64_t reg = 1;
    plain = self;
    CHECK(mobo_wire(plain->obj, chip(), 5, &plain->irq) == 0);
    CHECK(mobo_timer_new(plain->obj, plain_tick, &plain->timer) == 0);
    CHECK(plain->obj->host->vm->vcpu_set(plain->obj, 0, 1, &reg, 8) == MOBO_EBUSY);
    return mobo_region_add(plain->obj, &place, &plain->handle);
}

static void plain_reset(void *self)
{
    struct plain *p = self;
    uint64_t reg = 0x1000 + p->resets, back = 0;
    CHECK(atomic_load(&p->inside) == 0); /* neither loop nor CPU is in here */
    CHECK(atomic_load(&chip()->level[5]) == 0);
    p->resets++;
    p->level_at_reset = p->resets % 2;
    mobo_irq_set(p->irq, p->level_at_reset); /* high from reset on: must not get lost */
    mobo_timer_set(p->obj, p->timer, 0);
    CHECK(p->obj->host->vm->vcpu_set(p->obj, 0, 1, &reg, sizeof reg) == 0);
    CHECK(p->obj->host->vm->vcpu_get(p->obj, 0, 1, &back, sizeof back) == 0 && back == reg);
    CHECK(p->obj->host->vm->vcpu_get(p->obj, 9, 1, &back, sizeof back) == MOBO_ENOENT);
    CHECK(p->obj->host->vm->vcpu_get(p->obj, 0, 7, &back, sizeof back) == MOBO_ENOTSUP);
}

static const mobo_class_t plain_class = { MOBO_CLASS(struct plain, NULL, NULL), .name = "plain",
                                          .summary = "-", .init = plain_init,
                                          .reset = plain_reset };

static _Atomic uint64_t seen_reset[2];

static int guest_storm(struct fake_cpu *cpu)
{
    uint64_t n = cpu->resets;
    CHECK(n == plain->resets); /* what the loader sees is what the CPU runs with */
    if (cpu->index == 0) {
        CHECK(cpu->regs == 0x1000 + n - 1);
        /* nothing of the guest runs on after it asked for a reset, until it is reset */
        CHECK(atomic_exchange(&seen_reset[0], n) == n - 1);
        CHECK(atomic_load(&chip()->level[5]) == plain->level_at_reset);
        fake_out(cpu, 0x100, 1, 1);
        if (n > STORM)
            return over();
        fake_out(cpu, 0x100, 3, 1);
        return n % 2 ? FAKE_AGAIN : FAKE_HALT;
    }
    atomic_store(&seen_reset[1], n);
    fake_out(cpu, 0x101, 0, 1);
    return n % 3 ? FAKE_AGAIN : FAKE_HALT;
}

static void test_reset_storm(void **state)
{
    (void)state;
    atomic_store(&seen_reset[0], 0);
    fake_new(2, 2 << 20, guest_storm);
    fake_add("chip", &chip_class, NULL);
    fake_add("plain", &plain_class, NULL);
    assert_int_equal(fake_run(), EXIT_GUEST_OFF);
    assert_int_equal(atomic_load(&seen_reset[0]), STORM + 1);
}

/* ---- resets and work ------------------------------------------------------------------------- */

/* Its work writes into guest RAM that it borrowed, as a disk's does: never during a reset or after. */
struct worker {
    mobo_obj_t *obj;
    uint8_t *ram;
    unsigned resets;
    atomic_uint started, writing, written, done;
};

static struct worker *worker;

static void worker_write(void *arg)
{
    struct worker *w = arg;
    atomic_fetch_add(&w->writing, 1);
    atomic_fetch_add(&w->started, 1);
    usleep(30000);
    memset(w->ram, 0xee, 4096);
    atomic_fetch_add(&w->written, 1);
    atomic_fetch_sub(&w->writing, 1);
}

static void worker_done(void *self, void *arg)
{
    struct worker *w = self;
    CHECK(arg == self);
    atomic_fetch_add(&w->done, 1);
}

static void worker_reset(void *self)
{
    struct worker *w = self;
    void *host;
    uint64_t got;
    CHECK(atomic_load(&w->writing) == 0 && atomic_load(&w->written) == 6 * w->resets);
    w->resets++;
    worker = w;
    CHECK(mobo_dma_map(w->obj, 0x1000, 4096, 1, &host, &got) == 0 && got == 4096);
    w->ram = host;
    memset(w->ram, 0x11, 4096); /* a kernel, loaded anew */
}

static int guest_works(struct fake_cpu *cpu)
{
    unsigned n = (unsigned)cpu->resets;
    for (unsigned i = 0; i < 4096; i++)
        CHECK(worker->ram[i] == 0x11);
    CHECK(fake_wait(&worker->done, 6 * (n - 1))); /* of before the reset: late, but not lost */
    if (n > 3)
        return over();
    for (unsigned i = 0; i < 6; i++) /* more than there are threads: some only wait */
        CHECK(mobo_work(worker->obj, worker_write, worker_done, worker) == 0);
    CHECK(fake_wait(&worker->started, 6 * (n - 1) + 1));
    fake_request(MOBO_VM_RESET);
    return FAKE_HALT;
}

static void test_reset_waits(void **state)
{
    static const mobo_class_t c = { MOBO_CLASS(struct worker, NULL, NULL), .name = "worker",
                                    .summary = "-", .reset = worker_reset };
    (void)state;
    fake_new(1, 2 << 20, guest_works);
    fake_add("worker", &c, NULL);
    assert_int_equal(fake_run(), EXIT_GUEST_OFF);
}

/* ---- requests and exit codes ----------------------------------------------------------------- */

static uint32_t ask;     /* a request, or 100 + a reason to stop */
static unsigned runs;

static int guest_asks(struct fake_cpu *cpu)
{
    runs++;
    if (ask >= 100)
        cpu->up->stop(cpu->ctx, ask - 100, 0);
    else
        fake_request(ask);
    if (runs > 2)
        fake_request(MOBO_VM_OFF);
    return FAKE_HALT;
}

static void test_exit_codes(void **state)
{
    static const struct {
        uint32_t ask, on_reset, on_crash;
        int code;
        unsigned runs;
    } cases[] = {
        { MOBO_VM_OFF, 0, 0, EXIT_GUEST_OFF, 1 },
        { MOBO_VM_QUIT, 0, 0, EXIT_GUEST_OFF, 1 },
        { MOBO_VM_FAIL, 0, 0, EXIT_OTHER, 1 },
        { MOBO_VM_CRASH, 0, ON_CRASH_EXIT, EXIT_GUEST_CRASH, 1 },
        { MOBO_VM_CRASH, 0, ON_CRASH_RESET, EXIT_GUEST_OFF, 3 },
        { MOBO_VM_RESET, ON_RESET_EXIT, 0, EXIT_GUEST_RESET, 1 },
        { MOBO_VM_RESET, ON_RESET_RESET, 0, EXIT_GUEST_OFF, 3 },
        { 100 + MOBO_STOP_TRIPLE_FAULT, 0, ON_CRASH_EXIT, EXIT_GUEST_CRASH, 1 },
        { 100 + MOBO_STOP_RESET, ON_RESET_EXIT, 0, EXIT_GUEST_RESET, 1 },
        { 100 + MOBO_STOP_FAIL, 0, 0, EXIT_OTHER, 1 },
    };
    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        ask = cases[i].ask;
        runs = 0;
        fake_new(1, 2 << 20, guest_asks);
        fake.m.set.on_reset = cases[i].on_reset;
        fake.m.set.on_crash = cases[i].on_crash;
        assert_int_equal(fake_run(), cases[i].code);
        assert_int_equal(runs, cases[i].runs);
    }
}

/* Power-off, asked for while a reset is already under way: the guest does not come up once more. */
static int guest_changes_its_mind(struct fake_cpu *cpu)
{
    if (cpu->index)
        return FAKE_HALT;
    runs++;
    fake_request(MOBO_VM_RESET);
    while (atomic_load(&fake.rt->control.requests))
        usleep(100);
    fake_request(MOBO_VM_OFF);
    return FAKE_HALT;
}

static void test_off_in_reset(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 200; i++) { /* it would be seen now and then */
        runs = 0;
        fake_new(4, 2 << 20, guest_changes_its_mind);
        assert_int_equal(fake_run(), EXIT_GUEST_OFF);
        assert_int_equal(runs, 1);
    }
}

/* A crash that pauses: the clock stands, the loops go on, and the user can leave. */
static uint64_t paused_at;

static void pause_over(void *self, void *arg)
{
    struct plain *p = self;
    (void)arg;
    usleep(20000);
    paused_at = mobo_now(p->obj, MOBO_CLOCK_VM);
    usleep(20000);
    CHECK(mobo_now(p->obj, MOBO_CLOCK_VM) == paused_at);
    mobo_vm_request(p->obj, MOBO_VM_QUIT);
}

static int guest_pauses(struct fake_cpu *cpu)
{
    (void)mobo_post(&fake.list[1]->pub, pause_over, NULL);
    cpu->up->stop(cpu->ctx, MOBO_STOP_TRIPLE_FAULT, 0);
    return FAKE_HALT;
}

static const mobo_class_t bare_class = { MOBO_CLASS(struct plain, NULL, NULL), .name = "bare",
                                         .summary = "-" };

static void test_pause(void **state)
{
    (void)state;
    fake_new(1, 2 << 20, guest_pauses);
    fake.m.set.on_crash = ON_CRASH_PAUSE;
    fake_add("bare", &bare_class, NULL);
    assert_int_equal(fake_run(), EXIT_GUEST_OFF);
}

static int guest_signals(struct fake_cpu *cpu)
{
    (void)cpu;
    CHECK(kill(getpid(), SIGTERM) == 0);
    return FAKE_HALT;
}

static void test_signal(void **state)
{
    (void)state;
    fake_new(1, 2 << 20, guest_signals);
    assert_int_equal(fake_run(), EXIT_OTHER);
}

/* ---- starts ---------------------------------------------------------------------------------- */

static char events[64];
static unsigned event_count;

static void note(char c)
{
    if (event_count < sizeof events - 1)
        events[event_count++] = c;
}

static void never(void *self)
{
    (void)self;
    fake_failed(__FILE__, __LINE__, "a callback of an object that did not start");
}

static void never_post(void *self, void *arg)
{
    (void)arg;
    never(self);
}

/* Takes one of everything, then gives up: the core must clean up all of it. */
static int broken_init(void *self)
{
    struct plain *p = self;
    mobo_watch_t *watch;
    void *host;
    int fd[2];
    CHECK(plain_init(self) == 0);
    CHECK(mobo_timer_new(p->obj, never, &p->timer) == 0);
    mobo_timer_set(p->obj, p->timer, 0);
    CHECK(mobo_post(p->obj, never_post, NULL) == 0);
    CHECK(p->obj->host->mem->ram_new(p->obj, "x", 4096, 0, &host) == 0);
    CHECK(p->obj->host->fw->reserve(p->obj, 0, 4096, MOBO_MEM_RESERVED) == 0);
    CHECK(p->obj->host->task->doorbell(p->obj, p->handle, 0, 4, 0, 1, never_post, NULL) == 0);
    CHECK(pipe(fd) == 0);
    CHECK(mobo_fd_watch(p->obj, fd[0], MOBO_FD_READ, NULL, &watch) == 0);
    close(fd[0]);
    close(fd[1]);
    mobo_irq_set(p->irq, 1);
    note('i');
    return mobo_fail(p->obj, "the reason");
}

static void broken_fini(void *self)
{
    struct plain *p = self;
    mobo_timer_set(p->obj, p->timer, 1); /* without effect */
    note('f');
}

static const mobo_class_t broken_class = { MOBO_CLASS(struct plain, NULL, NULL), .name = "broken",
                                           .summary = "-", .init = broken_init,
                                           .fini = broken_fini };

static int good_init(void *self)
{
    note('g');
    return plain_init(self); /* at the places that the broken one had */
}

static void good_fini(void *self)
{
    (void)self;
    note('e');
}

static const mobo_class_t good_class = { MOBO_CLASS(struct plain, NULL, NULL), .name = "good",
                                         .summary = "-", .init = good_init, .fini = good_fini };

static int guest_off(struct fake_cpu *cpu)
{
    (void)cpu;
    usleep(5000);
    CHECK(atomic_load(&chip()->level[5]) == 0); /* the broken one's wire is down */
    return over();
}

static void test_alternative(void **state)
{
    (void)state;
    event_count = 0;
    memset(events, 0, sizeof events);
    fake_new(1, 2 << 20, guest_off);
    fake_add("chip", &chip_class, NULL);
    fake_alternative(fake_add("dev", &broken_class, NULL), &good_class);
    assert_int_equal(fake_run(), EXIT_GUEST_OFF);
    assert_string_equal(events, "ifge");
}

/* ---- the log --------------------------------------------------------------------------------- */

static char log_text[65536];
static int log_pipe, old_stderr;

static void log_catch(void)
{
    int ends[2];
    fflush(stderr);
    assert_int_equal(pipe(ends), 0);
    old_stderr = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    log_pipe = ends[0];
}

static void log_caught(void)
{
    dup2(old_stderr, STDERR_FILENO);
    close(old_stderr);
    size_t len = 0;
    ssize_t n;
    while ((n = read(log_pipe, log_text + len, sizeof log_text - 1 - len)) > 0)
        len += (size_t)n;
    log_text[len] = 0;
    close(log_pipe);
}

static unsigned count_of(const char *what)
{
    unsigned n = 0;
    for (const char *p = log_text; (p = strstr(p, what)); p++)
        n++;
    return n;
}

static void test_all_fail(void **state)
{
    static const struct ini_section section = { .name = "dev", .pos = { "x.ini", 7 } };
    (void)state;
    event_count = 0;
    memset(events, 0, sizeof events);
    fake_new(1, 2 << 20, guest_off);
    fake_add("chip", &chip_class, NULL);
    struct object *o = fake_add("dev", &broken_class, NULL);
    o->section = &section;
    fake_alternative(o, &broken_class);
    log_catch();
    int code = fake_run();
    log_caught();
    assert_int_equal(code, EXIT_BAD_INPUT);
    assert_string_equal(events, "ifif");
    assert_string_equal(log_text, "x.ini:7: [dev]: the reason\nx.ini:7: [dev]: the reason\n");
}

static void test_no_accel(void **state)
{
    (void)state;
    fake_new(1, 2 << 20, guest_off);
    free(fake.list[0]);
    fake.m.object_count = 0;
    fake_add("bare", &bare_class, NULL);
    log_catch();
    int code = fake_run();
    log_caught();
    assert_int_equal(code, EXIT_BAD_INPUT);
    assert_int_equal(count_of("no section provides mobo.accel/1"), 1);
}

static int guest_talks(struct fake_cpu *cpu)
{
    mobo_obj_t *obj = *(mobo_obj_t **)fake.list[1]->self;
    (void)cpu;
    for (unsigned i = 0; i < 1000; i++)
        mobo_log(obj, MOBO_WARN, "queue %u broken\033[2J\xc2\x9b", i);
    mobo_log(obj, MOBO_INFO, "not shown");
    usleep(600000); /* room for one line again */
    mobo_log(obj, MOBO_WARN, "later");
    mobo_log(obj, MOBO_WARN, "and one kept back");
    return over();
}

static void test_log_limit(void **state)
{
    (void)state;
    fake_new(1, 2 << 20, guest_talks);
    fake_add("vda", &bare_class, NULL);
    log_catch();
    int code = fake_run();
    log_caught();
    assert_int_equal(code, EXIT_GUEST_OFF);
    assert_true(count_of("mobo: [vda]: queue ") >= 20 && count_of("mobo: [vda]: queue ") <= 22);
    assert_int_equal(count_of(" more lines suppressed\n"), 2);
    assert_int_equal(count_of("mobo: [vda]: later\n"), 1);
    assert_int_equal(count_of("mobo: [vda]: 1 more lines suppressed\n"), 1);
    assert_int_equal(count_of("not shown"), 0);
    assert_int_equal(count_of("\033"), 0); /* the guest draws nothing on our terminal */
    assert_int_equal(count_of("\xc2\x9b"), 0);
    assert_non_null(strstr(log_text, "queue 0 broken?[2J"));
}

/* What a guest can make fail again and again (a window moved over another) does not fill the log. */
static int guest_floods(struct fake_cpu *cpu)
{
    mobo_place_t place = { .size = sizeof place, .space = MOBO_SPACE_IO, .base = 0x200,
                           .region = &plain_regs };
    uint32_t handle;
    (void)cpu;
    CHECK(mobo_region_add(plain->obj, &place, &handle) == 0);
    for (unsigned i = 0; i < 500; i++) {
        CHECK(plain->obj->host->mem->region_move(plain->obj, handle, 0x100, 1) == MOBO_EEXIST);
        CHECK(mobo_fail(&fake.list[1]->pub, "no %u", i) < 0);
    }
    return over();
}

static void test_flood(void **state)
{
    (void)state;
    fake_new(1, 2 << 20, guest_floods);
    fake_add("chip", &chip_class, NULL);
    fake_add("plain", &plain_class, NULL);
    log_catch();
    int code = fake_run();
    log_caught();
    assert_int_equal(code, EXIT_GUEST_OFF);
    assert_in_range(count_of("mobo: [plain]: regs at 0x100, 0x4 bytes, lies over regs"), 20, 22);
    assert_in_range(count_of("[chip]: no "), 20, 22);
    assert_int_equal(count_of(" more lines suppressed\n"), 2);
}

static int guest_stats(struct fake_cpu *cpu)
{
    fake_out(cpu, 0x80, 0, 1);
    stats_print(fake.rt);
    return over();
}

static void test_stats(void **state)
{
    (void)state;
    fake_new(1, 2 << 20, guest_stats);
    log_catch();
    int code = fake_run();
    log_caught();
    assert_int_equal(code, EXIT_GUEST_OFF);
    assert_int_equal(count_of("exits: 0 memory, 1 ports\n"), 1);
    assert_int_equal(count_of("stats: [accel]: fake: 2\n"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wires),       cmocka_unit_test(test_bad_wire),
        cmocka_unit_test(test_reset_storm), cmocka_unit_test(test_exit_codes),
        cmocka_unit_test(test_reset_waits), cmocka_unit_test(test_off_in_reset),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_pause),       cmocka_unit_test(test_signal),
        cmocka_unit_test(test_alternative), cmocka_unit_test(test_all_fail),
        cmocka_unit_test(test_no_accel),    cmocka_unit_test(test_log_limit),
        cmocka_unit_test(test_stats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
