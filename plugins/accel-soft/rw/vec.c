/*
 * vec.c: vector, MMX and x87 instructions inside rewritten blocks: the same instruction on the same
 * registers, its memory operand at [T0 + T1], its general register as mapped. Encodings are
 * x86/vecenc.c's.
 *
 * Whether such instructions may run at all (CR0, CR4, XCR0) and whether the guest's registers are
 * in the host's is one bit each in cpu->vec_ready (x86/vecstate.h), looked at once a block, in
 * front of the first of them. Whoever comes back from C into the middle of a block sees to it that
 * it is as it was (slow.c); behind string instructions, which do not, it is looked at again.
 *
 * What the host processor refuses takes the slow way: #GP for a misaligned operand, #XM, #MF (the
 * host's MXCSR and control word are the guest's, and a pending x87 error waits there as it would
 * in the guest's), encodings that it does not know. Not here: images of the state (FXSAVE, XSAVE,
 * FSTENV, ...), masked moves, gathers.
 *
 * x87 pointers: the host's would name the code cache. Each x87 instruction writes the guest's to
 * cpu->x87, behind itself, so that one that does not execute leaves them alone.
 */
#include "emit.h"

#include "../x86/mmu.h"
#include "../x86/vecenc.h"
#include "../x86/vecstate.h"

enum { FOP_MASK = 7 };

/* ---- which, and what they need ---- */

/* x87 instructions without arithmetic that are simple enough (fpu_env.c has the others). */
enum x87_kind { X87_PLAIN, X87_SILENT, X87_FNINIT, X87_OTHER };

/* SILENT: leaves the pointers as they are. */
static enum x87_kind x87_kind(const struct x86_insn *in)
{
    unsigned reg = in->modrm >> 3 & 7;
    if (in->modrm >= 0xc0) {
        if (in->opcode == 0xdb && in->modrm == 0xe3)
            return X87_FNINIT;
        if ((in->opcode == 0xdb && in->modrm == 0xe2) || (in->opcode == 0xdf && in->modrm == 0xe0))
            return X87_SILENT; /* FNCLEX, FNSTSW AX */
        return in->opcode == 0xdb && in->modrm >= 0xe0 && in->modrm <= 0xe4 ? X87_OTHER : X87_PLAIN;
    }
    if (in->seg == SEG_FS || in->seg == SEG_GS)
        return X87_OTHER; /* FDP is an offset, T0 an address */
    if (in->opcode == 0xd9 && reg >= 4) /* FLDENV FLDCW FNSTENV FNSTCW */
        return reg & 1 ? X87_SILENT : X87_OTHER;
    if (in->opcode == 0xdd && (reg == 4 || reg >= 6)) /* FRSTOR FNSAVE FNSTSW */
        return reg == 7 ? X87_SILENT : X87_OTHER;
    return X87_PLAIN;
}

static unsigned mmx_needs(const struct x86_insn *in)
{
    unsigned need = 0;
    bool any = false;
    for (unsigned i = 0; i < in->operands && i < 4; i++) {
        if (in->opnd[i].kind == OPND_XMM)
            need |= VEC_SSE;
        if (in->opnd[i].kind == OPND_MM) {
            need |= VEC_X87;
            any = true;
        }
    }
    /* Without MM register: EMMS, or a conversion from memory, which leaves x87 as it is. */
    return any || in->opcode == 0x77 ? need | VEC_X87 : need;
}

/* VEC_... bits, 0: not for this file. */
static unsigned needs(const struct rw_tr *t, const struct x86_insn *in)
{
    unsigned sse = in->flags & INSN_VEX ? VEC_AVX : VEC_SSE;
    if (!VEC_KEPT_BY_C)
        return 0; /* builds with sanitizers */
    if (in->feature != FEAT_BASE && !cpu_has(t->cpu, in->feature))
        return 0; /* #UD */
    switch (in->op) {
    case OP_VEC: return sse;
    case OP_VZERO: return VEC_AVX;
    case OP_LDMXCSR:
    case OP_STMXCSR: return sse;
    case OP_MMX: return mmx_needs(in);
    case OP_FWAIT: return VEC_X87;
    case OP_X87: return x87_kind(in) == X87_OTHER ? 0 : VEC_X87;
    default: return 0;
    }
}

