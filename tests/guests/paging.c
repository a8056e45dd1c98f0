/*
 * paging.c: page faults and what decides them (SDM 3A, chapter 4): error codes, CR2, accessed and
 * dirty bits, NX, WP, SMEP, SMAP, invalidation, PCID, global pages, canonical addresses.
 */
#include "guest.h"

#define VA TEST_VA
enum {
    CR0_WP = 1 << 16,
    CR4_PGE = 1 << 7,
    CR4_PCIDE = 1 << 17,
    CR4_SMEP = 1 << 20,
    CR4_SMAP = 1 << 21
};
enum { EFLAGS_AC = 1 << 18 };

static int try_read(u64 va)
{
    u64 v;
    __asm__ volatile(TRY "mov (%1), %0" END : "=r"(v) : "r"(va) : "memory");
    return fault.vec;
}

static int try_write(u64 va)
{
    __asm__ volatile(TRY "movq $1, (%0)" END : : "r"(va) : "memory");
    return fault.vec;
}

static int try_exec(u64 va)
{
    __asm__ volatile(TRY "call *%0" END : : "r"(va) : "memory");
    return fault.vec;
}

USER_CODE static void u_read(u64 va)
{
    USER_RETURN(*(volatile u64 *)va);
}

USER_CODE static void u_write(u64 va)
{
    *(volatile u64 *)va = 1;
    USER_RETURN(0);
}

USER_CODE static void u_exec(u64 va)
{
    ((void (*)(void))va)();
    USER_RETURN(0);
}

static void t_error_codes(void)
{
    u64 page = page_alloc();
    *(u8 *)page = 0xc3;
    map_page(VA, 0, 0);
    try_read(VA + 8);
    FAULTS(PF, 0);
    EQ(fault.cr2, VA + 8);
    try_write(VA);
    FAULTS(PF, PF_W);
    map_page(VA, page, PG_P | PG_U);
    EQ(try_read(VA), NONE);
    try_write(VA + 16);
    FAULTS(PF, PF_P | PF_W);
    user_call(u_write, VA);
    FAULTS(PF, PF_P | PF_W | PF_U);
    user_call(u_read, VA);
    EQ(fault.vec, VEC_USER_RETURN);
    map_page(VA, page, PG_P | PG_W);
    user_call(u_read, VA + 24);
    FAULTS(PF, PF_P | PF_U);
    EQ(fault.cr2, VA + 24);
    map_page(VA, 0, 0);
    user_call(u_read, VA);
    FAULTS(PF, PF_U);
    map_page(VA, page, PG_P | PG_NX);
    try_exec(VA);
    FAULTS(PF, PF_P | PF_I);
    EQ(fault.f.rip, VA);
    map_page(VA, page, PG_P | PG_NX | PG_U);
    user_call(u_exec, VA);
    FAULTS(PF, PF_P | PF_I | PF_U);
    map_page(VA, page, PG_P | PG_U);
    user_call(u_exec, VA);
    EQ(fault.vec, VEC_USER_RETURN);
    map_page(VA, 0, 0); /* NXE is on, so a fetch from a missing page says I */
    try_exec(VA);
    FAULTS(PF, PF_I);
}

static void t_upper_levels(void)
{
    u64 page = page_alloc(), va = VA + (5ull << 30);
    map_page(va, page, PG_P | PG_W | PG_U);
    for (int level = 4; level >= 2; level--) {
        u64 *e = entry_at(va, level), old = *e;
        if (level == 4)
            continue; /* shared with the code of this guest */
        *e = old & ~(u64)PG_W;
        invlpg(va);
        try_write(va);
        FAULTS(PF, PF_P | PF_W);
        *e = old & ~(u64)PG_U;
        invlpg(va);
        user_call(u_read, va);
        FAULTS(PF, PF_P | PF_U);
        *e = old | PG_NX;
        invlpg(va);
        try_exec(va);
        FAULTS(PF, PF_P | PF_I);
        *e = 0;
        invlpg(va);
        try_read(va);
        FAULTS(PF, 0);
        *e = old;
        invlpg(va);
        EQ(try_write(va), NONE);
    }
}

