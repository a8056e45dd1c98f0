/*
 * dec_tab_0f.c: the two-byte opcode map 0F xx, legacy and VEX. Layout and letters as in SDM
 * volume 2, appendix A, table A-3; groups as in table A-6.
 */
#include "dec_int.h"

#define ENDS INSN_ENDS_BLOCK
#define LOCKED INSN_LOCK
#define PRIV INSN_PRIV
#define FP INSN_FP

#define EIGHT(n, ...) \
    [(n) + 0] = __VA_ARGS__, [(n) + 1] = __VA_ARGS__, [(n) + 2] = __VA_ARGS__, \
    [(n) + 3] = __VA_ARGS__, [(n) + 4] = __VA_ARGS__, [(n) + 5] = __VA_ARGS__, \
    [(n) + 6] = __VA_ARGS__, [(n) + 7] = __VA_ARGS__
#define SIXTEEN(n, ...) EIGHT(n, __VA_ARGS__), EIGHT((n) + 8, __VA_ARGS__)

/* PS, PD, SS, SD with two sources */
#define ARITH \
    PP(VX(T_NDS | T_Y | FP, SSE, Vx | RW, Wx | RD), VX(T_NDS | T_Y | FP, SSE2, Vx | RW, Wx | RD), \
       VX(T_NDS | T_LIG | FP, SSE, V1 | RW, W4 | RD), \
       VX(T_NDS | T_LIG | FP, SSE2, V1 | RW, W8 | RD))
/* PS, PD with two sources, no floating-point exceptions: logic, unpack */
#define PACKED2 \
    PP(VX(T_NDS | T_Y, SSE, Vx | RW, Wx | RD), VX(T_NDS | T_Y, SSE2, Vx | RW, Wx | RD), UD, UD)
/* reciprocal estimates */
#define ESTIMATE \
    PP(VX(T_Y, SSE, Vx | WR, Wx | RD), UD, VX(T_NDS | T_LIG, SSE, V1 | RW, W4 | RD), UD)
#define COMPARE \
    PP(VX(T_LIG | FP | INSN_WRITES_FLAGS, SSE, V1 | RD, W4 | RD), \
       VX(T_LIG | FP | INSN_WRITES_FLAGS, SSE2, V1 | RD, W8 | RD), UD, UD)
/* horizontal: PD, PS by F2h */
#define HORIZONTAL \
    PP(UD, VX(T_NDS | T_Y | FP, SSE3, Vx | RW, Wx | RD), UD, \
       VX(T_NDS | T_Y | FP, SSE3, Vx | RW, Wx | RD))
/* integer: MMX, and XMM or YMM by 66h */
#define INT(mmx) \
    PP(MM(0, mmx, Pq | RW, Qq | RD), VX(T_NDS | T_Y2, SSE2, Vx | RW, Wx | RD), UD, UD)
#define INT_XMM PP(UD, VX(T_NDS | T_Y2, SSE2, Vx | RW, Wx | RD), UD, UD)
/* shift by a count in the low quadword of a register or 16 bytes of memory */
#define SHIFT PP(MM(0, MMX, Pq | RW, Qq | RD), VX(T_NDS | T_Y2, SSE2, Vx | RW, W1 | RD), UD, UD)
#define SHIFT_I \
    PP(MM(0, MMX, Nq | RW, Ib | RD), VX(T_NDD | T_Y2, SSE2, Ux | RW, Ib | RD), UD, UD)
#define SHIFT_I_XMM PP(UD, VX(T_NDD | T_Y2, SSE2, Ux | RW, Ib | RD), UD, UD)

#define HINT I(NOP, 0, BASE, Ev)
#define PREFETCH_OR_NOP(ft) MOD(I(PREFETCH, 0, ft, Mn), HINT)
#define BIT_I(o, fl, d) I(o, fl, BASE, Ev | (d), Ib | RD)

