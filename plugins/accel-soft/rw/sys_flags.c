/*
 * sys_flags.c: RFLAGS as a whole: PUSHF, POPF, and the image of the arithmetic flags (fl_image) as
 * bits of RFLAGS.
 * Reference: Intel SDM volume 2B (PUSHF, POPF).
 */
#include "sys.h"

enum { IMAGE_BITS = FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF };

void rw_image_to_arith(struct rw_tr *t, unsigned reg)
{
    e_state(t, 4, 1, 0xb6, reg, STATE(fl_image)); /* movzx reg, byte: OF */
    rw_shift(t, 4, SHIFT_L, reg, 11);
    e_state(t, 1, 0, 0x0a, reg, STATE(fl_image) + 1); /* or reg8, byte: what LAHF has stored */
}

void rw_t0_to_image(struct rw_tr *t)
{
    e_rr(t, 4, 0, 0x8b, H_T1, H_T0);
    rw_shift(t, 4, SHIFT_R, H_T1, 11);
    rw_and32(t, H_T1, 1);
    rw_and32(t, H_T0, IMAGE_BITS);
    rw_shift(t, 4, SHIFT_L, H_T0, 8);
    e_rr(t, 4, 0, 0x0b, H_T0, H_T1);
    e_state(t, 2, 0, 0x89, H_T0, STATE(fl_image));
}

bool rw_emit_pushf(struct rw_tr *t, const struct x86_insn *in)
{
    if (in->opsize != 8)
        return false;
    e_lea_disp(t, H_T0, H_RSP, -8);
    rw_mem_t0(t, 8, ACC_W);
    rw_mem_fold(t);
    rw_image_to_arith(t, H_T1);
    e_state(t, 4, 0, 0x0b, H_T1, STATE(fl));
    rw_and32(t, H_T1, ~(uint32_t)(FL_VM | FL_RF));
    rw_side_add(t, false);
    e_op(t, 8, 0, 0x89, H_T1, 0, H_T0, false); /* mov [T0], T1 */
    e_modrm_t0(t, H_T1);
    e_lea_disp(t, H_RSP, H_RSP, -8);
    return true;
}

/*
 * IF, DF and the arithmetic flags here, the interpreter if any other bit changes. In CPL 3 IF needs
 * IOPL 3 to change and is left alone else.
 */
bool rw_emit_popf(struct rw_tr *t, const struct x86_insn *in)
{
    const uint32_t easy = t->cpl == 0 ? FL_IF | FL_DF : FL_DF;
    const uint32_t hard = FL_TF | FL_IF | FL_IOPL | FL_NT | FL_RF | FL_VM | FL_AC | FL_VIF |
                          FL_VIP | FL_ID;
    if (in->opsize != 8)
        return false;
    e_mov_rr(t, H_T0, H_RSP);
    rw_mem_t0(t, 8, ACC_R);
    rw_side_add(t, false);
    e_op(t, 8, 0, 0x8b, H_T0, H_T1, H_T0, false); /* mov T0, [T0 + T1] */
    e_modrm_t0t1(t, H_T0);
    e_state(t, 4, 0, 0x8b, H_T1, STATE(fl));
    e_rr(t, 4, 0, 0x33, H_T1, H_T0);
    rw_test32(t, H_T1, hard & ~easy);
    rw_guard(t, CC_NE, rw_cold_new(t, COLD_INSN));
    if (t->cpl == 0)
        rw_guard_event_waiting(t);
    rw_and32(t, H_T1, easy);
    e_state(t, 4, 0, 0x31, H_T1, STATE(fl)); /* xor gs:[fl], T1 */
    rw_t0_to_image(t);
    e_lea_disp(t, H_RSP, H_RSP, 8);
    rw_flags_restore_code(t); /* whoever comes next finds them in the host's */
    return true;
}
