/*
 * sys.c: the instructions that the engines hand over whole: dispatch, operands, interrupt flag,
 * software interrupts, identification, time, MSRs, extended control registers. Descriptor-table
 * instructions are in dtab.c, control registers in cr.c, transfers in far.c and ret.c, ports in
 * io.c. References: Intel SDM volume 2; AMD64 APM volume 3.
 */
#include "sys.h"
#include "../rw/lockstep.h"
#include "vecstate.h"

#include <unistd.h>

/* ---- operands -------------------------------------------------------------------------------- */

uint64_t insn_next(const struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t next = cpu->rip + in->len;
    return cpu->code_bits == 64 ? next : cpu->code_bits == 32 ? (uint32_t)next : next & 0xffff;
}

uint64_t insn_ea(const struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t ea = (uint64_t)in->disp;
    if (in->base == REG_RIP)
        ea += cpu->rip + in->len;
    else if (in->base != REG_NONE)
        ea += cpu->gpr[in->base & 15];
    if (in->index != REG_NONE)
        ea += cpu->gpr[in->index & 15] * in->scale;
    return ea & width_mask(in->addrsize);
}

uint64_t insn_linear(struct vcpu *cpu, const struct x86_insn *in, uint64_t delta, unsigned bytes,
                     unsigned write)
{
    uint64_t ea = (insn_ea(cpu, in) + delta) & width_mask(in->addrsize);
    return seg_linear(cpu, in->seg, ea, bytes, write);
}

void gpr_write(struct vcpu *cpu, unsigned reg, uint64_t val, unsigned bytes)
{
    uint64_t *r = &cpu->gpr[reg & 15];
    if (bytes >= 4)
        *r = bytes == 4 ? (uint32_t)val : val;
    else
        *r = (*r & ~width_mask(bytes)) | (val & width_mask(bytes));
}

uint64_t opnd_read(struct vcpu *cpu, const struct x86_insn *in, unsigned n, unsigned bytes)
{
    const struct x86_operand *o = &in->opnd[n];
    if (o->kind == OPND_MEM)
        return mem_read(cpu, insn_linear(cpu, in, 0, bytes, 0), bytes);
    if (o->kind == OPND_IMM)
        return in->imm & width_mask(bytes);
    return cpu->gpr[o->reg & 15] & width_mask(bytes);
}

void opnd_write(struct vcpu *cpu, const struct x86_insn *in, unsigned n, uint64_t val,
                unsigned bytes)
{
    const struct x86_operand *o = &in->opnd[n];
    if (o->kind == OPND_MEM)
        mem_write(cpu, insn_linear(cpu, in, 0, bytes, 1), val, bytes);
    else
        gpr_write(cpu, o->reg, val, bytes);
}

/* ---- interrupt flag -------------------------------------------------------------------------- */

static void check_iopl(struct vcpu *cpu)
{
    if ((cpu->cr0 & CR0_PE) && cpu->cpl > iopl(cpu))
        x86_raise_err(cpu, VEC_GP, 0);
}

static void do_sti(struct vcpu *cpu)
{
    check_iopl(cpu);
    if (cpu->fl & FL_IF)
        return;
    cpu_set_rflags(cpu, FL_IF, FL_IF);
    cpu->inhibit = 1; /* not before the next instruction is done (SDM volume 2B, STI) */
    if_was_set(cpu);
}

/* ---- software interrupts --------------------------------------------------------------------- */

static void do_int(struct vcpu *cpu, const struct x86_insn *in)
{
    cpu->insn_rip = cpu->rip;
    cpu->rip = insn_next(cpu, in);
    switch (in->op) {
    case OP_INT:
        x86_soft_int(cpu, in->imm & 0xff, false);
        break;
    case OP_INT3:
        x86_soft_int(cpu, VEC_BP, true);
        break;
    case OP_INT1:
        x86_icebp(cpu);
        break;
    default: /* INTO */
        if (cpu_rflags(cpu) & FL_OF)
            x86_soft_int(cpu, VEC_OF, true);
        break;
    }
}

/* ---- identification, time, random numbers ---------------------------------------------------- */

