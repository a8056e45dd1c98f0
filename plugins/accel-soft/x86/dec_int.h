/*
 * dec_int.h: how the decoder's tables are written. Private to dec*.c; users include dec.h only.
 *
 * An opcode map is an array of 256 forms. A form is either one instruction (operands, flags,
 * feature) or a choice: an array of forms selected by a prefix, a ModRM field or the mode. Operands
 * use the letters of SDM volume 2, appendix A.2 where those exist: E, G, M, V, W, ... for where, a
 * size for how much. A vector form serves the legacy and the VEX encoding; T_NDS says that the VEX
 * one has an extra source in VEX.vvvv.
 */
#ifndef SOFT_X86_DEC_INT_H
#define SOFT_X86_DEC_INT_H

#include "dec.h"

/* Where an operand is: bits 0..4 of its description. */
enum {
    K_NONE = 0,
    K_G,   /* ModRM.reg: general register */
    K_E,   /* ModRM.rm: general register or memory */
    K_R,   /* ModRM.rm: general register only */
    K_M,   /* ModRM.rm: memory only */
    K_Z,   /* low bits of the opcode: general register */
    K_B,   /* VEX.vvvv: general register */
    K_A,   /* AL, AX, EAX, RAX */
    K_DX,  /* DX, the port of IN and OUT */
    K_CL,
    K_ONE, /* the constant 1 of the short shifts */
    K_I,   /* immediate */
    K_J,   /* relative target */
    K_FAR, /* selector:offset in the instruction */
    K_O,   /* memory at an absolute offset in the instruction */
    K_S,   /* ModRM.reg: segment register */
    K_SOP, /* opcode bits 5..3: segment register of PUSH, POP */
    K_SES, K_SDS, K_SLO, /* segment of LES, LDS, and of LSS LFS LGS: opcode bits 2..0 */
    K_C,   /* ModRM.reg: control register */
    K_D,   /* ModRM.reg: debug register */
    K_P,   /* ModRM.reg: MMX */
    K_Q,   /* ModRM.rm: MMX or memory */
    K_N,   /* ModRM.rm: MMX only */
    K_V,   /* ModRM.reg: XMM or YMM */
    K_W,   /* ModRM.rm: XMM, YMM or memory */
    K_U,   /* ModRM.rm: XMM or YMM only */
    K_H,   /* VEX.vvvv: XMM or YMM */
    K_L,   /* bits 7..4 of the immediate: XMM or YMM */
    K_VSIB,/* memory with a vector index */
    K_MASK = 31,
};

/* How much: bits 5..9. */
enum {
    S_SHIFT = 5,
#define S(n) ((n) << S_SHIFT)
    S_0 = S(0), S_1 = S(1), S_2 = S(2), S_4 = S(3), S_8 = S(4), S_16 = S(5), S_10 = S(6),
    S_V = S(7),    /* operand size: 2, 4, 8 */
    S_Z = S(8),    /* immediate of 2 or 4 bytes, sign extended */
    S_SB = S(9),   /* immediate byte, sign extended */
    S_Y = S(10),   /* 4, or 8 with REX.W or VEX.W in 64-bit mode; 66h does not count */
    S_X = S(11),   /* 16, or 32 with VEX.L */
    S_XH = S(12), S_XQ = S(13), S_XO = S(14), /* half, quarter, eighth of S_X */
    S_P = S(15),   /* far pointer: operand size and 2 */
    S_S = S(16),   /* pseudo-descriptor: 6, or 10 in 64-bit mode */
    S_A = S(17),   /* BOUND's pair */
    S_MODE = S(18),/* 8 in 64-bit mode, else 4 */
    S_F = S(19),   /* element by VEX.W: 4 or 8 */
    S_DD = S(20),  /* MOVDDUP: 8, or 32 with VEX.L */
    S_MB = S(21),  /* register 4 bytes, memory 1 */
    S_MW = S(22),  /* register 4 bytes, memory 2 */
    S_MWV = S(23), /* register of operand size, memory 2 */
    S_ENV = S(24), /* x87 environment: 14 or 28 */
    S_SAVE = S(25),/* x87 state: 94 or 108 */
    S_CX = S(26),  /* CMPXCHG8B, CMPXCHG16B */
    S_SX = S(27),  /* source of MOVSXD: 2 or 4 */
    S_MASK = S(31),
#undef S
    RD = OPND_READ << 10, WR = OPND_WRITE << 10, RW = RD | WR,
};

