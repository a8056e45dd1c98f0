/*
 * msr.c: model-specific registers: which exist, what may be written, what a write does. x2APIC
 * registers are in lapic.c, the KVM ones in pv.c. Unknown MSRs raise #GP(0), as on hardware.
 * References: Intel SDM volume 4; AMD64 APM volume 2, appendix A; PPR for AMD family 19h.
 */
#include "sys.h"
#include "vecstate.h"

__extension__ enum {
    MSR_TSC = 0x10,
    MSR_PLATFORM_ID = 0x17,
    MSR_APIC_BASE = 0x1b,
    MSR_FEAT_CTL = 0x3a,
    MSR_TSC_ADJUST = 0x3b,
    MSR_SPEC_CTRL = 0x48,
    MSR_PRED_CMD = 0x49,
    MSR_UCODE_REV = 0x8b,
    MSR_UCODE_WRITE = 0x79,
    MSR_PLATFORM_INFO = 0xce,
    MSR_MTRRCAP = 0xfe,
    MSR_ARCH_CAPS = 0x10a,
    MSR_FLUSH_CMD = 0x10b,
    MSR_MISC_FEATURES = 0x140,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_PERF_STATUS = 0x198,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_DEBUGCTL = 0x1d9,
    MSR_MTRR_VAR = 0x200,
    MSR_MTRR_FIX64K = 0x250,
    MSR_MTRR_FIX16K = 0x258,
    MSR_MTRR_FIX4K = 0x268,
    MSR_PAT = 0x277,
    MSR_MTRR_DEF = 0x2ff,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_EFER = 0xc0000080,
    MSR_STAR,
    MSR_LSTAR,
    MSR_CSTAR,
    MSR_FMASK,
    MSR_FS_BASE = 0xc0000100,
    MSR_GS_BASE,
    MSR_KERNEL_GS_BASE,
    MSR_TSC_AUX,
    AMD_K7_EVNTSEL0 = 0xc0010000,
    AMD_K7_PERFCTR3 = 0xc0010007,
    AMD_SYSCFG = 0xc0010010,
    AMD_HWCR = 0xc0010015,
    AMD_PATCH_LOADER = 0xc0010020,
    AMD_INT_PENDING = 0xc0010055,
    AMD_VM_CR = 0xc0010114,
    AMD_OSVW_LEN = 0xc0010140,
    AMD_OSVW_STATUS = 0xc0010141,
    AMD_DE_CFG = 0xc0011029,
    AMD_LS_CFG = 0xc0011020,
    AMD_BU_CFG2 = 0xc001102a,
    AMD_TOP_MEM = 0xc001001a,
    AMD_TOP_MEM2 = 0xc001001d,
    AMD_NB_CFG = 0xc001001f,
};
enum { VAR_MTRRS = 8 };
enum {
    L1C_DEADLINE = 1u << 24,
    L7B_TSC_ADJUST = 1u << 1,
    L7D_SPEC_CTRL = 1u << 26,
    L7D_ARCH_CAPS = 1u << 29,
    L7D_FLUSH = 1u << 28,
    E8B_IBPB = 1u << 12
};
enum { FEAT_CTL_LOCKED = 1, MISC_FAST_STRING = 1, DE_CFG_LFENCE = 2, HWCR_TSC_FREQ_SEL = 1 << 24 };

void msr_reset(struct vcpu *cpu)
{
    cpu->star = cpu->lstar = cpu->cstar = cpu->fmask = cpu->kernel_gs_base = cpu->tsc_aux = 0;
    cpu->sysenter_cs = cpu->sysenter_esp = cpu->sysenter_eip = cpu->spec_ctrl = 0;
    cpu->pat = 0x0007040600070406;
    cpu->misc_enable = MISC_FAST_STRING;
    cpu->mtrr_def =
        0xc06; /* enabled, fixed ranges too, default write-back: no firmware sets them */
    for (unsigned i = 0; i < 11; i++)
        cpu->mtrr_fixed[i] = 0x0606060606060606;
    memset(cpu->mtrr_var, 0, sizeof cpu->mtrr_var);
    cpu->tsc_adjust = cpu->mcg_status = cpu->misc_features = 0;
    cpu->hwcr = HWCR_TSC_FREQ_SEL;
    cpu->syscfg = 0;
    cpu->tsc_offset = cpu->soft->tsc_offset;
}

