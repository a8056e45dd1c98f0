/*
 * Segment loads, control registers, MSRs, privilege, ports, register blocks, the KVM clock.
 */
#include "rig-modes.h"

/* ---- segments -------------------------------------------------------------------------------- */

static void test_segment_loads(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    static const struct {
        unsigned cpl, seg, sel;
        int vector;
        unsigned error;
    } table[] = {
        { 0, SEG_DS, DS0, -1, 0 },
        { 3, SEG_DS, DS0, VEC_GP, DS0 },
        { 3, SEG_DS, DS3 | 3, -1, 0 },
        { 0, SEG_DS, CONF, -1, 0 },
        { 3, SEG_DS, CONF | 3, -1, 0 },
        { 0, SEG_DS, TR, VEC_GP, TR },
        { 0, SEG_DS, NOTP, VEC_NP, NOTP },
        { 0, SEG_SS, NOTP, VEC_SS, NOTP },
        { 0, SEG_SS, 0, -1, 0 },
        { 3, SEG_SS, 0, VEC_GP, 0 },
        { 0, SEG_SS, DS3 | 3, VEC_GP, DS3 },
        { 0, SEG_SS, CS64, VEC_GP, CS64 },
        { 3, SEG_SS, DS3, VEC_GP, DS3 },
        { 0, SEG_ES, 0, -1, 0 },
        { 0, SEG_FS, 0x1000, VEC_GP, 0x1000 },
    };
    for (unsigned i = 0; i < sizeof table / sizeof table[0]; i++) {
        long_mode(&r, table[i].cpl);
        c->exc_vector = 0xff;
        volatile int got = -1;
        if (setjmp(c->unwind) == 0)
            seg_load(c, table[i].seg, (uint16_t)table[i].sel);
        else
            got = c->exc_vector;
        assert_int_equal(got, table[i].vector);
        if (got < 0)
            assert_int_equal(c->seg[table[i].seg].sel, table[i].sel);
        else
            assert_int_equal(c->exc_error, table[i].error);
    }
    /* the accessed bit is written */
    long_mode(&r, 0);
    put(&r, GDT + DS0 + 5, 0x92, 1);
    assert_int_equal(EXEC(c, "\x8e\xd8"), -1); /* mov ds, ax: null */
    c->gpr[REG_RAX] = DS0;
    assert_int_equal(EXEC(c, "\x8e\xd8"), -1);
    assert_int_equal(peek_ram(&r, GDT + DS0 + 5, 1), 0x93);
    assert_int_equal(EXEC(c, "\x8e\xd0"), -1); /* mov ss, ax casts a shadow */
    assert_int_equal(c->inhibit, 2);
    rig_free(&r);
}

static void test_lar_lsl_verr(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    long_mode(&r, 0);
    c->gpr[REG_RCX] = CS64;
    assert_int_equal(EXEC(c, "\x0f\x02\xc1"), -1); /* lar eax, ecx */
    assert_true(cpu_rflags(c) & FL_ZF);
    assert_int_equal(c->gpr[REG_RAX] & 0xff00, 0x9b00);
    assert_int_equal(EXEC(c, "\x0f\x03\xc1"), -1); /* lsl */
    assert_int_equal(c->gpr[REG_RAX], 0xffffffff);
    assert_int_equal(EXEC(c, "\x0f\x00\xe9"), -1); /* verw cx: code is not writable */
    assert_false(cpu_rflags(c) & FL_ZF);
    assert_int_equal(EXEC(c, "\x0f\x00\xe1"), -1); /* verr cx */
    assert_true(cpu_rflags(c) & FL_ZF);
    c->gpr[REG_RCX] = 0;
    c->gpr[REG_RAX] = 77;
    assert_int_equal(EXEC(c, "\x0f\x02\xc1"), -1);
    assert_false(cpu_rflags(c) & FL_ZF);
    assert_int_equal(c->gpr[REG_RAX], 77);
    rig_free(&r);
}

/* ---- control registers ----------------------------------------------------------------------- */

