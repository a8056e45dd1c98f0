/*
 * Exceptions and transfers in every mode: stack frames, error codes, double and triple faults,
 * IRET, SYSCALL and SYSRET, far transfers, task switches.
 */
#include "rig-modes.h"

/* ---- delivery in long mode ------------------------------------------------------------------- */

static void test_long_exception_from_user(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    long_mode(&r, 3);
    gate64(&r, VEC_GP, 0xffff800012345678, CS64, 14, 0, 0);
    cpu_set_rflags(c, FL_CF | FL_TF, FL_CF | FL_TF);
    raise_(c, VEC_GP, 0x58);
    assert_true(rig_deliver(c));
    assert_int_equal(c->rip, 0xffff800012345678);
    assert_int_equal(c->cpl, 0);
    assert_int_equal(c->seg[SEG_CS].sel, CS64);
    assert_int_equal(c->seg[SEG_SS].sel, 0);
    assert_int_equal(c->gpr[REG_RSP], STACK0 - 48);
    assert_int_equal(peek_ram(&r, STACK0 - 8, 8), DS3 | 3);
    assert_int_equal(peek_ram(&r, STACK0 - 16, 8), STACK3);
    assert_int_equal(peek_ram(&r, STACK0 - 24, 8), FL_1 | FL_CF | FL_TF | FL_IF | FL_RF);
    assert_int_equal(peek_ram(&r, STACK0 - 32, 8), CS64U | 3);
    assert_int_equal(peek_ram(&r, STACK0 - 40, 8), CODE);
    assert_int_equal(peek_ram(&r, STACK0 - 48, 8), 0x58);
    assert_int_equal(cpu_rflags(c) & (FL_IF | FL_TF | FL_RF | FL_CF), FL_CF);
    rig_free(&r);
}

static void test_long_stack_rules(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    /* same level: the current stack, aligned down to 16 */
    long_mode(&r, 0);
    gate64(&r, 0x40, 0x12340, CS64, 14, 0, 0);
    c->gpr[REG_RSP] = 0x1fff9;
    assert_int_equal(setjmp(c->unwind), 0);
    x86_deliver_irq(c, 0x40);
    assert_int_equal(c->gpr[REG_RSP], 0x1fff0 - 40);
    assert_int_equal(peek_ram(&r, 0x1fff0 - 16, 8), 0x1fff9);
    assert_int_equal(peek_ram(&r, 0x1fff0 - 24, 8), FL_1 | FL_IF); /* no RF for an interrupt */
    /* a trap gate leaves IF alone; IST switches even at the same level */
    long_mode(&r, 0);
    gate64(&r, 0x41, 0x12340, CS64, 15, 0, 1);
    assert_int_equal(setjmp(c->unwind), 0);
    x86_deliver_irq(c, 0x41);
    assert_int_equal(c->gpr[REG_RSP], IST1 - 40);
    assert_true(c->fl & FL_IF);
    rig_free(&r);
}

