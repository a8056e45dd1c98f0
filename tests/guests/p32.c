/*
 * p32.c: a 32-bit guest without long mode: exceptions and rings, 32-bit and PAE paging, hardware
 * tasks, virtual-8086 and real mode, call gates (SDM 3A, chapters 3-7; SDM 3B, chapter 20).
 */
#include "p32.h"

#include "trap32.h"

enum { VM = 1 << 17, IOPL3 = 0x3000, IF = 0x200, NT = 0x4000, TF = 0x100 };
enum { PG_P = 1, PG_W = 2, PG_U = 4, PG_A = 0x20, PG_D = 0x40, PG_PS = 0x80 };
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };
#define TO_U32(label) ((u32)(label))

extern const char real_begin[], real_end[], vm_int[], vm_cli[], vm_pushf[], vm_hlt[], vm_in[],
    vm_limit[], vm_segs[], vm_soft[], vm_popf[], vm_cr0[], vm_handler[];
extern const char task_jumped[], task_called[], task_df[], task_int[], call_gate_target[],
    call_gate_user[];
extern volatile u32 task_seen[16], main_eip, main_esp;
void real_trip(void);

static u8 user_stack[4096] __attribute__((aligned(16)));

static u32 read_cr(int n)
{
    u32 v;
    if (n == 0)
        __asm__ volatile("mov %%cr0, %0" : "=r"(v));
    else if (n == 3)
        __asm__ volatile("mov %%cr3, %0" : "=r"(v));
    else
        __asm__ volatile("mov %%cr4, %0" : "=r"(v));
    return v;
}

static int try_write_cr(int n, u32 v)
{
    if (n == 0)
        __asm__ volatile(TRY "mov %0, %%cr0" END : : "r"(v) : "memory");
    else if (n == 3)
        __asm__ volatile(TRY "mov %0, %%cr3" END : : "r"(v) : "memory");
    else
        __asm__ volatile(TRY "mov %0, %%cr4" END : : "r"(v) : "memory");
    return fault.vec;
}

static int ring3(const char *code, u32 eflags)
{
    u32 frame[5] = { TO_U32(code), UCODE, eflags, TO_U32(user_stack + sizeof user_stack), UDATA };
    enter32(frame, 5);
    return fault.vec;
}

__asm__("u_regs: mov %cs, %eax; mov %ss, %ebx; mov %ds, %ecx; int $0x81\n"
        "u_cli: cli; int $0x81\n u_in: in $0x70, %al; int $0x81\n u_read: mov $0x23, %eax; mov "
        "%eax, %ds; mov 0x40000008, %eax; int $0x81\n"
        "u_int80: int $0x80\n");
extern const char u_regs[], u_cli[], u_in[], u_read[], u_int80[];

static void t_faults(void)
{
    u32 a = 1, d = 0;
    __asm__ volatile(TRY "divl %2" END : "+a"(a), "+d"(d) : "r"(0) : "memory", "cc");
    EQ(fault.vec, DE);
    __asm__ volatile(TRY "ud2" END : : : "memory");
    EQ(fault.vec, UD);
    __asm__ volatile(TRY "mov %w0, %%fs" END : : "r"(0x1f8 + 0x10) : "memory");
    FAULTS(GP, 0x208);
    __asm__ volatile(TRY "int3" END : : : "memory");
    EQ(fault.vec, BP);
    __asm__ volatile(TRY "xor %%eax, %%eax; mov %%ax, %%fs; mov %%fs:(%%eax), %%eax" END
                     :
                     :
                     : "memory", "eax");
    FAULTS(GP, 0);
    EQ(ring3(u_regs, 0x202), VEC_USER_RETURN);
    EQ(fault.f.eax, UCODE);
    EQ(fault.f.ebx, UDATA);
    EQ(fault.f.ecx & 0xffff, 0); /* DS of ring 0 is nulled on the way out */
    EQ(fault.f.esp, TO_U32(user_stack + sizeof user_stack));
    EQ(fault.f.ss, UDATA);
    EQ(ring3(u_cli, 0x202), GP);
    EQ(ring3(u_cli, 0x202 | IOPL3), VEC_USER_RETURN);
    EQ(ring3(u_in, 0x202), GP);
    tss.io[0x70 / 8] &= (u8)~1;
    EQ(ring3(u_in, 0x202), VEC_USER_RETURN);
    tss.io[0x70 / 8] = 0xff;
    EQ(ring3(u_int80, 0x202), GP);
    EQ(fault.f.err, 0x80 * 8 + 2);
}