static void t_reserved_bits(void)
{
    u64 page = page_alloc();
    unsigned bits = cpuid(0x80000008, 0).a & 0xff;
    if (bits < 52) {
        map_page(VA, page | 1ull << 51, PG_P | PG_W);
        try_read(VA);
        FAULTS(PF, PF_P | PF_RSVD);
        map_page(VA, page | 1ull << bits, PG_P | PG_W);
        try_write(VA);
        FAULTS(PF, PF_P | PF_W | PF_RSVD);
    }
    map_page(VA, page, PG_P);
    u64 *e = entry_at(VA, 2), old = *e;
    *e = 0x2000 | PG_PS | PG_P; /* bits 13..20 of a 2 MiB entry are reserved */
    invlpg(VA);
    try_read(VA);
    FAULTS(PF, PF_P | PF_RSVD);
    *e = old;
    invlpg(VA);
    /* Without NXE bit 63 is reserved. */
    u64 efer = rdmsr(0xc0000080);
    map_page(VA, page, PG_P | PG_NX);
    wrmsr(0xc0000080, efer & ~(1ull << 11));
    invlpg(VA);
    try_read(VA);
    FAULTS(PF, PF_P | PF_RSVD);
    wrmsr(0xc0000080, efer);
    map_page(VA, page, PG_P | PG_NX);
    EQ(try_read(VA), NONE);
}

static void t_crossing(void)
{
    u64 a = page_alloc(), b = page_alloc();
    map_page(VA, a, PG_P | PG_W);
    map_page(VA + 4096, 0, 0);
    u64 *ap = (u64 *)(a + 4088);
    *ap = 0x1111111111111111;
    try_read(VA + 4092);
    FAULTS(PF, 0);
    EQ(fault.cr2, VA + 4096);
    try_write(VA + 4095);
    FAULTS(PF, PF_W);
    EQ(fault.cr2, VA + 4096);
    EQ(*ap, 0x1111111111111111); /* nothing of it was stored */
    map_page(VA, 0, 0);
    map_page(VA + 4096, b, PG_P);
    try_write(VA + 4090);
    FAULTS(PF, PF_W);
    EQ(fault.cr2, VA + 4090);
    map_page(VA, a, PG_P | PG_W);
    try_write(VA + 4090);
    FAULTS(PF, PF_P | PF_W);
    EQ(fault.cr2, VA + 4096);
    /* Pages that are neighbours only for the guest. */
    u64 c = page_alloc(), far = page_alloc();
    (void)c;
    map_page(VA + 4096, far, PG_P | PG_W);
    *(volatile u64 *)(VA + 4093) = 0x8877665544332211;
    EQ(*(u8 *)(a + 4095), 0x33);
    EQ(*(u32 *)far, 0x77665544);
    EQ(*(volatile u64 *)(VA + 4093), 0x8877665544332211);
    __asm__ volatile("lock addq $1, (%0)" : : "r"(VA + 4093) : "memory", "cc");
    EQ(*(u8 *)(a + 4093), 0x12);
    /* An instruction that crosses: movabs in two pages, the second one missing. */
    static const u8 code[] = { 0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 0xc3 };
    memcpy((void *)(VA + 4091), code, sizeof code);
    u64 rax;
    __asm__ volatile(TRY "call *%1" END : "=a"(rax) : "r"(VA + 4091) : "memory");
    EQ(fault.vec, NONE);
    EQ(rax, 0x0807060504030201);
    map_page(VA + 4096, 0, 0);
    try_exec(VA + 4091);
    FAULTS(PF, PF_I);
    EQ(fault.cr2, VA + 4096);
    EQ(fault.f.rip, VA + 4091);
    map_page(VA + 4096, b, PG_P);
    memcpy((void *)b, code + 5, 6);
    *(u8 *)(b + 4) = 0x99;
    __asm__ volatile(TRY "call *%1" END : "=a"(rax) : "r"(VA + 4091) : "memory");
    EQ(rax, 0x9907060504030201); /* the second page is another one now */
}