/* ---- pieces ---- */

static bool string_op(const struct x86_insn *in)
{
    return in->rep != REP_NONE;
}

/* Is the guard of an earlier instruction good for this one? */
static bool guarded(const struct rw_tr *t)
{
    if (!t->uses_vec)
        return false;
    for (unsigned i = t->cur; i-- > 0;) {
        if (string_op(&t->in[i]))
            return false;
        if (needs(t, &t->in[i]))
            return true;
    }
    return false;
}

/* One look for the rest of the block. Not ready: slow.c makes it so, or the instruction faults. */
static void guard(struct rw_tr *t)
{
    unsigned need = 0;
    if (guarded(t))
        return;
    for (unsigned i = t->cur; i < t->n; i++)
        need |= needs(t, &t->in[i]);
    t->uses_vec |= (uint8_t)need;
    rw_flags_clobber(t);
    e_state(t, 4, 1, 0xb6, H_T0, STATE(vec_ready)); /* movzx T0d, byte gs:[vec_ready] */
    e_op(t, 4, 0, 0xf7, 0, 0, H_T0, false);         /* not T0d */
    e_modrm_r(t, 2, H_T0);
    e_op(t, 4, 0, 0xf6, 0, 0, H_T0, true); /* test T0b, need */
    e_modrm_r(t, 0, H_T0);
    e1(t, need);
    e1(t, 0x0f); /* jnz cold */
    e1(t, 0x85);
    rw_cold_site(t, rw_cold_new(t, COLD_INSN));
}

/*
 * Operands that may be anywhere: one look whether they cross a page, instead of the test of
 * alignment in rw_mem_t0, which goes by way of the cold part where it fails.
 */
static void mem_anywhere(struct rw_tr *t, const struct x86_insn *in, unsigned bytes, unsigned acc)
{
    rw_flags_clobber(t); /* while T1 is free */
    rw_ea(t, in);
    if (t->mirror && bytes <= 32) { /* a page's end is nothing special there */
        rw_mem_t0(t, bytes, acc);
        return;
    }
    e_op(t, 4, 0, 0x8d, H_T1, 0, H_T0, false); /* lea T1d, [T0 + bytes - 1] */
    e1(t, 0x40 | (H_T1 & 7) << 3 | (H_T0 & 7));
    e1(t, bytes - 1);
    e_rr(t, 4, 0, 0x31, H_T0, H_T1); /* xor T1d, T0d */
    e_op(t, 4, 0, 0xf7, 0, 0, H_T1, false); /* test T1d, 4096 */
    e_modrm_r(t, 0, H_T1);
    e4(t, PAGE_BYTES);
    e1(t, 0x0f); /* jnz cold */
    e1(t, 0x85);
    rw_cold_site(t, rw_cold_new(t, COLD_INSN));
    rw_mem_t0(t, 1, acc); /* within its page */
}

/* T0 + T1 = host address of the memory operand. */
static void memory(struct rw_tr *t, const struct x86_insn *in, const struct x86_operand *mem)
{
    unsigned acc = mem->rw & OPND_WRITE ? ACC_W : ACC_R;
    bool odd = mem->size & (mem->size - 1);
    if (odd || (mem->size >= 16 && !(in->flags & INSN_ALIGNED)))
        mem_anywhere(t, in, mem->size, acc);
    else
        rw_mem(t, in, mem->size, acc);
}

static void encode(struct rw_tr *t, const struct x86_insn *in, unsigned gpr)
{
    const struct vec_place place = { .gpr = (uint8_t)gpr, .base = H_T0, .index = H_T1,
                                     .opcode = in->opcode, .bits = 64 };
    t->p += vec_encode(in, t->bytes + t->off[t->cur], &place, t->p);
}

