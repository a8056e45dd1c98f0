/*
 * sys_call.c: SYSCALL and SYSRET of 64-bit code, which never leave rewritten code, and IRET, which
 * is a C function called from it. SYSCALL and SYSRET are written once, in front of the blocks; a
 * block has only a call there. What is out of the ordinary (TF, AC, no EFER.SCE, a target that is
 * not canonical) is found before anything changes, and is the interpreter's.
 *
 * With the privilege level change the view (x86/ftab.h), the jump cache and the stack of return
 * pairs. What C derives from it besides is only marked as out of date.
 * References: Intel SDM volume 2B (SYSCALL, SYSRET); AMD64 APM volume 3; x86/ret.c has all of it.
 */
#include "sys.h"

#include "../x86/sys.h"

enum { RING0_CS = 0xb | ATTR_S | ATTR_P | ATTR_G | ATTR_L, RING3 = 3 << 5,
       RING0_SS = 0x3 | ATTR_S | ATTR_P | ATTR_G | ATTR_DB };

/* ---- pieces ---------------------------------------------------------------------------------- */

/* mov qword, dword, word gs:[off], imm */
static void put(struct rw_tr *t, unsigned opsize, size_t off, uint32_t imm)
{
    e_state(t, opsize, 0, 0xc7, 0, off);
    if (opsize == 2)
        e2(t, imm & 0xffff);
    else
        e4(t, imm);
}

/* The flat segment SEG with the selector in SEL (16 bits of it). */
static void put_seg(struct rw_tr *t, unsigned seg, unsigned sel, unsigned attr)
{
    size_t off = STATE(seg) + seg * sizeof(struct seg);
    put(t, 8, off + offsetof(struct seg, base), 0);
    put(t, 4, off + offsetof(struct seg, limit), 0xffffffff);
    e_state(t, 2, 0, 0x89, sel, off + offsetof(struct seg, sel));
    put(t, 2, off + offsetof(struct seg, attr), attr);
}

/* lea dst32, [src + disp] */
static void lea32(struct rw_tr *t, unsigned dst, unsigned src, unsigned disp)
{
    e_op(t, 4, 0, 0x8d, dst, 0, src, false);
    e1(t, 0x40 | (dst & 7) << 3 | (src & 7));
    e1(t, disp);
}

/* Drops the block's return address from the pair stack: it is not wanted any more. */
static void drop_return(struct rw_tr *t)
{
    e_lea_disp_rsp(t, 8);
}

/* From now on at privilege level CPL. */
static void change_level(struct rw_tr *t, unsigned cpl)
{
    rw_put_byte(t, STATE(cpl), cpl);
    rw_mode_dirty(t);
    e_load(t, H_VIEW, cpl ? STATE(view_user) : STATE(view_kernel));
    e_store(t, H_VIEW, STATE(view_now));
    if (cpl == 3)
        e_load(t, H_VIEW, STATE(rw_view3));
    e_load(t, H_T1, cpl ? STATE(rw_jc_user) : STATE(rw_jc_kernel));
    e_store(t, H_T1, STATE(rw_jc));
    if (cpl == 0)
        e_store(t, H_RSPHOST, STATE(rw_pair_user));
    e_load(t, H_RSPHOST, cpl ? STATE(rw_pair_user) : STATE(rw_pair_base[0]));
    put(t, 8, STATE(rw_pair_cpl), cpl);
}

/* jcc to the code that hands the instruction to the interpreter. */
struct slow_sites {
    uint32_t site[6];
    unsigned n;
};

static void slow_if(struct rw_tr *t, struct slow_sites *s, unsigned cc)
{
    e1(t, 0x0f);
    e1(t, 0x80 | cc);
    s->site[s->n++] = e_here(t);
    e4(t, 0);
}

static void slow_here(struct rw_tr *t, const struct slow_sites *s, const struct rw_glue *g)
{
    for (unsigned i = 0; i < s->n; i++)
        e_fix32(t->rw, s->site[i], e_here(t));
    e_jmp(t, g->insn);
}

/* ---- SYSCALL --------------------------------------------------------------------------------- */

/* T0: the next instruction. FMASK clears flags of both kinds. */
static void build_syscall(struct rw_tr *t, struct rw_glue *g)
{
    struct slow_sites slow = { .n = 0 };
    g->syscall = e_here(t);
    rw_test_byte(t, STATE(efer), EFER_SCE);
    slow_if(t, &slow, CC_E);
    e_state(t, 4, 0, 0x8b, H_T1, STATE(fmask));
    rw_and32(t, H_T1, FL_WRITABLE);
    rw_or32(t, H_T1, FL_RF);
    e_rr(t, 4, 0, 0xf7, 2, H_T1); /* not */
    e_state(t, 4, 0, 0x23, H_T1, STATE(fl));
    rw_test32(t, H_T1, FL_AC);
    slow_if(t, &slow, CC_NE);

    e_mov_rr(t, H_RCX, H_T0);
    rw_image_to_arith(t, H_R11);
    e_state(t, 4, 0, 0x0b, H_R11, STATE(fl));
    rw_and32(t, H_R11, ~(uint32_t)FL_RF);
    e_state(t, 4, 0, 0x89, H_T1, STATE(fl));
    e_state(t, 4, 0, 0x8b, H_T0, STATE(fmask));
    e_rr(t, 4, 0, 0xf7, 2, H_T0);
    e_rr(t, 4, 0, 0x23, H_T0, H_R11);
    rw_t0_to_image(t);

    e_state(t, 4, 1, 0xb7, H_T0, STATE(star) + 4);
    rw_and32(t, H_T0, 0xfffc);
    put_seg(t, SEG_CS, H_T0, RING0_CS);
    lea32(t, H_T0, H_T0, 8);
    put_seg(t, SEG_SS, H_T0, RING0_SS);
    drop_return(t);
    change_level(t, 0);
    e_load(t, H_T0, STATE(lstar));
    e_jmp(t, g->lookup);
    slow_here(t, &slow, g);
}

