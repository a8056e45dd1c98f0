/*
 * loop.c: the run loop of a virtual CPU: exceptions and interrupts between runs of the engine,
 * sleep, kicks, exclusive sections, the timer thread. It knows no instruction.
 *
 * Exclusive sections: a CPU is either inside guest code or `outside`. Whoever wants to be alone
 * sets ex_active, then waits for every other CPU to be outside; a CPU that enters sets outside to
 * 0, then looks at ex_active, and steps back if it is set. Sequential consistency of those two
 * words makes one of them see the other, so entering and leaving take no lock.
 */
#include "x86/sys.h"
#include "x86/vecstate.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

enum { BUDGET = 2000000, BUDGET_WAITING = 64 };
enum { POLL_NS = 30000, MWAIT_NS = 1000000 };

uint64_t soft_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct timespec to_timespec(uint64_t ns)
{
    return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000u),
                              .tv_nsec = (long)(ns % 1000000000u) };
}

/* ---- exclusive sections ---------------------------------------------------------------------- */

static void go_outside(struct vcpu *cpu)
{
    struct soft *s = cpu->soft;
    vec_out(cpu); /* what follows may be anything */
    atomic_store(&cpu->outside, 1);
    if (atomic_load(&s->ex_active)) {
        pthread_mutex_lock(&s->ex_lock);
        pthread_cond_broadcast(&s->ex_idle);
        pthread_mutex_unlock(&s->ex_lock);
    }
}

/*
 * ex_lock held: wait for the end of the section in progress. Who waits is counted, and the next
 * section waits until all of them are past this point, or a busy thread could lock them out.
 */
static void wait_free(struct soft *s)
{
    s->ex_waiters++;
    while (atomic_load(&s->ex_active))
        pthread_cond_wait(&s->ex_free, &s->ex_lock);
    s->ex_waiters--;
    if (s->ex_handoff && --s->ex_handoff == 0)
        pthread_cond_broadcast(&s->ex_free);
}

static void go_inside(struct vcpu *cpu)
{
    struct soft *s = cpu->soft;
    atomic_store(&cpu->outside, 0);
    if (!atomic_load(&s->ex_active))
        return;
    atomic_store(&cpu->outside, 1);
    pthread_mutex_lock(&s->ex_lock);
    /* Its own section: back from a device in the middle of it. */
    if (!s->ex_depth || !pthread_equal(s->ex_owner, pthread_self())) {
        pthread_cond_broadcast(&s->ex_idle);
        wait_free(s);
    }
    /* ex_active is set under the lock only: no need to look again. */
    atomic_store(&cpu->outside, 0);
    pthread_mutex_unlock(&s->ex_lock);
}

static bool others_outside(const struct soft *s, const struct vcpu *self)
{
    unsigned n = atomic_load(&s->vcpu_ready);
    for (unsigned i = 0; i < n; i++)
        if (s->vcpu[i] != self && !atomic_load(&s->vcpu[i]->outside))
            return false;
    return true;
}

static void exclusive_begin(struct soft *s, struct vcpu *self)
{
    pthread_mutex_lock(&s->ex_lock);
    if (s->ex_depth && pthread_equal(s->ex_owner, pthread_self())) {
        s->ex_depth++;
        pthread_mutex_unlock(&s->ex_lock);
        return;
    }
    if (self) {
        atomic_store(&self->outside, 1); /* whoever is first need not wait for us */
        pthread_cond_broadcast(&s->ex_idle);
    }
    bool waited = false;
    while (atomic_load(&s->ex_active) || (s->ex_handoff && !waited)) {
        if (atomic_load(&s->ex_active)) {
            wait_free(s);
            waited = true;
        } else {
            pthread_cond_wait(&s->ex_free, &s->ex_lock);
        }
    }
    atomic_store(&s->ex_active, 1);
    s->ex_owner = pthread_self();
    s->ex_depth = 1;
    unsigned n = atomic_load(&s->vcpu_ready);
    for (unsigned i = 0; i < n; i++)
        if (s->vcpu[i] != self)
            soft_request(s->vcpu[i], REQ_STOP);
    while (!others_outside(s, self))
        pthread_cond_wait(&s->ex_idle, &s->ex_lock);
    pthread_mutex_unlock(&s->ex_lock);
}

static void exclusive_end(struct soft *s, struct vcpu *self)
{
    pthread_mutex_lock(&s->ex_lock);
    bool last = --s->ex_depth == 0;
    if (last) {
        atomic_store(&s->ex_active, 0);
        s->ex_handoff = s->ex_waiters;
        pthread_cond_broadcast(&s->ex_free);
    }
    pthread_mutex_unlock(&s->ex_lock);
    if (last && self)
        go_inside(self);
}

