/*
 * fpu.h: x87, SSE and AVX state as images: reset values, FXSAVE and XSAVE areas, and the conversion
 * from and to the frozen block of mobo/arch/x86.h. Executing instructions is native.c's.
 */
#ifndef SOFT_X86_FPU_H
#define SOFT_X86_FPU_H

#include "state.h"

enum {
    XSTATE_X87 = 1, XSTATE_SSE = 2, XSTATE_AVX = 4, XSTATE_ALL = 7,
    XSAVE_HEADER = 512, XSAVE_AVX = 576, XSAVE_LEN = 832, /* both formats agree up to AVX */
};
enum { MXCSR_INIT = 0x1f80, MXCSR_MASK = 0xffff, FCW_INIT = 0x37f };

/* Power-on state (SDM volume 3A, table 10-1): FCW 0040h, everything else zero, MXCSR 1F80h. */
void fpu_reset(struct vcpu *cpu);
/* FNINIT: control, status and tags; the registers keep their content. */
void fpu_fninit(struct vcpu *cpu);
/* Moves TOP; the physical registers stay, the image counts from TOP. */
void fpu_set_top(struct vcpu *cpu, unsigned top);

/* Standard format of XSAVE; area has room for sizeof(mobo_x86_xsave_t.area). */
void fpu_get_xsave(const struct vcpu *cpu, uint8_t *area);
/* MOBO_EINVAL for a header or MXCSR that XRSTOR would refuse; the state is then unchanged. */
int fpu_set_xsave(struct vcpu *cpu, const uint8_t *area);

/* FXSAVE FXRSTOR XSAVE XSAVEOPT XSAVEC XRSTOR LDMXCSR STMXCSR FWAIT. */
void fpu_execute(struct vcpu *cpu, const struct x86_insn *in);
/* x87 instructions that need no arithmetic unit: control words, environments. False: not one. */
bool fpu_control(struct vcpu *cpu, const struct x86_insn *in);
bool fpu_is_control(const struct x86_insn *in);

#endif
