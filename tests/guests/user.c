/*
 * user.c: the ways between rings in long mode (SDM 2: SYSCALL, SYSRET, SYSENTER, SYSEXIT, IRET,
 * INT; SDM 3A, chapter 6): register effects, checks, stacks, privileges of CPL 3.
 */
#include "guest.h"

enum { TF = 0x100, IF = 0x200, NT = 0x4000, RF = 0x10000, AC_FLAG = 0x40000 };
enum {
    MSR_STAR = 0xc0000081,
    MSR_LSTAR,
    MSR_CSTAR,
    MSR_FMASK,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP,
    MSR_SYSENTER_EIP
};
#define UC (SEL_UCODE64 | 3)
#define USS (SEL_UDATA | 3)

static bool intel(void)
{
    return cpuid(0, 0).b == 0x756e6547;
}

/* Where SYSCALL lands: still on the user's stack; leaves by a fault whose registers tell all. */
__asm__(".globl sys_entry\nsys_entry: mov %rsp, %rbx\n mov %ss, %edx\n mov %cs, %esi\n pushfq\n "
        "pop %rax\n ud2\n"
        ".globl sys_back\nsys_back: .byte 0x48, 0x0f, 0x07\n" /* sysretq */
        ".globl sys_back32\nsys_back32: .byte 0x0f, 0x07\n"
        ".globl sys_exit\nsys_exit: .byte 0x48, 0x0f, 0x35\n"); /* sysexitq */
extern const char sys_entry[], sys_back[], sys_back32[], sys_exit[];

USER_CODE static void u_syscall(u64 flags)
{
    __asm__ volatile("push %0\n\tpopfq\n\tsyscall\n\tint $0x81"
                     :
                     : "r"(flags)
                     : "memory", "rcx", "r11");
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
    EQ(fault.vec, UD);
    EQ(fault.f.cs, SEL_CODE64);
    EQ(fault.f.rsi, SEL_CODE64);
    EQ(fault.f.rdx, SEL_DATA);
    CHECK(fault.f.rbx >= (u64)user_stack &&
          fault.f.rbx <= (u64)USER_STACK_TOP); /* no stack switch */
    EQ(fault.f.rax & 0x700, 0);
    EQ(fault.f.rax & NT, NT); /* not in FMASK */
    EQ(fault.f.r11 & (0x246 | NT | AC_FLAG), 0x246 | NT | AC_FLAG);
    CHECK(fault.f.rcx > (u64)u_syscall && fault.f.rcx < (u64)u_syscall + 32);
    u64 efer = rdmsr(0xc0000080);
    wrmsr(0xc0000080, efer & ~1ull);
    user_call(u_syscall, 0x202);
    FAULTS(UD, 0);
    EQ(fault.f.cs, UC);
    wrmsr(0xc0000080, efer);
}

/* Lands in user mode by SYSRET from C; RCX and R11 are loaded from the arguments. */
__asm__(".globl sysret_to\nsysret_to:\n push %rbx; push %rbp; push %r12; push %r13; push %r14; "
        "push %r15\n"
        " movl $-1, fault\n movq $1f, fixup_rip\n movq %rsp, fixup_rsp\n"
        " mov %rcx, %r8\n mov %rdi, %rcx\n mov %rsi, %r11\n mov %rdx, %rsp\n jmp *%r8\n"
        "1: movq $0, fixup_rip\n movl $0x10, %eax\n movl %eax, %ds\n movl %eax, %es\n"
        " pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n ret\n");
void sysret_to(u64 rip, u64 rflags, void *rsp, const char *how);

USER_CODE static void u_here(void)
{
    __asm__ volatile("mov %%cs, %%ebx\n\tmov %%ss, %%edx\n\tpushfq\n\tpop %%rax\n\tint $0x81"
                     :
                     :
                     : "memory", "rax", "rbx", "rdx");
}