/* ---- paging ---------------------------------------------------------------------------------- */

static u32 dir[1024] __attribute__((aligned(4096))), table[1024] __attribute__((aligned(4096)));
static u64 pdpt[4] __attribute__((aligned(4096))), pae_dir[4][512] __attribute__((aligned(4096))),
    pae_table[512] __attribute__((aligned(4096)));
static u8 page[4096] __attribute__((aligned(4096)));
#define WINDOW 0x40000000u /* where TABLE is mapped */

static int try_read(u32 va)
{
    u32 v;
    __asm__ volatile(TRY "mov (%1), %0" END : "=r"(v) : "r"(va) : "memory");
    return fault.vec;
}

static int try_write(u32 va)
{
    __asm__ volatile(TRY "movl $1, (%0)" END : : "r"(va) : "memory");
    return fault.vec;
}

static void flush(void)
{
    try_write_cr(3, read_cr(3));
}

static void t_paging32(void)
{
    for (u32 i = 0; i < 1024; i++)
        dir[i] = i << 22 | PG_PS | PG_P | PG_W | PG_U;
    dir[WINDOW >> 22] = TO_U32(table) | PG_P | PG_W | PG_U;
    u32 cr0 = read_cr(0), cr4 = read_cr(4);
    try_write_cr(4, cr4 | 0x10); /* PSE */
    try_write_cr(3, TO_U32(dir));
    EQ(try_write_cr(0, cr0 | 0x80010000), NONE);
    volatile u32 *e = table;
    *(u32 *)page = 0x5555;
    EQ(try_read(WINDOW), PF);
    EQ(fault.f.err, 0);
    EQ(fault.cr2, WINDOW);
    e[0] = TO_U32(page) | PG_P;
    EQ(try_read(WINDOW), NONE);
    EQ(e[0] & (PG_A | PG_D), PG_A);
    EQ(try_write(WINDOW + 4), PF);
    EQ(fault.f.err, PF_P | PF_W);
    ring3(u_read, 0x202);
    EQ(fault.vec, PF);
    EQ(fault.f.err, PF_P | PF_U);
    EQ(fault.cr2, WINDOW + 8);
    e[0] = TO_U32(page) | PG_P | PG_W;
    flush();
    EQ(try_write(WINDOW + 4), NONE);
    EQ(e[0] & PG_D, PG_D);
    e[1] = TO_U32(page) | PG_P | PG_W | PG_U;
    EQ(*(volatile u32 *)(WINDOW + 4096), 0x5555);
    /* A 4 MiB entry with reserved bits. */
    volatile u32 *d = dir;
    d[(WINDOW >> 22) + 1] = 0x200000 | PG_PS | PG_P; /* bit 21 */
    flush();
    EQ(try_read(WINDOW + 0x400000), PF);
    EQ(fault.f.err, PF_P | PF_RSVD);
    try_write_cr(0, cr0);
    try_write_cr(4, cr4);
}

