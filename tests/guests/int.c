/*
 * int.c: integer instructions whose corner cases guests rely on (SDM volume 2): partial registers,
 * flags, zero counts, divisions, stack forms, LOCK. Results that the manual leaves undefined are
 * not looked at.
 */
#include "guest.h"

enum {
    CF = 1,
    PFLAG = 4,
    AF = 0x10,
    ZF = 0x40,
    SF = 0x80,
    TF = 0x100,
    IF = 0x200,
    OFLAG = 0x800,
    NT = 0x4000,
    STATUS = CF | PFLAG | AF | ZF | SF | OFLAG
};

#define FLAGS_SET "push %[f]\n\tpopfq\n\t"
#define FLAGS_GET "pushfq\n\tpop %[f]\n\t"

static void t_partial_registers(void)
{
    u64 a = 0x1122334455667788, c = 0xffffffffffffffff;
    __asm__ volatile("mov $0x99, %%ah\n\tmov $0xaa, %%al" : "+a"(a));
    EQ(a, 0x11223344556699aa);
    __asm__ volatile("mov $0xbbcc, %%ax" : "+a"(a));
    EQ(a, 0x112233445566bbcc);
    __asm__ volatile("mov $1, %%eax" : "+a"(a));
    EQ(a, 1);
    __asm__ volatile("xor %%ch, %%ch\n\tadd $1, %%cl" : "+c"(c) : : "cc");
    EQ(c, 0xffffffffffff0000);
    u64 d = 0x8000000000000001, z = 0xffffffff12345678;
    __asm__ volatile("xchg %%dh, %%dl\n\tmovzbl %%dh, %k0" : "+a"(z), "+d"(d));
    EQ(d, 0x8000000000000100);
    EQ(z, 1);
    /* With a REX prefix the same encodings name SPL..DIL. */
    u64 si = 0x11112222;
    __asm__ volatile("mov $0x7f, %%sil" : "+S"(si));
    EQ(si, 0x1111227f);
}

static void t_cmov_zero_extends(void)
{
    u64 a = 0xffffffff00000001, b = 2;
    __asm__ volatile("xor %%ecx, %%ecx\n\tcmovnz %k1, %k0" : "+r"(a) : "r"(b) : "rcx", "cc");
    EQ(a, 1);
    a = 0xffffffff00000001;
    __asm__ volatile("xor %%ecx, %%ecx\n\tcmovnz %w1, %w0" : "+r"(a) : "r"(b) : "rcx", "cc");
    EQ(a, 0xffffffff00000001);
    /* The memory operand is read even if the condition is false. */
    __asm__ volatile(TRY "xor %%ecx, %%ecx\n\tcmovnz (%1), %k0" END
                     : "+r"(a)
                     : "r"(TEST_VA)
                     : "rcx", "cc");
    EQ(fault.vec, PF);
}

#define SHIFT0(insn)                                                                               \
    do {                                                                                           \
        u64 f = STATUS | 2, v = 0xffffffff80000001;                                                \
        __asm__ volatile(FLAGS_SET insn " %%cl, %k[v]\n\t" FLAGS_GET                               \
                         : [f] "+r"(f), [v] "+r"(v)                                                \
                         : "c"(32)                                                                 \
                         : "cc");                                                                  \
        EQ(f &STATUS, STATUS);                                                                     \
        EQ(v, 0x80000001);                                                                         \
    } while (0)