static void t_sysret(void)
{
    syscall_setup();
    sysret_to((u64)u_here, 0x202 | RF | NT | 0x20000, USER_STACK_TOP, sys_back);
    EQ(fault.vec, VEC_USER_RETURN);
    EQ(fault.f.rbx, UC);
    EQ(fault.f.rdx, USS);
    EQ(fault.f.ss, USS);
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
        FAULTS(UD, 0); /* AMD: not in long mode, at any privilege */
        __asm__ volatile(TRY ".byte 0x48, 0x0f, 0x35" END : : : "memory");
        FAULTS(UD, 0);
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
    __asm__ volatile(
        "push %%rbx\n\tpush %%rbp\n\tpush %%r12\n\tmovl $-1, fault\n\tmovq $1f, fixup_rip\n\t"
        "mov %%rsp, fixup_rsp\n\tjmp *%2\n1:\tmovq $0, fixup_rip\n\tmov %w3, %%ds\n\tmov %w3, "
        "%%es\n\t"
        "pop %%r12\n\tpop %%rbp\n\tpop %%rbx"
        :
        : "d"((u64)u_here), "c"((u64)USER_STACK_TOP), "r"(sys_exit), "S"(SEL_DATA)
        : "memory", "rax");
    EQ(fault.vec, VEC_USER_RETURN);
    EQ(fault.f.cs, UC);
    EQ(fault.f.ss, SEL_UDATA2 | 3);
}

