/*
 * lockstep_int.h: what the lockstep*.c files share.
 */
#ifndef SOFT_RW_LOCKSTEP_INT_H
#define SOFT_RW_LOCKSTEP_INT_H

#include "lockstep.h"

#include <setjmp.h>

enum {
    LS_PAGES = 512,       /* written to in one unit; one more ends it */
    LS_HASH = 2048,
    LS_STORES = 4096,     /* ranges; beyond, whole pages */
    LS_STRAY = 4096,
    LS_STEPS = RW_INSNS + 3,
};

/* What an instruction may change, and how it ended. */
struct ls_state {
    uint64_t gpr[16], rip, cc_res, cc_src;
    uint32_t fl;
    uint8_t cpl, code_bits, stack_bits, flat, inhibit, activity, nmi_blocked, rep_midway;
    struct seg seg[SEG_COUNT];
    uint64_t cr0, cr2, cr3, cr4, cr8, efer, xcr0, kernel_gs_base;
    uint8_t ymm[16][32];
    uint8_t x87[160];          /* the registers' part of struct x87_image */
    uint32_t mxcsr;
    uint32_t exc_error;
    uint64_t exc_payload;
    uint8_t exc_pending, exc_vector, exc_has_error;
    uint8_t aborted;           /* left before an instruction that is executed once only */
    uint8_t undefined;         /* FL_BIT_...: flags that the architecture leaves undefined here */
    uint8_t tainted;           /* one of those was read */
    uint8_t pad[2];
};

struct ls_page {
    uint64_t gpa;
    uint8_t *host;
    uint32_t whole;            /* the ranges of stores are not complete */
    uint8_t old[4096], after[4096];
};

struct ls_store {
    uint16_t page, off, len;   /* len 4096 at most */
};

struct ls_stray {
    uint8_t *at;
    uint8_t was, found;
};

enum ls_phase { LS_IDLE = 0, LS_INTERP, LS_RW };

struct lockstep {
    struct vcpu *cpu;
    uint8_t phase, mode, stopped, shared;
    uint8_t aborted;           /* a hook has unwound */
    uint32_t requests;         /* bits of exit_req that a unit does not see */
    jmp_buf outer;             /* the run loop's */
    uint64_t insns_first;      /* in blocks of one instruction; then whole blocks */
    uint64_t timer_at;         /* cpu->insns when the timer last interrupted */
    uint64_t units_slice;

    struct rw_block *block;
    uint64_t rip, gpa;         /* of the unit */
    uint32_t code, code_len;   /* host code of the block, for the report */
    unsigned limit, steps;     /* instructions at most; entries of step[] but the first */
    struct ls_state before, rw, step[LS_STEPS];

    struct ls_page *page;      /* [LS_PAGES] */
    unsigned pages, stores, strays, entries;
    uint16_t hash[LS_HASH];    /* index + 1 of a page */
    struct ls_store store[LS_STORES];
    struct ls_stray stray[LS_STRAY];
    uint64_t *entry[LS_PAGES * 2]; /* of the rewriter's tables: stores permitted in this unit */

    struct {
        uint64_t units, insns, alone, early, refused, retries, tainted, dma;
    } count;
};

/* Kinds of differences. */
enum {
    DIFF_RIP = 1, DIFF_GPR = 2, DIFF_FLAGS = 4, DIFF_SYS = 8, DIFF_VEC = 16, DIFF_X87 = 32,
    DIFF_EXC = 64, DIFF_MEM = 128,
};

/* ---- lockstep_log.c ---- */

int ls_log_init(struct lockstep *ls);
void ls_log_fini(struct lockstep *ls);
void ls_log_begin(struct lockstep *ls);    /* a unit, or its repetition */
void ls_log_turn(struct lockstep *ls);     /* the interpreter is done: note results, undo them */
bool ls_log_same(const struct lockstep *ls); /* memory is what the interpreter made of it */
void ls_log_revert(struct lockstep *ls);   /* the rewriter's stores too */
void ls_log_end(struct lockstep *ls);      /* the unit counts: give back what others wrote */
void ls_log_close(struct lockstep *ls);    /* no direct stores any more */

/* ---- lockstep_cmp.c ---- */

void ls_capture(const struct vcpu *cpu, struct ls_state *st);
void ls_restore(struct vcpu *cpu, const struct ls_state *st);
/* DIFF_... without memory; flags that are dead at the place do not count. */
unsigned ls_compare(const struct lockstep *ls, const struct ls_state *interp,
                    const struct ls_state *rw);
/* Flags that IN leaves undefined, executed with these registers. */
uint8_t ls_undefined(const struct x86_insn *in, const struct ls_state *st);

/* ---- lockstep_say.c ---- */

void ls_report(struct lockstep *ls, unsigned diff, unsigned at);
void ls_summary(const struct lockstep *ls);

#endif