static const struct form group7_mem[8] = {
    I(SGDT, T_F64, BASE, K_M | S_S | WR), I(SIDT, T_F64, BASE, K_M | S_S | WR),
    I(LGDT, T_F64 | PRIV, BASE, K_M | S_S | RD), I(LIDT, T_F64 | PRIV, BASE, K_M | S_S | RD),
    I(SMSW, 0, BASE, Emw | WR), UD, I(LMSW, PRIV | ENDS, BASE, Ew | RD),
    I(INVLPG, PRIV | ENDS, BASE, Mn),
};
static const struct form group7_reg[8] = {
    RM(UD, I0(VMCALL, T_NP | ENDS, BASE), UD, UD, UD, UD, UD, UD),
    RM(I0(MONITOR, T_NP, MONITOR), I0(MWAIT, T_NP | ENDS, MONITOR), I0(CLAC, T_NP | ENDS, SMAP),
       I0(STAC, T_NP | ENDS, SMAP), UD, UD, UD, UD),
    RM(I0(XGETBV, T_NP, XSAVE), I0(XSETBV, T_NP | PRIV | ENDS, XSAVE), UD, UD, UD, UD, UD, UD),
    RM(UD, I0(VMMCALL, ENDS, BASE), UD, UD, UD, UD, UD, UD),
    I(SMSW, 0, BASE, Rv | WR), UD, I(LMSW, PRIV | ENDS, BASE, Ew | RD),
    RM(I0(SWAPGS, T_O64 | PRIV, BASE), I0(RDTSCP, 0, RDTSCP), UD, UD, UD, UD, UD, UD),
};
static const struct form group15_mem[8] = {
    PP(I(FXSAVE, INSN_ALIGNED, FXSR, Mn | WR), UD, UD, UD),
    PP(I(FXRSTOR, INSN_ALIGNED, FXSR, Mn | RD), UD, UD, UD),
    PP({ .opnd = { K_M | S_4 | RD }, .op = OP_LDMXCSR, .feature = FEAT_SSE, .vex = FEAT_AVX },
       UD, UD, UD),
    PP({ .opnd = { K_M | S_4 | WR }, .op = OP_STMXCSR, .feature = FEAT_SSE, .vex = FEAT_AVX },
       UD, UD, UD),
    PP(I(XSAVE, INSN_ALIGNED, XSAVE, Mn | WR), UD, UD, UD),
    PP(I(XRSTOR, INSN_ALIGNED, XSAVE, Mn | RD), UD, UD, UD),
    PP(I(XSAVEOPT, INSN_ALIGNED, XSAVEOPT, Mn | WR),
       I(CLWB, T_IGN66, CLWB, K_M | S_1 | RD), UD, UD),
    PP(I(CLFLUSH, 0, CLFLUSH, K_M | S_1 | RD),
       I(CLFLUSHOPT, T_IGN66, CLFLUSHOPT, K_M | S_1 | RD), UD, UD),
};
static const struct form group15_reg[8] = {
    PP(UD, UD, I(RDFSBASE, T_O64, FSGSBASE, Ry | WR), UD),
    PP(UD, UD, I(RDGSBASE, T_O64, FSGSBASE, Ry | WR), UD),
    PP(UD, UD, I(WRFSBASE, T_O64, FSGSBASE, Ry | RD), UD),
    PP(UD, UD, I(WRGSBASE, T_O64, FSGSBASE, Ry | RD), UD),
    UD,
    PP(I0(LFENCE, 0, SSE2), UD, UD, UD),
    PP(I0(MFENCE, 0, SSE2), UD, UD, UD),
    PP(I0(SFENCE, 0, SSE), UD, UD, UD),
};