/* Small pieces of user code: NAME(text), then back. */
#define U(name, text)                                                                              \
    __asm__(".pushsection .user.text, \"ax\"\n" #name ": " text "\n int $0x81\n.popsection");      \
    extern const char name[];
U(u_hlt, "hlt")
U(u_cli, "cli")
U(u_sti, "sti")
U(u_in, "in $0x70, %al")
U(u_out80, "out %al, $0x80")
U(u_out81, "out %al, $0x81")
U(u_out80w, "out %ax, $0x80")
U(u_cr0, "mov %cr0, %rax")
U(u_cr8, "mov %cr8, %rax")
U(u_dr, "mov %dr7, %rax")
U(u_rdmsr, "rdmsr")
U(u_swapgs, "swapgs")
U(u_clts, "clts")
U(u_lgdt, "lgdt (%rsp)")
U(u_lldt, "xor %eax, %eax; lldt %ax")
U(u_invlpg, "invlpg (%rsp)")
U(u_wbinvd, "wbinvd")
U(u_sysretq, ".byte 0x48, 0x0f, 0x07")
U(u_sysexit, ".byte 0x48, 0x0f, 0x35")
U(u_int80, "int $0x80")
U(u_int3, "int3")
U(u_icebp, ".byte 0xf1")
U(u_ss0, "mov $0x10, %eax; mov %eax, %ss")
U(u_ds0, "mov $0x10, %eax; mov %eax, %ds")
U(u_code_ds, "mov $0x2b, %eax; mov %eax, %ds; xor %eax, %eax; mov %eax, %ds")
U(u_popf, "push $0x3202; popfq; pushfq; pop %rax")
U(u_popf_if, "push $2; popfq; pushfq; pop %rax")
U(u_align, "pushfq; orl $0x40000, (%rsp); popfq; mov 1(%rsp), %rax")
U(u_nop, "nop")
U(u_get_ds, "mov %ds, %eax; mov %es, %ebx")
U(u_step, "pushfq; orl $0x100, (%rsp); popfq; nop; nop")

static int ring3(const void *code, u64 rflags)
{
    enter_frame((u64)code, UC, rflags, (u64)USER_STACK_TOP, USS, 0);
    return fault.vec;
}

static void t_privileged_at_cpl3(void)
{
    static const char *const gp[] = { u_hlt,    u_cli,    u_sti,     u_in,     u_cr0,  u_cr8,
                                      u_dr,     u_rdmsr,  u_swapgs,  u_clts,   u_lgdt, u_lldt,
                                      u_invlpg, u_wbinvd, u_sysretq, u_sysexit };
    for (unsigned i = 0; i < sizeof gp / sizeof gp[0]; i++) {
        ring3(gp[i], 0x202);
        /* AMD has two reasons to refuse SYSEXIT here and does not say which comes first. */
        if (gp[i] == u_sysexit && !intel() && fault.vec == UD)
            continue;
        if (fault.vec != GP)
            printf("# privileged instruction %u\n", i);
        FAULTS(GP, 0);
    }
    EQ(ring3(u_ss0, 0x202), GP);
    EQ(fault.f.err, SEL_DATA);
    EQ(ring3(u_ds0, 0x202), GP);
    EQ(fault.f.err, SEL_DATA);
    EQ(ring3(u_code_ds, 0x202), VEC_USER_RETURN); /* readable code */
    EQ(ring3(u_popf, 0x202), VEC_USER_RETURN);
    EQ(fault.f.rax & 0x3000, 0);
    EQ(ring3(u_popf_if, 0x202), VEC_USER_RETURN);
    EQ(fault.f.rax & IF, IF); /* IOPL 0: POPF leaves IF */
    EQ(ring3(u_popf_if, 0x3202), VEC_USER_RETURN);
    EQ(fault.f.rax & IF, 0);
    EQ(ring3(u_cli, 0x3202), VEC_USER_RETURN);
    EQ(fault.f.rflags & IF, 0);
    EQ(ring3(u_in, 0x3202), VEC_USER_RETURN);
}

static void t_io_bitmap(void)
{
    EQ(ring3(u_out80, 0x202), GP);
    tss.io[0x80 / 8] &= (u8)~1;
    EQ(ring3(u_out80, 0x202), VEC_USER_RETURN);
    EQ(ring3(u_out81, 0x202), GP);
    EQ(ring3(u_out80w, 0x202), GP); /* port 81h is still refused */
    tss.io[0x80 / 8] &= (u8)~2;
    EQ(ring3(u_out80w, 0x202), VEC_USER_RETURN);
    u16 map = tss.iomap;
    tss.iomap = sizeof tss; /* outside the limit: all refused */
    EQ(ring3(u_out80, 0x202), GP);
    tss.iomap = map;
    tss.io[0x80 / 8] = 0xff;
}

static void t_gates(void)
{
    EQ(ring3(u_int80, 0x202), GP);
    EQ(fault.f.err, 0x80 * 8 + 2);
    EQ(fault.f.rip, (u64)u_int80);
    EQ(ring3(u_int3, 0x202), GP);
    EQ(fault.f.err, 3 * 8 + 2);
    EQ(ring3(u_icebp, 0x202), DB); /* the gate's DPL does not count */
    EQ(fault.f.rip, (u64)u_icebp + 1);
    idt[BP].type = 0xee;
    EQ(ring3(u_int3, 0x202), BP);
    EQ(fault.f.rip, (u64)u_int3 + 1);
    EQ(fault.f.cs, UC);
    EQ(fault.f.ss, USS);
    idt[BP].type = 0x8e;
    u8 old = idt[0x80].type;
    idt[0x80].type = 0x6e; /* not present */
    EQ(ring3(u_int80, 0x202), NP);
    EQ(fault.f.err, 0x80 * 8 + 2);
    idt[0x80].type = 0xe5; /* a task gate: none in long mode */
    EQ(ring3(u_int80, 0x202), GP);
    EQ(fault.f.err, 0x80 * 8 + 2);
    idt[0x80].type = 0xee;
    u16 sel = idt[0x80].sel;
    idt[0x80].sel = 0;
    EQ(ring3(u_int80, 0x202), GP);
    EQ(fault.f.err, 0);
    idt[0x80].sel = SEL_DATA;
    EQ(ring3(u_int80, 0x202), GP);
    EQ(fault.f.err, SEL_DATA);
    idt[0x80].sel = SEL_CODE32;
    EQ(ring3(u_int80, 0x202), GP);
    EQ(fault.f.err, SEL_CODE32);
    idt[0x80].sel = sel;
    idt[0x80].type = old;
}

static u64 seen[4];

static void nested(struct frame *f)
{
    u64 v;
    __asm__ volatile("pushfq\n\tpop %0" : "=r"(v));
    seen[0] = f->rsp;
    seen[1] = (u64)f;
    seen[2] = v;
    seen[3] = f->err;
}

static void t_interrupt_frames(void)
{
    /* Same ring, no IST: the frame is 16-byte aligned below the interrupted stack. */
    hook[0x50] = nested;
    __asm__ volatile(
        "sti\n\tmov %%rsp, %%r12\n\tlea -3(%%rsp), %%rsp\n\tint $0x50\n\tmov %%r12, %%rsp\n\tcli"
        :
        :
        : "memory", "r12");
    EQ((seen[1] + sizeof(struct frame)) & 15, 0);
    CHECK(seen[0] - (seen[1] + sizeof(struct frame)) < 16);
    EQ(seen[2] & IF, 0);
    idt[0x50].type = 0x8f; /* a trap gate keeps IF */
    __asm__ volatile("sti\n\tint $0x50\n\tcli" : : : "memory");
    EQ(seen[2] & IF, IF);
    idt[0x50].type = 0x8e;
    idt[0x50].ist = 3;
    __asm__ volatile("int $0x50" : : : "memory");
    EQ(seen[1] + sizeof(struct frame), tss.ist[2]);
    idt[0x50].ist = 0;
    hook[0x50] = 0;
    /* From ring 3 the stack is RSP0, and SS becomes a null selector. */
    ring3(u_nop, 0x202);
    EQ(fault.vec, VEC_USER_RETURN);
    EQ(fault.f.rsp, (u64)USER_STACK_TOP);
}

static int try_iret(u64 rip, u64 cs, u64 flags, u64 rsp, u64 ss)
{
    __asm__ volatile(TRY "push %4\n\tpush %3\n\tpush %2\n\tpush %1\n\tpush %0\n\tiretq" END
                     :
                     : "r"(rip), "r"(cs), "r"(flags), "r"(rsp), "r"(ss)
                     : "memory", "cc");
    return fault.vec;
}

static void t_iret_checks(void)
{
    u64 rip = (u64)u_nop, sp = (u64)USER_STACK_TOP;
    EQ(try_iret(rip, UC, 0x202, sp, USS), VEC_USER_RETURN);
    EQ(try_iret(rip, 0, 0x202, sp, USS), GP);
    EQ(fault.f.err, 0);
    EQ(try_iret(rip, 3, 0x202, sp, USS), GP);
    EQ(fault.f.err, 0);
    EQ(try_iret(rip, SEL_UDATA | 3, 0x202, sp, USS), GP);
    EQ(fault.f.err, SEL_UDATA);
    EQ(try_iret(rip, SEL_UCODE64, 0x202, sp, USS), GP); /* DPL 3, RPL 0 */
    EQ(fault.f.err, SEL_UCODE64);
    EQ(try_iret(rip, UC, 0x202, sp, SEL_UDATA), GP); /* SS with RPL 0 for CPL 3 */
    EQ(fault.f.err, SEL_UDATA);
    EQ(try_iret(rip, UC, 0x202, sp, 0), GP); /* null SS is only for rings below 3 */
    EQ(try_iret(rip, UC, 0x202, sp, UC), GP);
    EQ(fault.f.err, SEL_UCODE64);
    EQ(try_iret(0x0000800000000000, UC, 0x202, sp, USS), GP);
    EQ(try_iret(rip, 0x200 | 3, 0x202, sp, USS), GP); /* beyond the GDT */
    EQ(fault.f.err, 0x200);
    __asm__ volatile(TRY "pushfq\n\torl %0, (%%rsp)\n\tpopfq\n\tiretq" END
                     :
                     : "i"(NT)
                     : "memory", "cc");
    FAULTS(GP, 0); /* NT in long mode */
    gdt[SEL_TEST / 8] = gdt[SEL_UCODE64 / 8] & ~(1ull << 47);
    EQ(try_iret(rip, SEL_TEST | 3, 0x202, sp, USS), NP);
    EQ(fault.f.err, SEL_TEST);
    gdt[SEL_TEST / 8] = gdt[SEL_UDATA / 8] & ~(1ull << 47);
    EQ(try_iret(rip, UC, 0x202, sp, SEL_TEST | 3), SS);
    EQ(fault.f.err, SEL_TEST);
    gdt[SEL_TEST / 8] = gdt[SEL_UCODE64 / 8] | 1ull << 54; /* L and D */
    EQ(try_iret(rip, SEL_TEST | 3, 0x202, sp, USS), GP);
    /* To the same ring: RSP and SS are popped too, a null SS is fine. */
    u64 rsp, ss = 1;
    __asm__ volatile(
        "mov %%rsp, %%r12\n\tpush $0\n\tpush %2\n\tpushfq\n\tpush $8\n\tpush $1f\n\tiretq\n1:\n\t"
        "mov %%rsp, %0\n\tmov %%ss, %k1\n\tmov %%r12, %%rsp\n\tmov %w3, %%ss"
        : "=&r"(rsp), "+&r"(ss)
        : "r"((u64)tss.ist[3]), "r"(SEL_DATA)
        : "memory", "r12");
    EQ(rsp, tss.ist[3]);
    EQ(ss, 0);
}

static void t_data_segments_on_return(void)
{
    /* IRET to an outer ring nulls data segments that it may not have. */
    u64 ds;
    __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(SEL_DATA));
    __asm__ volatile("mov %w0, %%es" : : "r"(SEL_UDATA | 3));
    ring3(u_get_ds, 0x202);
    ds = fault.f.rax & 0xffff;
    EQ(ds, 0);
    EQ(fault.f.rbx & 0xffff, SEL_UDATA | 3);
}