enum {
    Eb = K_E | S_1, Ew = K_E | S_2, Ev = K_E | S_V, Ey = K_E | S_Y, Emw = K_E | S_MWV,
    Gb = K_G | S_1, Gw = K_G | S_2, Gd = K_G | S_4, Gv = K_G | S_V, Gy = K_G | S_Y,
    Zb = K_Z | S_1, Zv = K_Z | S_V, By = K_B | S_Y, Ab = K_A | S_1, Av = K_A | S_V,
    Ib = K_I | S_1, Isb = K_I | S_SB, Iw = K_I | S_2, Iz = K_I | S_Z, Iv = K_I | S_V,
    Jb = K_J | S_1, Jz = K_J | S_Z, Mv = K_M | S_V, Mn = K_M | S_0,
    Rv = K_R | S_V, Ry = K_R | S_Y, Rm = K_R | S_MODE, DX = K_DX | S_2, CL = K_CL | S_1,
    One = K_ONE | S_1, Sw = K_S | S_2, Sop = K_SOP | S_2, Ob = K_O | S_1, Ov = K_O | S_V,
    Pq = K_P | S_8, Qq = K_Q | S_8, Qd = K_Q | S_4, Nq = K_N | S_8,
    Vx = K_V | S_X, V1 = K_V | S_16, Hx = K_H | S_X, H1 = K_H | S_16,
    Ux = K_U | S_X, U1 = K_U | S_16,
    Wx = K_W | S_X, W1 = K_W | S_16, W8 = K_W | S_8, W4 = K_W | S_4, W2 = K_W | S_2, Wb = K_W | S_1,
    Wh = K_W | S_XH, Wq = K_W | S_XQ, Wo = K_W | S_XO, Lx = K_L | S_X,
    Mx = K_M | S_X, M8 = K_M | S_8, M16 = K_M | S_16,
};

/*
 * form.flags. The lower half is INSN_... as in dec.h; bits that only the decoder itself sets have
 * another meaning here. INSN_LOCK: LOCK is allowed. INSN_ALIGNED: in the VEX form too; legacy
 * 16-byte operands are aligned unless T_UNALIGNED (SDM volume 1, 14.9).
 */
#define T_OUTPUT (INSN_ALIGNED | INSN_ENDS_BLOCK | INSN_PRIV | INSN_IMPLICIT_XMM0 | \
                  INSN_WRITES_FLAGS | INSN_WRITES_RCX | INSN_FP | INSN_READS_RAX_RDX)
#define T_NP ((uint32_t)INSN_VEX)            /* 66h, F2h and F3h are not allowed */
#define T_UNALIGNED ((uint32_t)INSN_RIP_REL)
#define T_IGN66 ((uint32_t)INSN_SEG_PREFIX)  /* operand size 4 or 8, whatever 66h says */
#define T_IGNW ((uint32_t)INSN_SUPPRESS_ERR) /* REX.W makes it 4: ports are not wider */
#define T_I64 (1u << 16)  /* undefined in 64-bit mode */
#define T_O64 (1u << 17)  /* 64-bit mode only */
#define T_D64 (1u << 18)  /* operand size defaults to 8 in 64-bit mode */
#define T_F64 (1u << 19)  /* operand size is 8 in 64-bit mode, whatever the prefixes */
#define T_NDS (1u << 20)  /* VEX: first source in vvvv, the first operand is only written */
#define T_NDD (1u << 21)  /* VEX: destination in vvvv, the first operand is only read */
#define T_W0 (1u << 22)
#define T_W1 (1u << 23)
#define T_Y (1u << 24)    /* VEX.L may be 1 */
#define T_Y2 (1u << 25)   /* VEX.L may be 1, which needs AVX2 */
#define T_L1 (1u << 26)   /* VEX.L must be 1 */
#define T_LIG (1u << 27)  /* VEX.L is ignored */
#define T_VEX (1u << 28)  /* VEX encoding only */
#define T_B (1u << 29)    /* operand size is 1 */
#define T_REP (1u << 30)  /* F2h and F3h repeat */
#define T_MOD (1u << 31)  /* ModRM.mod is ignored: always a register */

/* Choices: values of form.op beyond the instructions. */
enum {
    BY_PP = OP_COUNT, /* [4]: no prefix, 66h, F3h, F2h */
    BY_REG,           /* [8]: ModRM.reg */
    BY_RM,            /* [8]: ModRM.rm */
    BY_MOD,           /* [2]: memory, register */
    BY_MODE,          /* [2]: 16 and 32-bit, 64-bit */
    BY_VEX,           /* [2]: legacy, VEX */
    BY_X87,           /* dec_x87.c */
};

