/*
 * The local APIC: priorities, EOI, IPIs in every destination mode, MSIs, timer modes, x2APIC.
 */
#include "rig.h"

#include <time.h>

static const uint64_t page = 0xfee00000;

static void wr(struct vcpu *cpu, unsigned off, uint32_t val)
{
    assert_true(lapic_mmio(cpu, page + off, &val, 4, true));
}

static uint32_t rd(struct vcpu *cpu, unsigned off)
{
    uint32_t val = 0xdead;
    assert_true(lapic_mmio(cpu, page + off, &val, 4, false));
    return val;
}

static void enable(struct vcpu *cpu)
{
    wr(cpu, 0xf0, 0x1ff);
}

static void start(struct rig *r, unsigned cpus)
{
    rig_new(r, "max", RIG_HOST, cpus);
    for (unsigned i = 0; i < cpus; i++)
        enable(r->cpu[i]);
}

static void fixed(struct rig *r, unsigned vector, bool level)
{
    assert_int_equal(soft_accel_ops.msi(r->s, page, vector | (level ? 0xc000 : 0), 0), MOBO_OK);
}

static bool irr(struct vcpu *cpu, unsigned vector)
{
    return (rd(cpu, 0x200 + vector / 32 * 16) >> (vector & 31)) & 1;
}

static void test_reset_values(void **state)
{
    (void)state;
    struct rig r;
    rig_new(&r, "max", RIG_HOST, 2);
    assert_int_equal(r.cpu[0]->apic_base, 0xfee00900);
    assert_int_equal(r.cpu[1]->apic_base, 0xfee00800);
    assert_int_equal(rd(r.cpu[1], 0x20), 1u << 24);
    assert_int_equal(rd(r.cpu[0], 0x30) & 0xff, 0x14);
    assert_int_equal(rd(r.cpu[0], 0xf0), 0xff);
    assert_int_equal(rd(r.cpu[0], 0xe0), 0xffffffff);
    for (unsigned off = 0x320; off <= 0x370; off += 0x10)
        assert_int_equal(rd(r.cpu[0], off), 0x10000);
    /* software-disabled: nothing is accepted, LVTs stay masked */
    fixed(&r, 0x40, false);
    assert_false(irr(r.cpu[0], 0x40));
    wr(r.cpu[0], 0x350, 0x700);
    assert_int_equal(rd(r.cpu[0], 0x350), 0x10700);
    rig_free(&r);
}

static void test_priorities(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 1);
    struct vcpu *c = r.cpu[0];
    assert_int_equal(lapic_pending(c), IRQ_NONE);
    fixed(&r, 0x31, false);
    fixed(&r, 0x52, false);
    fixed(&r, 0x35, false);
    assert_int_equal(lapic_pending(c), 0x52);
    lapic_accept(c, 0x52);
    assert_int_equal(rd(c, 0xa0), 0x50);
    assert_int_equal(lapic_pending(c), IRQ_NONE); /* a lower class waits */
    fixed(&r, 0x5f, false);
    assert_int_equal(lapic_pending(c), IRQ_NONE); /* the same class too */
    fixed(&r, 0x60, false);
    assert_int_equal(lapic_pending(c), 0x60);
    lapic_accept(c, 0x60);
    wr(c, 0xb0, 0);
    assert_int_equal(lapic_in_service(c), 0x52);
    wr(c, 0xb0, 0);
    assert_int_equal(lapic_pending(c), 0x5f);
    wr(c, 0x80, 0x50); /* TPR */
    assert_int_equal(rd(c, 0xa0), 0x50);
    assert_int_equal(lapic_pending(c), IRQ_NONE);
    lapic_set_cr8(c, 2);
    assert_int_equal(rd(c, 0x80), 0x20);
    assert_int_equal(lapic_pending(c), 0x5f);
    assert_int_equal(lapic_get_cr8(c), 2);
    rig_free(&r);
}

