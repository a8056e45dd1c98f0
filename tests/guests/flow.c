/*
 * flow.c: jumps, calls and returns that do not go where a processor (or what stands in for one)
 * would guess: deep and unbalanced calls, changed return addresses, stacks that are left behind,
 * targets that are not canonical or not mapped or another ring's, code that is mapped elsewhere.
 */
#include "guest.h"

#define VA (TEST_VA + (UINT64_C(8) << 30))
#define USER_PAGE (PG_P | PG_U)

/* EAX = 1 + 2 + ... + EDI, one frame of 16 bytes for each. */
__asm__(".globl sum_to\nsum_to:\n test %edi, %edi\n jz 1f\n push %rdi\n dec %edi\n call sum_to\n"
        " pop %rdi\n add %edi, %eax\n ret\n1: xor %eax, %eax\n ret\n");
/* RAX = sum_to(EDI) on the stack that ends at RSI. */
__asm__(".globl sum_on\nsum_on:\n push %rbx\n mov %rsp, %rbx\n mov %rsi, %rsp\n call sum_to\n"
        " mov %rbx, %rsp\n pop %rbx\n ret\n");
u64 sum_on(u64 n, u64 stack);

static u64 big_stack(void)
{
    for (u64 off = 0; off < 1 << 20; off += 4096)
        map_page(VA + off, page_alloc(), PG_P | PG_W);
    return VA + (1 << 20);
}

static void t_deep_recursion(void)
{
    u64 top = big_stack();
    for (u64 n = 1; n <= 60000; n *= 3)
        EQ(sum_on(n, top), n * (n + 1) / 2);
    EQ(sum_on(60000, top), UINT64_C(60000) * 60001 / 2);
}

/* Each level calls the next, the last one goes back to the first at once: as longjmp does. */
__asm__(".globl leap\nleap:\n push %rbx\n push %rbp\n mov %rsp, %rbp\n xor %eax, %eax\n"
        " call 2f\n inc %eax\n jmp 9f\n"
        "2: call 3f\n ud2\n3: call 4f\n ud2\n4: call 5f\n ud2\n5: add $100, %eax\n"
        " lea -8(%rbp), %rsp\n ret\n" /* to behind the first call */
        "9: mov %rbp, %rsp\n pop %rbp\n pop %rbx\n ret\n");
u32 leap(void);

static void t_longjmp(void)
{
    for (int i = 0; i < 3000; i++)
        EQ(leap(), 101);
}

/* The callee changes where it returns to, by turns. */
__asm__(".globl bent\nbent:\n xor %eax, %eax\n call 2f\n inc %eax\n ret\n"
        "1: add $10, %eax\n ret\n"
        "2: test %edi, %edi\n jz 3f\n lea 1b(%rip), %rcx\n mov %rcx, (%rsp)\n3: ret\n");
u32 bent(u32 change);

static void t_return_address_changed(void)
{
    for (u32 i = 0; i < 3000; i++)
        EQ(bent(i % 3 == 0), i % 3 == 0 ? 10 : 1);
}

/* Pushed and returned to; called and popped; the call that is a jump of a retpoline. */
__asm__(".globl unpaired\nunpaired:\n lea 1f(%rip), %rax\n push %rax\n xor %eax, %eax\n ret\n ud2\n"
        "1: call 2f\n2: pop %rcx\n call 3f\n3: pop %rdx\n sub %rcx, %rdx\n mov %edx, %eax\n"
        " lea 6f(%rip), %r8\n call 5f\n4: pause\n lfence\n jmp 4b\n5: mov %r8, (%rsp)\n ret\n"
        "6: ret\n");
u32 unpaired(void);

static void t_unpaired(void)
{
    u32 first = unpaired();
    for (int i = 0; i < 20000; i++) /* more calls without a return than any stack of pairs holds */
        EQ(unpaired(), first);
}

static void t_ret_imm(void)
{
    for (int i = 0; i < 1000; i++) {
        u64 before, after;
        __asm__ volatile("mov %%rsp, %0\n\tpush $1\n\tpush $2\n\tcall 1f\n\tjmp 2f\n"
                         "1: ret $16\n2: mov %%rsp, %1"
                         : "=&r"(before), "=&r"(after)
                         :
                         : "memory");
        EQ(after, before);
    }
}

