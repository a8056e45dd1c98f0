/*
 * user.c: the ways between rings in long mode (SDM 2: SYSCALL, SYSRET, SYSENTER, SYSEXIT, IRET, INT;
 * SDM 3A, chapter 6): register effects, checks, stacks, privileges of CPL 3.
 */
#include "guest.h"

enum { TF = 0x100, IF = 0x200, NT = 0x4000, RF = 0x10000, AC_FLAG = 0x40000 };
enum { MSR_STAR = 0xc0000081, MSR_LSTAR, MSR_CSTAR, MSR_FMASK, MSR_SYSENTER_CS = 0x174,
       MSR_SYSENTER_ESP, MSR_SYSENTER_EIP };
#define UC (SEL_UCODE64 | 3)
#define UD (SEL_UDATA | 3)

static bool intel(void)
{
    return cpuid(0, 0).b == 0x756e6547;
}

/* Where SYSCALL lands: still on the user's stack; leaves by a fault whose registers tell all. */
__asm__(".globl sys_entry\nsys_entry: mov %rsp, %rbx\n mov %ss, %edx\n mov %cs, %esi\n pushfq\n pop %rax\n ud2\n"
        ".globl sys_back\nsys_back: .byte 0x48, 0x0f, 0x07\n" /* sysretq */
        ".globl sys_back32\nsys_back32: .byte 0x0f, 0x07\n");
extern const char sys_entry[], sys_back[], sys_back32[];

USER_CODE static void u_syscall(u64 flags)
{
    __asm__ volatile("push %0\n\tpopfq\n\tsyscall\n\tint $0x81" : : "r"(flags) : "memory", "rcx", "r11");
}

static void syscall_setup(void)
{
    wrmsr(MSR_STAR, (u64)SEL_CODE64 << 32 | (u64)(SEL_UCODE32 | 3) << 48);
    wrmsr(MSR_LSTAR, (u64)sys_entry);
    wrmsr(MSR_FMASK, 0x700);
}

static void t_syscall(void)
{
    syscall_setup();
    user_call(u_syscall, 0x246 | NT | AC_FLAG);
    EQ(fault.vec, UD ? 6 : 0);
    EQ(fault.f.cs, SEL_CODE64);
    EQ(fault.f.rsi, SEL_CODE64);
    EQ(fault.f.rdx, SEL_DATA);
    CHECK(fault.f.rbx >= (u64)user_stack && fault.f.rbx <= (u64)USER_STACK_TOP); /* no stack switch */
    EQ(fault.f.rax & 0x700, 0);
    EQ(fault.f.rax & NT, NT); /* not in FMASK */
    EQ(fault.f.r11 & (0x246 | NT | AC_FLAG), 0x246 | NT | AC_FLAG);
    CHECK(fault.f.rcx > (u64)u_syscall && fault.f.rcx < (u64)u_syscall + 32);
    u64 efer = rdmsr(0xc0000080);
    wrmsr(0xc0000080, efer & ~1ull);
    user_call(u_syscall, 0x202);
    FAULTS(6, 0);
    EQ(fault.f.cs, UC);
    wrmsr(0xc0000080, efer);
}

/* Lands in user mode by SYSRET from C; RCX and R11 are loaded from the arguments. */
__asm__(".globl sysret_to\nsysret_to:\n push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        " movl $-1, fault\n movq $1f, fixup_rip\n movq %rsp, fixup_rsp\n"
        " mov %rcx, %r8\n mov %rdi, %rcx\n mov %rsi, %r11\n mov %rdx, %rsp\n jmp *%r8\n"
        "1: movq $0, fixup_rip\n movl $0x10, %eax\n movl %eax, %ds\n movl %eax, %es\n"
        " pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n ret\n");
void sysret_to(u64 rip, u64 rflags, void *rsp, const char *how);

USER_CODE static void u_here(void)
{
    __asm__ volatile("mov %%cs, %%ebx\n\tmov %%ss, %%edx\n\tpushfq\n\tpop %%rax\n\tint $0x81" : : : "memory", "rax", "rbx", "rdx");
}

static void t_sysret(void)
{
    syscall_setup();
    sysret_to((u64)u_here, 0x202 | RF | NT | 0x20000, USER_STACK_TOP, sys_back);
    EQ(fault.vec, VEC_USER_RETURN);
    EQ(fault.f.rbx, UC);
    EQ(fault.f.rdx, UD);
    EQ(fault.f.ss, UD);
    EQ(fault.f.rax & (RF | 0x20000), 0);
    EQ(fault.f.rax & NT, NT);
    sysret_to((u64)u_here, 0x202, USER_STACK_TOP, sys_back32);
    EQ(fault.vec, VEC_USER_RETURN);
    EQ(fault.f.cs, SEL_UCODE32 | 3);
    /* Not canonical: Intel faults in ring 0 with the user's stack, AMD in ring 3. */
    sysret_to(0x0000800000000000, 0x202, USER_STACK_TOP, sys_back);
    EQ(fault.vec, GP);
    if (intel()) {
        EQ(fault.f.cs & 3, 0);
    } else {
        EQ(fault.f.cs & 3, 3);
        EQ(fault.f.rip, 0x0000800000000000);
    }
}