static void test_eoi_of_level_interrupts(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 1);
    struct vcpu *c = r.cpu[0];
    fixed(&r, 0x41, true);
    lapic_accept(c, 0x41);
    assert_int_equal(r.eois, 0);
    wr(c, 0xb0, 0);
    assert_int_equal(r.eois, 1);
    assert_int_equal(r.eoi_vector, 0x41);
    fixed(&r, 0x41, false); /* the same vector, edge this time */
    lapic_accept(c, 0x41);
    wr(c, 0xb0, 0);
    assert_int_equal(r.eois, 1);
    wr(c, 0xb0, 0); /* nothing in service: nothing happens */
    assert_int_equal(lapic_in_service(c), -1);
    rig_free(&r);
}

/* Which of the CPUs got vector 0x66, as a bit mask; clears it. */
static unsigned hit(struct rig *r)
{
    unsigned mask = 0;
    for (unsigned i = 0; i < r->cpus; i++) {
        if (irr(r->cpu[i], 0x66)) {
            mask |= 1u << i;
            lapic_accept(r->cpu[i], 0x66);
            wr(r->cpu[i], 0xb0, 0);
        }
    }
    return mask;
}

static void ipi(struct vcpu *c, uint32_t dest, uint32_t low)
{
    wr(c, 0x310, dest << 24);
    wr(c, 0x300, low);
}

static void test_ipi_destinations(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 4);
    struct vcpu *c = r.cpu[1];
    ipi(c, 2, 0x66);
    assert_int_equal(hit(&r), 4);
    ipi(c, 0xff, 0x66);
    assert_int_equal(hit(&r), 15);
    ipi(c, 9, 0x66);
    assert_int_equal(hit(&r), 0);
    ipi(c, 0, 0x40066); /* self */
    assert_int_equal(hit(&r), 2);
    ipi(c, 0, 0x80066); /* all */
    assert_int_equal(hit(&r), 15);
    ipi(c, 0, 0xc0066); /* all but self */
    assert_int_equal(hit(&r), 13);
    /* logical, flat */
    for (unsigned i = 0; i < 4; i++)
        wr(r.cpu[i], 0xd0, 1u << (24 + i));
    ipi(c, 0x5, 0x866);
    assert_int_equal(hit(&r), 5);
    /* logical, clusters of two */
    for (unsigned i = 0; i < 4; i++) {
        wr(r.cpu[i], 0xe0, 0x0fffffff);
        wr(r.cpu[i], 0xd0, ((i / 2) << 4 | 1u << (i & 1)) << 24);
    }
    ipi(c, 0x13, 0x866);
    assert_int_equal(hit(&r), 12);
    ipi(c, 0x02, 0x866);
    assert_int_equal(hit(&r), 2);
    ipi(c, 0xff, 0x866);
    assert_int_equal(hit(&r), 15);
    /* lowest priority goes to one: the one with the lowest TPR */
    for (unsigned i = 0; i < 4; i++)
        wr(r.cpu[i], 0x80, i == 3 ? 0x10 : 0x20);
    ipi(c, 0xff, 0x966);
    assert_int_equal(hit(&r), 8);
    /* a bad vector is an error */
    ipi(c, 2, 5);
    wr(c, 0x280, 0);
    assert_int_equal(rd(c, 0x280), 0x20);
    wr(c, 0x280, 0);
    assert_int_equal(rd(c, 0x280), 0);
    rig_free(&r);
}

static void test_lowest_takes_turns(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 4);
    unsigned seen = 0;
    for (unsigned i = 0; i < 8; i++) {
        ipi(r.cpu[0], 0xff, 0x166);
        unsigned h = hit(&r);
        assert_int_equal(__builtin_popcount(h), 1);
        seen |= h;
    }
    assert_int_equal(seen, 15);
    rig_free(&r);
}