static const u64 wild[] = { 0x8000000000000000, 0x8000000000000001, 0x0000800000000000,
                            0xffff7fffffffffff, 0x7ffffffffffff000, 0xdeadbeefdeadbeef };

static void t_not_canonical(void)
{
    for (int turn = 0; turn < 50; turn++)
        for (unsigned i = 0; i < sizeof wild / sizeof *wild; i++) {
            u64 to = wild[i];
            __asm__ volatile(TRY "jmp *%0" END : : "r"(to) : "memory", "cc");
            EQ(fault.vec, GP);
            EQ(fault.f.err, 0);
            __asm__ volatile(TRY "call *%0" END : : "r"(to) : "memory", "cc");
            EQ(fault.vec, GP);
            __asm__ volatile(TRY "push %0\n\tret" END : : "r"(to) : "memory", "cc");
            EQ(fault.vec, GP);
            EQ(fault.f.err, 0);
        }
}

static void t_not_mapped(void)
{
    static const u64 far[] = { UINT64_C(0x7ffffffff000), UINT64_C(0xffff800000000000),
                               UINT64_C(0xfffffffffffff000), VA + (UINT64_C(3) << 30) };
    for (int turn = 0; turn < 50; turn++)
        for (unsigned i = 0; i < sizeof far / sizeof *far; i++) {
            u64 to = far[i] + (unsigned)turn;
            __asm__ volatile(TRY "jmp *%0" END : : "r"(to) : "memory", "cc");
            EQ(fault.vec, PF);
            EQ(fault.cr2, to);
            EQ(fault.f.rip, to); /* fetching faults at the target */
            __asm__ volatile(TRY "push %0\n\tret" END : : "r"(to) : "memory", "cc");
            EQ(fault.vec, PF);
            EQ(fault.f.rip, to);
        }
}

/* A page of code: mov eax, n; ret */
static u64 code_page(u32 n)
{
    u8 *p = (u8 *)page_alloc();
    memset(p, 0x90, 4096);
    for (int at = 0; at < 4096; at += 64) {
        p[at] = 0xb8;
        memcpy(p + at + 1, &n, 4);
        p[at + 5] = 0xc3;
    }
    return (u64)p;
}

static u32 run(u64 at)
{
    u32 v;
    __asm__ volatile("call *%1" : "=a"(v) : "r"(at) : "memory", "rcx", "rdx");
    return v;
}

/* Indirect calls to many places, some of which fall together in any cache by address. */
static void t_many_targets(void)
{
    u64 at = VA + 0x10000000;
    for (u32 i = 0; i < 64; i++)
        map_page(at + i * 0x10000, code_page(i), PG_P);
    u32 bad = 0;
    for (int turn = 0; turn < 40; turn++)
        for (u32 i = 0; i < 64; i++)
            bad += run(at + i * 0x10000 + (u32)(turn % 8) * 64) != i;
    EQ(bad, 0);
    for (u32 i = 0; i < 64; i++) { /* all of them move by one */
        u64 *e = pte(at + i * 0x10000);
        *e = code_page(i + 1000) | PG_P;
        invlpg(at + i * 0x10000);
        bad += run(at + i * 0x10000) != i + 1000;
    }
    EQ(bad, 0);
}

/* A jump within user code to another page, which the kernel maps elsewhere now and then. */
USER_CODE static void u_call(u64 at)
{
    u32 v;
    __asm__ volatile("call *%1" : "=a"(v) : "r"(at) : "memory", "rcx", "rdx");
    USER_RETURN((u64)v);
}

static void t_user_remap(void)
{
    u64 at = VA + 0x20000000, page[2] = { code_page(7), code_page(8) };
    u8 *near = (u8 *)page_alloc(); /* jmp to the next page */
    static const u8 jump[] = { 0xe9, 0xfb, 0x0f, 0, 0 };
    memcpy(near, jump, sizeof jump);
    map_page(at, (u64)near, USER_PAGE);
    u32 bad = 0;
    for (u32 i = 0; i < 300; i++) {
        *pte(at + 4096) = page[i & 1] | USER_PAGE;
        if (i & 2)
            invlpg(at + 4096);
        else
            write_cr3(read_cr3());
        bad += user_call(u_call, at) != 7 + (i & 1);
        bad += user_call(u_call, at + 4096) != 7 + (i & 1);
    }
    EQ(bad, 0);
}