/* Faults of INT n: which vector, which error code, and rip names the INT. */
static void test_int_n_errors(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    static const struct {
        unsigned sel, type, dpl, present, fault, error;
    } table[] = {
        { CS64, 14, 0, 1, VEC_GP, 0x80 * 8 + 2 }, /* gate DPL below CPL */
        { CS64, 14, 3, 0, VEC_NP, 0x80 * 8 + 2 },
        { CS64, 5, 3, 1, VEC_GP, 0x80 * 8 + 2 }, /* no task gates in long mode */
        { CS64, 6, 3, 1, VEC_GP, 0x80 * 8 + 2 }, /* nor 16-bit ones */
        { 0, 14, 3, 1, VEC_GP, 0 },
        { CS32, 14, 3, 1, VEC_GP, CS32 }, /* must be 64-bit code */
        { DS0, 14, 3, 1, VEC_GP, DS0 },
        { 0x1000, 14, 3, 1, VEC_GP, 0x1000 }, /* outside the GDT */
    };
    for (unsigned i = 0; i < sizeof table / sizeof table[0]; i++) {
        long_mode(&r, 3);
        gate64(&r, 0x80, 0x12340, table[i].sel, table[i].type, table[i].dpl, 0);
        if (!table[i].present)
            put(&r, IDT + 16 * 0x80 + 5, 0x6e, 1);
        assert_int_equal(EXEC(c, "\xcd\x80"), table[i].fault);
        assert_int_equal(c->exc_error, table[i].error);
        assert_int_equal(c->rip, CODE);
        assert_int_equal(c->cpl, 3);
    }
    long_mode(&r, 3);
    gate64(&r, 0x80, 0x12340, CS64, 14, 3, 0);
    assert_int_equal(EXEC(c, "\xcd\x80"), -1);
    assert_int_equal(peek_ram(&r, STACK0 - 40, 8), CODE + 2);
    assert_int_equal(c->gpr[REG_RSP], STACK0 - 40);
    /* the same gate for a hardware event: DPL does not count, and EXT is set in errors */
    long_mode(&r, 3);
    gate64(&r, 0x80, 0x12340, CS32, 14, 0, 0);
    if (setjmp(c->unwind) == 0)
        x86_deliver_irq(c, 0x80);
    assert_int_equal(c->exc_vector, VEC_GP);
    assert_int_equal(c->exc_error, CS32 | 1);
    rig_free(&r);
}

/* Rows: first fault, second fault (by breaking its gate or its stack), what comes of it. */
static void test_double_and_triple_fault(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    static const struct {
        unsigned first;
        bool doubles;
    } table[] = { { VEC_GP, true },  { VEC_DE, true },  { VEC_TS, true },  { VEC_NP, true },
                  { VEC_SS, true },  { VEC_PF, true },  { VEC_UD, false }, { VEC_BP, false },
                  { VEC_NM, false }, { VEC_MF, false }, { VEC_XM, false }, { VEC_AC, false } };
    for (unsigned i = 0; i < sizeof table / sizeof table[0]; i++) {
        long_mode(&r, 0);
        memset(r.ram + IDT, 0, 0x1000);
        gate64(&r, VEC_DF, 0xdf00, CS64, 14, 0, 1);
        gate64(&r, VEC_NP, 0x1100, CS64, 14, 0, 1);
        gate64(&r, VEC_GP, 0x1300, CS64, 14, 0, 1);
        if (table[i].first == VEC_GP || table[i].first == VEC_NP)
            put(&r, IDT + 16 * table[i].first + 5, 0x0e, 1); /* not present: #NP */
        c->in_delivery = 0;
        raise_(c, table[i].first, 7);
        assert_true(rig_deliver(c));
        assert_int_equal(c->rip, table[i].doubles ? 0xdf00 : 0x1300);
        if (table[i].doubles)
            assert_int_equal(peek_ram(&r, IST1 - 48, 8), 0);
        else
            assert_int_equal(peek_ram(&r, IST1 - 48, 8), table[i].first * 8 + 2 + 1);
    }
    /* no gates at all: triple fault */
    long_mode(&r, 0);
    memset(r.ram + IDT, 0, 0x1000);
    raise_(c, VEC_GP, 0);
    assert_false(rig_deliver(c));
    /* and the run loop reports it */
    c->shutdown = c->exc_pending = 0;
    long_mode(&r, 0);
    raise_(c, VEC_UD, 0);
    assert_int_equal(soft_run(c, &rig_exits, &r), MOBO_OK);
    assert_int_equal(r.stops, 1);
    assert_int_equal(r.stop_why, MOBO_STOP_TRIPLE_FAULT);
    rig_free(&r);
}