void soft_exclusive_begin(struct vcpu *self)
{
    vec_out(self);
    exclusive_begin(self->soft, self);
}

void soft_exclusive_end(struct vcpu *self)
{
    exclusive_end(self->soft, self);
}

void soft_all_stop(struct soft *s)
{
    exclusive_begin(s, NULL);
}

void soft_all_go(struct soft *s)
{
    exclusive_end(s, NULL);
}

/* ---- requests, timer thread ------------------------------------------------------------------ */

void soft_request(struct vcpu *cpu, uint32_t req)
{
    atomic_fetch_or(&cpu->exit_req, req);
    if (atomic_load(&cpu->sleeping)) {
        vec_out_thread(); /* of the one that asks */
        pthread_mutex_lock(&cpu->wake_lock);
        pthread_cond_signal(&cpu->wake_cond);
        pthread_mutex_unlock(&cpu->wake_lock);
    }
}

/* Running CPUs are told when their deadline has come; sleeping ones have it as their time-out. */
static void *timer_main(void *arg)
{
    struct soft *s = arg;
    uint64_t told[SOFT_VCPUS_MAX] = { 0 };
    pthread_mutex_lock(&s->timer_lock);
    while (!s->timer_quit) {
        uint64_t now = soft_now(), next = ~0ull;
        unsigned n = atomic_load(&s->vcpu_ready);
        for (unsigned i = 0; i < n; i++) {
            struct vcpu *cpu = s->vcpu[i];
            uint64_t at = atomic_load_explicit(&cpu->deadline, memory_order_relaxed);
            if (at == told[i] || at == ~0ull || atomic_load(&cpu->sleeping))
                continue;
            if (at <= now) {
                told[i] = at;
                soft_request(cpu, REQ_EVENT);
            } else if (at < next) {
                next = at;
            }
        }
        s->timer_target = next;
        if (next == ~0ull) {
            pthread_cond_wait(&s->timer_cond, &s->timer_lock);
        } else {
            struct timespec until = to_timespec(next);
            pthread_cond_timedwait(&s->timer_cond, &s->timer_lock, &until);
        }
    }
    pthread_mutex_unlock(&s->timer_lock);
    return NULL;
}

int soft_timer_start(struct soft *s)
{
    if (s->timer_running)
        return MOBO_OK;
    if (pthread_create(&s->timer_thread, NULL, timer_main, s) != 0)
        return mobo_fail_code(s->obj, MOBO_EFAIL, "the host gives no thread for the CPU timers");
    s->timer_running = 1;
    return MOBO_OK;
}

void soft_timer_stop(struct soft *s)
{
    if (!s->timer_running)
        return;
    pthread_mutex_lock(&s->timer_lock);
    s->timer_quit = 1;
    pthread_cond_signal(&s->timer_cond);
    pthread_mutex_unlock(&s->timer_lock);
    pthread_join(s->timer_thread, NULL);
    s->timer_running = 0;
}

static void timer_arm(struct vcpu *cpu)
{
    struct soft *s = cpu->soft;
    cpu->timer_dirty = 0;
    uint64_t at = atomic_load_explicit(&cpu->deadline, memory_order_relaxed);
    if (at == ~0ull)
        return;
    vec_out(cpu);
    pthread_mutex_lock(&s->timer_lock);
    if (at < s->timer_target)
        pthread_cond_signal(&s->timer_cond);
    pthread_mutex_unlock(&s->timer_lock);
}

/* ---- sleep ----------------------------------------------------------------------------------- */

static bool awake(struct vcpu *cpu)
{
    return atomic_load(&cpu->exit_req) != 0;
}

/*
 * HLT, MWAIT, wait-for-SIPI: until a request or the deadline. Spinning first pays only where
 * wake-ups come fast and a host CPU is to spare, so it is done only after a short sleep.
 */
