/*
 * System instructions and exceptions in every mode: stack frames, error codes, double and triple
 * faults, IRET, SYSCALL and SYSRET, far transfers, task switches, control registers, port rights.
 */
#include "rig.h"

enum { PML4 = 0x1000, PDPT = 0x2000, PD = 0x3000, GDT = 0x5000, IDT = 0x6000, TSS = 0x7000,
       TSS2 = 0x7800, STACK0 = 0x20000, STACK3 = 0x30000, IST1 = 0x28000, CODE = 0x10000 };
enum { CS64 = 0x08, DS0 = 0x10, CS32U = 0x18, DS3 = 0x20, CS64U = 0x28, TR = 0x30, CS32 = 0x40,
       SS16U = 0x48, GATE = 0x50, CONF = 0x60, TSS2_SEL = 0x68, NOTP = 0x70, CS16 = 0x78 };

static void gdt(struct rig *r)
{
    static const uint64_t entry[] = {
        0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff,
        0x00affb000000ffff, 0x00008b0070000067, 0, 0x00cf9b000000ffff, 0x0000f3000000ffff,
        0, 0, 0x00af9f000000ffff, 0x0000890078000067, 0x00cf13000000ffff, 0x00009b000000ffff,
    };
    memcpy(r->ram + GDT, entry, sizeof entry);
    for (unsigned i = 0; i < RIG_CPUS_MAX && r->cpu[i]; i++) {
        r->cpu[i]->gdt_base = GDT;
        r->cpu[i]->gdt_limit = sizeof entry - 1;
    }
}

static void load(struct vcpu *c, unsigned seg, unsigned sel)
{
    uint64_t lo;
    memcpy(&lo, c->soft->slot[0].host + GDT + (sel & ~7u), 8);
    seg_from_desc(c, seg, (uint16_t)sel, lo);
}

/* CPL 0 or 3 in 64-bit mode with identity mapping, user-accessible. */
static void long_mode(struct rig *r, unsigned cpl)
{
    struct vcpu *c = r->cpu[0];
    gdt(r);
    put(r, PML4, PDPT | 7, 8);
    put(r, PDPT, PD | 7, 8);
    for (unsigned i = 0; i < 2; i++)
        put(r, PD + 8 * i, (uint64_t)i << 21 | 0x87, 8);
    c->cr3 = PML4;
    c->cr4 = CR4_PAE;
    c->cr0 = (uint64_t)CR0_PE | CR0_PG | CR0_ET | CR0_NE;
    c->efer = EFER_LME | EFER_LMA | EFER_SCE;
    c->idt_base = IDT;
    c->idt_limit = 0xfff;
    load(c, SEG_CS, cpl ? CS64U | 3 : CS64);
    load(c, SEG_SS, cpl ? DS3 | 3 : DS0);
    load(c, SEG_DS, cpl ? DS3 | 3 : DS0);
    load(c, SEG_ES, cpl ? DS3 | 3 : DS0);
    c->seg[SEG_TR] = (struct seg){ .base = TSS, .limit = 0x67, .sel = TR, .attr = 0x8b };
    put(r, TSS + 4, STACK0, 8);
    put(r, TSS + 0x24, IST1, 8);
    put(r, TSS + 0x66, 0x68, 2); /* the permission map lies behind the end: no ports */
    c->gpr[REG_RSP] = cpl ? STACK3 : STACK0 - 0x1000;
    c->rip = CODE;
    c->cpl = (uint8_t)cpl;
    c->fl = FL_1 | FL_IF;
    c->activity = CPU_RUNNING;
    mode_update(c);
    tlb_flush(c);
}

/* Protected mode without paging. */
static void protected_mode(struct rig *r, unsigned cpl)
{
    struct vcpu *c = r->cpu[0];
    gdt(r);
    c->cr0 = CR0_PE | CR0_ET | CR0_NE;
    c->cr4 = 0;
    c->efer = 0;
    c->idt_base = IDT;
    c->idt_limit = 0x7ff;
    load(c, SEG_CS, cpl ? CS32U | 3 : CS32);
    load(c, SEG_SS, cpl ? DS3 | 3 : DS0);
    load(c, SEG_DS, cpl ? DS3 | 3 : DS0);
    load(c, SEG_ES, cpl ? DS3 | 3 : DS0);
    c->seg[SEG_TR] = (struct seg){ .base = TSS, .limit = 0x67, .sel = TR, .attr = 0x8b };
    put(r, TSS + 4, STACK0, 4);
    put(r, TSS + 8, DS0, 4);
    c->gpr[REG_RSP] = cpl ? STACK3 : STACK0 - 0x1000;
    c->rip = CODE;
    c->cpl = (uint8_t)cpl;
    c->fl = FL_1 | FL_IF;
    mode_update(c);
    tlb_flush(c);
}

