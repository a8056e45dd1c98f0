/*
 * test-fpu.c: vector, MMX and x87 instructions where native1 does not look: control-register rules,
 * unmasked exceptions, 16 and 32-bit code, state images and their refusal, the limits of the thunk
 * cache.
 */
#include "rig.h"

#include "../../plugins/accel-soft/x86/fpu.h"
#include "../../plugins/accel-soft/x86/native_int.h"

#include <sys/resource.h>

enum { AREA = 0x10000, TABLES = 0x100000 };

static struct rig rig;
static struct vcpu *cpu;

/* Flat 64, 32 or 16-bit (real mode) code in ring 0, RAM where it is. */
static void mode(unsigned bits)
{
    const uint64_t entries[3] = { (TABLES + 0x1000) | 3, (TABLES + 0x2000) | 3, 0x83 };
    cpu->cr0 = CR0_ET | CR0_NE | CR0_MP | (bits == 16 ? 0 : CR0_PE) | (bits == 64 ? CR0_PG : 0);
    cpu->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    cpu->efer = bits == 64 ? EFER_LME | EFER_LMA | EFER_NXE : 0;
    cpu->xcr0 = XSTATE_ALL;
    cpu->fl = FL_1;
    cpu->cpl = 0;
    for (unsigned i = 0; i < 3; i++)
        memcpy(rig.ram + TABLES + i * 0x1000u, &entries[i], 8);
    for (uint64_t i = 1; i < 2; i++) /* the second 2 MiB page of RAM */
        put(&rig, TABLES + 0x2000 + i * 8, i << 21 | 0x83, 8);
    cpu->cr3 = TABLES;
    for (unsigned i = 0; i < SEG_LDT; i++)
        cpu->seg[i] = (struct seg){ .limit = 0xffffffff, .attr = 0xc93 };
    cpu->seg[SEG_CS].attr = bits == 64 ? 0xa9b : bits == 32 ? 0xc9b : 0x9b;
    cpu->code_bits = cpu->stack_bits = (uint8_t)bits;
    cpu->flat = 1;
    tlb_flush(cpu);
    cpu_mode_changed(cpu);
}

static int setup(void **state)
{
    (void)state;
    rig_new(&rig, "max", RIG_HOST, 1);
    cpu = rig.cpu[0];
    mode(64);
    fpu_reset(cpu);
    fpu_fninit(cpu);
    cpu->gpr[REG_RDI] = AREA;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_free(&rig);
    return 0;
}

/* The vector that the instruction raises, or -1. */
static int exec(const char *bytes, unsigned n)
{
    struct x86_insn in;
    uint8_t buf[15] = { 0 };
    memcpy(buf, bytes, n);
    assert_int_equal(x86_decode(buf, n, (struct x86_dec_mode){ cpu->code_bits }, &in), DEC_OK);
    assert_int_equal(in.len, n);
    assert_true(vec_handles(in.op));
    cpu->exc_pending = 0;
    if (setjmp(cpu->unwind) == 0) {
        vec_execute(cpu, &in, buf);
        return -1;
    }
    cpu->exc_pending = 0;
    return cpu->exc_vector;
}
#define X(text) exec(text, sizeof(text) - 1)

static uint32_t host_mxcsr(void)
{
    uint32_t v;
    __asm__ volatile("stmxcsr %0" : "=m"(v));
    return v;
}

static uint16_t host_fcw(void)
{
    uint16_t v;
    __asm__ volatile("fnstcw %0" : "=m"(v));
    return v;
}

/* ---- who may run (SDM volume 3A, tables 13-1 and 14-1) --------------------------------------- */

#define INSN(text) text, sizeof(text) - 1
enum { PENDING = 1, NO_AVX = 2, NEEDS_AVX = 4 };

