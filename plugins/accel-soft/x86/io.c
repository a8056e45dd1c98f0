/*
 * io.c: IN, OUT, INS, OUTS: who may use a port (IOPL, the TSS's permission map) and the string
 * forms, which can stop after any element and go on later. Reference: Intel SDM volume 1, chapter
 * 19; volume 2 (IN, INS, OUT, OUTS).
 */
#include "sys.h"

/* Elements of a string instruction before the run loop may look up again. */
enum { IO_BATCH = 64 };

static void check_port(struct vcpu *cpu, unsigned port, unsigned bytes)
{
    if (!(cpu->cr0 & CR0_PE) || (!is_vm86(cpu) && cpu->cpl <= iopl(cpu)))
        return;
    const struct seg *tr = &cpu->seg[SEG_TR];
    if (!(tr->attr & 8) || tr->limit < 0x67)
        x86_raise_err(cpu, VEC_GP, 0);
    uint32_t map = (uint32_t)mem_read_sys(cpu, lin(cpu, tr->base + 0x66), 2);
    uint32_t at = map + port / 8; /* two bytes are read, so the map ends with one of ones */
    if (at + 1 > tr->limit)
        x86_raise_err(cpu, VEC_GP, 0);
    uint32_t bits = (uint32_t)mem_read_sys(cpu, lin(cpu, tr->base + at), 2) >> (port & 7);
    if (bits & ((1u << bytes) - 1))
        x86_raise_err(cpu, VEC_GP, 0);
}

static uint32_t port_in(struct vcpu *cpu, unsigned port, unsigned bytes)
{
    uint32_t val = 0;
    cpu->pio++;
    cpu->up->pio(cpu->up_ctx, port, &val, bytes, 0);
    return val;
}

static void port_out(struct vcpu *cpu, unsigned port, uint32_t val, unsigned bytes)
{
    cpu->pio++;
    cpu->up->pio(cpu->up_ctx, port, &val, bytes, 1);
}

static void do_in_out(struct vcpu *cpu, const struct x86_insn *in)
{
    const struct x86_operand *port_op = &in->opnd[in->op == OP_IN ? 1 : 0];
    unsigned port = port_op->kind == OPND_IMM ? in->imm & 0xff : cpu->gpr[REG_RDX] & 0xffff;
    unsigned bytes = in->op == OP_IN ? in->opnd[0].size : in->opnd[1].size;
    check_port(cpu, port, bytes);
    if (in->op == OP_IN)
        gpr_write(cpu, REG_RAX, port_in(cpu, port, bytes), bytes);
    else
        port_out(cpu, port, (uint32_t)(cpu->gpr[REG_RAX] & width_mask(bytes)), bytes);
    cpu->rip = insn_next(cpu, in);
}

static void step_reg(struct vcpu *cpu, unsigned reg, int64_t by, unsigned addrsize)
{
    gpr_write(cpu, reg, cpu->gpr[reg] + (uint64_t)by, addrsize);
}

static void one_element(struct vcpu *cpu, const struct x86_insn *in, unsigned port, unsigned bytes)
{
    int64_t by = cpu->fl & FL_DF ? -(int64_t)bytes : (int64_t)bytes;
    uint64_t mask = width_mask(in->addrsize);
    if (in->op == OP_INS) {
        /* The store must not fault after the device has seen the read. */
        uint64_t at = seg_linear(cpu, SEG_ES, cpu->gpr[REG_RDI] & mask, bytes, 1);
        mem_probe_write(cpu, at, bytes);
        mem_write(cpu, at, port_in(cpu, port, bytes), bytes);
        step_reg(cpu, REG_RDI, by, in->addrsize);
    } else {
        uint64_t at = seg_linear(cpu, in->seg, cpu->gpr[REG_RSI] & mask, bytes, 0);
        port_out(cpu, port, (uint32_t)mem_read(cpu, at, bytes), bytes);
        step_reg(cpu, REG_RSI, by, in->addrsize);
    }
}

static void do_string(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opsize > 4 ? 4 : in->opsize, port = cpu->gpr[REG_RDX] & 0xffff;
    uint64_t mask = width_mask(in->addrsize);
    check_port(cpu, port, bytes);
    if (in->rep == REP_NONE) {
        one_element(cpu, in, port, bytes);
        cpu->rip = insn_next(cpu, in);
        return;
    }
    for (unsigned n = 0; cpu->gpr[REG_RCX] & mask; n++) {
        if (n == IO_BATCH || (n && (cpu->single_step ||
                                    atomic_load_explicit(&cpu->exit_req, memory_order_relaxed)))) {
            want_loop(cpu);
            return; /* rip still names this instruction, the registers say what is left */
        }
        one_element(cpu, in, port, bytes);
        step_reg(cpu, REG_RCX, -1, in->addrsize);
    }
    cpu->rip = insn_next(cpu, in);
}

void io_execute(struct vcpu *cpu, const struct x86_insn *in)
{
    if (in->op == OP_IN || in->op == OP_OUT)
        do_in_out(cpu, in);
    else
        do_string(cpu, in);
}
