/*
 * soft.c: the virtual machine of the software CPU as mobo.accel/1 sees it: guest RAM, making CPUs,
 * messages from devices, time, figures. Running a CPU is loop.c's.
 */
#include "x86/sys.h"

#include "x86/fpu.h"
#include "x86/native.h"
#include "rw/stats.h"

#include <time.h>
#include <unistd.h>

enum { CAL_NS = 20000000 };

/* ---- RAM ------------------------------------------------------------------------------------- */

uint8_t *soft_ram(const struct soft *s, uint64_t gpa, uint64_t *left, uint32_t *flags)
{
    for (unsigned i = 0; i < s->slot_count; i++) {
        const struct ram_slot *slot = &s->slot[i];
        uint64_t off = gpa - slot->gpa;
        if (gpa >= slot->gpa && off < slot->len) {
            *left = slot->len - off;
            *flags = slot->flags;
            return slot->host + off;
        }
    }
    return NULL;
}

/* All CPUs are parked: nobody may keep an old translation. */
static void ram_changed(struct soft *s)
{
    unsigned n = atomic_load(&s->vcpu_ready);
    for (unsigned i = 0; i < n; i++) {
        tlb_flush(s->vcpu[i]);
        s->engine->invalidate(s->vcpu[i], ~0ull, 0);
    }
}

static int ram_map(void *self, uint64_t gpa, void *host, uint64_t len, uint32_t flags)
{
    struct soft *s = self;
    if (((gpa | len | (uintptr_t)host) & 0xfff) || !len || gpa + len < gpa || !host)
        return MOBO_EINVAL;
    soft_all_stop(s);
    int rc = MOBO_OK;
    for (unsigned i = 0; i < s->slot_count; i++)
        if (gpa < s->slot[i].gpa + s->slot[i].len && s->slot[i].gpa < gpa + len)
            rc = MOBO_EEXIST;
    if (rc == MOBO_OK && s->slot_count == SOFT_SLOTS_MAX)
        rc = MOBO_ENOMEM;
    if (rc == MOBO_OK) {
        s->slot[s->slot_count++] =
            (struct ram_slot){ .gpa = gpa, .len = len, .host = host, .flags = flags };
        ram_changed(s);
    }
    soft_all_go(s);
    return rc;
}

static int ram_unmap(void *self, uint64_t gpa, uint64_t len)
{
    struct soft *s = self;
    int rc = MOBO_ENOENT;
    soft_all_stop(s);
    for (unsigned i = 0; i < s->slot_count; i++) {
        struct ram_slot *slot = &s->slot[i];
        if (slot->gpa != gpa || slot->len != len)
            continue;
        free(slot->code_pages);
        free(slot->code_lines);
        *slot = s->slot[--s->slot_count];
        memset(&s->slot[s->slot_count], 0, sizeof s->slot[0]);
        ram_changed(s);
        rc = MOBO_OK;
        break;
    }
    soft_all_go(s);
    return rc;
}

/* The engine looks whether decoded code lies there; most DMA touches none. */
static void ram_written(void *self, uint64_t gpa, uint64_t len)
{
    struct soft *s = self;
    unsigned n = atomic_load(&s->vcpu_ready);
    for (unsigned i = 0; i < n && len; i++)
        s->engine->invalidate(s->vcpu[i], gpa, len);
}

static int ram_dirty(void *self, uint64_t gpa, uint64_t len, uint64_t *bitmap)
{
    (void)self;
    (void)gpa;
    (void)len;
    (void)bitmap;
    return MOBO_ENOTSUP;
}

/* ---- time ------------------------------------------------------------------------------------ */

static void tsc_pair(uint64_t *tsc, uint64_t *ns)
{
    uint64_t best = ~0ull;
    for (int i = 0; i < 5; i++) {
        uint64_t before = __builtin_ia32_rdtsc(), now = soft_now(), after = __builtin_ia32_rdtsc();
        if (after - before < best) {
            best = after - before;
            *tsc = before + (after - before) / 2;
            *ns = now;
        }
    }
}

/* The host's TSC against CLOCK_MONOTONIC over at least 20 ms, most of which start-up takes anyway.
 */
