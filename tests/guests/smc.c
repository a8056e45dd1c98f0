/*
 * smc.c: code that changes while it runs (SDM 3A, 8.1.3): in the same block, the next instruction,
 * through another address, on a page that holds data too, across pages, by another CPU.
 */
#include "guest.h"

#define VA TEST_VA

static u8 *code_page(void)
{
    u8 *p = (u8 *)page_alloc();
    memset(p, 0x90, 4096);
    return p;
}

static u32 run(const void *at)
{
    u32 v;
    __asm__ volatile("call *%1" : "=a"(v) : "r"(at) : "memory", "rcx", "rdx");
    return v;
}

/* mov eax, n; ret */
static void put_const(u8 *at, u32 n)
{
    *at = 0xb8;
    memcpy(at + 1, &n, 4);
    at[5] = 0xc3;
}

static void t_rewrite(void)
{
    u8 *p = code_page();
    for (u32 i = 0; i < 1000; i++) {
        put_const(p, i * 3);
        EQ(run(p), i * 3);
    }
}

static void t_next_instruction(void)
{
    /* movb $n, next+1; next: mov $0, %eax; ret */
    u8 *p = code_page();
    for (u32 n = 1; n < 100; n++) {
        static const u8 text[] = { 0xc6, 0x05, 1, 0, 0, 0, 0, 0xb8, 0, 0, 0, 0, 0xc3 };
        memcpy(p, text, sizeof text);
        p[6] = (u8)n;
        EQ(run(p), n);
    }
}

static void t_same_block_later(void)
{
    /* A store in front of many instructions changes the last one. */
    u8 *p = code_page();
    static const u8 head[] = {
        0x88, 0x0d, 0, 0, 0, 0, 0x31, 0xc0
    }; /* mov %cl, x(%rip); xor %eax, %eax */
    memcpy(p, head, sizeof head);
    for (int i = 0; i < 20; i++)
        memcpy(p + 8 + 2 * i, "\xff\xc0", 2); /* inc eax */
    memcpy(p + 48, "\x04\x00\xc3", 3);        /* add $0, %al; ret */
    u32 off = 49 - 6;
    memcpy(p + 2, &off, 4);
    for (u32 n = 0; n < 50; n++) {
        u32 v;
        __asm__ volatile("call *%1" : "=a"(v) : "r"(p), "c"(n) : "memory");
        EQ(v, 20 + n);
    }
}

static void t_loop_rewrites_itself(void)
{
    /* Each turn raises the immediate of an ADD in the same loop: 1 + 2 + ... + 100. */
    u8 *p = code_page();
    static const u8 text[] = {
        0x31, 0xc0,                         /* xor eax, eax */
        0xb9, 100,  0,    0,    0,          /* mov ecx, 100 */
        0x05, 1,    0,    0,    0,          /* 1: add eax, 1 */
        0xff, 0x05, 0xf6, 0xff, 0xff, 0xff, /* inc dword [the 1] */
        0xff, 0xc9,                         /* dec ecx */
        0x75, 0xf1,                         /* jnz 1b */
        0xc3,
    };
    memcpy(p, text, sizeof text);
    int off = 8 - 18;
    memcpy(p + 14, &off, 4);
    EQ(run(p), 5050);
}

static void t_alias(void)
{
    u8 *p = code_page();
    map_page(VA, (u64)p, PG_P | PG_W);
    map_page(VA + 0x5000, (u64)p, PG_P | PG_W);
    for (u32 i = 1; i < 50; i++) {
        put_const((u8 *)VA + 16, i);
        EQ(run((void *)(VA + 0x5010)), i);
        put_const(p + 16, i + 1000);
        EQ(run((void *)(VA + 0x10)), i + 1000);
    }
    /* A 2 MiB alias of the same memory. */
    volatile u64 *e = entry_at(VA + (30ull << 30), 2);
    *e = ((u64)p & ~0x1fffffull) | PG_PS | PG_P | PG_W;
    put_const((u8 *)(VA + (30ull << 30) + ((u64)p & 0x1fffff) + 16), 77);
    EQ(run((void *)(VA + 0x10)), 77);
}

static void t_remap(void)
{
    u8 *a = code_page(), *b = code_page();
    put_const(a, 1);
    put_const(b, 2);
    map_page(VA, (u64)a, PG_P);
    EQ(run((void *)VA), 1);
    map_page(VA, (u64)b, PG_P);
    EQ(run((void *)VA), 2);
    map_page(VA, (u64)a, PG_P);
    EQ(run((void *)VA), 1);
}