static void t_double_fault(void)
{
    /* A fault while a fault is delivered on a bad stack, taken on an IST stack. */
    idt[DF].ist = 2;
    u64 save;
    __asm__ volatile(TRY "mov %%rsp, %0\n\tmov %1, %%rsp\n\tud2" END
                     : "=&r"(save)
                     : "r"(TEST_VA + (40ull << 30))
                     : "memory");
    /* #UD is benign: its delivery's #PF is delivered, and faults again: #DF */
    FAULTS(DF, 0);
    EQ(fault.f.rsp, TEST_VA + (40ull << 30));
    idt[GP].sel = 0; /* #GP whose gate gives #GP */
    __asm__ volatile(TRY "mov (%0), %%rax" END : : "r"(1ull << 63) : "memory", "rax");
    FAULTS(DF, 0);
    idt[GP].sel = SEL_CODE64;
    idt[PF].type = 0x0e; /* #PF whose gate gives #NP */
    __asm__ volatile(TRY "mov (%0), %%rax" END : : "r"(TEST_VA + (40ull << 30)) : "memory", "rax");
    FAULTS(DF, 0);
    idt[PF].type = 0x8e;
    idt[UD].type = 0x0e; /* #UD whose gate gives #NP: no double fault, EXT is set */
    __asm__ volatile(TRY "ud2" END : : : "memory");
    FAULTS(NP, UD * 8 + 3);
    idt[UD].type = 0x8e;
    /* #GP while its handler's stack page is missing: contributory, then a page fault: #PF. */
    idt[PF].ist = 4;
    u64 ist = tss.ist[4];
    tss.ist[4] = TEST_VA + (41ull << 30);
    idt[GP].ist = 5;
    __asm__ volatile(TRY "mov (%0), %%rax" END : : "r"(1ull << 63) : "memory", "rax");
    FAULTS(PF, PF_W);
    EQ(fault.cr2, TEST_VA + (41ull << 30) - 8);
    tss.ist[4] = ist;
    idt[PF].ist = idt[GP].ist = idt[DF].ist = 0;
}

