/*
 * sys.c: system instructions that are worth their own host code: the interrupt flag, user access,
 * FS and GS bases, time stamps, fences, PAUSE, selectors and CR2 as values. SYSCALL, SYSRET and
 * IRET are in sys_call.c, PUSHF and POPF in sys_flags.c, all others in sys_handed.c.
 *
 * What depends on a control register is checked when it executes: the code may outlive the setting.
 * References: Intel SDM volume 2; AMD64 APM volume 3.
 */
#include "sys.h"

#include "../x86/sys.h"

bool rw_has(const struct rw_tr *t, const struct x86_insn *in)
{
    return in->feature == FEAT_BASE || cpu_has(t->cpu, in->feature);
}

void rw_guard(struct rw_tr *t, unsigned cc, struct rw_cold *cold)
{
    e1(t, 0x0f);
    e1(t, 0x80 | cc);
    rw_cold_site(t, cold);
}

/* The interpreter's turn unless a bit of cpu->cr4 is set. Flags are in MEM. */
static void need_cr4(struct rw_tr *t, unsigned bit)
{
    rw_test_byte(t, STATE(cr4) + bit / 8, 1u << (bit % 8));
    rw_guard(t, CC_E, rw_cold_new(t, COLD_INSN));
}

enum { BIT_TSD = 2, BIT_FSGSBASE = 16, BIT_SMAP = 21 };

/* ---- RFLAGS ---------------------------------------------------------------------------------- */

/* and, or dword gs:[fl], imm32 */
static void fl_and(struct rw_tr *t, uint32_t mask)
{
    e_state(t, 4, 0, 0x81, 4, STATE(fl));
    e4(t, mask);
}

static void fl_or(struct rw_tr *t, uint32_t bits)
{
    e_state(t, 4, 0, 0x81, 1, STATE(fl));
    e4(t, bits);
}

/*
 * Without a held-back interrupt there is nothing that the shadow of STI could defer: what arrives
 * later is seen at a poll, and those are at jumps only.
 */
static bool emit_sti(struct rw_tr *t)
{
    if (t->cpl != 0)
        return false;
    rw_flags_clobber(t);
    rw_guard_event_waiting(t);
    fl_or(t, FL_IF);
    return true;
}

static bool emit_fl(struct rw_tr *t, enum x86_op op)
{
    if (op == OP_CLI && t->cpl != 0)
        return false; /* IOPL decides */
    rw_flags_clobber(t);
    if (op == OP_STD)
        fl_or(t, FL_DF);
    else
        fl_and(t, ~(uint32_t)(op == OP_CLI ? FL_IF : FL_DF));
    return true;
}

/* STAC, CLAC: another view (x86/ftab.h); without CR4.SMAP they would not need one. */
static bool emit_user_access(struct rw_tr *t, const struct x86_insn *in)
{
    bool set = in->op == OP_STAC;
    if (t->cpl != 0 || !rw_has(t, in))
        return false;
    rw_flags_clobber(t);
    need_cr4(t, BIT_SMAP);
    if (set)
        fl_or(t, FL_AC);
    else
        fl_and(t, ~(uint32_t)FL_AC);
    e_load(t, H_VIEW, set ? STATE(view_user) : STATE(view_kernel));
    e_store(t, H_VIEW, STATE(view_now));
    rw_mode_dirty(t);
    return true;
}

/* ---- bases and selectors --------------------------------------------------------------------- */

static bool emit_swapgs(struct rw_tr *t)
{
    if (t->cpl != 0)
        return false;
    e_load(t, H_T0, STATE(seg[SEG_GS].base));
    e_load(t, H_T1, STATE(kernel_gs_base));
    e_store(t, H_T0, STATE(kernel_gs_base));
    e_store(t, H_T1, STATE(seg[SEG_GS].base));
    return true;
}

/* A guest register of SIZE 4 or 8 = T0, zero extended already. */
static void put_t0(struct rw_tr *t, unsigned guest)
{
    unsigned host = rw_host_reg(guest);
    if (host == H_SPILLED)
        e_store(t, H_T0, STATE_GPR(guest));
    else
        e_mov_rr(t, host, H_T0);
}

