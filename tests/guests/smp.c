/*
 * smp.c: two CPUs (SDM 3A, chapter 8): start by INIT and SIPI, atomics that cross lines and pages,
 * IPIs and their order, TLB shootdown, the order of stores.
 */
#include "guest.h"

static u8 cells[8192] __attribute__((aligned(4096)));
static volatile u32 go;

struct job {
    u64 *at;
    u32 times;
};

static void add_locked(void *arg)
{
    struct job *j = arg;
    while (!go)
        cpu_relax();
    for (u32 i = 0; i < j->times; i++)
        __asm__ volatile("lock addq $1, (%0)" : : "r"(j->at) : "memory", "cc");
}

static void both(void (*fn)(void *), void *a, void *b)
{
    go = 0;
    cpu_call(1, fn, b);
    go = 1;
    fn(a);
    CHECK(cpu_wait(1));
}

static u64 get(const void *at)
{
    u64 v;
    memcpy(&v, at, 8);
    return v;
}

static void t_start(void)
{
    EQ(acpi.cpus, 2);
    CHECK(cpu_start(1));
}

static void t_atomics(void)
{
    static const u32 offs[] = { 0, 1, 60, 63, 4090, 4093 }; /* aligned, split lines, split pages */
    u64 other = page_alloc(), va = TEST_VA;
    map_page(va, (u64)cells, PG_P | PG_W);
    map_page(va + 4096, other, PG_P | PG_W); /* not neighbours in physical memory */
    for (unsigned i = 0; i < sizeof offs / sizeof offs[0]; i++) {
        struct job j = { (u64 *)(va + offs[i]), 20000 };
        memset(cells, 0, sizeof cells);
        *(u64 *)other = 0;
        both(add_locked, &j, &j);
        EQ(get((void *)(va + offs[i])), 40000);
    }
}

static void xchg_loop(void *arg)
{
    struct job *j = arg;
    u64 v;
    while (!go)
        cpu_relax();
    for (u32 i = 0; i < j->times; i++) {
        u32 one = 1;
        do { /* a spin lock by XCHG */
            one = 1;
            __asm__ volatile("xchg %0, (%1)" : "+r"(one) : "r"(j->at) : "memory");
            if (one)
                cpu_relax();
        } while (one);
        v = j->at[1];
        j->at[1] = v + 1;
        *(volatile u32 *)j->at = 0;
    }
}

static void t_spin_lock(void)
{
    struct job j = { (u64 *)cells, 20000 };
    memset(cells, 0, 64);
    both(xchg_loop, &j, &j);
    EQ(((u64 *)cells)[1], 40000);
}

static void cas16(void *arg)
{
    struct job *j = arg;
    while (!go)
        cpu_relax();
    for (u32 i = 0; i < j->times; i++) {
        u64 a = j->at[0], d = j->at[1];
        u8 done;
        do {
            __asm__ volatile("lock cmpxchg16b (%3)\n\tsetz %2"
                             : "+a"(a), "+d"(d), "=q"(done)
                             : "r"(j->at), "b"(a + 1), "c"(d + 2)
                             : "memory", "cc");
        } while (!done);
    }
}

static void t_cmpxchg16b(void)
{
    struct job j = { (u64 *)cells, 10000 };
    memset(cells, 0, 64);
    both(cas16, &j, &j);
    EQ(((u64 *)cells)[0], 20000);
    EQ(((u64 *)cells)[1], 40000);
}

static void bit_loop(void *arg)
{
    struct job *j = arg;
    while (!go)
        cpu_relax();
    for (u32 i = 0; i < 512; i++)
        __asm__ volatile("lock btsq %1, (%0)"
                         :
                         : "r"(j->at), "r"((u64)(2 * i + j->times))
                         : "memory", "cc");
}

static void t_locked_bits(void)
{
    struct job a = { (u64 *)(cells + 3), 0 }, b = { (u64 *)(cells + 3), 1 };
    memset(cells, 0, 256);
    both(bit_loop, &a, &b);
    bool all = true;
    for (int i = 3; i < 131; i++)
        all &= cells[i] == 0xff;
    CHECK(all);
}

static volatile u64 turn[16];