static const struct {
    const char *bytes;
    unsigned len;
    uint32_t cr0_set, cr4_clear;
    unsigned extra;
    int vector;
} rules[] = {
    { INSN("\xd9\xe8"), 0, 0, 0, -1 },               /* FLD1 */
    { INSN("\xd9\xe8"), CR0_EM, 0, 0, VEC_NM },
    { INSN("\xd9\xe8"), CR0_TS, 0, 0, VEC_NM },
    { INSN("\xd9\xe8"), 0, 0, PENDING, VEC_MF },
    { INSN("\xd9\xe8"), CR0_TS, 0, PENDING, VEC_NM },
    { INSN("\xdb\xe3"), 0, 0, PENDING, -1 },         /* FNINIT */
    { INSN("\xdb\xe3"), CR0_TS, 0, 0, VEC_NM },
    { INSN("\xdf\xe0"), 0, 0, PENDING, -1 },         /* FNSTSW AX */
    { INSN("\xd9\x3f"), 0, 0, PENDING, -1 },         /* FNSTCW */
    { INSN("\xd9\x2f"), 0, 0, PENDING, VEC_MF },     /* FLDCW */
    { INSN("\xd9\x27"), 0, 0, PENDING, VEC_MF },     /* FLDENV */
    { INSN("\xd9\x37"), 0, 0, PENDING, -1 },         /* FNSTENV */
    { INSN("\x9b"), 0, 0, 0, -1 },                   /* FWAIT */
    { INSN("\x9b"), CR0_TS, 0, 0, VEC_NM },          /* MP is set */
    { INSN("\x9b"), CR0_EM, 0, 0, -1 },
    { INSN("\x9b"), 0, 0, PENDING, VEC_MF },
    { INSN("\x0f\xfc\xc1"), 0, 0, 0, -1 },           /* PADDB mm */
    { INSN("\x0f\xfc\xc1"), CR0_EM, 0, 0, VEC_UD },
    { INSN("\x0f\xfc\xc1"), CR0_TS, 0, 0, VEC_NM },
    { INSN("\x0f\xfc\xc1"), 0, 0, PENDING, VEC_MF },
    { INSN("\x0f\xfc\xc1"), 0, CR4_OSFXSR, 0, -1 },
    { INSN("\x0f\x2c\xc1"), 0, CR4_OSFXSR, 0, VEC_UD }, /* CVTTPS2PI */
    { INSN("\x0f\x77"), CR0_EM, 0, 0, VEC_UD },      /* EMMS */
    { INSN("\x0f\x77"), 0, 0, PENDING, VEC_MF },
    { INSN("\x0f\x58\xc1"), 0, 0, 0, -1 },           /* ADDPS */
    { INSN("\x0f\x58\xc1"), CR0_EM, 0, 0, VEC_UD },
    { INSN("\x0f\x58\xc1"), CR0_TS, 0, 0, VEC_NM },
    { INSN("\x0f\x58\xc1"), CR0_EM | CR0_TS, 0, 0, VEC_UD },
    { INSN("\x0f\x58\xc1"), 0, CR4_OSFXSR, 0, VEC_UD },
    { INSN("\x0f\x58\xc1"), 0, 0, PENDING, -1 },
    { INSN("\xc5\xf4\x58\xc1"), 0, 0, NEEDS_AVX, -1 }, /* VADDPS ymm */
    { INSN("\xc5\xf4\x58\xc1"), CR0_EM, 0, NEEDS_AVX, -1 },
    { INSN("\xc5\xf4\x58\xc1"), CR0_TS, 0, NEEDS_AVX, VEC_NM },
    { INSN("\xc5\xf4\x58\xc1"), 0, CR4_OSXSAVE, NEEDS_AVX, VEC_UD },
    { INSN("\xc5\xf4\x58\xc1"), 0, 0, NEEDS_AVX | NO_AVX, VEC_UD },
    { INSN("\xc5\xf8\x77"), 0, 0, NEEDS_AVX | NO_AVX, VEC_UD }, /* VZEROUPPER */
    { INSN("\x0f\xae\x07"), 0, 0, PENDING, -1 },     /* FXSAVE */
    { INSN("\x0f\xae\x07"), CR0_EM, 0, 0, VEC_NM },
    { INSN("\x0f\xae\x07"), CR0_TS, 0, 0, VEC_NM },
    { INSN("\x0f\xae\x27"), 0, 0, PENDING, -1 },     /* XSAVE */
    { INSN("\x0f\xae\x27"), CR0_EM, 0, 0, -1 },
    { INSN("\x0f\xae\x27"), CR0_TS, 0, 0, VEC_NM },
    { INSN("\x0f\xae\x27"), 0, CR4_OSXSAVE, 0, VEC_UD },
    { INSN("\x0f\xae\x17"), CR0_EM, 0, 0, VEC_UD },  /* LDMXCSR */
    { INSN("\x0f\xae\x17"), 0, CR4_OSFXSR, 0, VEC_UD },
    { INSN("\x0f\xae\x17"), CR0_TS, 0, 0, VEC_NM },
};