static int try_cr(struct vcpu *c, unsigned cr, uint64_t val)
{
    if (setjmp(c->unwind) == 0) {
        cr_write(c, cr, val);
        return -1;
    }
    return c->exc_vector;
}

static void test_into_long_mode(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    protected_mode(&r, 0);
    put(&r, PML4, PDPT | 7, 8);
    put(&r, PDPT, PD | 7, 8);
    put(&r, PD, 0x87, 8);
    assert_int_equal(try_cr(c, 0, CR0_PG), VEC_GP);          /* PG without PE */
    assert_int_equal(try_cr(c, 0, CR0_PE | CR0_NW), VEC_GP); /* NW without CD */
    assert_int_equal(try_cr(c, 3, PML4), -1);
    assert_true(msr_write(c, 0xc0000080, EFER_LME | EFER_NXE));
    assert_int_equal(try_cr(c, 0, (uint64_t)CR0_PE | CR0_PG), VEC_GP); /* LME without PAE */
    assert_int_equal(try_cr(c, 4, CR4_PAE), -1);
    assert_int_equal(try_cr(c, 0, (uint64_t)CR0_PE | CR0_PG), -1);
    assert_true(c->efer & EFER_LMA);
    assert_int_equal(c->code_bits, 32);               /* compatibility mode until CS.L */
    assert_false(msr_write(c, 0xc0000080, EFER_NXE)); /* LME cannot change under paging */
    assert_int_equal(try_cr(c, 4, 0), VEC_GP);        /* nor PAE go away */
    assert_int_equal(EXEC(c, "\xea\x00\x10\x00\x00\x08\x00"), -1);
    assert_int_equal(c->code_bits, 64);
    assert_int_equal(try_cr(c, 0, CR0_PE), VEC_GP); /* not out of 64-bit code */
    assert_int_equal(try_cr(c, 3, 1ull << 60), VEC_GP);
    assert_int_equal(try_cr(c, 4, CR4_PAE | 1u << 12), VEC_GP); /* no LA57 */
    assert_int_equal(try_cr(c, 4, CR4_PAE | CR4_PCIDE), -1);
    assert_int_equal(try_cr(c, 3, 1ull << 63 | PML4 | 5), -1); /* bit 63: keep the TLB */
    assert_int_equal(c->cr3, PML4 | 5);
    assert_int_equal(try_cr(c, 8, 16), VEC_GP);
    assert_int_equal(try_cr(c, 8, 15), -1);
    assert_int_equal(cr_read(c, 8), 15);
    assert_int_equal(try_cr(c, 1, 0), VEC_UD);
    assert_false(msr_write(c, 0xc0000080, 1ull << 12 | EFER_LME));
    rig_free(&r);
}

static void test_pcide_needs_clean_cr3(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    long_mode(&r, 0);
    c->cr3 = PML4 | 0x18;
    assert_int_equal(try_cr(c, 4, CR4_PAE | CR4_PCIDE), VEC_GP);
    protected_mode(&r, 0);
    assert_int_equal(try_cr(c, 4, CR4_PAE | CR4_PCIDE), VEC_GP);
    rig_free(&r);
}

static void test_pae_pdptes(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    protected_mode(&r, 0);
    put(&r, 0x8000, PD | 1, 8);
    put(&r, 0x8008, PD | 0x1e1, 8); /* reserved bits */
    assert_int_equal(try_cr(c, 3, 0x8000), -1);
    assert_int_equal(try_cr(c, 4, CR4_PAE), -1);
    assert_int_equal(try_cr(c, 0, (uint64_t)CR0_PE | CR0_PG), VEC_GP);
    assert_false(c->cr0 & CR0_PG);
    put(&r, 0x8008, 0x1e0, 8); /* not present: reserved bits do not matter */
    assert_int_equal(try_cr(c, 0, (uint64_t)CR0_PE | CR0_PG), -1);
    assert_int_equal(c->pdpte[0], PD | 1);
    rig_free(&r);
}