static void t_shift_by_zero(void)
{
    SHIFT0("shl");
    SHIFT0("shr");
    SHIFT0("sar");
    SHIFT0("rol");
    SHIFT0("ror");
    SHIFT0("rcl");
    SHIFT0("rcr");
    u64 f = STATUS | 2, v = 0x1ffffffff;
    __asm__ volatile(FLAGS_SET "shld $0, %k[v], %k[v]\n\t" FLAGS_GET
                     : [f] "+r"(f), [v] "+r"(v)
                     :
                     : "cc");
    EQ(f & STATUS, STATUS);
    EQ(v, 0xffffffff);
    /* A rotation by a multiple of the width still counts: CF is the bit that moved last. */
    f = 2;
    v = 0x80;
    __asm__ volatile(FLAGS_SET "rol %%cl, %b[v]\n\t" FLAGS_GET
                     : [f] "+r"(f), [v] "+q"(v)
                     : "c"(8)
                     : "cc");
    EQ(v, 0x80);
    EQ(f & CF, 0);
    v = 0x81;
    f = 2;
    __asm__ volatile(FLAGS_SET "rol %%cl, %b[v]\n\t" FLAGS_GET
                     : [f] "+r"(f), [v] "+q"(v)
                     : "c"(8)
                     : "cc");
    EQ(v, 0x81);
    EQ(f & CF, CF);
}

static void t_rotate_through_carry(void)
{
    u64 f = 2 | CF, v = 0x80;
    __asm__ volatile(FLAGS_SET "rcl $1, %b[v]\n\t" FLAGS_GET : [f] "+r"(f), [v] "+q"(v) : : "cc");
    EQ(v & 0xff, 1);
    EQ(f & (CF | OFLAG), CF | OFLAG);
    f = 2 | CF; /* 8-bit counts are taken modulo 9 */
    v = 0x55;
    __asm__ volatile(FLAGS_SET "rcl %%cl, %b[v]\n\t" FLAGS_GET
                     : [f] "+r"(f), [v] "+q"(v)
                     : "c"(9)
                     : "cc");
    EQ(v & 0xff, 0x55);
    EQ(f & CF, CF);
    f = 2 | CF; /* and 16-bit ones modulo 17 */
    v = 0x1234;
    __asm__ volatile(FLAGS_SET "rcr %%cl, %w[v]\n\t" FLAGS_GET
                     : [f] "+r"(f), [v] "+r"(v)
                     : "c"(18)
                     : "cc");
    EQ(v & 0xffff, 0x891a);
    EQ(f & CF, 0);
}

static void t_bit_scan(void)
{
    u64 f = 2, v = 0x1122334455667788;
    __asm__ volatile(FLAGS_SET "bsf %[z], %[v]\n\t" FLAGS_GET
                     : [f] "+r"(f), [v] "+r"(v)
                     : [z] "r"(0ull)
                     : "cc");
    EQ(v, 0x1122334455667788);
    EQ(f & ZF, ZF);
    __asm__ volatile(FLAGS_SET "bsr %[z], %[v]\n\t" FLAGS_GET
                     : [f] "+r"(f), [v] "+r"(v)
                     : [z] "r"(0ull)
                     : "cc");
    EQ(v, 0x1122334455667788);
    __asm__ volatile("bsr %[z], %[v]" : [v] "+r"(v) : [z] "r"(0x8000000000000000ull) : "cc");
    EQ(v, 63);
    u64 n = 0;
    if (cpuid(0x80000001, 0).c & 1 << 5) {
        __asm__ volatile("lzcnt %k1, %k0" : "+r"(n) : "r"(1) : "cc");
        EQ(n, 31);
        f = 2;
        __asm__ volatile(FLAGS_SET "lzcnt %[z], %[v]\n\t" FLAGS_GET
                         : [f] "+r"(f), [v] "+r"(n)
                         : [z] "r"(0ull)
                         : "cc");
        EQ(n, 64);
        EQ(f & (CF | ZF), CF);
    }
}

static u64 bits[64];

static void t_bit_test_memory(void)
{
    memset(bits, 0, sizeof bits);
    u64 off = 3 * 64 + 5;
    __asm__ volatile("bts %1, (%0)" : : "r"(bits), "r"(off) : "memory", "cc");
    EQ(bits[3], 1 << 5);
    off = (u64)-64 - 1; /* a negative bit offset */
    __asm__ volatile("bts %1, (%0)" : : "r"(bits + 4), "r"(off) : "memory", "cc");
    EQ(bits[2], 1ull << 63);
    u32 off32 = (u32)-1;
    __asm__ volatile("btc %1, (%0)" : : "r"(bits + 4), "r"(off32) : "memory", "cc");
    EQ(bits[3], 0x8000000000000020);
    u64 f = 2;
    __asm__ volatile(FLAGS_SET "btrl $37, (%[p])\n\t" FLAGS_GET
                     : [f] "+r"(f)
                     : [p] "r"(bits + 3)
                     : "memory", "cc");
    EQ(bits[3], 0x8000000000000000); /* an immediate is taken modulo the width */
    EQ(f & CF, CF);
}