static void test_rules(void **state)
{
    (void)state;
    bool avx = cpu_has(cpu, FEAT_AVX);
    for (unsigned i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if ((rules[i].extra & NEEDS_AVX) && !avx)
            continue;
        memset(rig.ram + AREA, 0, 1024);
        mode(64);
        fpu_fninit(cpu);
        cpu->cr0 |= rules[i].cr0_set;
        cpu->cr4 &= ~(uint64_t)rules[i].cr4_clear;
        if (rules[i].extra & NO_AVX)
            cpu->xcr0 = XSTATE_X87 | XSTATE_SSE;
        if (rules[i].extra & PENDING) {
            cpu->x87.fcw = 0x37e; /* invalid operation unmasked, and there */
            cpu->x87.fsw = 0x8081;
        }
        int vector = exec(rules[i].bytes, rules[i].len);
        if (vector != rules[i].vector)
            print_message("rule %u: vector %d\n", i, vector);
        assert_int_equal(vector, rules[i].vector);
        assert_int_equal(host_mxcsr() & 0xffc0, 0x1f80);
        assert_int_equal(host_fcw(), FCW_INIT);
    }
}

/* ---- exceptions of the arithmetic ------------------------------------------------------------ */

static void test_simd_exception(void **state)
{
    (void)state;
    const float one[4] = { 1, 1, 1, 1 }, by[4] = { 2, 0, 4, 8 };
    native_fini(cpu); /* cmocka has put its own handler over ours: the next CPU notices */
    assert_int_equal(native_init(cpu), MOBO_OK);
    for (unsigned round = 0; round < 3; round++) {
        memcpy(cpu->ymm[2], one, 16);
        memcpy(cpu->ymm[3], by, 16);
        cpu->mxcsr = MXCSR_INIT & ~0x200u; /* division by zero */
        cpu->cr4 |= CR4_OSXMMEXCPT;
        if (round == 1)
            cpu->cr4 &= ~(uint64_t)CR4_OSXMMEXCPT;
        assert_int_equal(X("\x0f\x5e\xd3"), round == 1 ? VEC_UD : VEC_XM); /* DIVPS */
        assert_memory_equal(cpu->ymm[2], one, 16);
        assert_int_equal(cpu->mxcsr, (MXCSR_INIT & ~0x200u) | 4);
        assert_int_equal(host_mxcsr() & 0xffc0, 0x1f80);
    }
    cpu->mxcsr = MXCSR_INIT;
    assert_int_equal(X("\x0f\x5e\xd3"), -1);
    assert_int_equal(cpu->mxcsr, MXCSR_INIT | 4);
}

/* A store of a value too large, unmasked: nothing is stored or popped, the next one faults. */
static void test_x87_store(void **state)
{
    (void)state;
    const uint8_t huge[10] = { 0, 0, 0, 0, 0, 0, 0, 0x80, 0xfe, 0x7f };
    put(&rig, AREA, 0x11223344, 4);
    memcpy(cpu->x87.st[0], huge, 10);
    cpu->x87.ftw = 0x80;
    cpu->x87.fsw = 7 << 11;
    cpu->x87.fcw = 0x377; /* overflow */
    cpu->rip = 0x4000;
    assert_int_equal(X("\xd9\x1f"), -1); /* FSTP m32 */
    assert_int_equal(peek_ram(&rig, AREA, 4), 0x11223344);
    assert_int_equal(cpu->x87.ftw, 0x80);
    assert_int_equal(cpu->x87.fsw & 0x80ff, 0x8088);
    assert_int_equal(cpu->x87.fip, 0x4000);
    assert_int_equal(cpu->x87.fdp, AREA);
    assert_int_equal(cpu->x87.fop, 0x11f);
    assert_int_equal(X("\x9b"), VEC_MF);
    assert_int_equal(X("\xdb\xe2"), -1); /* FNCLEX */
    assert_int_equal(cpu->x87.fip, 0x4000);
    cpu->x87.fcw = FCW_INIT;
    assert_int_equal(X("\xd9\x1f"), -1);
    assert_int_equal(peek_ram(&rig, AREA, 4), 0x7f800000);
    assert_int_equal(cpu->x87.ftw, 0);
}

