/*
 * interp_move.c: moves, exchanges, the stack, flags as data, executed from x86_insn.
 * Reference: Intel SDM volume 2.
 */
#include "interp_gen.h"

static void gen_mov(struct vcpu *cpu, const struct x86_insn *in)
{
    gen_put(cpu, in, 0, gen_get(cpu, in, 1));
}

static void gen_movsx(struct vcpu *cpu, const struct x86_insn *in)
{
    gen_put(cpu, in, 0, sign_extend(gen_get(cpu, in, 1), in->opnd[1].size * 8u));
}

static void gen_lea(struct vcpu *cpu, const struct x86_insn *in)
{
    gen_put(cpu, in, 0, gen_offset(cpu, in));
}

static uint64_t swap_in(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    (void)bits;
    cpu->scratch = a;
    return b;
}

static void gen_xchg(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned mem = in->opnd[1].kind == OPND_MEM ? 1 : 0, reg = 1 - mem;
    uint64_t b = gen_get(cpu, in, reg);
    if (in->opnd[mem].kind == OPND_MEM) { /* locked with or without the prefix */
        unsigned bytes = in->opnd[mem].size;
        gen_update_mem(cpu, gen_linear(cpu, in, bytes, 1), bytes, b, swap_in, true);
        gen_put(cpu, in, reg, cpu->scratch);
        return;
    }
    uint64_t a = gen_get(cpu, in, 0);
    gen_put(cpu, in, 0, b);
    gen_put(cpu, in, 1, a);
}

static void push(struct vcpu *cpu, uint64_t val, unsigned bytes)
{
    uint64_t sp = cpu->gpr[REG_RSP] - bytes;
    stack_write(cpu, sp, val, bytes);
    stack_set(cpu, sp);
}

static void gen_push(struct vcpu *cpu, const struct x86_insn *in)
{
    push(cpu, gen_get(cpu, in, 0), in->opsize);
}

static void gen_pop(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opsize;
    uint64_t sp = cpu->gpr[REG_RSP], val = stack_read(cpu, sp, bytes);
    if (in->opnd[0].kind == OPND_MEM) {
        /* the address is computed with the stack pointer already moved */
        stack_set(cpu, sp + bytes);
        uint64_t off = gen_offset(cpu, in);
        cpu->gpr[REG_RSP] = sp;
        mem_write(cpu, seg_linear(cpu, in->seg, off, bytes, 1), val, bytes);
        stack_set(cpu, sp + bytes);
        return;
    }
    stack_set(cpu, sp + bytes);
    gen_put(cpu, in, 0, val); /* POP RSP: the value wins */
}

static void gen_pusha(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opsize;
    uint64_t sp = cpu->gpr[REG_RSP];
    /* find faults first: the frame may lie on two pages */
    for (unsigned i = 0; i < 8; i++)
        mem_probe_write(cpu,
                        seg_linear(cpu, SEG_SS, (sp - (i + 1) * bytes) & stack_mask(cpu), bytes, 1),
                        bytes);
    for (unsigned i = 0; i < 8; i++)
        stack_write(cpu, sp - (i + 1) * bytes, i == REG_RSP ? sp : cpu->gpr[i], bytes);
    stack_set(cpu, sp - 8 * bytes);
}

static void gen_popa(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opsize;
    uint64_t sp = cpu->gpr[REG_RSP], val[8];
    for (unsigned i = 0; i < 8; i++)
        val[7 - i] = stack_read(cpu, sp + i * bytes, bytes);
    for (unsigned i = 0; i < 8; i++)
        if (i != REG_RSP)
            gpr_set(cpu, i, val[i], bytes);
    stack_set(cpu, sp + 8 * bytes);
}

/* SDM volume 2, PUSHF: in virtual-8086 mode with IOPL below 3 it traps (VME is not offered). */
static void vm86_check(struct vcpu *cpu)
{
    if ((cpu->fl & FL_VM) && (cpu->fl & FL_IOPL) != FL_IOPL)
        x86_raise_err(cpu, VEC_GP, 0);
}

static void gen_pushf(struct vcpu *cpu, const struct x86_insn *in)
{
    vm86_check(cpu);
    push(cpu, cpu_rflags(cpu) & ~(uint64_t)(FL_VM | FL_RF), in->opsize);
}

static void gen_popf(struct vcpu *cpu, const struct x86_insn *in)
{
    vm86_check(cpu);
    uint64_t sp = cpu->gpr[REG_RSP], val = stack_read(cpu, sp, in->opsize);
    uint64_t mask = FL_ARITH | FL_TF | FL_DF | FL_NT | FL_AC | FL_ID;
    if (cpu->cpl == 0)
        mask |= FL_IOPL;
    if (cpu->cpl <= (cpu->fl & FL_IOPL) >> 12)
        mask |= FL_IF;
    if (in->opsize == 2)
        mask &= 0xffff;
    else
        mask |= FL_RF; /* reads as 0: POPF clears it */
    stack_set(cpu, sp + in->opsize);
    cpu_set_rflags(cpu, val & ~(uint64_t)FL_RF, mask);
}

static void gen_ahf(struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t five = FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF;
    uint64_t ah = (cpu->gpr[REG_RAX] >> 8) & 0xff;
    if (in->op == OP_SAHF)
        cpu_set_rflags(cpu, ah, five);
    else
        cpu->gpr[REG_RAX] = (cpu->gpr[REG_RAX] & ~(uint64_t)0xff00) |
                            ((flags_arith(cpu) & five) | FL_1) << 8;
}

static void gen_bswap(struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t v = gen_get(cpu, in, 0);
    if (in->opnd[0].size == 2)
        v = 0; /* undefined; processors clear the word */
    else
        v = in->opnd[0].size == 8 ? __builtin_bswap64(v) : __builtin_bswap32((uint32_t)v);
    gen_put(cpu, in, 0, v);
}

