/* string.c: string instructions with REP (SDM volume 2, REP): faults mid-way, directions, sizes. */
#include "guest.h"

enum { CF = 1, ZF = 0x40, DFLAG = 0x400, RF = 0x10000 };
#define VA TEST_VA

/* Two pages in a row of which the second one is missing. */
static u64 half_mapped(void)
{
    u64 page = page_alloc();
    map_page(VA, page, PG_P | PG_W);
    map_page(VA + 4096, 0, 0);
    return page;
}

static void t_movs_fault_midway(void)
{
    u64 page = half_mapped(), src = page_alloc();
    for (int i = 0; i < 4096; i++)
        ((u8 *)src)[i] = (u8)(i * 7);
    u64 di = VA + 4096 - 100, si = src, cx = 200;
    __asm__ volatile(TRY "rep movsb" END : "+D"(di), "+S"(si), "+c"(cx) : : "memory");
    FAULTS(PF, PF_W);
    EQ(fault.cr2, VA + 4096);
    EQ(di, VA + 4096);
    EQ(si, src + 100);
    EQ(cx, 100);
    EQ(memcmp((void *)(page + 3996), (void *)src, 100), 0);
    u64 second = page_alloc();
    map_page(VA + 4096, second, PG_P | PG_W);
    __asm__ volatile(TRY "rep movsb" END : "+D"(di), "+S"(si), "+c"(cx) : : "memory");
    EQ(fault.vec, NONE);
    EQ(cx, 0);
    EQ(memcmp((void *)second, (void *)(src + 100), 100), 0);
    /* The source faults: the element crosses into the missing page, nothing of it is stored. */
    map_page(VA + 4096, 0, 0);
    si = VA + 4096 - 20, di = src, cx = 5;
    ((u64 *)src)[2] = 0x5555;
    __asm__ volatile(TRY "rep movsq" END : "+D"(di), "+S"(si), "+c"(cx) : : "memory");
    FAULTS(PF, 0);
    EQ(fault.cr2, VA + 4096);
    EQ(cx, 3);
    EQ(si, VA + 4096 - 4);
    EQ(di, src + 16);
    EQ(((u64 *)src)[2], 0x5555);
}

static void t_stos_fault_midway(void)
{
    u64 page = half_mapped(), di = VA + 4096 - 30, cx = 10;
    __asm__ volatile(TRY "rep stosl" END : "+D"(di), "+c"(cx) : "a"(0xa5a5a5a5) : "memory");
    FAULTS(PF, PF_W);
    EQ(fault.cr2, VA + 4096);
    EQ(cx, 3);
    EQ(di, VA + 4096 - 2);
    EQ(*(u8 *)(page + 4093), 0xa5);
    EQ(*(u16 *)(page + 4094), 0); /* nothing of the crossing element */
    di = VA + 8, cx = 3;
    map_page(VA - 4096, 0, 0);
    __asm__ volatile(TRY "std\n\trep stosq" END "cld" : "+D"(di), "+c"(cx) : "a"(1) : "memory");
    FAULTS(PF, PF_W);
    EQ(fault.cr2, VA - 8);
    EQ(cx, 1);
    EQ(di, VA - 8);
    CHECK(fault.f.rflags & DFLAG);
    CHECK(fault.f.rflags & RF); /* a fault pushes RF = 1 (SDM 3A, 17.3.1.1) */
}

static void t_direction(void)
{
    u8 b[16] = "abcdefghijklmno";
    u64 di = (u64)b + 10, si = (u64)b + 4, cx = 5;
    __asm__ volatile("std\n\trep movsb\n\tcld" : "+D"(di), "+S"(si), "+c"(cx) : : "memory");
    EQ(memcmp(b, "abcdefabcdelmno", 15), 0);
    EQ(di, (u64)b + 5);
    EQ(si, (u64)b - 1);
}

static void t_overlap(void)
{
    u8 b[64];
    memset(b, 0, sizeof b);
    b[0] = 'x';
    u64 di = (u64)b + 1, si = (u64)b, cx = 60;
    __asm__ volatile("rep movsb" : "+D"(di), "+S"(si), "+c"(cx) : : "memory");
    bool all = true;
    for (int i = 0; i < 61; i++)
        all &= b[i] == 'x';
    CHECK(all);
    u32 w[16] = { 0x01020304 }; /* elements overlap by two bytes */
    di = (u64)w + 2, si = (u64)w, cx = 4;
    __asm__ volatile("rep movsl" : "+D"(di), "+S"(si), "+c"(cx) : : "memory");
    EQ(w[0], 0x03040304);
    EQ(w[1], 0x01020102);
    EQ(w[2], 0);
    w[0] = 1, w[1] = 2, w[2] = 3;
    di = (u64)(w + 1), si = (u64)w, cx = 3;
    __asm__ volatile("rep movsl" : "+D"(di), "+S"(si), "+c"(cx) : : "memory");
    EQ(w[3], 1);
}

