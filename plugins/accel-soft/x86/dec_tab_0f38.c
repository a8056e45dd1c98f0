/*
 * dec_tab_0f38.c: the three-byte opcode maps 0F 38 xx and 0F 3A xx, legacy and VEX. Layout and
 * letters as in SDM volume 2, appendix A, tables. EVEX forms are not there: no CPU
 * model offers AVX-512.
 */
#include "dec_int.h"

#define FP INSN_FP
#define FLAGS INSN_WRITES_FLAGS

/* integer, MMX and XMM/YMM: two sources, one source */
#define SSSE3_2 \
    PP(MM(0, SSSE3, Pq | RW, Qq | RD), VX(T_NDS | T_Y2, SSSE3, Vx | RW, Wx | RD), UD, UD)
#define SSSE3_1 \
    PP(MM(0, SSSE3, Pq | WR, Qq | RD), VX(T_Y2, SSSE3, Vx | WR, Wx | RD), UD, UD)
/* everything below stands in the 66h column */
#define P66(...) PP(UD, __VA_ARGS__, UD, UD)
#define SSE41_2 P66(VX(T_NDS | T_Y2, SSE41, Vx | RW, Wx | RD))
#define SSE42_2 P66(VX(T_NDS | T_Y2, SSE42, Vx | RW, Wx | RD))
#define EXTEND(w) P66(VX(T_Y2, SSE41, Vx | WR, (w) | RD))
#define BLENDV P66(VL(INSN_IMPLICIT_XMM0, SSE41, V1 | RW, W1 | RD))
#define VEX2(fl, ft, ...) P66(VV((fl), ft, Vx | WR, Hx | RD, __VA_ARGS__))
#define BROADCAST(fl, w) P66(VV(T_W0 | T_Y | (fl), AVX2, Vx | WR, (w) | RD))
#define FMA_P P66(VV(T_Y | FP, FMA, Vx | RW, Hx | RD, Wx | RD))
#define FMA_S P66(VV(T_LIG | FP, FMA, V1 | RW, H1 | RD, K_W | S_F | RD))
#define SHA(...) PP(VL(0, SHA, __VA_ARGS__), UD, UD, UD)
#define AES2 P66({ .opnd = { Vx | RW, Wx | RD }, .op = OP_VEC, .flags = T_NDS | T_Y, \
                   .feature = FEAT_AES, .vex = FEAT_AES })
#define MASKMOV_LD(fl, ft) P66(IV(VMASKMOV, T_Y | (fl), ft, Vx | WR, Hx | RD, Mx | RD))
#define MASKMOV_ST(fl, ft) P66(IV(VMASKMOV, T_Y | (fl), ft, Mx | WR, Hx | RD, Vx | RD))
/* gathers: destination, memory by vector index, mask */
#define GATHER(v, h) P66(IV(VGATHER, T_Y, AVX2, (v) | RW, K_VSIB | S_F | RD, (h) | RW))

