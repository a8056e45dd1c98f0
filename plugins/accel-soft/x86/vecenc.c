/*
 * vecenc.c: encodes instructions of vecenc.h. It does not know what they do, nor whether they may.
 * Reference: Intel SDM volume 2, chapter 2.
 */
#include "vecenc.h"

struct code {
    uint8_t *p;
};

static void put1(struct code *c, unsigned byte)
{
    *c->p++ = (uint8_t)byte;
}

/* The general register is the reg field of modrm; else it is the rm field. */
static bool gpr_is_reg(const struct x86_insn *in)
{
    if (in->modrm < 0xc0)
        return true;
    if (in->map != 1)
        return false;
    switch (in->opcode) {
    case 0x50: case 0xd7: case 0xc5: case 0x2c: case 0x2d:
        return true;
    default:
        return false;
    }
}

const struct x86_operand *vec_gpr(const struct x86_insn *in)
{
    for (unsigned i = 0; i < in->operands && i < 4 && !vec_is_pcmpstr(in); i++)
        if (in->opnd[i].kind == OPND_GPR)
            return &in->opnd[i];
    return NULL;
}

const struct x86_operand *vec_mem(const struct x86_insn *in)
{
    for (unsigned i = 0; i < in->operands && i < 4; i++)
        if (in->opnd[i].kind == OPND_MEM)
            return &in->opnd[i];
    return NULL;
}

/* In 16 and 32-bit code VEX.W is ignored where it would choose a 64-bit general register. */
static bool gpr_width_by_w(const struct x86_insn *in)
{
    if (in->map == 1)
        return in->opcode == 0x6e || in->opcode == 0x7e || in->opcode == 0x2a ||
               in->opcode == 0x2c || in->opcode == 0x2d;
    return in->map == 3 && (in->opcode == 0x16 || in->opcode == 0x22);
}

size_t vec_encode(const struct x86_insn *in, const uint8_t *bytes, const struct vec_place *place,
                  uint8_t *out)
{
    struct code c = { out };
    const struct x86_operand *gpr = vec_gpr(in);
    bool mem = in->has_modrm && in->modrm < 0xc0, sib = mem && place->index != VEC_NO_INDEX,
         long_mode = place->bits == 64;
    unsigned reg = in->modrm >> 3 & 7, rm = in->modrm & 7, r = 0, x = 0, b = 0, w;
    if (in->flags & INSN_VEX) { /* R and B as they stand in the bytes, inverted (SDM 2.3.5) */
        const uint8_t *op = bytes + in->opcode_off;
        bool three = in->opcode_off >= 3 && op[-3] == 0xc4;
        if (long_mode) {
            r = !(op[three ? -2 : -1] & 0x80);
            b = three && !(op[-2] & 0x20);
        }
        w = in->vex_w && (long_mode || !gpr_width_by_w(in));
    } else {
        r = in->rex >> 2 & 1;
        b = in->rex & 1;
        w = in->rex >> 3 & 1;
    }
    if (gpr && gpr_is_reg(in)) {
        r = place->gpr >> 3;
        reg = place->gpr & 7;
    } else if (gpr) {
        b = place->gpr >> 3;
        rm = place->gpr & 7;
    }
    if (mem) {
        b = place->base >> 3;
        x = sib ? place->index >> 3 : 0;
        rm = sib ? 4 : place->base & 7;
    }
    if (in->flags & INSN_VEX) {
        unsigned pp = in->pp == 0x66 ? 1 : in->pp == 0xf3 ? 2 : in->pp == 0xf2 ? 3 : 0;
        put1(&c, 0xc4);
        put1(&c, (r ? 0 : 0x80) | (x ? 0 : 0x40) | (b ? 0 : 0x20) | in->map);
        put1(&c, w << 7 | (~(unsigned)in->vex_v & 15) << 3 | (in->vex_l ? 4u : 0) | pp);
    } else {
        if (in->pp)
            put1(&c, in->pp);
        if (r | x | b | w)
            put1(&c, 0x40 | w << 3 | r << 2 | x << 1 | b);
        if (in->map)
            put1(&c, 0x0f);
        if (in->map == 2)
            put1(&c, 0x38);
        if (in->map == 3)
            put1(&c, 0x3a);
    }
    put1(&c, place->opcode);
    if (in->has_modrm)
        put1(&c, (mem ? 0 : 0xc0) | reg << 3 | rm);
    if (sib)
        put1(&c, (place->index & 7) << 3 | (place->base & 7));
    for (unsigned i = 0; i < in->imm_len && i < 2; i++)
        put1(&c, bytes[in->imm_off + i]);
    /* The fourth register of VBLENDV (is4): bit 7 is ignored outside 64-bit mode. */
    if (in->imm_len == 1 && in->operands == 4 && in->opnd[3].kind == OPND_XMM)
        c.p[-1] = (uint8_t)(in->opnd[3].reg << 4 | (c.p[-1] & 15));
    return (size_t)(c.p - out);
}

