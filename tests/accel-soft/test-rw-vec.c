/*
 * test-rw-vec.c: vector, MMX and x87 instructions of the rewriter in whole programs, against the
 * interpreter: random loops of pieces of code that use them, among pieces that send the registers
 * home in the middle of a block (devices, FXSAVE, XSAVE, #NM, #GP, repeated strings). Single
 * instructions are native1's.
 */
#include "rig-modes.h"

#include "../../plugins/accel-soft/rw/fault.h"
#include "../../plugins/accel-soft/rw/rw.h"
#include "../../plugins/accel-soft/x86/fpu.h"
#include "../../plugins/accel-soft/x86/vecstate.h"

enum {
    PROGRAMS = 400, PIECES = 24, ROUNDS = 12,
    AREA = 0x200000, PAGES = 0x8000, AREA_LEN = 0x4000, DEVICE = 2, /* 2 MiB pages */
};

/* Pieces work at RDI (AREA + 0x1000 or 0x1fc0) and RSI (MMIO), and leave those, RBX and RSP. */
__asm__(".pushsection .rodata\n"
        ".macro piece\n"
        "770: .pushsection .data.rel.ro.pieces, \"aw\"\n .quad 770b\n .popsection\n"
        ".endm\n"
        ".pushsection .data.rel.ro.pieces, \"aw\"\n .balign 8\n vec_pieces:\n .popsection\n"
        "piece\n movups (%rdi), %xmm0\n addps %xmm1, %xmm0\n movups %xmm0, 16(%rdi)\n"
        "piece\n movaps 32(%rdi), %xmm3\n paddd %xmm3, %xmm4\n movaps %xmm4, 48(%rdi)\n"
        "piece\n movups 4(%rdi), %xmm5\n pshufb %xmm5, %xmm6\n movups %xmm6, 55(%rdi)\n"
        "piece\n vmovups (%rdi), %ymm7\n vpaddq %ymm7, %ymm8, %ymm9\n vmovups %ymm9, 44(%rdi)\n"
        "piece\n vmovdqu 3(%rdi), %ymm10\n vpermq $27, %ymm10, %ymm11\n vzeroupper\n"
        "piece\n cvtsi2sd %rax, %xmm2\n sqrtsd %xmm2, %xmm12\n cvttsd2si %xmm12, %r14\n"
        "piece\n cvtsi2ss %r12, %xmm13\n mulss %xmm13, %xmm13\n cvtss2si %xmm13, %ecx\n"
        "piece\n movq %r15, %xmm14\n movq %xmm14, %r13\n pmovmskb %xmm14, %r12d\n"
        "piece\n pinsrq $1, %r14, %xmm15\n pextrw $3, %xmm15, %r15d\n pextrb $5, %xmm15, %edx\n"
        "piece\n ucomisd %xmm2, %xmm12\n setp %al\n adc $7, %r8\n"
        "piece\n cmp %rax, %rcx\n movups (%rdi), %xmm1\n cmovc %rdx, %r9\n"
        "piece\n add %r8, %rax\n ptest %xmm1, %xmm3\n setc %dl\n lahf\n"
        "piece\n pcmpistri $12, %xmm4, %xmm5\n adc %rcx, %r10\n"
        "piece\n fldl (%rdi)\n fld1\n faddp\n fstpl 60(%rdi)\n"
        "piece\n fldpi\n fsin\n fstpt 58(%rdi)\n fldt 58(%rdi)\n fistpl 112(%rdi)\n"
        "piece\n fld1\n fldz\n fcomip %st(1), %st\n fstp %st(0)\n adc $0, %r11\n fnstsw %ax\n"
        "piece\n cmp %r8, %r9\n fldz\n fld1\n fcmovb %st(1), %st\n fstpl 24(%rdi)\n fstp %st(0)\n"
        "piece\n fnstcw 120(%rdi)\n orw $0x300, 120(%rdi)\n fldcw 120(%rdi)\n fnclex\n"
        "piece\n fninit\n"
        "piece\n movq (%rdi), %mm1\n paddw %mm1, %mm2\n movq %mm2, 128(%rdi)\n movd %mm2, %r14d\n"
        "emms\n"
        "piece\n cvtpi2ps 8(%rdi), %xmm9\n"
        "piece\n stmxcsr 136(%rdi)\n xorl $0x6000, 136(%rdi)\n ldmxcsr 136(%rdi)\n"
        "piece\n movntdq %xmm4, 144(%rdi)\n sfence\n"
        "piece\n movl (%rsi), %eax\n"                        /* devices */
        "piece\n movups (%rsi), %xmm8\n"
        "piece\n movups %xmm8, 32(%rsi)\n"
        "piece\n fldt (%rsi)\n fstp %st(0)\n"
        "piece\n fxsave64 0x400(%rdi)\n"
        "piece\n fxrstor64 0x400(%rdi)\n"
        "piece\n xor %edx, %edx\n mov $7, %eax\n xsave64 0x800(%rdi)\n"
        "piece\n mov %rdi, %r8\n lea 0xa00(%rdi), %rdi\n mov $40, %ecx\n"
        "rep stosb\n mov %r8, %rdi\n"
        "piece\n mov %cr0, %rax\n or $8, %rax\n mov %rax, %cr0\n" /* TS: #NM follows */
        "piece\n .byte 0x66, 0x0f, 0x28, 0x6f, 0x01\n"       /* movapd 1(%rdi), %xmm5: #GP */
        "piece\n vpmaskmovd 8(%rdi), %ymm3, %ymm2\n vmaskmovps %ymm2, %ymm3, 200(%rdi)\n"
        "piece\n out %al, $0x80\n"
        "piece\n"                                             /* the end of the last */
        ".pushsection .data.rel.ro.pieces, \"aw\"\n vec_pieces_end:\n .popsection\n"
        "vec_nm: clts\n iretq\n"
        "vec_gp: addq $5, 8(%rsp)\n lea 8(%rsp), %rsp\n iretq\n" /* the error code, the length */
        "vec_traps_end:\n"
        ".popsection\n");
