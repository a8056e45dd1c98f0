/*
 * test-kvm.c: accel-kvm on this machine's own /dev/kvm, which may be one that only emulates: the
 * guests are a few instructions long. Skips where /dev/kvm cannot be opened.
 */
/* before cmocka: its macro fail() has the name of a member of mobo_log_api_t */
#include "../../plugins/accel-kvm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#undef fail

enum { RAM = 1 << 20, CODE_AT = 0x1000, CPUS = 2, SLOW_OK = 1 };

struct rig {
    struct mobo_obj obj;
    mobo_host_t host;
    struct kvm k;
    void *cpu[CPUS];
    uint8_t *ram;
    char message[512];
    unsigned pio_writes, mmio_writes, mmio_reads, stops, stop_why, acks, eois, eoi_vector;
    uint32_t pio_port, pio_value;
    uint64_t mmio_gpa, mmio_value;
};

static void rig_log(mobo_obj_t *obj, uint32_t level, const char *text)
{
    struct rig *r = (struct rig *)(void *)obj;
    (void)level;
    snprintf(r->message, sizeof r->message, "%s", text);
}

static int rig_fail(mobo_obj_t *obj, int code, const char *text)
{
    rig_log(obj, MOBO_ERROR, text);
    return code;
}

static int rig_shown(mobo_obj_t *obj, uint32_t level)
{
    (void)obj;
    return level <= MOBO_WARN;
}

static void rig_info(mobo_obj_t *obj, mobo_vm_info_t *info)
{
    (void)obj;
    info->arch = MOBO_ARCH_X86_64;
    info->vcpus = CPUS;
    info->memory = RAM;
}

/* Port 0xf4 ends run, as a kick of the core would. */
static void rig_pio(void *ctx, uint32_t port, void *data, uint32_t len, uint32_t write)
{
    struct rig *r = ctx;
    if (!write) {
        memset(data, 0x5a, len);
        return;
    }
    r->pio_writes++;
    r->pio_port = port;
    r->pio_value = 0;
    memcpy(&r->pio_value, data, len);
    if (port == 0xf4)
        kvm_accel_ops.kick(r->cpu[0]);
}

static void rig_mmio(void *ctx, uint64_t gpa, void *data, uint32_t len, uint32_t write)
{
    struct rig *r = ctx;
    r->mmio_gpa = gpa;
    if (write) {
        r->mmio_writes++;
        r->mmio_value = 0;
        memcpy(&r->mmio_value, data, len);
    } else {
        r->mmio_reads++;
        memset(data, 0xa5, len);
    }
}

static void rig_stop(void *ctx, uint32_t why, uint64_t arg)
{
    struct rig *r = ctx;
    (void)arg;
    r->stops++;
    r->stop_why = why;
}

static int rig_intack(void *ctx)
{
    struct rig *r = ctx;
    r->acks++;
    kvm_accel_ops.extint(&r->k, 0);
    return 0x20;
}

static void rig_eoi(void *ctx, uint32_t vector)
{
    struct rig *r = ctx;
    r->eois++;
    r->eoi_vector = vector;
}

static const mobo_exits_t exits = { .size = sizeof exits, .mmio = rig_mmio, .pio = rig_pio,
                                    .stop = rig_stop, .intack = rig_intack, .eoi = rig_eoi };
static const mobo_log_api_t log_api = { .size = sizeof log_api, .log = rig_log, .fail = rig_fail,
                                        .shown = rig_shown };
static const mobo_vm_api_t vm_api = { .size = sizeof vm_api, .info = rig_info };

static struct rig *rig_new(uint32_t slow)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->host = (mobo_host_t){ .size = sizeof r->host, .log = &log_api, .vm = &vm_api };
    r->obj = (struct mobo_obj){ .host = &r->host, .name = "accel" };
    r->k.obj = &r->obj;
    r->k.slow_prop = slow;
    return r;
}

static void rig_free(struct rig *r)
{
    kvm_fini(&r->k);
    if (r->ram)
        munmap(r->ram, RAM);
    free(r);
}