static void test_msr_checks(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    uint64_t val;
    assert_false(msr_read(c, 0x12345, &val));
    assert_false(msr_write(c, 0xc0000082, 0x800000000000)); /* LSTAR */
    assert_false(msr_write(c, 0xc0000101, 1ull << 47));
    assert_true(msr_write(c, 0xc0000101, 0xffff800000000000));
    assert_false(msr_write(c, 0x277, 0x0007040600070402)); /* PAT: type 2 */
    assert_true(msr_write(c, 0x277, 0x0007040600070106));
    assert_true(msr_read(c, 0xfe, &val));
    assert_false(msr_write(c, 0xfe, val));
    assert_true(msr_write(c, 0x2ff, 0xc06));
    assert_false(msr_write(c, 0x2ff, 0xc02));
    assert_false(msr_write(c, 0x201, 1ull << 50));
    assert_false(msr_write(c, 0xc0000103, 1ull << 32));
    assert_true(msr_write(c, 0xc0000103, 3));
    assert_int_equal(EXEC(c, "\x0f\x01\xf9"), -1); /* RDTSCP */
    assert_int_equal(c->gpr[REG_RCX], 3);
    /* TSC and TSC_ADJUST move together */
    assert_true(msr_read(c, 0x3b, &val));
    assert_int_equal(val, 0);
    assert_true(msr_write(c, 0x3b, 1000000));
    assert_true(msr_write(c, 0x10, 5));
    assert_true(cpu_tsc(c) < r.s->model.tsc_hz);
    assert_true(msr_read(c, 0x3b, &val));
    assert_true((int64_t)val < 0);
    rig_free(&r);
}

static void test_xsetbv(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    long_mode(&r, 0);
    assert_int_equal(EXEC(c, "\x0f\x01\xd1"), VEC_UD);
    c->cr4 |= CR4_OSXSAVE;
    static const struct {
        uint32_t eax;
        int vector;
    } table[] = {
        { 1, -1 }, { 3, -1 }, { 0, VEC_GP }, { 2, VEC_GP }, { 5, VEC_GP }, { 9, VEC_GP }
    };
    for (unsigned i = 0; i < sizeof table / sizeof table[0]; i++) {
        c->gpr[REG_RAX] = table[i].eax;
        c->gpr[REG_RDX] = c->gpr[REG_RCX] = 0;
        assert_int_equal(EXEC(c, "\x0f\x01\xd1"), table[i].vector);
    }
    assert_int_equal(EXEC(c, "\x0f\x01\xd0"), -1);
    assert_int_equal(c->gpr[REG_RAX], 3);
    rig_free(&r);
}

static void test_privilege(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    static const struct {
        char insn[5];
        unsigned len;
        int vector;
    } table[] = {
        { "\xf4", 1, VEC_GP },         { "\x0f\x06", 2, VEC_GP },     { "\x0f\x30", 2, VEC_GP },
        { "\x0f\x32", 2, VEC_GP },     { "\x0f\x08", 2, VEC_GP },     { "\x0f\x09", 2, VEC_GP },
        { "\x0f\x20\xc0", 3, VEC_GP }, { "\x0f\x22\xd8", 3, VEC_GP }, { "\x0f\x21\xc0", 3, VEC_GP },
        { "\x0f\x01\xf8", 3, VEC_GP }, { "\x0f\x01\x38", 3, VEC_GP }, { "\x0f\x00\xd8", 3, VEC_GP },
        { "\xfa", 1, VEC_GP },         { "\xfb", 1, VEC_GP },         { "\xe4\x10", 2, VEC_GP },
        { "\xee", 1, VEC_GP },         { "\x0f\x01\xca", 3, VEC_UD }, { "\x0f\x31", 2, -1 },
        { "\x0f\xa2", 2, -1 },
    };
    for (unsigned i = 0; i < sizeof table / sizeof table[0]; i++) {
        long_mode(&r, 3);
        assert_int_equal(rig_exec(c, table[i].insn, table[i].len), table[i].vector);
    }
    long_mode(&r, 3);
    c->cr4 |= CR4_TSD;
    assert_int_equal(EXEC(c, "\x0f\x31"), VEC_GP);
    assert_int_equal(EXEC(c, "\x0f\x01\xe0"), -1); /* smsw eax */
    c->cr4 |= CR4_UMIP;
    assert_int_equal(EXEC(c, "\x0f\x01\xe0"), VEC_GP);
    assert_int_equal(EXEC(c, "\x0f\x00\xc8"), VEC_GP); /* str */
    rig_free(&r);
}