static void test_init_sipi_nmi(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 2);
    struct vcpu *c = r.cpu[0], *ap = r.cpu[1];
    assert_int_equal(ap->activity, CPU_WAIT_SIPI);
    ipi(c, 1, 0x4500);
    assert_int_equal(ap->init_pending, 1);
    ipi(c, 1, 0x8500); /* de-assert: nothing */
    ipi(c, 1, 0x469a);
    assert_int_equal(ap->sipi_pending, 0x19a);
    ipi(c, 1, 0x4400);
    assert_int_equal(ap->nmi_pending, 1);
    assert_int_equal(c->nmi_pending, 0);
    rig_free(&r);
}

static void test_msi(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 2);
    assert_int_equal(soft_accel_ops.msi(r.s, page | 1 << 12, 0x66, 0), MOBO_OK);
    assert_int_equal(hit(&r), 2);
    assert_int_equal(soft_accel_ops.msi(r.s, page | 0xff000, 0x66, 0), MOBO_OK);
    assert_int_equal(hit(&r), 3);
    wr(r.cpu[1], 0xd0, 0x02000000);
    assert_int_equal(soft_accel_ops.msi(r.s, page | 2 << 12 | 4, 0x66, 0), MOBO_OK);
    assert_int_equal(hit(&r), 2);
    assert_int_equal(soft_accel_ops.msi(r.s, page | 1 << 12, 0x400, 0), MOBO_OK);
    assert_int_equal(r.cpu[1]->nmi_pending, 1);
    assert_int_equal(soft_accel_ops.msi(r.s, 0x12345000, 0x66, 0), MOBO_EINVAL);
    assert_int_equal(soft_accel_ops.msi(r.s, 1ull << 32 | page, 0x66, 0), MOBO_EINVAL);
    rig_free(&r);
}

static void test_extint(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 2);
    soft_accel_ops.extint(r.s, 1);
    assert_int_equal(lapic_pending(r.cpu[0]), IRQ_NONE); /* LINT0 is masked */
    wr(r.cpu[0], 0x350, 0x700);
    assert_int_equal(lapic_pending(r.cpu[0]), IRQ_EXTINT);
    assert_int_equal(lapic_pending(r.cpu[1]), IRQ_NONE);
    soft_accel_ops.extint(r.s, 0);
    assert_int_equal(lapic_pending(r.cpu[0]), IRQ_NONE);
    /* with the APIC globally off the pin goes straight to the boot processor */
    assert_true(lapic_base_write(r.cpu[0], 0xfee00100));
    soft_accel_ops.extint(r.s, 1);
    assert_int_equal(lapic_pending(r.cpu[0]), IRQ_EXTINT);
    rig_free(&r);
}

static void wait_deadline(struct vcpu *c, uint64_t limit_ns)
{
    uint64_t end = soft_now() + limit_ns;
    while (soft_now() < end && lapic_pending(c) == IRQ_NONE)
        lapic_timer_poll(c, soft_now());
}

