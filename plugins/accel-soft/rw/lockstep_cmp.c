/*
 * lockstep_cmp.c: the registers of a unit of lockstep: taking and putting back, comparing, and
 * which flags need not agree: those that the architecture leaves undefined, and those that the
 * code behind writes before it reads them (the rewriter does not keep them).
 */
#include "lockstep_int.h"

#include "../x86/flags.h"
#include "../x86/mmu.h"

void ls_capture(const struct vcpu *cpu, struct ls_state *st)
{
    memcpy(st->gpr, cpu->gpr, sizeof st->gpr);
    st->rip = cpu->rip;
    st->cc_res = cpu->cc_res;
    st->cc_src = cpu->cc_src;
    st->fl = cpu->fl;
    st->cpl = cpu->cpl;
    st->code_bits = cpu->code_bits;
    st->stack_bits = cpu->stack_bits;
    st->flat = cpu->flat;
    st->inhibit = cpu->inhibit;
    st->activity = cpu->activity;
    st->nmi_blocked = cpu->nmi_blocked;
    st->rep_midway = cpu->rep_midway;
    memcpy(st->seg, cpu->seg, sizeof st->seg);
    st->cr0 = cpu->cr0;
    st->cr2 = cpu->cr2;
    st->cr3 = cpu->cr3;
    st->cr4 = cpu->cr4;
    st->cr8 = cpu->cr8;
    st->efer = cpu->efer;
    st->xcr0 = cpu->xcr0;
    st->kernel_gs_base = cpu->kernel_gs_base;
    memcpy(st->ymm, cpu->ymm, sizeof st->ymm);
    memcpy(st->x87, &cpu->x87, sizeof st->x87);
    st->mxcsr = cpu->mxcsr;
    st->exc_pending = cpu->exc_pending;
    st->exc_vector = cpu->exc_vector;
    st->exc_has_error = cpu->exc_has_error;
    st->exc_error = cpu->exc_error;
    st->exc_payload = cpu->exc_payload;
    st->aborted = 0;
    st->undefined = st->tainted = 0;
    st->pad[0] = st->pad[1] = 0;
}

void ls_restore(struct vcpu *cpu, const struct ls_state *st)
{
    bool mode = cpu->cpl != st->cpl || ((cpu->fl ^ st->fl) & (FL_AC | FL_VM)) ||
                cpu->code_bits != st->code_bits || cpu->cr0 != st->cr0 || cpu->cr4 != st->cr4 ||
                cpu->efer != st->efer || memcmp(cpu->seg, st->seg, sizeof st->seg) != 0;
    memcpy(cpu->gpr, st->gpr, sizeof st->gpr);
    cpu->rip = st->rip;
    cpu->cc_res = st->cc_res;
    cpu->cc_src = st->cc_src;
    cpu->fl = st->fl;
    cpu->cpl = st->cpl;
    cpu->code_bits = st->code_bits;
    cpu->stack_bits = st->stack_bits;
    cpu->flat = st->flat;
    cpu->inhibit = st->inhibit;
    cpu->activity = st->activity;
    cpu->nmi_blocked = st->nmi_blocked;
    cpu->rep_midway = st->rep_midway;
    memcpy(cpu->seg, st->seg, sizeof st->seg);
    cpu->cr0 = st->cr0;
    cpu->cr2 = st->cr2;
    cpu->cr3 = st->cr3;
    cpu->cr4 = st->cr4;
    cpu->cr8 = st->cr8;
    cpu->efer = st->efer;
    cpu->xcr0 = st->xcr0;
    cpu->kernel_gs_base = st->kernel_gs_base;
    memcpy(cpu->ymm, st->ymm, sizeof st->ymm);
    memcpy(&cpu->x87, st->x87, sizeof st->x87);
    cpu->mxcsr = st->mxcsr;
    cpu->exc_pending = st->exc_pending;
    cpu->exc_vector = st->exc_vector;
    cpu->exc_has_error = st->exc_has_error;
    cpu->exc_error = st->exc_error;
    cpu->exc_payload = st->exc_payload;
    if (mode)
        cpu_mode_changed(cpu);
}