static bool emit_base(struct rw_tr *t, const struct x86_insn *in)
{
    bool fs = in->op == OP_RDFSBASE || in->op == OP_WRFSBASE;
    size_t base = fs ? STATE(seg[SEG_FS].base) : STATE(seg[SEG_GS].base);
    unsigned guest = in->opnd[0].reg, size = in->opsize == 8 ? 8 : 4;
    if (!rw_has(t, in) || in->opsize < 4)
        return false;
    rw_flags_clobber(t);
    need_cr4(t, BIT_FSGSBASE);
    if (in->op == OP_RDFSBASE || in->op == OP_RDGSBASE) {
        e_state(t, size, 0, 0x8b, H_T0, base);
        put_t0(t, guest);
        return true;
    }
    unsigned host = rw_host_reg(guest);
    if (host == H_SPILLED)
        e_state(t, size, 0, 0x8b, H_T0, STATE_GPR(guest));
    else
        e_rr(t, size, 0, 0x8b, H_T0, host);
    if (size == 8) { /* canonical, or #GP */
        e_mov_rr(t, H_T1, H_T0);
        rw_shift(t, 8, SHIFT_L, H_T1, 16);
        rw_shift(t, 8, SHIFT_A, H_T1, 16);
        e_rr(t, 8, 0, 0x39, H_T0, H_T1);
        rw_guard(t, CC_NE, rw_cold_new(t, COLD_INSN));
    }
    e_store(t, H_T0, base);
    return true;
}

static bool emit_from_seg(struct rw_tr *t, const struct x86_insn *in)
{
    const struct x86_operand *to = &in->opnd[0];
    if (to->kind != OPND_GPR || in->opsize < 4 || in->opnd[1].reg >= SEG_LDT)
        return false;
    e_state(t, 4, 1, 0xb7, H_T0,
            STATE(seg) + in->opnd[1].reg * sizeof(struct seg) + offsetof(struct seg, sel));
    put_t0(t, to->reg);
    return true;
}

/* What is a plain value to read: CR0, CR2, CR3, CR4. */
static bool emit_from_cr(struct rw_tr *t, const struct x86_insn *in)
{
    size_t off = 0;
    if (t->cpl != 0)
        return false;
    switch (in->opnd[1].reg) {
    case 0:
        off = STATE(cr0);
        break;
    case 2:
        off = STATE(cr2);
        break;
    case 3:
        off = STATE(cr3);
        break;
    case 4:
        off = STATE(cr4);
        break;
    default:
        return false;
    }
    e_load(t, H_T0, off);
    put_t0(t, in->opnd[0].reg);
    return true;
}

static bool emit_rdpid(struct rw_tr *t, const struct x86_insn *in)
{
    if (!rw_has(t, in))
        return false;
    e_load(t, H_T0, STATE(tsc_aux));
    put_t0(t, in->opnd[0].reg);
    return true;
}

/* ---- time ------------------------------------------------------------------------------------ */

/* rorx dst, src, 32: exchanges the halves and keeps the flags. */
static void swap_halves(struct rw_tr *t, unsigned dst, unsigned src)
{
    e_vex(t, 3, 3, 1, 0, 0xf0, dst, 0, 0, src);
    e_modrm_r(t, dst, src);
    e1(t, 32);
}

/* lea dst, [dst + other], neither RSP nor R12 nor (as base) R13 */
static void lea_add(struct rw_tr *t, unsigned dst, unsigned other)
{
    e_op(t, 8, 0, 0x8d, dst, other, dst, false);
    e1(t, 0x04 | (dst & 7) << 3);
    e1(t, (other & 7) << 3 | (dst & 7));
}