static void t_accessed_dirty(void)
{
    u64 page = page_alloc(), va = VA + (9ull << 30);
    map_page(va, page, PG_P | PG_W | PG_U);
    for (int level = 1; level <= 3; level++)
        *entry_at(va, level) &= ~(u64)(PG_A | PG_D);
    invlpg(va);
    EQ(try_read(va), NONE);
    for (int level = 1; level <= 3; level++)
        EQ(*entry_at(va, level) & (PG_A | PG_D), PG_A);
    EQ(try_write(va), NONE);
    EQ(*pte(va) & (PG_A | PG_D), PG_A | PG_D);
    EQ(*entry_at(va, 2) & PG_D, 0);
    /* A write that is refused sets no D. */
    map_page(va, page, PG_P | PG_U);
    EQ(try_write(va), PF);
    EQ(*pte(va) & PG_D, 0);
    /* An atomic operation whose comparison fails writes all the same. */
    map_page(va, page, PG_P | PG_W | PG_U);
    u64 rax = 99;
    __asm__ volatile("lock cmpxchg %1, (%2)" : "+a"(rax) : "r"(1ull), "r"(va) : "memory", "cc");
    EQ(*pte(va) & PG_D, PG_D);
    /* The entry was dirty, is cleared and flushed: the next write sets it again. */
    *pte(va) &= ~(u64)PG_D;
    invlpg(va);
    EQ(try_write(va), NONE);
    EQ(*pte(va) & PG_D, PG_D);
    /* 2 MiB pages: A and D in the leaf at level 2. */
    volatile u64 *e = entry_at(VA + (10ull << 30), 2);
    *e = 0x800000 | PG_PS | PG_P | PG_W;
    EQ(try_write(VA + (10ull << 30)), NONE);
    EQ(*e & (PG_A | PG_D), PG_A | PG_D);
}

static void t_write_protect(void)
{
    u64 page = page_alloc(), cr0 = read_cr0();
    map_page(VA, page, PG_P | PG_U);
    EQ(try_write(VA), PF);
    write_cr0(cr0 & ~(u64)CR0_WP);
    EQ(try_write(VA), NONE); /* the supervisor may */
    EQ(*pte(VA) & PG_D, PG_D);
    user_call(u_write, VA);
    FAULTS(PF, PF_P | PF_W | PF_U);
    write_cr0(cr0);
    EQ(try_write(VA), PF); /* and may not again, though the page was just written */
}

static void t_smep(void)
{
    if (!(cpuid(7, 0).b & 1 << 7)) {
        test_skip("no SMEP");
        return;
    }
    u64 page = page_alloc(), cr4 = read_cr4();
    *(u8 *)page = 0xc3;
    map_page(VA, page, PG_P | PG_U);
    EQ(try_exec(VA), NONE);
    write_cr4(cr4 | CR4_SMEP);
    try_exec(VA);
    FAULTS(PF, PF_P | PF_I);
    user_call(u_exec, VA);
    EQ(fault.vec, VEC_USER_RETURN);
    EQ(try_read(VA), NONE);
    write_cr4(cr4);
    EQ(try_exec(VA), NONE);
}

static void t_smap(void)
{
    if (!(cpuid(7, 0).b & 1 << 20)) {
        test_skip("no SMAP");
        return;
    }
    u64 page = page_alloc(), cr4 = read_cr4();
    map_page(VA, page, PG_P | PG_W | PG_U);
    EQ(try_write(VA), NONE);
    write_cr4(cr4 | CR4_SMAP);
    try_read(VA);
    FAULTS(PF, PF_P);
    try_write(VA);
    FAULTS(PF, PF_P | PF_W);
    u64 v;
    __asm__ volatile(TRY "stac\n\tmov (%1), %0\n\tclac" END : "=r"(v) : "r"(VA) : "memory", "cc");
    EQ(fault.vec, NONE);
    __asm__ volatile(TRY "stac\n\tmov %0, (%1)\n\tclac" END : : "r"(v), "r"(VA) : "memory", "cc");
    EQ(fault.vec, NONE);
    EQ(try_read(VA), PF);
    user_call(u_read, VA);
    EQ(fault.vec, VEC_USER_RETURN);
    /* Implicit supervisor accesses ignore AC: a GDT in a user page. */
    map_page(VA, page_alloc(), PG_P | PG_W); /* what the fault itself needs stays supervisor */
    map_page(VA + 4096, page, PG_P | PG_W | PG_U);
    memcpy((void *)(VA + 4096 - SEL_TEST), gdt, SEL_TEST);
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) user_gdt = { sizeof gdt - 1, VA + 4096 - SEL_TEST },
                              own_gdt = { sizeof gdt - 1, (u64)gdt };
    __asm__ volatile(TRY "lgdt %0\n\tstac\n\tmov %w2, %%ds" END "clac\n\tlgdt %1"
                     :
                     : "m"(user_gdt), "m"(own_gdt), "r"(SEL_TEST)
                     : "memory", "cc");
    FAULTS(PF, PF_P);
    EQ(fault.cr2, VA + 4096);
    map_page(VA, page, PG_P | PG_W | PG_U);
    write_cr4(cr4);
    EQ(try_read(VA), NONE);
    EQ(read_cr4() & CR4_SMAP, 0);
}