static void test_mmx_alias(void **state)
{
    (void)state;
    assert_int_equal(X("\xd9\xe8"), -1); /* FLD1: R7 */
    put(&rig, AREA, 0x0123456789abcdef, 8);
    assert_int_equal(X("\x0f\x6f\x1f"), -1); /* MOVQ mm3, [rdi] */
    assert_int_equal(cpu->x87.fsw >> 11 & 7, 0);
    assert_int_equal(cpu->x87.ftw, 0xff);
    const uint8_t want[10] = { 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01, 0xff, 0xff };
    assert_memory_equal(cpu->x87.st[3], want, 10);
    assert_int_equal(cpu->x87.st[7][9], 0x3f); /* 1.0 is where it was */
    assert_int_equal(X("\x0f\x77"), -1);
    assert_int_equal(cpu->x87.ftw, 0);
}

/* ---- images ---------------------------------------------------------------------------------- */

static void pattern(void)
{
    static uint8_t area[4096];
    const uint64_t bv = 7;
    const uint32_t mxcsr = 0x9fc0;
    memset(area, 0, sizeof area);
    for (unsigned i = 0; i < 24; i++)
        area[i] = (uint8_t)(i * 3 + 1);
    area[0] = 0x7f;
    area[1] = 0x03;
    area[2] = 0;
    area[3] = 0x18; /* TOP 3 */
    for (unsigned i = 0; i < 8; i++)
        for (unsigned k = 0; k < 10; k++)
            area[32 + i * 16 + k] = (uint8_t)(i * 16 + k + 1);
    for (unsigned i = 0; i < 256; i++) {
        area[160 + i] = (uint8_t)(i + 7);
        area[576 + i] = (uint8_t)(i * 5 + 3);
    }
    memcpy(area + 24, &mxcsr, 4);
    memcpy(area + 512, &bv, 8);
    assert_int_equal(fpu_set_xsave(cpu, area), MOBO_OK);
}

static void clear(void)
{
    fpu_reset(cpu);
    fpu_fninit(cpu);
}

static void test_fxsave(void **state)
{
    (void)state;
    static uint8_t full[4096], again[4096];
    const uint8_t *a = rig.ram + AREA;
    pattern();
    fpu_get_xsave(cpu, full);
    memset(rig.ram + AREA, 0xee, 1024);
    assert_int_equal(X("\x48\x0f\xae\x07"), -1); /* FXSAVE64 */
    assert_memory_equal(a, full, 416);
    assert_int_equal(a[464], 0xee);
    assert_int_equal(a[511], 0xee);
    clear();
    assert_int_equal(X("\x48\x0f\xae\x0f"), -1); /* FXRSTOR64 */
    fpu_get_xsave(cpu, again);
    assert_memory_equal(again, full, 512);

    pattern();
    assert_int_equal(X("\x0f\xae\x07"), -1); /* pointers of 32 bits, no selectors */
    assert_memory_equal(a + 8, full + 8, 4);
    assert_int_equal(peek_ram(&rig, AREA + 12, 4), 0);
    assert_memory_equal(a + 16, full + 16, 4);
    mode(32); /* eight vector registers */
    memset(rig.ram + AREA, 0xee, 512);
    assert_int_equal(X("\x0f\xae\x07"), -1);
    assert_memory_equal(a + 160, full + 160, 128);
    assert_int_equal(a[288], 0xee);

    mode(64);
    put(&rig, AREA + 24, 0x10000, 4); /* reserved bit of MXCSR */
    assert_int_equal(X("\x0f\xae\x0f"), VEC_GP);
    cpu->gpr[REG_RDI] = AREA + 8;
    assert_int_equal(X("\x0f\xae\x07"), VEC_GP);
    assert_int_equal(X("\x0f\xae\x27"), VEC_GP);
}