/* ---- memory types ---------------------------------------------------------------------------- */

static bool mtrr_type_ok(unsigned type)
{
    return type < 7 && type != 2 && type != 3;
}

static bool pat_ok(uint64_t val)
{
    for (unsigned i = 0; i < 8; i++, val >>= 8)
        if ((val & 0xff) > 7 || (val & 0xff) == 2 || (val & 0xff) == 3)
            return false;
    return true;
}

/* MTRRs are kept but have no effect: all guest memory is cached by the host (SDM 12.11). */
static uint64_t *mtrr_reg(struct vcpu *cpu, uint32_t index)
{
    if (index >= MSR_MTRR_VAR && index < MSR_MTRR_VAR + 2 * VAR_MTRRS)
        return &cpu->mtrr_var[index - MSR_MTRR_VAR];
    if (index == MSR_MTRR_FIX64K)
        return &cpu->mtrr_fixed[0];
    if (index == MSR_MTRR_FIX16K || index == MSR_MTRR_FIX16K + 1)
        return &cpu->mtrr_fixed[1 + index - MSR_MTRR_FIX16K];
    if (index >= MSR_MTRR_FIX4K && index < MSR_MTRR_FIX4K + 8)
        return &cpu->mtrr_fixed[3 + index - MSR_MTRR_FIX4K];
    return index == MSR_MTRR_DEF ? &cpu->mtrr_def : NULL;
}

static bool mtrr_write(struct vcpu *cpu, uint32_t index, uint64_t *reg, uint64_t val)
{
    uint64_t high = ~0ull << cpu->soft->model.phys_bits;
    if (index == MSR_MTRR_DEF) {
        if ((val & ~0xcffull) || !mtrr_type_ok(val & 0xff))
            return false;
    } else if (index < MSR_MTRR_FIX64K) {
        uint64_t reserved = index & 1 ? high | 0x7ff : high | 0xf00;
        if ((val & reserved) || (!(index & 1) && !mtrr_type_ok(val & 0xff)))
            return false;
    } else {
        for (unsigned i = 0; i < 8; i++)
            if (!mtrr_type_ok((val >> (8 * i)) & 0xff))
                return false;
    }
    *reg = val;
    return true;
}

/* ---- time ------------------------------------------------------------------------------------ */

static void tsc_move(struct vcpu *cpu, uint64_t delta)
{
    cpu->tsc_offset += delta;
    cpu->tsc_adjust += delta;
    lapic_tsc_changed(cpu);
    pv_tsc_changed(cpu);
}

/* ---- plain registers: those whose value is all there is to them ------------------------------ */

static uint64_t *canonical_reg(struct vcpu *cpu, uint32_t index)
{
    switch (index) {
    case MSR_LSTAR:
        return &cpu->lstar;
    case MSR_CSTAR:
        return &cpu->cstar;
    case MSR_KERNEL_GS_BASE:
        return &cpu->kernel_gs_base;
    case MSR_FS_BASE:
        return &cpu->seg[SEG_FS].base;
    case MSR_GS_BASE:
        return &cpu->seg[SEG_GS].base;
    case MSR_SYSENTER_ESP:
        return &cpu->sysenter_esp;
    case MSR_SYSENTER_EIP:
        return &cpu->sysenter_eip;
    default:
        return NULL;
    }
}

static uint64_t *plain_reg(struct vcpu *cpu, uint32_t index, uint64_t *writable)
{
    *writable = ~0ull;
    switch (index) {
    case MSR_STAR:
        return &cpu->star;
    case MSR_FMASK:
        *writable = 0xffffffff;
        return &cpu->fmask;
    case MSR_SYSENTER_CS:
        *writable = 0xffffffff;
        return &cpu->sysenter_cs;
    case MSR_MISC_ENABLE:
        return &cpu->misc_enable;
    case MSR_MCG_STATUS:
        *writable = 7;
        return &cpu->mcg_status;
    case MSR_MISC_FEATURES:
        *writable = 0;
        return &cpu->misc_features;
    default:
        return NULL;
    }
}

