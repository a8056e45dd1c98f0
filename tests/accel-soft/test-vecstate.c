/*
 * test-vecstate.c: the guest's vector and x87 registers in the host's: moves there and back, what
 * may execute when, and that the libc functions that C code calls with live registers keep them
 * (tests/accel-soft/general-regs lists those).
 */
#include "rig.h"

#include "../../plugins/accel-soft/x86/fpu.h"
#include "../../plugins/accel-soft/x86/vecstate.h"

#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The test's own code between going live and coming home must not use the registers either. */
#define ALONE __attribute__((target("general-regs-only"), noinline))

static struct rig rig;
static struct vcpu *cpu;
static uint8_t ymm[16][32];
static struct x87_image x87;

static int setup(void **state)
{
    (void)state;
    rig_new(&rig, "max", RIG_HOST, 1);
    cpu = rig.cpu[0];
    cpu->cr0 = CR0_ET | CR0_NE | CR0_MP | CR0_PE;
    cpu->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    cpu->xcr0 = XSTATE_ALL;
    fpu_reset(cpu);
    fpu_fninit(cpu);
    for (unsigned i = 0; i < sizeof cpu->ymm; i++)
        cpu->ymm[i / 32][i % 32] = (uint8_t)(i * 7 + i / 32);
    for (unsigned i = 0; i < 8; i++)
        for (unsigned k = 0; k < 10; k++)
            cpu->x87.st[i][k] = (uint8_t)(i * 16 + k + 1);
    cpu->x87.ftw = 0x5a;
    cpu->x87.fsw = 5 << 11 | 0x4100;
    cpu->x87.fcw = 0x0a7f;
    cpu->x87.fop = 0x123;
    cpu->x87.fip = 0xffffffff81234567;
    cpu->x87.fdp = 0x7fff12345678;
    cpu->mxcsr = 0xbfa1;
    memcpy(ymm, cpu->ymm, sizeof ymm);
    x87 = cpu->x87;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vec_out(cpu);
    rig_free(&rig);
    return 0;
}

static ALONE void fill(void *at, size_t len)
{
    for (volatile uint8_t *p = at; len; len--)
        *p++ = 0xee;
}

/* Overwrite the home: what comes back comes from the host's registers. */
static ALONE void spoil(void)
{
    fill(cpu->ymm, sizeof cpu->ymm);
    cpu->mxcsr = 0;
    if (cpu->x87_live) {
        fill(cpu->x87.st, sizeof cpu->x87.st);
        cpu->x87.fcw = cpu->x87.fsw = cpu->x87.ftw = 0;
    }
}

static void check_home(void)
{
    unsigned bytes = cpu_has(cpu, FEAT_AVX) ? 32 : 16;
    for (unsigned i = 0; i < 16; i++)
        assert_memory_equal(cpu->ymm[i], ymm[i], bytes);
    assert_int_equal(cpu->mxcsr, 0xbfa1);
    assert_memory_equal(&cpu->x87, &x87, 24); /* control words and pointers */
    assert_int_equal(cpu->x87.mxcsr, MXCSR_INIT);
    for (unsigned i = 0; i < 8; i++)
        assert_memory_equal(cpu->x87.st[i], x87.st[i], 10);
}

static void check_host(void)
{
    uint32_t mxcsr;
    struct x87_image now;
    __asm__ volatile("stmxcsr %0\n\tfxsave64 %1" : "=m"(mxcsr), "=m"(now));
    assert_int_equal(mxcsr, MXCSR_INIT);
    assert_int_equal(now.fcw, FCW_INIT);
    assert_int_equal(now.ftw, 0);
    assert_int_equal(now.fsw, 0);
}

static void test_vectors(void **state)
{
    (void)state;
    vec_out(cpu); /* nothing */
    vec_in(cpu);
    spoil();
    vec_in(cpu); /* nothing */
    vec_out(cpu);
    check_host();
    check_home();
    assert_int_equal(cpu->vec_live | cpu->x87_live | cpu->vec_ready, 0);
}

static void test_x87(void **state)
{
    (void)state;
    vec_in_x87(cpu); /* both at once */
    spoil();
    vec_out(cpu);
    check_host();
    check_home();
    vec_in(cpu); /* one after the other: the vectors are in the way of FXRSTOR */
    spoil();
    vec_in_x87(cpu);
    spoil();
    vec_in_x87(cpu); /* nothing */
    vec_out(cpu);
    check_host();
    check_home();
}

/* An unmasked exception that is pending is nobody's but the guest's. */
static void test_pending(void **state)
{
    (void)state;
    cpu->x87.fcw = x87.fcw = 0x37e;
    cpu->x87.fsw = x87.fsw = 0x8081;
    cpu->x87.ftw = x87.ftw = 0;
    vec_in_x87(cpu);
    spoil();
    vec_out(cpu);
    check_host();
    check_home();
}

