/*
 * cr.c: control and debug registers and EFER: what may be written, what each change implies for
 * paging and modes, and the instructions MOV CR, MOV DR, LMSW, SMSW, CLTS, INVLPG, INVPCID.
 * References: Intel SDM volume 3A, 2.5, 4.1, 4.10.4, 9.8.5; volume 3B, 17.2.
 */
#include "sys.h"

static const uint64_t cr3_noflush = 1ull << 63;
enum { EFER_FFXSR = 1u << 14, EFER_AIBRSE = 1u << 21 };
enum {
    L7B_FSGSBASE = 1u << 0,
    L7B_SMEP = 1u << 7,
    L7B_SMAP = 1u << 20,
    L7C_UMIP = 1u << 2,
    L1C_PCID = 1u << 17,
    L1C_XSAVE = 1u << 26,
    L1D_DE = 1u << 2,
    L1D_PSE = 1u << 3,
    L1D_PAE = 1u << 6,
    L1D_MCE = 1u << 7,
    L1D_PGE = 1u << 13,
    L1D_FXSR = 1u << 24,
    L1D_SSE = 1u << 25,
    E1D_NX = 1u << 20,
    E1D_LM = 1u << 29,
    E1D_SYSCALL = 1u << 11,
    E21A_AIBRS = 1u << 8
};

uint64_t cr4_allowed(const struct vcpu *cpu)
{
    const struct cpu_model *m = &cpu->soft->model;
    uint64_t ok = CR4_TSD | CR4_PCE;
    ok |= m->leaf1_edx & L1D_DE ? CR4_DE : 0;
    ok |= m->leaf1_edx & L1D_PSE ? CR4_PSE : 0;
    ok |= m->leaf1_edx & L1D_PAE ? CR4_PAE : 0;
    ok |= m->leaf1_edx & L1D_MCE ? CR4_MCE : 0;
    ok |= m->leaf1_edx & L1D_PGE ? CR4_PGE : 0;
    ok |= m->leaf1_edx & L1D_FXSR ? CR4_OSFXSR : 0;
    ok |= m->leaf1_edx & L1D_SSE ? CR4_OSXMMEXCPT : 0;
    ok |= m->leaf1_ecx & L1C_PCID ? CR4_PCIDE : 0;
    ok |= m->leaf1_ecx & L1C_XSAVE ? CR4_OSXSAVE : 0;
    ok |= m->leaf7_ebx & L7B_FSGSBASE ? CR4_FSGSBASE : 0;
    ok |= m->leaf7_ebx & L7B_SMEP ? CR4_SMEP : 0;
    ok |= m->leaf7_ebx & L7B_SMAP ? CR4_SMAP : 0;
    ok |= m->leaf7_ecx & L7C_UMIP ? CR4_UMIP : 0;
    return ok;
}

uint64_t efer_allowed(const struct vcpu *cpu)
{
    const struct cpu_model *m = &cpu->soft->model;
    uint64_t ok = 0;
    ok |= m->ext1_edx & E1D_SYSCALL ? EFER_SCE : 0;
    ok |= m->ext1_edx & E1D_LM ? EFER_LME | EFER_LMA : 0;
    ok |= m->ext1_edx & E1D_NX ? EFER_NXE : 0;
    ok |= m->ext21_eax & E21A_AIBRS ? EFER_AIBRSE : 0;
    return ok;
}

static unsigned phys_bits(const struct vcpu *cpu)
{
    return cpu->soft->model.phys_bits;
}

/* Four PDPTEs are loaded with CR3 under PAE paging outside long mode (SDM volume 3A, 4.4.1). */
static bool pdpte_read(struct vcpu *cpu, uint64_t cr3, uint64_t out[4])
{
    uint64_t reserved = ~0ull << phys_bits(cpu) | 0x1e6;
    for (unsigned i = 0; i < 4; i++) {
        out[i] = phys_read(cpu, (cr3 & 0xffffffe0) + 8 * i, 8);
        if ((out[i] & 1) && (out[i] & reserved))
            return false;
    }
    return true;
}

void cr_load_pdpte(struct vcpu *cpu, uint64_t cr3)
{
    uint64_t entry[4];
    if (!pdpte_read(cpu, cr3, entry))
        x86_raise_err(cpu, VEC_GP, 0);
    memcpy(cpu->pdpte, entry, sizeof entry);
}