/* ---- ports ----------------------------------------------------------------------------------- */

static void test_io_permission_map(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    protected_mode(&r, 3);
    c->seg[SEG_TR].limit = 0x88 + 0x20;
    put(&r, TSS + 0x66, 0x88, 2);
    memset(r.ram + TSS + 0x88, 0xff, 0x21);
    put(&r, TSS + 0x88 + 0x10, 0x7f, 1); /* port 0x87 is allowed, 0x88 is not */
    assert_int_equal(EXEC(c, "\xe4\x87"), -1);
    assert_int_equal(r.pio_reads, 1);
    assert_int_equal(c->gpr[REG_RAX] & 0xff, 0x5a);
    assert_int_equal(EXEC(c, "\x66\xe5\x87"), VEC_GP); /* two bytes reach into 0x88 */
    assert_int_equal(EXEC(c, "\xe4\x86"), VEC_GP);
    c->gpr[REG_RDX] = 0x1000; /* behind the end of the map */
    assert_int_equal(EXEC(c, "\xec"), VEC_GP);
    c->fl |= FL_IOPL;
    assert_int_equal(EXEC(c, "\xec"), -1);
    assert_int_equal(r.pio_reads, 2);
    rig_free(&r);
}

static void test_string_io(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    protected_mode(&r, 0);
    c->gpr[REG_RDI] = 0x12000;
    c->gpr[REG_RCX] = 5;
    c->gpr[REG_RDX] = 0x1f0;
    assert_int_equal(EXEC(c, "\xf3\x66\x6d"), -1); /* rep insw */
    assert_int_equal(r.pio_reads, 5);
    assert_int_equal(c->gpr[REG_RCX], 0);
    assert_int_equal(c->gpr[REG_RDI], 0x1200a);
    assert_int_equal(peek_ram(&r, 0x12000, 8), 0x5a5a5a5a5a5a5a5a);
    assert_int_equal(c->rip, CODE + 3);
    c->gpr[REG_RCX] = 0;
    assert_int_equal(EXEC(c, "\xf3\x6e"), -1);
    assert_int_equal(r.pio_writes, 0);
    /* a request in the middle: registers say what is left, rip stays */
    c->rip = CODE;
    c->gpr[REG_RSI] = 0x12000;
    c->gpr[REG_RCX] = 1000;
    atomic_store(&c->exit_req, REQ_EVENT);
    assert_int_equal(EXEC(c, "\xf3\x6e"), -1);
    assert_int_equal(c->rip, CODE);
    assert_int_equal(c->gpr[REG_RCX], 999);
    assert_int_equal(r.pio_value, 0x5a);
    rig_free(&r);
}

