/*
 * fpu.c: x87, SSE and AVX state and exceptions (SDM 1, chapters 8-13; SDM 3A, 2.5, 6.15): #NM, #MF,
 * #XM, FXSAVE and XSAVE images, MXCSR, alignment, VEX upper halves, masked moves and gathers.
 */
#include "guest.h"

enum {
    CR0_MP = 2,
    CR0_EM = 4,
    CR0_TS = 8,
    CR0_NE = 0x20,
    CR4_OSFXSR = 0x200,
    CR4_OSXMM = 0x400,
    CR4_OSXSAVE = 1 << 18
};

static u8 area[4096] __attribute__((aligned(64)));
static u8 vec[64] __attribute__((aligned(64)));

#define INSN(text)                                                                                 \
    __asm__ volatile(TRY text END : : "D"(area), "S"(vec) : "memory", "rax", "rdx", "rcx", "cc")

static void t_task_switched(void)
{
    u64 cr0 = read_cr0();
    write_cr0(cr0 | CR0_TS);
    INSN("fld1");
    FAULTS(NM, 0);
    INSN("movaps (%%rsi), %%xmm0");
    FAULTS(NM, 0);
    INSN("fxsave (%%rdi)");
    FAULTS(NM, 0);
    INSN("wait"); /* MP and TS */
    FAULTS(NM, 0);
    INSN("ldmxcsr (%%rdi)");
    FAULTS(NM, 0);
    INSN("pause\n\tmovnti %%rax, (%%rdi)\n\tprefetcht0 (%%rdi)\n\tmfence");
    EQ(fault.vec, NONE);
    write_cr0((cr0 | CR0_TS) & ~(u64)CR0_MP);
    INSN("wait");
    EQ(fault.vec, NONE);
    __asm__ volatile("clts");
    EQ(read_cr0() & CR0_TS, 0);
    write_cr0(cr0 | CR0_EM);
    INSN("fld1");
    FAULTS(NM, 0);
    INSN("movaps (%%rsi), %%xmm0");
    FAULTS(UD, 0);
    write_cr0(cr0);
    u64 cr4 = read_cr4();
    write_cr4(cr4 & ~(u64)CR4_OSFXSR);
    INSN("movaps (%%rsi), %%xmm0");
    FAULTS(UD, 0);
    write_cr4(cr4);
    INSN("fninit\n\tfld1\n\tfstp %%st(0)");
    EQ(fault.vec, NONE);
}

static void t_fxsave(void)
{
    u32 mxcsr = 0x1fa0;
    memset(area, 0xee, sizeof area);
    memset(vec, 0x5a, sizeof vec);
    __asm__ volatile("fninit\n\tfld1\n\tfldz\n\tldmxcsr %0\n\tmovaps (%1), %%xmm3\n\tfxsave64 (%2)"
                     :
                     : "m"(mxcsr), "r"(vec), "r"(area)
                     : "memory");
    EQ(*(u16 *)area, 0x37f);
    EQ(*(u16 *)(area + 2) >> 11 & 7, 6); /* TOP */
    EQ(area[4], 0xc0);                   /* abridged tag: two registers in use */
    EQ(*(u32 *)(area + 24), 0x1fa0);
    u32 mask = *(u32 *)(area + 28);
    EQ(mask & 0xffff0000, 0);
    CHECK(mask == 0xffff || mask == 0xffbf || mask == 0xffffu + 0x20000);
    EQ(*(u64 *)(area + 32 + 16), 0x8000000000000000);
    EQ(*(u16 *)(area + 32 + 24), 0x3fff);
    EQ(*(u64 *)(area + 160 + 3 * 16), 0x5a5a5a5a5a5a5a5a);
    EQ(area[511], 0xee); /* 464..511 are not written */
    area[160 + 5 * 16] = 0x77;
    __asm__ volatile("fninit\n\tfxrstor64 (%0)\n\tmovaps %%xmm5, (%1)"
                     :
                     : "r"(area), "r"(vec)
                     : "memory");
    EQ(vec[0], 0x77);
    u16 sw;
    __asm__ volatile("fnstsw %0\n\tfninit" : "=a"(sw));
    EQ(sw >> 11 & 7, 6);
    INSN("fxsave 8(%%rdi)");
    FAULTS(GP, 0);
    *(u32 *)(area + 24) = 0x10000; /* a reserved bit of MXCSR */
    INSN("fxrstor64 (%%rdi)");
    FAULTS(GP, 0);
    *(u32 *)(area + 24) = ~mask & 0xffff ? (~mask & 0xffff) : 0x80000000;
    INSN("fxrstor64 (%%rdi)");
    FAULTS(GP, 0);
    *(u32 *)area = 0x12340000;
    INSN("ldmxcsr (%%rdi)");
    FAULTS(GP, 0);
    *(u32 *)area = 0x1f80;
    INSN("ldmxcsr (%%rdi)");
    EQ(fault.vec, NONE);
}

