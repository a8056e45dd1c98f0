/*
 * rings.c: the system and string instructions that run often, many times over and mixed: SYSCALL
 * and SYSRET with every flag, STAC and CLAC between accesses, IF with interrupts waiting, bases of
 * GS, INVLPG, MOV CR3, REP with operands that overlap or share a page. user.c, system.c and
 * string.c have their single effects and faults (SDM volume 2).
 */
#include "guest.h"

enum { ARITH = 0x8d5, IF = 0x200, DFLAG = 0x400, NT = 0x4000, AC_FLAG = 0x40000, ID = 0x200000 };
enum { MSR_STAR = 0xc0000081, MSR_LSTAR, MSR_CSTAR, MSR_FMASK, MSR_GS = 0xc0000101, MSR_KERNEL_GS };
enum { CR4_FSGSBASE = 1 << 16, CR4_SMAP = 1 << 21 };

static u64 seed = 88172645463325252u;

static u64 random64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

/* ---- SYSCALL, SYSRET ------------------------------------------------------------------------- */

/* Returns at once: RAX the flags that the kernel sees, RDX the R11 that SYSCALL made. */
__asm__(".globl ring_entry\nring_entry: mov %rsp, %r8\n mov $ring_stack + 4096, %rsp\n pushfq\n"
        " pop %rax\n mov %r8, %rsp\n mov %r11, %rdx\n sysretq\n"
        ".bss\n.balign 16\nring_stack: .skip 4096\n.text");
extern const char ring_entry[];

USER_DATA static struct {
    u64 flags, seen, r11, after, rcx, here;
} ring;

/* A call by SYSCALL with the flags FLAGS. */
USER_CODE static void u_ring(u64 flags)
{
    ring.flags = flags;
    for (int i = 0; i < 3; i++)
        __asm__ volatile("push %6\n\tpopfq\n\tlea 1f(%%rip), %4\n\tsyscall\n1:\tpushfq\n\t"
                         "pop %2\n\tmov %%rcx, %3\n\tcld"
                         : "=&a"(ring.seen), "=&d"(ring.r11), "=&r"(ring.after), "=&r"(ring.rcx),
                           "=&r"(ring.here)
                         : "m"(ring), "r"(flags)
                         : "rcx", "r8", "r11", "memory", "cc");
    USER_RETURN(0);
}

static void t_syscall_flags(void)
{
    static const u64 masks[] = { 0, 0x700, 0x257fd5, ARITH, 0x3f7fd5 & ~(u64)AC_FLAG };
    wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
    wrmsr(MSR_STAR, (u64)SEL_CODE64 << 32 | (u64)(SEL_UCODE32 | 3) << 48);
    wrmsr(MSR_LSTAR, (u64)ring_entry);
    for (unsigned m = 0; m < sizeof masks / sizeof *masks; m++) {
        wrmsr(MSR_FMASK, masks[m]);
        for (int i = 0; i < 200; i++) {
            u64 want = (random64() & (ARITH | DFLAG | NT | ID | AC_FLAG)) | IF | 2;
            EQ(user_call(u_ring, want), 0);
            EQ(ring.r11, want);
            EQ(ring.after, want);
            EQ(ring.seen, want & ~masks[m]);
            EQ(ring.rcx, ring.here);
        }
    }
}

/* ---- PUSHF, POPF, IF ------------------------------------------------------------------------- */

static u64 through(u64 flags)
{
    u64 out; /* NT must not stay: IRET */
    __asm__ volatile("push %1\n\tpopfq\n\tpushfq\n\tpop %0\n\tpush $2\n\tpopfq"
                     : "=r"(out)
                     : "r"(flags)
                     : "memory", "cc");
    return out;
}

USER_CODE static void u_through(u64 flags)
{
    u64 out;
    __asm__ volatile("push %1\n\tpopfq\n\tpushfq\n\tpop %0\n\tcld"
                     : "=r"(out)
                     : "r"(flags)
                     : "memory", "cc");
    USER_RETURN(out);
}