/* A store that would fault must not eat the device's data first. */
static void test_ins_faults_before_the_port_is_read(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    long_mode(&r, 0);
    c->gpr[REG_RDI] = 0x40000000;
    c->gpr[REG_RDX] = 0x1f0;
    assert_int_equal(EXEC(c, "\x6c"), VEC_PF);
    assert_int_equal(r.pio_reads, 0);
    rig_free(&r);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static void test_register_blocks(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    long_mode(&r, 3);
    static mobo_x86_sregs_t a, b;
    static mobo_x86_msrs_t m, n;
    mobo_x86_regs_t regs;
    assert_int_equal(soft_get(c, MOBO_X86_SREGS, &a, sizeof a), MOBO_OK);
    assert_int_equal(soft_get(c, MOBO_X86_REGS, &regs, sizeof regs), MOBO_OK);
    c->lstar = 0x1234;
    assert_int_equal(soft_get(c, MOBO_X86_MSRS, &m, sizeof m), MOBO_OK);
    assert_true(m.count > 20);
    x86_reset(c, false);
    assert_int_equal(soft_set(c, MOBO_X86_SREGS, &a, sizeof a), MOBO_OK);
    assert_int_equal(soft_set(c, MOBO_X86_REGS, &regs, sizeof regs), MOBO_OK);
    assert_int_equal(soft_set(c, MOBO_X86_MSRS, &m, sizeof m), MOBO_OK);
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->code_bits, 64);
    assert_int_equal(c->lstar, 0x1234);
    assert_int_equal(soft_get(c, MOBO_X86_SREGS, &b, sizeof b), MOBO_OK);
    assert_memory_equal(&a, &b, sizeof a);
    n.count = 1;
    n.msr[0].index = 0xc0000082;
    assert_int_equal(soft_get(c, MOBO_X86_MSRS, &n, sizeof n), MOBO_OK);
    assert_int_equal(n.msr[0].value, 0x1234);
    /* states that no CPU can be in */
    a.efer &= ~(uint64_t)EFER_LME;
    assert_int_equal(soft_set(c, MOBO_X86_SREGS, &a, sizeof a), MOBO_EINVAL);
    m.count = 1000;
    assert_int_equal(soft_set(c, MOBO_X86_MSRS, &m, sizeof m), MOBO_ERANGE);
    assert_int_equal(soft_get(c, 99, &a, sizeof a), MOBO_ENOTSUP);
    assert_int_equal(soft_get(c, MOBO_X86_REGS, &regs, 8), MOBO_ERANGE);
    rig_free(&r);
}

static void test_kvm_clock_page(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    assert_true(msr_write(c, 0x4b564d01, 0x9000 | 1));
    uint32_t version = (uint32_t)peek_ram(&r, 0x9000, 4);
    assert_true(version && !(version & 1));
    uint64_t stamp = peek_ram(&r, 0x9008, 8), base = peek_ram(&r, 0x9010, 8);
    uint32_t mul = (uint32_t)peek_ram(&r, 0x9018, 4);
    int8_t shift = (int8_t)peek_ram(&r, 0x901c, 1);
    assert_int_equal(peek_ram(&r, 0x901d, 1), 1);
    uint64_t delta[2], host[2];
    for (unsigned i = 0; i < 2; i++) {
        uint64_t tsc = cpu_tsc(c) - stamp;
        host[i] = soft_now();
        delta[i] = base + (uint64_t)((u128)(shift < 0 ? tsc >> -shift : tsc << shift) * mul >> 32);
        for (uint64_t until = host[i] + 20000000; i == 0 && soft_now() < until;)
            continue;
    }
    int64_t drift = (int64_t)(delta[1] - delta[0]) - (int64_t)(host[1] - host[0]);
    assert_true(drift > -50000 && drift < 50000); /* 20 ms to 50 us, scheduling included */
    assert_true(msr_write(c, 0x4b564d00, 0x9100));
    assert_true(peek_ram(&r, 0x9104, 4) > 1600000000);
    assert_true(msr_write(c, 0x4b564d01, (uint64_t)1 << 40 | 1)); /* not RAM: ignored */
    assert_false(msr_write(c, 0x4b564d02, 1));                    /* no async page faults */
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segment_loads),
        cmocka_unit_test(test_lar_lsl_verr),
        cmocka_unit_test(test_into_long_mode),
        cmocka_unit_test(test_pcide_needs_clean_cr3),
        cmocka_unit_test(test_pae_pdptes),
        cmocka_unit_test(test_msr_checks),
        cmocka_unit_test(test_xsetbv),
        cmocka_unit_test(test_privilege),
        cmocka_unit_test(test_io_permission_map),
        cmocka_unit_test(test_string_io),
        cmocka_unit_test(test_ins_faults_before_the_port_is_read),
        cmocka_unit_test(test_register_blocks),
        cmocka_unit_test(test_kvm_clock_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