static void test_timer_modes(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 1);
    struct vcpu *c = r.cpu[0];
    wr(c, 0x3e0, 0x0b); /* divide by 1 */
    wr(c, 0x320, 0x40);
    uint64_t begin = soft_now();
    wr(c, 0x380, 2000000); /* 2 ms */
    assert_in_range(rd(c, 0x390), 1, 2000000);
    wait_deadline(c, 50000000);
    assert_int_equal(lapic_pending(c), 0x40);
    assert_true(soft_now() - begin >= 2000000);
    assert_int_equal(rd(c, 0x390), 0);
    assert_int_equal(c->deadline, ~0ull);
    lapic_accept(c, 0x40);
    wr(c, 0xb0, 0);

    wr(c, 0x320, 0x20041); /* periodic */
    wr(c, 0x3e0, 0);       /* divide by 2 */
    wr(c, 0x380, 500000);  /* 1 ms */
    begin = soft_now();
    for (unsigned i = 0; i < 3; i++) {
        wait_deadline(c, 50000000);
        assert_int_equal(lapic_pending(c), 0x41);
        lapic_accept(c, 0x41);
        wr(c, 0xb0, 0);
    }
    assert_true(soft_now() - begin >= 3000000);
    assert_true(rd(c, 0x390) > 0);
    wr(c, 0x380, 0);
    assert_int_equal(c->deadline, ~0ull);

    wr(c, 0x320, 0x40042); /* TSC deadline */
    assert_int_equal(lapic_deadline_read(c), 0);
    uint64_t due = cpu_tsc(c) + r.s->model.tsc_hz / 1000;
    assert_true(msr_write(c, 0x6e0, due));
    wait_deadline(c, 50000000);
    assert_int_equal(lapic_pending(c), 0x42);
    assert_true(cpu_tsc(c) >= due);
    assert_int_equal(lapic_deadline_read(c), 0);
    lapic_accept(c, 0x42);
    wr(c, 0xb0, 0);
    assert_true(msr_write(c, 0x6e0, 1)); /* in the past: at once */
    lapic_timer_poll(c, soft_now());
    assert_int_equal(lapic_pending(c), 0x42);
    lapic_accept(c, 0x42);
    wr(c, 0xb0, 0);
    assert_true(msr_write(c, 0x6e0, cpu_tsc(c) + r.s->model.tsc_hz));
    assert_true(msr_write(c, 0x6e0, 0)); /* 0 disarms */
    assert_int_equal(c->deadline, ~0ull);
    assert_true(msr_write(c, 0x6e0, ~0ull)); /* far away, not wrapped into the past */
    lapic_timer_poll(c, soft_now());
    assert_int_equal(lapic_pending(c), IRQ_NONE);
    rig_free(&r);
}

static void test_x2apic(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 3);
    uint64_t val;
    for (unsigned i = 0; i < 3; i++) {
        assert_false(msr_read(r.cpu[i], 0x802, &val)); /* not in that mode yet */
        assert_true(msr_write(r.cpu[i], 0x1b, r.cpu[i]->apic_base | APIC_BASE_EXTD));
        assert_true(msr_read(r.cpu[i], 0x802, &val));
        assert_int_equal(val, i);
        assert_true(msr_read(r.cpu[i], 0x80d, &val));
        assert_int_equal(val, 1u << i);
    }
    uint32_t word;
    assert_false(lapic_mmio(r.cpu[0], page, &word, 4, false)); /* the page is gone */
    assert_true(msr_write(r.cpu[0], 0x830, (uint64_t)2 << 32 | 0x66));
    assert_int_equal(lapic_pending(r.cpu[2]), 0x66);
    assert_int_equal(lapic_pending(r.cpu[1]), IRQ_NONE);
    assert_true(msr_write(r.cpu[0], 0x830, (uint64_t)6 << 32 | 0x867)); /* logical: 1 and 2 */
    assert_int_equal(lapic_pending(r.cpu[1]), 0x67);
    assert_int_equal(lapic_pending(r.cpu[2]), 0x67);
    assert_true(msr_write(r.cpu[0], 0x83f, 0x45)); /* self IPI */
    assert_int_equal(lapic_pending(r.cpu[0]), 0x45);
    lapic_accept(r.cpu[0], 0x45);
    assert_false(msr_write(r.cpu[0], 0x80b, 1)); /* EOI takes 0 only */
    assert_true(msr_write(r.cpu[0], 0x80b, 0));
    assert_int_equal(lapic_in_service(r.cpu[0]), -1);
    assert_false(msr_write(r.cpu[0], 0x802, 7)); /* read-only here */
    assert_false(msr_write(r.cpu[0], 0x80d, 7));
    assert_false(msr_read(r.cpu[0], 0x80e, &val)); /* no DFR */
    assert_false(msr_read(r.cpu[0], 0x831, &val)); /* no ICR2 */
    /* mode changes that do not exist */
    assert_false(msr_write(r.cpu[0], 0x1b, 0xfee00900));
    assert_true(msr_write(r.cpu[0], 0x1b, 0xfee00100));
    assert_false(msr_write(r.cpu[0], 0x1b, 0xfee00d00));
    assert_false(msr_write(r.cpu[0], 0x1b, 0xfee00500));
    rig_free(&r);
}

