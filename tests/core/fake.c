/*
 * fake.c: see fake.h. It stands in for the front: object_build(), object_place() and object_iface()
 * are here.
 */
#include "fake.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct fake fake;
fake_guest_t *fake_guest;
uint64_t fake_caps;
atomic_uint fake_failures;

void fake_failed(const char *file, int line, const char *what)
{
    atomic_fetch_add(&fake_failures, 1);
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
}

/* ---- the front ------------------------------------------------------------------------------- */

int object_build(struct object *o, unsigned n)
{
    mobo_obj_t *pub = &o->pub;
    free(o->self);
    o->klass = o->candidates[n].klass;
    o->self = calloc(1, o->klass->c.instance_size);
    if (!o->self)
        return MOBO_ENOMEM;
    memcpy(o->self, &pub, sizeof pub);
    return 0;
}

struct ini_pos object_place(const struct object *o, const char *text)
{
    (void)text;
    return o->section ? o->section->pos : (struct ini_pos){ 0 };
}

const void *object_iface(const struct object *o, const char *id)
{
    for (const mobo_iface_t *i = o->klass->c.provides; i && i->id; i++)
        if (!strcmp(i->id, id))
            return i->ops;
    return NULL;
}

/* ---- the accelerator ------------------------------------------------------------------------- */

static uint64_t accel_caps(void *self)
{
    (void)self;
    return fake_caps;
}

static int accel_map(void *self, uint64_t gpa, void *host, uint64_t len, uint32_t flags)
{
    struct fake_accel *a = self;
    unsigned n = atomic_load(&a->slots);
    CHECK(gpa % 4096 == 0 && len % 4096 == 0 && len && n < FAKE_SLOTS);
    for (unsigned i = 0; i < n; i++)
        CHECK(gpa + len <= a->slot[i].gpa || a->slot[i].gpa + a->slot[i].len <= gpa);
    a->slot[n] = (struct fake_slot){ gpa, len, host, flags };
    atomic_store(&a->slots, n + 1);
    atomic_fetch_add(&a->maps, 1);
    return 0;
}

static int accel_unmap(void *self, uint64_t gpa, uint64_t len)
{
    struct fake_accel *a = self;
    unsigned n = atomic_load(&a->slots), i = 0;
    while (i < n && (a->slot[i].gpa != gpa || a->slot[i].len != len))
        i++;
    CHECK(i < n);
    if (i < n) {
        a->slot[i] = a->slot[n - 1];
        atomic_store(&a->slots, n - 1);
    }
    atomic_fetch_add(&a->unmaps, 1);
    return 0;
}

static void accel_written(void *self, uint64_t gpa, uint64_t len)
{
    struct fake_accel *a = self;
    atomic_store(&a->write_gpa, gpa);
    atomic_store(&a->write_len, len);
    atomic_fetch_add(&a->writes, 1);
}

static int accel_vcpu_new(void *self, uint32_t index, void **vcpu)
{
    struct fake_accel *a = self;
    struct fake_cpu *c = &a->cpu[index];
    c->index = index;
    c->accel = a;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, NULL);
    *vcpu = c;
    return 0;
}

static void accel_vcpu_reset(void *vcpu)
{
    struct fake_cpu *c = vcpu;
    c->resets++;
    c->regs = 0;
}

static int accel_run(void *vcpu, const mobo_exits_t *up, void *ctx)
{
    struct fake_cpu *c = vcpu;
    c->up = up;
    c->ctx = ctx;
    while (!atomic_exchange(&c->kicked, false)) {
        if (fake_guest(c) == FAKE_AGAIN)
            continue;
        pthread_mutex_lock(&c->lock);
        while (!atomic_load(&c->kicked))
            pthread_cond_wait(&c->wake, &c->lock);
        pthread_mutex_unlock(&c->lock);
    }
    return 0;
}

