/*
 * dec_x87.c: which encodings D8..DF are instructions and what their operands are. What they do is
 * left to the x87 unit, which starts from opcode and ModRM. SDM volume 2, A.5; the undocumented
 * aliases (FSTP1, FCOM2, FXCH4, FFREEP, ...) execute on all processors and are taken as defined.
 */
#include "dec_int.h"

#include <stddef.h>

/* The memory operand by opcode and ModRM.reg; 0: undefined. */
static const uint16_t memory[8][8] = {
    { S_4 | RD, S_4 | RD, S_4 | RD, S_4 | RD, S_4 | RD, S_4 | RD, S_4 | RD, S_4 | RD },
    { S_4 | RD, 0, S_4 | WR, S_4 | WR, S_ENV | RD, S_2 | RD, S_ENV | WR, S_2 | WR },
    { S_4 | RD, S_4 | RD, S_4 | RD, S_4 | RD, S_4 | RD, S_4 | RD, S_4 | RD, S_4 | RD },
    { S_4 | RD, S_4 | WR, S_4 | WR, S_4 | WR, 0, S_10 | RD, 0, S_10 | WR },
    { S_8 | RD, S_8 | RD, S_8 | RD, S_8 | RD, S_8 | RD, S_8 | RD, S_8 | RD, S_8 | RD },
    { S_8 | RD, S_8 | WR, S_8 | WR, S_8 | WR, S_SAVE | RD, 0, S_SAVE | WR, S_2 | WR },
    { S_2 | RD, S_2 | RD, S_2 | RD, S_2 | RD, S_2 | RD, S_2 | RD, S_2 | RD, S_2 | RD },
    { S_2 | RD, S_2 | WR, S_2 | WR, S_2 | WR, S_10 | RD, S_8 | RD, S_10 | WR, S_8 | WR },
};

/* Register forms: one bit for each ModRM.rm, by opcode and ModRM.reg. */
static const uint8_t defined[8][8] = {
    { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
    { 0xff, 0xff, 0x01, 0xff, 0x33, 0x7f, 0xff, 0xff },
    { 0xff, 0xff, 0xff, 0xff, 0x00, 0x02, 0x00, 0x00 },
    { 0xff, 0xff, 0xff, 0xff, 0x1f, 0xff, 0xff, 0x00 },
    { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
    { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00 },
    { 0xff, 0xff, 0xff, 0x02, 0xff, 0xff, 0xff, 0xff },
    { 0xff, 0xff, 0xff, 0xff, 0x01, 0xff, 0xff, 0x00 },
};

#define ROW(a, b, c, d, e, f, g, h) \
    { X87_##a, X87_##b, X87_##c, X87_##d, X87_##e, X87_##f, X87_##g, X87_##h }
static const uint8_t registers[8][8] = {
    ROW(0_I, 0_I, CMP, CMP, 0_I, 0_I, 0_I, 0_I),
    ROW(I, XCH, NONE, ST, 0, NONE, NONE, NONE),
    ROW(0_I, 0_I, 0_I, 0_I, NONE, CMP, NONE, NONE),
    ROW(0_I, 0_I, 0_I, 0_I, NONE, CMP, CMP, NONE),
    ROW(I_0, I_0, CMP, CMP, I_0, I_0, I_0, I_0),
    ROW(I, XCH, ST, ST, CMP, CMP, NONE, NONE),
    ROW(I_0, I_0, CMP, CMP, I_0, I_0, I_0, I_0),
    ROW(I, XCH, ST, ST, AX, CMP, CMP, NONE),
};
#undef ROW

bool x86_x87_form(uint8_t opcode, uint8_t modrm, struct x87_form *out)
{
    unsigned op = opcode & 7, reg = (modrm >> 3) & 7;

    *out = (struct x87_form){ .feature = FEAT_FPU };
    if (modrm < 0xc0) {
        out->mem = memory[op][reg];
        if (reg == 1 && (op == 3 || op == 5 || op == 7))
            out->feature = FEAT_SSE3; /* FISTTP */
        return out->mem != 0;
    }
    if (!(defined[op][reg] >> (modrm & 7) & 1))
        return false;
    out->regs = registers[op][reg];
    if ((op == 2 && reg < 4) || (op == 3 && (reg < 4 || reg == 5 || reg == 6)) ||
        (op == 7 && (reg == 5 || reg == 6)))
        out->feature = FEAT_CMOV; /* FCMOVcc, FCOMI and relatives */
    return true;
}