static bool emit_rdtsc(struct rw_tr *t, const struct x86_insn *in)
{
    if (!rw_has(t, in))
        return false;
    if (t->cpl != 0) {
        rw_flags_clobber(t);
        rw_test_byte(t, STATE(cr4), 1u << BIT_TSD);
        rw_guard(t, CC_NE, rw_cold_new(t, COLD_INSN));
    }
    if (in->op == OP_RDTSCP) { /* waits for what comes before, as LFENCE does (SDM volume 2B) */
        e1(t, 0x0f);
        e1(t, 0xae);
        e1(t, 0xe8);
    }
    e1(t, 0x0f);
    e1(t, 0x31);
    swap_halves(t, H_RDX, H_RDX);
    lea_add(t, H_RAX, H_RDX);
    e_load(t, H_T0, STATE(tsc_offset));
    lea_add(t, H_RAX, H_T0);
    swap_halves(t, H_RDX, H_RAX);
    e_rr(t, 4, 0, 0x8b, H_RAX, H_RAX);
    e_rr(t, 4, 0, 0x8b, H_RDX, H_RDX);
    if (in->op == OP_RDTSCP)
        e_state(t, 4, 0, 0x8b, H_RCX, STATE(tsc_aux));
    return true;
}

/* ---- hints and fences ------------------------------------------------------------------------ */

static bool emit_fence(struct rw_tr *t, unsigned modrm)
{
    e1(t, 0x0f);
    e1(t, 0xae);
    e1(t, modrm);
    return true;
}

/* A guest that spins gives the host's CPU away after a while, if others may need it. */
static bool emit_pause(struct rw_tr *t)
{
    if (t->cpu->soft->vcpu_count > 1) {
        rw_flags_clobber(t);
        e_state(t, 4, 0, 0x83, 5, STATE(rw_pauses)); /* sub dword gs:[rw_pauses], 1 */
        e1(t, 1);
        uint8_t *more = rw_skip(t, CC_NS);
        e_state(t, 4, 0, 0xc7, 0, STATE(rw_pauses));
        e4(t, RW_PAUSES - 1);
        e1(t, 0xf0); /* lock or dword gs:[exit_req], imm8 */
        e_state(t, 4, 0, 0x83, 1, STATE(exit_req));
        e1(t, REQ_YIELD);
        rw_skip_here(t, more);
    }
    e1(t, 0xf3);
    e1(t, 0x90);
    return true;
}

static bool emit_inline(struct rw_tr *t, const struct x86_insn *in)
{
    switch (in->op) {
    case OP_SYSCALL:
    case OP_SYSRET:
    case OP_IRET:
        return rw_emit_transfer(t, in);
    case OP_PUSHF:
        return rw_emit_pushf(t, in);
    case OP_POPF:
        return rw_emit_popf(t, in);
    case OP_STI:
        return emit_sti(t);
    case OP_CLI:
    case OP_CLD:
    case OP_STD:
        return emit_fl(t, in->op);
    case OP_STAC:
    case OP_CLAC:
        return emit_user_access(t, in);
    case OP_SWAPGS:
        return emit_swapgs(t);
    case OP_RDFSBASE:
    case OP_RDGSBASE:
    case OP_WRFSBASE:
    case OP_WRGSBASE:
        return emit_base(t, in);
    case OP_MOV_FROM_SEG:
        return emit_from_seg(t, in);
    case OP_MOV_FROM_CR:
        return emit_from_cr(t, in);
    case OP_RDPID:
        return emit_rdpid(t, in);
    case OP_RDTSC:
    case OP_RDTSCP:
        return emit_rdtsc(t, in);
    case OP_LFENCE:
        return rw_has(t, in) && emit_fence(t, 0xe8);
    case OP_MFENCE:
        return rw_has(t, in) && emit_fence(t, 0xf0);
    case OP_SFENCE:
        return rw_has(t, in) && emit_fence(t, 0xf8);
    case OP_PAUSE:
        return emit_pause(t);
    case OP_NOP:
        return true;
    case OP_PREFETCH: /* caches are the host's; PREFETCHW without its feature is a NOP */
        return in->feature == FEAT_PREFETCHW || rw_has(t, in);
    default:
        return false;
    }
}

bool rw_emit_sys(struct rw_tr *t, const struct x86_insn *in)
{
    return emit_inline(t, in) || rw_emit_handed(t, in);
}
