/*
 * enc.h: how the tables of encodings are written. A row is a list of opcodes that share prefixes,
 * map and operands; nothing here comes from the decoder under test.
 */
#ifndef NATIVE1_ENC_H
#define NATIVE1_ENC_H

#include "native1.h"

enum form { FORM_NONE, FORM_RM, FORM_R, FORM_M };

/* msz: bytes of the memory operand, or one of these */
enum { M_OP = 0, M_VL = -1, M_HALF = -2, M_QUARTER = -4, M_EIGHTH = -8 };

enum imm {
    IMM_NONE, IMM_B, IMM_Z, IMM_V, IMM_W, IMM_ENTER, IMM_MOFFS, IMM_IS4, IMM_REL8, IMM_REL32
};

enum {
    F_B = 1 << 0,      /* byte operation */
    F_V = 1 << 1,      /* 16, 32, 64 bits */
    F_Y = 1 << 2,      /* 32, 64 bits */
    F_D64 = 1 << 3,    /* 64 bits, or 16 with 66h */
    F_Q = 1 << 4,      /* 64 bits always */
    F_LOCK = 1 << 5,   /* LOCK is allowed with a memory destination */
    F_OPREG = 1 << 6,  /* register in the opcode's low bits */
    F_CC = 1 << 7,     /* condition in the opcode's low bits */
    F_VEX = 1 << 8,    /* VEX encoded */
    F_NDS = 1 << 9,    /* VEX.vvvv names an operand */
    F_L0 = 1 << 10, F_L1 = 1 << 11, F_LIG = 1 << 12,
    F_W0 = 1 << 13, F_W1 = 1 << 14,
    F_ALIGN = 1 << 15, /* memory operand must be aligned */
    F_UNALIGN = 1 << 16, /* packed legacy SSE form that need not be */
    F_STACK = 1 << 17, /* uses RSP */
    F_BOTH = 1 << 20,  /* a legacy and a VEX line */
    F_STORE = 1 << 23, /* memory operand is written only (weights for read-only pages) */
    F_EVEN = 1 << 24,  /* never misaligned: processors differ in what they do then */
    F_LL = F_L0 | F_L1, F_WW = F_W0 | F_W1,
};

enum fix {
    FIX_NONE, FIX_SHIFT, FIX_SHLD, FIX_DIV, FIX_BT, FIX_LEA, FIX_STRING, FIX_POPF, FIX_ENTER,
    FIX_LEAVE, FIX_JMP_IND, FIX_RET, FIX_XLAT, FIX_LOOP, FIX_X87ENV, FIX_MASKMOV, FIX_GATHER,
    FIX_CMPXCHG, FIX_X87, FIX_CMPXCHG8B, FIX_VMASKMOV, FIX_MMX_CVT, FIX_LDMXCSR, FIX_BSF,
    FIX_FXSAVE, FIX_FXRSTOR, FIX_XSAVE, FIX_XRSTOR,
};

/* RFLAGS */
enum { CF = 1, PF = 4, AF = 16, ZF = 64, SF = 128, DF = 1024, OF = 2048,
       ARITH = CF | PF | AF | ZF | SF | OF };

struct row {
    uint8_t cls, pp, map, ext;  /* ext: 0..7 in modrm.reg; 8: an operand */
    const char *ops;
    uint8_t count, form;
    int16_t msz;
    uint8_t imm, fix, feature;  /* feature: enum x86_feature of dec.h; 0: base */
    uint16_t undef;
    uint32_t flags;
};

struct enc {
    const struct row *row;
    uint8_t op;
    bool vex;
    uint8_t feature;
};

#define OPS(s) .ops = (s), .count = sizeof(s) - 1
#define EXT_REG 8

extern const struct row rows_int[], rows_vec[];
extern const unsigned rows_int_count, rows_vec_count;

#endif
