/*
 * glue.c: the machine code between C and rewritten code: entering and leaving, the calls out of
 * cold stubs, the look-up of indirect jumps. Written once per code cache, in front of the blocks.
 *
 * Crossing over means: guest registers to or from cpu->gpr, flags from cpu->fl_image, host RSP
 * between the thread's stack and the pair stack. Vector state stays where it is (x86/vecstate.h).
 * C may unwind (longjmp) out of anything called here: by then all guest state is in struct vcpu.
 */
#include "emit.h"
#include "mirror.h"

#include "../x86/mmu.h"

enum { SYSV_RDI = H_RDI, SYSV_RSI = H_RSI, SYSV_RDX = H_RDX, SYSV_RCX = H_RCX };

static void spill(struct rw_tr *t)
{
    for (unsigned g = 0; g < 12; g++)
        e_store(t, rw_host_reg(g), STATE_GPR(g));
}

static void reload(struct rw_tr *t)
{
    e_load(t, H_VIEW, STATE(view_now));
    e_state(t, 1, 0, 0x80, 7, STATE(cpl)); /* cmp byte gs:[cpl], 3 */
    e1(t, 3);
    e1(t, 0x75); /* jne */
    uint8_t *jne = t->p;
    e1(t, 0);
    e_load(t, H_VIEW, STATE(rw_view3));
    *jne = (uint8_t)(t->p - jne - 1);
    e_state(t, 4, 1, 0xb7, H_RAX, STATE(fl_image));
    e1(t, 0x04);
    e1(t, 0x7f);
    e1(t, 0x9e);
    for (unsigned g = 0; g < 12; g++)
        e_load(t, rw_host_reg(g), STATE_GPR(g));
    e_load(t, H_T0, STATE(rw_t0));
    e_load(t, H_T1, STATE(rw_t1));
}

/* jmp gs:[off] */
static void jmp_state(struct rw_tr *t, size_t off)
{
    e1(t, 0x65);
    e1(t, 0xff);
    e_modrm_abs(t, 4, (uint32_t)off);
}

static void pop_t1(struct rw_tr *t)
{
    e1(t, 0x41);
    e1(t, 0x5f);
}

/* Guest state to memory; RSP to the thread's stack. Arguments come after it. */
static void to_c(struct rw_tr *t)
{
    e_store(t, H_RSPHOST, STATE(rw_rsp));
    spill(t);
    e_load(t, H_RSPHOST, STATE(rw_c_rsp));
}

/* Call FN(cpu, ...) and go on at the host address that it returns. */
static void call_c(struct rw_tr *t, uint64_t fn, uint32_t resume)
{
    e_mov_ri(t, SYSV_RDI, (uint64_t)(uintptr_t)t->cpu);
    e_mov_ri(t, H_RAX, fn);
    e1(t, 0xff); /* call rax */
    e1(t, 0xd0);
    e_jmp(t, resume);
}

static void build_enter_leave(struct rw_tr *t, struct rw_glue *g, uint32_t *resume)
{
    static const uint8_t saved[6][2] = { { 0, 0x53 }, { 0, 0x55 }, { 0x41, 0x54 },
                                         { 0x41, 0x55 }, { 0x41, 0x56 }, { 0x41, 0x57 } };
    static const uint8_t back[6][2] = { { 0x41, 0x5f }, { 0x41, 0x5e }, { 0x41, 0x5d },
                                        { 0x41, 0x5c }, { 0, 0x5d }, { 0, 0x5b } };
    g->enter = e_here(t);
    for (unsigned i = 0; i < 6; i++) {
        if (saved[i][0])
            e1(t, saved[i][0]);
        e1(t, saved[i][1]);
    }
    e_lea_disp_rsp(t, -8); /* calls want RSP to be a multiple of 16 */
    e_store(t, H_RSPHOST, STATE(rw_c_rsp));
    e_store(t, SYSV_RSI, STATE(rw_tmp));
    uint32_t go = e_here(t);
    e_load(t, H_RSPHOST, STATE(rw_rsp));
    reload(t);
    jmp_state(t, STATE(rw_tmp));

    *resume = e_here(t); /* behind C: RAX is where to go on, or 0 */
    e_rr(t, 8, 0, 0x85, H_RAX, H_RAX);
    e1(t, 0x74); /* jz out */
    uint8_t *jz = t->p;
    e1(t, 0);
    e_store(t, H_RAX, STATE(rw_tmp));
    e_jmp(t, go);
    *jz = (uint8_t)(t->p - jz - 1);
    uint32_t out = e_here(t);
    e_lea_disp_rsp(t, 8);
    for (unsigned i = 0; i < 6; i++) {
        if (back[i][0])
            e1(t, back[i][0]);
        e1(t, back[i][1]);
    }
    e1(t, 0xc3);

    g->leave_t0 = e_here(t);
    e_store(t, H_T0, STATE(rip));
    g->leave = e_here(t);
    to_c(t);
    e_jmp(t, out);
}