static void test_ready(void **state)
{
    (void)state;
    const unsigned avx = VEC_AVX, all = VEC_SSE | VEC_AVX | VEC_X87;
    static const struct {
        uint32_t cr0_set, cr4_clear;
        uint8_t no_avx;
        unsigned can;
    } rules[] = {
        { 0, 0, 0, VEC_SSE | VEC_AVX | VEC_X87 },
        { CR0_EM, 0, 0, VEC_AVX },
        { CR0_TS, 0, 0, 0 },
        { 0, CR4_OSFXSR, 0, VEC_AVX | VEC_X87 },
        { 0, CR4_OSXSAVE, 0, VEC_SSE | VEC_X87 },
        { 0, 0, 1, VEC_SSE | VEC_X87 },
    };
    const uint64_t cr0 = cpu->cr0, cr4 = cpu->cr4;
    for (unsigned i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        vec_out(cpu);
        cpu->cr0 = cr0 | rules[i].cr0_set;
        cpu->cr4 = cr4 & ~(uint64_t)rules[i].cr4_clear;
        cpu->xcr0 = rules[i].no_avx ? XSTATE_X87 | XSTATE_SSE : XSTATE_ALL;
        for (unsigned need = 1; need <= all; need++) {
            vec_out(cpu);
            bool ok = !(need & ~rules[i].can);
            assert_int_equal(vec_need(cpu, need), ok);
            assert_int_equal(cpu->vec_live, ok);
            assert_int_equal(cpu->x87_live, ok && (need & VEC_X87));
            assert_int_equal(cpu->vec_ready & need, ok ? need : 0);
        }
        vec_in_x87(cpu);
        assert_int_equal(cpu->vec_ready, rules[i].can);
        cpu->cr0 |= CR0_TS;
        cpu_mode_changed(cpu);
        assert_int_equal(cpu->vec_ready, 0);
        cpu->cr0 = cr0 | rules[i].cr0_set;
        cpu_mode_changed(cpu);
        assert_int_equal(cpu->vec_ready, rules[i].can);
    }
    vec_out(cpu);
    cpu->cr0 = cr0;
    cpu->cr4 = cr4;
    cpu->xcr0 = XSTATE_ALL;
    vec_in(cpu);
    assert_int_equal(cpu->vec_ready, VEC_SSE | avx);
}

/* Functions that loop.c and others call with live registers. */
static jmp_buf jump;

static ALONE void calls(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    clock_gettime(CLOCK_REALTIME, &t);
    (void)soft_now();
    (void)pthread_self();
    if (setjmp(jump) == 0)
        longjmp(jump, 1);
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)madvise(p, 4096, MADV_DONTNEED);
    if (ftruncate(-1, 0) == 0)
        p = NULL;
    (void)munmap(p, 4096);
    (void)syscall(SYS_getppid);
    (void)getauxval(AT_HWCAP2);
}

static void test_kept(void **state)
{
    (void)state;
    if (!VEC_KEPT_BY_C)
        skip();
    for (unsigned round = 0; round < 2; round++) { /* the second time nothing is bound any more */
        vec_in_x87(cpu);
        calls();
        vec_out(cpu);
        check_home();
    }
    vec_in_x87(cpu);
    spoil();
    soft_request(cpu, REQ_EVENT); /* nobody sleeps */
    cpu_mode_changed(cpu);
    vec_out_thread();
    assert_int_equal(cpu->vec_live, 0);
    check_home();
    vec_out_thread(); /* nothing */
}

/* Instructions that work on the home find it good, and a reset too. */
static void test_borders(void **state)
{
    (void)state;
    static const uint8_t fnstcw[15] = { 0xd9, 0x3f }, pxor[15] = { 0x66, 0x0f, 0xef, 0xc0 };
    struct x86_insn in;
    cpu->gpr[REG_RBX] = 0x1000; /* 16-bit code: [bx] */
    assert_int_equal(x86_decode(fnstcw, 15, (struct x86_dec_mode){ cpu->code_bits }, &in), DEC_OK);
    vec_in_x87(cpu);
    spoil();
    vec_execute(cpu, &in, fnstcw);
    assert_int_equal(cpu->vec_live, 0);
    assert_int_equal(peek_ram(&rig, 0x1000, 2), 0x0a7f);
    check_home();
    assert_int_equal(x86_decode(pxor, 15, (struct x86_dec_mode){ cpu->code_bits }, &in), DEC_OK);
    vec_in_x87(cpu);
    spoil();
    vec_execute(cpu, &in, pxor);
    memset(ymm[0], 0, 16);
    check_home();
    vec_in_x87(cpu);
    x86_reset(cpu, false);
    assert_int_equal(cpu->vec_live, 0);
    assert_int_equal(cpu->x87.fcw, 0x40);
    check_host();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_vectors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_x87, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pending, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_borders, setup, teardown),
    };
    return cmocka_run_group_tests_name("vecstate", tests, NULL, NULL);
}