static void t_alignment_check(void)
{
    u64 cr0 = read_cr0();
    EQ(ring3(u_align, 0x202), VEC_USER_RETURN);
    write_cr0(cr0 | AC_FLAG); /* CR0.AM has the same place */
    EQ(ring3(u_align, 0x202), AC);
    EQ(fault.f.err, 0);
    u64 v, cell[2] = { 0 };
    __asm__ volatile(TRY "pushfq\n\torl $0x40000, (%%rsp)\n\tpopfq\n\tmov 1(%1), %0" END
                         "pushfq\n\tandl $~0x40000, (%%rsp)\n\tpopfq"
                     : "=r"(v)
                     : "r"(cell)
                     : "memory", "cc");
    EQ(fault.vec, NONE); /* not in ring 0 */
    write_cr0(cr0);
}

static void t_single_step(void)
{
    /* POPF sets TF: the trap comes behind the instruction after it. */
    ring3(u_step, 0x202);
    EQ(fault.vec, DB);
    EQ(fault.f.rip, (u64)u_step + 10);
    u64 dr6;
    __asm__ volatile("mov %%dr6, %0\n\tmov %1, %%dr6" : "=&r"(dr6) : "r"(0xffff0ff0ull));
    EQ(dr6 & 0x400f, 0x4000);
    CHECK(!(fault.f.rflags & RF));
    __asm__ volatile(TRY "pushfq\n\torl $0x100, (%%rsp)\n\tpopfq\n98:\tnop\n\tnop" END
                     :
                     :
                     : "memory", "cc");
    EQ(fault.vec, DB);
    EQ(fault.f.rflags & TF, TF);
    /* INT clears TF for the handler; SYSCALL keeps the trap away by FMASK. */
    __asm__ volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ull));
    /* REP: a trap after each iteration. */
    u8 b[4] = { 0 };
    u64 di = (u64)b, cx = 3;
    __asm__ volatile(TRY "pushfq\n\torl $0x100, (%%rsp)\n\tpopfq\n\trep stosb" END
                     : "+D"(di), "+c"(cx)
                     : "a"(1)
                     : "memory", "cc");
    EQ(fault.vec, DB);
    EQ(cx, 2);
    EQ(b[1], 0);
    /* MOV SS holds the trap back by one instruction. */
    u64 at = 0;
    __asm__ volatile(TRY "lea 97f(%%rip), %0\n\tpushfq\n\torl $0x100, (%%rsp)\n\tpopfq\n\tmov %w1, "
                         "%%ss\n\tnop\n97:\tnop" END
                     : "=&r"(at)
                     : "r"(SEL_DATA)
                     : "memory", "cc");
    EQ(fault.vec, DB);
    EQ(fault.f.rip, at);
}