static void do_cpuid(struct vcpu *cpu)
{
    uint32_t out[4];
    cpuid_query(cpu, (uint32_t)cpu->gpr[REG_RAX], (uint32_t)cpu->gpr[REG_RCX], out);
    cpu->gpr[REG_RAX] = out[0];
    cpu->gpr[REG_RBX] = out[1];
    cpu->gpr[REG_RCX] = out[2];
    cpu->gpr[REG_RDX] = out[3];
}

static void do_rdtsc(struct vcpu *cpu)
{
    if ((cpu->cr4 & CR4_TSD) && cpu->cpl != 0)
        x86_raise_err(cpu, VEC_GP, 0);
    uint64_t tsc = cpu_tsc(cpu);
    cpu->gpr[REG_RAX] = (uint32_t)tsc;
    cpu->gpr[REG_RDX] = tsc >> 32;
}

static void do_random(struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t val = 0;
    vec_out(cpu); /* getentropy */
    bool ok = getentropy(&val, sizeof val) == 0;
    gpr_write(cpu, in->opnd[0].reg, ok ? val : 0, in->opsize);
    cpu_set_rflags(cpu, ok ? FL_CF : 0, FL_ARITH);
}

static void do_rdpmc(struct vcpu *cpu)
{
    /* No counters: every index is out of range. */
    x86_raise_err(cpu, VEC_GP, 0);
}

/* ---- MSRs, XCRs ------------------------------------------------------------------------------ */

static void do_rdmsr(struct vcpu *cpu)
{
    uint64_t val = 0;
    if (!msr_read(cpu, (uint32_t)cpu->gpr[REG_RCX], &val))
        x86_raise_err(cpu, VEC_GP, 0);
    cpu->gpr[REG_RAX] = (uint32_t)val;
    cpu->gpr[REG_RDX] = val >> 32;
}

static void do_wrmsr(struct vcpu *cpu)
{
    uint64_t val = (uint32_t)cpu->gpr[REG_RAX] | cpu->gpr[REG_RDX] << 32;
    if (!msr_write(cpu, (uint32_t)cpu->gpr[REG_RCX], val))
        x86_raise_err(cpu, VEC_GP, 0);
}

static void do_xgetbv(struct vcpu *cpu)
{
    uint32_t index = (uint32_t)cpu->gpr[REG_RCX];
    bool in_use = index == 1 && (cpu->soft->model.leafd1_eax & 4);
    if (!(cpu->cr4 & CR4_OSXSAVE))
        x86_raise(cpu, VEC_UD);
    if (index != 0 && !in_use)
        x86_raise_err(cpu, VEC_GP, 0);
    /* Index 1 may say "in use" of a component in its initial state (SDM volume 1, 13.6). */
    cpu->gpr[REG_RAX] = (uint32_t)cpu->xcr0;
    cpu->gpr[REG_RDX] = cpu->xcr0 >> 32;
}

static void do_xsetbv(struct vcpu *cpu)
{
    uint64_t val = (uint32_t)cpu->gpr[REG_RAX] | cpu->gpr[REG_RDX] << 32;
    if (!(cpu->cr4 & CR4_OSXSAVE))
        x86_raise(cpu, VEC_UD);
    if (cpu->cpl != 0 || (uint32_t)cpu->gpr[REG_RCX] != 0 || !(val & 1) ||
        (val & ~cpu->soft->model.xcr0) || ((val & 4) && !(val & 2)))
        x86_raise_err(cpu, VEC_GP, 0);
    cpu->xcr0 = val;
    cpu_mode_changed(cpu);
}

/* ---- FS and GS bases ------------------------------------------------------------------------- */

static void do_swapgs(struct vcpu *cpu)
{
    if (cpu->code_bits != 64)
        x86_raise(cpu, VEC_UD);
    if (cpu->cpl != 0)
        x86_raise_err(cpu, VEC_GP, 0);
    uint64_t base = cpu->seg[SEG_GS].base;
    cpu->seg[SEG_GS].base = cpu->kernel_gs_base;
    cpu->kernel_gs_base = base;
}

