/*
 * dec.c: the x86 instruction decoder: bytes in, struct x86_insn out. One pass over the bytes, two
 * levels of tables (dec_tab_*.c). It knows no CPU state: features, privilege and the modes in which
 * VEX or a protected-mode instruction is undefined are the caller's. SDM volume 2, chapter 2.
 *
 * EVEX, XOP, 3DNow! and AMX are undefined here: no CPU model offers them.
 */
#include "dec_int.h"

_Static_assert(BY_X87 < 0x10000, "form.op holds instructions and choices");
_Static_assert(sizeof(struct form) == 16, "four forms in a cache line");

/* ---- prefixes and opcode --------------------------------------------------------------------- */

/* Legacy prefixes in any order, the last of a group counts; REX only right before the opcode. */
static uint8_t prefixes(struct dec *d)
{
    struct x86_insn *in = d->in;
    bool flip_address = false;
    uint8_t op;

    for (;;) {
        op = byte(d);
        switch (op) {
        case 0x66: d->pfx_66 = true; break;
        case 0x67: flip_address = true; break;
        case 0xf0: d->pfx_lock = true; break;
        case 0xf2: case 0xf3: d->pfx_rep = op; break;
        case 0x26: case 0x2e: case 0x36: case 0x3e:
            /* without effect in 64-bit mode, not even on an earlier FS or GS override */
            if (d->bits != 64)
                d->seg = (op >> 3) & 3;
            break;
        case 0x64: d->seg = SEG_FS; break;
        case 0x65: d->seg = SEG_GS; break;
        default:
            if (d->bits == 64 && (op & 0xf0) == 0x40) {
                in->rex = op;
                continue;
            }
            in->addrsize = d->bits == 64 ? (flip_address ? 4 : 8)
                                         : ((d->bits == 32) != flip_address ? 4 : 2);
            return op;
        }
        in->rex = 0; /* a legacy prefix behind it: REX does not count */
    }
}

/* C5 and C4, behind the first byte. SDM volume 2, 2.3.5 */
static bool vex_prefix(struct dec *d, bool three)
{
    static const uint8_t pp[4] = { 0, 0x66, 0xf3, 0xf2 };
    struct x86_insn *in = d->in;
    uint8_t b = byte(d);

    if (d->pfx_66 || d->pfx_lock || d->pfx_rep || in->rex)
        return false;
    d->vex = true;
    d->rex_r = b & 0x80 ? 0 : 8;
    in->map = 1;
    if (three) {
        d->rex_x = b & 0x40 ? 0 : 8;
        d->rex_b = b & 0x20 || d->bits != 64 ? 0 : 8;
        in->map = b & 0x1f;
        b = byte(d);
        in->vex_w = b >> 7;
    }
    in->vex_v = ~(b >> 3) & 15;
    in->vex_l = (b >> 2) & 1;
    in->pp = pp[b & 3];
    d->rex_w = in->vex_w;
    if (in->map < 1 || in->map > 3)
        return false;
    in->opcode_off = (uint8_t)d->pos;
    in->opcode = byte(d);
    return true;
}

/* The opcode behind the prefixes; false: undefined. */
static bool opcode(struct dec *d, uint8_t op)
{
    struct x86_insn *in = d->in;
    bool more = d->pos < d->end;
    bool mod3 = d->bits == 64 || (more && d->bytes[d->pos] >= 0xc0);

    if ((op == 0xc4 || op == 0xc5) && mod3)
        return vex_prefix(d, op == 0xc4);
    if (op == 0x62 && mod3)
        return false; /* EVEX */
    if (in->rex) {
        d->rex_w = (in->rex >> 3) & 1;
        d->rex_r = in->rex & 4 ? 8 : 0;
        d->rex_x = in->rex & 2 ? 8 : 0;
        d->rex_b = in->rex & 1 ? 8 : 0;
    }
    in->opcode_off = (uint8_t)(d->pos - 1);
    in->opcode = op;
    if (op == 0x0f) {
        in->map = 1;
        in->opcode_off = (uint8_t)d->pos;
        in->opcode = byte(d);
        if (in->opcode == 0x38 || in->opcode == 0x3a) {
            in->map = in->opcode == 0x38 ? 2 : 3;
            in->opcode_off = (uint8_t)d->pos;
            in->opcode = byte(d);
        }
    }
    return true;
}

