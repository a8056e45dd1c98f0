/*
 * storm.c: both CPUs change mappings, rights and code under each other's feet, with interrupts in
 * all directions at once. Each change is announced by an IPI and acknowledged; from then on the
 * other CPU may not see the former state (SDM 3A, 4.10.5; 8.1.3).
 */
#include "guest.h"

#define VA (TEST_VA + (UINT64_C(16) << 30))
enum { ROUNDS = 400, PAGES = 8, V_SHOOT = 0x47, V_NOISE = 0x48 };

/* What one CPU asks of the other: drop the address, then look at it. */
struct ask {
    volatile u64 at;
    volatile u32 kind; /* 0: load, 1: store, 2: call */
    volatile u64 seen;
    volatile u32 done;
    u32 pad[8];
};

static struct ask ask[2]; /* [n]: to CPU n */
static volatile u32 noise[2], finished, bad[2];
static u64 data[2][PAGES], code[2][PAGES];

static u32 run(u64 at)
{
    u32 v;
    __asm__ volatile("call *%1" : "=a"(v) : "r"(at) : "memory", "rcx", "rdx");
    return v;
}

static void answer(struct frame *f)
{
    (void)f;
    struct ask *a = &ask[cpu_index()];
    if (a->at) {
        u64 at = a->at;
        invlpg(at);
        a->seen = a->kind == 2 ? run(at) : *(volatile u64 *)at;
        a->at = 0;
        __atomic_store_n(&a->done, 1, __ATOMIC_RELEASE);
    }
    lapic_write(LAPIC_EOI, 0);
}

static void count_noise(struct frame *f)
{
    (void)f;
    noise[cpu_index()]++;
    lapic_write(LAPIC_EOI, 0);
}

/* The other CPU's view of AT after it has been told. */
static u64 other_sees(unsigned self, u64 at, u32 kind)
{
    struct ask *a = &ask[!self];
    a->kind = kind;
    a->done = 0;
    __atomic_store_n(&a->at, at, __ATOMIC_RELEASE);
    lapic_ipi(acpi.apic_id[!self], 0x4000 | V_SHOOT);
    u64 begin = rdtsc();
    while (!__atomic_load_n(&a->done, __ATOMIC_ACQUIRE) && rdtsc() - begin < 20000000000)
        cpu_relax();
    return a->seen;
}

static void storm(void *arg)
{
    (void)arg;
    unsigned self = cpu_index();
    u64 base = VA + (u64)self * 0x100000;
    irq_on();
    for (u32 i = 0; i < ROUNDS; i++) {
        u32 page = i % PAGES, next = (i * 5 + 1) % PAGES;
        u64 at = base + page * 4096;
        /* data: another page */
        *pte(at) = data[self][next] | PG_P | PG_W;
        invlpg(at);
        bad[self] += *(volatile u64 *)at != next + 100 * self;
        bad[self] += other_sees(self, at, 0) != next + 100 * self;
        /* code: another page, then other bytes */
        u64 text = base + 0x80000 + page * 4096;
        *pte(text) = code[self][next] | PG_P | PG_W;
        invlpg(text);
        *(volatile u32 *)(code[self][next] + 1) = i;
        bad[self] += run(text) != i;
        bad[self] += other_sees(self, text, 2) != i;
        if (i % 3 == 0)
            lapic_write(LAPIC_ICR, 0xc4000 | V_NOISE); /* to all but self */
        if (i % 50 == 0)
            write_cr3(read_cr3());
    }
    __atomic_fetch_add(&finished, 1, __ATOMIC_SEQ_CST);
    u64 begin = rdtsc(); /* the other one may still ask */
    while (finished < 2 && rdtsc() - begin < 20000000000)
        cpu_relax();
    irq_off();
}

static void t_shootdown(void)
{
    CHECK(cpu_start(1));
    for (u32 n = 0; n < 2; n++)
        for (u32 i = 0; i < PAGES; i++) {
            data[n][i] = page_alloc();
            *(u64 *)data[n][i] = i + 100 * n;
            code[n][i] = page_alloc();
            *(u8 *)code[n][i] = 0xb8; /* mov eax, ...; ret */
            *(u8 *)(code[n][i] + 5) = 0xc3;
            map_page(VA + n * 0x100000 + i * 4096, data[n][i], PG_P | PG_W);
            map_page(VA + n * 0x100000 + 0x80000 + i * 4096, code[n][i], PG_P | PG_W);
        }
    hook[V_SHOOT] = answer;
    hook[V_NOISE] = count_noise;
    cpu_call(1, storm, 0);
    storm(0);
    u64 begin = rdtsc();
    while (!cpu_wait(1) && rdtsc() - begin < 60000000000)
        continue;
    EQ(finished, 2);
    EQ(bad[0], 0);
    EQ(bad[1], 0);
    CHECK(noise[0] > 0 && noise[1] > 0);
    hook[V_SHOOT] = hook[V_NOISE] = 0;
}

/* A loop without a call or an exit of its own, until the other CPU changes its jump. */
static volatile u32 spins;

static void spinner(void *arg)
{
    (void)run((u64)arg);
    spins++;
}

static void t_loop_opened_from_outside(void)
{
    u8 *p = (u8 *)page_alloc();
    spins = 0;
    for (u32 i = 0; i < 20; i++) {
        static const u8 loop[] = { 0xff, 0xc0, 0xeb, 0xfc, 0xc3 }; /* 1: inc eax; jmp 1b; ret */
        memcpy(p, loop, sizeof loop);
        cpu_call(1, spinner, p);
        delay_us(200 * (i % 4));
        *(volatile u8 *)(p + 3) = 0; /* jmp to the next instruction */
        CHECK(cpu_wait(1));
        EQ(spins, i + 1);
    }
}

static volatile u32 ipis, got[2];

static void ping(struct frame *f)
{
    (void)f;
    got[cpu_index()]++;
    lapic_write(LAPIC_EOI, 0);
}

static void pinger(void *arg)
{
    (void)arg;
    irq_on();
    while (ipis < 2000)
        cpu_relax();
    irq_off();
}

/* IPIs one after the other to a CPU that does nothing but be interrupted: none is lost. */
static void t_ipi_storm(void)
{
    hook[V_NOISE] = ping;
    got[1] = ipis = 0;
    cpu_call(1, pinger, 0);
    u32 lost = 0;
    for (u32 i = 0; i < 2000; i++) {
        lapic_ipi(acpi.apic_id[1], 0x4000 | V_NOISE);
        u64 begin = rdtsc();
        while (got[1] <= i && rdtsc() - begin < 20000000000)
            cpu_relax();
        lost += got[1] != i + 1;
        ipis = i + 1;
    }
    EQ(lost, 0);
    CHECK(cpu_wait(1));
    hook[V_NOISE] = 0;
}

const struct test tests[] = {
    { "shootdown", t_shootdown },
    { "loop-opened-from-outside", t_loop_opened_from_outside },
    { "ipi-storm", t_ipi_storm },
    { 0 },
};