/* ---- flags ---- */

static uint8_t arith(const struct ls_state *st)
{
    uint64_t s = st->cc_src;
    unsigned low = (unsigned)(st->cc_res & 0xff);
    low ^= low >> 4;
    bool c = s >> 63, z = st->cc_res == 0, sf = ((st->cc_res >> 63) ^ s) & 1;
    bool o = (s ^ (s << 1)) >> 63, p = ((0x9669u >> (low & 15)) ^ (unsigned)(s >> 8)) & 1;
    return (uint8_t)((c ? FL_BIT_C : 0) | (p ? FL_BIT_P : 0) | (s & CC_AUX ? FL_BIT_A : 0) |
                     (z ? FL_BIT_Z : 0) | (sf ? FL_BIT_S : 0) | (o ? FL_BIT_O : 0));
}

uint8_t ls_undefined(const struct x86_insn *in, const struct ls_state *st)
{
    uint64_t count = 0;
    switch (in->op) {
    case OP_AND:
    case OP_OR:
    case OP_XOR:
    case OP_TEST:
        return FL_BIT_A;
    case OP_ANDN:
    case OP_BLSI:
    case OP_BLSR:
    case OP_BLSMSK:
    case OP_BZHI:
        return FL_BIT_A | FL_BIT_P;
    case OP_BEXTR:
        return FL_BIT_A | FL_BIT_S | FL_BIT_P;
    case OP_MUL:
    case OP_IMUL1:
    case OP_IMUL2:
        return FL_BIT_S | FL_BIT_Z | FL_BIT_A | FL_BIT_P;
    case OP_DIV:
    case OP_IDIV:
        return FL_BIT_ALL;
    case OP_BT:
    case OP_BTS:
    case OP_BTR:
    case OP_BTC:
        return FL_BIT_O | FL_BIT_S | FL_BIT_A | FL_BIT_P;
    case OP_BSF:
    case OP_BSR:
        return FL_BIT_ALL & ~FL_BIT_Z;
    case OP_TZCNT:
    case OP_LZCNT:
        return FL_BIT_O | FL_BIT_S | FL_BIT_A | FL_BIT_P;
    case OP_ROL:
    case OP_ROR:
    case OP_RCL:
    case OP_RCR:
    case OP_SHL:
    case OP_SHR:
    case OP_SAR:
    case OP_SHLD:
    case OP_SHRD:
        break;
    default:
        return 0;
    }
    unsigned last = in->operands - 1u;
    count = in->opnd[last & 3].kind == OPND_IMM ? in->imm : st->gpr[REG_RCX];
    count &= in->opsize == 8 ? 63 : 31;
    if (count == 0)
        return 0;
    uint8_t o = count == 1 ? 0 : FL_BIT_O;
    if (in->op >= OP_ROL && in->op <= OP_RCR)
        return o;
    bool far = count >= in->opsize * 8u;
    if (in->op == OP_SHLD || in->op == OP_SHRD)
        return far && in->opsize == 2 ? FL_BIT_ALL : o | FL_BIT_A;
    return o | FL_BIT_A | (far && in->op != OP_SAR ? FL_BIT_C : 0);
}