static void t_paging_pae(void)
{
    u32 cr0 = read_cr(0), cr4 = read_cr(4);
    for (u32 i = 0; i < 4; i++) {
        pdpt[i] = TO_U32(pae_dir[i]) | PG_P;
        for (u32 j = 0; j < 512; j++)
            pae_dir[i][j] = (u64)(i << 30 | j << 21) | PG_PS | PG_P | PG_W | PG_U;
    }
    pae_dir[1][0] = TO_U32(pae_table) | PG_P | PG_W | PG_U;
    try_write_cr(4, cr4 | 0x20);
    EQ(try_write_cr(3, TO_U32(pdpt)), NONE);
    EQ(try_write_cr(0, cr0 | 0x80010000), NONE);
    volatile u64 *e = pae_table;
    *(u32 *)page = 0x6666;
    EQ(try_read(WINDOW), PF);
    EQ(fault.f.err, 0);
    e[0] = TO_U32(page) | PG_P;
    EQ(try_read(WINDOW), NONE);
    EQ(try_write(WINDOW), PF);
    EQ(fault.f.err, PF_P | PF_W);
    e[0] = TO_U32(page) | PG_P | PG_W;
    flush();
    u32 a = 0x6666, d = 0;
    *(u32 *)(page + 4) = 0;
    __asm__ volatile(TRY "lock cmpxchg8b (%2)" END
                     : "+a"(a), "+d"(d)
                     : "S"(WINDOW), "b"(1), "c"(2)
                     : "memory", "cc");
    EQ(fault.vec, NONE);
    EQ(*(volatile u64 *)page, 0x200000001);
    /* The PDPTEs are read when CR3 is loaded; reserved bits in them are #GP there. */
    volatile u64 *p = pdpt;
    u64 old = p[3];
    p[3] = old | PG_W;
    EQ(try_write_cr(3, TO_U32(pdpt)), GP);
    p[3] = old;
    EQ(try_write_cr(3, TO_U32(pdpt)), NONE);
    p[1] = 0; /* not seen until CR3 is loaded */
    __asm__ volatile("invlpg (%0)" : : "r"(WINDOW) : "memory");
    EQ(try_read(WINDOW), NONE);
    flush();
    EQ(try_read(WINDOW), PF);
    EQ(fault.f.err, 0);
    p[1] = TO_U32(pae_dir[1]) | PG_P;
    flush();
    /* NX. */
    u64 efer = rdmsr(0xc0000080);
    wrmsr(0xc0000080, efer | 1 << 11);
    page[64] = 0xc3;
    e[0] = TO_U32(page) | PG_P | PG_W | 1ull << 63;
    flush();
    __asm__ volatile(TRY "call *%0" END : : "r"(WINDOW + 64) : "memory");
    EQ(fault.vec, PF);
    EQ(fault.f.err, PF_P | PF_I);
    e[0] = TO_U32(page) | PG_P;
    flush();
    __asm__ volatile(TRY "call *%0" END : : "r"(WINDOW + 64) : "memory");
    EQ(fault.vec, NONE);
    wrmsr(0xc0000080, efer);
    if (cpuid(1, 0).c & 1 << 17)
        EQ(try_write_cr(4, cr4 | 0x20 | 1 << 17), GP); /* PCIDE only in long mode */
    try_write_cr(0, cr0);
    try_write_cr(4, cr4);
}

/* ---- tasks -------------------------------------------------------------------------------------
 */

static struct tss32 other, df_tss;
static u8 task_stack[3][4096] __attribute__((aligned(16)));
enum { TSS_OTHER = 0x58, TSS_DF = 0x60, TSS_INT = 0x68 };

static void task_init(struct tss32 *t, u32 sel, const char *at, int stack)
{
    memset(t, 0, sizeof *t);
    t->eip = TO_U32(at);
    t->eflags = 2;
    t->esp = TO_U32(task_stack[stack] + 4096);
    t->cs = CODE;
    t->ss = t->ds = t->es = DATA;
    t->cr3 = read_cr(3);
    t->ebx = 0xbbbb;
    t->iomap = sizeof *t;
    gdt[sel / 8] = descriptor(TO_U32(t), 103, 0x89);
}

