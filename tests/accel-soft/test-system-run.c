/*
 * The run loop with guest code in it (real mode, hand-assembled): sleep and wake-up, timers, kicks,
 * start of a second CPU, shadows, single step, PV EOI, and exclusive sections under load.
 */
#include "rig.h"

#include <time.h>

enum { CODE = 0x7c00, HANDLER = 0x8000, COUNT = 0x9000 };

static void put_code(struct rig *r, unsigned at, const char *bytes, unsigned n)
{
    memcpy(r->ram + at, bytes, n);
}
#define PUT(r, at, text) put_code((r), (at), text, sizeof(text) - 1)

/* CPU ready to run at 0:7C00 with a stack below it and its APIC enabled. */
static void ready(struct rig *r, unsigned n)
{
    struct vcpu *c = r->cpu[n];
    uint32_t svr = 0x1ff;
    seg_load_real(c, SEG_CS, 0);
    c->rip = CODE;
    c->gpr[REG_RSP] = 0x7000 - 0x100 * n;
    c->activity = CPU_RUNNING;
    assert_true(lapic_mmio(c, 0xfee000f0, &svr, 4, true));
}

static void start(struct rig *r, unsigned cpus)
{
    rig_new(r, "max", RIG_HOST, cpus);
    for (unsigned i = 0; i < cpus; i++)
        ready(r, i);
    put(r, 4 * 0x40, HANDLER, 4);
    PUT(r, HANDLER, "\xff\x06\x00\x90\xcf"); /* inc word [9000h]; iret */
}

static void run(struct rig *r, unsigned n)
{
    assert_int_equal(soft_run(r->cpu[n], &rig_exits, r), MOBO_OK);
}

/* A byte of RAM while the guest runs: looking at it is a race on purpose. */
__attribute__((no_sanitize("thread"))) static unsigned glance(struct rig *r, uint64_t gpa)
{
    return ((volatile uint8_t *)r->ram)[gpa];
}

struct later {
    struct rig *r;
    unsigned ms;
    void (*what)(struct rig *r);
};

static void nap(unsigned ms)
{
    struct timespec t = { .tv_nsec = ms * 1000000l };
    nanosleep(&t, NULL);
}

static void *later_main(void *arg)
{
    struct later *l = arg;
    nap(l->ms);
    l->what(l->r);
    return NULL;
}

static void send_msi(struct rig *r)
{
    soft_accel_ops.msi(r->s, 0xfee00000, 0x40, 0);
}

static void kick(struct rig *r)
{
    soft_kick(r->cpu[0]);
}

static void wr(struct vcpu *c, unsigned off, uint32_t val)
{
    assert_true(lapic_mmio(c, 0xfee00000 + off, &val, 4, true));
}

static void test_hlt_wakes_by_message(void **state)
{
    (void)state;
    struct rig r;
    pthread_t t;
    start(&r, 1);
    PUT(&r, CODE, "\xfb\xf4\xe6\xf4\xeb\xfe"); /* sti; hlt; out f4h; jmp $ */
    struct later l = { &r, 5, send_msi };
    pthread_create(&t, NULL, later_main, &l);
    struct timespec cpu0, cpu1;
    uint64_t begin = soft_now();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu0);
    run(&r, 0);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu1);
    pthread_join(t, NULL);
    assert_int_equal(peek_ram(&r, COUNT, 2), 1);
    assert_true(soft_now() - begin >= 5000000);
    int64_t used = (cpu1.tv_sec - cpu0.tv_sec) * 1000000000ll + cpu1.tv_nsec - cpu0.tv_nsec;
    assert_true(used < 4000000); /* it slept */
    assert_int_equal(r.cpu[0]->halts, 1);
    rig_free(&r);
}

