/*
 * interp_gen.h: the operands of an x86_insn, for instructions that are executed from their decoded
 * form: every integer instruction in every mode, without hurry. The handlers for the common shapes
 * of the common instructions are in interp_fast*.c.
 *
 * Operands are read with all faults before the first write, so an exception leaves nothing behind.
 */
#ifndef SOFT_X86_INTERP_GEN_H
#define SOFT_X86_INTERP_GEN_H

#include "flags.h"
#include "mmu.h"

typedef void (*gen_fn)(struct vcpu *cpu, const struct x86_insn *in);
typedef uint64_t (*alu_fn)(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits);

static inline uint64_t addr_mask(unsigned addrsize)
{
    return addrsize == 8 ? ~(uint64_t)0 : addrsize == 4 ? 0xffffffff : 0xffff;
}

static inline uint64_t next_rip(const struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t rip = cpu->rip + in->len;
    return cpu->code_bits == 64 ? rip : cpu->code_bits == 32 ? (uint32_t)rip : (uint16_t)rip;
}

/* Offset of the memory operand in its segment. */
static inline uint64_t gen_offset(const struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t off = (uint64_t)in->disp;
    if (in->base == REG_RIP)
        off += cpu->rip + in->len;
    else if (in->base != REG_NONE)
        off += cpu->gpr[in->base & 15];
    if (in->index != REG_NONE)
        off += cpu->gpr[in->index & 15] * in->scale;
    return off & addr_mask(in->addrsize);
}

static inline uint64_t gen_linear(struct vcpu *cpu, const struct x86_insn *in, unsigned bytes,
                                  unsigned write)
{
    return seg_linear(cpu, in->seg, gen_offset(cpu, in), bytes, write);
}

static inline uint64_t gpr_get(const struct vcpu *cpu, unsigned reg, unsigned bytes)
{
    return zero_extend(cpu->gpr[reg & 15], bytes * 8);
}

static inline void gpr_set(struct vcpu *cpu, unsigned reg, uint64_t val, unsigned bytes)
{
    uint64_t *r = &cpu->gpr[reg & 15];
    switch (bytes) {
    case 1:
        *r = (*r & ~(uint64_t)0xff) | (val & 0xff);
        break;
    case 2:
        *r = (*r & ~(uint64_t)0xffff) | (val & 0xffff);
        break;
    case 4:
        *r = (uint32_t)val;
        break;
    default:
        *r = val;
        break;
    }
}

static inline uint64_t gen_get(struct vcpu *cpu, const struct x86_insn *in, unsigned n)
{
    const struct x86_operand *o = &in->opnd[n];
    switch (o->kind) {
    case OPND_GPR:
        if (o->high)
            return (cpu->gpr[o->reg & 3] >> 8) & 0xff;
        return gpr_get(cpu, o->reg, o->size);
    case OPND_MEM:
        return mem_read(cpu, gen_linear(cpu, in, o->size, 0), o->size);
    case OPND_IMM:
        return in->imm;
    default:
        return 0;
    }
}

static inline void gen_put(struct vcpu *cpu, const struct x86_insn *in, unsigned n, uint64_t val)
{
    const struct x86_operand *o = &in->opnd[n];
    if (o->kind == OPND_MEM)
        mem_write(cpu, gen_linear(cpu, in, o->size, 1), val, o->size);
    else if (o->high)
        cpu->gpr[o->reg & 3] = (cpu->gpr[o->reg & 3] & ~(uint64_t)0xff00) | (val & 0xff) << 8;
    else
        gpr_set(cpu, o->reg, val, o->size);
}

/* Read-modify-write of BYTES at LINEAR by FN, atomically if LOCK. */
void gen_update_mem(struct vcpu *cpu, uint64_t linear, unsigned bytes, uint64_t b, alu_fn fn,
                    bool lock);
/* Operand 0 = fn(operand 0, b). */
void gen_update(struct vcpu *cpu, const struct x86_insn *in, uint64_t b, alu_fn fn);

/* ---- stack ---- */

static inline uint64_t stack_mask(const struct vcpu *cpu)
{
    return addr_mask(cpu->stack_bits / 8u);
}

static inline void stack_set(struct vcpu *cpu, uint64_t sp)
{
    gpr_set(cpu, REG_RSP, sp, cpu->stack_bits / 8u);
}

/* Write below SP, or read at SP, without moving the pointer. */
static inline void stack_write(struct vcpu *cpu, uint64_t sp, uint64_t val, unsigned bytes)
{
    mem_write(cpu, seg_linear(cpu, SEG_SS, sp & stack_mask(cpu), bytes, 1), val, bytes);
}

static inline uint64_t stack_read(struct vcpu *cpu, uint64_t sp, unsigned bytes)
{
    return mem_read(cpu, seg_linear(cpu, SEG_SS, sp & stack_mask(cpu), bytes, 0), bytes);
}

/* ---- tables: NULL where the operation is not in that file ---- */

gen_fn gen_move(enum x86_op op);
gen_fn gen_arith(enum x86_op op);
gen_fn gen_shift(enum x86_op op);
gen_fn gen_bits(enum x86_op op);
gen_fn gen_string(enum x86_op op);
gen_fn gen_flow(enum x86_op op);

uint64_t alu_shift(struct vcpu *cpu, enum x86_op op, uint64_t a, unsigned count, unsigned bits);

#endif