static void test_page_fault_in_delivery(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    long_mode(&r, 0);
    gate64(&r, VEC_PF, 0xe00, CS64, 14, 0, 1);
    gate64(&r, VEC_GP, 0xd00, CS64, 14, 0, 0);
    gate64(&r, VEC_DF, 0xdf00, CS64, 14, 0, 1);
    c->gpr[REG_RSP] = 0x40000000; /* not mapped */
    raise_(c, VEC_UD, 0);
    gate64(&r, VEC_UD, 0x600, CS64, 14, 0, 0);
    assert_true(rig_deliver(c));
    assert_int_equal(c->rip, 0xe00); /* benign then #PF: one after the other */
    assert_int_equal(c->cr2, 0x40000000 - 8);
    assert_int_equal(peek_ram(&r, IST1 - 48, 8), PF_W);
    long_mode(&r, 0);
    c->gpr[REG_RSP] = 0x40000000;
    raise_(c, VEC_GP, 0);
    assert_true(rig_deliver(c));
    assert_int_equal(c->rip, 0xe00); /* contributory then #PF: serially, table 6-5 */
    rig_free(&r);
}

/* ---- delivery in legacy modes ---------------------------------------------------------------- */

static void test_real_mode_interrupt(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    x86_reset(c, false);
    seg_load_real(c, SEG_CS, 0x1000);
    seg_load_real(c, SEG_SS, 0x2000);
    c->rip = 0x123;
    c->gpr[REG_RSP] = 0xabcd0002;
    c->fl = FL_1 | FL_IF;
    put(&r, 4 * 0x21, 0x34560789, 4);
    assert_int_equal(EXEC(c, "\xcd\x21"), -1);
    assert_int_equal(c->rip, 0x789);
    assert_int_equal(c->seg[SEG_CS].base, 0x34560);
    assert_int_equal(c->gpr[REG_RSP], 0xabcdfffc); /* only SP moves, and it wraps */
    assert_int_equal(peek_ram(&r, 0x20000, 2), FL_1 | FL_IF);
    assert_int_equal(peek_ram(&r, 0x2fffe, 2), 0x1000);
    assert_int_equal(peek_ram(&r, 0x2fffc, 2), 0x125);
    assert_false(c->fl & FL_IF);
    assert_int_equal(EXEC(c, "\xcf"), -1); /* IRET */
    assert_int_equal(c->rip, 0x125);
    assert_int_equal(c->seg[SEG_CS].sel, 0x1000);
    assert_true(c->fl & FL_IF);
    assert_int_equal(c->gpr[REG_RSP], 0xabcd0002);
    c->idt_limit = 0x40;
    assert_int_equal(EXEC(c, "\xcd\x21"), VEC_GP);
    rig_free(&r);
}

static void test_protected_gates(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    protected_mode(&r, 3);
    gate32(&r, 0x80, 0x4321, CS32, 15, 3);
    assert_int_equal(EXEC(c, "\xcd\x80"), -1);
    assert_int_equal(c->cpl, 0);
    assert_int_equal(c->seg[SEG_SS].sel, DS0);
    assert_int_equal(c->gpr[REG_RSP], STACK0 - 20);
    assert_int_equal(peek_ram(&r, STACK0 - 4, 4), DS3 | 3);
    assert_int_equal(peek_ram(&r, STACK0 - 8, 4), STACK3);
    assert_int_equal(peek_ram(&r, STACK0 - 16, 4), CS32U | 3);
    assert_int_equal(peek_ram(&r, STACK0 - 20, 4), CODE + 2);
    assert_true(c->fl & FL_IF);
    c->seg[SEG_DS].sel = DS0;
    load(c, SEG_DS, DS0); /* privileged: the return takes it away */
    assert_int_equal(EXEC(c, "\xcf"), -1);
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->rip, CODE + 2);
    assert_int_equal(c->gpr[REG_RSP], STACK3);
    assert_int_equal(c->seg[SEG_DS].sel, 0);
    assert_true(c->seg[SEG_DS].attr & ATTR_UNUSABLE);
    /* 16-bit gate */
    protected_mode(&r, 3);
    gate32(&r, 0x81, 0x4321, CS32, 6, 3);
    assert_int_equal(EXEC(c, "\xcd\x81"), -1);
    assert_int_equal(c->gpr[REG_RSP], STACK0 - 10);
    assert_int_equal(peek_ram(&r, STACK0 - 10, 2), (CODE + 2) & 0xffff);
    /* a bad stack in the TSS is #TS with its selector */
    protected_mode(&r, 3);
    put(&r, TSS + 8, DS3 | 3, 4);
    assert_int_equal(EXEC(c, "\xcd\x80"), VEC_TS);
    assert_int_equal(c->exc_error, DS3);
    /* a TSS too short names itself */
    protected_mode(&r, 3);
    c->seg[SEG_TR].limit = 8;
    assert_int_equal(EXEC(c, "\xcd\x80"), VEC_TS);
    assert_int_equal(c->exc_error, TR);
    /* stack segment not present */
    protected_mode(&r, 3);
    put(&r, TSS + 8, NOTP, 4);
    assert_int_equal(EXEC(c, "\xcd\x80"), VEC_SS);
    assert_int_equal(c->exc_error, NOTP);
    rig_free(&r);
}