static void tsc_calibrate(struct soft *s)
{
    uint64_t tsc = 0, ns = 0;
    uint64_t gone = soft_now() - s->cal_ns;
    if (gone < CAL_NS) {
        struct timespec wait = { .tv_nsec = (long)(CAL_NS - gone) };
        (void)nanosleep(&wait, NULL);
    }
    tsc_pair(&tsc, &ns);
    uint64_t hz = (uint64_t)((u128)(tsc - s->cal_tsc) * 1000000000u / (ns - s->cal_ns));
    s->model.tsc_hz = (hz + 500) / 1000 * 1000; /* guests count in kHz */
    struct timespec real;
    clock_gettime(CLOCK_REALTIME, &real);
    s->boot_real_ns = (uint64_t)real.tv_sec * 1000000000u + (uint64_t)real.tv_nsec;
    s->tsc_offset = 0 - __builtin_ia32_rdtsc();
    pv_scale(s);
}

uint64_t cpu_tsc(const struct vcpu *cpu)
{
    return __builtin_ia32_rdtsc() + cpu->tsc_offset;
}

/* ---- CPUs ------------------------------------------------------------------------------------ */

static void vcpu_free(struct vcpu *cpu)
{
    const struct engine *e = cpu->soft->engine;
    native_fini(cpu);
    e->cpu_fini(cpu);
    lapic_free(cpu);
    pv_fini(cpu);
    pthread_cond_destroy(&cpu->wake_cond);
    pthread_mutex_destroy(&cpu->wake_lock);
    free(cpu);
}

static void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

static int vcpu_new(void *self, uint32_t index, void **out)
{
    struct soft *s = self;
    if (index != s->vcpu_ready || index >= SOFT_VCPUS_MAX)
        return mobo_fail(s->obj, "CPU %u: at most %d CPUs, made in order", (unsigned)index,
                         SOFT_VCPUS_MAX);
    if (index == 0) {
        tsc_calibrate(s);
        mobo_vm_info_t info;
        mobo_vm_info(s->obj, &info);
        s->vcpu_count = info.vcpus && info.vcpus <= SOFT_VCPUS_MAX ? info.vcpus : 1;
        long host = sysconf(_SC_NPROCESSORS_ONLN);
        s->spare_cpus = host > (long)s->vcpu_count;
    }
    if (index >= s->vcpu_count)
        s->vcpu_count = index + 1;
    size_t bytes = (sizeof(struct vcpu) + 63) & ~(size_t)63;
    struct vcpu *cpu = aligned_alloc(64, bytes);
    if (!cpu)
        return mobo_fail_code(s->obj, MOBO_ENOMEM, "no memory for CPU %u", (unsigned)index);
    memset(cpu, 0, bytes);
    cpu->soft = s;
    cpu->index = index;
    atomic_store(&cpu->outside, 1);
    pthread_mutex_init(&cpu->wake_lock, NULL);
    cond_init(&cpu->wake_cond);
    int rc = lapic_new(cpu);
    if (rc == MOBO_OK)
        rc = pv_init(cpu);
    if (rc == MOBO_OK)
        rc = s->engine->cpu_init(cpu);
    if (rc == MOBO_OK && (rc = native_init(cpu)) != MOBO_OK) {
        vcpu_free(cpu);
        return rc; /* has said why */
    }
    if (rc != MOBO_OK) {
        vcpu_free(cpu);
        if (rc != MOBO_ENOMEM)
            return rc;
        return mobo_fail_code(s->obj, rc, "no memory for the tables of CPU %u", (unsigned)index);
    }
    x86_reset(cpu, false);
    s->vcpu[index] = cpu;
    atomic_store(&s->vcpu_ready, index + 1);
    *out = cpu;
    return soft_timer_start(s);
}

static void vcpu_reset(void *vcpu)
{
    struct vcpu *cpu = vcpu;
    x86_reset(cpu, false);
    cpu->soft->engine->invalidate(cpu, ~0ull, 0);
}

/* ---- messages -------------------------------------------------------------------------------- */

static int msi(void *self, uint64_t addr, uint32_t data, uint32_t requester)
{
    (void)requester;
    return lapic_msi(self, addr, data);
}

static void extint(void *self, uint32_t level)
{
    lapic_extint(self, level);
}

static int nmi(void *self, uint32_t index)
{
    struct soft *s = self;
    if (index >= atomic_load(&s->vcpu_ready))
        return MOBO_ENOENT;
    atomic_store(&s->vcpu[index]->nmi_pending, 1);
    soft_request(s->vcpu[index], REQ_EVENT);
    return MOBO_OK;
}