static bool pae_legacy(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

static void write_cr0(struct vcpu *cpu, uint64_t val)
{
    static const uint64_t known = (uint64_t)CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE |
                                  CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;
    if (val >> 32 || ((val & CR0_PG) && !(val & CR0_PE)) || ((val & CR0_NW) && !(val & CR0_CD)))
        x86_raise_err(cpu, VEC_GP, 0);
    val = (val & known) | CR0_ET;
    uint64_t old = cpu->cr0, efer = cpu->efer;
    if ((val & CR0_PG) && !(old & CR0_PG) && (efer & EFER_LME)) {
        if (!(cpu->cr4 & CR4_PAE) || (cpu->seg[SEG_CS].attr & ATTR_L))
            x86_raise_err(cpu, VEC_GP, 0);
        if (cpu->seg[SEG_TR].attr & 8 ? 0 : cpu->seg[SEG_TR].attr != 0 && cpu->seg[SEG_TR].sel)
            x86_raise_err(cpu, VEC_GP, 0); /* a 16-bit TSS cannot go to long mode */
        efer |= EFER_LMA;
    } else if (!(val & CR0_PG) && (old & CR0_PG)) {
        if (cpu->code_bits == 64 || (cpu->cr4 & CR4_PCIDE))
            x86_raise_err(cpu, VEC_GP, 0);
        efer &= ~(uint64_t)EFER_LMA;
    }
    if (pae_legacy(val, cpu->cr4, efer) && ((old ^ val) & ((uint64_t)CR0_PG | CR0_CD | CR0_NW)))
        cr_load_pdpte(cpu, cpu->cr3);
    cpu->cr0 = val;
    cpu->efer = efer;
    if ((old ^ val) & ((uint64_t)CR0_PG | CR0_WP | CR0_PE))
        tlb_flush(cpu);
    if ((old ^ val) & CR0_PE) {
        /* Back in real mode CPL is 0; segment limits stay as they were. */
        cpu->fl &= ~(uint32_t)FL_VM;
        cpu->cpl = val & CR0_PE ? cpu->cpl : 0;
    }
    mode_update(cpu);
}

static void write_cr3(struct vcpu *cpu, uint64_t val)
{
    bool keep = false;
    if (is_long(cpu)) {
        if (cpu->cr4 & CR4_PCIDE) {
            keep = (val & cr3_noflush) != 0;
            val &= ~cr3_noflush;
        }
        if (val >> phys_bits(cpu))
            x86_raise_err(cpu, VEC_GP, 0);
    } else {
        val = (uint32_t)val;
    }
    if (pae_legacy(cpu->cr0, cpu->cr4, cpu->efer))
        cr_load_pdpte(cpu, val);
    cpu->cr3 = val;
    tlb_cr3_written(cpu, keep);
}

static void write_cr4(struct vcpu *cpu, uint64_t val)
{
    uint64_t old = cpu->cr4, changed = old ^ val;
    if (val & ~cr4_allowed(cpu))
        x86_raise_err(cpu, VEC_GP, 0);
    if (is_long(cpu) && !(val & CR4_PAE))
        x86_raise_err(cpu, VEC_GP, 0);
    if ((val & ~old & CR4_PCIDE) && (!is_long(cpu) || (cpu->cr3 & 0xfff)))
        x86_raise_err(cpu, VEC_GP, 0);
    if (pae_legacy(cpu->cr0, val, cpu->efer) &&
        (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)))
        cr_load_pdpte(cpu, cpu->cr3);
    cpu->cr4 = val;
    if (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP | CR4_SMAP | CR4_PCIDE))
        tlb_flush(cpu);
    cpu_mode_changed(cpu);
}

void cr_write(struct vcpu *cpu, unsigned cr, uint64_t val)
{
    switch (cr) {
    case 0:
        write_cr0(cpu, val);
        break;
    case 2:
        cpu->cr2 = val;
        break;
    case 3:
        write_cr3(cpu, val);
        break;
    case 4:
        write_cr4(cpu, val);
        break;
    case 8:
        if (val & ~15ull)
            x86_raise_err(cpu, VEC_GP, 0);
        lapic_set_cr8(cpu, (unsigned)val);
        break;
    default:
        x86_raise(cpu, VEC_UD);
    }
}

uint64_t cr_read(struct vcpu *cpu, unsigned cr)
{
    switch (cr) {
    case 0:
        return cpu->cr0;
    case 2:
        return cpu->cr2;
    case 3:
        return cpu->cr3;
    case 4:
        return cpu->cr4;
    case 8:
        return lapic_get_cr8(cpu);
    default:
        x86_raise(cpu, VEC_UD);
    }
}

bool efer_write(struct vcpu *cpu, uint64_t val)
{
    if (val & ~(efer_allowed(cpu) | EFER_FFXSR))
        return false;
    if (((val ^ cpu->efer) & EFER_LME) && (cpu->cr0 & CR0_PG))
        return false;
    uint64_t old = cpu->efer;
    /* LMA is read-only; FFXSR is not offered, writes of it are dropped. */
    cpu->efer = (val & efer_allowed(cpu) & ~(uint64_t)EFER_LMA) | (old & EFER_LMA);
    if ((old ^ cpu->efer) & EFER_NXE)
        tlb_flush(cpu);
    cpu_mode_changed(cpu);
    return true;
}

/* ---- debug registers ------------------------------------------------------------------------- */