static void test_hlt_wakes_by_timer(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 1);
    PUT(&r, CODE, "\xfb\xf4\xe6\xf4\xeb\xfe");
    wr(r.cpu[0], 0x3e0, 0xb);
    wr(r.cpu[0], 0x320, 0x40);
    uint64_t begin = soft_now();
    wr(r.cpu[0], 0x380, 3000000);
    run(&r, 0);
    assert_int_equal(peek_ram(&r, COUNT, 2), 1);
    assert_true(soft_now() - begin >= 3000000);
    rig_free(&r);
}

/* A loop that never exits by itself: the timer thread must get it out. */
static void test_timer_interrupts_running_code(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 1);
    PUT(&r, CODE, "\xfb\xeb\xfe");                    /* sti; jmp $ */
    PUT(&r, HANDLER, "\xff\x06\x00\x90\xe6\xf4\xcf"); /* inc word; out f4h; iret */
    wr(r.cpu[0], 0x3e0, 0xb);
    wr(r.cpu[0], 0x320, 0x40);
    uint64_t begin = soft_now();
    wr(r.cpu[0], 0x380, 3000000);
    run(&r, 0);
    uint64_t took = soft_now() - begin;
    assert_int_equal(peek_ram(&r, COUNT, 2), 1);
    assert_true(took >= 3000000 && took < 500000000);
    rig_free(&r);
}

static void test_kicks(void **state)
{
    (void)state;
    struct rig r;
    pthread_t t;
    start(&r, 1);
    PUT(&r, CODE, "\xeb\xfe");
    soft_kick(r.cpu[0]); /* before run: at once, and only once */
    run(&r, 0);
    assert_int_equal(r.cpu[0]->insns, 0);
    struct later l = { &r, 3, kick };
    pthread_create(&t, NULL, later_main, &l);
    run(&r, 0);
    pthread_join(t, NULL);
    assert_true(r.cpu[0]->insns > 0);
    PUT(&r, CODE, "\xfa\xf4"); /* cli; hlt: only a kick ends it */
    r.cpu[0]->rip = CODE;
    r.s->engine->invalidate(r.cpu[0], ~0ull, 0);
    pthread_create(&t, NULL, later_main, &l);
    run(&r, 0);
    pthread_join(t, NULL);
    assert_int_equal(r.cpu[0]->activity, CPU_HALTED);
    rig_free(&r);
}

static void test_sti_shadow(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 1);
    PUT(&r, CODE, "\xfb\x40\x40\x40\xeb\xfe");    /* sti; inc ax x3; jmp $ */
    PUT(&r, HANDLER, "\xa3\x00\x90\xe6\xf4\xcf"); /* mov [9000h], ax; out f4h */
    send_msi(&r);
    run(&r, 0);
    assert_int_equal(peek_ram(&r, COUNT, 2), 1); /* exactly one instruction after STI */
    rig_free(&r);
}

/* POPF that sets IF, with an interrupt held back: taken at the next boundary. */
static void test_popf_lets_interrupts_in(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 1);
    PUT(&r, CODE, "\x68\x02\x02\x9d\x40\x40\xeb\xfc"); /* push 202h; popf; l: inc ax x2; jmp l */
    PUT(&r, HANDLER, "\xa3\x00\x90\xe6\xf4\xcf");
    send_msi(&r);
    put(&r, COUNT, 0xffff, 2);
    run(&r, 0);
    assert_int_equal(peek_ram(&r, COUNT, 2), 0);
    rig_free(&r);
}

static void test_single_step(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 1);
    put(&r, 4 * VEC_DB, HANDLER, 4);
    PUT(&r, CODE, "\x90\x90\x90\xe6\xf4\xeb\xfe");
    r.cpu[0]->fl |= FL_TF;
    run(&r, 0);
    assert_int_equal(peek_ram(&r, COUNT, 2), 3);
    assert_true(r.cpu[0]->dr6 & (1u << 14));
    rig_free(&r);
}