static void t_flags_through_the_stack(void)
{
    for (int i = 0; i < 500; i++) {
        u64 flags = (random64() & (ARITH | DFLAG | NT | ID | AC_FLAG)) | 2;
        EQ(through(flags), flags);
        EQ(user_call(u_through, flags), flags | IF); /* not IF: IOPL is 0 */
        EQ(user_call(u_through, flags | 0x3000), flags | IF); /* nor IOPL */
    }
}

static volatile u64 tick_rip;

static void tick(struct frame *f)
{
    tick_rip = f->rip;
    lapic_write(LAPIC_EOI, 0);
}

/* An interrupt that waits comes behind the shadow of STI, and at once behind POPF. */
static void t_waiting_interrupt(void)
{
    u64 sti, popf;
    hook[0x41] = tick;
    for (int i = 0; i < 200; i++) {
        tick_rip = 0;
        lapic_write(LAPIC_ICR, 0x40041); /* to itself */
        __asm__ volatile("lea 1f(%%rip), %0\n\tsti\n\tnop\n1:\tnop\n\tcli"
                         : "=&r"(sti)
                         :
                         : "memory");
        EQ(tick_rip, sti);
        tick_rip = 0;
        lapic_write(LAPIC_ICR, 0x40041);
        __asm__ volatile("lea 1f(%%rip), %0\n\tpush $0x202\n\tpopfq\n1:\tnop\n\tcli"
                         : "=&r"(popf)
                         :
                         : "memory", "cc");
        EQ(tick_rip, popf);
    }
    hook[0x41] = 0;
}

/* ---- user access, bases, mappings ------------------------------------------------------------ */

static int touch(volatile u8 *p)
{
    __asm__ volatile(TRY "movb (%0), %%al" END : : "r"(p) : "memory", "rax");
    return fault.vec;
}

static void t_user_access(void)
{
    if (!(cpuid(7, 0).b & 1 << 20)) {
        test_skip("no SMAP");
        return;
    }
    u64 page = page_alloc(), own = page_alloc();
    volatile u8 *user = (volatile u8 *)TEST_VA, *kernel = (volatile u8 *)(TEST_VA + 4096);
    map_page(TEST_VA, page, PG_P | PG_W | PG_U);
    map_page(TEST_VA + 4096, own, PG_P | PG_W);
    write_cr4(read_cr4() | CR4_SMAP);
    for (int i = 0; i < 100; i++) {
        EQ(touch(user), PF);
        EQ(touch(kernel), NONE);
        u64 both = 0, want = (u64)(i & 255) * 2;
        __asm__ volatile("stac\n\tmovb %b3, (%1)\n\tmovb %b3, (%2)\n\tmovzbl (%1), %k0\n\tclac\n\t"
                         "stac\n\tmovzbl (%2), %%ecx\n\tadd %%rcx, %0\n\tclac"
                         : "=&r"(both)
                         : "r"(user), "r"(kernel), "q"((u64)i)
                         : "memory", "rcx", "cc");
        EQ(both, want);
        __asm__ volatile("stac" : : : "memory");
        int with = touch(user);
        __asm__ volatile("clac" : : : "memory");
        EQ(with, NONE);
    }
    write_cr4(read_cr4() & ~(u64)CR4_SMAP);
    EQ(touch(user), NONE);
    map_page(TEST_VA, 0, 0);
    map_page(TEST_VA + 4096, 0, 0);
}

