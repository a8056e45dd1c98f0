/*
 * rig-modes.h: a CPU of the rig in long or protected mode, with descriptors, gates and stacks.
 */
#ifndef TEST_ACCEL_SOFT_RIG_MODES_H
#define TEST_ACCEL_SOFT_RIG_MODES_H

#include "rig.h"

enum {
    PML4 = 0x1000,
    PDPT = 0x2000,
    PD = 0x3000,
    GDT = 0x5000,
    IDT = 0x6000,
    TSS = 0x7000,
    TSS2 = 0x7800,
    STACK0 = 0x20000,
    STACK3 = 0x30000,
    IST1 = 0x28000,
    CODE = 0x10000
};
enum {
    CS64 = 0x08,
    DS0 = 0x10,
    CS32U = 0x18,
    DS3 = 0x20,
    CS64U = 0x28,
    TR = 0x30,
    CS32 = 0x40,
    SS16U = 0x48,
    GATE = 0x50,
    CONF = 0x60,
    TSS2_SEL = 0x68,
    NOTP = 0x70,
    CS16 = 0x78
};

static inline void gdt(struct rig *r)
{
    static const uint64_t entry[] = {
        0,
        0x00af9b000000ffff,
        0x00cf93000000ffff,
        0x00cffb000000ffff,
        0x00cff3000000ffff,
        0x00affb000000ffff,
        0x00008b0070000067,
        0,
        0x00cf9b000000ffff,
        0x0000f3000000ffff,
        0,
        0,
        0x00af9f000000ffff,
        0x0000890078000067,
        0x00cf13000000ffff,
        0x00009b000000ffff,
    };
    memcpy(r->ram + GDT, entry, sizeof entry);
    for (unsigned i = 0; i < RIG_CPUS_MAX && r->cpu[i]; i++) {
        r->cpu[i]->gdt_base = GDT;
        r->cpu[i]->gdt_limit = sizeof entry - 1;
    }
}

static inline void load(struct vcpu *c, unsigned seg, unsigned sel)
{
    uint64_t lo;
    memcpy(&lo, c->soft->slot[0].host + GDT + (sel & ~7u), 8);
    seg_from_desc(c, seg, (uint16_t)sel, lo);
}

/* CPL 0 or 3 in 64-bit mode with identity mapping, user-accessible. */
static inline void long_mode(struct rig *r, unsigned cpl)
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
static inline void protected_mode(struct rig *r, unsigned cpl)
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

static inline void gate64(struct rig *r, unsigned vector, uint64_t entry, unsigned sel,
                          unsigned type, unsigned dpl, unsigned ist)
{
    uint64_t lo = (entry & 0xffff) | (uint64_t)sel << 16 | (uint64_t)ist << 32 |
                  (uint64_t)(0x80 | dpl << 5 | type) << 40 | (entry & 0xffff0000) << 32;
    put(r, IDT + 16 * vector, lo, 8);
    put(r, IDT + 16 * vector + 8, entry >> 32, 8);
}

static inline void gate32(struct rig *r, unsigned vector, uint32_t entry, unsigned sel,
                          unsigned type, unsigned dpl)
{
    put(r, IDT + 8 * vector,
        (entry & 0xffff) | (uint64_t)sel << 16 | (uint64_t)(0x80 | dpl << 5 | type) << 40 |
            (uint64_t)(entry & 0xffff0000) << 32,
        8);
}

static inline void raise_(struct vcpu *c, unsigned vector, uint32_t error)
{
    if (setjmp(c->unwind) == 0)
        x86_raise_err(c, vector, error);
}

static inline void start(struct rig *r)
{
    rig_new(r, "max", RIG_INTEL, 1);
}

#endif