/* CPU 0 in real mode at CODE_AT. */
static struct rig *guest(const void *code, size_t len)
{
    struct rig *r = rig_new(SLOW_OK);
    assert_int_equal(kvm_init(&r->k), MOBO_OK);
    r->ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(r->ram != MAP_FAILED);
    assert_int_equal(kvm_accel_ops.ram_map(&r->k, 0, r->ram, RAM, 0), MOBO_OK);
    for (uint32_t i = 0; i < CPUS; i++)
        assert_int_equal(kvm_accel_ops.vcpu_new(&r->k, i, &r->cpu[i]), MOBO_OK);
    memcpy(r->ram + CODE_AT, code, len);
    mobo_x86_sregs_t s;
    mobo_x86_regs_t g = { .rip = CODE_AT, .rflags = 2 };
    g.gpr[4] = 0x8000;
    assert_int_equal(kvm_accel_ops.get(r->cpu[0], MOBO_X86_SREGS, &s, sizeof s), MOBO_OK);
    s.cs.base = s.cs.selector = 0;
    assert_int_equal(kvm_accel_ops.set(r->cpu[0], MOBO_X86_SREGS, &s, sizeof s), MOBO_OK);
    assert_int_equal(kvm_accel_ops.set(r->cpu[0], MOBO_X86_REGS, &g, sizeof g), MOBO_OK);
    return r;
}

static void run(struct rig *r)
{
    assert_int_equal(kvm_accel_ops.run(r->cpu[0], &exits, r), 0);
}

/* ---- cases ----------------------------------------------------------------------------------- */

static void calibration_is_quick_and_names_its_figure(void **state)
{
    (void)state;
    struct rig *r = rig_new(0);
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    int rc = kvm_init(&r->k);
    clock_gettime(CLOCK_MONOTONIC, &b);
    assert_true((double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9 < 1.0);
    if (rc == MOBO_OK) {
        assert_true(r->k.mips >= 50);
    } else {
        assert_non_null(strstr(r->message, "MIPS"));
        assert_non_null(strstr(r->message, "slow = ok"));
    }
    rig_free(r);
}

static void ports_memory_and_kicks(void **state)
{
    (void)state;
    static const uint8_t code[] = {
        0xb8, 0x34, 0x12,             /* mov ax, 0x1234 */
        0xe7, 0x80,                   /* out 0x80, ax */
        0xb8, 0x00, 0xf0, 0x8e, 0xd8, /* mov ax, 0xf000; mov ds, ax: nothing is mapped at 1 MiB */
        0xa1, 0x00, 0xff,             /* mov ax, [0xff00] */
        0xa3, 0x00, 0xff,             /* mov [0xff00], ax */
        0xe4, 0x81,                   /* in al, 0x81 */
        0xe6, 0xf4,                   /* out 0xf4, al: kick */
        0xf4,                         /* hlt */
    };
    struct rig *r = guest(code, sizeof code);
    /* The top page makes way for a device. */
    assert_int_equal(kvm_accel_ops.ram_unmap(&r->k, 0, RAM), MOBO_OK);
    assert_int_equal(kvm_accel_ops.ram_unmap(&r->k, 0, RAM), MOBO_ENOENT);
    assert_int_equal(kvm_accel_ops.ram_map(&r->k, 0, r->ram, RAM - 4096, 0), MOBO_OK);
    assert_int_equal(kvm_accel_ops.ram_map(&r->k, 0x1000, r->ram, 4096, 0), MOBO_EEXIST);
    run(r);
    assert_int_equal(r->pio_writes, 2);
    assert_int_equal(r->pio_port, 0xf4);
    assert_int_equal(r->pio_value, 0x5a);
    assert_int_equal(r->mmio_reads, 1);
    assert_int_equal(r->mmio_writes, 1);
    assert_int_equal(r->mmio_gpa, 0xfff00);
    assert_int_equal(r->mmio_value, 0xa5a5);
    mobo_x86_regs_t g;
    assert_int_equal(kvm_accel_ops.get(r->cpu[0], MOBO_X86_REGS, &g, sizeof g), MOBO_OK);
    assert_int_equal(g.rip, CODE_AT + sizeof code - 1); /* the access is finished, no more */
    kvm_accel_ops.kick(r->cpu[0]); /* before run: at once */
    run(r);
    assert_int_equal(r->stops, 0);
    rig_free(r);
}

static void *later_kick(void *arg)
{
    struct timespec t = { .tv_nsec = 30000000 };
    nanosleep(&t, NULL);
    kvm_accel_ops.kick(arg);
    return NULL;
}

static void a_kick_ends_a_halt(void **state)
{
    (void)state;
    static const uint8_t code[] = { 0xfa, 0xf4 }; /* cli; hlt */
    struct rig *r = guest(code, sizeof code);
    pthread_t t;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&t, NULL, later_kick, r->cpu[0]), 0);
        run(r);
        pthread_join(t, NULL);
    }
    mobo_x86_events_t e;
    assert_int_equal(kvm_accel_ops.get(r->cpu[0], MOBO_X86_EVENTS, &e, sizeof e), MOBO_OK);
    assert_int_equal(e.activity, MOBO_X86_HALTED);
    assert_int_equal(kvm_accel_ops.get(r->cpu[1], MOBO_X86_EVENTS, &e, sizeof e), MOBO_OK);
    assert_int_equal(e.activity, MOBO_X86_WAIT_SIPI);
    rig_free(r);
}