static void t_task_jump(void)
{
    task_init(&other, TSS_OTHER, task_jumped, 0);
    u32 esi = 0x1357;
    __asm__ volatile(TRY "ljmp %1, $0" END : "+S"(esi) : "i"(TSS_OTHER) : "memory", "cc");
    EQ(fault.vec, NONE);
    EQ(esi, 0x1357);
    EQ(task_seen[0], 0xbbbb);
    EQ(task_seen[1] & 0xffff, TSS_OTHER);
    EQ(task_seen[2] & 8, 8); /* TS is set by a task switch */
    EQ(task_seen[3] & NT, 0);
    EQ(gdt[TSS_OTHER / 8] >> 41 & 1, 0); /* not busy any more */
    EQ(gdt[TSS_MAIN / 8] >> 41 & 1, 1);
    __asm__ volatile("clts");
    __asm__ volatile(TRY "ljmp %0, $0" END : : "i"(TSS_MAIN) : "memory");
    FAULTS(GP, TSS_MAIN); /* busy */
    gdt[TSS_OTHER / 8] &= ~(1ull << 47);
    __asm__ volatile(TRY "ljmp %0, $0" END : : "i"(TSS_OTHER) : "memory");
    FAULTS(NP, TSS_OTHER);
    gdt[TSS_OTHER / 8] = descriptor(TO_U32(&other), 102, 0x89);
    __asm__ volatile(TRY "ljmp %0, $0" END : : "i"(TSS_OTHER) : "memory");
    FAULTS(TS, TSS_OTHER); /* its limit is below 67h */
}

static void t_task_call(void)
{
    task_init(&other, TSS_OTHER, task_called, 0);
    task_seen[4] = 0;
    __asm__ volatile(TRY "lcall %0, $0" END : : "i"(TSS_OTHER) : "memory", "cc");
    EQ(fault.vec, NONE);
    EQ(task_seen[3] & NT, NT);
    EQ(task_seen[1] & 0xffff, TSS_OTHER);
    EQ(other.link & 0xffff, TSS_MAIN);
    EQ(task_seen[4], 0);
    __asm__ volatile(TRY "lcall %0, $0" END : : "i"(TSS_OTHER) : "memory", "cc");
    EQ(task_seen[4], 1); /* it went on where its IRET was */
    u32 flags;
    __asm__ volatile("pushfl\n\tpopl %0" : "=r"(flags));
    EQ(flags & NT, 0);
    __asm__ volatile("clts");
}

static void t_task_gates(void)
{
    task_init(&other, TSS_INT, task_int, 1);
    idt[0x83] = gate32(TSS_INT, 0, 0xe5);
    task_seen[5] = 0;
    __asm__ volatile(TRY "int $0x83" END : : : "memory");
    EQ(fault.vec, NONE);
    EQ(task_seen[5], 1);
    EQ(ring3(u_regs, 0x202), VEC_USER_RETURN);
    /* #DF through a task gate: the main task's stack is unusable. */
    task_init(&df_tss, TSS_DF, task_df, 2);
    u64 old = idt[DF];
    idt[DF] = gate32(TSS_DF, 0, 0x85);
    task_seen[8] = 0;
    gdt[0x70 / 8] = descriptor(0, 0xfff, 0x493); /* a stack segment of one page */
    __asm__ volatile("movl $1f, main_eip\n\tmovl %%esp, main_esp\n\tmov %w0, %%ss\n\tmovl $0x8000, "
                     "%%esp\n\tpushl $1\n1:"
                     :
                     : "r"(0x70)
                     : "memory", "cc");
    EQ(task_seen[8], 1);
    EQ(task_seen[7], 0); /* the error code of a double fault */
    idt[DF] = old;
    __asm__ volatile("clts");
}

/* ---- virtual-8086 mode
 * --------------------------------------------------------------------------- */

static int vm86(const char *code, u32 eflags)
{
    u32 frame[9] = { TO_U32(code) - TO_U32(vm_segs),
                     VM_SEG,
                     eflags | VM | 2,
                     0xfffe,
                     VM_SEG,
                     0x2222,
                     VM_SEG + 0x100,
                     0x3333,
                     0x4444 };
    memcpy((void *)VM_BASE, vm_segs, 256);
    enter32(frame, 9);
    return fault.vec;
}