/* Tables that CPL 3 makes the processor read are read as supervisor. */
USER_CODE static void u_load_ds(u64 sel)
{
    __asm__ volatile("mov %w0, %%ds" : : "r"(sel) : "memory");
    USER_RETURN(0);
}

static void t_implicit_supervisor(void)
{
    u64 page = page_alloc();
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) d = { sizeof gdt - 1, VA }, own = { sizeof gdt - 1, (u64)gdt };
    memcpy((void *)page, gdt, sizeof gdt);
    map_page(VA, page, PG_P | PG_W); /* supervisor only */
    __asm__ volatile("lgdt %0" : : "m"(d));
    EQ(user_call(u_load_ds, SEL_UDATA | 3), 0);
    EQ(fault.vec, VEC_USER_RETURN);
    map_page(VA, 0, 0);
    __asm__ volatile("lgdt %0" : : "m"(own));
    /* A missing GDT page: the fault at CPL 3 is a supervisor access. */
    memcpy((void *)(page), gdt, sizeof gdt);
    map_page(VA, page, PG_P | PG_W);
    map_page(VA + 4096, 0, 0);
    d.base = VA + 4096 - SEL_TEST; /* what user mode and the way back need is in the first page */
    memcpy((void *)(VA + 4096 - SEL_TEST), gdt, SEL_TEST);
    __asm__ volatile("lgdt %0" : : "m"(d));
    user_call(u_load_ds, SEL_TEST | 3);
    __asm__ volatile("lgdt %0" : : "m"(own));
    FAULTS(PF, 0);
    EQ(fault.cr2, VA + 4096);
    EQ(fault.f.cs & 3, 3);
}

static void t_invlpg(void)
{
    u64 a = page_alloc(), b = page_alloc();
    *(u64 *)a = 0xa, *(u64 *)b = 0xb;
    map_page(VA, a, PG_P | PG_W);
    EQ(*(volatile u64 *)VA, 0xa);
    map_page(VA, b, PG_P | PG_W);
    EQ(*(volatile u64 *)VA, 0xb);
    *pte(VA) = a | PG_P | PG_W;
    write_cr3(read_cr3());
    EQ(*(volatile u64 *)VA, 0xa);
    /* More rights need no invalidation: the fault is spurious at most once, here never. */
    map_page(VA, a, PG_P);
    EQ(try_read(VA), NONE);
    *pte(VA) = a | PG_P | PG_W;
    EQ(try_write(VA), NONE);
    __asm__ volatile(TRY "invlpg (%0)" END : : "r"(0x8000000000000000) : "memory");
    EQ(fault.vec, NONE); /* not canonical: nothing happens (SDM 2, INVLPG) */
}

static void t_global(void)
{
    u64 a = page_alloc(), b = page_alloc(), cr4 = read_cr4();
    *(u64 *)a = 0xa, *(u64 *)b = 0xb;
    write_cr4(cr4 | CR4_PGE);
    map_page(VA, a, PG_P | PG_W | PG_G);
    EQ(*(volatile u64 *)VA, 0xa);
    *pte(VA) = b | PG_P | PG_W | PG_G;
    invlpg(VA); /* also drops global ones */
    EQ(*(volatile u64 *)VA, 0xb);
    *pte(VA) = a | PG_P | PG_W | PG_G;
    write_cr4(cr4); /* changing PGE drops everything */
    EQ(*(volatile u64 *)VA, 0xa);
}