static void *later_extint(void *arg)
{
    struct timespec t = { .tv_nsec = 30000000 };
    nanosleep(&t, NULL);
    kvm_accel_ops.extint(arg, 1);
    return NULL;
}

/* The vector's handler writes to port 0xf4. */
static void the_8259_interrupts_a_halt(void **state)
{
    (void)state;
    static const uint8_t code[] = { 0xfb, 0xf4, 0xeb, 0xfd }; /* sti; hlt; jmp to hlt */
    static const uint8_t handler[] = { 0xb0, 0x77, 0xe6, 0xf4, 0xcf };
    struct rig *r = guest(code, sizeof code);
    memcpy(r->ram + 0x2000, handler, sizeof handler);
    const uint16_t vector[2] = { 0x2000, 0 };
    memcpy(r->ram + 0x20 * 4, vector, sizeof vector);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, later_extint, &r->k), 0);
    run(r);
    pthread_join(t, NULL);
    assert_int_equal(r->acks, 1);
    assert_int_equal(r->pio_value, 0x77);
    rig_free(r);
}

static void an_empty_idt_is_a_triple_fault(void **state)
{
    (void)state;
    static const uint8_t code[] = {
        0x0f, 0x01, 0x1e, 0x00, 0x30, /* lidt [0x3000]: limit 0 */
        0xcc,                         /* int3 */
    };
    /* A KVM that emulates every instruction knows no triple fault. */
    struct rig *r = rig_new(0);
    int rc = kvm_init(&r->k);
    rig_free(r);
    if (rc != MOBO_OK) {
        print_message("left out: this /dev/kvm emulates\n");
        return;
    }
    r = guest(code, sizeof code);
    run(r);
    assert_int_equal(r->stops, 1);
    assert_int_equal(r->stop_why, MOBO_STOP_TRIPLE_FAULT);
    kvm_accel_ops.vcpu_reset(r->cpu[0]);
    mobo_x86_regs_t g;
    mobo_x86_sregs_t s;
    assert_int_equal(kvm_accel_ops.get(r->cpu[0], MOBO_X86_REGS, &g, sizeof g), MOBO_OK);
    assert_int_equal(kvm_accel_ops.get(r->cpu[0], MOBO_X86_SREGS, &s, sizeof s), MOBO_OK);
    assert_int_equal(g.rip, 0xfff0);
    assert_int_equal(s.cs.base, 0xffff0000);
    assert_int_equal(s.cs.attr & 0x9a, 0x9a); /* AMD's has the accessed bit clear */
    assert_int_equal(s.cr0, 0x60000010);
    rig_free(r);
}