static void t_vm86(void)
{
    *(volatile u16 *)(VM_BASE + 0x1000) = 0x9876;
    EQ(vm86(vm_segs, IF | IOPL3), VEC_USER_RETURN);
    EQ(fault.f.eflags & (VM | IOPL3 | IF), VM | IOPL3 | IF);
    EQ(fault.f.cs, VM_SEG);
    EQ(fault.f.ss, VM_SEG);
    EQ(fault.f.esp, 0xfffe);
    EQ(fault.f.eax & 0xffff, VM_SEG);
    EQ(fault.f.ebx & 0xffff, VM_SEG + 0x100);
    EQ(fault.f.ecx & 0xffff, 0x9876);
    EQ(fault.f.v_es, 0x1234);
    EQ(fault.f.v_ds, VM_SEG + 0x100);
    EQ(fault.f.v_fs, 0x3333);
    EQ(fault.f.v_gs, 0x4444);
    EQ(fault.f.ds & 0xffff, 0); /* the handler gets null data segments */
    static const char *const gp[] = { vm_int, vm_cli, vm_pushf, vm_popf };
    for (unsigned i = 0; i < 4; i++) {
        EQ(vm86(gp[i], IF), GP); /* IOPL 0 */
        EQ(fault.f.err, 0);
        EQ(fault.f.eip, TO_U32(gp[i]) - TO_U32(vm_segs) + (gp[i] == vm_popf ? 3 : 0));
    }
    EQ(vm86(vm_hlt, IF | IOPL3), GP);
    EQ(vm86(vm_cr0, IF | IOPL3), GP);
    EQ(vm86(vm_cli, IF | IOPL3), VEC_USER_RETURN);
    EQ(fault.f.eflags & IF, 0);
    EQ(vm86(vm_pushf, IF | IOPL3), VEC_USER_RETURN);
    EQ(fault.f.eax & 0xffff, 0x3202);
    EQ(vm86(vm_popf, IF | IOPL3), VEC_USER_RETURN);
    EQ(fault.f.eax & 0x7200, 0x7200);
    EQ(fault.f.eax & VM, 0);         /* PUSHFD shows VM as 0 */
    EQ(vm86(vm_in, IF | IOPL3), GP); /* the I/O map decides, not IOPL */
    tss.io[0x70 / 8] &= (u8)~1;
    EQ(vm86(vm_in, IF), GP); /* this one is the INT 81h behind it */
    EQ(fault.f.eip, TO_U32(vm_in) - TO_U32(vm_segs) + 2);
    EQ(vm86(vm_in, IF | IOPL3), VEC_USER_RETURN);
    tss.io[0x70 / 8] = 0xff;
    EQ(vm86(vm_limit, IF | IOPL3), GP);
    EQ(fault.f.err, 0);
}

static void t_vm86_extensions(void)
{
    if (!(cpuid(1, 0).d & 2)) {
        test_skip("no VME");
        return;
    }
    u32 cr4 = read_cr(4);
    try_write_cr(4, cr4 | 1);
    *(volatile u16 *)(0x61 * 4) = (u16)(TO_U32(vm_handler) - TO_U32(vm_segs));
    *(volatile u16 *)(0x61 * 4 + 2) = VM_SEG;
    memset(tss.redirect, 0xff, sizeof tss.redirect);
    EQ(vm86(vm_soft, IF | IOPL3), GP); /* redirected to the IDT: its gate has DPL 0 */
    EQ(fault.f.err, 0x61 * 8 + 2);
    tss.redirect[0x61 / 8] &= (u8) ~(1 << (0x61 & 7));
    EQ(vm86(vm_soft, IF | IOPL3), VEC_USER_RETURN); /* through the table at 0 */
    EQ(fault.f.eax & 0xffff, 105);
    /* IOPL 0: CLI works on VIF. */
    EQ(vm86(vm_cli, IF | 1 << 19), GP); /* the INT 81h behind it */
    EQ(fault.f.eip, TO_U32(vm_cli) - TO_U32(vm_segs) + 1);
    EQ(fault.f.eflags & (IF | 1 << 19), IF);
    try_write_cr(4, cr4);
    memset(tss.redirect, 0, sizeof tss.redirect);
}