/* Read as a constant; a write is dropped (no effect on this CPU) or, for read-only ones, #GP. */
static bool fixed_reg(struct vcpu *cpu, uint32_t index, uint64_t *val, bool *writable)
{
    const struct cpu_model *m = &cpu->soft->model;
    *writable = true;
    *val = 0;
    switch (index) {
    case MSR_UCODE_REV:
        *val = is_amd(cpu) ? 0x0a101148 : (uint64_t)0xd0003a5 << 32;
        return true;
    case MSR_UCODE_WRITE:
    case MSR_DEBUGCTL:
    case MSR_PERF_STATUS:
        return true;
    case MSR_PLATFORM_ID:
    case MSR_MCG_CAP: /* no banks: there are no machine checks to report */
        *writable = false;
        return true;
    case MSR_FEAT_CTL:
        *val = FEAT_CTL_LOCKED;
        *writable = false;
        return !is_amd(cpu);
    case MSR_PLATFORM_INFO:
        *val = (m->tsc_hz / 100000000) << 8;
        *writable = false;
        return !is_amd(cpu);
    case MSR_MTRRCAP:
        *val = 1 << 10 | 1 << 8 | VAR_MTRRS; /* write-combining, fixed ranges */
        *writable = false;
        return true;
    case MSR_ARCH_CAPS:
        *val = m->arch_caps;
        *writable = false;
        return (m->leaf7_edx & L7D_ARCH_CAPS) != 0;
    default:
        return false;
    }
}

static bool amd_reg(struct vcpu *cpu, uint32_t index, uint64_t *val, bool write)
{
    if (!is_amd(cpu))
        return false;
    uint64_t *reg = index == AMD_HWCR ? &cpu->hwcr : index == AMD_SYSCFG ? &cpu->syscfg : NULL;
    if (reg) {
        if (write)
            *reg = *val;
        else
            *val = *reg;
        return true;
    }
    uint64_t fixed = 0;
    switch (index) {
    case AMD_DE_CFG:
        fixed = DE_CFG_LFENCE; /* LFENCE serializes */
        break;
    case AMD_VM_CR:
        fixed = 1 << 4; /* SVM disabled: there is none */
        break;
    case AMD_OSVW_LEN:
        fixed = 4; /* four errata known, none present */
        break;
    case AMD_OSVW_STATUS:
    case AMD_PATCH_LOADER:
    case AMD_INT_PENDING:
    case AMD_LS_CFG:
    case AMD_BU_CFG2:
    case AMD_TOP_MEM:
    case AMD_TOP_MEM2:
    case AMD_NB_CFG:
        break;
    default:
        if (index < AMD_K7_EVNTSEL0 || index > AMD_K7_PERFCTR3)
            return false; /* counters that do not count: some guests look without asking */
    }
    if (!write)
        *val = fixed;
    return true;
}

/* ---- read, write ----------------------------------------------------------------------------- */

static bool spec_reg(struct vcpu *cpu, uint32_t index, uint64_t *val, bool write)
{
    const struct cpu_model *m = &cpu->soft->model;
    switch (index) {
    case MSR_SPEC_CTRL:
        if (!(m->leaf7_edx & L7D_SPEC_CTRL) || (write && (*val & ~7ull)))
            return false;
        if (write)
            cpu->spec_ctrl = *val;
        else
            *val = cpu->spec_ctrl;
        return true;
    case MSR_PRED_CMD: /* write-only: there is no predictor to flush */
        return write && ((m->leaf7_edx & L7D_SPEC_CTRL) || (m->ext8_ebx & E8B_IBPB)) &&
               !(*val & ~1ull);
    case MSR_FLUSH_CMD:
        return write && (m->leaf7_edx & L7D_FLUSH) && !(*val & ~1ull);
    default:
        return false;
    }
}

static bool log_unknown(struct vcpu *cpu, uint32_t index, bool write)
{
    vec_out(cpu); /* the core's */
    mobo_log(cpu->soft->obj, MOBO_DEBUG, "CPU %u: %s of MSR %#x at %#llx, which this CPU has not",
             (unsigned)cpu->index, write ? "write" : "read", (unsigned)index,
             (unsigned long long)cpu->rip);
    return false;
}