/* Which of BITS may be read by the code at offset AT of the page before it writes them. */
static uint8_t read_at(const uint8_t *page, unsigned at, uint8_t bits, unsigned depth)
{
    static const struct x86_dec_mode mode = { .bits = 64 };
    uint8_t live = 0;
    for (unsigned i = 0; i < RW_INSNS + 16 && bits; i++) {
        struct x86_insn in;
        struct rw_fl fl;
        if (at >= PAGE_BYTES || x86_decode(page + at, PAGE_BYTES - at, mode, &in) != DEC_OK)
            return live | bits;
        rw_flags_of(&in, &fl);
        live |= fl.reads & bits;
        bits &= (uint8_t)~fl.kills;
        at += in.len;
        uint64_t to = at + in.imm;
        switch (in.op) {
        case OP_JMP_REL:
        case OP_CALL_REL:
            if (to >= PAGE_BYTES)
                return live | bits;
            at = (unsigned)to;
            break;
        case OP_JCC:
        case OP_LOOP:
        case OP_LOOPE:
        case OP_LOOPNE:
        case OP_JCXZ:
            if (to >= PAGE_BYTES || depth == 0)
                return live | bits;
            live |= read_at(page, (unsigned)to, bits, depth - 1);
            bits &= (uint8_t)~live;
            break;
        case OP_STI:
        case OP_POPF:
        case OP_STAC:
        case OP_CLAC:
        case OP_CLTS:
        case OP_WRMSR:
            break;
        default:
            if (in.flags & INSN_ENDS_BLOCK)
                return live | bits;
            break;
        }
    }
    return live | bits;
}

static bool flags_differ(const struct lockstep *ls, const struct ls_state *interp,
                         const struct ls_state *rw)
{
    uint8_t bits = (arith(interp) ^ arith(rw)) & (uint8_t)~interp->undefined;
    uint64_t left;
    uint32_t flags;
    if (!bits)
        return false;
    if ((ls->rip ^ interp->rip) & PAGE_MASK)
        return true; /* flags are never dead across pages */
    const uint8_t *page = soft_ram(ls->cpu->soft, ls->gpa & PAGE_MASK, &left, &flags);
    if (!page || left < PAGE_BYTES)
        return true;
    return read_at(page, (unsigned)(interp->rip & (PAGE_BYTES - 1)), bits, 4) != 0;
}

/* ---- comparing ---- */

/* Without FOP, FIP and FDP, which some processors keep only for errors; no padding of registers. */
static bool x87_differ(const uint8_t *a, const uint8_t *b)
{
    if (memcmp(a, b, 5) != 0)
        return true;
    for (unsigned i = 0; i < 8; i++)
        if (memcmp(a + 32 + 16 * i, b + 32 + 16 * i, 10) != 0)
            return true;
    return false;
}

unsigned ls_compare(const struct lockstep *ls, const struct ls_state *interp,
                    const struct ls_state *rw)
{
    unsigned diff = 0;
    if (interp->rip != rw->rip)
        return DIFF_RIP;
    if (memcmp(interp->gpr, rw->gpr, sizeof rw->gpr) != 0)
        diff |= DIFF_GPR;
    if (interp->fl != rw->fl || flags_differ(ls, interp, rw))
        diff |= DIFF_FLAGS;
    if (interp->cpl != rw->cpl || interp->code_bits != rw->code_bits ||
        interp->stack_bits != rw->stack_bits || interp->activity != rw->activity ||
        interp->nmi_blocked != rw->nmi_blocked || interp->cr0 != rw->cr0 ||
        interp->cr3 != rw->cr3 || interp->cr4 != rw->cr4 || interp->cr8 != rw->cr8 ||
        interp->efer != rw->efer || interp->xcr0 != rw->xcr0 || interp->cr2 != rw->cr2 ||
        interp->kernel_gs_base != rw->kernel_gs_base ||
        memcmp(interp->seg, rw->seg, sizeof rw->seg) != 0)
        diff |= DIFF_SYS;
    if (interp->mxcsr != rw->mxcsr || memcmp(interp->ymm, rw->ymm, sizeof rw->ymm) != 0)
        diff |= DIFF_VEC;
    if (x87_differ(interp->x87, rw->x87))
        diff |= DIFF_X87;
    if (interp->exc_pending != rw->exc_pending ||
        (rw->exc_pending &&
         (interp->exc_vector != rw->exc_vector || interp->exc_has_error != rw->exc_has_error ||
          (rw->exc_has_error && interp->exc_error != rw->exc_error) ||
          (rw->exc_vector == VEC_PF && interp->exc_payload != rw->exc_payload))))
        diff |= DIFF_EXC;
    return diff;
}