/*
 * From the cold part of a memory operand. T1 not 0: the page is known, and the address is not
 * aligned; that is all right unless the access crosses the page's end.
 */
static void build_miss(struct rw_tr *t, struct rw_glue *g, uint32_t resume)
{
    uint32_t slow = e_here(t); /* EAX... are saved; ECX to become `what` is in rw_tmp */
    to_c(t);
    e_mov_rr(t, SYSV_RSI, H_T0);
    e_mov_rr(t, SYSV_RDX, H_T1);
    e_load(t, SYSV_RCX, STATE(rw_tmp));
    call_c(t, (uint64_t)(uintptr_t)rw_on_miss, resume);
    for (unsigned write = 0; write < 2; write++)
        for (unsigned n = 0; n < 6; n++) {
            g->miss[write][n] = e_here(t);
            e_rr(t, 8, 0, 0x85, H_T1, H_T1);
            e1(t, 0x74);
            uint8_t *jz = t->p;
            e1(t, 0);
            e_store(t, H_T0, STATE(rw_tmp));
            e_op(t, 4, 0, 0x81, 0, 0, H_T0, false); /* and T0d, 0xfff */
            e_modrm_r(t, 4, H_T0);
            e4(t, 0xfff);
            e_op(t, 4, 0, 0x81, 0, 0, H_T0, false); /* cmp T0d, 4096 - size */
            e_modrm_r(t, 7, H_T0);
            e4(t, 4096u - (1u << n));
            e_load(t, H_T0, STATE(rw_tmp));
            e1(t, 0x77); /* ja */
            uint8_t *ja = t->p;
            e1(t, 0);
            e1(t, 0xc3);
            *jz = (uint8_t)(t->p - jz - 1);
            *ja = (uint8_t)(t->p - ja - 1);
            e_state(t, 8, 0, 0xc7, 0, STATE(rw_tmp)); /* mov qword gs:[rw_tmp], imm32 */
            e4(t, n << 1 | write);
            pop_t1(t);
            e_jmp(t, slow);
        }
}

/*
 * The same in mirror mode, where the address was denied: if it is so for good, the look-up in the
 * flat tables that mem.c did not do. T1 is the addend then, or 0.
 */
static void build_mirror_miss(struct rw_tr *t, struct rw_glue *g)
{
    for (unsigned write = 0; write < 2; write++)
        for (unsigned n = 0; n < 6; n++) {
            g->mirror_miss[write][n] = e_here(t);
            e_vex(t, 2, 3, 1, 0, 0xf7, H_T1, H_VIEW, 0, H_T0); /* shrx T1, T0, VIEW */
            e_modrm_r(t, H_T1, H_T0);
            e_op(t, 1, 0, 0x80, 7, H_T1, H_VIEW, false); /* cmp byte [VIEW + T1 + ...], 0 */
            e1(t, 0x80 | 7 << 3 | 4);
            e1(t, (H_T1 & 7) << 3 | (H_VIEW & 7));
            e4(t, (uint32_t)MIRROR_FLAT);
            e1(t, 0);
            e_mov_ri(t, H_T1, 0);
            e_jcc(t, 4, g->miss[write][n]); /* je */
            e_vex(t, 2, 2, 1, 0, 0xf5, H_T1, H_T0, 0, 0); /* pext T1, T0, [rip + mask] */
            e1(t, 0x05 | (H_T1 & 7) << 3);
            e_rel32(t, g->mask_user);
            if (write) {
                e_op(t, 8, 1, 0xba, 0, 0, H_T1, false); /* bts T1, 36 */
                e_modrm_r(t, 5, H_T1);
                e1(t, 36);
            }
            e_rr(t, 8, 0, 0xc1, 4, H_T1); /* shl T1, 3 */
            e1(t, 3);
            e_state(t, 8, 0, 0x03, H_T1, STATE(view_now)); /* add T1, gs:[view_now] */
            e_op(t, 8, 0, 0x8b, H_T1, 0, H_T1, false);     /* mov T1, [T1] */
            e1(t, (H_T1 & 7) << 3 | (H_T1 & 7));
            e_jmp(t, g->miss[write][n]);
        }
}