/* What was read can be written, and reads the same again. */
static void blocks_go_round(void **state)
{
    (void)state;
    static const struct {
        uint32_t block, len;
    } blocks[] = {
        { MOBO_X86_REGS, sizeof(mobo_x86_regs_t) },   { MOBO_X86_SREGS, sizeof(mobo_x86_sregs_t) },
        { MOBO_X86_XSAVE, sizeof(mobo_x86_xsave_t) }, { MOBO_X86_EVENTS, sizeof(mobo_x86_events_t) },
        { MOBO_X86_APIC, sizeof(mobo_x86_apic_t) },   { MOBO_X86_DEBUG, sizeof(mobo_x86_debug_t) },
    };
    struct rig *r = guest("\xf4", 1);
    static uint8_t a[8192], b[8192];
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        memset(a, 0x11, sizeof a);
        memset(b, 0x11, sizeof b);
        assert_int_equal(kvm_accel_ops.get(r->cpu[0], blocks[i].block, a, blocks[i].len), MOBO_OK);
        assert_int_equal(kvm_accel_ops.set(r->cpu[0], blocks[i].block, a, blocks[i].len), MOBO_OK);
        assert_int_equal(kvm_accel_ops.get(r->cpu[0], blocks[i].block, b, blocks[i].len), MOBO_OK);
        assert_memory_equal(a, b, sizeof a);
        assert_int_equal(kvm_accel_ops.get(r->cpu[0], blocks[i].block, a, blocks[i].len - 1),
                         MOBO_ERANGE);
    }
    assert_int_equal(kvm_accel_ops.get(r->cpu[0], 99, a, sizeof a), MOBO_ENOTSUP);
    mobo_x86_msrs_t m = { 0 };
    assert_int_equal(kvm_accel_ops.get(r->cpu[0], MOBO_X86_MSRS, &m, sizeof m), MOBO_OK);
    assert_true(m.count > 10 && m.count <= MOBO_X86_MSRS_MAX);
    assert_int_equal(kvm_accel_ops.set(r->cpu[0], MOBO_X86_MSRS, &m, sizeof m), MOBO_OK);
    m = (mobo_x86_msrs_t){ .count = 1, .msr = { { .index = 0xc0000082, .value = 0x1234567 } } };
    assert_int_equal(kvm_accel_ops.set(r->cpu[0], MOBO_X86_MSRS, &m, sizeof m), MOBO_OK);
    m.msr[0].value = 0;
    assert_int_equal(kvm_accel_ops.get(r->cpu[0], MOBO_X86_MSRS, &m, sizeof m), MOBO_OK);
    assert_int_equal(m.msr[0].value, 0x1234567);
    kvm_accel_ops.vcpu_reset(r->cpu[0]);
    assert_int_equal(kvm_accel_ops.get(r->cpu[0], MOBO_X86_MSRS, &m, sizeof m), MOBO_OK);
    assert_int_equal(m.msr[0].value, 0);
    rig_free(r);
}

static void a_doorbell_rings_without_an_exit(void **state)
{
    (void)state;
    static const uint8_t code[] = {
        0xb0, 0x02, 0xe6, 0x90, /* mov al, 2; out 0x90, al: the bell */
        0xb0, 0x03, 0xe6, 0x90, /* mov al, 3; out 0x90, al: another value */
        0xe6, 0xf4, 0xf4,       /* out 0xf4, al; hlt */
    };
    struct rig *r = guest(code, sizeof code);
    int fd = eventfd(0, EFD_NONBLOCK);
    assert_int_equal(kvm_accel_ops.doorbell(&r->k, MOBO_SPACE_IO, 0x90, 1, 2, 0, fd, 1), MOBO_OK);
    run(r);
    uint64_t rung = 0;
    assert_int_equal(read(fd, &rung, sizeof rung), (ssize_t)sizeof rung);
    assert_int_equal(rung, 1);
    assert_int_equal(r->pio_writes, 2);
    assert_int_equal(kvm_accel_ops.doorbell(&r->k, MOBO_SPACE_IO, 0x90, 1, 2, 0, fd, 0), MOBO_OK);
    close(fd);
    rig_free(r);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(calibration_is_quick_and_names_its_figure),
        cmocka_unit_test(ports_memory_and_kicks),
        cmocka_unit_test(a_kick_ends_a_halt),
        cmocka_unit_test(the_8259_interrupts_a_halt),
        cmocka_unit_test(an_empty_idt_is_a_triple_fault),
        cmocka_unit_test(blocks_go_round),
        cmocka_unit_test(a_doorbell_rings_without_an_exit),
    };
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        printf("skipped: /dev/kvm: %s\n", strerror(errno));
        return 77;
    }
    close(fd);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