USER_CODE static void u_sysret(u64 arg)
{
    __asm__ volatile(".byte 0x48, 0x0f, 0x07" : : "c"(arg) : "memory", "r11");
}

USER_CODE static void u_sysenter(u64 arg)
{
    __asm__ volatile("push %0\n\tpopfq\n\tsysenter" : : "r"(arg) : "memory");
}

static void t_sysenter(void)
{
    u64 stack = page_alloc() + 4096;
    wrmsr(MSR_SYSENTER_CS, SEL_CODE64);
    wrmsr(MSR_SYSENTER_ESP, stack);
    wrmsr(MSR_SYSENTER_EIP, (u64)sys_entry);
    user_call(u_sysenter, 0x202);
    if (!intel()) {
        FAULTS(6, 0); /* AMD: not in long mode */
        test_skip("SYSENTER is not there in long mode on AMD");
        return;
    }
    EQ(fault.f.rbx, stack);
    EQ(fault.f.rsi, SEL_CODE64);
    EQ(fault.f.rdx, SEL_DATA);
    EQ(fault.f.rax & IF, 0);
    wrmsr(MSR_SYSENTER_CS, 0);
    user_call(u_sysenter, 0x202);
    FAULTS(GP, 0);
    EQ(fault.f.cs & 3, 3);
    wrmsr(MSR_SYSENTER_CS, SEL_CODE64);
    __asm__ volatile("" : : : "memory");
    static const char exit64[] __attribute__((section(".text#"))) = { 0x48, 0x0f, 0x35 };
    __asm__ volatile("push %%rbx\n\tpush %%rbp\n\tpush %%r12\n\tmovl $-1, fault\n\tmovq $1f, fixup_rip\n\t"
                     "mov %%rsp, fixup_rsp\n\tjmp *%2\n1:\tmovq $0, fixup_rip\n\tmov %w3, %%ds\n\tmov %w3, %%es\n\t"
                     "pop %%r12\n\tpop %%rbp\n\tpop %%rbx"
                     : : "d"((u64)u_here), "c"((u64)USER_STACK_TOP), "r"(exit64), "S"(SEL_DATA) : "memory", "rax");
    EQ(fault.vec, VEC_USER_RETURN);
    EQ(fault.f.cs, UC);
    EQ(fault.f.ss, SEL_UDATA2 | 3);
}

static void t_privileged_at_cpl3(void);

static u64 ring3(const void *code)
{
    enter_frame((u64)code, UC, 0x202, (u64)USER_STACK_TOP, UD, 0);
    return (u64)fault.vec;
}

#define U(name, text)                                                                              \
    __asm__(".pushsection .user.text, \"ax\"\n" #name ": " text "\n int $0x81\n.popsection");      \
    extern const char name[]
U(u_hlt, "hlt");
U(u_cli, "cli");
U(u_in, "in $0x70, %al");
U(u_cr0, "mov %cr0, %rax");
U(u_cr8, "mov %cr8, %rax");
U(u_dr, "mov %dr7, %rax");
U(u_rdmsr, "rdmsr");
U(u_swapgs, "swapgs");
U(u_clts, "clts");
U(u_lgdt, "lgdt (%rsp)");
U(u_lldt, "xor %eax, %eax; lldt %ax");
U(u_invlpg, "invlpg (%rsp)");
U(u_wbinvd, "wbinvd");
U(u_iret0, "push $0x10; push %rsp; push $2; push $8; push $0x100000; iretq");
U(u_int80, "int $0x80");
U(u_int3, "int3");
U(u_icebp, ".byte 0xf1");
U(u_rdtsc, "rdtsc");
U(u_rdtscp, "rdtscp");
U(u_rdpmc, "xor %ecx, %ecx; rdpmc");
U(u_sgdt, "sgdt -32(%rsp)");
U(u_smsw, "smsw %eax");
U(u_str, "str %eax");
U(u_sldt, "sldt %eax");
U(u_stac, "stac");
U(u_xsetbv, "xor %ecx, %ecx; xor %edx, %edx; mov $1, %eax; xsetbv");
U(u_monitor, "monitor");
U(u_ss0, "mov $0x10, %eax; mov %eax, %ss");
U(u_align, "orl $0x40000, (%rsp); pushfq; orl $0x40000, (%rsp); popfq; mov 1(%rsp), %rax");
U(u_popf, "push $0x3202; popfq; pushfq; pop %rax");
U(u_nop, "nop");

static void t_privileged_at_cpl3(void)
{
    static const char *const gp[] = { u_hlt, u_cli, u_in, u_cr0, u_cr8, u_dr, u_rdmsr, u_swapgs, u_clts,
                                      u_lgdt, u_lldt, u_invlpg, u_wbinvd, u_ss0, u_sysret_text() };
    (void)gp;
}
