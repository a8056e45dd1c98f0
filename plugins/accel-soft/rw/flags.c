/*
 * flags.c: where the guest's arithmetic flags are while a block is translated, and the moves
 * between EFLAGS and cpu->fl_image. Which instruction reads and writes which flag is in
 * flags_tab.c.
 *
 * The image is AX after LAHF and SETO AL: a handful of cheap instructions both ways, where PUSHF
 * and POPF would cost tens of cycles. Flags that nobody reads are not kept: the frame of a fault
 * then shows arithmetic flags that the block would have overwritten before reading them.
 */
#include "emit.h"

/* Bits of the present flags that this instruction or a later one reads. */
static uint8_t wanted(const struct rw_tr *t)
{
    const struct rw_fl *fl = &t->fl[t->cur];
    return fl->reads | (fl->live & (uint8_t)~fl->kills);
}

/* T1 is destroyed, EFLAGS stay. */
static void save(struct rw_tr *t)
{
    e_mov_rr(t, H_T1, H_RAX);
    e1(t, 0x9f); /* lahf */
    e1(t, 0x0f); /* seto al */
    e1(t, 0x90);
    e1(t, 0xc0);
    e_state(t, 2, 0, 0x89, H_RAX, STATE(fl_image));
    e_mov_rr(t, H_RAX, H_T1);
}

void rw_flags_save_code(struct rw_tr *t)
{
    save(t);
}

void rw_flags_restore_code(struct rw_tr *t)
{
    e_store(t, H_RAX, STATE(rw_tmp2));
    e_state(t, 4, 1, 0xb7, H_RAX, STATE(fl_image)); /* movzx eax, word */
    e1(t, 0x04); /* add al, 0x7f: OF again */
    e1(t, 0x7f);
    e1(t, 0x9e); /* sahf */
    e_load(t, H_RAX, STATE(rw_tmp2));
}

void rw_flags_clobber(struct rw_tr *t)
{
    rw_flags_to_mem(t);
    t->flags &= (uint8_t)~FLAGS_HOST;
    rw_side_add(t, false); /* a load before rw_flags_before_op() may fault, too */
}

void rw_flags_to_mem(struct rw_tr *t)
{
    if (t->flags != FLAGS_HOST || !wanted(t))
        return;
    save(t);
    t->flags = FLAGS_BOTH;
}

void rw_flags_to_host(struct rw_tr *t)
{
    if (t->flags != FLAGS_MEM)
        return;
    rw_flags_restore_code(t);
    t->flags = FLAGS_BOTH;
}

void rw_flags_before_op(struct rw_tr *t)
{
    const struct rw_fl *fl = &t->fl[t->cur];
    if (fl->reads || (fl->may && (fl->live & (uint8_t)~fl->kills)))
        rw_flags_to_host(t);
    rw_side_add(t, false);
}

void rw_flags_after_op(struct rw_tr *t)
{
    if (t->fl[t->cur].may)
        t->flags = FLAGS_HOST;
}