static uint64_t saved_bv(void)
{
    return peek_ram(&rig, AREA + 512, 8);
}

static void test_xsave(void **state)
{
    (void)state;
    static uint8_t full[4096], again[4096];
    const uint8_t *a = rig.ram + AREA;
    pattern();
    fpu_get_xsave(cpu, full);
    memset(rig.ram + AREA, 0, 1024);
    cpu->gpr[REG_RAX] = 7;
    cpu->gpr[REG_RDX] = 0;
    assert_int_equal(X("\x48\x0f\xae\x27"), -1); /* XSAVE64 */
    assert_memory_equal(a, full, 416);
    assert_memory_equal(a + 512, full + 512, 320);
    clear();
    assert_int_equal(X("\x48\x0f\xae\x2f"), -1); /* XRSTOR64 */
    fpu_get_xsave(cpu, again);
    assert_memory_equal(again, full, 832);

    /* Only what is asked for; the header keeps the other bits. */
    memset(rig.ram + AREA, 0x11, 1024);
    put(&rig, AREA + 512, 4, 8);
    cpu->gpr[REG_RAX] = 2;
    assert_int_equal(X("\x0f\xae\x27"), -1);
    assert_int_equal(saved_bv(), 6);
    assert_int_equal(a[0], 0x11);
    assert_int_equal(a[32], 0x11);
    assert_int_equal(a[576], 0x11);
    assert_memory_equal(a + 24, full + 24, 4);
    assert_memory_equal(a + 160, full + 160, 256);

    /* Components in their initial state: XSAVE writes them, XSAVEOPT and XSAVEC do not. */
    cpu->gpr[REG_RAX] = 7;
    clear();
    memset(rig.ram + AREA, 0x11, 1024);
    memset(rig.ram + AREA + 512, 0, 64);
    assert_int_equal(X("\x0f\xae\x27"), -1);
    assert_int_equal(saved_bv(), 0);
    assert_int_equal(a[160], 0);
    if (cpu_has(cpu, FEAT_XSAVEOPT)) {
        memset(rig.ram + AREA, 0x11, 1024);
        put(&rig, AREA + 512, 7, 8);
        assert_int_equal(X("\x0f\xae\x37"), -1);
        assert_int_equal(saved_bv(), 0);
        assert_int_equal(a[160], 0x11);
        assert_int_equal(peek_ram(&rig, AREA + 24, 4), MXCSR_INIT);
    }
    if (cpu_has(cpu, FEAT_XSAVEC)) {
        memset(rig.ram + AREA, 0x11, 1024);
        cpu->mxcsr = 0x1f81;
        assert_int_equal(X("\x0f\xc7\x27"), -1); /* XSAVEC */
        assert_int_equal(saved_bv(), 2);          /* MXCSR belongs to SSE here */
        assert_int_equal(peek_ram(&rig, AREA + 520, 8), 1ull << 63 | 7);
        assert_int_equal(a[0], 0x11);
        assert_int_equal(a[528], 0x11);
        cpu->mxcsr = MXCSR_INIT;
        memset(rig.ram + AREA + 528, 0, 48);
        pattern();
        assert_int_equal(X("\x0f\xae\x2f"), -1); /* XRSTOR of the compacted form */
        assert_int_equal(cpu->mxcsr, 0x1f81);
        assert_int_equal(cpu->x87.fcw, FCW_INIT);
        assert_int_equal(cpu->ymm[5][31], 0);
    }
}