extern const uint8_t *const vec_pieces[], *const vec_pieces_end[];
extern const uint8_t vec_nm[], vec_gp[], vec_traps_end[];

static struct rig rig[2];       /* interpreter, rewriter */
static uint64_t seed;

static uint64_t rnd(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return seed >> 33;
}

static void gate(struct rig *r, unsigned vector, uint64_t at)
{
    put(r, IDT + 16 * vector, (at & 0xffff) | CS64 << 16 | UINT64_C(0x8e00) << 32 |
                                  (at >> 16 & 0xffff) << 48, 8);
    put(r, IDT + 16 * vector + 8, at >> 32, 8);
}

/* mov ebx, ROUNDS; 1: pieces; dec ebx; jnz 1b; out 0xf4, al; hlt */
static unsigned program(uint8_t *code)
{
    uint8_t *p = code, *loop;
    unsigned kinds = (unsigned)(vec_pieces_end - vec_pieces) - 1;
    memcpy(p, (const uint8_t[]){ 0xbb, ROUNDS, 0, 0, 0 }, 5);
    p += 5;
    loop = p;
    for (unsigned i = 0; i < PIECES; i++) {
        unsigned k = (unsigned)rnd() % kinds;
        size_t len = (size_t)(vec_pieces[k + 1] - vec_pieces[k]);
        memcpy(p, vec_pieces[k], len);
        p += len;
    }
    memcpy(p, (const uint8_t[]){ 0xff, 0xcb, 0x0f, 0x85 }, 4);
    p += 4;
    int32_t back = (int32_t)(loop - (p + 4));
    memcpy(p, &back, 4);
    p += 4;
    memcpy(p, (const uint8_t[]){ 0xe6, 0xf4, 0xf4 }, 3);
    return (unsigned)(p + 3 - code);
}

static uint64_t physical(uint64_t linear)
{
    return linear ^ 0x1000;
}

static void prepare(struct rig *r, const uint8_t *code, unsigned len, uint64_t with)
{
    struct vcpu *c = r->cpu[0];
    uint64_t was = seed;
    seed = with;
    x86_reset(c, false);
    long_mode(r, 0);
    c->cr0 |= CR0_MP | CR0_NE;
    c->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    c->xcr0 = XSTATE_ALL;
    put(r, PD + 8 * DEVICE, (uint64_t)DEVICE << 21 | 0x87, 8); /* behind the end of RAM */
    put(r, PD + 8, PAGES | 7, 8); /* neighbours are not neighbours in RAM */
    for (unsigned i = 0; i < 512; i++)
        put(r, PAGES + 8 * i, physical(AREA + i * 4096u) | 0x67, 8);
    memcpy(r->ram + 0x9000, vec_nm, (size_t)(vec_traps_end - vec_nm));
    gate(r, VEC_NM, 0x9000);
    gate(r, VEC_GP, 0x9000 + (uint64_t)(vec_gp - vec_nm));
    memcpy(r->ram + CODE, code, len);
    r->s->engine->invalidate(c, CODE, 0x4000);
    fpu_fninit(c);
    for (unsigned i = 0; i < AREA_LEN; i += 4)
        put(r, AREA + i, rnd(), 4);
    for (unsigned i = 0; i < 2; i++) { /* for an FXRSTOR before any FXSAVE */
        const uint64_t at = physical(AREA + (i ? 0x1fc0 : 0x1000) + 0x400);
        memset(r->ram + at, 0, 512);
        put(r, at, FCW_INIT, 2);
        put(r, at + 24, MXCSR_INIT, 4);
    }
    for (unsigned i = 0; i < 16; i++) {
        c->gpr[i] = rnd() << 32 ^ rnd();
        for (unsigned k = 0; k < 32; k++)
            c->ymm[i][k] = (uint8_t)rnd();
    }
    c->gpr[REG_RSP] = STACK0;
    c->gpr[REG_RDI] = AREA + (rnd() & 1 ? 0x1000 : 0x1fc0); /* pieces cross a page there */
    c->gpr[REG_RSI] = (uint64_t)DEVICE << 21;
    c->rip = CODE;
    mode_update(c);
    seed = was;
}

