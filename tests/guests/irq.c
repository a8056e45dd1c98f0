/*
 * irq.c: the local APIC and interrupt delivery on one CPU (SDM 3A, chapter 11): timer modes, TPR,
 * HLT, the shadow of STI and MOV SS, NMI blocking, self IPIs and their order, x2APIC.
 */
#include "guest.h"

enum { V1 = 0x41, V2 = 0x51, V3 = 0x61 };
enum { ONE_SHOT = 0, PERIODIC = 1 << 17, DEADLINE = 2 << 17, MASKED = 1 << 16 };

static u8 order[16];
static volatile u32 ordered;

static void note(struct frame *f)
{
    if (ordered < sizeof order)
        order[ordered++] = (u8)f->vec;
    lapic_write(LAPIC_EOI, 0);
}

static void self_ipi(u32 vector)
{
    lapic_write(LAPIC_ICR2, 0);
    lapic_write(LAPIC_ICR, 0x40000 | 0x4000 | vector);
}

static void t_timer_one_shot(void)
{
    irq_count[V1] = 0;
    lapic_write(LAPIC_TDCR, 0xb); /* by 1 */
    lapic_write(LAPIC_LVTT, ONE_SHOT | V1);
    lapic_write(LAPIC_TMICT, 1000000);
    u32 a = lapic_read(LAPIC_TMCCT);
    CHECK(a <= 1000000);
    u32 b = lapic_read(LAPIC_TMCCT);
    CHECK(b <= a);
    CHECK(wait_count(&irq_count[V1], 1, 2000));
    EQ(lapic_read(LAPIC_TMCCT), 0);
    delay_us(3000);
    irq_on();
    delay_us(2000);
    irq_off();
    EQ(irq_count[V1], 1);
    /* The division: by 128 it counts slower. */
    lapic_write(LAPIC_LVTT, MASKED | V1);
    lapic_write(LAPIC_TDCR, 0xa);
    lapic_write(LAPIC_TMICT, 0xffffffff);
    u64 t = rdtsc();
    delay_us(1000);
    u32 slow = 0xffffffff - lapic_read(LAPIC_TMCCT);
    u64 t1 = rdtsc() - t;
    lapic_write(LAPIC_TDCR, 0xb);
    lapic_write(LAPIC_TMICT, 0xffffffff);
    t = rdtsc();
    delay_us(1000);
    u32 fast = 0xffffffff - lapic_read(LAPIC_TMCCT);
    u64 t2 = rdtsc() - t;
    CHECK(fast / (u32)(t2 >> 10 ? t2 >> 10 : 1) > 20 * (slow / (u32)(t1 >> 10 ? t1 >> 10 : 1)));
    lapic_write(LAPIC_TMICT, 0);
    EQ(lapic_read(LAPIC_TMCCT), 0);
}

static void t_timer_periodic(void)
{
    irq_count[V1] = 0;
    lapic_write(LAPIC_TDCR, 0xb);
    lapic_write(LAPIC_LVTT, PERIODIC | V1);
    lapic_write(LAPIC_TMICT, 1000000);
    CHECK(wait_count(&irq_count[V1], 5, 3000));
    EQ(lapic_read(LAPIC_TMICT), 1000000);
    lapic_write(LAPIC_LVTT, PERIODIC | MASKED | V1);
    irq_on();
    delay_us(100);
    u32 n = irq_count[V1];
    delay_us(5000);
    irq_off();
    EQ(irq_count[V1], n);
    lapic_write(LAPIC_TMICT, 0);
}

static void t_timer_deadline(void)
{
    if (!(cpuid(1, 0).c & 1 << 24)) {
        test_skip("no TSC deadline");
        return;
    }
    irq_count[V1] = 0;
    lapic_write(LAPIC_LVTT, DEADLINE | V1);
    __asm__ volatile("mfence");
    wrmsr(0x6e0, 1); /* long ago: at once */
    CHECK(wait_count(&irq_count[V1], 1, 100));
    EQ(rdmsr(0x6e0), 0);
    u64 begin = rdtsc();
    wrmsr(0x6e0, begin + 5000000);
    CHECK(rdmsr(0x6e0) == begin + 5000000 || irq_count[V1] == 1);
    CHECK(wait_count(&irq_count[V1], 2, 2000));
    CHECK(rdtsc() >= begin + 5000000);
    wrmsr(0x6e0, rdtsc() + 1000000000000);
    wrmsr(0x6e0, 0); /* disarmed */
    EQ(lapic_read(LAPIC_TMCCT), 0);
    lapic_write(LAPIC_TMICT, 1000); /* ignored in this mode */
    irq_on();
    delay_us(2000);
    irq_off();
    EQ(irq_count[V1], 2);
    lapic_write(LAPIC_LVTT, MASKED);
}