static void t_x87_exceptions(void)
{
    u16 cw = 0x37b, sw; /* divide by zero unmasked */
    __asm__ volatile(
        TRY "fninit\n\tfldcw %0\n\tfld1\n\tfldz\n\tfdivrp\n\tnop\n98: nop\n\tfnstsw %%ax" END
        :
        : "m"(cw)
        : "rax", "memory");
    EQ(fault.vec, NONE); /* pending, not delivered yet: no waiting instruction followed */
    __asm__ volatile(TRY "97: wait" END : : : "memory");
    EQ(fault.vec, MF);
    __asm__ volatile("fnstsw %0" : "=a"(sw));
    EQ(sw & 0x8084, 0x8084);
    __asm__ volatile(TRY "fnclex\n\tfld1\n\tfstp %%st(0)" END : : : "memory");
    EQ(fault.vec, NONE);
    /* Stack fault: C1 tells overflow (1) from underflow (0). */
    __asm__ volatile("fninit\n\tfld1\n\tfld1\n\tfld1\n\tfld1\n\tfld1\n\tfld1\n\tfld1\n\tfld1\n\tfld"
                     "1\n\tfnstsw %0"
                     : "=a"(sw));
    EQ(sw & 0x241, 0x241);
    __asm__ volatile("fninit\n\tfstp %%st(0)\n\tfnstsw %0" : "=a"(sw));
    EQ(sw & 0x241, 0x41);
    __asm__ volatile("fninit");
}

static void t_x87_environment(void)
{
    struct {
        u32 cw, sw, tw, ip, cs_op, dp, ds;
    } env;
    static const u32 value = 0x40000000; /* 2.0 */
    __asm__ volatile("fninit\n\tflds %1\n\tfnstenv %0\n\tfninit" : "=m"(env) : "m"(value));
    EQ(env.cw & 0xffff, 0x37f);
    EQ(env.tw & 0xffff, 0x3fff);
    extern const char user_begin[];
    CHECK(env.ip == 0 ||
          (env.ip >= 0x100000 && env.ip < (u64)user_begin)); /* never a host address */
    CHECK(env.dp == 0 || env.dp == (u32)(u64)&value);
    memset(area, 0, 512);
    __asm__ volatile("flds %0\n\tfxsave64 (%1)\n\tfninit" : : "m"(value), "r"(area) : "memory");
    CHECK(*(u64 *)(area + 8) < (u64)user_begin);
    CHECK(*(u64 *)(area + 16) < (u64)user_begin);
}

static void t_simd_exceptions(void)
{
    u32 old = 0x1f80, unmasked = 0x1d80; /* ZM off */
    static const u32 one[4]
        __attribute__((aligned(16))) = { 0x3f800000, 0x3f800000, 0x3f800000, 0x3f800000 };
    u32 seen;
    __asm__ volatile(
        TRY "ldmxcsr %1\n\txorps %%xmm1, %%xmm1\n\tmovaps (%2), %%xmm0\n\tdivps %%xmm1, %%xmm0" END
            "stmxcsr %0\n\tldmxcsr %3"
        : "=m"(seen)
        : "m"(unmasked), "r"(one), "m"(old)
        : "memory");
    EQ(fault.vec, XM);
    EQ(seen & 0x3f, 4);
    u64 cr4 = read_cr4();
    write_cr4(cr4 & ~(u64)CR4_OSXMM);
    __asm__ volatile(TRY "ldmxcsr %0\n\tdivps %%xmm1, %%xmm0" END "ldmxcsr %1"
                     :
                     : "m"(unmasked), "m"(old)
                     : "memory");
    EQ(fault.vec, UD);
    write_cr4(cr4);
}

