/*
 * dec_tab_one.c: the one-byte opcode map. Prefixes, the 0F escape and VEX are the decoder's; x87
 * is in dec_x87.c. Layout and letters as in SDM volume 2, appendix A, table A-2.
 */
#include "dec_int.h"

#define ENDS INSN_ENDS_BLOCK
#define LOCKED INSN_LOCK
#define PRIV INSN_PRIV

/* The six forms of an arithmetic instruction. */
#define ALU(n, o, dst, fl) \
    [(n) + 0] = I(o, (fl) | T_B, BASE, Eb | (dst), Gb | RD), \
    [(n) + 1] = I(o, (fl), BASE, Ev | (dst), Gv | RD), \
    [(n) + 2] = I(o, T_B, BASE, Gb | (dst), Eb | RD), \
    [(n) + 3] = I(o, 0, BASE, Gv | (dst), Ev | RD), \
    [(n) + 4] = I(o, T_B, BASE, Ab | (dst), Ib | RD), \
    [(n) + 5] = I(o, 0, BASE, Av | (dst), Iz | RD)

/* Eight opcodes that differ in the register or condition in bits 2..0. */
#define EIGHT(n, ...) \
    [(n) + 0] = __VA_ARGS__, [(n) + 1] = __VA_ARGS__, [(n) + 2] = __VA_ARGS__, \
    [(n) + 3] = __VA_ARGS__, [(n) + 4] = __VA_ARGS__, [(n) + 5] = __VA_ARGS__, \
    [(n) + 6] = __VA_ARGS__, [(n) + 7] = __VA_ARGS__

/* Group 1 and group 2 (table A-6) with their operands. */
#define GROUP1(fl, e, imm) \
    REG(I(ADD, (fl) | LOCKED, BASE, (e) | RW, imm), I(OR, (fl) | LOCKED, BASE, (e) | RW, imm), \
        I(ADC, (fl) | LOCKED, BASE, (e) | RW, imm), I(SBB, (fl) | LOCKED, BASE, (e) | RW, imm), \
        I(AND, (fl) | LOCKED, BASE, (e) | RW, imm), I(SUB, (fl) | LOCKED, BASE, (e) | RW, imm), \
        I(XOR, (fl) | LOCKED, BASE, (e) | RW, imm), I(CMP, fl, BASE, (e) | RD, imm))
#define GROUP2(fl, e, count) \
    REG(I(ROL, fl, BASE, (e) | RW, count), I(ROR, fl, BASE, (e) | RW, count), \
        I(RCL, fl, BASE, (e) | RW, count), I(RCR, fl, BASE, (e) | RW, count), \
        I(SHL, fl, BASE, (e) | RW, count), I(SHR, fl, BASE, (e) | RW, count), \
        I(SHL, fl, BASE, (e) | RW, count), I(SAR, fl, BASE, (e) | RW, count))
#define GROUP3(fl, e, imm) \
    REG(I(TEST, fl, BASE, (e) | RD, imm), I(TEST, fl, BASE, (e) | RD, imm), \
        I(NOT, (fl) | LOCKED, BASE, (e) | RW), I(NEG, (fl) | LOCKED, BASE, (e) | RW), \
        I(MUL, fl, BASE, (e) | RD), I(IMUL1, fl, BASE, (e) | RD), \
        I(DIV, fl, BASE, (e) | RD), I(IDIV, fl, BASE, (e) | RD))

