/*
 * mem.c: a memory operand: its address, the look-up in the view, the checks. What happens when a
 * check fails is in glue.c and slow.c; how views are filled, and the proof that no address leads
 * out of guest RAM, is in x86/ftab.c.
 *
 *     lea  T0, [address]
 *     pext T1, T0, [mask]      index: bits 47..12, in CPL 3 46..12
 *     bts  T1, 36              stores: the second half of the view
 *     mov  T1, [VIEW + T1*8]   host address - linear address, or 0
 *     test T1, T1 ; jz cold
 *     test T0, bytes - 1 ; jnz cold
 *
 * Neighbours in the guest are not neighbours in the host, so an access must not cross a page: an
 * aligned one never does, the others are looked at in the cold part, or, where odd addresses are to
 * be expected, all of them before the look-up.
 */
#include "emit.h"

#include "../x86/mmu.h"

/* lea dst, [base + index * scale + disp]; base and index host registers or -1. */
static void lea(struct rw_tr *t, unsigned opsize, unsigned dst, int base, int index, unsigned scale,
                int32_t disp)
{
    unsigned b = base < 0 ? 5 : (unsigned)base, x = index < 0 ? 4 : (unsigned)index;
    unsigned ss = scale == 8 ? 3 : scale == 4 ? 2 : scale == 2 ? 1 : 0;
    bool sib = index >= 0 || base < 0 || (b & 7) == 4;
    bool none = base < 0 || (disp == 0 && (b & 7) != 5);
    unsigned mod = none ? 0 : disp >= -128 && disp <= 127 ? 1 : 2;
    e_op(t, opsize, 0, 0x8d, dst, index < 0 ? 0 : x, base < 0 ? 0 : b, false);
    e1(t, mod << 6 | (dst & 7) << 3 | (sib ? 4 : (b & 7)));
    if (sib)
        e1(t, ss << 6 | (x & 7) << 3 | (b & 7));
    if (mod == 1)
        e1(t, (unsigned)disp & 0xff);
    else if (mod == 2 || base < 0)
        e4(t, (uint32_t)disp);
}

/* The host register of guest register G: itself, or loaded into TEMP. */
static int reg_in(struct rw_tr *t, unsigned g, unsigned temp)
{
    if (g == REG_NONE)
        return -1;
    unsigned h = rw_host_reg(g);
    if (h != H_SPILLED)
        return (int)h;
    e_load(t, temp, STATE_GPR(g));
    return (int)temp;
}

void rw_lea(struct rw_tr *t, const struct x86_insn *in, unsigned opsize, unsigned dst)
{
    if (in->base == REG_RIP || (in->base == REG_NONE && in->index == REG_NONE)) {
        uint64_t v = (uint64_t)in->disp + (in->base == REG_RIP ? rw_rip_of(t, t->cur) + in->len : 0);
        if (in->addrsize == 4 || opsize == 4)
            v = (uint32_t)v;
        e_mov_ri(t, dst, v);
        return;
    }
    int base = reg_in(t, in->base, H_T0), index = reg_in(t, in->index, H_T1);
    lea(t, in->addrsize == 4 || opsize == 4 ? 4 : 8, dst, base, index, in->scale, (int32_t)in->disp);
}

void rw_ea(struct rw_tr *t, const struct x86_insn *in)
{
    rw_lea(t, in, 8, H_T0);
    if (in->seg == SEG_FS || in->seg == SEG_GS) {
        e_load(t, H_T1, in->seg == SEG_FS ? STATE(seg[SEG_FS].base) : STATE(seg[SEG_GS].base));
        lea(t, 8, H_T0, H_T0, H_T1, 1, 0);
    }
}

static unsigned log2_up(unsigned bytes)
{
    unsigned n = 0;
    while (1u << n < bytes)
        n++;
    return n;
}

/*
 * Before the look-up: away if the operand crosses a page, that is if bit 12 changes between its
 * first and last byte. T1 is not 0 then, as glue.miss expects.
 */
static void cross_check(struct rw_tr *t, unsigned bytes, struct rw_cold *cold)
{
    lea(t, 4, H_T1, H_T0, -1, 1, (int32_t)bytes - 1);
    e_rr(t, 4, 0, 0x33, H_T1, H_T0); /* xor T1d, T0d */
    e_op(t, 4, 1, 0xba, 0, 0, H_T1, false);
    e_modrm_r(t, 4, H_T1); /* bt T1d, 12; jc */
    e1(t, PAGE_BITS);
    e1(t, 0x0f);
    e1(t, 0x82);
    rw_cold_site(t, cold);
}