/* The instruction with its operands. */
static void same(struct rw_tr *t, const struct x86_insn *in)
{
    const struct x86_operand *mem = vec_mem(in), *gpr = vec_gpr(in);
    unsigned reg = gpr ? rw_host_reg(gpr->reg) : 0;
    bool spilled = reg == H_SPILLED;
    if (mem)
        memory(t, in, mem);
    if (spilled) {
        reg = H_T0; /* a result: the address is used up by then */
        if (gpr->rw & OPND_READ)
            e_load(t, reg, STATE_GPR(gpr->reg));
    }
    rw_flags_before_op(t);
    encode(t, in, reg);
    if (spilled && (gpr->rw & OPND_WRITE)) /* all of them zero-extend */
        e_store(t, reg, STATE_GPR(gpr->reg));
}

/* ---- x87 ---- */

/* FOP and the low 48 bits of FIP in one store; T1 is free. */
static void pointers(struct rw_tr *t, const struct x86_insn *in)
{
    uint64_t rip = rw_rip_of(t, t->cur);
    unsigned fop = (in->opcode & FOP_MASK) << 8 | in->modrm;
    _Static_assert(offsetof(struct x87_image, fip) == offsetof(struct x87_image, fop) + 2,
                   "FOP and FIP are neighbours");
    if (vec_mem(in))
        e_store(t, H_T0, STATE(x87.fdp));
    e_mov_ri(t, H_T1, rip << 16 | fop);
    e_store(t, H_T1, STATE(x87.fop));
    e_state(t, 2, 0, 0xc7, 0, STATE(x87.fip) + 6); /* mov word gs:[fip + 6], imm16 */
    e2(t, (unsigned)(rip >> 48));
}

static void x87(struct rw_tr *t, const struct x86_insn *in)
{
    switch (x87_kind(in)) {
    case X87_PLAIN:
        same(t, in);
        pointers(t, in);
        break;
    case X87_FNINIT:
        encode(t, in, 0);
        e_mov_ri(t, H_T1, 0);
        e_store(t, H_T1, STATE(x87.fip));
        e_store(t, H_T1, STATE(x87.fdp));
        e_state(t, 2, 0, 0x89, H_T1, STATE(x87.fop));
        break;
    default:
        if (in->opcode == 0xdf) { /* FNSTSW AX: guest RAX is host RAX */
            e1(t, 0xdf);
            e1(t, 0xe0);
        } else {
            same(t, in);
        }
        break;
    }
}

/* ---- MXCSR ---- */

/* The guest's memory is read once; bits that the guest's processor reserves fault. */
static void ldmxcsr(struct rw_tr *t, const struct x86_insn *in)
{
    rw_mem(t, in, 4, ACC_R);
    rw_flags_before_op(t);
    e_op(t, 4, 0, 0x8b, H_T0, H_T1, H_T0, false); /* mov T0d, [T0 + T1] */
    e_modrm_t0t1(t, H_T0);
    e_op(t, 4, 0, 0xf7, 0, 0, H_T0, false); /* test T0d, ~MXCSR_MASK */
    e_modrm_r(t, 0, H_T0);
    e4(t, 0xffff0000);
    e1(t, 0x0f); /* jnz cold */
    e1(t, 0x85);
    rw_cold_site(t, rw_cold_new(t, COLD_INSN));
    e_state(t, 4, 0, 0x89, H_T0, STATE(rw_tmp));
    e_state(t, 4, 1, 0xae, 2, STATE(rw_tmp));
}

static void stmxcsr(struct rw_tr *t, const struct x86_insn *in)
{
    rw_mem(t, in, 4, ACC_W);
    rw_flags_before_op(t);
    e_op(t, 4, 1, 0xae, 3, H_T1, H_T0, false);
    e_modrm_t0t1(t, 3);
}

bool rw_emit_vec(struct rw_tr *t, const struct x86_insn *in)
{
    if (!needs(t, in))
        return false;
    guard(t);
    switch (in->op) {
    case OP_LDMXCSR:
        ldmxcsr(t, in);
        break;
    case OP_STMXCSR:
        stmxcsr(t, in);
        break;
    case OP_X87:
        x87(t, in);
        break;
    default:
        same(t, in);
        break;
    }
    return true;
}