static void t_code_crossing_pages(void)
{
    u8 *a = code_page(), *b = code_page(), *c = code_page();
    map_page(VA, (u64)a, PG_P | PG_W);
    map_page(VA + 4096, (u64)b, PG_P | PG_W);
    put_const((u8 *)VA + 4094, 0x11223344); /* four of its six bytes are in the second page */
    EQ(run((void *)(VA + 4094)), 0x11223344);
    b[0] = 0x55; /* a change of the second page alone */
    EQ(run((void *)(VA + 4094)), 0x11225544);
    memcpy(c, b, 16);
    c[2] = 0x66;
    map_page(VA + 4096, (u64)c, PG_P | PG_W); /* another second page */
    EQ(run((void *)(VA + 4094)), *(volatile u32 *)(VA + 4095));
    EQ(*(volatile u32 *)(VA + 4095) >> 24, 0x66);
    map_page(VA + 4096, (u64)b, PG_P | PG_W);
    EQ(run((void *)(VA + 4094)), *(volatile u32 *)(VA + 4095));
    /* A direct jump from one page into the other follows the mapping of its target. */
    static const u8 jump[] = { 0xe9, 0xfb, 0x0f, 0, 0 }; /* jmp +1000h - 5 + 5 */
    memcpy(a + 0x100, jump, 5);
    put_const(b + 0x100, 10);
    put_const(c + 0x100, 20);
    EQ(run((void *)(VA + 0x100)), 10);
    map_page(VA + 4096, (u64)c, PG_P | PG_W);
    EQ(run((void *)(VA + 0x100)), 20);
}

static void t_data_beside_code(void)
{
    u8 *p = code_page();
    put_const(p, 5);
    volatile u32 *data = (volatile u32 *)(p + 2048);
    *data = 0;
    for (u32 i = 0; i < 20000; i++)
        *data += run(p);
    EQ(*data, 100000);
    put_const(p, 6);
    EQ(run(p), 6);
}

static void t_string_store(void)
{
    u8 *p = code_page(), other[16];
    put_const(p, 1);
    EQ(run(p), 1);
    put_const(other, 2);
    memcpy(p, other, 6); /* REP MOVSB */
    EQ(run(p), 2);
    __asm__ volatile("movups (%0), %%xmm0\n\tmovups %%xmm0, (%1)"
                     :
                     : "r"(other), "r"(p)
                     : "memory");
    put_const(other, 3);
    __asm__ volatile("movups (%0), %%xmm0\n\tmovups %%xmm0, (%1)"
                     :
                     : "r"(other), "r"(p)
                     : "memory");
    EQ(run(p), 3);
    __asm__ volatile("lock incl (%0)" : : "r"(p + 1) : "memory", "cc");
    EQ(run(p), 4);
    __asm__ volatile("xchg %b0, (%1)" : : "q"(9), "r"(p + 1) : "memory");
    EQ(run(p), 9);
    __asm__ volatile("fninit\n\tfildl (%0)\n\tfistpl (%1)" : : "r"(p + 1), "r"(p + 1) : "memory");
    EQ(run(p), 9);
    __asm__ volatile("push (%0)\n\tpop (%1)" : : "r"(other), "r"(p) : "memory");
    EQ(run(p), 3);
}

static void t_stack_writes_code(void)
{
    /* CALL's own push and an interrupt frame land on code. */
    u8 *p = code_page();
    put_const(p + 8, 7);
    EQ(run(p + 8), 7);
    u64 save, insn = 0xc300000009b8ull; /* mov eax, 9; ret */
    __asm__ volatile("mov %%rsp, %0\n\tlea 16(%1), %%rsp\n\tpush %2\n\tmov %0, %%rsp"
                     : "=&r"(save)
                     : "r"(p), "r"(insn)
                     : "memory");
    EQ(run(p + 8), 9);
    __asm__ volatile(TRY "mov %%rsp, %0\n\tlea 16(%1), %%rsp\n\tint3" END
                     : "=&r"(save)
                     : "r"(p)
                     : "memory");
    EQ(fault.vec, BP);
    EQ(*(u64 *)(p + 8), SEL_DATA); /* SS of the frame; the page was used as a stack */
}

static u8 *shared;
static volatile u32 seen, stop;

static void runner(void *arg)
{
    (void)arg;
    while (!stop)
        __atomic_store_n(&seen, run(shared), __ATOMIC_RELEASE);
}

static void t_other_cpu(void)
{
    if (!cpu_start(1)) {
        test_skip("one CPU only");
        return;
    }
    shared = code_page();
    put_const(shared, 0);
    stop = 0;
    cpu_call(1, runner, 0);
    bool all = true;
    for (u32 i = 1; i < 300 && all; i++) {
        *(volatile u8 *)(shared + 1) = (u8)i;
        u64 begin = rdtsc();
        while (__atomic_load_n(&seen, __ATOMIC_ACQUIRE) != (i & 0xff) &&
               rdtsc() - begin < 2000000000)
            cpu_relax();
        all = seen == (i & 0xff);
    }
    stop = 1;
    CHECK(all);
    CHECK(cpu_wait(1));
}

const struct test tests[] = {
    { "rewrite", t_rewrite },
    { "next-instruction", t_next_instruction },
    { "same-block-later", t_same_block_later },
    { "loop-rewrites-itself", t_loop_rewrites_itself },
    { "alias", t_alias },
    { "remap", t_remap },
    { "code-crossing-pages", t_code_crossing_pages },
    { "data-beside-code", t_data_beside_code },
    { "string-store", t_string_store },
    { "stack-writes-code", t_stack_writes_code },
    { "other-cpu", t_other_cpu },
    { 0 },
};