static void t_halt(void)
{
    irq_count[V1] = 0;
    lapic_write(LAPIC_TDCR, 0xb);
    lapic_write(LAPIC_LVTT, ONE_SHOT | V1);
    for (u32 i = 1; i <= 20; i++) {
        lapic_write(LAPIC_TMICT, 200000);
        __asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
        EQ(irq_count[V1], i);
    }
    /* An interrupt that is pending already: STI; HLT may not lose it. */
    irq_count[V2] = 0;
    for (u32 i = 1; i <= 200; i++) {
        self_ipi(V2);
        __asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
        EQ(irq_count[V2], i);
    }
}

static u64 at_rip;

static void note_rip(struct frame *f)
{
    at_rip = f->rip;
    lapic_write(LAPIC_EOI, 0);
}

static void t_sti_shadow(void)
{
    u64 want;
    hook[V1] = note_rip;
    at_rip = 0;
    self_ipi(V1);
    delay_us(100);
    __asm__ volatile("lea 98f(%%rip), %0\n\tsti\n\tnop\n98:\tnop\n\tcli" : "=r"(want) : : "memory");
    EQ(at_rip, want); /* behind the instruction after STI */
    at_rip = 0;
    self_ipi(V1);
    __asm__ volatile("sti\n\tcli\n\tnop" : : : "memory");
    EQ(at_rip, 0); /* CLI in the shadow wins */
    __asm__ volatile("lea 98f(%%rip), %0\n\tsti\n\tsti\n98:\tnop\n\tcli" : "=r"(want) : : "memory");
    EQ(at_rip, want); /* the second STI makes no new shadow */
    at_rip = 0;
    self_ipi(V1);
    __asm__ volatile("lea 98f(%%rip), %0\n\tsti\n\tmov %w1, %%ss\n\tnop\n98:\tnop\n\tcli"
                     : "=&r"(want)
                     : "r"(SEL_DATA)
                     : "memory");
    EQ(at_rip, want); /* MOV SS behind STI: one more */
    at_rip = 0;
    self_ipi(V1);
    __asm__ volatile("lea 98f(%%rip), %0\n\tpushfq\n\torl $0x200, (%%rsp)\n\tpopfq\n98:\tnop\n\tcli"
                     : "=r"(want)
                     :
                     : "memory", "cc");
    EQ(at_rip, want); /* POPF has none */
    hook[V1] = 0;
}

static volatile u32 nmis, nmi_depth, nmi_max;

static void nmi_handler(struct frame *f)
{
    (void)f;
    nmis++;
    nmi_depth++;
    if (nmi_depth > nmi_max)
        nmi_max = nmi_depth;
    if (nmis == 1) {
        lapic_write(LAPIC_ICR2, 0); /* a second one to ourselves: it waits for our IRET */
        lapic_write(LAPIC_ICR, 0x4400);
        for (int i = 0; i < 1000; i++)
            cpu_relax();
    }
    nmi_depth--;
}

static void nmi_handler_unblocks(struct frame *f)
{
    (void)f;
    nmis++;
    nmi_depth++;
    if (nmi_depth > nmi_max)
        nmi_max = nmi_depth;
    if (nmis == 1) {
        lapic_write(LAPIC_ICR2, 0);
        lapic_write(LAPIC_ICR, 0x4400);
        for (int i = 0; i < 1000; i++)
            cpu_relax();
        /* Any IRET unblocks, one to here too. */
        __asm__ volatile("mov %%rsp, %%rax\n\tpush %0\n\tpush %%rax\n\tpushfq\n\tpush %1\n\tpush "
                         "$1f\n\tiretq\n1:\n\tnop"
                         :
                         : "r"((u64)SEL_DATA), "r"((u64)SEL_CODE64)
                         : "rax", "memory");
        for (int i = 0; i < 1000; i++)
            cpu_relax();
    }
    nmi_depth--;
}

static void t_nmi_blocking(void)
{
    nmis = nmi_max = nmi_depth = 0;
    hook[NMI] = nmi_handler;
    lapic_write(LAPIC_ICR2, 0);
    lapic_write(LAPIC_ICR, 0x4400);
    for (int i = 0; i < 1000; i++)
        cpu_relax();
    EQ(nmis, 2); /* with interrupts off */
    EQ(nmi_max, 1);
    nmis = nmi_max = nmi_depth = 0;
    hook[NMI] = nmi_handler_unblocks;
    lapic_write(LAPIC_ICR, 0x4400);
    for (int i = 0; i < 1000; i++)
        cpu_relax();
    EQ(nmis, 2);
    EQ(nmi_max, 2);
    hook[NMI] = 0;
}