/* ---- SYSRET ---------------------------------------------------------------------------------- */

/*
 * The edge polls: a kernel that returns to its user's SYSCALL would be a loop without another one.
 */
static void build_sysret(struct rw_tr *t, struct rw_glue *g)
{
    const uint32_t mask = FL_WRITABLE & ~((uint32_t)FL_RF | FL_VM);
    struct slow_sites slow = { .n = 0 };
    g->sysret = e_here(t);
    rw_test_byte(t, STATE(efer), EFER_SCE);
    slow_if(t, &slow, CC_E);
    e_mov_rr(t, H_T0, H_RCX);
    rw_shift(t, 8, SHIFT_R, H_T0, 47);
    slow_if(t, &slow, CC_NE);
    rw_test32(t, H_R11, FL_TF | FL_AC);
    slow_if(t, &slow, CC_NE);
    rw_cmp_byte(t, STATE(event_waiting), 0);
    slow_if(t, &slow, CC_NE);

    e_rr(t, 4, 0, 0x8b, H_T0, H_R11);
    rw_t0_to_image(t);
    e_rr(t, 4, 0, 0x8b, H_T0, H_R11);
    rw_and32(t, H_T0, mask & ~(uint32_t)FL_ARITH);
    e_state(t, 4, 0, 0x8b, H_T1, STATE(fl));
    rw_and32(t, H_T1, ~mask);
    e_rr(t, 4, 0, 0x0b, H_T0, H_T1);
    e_state(t, 4, 0, 0x89, H_T0, STATE(fl));

    e_state(t, 4, 1, 0xb7, H_T0, STATE(star) + 6);
    lea32(t, H_T1, H_T0, 16);
    rw_or32(t, H_T1, 3);
    put_seg(t, SEG_CS, H_T1, RING0_CS | RING3);
    lea32(t, H_T0, H_T0, 8);
    rw_or32(t, H_T0, 3);
    put_seg(t, SEG_SS, H_T0, RING0_SS | RING3);
    drop_return(t);
    change_level(t, 3);
    e_mov_rr(t, H_T0, H_RCX);
    e_state(t, 4, 0, 0x83, 7, STATE(exit_req)); /* cmp dword gs:[exit_req], 0 */
    e1(t, 0);
    e_jcc(t, CC_NE, g->leave_t0);
    e_jmp(t, g->lookup);
    slow_here(t, &slow, g);
}

void rw_glue_sys(struct rw_tr *t, struct rw_glue *g)
{
    build_syscall(t, g);
    build_sysret(t, g);
}

/* ---- IRET ------------------------------------------------------------------------------------ */

/* cpu->rip is the instruction's. */
static uint64_t on_iret(struct vcpu *cpu, uint64_t ret)
{
    static const struct x86_insn in = { .op = OP_IRET, .opsize = 8, .len = 2 };
    (void)ret;
    rw_to_c(cpu);
    iret_execute(cpu, &in);
    return rw_from_c(cpu);
}

void rw_call_helper(struct rw_tr *t, rw_helper fn)
{
    rw_flags_clobber(t);
    e_mov_ri(t, H_T0, (uint64_t)(uintptr_t)fn);
    rw_side_add(t, false);
    e_call(t, t->rw->glue.helper);
    if (t->flags & FLAGS_MEM)
        t->flags = FLAGS_BOTH;
}

bool rw_emit_transfer(struct rw_tr *t, const struct x86_insn *in)
{
    uint64_t rip = rw_rip_of(t, t->cur);
    if (!rw_has(t, in) || (in->op == OP_SYSCALL ? t->cpl != 3 : in->opsize != 8) ||
        (in->op == OP_SYSRET && t->cpl != 0))
        return false;
    if (in->op == OP_IRET) {
        e_mov_ri(t, H_T0, rip);
        e_store(t, H_T0, STATE(rip));
        rw_call_helper(t, on_iret);
    } else {
        rw_flags_clobber(t);
        if (in->op == OP_SYSCALL)
            e_mov_ri(t, H_T0, rip + in->len);
        rw_side_add(t, false);
        e_call(t, in->op == OP_SYSCALL ? t->rw->glue.syscall : t->rw->glue.sysret);
    }
    t->ended = 1;
    return true;
}