/* One bit for each opcode: a ModRM byte follows. SDM volume 2, tables */
static bool has_modrm(const struct x86_insn *in)
{
    static const uint16_t one[16] = {
        0x0f0f, 0x0f0f, 0x0f0f, 0x0f0f, 0,      0,      0x0a0c, 0,
        0xffff, 0,      0,      0,      0x00f3, 0xff0f, 0,      0xc0c0,
    };
    static const uint16_t two[16] = {
        0x200f, 0xffff, 0xff0f, 0,      0xffff, 0xffff, 0xffff, 0xff7f,
        0,      0xffff, 0xf838, 0xffff, 0x00ff, 0xffff, 0xffff, 0xffff,
    };

    if (in->map >= 2)
        return true;
    return ((in->map ? two : one)[in->opcode >> 4] >> (in->opcode & 15)) & 1;
}

static const struct form *find_form(struct dec *d)
{
    static const struct form *const maps[4] = { x86_map_one, x86_map_0f, x86_map_0f38,
                                                x86_map_0f3a };
    struct x86_insn *in = d->in;
    const struct form *f = &maps[in->map][in->opcode];
    unsigned column;

    for (;;) {
        switch (f->op) {
        case BY_PP:
            if (!d->vex) /* F2h and F3h come before 66h. SDM volume 2, A.2.1 */
                in->pp = d->pfx_rep ? d->pfx_rep : d->pfx_66 ? 0x66 : 0;
            column = in->pp == 0 ? 0 : in->pp == 0x66 ? 1 : in->pp == 0xf3 ? 2 : 3;
            f = &f->sub[column];
            break;
        case BY_REG: f = &f->sub[d->reg & 7]; break;
        case BY_RM: f = &f->sub[d->rm & 7]; break;
        case BY_MOD: f = &f->sub[d->mod == 3]; break;
        case BY_MODE: f = &f->sub[d->bits == 64]; break;
        case BY_VEX: f = &f->sub[d->vex]; break;
        default: return f;
        }
    }
}

/* ---- rules ----------------------------------------------------------------------------------- */

static uint8_t effective_opsize(const struct dec *d, uint32_t flags)
{
    if (flags & T_B)
        return 1;
    if (d->vex)
        return d->rex_w && d->bits == 64 ? 8 : 4;
    if (d->bits != 64)
        return flags & (T_MOD | T_IGN66) || (d->bits == 32) != d->pfx_66 ? 4 : 2;
    if (flags & T_F64 || d->rex_w)
        return flags & T_IGNW ? 4 : 8;
    if (d->pfx_66 && !(flags & T_IGN66))
        return 2;
    return flags & T_D64 ? 8 : 4;
}

/* Which CPUID feature the VEX encoding needs, 0: it is undefined. */
static uint8_t vex_feature(const struct dec *d, const struct form *f)
{
    const struct x86_insn *in = d->in;

    if (f->flags & T_W0 ? in->vex_w : f->flags & T_W1 && !in->vex_w)
        return 0;
    if (!in->vex_l)
        return f->flags & T_L1 ? 0 : f->vex;
    if (f->flags & T_Y2)
        return FEAT_AVX2;
    if (!(f->flags & (T_Y | T_L1 | T_LIG)))
        return 0;
    return f->vex == FEAT_AES ? FEAT_VAES : f->vex == FEAT_PCLMUL ? FEAT_VPCLMUL : f->vex;
}

/* Prefixes and mode against the form; sets the feature. */
static bool allowed(struct dec *d, const struct form *f)
{
    struct x86_insn *in = d->in;

    if (f->flags & (d->bits == 64 ? T_I64 : T_O64))
        return false;
    if (f->flags & T_NP && (d->pfx_66 || d->pfx_rep || in->pp))
        return false;
    if (d->vex) {
        in->feature = vex_feature(d, f);
        in->flags |= INSN_VEX;
        return in->feature != 0;
    }
    in->feature = f->feature;
    if (d->pfx_lock) {
        if (!(f->flags & INSN_LOCK) || !d->mem)
            return false;
        in->flags |= INSN_LOCK;
    }
    return !(f->flags & T_VEX);
}

