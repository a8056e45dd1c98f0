/*
 * cross.c: the instruction at the end of a block that goes on in the next page. Whatever is mapped
 * there may change without a word to this block, whose page is the first; so rewritten code looks
 * each time whether the bytes in the second page are still those that were translated, and whether
 * they may be executed: the jump cache knows the address behind the instruction then. It is emptied
 * whenever mappings change, and the interpreter's turns fill it again (slow.c).
 *
 * Jumps and calls stay the interpreter's: few of them go on behind themselves.
 */
#include "emit.h"

#include "../x86/mmu.h"

enum { CC_NE = 5, INSN_BYTES = 15 };

/* The next page's bytes, if they may be executed at present. */
static const uint8_t *next_page(struct rw_tr *t, uint64_t linear)
{
    struct walk w;
    uint64_t left;
    uint32_t flags;
    if ((uint64_t)((int64_t)(linear << 16) >> 16) != linear || (linear ^ t->rip) >> 47 ||
        !mmu_walk_ram(t->cpu, tlb_set_now(t->cpu), linear, ACC_X, &w))
        return NULL;
    const uint8_t *p = soft_ram(t->cpu->soft, w.gpa & PAGE_MASK, &left, &flags);
    return p && left >= PAGE_BYTES ? p : NULL;
}

bool rw_cross_read(struct rw_tr *t)
{
    struct x86_dec_mode mode = { .bits = 64 };
    struct x86_insn *in = &t->in[t->n];
    unsigned at = (unsigned)(t->rip & (PAGE_BYTES - 1)) + t->off[t->n], here = PAGE_BYTES - at;
    const uint8_t *next = next_page(t, (t->rip & PAGE_MASK) + PAGE_BYTES);
    if (!next || here >= INSN_BYTES)
        return false;
    for (unsigned i = 0; i < INSN_BYTES - here; i++)
        t->page[PAGE_BYTES + i] = *(volatile const uint8_t *)&next[i];
    if (x86_decode(t->page + at, INSN_BYTES, mode, in) != DEC_OK || in->len <= here ||
        in->flags & INSN_ENDS_BLOCK)
        return false;
    t->off[t->n + 1] = (uint16_t)(t->off[t->n] + in->len);
    return true;
}

/* The interpreter's turn unless the comparison has found equal. */
static void emit_else_slow(struct rw_tr *t)
{
    e1(t, 0x0f);
    e1(t, 0x80 | CC_NE);
    rw_cold_site(t, rw_cold_new(t, COLD_INSN));
}

void rw_cross_check(struct rw_tr *t)
{
    const struct x86_insn *in = &t->in[t->n];
    uint64_t page = (t->rip & PAGE_MASK) + PAGE_BYTES, next = rw_rip_of(t, t->n) + in->len;
    unsigned bytes = (unsigned)(next - page);
    const uint8_t *want = t->page + PAGE_BYTES;
    rw_flags_clobber(t); /* all are read so far: the interpreter may take over */
    e_mov_ri(t, H_T0, next);
    e_load(t, H_T1, STATE(rw_jc));
    e_op(t, 8, 0, 0x39, H_T0, 0, H_T1, false); /* cmp [T1 + slot], T0 */
    e1(t, 0x80 | (H_T0 & 7) << 3 | (H_T1 & 7));
    e4(t, rw_jc_offset(next));
    emit_else_slow(t);
    e_mov_ri(t, H_T0, page);
    rw_mem_t0(t, 8, ACC_R);
    for (unsigned i = 0, n; i < bytes; i += n) {
        unsigned left = bytes - i;
        n = left >= 4 ? 4 : left >= 2 ? 2 : 1;
        e_op(t, n, 0, n == 1 ? 0x80 : 0x81, 0, H_T1, H_T0, false); /* cmp [T0 + T1 + i], imm */
        e1(t, 0x44 | 7 << 3);
        e1(t, (H_T1 & 7) << 3 | (H_T0 & 7));
        e1(t, i);
        for (unsigned k = 0; k < n; k++)
            e1(t, want[i + k]);
        emit_else_slow(t);
    }
    rw_flags_of(in, &t->fl[t->n]);
    t->fl[t->n].live = FL_BIT_ALL;
}