static void test_nmi_blocks_until_iret(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 1);
    put(&r, 4 * VEC_NMI, HANDLER, 4);
    PUT(&r, CODE, "\x90\x90\xe6\xf4\xeb\xfe");
    assert_int_equal(soft_accel_ops.nmi(r.s, 0), MOBO_OK);
    r.cpu[0]->nmi_blocked = 1;
    run(&r, 0);
    assert_int_equal(peek_ram(&r, COUNT, 2), 0);
    r.cpu[0]->nmi_blocked = 0;
    r.cpu[0]->rip = CODE;
    run(&r, 0);
    assert_int_equal(peek_ram(&r, COUNT, 2), 1);
    assert_int_equal(r.cpu[0]->nmi_blocked, 0);
    rig_free(&r);
}

static void test_extint(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 1);
    PUT(&r, CODE, "\xfb\xf4\xeb\xfd");
    PUT(&r, HANDLER, "\xff\x06\x00\x90\xe6\xf4\xcf");
    wr(r.cpu[0], 0x350, 0x700);
    r.ack_vector = 0x40;
    soft_accel_ops.extint(r.s, 1);
    run(&r, 0);
    assert_int_equal(r.acks, 1);
    assert_int_equal(peek_ram(&r, COUNT, 2), 1);
    rig_free(&r);
}

/* The handler ends its interrupt by clearing a bit in memory; without that the second one waits. */
static void test_pv_eoi(void **state)
{
    (void)state;
    struct rig r;
    pthread_t t;
    start(&r, 1);
    assert_true(msr_write(r.cpu[0], 0x4b564d04, 0x9401));
    PUT(&r, CODE, "\xfb\xf4\xeb\xfd"); /* sti; hlt; jmp hlt */
    /* inc word [9000h]; mov al, [9400h]; mov [9500h], al; and byte [9400h], feh; out f4h; iret */
    PUT(&r, HANDLER, "\xff\x06\x00\x90\xa0\x00\x94\xa2\x00\x95\x80\x26\x00\x94\xfe\xe6\xf4\xcf");
    for (unsigned i = 1; i <= 3; i++) {
        struct later l = { &r, 1, send_msi };
        pthread_create(&t, NULL, later_main, &l);
        run(&r, 0);
        pthread_join(t, NULL);
        assert_int_equal(peek_ram(&r, COUNT, 2), i);
        assert_int_equal(peek_ram(&r, 0x9500, 1), 1); /* the offer was there */
    }
    rig_free(&r);
}

/* Linux does this on its way to a reboot, in the handler of an IPI. */
static void test_pv_eoi_switched_off_in_a_handler(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 1);
    struct vcpu *c = r.cpu[0];
    assert_true(msr_write(c, 0x4b564d04, 0x9401));
    send_msi(&r);
    assert_int_equal(lapic_pending(c), 0x40);
    lapic_accept(c, 0x40);
    pv_eoi_offer(c);
    assert_int_equal(peek_ram(&r, 0x9400, 1), 1);
    put(&r, 0x9400, 0, 1);
    assert_true(msr_write(c, 0x4b564d04, 0));
    assert_int_equal(lapic_in_service(c), -1);
    rig_free(&r);
}

static void *run_thread(void *arg)
{
    struct vcpu *c = arg;
    soft_run(c, &rig_exits, rig_of(c->soft->obj));
    return NULL;
}

static void test_second_cpu_starts(void **state)
{
    (void)state;
    struct rig r;
    pthread_t t;
    rig_new(&r, "max", RIG_HOST, 2);
    PUT(&r, 0x9000, "\xfe\x06\x00\x91\xfa\xf4"); /* at 9000h: inc byte [9100h]; cli; hlt */
    pthread_create(&t, NULL, run_thread, r.cpu[1]);
    nap(2);
    wr(r.cpu[0], 0x310, 1u << 24);
    wr(r.cpu[0], 0x300, 0x4500);
    wr(r.cpu[0], 0x300, 0x4609);
    for (unsigned i = 0; i < 2000 && glance(&r, 0x9100) == 0; i++)
        nap(1);
    wr(r.cpu[0], 0x300, 0x4609); /* a second SIPI changes nothing */
    nap(3);
    soft_kick(r.cpu[1]);
    pthread_join(t, NULL);
    assert_int_equal(peek_ram(&r, 0x9100, 1), 1);
    assert_int_equal(r.cpu[1]->seg[SEG_CS].sel, 0x900);
    rig_free(&r);
}