/* In mirror mode: mirror.h has the code, and the proof. */
static void look_up_mirror(struct rw_tr *t, unsigned bytes, unsigned acc)
{
    rw_flags_clobber(t);
    rw_side_add(t, false); /* what follows may fault at the host */
    struct rw_cold *cold = rw_cold_new(t, COLD_MISS);
    cold->write = (acc & ACC_W) != 0;
    cold->size_log2 = (uint8_t)log2_up(bytes);
    e_vex(t, 2, 3, 1, 0, 0xf7, H_T1, H_VIEW, 0, H_T0); /* shrx T1, T0, VIEW */
    e_modrm_r(t, H_T1, H_T0);
    e_op(t, 1, 0, 0x80, 7, H_T1, H_VIEW, false); /* cmp byte [VIEW + T1], 0 */
    e1(t, 7 << 3 | 4);
    e1(t, (H_T1 & 7) << 3 | (H_VIEW & 7));
    e1(t, 0);
    e1(t, 0x0f); /* je cold */
    e1(t, 0x84);
    rw_cold_site(t, cold);
    e_rr(t, 4, 0, 0x33, H_T1, H_T1); /* xor T1d, T1d */
    cold->resume = e_here(t);
}

/* ANY: the address may well be odd. */
static void look_up(struct rw_tr *t, unsigned bytes, unsigned acc, bool any)
{
    bool write = acc & ACC_W;
    unsigned n = log2_up(bytes);
    if (t->mirror) {
        look_up_mirror(t, bytes, acc);
        return;
    }
    rw_flags_clobber(t);
    struct rw_cold *cold = rw_cold_new(t, COLD_MISS);
    cold->write = write;
    cold->size_log2 = (uint8_t)n;
    if (any && n)
        cross_check(t, 1u << n, cold);
    /* pext T1, T0, [rip + mask] */
    e_vex(t, 2, 2, 1, 0, 0xf5, H_T1, H_T0, 0, 0);
    e1(t, 0x05 | (H_T1 & 7) << 3);
    e_rel32(t, t->cpl == 3 ? t->rw->glue.mask_user : t->rw->glue.mask_kernel);
    if (write) { /* bts T1, 36 */
        e_op(t, 8, 1, 0xba, 0, 0, H_T1, false);
        e_modrm_r(t, 5, H_T1);
        e1(t, 36);
    }
    e_op(t, 8, 0, 0x8b, H_T1, H_T1, H_VIEW, false); /* mov T1, [VIEW + T1 * 8] */
    e1(t, 0x04 | (H_T1 & 7) << 3);
    e1(t, 3 << 6 | (H_T1 & 7) << 3 | (H_VIEW & 7));
    e_rr(t, 8, 0, 0x85, H_T1, H_T1); /* test T1, T1 */
    e1(t, 0x0f);
    e1(t, 0x84);
    rw_cold_site(t, cold);
    if (n && !any) { /* test T0b, bytes - 1 */
        e1(t, 0x41);
        e1(t, 0xf6);
        e_modrm_r(t, 0, H_T0);
        e1(t, (1u << n) - 1);
        e1(t, 0x0f);
        e1(t, 0x85);
        rw_cold_site(t, cold);
    }
    cold->resume = e_here(t);
}

void rw_mem_t0(struct rw_tr *t, unsigned bytes, unsigned acc)
{
    look_up(t, bytes, acc, false);
}

/*
 * User code reads and writes odd addresses as a matter of course (memcpy, compressors, hashes), but
 * hardly ever on the stack, and the kernel seldom does.
 */
static bool often_odd(const struct rw_tr *t, const struct x86_insn *in)
{
    bool stack = (in->base == REG_RSP || in->base == REG_RBP) && in->index == REG_NONE;
    return t->cpl == 3 && !stack && in->base != REG_RIP && !(in->flags & INSN_LOCK);
}

void rw_mem(struct rw_tr *t, const struct x86_insn *in, unsigned bytes, unsigned acc)
{
    rw_flags_clobber(t); /* while T1 is free */
    rw_ea(t, in);
    look_up(t, bytes, acc, bytes <= 8 && often_odd(t, in));
}

void rw_mem_fold(struct rw_tr *t)
{
    lea(t, 8, H_T0, H_T0, H_T1, 1, 0);
}