struct form {
    union {
        uint16_t opnd[4];
        const struct form *sub;
    };
    uint32_t flags;
    uint16_t op;
    uint8_t feature;
    uint8_t vex; /* feature of the VEX encoding; 0: there is none */
};

/* One instruction: I(op, flags, feature, operands), I0 without operands. */
#define I0(o, fl, ft) { .op = OP_##o, .flags = (fl), .feature = FEAT_##ft }
#define I(o, fl, ft, ...) \
    { .opnd = { __VA_ARGS__ }, .op = OP_##o, .flags = (fl), .feature = FEAT_##ft }
/* VEX-encoded only, general registers or vectors. */
#define IV(o, fl, ft, ...) \
    { .opnd = { __VA_ARGS__ }, .op = OP_##o, .flags = (fl) | T_VEX, .vex = FEAT_##ft }
/* Vector instruction: legacy and VEX; legacy only; MMX. */
#define VX(fl, ft, ...) \
    { .opnd = { __VA_ARGS__ }, .op = OP_VEC, .flags = (fl), .feature = FEAT_##ft, .vex = FEAT_AVX }
#define VL(fl, ft, ...) I(VEC, fl, ft, __VA_ARGS__)
#define VV(fl, ft, ...) IV(VEC, fl, ft, __VA_ARGS__)
#define MM(fl, ft, ...) I(MMX, fl, ft, __VA_ARGS__)
#define UD { .op = OP_UD }
#define CHOICE(by, n, ...) { .sub = (const struct form[n]){ __VA_ARGS__ }, .op = (by) }
#define PP(...) CHOICE(BY_PP, 4, __VA_ARGS__)
#define REG(...) CHOICE(BY_REG, 8, __VA_ARGS__)
#define RM(...) CHOICE(BY_RM, 8, __VA_ARGS__)
#define MOD(...) CHOICE(BY_MOD, 2, __VA_ARGS__)
#define MODE(...) CHOICE(BY_MODE, 2, __VA_ARGS__)

extern const struct form x86_map_one[256], x86_map_0f[256], x86_map_0f38[256], x86_map_0f3a[256];

/* x87 (dec_x87.c): description of operands of opcode D8..DF; NULL: undefined. */
struct x87_form {
    uint16_t mem;      /* size and direction of the memory operand */
    uint8_t feature;
    uint8_t regs;      /* enum x87_regs */
};
/* FNSTSW AX; ST0; STi; ST0 op= STi; STi op= ST0; compare; STi = ST0; exchange */
enum x87_regs { X87_NONE, X87_AX, X87_0, X87_I, X87_0_I, X87_I_0, X87_CMP, X87_ST, X87_XCH };
bool x86_x87_form(uint8_t opcode, uint8_t modrm, struct x87_form *out);

/* One decoding on its way. */
struct dec {
    const uint8_t *bytes;
    unsigned pos, end;
    bool short_of_bytes;
    uint8_t bits;
    bool pfx_66, pfx_lock;
    uint8_t pfx_rep;             /* the last of F2h and F3h */
    uint8_t seg;                 /* override, REG_NONE without */
    uint8_t rex_w, rex_r, rex_x, rex_b; /* REX or VEX; r, x, b: 0 or 8 */
    uint8_t mod, reg, rm;
    bool vex, mem, vvvv_used;
    struct x86_insn *in;
};

static inline uint8_t byte(struct dec *d)
{
    if (d->pos < d->end)
        return d->bytes[d->pos++];
    d->short_of_bytes = true;
    return 0;
}

/* A little-endian number of 1, 2, 4 or 8 bytes. */
static inline uint64_t number(struct dec *d, unsigned bytes)
{
    uint64_t val = 0;

    if (bytes > d->end - d->pos) {
        d->short_of_bytes = true;
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++)
        val |= (uint64_t)d->bytes[d->pos + i] << (8 * i);
    d->pos += bytes;
    return val;
}

static inline int64_t sign_extend(uint64_t val, unsigned bytes)
{
    unsigned shift = 64 - 8 * bytes;

    return (int64_t)(val << shift) >> shift;
}

static inline uint64_t immediate(struct dec *d, unsigned bytes)
{
    if (d->in->imm_len == 0)
        d->in->imm_off = (uint8_t)d->pos;
    d->in->imm_len = (uint8_t)(d->in->imm_len + bytes);
    return number(d, bytes);
}

/* dec_opnd.c; false: undefined instruction */
void x86_dec_memory(struct dec *d, bool vsib);
bool x86_dec_operands(struct dec *d, const struct form *f);
bool x86_dec_x87(struct dec *d);

#endif