static void t_cmpxchg(void)
{
    u64 page = page_alloc();
    map_page(TEST_VA, page, PG_P); /* read only: it faults though the comparison is unequal */
    *(u64 *)page = 5;
    u64 a = 6;
    __asm__ volatile(TRY "cmpxchg %1, (%2)" END
                     : "+a"(a)
                     : "r"(7ull), "r"(TEST_VA)
                     : "memory", "cc");
    FAULTS(PF, PF_P | PF_W);
    EQ(a, 6);
    map_page(TEST_VA, page, PG_P | PG_W);
    __asm__ volatile(TRY "cmpxchg %1, (%2)" END
                     : "+a"(a)
                     : "r"(7ull), "r"(TEST_VA)
                     : "memory", "cc");
    EQ(fault.vec, NONE);
    EQ(a, 5);
    EQ(*pte(TEST_VA) & PG_D, PG_D);
    u64 b = 0xffffffff00000009, m = 0xffffffff00000005;
    a = 0xaaaaaaaa00000005; /* equal: RAX keeps its upper half; unequal: 32 bits are written */
    __asm__ volatile("cmpxchg %k1, %k2" : "+a"(a) : "r"(b), "r"(m) : "cc");
    EQ(a, 0xaaaaaaaa00000005);
    u64 x = 0xffffffff11111111, y = 0xffffffff22222222;
    __asm__ volatile("xadd %k0, %k1" : "+r"(x), "+r"(y) : : "cc");
    EQ(x, 0x22222222);
    EQ(y, 0x33333333);
    x = 0x80;
    __asm__ volatile("xadd %0, %0" : "+r"(x) : : "cc");
    EQ(x, 0x100);
    map_page(TEST_VA, 0, 0);
}

static void t_cmpxchg16b(void)
{
    static u64 m[4] __attribute__((aligned(16))) = { 1, 2, 3, 4 };
    u64 a = 1, d = 2, f;
    __asm__ volatile(TRY "lock cmpxchg16b (%3)" END "pushfq\n\tpop %2"
                     : "+a"(a), "+d"(d), "=r"(f)
                     : "r"(m), "b"(7ull), "c"(8ull)
                     : "memory", "cc");
    EQ(fault.vec, NONE);
    EQ(m[0], 7);
    EQ(m[1], 8);
    EQ(f & ZF, ZF);
    __asm__ volatile(TRY "cmpxchg16b (%2)" END
                     : "+a"(a), "+d"(d)
                     : "r"(m + 1), "b"(0ull), "c"(0ull)
                     : "memory", "cc");
    FAULTS(GP, 0);
    __asm__ volatile(TRY "cmpxchg16b (%2)" END
                     : "+a"(a), "+d"(d)
                     : "r"(m), "b"(0ull), "c"(0ull)
                     : "memory", "cc");
    EQ(a, 7);
    EQ(d, 8);
    u64 lo = 0x0000000800000007; /* cmpxchg8b has no alignment rule */
    memcpy((u8 *)m + 3, &lo, 8);
    a = 7, d = 8;
    __asm__ volatile(TRY "cmpxchg8b (%2)" END
                     : "+a"(a), "+d"(d)
                     : "r"((u8 *)m + 3), "b"(0x11), "c"(0x22)
                     : "memory", "cc");
    EQ(fault.vec, NONE);
    memcpy(&lo, (u8 *)m + 3, 8);
    EQ(lo, 0x0000002200000011);
}