static void do_fsgsbase(struct vcpu *cpu, const struct x86_insn *in)
{
    if (cpu->code_bits != 64 || !(cpu->cr4 & CR4_FSGSBASE))
        x86_raise(cpu, VEC_UD);
    bool fs = in->op == OP_RDFSBASE || in->op == OP_WRFSBASE;
    uint64_t *base = &cpu->seg[fs ? SEG_FS : SEG_GS].base;
    if (in->op == OP_RDFSBASE || in->op == OP_RDGSBASE) {
        gpr_write(cpu, in->opnd[0].reg, *base, in->opsize);
        return;
    }
    uint64_t val = cpu->gpr[in->opnd[0].reg] & width_mask(in->opsize);
    if (!canonical(val))
        x86_raise_err(cpu, VEC_GP, 0);
    *base = val;
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void do_hlt(struct vcpu *cpu)
{
    cpu->activity = CPU_HALTED;
    cpu->mwait = 0;
    cpu->halts++;
    want_loop(cpu);
}

static void do_monitor(struct vcpu *cpu, const struct x86_insn *in)
{
    if ((uint32_t)cpu->gpr[REG_RCX] != 0)
        x86_raise_err(cpu, VEC_GP, 0);
    uint64_t addr = cpu->gpr[REG_RAX] & width_mask(in->addrsize);
    (void)mem_read(cpu, seg_linear(cpu, in->seg == REG_NONE ? SEG_DS : in->seg, addr, 1, 0), 1);
}

/* The monitored line is not watched: MWAIT may end at any time (SDM volume 2B), so it ends often.
 */
static void do_mwait(struct vcpu *cpu)
{
    if ((uint32_t)cpu->gpr[REG_RCX] > 1)
        x86_raise_err(cpu, VEC_GP, 0);
    do_hlt(cpu);
    cpu->mwait = (uint8_t)(1 | (cpu->gpr[REG_RCX] & 1) << 1);
}

static void do_hypercall(struct vcpu *cpu)
{
    if (!cpu->soft->model.kvm_eax)
        x86_raise(cpu, VEC_UD);
    cpu->gpr[REG_RAX] = pv_hypercall(cpu);
}

/* CLFLUSH and its kin are reads as far as faults go (SDM volume 2A). */
static void do_clflush(struct vcpu *cpu, const struct x86_insn *in)
{
    uint8_t byte;
    mem_read_bytes(cpu, insn_linear(cpu, in, 0, 1, 0), &byte, 1);
}

/* ---- dispatch -------------------------------------------------------------------------------- */

static bool needs_cpl0(enum x86_op op)
{
    switch (op) {
    case OP_HLT:
    case OP_CLTS:
    case OP_LGDT:
    case OP_LIDT:
    case OP_LLDT:
    case OP_LTR:
    case OP_LMSW:
    case OP_INVLPG:
    case OP_INVPCID:
    case OP_INVD:
    case OP_WBINVD:
    case OP_MOV_FROM_CR:
    case OP_MOV_TO_CR:
    case OP_MOV_FROM_DR:
    case OP_MOV_TO_DR:
    case OP_RDMSR:
    case OP_WRMSR:
    case OP_RDPMC: /* CR4.PCE lets others in; there is nothing to read either way */
        return true;
    default:
        return false;
    }
}

bool sys_handles(enum x86_op op)
{
    switch (op) {
    case OP_MOV_FROM_SEG:
    case OP_MOV_TO_SEG:
    case OP_LOADFAR:
    case OP_PUSH_SEG:
    case OP_POP_SEG:
    case OP_INS:
    case OP_OUTS:
    case OP_JMP_FAR:
    case OP_CALL_FAR:
    case OP_RETF:
    case OP_INT:
    case OP_INT3:
    case OP_INT1:
    case OP_INTO:
    case OP_IRET:
    case OP_CLI:
    case OP_STI:
    case OP_IN:
    case OP_OUT:
    case OP_CLFLUSH:
    case OP_CLFLUSHOPT:
    case OP_CLWB:
    case OP_LFENCE:
    case OP_MFENCE:
    case OP_SFENCE:
    case OP_PREFETCH:
        return true;
    default:
        return op >= OP_HLT && op <= OP_RSM;
    }
}

/* Instructions that leave rip where execution goes on; the others fall to the next one. */
static bool transfers(struct vcpu *cpu, const struct x86_insn *in)
{
    switch (in->op) {
    case OP_MOV_FROM_SEG:
    case OP_MOV_TO_SEG:
    case OP_LOADFAR:
    case OP_PUSH_SEG:
    case OP_POP_SEG:
        seg_execute(cpu, in);
        return true;
    case OP_JMP_FAR:
    case OP_CALL_FAR:
    case OP_RETF:
        far_execute(cpu, in);
        return true;
    case OP_INT:
    case OP_INT3:
    case OP_INT1:
    case OP_INTO:
        do_int(cpu, in);
        return true;
    case OP_IRET:
        iret_execute(cpu, in);
        return true;
    case OP_SYSCALL:
    case OP_SYSRET:
    case OP_SYSENTER:
    case OP_SYSEXIT:
        fast_execute(cpu, in);
        return true;
    case OP_IN:
    case OP_OUT:
    case OP_INS:
    case OP_OUTS:
        io_execute(cpu, in);
        return true;
    default:
        if (cr_handles(in->op)) {
            cr_execute(cpu, in);
            return true;
        }
        if (dtab_handles(in->op)) {
            dtab_execute(cpu, in);
            return true;
        }
        return false;
    }
}

void sys_execute(struct vcpu *cpu, const struct x86_insn *in)
{
    if (in->feature != FEAT_BASE && in->feature < FEAT_COUNT && !cpu_has(cpu, in->feature))
        x86_raise(cpu, VEC_UD);
    if (needs_cpl0(in->op) && cpu->cpl != 0) {
        if (dtab_needs_protected(in->op) && !is_protected(cpu))
            x86_raise(cpu, VEC_UD);
        x86_raise_err(cpu, VEC_GP, 0);
    }
    if (cpu->lockstep)
        lockstep_sys(cpu, in);
    if (transfers(cpu, in))
        return;
    switch (in->op) {
    case OP_CLI:
        check_iopl(cpu);
        cpu_set_rflags(cpu, 0, FL_IF);
        break;
    case OP_STI:
        do_sti(cpu);
        break;
    case OP_HLT:
        do_hlt(cpu);
        break;
    case OP_MONITOR:
    case OP_MWAIT:
        if (cpu->cpl != 0)
            x86_raise(cpu, VEC_UD);
        if (in->op == OP_MONITOR)
            do_monitor(cpu, in);
        else
            do_mwait(cpu);
        break;
    case OP_RDMSR:
        do_rdmsr(cpu);
        break;
    case OP_WRMSR:
        do_wrmsr(cpu);
        break;
    case OP_RDTSC:
        do_rdtsc(cpu);
        break;
    case OP_RDTSCP:
        do_rdtsc(cpu);
        cpu->gpr[REG_RCX] = (uint32_t)cpu->tsc_aux;
        break;
    case OP_RDPID:
        gpr_write(cpu, in->opnd[0].reg, cpu->tsc_aux, cpu->code_bits == 64 ? 8 : 4);
        break;
    case OP_RDPMC:
        do_rdpmc(cpu);
        break;
    case OP_CPUID:
        do_cpuid(cpu);
        break;
    case OP_SWAPGS:
        do_swapgs(cpu);
        break;
    case OP_CLAC:
    case OP_STAC:
        if (cpu->cpl != 0)
            x86_raise(cpu, VEC_UD);
        cpu_set_rflags(cpu, in->op == OP_STAC ? FL_AC : 0, FL_AC);
        cpu_mode_changed(cpu);
        break;
    case OP_XGETBV:
        do_xgetbv(cpu);
        break;
    case OP_XSETBV:
        do_xsetbv(cpu);
        break;
    case OP_RDFSBASE:
    case OP_RDGSBASE:
    case OP_WRFSBASE:
    case OP_WRGSBASE:
        do_fsgsbase(cpu, in);
        break;
    case OP_RDRAND:
    case OP_RDSEED:
        do_random(cpu, in);
        break;
    case OP_VMCALL:
    case OP_VMMCALL:
        do_hypercall(cpu);
        break;
    case OP_CLFLUSH:
    case OP_CLFLUSHOPT:
    case OP_CLWB:
        do_clflush(cpu, in);
        break;
    case OP_LFENCE:
    case OP_MFENCE:
    case OP_SFENCE:
        atomic_thread_fence(memory_order_seq_cst);
        break;
    case OP_INVD:
    case OP_WBINVD:
    case OP_PREFETCH: /* caches are the host's */
        break;
    default: /* RSM: there is no system management mode */
        x86_raise(cpu, VEC_UD);
    }
    cpu->rip = insn_next(cpu, in);
}