const struct form x86_map_0f38[256] = {
    [0x00] = SSSE3_2, [0x01] = SSSE3_2, [0x02] = SSSE3_2, [0x03] = SSSE3_2,
    [0x04] = SSSE3_2, [0x05] = SSSE3_2, [0x06] = SSSE3_2, [0x07] = SSSE3_2,
    [0x08] = SSSE3_2, [0x09] = SSSE3_2, [0x0a] = SSSE3_2, [0x0b] = SSSE3_2,
    [0x0c] = VEX2(T_Y | T_W0, AVX, Wx | RD),               /* VPERMILPS */
    [0x0d] = VEX2(T_Y | T_W0, AVX, Wx | RD),               /* VPERMILPD */
    [0x0e] = P66(VV(T_Y | T_W0 | FLAGS, AVX, Vx | RD, Wx | RD)), /* VTESTPS */
    [0x0f] = P66(VV(T_Y | T_W0 | FLAGS, AVX, Vx | RD, Wx | RD)), /* VTESTPD */

    [0x10] = BLENDV,
    [0x13] = P66(VV(T_Y | T_W0 | FP, F16C, Vx | WR, Wh | RD)), /* VCVTPH2PS */
    [0x14] = BLENDV,
    [0x15] = BLENDV,
    [0x16] = VEX2(T_L1 | T_W0, AVX2, Wx | RD),             /* VPERMPS */
    [0x17] = P66(VX(T_Y | FLAGS, SSE41, Vx | RD, Wx | RD)), /* PTEST */
    [0x18] = P66(MOD(VV(T_Y | T_W0, AVX, Vx | WR, W4 | RD),
                     VV(T_Y | T_W0, AVX2, Vx | WR, W4 | RD))),
    [0x19] = P66(MOD(VV(T_L1 | T_W0, AVX, Vx | WR, W8 | RD),
                     VV(T_L1 | T_W0, AVX2, Vx | WR, W8 | RD))),
    [0x1a] = P66(VV(T_L1 | T_W0, AVX, Vx | WR, M16 | RD)),
    [0x1c] = SSSE3_1, [0x1d] = SSSE3_1, [0x1e] = SSSE3_1,

    [0x20] = EXTEND(Wh), [0x21] = EXTEND(Wq), [0x22] = EXTEND(Wo),
    [0x23] = EXTEND(Wh), [0x24] = EXTEND(Wq), [0x25] = EXTEND(Wh),
    [0x28] = SSE41_2,
    [0x29] = SSE41_2,
    [0x2a] = P66(VX(T_Y2 | INSN_ALIGNED, SSE41, Vx | WR, Mx | RD)), /* MOVNTDQA */
    [0x2b] = SSE41_2,
    [0x2c] = MASKMOV_LD(T_W0, AVX),
    [0x2d] = MASKMOV_LD(T_W0, AVX),
    [0x2e] = MASKMOV_ST(T_W0, AVX),
    [0x2f] = MASKMOV_ST(T_W0, AVX),
    [0x30] = EXTEND(Wh), [0x31] = EXTEND(Wq), [0x32] = EXTEND(Wo),
    [0x33] = EXTEND(Wh), [0x34] = EXTEND(Wq), [0x35] = EXTEND(Wh),
    [0x36] = VEX2(T_L1 | T_W0, AVX2, Wx | RD),             /* VPERMD */
    [0x37] = SSE42_2,
    [0x38] = SSE41_2, [0x39] = SSE41_2, [0x3a] = SSE41_2, [0x3b] = SSE41_2,
    [0x3c] = SSE41_2, [0x3d] = SSE41_2, [0x3e] = SSE41_2, [0x3f] = SSE41_2,

    [0x40] = SSE41_2,
    [0x41] = P66(VX(0, SSE41, V1 | WR, W1 | RD)),          /* PHMINPOSUW */
    [0x45] = VEX2(T_Y, AVX2, Wx | RD),                     /* VPSRLVD, VPSRLVQ */
    [0x46] = VEX2(T_Y | T_W0, AVX2, Wx | RD),              /* VPSRAVD */
    [0x47] = VEX2(T_Y, AVX2, Wx | RD),                     /* VPSLLVD, VPSLLVQ */
    [0x58] = BROADCAST(0, W4),
    [0x59] = BROADCAST(0, W8),
    [0x5a] = P66(VV(T_L1 | T_W0, AVX2, Vx | WR, M16 | RD)),
    [0x78] = BROADCAST(0, Wb),
    [0x79] = BROADCAST(0, W2),

    [0x82] = P66(I(INVPCID, INSN_PRIV | INSN_ENDS_BLOCK | T_F64 | T_IGN66, INVPCID,
                   K_G | S_MODE | RD, M16 | RD)),
    [0x8c] = MASKMOV_LD(0, AVX2),
    [0x8e] = MASKMOV_ST(0, AVX2),
    [0x90] = GATHER(Vx, Hx),                               /* dword index */
    [0x91] = GATHER(Vx, Hx),                               /* qword index; W0: half the elements */
    [0x92] = GATHER(Vx, Hx),
    [0x93] = GATHER(Vx, Hx),
    [0x96] = FMA_P, [0x97] = FMA_P, [0x98] = FMA_P, [0x99] = FMA_S, [0x9a] = FMA_P,
    [0x9b] = FMA_S, [0x9c] = FMA_P, [0x9d] = FMA_S, [0x9e] = FMA_P, [0x9f] = FMA_S,
    [0xa6] = FMA_P, [0xa7] = FMA_P, [0xa8] = FMA_P, [0xa9] = FMA_S, [0xaa] = FMA_P,
    [0xab] = FMA_S, [0xac] = FMA_P, [0xad] = FMA_S, [0xae] = FMA_P, [0xaf] = FMA_S,
    [0xb6] = FMA_P, [0xb7] = FMA_P, [0xb8] = FMA_P, [0xb9] = FMA_S, [0xba] = FMA_P,
    [0xbb] = FMA_S, [0xbc] = FMA_P, [0xbd] = FMA_S, [0xbe] = FMA_P, [0xbf] = FMA_S,

    [0xc8] = SHA(V1 | RW, W1 | RD),
    [0xc9] = SHA(V1 | RW, W1 | RD),
    [0xca] = SHA(V1 | RW, W1 | RD),
    [0xcb] = PP(VL(INSN_IMPLICIT_XMM0, SHA, V1 | RW, W1 | RD), UD, UD, UD), /* SHA256RNDS2 */
    [0xcc] = SHA(V1 | RW, W1 | RD),
    [0xcd] = SHA(V1 | RW, W1 | RD),
    [0xcf] = P66({ .opnd = { Vx | RW, Wx | RD }, .op = OP_VEC, .flags = T_NDS | T_Y | T_W0,
                   .feature = FEAT_GFNI, .vex = FEAT_GFNI }),
    [0xdb] = P66(VX(0, AES, V1 | WR, W1 | RD)),            /* AESIMC */
    [0xdc] = AES2, [0xdd] = AES2, [0xde] = AES2, [0xdf] = AES2,

    [0xf0] = PP(I(MOVBE, 0, MOVBE, Gv | WR, Mv | RD), I(MOVBE, 0, MOVBE, Gv | WR, Mv | RD), UD,
                I(CRC32, 0, SSE42, Gy | RW, Eb | RD)),
    [0xf1] = PP(I(MOVBE, 0, MOVBE, Mv | WR, Gv | RD), I(MOVBE, 0, MOVBE, Mv | WR, Gv | RD), UD,
                I(CRC32, 0, SSE42, Gy | RW, Ev | RD)),
    [0xf2] = PP(IV(ANDN, 0, BMI1, Gy | WR, By | RD, Ey | RD), UD, UD, UD),
    [0xf3] = REG(UD, PP(IV(BLSR, 0, BMI1, By | WR, Ey | RD), UD, UD, UD),
                 PP(IV(BLSMSK, 0, BMI1, By | WR, Ey | RD), UD, UD, UD),
                 PP(IV(BLSI, 0, BMI1, By | WR, Ey | RD), UD, UD, UD), UD, UD, UD, UD),
    [0xf5] = PP(IV(BZHI, 0, BMI2, Gy | WR, Ey | RD, By | RD), UD,
                IV(PEXT, 0, BMI2, Gy | WR, By | RD, Ey | RD),
                IV(PDEP, 0, BMI2, Gy | WR, By | RD, Ey | RD)),
    [0xf6] = PP(UD, I(ADCX, T_IGN66, ADX, Gy | RW, Ey | RD),
                I(ADOX, T_IGN66, ADX, Gy | RW, Ey | RD),
                IV(MULX, 0, BMI2, Gy | WR, By | WR, Ey | RD)),
    [0xf7] = PP(IV(BEXTR, 0, BMI1, Gy | WR, Ey | RD, By | RD),
                IV(SHLX, 0, BMI2, Gy | WR, Ey | RD, By | RD),
                IV(SARX, 0, BMI2, Gy | WR, Ey | RD, By | RD),
                IV(SHRX, 0, BMI2, Gy | WR, Ey | RD, By | RD)),
};