static void test_xrstor_header(void **state)
{
    (void)state;
    static const struct { uint64_t bv, comp, rest; int vector; } headers[] = {
        { 7, 0, 0, -1 },
        { 0, 0, 0, -1 },
        { 8, 0, 0, VEC_GP },                       /* not in XCR0 */
        { 1ull << 63, 0, 0, VEC_GP },
        { 7, 1, 0, VEC_GP },
        { 7, 0, 1, VEC_GP },
        { 3, 1ull << 63 | 3, 0, -1 },
        { 7, 1ull << 63 | 3, 0, VEC_GP },          /* not in XCOMP_BV */
        { 3, 1ull << 63 | 0x13, 0, VEC_GP },
        { 3, 1ull << 63 | 3, 1, VEC_GP },
    };
    cpu->gpr[REG_RAX] = 7;
    for (unsigned i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        memset(rig.ram + AREA, 0, 1024);
        put(&rig, AREA + 24, MXCSR_INIT, 4);
        put(&rig, AREA + 512, headers[i].bv, 8);
        put(&rig, AREA + 520, headers[i].comp, 8);
        put(&rig, AREA + 528, headers[i].rest, 8);
        assert_int_equal(X("\x0f\xae\x2f"), headers[i].vector);
    }
    /* MXCSR is looked at although its component is not in the area. */
    memset(rig.ram + AREA, 0, 1024);
    put(&rig, AREA + 24, 0x80000000, 4);
    assert_int_equal(X("\x0f\xae\x2f"), VEC_GP);
    cpu->gpr[REG_RAX] = 1;
    assert_int_equal(X("\x0f\xae\x2f"), -1);
}

static void test_block(void **state)
{
    (void)state;
    static uint8_t area[4096];
    fpu_reset(cpu);
    assert_int_equal(cpu->x87.fcw, 0x40);
    assert_int_equal(cpu->mxcsr, MXCSR_INIT);
    pattern();
    fpu_get_xsave(cpu, area);
    area[520] = 1;
    assert_int_equal(fpu_set_xsave(cpu, area), MOBO_EINVAL);
    area[520] = 0;
    area[26] = 1; /* MXCSR bit 16 */
    assert_int_equal(fpu_set_xsave(cpu, area), MOBO_EINVAL);
    area[26] = 0;
    area[512] = 8;
    assert_int_equal(fpu_set_xsave(cpu, area), MOBO_EINVAL);
    area[512] = 0; /* nothing in the area: all initial */
    assert_int_equal(fpu_set_xsave(cpu, area), MOBO_OK);
    assert_int_equal(cpu->x87.fcw, FCW_INIT);
    assert_int_equal(cpu->ymm[3][3], 0);
}

/* Figures 8-9 to 8-12 of SDM volume 1. */
static void test_environment(void **state)
{
    (void)state;
    pattern();
    cpu->x87.fip = 0x12345;
    cpu->x87.fdp = 0x54321;
    cpu->x87.fop = 0x2a5;
    mode(32);
    assert_int_equal(X("\xd9\x37"), -1); /* FNSTENV [edi] */
    assert_int_equal(peek_ram(&rig, AREA, 4), 0xffff037f);
    assert_int_equal(peek_ram(&rig, AREA + 12, 4), 0x12345);
    assert_int_equal(peek_ram(&rig, AREA + 16, 4), 0x2a50000);
    assert_int_equal(peek_ram(&rig, AREA + 20, 4), 0x54321);
    assert_int_equal(X("\x66\xd9\x37"), -1);
    assert_int_equal(peek_ram(&rig, AREA, 2), 0x37f);
    assert_int_equal(peek_ram(&rig, AREA + 6, 2), 0x2345);
    assert_int_equal(peek_ram(&rig, AREA + 10, 2), 0x4321);
    cpu->x87.fip = 0;
    assert_int_equal(X("\x66\xd9\x27"), -1); /* FLDENV */
    assert_int_equal(cpu->x87.fip, 0x2345);

    mode(16);
    cpu->x87.fip = 0x2345;
    cpu->x87.fop = 0x2a5;
    cpu->seg[SEG_CS].base = 0x10000;
    cpu->seg[SEG_DS].base = AREA;
    cpu->flat = 0;
    cpu->gpr[REG_RBX] = 0;
    cpu_mode_changed(cpu);
    assert_int_equal(X("\xd9\x37"), -1); /* FNSTENV [bx] */
    assert_int_equal(peek_ram(&rig, AREA + 6, 2), 0x2345);
    assert_int_equal(peek_ram(&rig, AREA + 8, 2), 0x12a5);
    cpu->x87.fip = cpu->x87.fop = 0;
    assert_int_equal(X("\xd9\x27"), -1);
    assert_int_equal(cpu->x87.fip, 0x2345);
    assert_int_equal(cpu->x87.fop, 0x2a5);
}

