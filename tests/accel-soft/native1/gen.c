/*
 * gen.c: makes instructions out of the tables: prefixes, operands, addressing forms. The registers
 * and memory they then run with are state.c's.
 */
#include "gen.h"

#include "accel-soft/x86/dec.h"

#include <cpuid.h>
#include <string.h>

enum { ENCS_MAX = 4096 };

static struct enc encs[ENCS_MAX];
static unsigned enc_total;
static struct { uint16_t enc[ENCS_MAX]; unsigned count; } by_cls[CLS_COUNT];
static enum cls classes[CLS_COUNT];
static unsigned class_count;

uint64_t rnd(struct rng *r)
{
    uint64_t z = (r->s += 0x9e3779b97f4a7c15); /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* ---- what the host can execute --------------------------------------------------------------- */

static bool host_has(unsigned feature)
{
    unsigned a = 0, b1 = 0, c1 = 0, d1 = 0, b7 = 0, c7 = 0, d7 = 0, ce = 0, t = 0;
    (void)__get_cpuid(1, &a, &b1, &c1, &d1);
    (void)__get_cpuid_count(7, 0, &a, &b7, &c7, &d7);
    (void)__get_cpuid(0x80000001, &a, &t, &ce, &t);
    switch (feature) {
    case FEAT_XSAVE: return c1 & bit_OSXSAVE;
    case FEAT_SSE3: return c1 & bit_SSE3;
    case FEAT_SSSE3: return c1 & bit_SSSE3;
    case FEAT_SSE41: return c1 & bit_SSE4_1;
    case FEAT_SSE42: return c1 & bit_SSE4_2;
    case FEAT_POPCNT: return c1 & bit_POPCNT;
    case FEAT_LZCNT: return ce & bit_LZCNT;
    case FEAT_AES: return c1 & bit_AES;
    case FEAT_PCLMUL: return c1 & bit_PCLMUL;
    case FEAT_MOVBE: return c1 & bit_MOVBE;
    case FEAT_CX16: return c1 & bit_CMPXCHG16B;
    case FEAT_AVX: return c1 & bit_AVX;
    case FEAT_FMA: return c1 & bit_FMA;
    case FEAT_F16C: return c1 & bit_F16C;
    case FEAT_AVX2: return b7 & bit_AVX2;
    case FEAT_BMI1: return b7 & bit_BMI;
    case FEAT_BMI2: return b7 & bit_BMI2;
    case FEAT_ADX: return b7 & bit_ADX;
    case FEAT_SHA: return b7 & bit_SHA;
    case FEAT_VAES: return c7 & bit_VAES;
    case FEAT_VPCLMUL: return c7 & bit_VPCLMULQDQ;
    case FEAT_GFNI: return c7 & bit_GFNI;
    default: return true; /* x86-64 has it */
    }
}

static void add(const struct row *row, uint8_t op, bool vex)
{
    if (enc_total == ENCS_MAX)
        return;
    encs[enc_total] = (struct enc){ .row = row, .op = op, .vex = vex };
    by_cls[enc_cls(&encs[enc_total])].enc[by_cls[enc_cls(&encs[enc_total])].count++] =
        (uint16_t)enc_total;
    enc_total++;
}

static void add_rows(const struct row *rows, unsigned count)
{
    bool vex_ok = host_has(FEAT_AVX2) && host_has(FEAT_AVX);
    for (unsigned i = 0; i < count; i++) {
        const struct row *row = &rows[i];
        if (!host_has(row->feature))
            continue;
        for (unsigned k = 0; k < row->count; k++) {
            uint8_t op = (uint8_t)row->ops[k];
            unsigned n = row->flags & F_CC ? 16 : row->flags & F_OPREG ? 8 : 1;
            for (unsigned j = 0; j < n; j++) {
                if (!(row->flags & F_VEX))
                    add(row, (uint8_t)(op + j), false);
                if ((row->flags & (F_VEX | F_BOTH)) && vex_ok)
                    add(row, (uint8_t)(op + j), true);
            }
        }
    }
}

static const char *const cls_names[CLS_COUNT] = {
    [CLS_ALU] = "alu", [CLS_SHIFT] = "shift", [CLS_MULDIV] = "muldiv", [CLS_BIT] = "bit",
    [CLS_MOVE] = "move", [CLS_STACK] = "stack", [CLS_STRING] = "string", [CLS_FLOW] = "flow",
    [CLS_ATOMIC] = "atomic", [CLS_BMI] = "bmi", [CLS_X87] = "x87", [CLS_MMX] = "mmx",
    [CLS_SSE] = "sse", [CLS_SSE_FP] = "sse-fp", [CLS_AVX] = "avx", [CLS_AVX_FP] = "avx-fp",
    [CLS_FMA] = "fma", [CLS_CRYPTO] = "crypto", [CLS_STATE] = "state",
};

const char *cls_name(enum cls cls)
{
    return cls_names[cls];
}

bool gen_init(const char *only)
{
    add_rows(rows_int, rows_int_count);
    add_rows(rows_vec, rows_vec_count);
    for (unsigned i = 0; i < CLS_COUNT; i++)
        if (by_cls[i].count && (!only || !strcmp(only, cls_names[i])))
            classes[class_count++] = (enum cls)i;
    return class_count > 0;
}

unsigned gen_count(enum cls cls)
{
    return by_cls[cls].count;
}

/* VEX forms of an SSE row are AVX's. */
enum cls enc_cls(const struct enc *e)
{
    if (e->vex && e->row->cls == CLS_SSE)
        return CLS_AVX;
    if (e->vex && e->row->cls == CLS_SSE_FP)
        return CLS_AVX_FP;
    return (enum cls)e->row->cls;
}

/* ---- encoding -------------------------------------------------------------------------------- */

struct out {
    uint8_t *p;
};

static void put(struct out *o, unsigned byte)
{
    *o->p++ = (uint8_t)byte;
}

static void put_n(struct out *o, uint64_t val, unsigned n)
{
    memcpy(o->p, &val, n);
    o->p += n;
}

/* Choose the form of the memory operand: registers, scale, displacement. */
static void choose_mem(struct rng *r, struct test_case *c)
{
    struct mem_form *m = &c->mem;
    m->used = true;
    m->base = m->index = 0xff;
    m->scale = (uint8_t)rnd_below(r, 4);
    m->a32 = one_in(r, 12);
    m->gs = one_in(r, 16);
    m->rip = false;
    bool vsib = c->enc->row->fix == FIX_GATHER;
    unsigned kind = vsib ? 1 : rnd_below(r, 16);
    m->disp_len = one_in(r, 3) ? 0 : one_in(r, 3) ? 4 : 1;
    if (kind >= 12) {
        m->rip = kind >= 14; /* [rip + disp32] or [disp32] */
        m->disp_len = 4;
        return;
    }
    if (kind != 2) {
        do
            m->base = (uint8_t)rnd_below(r, 16);
        while (c->vex_gpr && m->base == 4 && one_in(r, 2));
        if ((m->base & 7) == 5 && !m->disp_len)
            m->disp_len = 1;
    } else {
        m->disp_len = 4; /* [index * scale + disp32] */
    }
    if (kind <= 5) {
        do
            m->index = (uint8_t)rnd_below(r, 16);
        while ((!vsib && m->index == 4) || (!vsib && m->index == m->base));
    }
    /* The register that selects a bit must keep its value: it is not part of the address then. */
    if (c->enc->row->fix == FIX_BT && m->base == c->reg)
        m->base = (m->base ^ 8) | 2;
    if (c->enc->row->fix == FIX_BT && (m->index == c->reg || m->index == m->base))
        m->index = 0xff;
    if (c->enc->row->fix == FIX_BT && m->base == 0xff && m->index == 0xff)
        m->base = c->reg ^ 8;
    unsigned fix = c->enc->row->fix; /* CL is the count, EDX:EAX the component mask */
    if (fix == FIX_SHLD || fix == FIX_XSAVE || fix == FIX_XRSTOR) {
        m->base = m->base <= 2 ? 3 : m->base;
        m->index = m->index <= 2 ? 6 : m->index;
        if (m->index == m->base)
            m->base = 7;
    }
    if ((m->base & 7) == 5 && m->base != 0xff && !m->disp_len)
        m->disp_len = 1;
    m->disp = m->disp_len == 1 ? (int8_t)rnd(r) : m->disp_len ? (int32_t)rnd_below(r, 0x8000) : 0;
    if (kind == 2)
        m->disp &= ~31; /* else an aligned operand could not be reached */
}

/* modrm, sib and displacement */
static void put_mem(struct out *o, const struct mem_form *m, unsigned reg)
{
    unsigned mod = m->disp_len == 1 ? 1 : m->disp_len == 4 ? 2 : 0;
    reg = (reg & 7) << 3;
    if (m->base == 0xff && m->index == 0xff && m->rip) {
        put(o, reg | 5);
    } else if (m->base == 0xff) {
        put(o, reg | 4);
        put(o, (unsigned)m->scale << 6 | (m->index == 0xff ? 4u : m->index & 7u) << 3 | 5);
    } else if (m->index != 0xff || (m->base & 7) == 4) {
        put(o, mod << 6 | reg | 4);
        put(o, (unsigned)m->scale << 6 | (m->index == 0xff ? 4u : m->index & 7u) << 3 |
                   (m->base & 7));
    } else {
        put(o, mod << 6 | reg | (m->base & 7));
    }
    if (m->disp_len == 1)
        put(o, (uint8_t)m->disp);
    else if (m->disp_len == 4)
        put_n(o, (uint32_t)m->disp, 4);
}

static void choose_size(struct rng *r, struct test_case *c)
{
    uint32_t f = c->enc->row->flags;
    if (f & F_B)
        c->opsize = 1;
    else if (f & F_V)
        c->opsize = (uint8_t)(2u << rnd_below(r, 3));
    else if (f & F_Y)
        c->opsize = one_in(r, 2) ? 8 : 4;
    else if (f & F_D64)
        c->opsize = one_in(r, 6) ? 2 : 8;
    else
        c->opsize = 8;
}

static unsigned mem_size(const struct test_case *c)
{
    unsigned vl = c->vex_l ? 32 : 16;
    int msz = c->enc->row->msz;
    return msz == M_OP ? c->opsize : msz > 0 ? (unsigned)msz : vl / (unsigned)-msz;
}

static void put_vex(struct rng *r, struct test_case *c, struct out *o, unsigned reg, unsigned rm)
{
    const struct row *row = c->enc->row;
    const struct mem_form *m = &c->mem;
    unsigned pp = row->pp == 0x66 ? 1 : row->pp == 0xf3 ? 2 : row->pp == 0xf2 ? 3 : 0;
    unsigned b = m->used ? (m->base != 0xff && (m->base & 8)) : rm & 8;
    unsigned x = m->used && m->index != 0xff && (m->index & 8);
    unsigned low = (15u - c->vvvv) << 3 | (c->vex_l ? 4u : 0) | pp;
    if (!b && !x && !c->w && row->map == 1 && one_in(r, 2)) {
        put(o, 0xc5);
        put(o, (reg & 8 ? 0 : 0x80) | low);
        return;
    }
    put(o, 0xc4);
    put(o, (reg & 8 ? 0 : 0x80u) | (x ? 0 : 0x40u) | (b ? 0 : 0x20u) | row->map);
    put(o, (c->w ? 0x80u : 0) | low);
}

static void put_legacy(struct rng *r, struct test_case *c, struct out *o, unsigned reg, unsigned rm)
{
    const struct row *row = c->enc->row;
    const struct mem_form *m = &c->mem;
    if (row->fix == FIX_STRING && one_in(r, 2))
        put(o, one_in(r, 4) ? 0xf2 : 0xf3);
    if (row->pp)
        put(o, row->pp);
    bool vec = row->cls >= CLS_MMX;
    unsigned rex = (reg & 8 ? 4u : 0);
    if (m->used) {
        rex |= m->base != 0xff && (m->base & 8) ? 1 : 0;
        rex |= m->index != 0xff && (m->index & 8) ? 2 : 0;
    } else {
        rex |= rm & 8 ? 1 : 0;
    }
    if (row->flags & F_OPREG)
        rex = one_in(r, 2);
    if (c->w)
        rex |= 8;
    if (rex || (!vec && one_in(r, 4)) || one_in(r, 40))
        put(o, 0x40 | rex);
    c->rex = rex != 0;
    if (row->map)
        put(o, 0x0f);
    if (row->map >= 2)
        put(o, row->map == 2 ? 0x38 : 0x3a);
}

static void put_imm(struct rng *r, struct test_case *c, struct out *o, uint64_t at, uint8_t *base)
{
    uint64_t next, taken = at + SLOT_TAKEN;
    switch (c->enc->row->imm) {
    case IMM_B:
        if (c->enc->row->fix == FIX_SHLD && c->opsize == 2) {
            put(o, rnd_below(r, 17)); /* counts beyond the operand are undefined */
            break;
        }
        put(o, (unsigned)(one_in(r, 2) ? rnd(r) & 0xff : rnd_below(r, 36)));
        break;
    case IMM_IS4:
        put(o, (unsigned)(rnd(r) & 0xff));
        break;
    case IMM_Z:
        put_n(o, rnd_value(r), c->opsize == 2 ? 2 : 4);
        break;
    case IMM_V:
        put_n(o, rnd_value(r), c->opsize);
        break;
    case IMM_W:
        put_n(o, rnd_below(r, 64), 2);
        break;
    case IMM_ENTER:
        put_n(o, rnd_below(r, 256), 2);
        put(o, one_in(r, 2) ? 0 : rnd_below(r, 40));
        break;
    case IMM_MOFFS:
        c->fixed_target = pick_target(r, c, c->opsize);
        put_n(o, c->fixed_target, c->mem.a32 ? 4 : 8);
        break;
    case IMM_REL8:
        next = at + (uint64_t)(o->p + 1 - base);
        put(o, (unsigned)(taken - next) & 0xff);
        break;
    case IMM_REL32:
        next = at + (uint64_t)(o->p + 4 - base);
        put_n(o, taken - next, 4);
        break;
    default:
        break;
    }
}

static unsigned imm_bytes(const struct test_case *c)
{
    switch (c->enc->row->imm) {
    case IMM_B: case IMM_IS4: return 1;
    case IMM_Z: return c->opsize == 2 ? 2 : 4;
    default: return 0;
    }
}

static bool needs_distinct(const struct test_case *c)
{
    return c->enc->row->fix == FIX_GATHER;
}

void gen_insn(struct rng *r, struct test_case *c, uint64_t at)
{
    enum cls cls = classes[rnd_below(r, class_count)];
    memset(c, 0, offsetof(struct test_case, in));
    c->enc = &encs[by_cls[cls].enc[rnd_below(r, by_cls[cls].count)]];
    c->slot = at;
    const struct row *row = c->enc->row;
    struct out o = { c->code };
    choose_size(r, c);
    c->vex_gpr = row->cls == CLS_BMI;
    c->w = c->opsize == 8 && (row->flags & (F_V | F_Y));
    if (c->enc->vex) {
        bool l0 = row->flags & (F_L0 | F_LIG), l1 = row->flags & (F_L1 | F_LIG);
        c->vex_l = l1 && (!l0 || one_in(r, 2));
        bool w0 = row->flags & F_W0, w1 = row->flags & F_W1;
        if (!(row->flags & F_Y))
            c->w = w0 && !w1 ? 0 : w1 && !w0 ? 1 : one_in(r, 2);
        c->vvvv = row->flags & F_NDS ? (uint8_t)rnd_below(r, 16) : 0;
    }
    bool mem = row->form == FORM_M || (row->form == FORM_RM && one_in(r, 2));
    unsigned reg = row->ext == EXT_REG ? rnd_below(r, 16) : row->ext, rm = rnd_below(r, 16);
    if (row->cls == CLS_X87)
        rm &= 7;
    c->reg = (uint8_t)reg;
    c->rm = (uint8_t)rm;
    if (mem)
        choose_mem(r, c);
    while (mem && needs_distinct(c) &&
           (c->mem.index == reg || c->vvvv == reg || c->vvvv == c->mem.index)) {
        c->mem.index = (uint8_t)rnd_below(r, 16);
        c->vvvv = (uint8_t)rnd_below(r, 16);
    }
    if (row->imm == IMM_MOFFS || row->fix == FIX_STRING || row->fix == FIX_XLAT ||
        row->fix == FIX_LOOP || row->fix == FIX_MASKMOV)
        c->mem.a32 = one_in(r, 6);
    c->mem_bytes = row->form != FORM_NONE && !mem && row->fix != FIX_BT ? 0 : (uint16_t)mem_size(c);

    /* prefixes */
    if ((row->flags & F_LOCK) && mem && one_in(r, 4)) {
        put(&o, 0xf0);
        c->lock = true;
    }
    if (c->opsize == 2 && (row->flags & (F_V | F_D64)))
        put(&o, 0x66);
    if (c->mem.a32)
        put(&o, 0x67);
    if (c->mem.gs && mem)
        put(&o, 0x65);
    else if (!c->enc->vex && one_in(r, 30) && row->cls != CLS_FLOW)
        put(&o, 0x3e); /* DS: ignored in 64-bit mode */
    if (c->enc->vex)
        put_vex(r, c, &o, reg, rm);
    else
        put_legacy(r, c, &o, reg, rm);
    put(&o, c->enc->op);
    if (mem && c->mem.base == 0xff && c->mem.index == 0xff) {
        /* the address is part of the encoding */
        c->fixed_target = pick_target(r, c, c->mem_bytes) & 0x7fffffff;
        unsigned left = 5 + imm_bytes(c);
        c->mem.disp = (int32_t)c->fixed_target - (c->mem.gs ? GS_BASE : 0);
        if (c->mem.rip)
            c->mem.disp -= (int32_t)(at + (unsigned)(o.p - c->code) + left);
    }
    if (mem)
        put_mem(&o, &c->mem, reg);
    else if (row->form != FORM_NONE)
        put(&o, 0xc0 | (reg & 7) << 3 | (rm & 7));
    put_imm(r, c, &o, at, c->code);
    c->len = (uint8_t)(o.p - c->code);
}