static void accel_kick(void *vcpu)
{
    struct fake_cpu *c = vcpu;
    pthread_mutex_lock(&c->lock);
    atomic_store(&c->kicked, true);
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

static int accel_get(void *vcpu, uint32_t block, void *buf, uint32_t len)
{
    struct fake_cpu *c = vcpu;
    if (block != 1 || len != sizeof c->regs)
        return MOBO_ENOTSUP;
    memcpy(buf, &c->regs, len);
    return 0;
}

static int accel_set(void *vcpu, uint32_t block, const void *buf, uint32_t len)
{
    struct fake_cpu *c = vcpu;
    if (block != 1 || len != sizeof c->regs)
        return MOBO_ENOTSUP;
    memcpy(&c->regs, buf, len);
    return 0;
}

static int accel_msi(void *self, uint64_t addr, uint32_t data, uint32_t requester)
{
    struct fake_accel *a = self;
    (void)requester;
    CHECK(addr == 0xfee00000 && data == 0x31);
    atomic_fetch_add(&a->msis, 1);
    return 0;
}

static void accel_extint(void *self, uint32_t level)
{
    struct fake_accel *a = self;
    atomic_store(&a->extint, level);
}

static int accel_doorbell(void *self, uint32_t space, uint64_t addr, uint32_t len, uint64_t value,
                          uint32_t any_value, int fd, uint32_t add)
{
    struct fake_accel *a = self;
    (void)space;
    (void)len;
    (void)value;
    (void)any_value;
    a->bell_fd = add ? fd : -1;
    a->bell_addr = add ? addr : 0;
    atomic_fetch_add(add ? &a->bells_added : &a->bells_removed, 1);
    return 0;
}

static uint32_t accel_stats(void *self, char *buf, uint32_t len)
{
    (void)self;
    int n = snprintf(buf, len, "fake: 1\nfake: 2\n");
    return (uint32_t)n;
}

static int accel_init(void *self)
{
    fake.accel = self;
    fake.rt = fake.m.rt;
    return 0;
}

static void accel_fini(void *self)
{
    struct fake_accel *a = self;
    for (unsigned i = 0; i < FAKE_CPUS; i++) {
        if (!a->cpu[i].accel)
            continue;
        pthread_mutex_destroy(&a->cpu[i].lock);
        pthread_cond_destroy(&a->cpu[i].wake);
    }
}

static const mobo_accel_ops_t accel_ops = {
    .size = sizeof accel_ops, .caps = accel_caps, .ram_map = accel_map, .ram_unmap = accel_unmap,
    .ram_written = accel_written, .vcpu_new = accel_vcpu_new, .vcpu_reset = accel_vcpu_reset,
    .run = accel_run, .kick = accel_kick, .get = accel_get, .set = accel_set, .msi = accel_msi,
    .extint = accel_extint, .doorbell = accel_doorbell, .stats = accel_stats,
};
static const mobo_iface_t accel_provides[] = { { MOBO_ACCEL, &accel_ops }, { 0 } };
static const mobo_class_t accel_class = {
    MOBO_CLASS(struct fake_accel, NULL, NULL), .name = "accel", .summary = "runs C functions",
    .flags = MOBO_PARALLEL, .provides = accel_provides, .init = accel_init, .fini = accel_fini,
};

/* ---- the machine ----------------------------------------------------------------------------- */

void fake_new(uint32_t cpus, uint64_t memory, fake_guest_t *guest)
{
    memset(&fake, 0, sizeof fake);
    fake.m.objects = fake.list;
    fake.m.set.cpus = cpus;
    fake.m.set.memory = memory;
    fake.m.set.low_memory = 1 << 20;
    fake_guest = guest;
    fake_caps = 0;
    atomic_store(&fake_failures, 0);
    (void)fake_add("accel", &accel_class, NULL);
}

struct object *fake_add(const char *name, const mobo_class_t *c, const char *thread)
{
    unsigned n = fake.m.object_count++;
    struct object *o = calloc(1, sizeof *o);
    assert_non_null(o);
    fake.klass[n] = (struct klass){ .c = *c, .type = c->name };
    fake.candidate[n][0].klass = &fake.klass[n];
    o->candidates = fake.candidate[n];
    o->candidate_count = 1;
    o->pub.name = name;
    o->thread = thread;
    fake.list[n] = o;
    return o;
}

void fake_alternative(struct object *o, const mobo_class_t *c)
{
    unsigned n = 15; /* the last klass: tests have fewer objects */
    fake.klass[n] = (struct klass){ .c = *c, .type = c->name };
    o->candidates[o->candidate_count++].klass = &fake.klass[n];
}

int fake_run(void)
{
    int code = machine_run(&fake.m, false);
    assert_null(fake.m.rt);
    for (unsigned i = 0; i < fake.m.object_count; i++) {
        free(fake.list[i]->self);
        free(fake.list[i]);
    }
    assert_int_equal(atomic_load(&fake_failures), 0);
    return code;
}

void fake_request(uint32_t what)
{
    control_request(fake.rt, what);
}

uint64_t fake_in(struct fake_cpu *cpu, uint32_t port, uint32_t len)
{
    uint64_t val = 0x5555555555555555;
    cpu->up->pio(cpu->ctx, port, &val, len, 0);
    return len == 8 ? val : val & (((uint64_t)1 << 8 * len) - 1);
}

void fake_out(struct fake_cpu *cpu, uint32_t port, uint64_t val, uint32_t len)
{
    cpu->up->pio(cpu->ctx, port, &val, len, 1);
}

uint64_t fake_load(struct fake_cpu *cpu, uint64_t gpa, uint32_t len)
{
    uint64_t val = 0x5555555555555555;
    cpu->up->mmio(cpu->ctx, gpa, &val, len, 0);
    return len == 8 ? val : val & (((uint64_t)1 << 8 * len) - 1);
}

void fake_store(struct fake_cpu *cpu, uint64_t gpa, uint64_t val, uint32_t len)
{
    cpu->up->mmio(cpu->ctx, gpa, &val, len, 1);
}

bool fake_wait(atomic_uint *counter, unsigned value)
{
    for (unsigned i = 0; i < 10000; i++) {
        if (atomic_load(counter) >= value)
            return true;
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
    return false;
}