static void t_zero_count(void)
{
    u64 di = VA + 0x100000, si = VA + 0x100000, cx = 0, f = 0x8d5;
    __asm__ volatile(TRY "rep movsb\n\trep stosq\n\trep lodsl" END
                     : "+D"(di), "+S"(si), "+c"(cx)
                     : "a"(0)
                     : "memory");
    EQ(fault.vec, NONE);
    EQ(di, VA + 0x100000);
    __asm__ volatile("push %3\n\tpopfq\n\trepe cmpsb\n\trepne scasb\n\tpushfq\n\tpop %3"
                     : "+D"(di), "+S"(si), "+c"(cx), "+r"(f)
                     : "a"(0)
                     : "memory", "cc");
    EQ(f & 0x8d5, 0x8d5);
    /* 67h: ECX = 0 counts, and the registers keep their upper halves. */
    cx = 0xffffffff00000000, di = 0x1234567800000000 | 0x500000;
    __asm__ volatile(TRY ".byte 0x67; rep stosb" END : "+D"(di), "+c"(cx) : "a"(0) : "memory");
    EQ(fault.vec, NONE);
    EQ(cx, 0xffffffff00000000);
    EQ(di, 0x1234567800500000);
}

static void t_address_size(void)
{
    static u8 b[64] __attribute__((aligned(64)));
    memset(b, 0, sizeof b);
    u64 cx = 0xffffffff00000003, di = 0x1234567800000000 | (u64)b;
    __asm__ volatile(TRY ".byte 0x67; rep stosb" END : "+D"(di), "+c"(cx) : "a"(9) : "memory");
    EQ(fault.vec, NONE);
    EQ(cx, 0); /* written by a 32-bit operation: zero extended */
    EQ(di, (u64)b + 3);
    EQ(b[2], 9);
    EQ(b[3], 0);
    u64 a = 0, si = 0xabcd000000000000 | (u64)(b + 2);
    __asm__ volatile(TRY ".byte 0x67; lodsb" END : "+S"(si), "+a"(a) : : "memory");
    EQ(a, 9);
    EQ(si, (u64)b + 3);
    /* ESI wraps from 4 GiB to 0: page 0 is mapped, and the top of 4 GiB reads ones. */
    u64 first = *(volatile u64 *)0;
    *(volatile u64 *)0 = 0x1122334455667788;
    u8 out[8];
    si = 0xfffffffe, di = (u64)out, cx = 4;
    __asm__ volatile(TRY ".byte 0x67; rep movsb" END : "+S"(si), "+D"(di), "+c"(cx) : : "memory");
    EQ(fault.vec, NONE);
    EQ(si, 2);
    EQ(out[2], 0x88);
    EQ(out[3], 0x77);
    *(volatile u64 *)0 = first;
}

static void t_compare(void)
{
    u64 f, cx = 10, di = (u64) "abcdefghij", si = (u64) "abcdeXghij";
    __asm__ volatile("repe cmpsb\n\tpushfq\n\tpop %3"
                     : "+D"(di), "+S"(si), "+c"(cx), "=r"(f)
                     :
                     : "memory", "cc");
    EQ(cx, 4);
    EQ(f & ZF, 0);
    EQ(f & CF, CF); /* 'X' - 'f' */
    cx = 10, di = (u64) "abcdefghij";
    __asm__ volatile("repne scasb\n\tpushfq\n\tpop %2"
                     : "+D"(di), "+c"(cx), "=r"(f)
                     : "a"('d')
                     : "memory", "cc");
    EQ(cx, 6);
    EQ(f & ZF, ZF);
    half_mapped();
    memset((void *)VA, 'a', 4096);
    cx = 100, di = VA + 4090;
    f = 0x8d5;
    __asm__ volatile(TRY "repe scasb" END : "+D"(di), "+c"(cx) : "a"('a') : "memory", "cc");
    FAULTS(PF, 0);
    EQ(cx, 94);
    EQ(di, VA + 4096);
}

static void t_segment_override(void)
{
    static u64 cell[2] = { 0x1111, 0x2222 };
    u64 old = rdmsr(0xc0000100), a;
    wrmsr(0xc0000100, 8);
    u64 si = (u64)cell;
    __asm__ volatile(".byte 0x64; lodsq" : "=a"(a), "+S"(si) : : "memory");
    EQ(a, 0x2222);
    EQ(si, (u64)(cell + 1));
    u64 di = (u64)cell; /* the destination has no override */
    si = (u64)cell;
    __asm__ volatile(".byte 0x64; movsq" : "+S"(si), "+D"(di) : : "memory");
    EQ(cell[0], 0x2222);
    wrmsr(0xc0000100, old);
}