static void sleep_until(struct vcpu *cpu, uint64_t deadline)
{
    uint64_t begin = soft_now();
    go_outside(cpu);
    if (cpu->poll_ns && cpu->soft->spare_cpus) {
        uint64_t until = begin + cpu->poll_ns < deadline ? begin + cpu->poll_ns : deadline;
        while (!awake(cpu) && soft_now() < until)
            __builtin_ia32_pause();
    }
    pthread_mutex_lock(&cpu->wake_lock);
    atomic_store(&cpu->sleeping, 1);
    while (!awake(cpu)) {
        if (deadline == ~0ull) {
            pthread_cond_wait(&cpu->wake_cond, &cpu->wake_lock);
            continue;
        }
        struct timespec until = to_timespec(deadline);
        if (pthread_cond_timedwait(&cpu->wake_cond, &cpu->wake_lock, &until) == ETIMEDOUT)
            break;
    }
    atomic_store(&cpu->sleeping, 0);
    pthread_mutex_unlock(&cpu->wake_lock);
    cpu->timer_dirty = 1; /* the timer thread left us alone meanwhile */
    cpu->poll_ns = soft_now() - begin < 2 * POLL_NS ? POLL_NS : 0;
    go_inside(cpu);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void take_sipi(struct vcpu *cpu)
{
    uint32_t sipi = atomic_exchange(&cpu->sipi_pending, 0);
    if (!sipi || cpu->activity != CPU_WAIT_SIPI)
        return;
    struct seg *cs = &cpu->seg[SEG_CS];
    cs->sel = (uint16_t)((sipi & 0xff) << 8);
    cs->base = (uint64_t)cs->sel << 4;
    cpu->rip = 0;
    cpu->activity = CPU_RUNNING;
    mode_update(cpu);
}

/* An interrupt, if there is one and the CPU takes it now; true if so. */
static bool take_interrupt(struct vcpu *cpu)
{
    if (pv_eoi_taken(cpu, lapic_more_pending(cpu)))
        lapic_eoi(cpu);
    int vector = lapic_pending(cpu);
    cpu->event_waiting = 0;
    if (vector == IRQ_NONE)
        return false;
    if (cpu->activity == CPU_HALTED && (cpu->mwait & 2))
        cpu->activity = CPU_RUNNING;
    if (!(cpu->fl & FL_IF) || cpu->inhibit) {
        cpu->event_waiting = 1;
        return false;
    }
    if (vector == IRQ_EXTINT) {
        atomic_store(&cpu->extint_latched, 0);
        vector = cpu->up->intack(cpu->up_ctx);
        if (vector < 0)
            return false;
    } else {
        lapic_accept(cpu, (unsigned)vector);
        pv_eoi_offer(cpu);
    }
    cpu->activity = CPU_RUNNING;
    x86_deliver_irq(cpu, (unsigned)vector & 0xff);
    return true;
}

/* By priority (SDM volume 3A, table 6-2): INIT, NMI, interrupts. */
static void take_events(struct vcpu *cpu)
{
    if (atomic_load_explicit(&cpu->deadline, memory_order_relaxed) != ~0ull)
        lapic_timer_poll(cpu, soft_now());
    if (atomic_load_explicit(&cpu->init_pending, memory_order_relaxed) &&
        atomic_exchange(&cpu->init_pending, 0))
        x86_reset(cpu, true);
    if (atomic_load_explicit(&cpu->sipi_pending, memory_order_relaxed))
        take_sipi(cpu);
    if (cpu->activity == CPU_WAIT_SIPI)
        return;
    if (atomic_load_explicit(&cpu->nmi_pending, memory_order_relaxed) && !cpu->nmi_blocked &&
        cpu->inhibit != 2) {
        atomic_store(&cpu->nmi_pending, 0);
        cpu->nmi_blocked = 1;
        cpu->activity = CPU_RUNNING;
        x86_deliver_irq(cpu, VEC_NMI);
        return;
    }
    (void)take_interrupt(cpu);
}

static void take_requests(struct vcpu *cpu, uint32_t req)
{
    if (req & REQ_STOP) {
        go_outside(cpu);
        go_inside(cpu);
    }
    if (req & REQ_FLUSH)
        tlb_flush(cpu);
    if (req & REQ_YIELD) {
        go_outside(cpu);
        sched_yield();
        go_inside(cpu);
    }
    /* REQ_EVENT is looked at in any case; the engine drains what REQ_SMC announced. */
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void execute(struct vcpu *cpu)
{
    uint64_t budget = BUDGET;
    if (cpu->event_waiting)
        budget = cpu->inhibit ? 1 : BUDGET_WAITING;
    if (cpu->soft->trace_prop == TRACE_EXEC) {
        trace_exec(cpu);
        budget = 1;
    }
    if (cpu->timer_dirty)
        timer_arm(cpu);
    if (cpu->debug_armed) {
        budget = 1;
        if (debug_before(cpu))
            return;
    }
    cpu->single_step = (cpu->fl & FL_TF) != 0;
    cpu->rep_midway = 0;
    cpu->soft->engine->execute(cpu, budget);
    uint64_t trap = (cpu->single_step ? 1u << 14 : 0u) | (cpu->debug_armed ? cpu->debug_hits : 0u);
    if (trap && cpu->inhibit != 2) {
        debug_raise(cpu, trap); /* BS, B0-B3 */
        cpu->single_step = 0;
    }
}

/* One turn: at most one event, then guest code or sleep. False: run is to return. */
static bool turn(struct vcpu *cpu)
{
    if (cpu->shutdown) {
        cpu->shutdown = 0;
        cpu->exc_pending = 0;
        cpu->activity = CPU_HALTED;
        cpu->up->stop(cpu->up_ctx, MOBO_STOP_TRIPLE_FAULT, cpu->rip);
        return false;
    }
    if (cpu->exc_pending)
        x86_deliver_pending(cpu);
    uint32_t req = atomic_load_explicit(&cpu->exit_req, memory_order_acquire);
    if (req) {
        req = atomic_exchange(&cpu->exit_req, 0);
        if (req & ~(uint32_t)REQ_EVENT)
            take_requests(cpu, req);
        if ((req & REQ_KICK) || cpu->stopped)
            return false;
    }
    take_events(cpu);
    if (cpu->activity == CPU_RUNNING) {
        execute(cpu);
        return true;
    }
    if (cpu->activity == CPU_HALTED && pv_kicked(cpu)) {
        cpu->activity = CPU_RUNNING;
        return true;
    }
    uint64_t deadline = atomic_load_explicit(&cpu->deadline, memory_order_relaxed);
    if (cpu->mwait && soft_now() + MWAIT_NS < deadline)
        deadline = soft_now() + MWAIT_NS;
    sleep_until(cpu, deadline);
    if (cpu->mwait && cpu->activity == CPU_HALTED) {
        cpu->activity = CPU_RUNNING; /* MWAIT may end for no reason */
        cpu->mwait = 0;
    }
    return true;
}

/* ---- the callbacks that the CPU sees: outside while a device has the word -------------------- */

static void up_mmio(void *ctx, uint64_t gpa, void *data, uint32_t len, uint32_t write)
{
    struct vcpu *cpu = ctx;
    go_outside(cpu);
    cpu->exits->mmio(cpu->exits_ctx, gpa, data, len, write);
    go_inside(cpu);
}

static void up_pio(void *ctx, uint32_t port, void *data, uint32_t len, uint32_t write)
{
    struct vcpu *cpu = ctx;
    go_outside(cpu);
    cpu->exits->pio(cpu->exits_ctx, port, data, len, write);
    go_inside(cpu);
}

static void up_stop(void *ctx, uint32_t why, uint64_t arg)
{
    struct vcpu *cpu = ctx;
    cpu->stopped = 1;
    go_outside(cpu);
    cpu->exits->stop(cpu->exits_ctx, why, arg);
    go_inside(cpu);
}

static int up_intack(void *ctx)
{
    struct vcpu *cpu = ctx;
    int vector = -1;
    go_outside(cpu);
    if (MOBO_HAS(cpu->exits, intack))
        vector = cpu->exits->intack(cpu->exits_ctx);
    go_inside(cpu);
    return vector;
}

static void up_eoi(void *ctx, uint32_t vector)
{
    struct vcpu *cpu = ctx;
    go_outside(cpu);
    if (MOBO_HAS(cpu->exits, eoi))
        cpu->exits->eoi(cpu->exits_ctx, vector);
    go_inside(cpu);
}

static const mobo_exits_t wrapped = {
    .size = sizeof wrapped,
    .mmio = up_mmio,
    .pio = up_pio,
    .stop = up_stop,
    .intack = up_intack,
    .eoi = up_eoi,
};

int soft_run(void *vcpu, const mobo_exits_t *up, void *ctx)
{
    struct vcpu *cpu = vcpu;
    uint64_t begin = soft_now();
    cpu->exits = up;
    cpu->exits_ctx = ctx;
    cpu->up = &wrapped;
    cpu->up_ctx = cpu;
    cpu->stopped = 0;
    cpu->timer_dirty = 1;
    go_inside(cpu);
    (void)setjmp(cpu->unwind); /* x86_raise and x86_unwind come back here */
    while (turn(cpu))
        continue;
    go_outside(cpu);
    cpu->up = NULL;
    cpu->run_ns += soft_now() - begin;
    return MOBO_OK;
}

void soft_kick(void *vcpu)
{
    soft_request(vcpu, REQ_KICK);
}
