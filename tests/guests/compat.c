/*
 * compat.c: segmentation as it is left in long mode (SDM 3A, chapters 3 and 5): compatibility mode
 * with 32- and 16-bit segments, limits, expand-down, LDT, far transfers, call gates, LAR and its
 * kin.
 */
#include "guest.h"

enum { CF = 1, AF = 0x10, ZF = 0x40, OFLAG = 0x800 };
#define DESC(base, limit, attr)                                                                    \
    (((u64)(limit)&0xffff) | ((u64)(base)&0xffffff) << 16 | (u64)((attr)&0xff) << 40 |             \
     ((u64)(limit) >> 16 & 15) << 48 | (u64)((attr) >> 8 & 15) << 52 |                             \
     ((u64)(base) >> 24 & 0xff) << 56)
enum {
    DATA32 = 0x493,
    CODE32 = 0x49b,
    CODE16 = 0x09b,
    DATA16 = 0x093,
    DOWN32 = 0x497,
    DOWN16 = 0x097,
    RODATA32 = 0x491,
    XOCODE32 = 0x499,
    BYTES4K = 0x800,
    DPL3 = 0x60
};
#define T(n) (SEL_TEST + 8 * (n))

static u8 buffer[3 * 4096] __attribute__((aligned(4096)));

/* 32-bit code that is called far: EAX, EBX, ECX, EDX in and out. */
#define C32(name, text)                                                                            \
    __asm__(".text\n.code32\n" #name ": " text "\n lret\n.code64");                                \
    extern const char name[];
static u64 rax, rbx, rcx, rdx;

static int far(u32 sel, const void *code)
{
    struct {
        u32 off;
        u16 sel;
    } __attribute__((packed)) to = { (u32)(u64)code, (u16)sel };
    __asm__ volatile(
        TRY "lcall *%[to]" END
            "movl $0x10, %%esi\n\tmov %%esi, %%ds\n\tmov %%esi, %%es\n\tmov %%esi, %%ss"
        : "+a"(rax), "+b"(rbx), "+c"(rcx), "+d"(rdx)
        : [to] "m"(to)
        : "memory", "cc", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15");
    return fault.vec;
}

static int call32(const void *code)
{
    return far(SEL_CODE32, code);
}

C32(c_inc, "mov $0x7fffffff, %eax; inc %eax; dec %ecx; xor %ebx, %ebx")
C32(c_read, "mov %eax, %ds; mov (%ebx), %ecx")
C32(c_write, "mov %eax, %ds; mov %ecx, (%ebx)")
C32(c_write8, "mov %eax, %ds; mov %cl, (%ebx)")
C32(c_read_ss, "mov %esp, %esi; mov %ss, %edi; mov %eax, %ss; mov (%esp,%ebx), %ecx; mov %edi, "
               "%ss; mov %esi, %esp")
C32(c_read_cs, "mov %cs:(%ebx), %ecx")
C32(c_bcd, "mov $0x0f, %eax; xor %ebx, %ebx; add $0, %ebx; aaa; mov %eax, %ebx; mov $0x79, %al; "
           "add $0x35, %al; daa; "
           "movzbl %al, %ecx; mov $0x3f, %eax; aam; movzwl %ax, %edx; aad; movzbl %al, %eax")
C32(c_pusha, "mov $1, %eax; mov $2, %ebx; mov $3, %ecx; mov $4, %edx; pusha; mov 28(%esp), %eax; "
             "mov 16(%esp), %ebx; "
             "mov 12(%esp), %ecx; lea 32(%esp), %edx; cmp %ecx, %edx; setz %cl; movzbl %cl, %ecx; "
             "popa; mov %ebx, %edx")
C32(c_bound, "bound %eax, (%ebx)")
C32(c_into, "mov $0x7fffffff, %ecx; add $1, %ecx; into")
C32(c_arpl, "mov $0x10, %eax; mov $3, %ebx; arpl %bx, %ax; setz %cl; movzbl %cl, %ecx")
C32(c_salc, "stc; .byte 0xd6; movzbl %al, %eax; movzbl %al, %ebx")
C32(c_les, "les (%ebx), %ecx; mov %es, %eax")
C32(c_syscall64, ".byte 0x0f, 0x01, 0xf8") /* swapgs: only in 64-bit mode */
C32(c_a16, "mov $0x12340000, %ebx; .byte 0x67; movl (%bx), %ecx")
C32(c_loop, "xor %eax, %eax; mov $0x10003, %ecx; 1: inc %eax; .byte 0x67; loop 1b")
C32(c_push16, "mov %esp, %ecx; pushw $5; sub %esp, %ecx; addl $2, %esp; mov %esp, %edx; push %cs; "
              "sub %esp, %edx; pop %eax")

static void t_far_calls(void)
{
    rcx = 5;
    EQ(call32(c_inc), NONE);
    EQ(rax & 0xffffffff, 0x80000000);
    EQ(rcx & 0xffffffff, 4);
    /* RETF with 64-bit operands to user mode, as 0x33 style code does. */
    __asm__(".pushsection .user.text, \"ax\"\nu_ret: mov %cs, %eax; mov %ss, %ebx; int "
            "$0x81\n.popsection");
    extern const char u_ret[];
    __asm__ volatile(TRY "push %0\n\tpush %1\n\tpush %2\n\tpush %3\n\tlretq" END
                     :
                     : "r"((u64)(SEL_UDATA | 3)), "r"((u64)USER_STACK_TOP),
                       "r"((u64)(SEL_UCODE64 | 3)), "r"((u64)u_ret)
                     : "memory", "rax", "rbx");
    EQ(fault.vec, VEC_USER_RETURN);
    EQ(fault.f.rax, SEL_UCODE64 | 3);
    EQ(fault.f.rbx, SEL_UDATA | 3);
    /* From ring 3 in 64-bit mode to 32-bit mode and back: far jumps between 2Bh and 1Bh. */
    __asm__(".pushsection .user.text, \"ax\"\nu_mix: ljmp *u_mix_to\n.code32\nu_mix32: mov %cs, "
            "%ebx; mov %esp, %ecx; ljmp $0x2b, $u_mix64\n"
            ".code64\nu_mix64: mov %cs, %eax; int $0x81\n.align 8\nu_mix_to: .long u_mix32\n .word "
            "0x1b\n.popsection");
    extern const char u_mix[];
    enter_frame((u64)u_mix, SEL_UCODE64 | 3, 0x202, (u64)USER_STACK_TOP, SEL_UDATA | 3, 0);
    EQ(fault.vec, VEC_USER_RETURN);
    EQ(fault.f.rax, SEL_UCODE64 | 3);
    EQ(fault.f.rbx, SEL_UCODE32 | 3);
    EQ(fault.f.rcx, (u64)USER_STACK_TOP);
    EQ(far(SEL_UCODE64, c_inc), GP); /* inner to outer by CALL */
    EQ(fault.f.err, SEL_UCODE64);
    EQ(far(SEL_DATA, c_inc), GP);
    EQ(far(0, c_inc), GP);
    EQ(fault.f.err, 0);
}

static void t_old_instructions(void)
{
    EQ(call32(c_bcd), NONE);
    EQ(rbx & 0xffff, 0x0105);   /* AAA of 0Fh */
    EQ(rcx & 0xffffffff, 0x14); /* DAA of 79h + 35h: 114 */
    EQ(rdx & 0xffffffff, 0x0603);
    EQ(rax & 0xffffffff, 63);
    EQ(call32(c_pusha), NONE);
    EQ(rax & 0xffffffff, 1);
    EQ(rdx & 0xffffffff, 2);
    static const int range[2] = { -5, 10 };
    rax = 10, rbx = (u64)range;
    EQ(call32(c_bound), NONE);
    rax = (u32)-6, rbx = (u64)range;
    EQ(call32(c_bound), BR);
    EQ(call32(c_into), OF);
    EQ(call32(c_arpl), NONE);
    EQ(rax & 0xffff, 0x13);
    EQ(rcx & 0xff, 1);
    EQ(call32(c_salc), NONE);
    EQ(rax & 0xff, 0xff);
    static const struct {
        u32 off;
        u16 sel;
    } __attribute__((packed)) pointer = { 0x11223344, SEL_UDATA };
    rbx = (u64)&pointer;
    EQ(call32(c_les), NONE);
    EQ(rcx & 0xffffffff, 0x11223344);
    EQ(rax & 0xffff, SEL_UDATA);
    EQ(call32(c_syscall64), UD);
    EQ(call32(c_a16), NONE);
    EQ(call32(c_loop), NONE);
    EQ(rax & 0xffffffff, 3); /* CX counts */
    EQ(rcx & 0xffffffff, 0x10000);
    EQ(call32(c_push16), NONE);
    EQ(rcx & 0xffffffff, 2);
    EQ(rdx & 0xffffffff, 4);
}

static int access32(const void *code, u32 sel, u32 off)
{
    rax = sel, rbx = off, rcx = 0x55;
    return call32(code);
}

static void t_limits(void)
{
    gdt[T(0) / 8] = DESC(buffer, 0xfff, DATA32);
    *(u32 *)(buffer + 0xffc) = 0xabcd;
    EQ(access32(c_read, T(0), 0xffc), NONE);
    EQ(rcx & 0xffffffff, 0xabcd);
    EQ(access32(c_read, T(0), 0xffd), GP);
    EQ(fault.f.err, 0);
    EQ(access32(c_write, T(0), 0xffd), GP);
    EQ(access32(c_read, T(0), 0xffffffff), GP);
    EQ(access32(c_read_ss, T(0), 0), SS); /* ESP is beyond it */
    EQ(fault.f.err, 0);
    gdt[T(0) / 8] = DESC(buffer, 1, DATA32 | BYTES4K); /* two pages */
    EQ(access32(c_read, T(0), 0x1ffc), NONE);
    EQ(access32(c_read, T(0), 0x1ffd), GP);
    /* In 64-bit mode neither base nor limit counts. */
    u64 v;
    __asm__ volatile(TRY "mov %w2, %%ds\n\tmov (%1), %k0" END "mov %w3, %%ds"
                     : "=r"(v)
                     : "r"(buffer + 0xffc), "r"(T(0)), "r"(SEL_DATA)
                     : "memory");
    EQ(fault.vec, NONE);
    EQ(v, 0xabcd);
}

static void t_expand_down(void)
{
    gdt[T(0) / 8] = DESC((u32)(u64)buffer, 0xfff, DOWN32);
    EQ(access32(c_read, T(0), 0xfff), GP);
    EQ(access32(c_read, T(0), 0), GP);
    EQ(access32(c_write, T(0), 0x1000), NONE);
    EQ(buffer[0x1000], 0x55);
    EQ(access32(c_write, T(0), 0x1000), NONE);
    gdt[T(0) / 8] = DESC((u32)(u64)buffer, 0xfff, DOWN16); /* up to 64 KiB only */
    EQ(access32(c_read, T(0), 0x1000), NONE);
    EQ(access32(c_read, T(0), 0xfffd), GP);
    EQ(access32(c_read, T(0), 0x10000), GP);
}

static void t_types(void)
{
    gdt[T(0) / 8] = DESC(buffer, 0xfff, RODATA32);
    EQ(access32(c_read, T(0), 0), NONE);
    EQ(access32(c_write, T(0), 0), GP);
    EQ(access32(c_write8, 0, 0), GP); /* a null selector loads, its use faults */
    EQ(fault.f.err, 0);
    gdt[T(1) / 8] = DESC(0, 0xfffff, XOCODE32 | BYTES4K);
    EQ(access32(c_read, T(1), 0), GP); /* execute only: cannot be loaded */
    EQ(fault.f.err, T(1));
    rbx = 0;
    EQ(far(T(1), c_read_cs), GP);
    EQ(fault.f.err, 0);
    EQ(access32(c_write, SEL_CODE32, (u32)(u64)buffer), GP);
    EQ(fault.f.err, 0);
    gdt[T(0) / 8] = DESC(buffer, 0xfff, DATA32 & ~0x80);
    EQ(access32(c_read, T(0), 0), NP);
    EQ(fault.f.err, T(0));
    EQ(access32(c_read_ss, T(0), 0), SS);
    EQ(fault.f.err, T(0));
    gdt[T(0) / 8] = DESC(buffer, 0xfff, RODATA32);
    EQ(access32(c_read_ss, T(0), 0), GP);
    EQ(access32(c_read_ss, 0, 0), GP);
    EQ(fault.f.err, 0);
    EQ(access32(c_read, 0x1f8 + 0x10, 0), GP); /* beyond the GDT */
    EQ(fault.f.err, 0x208);
    gdt[T(0) / 8] = DESC(buffer, 0xfff, DATA32 & ~1); /* the accessed bit is set by loading */
    EQ(access32(c_read, T(0), 0), NONE);
    EQ(gdt[T(0) / 8] >> 40 & 1, 1);
}

static void t_address_wrap(void)
{
    gdt[T(0) / 8] = DESC(0xfffff000, 0xfffff, DATA32 | BYTES4K);
    EQ(access32(c_read, T(0), 0x1000 + (u32)(u64)buffer), NONE);
    EQ(rcx & 0xffffffff, *(u32 *)buffer);
}

static void t_16bit_code(void)
{
    static const u8 code[] = {
        0xb8, 0x34, 0x12,                         /* mov ax, 1234h */
        0x66, 0xbb, 0x78, 0x56, 0x34, 0x12,       /* mov ebx, 12345678h */
        0x8c, 0xc9,                               /* mov cx, cs */
        0xba, 0x00, 0x01,                         /* mov dx, 100h */
        0x67, 0x8d, 0x14, 0x55, 2,    0,    0, 0, /* lea dx, [edx*2+2] */
        0x66, 0xcb,                               /* retfd */
    };
    memcpy(buffer, code, sizeof code);
    gdt[T(2) / 8] = DESC(buffer, 0xffff, CODE16);
    rax = rbx = rcx = rdx = 0;
    EQ(far(T(2), 0), NONE);
    EQ(rax & 0xffff, 0x1234);
    EQ(rbx & 0xffffffff, 0x12345678);
    EQ(rcx & 0xffff, T(2));
    EQ(rdx & 0xffff, 0x202);
    gdt[T(2) / 8] = DESC(buffer, 4, CODE16); /* the second instruction is beyond the limit */
    EQ(far(T(2), 0), GP);
    EQ(fault.f.err, 0);
    EQ(fault.f.rip, 3);
    EQ(far(T(2), (void *)5), GP);
}

/* Two segments with the same limit and type, and other code at the same offset of each. */
static void t_same_offset(void)
{
    static const u8 code[] = { 0xb8, 0x11, 0x11, 0x66, 0xcb }; /* mov ax, 1111h; retfd */
    memcpy(buffer, code, sizeof code);
    memcpy(buffer + 4096, code, sizeof code);
    buffer[4096 + 1] = 0x22;
    gdt[T(2) / 8] = DESC(buffer, 0xfff, CODE16);
    gdt[T(3) / 8] = DESC(buffer + 4096, 0xfff, CODE16);
    for (int i = 0; i < 3; i++) {
        EQ(far(T(2), 0), NONE);
        EQ(rax & 0xffff, 0x1111);
        EQ(far(T(3), 0), NONE);
        EQ(rax & 0xffff, 0x1122);
    }
}

static void t_ldt(void)
{
    static u64 ldt[4];
    u16 sel = 0xffff;
    ldt[1] = DESC(buffer, 0xfff, DATA32);
    gdt[SEL_LDT / 8] = DESC(ldt, sizeof ldt - 1, 0x82);
    gdt[SEL_LDT / 8 + 1] = 0;
    __asm__ volatile("lldt %w0" : : "r"(SEL_LDT));
    __asm__ volatile("sldt %0" : "=m"(sel));
    EQ(sel, SEL_LDT);
    *(u32 *)buffer = 0x7777;
    EQ(access32(c_read, 0x0c, 0), NONE); /* entry 1 of the LDT */
    EQ(rcx & 0xffffffff, 0x7777);
    EQ(access32(c_read, 0x24, 0), GP); /* beyond it */
    EQ(fault.f.err, 0x24);
    __asm__ volatile(TRY "lldt %w0" END : : "r"(SEL_DATA) : "memory");
    FAULTS(GP, SEL_DATA);
    __asm__ volatile(TRY "lldt %w0" END : : "r"(0x0c) : "memory");
    FAULTS(GP, 0x0c);
    gdt[SEL_LDT / 8] &= ~(1ull << 47);
    __asm__ volatile(TRY "lldt %w0" END : : "r"(SEL_LDT) : "memory");
    FAULTS(NP, SEL_LDT);
    __asm__ volatile("lldt %w0" : : "r"(0));
    EQ(access32(c_read, 0x0c, 0), GP);
    EQ(fault.f.err, 0x0c);
}

static void t_lar_lsl(void)
{
    u64 v = 0x5555, f;
    gdt[T(0) / 8] = DESC(0x1000, 0x12345, DATA32 | BYTES4K);
    gdt[T(1) / 8] = DESC(0, 0xfffff, XOCODE32 | BYTES4K);
#define LOOK(insn, sel)                                                                            \
    __asm__ volatile(insn " %k2, %k0\n\tpushfq\n\tpop %1" : "+r"(v), "=r"(f) : "r"(sel) : "cc")
    LOOK("lar", T(0));
    EQ(v, 0xc19300);
    EQ(f & ZF, ZF);
    LOOK("lsl", T(0));
    EQ(v, 0x12345fff);
    v = 0x5555;
    LOOK("lsl", 0);
    EQ(f & ZF, 0);
    EQ(v, 0x5555);
    LOOK("lar", 0x1f8 + 0x10);
    EQ(f & ZF, 0);
    LOOK("lar", SEL_TSS);
    EQ(f & ZF, ZF);
    EQ(v & 0xff00, 0x8b00); /* busy */
#define VERIFY(insn, sel)                                                                          \
    __asm__ volatile(insn " %w1\n\tpushfq\n\tpop %0" : "=r"(f) : "r"(sel) : "cc")
    VERIFY("verr", T(0));
    EQ(f & ZF, ZF);
    VERIFY("verw", T(0));
    EQ(f & ZF, ZF);
    VERIFY("verr", T(1));
    EQ(f & ZF, 0);
    VERIFY("verr", SEL_CODE64);
    EQ(f & ZF, ZF);
    VERIFY("verw", SEL_CODE64);
    EQ(f & ZF, 0);
    VERIFY("verr", SEL_TSS);
    EQ(f & ZF, 0);
    VERIFY("verr", 0);
    EQ(f & ZF, 0);
}

USER_CODE static void u_gate(u64 to)
{
    __asm__ volatile("lcall *(%0)" : : "r"(to) : "memory");
    USER_RETURN(0x600d);
}

__asm__("gate_entry: mov %cs, %eax; mov (%rsp), %rbx; mov 8(%rsp), %rcx; mov 16(%rsp), %rdx; mov "
        "24(%rsp), %rsi; mov %rsp, %rdi; ud2\n"
        "gate_entry2: lretq");
extern const char gate_entry[], gate_entry2[];

static void call_gate(const char *at, unsigned dpl)
{
    u64 a = (u64)at;
    gdt[T(4) / 8] = (a & 0xffff) | (u64)SEL_CODE64 << 16 | (u64)(0x8c | dpl << 5) << 40 |
                    (a >> 16 & 0xffff) << 48;
    gdt[T(5) / 8] = a >> 32;
}

static struct {
    u32 off;
    u16 sel;
} __attribute__((packed)) gate_pointer USER_DATA = { 0, T(4) };

static void t_call_gate(void)
{
    call_gate(gate_entry, 3);
    user_call(u_gate, (u64)&gate_pointer);
    EQ(fault.vec, UD);
    EQ(fault.f.rax, SEL_CODE64);
    EQ(fault.f.rcx, SEL_UCODE64 | 3);
    EQ(fault.f.rsi, SEL_UDATA | 3);
    EQ(fault.f.rdi, tss.rsp[0] - 32);
    CHECK(fault.f.rdx > (u64)user_stack && fault.f.rdx < (u64)user_stack + sizeof user_stack);
    EQ(fault.f.ss, 0); /* a null SS after the change of ring */
    call_gate(gate_entry2, 3);
    EQ(user_call(u_gate, (u64)&gate_pointer), 0x600d);
    call_gate(gate_entry, 0);
    user_call(u_gate, (u64)&gate_pointer);
    FAULTS(GP, T(4));
    call_gate(gate_entry, 3);
    gdt[T(4) / 8] &= ~(1ull << 47);
    user_call(u_gate, (u64)&gate_pointer);
    FAULTS(NP, T(4));
    call_gate(gate_entry, 3);
    gdt[T(5) / 8] = 1ull << 40; /* the type field of the upper half must be 0 */
    user_call(u_gate, (u64)&gate_pointer);
    FAULTS(GP, T(4));
    call_gate(gate_entry, 3);
    gdt[T(4) / 8] = (gdt[T(4) / 8] & ~0xffff0000ull) | (u64)SEL_CODE32
                                                           << 16; /* must be 64-bit code */
    user_call(u_gate, (u64)&gate_pointer);
    FAULTS(GP, SEL_CODE32);
}

static void t_task_register(void)
{
    u16 sel;
    __asm__ volatile("str %0" : "=m"(sel));
    EQ(sel, SEL_TSS);
    __asm__ volatile(TRY "ltr %w0" END : : "r"(SEL_TSS) : "memory");
    FAULTS(GP, SEL_TSS); /* busy */
    __asm__ volatile(TRY "ltr %w0" END : : "r"(0) : "memory");
    FAULTS(GP, 0);
    gdt[T(6) / 8] = DESC(0, 0x67, 0x09);
    gdt[T(7) / 8] = 0;
    __asm__ volatile(TRY "ltr %w0" END : : "r"(T(6)) : "memory");
    FAULTS(NP, T(6));
    /* Jumps to a TSS are not possible in long mode. */
    EQ(far(SEL_TSS, c_inc), GP);
    EQ(fault.f.err, SEL_TSS);
}

static void t_upper_halves(void)
{
    /* A 32-bit write zeroes the upper half, in 64-bit mode at the latest. */
    rbx = 0xffffffffffffffff, rax = ~0ull;
    EQ(call32(c_inc), NONE);
    EQ(rax, 0x80000000);
    EQ(rbx, 0);
}

static void t_conforming(void)
{
    gdt[T(3) / 8] = DESC(0, 0xfffff, 0x20 << 4 | 0x9f | BYTES4K) | 1ull << 53; /* conforming, L */
    gdt[T(3) / 8] &= ~(1ull << 54);
    static struct {
        u32 off;
        u16 sel;
    } __attribute__((packed)) to USER_DATA;
    __asm__(".pushsection .user.text, \"ax\"\nu_conf: mov %cs, %ebx; int $0x81\n"
            "u_conf0: ljmp *(%rdi)\n.popsection");
    extern const char u_conf[], u_conf0[];
    to.off = (u32)(u64)u_conf;
    to.sel = T(3);
    enter_frame((u64)u_conf0, SEL_UCODE64 | 3, 0x202, (u64)USER_STACK_TOP, SEL_UDATA | 3, (u64)&to);
    EQ(fault.vec, VEC_USER_RETURN);
    EQ(fault.f.rbx, T(3) | 3); /* ring 3 stays ring 3 */
}

const struct test tests[] = {
    { "far-calls", t_far_calls },
    { "old-instructions", t_old_instructions },
    { "limits", t_limits },
    { "expand-down", t_expand_down },
    { "types", t_types },
    { "address-wrap", t_address_wrap },
    { "16-bit-code", t_16bit_code },
    { "same-offset", t_same_offset },
    { "ldt", t_ldt },
    { "lar-lsl", t_lar_lsl },
    { "call-gate", t_call_gate },
    { "task-register", t_task_register },
    { "upper-halves", t_upper_halves },
    { "conforming", t_conforming },
    { 0 },
};
