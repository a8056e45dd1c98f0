/*
 * system.c: control, debug and model-specific registers and the instructions that depend on them
 * (SDM 3A, chapter 2; SDM 2): what is refused, what is kept, what CPL 3 may do.
 */
#include "guest.h"

enum { CR4_TSD = 4, CR4_DE = 8, CR4_PCE = 0x100, CR4_UMIP = 0x800, CR4_FSGSBASE = 1 << 16 };
#define UC (SEL_UCODE64 | 3)
#define U(name, text)                                                                              \
    __asm__(".pushsection .user.text, \"ax\"\n" #name ": " text "\n int $0x81\n.popsection");      \
    extern const char name[];
U(u_rdtsc, "rdtsc")
U(u_rdtscp, "rdtscp")
U(u_rdpmc, "xor %ecx, %ecx; rdpmc")
U(u_sgdt, "sgdt -32(%rsp)")
U(u_sidt, "sidt -32(%rsp)")
U(u_sldt, "sldt %eax")
U(u_str, "str %eax")
U(u_smsw, "smsw %eax")
U(u_rdfsbase, "rdfsbase %rax")
U(u_wrgsbase, "mov $0x12345678, %eax; wrgsbase %rax; rdgsbase %rax")
U(u_rdpid, "xor %eax, %eax; .byte 0xf3, 0x0f, 0xc7, 0xf8")
U(u_cpuid, "xor %eax, %eax; cpuid")
U(u_xgetbv, "xor %ecx, %ecx; xgetbv")
U(u_clflush, "clflush (%rdi)")

static int ring3(const void *code, u64 arg)
{
    enter_frame((u64)code, UC, 0x202, (u64)USER_STACK_TOP, SEL_UDATA | 3, arg);
    return fault.vec;
}

static void t_control_registers(void)
{
    u64 cr0 = read_cr0(), cr4 = read_cr4(), cr3 = read_cr3();
    EQ(try_write_cr(0, cr0 & ~1ull), GP); /* PG without PE */
    EQ(try_write_cr(0, cr0 | 1ull << 32), GP);
    EQ(try_write_cr(0, (cr0 | 1u << 29) & ~(1ull << 30)), GP); /* NW without CD */
    EQ(try_write_cr(0, cr0 | 1 << 6), NONE);                   /* reserved below 32: ignored */
    EQ(read_cr0(), cr0);
    EQ(try_write_cr(0, cr0 & ~0x10ull), NONE); /* ET is fixed */
    EQ(read_cr0(), cr0);
    EQ(try_write_cr(4, cr4 & ~0x20ull), GP); /* PAE in long mode */
    EQ(try_write_cr(4, cr4 | 1ull << 40), GP);
    EQ(try_write_cr(4, cr4 | 1 << 15), GP);
    EQ(try_write_cr(3, cr3 | 1ull << 62), GP);
    write_cr3(cr3);
    EQ(try_write_cr(8, 16), GP);
    write_cr8(5);
    EQ(read_cr8(), 5);
    EQ(lapic_read(LAPIC_TPR), 0x50);
    lapic_write(LAPIC_TPR, 0x30);
    EQ(read_cr8(), 3);
    write_cr8(0);
    u64 v;
    __asm__ volatile(TRY ".byte 0x0f, 0x20, 0x08" END : "=a"(v) : : "memory"); /* CR1 */
    FAULTS(UD, 0);
    __asm__ volatile(TRY ".byte 0x0f, 0x20, 0x28" END : "=a"(v) : : "memory"); /* CR5 */
    FAULTS(UD, 0);
    /* The mod field is ignored: 0F 20 /0 with mod 0 names RAX all the same. */
    __asm__ volatile(TRY ".byte 0x0f, 0x20, 0x00" END : "=a"(v) : : "memory");
    EQ(fault.vec, NONE);
    EQ(v, cr0);
    u64 efer = rdmsr(0xc0000080);
    EQ(efer & 0x500, 0x500);
    EQ(try_wrmsr(0xc0000080, efer & ~0x100ull), GP); /* LME while paging */
    EQ(try_wrmsr(0xc0000080, efer | 1ull << 40), GP);
}

static void t_lmsw(void)
{
    u64 cr0 = read_cr0(), v;
    __asm__ volatile("lmsw %w0" : : "r"(8)); /* TS; PE stays */
    EQ(read_cr0(), (cr0 & ~6ull) | 8);
    __asm__ volatile("lmsw %w0" : : "r"(0));
    EQ(read_cr0(), cr0 & ~0xeull);
    write_cr0(cr0);
    __asm__ volatile("smsw %0" : "=r"(v));
    EQ(v & 0xffff, cr0 & 0xffff);
    u16 m;
    __asm__ volatile("smsw %0" : "=m"(m));
    EQ(m, cr0 & 0xffff);
}

static void t_debug_registers(void)
{
    u64 v;
    __asm__ volatile("mov %1, %%dr3\n\tmov %%dr3, %0" : "=r"(v) : "r"(0x123456789abcull));
    EQ(v, 0x123456789abc);
    __asm__ volatile("mov %1, %%dr6\n\tmov %%dr6, %0" : "=r"(v) : "r"(0ull));
    EQ(v & 0xffff0ff0, 0xffff0ff0);
    EQ(v & 0x1000, 0);
    __asm__ volatile("mov %1, %%dr7\n\tmov %%dr7, %0" : "=r"(v) : "r"(0x400ull));
    EQ(v, 0x400);
    __asm__ volatile(TRY "mov %0, %%dr7" END : : "r"(1ull << 32) : "memory");
    FAULTS(GP, 0);
    __asm__ volatile(TRY "mov %0, %%dr6" END : : "r"(1ull << 32) : "memory");
    FAULTS(GP, 0);
    u64 cr4 = read_cr4(); /* DR4 names DR6 unless CR4.DE */
    __asm__ volatile(TRY "mov %%dr4, %0" END : "=r"(v) : : "memory");
    EQ(fault.vec, NONE);
    write_cr4(cr4 | CR4_DE);
    __asm__ volatile(TRY "mov %%dr4, %0" END : "=r"(v) : : "memory");
    FAULTS(UD, 0);
    write_cr4(cr4);
    __asm__ volatile("mov %0, %%dr3" : : "r"(0ull));
}

static void t_time_stamp(void)
{
    u64 cr4 = read_cr4();
    EQ(ring3(u_rdtsc, 0), VEC_USER_RETURN);
    write_cr4(cr4 | CR4_TSD);
    EQ(ring3(u_rdtsc, 0), GP);
    EQ(fault.f.err, 0);
    EQ(ring3(u_rdtscp, 0), GP);
    CHECK(rdtsc() != 0); /* ring 0 may */
    write_cr4(cr4);
    EQ(ring3(u_rdpmc, 0), GP);
    wrmsr(0xc0000103, 0x4321);
    EQ(ring3(u_rdtscp, 0), VEC_USER_RETURN);
    EQ(fault.f.rcx, 0x4321);
    if (cpuid(7, 0).c & 1 << 22) {
        EQ(ring3(u_rdpid, 0), VEC_USER_RETURN);
        EQ(fault.f.rax, 0x4321);
    } else {
        EQ(ring3(u_rdpid, 0), UD);
    }
    EQ(try_wrmsr(0xc0000103, 1ull << 32), GP);
    u64 a = rdtsc();
    delay_us(2000);
    u64 b = rdtsc();
    CHECK(b > a);
    /* The TSC can be written, and TSC_ADJUST follows. */
    if (cpuid(7, 0).b & 2) {
        u64 adjust = rdmsr(0x3b), t = rdtsc();
        wrmsr(0x10, t + (1ull << 40));
        CHECK(rdmsr(0x3b) - adjust > (1ull << 39));
        CHECK(rdtsc() - t >= 1ull << 40);
        wrmsr(0x3b, adjust);
        CHECK(rdtsc() - t < 1ull << 40);
    }
}

static void t_umip(void)
{
    u64 cr4 = read_cr4();
    static const char *const insns[] = { u_sgdt, u_sidt, u_sldt, u_str, u_smsw };
    for (int i = 0; i < 5; i++)
        EQ(ring3(insns[i], 0), VEC_USER_RETURN);
    if (!(cpuid(7, 0).c & 4)) {
        test_skip("no UMIP");
        return;
    }
    write_cr4(cr4 | CR4_UMIP);
    for (int i = 0; i < 5; i++) {
        EQ(ring3(insns[i], 0), GP);
        EQ(fault.f.err, 0);
    }
    u16 d[5];
    __asm__ volatile(TRY "sgdt %0" END : "=m"(d) : : "memory");
    EQ(fault.vec, NONE);
    write_cr4(cr4);
}

static void t_fsgsbase(void)
{
    u64 cr4 = read_cr4(), v;
    __asm__ volatile(TRY "rdfsbase %0" END : "=r"(v) : : "memory");
    FAULTS(UD, 0);
    if (!(cpuid(7, 0).b & 1)) {
        test_skip("no FSGSBASE");
        return;
    }
    write_cr4(cr4 | CR4_FSGSBASE);
    EQ(ring3(u_rdfsbase, 0), VEC_USER_RETURN);
    EQ(ring3(u_wrgsbase, 0), VEC_USER_RETURN);
    EQ(fault.f.rax, 0x12345678);
    EQ(rdmsr(0xc0000101), 0x12345678);
    __asm__ volatile(TRY "wrfsbase %0" END : : "r"(0x0000800000000000) : "memory");
    FAULTS(GP, 0);
    __asm__ volatile("wrfsbase %0" : : "r"(0xffff888812345678));
    EQ(rdmsr(0xc0000100), 0xffff888812345678);
    __asm__ volatile("wrfsbase %k0" : : "r"(0xffff888812345678));
    EQ(rdmsr(0xc0000100), 0x12345678);
    wrmsr(0xc0000102, 0x1111);
    wrmsr(0xc0000101, 0x2222);
    __asm__ volatile("swapgs");
    EQ(rdmsr(0xc0000101), 0x1111);
    EQ(rdmsr(0xc0000102), 0x2222);
    __asm__ volatile("swapgs");
    write_cr4(cr4);
    /* Loading FS in 64-bit mode takes the descriptor's 32-bit base. */
    gdt[SEL_TEST / 8] = 0x12c0930000000000ull | 0x345678ull << 16 | 0xffff;
    __asm__ volatile("mov %w0, %%fs" : : "r"(SEL_TEST));
    EQ(rdmsr(0xc0000100), 0x12345678);
    __asm__ volatile("mov %w0, %%fs\n\tmov %w0, %%gs" : : "r"(0));
    wrmsr(0xc0000100, 0);
    wrmsr(0xc0000101, 0);
}

static void t_msr_checks(void)
{
    EQ(try_rdmsr(0xdeadbeef), GP);
    EQ(fault.f.err, 0);
    EQ(try_wrmsr(0xdeadbeef, 0), GP);
    u64 pat = rdmsr(0x277);
    EQ(try_wrmsr(0x277, 0x0202020202020202), GP); /* no memory type 2 */
    EQ(rdmsr(0x277), pat);
    EQ(try_wrmsr(0x1b, rdmsr(0x1b) | 1ull << 60), GP);
    /* ECX is what counts of RCX. */
    u32 lo, hi;
    __asm__ volatile(TRY "rdmsr" END : "=a"(lo), "=d"(hi) : "c"(0xffffffffc0000080) : "memory");
    EQ(fault.vec, NONE);
    EQ(lo & 0x500, 0x500);
}

static void t_cpuid(void)
{
    EQ(ring3(u_cpuid, 0), VEC_USER_RETURN);
    u64 a = 0xffffffff00000000, c = 0xffffffff00000000, b = ~0ull, d = ~0ull;
    __asm__ volatile("cpuid" : "+a"(a), "+b"(b), "+c"(c), "+d"(d));
    EQ(a >> 32 | b >> 32 | c >> 32 | d >> 32, 0);
    u32 max = cpuid(0, 0).a;
    CHECK(max >= 0xd);
    EQ(cpuid(0x80000000, 0).a >> 31, 1);
    CHECK(cpuid(0x80000001, 0).d & 1 << 29); /* long mode */
    EQ(cpuid(1, 0).b >> 24, acpi.apic_id[0]);
    CHECK(cpuid(1, 0).c >> 31); /* a hypervisor is there */
    EQ(cpuid(7, 1000).a | cpuid(7, 1000).b, 0);
}

static void t_cache_instructions(void)
{
    u64 va = TEST_VA + (60ull << 30), page = page_alloc();
    map_page(va, page, PG_P | PG_W);
    __asm__ volatile(TRY "clflush (%0)" END : : "r"(va) : "memory");
    EQ(fault.vec, NONE);
    EQ(*pte(va) & PG_D, 0); /* it counts as a read */
    EQ(ring3(u_clflush, va), PF);
    EQ(fault.f.err, PF_P | PF_U);
    __asm__ volatile(TRY "clflush (%0)" END : : "r"(va + 4096) : "memory");
    FAULTS(PF, 0);
    __asm__ volatile(TRY "prefetchnta (%0)" END : : "r"(va + 4096) : "memory");
    EQ(fault.vec, NONE);
    __asm__ volatile(TRY "wbinvd\n\tmfence\n\tlfence\n\tsfence" END : : : "memory");
    EQ(fault.vec, NONE);
    if (!(cpuid(1, 0).c & 8)) {
        __asm__ volatile(TRY "monitor" END : : "a"(va), "c"(0), "d"(0) : "memory");
        FAULTS(UD, 0);
    }
    if (!(cpuid(1, 0).c & 1 << 5)) {
        __asm__ volatile(TRY "vmcall" END : : "a"(~0u) : "memory", "rbx");
        CHECK(fault.vec == NONE || fault.vec == UD); /* a hypercall of the monitor, or nothing */
        __asm__ volatile(TRY ".byte 0x0f, 0x01, 0xc4" END : : : "memory"); /* vmxoff */
        FAULTS(UD, 0);
    }
    __asm__ volatile(TRY ".byte 0x0f, 0xaa" END : : : "memory"); /* rsm */
    FAULTS(UD, 0);
}

static void t_descriptor_tables(void)
{
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) g = { 0, 0 }, bad = { 100, 0x0000800000000000 };
    __asm__ volatile("sgdt %0" : "=m"(g));
    EQ(g.limit, 64 * 8 - 1);
    EQ(g.base, (u64)gdt);
    __asm__ volatile(TRY "lgdt %0" END : : "m"(bad) : "memory");
    FAULTS(GP, 0);
    __asm__ volatile(TRY "lidt %0" END : : "m"(bad) : "memory");
    FAULTS(GP, 0);
    /* A short IDT: the vector beyond it gives #GP(vector * 8 + 2). */
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) shorter = { 0x7f * 16 + 15, (u64)idt },
                              full = { 256 * 16 - 1, (u64)idt };
    __asm__ volatile(TRY "lidt %0\n\tint $0x80" END "lidt %1"
                     :
                     : "m"(shorter), "m"(full)
                     : "memory");
    FAULTS(GP, 0x80 * 8 + 2);
}

static void t_cpl3_xgetbv(void)
{
    if (!(cpuid(1, 0).c & 1 << 26)) {
        test_skip("no XSAVE");
        return;
    }
    u64 cr4 = read_cr4();
    write_cr4(cr4 | 1 << 18);
    EQ(ring3(u_xgetbv, 0), VEC_USER_RETURN);
    EQ(fault.f.rax & 1, 1);
    write_cr4(cr4);
    EQ(ring3(u_xgetbv, 0), UD);
}

const struct test tests[] = {
    { "control-registers", t_control_registers },
    { "lmsw", t_lmsw },
    { "debug-registers", t_debug_registers },
    { "time-stamp", t_time_stamp },
    { "umip", t_umip },
    { "fsgsbase", t_fsgsbase },
    { "msr-checks", t_msr_checks },
    { "cpuid", t_cpuid },
    { "cache-instructions", t_cache_instructions },
    { "descriptor-tables", t_descriptor_tables },
    { "cpl3-xgetbv", t_cpl3_xgetbv },
    { 0 },
};