static void test_virtual_8086(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    protected_mode(&r, 0);
    uint32_t frame[9] = { 0x100,  0x2000, FL_1 | FL_VM | FL_IF | FL_IOPL,
                          0xfffe, 0x3000, 0x4000,
                          0x5000, 0x6000, 0x7000 };
    memcpy(r.ram + 0x1f000, frame, sizeof frame);
    c->gpr[REG_RSP] = 0x1f000;
    assert_int_equal(EXEC(c, "\xcf"), -1);
    assert_int_equal(c->cpl, 3);
    assert_true(c->fl & FL_VM);
    assert_int_equal(c->code_bits, 16);
    assert_int_equal(c->seg[SEG_CS].base, 0x20000);
    assert_int_equal(c->seg[SEG_SS].base, 0x30000);
    assert_int_equal(c->seg[SEG_ES].sel, 0x4000);
    assert_int_equal(c->seg[SEG_GS].sel, 0x7000);
    assert_int_equal(c->rip, 0x100);
    /* an interrupt saves all segments and clears them */
    gate32(&r, 0x30, 0x4321, CS32, 14, 0);
    assert_int_equal(setjmp(c->unwind), 0);
    x86_deliver_irq(c, 0x30);
    assert_int_equal(c->cpl, 0);
    assert_false(c->fl & FL_VM);
    assert_int_equal(c->gpr[REG_RSP], STACK0 - 36);
    assert_int_equal(peek_ram(&r, STACK0 - 4, 4), 0x7000);
    assert_int_equal(peek_ram(&r, STACK0 - 16, 4), 0x4000);
    assert_int_equal(peek_ram(&r, STACK0 - 20, 4), 0x3000);
    assert_int_equal(peek_ram(&r, STACK0 - 24, 4), 0xfffe);
    assert_true(peek_ram(&r, STACK0 - 28, 4) & FL_VM);
    assert_int_equal(peek_ram(&r, STACK0 - 32, 4), 0x2000);
    assert_int_equal(c->seg[SEG_DS].sel, 0);
    assert_int_equal(EXEC(c, "\xcf"), -1);
    assert_true(c->fl & FL_VM);
    assert_int_equal(c->seg[SEG_DS].sel, 0x5000);
    /* IOPL below 3: INT n, CLI and IRET fault, INT3 does not need it */
    gate32(&r, VEC_BP, 0x4321, CS32, 15, 3);
    c->fl &= ~(uint32_t)FL_IOPL;
    assert_int_equal(EXEC(c, "\xcd\x30"), VEC_GP);
    assert_int_equal(c->exc_error, 0);
    assert_int_equal(EXEC(c, "\xfa"), VEC_GP);
    assert_int_equal(EXEC(c, "\xcf"), VEC_GP);
    assert_int_equal(EXEC(c, "\xcc"), -1);
    assert_int_equal(c->cpl, 0);
    rig_free(&r);
}

/* ---- IRET, SYSRET ---------------------------------------------------------------------------- */