/* ---- real mode
 * ------------------------------------------------------------------------------------- */

static void t_real_mode(void)
{
    volatile u16 *out = (volatile u16 *)REAL_OUT;
    memset((void *)REAL_OUT, 0, 64);
    memcpy((void *)REAL_BASE, real_begin, (size_t)(real_end - real_begin));
    gdt[SEL_REAL_CODE / 8] = descriptor(REAL_BASE, 0xffff, 0x09b);
    gdt[SEL_REAL_DATA / 8] = descriptor(0, 0xffff, 0x093);
    for (int i = 0; i < 3; i++) {
        memset((void *)REAL_OUT, 0, 64);
        real_trip();
        EQ(out[0], REAL_SEG);
        EQ(out[1] & 0x201, 1); /* INT clears IF; the carry is kept */
        EQ(out[2] & 0x201, 1);
        EQ(out[3], 0xf000);
        EQ(out[4], 0xf000 - 6);
        EQ(out[5], 1);
        EQ(out[6], 0xf000 - 6); /* no error code in real mode */
        EQ(out[7], 1);
        EQ(*(volatile u32 *)(REAL_OUT + 16), *(volatile u32 *)0x100000);
        EQ(*(volatile u32 *)(REAL_OUT + 20), 0x12345678);
        EQ(out[12], REAL_SEG);
        EQ(out[13], 0xabcd);
        EQ(out[14], 0xabcd);
        EQ(out[15], 0x7777);
        EQ(out[16] & 1, 0); /* PE */
    }
}

/* ---- gates -------------------------------------------------------------------------------------
 */

static void t_call_gate(void)
{
    gdt[SEL_GATE / 8] =
        gate32(CODE, TO_U32(call_gate_target), 0xec) | 2ull << 32; /* two parameters */
    EQ(ring3(call_gate_user, 0x202), VEC_USER_RETURN);
    EQ(fault.f.eax, 0x2222);
    EQ(fault.f.ebx, 0x1111);
    EQ(fault.f.ecx & 0xffff, CODE);
    EQ(fault.f.edx, tss.esp0 - 24);                          /* SS ESP, two parameters, CS EIP */
    EQ(fault.f.esp, TO_U32(user_stack + sizeof user_stack)); /* RET 8 takes them off both stacks */
    gdt[SEL_GATE / 8] = gate32(CODE, TO_U32(call_gate_target), 0x8c);
    EQ(ring3(call_gate_user, 0x202), GP);
    EQ(fault.f.err, SEL_GATE);
    gdt[SEL_GATE / 8] = gate32(CODE, TO_U32(call_gate_target), 0xec);
    gdt[SEL_GATE / 8] &= ~(1ull << 47);
    EQ(ring3(call_gate_user, 0x202), NP);
    EQ(fault.f.err, SEL_GATE);
}

static void t_single_step(void)
{
    __asm__ volatile(TRY "pushfl\n\torl $0x100, (%%esp)\n\tpopfl\n\tnop\n98:\tnop" END
                     :
                     :
                     : "memory", "cc");
    EQ(fault.vec, DB);
    EQ(fault.f.eflags & TF, TF);
}

const struct test tests[] = {
    { "faults", t_faults },
    { "paging32", t_paging32 },
    { "paging-pae", t_paging_pae },
    { "task-jump", t_task_jump },
    { "task-call", t_task_call },
    { "task-gates", t_task_gates },
    { "vm86", t_vm86 },
    { "vm86-extensions", t_vm86_extensions },
    { "real-mode", t_real_mode },
    { "call-gate", t_call_gate },
    { "single-step", t_single_step },
    { 0 },
};