enum { DR7_GD = 1u << 13 };

static unsigned dr_number(struct vcpu *cpu, unsigned dr)
{
    if (dr == 4 || dr == 5) {
        if (cpu->cr4 & CR4_DE)
            x86_raise(cpu, VEC_UD);
        dr += 2;
    }
    if (dr > 7)
        x86_raise(cpu, VEC_UD);
    if (cpu->dr7 & DR7_GD) {
        cpu->dr6 |= DR7_GD; /* BD is bit 13 too */
        x86_raise(cpu, VEC_DB);
    }
    return dr;
}

static uint64_t dr_read(struct vcpu *cpu, unsigned dr)
{
    dr = dr_number(cpu, dr);
    return dr < 4 ? cpu->dr[dr] : dr == 6 ? cpu->dr6 : cpu->dr7;
}

static void dr_write(struct vcpu *cpu, unsigned dr, uint64_t val)
{
    dr = dr_number(cpu, dr);
    if (dr < 4) {
        cpu->dr[dr] = val;
        debug_changed(cpu);
        return;
    }
    if (val >> 32)
        x86_raise_err(cpu, VEC_GP, 0);
    if (dr == 6)
        cpu->dr6 = (val & 0xe00f) | 0xffff0ff0u;
    else
        cpu->dr7 = (val & 0xffff2bffu) | 0x400;
    debug_changed(cpu);
    want_loop(cpu);
}

/* ---- instructions ---------------------------------------------------------------------------- */

static void do_lmsw(struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t msw = opnd_read(cpu, in, 0, 2);
    uint64_t val = (cpu->cr0 & ~(uint64_t)(CR0_MP | CR0_EM | CR0_TS)) |
                   (msw & (CR0_PE | CR0_MP | CR0_EM | CR0_TS));
    write_cr0(cpu, val); /* PE can be set, not cleared: it was or'ed in above */
}

static void do_invpcid(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = cpu->code_bits == 64 ? 8 : 4;
    uint64_t type = cpu->gpr[in->opnd[0].reg] & width_mask(bytes);
    uint64_t pcid = mem_read(cpu, insn_linear(cpu, in, 0, 8, 0), 8);
    uint64_t addr = mem_read(cpu, insn_linear(cpu, in, 8, 8, 0), 8);
    if (type > 3)
        x86_raise_err(cpu, VEC_GP, 0);
    if (type < 2 && (pcid >> 12 || (!(cpu->cr4 & CR4_PCIDE) && pcid)))
        x86_raise_err(cpu, VEC_GP, 0);
    if (type == 0 && !canonical(addr))
        x86_raise_err(cpu, VEC_GP, 0);
    if (type == 0)
        tlb_flush_pcid_page(cpu, (unsigned)pcid, addr);
    else if (type == 1)
        tlb_flush_pcid(cpu, (unsigned)pcid);
    else if (type == 2)
        tlb_flush(cpu);
    else
        tlb_flush_nonglobal(cpu);
}

bool cr_handles(enum x86_op op)
{
    return op == OP_MOV_FROM_CR || op == OP_MOV_TO_CR || op == OP_MOV_FROM_DR ||
           op == OP_MOV_TO_DR || op == OP_LMSW || op == OP_CLTS || op == OP_INVLPG ||
           op == OP_INVPCID;
}

void cr_execute(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = cpu->code_bits == 64 ? 8 : 4;
    switch (in->op) {
    case OP_MOV_FROM_CR:
        gpr_write(cpu, in->opnd[0].reg, cr_read(cpu, in->opnd[1].reg), bytes);
        break;
    case OP_MOV_TO_CR:
        cr_write(cpu, in->opnd[0].reg, cpu->gpr[in->opnd[1].reg] & width_mask(bytes));
        break;
    case OP_MOV_FROM_DR:
        gpr_write(cpu, in->opnd[0].reg, dr_read(cpu, in->opnd[1].reg), bytes);
        break;
    case OP_MOV_TO_DR:
        dr_write(cpu, in->opnd[0].reg, cpu->gpr[in->opnd[1].reg] & width_mask(bytes));
        break;
    case OP_LMSW:
        do_lmsw(cpu, in);
        break;
    case OP_CLTS:
        cpu->cr0 &= ~(uint64_t)CR0_TS;
        cpu_mode_changed(cpu);
        break;
    case OP_INVLPG: {
        /* No segment check; a non-canonical address is a no-op (SDM volume 2A, INVLPG). */
        uint64_t addr = insn_ea(cpu, in);
        if (cpu->code_bits != 64 || in->seg == SEG_FS || in->seg == SEG_GS)
            addr += cpu->seg[in->seg].base;
        tlb_flush_page(cpu, lin(cpu, addr));
        break;
    }
    default:
        do_invpcid(cpu, in);
        break;
    }
    cpu->rip = insn_next(cpu, in);
}