static void t_gs_bases(void)
{
    u64 a[2] = { 11, 22 }, x, y, old = rdmsr(MSR_GS);
    bool direct = cpuid(7, 0).b & 1;
    wrmsr(MSR_GS, (u64)&a[0]);
    wrmsr(MSR_KERNEL_GS, (u64)&a[1]);
    for (int i = 0; i < 100; i++) {
        __asm__ volatile("mov %%gs:0, %0\n\tswapgs\n\tmov %%gs:0, %1\n\tswapgs"
                         : "=r"(x), "=r"(y)
                         :
                         : "memory");
        EQ(x, 11);
        EQ(y, 22);
    }
    if (direct) {
        write_cr4(read_cr4() | CR4_FSGSBASE);
        for (int i = 0; i < 50; i++) {
            __asm__ volatile("wrgsbase %2\n\tmov %%gs:0, %0\n\trdgsbase %1"
                             : "=r"(x), "=r"(y)
                             : "r"(&a[i & 1])
                             : "memory");
            EQ(x, a[i & 1]);
            EQ(y, (u64)&a[i & 1]);
            __asm__ volatile(TRY "wrgsbase %0" END : : "r"(UINT64_C(0x800000000000)) : "memory");
            FAULTS(GP, 0);
        }
        write_cr4(read_cr4() & ~(u64)CR4_FSGSBASE);
        __asm__ volatile(TRY "rdgsbase %%rax" END : : : "rax", "memory");
        FAULTS(UD, 0);
    }
    wrmsr(MSR_GS, old);
}

static void t_remapped(void)
{
    u64 page[2] = { page_alloc(), page_alloc() };
    *(u64 *)page[0] = 100, *(u64 *)page[1] = 101;
    map_page(TEST_VA, page[0], PG_P | PG_W);
    for (u64 i = 0; i < 300; i++) {
        *pte(TEST_VA) = page[i & 1] | PG_P | PG_W;
        if (i % 3)
            invlpg(TEST_VA);
        else
            write_cr3(read_cr3());
        EQ(*(volatile u64 *)TEST_VA, 100 + (i & 1));
    }
    map_page(TEST_VA, 0, 0);
}

/* ---- REP ------------------------------------------------------------------------------------- */

enum { AREA = 3 * 4096 };
static u8 area[2][AREA] __attribute__((aligned(4096)));

/* What the manual says REP MOVS does, an element at a time. */
static void model_movs(u8 *to, const u8 *from, u64 n, unsigned bytes, bool down)
{
    for (u64 i = 0; i < n; i++) {
        u64 at = down ? 0 - i * bytes : i * bytes, v = 0;
        for (unsigned k = 0; k < bytes; k++)
            v |= (u64)from[at + k] << 8 * k;
        for (unsigned k = 0; k < bytes; k++)
            to[at + k] = (u8)(v >> 8 * k);
    }
}

static void rep_movs(u8 *to, const u8 *from, u64 n, unsigned bytes, bool down)
{
    u64 end = down ? 0 - n * bytes : n * bytes, di = (u64)to, si = (u64)from, cx = n;
    if (down)
        __asm__ volatile("std" : : : "cc");
#define MOVS(b, name)                                                                              \
    if (bytes == (b))                                                                              \
    __asm__ volatile("rep " name : "+D"(di), "+S"(si), "+c"(cx) : : "memory")
    MOVS(1, "movsb");
    MOVS(2, "movsw");
    MOVS(4, "movsl");
    MOVS(8, "movsq");
    __asm__ volatile("cld" : : : "cc");
    EQ(cx, 0);
    EQ(di, (u64)to + end);
    EQ(si, (u64)from + end);
}

static void t_movs_overlap(void)
{
    for (int i = 0; i < 400; i++) {
        unsigned bytes = 1u << (random64() & 3);
        bool down = (i & 7) == 7;
        u64 from = 2000 + random64() % 4096, to = from + random64() % 48 - 24, n = random64() % 500;
        if (i & 1)
            to = 2000 + random64() % 4096;
        for (unsigned k = 0; k < AREA; k++)
            area[0][k] = area[1][k] = (u8)random64();
        if (!down && n * bytes > 4096)
            n = 4096 / bytes;
        if (down && n * bytes > 2000)
            n = 2000 / bytes;
        model_movs(&area[1][to], &area[1][from], n, bytes, down);
        rep_movs(&area[0][to], &area[0][from], n, bytes, down);
        EQ(memcmp(area[0], area[1], AREA), 0);
    }
}