static void dr7(u64 v)
{
    __asm__ volatile("mov %0, %%dr7\n\tmov %1, %%dr6" : : "r"(v), "r"(0xffff0ff0ull));
}

static void t_general_detect(void)
{
    u64 dr6;
    __asm__ volatile(TRY "mov %0, %%dr7\n\tmov %%dr0, %%rax" END
                     :
                     : "r"(0x2400ull)
                     : "memory", "rax");
    __asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
    EQ(fault.vec, DB);
    EQ(dr6 & 0x2000, 0x2000);
    dr7(0x400);
}

static void t_breakpoint_registers(void)
{
    static volatile u64 cell;
    static u64 other[2];
    __asm__ volatile("mov %0, %%dr0\n\tmov %1, %%dr6\n\tmov %2, %%dr7"
                     :
                     : "r"(&cell), "r"(0xffff0ff0ull), "r"(0x90402ull | 0x400));
    __asm__ volatile(TRY "mov %0, (%1)" END : : "r"(1ull), "r"(other) : "memory");
    EQ(fault.vec, NONE);
    __asm__ volatile(TRY "mov %0, (%1)\n96:" END : : "r"(1ull), "r"(&cell) : "memory");
    u64 dr6;
    __asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
    EQ(fault.vec, DB); /* a data breakpoint: a trap behind the store */
    EQ(cell, 1);
    EQ(dr6 & 0xf, 1);
    /* An instruction breakpoint: a fault whose image has RF clear; the handler sets it to go on
       (SDM volume 3B, 17.3.1.1). */
    dr7(0x400);
    __asm__ volatile("lea 95f(%%rip), %%rax\n\tmov %%rax, %%dr0\n\tmov %0, %%dr7\n\t" TRY
                     "nop\n95:\tnop" END
                     :
                     : "r"(0x402ull)
                     : "memory", "rax");
    EQ(fault.vec, DB);
    EQ(fault.f.rflags & RF, 0);
    __asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
    EQ(dr6 & 0xf, 1);
    dr7(0x400);
    /* With DR7 clear the same instruction runs. */
    __asm__ volatile(TRY "nop" END : : : "memory");
    EQ(fault.vec, NONE);
}

const struct test tests[] = {
    { "syscall", t_syscall },
    { "sysret", t_sysret },
    { "sysenter", t_sysenter },
    { "privileged-at-cpl3", t_privileged_at_cpl3 },
    { "io-bitmap", t_io_bitmap },
    { "gates", t_gates },
    { "interrupt-frames", t_interrupt_frames },
    { "iret-checks", t_iret_checks },
    { "data-segments-on-return", t_data_segments_on_return },
    { "double-fault", t_double_fault },
    { "alignment-check", t_alignment_check },
    { "single-step", t_single_step },
    { "general-detect", t_general_detect },
    { "breakpoint-registers", t_breakpoint_registers },
    { 0 },
};