static void frame64(struct rig *r, uint64_t rip, uint64_t cs, uint64_t fl, uint64_t rsp,
                    uint64_t ss)
{
    uint64_t frame[5] = { rip, cs, fl, rsp, ss };
    memcpy(r->ram + 0x1f000, frame, sizeof frame);
    r->cpu[0]->gpr[REG_RSP] = 0x1f000;
}

static void test_iret_long(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    long_mode(&r, 0);
    c->nmi_blocked = 1;
    frame64(&r, 0x7fff00001000, CS64U | 3, FL_1 | FL_IF | FL_TF | FL_ZF, 0x7ffeffff, DS3 | 3);
    assert_int_equal(EXEC(c, "\x48\xcf"), -1);
    assert_int_equal(c->rip, 0x7fff00001000);
    assert_int_equal(c->gpr[REG_RSP], 0x7ffeffff);
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->nmi_blocked, 0);
    assert_int_equal(cpu_rflags(c) & (FL_IF | FL_TF | FL_ZF), FL_IF | FL_TF | FL_ZF);
    /* the same level pops SS:RSP too, and null SS is fine there */
    long_mode(&r, 0);
    frame64(&r, 0x1234, CS64, FL_1, 0x18000, 0);
    assert_int_equal(EXEC(c, "\x48\xcf"), -1);
    assert_int_equal(c->gpr[REG_RSP], 0x18000);
    assert_int_equal(c->seg[SEG_SS].sel, 0);
    assert_int_equal(c->cpl, 0);
    /* to a 16-bit stack: only SP is loaded */
    long_mode(&r, 0);
    frame64(&r, 0x1234, CS32U | 3, FL_1, 0x5678, SS16U | 3);
    assert_int_equal(EXEC(c, "\x48\xcf"), -1);
    assert_int_equal(c->gpr[REG_RSP], 0x15678);
    assert_int_equal(c->code_bits, 32);
    assert_int_equal(c->stack_bits, 16);
    static const struct {
        uint64_t rip, cs, fl, ss;
        unsigned nt, vector, error;
    } bad[] = {
        { 0x1234, CS64, FL_1, DS0, 1, VEC_GP, 0 }, /* NT in long mode */
        { 0x1234, 0, FL_1, DS0, 0, VEC_GP, 0 },
        { 0x1234, CS64U | 3, FL_1, 0, 0, VEC_GP, 0 }, /* null SS in ring 3 */
        { 0x1234, CS64U | 3, FL_1, DS0, 0, VEC_GP, DS0 },
        { 0x1234, CS64U | 3, FL_1, DS3, 0, VEC_GP, DS3 }, /* SS.RPL */
        { 0x1234, CS64U, FL_1, DS0, 0, VEC_GP, CS64U },   /* DPL 3 at RPL 0 */
        { 0x1234, DS3 | 3, FL_1, DS3 | 3, 0, VEC_GP, DS3 },
        { 0x800000000000, CS64U | 3, FL_1, DS3 | 3, 0, VEC_GP, 0 }, /* not canonical */
        { 0x100001234, CS32U | 3, FL_1, DS3 | 3, 0, VEC_GP, 0 },    /* above the limit */
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        long_mode(&r, 0);
        frame64(&r, bad[i].rip, bad[i].cs, bad[i].fl, 0x18000, bad[i].ss);
        if (bad[i].nt)
            c->fl |= FL_NT;
        assert_int_equal(EXEC(c, "\x48\xcf"), bad[i].vector);
        assert_int_equal(c->exc_error, bad[i].error);
        assert_int_equal(c->gpr[REG_RSP], 0x1f000);
        assert_int_equal(c->rip, CODE);
        assert_int_equal(c->cpl, 0);
    }
    /* user code cannot raise IOPL or clear IF by IRET */
    long_mode(&r, 3);
    frame64(&r, 0x1234, CS64U | 3, FL_1 | FL_IOPL, 0x18000, DS3 | 3);
    assert_int_equal(EXEC(c, "\x48\xcf"), -1);
    assert_true(c->fl & FL_IF);
    assert_int_equal(iopl(c), 0);
    rig_free(&r);
}