/* Two numbers stored in order are never seen in the other order (x86-TSO). */
static void store_pairs(void *arg)
{
    u32 n = *(u32 *)arg;
    for (u64 i = 1; i <= n; i++) {
        turn[0] = i;
        turn[8] = i;
    }
}

static void t_store_order(void)
{
    u32 n = 300000;
    turn[0] = turn[8] = 0;
    bool ordered = true;
    cpu_call(1, store_pairs, &n);
    while (turn[8] < n && ordered) {
        u64 b = turn[8], a = turn[0];
        ordered = a >= b;
    }
    CHECK(cpu_wait(1));
    CHECK(ordered);
}

static volatile u32 x_cell[32], y_cell[32], r1, r2, round_cpu1, round_cpu0;

/* Store, fence, load: both loads cannot miss both stores. */
static void dekker(void *arg)
{
    u32 n = *(u32 *)arg;
    for (u32 i = 1; i <= n; i++) {
        while (round_cpu0 < i)
            cpu_relax();
        y_cell[0] = 1;
        __asm__ volatile("mfence" : : : "memory");
        r2 = x_cell[0];
        round_cpu1 = i;
    }
}

static void t_fence(void)
{
    u32 n = 3000, bad = 0;
    round_cpu0 = round_cpu1 = 0;
    cpu_call(1, dekker, &n);
    for (u32 i = 1; i <= n; i++) {
        x_cell[0] = y_cell[0] = 0;
        round_cpu0 = i;
        x_cell[0] = 1;
        __asm__ volatile("lock orl $0, (%%rsp)" : : : "memory", "cc");
        r1 = y_cell[0];
        while (round_cpu1 < i)
            cpu_relax();
        bad += !r1 && !r2;
    }
    CHECK(cpu_wait(1));
    EQ(bad, 0);
}

static volatile u32 stop;

static void take_irqs(void *arg)
{
    (void)arg;
    irq_on();
    while (!stop)
        cpu_relax();
    irq_off();
}

static void halt_irqs(void *arg)
{
    (void)arg;
    while (!stop)
        __asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
}

static void ipi_rounds(void (*fn)(void *), u32 vector, u32 rounds)
{
    irq_count[vector] = stop = 0;
    cpu_call(1, fn, 0);
    bool all = true;
    for (u32 i = 1; i <= rounds && all; i++) {
        lapic_ipi(acpi.apic_id[1], 0x4000 | vector);
        u64 begin = rdtsc();
        while (irq_count[vector] < i && rdtsc() - begin < 3000000000)
            cpu_relax();
        all = irq_count[vector] == i;
    }
    stop = 1;
    lapic_ipi(acpi.apic_id[1], 0x4000 | (vector + 1));
    CHECK(all);
    CHECK(cpu_wait(1));
}

static void t_ipi(void)
{
    ipi_rounds(take_irqs, 0x42, 2000);
}

static void t_ipi_wakes_halt(void)
{
    ipi_rounds(halt_irqs, 0x44, 500);
}

static volatile u64 message;
static volatile u32 late;

static void check_message(struct frame *f)
{
    (void)f;
    late += message != irq_count[0x46] + 1;
    lapic_write(LAPIC_EOI, 0);
    irq_count[0x46]++; /* lets the other CPU go on: last */
}

/* What is stored before an IPI is seen by its handler. */
static void t_ipi_order(void)
{
    irq_count[0x46] = stop = late = 0;
    hook[0x46] = check_message;
    cpu_call(1, take_irqs, 0);
    for (u32 i = 1; i <= 1000; i++) {
        message = i;
        lapic_ipi(acpi.apic_id[1], 0x4046);
        u64 begin = rdtsc();
        while (irq_count[0x46] < i && rdtsc() - begin < 3000000000)
            cpu_relax();
    }
    stop = 1;
    CHECK(cpu_wait(1));
    EQ(irq_count[0x46], 1000);
    EQ(late, 0);
    hook[0x46] = 0;
}

static volatile u64 probe;
static volatile u32 shot, reads;

static void shoot(struct frame *f)
{
    (void)f;
    invlpg(TEST_VA + 0x100000);
    lapic_write(LAPIC_EOI, 0);
    shot++;
}

