/*
 * rig.h: a software CPU on a table: RAM, CPUs, a host that only keeps messages, devices that only
 * count. Tests set registers, execute single system instructions or run guest code, and look.
 */
#ifndef TEST_ACCEL_SOFT_RIG_H
#define TEST_ACCEL_SOFT_RIG_H

/* before cmocka: its macro fail() has the name of a member of mobo_log_api_t */
#include "../../plugins/accel-soft/x86/lapic_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include <cmocka.h>
#undef fail

#ifndef RIG_ENGINE
#define RIG_ENGINE ENGINE_AUTO
#endif

enum { RIG_RAM = 4 << 20, RIG_CPUS_MAX = 8 };

struct rig {
    struct mobo_obj obj;
    mobo_host_t host;
    struct soft *s;
    struct vcpu *cpu[RIG_CPUS_MAX];
    uint8_t *ram;
    unsigned cpus;
    char message[512];
    /* what the CPU told its devices */
    unsigned eois, eoi_vector, stops, stop_why, acks;
    int ack_vector;
    unsigned pio_reads, pio_writes, pio_port, pio_value;
};

static inline struct rig *rig_of(mobo_obj_t *obj)
{
    return (struct rig *)(void *)obj;
}

static inline void rig_log(mobo_obj_t *obj, uint32_t level, const char *text)
{
    (void)level;
    snprintf(rig_of(obj)->message, sizeof rig_of(obj)->message, "%s", text);
}

static inline int rig_fail(mobo_obj_t *obj, int code, const char *text)
{
    rig_log(obj, MOBO_ERROR, text);
    return code;
}

static inline int rig_shown(mobo_obj_t *obj, uint32_t level)
{
    (void)obj;
    return level <= MOBO_WARN;
}

static inline void rig_info(mobo_obj_t *obj, mobo_vm_info_t *info)
{
    info->arch = MOBO_ARCH_X86_64;
    info->vcpus = rig_of(obj)->cpus;
    info->memory = RIG_RAM;
}

static inline void rig_mmio(void *ctx, uint64_t gpa, void *data, uint32_t len, uint32_t write)
{
    (void)ctx;
    (void)gpa;
    if (!write)
        memset(data, 0xff, len);
}

/* Port 0xf4 ends soft_run, as a kick would. */
static inline void rig_pio(void *ctx, uint32_t port, void *data, uint32_t len, uint32_t write)
{
    struct rig *r = ctx;
    r->pio_port = port;
    if (write) {
        r->pio_writes++;
        r->pio_value = 0;
        memcpy(&r->pio_value, data, len);
        if (port == 0xf4)
            for (unsigned i = 0; i < r->cpus; i++)
                soft_kick(r->cpu[i]);
    } else {
        r->pio_reads++;
        memset(data, 0x5a, len);
    }
}

static inline void rig_stop(void *ctx, uint32_t why, uint64_t arg)
{
    struct rig *r = ctx;
    (void)arg;
    r->stops++;
    r->stop_why = why;
}

static inline int rig_ack(void *ctx)
{
    struct rig *r = ctx;
    r->acks++;
    return r->ack_vector;
}

static inline void rig_eoi(void *ctx, uint32_t vector)
{
    struct rig *r = ctx;
    r->eois++;
    r->eoi_vector = vector;
}

static const mobo_exits_t rig_exits = { .size = sizeof rig_exits,
                                        .mmio = rig_mmio,
                                        .pio = rig_pio,
                                        .stop = rig_stop,
                                        .intack = rig_ack,
                                        .eoi = rig_eoi };
static const mobo_log_api_t rig_log_api = {
    .size = sizeof rig_log_api, .log = rig_log, .fail = rig_fail, .shown = rig_shown
};
static const mobo_vm_api_t rig_vm_api = { .size = sizeof rig_vm_api, .info = rig_info };

/* Only the CPU model: init's result comes back, and the message is in r->message. */
static inline int rig_model(struct rig *r, const char *cpu_prop, unsigned vendor, unsigned cpus)
{
    memset(r, 0, sizeof *r);
    r->host = (mobo_host_t){ .size = sizeof r->host, .log = &rig_log_api, .vm = &rig_vm_api };
    r->obj.host = &r->host;
    r->obj.name = "accel";
    r->cpus = cpus;
    r->s = calloc(1, sizeof *r->s);
    r->s->obj = &r->obj;
    r->s->cpu_prop = cpu_prop;
    r->s->vendor_prop = vendor;
    r->s->engine_prop = RIG_ENGINE;
    r->s->trace_file_prop = "";
    return soft_init(r->s);
}

enum { RIG_HOST = 0, RIG_INTEL = 1, RIG_AMD = 2 };

static inline void rig_new(struct rig *r, const char *cpu_prop, unsigned vendor, unsigned cpus)
{
    assert_int_equal(rig_model(r, cpu_prop, vendor, cpus), MOBO_OK);
    r->ram = mmap(NULL, RIG_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(r->ram, MAP_FAILED);
    assert_int_equal(soft_accel_ops.ram_map(r->s, 0, r->ram, RIG_RAM, 0), MOBO_OK);
    for (unsigned i = 0; i < cpus; i++) {
        void *cpu = NULL;
        assert_int_equal(soft_accel_ops.vcpu_new(r->s, i, &cpu), MOBO_OK);
        r->cpu[i] = cpu;
        r->cpu[i]->up = &rig_exits; /* for what is called outside soft_run */
        r->cpu[i]->up_ctx = r;
    }
}

static inline void rig_free(struct rig *r)
{
    soft_fini(r->s);
    if (r->ram)
        munmap(r->ram, RIG_RAM);
    free(r->s);
}

/*
 * Decode and execute one system instruction at cpu->rip (the bytes need not be in memory). The
 * vector it raised, or -1; the error code is in cpu->exc_error.
 */
static inline int rig_exec(struct vcpu *cpu, const char *bytes, unsigned n)
{
    struct x86_insn in;
    struct x86_dec_mode mode = { .bits = cpu->code_bits };
    uint8_t buf[15] = { 0 };
    memcpy(buf, bytes, n);
    assert_int_equal(x86_decode(buf, n, mode, &in), DEC_OK);
    assert_int_equal(in.len, n);
    assert_true(sys_handles(in.op));
    cpu->exc_pending = 0;
    if (setjmp(cpu->unwind) == 0) {
        sys_execute(cpu, &in);
        return -1;
    }
    cpu->exc_pending = 0;
    return cpu->exc_vector;
}
#define EXEC(cpu, text) rig_exec((cpu), text, sizeof(text) - 1)

/* Deliver what is pending or fails on the way until it succeeds; false: triple fault. */
static inline bool rig_deliver(struct vcpu *cpu)
{
    (void)setjmp(cpu->unwind);
    if (cpu->shutdown)
        return false;
    if (cpu->exc_pending)
        x86_deliver_pending(cpu);
    return true;
}

static inline void put(struct rig *r, uint64_t gpa, uint64_t val, unsigned bytes)
{
    memcpy(r->ram + gpa, &val, bytes);
}

static inline uint64_t peek_ram(struct rig *r, uint64_t gpa, unsigned bytes)
{
    uint64_t val = 0;
    memcpy(&val, r->ram + gpa, bytes);
    return val;
}

#endif