static void t_mmio(void)
{
    /* The version register of the local APIC again and again, and the unmapped hole above RAM. */
    u32 out[4] = { 0 };
    u64 si = 0xfee00030, di = (u64)out, cx = 1;
    __asm__ volatile(TRY "rep movsl" END : "+S"(si), "+D"(di), "+c"(cx) : : "memory");
    EQ(fault.vec, NONE);
    EQ(out[0], lapic_read(LAPIC_VER));
    u64 old = lapic_read(LAPIC_TPR), tpr[1] = { 0x50 };
    si = (u64)tpr, di = 0xfee00000 + LAPIC_TPR, cx = 1;
    __asm__ volatile("rep movsl" : "+S"(si), "+D"(di), "+c"(cx) : : "memory");
    EQ(lapic_read(LAPIC_TPR), 0x50);
    lapic_write(LAPIC_TPR, (u32)old);
    u64 hole[4] = { 0 };
    si = 0xc0000000 - 8, di = (u64)hole, cx = 3;
    __asm__ volatile("rep movsq" : "+S"(si), "+D"(di), "+c"(cx) : : "memory");
    EQ(hole[2], ~0ull);
    si = (u64)hole, di = 0xc0000000 - 8, cx = 3; /* writes go nowhere */
    __asm__ volatile(TRY "rep movsq" END : "+S"(si), "+D"(di), "+c"(cx) : : "memory");
    EQ(fault.vec, NONE);
    EQ(*(volatile u64 *)0xc0000000, ~0ull);
}

static void t_ins_outs(void)
{
    u8 b[8];
    outb(0x70, 0x40);
    outb(0x71, 0x5a); /* a CMOS RAM cell */
    u64 di = (u64)b, cx = 3;
    __asm__ volatile("rep insb" : "+D"(di), "+c"(cx) : "d"(0x71) : "memory");
    EQ(b[0], 0x5a);
    EQ(b[2], 0x5a);
    EQ(di, (u64)b + 3);
    u8 src[3] = { 1, 2, 0x77 };
    u64 si = (u64)src;
    cx = 3;
    __asm__ volatile("rep outsb" : "+S"(si), "+c"(cx) : "d"(0x71) : "memory");
    EQ(inb(0x71), 0x77);
    half_mapped();
    di = VA + 4095, cx = 2;
    __asm__ volatile(TRY "rep insb" END : "+D"(di), "+c"(cx) : "d"(0x71) : "memory");
    FAULTS(PF, PF_W);
    EQ(cx, 1);
    EQ(di, VA + 4096);
}

static volatile u64 seen_cx, seen_flags;

static void tick(struct frame *f)
{
    seen_cx = f->rcx;
    seen_flags = f->rflags;
    lapic_write(LAPIC_EOI, 0);
    hook[0x40] = 0;
}

static void t_interrupt_between_iterations(void)
{
    /* Long enough for the timer to hit it; what it wrote must be what RCX says. */
    u8 *to = (u8 *)0x9000000;
    u64 di = (u64)to, cx = 48 << 20;
    memset(to, 0, 4096);
    seen_cx = ~0ull;
    hook[0x40] = tick;
    lapic_write(LAPIC_TDCR, 0xb);
    lapic_write(LAPIC_LVTT, 0x40);
    lapic_write(LAPIC_TMICT, 20000);
    __asm__ volatile("sti\n\tnop\n\trep stosb\n\tcli" : "+D"(di), "+c"(cx) : "a"(0x3c) : "memory");
    EQ(cx, 0);
    EQ(di, (u64)to + (48 << 20));
    EQ(to[(48 << 20) - 1], 0x3c);
    irq_on();
    delay_us(1000);
    irq_off();
    CHECK(seen_cx != ~0ull);
    if (seen_cx > 0 && seen_cx < 48 << 20)
        CHECK(seen_flags & RF); /* SDM 3A, 17.3.1.1: set for an interrupt between iterations */
}

const struct test tests[] = {
    { "movs-fault-midway", t_movs_fault_midway },
    { "stos-fault-midway", t_stos_fault_midway },
    { "direction", t_direction },
    { "overlap", t_overlap },
    { "zero-count", t_zero_count },
    { "address-size", t_address_size },
    { "compare", t_compare },
    { "segment-override", t_segment_override },
    { "mmio", t_mmio },
    { "ins-outs", t_ins_outs },
    { "interrupt-between-iterations", t_interrupt_between_iterations },
    { 0 },
};