/* ---- 32-bit code and the cache --------------------------------------------------------------- */

static void test_32bit(void **state)
{
    (void)state;
    mode(32);
    memset(cpu->ymm[1], 0x5a, 32);
    cpu->gpr[REG_RAX] = 0;
    assert_int_equal(X("\x66\x0f\x7e\xc8"), -1); /* MOVD eax, xmm1 */
    assert_int_equal(cpu->gpr[REG_RAX], 0x5a5a5a5a);
    cpu->gpr[REG_RDX] = 0x1234;
    assert_int_equal(X("\x66\x0f\xc4\xca\x03"), -1); /* PINSRW xmm1, edx, 3 */
    assert_int_equal(cpu->ymm[1][6], 0x34);
    if (cpu_has(cpu, FEAT_AVX)) { /* W is ignored: VMOVD eax, xmm1 */
        cpu->gpr[REG_RAX] = 0;
        memset(cpu->ymm[1], 0x77, 16);
        assert_int_equal(X("\xc4\xe1\xf9\x7e\xc8"), -1);
        assert_int_equal(cpu->gpr[REG_RAX], 0x77777777);
        memset(cpu->ymm[9], 0x11, 32);
        assert_int_equal(X("\xc5\xfc\x77"), -1); /* VZEROALL: eight registers */
        assert_int_equal(cpu->ymm[7][0], 0);
        assert_int_equal(cpu->ymm[9][0], 0x11);
    }
}

/* More encodings than the cache takes: SHUFPS with every register and immediate. */
static void test_cache_full(void **state)
{
    (void)state;
    unsigned done = 0;
    for (unsigned n = 0; n < THUNK_MAX + 500; n++) {
        unsigned dst = n >> 8 & 15, src = n >> 12 & 15, imm = n & 255;
        uint32_t a[4], b[4], want[4], got[4];
        for (unsigned i = 0; i < 4; i++) {
            a[i] = n * 4 + i;
            b[i] = ~a[i];
        }
        if (n >> 16) /* a second round would find them all */
            break;
        memcpy(cpu->ymm[src], b, 16);
        memcpy(cpu->ymm[dst], a, 16);
        if (src == dst)
            memcpy(b, a, 16);
        const char insn[5] = { (char)(0x40 | dst >> 3 << 2 | src >> 3), 0x0f, (char)0xc6,
                               (char)(0xc0 | (dst & 7) << 3 | (src & 7)), (char)imm };
        assert_int_equal(exec(insn, 5), -1);
        want[0] = a[imm & 3];
        want[1] = a[imm >> 2 & 3];
        want[2] = b[imm >> 4 & 3];
        want[3] = b[imm >> 6 & 3];
        memcpy(got, cpu->ymm[dst], 16);
        assert_memory_equal(got, want, 16);
        done++;
    }
    assert_int_equal(done, THUNK_MAX + 500);
    assert_int_equal(cpu->native->count, THUNK_MAX);
}

/* The host refuses the memory: an error and a reason, no crash. */
static void test_no_memory(void **state)
{
    (void)state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit none = { 0, before.rlim_max };
    native_fini(cpu);
    rig.message[0] = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int rc = native_init(cpu);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(rc, MOBO_EACCES);
    assert_true(rig.message[0] != 0);
    assert_null(cpu->native);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_rules),     TEST(test_simd_exception), TEST(test_x87_store),
        TEST(test_mmx_alias), TEST(test_fxsave),         TEST(test_xsave),
        TEST(test_xrstor_header), TEST(test_block),      TEST(test_environment),
        TEST(test_32bit),     TEST(test_cache_full),     TEST(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