/*
 * Four CPUs increment a word that crosses a page (each increment an exclusive section) while
 * another thread maps and unmaps RAM (exclusive sections too). No increment is lost, nothing hangs.
 */
static void test_exclusive_sections(void **state)
{
    (void)state;
    struct rig r;
    pthread_t t[4];
    start(&r, 4);
    /* mov cx, 2000; l: lock inc word [9fffh]; loop l; lock inc byte [9300h]; cli; hlt */
    PUT(&r, CODE, "\xb9\xd0\x07\xf0\xff\x06\xff\x9f\xe2\xf9\xf0\xfe\x06\x00\x93\xfa\xf4");
    static uint8_t spare[1 << 16] __attribute__((aligned(4096)));
    for (unsigned i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, run_thread, r.cpu[i]);
    unsigned maps = 0;
    uint64_t limit = soft_now() + 30000000000;
    while (glance(&r, 0x9300) < 4 && soft_now() < limit) {
        assert_int_equal(soft_accel_ops.ram_map(r.s, 1 << 30, spare, sizeof spare, 0), MOBO_OK);
        assert_int_equal(soft_accel_ops.ram_unmap(r.s, 1 << 30, sizeof spare), MOBO_OK);
        maps++;
    }
    for (unsigned i = 0; i < 4; i++)
        soft_kick(r.cpu[i]);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(peek_ram(&r, 0x9300, 1), 4);
    assert_int_equal(peek_ram(&r, 0x9fff, 2), 8000);
    assert_true(maps > 0);
    rig_free(&r);
}

static void test_ram_map_checks(void **state)
{
    (void)state;
    struct rig r;
    static uint8_t spare[1 << 14] __attribute__((aligned(4096)));
    start(&r, 1);
    assert_int_equal(soft_accel_ops.ram_map(r.s, 0x1000, spare, 0x1000, 0), MOBO_EEXIST);
    assert_int_equal(soft_accel_ops.ram_map(r.s, RIG_RAM + 1, spare, 0x1000, 0), MOBO_EINVAL);
    assert_int_equal(soft_accel_ops.ram_map(r.s, ~0xfffull, spare, 0x2000, 0), MOBO_EINVAL);
    assert_int_equal(soft_accel_ops.ram_unmap(r.s, 0x1000, 0x1000), MOBO_ENOENT);
    uint64_t left;
    uint32_t flags;
    assert_ptr_equal(soft_ram(r.s, RIG_RAM - 1, &left, &flags), r.ram + RIG_RAM - 1);
    assert_int_equal(left, 1);
    assert_null(soft_ram(r.s, RIG_RAM, &left, &flags));
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hlt_wakes_by_message),
        cmocka_unit_test(test_hlt_wakes_by_timer),
        cmocka_unit_test(test_timer_interrupts_running_code),
        cmocka_unit_test(test_kicks),
        cmocka_unit_test(test_sti_shadow),
        cmocka_unit_test(test_popf_lets_interrupts_in),
        cmocka_unit_test(test_single_step),
        cmocka_unit_test(test_nmi_blocks_until_iret),
        cmocka_unit_test(test_extint),
        cmocka_unit_test(test_pv_eoi),
        cmocka_unit_test(test_pv_eoi_switched_off_in_a_handler),
        cmocka_unit_test(test_second_cpu_starts),
        cmocka_unit_test(test_exclusive_sections),
        cmocka_unit_test(test_ram_map_checks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