/* What one table row cannot say. */
static bool special(struct dec *d, const struct form *f)
{
    struct x86_insn *in = d->in;

    switch (in->op) {
    case OP_XCHG: /* 90h without REX.B exchanges nothing: NOP, or PAUSE with F3h */
        if (in->map == 0 && in->opcode == 0x90 && !d->rex_b) {
            in->op = d->pfx_rep == 0xf3 ? OP_PAUSE : OP_NOP;
            in->operands = 0;
        }
        return true;
    case OP_JCC: case OP_SETCC: case OP_CMOV: in->cc = in->opcode & 15; return true;
    case OP_ENTER: in->imm2 = immediate(d, 1); return true;
    case OP_LAHF: case OP_SAHF:
        in->feature = d->bits == 64 ? FEAT_LAHF64 : FEAT_BASE;
        return true;
    case OP_CMPXCHG8B:
        if (in->opsize == 8) {
            in->op = OP_CMPXCHG16B;
            in->feature = FEAT_CX16;
            in->flags |= INSN_ALIGNED;
        }
        return true;
    case OP_VGATHER: /* qword indices, dword elements: half a register. SDM volume 2, VGATHERQPS */
        if (in->opcode & 1 && !in->vex_w)
            in->opnd[0].size = in->opnd[2].size = 16;
        return in->opnd[0].reg != in->opnd[2].reg && in->opnd[0].reg != in->index &&
               in->opnd[2].reg != in->index;
    case OP_VEC: /* SDM volume 1, 14.9: legacy 16-byte operands are aligned */
        if (d->mem && !d->vex && !(f->flags & T_UNALIGNED))
            for (unsigned i = 0; i < in->operands; i++)
                if (in->opnd[i].kind == OPND_MEM && in->opnd[i].size == 16)
                    in->flags |= INSN_ALIGNED;
        return true;
    default: return true;
    }
}

static bool instruction(struct dec *d)
{
    struct x86_insn *in = d->in;
    const struct form *f;
    uint8_t op = prefixes(d);

    if (d->short_of_bytes)
        return true;
    if (!opcode(d, op))
        return false;
    in->has_modrm = has_modrm(in);
    if (in->has_modrm) {
        in->modrm_off = (uint8_t)d->pos;
        in->modrm = byte(d);
        d->mod = in->modrm >> 6;
        d->reg = ((in->modrm >> 3) & 7) | d->rex_r;
        d->rm = in->modrm & 7;
    }
    if (d->short_of_bytes)
        return true;
    f = find_form(d);
    if (f->op == OP_UD)
        return false;
    if (in->has_modrm && d->mod != 3 && !(f->flags & T_MOD)) {
        bool vsib = f->op == OP_VGATHER;

        if (vsib && (d->rm != 4 || in->addrsize == 2))
            return false;
        x86_dec_memory(d, vsib);
    }
    in->opsize = effective_opsize(d, f->flags);
    if (f->op == BY_X87)
        return !d->pfx_lock && x86_dec_x87(d);
    in->op = f->op;
    in->flags |= (uint16_t)(f->flags & T_OUTPUT);
    if (!d->mem)
        in->flags &= (uint16_t)~INSN_ALIGNED;
    if (!allowed(d, f))
        return false;
    if (f->flags & T_REP)
        in->rep = d->pfx_rep;
    if (!x86_dec_operands(d, f) || !special(d, f))
        return false;
    if (!d->vex)
        return true;
    if (!d->vvvv_used)
        return in->vex_v == 0; /* 1111b, not inverted */
    if (d->bits != 64)
        in->vex_v &= 7; /* SDM volume 2, 2.3.5.6: only 64-bit mode has registers 8 to 15 */
    return true;
}

enum x86_dec_result x86_decode(const uint8_t *bytes, unsigned n, struct x86_dec_mode mode,
                               struct x86_insn *out)
{
    struct dec d = { .bytes = bytes, .end = n < 15 ? n : 15, .bits = mode.bits, .seg = REG_NONE,
                     .in = out };
    bool defined;

    *out = (struct x86_insn){ .base = REG_NONE, .index = REG_NONE, .scale = 1, .seg = SEG_DS };
    defined = instruction(&d);
    if (d.seg != REG_NONE) {
        out->seg = d.seg;
        out->flags |= INSN_SEG_PREFIX;
    }
    out->len = (uint8_t)d.pos;
    if (d.short_of_bytes)
        return n >= 15 ? DEC_LONG : DEC_MORE;
    if (!defined) {
        out->op = OP_UD;
        return DEC_UD;
    }
    return DEC_OK;
}