static void t_priority(void)
{
    hook[V1] = hook[V2] = hook[V3] = note;
    ordered = 0;
    self_ipi(V1);
    self_ipi(V3);
    self_ipi(V2);
    self_ipi(V2); /* the same twice before it is taken: once */
    delay_us(100);
    EQ(lapic_read(LAPIC_IRR + 0x20) & 2, 2); /* vector 41h */
    irq_on();
    delay_us(100);
    irq_off();
    EQ(ordered, 3);
    EQ(order[0], V3);
    EQ(order[1], V2);
    EQ(order[2], V1);
    /* TPR holds back its class and those below. */
    ordered = 0;
    lapic_write(LAPIC_TPR, 0x50);
    self_ipi(V2);
    self_ipi(V3);
    irq_on();
    delay_us(100);
    EQ(ordered, 1);
    EQ(order[0], V3);
    write_cr8(4);
    delay_us(100);
    irq_off();
    EQ(ordered, 2);
    write_cr8(0);
    hook[V1] = hook[V2] = hook[V3] = 0;
}

static void nests(struct frame *f)
{
    order[ordered++ & 15] = (u8)f->vec;
    if (f->vec == V2) {
        self_ipi(V1); /* lower: must wait for our EOI */
        self_ipi(V3); /* higher: interrupts us */
        irq_on();
        delay_us(50);
        irq_off();
        order[ordered++ & 15] = 0xee;
    }
    lapic_write(LAPIC_EOI, 0);
}

static void t_nesting(void)
{
    hook[V1] = hook[V2] = hook[V3] = nests;
    ordered = 0;
    self_ipi(V2);
    irq_on();
    delay_us(200);
    irq_off();
    EQ(ordered, 4);
    EQ(order[0], V2);
    EQ(order[1], V3);
    EQ(order[2], 0xee);
    EQ(order[3], V1);
    hook[V1] = hook[V2] = hook[V3] = 0;
}

static void t_x2apic(void)
{
    if (!(cpuid(1, 0).c & 1 << 21)) {
        test_skip("no x2APIC");
        return;
    }
    u64 base = rdmsr(0x1b);
    EQ(base & 0x900, 0x900);
    EQ(try_rdmsr(0x802), GP); /* not in x2APIC mode yet */
    u32 id = lapic_read(LAPIC_ID) >> 24;
    EQ(try_wrmsr(0x1b, (base & ~0x800ull) | 0x400), GP); /* EXTD without EN */
    wrmsr(0x1b, base | 0x400);
    EQ(rdmsr(0x802), id);
    EQ(try_rdmsr(0x80e), GP);    /* no DFR */
    EQ(try_rdmsr(0x831), GP);    /* no ICR2 */
    EQ(try_wrmsr(0x80b, 1), GP); /* EOI takes 0 only */
    EQ(try_wrmsr(0x802, 0), GP);
    EQ(try_wrmsr(0x80f, 1ull << 32 | 0x1ff), GP);
    EQ(read32(0xfee00030), ~0u); /* its window is gone */
    wrmsr(0x83f, V1);            /* SELF IPI */
    u32 irr = (u32)rdmsr(0x820 + V1 / 32);
    EQ(irr >> (V1 & 31) & 1, 1);
    wrmsr(0x830, (u64)id << 32 | 0x4000 | V2);
    for (int i = 0; i < 1000; i++)
        cpu_relax();
    EQ(rdmsr(0x820 + V2 / 32) >> (V2 & 31) & 1, 1);
    EQ(try_wrmsr(0x1b, base), GP); /* back to xAPIC only by way of off */
    wrmsr(0x1b, base & ~0x800ull);
    wrmsr(0x1b, base);
    lapic_write(LAPIC_SVR, 0x1ff);
    EQ(lapic_read(LAPIC_ID) >> 24, id);
    EQ(lapic_read(LAPIC_IRR + 0x20), 0);
}

static void t_errors(void)
{
    lapic_write(LAPIC_ESR, 0);
    lapic_write(LAPIC_ESR, 0);
    self_ipi(5); /* vectors below 16 are illegal */
    delay_us(100);
    lapic_write(LAPIC_ESR, 0);
    CHECK(lapic_read(LAPIC_ESR) & 0x60);
    lapic_write(LAPIC_ESR, 0);
    lapic_write(LAPIC_ESR, 0);
    EQ(lapic_read(LAPIC_ESR), 0);
    EQ(lapic_read(LAPIC_VER) & 0xf0, 0x10);
}

static void t_software_disable(void)
{
    lapic_write(LAPIC_LVTT, V1);
    lapic_write(LAPIC_SVR, 0xff);
    EQ(lapic_read(LAPIC_LVTT) & MASKED, MASKED); /* all LVTs are masked */
    lapic_write(LAPIC_LVTT, V1);
    EQ(lapic_read(LAPIC_LVTT) & MASKED, MASKED);
    lapic_write(LAPIC_SVR, 0x1ff);
}

const struct test tests[] = {
    { "timer-one-shot", t_timer_one_shot },
    { "timer-periodic", t_timer_periodic },
    { "timer-deadline", t_timer_deadline },
    { "halt", t_halt },
    { "sti-shadow", t_sti_shadow },
    { "nmi-blocking", t_nmi_blocking },
    { "priority", t_priority },
    { "nesting", t_nesting },
    { "errors", t_errors },
    { "software-disable", t_software_disable },
    { "x2apic", t_x2apic },
    { 0 },
};
