/*
 * tab_int.c: integer, x87 and control-flow encodings of 64-bit mode, user mode only.
 * SDM volume 2; undefined flags from the instruction pages.
 */
#include "enc.h"

#include "accel-soft/x86/dec.h"

#define LOGIC AF
#define ROW(c, p, m, e, s, fo, ms, im, fx, ft, un, fl)                                             \
    { .cls = CLS_##c, .pp = p, .map = m, .ext = e, OPS(s), .form = FORM_##fo, .msz = ms,           \
      .imm = IMM_##im, .fix = FIX_##fx, .feature = FEAT_##ft, .undef = un, .flags = fl }

const struct row rows_int[] = {
    /* ADD ADC SBB SUB, CMP; then OR AND XOR with AF undefined */
    ROW(ALU, 0, 0, 8, "\x00\x10\x18\x28", RM, M_OP, NONE, NONE, BASE, 0, F_B | F_LOCK),
    ROW(ALU, 0, 0, 8, "\x01\x11\x19\x29", RM, M_OP, NONE, NONE, BASE, 0, F_V | F_LOCK),
    ROW(ALU, 0, 0, 8, "\x38\x02\x12\x1a\x2a\x3a", RM, M_OP, NONE, NONE, BASE, 0, F_B),
    ROW(ALU, 0, 0, 8, "\x39\x03\x13\x1b\x2b\x3b", RM, M_OP, NONE, NONE, BASE, 0, F_V),
    ROW(ALU, 0, 0, 8, "\x08\x20\x30", RM, M_OP, NONE, NONE, BASE, LOGIC, F_B | F_LOCK),
    ROW(ALU, 0, 0, 8, "\x09\x21\x31", RM, M_OP, NONE, NONE, BASE, LOGIC, F_V | F_LOCK),
    ROW(ALU, 0, 0, 8, "\x0a\x22\x32\x84", RM, M_OP, NONE, NONE, BASE, LOGIC, F_B),
    ROW(ALU, 0, 0, 8, "\x0b\x23\x33\x85", RM, M_OP, NONE, NONE, BASE, LOGIC, F_V),
    ROW(ALU, 0, 0, 8, "\x04\x14\x1c\x2c\x3c", NONE, M_OP, B, NONE, BASE, 0, F_B),
    ROW(ALU, 0, 0, 8, "\x05\x15\x1d\x2d\x3d", NONE, M_OP, Z, NONE, BASE, 0, F_V),
    ROW(ALU, 0, 0, 8, "\x0c\x24\x34\xa8", NONE, M_OP, B, NONE, BASE, LOGIC, F_B),
    ROW(ALU, 0, 0, 8, "\x0d\x25\x35\xa9", NONE, M_OP, Z, NONE, BASE, LOGIC, F_V),
#define GROUP1(e, un, fl)                                                                          \
    ROW(ALU, 0, 0, e, "\x80", RM, M_OP, B, NONE, BASE, un, F_B | (fl)),                            \
    ROW(ALU, 0, 0, e, "\x81", RM, M_OP, Z, NONE, BASE, un, F_V | (fl)),                            \
    ROW(ALU, 0, 0, e, "\x83", RM, M_OP, B, NONE, BASE, un, F_V | (fl))
    GROUP1(0, 0, F_LOCK), GROUP1(1, AF, F_LOCK), GROUP1(2, 0, F_LOCK), GROUP1(3, 0, F_LOCK),
    GROUP1(4, AF, F_LOCK), GROUP1(5, 0, F_LOCK), GROUP1(6, AF, F_LOCK), GROUP1(7, 0, 0),
    ROW(ALU, 0, 0, 0, "\xf6", RM, M_OP, B, NONE, BASE, AF, F_B),
    ROW(ALU, 0, 0, 0, "\xf7", RM, M_OP, Z, NONE, BASE, AF, F_V),
    ROW(ALU, 0, 0, 0, "\xfe", RM, M_OP, NONE, NONE, BASE, 0, F_B | F_LOCK),
    ROW(ALU, 0, 0, 0, "\xff", RM, M_OP, NONE, NONE, BASE, 0, F_V | F_LOCK),
    ROW(ALU, 0, 0, 1, "\xfe", RM, M_OP, NONE, NONE, BASE, 0, F_B | F_LOCK),
    ROW(ALU, 0, 0, 1, "\xff", RM, M_OP, NONE, NONE, BASE, 0, F_V | F_LOCK),
    ROW(ALU, 0, 0, 2, "\xf6", RM, M_OP, NONE, NONE, BASE, 0, F_B | F_LOCK),
    ROW(ALU, 0, 0, 2, "\xf7", RM, M_OP, NONE, NONE, BASE, 0, F_V | F_LOCK),
    ROW(ALU, 0, 0, 3, "\xf6", RM, M_OP, NONE, NONE, BASE, 0, F_B | F_LOCK),
    ROW(ALU, 0, 0, 3, "\xf7", RM, M_OP, NONE, NONE, BASE, 0, F_V | F_LOCK),
    ROW(ALU, 0x66, 2, 8, "\xf6", RM, M_OP, NONE, NONE, ADX, 0, F_Y),
    ROW(ALU, 0xf3, 2, 8, "\xf6", RM, M_OP, NONE, NONE, ADX, 0, F_Y),

#define SHIFTS(e)                                                                                  \
    ROW(SHIFT, 0, 0, e, "\xc0", RM, M_OP, B, SHIFT, BASE, 0, F_B),                                 \
    ROW(SHIFT, 0, 0, e, "\xc1", RM, M_OP, B, SHIFT, BASE, 0, F_V),                                 \
    ROW(SHIFT, 0, 0, e, "\xd0\xd2", RM, M_OP, NONE, SHIFT, BASE, 0, F_B),                          \
    ROW(SHIFT, 0, 0, e, "\xd1\xd3", RM, M_OP, NONE, SHIFT, BASE, 0, F_V)
    SHIFTS(0), SHIFTS(1), SHIFTS(2), SHIFTS(3), SHIFTS(4), SHIFTS(5), SHIFTS(6), SHIFTS(7),
    ROW(SHIFT, 0, 1, 8, "\xa4\xac", RM, M_OP, B, SHLD, BASE, 0, F_V),
    ROW(SHIFT, 0, 1, 8, "\xa5\xad", RM, M_OP, NONE, SHLD, BASE, 0, F_V),

#define MUL_UNDEF (SF | ZF | AF | PF)
    ROW(MULDIV, 0, 0, 4, "\xf6", RM, M_OP, NONE, NONE, BASE, MUL_UNDEF, F_B),
    ROW(MULDIV, 0, 0, 4, "\xf7", RM, M_OP, NONE, NONE, BASE, MUL_UNDEF, F_V),
    ROW(MULDIV, 0, 0, 5, "\xf6", RM, M_OP, NONE, NONE, BASE, MUL_UNDEF, F_B),
    ROW(MULDIV, 0, 0, 5, "\xf7", RM, M_OP, NONE, NONE, BASE, MUL_UNDEF, F_V),
    ROW(MULDIV, 0, 0, 6, "\xf6", RM, M_OP, NONE, DIV, BASE, ARITH, F_B),
    ROW(MULDIV, 0, 0, 6, "\xf7", RM, M_OP, NONE, DIV, BASE, ARITH, F_V),
    ROW(MULDIV, 0, 0, 7, "\xf6", RM, M_OP, NONE, DIV, BASE, ARITH, F_B),
    ROW(MULDIV, 0, 0, 7, "\xf7", RM, M_OP, NONE, DIV, BASE, ARITH, F_V),
    ROW(MULDIV, 0, 1, 8, "\xaf", RM, M_OP, NONE, NONE, BASE, MUL_UNDEF, F_V),
    ROW(MULDIV, 0, 0, 8, "\x69", RM, M_OP, Z, NONE, BASE, MUL_UNDEF, F_V),
    ROW(MULDIV, 0, 0, 8, "\x6b", RM, M_OP, B, NONE, BASE, MUL_UNDEF, F_V),

#define BMI_VEX (F_Y | F_VEX | F_NDS | F_L0 | F_WW)
#define BT_UNDEF (OF | SF | AF | PF)
    ROW(BIT, 0, 1, 8, "\xa3", RM, M_OP, NONE, BT, BASE, BT_UNDEF, F_V),
    ROW(BIT, 0, 1, 8, "\xab\xb3\xbb", RM, M_OP, NONE, BT, BASE, BT_UNDEF, F_V | F_LOCK),
    ROW(BIT, 0, 1, 4, "\xba", RM, M_OP, B, NONE, BASE, BT_UNDEF, F_V),
    ROW(BIT, 0, 1, 5, "\xba", RM, M_OP, B, NONE, BASE, BT_UNDEF, F_V | F_LOCK),
    ROW(BIT, 0, 1, 6, "\xba", RM, M_OP, B, NONE, BASE, BT_UNDEF, F_V | F_LOCK),
    ROW(BIT, 0, 1, 7, "\xba", RM, M_OP, B, NONE, BASE, BT_UNDEF, F_V | F_LOCK),
    ROW(BIT, 0, 1, 8, "\xbc\xbd", RM, M_OP, NONE, BSF, BASE, ARITH & ~ZF, F_V),
    ROW(BIT, 0xf3, 1, 8, "\xbc", RM, M_OP, NONE, NONE, BMI1, BT_UNDEF, F_V),
    ROW(BIT, 0xf3, 1, 8, "\xbd", RM, M_OP, NONE, NONE, LZCNT, BT_UNDEF, F_V),
    ROW(BIT, 0xf3, 1, 8, "\xb8", RM, M_OP, NONE, NONE, POPCNT, 0, F_V),
    ROW(BIT, 0xf2, 2, 8, "\xf0", RM, 1, NONE, NONE, SSE42, 0, F_Y),
    ROW(BIT, 0xf2, 2, 8, "\xf1", RM, M_OP, NONE, NONE, SSE42, 0, F_V),

    ROW(BMI, 0, 2, 8, "\xf2", RM, M_OP, NONE, NONE, BMI1, AF | PF, BMI_VEX),
    ROW(BMI, 0, 2, 8, "\xf7", RM, M_OP, NONE, NONE, BMI1, AF | SF | PF, BMI_VEX),
    ROW(BMI, 0, 2, 1, "\xf3", RM, M_OP, NONE, NONE, BMI1, AF | PF, BMI_VEX),
    ROW(BMI, 0, 2, 2, "\xf3", RM, M_OP, NONE, NONE, BMI1, AF | PF, BMI_VEX),
    ROW(BMI, 0, 2, 3, "\xf3", RM, M_OP, NONE, NONE, BMI1, AF | PF, BMI_VEX),
    ROW(BMI, 0, 2, 8, "\xf5", RM, M_OP, NONE, NONE, BMI2, AF | PF, BMI_VEX),
    ROW(BMI, 0xf2, 2, 8, "\xf5\xf6\xf7", RM, M_OP, NONE, NONE, BMI2, 0, BMI_VEX),
    ROW(BMI, 0xf3, 2, 8, "\xf5\xf7", RM, M_OP, NONE, NONE, BMI2, 0, BMI_VEX),
    ROW(BMI, 0x66, 2, 8, "\xf7", RM, M_OP, NONE, NONE, BMI2, 0, BMI_VEX),
    ROW(BMI, 0xf2, 3, 8, "\xf0", RM, M_OP, B, NONE, BMI2, 0, F_Y | F_VEX | F_L0 | F_WW),

    ROW(MOVE, 0, 0, 8, "\x88", RM, M_OP, NONE, NONE, BASE, 0, F_B | F_STORE),
    ROW(MOVE, 0, 0, 8, "\x8a", RM, M_OP, NONE, NONE, BASE, 0, F_B),
    ROW(MOVE, 0, 0, 8, "\x89", RM, M_OP, NONE, NONE, BASE, 0, F_V | F_STORE),
    ROW(MOVE, 0, 0, 8, "\x8b", RM, M_OP, NONE, NONE, BASE, 0, F_V),
    ROW(MOVE, 0, 0, 0, "\xc6", RM, M_OP, B, NONE, BASE, 0, F_B | F_STORE),
    ROW(MOVE, 0, 0, 0, "\xc7", RM, M_OP, Z, NONE, BASE, 0, F_V | F_STORE),
    ROW(MOVE, 0, 0, 8, "\xb0", NONE, M_OP, B, NONE, BASE, 0, F_B | F_OPREG),
    ROW(MOVE, 0, 0, 8, "\xb8", NONE, M_OP, V, NONE, BASE, 0, F_V | F_OPREG),
    ROW(MOVE, 0, 0, 8, "\xa0\xa2", NONE, M_OP, MOFFS, NONE, BASE, 0, F_B),
    ROW(MOVE, 0, 0, 8, "\xa1\xa3", NONE, M_OP, MOFFS, NONE, BASE, 0, F_V),
    ROW(MOVE, 0, 1, 8, "\xb6\xbe", RM, 1, NONE, NONE, BASE, 0, F_V),
    ROW(MOVE, 0, 1, 8, "\xb7\xbf", RM, 2, NONE, NONE, BASE, 0, F_V),
    ROW(MOVE, 0, 0, 8, "\x63", RM, 4, NONE, NONE, BASE, 0, F_Y),
    ROW(MOVE, 0, 0, 8, "\x8d", M, M_OP, NONE, LEA, BASE, 0, F_V),
    ROW(MOVE, 0, 0, 8, "\x86", RM, M_OP, NONE, NONE, BASE, 0, F_B | F_LOCK),
    ROW(MOVE, 0, 0, 8, "\x87", RM, M_OP, NONE, NONE, BASE, 0, F_V | F_LOCK),
    ROW(MOVE, 0, 0, 8, "\x90", NONE, M_OP, NONE, NONE, BASE, 0, F_V | F_OPREG),
    ROW(MOVE, 0, 1, 8, "\x40", RM, M_OP, NONE, NONE, BASE, 0, F_V | F_CC),
    ROW(MOVE, 0, 1, 8, "\x90", RM, 1, NONE, NONE, BASE, 0, F_B | F_CC | F_STORE),
    ROW(MOVE, 0, 1, 8, "\xc8", NONE, M_OP, NONE, NONE, BASE, 0, F_Y | F_OPREG),
    ROW(MOVE, 0, 0, 8, "\xd7", NONE, M_OP, NONE, XLAT, BASE, 0, 0),
    ROW(MOVE, 0, 0, 8, "\x98\x99", NONE, M_OP, NONE, NONE, BASE, 0, F_V),
    ROW(MOVE, 0, 0, 8, "\x9e\x9f\xf5\xf8\xf9\xfc\xfd", NONE, M_OP, NONE, NONE, BASE, 0, 0),
    ROW(MOVE, 0, 1, 8, "\xc3", M, M_OP, NONE, NONE, SSE2, 0, F_Y | F_STORE),
    ROW(MOVE, 0, 2, 8, "\xf0\xf1", M, M_OP, NONE, NONE, MOVBE, 0, F_V),
    ROW(MOVE, 0, 1, 0, "\x1f", RM, M_OP, NONE, LEA, BASE, 0, F_V),
    ROW(MOVE, 0, 1, 8, "\x18", M, 1, NONE, LEA, BASE, 0, 0),

    ROW(STACK, 0, 0, 8, "\x50\x58", NONE, M_OP, NONE, NONE, BASE, 0, F_D64 | F_OPREG | F_STACK),
    ROW(STACK, 0, 0, 8, "\x68", NONE, M_OP, Z, NONE, BASE, 0, F_D64 | F_STACK),
    ROW(STACK, 0, 0, 8, "\x6a", NONE, M_OP, B, NONE, BASE, 0, F_D64 | F_STACK),
    ROW(STACK, 0, 0, 6, "\xff", RM, M_OP, NONE, NONE, BASE, 0, F_D64 | F_STACK),
    ROW(STACK, 0, 0, 0, "\x8f", RM, M_OP, NONE, NONE, BASE, 0, F_D64 | F_STACK),
    ROW(STACK, 0, 0, 8, "\x9c", NONE, M_OP, NONE, NONE, BASE, 0, F_D64 | F_STACK),
    ROW(STACK, 0, 0, 8, "\x9d", NONE, M_OP, NONE, POPF, BASE, 0, F_D64 | F_STACK),
    ROW(STACK, 0, 0, 8, "\xc8", NONE, M_OP, ENTER, ENTER, BASE, 0, F_D64 | F_STACK),
    ROW(STACK, 0, 0, 8, "\xc9", NONE, M_OP, NONE, LEAVE, BASE, 0, F_D64 | F_STACK),

    ROW(STRING, 0, 0, 8, "\xa4\xa6\xaa\xac\xae", NONE, M_OP, NONE, STRING, BASE, 0, F_B),
    ROW(STRING, 0, 0, 8, "\xa5\xa7\xab\xad\xaf", NONE, M_OP, NONE, STRING, BASE, 0, F_V),

    ROW(FLOW, 0, 0, 8, "\x70", NONE, M_OP, REL8, NONE, BASE, 0, F_CC),
    ROW(FLOW, 0, 1, 8, "\x80", NONE, M_OP, REL32, NONE, BASE, 0, F_CC),
    ROW(FLOW, 0, 0, 8, "\xeb", NONE, M_OP, REL8, NONE, BASE, 0, 0),
    ROW(FLOW, 0, 0, 8, "\xe9", NONE, M_OP, REL32, NONE, BASE, 0, 0),
    ROW(FLOW, 0, 0, 8, "\xe8", NONE, M_OP, REL32, NONE, BASE, 0, F_STACK),
    ROW(FLOW, 0, 0, 8, "\xe0\xe1\xe2\xe3", NONE, M_OP, REL8, LOOP, BASE, 0, 0),
    ROW(FLOW, 0, 0, 2, "\xff", RM, 8, NONE, JMP_IND, BASE, 0, F_Q | F_STACK),
    ROW(FLOW, 0, 0, 4, "\xff", RM, 8, NONE, JMP_IND, BASE, 0, F_Q),
    ROW(FLOW, 0, 0, 8, "\xc3", NONE, M_OP, NONE, RET, BASE, 0, F_STACK),
    ROW(FLOW, 0, 0, 8, "\xc2", NONE, M_OP, W, RET, BASE, 0, F_STACK),

    ROW(ATOMIC, 0, 1, 8, "\xb0", RM, M_OP, NONE, CMPXCHG, BASE, 0, F_B | F_LOCK),
    ROW(ATOMIC, 0, 1, 8, "\xb1", RM, M_OP, NONE, CMPXCHG, BASE, 0, F_V | F_LOCK),
    ROW(ATOMIC, 0, 1, 8, "\xc0", RM, M_OP, NONE, NONE, BASE, 0, F_B | F_LOCK),
    ROW(ATOMIC, 0, 1, 8, "\xc1", RM, M_OP, NONE, NONE, BASE, 0, F_V | F_LOCK),
    ROW(ATOMIC, 0, 1, 1, "\xc7", M, 16, NONE, CMPXCHG8B, CX16, 0, F_Y | F_LOCK),

    /* x87: memory forms by size, register forms by modrm = C0 + 8 * ext + i */
#define X87(e, o, ms) ROW(X87, 0, 0, e, o, M, ms, NONE, X87, FPU, 0, 0)
#define X87R(e, o) ROW(X87, 0, 0, e, o, R, 0, NONE, X87, FPU, 0, 0)
#define X87ALL(o, ms)                                                                              \
    X87(0, o, ms), X87(1, o, ms), X87(2, o, ms), X87(3, o, ms), X87(4, o, ms), X87(5, o, ms),      \
    X87(6, o, ms), X87(7, o, ms)
    X87ALL("\xd8", 4), X87ALL("\xda", 4), X87ALL("\xdc", 8), X87ALL("\xde", 2),
    X87(0, "\xd9", 4), X87(2, "\xd9", 4), X87(3, "\xd9", 4), X87(5, "\xd9", 2), X87(7, "\xd9", 2),
    X87(0, "\xdb", 4), X87(1, "\xdb", 4), X87(2, "\xdb", 4), X87(3, "\xdb", 4), X87(5, "\xdb", 10),
    X87(7, "\xdb", 10), X87(0, "\xdd", 8), X87(1, "\xdd", 8), X87(2, "\xdd", 8), X87(3, "\xdd", 8),
    X87(7, "\xdd", 2), X87(0, "\xdf", 2), X87(1, "\xdf", 2), X87(2, "\xdf", 2), X87(3, "\xdf", 2),
    X87(4, "\xdf", 10), X87(5, "\xdf", 8), X87(6, "\xdf", 10), X87(7, "\xdf", 8),
    ROW(X87, 0, 0, 4, "\xd9", M, 28, NONE, X87ENV, FPU, 0, 0),
    ROW(X87, 0, 0, 6, "\xd9", M, 28, NONE, X87ENV, FPU, 0, 0),
    ROW(X87, 0, 0, 4, "\xdd", M, 108, NONE, X87ENV, FPU, 0, 0),
    ROW(X87, 0, 0, 6, "\xdd", M, 108, NONE, X87ENV, FPU, 0, 0),
    X87R(0, "\xd8\xd9\xda\xdb\xdc\xdd\xde"), X87R(1, "\xd8\xd9\xda\xdb\xdc\xde"),
    X87R(2, "\xd8\xda\xdb\xdd"), X87R(3, "\xd8\xda\xdb\xdd"),
    X87R(4, "\xd8\xd9\xdb\xdc\xdd\xde\xdf"),
    X87R(5, "\xd8\xd9\xda\xdb\xdc\xdd\xde\xdf"), X87R(6, "\xd8\xd9\xdb\xdc\xde\xdf"),
    X87R(7, "\xd8\xd9\xdc\xde"),
    ROW(X87, 0, 0, 8, "\x9b", NONE, 0, NONE, NONE, FPU, 0, 0),
};
const unsigned rows_int_count = sizeof rows_int / sizeof rows_int[0];