static void t_sse_alignment(void)
{
    INSN("movaps 4(%%rsi), %%xmm0");
    FAULTS(GP, 0);
    INSN("movups 4(%%rsi), %%xmm0");
    EQ(fault.vec, NONE);
    INSN("paddb 8(%%rsi), %%xmm0");
    FAULTS(GP, 0);
    INSN("movntdq %%xmm0, 8(%%rsi)");
    FAULTS(GP, 0);
    INSN("lddqu 1(%%rsi), %%xmm0");
    EQ(fault.vec, NONE);
    /* #GP for the alignment comes before the page fault. */
    __asm__ volatile(TRY "movaps (%0), %%xmm0" END : : "r"(TEST_VA + (50ull << 30) + 8) : "memory");
    FAULTS(GP, 0);
    u64 a = page_alloc(), b = page_alloc(), va = TEST_VA + (50ull << 30);
    map_page(va, a, PG_P | PG_W);
    map_page(va + 4096, b, PG_P | PG_W);
    memset((void *)(a + 4088), 0x11, 8);
    memset((void *)b, 0x22, 8);
    __asm__ volatile("movups (%0), %%xmm0\n\tmovaps %%xmm0, (%1)"
                     :
                     : "r"(va + 4088), "r"(vec)
                     : "memory");
    EQ(((u64 *)vec)[0], 0x1111111111111111);
    EQ(((u64 *)vec)[1], 0x2222222222222222);
    map_page(va + 4096, 0, 0);
    __asm__ volatile(TRY "movups %%xmm0, (%0)" END : : "r"(va + 4092) : "memory");
    FAULTS(PF, PF_W);
    EQ(fault.cr2, va + 4096);
}

static bool xsave_on(void)
{
    if (!(cpuid(1, 0).c & 1 << 26))
        return false;
    write_cr4(read_cr4() | CR4_OSXSAVE);
    return true;
}

