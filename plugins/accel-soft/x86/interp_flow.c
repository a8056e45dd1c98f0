/*
 * interp_flow.c: near jumps, calls, returns and loops, executed from x86_insn: every mode and
 * width, with limit and canonical checks before anything is committed. Far ones are the system
 * side's. Reference: Intel SDM volume 2.
 */
#include "../interp.h"
#include "interp_gen.h"

/* The target as the operand size leaves it; #GP(0) if it cannot be fetched from. */
static uint64_t branch_target(struct vcpu *cpu, const struct x86_insn *in, uint64_t to)
{
    if (in->opsize == 2)
        to &= 0xffff;
    else if (cpu->code_bits != 64 || in->opsize == 4)
        to &= 0xffffffff;
    bool bad = cpu->code_bits == 64 ? !is_canonical(cpu, to) : to > cpu->seg[SEG_CS].limit;
    if (bad)
        x86_raise_err(cpu, VEC_GP, 0);
    return to;
}

static uint64_t relative_target(struct vcpu *cpu, const struct x86_insn *in)
{
    return branch_target(cpu, in, cpu->rip + in->len + in->imm);
}

static void gen_jmp_rel(struct vcpu *cpu, const struct x86_insn *in)
{
    cpu->rip = relative_target(cpu, in);
}

static void gen_jcc(struct vcpu *cpu, const struct x86_insn *in)
{
    cpu->rip = flag_cc(cpu, in->cc) ? relative_target(cpu, in) : next_rip(cpu, in);
}

static void gen_jmp_ind(struct vcpu *cpu, const struct x86_insn *in)
{
    cpu->rip = branch_target(cpu, in, gen_get(cpu, in, 0));
}

static void call(struct vcpu *cpu, const struct x86_insn *in, uint64_t to)
{
    uint64_t sp = cpu->gpr[REG_RSP] - in->opsize;
    stack_write(cpu, sp, next_rip(cpu, in), in->opsize);
    stack_set(cpu, sp);
    cpu->rip = to;
}

static void gen_call_rel(struct vcpu *cpu, const struct x86_insn *in)
{
    call(cpu, in, relative_target(cpu, in));
}

static void gen_call_ind(struct vcpu *cpu, const struct x86_insn *in)
{
    call(cpu, in, branch_target(cpu, in, gen_get(cpu, in, 0)));
}

static void gen_ret(struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t sp = cpu->gpr[REG_RSP];
    uint64_t to = branch_target(cpu, in, stack_read(cpu, sp, in->opsize));
    stack_set(cpu, sp + in->opsize + (in->imm & 0xffff));
    cpu->rip = to;
}

static void gen_loop(struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t count = (cpu->gpr[REG_RCX] & addr_mask(in->addrsize)), to = next_rip(cpu, in);
    bool taken;
    if (in->op == OP_JCXZ) {
        taken = count == 0;
    } else {
        count = (count - 1) & addr_mask(in->addrsize);
        taken = count != 0 && (in->op == OP_LOOP || flag_z(cpu) == (in->op == OP_LOOPE));
    }
    if (taken)
        to = relative_target(cpu, in);
    if (in->op != OP_JCXZ)
        gpr_set(cpu, REG_RCX, count, in->addrsize);
    cpu->rip = to;
}

gen_fn gen_flow(enum x86_op op)
{
    switch (op) {
    case OP_JMP_REL:
        return gen_jmp_rel;
    case OP_JCC:
        return gen_jcc;
    case OP_JMP_IND:
        return gen_jmp_ind;
    case OP_CALL_REL:
        return gen_call_rel;
    case OP_CALL_IND:
        return gen_call_ind;
    case OP_RET:
        return gen_ret;
    case OP_LOOP:
    case OP_LOOPE:
    case OP_LOOPNE:
    case OP_JCXZ:
        return gen_loop;
    default:
        return NULL;
    }
}