static void t_pcid(void)
{
    if (!(cpuid(1, 0).c & 1 << 17)) {
        test_skip("no PCID");
        return;
    }
    u64 cr3 = read_cr3(), cr4 = read_cr4();
    EQ(try_write_cr(3, cr3 | 0x18), NONE);    /* PWT and PCD without PCIDE */
    EQ(try_write_cr(4, cr4 | CR4_PCIDE), GP); /* CR3[11:0] must be 0 */
    write_cr3(cr3);
    EQ(try_write_cr(4, cr4 | CR4_PCIDE), NONE);
    EQ(try_write_cr(3, (cr3 | 5) | 1ull << 63), NONE);
    EQ(read_cr3(), cr3 | 5); /* bit 63 is not kept */
    u64 a = page_alloc(), b = page_alloc();
    *(u64 *)a = 0xa, *(u64 *)b = 0xb;
    map_page(VA, a, PG_P | PG_W);
    EQ(*(volatile u64 *)VA, 0xa);
    write_cr3(cr3 | 6 | 1ull << 63);
    EQ(*(volatile u64 *)VA, 0xa);
    *pte(VA) = b | PG_P | PG_W;
    write_cr3(cr3 | 5); /* bit 63 clear: PCID 5 is flushed */
    EQ(*(volatile u64 *)VA, 0xb);
    write_cr3(cr3 | 6);
    EQ(*(volatile u64 *)VA, 0xb);
    if (cpuid(7, 0).b & 1 << 10) { /* INVPCID */
        struct {
            u64 pcid, addr;
        } d = { 6, VA };
        *pte(VA) = a | PG_P | PG_W;
        __asm__ volatile(TRY "invpcid %0, %1" END : : "m"(d), "r"(0ull) : "memory");
        EQ(fault.vec, NONE);
        EQ(*(volatile u64 *)VA, 0xa);
        *pte(VA) = b | PG_P | PG_W;
        __asm__ volatile("invpcid %0, %1" : : "m"(d), "r"(1ull) : "memory");
        EQ(*(volatile u64 *)VA, 0xb);
        *pte(VA) = a | PG_P | PG_W;
        __asm__ volatile("invpcid %0, %1" : : "m"(d), "r"(3ull) : "memory");
        EQ(*(volatile u64 *)VA, 0xa);
        *pte(VA) = b | PG_P | PG_W;
        __asm__ volatile("invpcid %0, %1" : : "m"(d), "r"(2ull) : "memory");
        EQ(*(volatile u64 *)VA, 0xb);
        __asm__ volatile(TRY "invpcid %0, %1" END : : "m"(d), "r"(4ull) : "memory");
        FAULTS(GP, 0);
        d.pcid = 0x1000;
        __asm__ volatile(TRY "invpcid %0, %1" END : : "m"(d), "r"(0ull) : "memory");
        FAULTS(GP, 0);
        d.pcid = 6, d.addr = 1ull << 63;
        __asm__ volatile(TRY "invpcid %0, %1" END : : "m"(d), "r"(0ull) : "memory");
        FAULTS(GP, 0);
    }
    /* Clearing PG or LME's path is not tried; PCIDE cannot be set outside long mode. */
    write_cr3(cr3);
    write_cr4(cr4);
    EQ(try_write_cr(3, cr3 | 1ull << 63), GP); /* without PCIDE bit 63 is reserved */
    EQ(try_write_cr(3, cr3 | 1ull << 52), GP);
}