static unsigned compare(const uint8_t *code, unsigned len, unsigned number)
{
    const struct vcpu *a = rig[0].cpu[0], *b = rig[1].cpu[0];
    unsigned bad = 0;
    for (unsigned i = 0; i < 16; i++) {
        bad |= (unsigned)(a->gpr[i] != b->gpr[i]);
        bad |= (unsigned)(memcmp(a->ymm[i], b->ymm[i], 32) != 0) << 1;
    }
    bad |= (unsigned)(memcmp(&a->x87, &b->x87, 24) != 0) << 2;
    for (unsigned i = 0; i < 8; i++)
        bad |= (unsigned)(memcmp(a->x87.st[i], b->x87.st[i], 10) != 0) << 3;
    bad |= (unsigned)(a->mxcsr != b->mxcsr) << 4;
    bad |= (unsigned)(cpu_rflags(a) != cpu_rflags(b)) << 5;
    bad |= (unsigned)(memcmp(rig[0].ram + AREA, rig[1].ram + AREA, AREA_LEN) != 0) << 6;
    bad |= (unsigned)(rig[0].stops != rig[1].stops) << 7;
    if (!bad)
        return 0;
    print_message("program %u: differs in %#x (gpr ymm x87 st mxcsr flags memory stops)\n", number,
                  bad);
    for (unsigned i = 0; i < 16; i++)
        if (a->gpr[i] != b->gpr[i])
            print_message("  reg %u: %llx %llx\n", i, (unsigned long long)a->gpr[i],
                          (unsigned long long)b->gpr[i]);
    print_message("  rip %llx %llx fip %llx %llx fdp %llx %llx fsw %x %x mxcsr %x %x\n",
                  (unsigned long long)a->rip, (unsigned long long)b->rip,
                  (unsigned long long)a->x87.fip, (unsigned long long)b->x87.fip,
                  (unsigned long long)a->x87.fdp, (unsigned long long)b->x87.fdp, a->x87.fsw,
                  b->x87.fsw, (unsigned)a->mxcsr, (unsigned)b->mxcsr);
    for (unsigned i = 0; i < len; i++)
        print_message("%02x%s", code[i], i % 32 == 31 || i + 1 == len ? "\n" : "");
    return 1;
}

static void test_programs(void **state)
{
    (void)state;
    static uint8_t code[8192];
    if (!cpu_has(rig[1].cpu[0], FEAT_AVX2) || !rig[1].cpu[0]->rw)
        skip();
    assert_true(rw_fault_init() >= 0); /* cmocka has put handlers of its own there */
    unsigned bad = 0;
    for (unsigned n = 0; n < PROGRAMS && bad < 3; n++) {
        seed = n;
        unsigned len = program(code);
        for (unsigned k = 0; k < 2; k++) {
            prepare(&rig[k], code, len, n);
            assert_int_equal(soft_run(rig[k].cpu[0], &rig_exits, &rig[k]), MOBO_OK);
            assert_int_equal(rig[k].cpu[0]->vec_live, 0);
        }
        bad += compare(code, len, n);
    }
    const struct rw_stats *st = &rig[1].cpu[0]->rw->stats;
    print_message("blocks %llu, host faults %llu, slow instructions %llu\n",
                  (unsigned long long)st->blocks, (unsigned long long)st->host_faults,
                  (unsigned long long)st->slow_insn);
    assert_int_equal(bad, 0);
    assert_int_equal(rig[0].stops, 0); /* no program died */
    assert_true(st->blocks > PROGRAMS);
    if (VEC_KEPT_BY_C)
        assert_true(st->host_faults > PROGRAMS); /* #GP of the misaligned: was run natively */
}

static int setup(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        void *cpu = NULL;
        if (rig_model(&rig[k], "max", RIG_HOST, 1) != MOBO_OK)
            return -1;
        rig[k].s->engine = k ? &engine_rw : &engine_interp;
        rig[k].s->engine_prop = k ? ENGINE_AUTO : ENGINE_INTERP;
        rig[k].ram = mmap(NULL, RIG_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                          0);
        if (rig[k].ram == MAP_FAILED ||
            soft_accel_ops.ram_map(rig[k].s, 0, rig[k].ram, RIG_RAM, 0) != MOBO_OK ||
            soft_accel_ops.vcpu_new(rig[k].s, 0, &cpu) != MOBO_OK)
            return -1;
        rig[k].cpu[0] = cpu;
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 2; k++)
        rig_free(&rig[k]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(test_programs, setup,
                                                                        teardown) };
    return cmocka_run_group_tests_name("rw-vec", tests, NULL, NULL);
}