static int try_xsetbv(u32 index, u64 v)
{
    __asm__ volatile(TRY "xsetbv" END : : "c"(index), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
    return fault.vec;
}

static u64 xgetbv(void)
{
    u32 a, d;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (u64)d << 32 | a;
}

static void t_xsetbv(void)
{
    __asm__ volatile(TRY "xgetbv" END : : "c"(0) : "rax", "rdx", "memory");
    FAULTS(UD, 0); /* without CR4.OSXSAVE */
    EQ(cpuid(1, 0).c >> 27 & 1, 0);
    if (!xsave_on()) {
        test_skip("no XSAVE");
        return;
    }
    EQ(cpuid(1, 0).c >> 27 & 1, 1);
    u64 all = cpuid(0xd, 0).a | (u64)cpuid(0xd, 0).d << 32;
    EQ(xgetbv(), 1);
    EQ(try_xsetbv(0, 0), GP);
    EQ(try_xsetbv(0, 2), GP);
    EQ(try_xsetbv(0, 5), GP); /* AVX without SSE */
    EQ(try_xsetbv(0, all | 1ull << 62), GP);
    EQ(try_xsetbv(1, 1), GP);
    EQ(try_xsetbv(0, all & 3), NONE);
    EQ(xgetbv(), 3);
    EQ(cpuid(0xd, 0).b, 576);
    EQ(try_xsetbv(0, all), NONE);
    EQ(cpuid(0xd, 0).b, cpuid(0xd, 0).c);
}

static void xrstor(void)
{
    __asm__ volatile(TRY "xrstor64 (%0)" END : : "r"(area), "a"(~0u), "d"(~0u) : "memory");
}

static void t_xsave(void)
{
    if (!xsave_on()) {
        test_skip("no XSAVE");
        return;
    }
    try_xsetbv(0, cpuid(0xd, 0).a);
    memset(area, 0, sizeof area);
    memset(vec, 0x33, sizeof vec);
    __asm__ volatile("fninit\n\tmovaps (%0), %%xmm7\n\txsave64 (%1)"
                     :
                     : "r"(vec), "r"(area), "a"(~0u), "d"(~0u)
                     : "memory");
    EQ(*(u64 *)(area + 512) & 2, 2);
    EQ(*(u64 *)(area + 520), 0);
    EQ(area[160 + 7 * 16], 0x33);
    u64 bv = *(u64 *)(area + 512);
    *(u64 *)(area + 512) = bv & ~2ull; /* SSE in its initial state */
    xrstor();
    EQ(fault.vec, NONE);
    __asm__ volatile("movaps %%xmm7, (%0)" : : "r"(vec) : "memory");
    EQ(*(u64 *)vec, 0);
    *(u64 *)(area + 512) = bv | 1ull << 61;
    xrstor();
    FAULTS(GP, 0);
    *(u64 *)(area + 512) = bv;
    *(u64 *)(area + 528) = 1; /* header bytes 16..63 are reserved */
    xrstor();
    FAULTS(GP, 0);
    *(u64 *)(area + 528) = 0;
    *(u64 *)(area + 520) = 1; /* XCOMP_BV without its bit 63 */
    xrstor();
    FAULTS(GP, 0);
    *(u64 *)(area + 520) = 0;
    *(u32 *)(area + 24) = 0x40000000;
    xrstor();
    FAULTS(GP, 0);
    *(u32 *)(area + 24) = 0x1f80;
    __asm__ volatile(TRY "xrstor64 (%0)" END : : "r"(area + 32), "a"(~0u), "d"(~0u) : "memory");
    FAULTS(GP, 0);
    if (cpuid(0xd, 1).a & 1) { /* XSAVEOPT writes no component that is in its initial state */
        *(u64 *)(area + 512) = ~0ull >> 1;
        __asm__ volatile("fninit\n\txsaveopt64 (%0)" : : "r"(area), "a"(~0u), "d"(~0u) : "memory");
        CHECK(!(*(u64 *)(area + 512) & 1) || *(u16 *)area == 0x37f);
    }
    if (cpuid(0xd, 1).a & 2) { /* XSAVEC: compacted */
        memset(area, 0, sizeof area);
        __asm__ volatile("xsavec64 (%0)" : : "r"(area), "a"(~0u), "d"(~0u) : "memory");
        EQ(*(u64 *)(area + 520) >> 63, 1);
        xrstor();
        EQ(fault.vec, NONE);
    }
    /* An area in two pages that are not neighbours. */
    u64 a = page_alloc(), b = page_alloc(), va = TEST_VA + (51ull << 30);
    map_page(va, b, PG_P | PG_W);
    map_page(va + 4096, a, PG_P | PG_W);
    memset(vec, 0x44, sizeof vec);
    __asm__ volatile("movaps (%0), %%xmm2\n\txsave64 (%1)"
                     :
                     : "r"(vec), "r"(va + 4096 - 192), "a"(~0u), "d"(~0u)
                     : "memory");
    EQ(*(u8 *)(a), 0x44); /* XMM2 is at 192 */
    EQ(*(u64 *)(a + 512 - 192) & 2, 2);
    map_page(va + 4096, 0, 0);
    __asm__ volatile(TRY "xsave64 (%0)" END
                     :
                     : "r"(va + 4096 - 192), "a"(~0u), "d"(~0u)
                     : "memory");
    EQ(fault.vec, PF);
    EQ(fault.cr2 & ~0xfffull, va + 4096);
}

static bool avx_on(unsigned bit2)
{
    if (!xsave_on() || !(cpuid(1, 0).c & 1 << 28) || (bit2 && !(cpuid(7, 0).b & 1 << 5))) {
        test_skip(bit2 ? "no AVX2" : "no AVX");
        return false;
    }
    try_xsetbv(0, 7);
    return true;
}

static void t_vex_upper(void)
{
    if (!avx_on(0))
        return;
    memset(vec, 0x66, sizeof vec);
    u8 out[32] __attribute__((aligned(32)));
    __asm__ volatile("vmovaps (%0), %%ymm0\n\tpxor %%xmm0, %%xmm0\n\tvmovups %%ymm0, (%1)"
                     :
                     : "r"(vec), "r"(out)
                     : "memory");
    EQ(*(u64 *)out, 0);
    EQ(*(u64 *)(out + 16), 0x6666666666666666); /* legacy SSE keeps the upper half */
    __asm__ volatile("vmovaps (%0), %%ymm0\n\tvpxor %%xmm0, %%xmm0, %%xmm0\n\tvmovups %%ymm0, (%1)"
                     :
                     : "r"(vec), "r"(out)
                     : "memory");
    EQ(*(u64 *)(out + 16), 0); /* VEX.128 clears it */
    __asm__ volatile("vmovaps (%0), %%ymm5\n\tvzeroupper\n\tvmovups %%ymm5, (%1)"
                     :
                     : "r"(vec), "r"(out)
                     : "memory");
    EQ(*(u64 *)out, 0x6666666666666666);
    EQ(*(u64 *)(out + 24), 0);
    INSN("vmovups 1(%%rsi), %%ymm0\n\tvpaddb 3(%%rsi), %%xmm0, %%xmm0");
    EQ(fault.vec, NONE); /* VEX needs no alignment */
    INSN("vmovaps 16(%%rsi), %%ymm0");
    FAULTS(GP, 0);
    u64 xcr0 = xgetbv();
    try_xsetbv(0, 3);
    INSN("vzeroupper");
    FAULTS(UD, 0);
    try_xsetbv(0, xcr0);
    u64 cr0 = read_cr0();
    write_cr0(cr0 | CR0_TS);
    INSN("vzeroupper");
    FAULTS(NM, 0);
    write_cr0(cr0);
    INSN(".byte 0xf0; vzeroupper");
    FAULTS(UD, 0);
}

static void t_masked_moves(void)
{
    if (!avx_on(0))
        return;
    u64 a = page_alloc(), va = TEST_VA + (52ull << 30);
    map_page(va, a, PG_P | PG_W);
    map_page(va + 4096, 0, 0);
    u32 mask[8] __attribute__((aligned(32))) = { ~0u, ~0u, 0, 0, 0, 0, 0, 0 }, out[8];
    *(u64 *)(a + 4088) = 0x1122334455667788;
    __asm__ volatile(
        TRY "vmovups (%0), %%ymm1\n\tvmaskmovps (%1), %%ymm1, %%ymm0\n\tvmovups %%ymm0, (%2)" END
        :
        : "r"(mask), "r"(va + 4088), "r"(out)
        : "memory");
    EQ(fault.vec, NONE);
    EQ(out[0], 0x55667788);
    EQ(out[2], 0);
    __asm__ volatile(TRY "vmaskmovps %%ymm0, %%ymm1, (%0)" END : : "r"(va + 4088) : "memory");
    EQ(fault.vec, NONE);
    mask[2] = ~0u;
    __asm__ volatile(TRY "vmovups (%0), %%ymm1\n\tvmaskmovps (%1), %%ymm1, %%ymm0" END
                     :
                     : "r"(mask), "r"(va + 4088)
                     : "memory");
    EQ(fault.vec, PF);
    EQ(fault.cr2, va + 4096);
}

static void t_gather(void)
{
    if (!avx_on(1))
        return;
    u64 a = page_alloc(), va = TEST_VA + (53ull << 30);
    map_page(va, a, PG_P | PG_W);
    map_page(va + 4096, 0, 0);
    u32 *m = (u32 *)a;
    for (int i = 0; i < 1024; i++)
        m[i] = (u32)(i + 100);
    u32 index[4] __attribute__((aligned(16))) = { 1, 5, 1024, 9 },
                 mask[4] __attribute__((aligned(16))) = { ~0u, ~0u, ~0u, ~0u };
    u32 out[4] __attribute__((aligned(16))) = { 7, 7, 7, 7 }, left[4] __attribute__((aligned(16)));
    __asm__ volatile("movaps (%2), %%xmm0\n\tmovaps (%0), %%xmm1\n\tmovaps (%1), %%xmm2\n\t" TRY
                     "vpgatherdd %%xmm2, (%3,%%xmm1,4), %%xmm0" END
                     "movaps %%xmm0, (%2)\n\tmovaps %%xmm2, (%4)"
                     :
                     : "r"(index), "r"(mask), "r"(out), "r"(va), "r"(left)
                     : "memory");
    EQ(fault.vec, PF);
    EQ(fault.cr2, va + 4096);
    EQ(out[0], 101); /* what came before the fault is done, and its mask is clear */
    EQ(out[1], 105);
    EQ(left[0], 0);
    EQ(left[1], 0);
    EQ(left[2], ~0u);
    EQ(left[3], ~0u);
    index[2] = 3;
    mask[3] = 0; /* a masked element is not touched, its register keeps the old value */
    index[3] = 4096;
    out[3] = 7;
    __asm__ volatile("movaps (%2), %%xmm0\n\tmovaps (%0), %%xmm1\n\tmovaps (%1), %%xmm2\n\t" TRY
                     "vpgatherdd %%xmm2, (%3,%%xmm1,4), %%xmm0" END
                     "movaps %%xmm0, (%2)\n\tmovaps %%xmm2, (%4)"
                     :
                     : "r"(index), "r"(mask), "r"(out), "r"(va), "r"(left)
                     : "memory");
    EQ(fault.vec, NONE);
    EQ(out[2], 103);
    EQ(out[3], 7);
    EQ(left[2], 0);
}

static void t_denormals(void)
{
    u32 den[4] __attribute__((aligned(16))) = { 1, 0, 0, 0 },
               one[4] __attribute__((aligned(16))) = { 0x3f800000, 0, 0, 0 };
    u32 daz = 0x1fc0, ftz = 0x9f80, plain = 0x1f80, out[4] __attribute__((aligned(16))), mx;
    __asm__ volatile("ldmxcsr %3\n\tmovaps (%1), %%xmm0\n\tmulss (%2), %%xmm0\n\tstmxcsr "
                     "%0\n\tmovaps %%xmm0, (%4)\n\tldmxcsr %5"
                     : "=m"(mx)
                     : "r"(den), "r"(one), "m"(daz), "r"(out), "m"(plain)
                     : "memory");
    EQ(out[0], 0);
    EQ(mx & 2, 0); /* DAZ: no denormal exception */
    u32 half[4] __attribute__((aligned(16))) = { 0x3f000000, 0, 0, 0 },
                small[4] __attribute__((aligned(16))) = { 0x00800000, 0, 0, 0 };
    __asm__ volatile("ldmxcsr %3\n\tmovaps (%1), %%xmm0\n\tmulss (%2), %%xmm0\n\tstmxcsr "
                     "%0\n\tmovaps %%xmm0, (%4)\n\tldmxcsr %5"
                     : "=m"(mx)
                     : "r"(small), "r"(half), "m"(ftz), "r"(out), "m"(plain)
                     : "memory");
    EQ(out[0], 0);
    EQ(mx & 0x10, 0x10);
    __asm__ volatile("movaps (%1), %%xmm0\n\tmulss (%2), %%xmm0\n\tstmxcsr %0\n\tmovaps %%xmm0, "
                     "(%3)\n\tldmxcsr %4"
                     : "=m"(mx)
                     : "r"(small), "r"(half), "r"(out), "m"(plain)
                     : "memory");
    EQ(out[0], 0x00400000);
}

const struct test tests[] = {
    { "task-switched", t_task_switched },
    { "fxsave", t_fxsave },
    { "x87-exceptions", t_x87_exceptions },
    { "x87-environment", t_x87_environment },
    { "simd-exceptions", t_simd_exceptions },
    { "sse-alignment", t_sse_alignment },
    { "denormals", t_denormals },
    { "xsetbv", t_xsetbv },
    { "xsave", t_xsave },
    { "vex-upper", t_vex_upper },
    { "masked-moves", t_masked_moves },
    { "gather", t_gather },
    { 0 },
};