static void gen_movbe(struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t v = gen_get(cpu, in, 1);
    switch (in->opnd[0].size) {
    case 2:
        v = __builtin_bswap16((uint16_t)v);
        break;
    case 4:
        v = __builtin_bswap32((uint32_t)v);
        break;
    default:
        v = __builtin_bswap64(v);
        break;
    }
    gen_put(cpu, in, 0, v);
}

static void gen_cmov(struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t v = gen_get(cpu, in, 1); /* read, and faults, in any case */
    gen_put(cpu, in, 0, flag_cc(cpu, in->cc) ? v : gen_get(cpu, in, 0));
}

static void gen_setcc(struct vcpu *cpu, const struct x86_insn *in)
{
    gen_put(cpu, in, 0, flag_cc(cpu, in->cc));
}

static void gen_xlat(struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t off = (cpu->gpr[REG_RBX] + (cpu->gpr[REG_RAX] & 0xff)) & addr_mask(in->addrsize);
    gpr_set(cpu, REG_RAX, mem_read(cpu, seg_linear(cpu, in->seg, off, 1, 0), 1), 1);
}

static void gen_convert(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opsize;
    uint64_t a = cpu->gpr[REG_RAX];
    if (in->op == OP_CBW)
        gpr_set(cpu, REG_RAX, sign_extend(a, bytes * 4), bytes);
    else
        gpr_set(cpu, REG_RDX, (uint64_t)((int64_t)sign_extend(a, bytes * 8) >> 63), bytes);
}

static void gen_flag(struct vcpu *cpu, const struct x86_insn *in)
{
    switch (in->op) {
    case OP_CLC:
        flags_set_c(cpu, false);
        break;
    case OP_STC:
        flags_set_c(cpu, true);
        break;
    case OP_CMC:
        flags_set_c(cpu, !flag_c(cpu));
        break;
    case OP_CLD:
        cpu->fl &= ~(uint32_t)FL_DF;
        break;
    default:
        cpu->fl |= FL_DF;
        break;
    }
}

/* ---- frames ---- */

static void gen_enter(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opsize, level = in->imm2 & 31;
    uint64_t size = in->imm & 0xffff, sp = cpu->gpr[REG_RSP] - bytes;
    uint64_t frame = sp, bp = cpu->gpr[REG_RBP];

    stack_write(cpu, sp, bp, bytes);
    for (unsigned i = 1; i < level; i++) {
        sp -= bytes;
        stack_write(cpu, sp, stack_read(cpu, bp - i * bytes, bytes), bytes);
    }
    if (level) {
        sp -= bytes;
        stack_write(cpu, sp, frame, bytes);
    }
    sp -= size;
    /* the processor checks that the new top can be written (SDM volume 2, ENTER) */
    mem_probe_write(cpu, seg_linear(cpu, SEG_SS, sp & stack_mask(cpu), bytes, 1), bytes);
    gpr_set(cpu, REG_RBP, frame & stack_mask(cpu), bytes);
    stack_set(cpu, sp);
}

static void gen_leave(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opsize;
    uint64_t sp = cpu->gpr[REG_RBP], val = stack_read(cpu, sp, bytes);
    stack_set(cpu, sp + bytes);
    gpr_set(cpu, REG_RBP, val, bytes);
}

static void gen_bound(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opsize, bits = bytes * 8;
    uint64_t off = gen_offset(cpu, in);
    int64_t index = (int64_t)sign_extend(gen_get(cpu, in, 0), bits);
    uint64_t lo = mem_read(cpu, seg_linear(cpu, in->seg, off, bytes, 0), bytes);
    uint64_t next = (off + bytes) & addr_mask(in->addrsize);
    uint64_t hi = mem_read(cpu, seg_linear(cpu, in->seg, next, bytes, 0), bytes);
    if (index < (int64_t)sign_extend(lo, bits) || index > (int64_t)sign_extend(hi, bits))
        x86_raise(cpu, VEC_BR);
}

static void gen_nop(struct vcpu *cpu, const struct x86_insn *in)
{
    (void)cpu;
    (void)in;
}

gen_fn gen_move(enum x86_op op)
{
    switch (op) {
    case OP_MOV:
    case OP_MOVZX:
    case OP_MOVNTI:
        return gen_mov;
    case OP_MOVSX:
        return gen_movsx;
    case OP_LEA:
        return gen_lea;
    case OP_XCHG:
        return gen_xchg;
    case OP_PUSH:
        return gen_push;
    case OP_POP:
        return gen_pop;
    case OP_PUSHA:
        return gen_pusha;
    case OP_POPA:
        return gen_popa;
    case OP_PUSHF:
        return gen_pushf;
    case OP_POPF:
        return gen_popf;
    case OP_LAHF:
    case OP_SAHF:
        return gen_ahf;
    case OP_BSWAP:
        return gen_bswap;
    case OP_CMOV:
        return gen_cmov;
    case OP_SETCC:
        return gen_setcc;
    case OP_XLAT:
        return gen_xlat;
    case OP_CBW:
    case OP_CWD:
        return gen_convert;
    case OP_MOVBE:
        return gen_movbe;
    case OP_CLC:
    case OP_STC:
    case OP_CMC:
    case OP_CLD:
    case OP_STD:
        return gen_flag;
    case OP_ENTER:
        return gen_enter;
    case OP_LEAVE:
        return gen_leave;
    case OP_BOUND:
        return gen_bound;
    case OP_NOP:
    case OP_PREFETCH:
        return gen_nop;
    default:
        return NULL;
    }
}