static void t_canonical(void)
{
    u64 bad = 0x0000800000001000, v;
    idt[SS].ist = 1; /* some of these leave no usable stack */
    __asm__ volatile(TRY "mov (%1), %0" END : "=r"(v) : "r"(bad) : "memory");
    FAULTS(GP, 0);
    __asm__ volatile(TRY "mov %%rbp, %%r12\n\tmov %1, %%rbp\n\tmov (%%rbp), %0" END
                         "mov %%r12, %%rbp"
                     : "=a"(v)
                     : "b"(bad)
                     : "memory", "r12");
    FAULTS(SS, 0);
    __asm__ volatile(TRY "mov %0, %%rsp\n\tpush %%rax" END : : "r"(bad) : "memory");
    FAULTS(SS, 0);
    __asm__ volatile(TRY "mov %0, %%rsp\n\tpop %%rax" END : : "r"(bad) : "memory", "rax");
    FAULTS(SS, 0);
    __asm__ volatile(TRY "mov %0, %%rsp\n\tcall 1f\n1:" END : : "r"(bad) : "memory");
    FAULTS(SS, 0);
    /* The last byte before the hole is canonical, the access is not. */
    __asm__ volatile(TRY "mov (%1), %0" END : "=r"(v) : "r"(0x00007ffffffffffc) : "memory");
    FAULTS(GP, 0);
    __asm__ volatile(TRY "jmp *%0" END : : "r"(bad) : "memory");
    FAULTS(GP, 0);
    __asm__ volatile(TRY "push %0\n\tret" END : : "r"(bad) : "memory");
    FAULTS(GP, 0);
    EQ(try_wrmsr(0xc0000100, bad), GP); /* FS base */
    EQ(try_wrmsr(0xc0000082, bad), GP); /* LSTAR */
    __asm__ volatile(TRY "mov (%1), %0" END : "=r"(v) : "r"(0xffff800000000000) : "memory");
    FAULTS(PF, 0);
    idt[SS].ist = 0;
}

static void t_large_pages(void)
{
    volatile u64 *e3 = entry_at(VA + (20ull << 30), 3);
    bool gig = cpuid(0x80000001, 0).d & 1 << 26;
    *(volatile u64 *)0x7654320 = 0x1234;
    if (gig) {
        *e3 = PG_PS | PG_P | PG_W; /* the first GiB */
        EQ(*(volatile u64 *)(VA + (20ull << 30) + 0x7654320), 0x1234);
        EQ(*e3 & PG_A, PG_A);
        *e3 = 0x2000 | PG_PS | PG_P;
        invlpg(VA + (20ull << 30));
        EQ(try_read(VA + (20ull << 30)), PF);
        EQ(fault.f.err, PF_P | PF_RSVD);
    }
    volatile u64 *e2 = entry_at(VA + (21ull << 30), 2);
    *e2 = 0x7600000 | PG_PS | PG_P | PG_W;
    EQ(*(volatile u64 *)(VA + (21ull << 30) + 0x54320), 0x1234);
    /* INVLPG of any address in it drops the whole page. */
    *e2 = 0;
    invlpg(VA + (21ull << 30) + 0x1ff000);
    EQ(try_read(VA + (21ull << 30) + 0x54320), PF);
}

static void t_self_map(void)
{
    /* Page tables written through a mapping of themselves. */
    u64 a = page_alloc(), b = page_alloc();
    *(u64 *)a = 0xa, *(u64 *)b = 0xb;
    map_page(VA, a, PG_P | PG_W);
    map_page(VA + 0x1000, (u64)pte(VA) & ~0xfffull, PG_P | PG_W);
    EQ(*(volatile u64 *)VA, 0xa);
    *(volatile u64 *)(VA + 0x1000 + ((u64)pte(VA) & 0xfff)) = b | PG_P;
    invlpg(VA);
    EQ(*(volatile u64 *)VA, 0xb);
}

const struct test tests[] = {
    { "error-codes", t_error_codes },
    { "upper-levels", t_upper_levels },
    { "reserved-bits", t_reserved_bits },
    { "crossing", t_crossing },
    { "accessed-dirty", t_accessed_dirty },
    { "write-protect", t_write_protect },
    { "smep", t_smep },
    { "smap", t_smap },
    { "implicit-supervisor", t_implicit_supervisor },
    { "invlpg", t_invlpg },
    { "global", t_global },
    { "pcid", t_pcid },
    { "canonical", t_canonical },
    { "large-pages", t_large_pages },
    { "self-map", t_self_map },
    { 0 },
};