const struct form x86_map_one[256] = {
    ALU(0x00, ADD, RW, LOCKED),
    [0x06] = I(PUSH_SEG, T_I64, BASE, Sop | RD),
    [0x07] = I(POP_SEG, T_I64 | ENDS, BASE, Sop | WR),
    ALU(0x08, OR, RW, LOCKED),
    [0x0e] = I(PUSH_SEG, T_I64, BASE, Sop | RD),
    ALU(0x10, ADC, RW, LOCKED),
    [0x16] = I(PUSH_SEG, T_I64, BASE, Sop | RD),
    [0x17] = I(POP_SEG, T_I64 | ENDS, BASE, Sop | WR),
    ALU(0x18, SBB, RW, LOCKED),
    [0x1e] = I(PUSH_SEG, T_I64, BASE, Sop | RD),
    [0x1f] = I(POP_SEG, T_I64 | ENDS, BASE, Sop | WR),
    ALU(0x20, AND, RW, LOCKED),
    [0x27] = I0(DAA, T_I64, BASE),
    ALU(0x28, SUB, RW, LOCKED),
    [0x2f] = I0(DAS, T_I64, BASE),
    ALU(0x30, XOR, RW, LOCKED),
    [0x37] = I0(AAA, T_I64, BASE),
    ALU(0x38, CMP, RD, 0),
    [0x3f] = I0(AAS, T_I64, BASE),

    /* 40h..4Fh are REX prefixes in 64-bit mode and never get here */
    EIGHT(0x40, I(INC, 0, BASE, Zv | RW)),
    EIGHT(0x48, I(DEC, 0, BASE, Zv | RW)),
    EIGHT(0x50, I(PUSH, T_D64, BASE, Zv | RD)),
    EIGHT(0x58, I(POP, T_D64, BASE, Zv | WR)),
    [0x60] = I0(PUSHA, T_I64, BASE),
    [0x61] = I0(POPA, T_I64, BASE),
    [0x62] = I(BOUND, T_I64, BASE, Gv | RD, K_M | S_A | RD),
    [0x63] = MODE(I(ARPL, 0, BASE, Ew | RW, Gw | RD), I(MOVSX, 0, BASE, Gv | WR, K_E | S_SX | RD)),
    [0x68] = I(PUSH, T_D64, BASE, Iz | RD),
    [0x69] = I(IMUL2, 0, BASE, Gv | WR, Ev | RD, Iz | RD),
    [0x6a] = I(PUSH, T_D64, BASE, Isb | RD),
    [0x6b] = I(IMUL2, 0, BASE, Gv | WR, Ev | RD, Isb | RD),
    [0x6c] = I0(INS, T_REP | T_B, BASE),
    [0x6d] = I0(INS, T_REP | T_IGNW, BASE),
    [0x6e] = I0(OUTS, T_REP | T_B, BASE),
    [0x6f] = I0(OUTS, T_REP | T_IGNW, BASE),
    EIGHT(0x70, I(JCC, T_F64 | ENDS, BASE, Jb | RD)),
    EIGHT(0x78, I(JCC, T_F64 | ENDS, BASE, Jb | RD)),

    [0x80] = GROUP1(T_B, Eb, Ib | RD),
    [0x81] = GROUP1(0, Ev, Iz | RD),
    [0x82] = GROUP1(T_B | T_I64, Eb, Ib | RD),
    [0x83] = GROUP1(0, Ev, Isb | RD),
    [0x84] = I(TEST, T_B, BASE, Eb | RD, Gb | RD),
    [0x85] = I(TEST, 0, BASE, Ev | RD, Gv | RD),
    [0x86] = I(XCHG, T_B | LOCKED, BASE, Eb | RW, Gb | RW),
    [0x87] = I(XCHG, LOCKED, BASE, Ev | RW, Gv | RW),
    [0x88] = I(MOV, T_B, BASE, Eb | WR, Gb | RD),
    [0x89] = I(MOV, 0, BASE, Ev | WR, Gv | RD),
    [0x8a] = I(MOV, T_B, BASE, Gb | WR, Eb | RD),
    [0x8b] = I(MOV, 0, BASE, Gv | WR, Ev | RD),
    [0x8c] = I(MOV_FROM_SEG, 0, BASE, Emw | WR, Sw | RD),
    [0x8d] = I(LEA, 0, BASE, Gv | WR, Mv),
    [0x8e] = I(MOV_TO_SEG, ENDS, BASE, Sw | WR, Ew | RD),
    [0x8f] = REG(I(POP, T_D64, BASE, Ev | WR), UD, UD, UD, UD, UD, UD, UD), /* others: XOP */

    EIGHT(0x90, I(XCHG, 0, BASE, Zv | RW, Av | RW)), /* 90h: NOP, PAUSE; the decoder looks */
    [0x98] = I0(CBW, 0, BASE),
    [0x99] = I0(CWD, 0, BASE),
    [0x9a] = I(CALL_FAR, T_I64 | ENDS, BASE, K_FAR | S_P | RD),
    [0x9b] = I0(FWAIT, 0, FPU),
    [0x9c] = I0(PUSHF, T_D64, BASE),
    [0x9d] = I0(POPF, T_D64 | ENDS, BASE),
    [0x9e] = I0(SAHF, 0, BASE),
    [0x9f] = I0(LAHF, 0, BASE),
    [0xa0] = I(MOV, T_B, BASE, Ab | WR, Ob | RD),
    [0xa1] = I(MOV, 0, BASE, Av | WR, Ov | RD),
    [0xa2] = I(MOV, T_B, BASE, Ob | WR, Ab | RD),
    [0xa3] = I(MOV, 0, BASE, Ov | WR, Av | RD),
    [0xa4] = I0(MOVS, T_REP | T_B, BASE),
    [0xa5] = I0(MOVS, T_REP, BASE),
    [0xa6] = I0(CMPS, T_REP | T_B, BASE),
    [0xa7] = I0(CMPS, T_REP, BASE),
    [0xa8] = I(TEST, T_B, BASE, Ab | RD, Ib | RD),
    [0xa9] = I(TEST, 0, BASE, Av | RD, Iz | RD),
    [0xaa] = I0(STOS, T_REP | T_B, BASE),
    [0xab] = I0(STOS, T_REP, BASE),
    [0xac] = I0(LODS, T_REP | T_B, BASE),
    [0xad] = I0(LODS, T_REP, BASE),
    [0xae] = I0(SCAS, T_REP | T_B, BASE),
    [0xaf] = I0(SCAS, T_REP, BASE),
    EIGHT(0xb0, I(MOV, T_B, BASE, Zb | WR, Ib | RD)),
    EIGHT(0xb8, I(MOV, 0, BASE, Zv | WR, Iv | RD)),

    [0xc0] = GROUP2(T_B, Eb, Ib | RD),
    [0xc1] = GROUP2(0, Ev, Ib | RD),
    [0xc2] = I(RET, T_F64 | ENDS, BASE, Iw | RD),
    [0xc3] = I0(RET, T_F64 | ENDS, BASE),
    [0xc4] = I(LOADFAR, T_I64 | ENDS, BASE, Gv | WR, K_M | S_P | RD, K_SES | S_2 | WR),
    [0xc5] = I(LOADFAR, T_I64 | ENDS, BASE, Gv | WR, K_M | S_P | RD, K_SDS | S_2 | WR),
    [0xc6] = REG(I(MOV, T_B, BASE, Eb | WR, Ib | RD), UD, UD, UD, UD, UD, UD, UD),
    [0xc7] = REG(I(MOV, 0, BASE, Ev | WR, Iz | RD), UD, UD, UD, UD, UD, UD, UD),
    [0xc8] = I(ENTER, T_D64, BASE, Iw | RD), /* the level byte: the decoder */
    [0xc9] = I0(LEAVE, T_D64, BASE),
    [0xca] = I(RETF, ENDS, BASE, Iw | RD),
    [0xcb] = I0(RETF, ENDS, BASE),
    [0xcc] = I0(INT3, ENDS, BASE),
    [0xcd] = I(INT, ENDS, BASE, Ib | RD),
    [0xce] = I0(INTO, T_I64 | ENDS, BASE),
    [0xcf] = I0(IRET, ENDS, BASE),

    [0xd0] = GROUP2(T_B, Eb, One | RD),
    [0xd1] = GROUP2(0, Ev, One | RD),
    [0xd2] = GROUP2(T_B, Eb, CL | RD),
    [0xd3] = GROUP2(0, Ev, CL | RD),
    [0xd4] = I(AAM, T_I64, BASE, Ib | RD),
    [0xd5] = I(AAD, T_I64, BASE, Ib | RD),
    [0xd6] = I0(SALC, T_I64, BASE),
    [0xd7] = I0(XLAT, 0, BASE),
    EIGHT(0xd8, { .op = BY_X87 }),

    [0xe0] = I(LOOPNE, T_F64 | ENDS, BASE, Jb | RD),
    [0xe1] = I(LOOPE, T_F64 | ENDS, BASE, Jb | RD),
    [0xe2] = I(LOOP, T_F64 | ENDS, BASE, Jb | RD),
    [0xe3] = I(JCXZ, T_F64 | ENDS, BASE, Jb | RD),
    [0xe4] = I(IN, T_B, BASE, Ab | WR, Ib | RD),
    [0xe5] = I(IN, T_IGNW, BASE, Av | WR, Ib | RD),
    [0xe6] = I(OUT, T_B, BASE, Ib | RD, Ab | RD),
    [0xe7] = I(OUT, T_IGNW, BASE, Ib | RD, Av | RD),
    [0xe8] = I(CALL_REL, T_F64 | ENDS, BASE, Jz | RD),
    [0xe9] = I(JMP_REL, T_F64 | ENDS, BASE, Jz | RD),
    [0xea] = I(JMP_FAR, T_I64 | ENDS, BASE, K_FAR | S_P | RD),
    [0xeb] = I(JMP_REL, T_F64 | ENDS, BASE, Jb | RD),
    [0xec] = I(IN, T_B, BASE, Ab | WR, DX | RD),
    [0xed] = I(IN, T_IGNW, BASE, Av | WR, DX | RD),
    [0xee] = I(OUT, T_B, BASE, DX | RD, Ab | RD),
    [0xef] = I(OUT, T_IGNW, BASE, DX | RD, Av | RD),

    [0xf1] = I0(INT1, ENDS, BASE),
    [0xf4] = I0(HLT, ENDS | PRIV, BASE),
    [0xf5] = I0(CMC, 0, BASE),
    [0xf6] = GROUP3(T_B, Eb, Ib | RD),
    [0xf7] = GROUP3(0, Ev, Iz | RD),
    [0xf8] = I0(CLC, 0, BASE),
    [0xf9] = I0(STC, 0, BASE),
    [0xfa] = I0(CLI, 0, BASE),
    [0xfb] = I0(STI, ENDS, BASE), /* an interrupt may be waiting */
    [0xfc] = I0(CLD, 0, BASE),
    [0xfd] = I0(STD, 0, BASE),
    [0xfe] = REG(I(INC, T_B | LOCKED, BASE, Eb | RW), I(DEC, T_B | LOCKED, BASE, Eb | RW),
                 UD, UD, UD, UD, UD, UD),
    [0xff] = REG(I(INC, LOCKED, BASE, Ev | RW), I(DEC, LOCKED, BASE, Ev | RW),
                 I(CALL_IND, T_F64 | ENDS, BASE, Ev | RD),
                 I(CALL_FAR, ENDS, BASE, K_M | S_P | RD),
                 I(JMP_IND, T_F64 | ENDS, BASE, Ev | RD),
                 I(JMP_FAR, ENDS, BASE, K_M | S_P | RD),
                 I(PUSH, T_D64, BASE, Ev | RD), UD),
};