static void test_syscall_sysret(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    assert_int_equal(c->soft->model.vendor, VENDOR_INTEL);
    long_mode(&r, 3);
    c->star = (uint64_t)CS32U << 48 | (uint64_t)CS64 << 32;
    c->lstar = 0xffff800000001000;
    c->fmask = FL_IF | FL_TF | FL_DF;
    cpu_set_rflags(c, FL_CF | FL_DF, FL_CF | FL_DF);
    assert_int_equal(EXEC(c, "\x0f\x05"), -1);
    assert_int_equal(c->rip, 0xffff800000001000);
    assert_int_equal(c->gpr[REG_RCX], CODE + 2);
    assert_int_equal(c->gpr[11], FL_1 | FL_IF | FL_CF | FL_DF);
    assert_int_equal(cpu_rflags(c), FL_1 | FL_CF);
    assert_int_equal(c->cpl, 0);
    assert_int_equal(c->seg[SEG_CS].sel, CS64);
    assert_int_equal(c->seg[SEG_SS].sel, DS0);
    assert_int_equal(c->gpr[REG_RSP], STACK3); /* the stack is the kernel's business */
    c->gpr[11] |= FL_RF | FL_VM;
    assert_int_equal(EXEC(c, "\x48\x0f\x07"), -1);
    assert_int_equal(c->rip, CODE + 2);
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->seg[SEG_CS].sel, CS64U | 3);
    assert_int_equal(c->seg[SEG_SS].sel, DS3 | 3);
    assert_int_equal(cpu_rflags(c), FL_1 | FL_IF | FL_CF | FL_DF);
    /* 32-bit SYSRET */
    long_mode(&r, 0);
    c->gpr[REG_RCX] = 0xffffffff00002000;
    assert_int_equal(EXEC(c, "\x0f\x07"), -1);
    assert_int_equal(c->rip, 0x2000);
    assert_int_equal(c->seg[SEG_CS].sel, CS32U | 3);
    assert_int_equal(c->code_bits, 32);
    /* Intel: #GP in ring 0 for a target that is not canonical */
    long_mode(&r, 0);
    c->gpr[REG_RCX] = 0x800000000000;
    assert_int_equal(EXEC(c, "\x48\x0f\x07"), VEC_GP);
    assert_int_equal(c->cpl, 0);
    long_mode(&r, 3);
    assert_int_equal(EXEC(c, "\x48\x0f\x07"), VEC_GP);
    c->efer &= ~(uint64_t)EFER_SCE;
    assert_int_equal(EXEC(c, "\x0f\x05"), VEC_UD);
    rig_free(&r);

    rig_new(&r, "max", RIG_AMD, 1);
    c = r.cpu[0];
    long_mode(&r, 0);
    c->star = (uint64_t)CS32U << 48;
    c->gpr[REG_RCX] = 0x800000000000;
    assert_int_equal(EXEC(c, "\x48\x0f\x07"), -1); /* AMD: the fetch faults, in ring 3 */
    assert_int_equal(c->cpl, 3);
    long_mode(&r, 0);
    c->sysenter_cs = CS64;
    assert_int_equal(EXEC(c, "\x0f\x34"), VEC_UD); /* no SYSENTER in long mode there */
    long_mode(&r, 3);
    load(c, SEG_CS, CS32U | 3);
    mode_update(c);
    c->cstar = 0x5000;
    assert_int_equal(EXEC(c, "\x0f\x05"), -1); /* SYSCALL from compatibility mode: CSTAR */
    assert_int_equal(c->rip, 0x5000);
    assert_int_equal(c->code_bits, 64);
    rig_free(&r);
}