static int irq(void *self, uint32_t line, uint32_t level)
{
    (void)self;
    (void)line;
    (void)level;
    return MOBO_ENOTSUP; /* arm64's */
}

static int doorbell(void *self, uint32_t space, uint64_t addr, uint32_t len, uint64_t value,
                    uint32_t any_value, int fd, uint32_t add)
{
    (void)self, (void)space, (void)addr, (void)len, (void)value, (void)any_value, (void)fd,
        (void)add;
    return MOBO_ENOTSUP; /* exits cost no context switch here: the core posts by itself */
}

static uint64_t caps(void *self)
{
    (void)self;
    return 0;
}

/* ---- figures --------------------------------------------------------------------------------- */

static uint32_t stats(void *self, char *buf, uint32_t len)
{
    struct soft *s = self;
    uint32_t used = 0;
    unsigned n = atomic_load(&s->vcpu_ready);
    for (unsigned i = 0; i < n && used < len; i++) {
        const struct vcpu *c = s->vcpu[i];
        uint64_t cs = c->run_ns / 10000000, us = c->run_ns / 1000;
        uint64_t mips10 = us ? c->insns * 10 / us : 0;
        int put = snprintf(
            buf + used, len - used,
            "cpu%u: %llu instructions, %llu.%llu MIPS over %llu.%02llu s, %llu blocks decoded, "
            "%llu TLB fills, %llu faults, %llu interrupts, %llu mmio, %llu pio, "
            "%llu halts\n",
            i, (unsigned long long)c->insns, (unsigned long long)mips10 / 10,
            (unsigned long long)mips10 % 10, (unsigned long long)cs / 100,
            (unsigned long long)cs % 100,
            (unsigned long long)c->blocks_decoded, (unsigned long long)c->tlb_fills,
            (unsigned long long)c->faults, (unsigned long long)c->interrupts,
            (unsigned long long)c->mmio, (unsigned long long)c->pio, (unsigned long long)c->halts);
        if (put < 0 || (uint32_t)put >= len - used)
            break;
        used += (uint32_t)put;
        if (c->rw)
            used += rw_stats_text(c, buf + used, len - used);
    }
    return used;
}

/* ---- the object ------------------------------------------------------------------------------ */

int soft_init(void *self)
{
    struct soft *s = self;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->ex_lock, NULL);
    pthread_mutex_init(&s->timer_lock, NULL);
    cond_init(&s->ex_free);
    cond_init(&s->ex_idle);
    cond_init(&s->timer_cond);
    s->init_done = 1;
    s->engine = s->engine_prop == ENGINE_INTERP ? &engine_interp : &engine_rw;
    s->timer_target = ~0ull;
    tsc_pair(&s->cal_tsc, &s->cal_ns);
    int rc = cpuid_build(s);
    return rc == MOBO_OK ? trace_open(s) : rc;
}

void soft_fini(void *self)
{
    struct soft *s = self;
    if (!s->init_done)
        return;
    soft_timer_stop(s);
    unsigned n = atomic_exchange(&s->vcpu_ready, 0);
    for (unsigned i = 0; i < n; i++)
        vcpu_free(s->vcpu[i]);
    for (unsigned i = 0; i < s->slot_count; i++) {
        free(s->slot[i].code_pages);
        free(s->slot[i].code_lines);
    }
    trace_close(s);
    pthread_cond_destroy(&s->timer_cond);
    pthread_cond_destroy(&s->ex_idle);
    pthread_cond_destroy(&s->ex_free);
    pthread_mutex_destroy(&s->timer_lock);
    pthread_mutex_destroy(&s->ex_lock);
    pthread_mutex_destroy(&s->lock);
}

const mobo_accel_ops_t soft_accel_ops = {
    .size = sizeof soft_accel_ops,
    .caps = caps,
    .ram_map = ram_map,
    .ram_unmap = ram_unmap,
    .ram_written = ram_written,
    .ram_dirty = ram_dirty,
    .vcpu_new = vcpu_new,
    .vcpu_reset = vcpu_reset,
    .run = soft_run,
    .kick = soft_kick,
    .get = soft_get,
    .set = soft_set,
    .msi = msi,
    .extint = extint,
    .nmi = nmi,
    .irq = irq,
    .doorbell = doorbell,
    .stats = stats,
};