static void gate64(struct rig *r, unsigned vector, uint64_t entry, unsigned sel, unsigned type,
                   unsigned dpl, unsigned ist)
{
    uint64_t lo = (entry & 0xffff) | (uint64_t)sel << 16 | (uint64_t)ist << 32 |
                  (uint64_t)(0x80 | dpl << 5 | type) << 40 | (entry & 0xffff0000) << 32;
    put(r, IDT + 16 * vector, lo, 8);
    put(r, IDT + 16 * vector + 8, entry >> 32, 8);
}

static void gate32(struct rig *r, unsigned vector, uint32_t entry, unsigned sel, unsigned type,
                   unsigned dpl)
{
    put(r, IDT + 8 * vector, (entry & 0xffff) | (uint64_t)sel << 16 |
        (uint64_t)(0x80 | dpl << 5 | type) << 40 | (uint64_t)(entry & 0xffff0000) << 32, 8);
}

static void raise_(struct vcpu *c, unsigned vector, uint32_t error)
{
    if (setjmp(c->unwind) == 0)
        x86_raise_err(c, vector, error);
}

static void start(struct rig *r)
{
    rig_new(r, "max", RIG_INTEL, 1);
}

/* ---- delivery in long mode ---------------------------------------------------------------------------- */

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
        { CS64, 14, 0, 1, VEC_GP, 0x80 * 8 + 2 },      /* gate DPL below CPL */
        { CS64, 14, 3, 0, VEC_NP, 0x80 * 8 + 2 },
        { CS64, 5, 3, 1, VEC_GP, 0x80 * 8 + 2 },       /* no task gates in long mode */
        { CS64, 6, 3, 1, VEC_GP, 0x80 * 8 + 2 },       /* nor 16-bit ones */
        { 0, 14, 3, 1, VEC_GP, 0 },
        { CS32, 14, 3, 1, VEC_GP, CS32 },              /* must be 64-bit code */
        { DS0, 14, 3, 1, VEC_GP, DS0 },
        { 0x1000, 14, 3, 1, VEC_GP, 0x1000 },          /* outside the GDT */
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
    } table[] = { { VEC_GP, true }, { VEC_DE, true }, { VEC_TS, true }, { VEC_NP, true },
                  { VEC_SS, true }, { VEC_PF, true }, { VEC_UD, false }, { VEC_BP, false },
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

/* ---- delivery in legacy modes ----------------------------------------------------------------------------- */

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
    uint32_t frame[9] = { 0x100, 0x2000, FL_1 | FL_VM | FL_IF | FL_IOPL, 0xfffe, 0x3000, 0x4000,
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

/* ---- IRET, SYSRET ------------------------------------------------------------------------------------------- */

static void frame64(struct rig *r, uint64_t rip, uint64_t cs, uint64_t fl, uint64_t rsp, uint64_t ss)
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
        { 0x1234, CS64, FL_1, DS0, 1, VEC_GP, 0 },                 /* NT in long mode */
        { 0x1234, 0, FL_1, DS0, 0, VEC_GP, 0 },
        { 0x1234, CS64U | 3, FL_1, 0, 0, VEC_GP, 0 },              /* null SS in ring 3 */
        { 0x1234, CS64U | 3, FL_1, DS0, 0, VEC_GP, DS0 },
        { 0x1234, CS64U | 3, FL_1, DS3, 0, VEC_GP, DS3 },          /* SS.RPL */
        { 0x1234, CS64U, FL_1, DS0, 0, VEC_GP, CS64U },            /* DPL 3 at RPL 0 */
        { 0x1234, DS3 | 3, FL_1, DS3 | 3, 0, VEC_GP, DS3 },
        { 0x800000000000, CS64U | 3, FL_1, DS3 | 3, 0, VEC_GP, 0 },/* not canonical */
        { 0x100001234, CS32U | 3, FL_1, DS3 | 3, 0, VEC_GP, 0 },   /* above the limit */
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

/* ---- far transfers, tasks ------------------------------------------------------------------------------------- */

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

/* ---- segments -------------------------------------------------------------------------------------------------- */

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
        { 0, SEG_DS, DS0, -1, 0 },           { 3, SEG_DS, DS0, VEC_GP, DS0 },
        { 3, SEG_DS, DS3 | 3, -1, 0 },       { 0, SEG_DS, CONF, -1, 0 },
        { 3, SEG_DS, CONF | 3, -1, 0 },      { 0, SEG_DS, TR, VEC_GP, TR },
        { 0, SEG_DS, NOTP, VEC_NP, NOTP },   { 0, SEG_SS, NOTP, VEC_SS, NOTP },
        { 0, SEG_SS, 0, -1, 0 },             { 3, SEG_SS, 0, VEC_GP, 0 },
        { 0, SEG_SS, DS3 | 3, VEC_GP, DS3 }, { 0, SEG_SS, CS64, VEC_GP, CS64 },
        { 3, SEG_SS, DS3, VEC_GP, DS3 },     { 0, SEG_ES, 0, -1, 0 },
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

/* ---- control registers ------------------------------------------------------------------------------------------ */

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
    assert_int_equal(try_cr(c, 0, CR0_PG), VEC_GP);            /* PG without PE */
    assert_int_equal(try_cr(c, 0, CR0_PE | CR0_NW), VEC_GP);   /* NW without CD */
    assert_int_equal(try_cr(c, 3, PML4), -1);
    assert_true(msr_write(c, 0xc0000080, EFER_LME | EFER_NXE));
    assert_int_equal(try_cr(c, 0, (uint64_t)CR0_PE | CR0_PG), VEC_GP); /* LME without PAE */
    assert_int_equal(try_cr(c, 4, CR4_PAE), -1);
    assert_int_equal(try_cr(c, 0, (uint64_t)CR0_PE | CR0_PG), -1);
    assert_true(c->efer & EFER_LMA);
    assert_int_equal(c->code_bits, 32); /* compatibility mode until CS.L */
    assert_false(msr_write(c, 0xc0000080, EFER_NXE)); /* LME cannot change under paging */
    assert_int_equal(try_cr(c, 4, 0), VEC_GP);        /* nor PAE go away */
    assert_int_equal(EXEC(c, "\xea\x00\x10\x00\x00\x08\x00"), -1);
    assert_int_equal(c->code_bits, 64);
    assert_int_equal(try_cr(c, 0, CR0_PE), VEC_GP);   /* not out of 64-bit code */
    assert_int_equal(try_cr(c, 3, 1ull << 60), VEC_GP);
    assert_int_equal(try_cr(c, 4, CR4_PAE | 1u << 12), VEC_GP); /* no LA57 */
    assert_int_equal(try_cr(c, 4, CR4_PAE | CR4_PCIDE), -1);
    assert_int_equal(try_cr(c, 3, 1ull << 63 | PML4 | 5), -1);  /* bit 63: keep the TLB */
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
    } table[] = { { 1, -1 }, { 3, -1 }, { 0, VEC_GP }, { 2, VEC_GP }, { 5, VEC_GP }, { 9, VEC_GP } };
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

/* ---- ports ---------------------------------------------------------------------------------------------------------- */

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

/* ---- blocks ---------------------------------------------------------------------------------------------------------- */

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
    assert_false(msr_write(c, 0x4b564d02, 1)); /* no async page faults */
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_exception_from_user), cmocka_unit_test(test_long_stack_rules),
        cmocka_unit_test(test_int_n_errors), cmocka_unit_test(test_double_and_triple_fault),
        cmocka_unit_test(test_page_fault_in_delivery), cmocka_unit_test(test_real_mode_interrupt),
        cmocka_unit_test(test_protected_gates), cmocka_unit_test(test_virtual_8086),
        cmocka_unit_test(test_iret_long), cmocka_unit_test(test_syscall_sysret),
        cmocka_unit_test(test_sysenter_sysexit), cmocka_unit_test(test_far_transfers),
        cmocka_unit_test(test_call_gate_64), cmocka_unit_test(test_task_gate),
        cmocka_unit_test(test_segment_loads), cmocka_unit_test(test_lar_lsl_verr),
        cmocka_unit_test(test_into_long_mode), cmocka_unit_test(test_pcide_needs_clean_cr3),
        cmocka_unit_test(test_pae_pdptes), cmocka_unit_test(test_msr_checks),
        cmocka_unit_test(test_xsetbv), cmocka_unit_test(test_privilege),
        cmocka_unit_test(test_io_permission_map), cmocka_unit_test(test_string_io),
        cmocka_unit_test(test_ins_faults_before_the_port_is_read),
        cmocka_unit_test(test_register_blocks), cmocka_unit_test(test_kvm_clock_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