/* The same page at two addresses: as if the operands overlapped. */
static void t_movs_alias(void)
{
    u64 page = page_alloc();
    map_page(TEST_VA, page, PG_P | PG_W);
    map_page(TEST_VA + 4096, page, PG_P | PG_W);
    for (int i = 0; i < 100; i++) {
        u64 from = random64() % 1000, to = random64() % 1000, n = random64() % 200;
        for (unsigned k = 0; k < 4096; k++)
            ((u8 *)page)[k] = area[1][k] = (u8)random64();
        model_movs(&area[1][to], &area[1][from], n, 8, false);
        rep_movs((u8 *)TEST_VA + 4096 + to, (u8 *)TEST_VA + from, n, 8, false);
        EQ(memcmp((void *)page, area[1], 4096), 0);
    }
    map_page(TEST_VA, 0, 0);
    map_page(TEST_VA + 4096, 0, 0);
}

static void t_compare_and_scan(void)
{
    for (int i = 0; i < 300; i++) {
        u64 n = 1 + random64() % 6000, stop = random64() % 8000, cx = n;
        const u8 *a = area[0] + random64() % 64, *b = area[1] + random64() % 64, *si = a, *di = b;
        memset(area[0], 0x33, AREA);
        memset(area[1], 0x33, AREA);
        area[1][(b - area[1]) + stop] = 0x44;
        u64 want = stop < n ? stop + 1 : n;
        bool zf, cf;
        __asm__ volatile("repe cmpsb"
                         : "+S"(si), "+D"(di), "+c"(cx), "=@ccz"(zf), "=@ccc"(cf)
                         :
                         : "memory");
        EQ(n - cx, want);
        EQ((u64)(si - a), want);
        EQ((u64)(di - b), want);
        EQ(zf, stop >= n);
        EQ(cf, stop < n);
        di = b, cx = n;
        __asm__ volatile("repne scasb" : "+D"(di), "+c"(cx), "=@ccz"(zf) : "a"(0x44) : "memory");
        EQ(n - cx, want);
        EQ(zf, stop < n);
    }
}

/* Single ones in a loop, both directions. */
static void t_single(void)
{
    u64 sum = 0, want = 0;
    for (unsigned k = 0; k < AREA; k++)
        area[0][k] = (u8)random64();
    const u8 *si = area[0] + 1;
    u8 *di = area[1] + 3;
    for (unsigned k = 0; k < 8000; k++) {
        u64 v;
        __asm__ volatile("lodsb\n\tmovzbl %%al, %%eax\n\tdec %1\n\tmovsb"
                         : "=&a"(v), "+S"(si), "+D"(di)
                         :
                         : "memory", "cc");
        sum += v;
        want += area[0][1 + k];
        EQ(di[-1], area[0][1 + k]);
    }
    EQ(sum, want);
    for (unsigned k = 0; k < 1000; k++) {
        u8 *at = area[1] + 5000;
        __asm__ volatile("std\n\tstosq\n\tcld" : "+D"(at) : "a"((u64)k << 32) : "memory", "cc");
        EQ((u64)at, (u64)area[1] + 4992);
        EQ(*(u64 *)(void *)(area[1] + 5000), (u64)k << 32);
    }
}

const struct test tests[] = {
    { "syscall-flags", t_syscall_flags },
    { "flags-through-the-stack", t_flags_through_the_stack },
    { "waiting-interrupt", t_waiting_interrupt },
    { "user-access", t_user_access },
    { "gs-bases", t_gs_bases },
    { "remapped", t_remapped },
    { "movs-overlap", t_movs_overlap },
    { "movs-alias", t_movs_alias },
    { "compare-and-scan", t_compare_and_scan },
    { "single", t_single },
    { 0, 0 },
};