static void read_mapped(void *arg)
{
    (void)arg;
    irq_on();
    while (!stop) {
        probe = *(volatile u64 *)(TEST_VA + 0x100000);
        reads++;
    }
    irq_off();
}

static void t_shootdown(void)
{
    u64 page[2] = { page_alloc(), page_alloc() };
    *(u64 *)page[0] = 0, *(u64 *)page[1] = 1;
    map_page(TEST_VA + 0x100000, page[0], PG_P | PG_W);
    stop = shot = 0;
    hook[0x47] = shoot;
    cpu_call(1, read_mapped, 0);
    u32 bad = 0;
    for (u32 i = 1; i <= 300; i++) {
        *pte(TEST_VA + 0x100000) = page[i & 1] | PG_P | PG_W;
        lapic_ipi(acpi.apic_id[1], 0x4047);
        u64 begin = rdtsc();
        while (shot < i && rdtsc() - begin < 3000000000)
            cpu_relax();
        u32 from = reads;
        while (reads < from + 2 && rdtsc() - begin < 3000000000)
            cpu_relax();
        bad += probe != (i & 1);
    }
    stop = 1;
    CHECK(cpu_wait(1));
    EQ(shot, 300);
    EQ(bad, 0);
    hook[0x47] = 0;
}

static volatile u32 nmi_on;

static void count_nmi(struct frame *f)
{
    (void)f;
    nmi_on |= 1u << cpu_index();
}

static void wait_stop(void *arg)
{
    (void)arg;
    while (!stop)
        cpu_relax();
}

static void t_nmi_to_other(void)
{
    nmi_on = stop = 0;
    hook[NMI] = count_nmi;
    cpu_call(1, wait_stop, 0);
    delay_us(1000);
    lapic_ipi(acpi.apic_id[1], 0x4400);
    for (int i = 0; i < 1000 && !nmi_on; i++)
        delay_us(100);
    stop = 1;
    EQ(nmi_on, 2);
    CHECK(cpu_wait(1));
    hook[NMI] = 0;
}

static void t_destinations(void)
{
    irq_count[0x48] = stop = 0;
    cpu_call(1, take_irqs, 0);
    delay_us(1000);
    lapic_write(LAPIC_ICR, 0xc4048); /* all but self */
    delay_us(5000);
    EQ(irq_count[0x48], 1);
    lapic_write(LAPIC_ICR, 0x84048); /* all */
    irq_on();
    delay_us(5000);
    irq_off();
    EQ(irq_count[0x48], 3);
    lapic_write(0xe0, 0xffffffff); /* flat; logical ids 1 and 2 were never set: give CPU 0 one */
    lapic_write(0xd0, 0x08000000);
    lapic_write(LAPIC_ICR2, 0x08000000);
    lapic_write(LAPIC_ICR, 0x4848);
    irq_on();
    delay_us(5000);
    irq_off();
    EQ(irq_count[0x48], 4);
    stop = 1;
    CHECK(cpu_wait(1));
}

/* The TSC of both is one clock. */
static volatile u64 their_tsc;

static void read_tsc(void *arg)
{
    (void)arg;
    their_tsc = rdtsc();
}

static void t_tsc(void)
{
    for (int i = 0; i < 20; i++) {
        u64 before = rdtsc();
        cpu_call(1, read_tsc, 0);
        CHECK(cpu_wait(1));
        u64 after = rdtsc();
        CHECK(their_tsc >= before && their_tsc <= after);
    }
}

const struct test tests[] = {
    { "start", t_start },
    { "atomics", t_atomics },
    { "spin-lock", t_spin_lock },
    { "cmpxchg16b", t_cmpxchg16b },
    { "locked-bits", t_locked_bits },
    { "store-order", t_store_order },
    { "fence", t_fence },
    { "ipi", t_ipi },
    { "ipi-wakes-halt", t_ipi_wakes_halt },
    { "ipi-order", t_ipi_order },
    { "shootdown", t_shootdown },
    { "nmi-to-other", t_nmi_to_other },
    { "destinations", t_destinations },
    { "tsc", t_tsc },
    { 0 },
};