bool msr_read(struct vcpu *cpu, uint32_t index, uint64_t *val)
{
    const struct cpu_model *m = &cpu->soft->model;
    uint64_t mask;
    bool writable;
    uint64_t *reg = plain_reg(cpu, index, &mask);
    if (!reg)
        reg = canonical_reg(cpu, index);
    if (!reg)
        reg = mtrr_reg(cpu, index);
    if (reg) {
        *val = *reg;
        return true;
    }
    switch (index) {
    case MSR_TSC:
        *val = cpu_tsc(cpu);
        return true;
    case MSR_APIC_BASE:
        *val = cpu->apic_base;
        return true;
    case MSR_EFER:
        *val = cpu->efer;
        return true;
    case MSR_PAT:
        *val = cpu->pat;
        return true;
    case MSR_TSC_AUX:
        *val = cpu->tsc_aux;
        return cpu_has(cpu, FEAT_RDTSCP) || cpu_has(cpu, FEAT_RDPID) || log_unknown(cpu, index, 0);
    case MSR_TSC_ADJUST:
        *val = cpu->tsc_adjust;
        return (m->leaf7_ebx & L7B_TSC_ADJUST) || log_unknown(cpu, index, 0);
    case MSR_TSC_DEADLINE:
        *val = lapic_deadline_read(cpu);
        return (m->leaf1_ecx & L1C_DEADLINE) || log_unknown(cpu, index, 0);
    default:
        break;
    }
    if (index >= 0x800 && index < 0x900)
        return lapic_msr(cpu, index, val, false);
    if (fixed_reg(cpu, index, val, &writable) || spec_reg(cpu, index, val, false) ||
        amd_reg(cpu, index, val, false) || (pv_msr_known(index) && pv_msr(cpu, index, val, false)))
        return true;
    return log_unknown(cpu, index, false);
}

bool msr_write(struct vcpu *cpu, uint32_t index, uint64_t val)
{
    const struct cpu_model *m = &cpu->soft->model;
    uint64_t mask, dummy;
    bool writable;
    uint64_t *reg = plain_reg(cpu, index, &mask);
    if (reg) {
        if (val & ~mask)
            return false;
        *reg = val;
        return true;
    }
    if ((reg = canonical_reg(cpu, index)) != NULL) {
        if (index == MSR_SYSENTER_EIP || index == MSR_SYSENTER_ESP)
            val = is_amd(cpu) ? (uint32_t)val : val;
        if (!canonical(val))
            return false;
        *reg = val;
        return true;
    }
    if ((reg = mtrr_reg(cpu, index)) != NULL)
        return mtrr_write(cpu, index, reg, val);
    switch (index) {
    case MSR_TSC:
        tsc_move(cpu, val - cpu_tsc(cpu));
        return true;
    case MSR_APIC_BASE:
        return lapic_base_write(cpu, val);
    case MSR_EFER:
        return efer_write(cpu, val);
    case MSR_PAT:
        if (!pat_ok(val))
            return false;
        cpu->pat = val;
        return true;
    case MSR_TSC_AUX:
        if (val >> 32 || (!cpu_has(cpu, FEAT_RDTSCP) && !cpu_has(cpu, FEAT_RDPID)))
            return log_unknown(cpu, index, true);
        cpu->tsc_aux = val;
        return true;
    case MSR_TSC_ADJUST:
        if (!(m->leaf7_ebx & L7B_TSC_ADJUST))
            return log_unknown(cpu, index, true);
        tsc_move(cpu, val - cpu->tsc_adjust);
        return true;
    case MSR_TSC_DEADLINE:
        if (!(m->leaf1_ecx & L1C_DEADLINE))
            return log_unknown(cpu, index, true);
        lapic_deadline_write(cpu, val);
        return true;
    default:
        break;
    }
    if (index >= 0x800 && index < 0x900)
        return lapic_msr(cpu, index, &val, true);
    if (fixed_reg(cpu, index, &dummy, &writable))
        return writable;
    if (spec_reg(cpu, index, &val, true) || amd_reg(cpu, index, &val, true) ||
        (pv_msr_known(index) && pv_msr(cpu, index, &val, true)))
        return true;
    return log_unknown(cpu, index, true);
}