const struct form x86_map_0f[256] = {
    [0x00] = REG(I(SLDT, 0, BASE, Emw | WR), I(STR, 0, BASE, Emw | WR),
                 I(LLDT, PRIV | ENDS, BASE, Ew | RD), I(LTR, PRIV | ENDS, BASE, Ew | RD),
                 I(VERR, 0, BASE, Ew | RD), I(VERW, 0, BASE, Ew | RD), UD, UD),
    [0x01] = MOD({ .sub = group7_mem, .op = BY_REG }, { .sub = group7_reg, .op = BY_REG }),
    [0x02] = I(LAR, 0, BASE, Gv | RW, Emw | RD),
    [0x03] = I(LSL, 0, BASE, Gv | RW, Emw | RD),
    [0x05] = I0(SYSCALL, T_F64 | ENDS, SYSCALL),
    [0x06] = I0(CLTS, PRIV | ENDS, BASE),
    [0x07] = I0(SYSRET, PRIV | ENDS, SYSCALL),
    [0x08] = I0(INVD, PRIV, BASE),
    [0x09] = I0(WBINVD, PRIV, BASE),
    [0x0d] = MOD(I(PREFETCH, 0, PREFETCHW, Mn), HINT),

    [0x10] = PP(VX(T_Y | T_UNALIGNED, SSE, Vx | WR, Wx | RD),
                VX(T_Y | T_UNALIGNED, SSE2, Vx | WR, Wx | RD),
                MOD(VX(T_LIG, SSE, V1 | WR, W4 | RD), VX(T_NDS | T_LIG, SSE, V1 | RW, U1 | RD)),
                MOD(VX(T_LIG, SSE2, V1 | WR, W8 | RD), VX(T_NDS | T_LIG, SSE2, V1 | RW, U1 | RD))),
    [0x11] = PP(VX(T_Y | T_UNALIGNED, SSE, Wx | WR, Vx | RD),
                VX(T_Y | T_UNALIGNED, SSE2, Wx | WR, Vx | RD),
                MOD(VX(T_LIG, SSE, W4 | WR, V1 | RD), VX(T_NDS | T_LIG, SSE, U1 | RW, V1 | RD)),
                MOD(VX(T_LIG, SSE2, W8 | WR, V1 | RD), VX(T_NDS | T_LIG, SSE2, U1 | RW, V1 | RD))),
    [0x12] = PP(VX(T_NDS, SSE, V1 | RW, W8 | RD),
                VX(T_NDS, SSE2, V1 | RW, M8 | RD), VX(T_Y, SSE3, Vx | WR, Wx | RD),
                VX(T_Y, SSE3, Vx | WR, K_W | S_DD | RD)),
    [0x13] = PP(VX(0, SSE, M8 | WR, V1 | RD), VX(0, SSE2, M8 | WR, V1 | RD), UD, UD),
    [0x14] = PACKED2,
    [0x15] = PACKED2,
    [0x16] = PP(VX(T_NDS, SSE, V1 | RW, W8 | RD),
                VX(T_NDS, SSE2, V1 | RW, M8 | RD), VX(T_Y, SSE3, Vx | WR, Wx | RD), UD),
    [0x17] = PP(VX(0, SSE, M8 | WR, V1 | RD), VX(0, SSE2, M8 | WR, V1 | RD), UD, UD),
    [0x18] = REG(PREFETCH_OR_NOP(SSE), PREFETCH_OR_NOP(SSE), PREFETCH_OR_NOP(SSE),
                 PREFETCH_OR_NOP(SSE), HINT, HINT, HINT, HINT),
    [0x19] = HINT, [0x1a] = HINT, [0x1b] = HINT, [0x1c] = HINT,
    [0x1d] = HINT, [0x1e] = HINT, [0x1f] = HINT,

    [0x20] = I(MOV_FROM_CR, T_F64 | T_MOD | PRIV, BASE, Rm | WR, K_C | S_MODE | RD),
    [0x21] = I(MOV_FROM_DR, T_F64 | T_MOD | PRIV, BASE, Rm | WR, K_D | S_MODE | RD),
    [0x22] = I(MOV_TO_CR, T_F64 | T_MOD | PRIV | ENDS, BASE, K_C | S_MODE | WR, Rm | RD),
    [0x23] = I(MOV_TO_DR, T_F64 | T_MOD | PRIV | ENDS, BASE, K_D | S_MODE | WR, Rm | RD),
    [0x28] = PP(VX(T_Y | INSN_ALIGNED, SSE, Vx | WR, Wx | RD),
                VX(T_Y | INSN_ALIGNED, SSE2, Vx | WR, Wx | RD), UD, UD),
    [0x29] = PP(VX(T_Y | INSN_ALIGNED, SSE, Wx | WR, Vx | RD),
                VX(T_Y | INSN_ALIGNED, SSE2, Wx | WR, Vx | RD), UD, UD),
    [0x2a] = PP(MM(FP, SSE, V1 | RW, Qq | RD), MM(0, SSE2, V1 | WR, Qq | RD),
                VX(T_NDS | T_LIG | FP, SSE, V1 | RW, Ey | RD),
                VX(T_NDS | T_LIG | FP, SSE2, V1 | RW, Ey | RD)),
    [0x2b] = PP(VX(T_Y | INSN_ALIGNED, SSE, Mx | WR, Vx | RD),
                VX(T_Y | INSN_ALIGNED, SSE2, Mx | WR, Vx | RD), UD, UD),
    [0x2c] = PP(MM(FP, SSE, Pq | WR, W8 | RD), MM(FP | INSN_ALIGNED, SSE2, Pq | WR, W1 | RD),
                VX(T_LIG | FP, SSE, Gy | WR, W4 | RD), VX(T_LIG | FP, SSE2, Gy | WR, W8 | RD)),
    [0x2d] = PP(MM(FP, SSE, Pq | WR, W8 | RD), MM(FP | INSN_ALIGNED, SSE2, Pq | WR, W1 | RD),
                VX(T_LIG | FP, SSE, Gy | WR, W4 | RD), VX(T_LIG | FP, SSE2, Gy | WR, W8 | RD)),
    [0x2e] = COMPARE,
    [0x2f] = COMPARE,

    [0x30] = I0(WRMSR, PRIV | ENDS, MSR),
    [0x31] = I0(RDTSC, 0, TSC),
    [0x32] = I0(RDMSR, PRIV, MSR),
    [0x33] = I0(RDPMC, 0, BASE),
    [0x34] = I0(SYSENTER, ENDS, SEP),
    [0x35] = I0(SYSEXIT, PRIV | ENDS, SEP),
    SIXTEEN(0x40, I(CMOV, 0, CMOV, Gv | RW, Ev | RD)),

    [0x50] = PP(VX(T_Y, SSE, Gd | WR, Ux | RD), VX(T_Y, SSE2, Gd | WR, Ux | RD), UD, UD),
    [0x51] = PP(VX(T_Y | FP, SSE, Vx | WR, Wx | RD), VX(T_Y | FP, SSE2, Vx | WR, Wx | RD),
                VX(T_NDS | T_LIG | FP, SSE, V1 | RW, W4 | RD),
                VX(T_NDS | T_LIG | FP, SSE2, V1 | RW, W8 | RD)),
    [0x52] = ESTIMATE,
    [0x53] = ESTIMATE,
    [0x54] = PACKED2,
    [0x55] = PACKED2,
    [0x56] = PACKED2,
    [0x57] = PACKED2,
    [0x58] = ARITH,
    [0x59] = ARITH,
    [0x5a] = PP(VX(T_Y | FP, SSE2, Vx | WR, Wh | RD), VX(T_Y | FP, SSE2, V1 | WR, Wx | RD),
                VX(T_NDS | T_LIG | FP, SSE2, V1 | RW, W4 | RD),
                VX(T_NDS | T_LIG | FP, SSE2, V1 | RW, W8 | RD)),
    [0x5b] = PP(VX(T_Y | FP, SSE2, Vx | WR, Wx | RD), VX(T_Y | FP, SSE2, Vx | WR, Wx | RD),
                VX(T_Y | FP, SSE2, Vx | WR, Wx | RD), UD),
    [0x5c] = ARITH,
    [0x5d] = ARITH,
    [0x5e] = ARITH,
    [0x5f] = ARITH,

    /* PUNPCKLxx mm reads 4 bytes of memory */
    [0x60] = PP(MM(0, MMX, Pq | RW, Qd | RD), VX(T_NDS | T_Y2, SSE2, Vx | RW, Wx | RD), UD, UD),
    [0x61] = PP(MM(0, MMX, Pq | RW, Qd | RD), VX(T_NDS | T_Y2, SSE2, Vx | RW, Wx | RD), UD, UD),
    [0x62] = PP(MM(0, MMX, Pq | RW, Qd | RD), VX(T_NDS | T_Y2, SSE2, Vx | RW, Wx | RD), UD, UD),
    [0x63] = INT(MMX), [0x64] = INT(MMX), [0x65] = INT(MMX), [0x66] = INT(MMX), [0x67] = INT(MMX),
    [0x68] = INT(MMX), [0x69] = INT(MMX), [0x6a] = INT(MMX), [0x6b] = INT(MMX),
    [0x6c] = INT_XMM, [0x6d] = INT_XMM,
    [0x6e] = PP(MM(0, MMX, Pq | WR, Ey | RD), VX(0, SSE2, V1 | WR, Ey | RD), UD, UD),
    [0x6f] = PP(MM(0, MMX, Pq | WR, Qq | RD), VX(T_Y | INSN_ALIGNED, SSE2, Vx | WR, Wx | RD),
                VX(T_Y | T_UNALIGNED, SSE2, Vx | WR, Wx | RD), UD),
    [0x70] = PP(MM(0, SSE, Pq | WR, Qq | RD, Ib | RD), VX(T_Y2, SSE2, Vx | WR, Wx | RD, Ib | RD),
                VX(T_Y2, SSE2, Vx | WR, Wx | RD, Ib | RD),
                VX(T_Y2, SSE2, Vx | WR, Wx | RD, Ib | RD)),
    [0x71] = REG(UD, UD, SHIFT_I, UD, SHIFT_I, UD, SHIFT_I, UD),
    [0x72] = REG(UD, UD, SHIFT_I, UD, SHIFT_I, UD, SHIFT_I, UD),
    [0x73] = REG(UD, UD, SHIFT_I, SHIFT_I_XMM, UD, UD, SHIFT_I, SHIFT_I_XMM),
    [0x74] = INT(MMX), [0x75] = INT(MMX), [0x76] = INT(MMX),
    [0x77] = CHOICE(BY_VEX, 2, I0(MMX, T_NP, MMX),
                    { .op = OP_VZERO, .flags = T_Y | T_VEX | T_NP, .vex = FEAT_AVX }),
    [0x7c] = HORIZONTAL,
    [0x7d] = HORIZONTAL,
    [0x7e] = PP(MM(0, MMX, Ey | WR, Pq | RD), VX(0, SSE2, Ey | WR, V1 | RD),
                VX(0, SSE2, V1 | WR, W8 | RD), UD),
    [0x7f] = PP(MM(0, MMX, Qq | WR, Pq | RD), VX(T_Y | INSN_ALIGNED, SSE2, Wx | WR, Vx | RD),
                VX(T_Y | T_UNALIGNED, SSE2, Wx | WR, Vx | RD), UD),

    SIXTEEN(0x80, I(JCC, T_F64 | ENDS, BASE, Jz | RD)),
    SIXTEEN(0x90, I(SETCC, T_B, BASE, Eb | WR)),
    [0xa0] = I(PUSH_SEG, T_D64, BASE, Sop | RD),
    [0xa1] = I(POP_SEG, T_D64 | ENDS, BASE, Sop | WR),
    [0xa2] = I0(CPUID, 0, BASE),
    [0xa3] = I(BT, 0, BASE, Ev | RD, Gv | RD),
    [0xa4] = I(SHLD, 0, BASE, Ev | RW, Gv | RD, Ib | RD),
    [0xa5] = I(SHLD, 0, BASE, Ev | RW, Gv | RD, CL | RD),
    [0xa8] = I(PUSH_SEG, T_D64, BASE, Sop | RD),
    [0xa9] = I(POP_SEG, T_D64 | ENDS, BASE, Sop | WR),
    [0xaa] = I0(RSM, ENDS, BASE),
    [0xab] = I(BTS, LOCKED, BASE, Ev | RW, Gv | RD),
    [0xac] = I(SHRD, 0, BASE, Ev | RW, Gv | RD, Ib | RD),
    [0xad] = I(SHRD, 0, BASE, Ev | RW, Gv | RD, CL | RD),
    [0xae] = MOD({ .sub = group15_mem, .op = BY_REG }, { .sub = group15_reg, .op = BY_REG }),
    [0xaf] = I(IMUL2, 0, BASE, Gv | RW, Ev | RD),

    [0xb0] = I(CMPXCHG, T_B | LOCKED, BASE, Eb | RW, Gb | RD),
    [0xb1] = I(CMPXCHG, LOCKED, BASE, Ev | RW, Gv | RD),
    [0xb2] = I(LOADFAR, ENDS, BASE, Gv | WR, K_M | S_P | RD, K_SLO | S_2 | WR),
    [0xb3] = I(BTR, LOCKED, BASE, Ev | RW, Gv | RD),
    [0xb4] = I(LOADFAR, ENDS, BASE, Gv | WR, K_M | S_P | RD, K_SLO | S_2 | WR),
    [0xb5] = I(LOADFAR, ENDS, BASE, Gv | WR, K_M | S_P | RD, K_SLO | S_2 | WR),
    [0xb6] = I(MOVZX, 0, BASE, Gv | WR, Eb | RD),
    [0xb7] = I(MOVZX, 0, BASE, Gv | WR, Ew | RD),
    [0xb8] = PP(UD, UD, I(POPCNT, 0, POPCNT, Gv | WR, Ev | RD), UD),
    [0xba] = REG(UD, UD, UD, UD, BIT_I(BT, 0, RD), BIT_I(BTS, LOCKED, RW), BIT_I(BTR, LOCKED, RW),
                 BIT_I(BTC, LOCKED, RW)),
    [0xbb] = I(BTC, LOCKED, BASE, Ev | RW, Gv | RD),
    /* the destination of BSF and BSR keeps its value when the source is 0 */
    [0xbc] = PP(I(BSF, 0, BASE, Gv | RW, Ev | RD), I(BSF, 0, BASE, Gv | RW, Ev | RD),
                I(TZCNT, 0, BMI1, Gv | WR, Ev | RD), I(BSF, 0, BASE, Gv | RW, Ev | RD)),
    [0xbd] = PP(I(BSR, 0, BASE, Gv | RW, Ev | RD), I(BSR, 0, BASE, Gv | RW, Ev | RD),
                I(LZCNT, 0, LZCNT, Gv | WR, Ev | RD), I(BSR, 0, BASE, Gv | RW, Ev | RD)),
    [0xbe] = I(MOVSX, 0, BASE, Gv | WR, Eb | RD),
    [0xbf] = I(MOVSX, 0, BASE, Gv | WR, Ew | RD),

    [0xc0] = I(XADD, T_B | LOCKED, BASE, Eb | RW, Gb | RW),
    [0xc1] = I(XADD, LOCKED, BASE, Ev | RW, Gv | RW),
    [0xc2] = PP(VX(T_NDS | T_Y | FP, SSE, Vx | RW, Wx | RD, Ib | RD),
                VX(T_NDS | T_Y | FP, SSE2, Vx | RW, Wx | RD, Ib | RD),
                VX(T_NDS | T_LIG | FP, SSE, V1 | RW, W4 | RD, Ib | RD),
                VX(T_NDS | T_LIG | FP, SSE2, V1 | RW, W8 | RD, Ib | RD)),
    [0xc3] = PP(I(MOVNTI, 0, SSE2, K_M | S_Y | WR, Gy | RD), UD, UD, UD),
    [0xc4] = PP(MM(0, SSE, Pq | RW, K_E | S_MW | RD, Ib | RD),
                VX(T_NDS, SSE2, V1 | RW, K_E | S_MW | RD, Ib | RD), UD, UD),
    [0xc5] = PP(MM(0, SSE, Gd | WR, Nq | RD, Ib | RD),
                VX(0, SSE2, Gd | WR, U1 | RD, Ib | RD), UD, UD),
    [0xc6] = PP(VX(T_NDS | T_Y, SSE, Vx | RW, Wx | RD, Ib | RD),
                VX(T_NDS | T_Y, SSE2, Vx | RW, Wx | RD, Ib | RD), UD, UD),
    [0xc7] = MOD(REG(UD, I(CMPXCHG8B, T_IGN66 | LOCKED, CX8, K_M | S_CX | RW), UD, UD,
                     PP(I(XSAVEC, INSN_ALIGNED, XSAVEC, Mn | WR), UD, UD, UD), UD, UD, UD),
                 REG(UD, UD, UD, UD, UD, UD,
                     PP(I(RDRAND, 0, RDRAND, Rv | WR), I(RDRAND, 0, RDRAND, Rv | WR), UD, UD),
                     PP(I(RDSEED, 0, RDSEED, Rv | WR), I(RDSEED, 0, RDSEED, Rv | WR),
                        I(RDPID, 0, RDPID, Rm | WR), UD))),
    EIGHT(0xc8, I(BSWAP, 0, BASE, Zv | RW)),

    [0xd0] = HORIZONTAL,
    [0xd1] = SHIFT, [0xd2] = SHIFT, [0xd3] = SHIFT,
    [0xd4] = INT(SSE2), [0xd5] = INT(MMX),
    [0xd6] = PP(UD, VX(0, SSE2, W8 | WR, V1 | RD), MM(0, SSE2, V1 | WR, Nq | RD),
                MM(0, SSE2, Pq | WR, U1 | RD)),
    [0xd7] = PP(MM(0, SSE, Gd | WR, Nq | RD), VX(T_Y2, SSE2, Gd | WR, Ux | RD), UD, UD),
    [0xd8] = INT(MMX), [0xd9] = INT(MMX), [0xda] = INT(SSE), [0xdb] = INT(MMX),
    [0xdc] = INT(MMX), [0xdd] = INT(MMX), [0xde] = INT(SSE), [0xdf] = INT(MMX),
    [0xe0] = INT(SSE),
    [0xe1] = SHIFT, [0xe2] = SHIFT,
    [0xe3] = INT(SSE), [0xe4] = INT(SSE), [0xe5] = INT(MMX),
    [0xe6] = PP(UD, VX(T_Y | FP, SSE2, V1 | WR, Wx | RD), VX(T_Y, SSE2, Vx | WR, Wh | RD),
                VX(T_Y | FP, SSE2, V1 | WR, Wx | RD)),
    [0xe7] = PP(MM(0, SSE, M8 | WR, Pq | RD),
                VX(T_Y | INSN_ALIGNED, SSE2, Mx | WR, Vx | RD), UD, UD),
    [0xe8] = INT(MMX), [0xe9] = INT(MMX), [0xea] = INT(SSE), [0xeb] = INT(MMX),
    [0xec] = INT(MMX), [0xed] = INT(MMX), [0xee] = INT(SSE), [0xef] = INT(MMX),
    [0xf0] = PP(UD, UD, UD, VX(T_Y | T_UNALIGNED, SSE3, Vx | WR, Mx | RD)),
    [0xf1] = SHIFT, [0xf2] = SHIFT, [0xf3] = SHIFT,
    [0xf4] = INT(SSE2), [0xf5] = INT(MMX), [0xf6] = INT(SSE),
    [0xf7] = PP(I(MASKMOV, 0, SSE, Pq | RD, Nq | RD),
                { .opnd = { V1 | RD, U1 | RD }, .op = OP_MASKMOV, .feature = FEAT_SSE2,
                  .vex = FEAT_AVX }, UD, UD),
    [0xf8] = INT(MMX), [0xf9] = INT(MMX), [0xfa] = INT(MMX), [0xfb] = INT(SSE2),
    [0xfc] = INT(MMX), [0xfd] = INT(MMX), [0xfe] = INT(MMX),
};
