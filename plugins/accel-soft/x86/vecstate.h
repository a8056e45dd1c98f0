/*
 * vecstate.h: where the guest's vector and x87 registers are: at home in struct vcpu (ymm, mxcsr,
 * x87), or live in the host's registers. Rewritten code and the C code that it calls run with live
 * registers, so that a slow path costs no save and restore.
 *
 * Rules. C that may run with live registers is compiled without vector and x87 instructions
 * (-mgeneral-regs-only; tests/accel-soft/general-regs checks it) and calls into libc only what is
 * known to keep them; everything else calls vec_out() first. Registers are live only on the thread
 * that is inside soft_run() for the CPU, and never while the CPU is `outside` (loop.c), so other
 * threads always find the home good.
 *
 * Vectors and x87 go live apart: FXSAVE and FXRSTOR cost twenty times what sixteen vector moves do,
 * and little code uses x87.
 */
#ifndef SOFT_X86_VECSTATE_H
#define SOFT_X86_VECSTATE_H

#include "state.h"

/* vec_ready: live, and such instructions may execute now (SDM volume 3A, table 2-2, 13.1). */
enum {
    VEC_SSE = 1,
    VEC_AVX = 2,
    VEC_X87 = 4, /* x87 and MMX; instructions that use MMX and XMM registers need VEC_SSE too */
};

/*
 * 1: C code of the CPU leaves vector registers alone. Builds with sanitizers cannot promise that;
 * there, code that calls C with live registers has to call vec_out() before.
 */
#ifdef SOFT_GENERAL_REGS
enum { VEC_KEPT_BY_C = 1 };
#else
enum { VEC_KEPT_BY_C = 0 };
#endif

/* All registers home, and the host's in the state that C code expects. Nothing if not live. */
void vec_out(struct vcpu *cpu);
/* The same for the CPU, if any, whose registers are live on this thread. */
void vec_out_thread(void);
/* Vector registers and MXCSR live; x87 stays where it is. */
void vec_in(struct vcpu *cpu);
/* x87 live as well. */
void vec_in_x87(struct vcpu *cpu);
/* Make instructions of the kinds NEED (VEC_...) executable; false: they would fault. */
bool vec_need(struct vcpu *cpu, unsigned need);
/* CR0, CR4 or XCR0 have changed, or what is live. */
void vec_ready_update(struct vcpu *cpu);

#endif