/* Two address spaces with different code at one address. */
static void t_two_spaces(void)
{
    u64 at = VA + (UINT64_C(1) << 39), first = read_cr3();
    u64 second = page_alloc();
    memcpy((void *)second, (void *)(first & PG_ADDR), 4096);
    map_page(at, code_page(21), USER_PAGE);
    write_cr3(second);
    map_page(at, code_page(22), USER_PAGE);
    u32 bad = 0;
    for (u32 i = 0; i < 500; i++) {
        write_cr3(first);
        bad += run(at) != 21;
        if (i % 5 == 0)
            bad += user_call(u_call, at) != 21;
        write_cr3(second);
        bad += run(at) != 22;
        if (i % 7 == 0)
            bad += user_call(u_call, at) != 22;
    }
    write_cr3(first);
    EQ(bad, 0);
}

/* Ring 3 returns to addresses of ring 0, which returns there itself all the time. */
USER_CODE static void u_return_to(u64 at)
{
    __asm__ volatile("push %0\n\tret" : : "r"(at) : "memory");
}

USER_CODE static void u_jump_to(u64 at)
{
    __asm__ volatile("jmp *%0" : : "r"(at) : "memory");
}

static void t_user_to_kernel(void)
{
    for (int i = 0; i < 200; i++) {
        u64 at = i & 1 ? (u64)run : (u64)__builtin_return_address(0);
        (void)run(code_page(5)); /* the address is in use */
        user_call(i & 2 ? u_return_to : u_jump_to, at);
        EQ(fault.vec, PF);
        CHECK(fault.f.err & PF_U);
        EQ(fault.cr2, at);
        EQ(fault.f.rip, at);
        EQ(fault.f.cs & 3, 3);
    }
}

/* Ring 3 writes its own code: the next instruction, and one that has been executed before. */
USER_CODE static void u_rewrites(u64 at)
{
    u8 *p = (u8 *)at;
    u64 sum = 0;
    for (u32 i = 0; i < 200; i++) {
        u32 v;
        p[0] = 0xb8; /* mov eax, i; ret */
        *(volatile u32 *)(p + 1) = i;
        p[5] = 0xc3;
        __asm__ volatile("call *%1" : "=a"(v) : "r"(at) : "memory", "rcx", "rdx");
        sum += v;
    }
    USER_RETURN(sum);
}

static void t_user_rewrites(void)
{
    u64 at = VA + 0x30000000;
    map_page(at, page_alloc(), PG_P | PG_U | PG_W);
    EQ(user_call(u_rewrites, at), 199 * 200 / 2);
    EQ(user_call(u_rewrites, at + 4000), 199 * 200 / 2);
}

/*
 * A loop that changes the instruction before the store, and jumps back to it:
 *     1: add $0, %eax     2: incb 1b+2     dec %ecx     jnz 1b     ret
 */
static void t_previous_instruction(void)
{
    static const u8 text[] = { 0x31, 0xc0, 0x83, 0xc0, 0x00, 0xfe, 0x05, 0xf9, 0xff, 0xff, 0xff,
                               0xff, 0xc9, 0x75, 0xf3, 0xc3 };
    u8 *p = (u8 *)page_alloc();
    for (u32 n = 1; n < 100; n += 7) {
        u32 v;
        memcpy(p, text, sizeof text);
        u32 c = n;
        __asm__ volatile("call *%2" : "=a"(v), "+c"(c) : "r"(p) : "memory", "cc");
        EQ(v, n * (n - 1) / 2);
    }
}

const struct test tests[] = {
    { "deep-recursion", t_deep_recursion },
    { "longjmp", t_longjmp },
    { "return-address-changed", t_return_address_changed },
    { "unpaired", t_unpaired },
    { "ret-imm", t_ret_imm },
    { "not-canonical", t_not_canonical },
    { "not-mapped", t_not_mapped },
    { "many-targets", t_many_targets },
    { "user-remap", t_user_remap },
    { "two-spaces", t_two_spaces },
    { "user-to-kernel", t_user_to_kernel },
    { "user-rewrites", t_user_rewrites },
    { "previous-instruction", t_previous_instruction },
    { 0 },
};