static void test_sysenter_sysexit(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    long_mode(&r, 3);
    assert_int_equal(EXEC(c, "\x0f\x34"), VEC_GP); /* SYSENTER_CS is 0 */
    c->sysenter_cs = CS64;
    c->sysenter_eip = 0xffff800000002000;
    c->sysenter_esp = 0x1e000;
    assert_int_equal(EXEC(c, "\x0f\x34"), -1);
    assert_int_equal(c->rip, 0xffff800000002000);
    assert_int_equal(c->gpr[REG_RSP], 0x1e000);
    assert_int_equal(c->cpl, 0);
    assert_false(c->fl & FL_IF);
    c->gpr[REG_RDX] = 0x4000;
    c->gpr[REG_RCX] = 0x3f000;
    assert_int_equal(EXEC(c, "\x48\x0f\x35"), -1);
    assert_int_equal(c->rip, 0x4000);
    assert_int_equal(c->gpr[REG_RSP], 0x3f000);
    assert_int_equal(c->seg[SEG_CS].sel, (CS64 + 32) | 3);
    assert_int_equal(c->cpl, 3);
    rig_free(&r);
}

/* ---- far transfers, tasks -------------------------------------------------------------------- */

static void test_far_transfers(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    protected_mode(&r, 0);
    /* call ptr16:32, then retf */
    assert_int_equal(EXEC(c, "\x9a\x00\x20\x00\x00\x40\x00"), -1);
    assert_int_equal(c->rip, 0x2000);
    assert_int_equal(c->gpr[REG_RSP], STACK0 - 0x1008);
    assert_int_equal(peek_ram(&r, STACK0 - 0x1008, 4), CODE + 7);
    assert_int_equal(EXEC(c, "\xcb"), -1);
    assert_int_equal(c->rip, CODE + 7);
    assert_int_equal(c->gpr[REG_RSP], STACK0 - 0x1000);
    /* wrong targets */
    static const struct {
        char insn[8];
        unsigned vector, error;
    } bad[] = {
        { "\xea\x00\x20\x00\x00\x00\x00", VEC_GP, 0 },      /* null */
        { "\xea\x00\x20\x00\x00\x18\x00", VEC_GP, CS32U },  /* DPL 3 from ring 0 */
        { "\xea\x00\x20\x00\x00\x10\x00", VEC_GP, DS0 },    /* data */
        { "\xea\x00\x20\x00\x00\x00\x10", VEC_GP, 0x1000 }, /* outside */
        { "\xea\x00\x20\x00\x00\x44\x00", VEC_GP, 0x44 },   /* LDT, which is empty */
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        protected_mode(&r, 0);
        seg_make_null(c, SEG_LDT, 0);
        assert_int_equal(rig_exec(c, bad[i].insn, 7), bad[i].vector);
        assert_int_equal(c->exc_error, bad[i].error);
        assert_int_equal(c->rip, CODE);
    }
    /* call gate from ring 3 to ring 0 with two parameters */
    protected_mode(&r, 3);
    put(&r, GDT + GATE, 0x0000ec0200404321, 8);
    put(&r, STACK3, 0x1111, 4);
    put(&r, STACK3 + 4, 0x2222, 4);
    assert_int_equal(EXEC(c, "\x9a\x00\x00\x00\x00\x53\x00"), -1);
    assert_int_equal(c->cpl, 0);
    assert_int_equal(c->rip, 0x4321);
    assert_int_equal(c->gpr[REG_RSP], STACK0 - 24);
    static const uint32_t want[] = { CODE + 7, CS32U | 3, 0x1111, 0x2222, STACK3, DS3 | 3 };
    assert_memory_equal(r.ram + STACK0 - 24, want, sizeof want);
    assert_int_equal(EXEC(c, "\xca\x08\x00"), -1); /* retf 8 */
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->gpr[REG_RSP], STACK3 + 8);
    assert_int_equal(c->rip, CODE + 7);
    rig_free(&r);
}