static void build_calls(struct rw_tr *t, struct rw_glue *g, uint32_t resume)
{
    g->insn = e_here(t);
    pop_t1(t);
    g->fault = e_here(t);
    to_c(t);
    e_mov_rr(t, SYSV_RSI, H_T1);
    call_c(t, (uint64_t)(uintptr_t)rw_on_insn, resume);

    g->helper = e_here(t);
    pop_t1(t);
    to_c(t);
    e_mov_rr(t, SYSV_RSI, H_T1);
    e_mov_ri(t, SYSV_RDI, (uint64_t)(uintptr_t)t->cpu);
    e1(t, 0x41); /* call T0 */
    e1(t, 0xff);
    e_modrm_r(t, 2, H_T0);
    e_jmp(t, resume);

    g->link_host = e_here(t);
    pop_t1(t);
    e_mov_rr(t, H_T0, H_RAX); /* nobody wants T0 between two instructions */
    e1(t, 0x9f);              /* lahf */
    e1(t, 0x0f);              /* seto al */
    e1(t, 0x90);
    e1(t, 0xc0);
    e_state(t, 2, 0, 0x89, H_RAX, STATE(fl_image));
    e_mov_rr(t, H_RAX, H_T0);
    e1(t, 0xeb); /* jmp over the next POP */
    e1(t, 2);
    g->link = e_here(t);
    pop_t1(t);
    to_c(t);
    e_mov_rr(t, SYSV_RSI, H_T1);
    call_c(t, (uint64_t)(uintptr_t)rw_enter_link, resume);
}

static void build_lookup(struct rw_tr *t, struct rw_glue *g, uint32_t resume)
{
    g->lookup_slow = e_here(t);
    to_c(t);
    e_mov_rr(t, SYSV_RSI, H_T0);
    call_c(t, (uint64_t)(uintptr_t)rw_enter_lookup, resume);

    /* The pair did not match: forget all pairs of this privilege level. */
    g->ret_miss = e_here(t);
    e_load(t, H_T1, STATE(rw_pair_base[0]));
    e_state(t, 1, 0, 0x80, 7, STATE(cpl)); /* cmp byte gs:[cpl], 0 */
    e1(t, 0);
    e_state(t, 8, 1, 0x45, H_T1, STATE(rw_pair_base[1])); /* cmovne */
    e_mov_rr(t, H_RSPHOST, H_T1);
    e_state(t, 4, 0, 0x83, 7, STATE(exit_req)); /* cmp dword gs:[exit_req], 0: a loop of RETs */
    e1(t, 0);
    e_jcc(t, 5, g->leave_t0);

    g->lookup = e_here(t);
    e_op(t, 4, 0, 0x69, H_T1, 0, H_T0, false); /* imul T1d, T0d, ... as rw_jc_offset */
    e_modrm_r(t, H_T1, H_T0);
    e4(t, 0x9e3779b1);
    e_op(t, 4, 0, 0xc1, 0, 0, H_T1, false); /* shr T1d, 16 */
    e_modrm_r(t, 5, H_T1);
    e1(t, 16);
    e_op(t, 4, 0, 0x81, 0, 0, H_T1, false); /* and T1d, mask */
    e_modrm_r(t, 4, H_T1);
    e4(t, (RW_JC_ENTRIES - 1) << 4);
    e_state(t, 8, 0, 0x03, H_T1, STATE(rw_jc)); /* add T1, gs:[rw_jc] */
    e_op(t, 8, 0, 0x39, H_T0, 0, H_T1, false);  /* cmp [T1], T0 */
    e1(t, (H_T0 & 7) << 3 | (H_T1 & 7));
    e_jcc(t, 5, g->lookup_slow);
    e1(t, 0x41); /* jmp [T1 + 8] */
    e1(t, 0xff);
    e1(t, 0x60 | (H_T1 & 7));
    e1(t, 8);
}

int rw_glue_build(struct rw *rw)
{
    struct rw_tr *t = rw->tr;
    struct rw_glue *g = &rw->glue;
    uint32_t resume;
    t->p = rw->rw_base;
    t->start = t->p;
    g->mask_user = e_here(t);
    e8(t, UINT64_C(0x00007ffffffff000));
    g->mask_kernel = e_here(t);
    e8(t, UINT64_C(0x0000fffffffff000));
    build_enter_leave(t, g, &resume);
    build_miss(t, g, resume);
    build_mirror_miss(t, g);
    build_calls(t, g, resume);
    build_lookup(t, g, resume);
    rw_glue_sys(t, g);
    rw->used = rw->glue_end = (e_here(t) + 63) & ~63u;
    return 0;
}