static void t_stack_forms(void)
{
    u64 before, got, after;
    __asm__ volatile("mov %%rsp, %0\n\tpush %%rsp\n\tpop %1" : "=&r"(before), "=&r"(got));
    EQ(got, before);
    __asm__ volatile("mov %%rsp, %0\n\tmovq $0, -8(%%rsp)\n\tpush %3\n\tpop %%rsp\n\tmov %%rsp, "
                     "%1\n\tmov %0, %%rsp\n\tmov $0, %k2"
                     : "=&r"(before), "=&r"(got), "=&r"(after)
                     : "r"(0x1234567890ull));
    EQ(got, 0x1234567890);
    /* POP [RSP+d]: the address uses RSP as it is after the increment. */
    u64 stack[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    __asm__ volatile(
        "mov %%rsp, %0\n\tmov %2, %%rsp\n\tpopq 8(%%rsp)\n\tmov %%rsp, %1\n\tmov %0, %%rsp"
        : "=&r"(before), "=&r"(after)
        : "r"(stack)
        : "memory");
    EQ(after, (u64)(stack + 1));
    EQ(stack[2], 1);
    /* PUSH [RSP+d]: the address uses RSP as it was. */
    __asm__ volatile(
        "mov %%rsp, %0\n\tmov %2, %%rsp\n\tpushq 8(%%rsp)\n\tmov %%rsp, %1\n\tmov %0, %%rsp"
        : "=&r"(before), "=&r"(after)
        : "r"(stack + 4)
        : "memory");
    EQ(after, (u64)(stack + 3));
    EQ(stack[3], 6);
    u16 sel = 0;
    __asm__ volatile("pushw $0x1234\n\tpopw %0" : "=m"(sel));
    EQ(sel, 0x1234);
}

static void t_enter_leave(void)
{
    u64 stack[32], frame[8] = { 0, 0, 0, 0, 0, 0x30, 0x20, 0x10 }, sp, bp, save;
    memset(stack, 0, sizeof stack);
    __asm__ volatile("mov %%rsp, %2\n\tpush %%rbp\n\tmov %%rsp, %%r12\n\tmov %3, %%rsp\n\tmov %4, "
                     "%%rbp\n\tenter $0x10, $3\n\t"
                     "mov %%rsp, %0\n\tmov %%rbp, %1\n\tmov %%r12, %%rsp\n\tpop %%rbp"
                     : "=&a"(sp), "=&b"(bp), "=&c"(save)
                     : "S"(stack + 32), "D"(frame + 8)
                     : "memory", "r12");
    EQ(bp, (u64)(stack + 31));
    EQ(sp, (u64)(stack + 28) - 0x10);
    EQ(stack[31], (u64)(frame + 8));
    EQ(stack[30], 0x10);
    EQ(stack[29], 0x20);
    EQ(stack[28], bp);
}

static void t_divide(void)
{
    u64 a = 0, d = 0;
    __asm__ volatile(TRY "div %2" END : "+a"(a), "+d"(d) : "r"(0ull) : "cc");
    FAULTS(DE, 0);
    d = 5;
    a = 1;
    __asm__ volatile(TRY "div %2" END : "+a"(a), "+d"(d) : "r"(5ull) : "cc");
    FAULTS(DE, 0);
    EQ(a, 1);
    EQ(d, 5);
    a = 0x8000000000000000, d = ~0ull;
    __asm__ volatile(TRY "idiv %2" END : "+a"(a), "+d"(d) : "r"(-1ll) : "cc");
    FAULTS(DE, 0);
    a = 0xffff8000;
    __asm__ volatile(TRY "idivb %b1" END : "+a"(a) : "q"(1) : "cc");
    FAULTS(DE, 0);
    a = (u64)-7, d = ~0ull;
    __asm__ volatile(TRY "idiv %2" END : "+a"(a), "+d"(d) : "r"(2ll) : "cc");
    EQ(a, (u64)-3);
    EQ(d, (u64)-1);
    a = 1, d = 4; /* 128 by 64 bits */
    __asm__ volatile(TRY "div %2" END : "+a"(a), "+d"(d) : "r"(5ull) : "cc");
    EQ(fault.vec, NONE);
    EQ(a, 0xcccccccccccccccd);
    EQ(d, 0);
}

static void t_multiply_flags(void)
{
    u64 f = 2, a = 0x10, d = 0;
    __asm__ volatile("mulb %b2\n\tpushfq\n\tpop %1" : "+a"(a), "=r"(f) : "q"(0x10) : "cc");
    EQ(a, 0x100);
    EQ(f & (CF | OFLAG), CF | OFLAG);
    a = 0xffffffff00000003;
    __asm__ volatile("mull %k3\n\tpushfq\n\tpop %2"
                     : "+a"(a), "+d"(d), "=r"(f)
                     : "r"(0x80000000)
                     : "cc");
    EQ(a, 0x80000000);
    EQ(d, 1);
    __asm__ volatile("imul $-3, %3, %0\n\tpushfq\n\tpop %2"
                     : "=r"(a), "+d"(d), "=r"(f)
                     : "r"(5ll)
                     : "cc");
    EQ(a, (u64)-15);
    EQ(f & (CF | OFLAG), 0);
}

static void t_lock_prefix(void)
{
    u64 x = 1;
    __asm__ volatile(TRY ".byte 0xf0; mov %0, (%1)" END : : "r"(x), "r"(bits) : "memory");
    FAULTS(UD, 0);
    __asm__ volatile(TRY ".byte 0xf0, 0x01, 0xc0" END : : "a"(0) : "cc"); /* add eax, eax */
    FAULTS(UD, 0);
    __asm__ volatile(TRY ".byte 0xf0, 0x90" END : : : "memory"); /* nop */
    FAULTS(UD, 0);
    __asm__ volatile(TRY ".byte 0xf0; cmp %0, (%1)" END : : "r"(x), "r"(bits) : "memory", "cc");
    FAULTS(UD, 0);
    __asm__ volatile(TRY ".byte 0xf0; bt %0, (%1)" END : : "r"(x), "r"(bits) : "memory", "cc");
    FAULTS(UD, 0);
    bits[0] = 1;
    __asm__ volatile(TRY "lock addq %0, (%1)" END : : "r"(x), "r"(bits) : "memory", "cc");
    EQ(fault.vec, NONE);
    EQ(bits[0], 2);
}

static void t_undefined_and_hints(void)
{
    __asm__ volatile(TRY "ud2" END : :);
    FAULTS(UD, 0);
    __asm__ volatile(TRY ".byte 0x0f, 0xb9, 0xc0" END : :); /* ud1 */
    FAULTS(UD, 0);
    __asm__ volatile(TRY ".byte 0x0f, 0xff, 0xc0" END : :); /* ud0 */
    FAULTS(UD, 0);
    __asm__ volatile(TRY ".byte 0x06" END : :); /* push es */
    FAULTS(UD, 0);
    __asm__ volatile(TRY ".byte 0xd6" END : :); /* salc */
    FAULTS(UD, 0);
    __asm__ volatile(
        TRY ".byte 0x66, 0x90, 0xf3, 0x90, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x0f, 0x18, 0x38,"
            "0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x0d, 0x08" END
        :
        : "a"(0x200000)
        : "memory");
    EQ(fault.vec, NONE);
    /* Sixteen bytes are one too many, fifteen are not. */
    __asm__ volatile(TRY ".fill 14, 1, 0x66\n\tnop" END : :);
    EQ(fault.vec, NONE);
    __asm__ volatile(TRY ".fill 15, 1, 0x66\n\tnop" END : :);
    FAULTS(GP, 0);
}

static void t_popf(void)
{
    u64 f;
    __asm__ volatile("pushq %1\n\tpopfq\n\tpushfq\n\tpop %0"
                     : "=r"(f)
                     : "r"((u64)(0x3f7ad7 & ~(TF | IF | 0x20000)))
                     : "cc");
    EQ(f & 0x8028, 0);
    EQ(f & 2, 2);
    EQ(f & 0x3000, 0x3000);
    EQ(f & NT, NT);
    __asm__ volatile("pushq $2\n\tpopfq" : : : "cc");
    __asm__ volatile("pushfq\n\torq $0x30000, (%%rsp)\n\tpopfq\n\tpushfq\n\tpop %0"
                     : "=r"(f)
                     :
                     : "cc");
    EQ(f & 0x30000, 0); /* POPF cannot set VM and clears RF */
}

static void t_lahf_flags(void)
{
    u64 a = 0xff00, f;
    __asm__ volatile("sahf\n\tlahf\n\tpushfq\n\tpop %1" : "+a"(a), "=r"(f) : : "cc");
    EQ(a, 0xd700);
    EQ(f & 0xff, 0xd7);
    __asm__ volatile("xor %%eax, %%eax\n\tcmc\n\tpushfq\n\tpop %0" : "=r"(f) : : "rax", "cc");
    EQ(f & CF, CF);
}

static void t_movbe_popcnt_crc(void)
{
    struct cpuid c = cpuid(1, 0);
    u64 v = 0x1122334455667788, r = ~0ull;
    if (c.c & 1 << 22) {
        __asm__ volatile("movbe %1, %k0" : "=r"(r) : "m"(v));
        EQ(r, 0x88776655);
    }
    if (c.c & 1 << 23) {
        __asm__ volatile("popcnt %1, %0" : "=r"(r) : "r"(v) : "cc");
        EQ(r, 26);
    }
    if (c.c & 1 << 20) {
        r = 0xffffffffffffffff; /* the upper half is not read, and written as zero */
        __asm__ volatile("crc32q %1, %0" : "+r"(r) : "r"(0x3837363534333231ull));
        __asm__ volatile("crc32b %b1, %k0" : "+r"(r) : "q"('9'));
        EQ(r, ~0xe3069283u);
        r = 0xffffffff;
        for (const char *s = "123456789"; *s; s++)
            __asm__ volatile("crc32b %b1, %k0" : "+r"(r) : "q"(*s));
        EQ(~r & 0xffffffff, 0xe3069283); /* CRC-32C of "123456789" */
    }
}

static void t_ip_relative_and_wrap(void)
{
    /* 67h: 32-bit addresses wrap at 4 GiB. */
    static u32 cell = 0x1234567;
    u32 v;
    __asm__ volatile("mov $0xfffffff0, %%ecx\n\tmovl (%%ecx,%1), %0"
                     : "=r"(v)
                     : "r"((u32)(u64)&cell + 16)
                     : "rcx");
    EQ(v, 0x1234567);
    u64 a;
    __asm__ volatile("lea (%%ecx,%%ecx), %0" : "=r"(a) : "c"(0x90000000ull));
    EQ(a, 0x20000000);
    __asm__ volatile("lea (%%rcx,%%rcx), %w0"
                     : "=r"(a)
                     : "c"(0x90000001ull), "0"(0xffffffffffffffff));
    EQ(a, 0xffffffffffff0002);
}

const struct test tests[] = {
    { "partial-registers", t_partial_registers },
    { "cmov-zero-extends", t_cmov_zero_extends },
    { "shift-by-zero", t_shift_by_zero },
    { "rotate-through-carry", t_rotate_through_carry },
    { "bit-scan", t_bit_scan },
    { "bit-test-memory", t_bit_test_memory },
    { "cmpxchg", t_cmpxchg },
    { "cmpxchg16b", t_cmpxchg16b },
    { "stack-forms", t_stack_forms },
    { "enter-leave", t_enter_leave },
    { "divide", t_divide },
    { "multiply-flags", t_multiply_flags },
    { "lock-prefix", t_lock_prefix },
    { "undefined-and-hints", t_undefined_and_hints },
    { "popf", t_popf },
    { "lahf-flags", t_lahf_flags },
    { "movbe-popcnt-crc", t_movbe_popcnt_crc },
    { "address-wrap", t_ip_relative_and_wrap },
    { 0 },
};