static void test_call_gate_64(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    long_mode(&r, 3);
    put(&r, GDT + GATE, 0x0000ec0000084321, 8);
    put(&r, GDT + GATE + 8, 0xffff8000, 8);
    put(&r, 0x18000, 0, 4);
    put(&r, 0x18004, GATE | 3, 2);
    c->gpr[REG_RAX] = 0x18000;
    assert_int_equal(EXEC(c, "\xff\x18"), -1); /* call far [rax] */
    assert_int_equal(c->rip, 0xffff800000004321);
    assert_int_equal(c->cpl, 0);
    assert_int_equal(c->gpr[REG_RSP], STACK0 - 32);
    assert_int_equal(peek_ram(&r, STACK0 - 32, 8), CODE + 2);
    assert_int_equal(peek_ram(&r, STACK0 - 16, 8), STACK3);
    assert_int_equal(EXEC(c, "\x48\xcb"), -1);
    assert_int_equal(c->cpl, 3);
    assert_int_equal(c->gpr[REG_RSP], STACK3);
    rig_free(&r);
}

/* A double fault through a task gate, as 32-bit Linux has it, and the way back by IRET with NT. */
static void test_task_gate(void **state)
{
    (void)state;
    struct rig r;
    start(&r);
    struct vcpu *c = r.cpu[0];
    protected_mode(&r, 0);
    memset(r.ram + IDT, 0, 0x800);
    put(&r, IDT + 8 * VEC_DF, 0x0000850000000000 | (uint64_t)TSS2_SEL << 16, 8);
    put(&r, TSS2 + 0x20, 0x9000, 4);
    put(&r, TSS2 + 0x24, FL_1, 4);
    put(&r, TSS2 + 0x38, 0x2a000, 4); /* ESP */
    put(&r, TSS2 + 0x28, 0x1234, 4);  /* EAX */
    for (unsigned i = 0; i < 6; i++)
        put(&r, TSS2 + 0x48 + 4 * i, i == SEG_CS ? CS32 : DS0, 4);
    c->gpr[REG_RBX] = 0xbbbb;
    raise_(c, VEC_GP, 0); /* no gate for it */
    assert_true(rig_deliver(c));
    assert_int_equal(c->rip, 0x9000);
    assert_int_equal(c->gpr[REG_RAX], 0x1234);
    assert_int_equal(c->gpr[REG_RSP], 0x2a000 - 4);
    assert_int_equal(peek_ram(&r, 0x2a000 - 4, 4), 0);
    assert_true(c->fl & FL_NT);
    assert_true(c->cr0 & CR0_TS);
    assert_int_equal(c->seg[SEG_TR].sel, TSS2_SEL);
    assert_int_equal(peek_ram(&r, TSS2, 2), TR);
    assert_int_equal(peek_ram(&r, TSS + 0x20, 4), CODE);
    assert_int_equal(peek_ram(&r, TSS + 0x34, 4), 0xbbbb);
    assert_int_equal(peek_ram(&r, GDT + TSS2_SEL + 5, 1), 0x8b);
    c->rip = 0x9010;
    assert_int_equal(EXEC(c, "\xcf"), -1);
    assert_int_equal(c->rip, CODE);
    assert_int_equal(c->gpr[REG_RBX], 0xbbbb);
    assert_int_equal(c->seg[SEG_TR].sel, TR);
    assert_false(c->fl & FL_NT);
    assert_int_equal(peek_ram(&r, GDT + TSS2_SEL + 5, 1), 0x89);
    assert_int_equal(peek_ram(&r, TSS2 + 0x20, 4), 0x9011);
    /* jumping to a busy TSS is refused */
    assert_int_equal(EXEC(c, "\xea\x00\x00\x00\x00\x30\x00"), VEC_GP);
    assert_int_equal(c->exc_error, TR);
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_exception_from_user),
        cmocka_unit_test(test_long_stack_rules),
        cmocka_unit_test(test_int_n_errors),
        cmocka_unit_test(test_double_and_triple_fault),
        cmocka_unit_test(test_page_fault_in_delivery),
        cmocka_unit_test(test_real_mode_interrupt),
        cmocka_unit_test(test_protected_gates),
        cmocka_unit_test(test_virtual_8086),
        cmocka_unit_test(test_iret_long),
        cmocka_unit_test(test_syscall_sysret),
        cmocka_unit_test(test_sysenter_sysexit),
        cmocka_unit_test(test_far_transfers),
        cmocka_unit_test(test_call_gate_64),
        cmocka_unit_test(test_task_gate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