#define IMM Ib | RD
/* rounding, blends, shuffles: two sources and a constant */
#define SSE41_2I(fl) P66(VX(T_NDS | (fl), SSE41, Vx | RW, Wx | RD, IMM))
#define VEX2I(fl, ft, w) P66(VV((fl), ft, Vx | WR, Hx | RD, (w) | RD, IMM))
#define VBLENDV(fl) P66(VV((fl) | T_W0, AVX, Vx | WR, Hx | RD, Wx | RD, Lx | RD))

const struct form x86_map_0f3a[256] = {
    [0x00] = P66(VV(T_L1 | T_W1, AVX2, Vx | WR, Wx | RD, IMM)), /* VPERMQ */
    [0x01] = P66(VV(T_L1 | T_W1, AVX2, Vx | WR, Wx | RD, IMM)), /* VPERMPD */
    [0x02] = VEX2I(T_Y | T_W0, AVX2, Wx),                  /* VPBLENDD */
    [0x04] = P66(VV(T_Y | T_W0, AVX, Vx | WR, Wx | RD, IMM)), /* VPERMILPS */
    [0x05] = P66(VV(T_Y | T_W0, AVX, Vx | WR, Wx | RD, IMM)), /* VPERMILPD */
    [0x06] = VEX2I(T_L1 | T_W0, AVX, Wx),                  /* VPERM2F128 */
    [0x08] = P66(VX(T_Y | FP, SSE41, Vx | WR, Wx | RD, IMM)), /* ROUNDPS */
    [0x09] = P66(VX(T_Y | FP, SSE41, Vx | WR, Wx | RD, IMM)), /* ROUNDPD */
    [0x0a] = P66(VX(T_NDS | T_LIG | FP, SSE41, V1 | RW, W4 | RD, IMM)), /* ROUNDSS */
    [0x0b] = P66(VX(T_NDS | T_LIG | FP, SSE41, V1 | RW, W8 | RD, IMM)), /* ROUNDSD */
    [0x0c] = SSE41_2I(T_Y),                                /* BLENDPS */
    [0x0d] = SSE41_2I(T_Y),                                /* BLENDPD */
    [0x0e] = SSE41_2I(T_Y2),                               /* PBLENDW */
    [0x0f] = PP(MM(0, SSSE3, Pq | RW, Qq | RD, IMM),
                VX(T_NDS | T_Y2, SSSE3, Vx | RW, Wx | RD, IMM), UD, UD), /* PALIGNR */

    [0x14] = P66(VX(0, SSE41, K_E | S_MB | WR, V1 | RD, IMM)), /* PEXTRB */
    [0x15] = P66(VX(0, SSE41, K_E | S_MW | WR, V1 | RD, IMM)), /* PEXTRW */
    [0x16] = P66(VX(0, SSE41, Ey | WR, V1 | RD, IMM)),     /* PEXTRD, PEXTRQ */
    [0x17] = P66(VX(0, SSE41, K_E | S_4 | WR, V1 | RD, IMM)), /* EXTRACTPS */
    [0x18] = VEX2I(T_L1 | T_W0, AVX, W1),                  /* VINSERTF128 */
    [0x19] = P66(VV(T_L1 | T_W0, AVX, W1 | WR, Vx | RD, IMM)), /* VEXTRACTF128 */
    [0x1d] = P66(VV(T_Y | T_W0 | FP, F16C, Wh | WR, Vx | RD, IMM)), /* VCVTPS2PH */
    [0x20] = P66(VX(T_NDS, SSE41, V1 | RW, K_E | S_MB | RD, IMM)), /* PINSRB */
    [0x21] = P66(VX(T_NDS, SSE41, V1 | RW, W4 | RD, IMM)), /* INSERTPS */
    [0x22] = P66(VX(T_NDS, SSE41, V1 | RW, Ey | RD, IMM)), /* PINSRD, PINSRQ */
    [0x38] = VEX2I(T_L1 | T_W0, AVX2, W1),                 /* VINSERTI128 */
    [0x39] = P66(VV(T_L1 | T_W0, AVX2, W1 | WR, Vx | RD, IMM)), /* VEXTRACTI128 */

    [0x40] = SSE41_2I(T_Y | FP),                           /* DPPS */
    [0x41] = P66(VX(T_NDS | FP, SSE41, V1 | RW, W1 | RD, IMM)), /* DPPD */
    [0x42] = SSE41_2I(T_Y2),                               /* MPSADBW */
    [0x44] = P66({ .opnd = { Vx | RW, Wx | RD, IMM }, .op = OP_VEC, .flags = T_NDS | T_Y,
                   .feature = FEAT_PCLMUL, .vex = FEAT_PCLMUL }),
    [0x46] = VEX2I(T_L1 | T_W0, AVX2, Wx),                 /* VPERM2I128 */
    [0x4a] = VBLENDV(T_Y),                                 /* VBLENDVPS */
    [0x4b] = VBLENDV(T_Y),                                 /* VBLENDVPD */
    [0x4c] = VBLENDV(T_Y2),                                /* VPBLENDVB */

    [0x60] = P66(VX(T_UNALIGNED | INSN_IMPLICIT_XMM0 | FLAGS | INSN_READS_RAX_RDX, SSE42,
                    V1 | RD, W1 | RD, IMM)),               /* PCMPESTRM */
    [0x61] = P66(VX(T_UNALIGNED | INSN_WRITES_RCX | FLAGS | INSN_READS_RAX_RDX, SSE42,
                    V1 | RD, W1 | RD, IMM)),               /* PCMPESTRI */
    [0x62] = P66(VX(T_UNALIGNED | INSN_IMPLICIT_XMM0 | FLAGS, SSE42, V1 | RD, W1 | RD, IMM)),
    [0x63] = P66(VX(T_UNALIGNED | INSN_WRITES_RCX | FLAGS, SSE42, V1 | RD, W1 | RD, IMM)),
    [0xcc] = PP(VL(0, SHA, V1 | RW, W1 | RD, IMM), UD, UD, UD), /* SHA1RNDS4 */
    [0xce] = P66({ .opnd = { Vx | RW, Wx | RD, IMM }, .op = OP_VEC, .flags = T_NDS | T_Y | T_W1,
                   .feature = FEAT_GFNI, .vex = FEAT_GFNI }),
    [0xcf] = P66({ .opnd = { Vx | RW, Wx | RD, IMM }, .op = OP_VEC, .flags = T_NDS | T_Y | T_W1,
                   .feature = FEAT_GFNI, .vex = FEAT_GFNI }),
    [0xdf] = P66(VX(0, AES, V1 | WR, W1 | RD, IMM)),       /* AESKEYGENASSIST */
    [0xf0] = PP(UD, UD, UD, IV(RORX, 0, BMI2, Gy | WR, Ey | RD, IMM)),
};