static void test_base_moves(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 1);
    uint32_t val;
    assert_true(msr_write(r.cpu[0], 0x1b, 0xfed00900));
    assert_false(lapic_mmio(r.cpu[0], page + 0x20, &val, 4, false));
    assert_true(lapic_mmio(r.cpu[0], 0xfed00020, &val, 4, false));
    assert_false(msr_write(r.cpu[0], 0x1b, 1ull << 60 | 0x900));
    rig_free(&r);
}

static void test_init_keeps_id_and_mode(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 2);
    assert_true(msr_write(r.cpu[1], 0x1b, r.cpu[1]->apic_base | APIC_BASE_EXTD));
    assert_true(msr_write(r.cpu[1], 0x832, 0x40));
    x86_reset(r.cpu[1], true);
    uint64_t val;
    assert_true(r.cpu[1]->apic_base & APIC_BASE_EXTD);
    assert_true(msr_read(r.cpu[1], 0x802, &val));
    assert_int_equal(val, 1);
    assert_true(msr_read(r.cpu[1], 0x832, &val));
    assert_int_equal(val, 0x10000);
    rig_free(&r);
}

static void test_snapshot_block(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 1);
    struct vcpu *c = r.cpu[0];
    fixed(&r, 0x61, true);
    fixed(&r, 0x71, false);
    lapic_accept(c, 0x71);
    wr(c, 0x80, 0x30);
    wr(c, 0x320, 0x40042);
    assert_true(msr_write(c, 0x6e0, cpu_tsc(c) + r.s->model.tsc_hz * 100));
    static mobo_x86_apic_t a, b;
    assert_int_equal(soft_get(c, MOBO_X86_APIC, &a, sizeof a), MOBO_OK);
    lapic_reset(c, false);
    assert_int_equal(soft_set(c, MOBO_X86_APIC, &a, sizeof a), MOBO_OK);
    assert_int_equal(soft_get(c, MOBO_X86_APIC, &b, sizeof b), MOBO_OK);
    assert_memory_equal(&a, &b, sizeof a);
    assert_int_equal(lapic_in_service(c), 0x71);
    assert_true(irr(c, 0x61) && lapic_is_level(c, 0x61));
    rig_free(&r);
}

static void test_odd_accesses(void **state)
{
    (void)state;
    struct rig r;
    start(&r, 1);
    uint64_t wide = 0x1234567890abcdef;
    uint8_t byte = 0;
    assert_true(lapic_mmio(r.cpu[0], page + 0x80, &wide, 8, true)); /* low half counts */
    assert_int_equal(rd(r.cpu[0], 0x80), 0xef);
    assert_true(lapic_mmio(r.cpu[0], page + 0x80, &byte, 1, true)); /* too narrow: dropped */
    assert_int_equal(rd(r.cpu[0], 0x80), 0xef);
    assert_true(lapic_mmio(r.cpu[0], page + 0x32, &byte, 1, false));
    assert_int_equal(byte, 5); /* version register, byte 2: highest LVT entry */
    for (unsigned off = 0; off < 0x1000; off += 4) { /* nothing to crash on */
        uint32_t v = 0xffffffff;
        if (off != 0x300)
            assert_true(lapic_mmio(r.cpu[0], page + off, &v, 4, true));
        assert_true(lapic_mmio(r.cpu[0], page + off, &v, 4, false));
    }
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset_values),
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_eoi_of_level_interrupts),
        cmocka_unit_test(test_ipi_destinations),
        cmocka_unit_test(test_lowest_takes_turns),
        cmocka_unit_test(test_init_sipi_nmi),
        cmocka_unit_test(test_msi),
        cmocka_unit_test(test_extint),
        cmocka_unit_test(test_timer_modes),
        cmocka_unit_test(test_x2apic),
        cmocka_unit_test(test_base_moves),
        cmocka_unit_test(test_init_keeps_id_and_mode),
        cmocka_unit_test(test_snapshot_block),
        cmocka_unit_test(test_odd_accesses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
