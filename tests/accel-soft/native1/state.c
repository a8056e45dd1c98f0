/*
 * state.c: the registers and memory that an instruction runs with: values weighted towards the
 * places where results change, addresses that mostly work and sometimes fault in every way.
 */
#include "gen.h"

#include <string.h>

uint64_t rnd_value(struct rng *r)
{
    static const uint64_t edge[] = {
        0, 1, 2, 3, 7, 8, 0x7f, 0x80, 0x81, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000,
        0x7fffffff,
        0x80000000, 0x80000001, 0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000,
        0x8000000000000001, 0xffffffffffffffff, 0xfffffffffffffffe, 0xffffffff80000000,
        0xffffffffffffff80, 0xffffffffffff8000, 0x0f, 0x10, 0x99, 0x9a, 0x5555555555555555,
        0xaaaaaaaaaaaaaaaa,
    };
    uint64_t v = rnd(r);
    switch (rnd_below(r, 8)) {
    case 0: case 1: return edge[rnd_below(r, sizeof edge / sizeof edge[0])];
    case 2: return 1ull << (v & 63);
    case 3: return (1ull << (v & 63)) - 1;
    case 4: return v >> (v & 63);
    case 5: return (uint32_t)v;
    default: return v;
    }
}

/* ---- vectors and floating point -------------------------------------------------------------- */

static uint32_t rnd_f32(struct rng *r)
{
    uint32_t v = (uint32_t)rnd(r), sign = v & 0x80000000;
    switch (rnd_below(r, 12)) {
    case 0: return sign;
    case 1: return sign | 0x7f800000;
    case 2: return sign | 0x7fc00000 | (v & 0x3fffff);
    case 3: return sign | 0x7f800000 | (v & 0x3fffff);
    case 4: return v & 0x807fffff;
    case 5: return sign | 0x3f800000;
    case 6: return sign | (0x7f0u - (v & 3)) << 20 | (v & 0xfffff);
    case 7: return sign | 0x00800000 | (v & 7);
    case 8: return sign | (0x4e000000u + (v & 0x1ffffff)); /* about 2^31 */
    case 9: return sign | (0x3f000000u + (v & 0xffffff));
    default: return v;
    }
}

static uint64_t rnd_f64(struct rng *r)
{
    uint64_t v = rnd(r), sign = v & 1ull << 63;
    switch (rnd_below(r, 12)) {
    case 0: return sign;
    case 1: return sign | 0x7ffull << 52;
    case 2: return sign | 0x7ff8ull << 48 | (v & 0x7ffffffffffff);
    case 3: return sign | 0x7ffull << 52 | (v & 0x7ffffffffffff);
    case 4: return v & 0x800fffffffffffff;
    case 5: return sign | 0x3ffull << 52;
    case 6: return sign | (0x7feull - (v >> 60 & 3)) << 52 | (v & 0xfffffffffffff);
    case 7: return sign | (0x41dull + (v >> 60 & 3)) << 52 | (v & 0xfffffffffffff); /* 2^31 */
    case 8: return sign | (0x43cull + (v >> 60 & 3)) << 52 | (v & 0xfffffffffffff); /* 2^62 */
    case 9: return sign | (0x3feull + (v >> 60 & 3)) << 52 | (v & 0xfffffffffffff);
    case 10: return sign | (0x380ull + (v >> 58 & 3)) << 52 | (v & ~0ull >> 12); /* f32's edge */
    default: return v;
    }
}

static void rnd_f80(struct rng *r, uint8_t *st)
{
    static const uint16_t exps[] = { 0, 0, 1, 0x3ffe, 0x3fff, 0x4000, 0x401e, 0x403e, 0x7ffe,
                                     0x7fff,
                                     0x7fff, 0x3f81, 0x3c01, 0x43fe, 0x407e };
    static const uint64_t mants[] = { 0, 1ull << 63, 3ull << 62, ~0ull, 0x8000000000000001 };
    uint64_t mant = one_in(r, 2) ? rnd(r) | 1ull << 63 : mants[rnd_below(r, 5)];
    uint16_t exp = one_in(r, 2) ? exps[rnd_below(r, 15)] : (uint16_t)(0x3fc0 + rnd_below(r, 128));
    if (one_in(r, 20)) {
        mant = rnd(r); /* denormals, unnormals and other pseudo-numbers */
        exp = (uint16_t)rnd(r);
    }
    if (!exp && one_in(r, 2))
        mant = 0;
    exp |= (uint16_t)(rnd(r) & 0x8000);
    memset(st, 0, 16);
    memcpy(st, &mant, 8);
    memcpy(st + 8, &exp, 2);
}

/* len is a multiple of 8 */
static void fill(struct rng *r, uint8_t *p, unsigned len)
{
    unsigned kind = rnd_below(r, 8);
    uint64_t v = rnd_value(r);
    for (unsigned i = 0; i < len; i += 8) {
        if (kind <= 1)
            v = rnd_f64(r);
        else if (kind <= 3)
            v = rnd_f32(r) | (uint64_t)rnd_f32(r) << 32;
        else if (kind <= 5)
            v = rnd_value(r);
        else if (kind == 6 && one_in(r, 6)) /* long equal runs, for comparisons of strings */
            v ^= 1ull << rnd_below(r, 64);
        else if (kind == 7)
            v = rnd(r);
        memcpy(p + i, &v, 8);
    }
}

static void put16(uint8_t *p, unsigned val)
{
    p[0] = (uint8_t)val;
    p[1] = (uint8_t)(val >> 8);
}

static void gen_xsave(struct rng *r, uint8_t *area)
{
    static const uint16_t precision[] = { 0x000, 0x200, 0x300, 0x300, 0x300, 0x100 };
    uint64_t v = rnd(r), bv = 7, pointer;
    uint32_t mxcsr = 0x1f80;
    memset(area, 0, XSAVE_BYTES);
    unsigned fcw = 0x7f | precision[v % 6] | (v >> 8 & 3) << 10;
    if (one_in(r, 5))
        fcw &= ~0x3fu | (v >> 16 & 0x3f);
    unsigned fsw = (v >> 22 & 7) << 11 | (v >> 25 & 0x47) << 8;
    if (one_in(r, 6))
        fsw |= v >> 32 & 0x7f;
    put16(area, fcw);
    put16(area + 2, fsw);
    area[4] = (uint8_t)(one_in(r, 3) ? v >> 40 : one_in(r, 6) ? 0 : 0xff);
    put16(area + 6, v >> 48 & 0x7ff);
    pointer = rnd(r) >> 17;
    memcpy(area + 8, &pointer, 8);
    pointer = rnd(r) >> 17;
    memcpy(area + 16, &pointer, 8);
    if (one_in(r, 2))
        mxcsr = 0x1f80 | (rnd(r) & 0xe07f);
    if (one_in(r, 12))
        mxcsr = rnd(r) & 0xffff;
    memcpy(area + 24, &mxcsr, 4);
    for (unsigned i = 0; i < 8; i++)
        rnd_f80(r, area + 32 + 16 * i);
    for (unsigned i = 0; i < 16; i++) {
        if (i && one_in(r, 6)) {
            memcpy(area + 160 + 16 * i, area + 160 + 16 * (i - 1), 16);
            continue;
        }
        fill(r, area + 160 + 16 * i, 16);
        fill(r, area + 576 + 16 * i, 16);
    }
    memcpy(area + 512, &bv, 8);
}

/* ---- addresses ------------------------------------------------------------------------------- */

enum { PAGE = 4096 };

/* An address len bytes of which straddle the end of page n of the data area. */
static uint64_t crossing(struct rng *r, unsigned page, unsigned len)
{
    uint64_t end = DATA + (page + 1) * (uint64_t)PAGE;
    return len > 1 ? end - 1 - rnd_below(r, len - 1) : end;
}

uint64_t pick_target(struct rng *r, const struct test_case *c, unsigned len)
{
    uint64_t t;
    unsigned k = rnd_below(r, 32);
    if (!len)
        len = 1;
    if (k < 22) { /* good */
        unsigned page = one_in(r, 2) ? 1 : 8;
        t = DATA + page * (uint64_t)PAGE + rnd_below(r, PAGE - 256);
        if (one_in(r, 8))
            t = crossing(r, page, len);
    } else if (k < 24) { /* read-only */
        t = DATA + (one_in(r, 2) ? 3 : 5) * (uint64_t)PAGE + rnd_below(r, PAGE - 256);
    } else if (k < 27) {
        t = crossing(r, rnd_below(r, DATA_PAGES - 1), len);
    } else if (k < 28) {
        t = DATA + 4 * PAGE + rnd_below(r, PAGE - 256);
    } else if (k < 29) { /* not canonical; the low half is an unmapped page */
        uint64_t low = DATA + 7 * PAGE + rnd_below(r, PAGE - 256);
        do
            t = rnd(r) << 32 | low;
        while (t >> 47 == 0 || t >> 47 == 0x1ffff);
        if (one_in(r, 2))
            t = (one_in(r, 2) ? 0x0000800000000000 : 0xffff7fff00000000) | low;
    } else { /* aligned in any page */
        t = DATA + rnd_below(r, DATA_LEN - 1024);
        t &= ~63ull;
    }
    bool packed = (c->enc->row->flags & F_ALIGN) || c->enc->row->msz == M_VL;
    if (packed && !c->enc->vex && ((c->enc->row->flags & F_EVEN) || !one_in(r, 10)))
        t &= ~(uint64_t)15;
    /* Misaligned and not canonical at once: manuals do not say which comes first. */
    if (c->enc->row->fix == FIX_CMPXCHG8B && (t >> 32 || !one_in(r, 6)))
        t &= ~(uint64_t)15;
    if ((c->enc->row->fix == FIX_XSAVE || c->enc->row->fix == FIX_XRSTOR) && !one_in(r, 8))
        t &= ~(uint64_t)63;
    /* Processors differ in when they look at the AVX part: it is not alone in a page. */
    if (c->enc->row->fix == FIX_XRSTOR && (t & 0xfff) > 4096 - 832 && (t & 0xfff) <= 4096 - 576)
        t -= 512;
    if (c->enc->vex && c->enc->row->flags & F_ALIGN && !one_in(r, 10))
        t &= ~(uint64_t)31;
    return t;
}

static uint64_t cut(const struct test_case *c, uint64_t v, struct rng *r)
{
    return c->mem.a32 ? (uint32_t)v | rnd(r) << 32 : v; /* the upper half must not matter */
}

static uint64_t address(const struct test_case *c)
{
    const struct mem_form *m = &c->mem;
    uint64_t ea = (uint64_t)(int64_t)m->disp;
    if (m->base != 0xff)
        ea += c->in.gpr[m->base];
    if (m->index != 0xff)
        ea += c->in.gpr[m->index] << m->scale;
    if (m->a32)
        ea = (uint32_t)ea;
    return ea + (m->gs ? GS_BASE : 0);
}

/* Registers so that the memory operand lies at a chosen place. */
static void solve(struct rng *r, struct test_case *c)
{
    const struct mem_form *m = &c->mem;
    if (m->base == 0xff && m->index == 0xff) {
        c->target = c->fixed_target;
        return;
    }
    uint64_t ea = pick_target(r, c, c->mem_bytes) - (m->gs ? GS_BASE : 0) -
                  (uint64_t)(int64_t)m->disp;
    if (m->base == 0xff) {
        c->in.gpr[m->index] = cut(c, ea >> m->scale, r);
    } else {
        if (m->index != 0xff)
            ea -= c->in.gpr[m->index] << m->scale;
        c->in.gpr[m->base] = cut(c, ea, r);
    }
    c->target = address(c);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void window(struct test_case *c, uint64_t at, unsigned before, unsigned after)
{
    uint64_t lo = at - before, hi = at + after;
    if (at < DATA || at >= DATA + DATA_LEN || c->windows == 2)
        return;
    lo = lo < DATA ? DATA : lo & ~7ull;
    hi = hi > DATA + DATA_LEN ? DATA + DATA_LEN : (hi + 7) & ~7ull;
    c->win[c->windows++] = (struct window){ (uint32_t)(lo - DATA), (uint32_t)(hi - lo) };
}

static void poke(uint8_t *data, uint64_t at, const void *val, unsigned len)
{
    if (at >= DATA && at + len <= DATA + DATA_LEN)
        memcpy(data + (at - DATA), val, len);
}

static void peek(const uint8_t *data, uint64_t at, void *val, unsigned len)
{
    memset(val, 0, len);
    if (at >= DATA && at + len <= DATA + DATA_LEN)
        memcpy(val, data + (at - DATA), len);
}

/* ---- one instruction's needs ----------------------------------------------------------------- */

static void fix_string(struct rng *r, struct test_case *c)
{
    uint64_t *g = c->in.gpr;
    unsigned n = c->opsize;
    g[6] = pick_target(r, c, n);
    g[7] = one_in(r, 4) ? g[6] + rnd_below(r, 64) - 32 : pick_target(r, c, n);
    g[1] = one_in(r, 8) ? 0 : one_in(r, 8) ? 200 : rnd_below(r, 24);
    if (one_in(r, 2))
        c->in.rflags ^= DF;
    if (c->mem.a32) {
        g[6] = cut(c, g[6], r);
        g[7] = cut(c, g[7], r);
        g[1] = cut(c, g[1], r);
    }
    uint64_t si = c->mem.a32 ? (uint32_t)g[6] : g[6], di = c->mem.a32 ? (uint32_t)g[7] : g[7];
    unsigned span = 200 * n + 64;
    window(c, si, span, span);
    window(c, di, span, span);
}

static void fix_before(struct rng *r, struct test_case *c)
{
    uint64_t *g = c->in.gpr;
    switch (c->enc->row->fix) {
    case FIX_SHIFT:
        if (one_in(r, 2))
            g[1] = (g[1] & ~0xffull) | rnd_below(r, 70);
        break;
    case FIX_SHLD:
        if (c->opsize == 2) /* counts beyond the operand are undefined */
            g[1] = (g[1] & ~0x1full) | rnd_below(r, 17);
        break;
    case FIX_DIV:
        if (one_in(r, 2))
            g[2] = (int64_t)g[0] < 0 && c->enc->row->ext == 7 ? ~0ull : 0;
        if (c->opsize < 8 && one_in(r, 2))
            g[0] = (uint64_t)((int64_t)(g[0] << 40) >> 40);
        break;
    case FIX_BT:
        g[c->reg] = (uint64_t)(int64_t)((int)rnd_below(r, 4096) - 2048);
        break;
    case FIX_XSAVE:
    case FIX_XRSTOR:
        /* Only the components that the software CPU has; the host may have more. */
        g[0] = rnd(r) << 32 | (one_in(r, 2) ? 7 : rnd_below(r, 8));
        g[2] = rnd(r) << 32;
        break;
    case FIX_LOOP:
        g[1] = one_in(r, 3) ? 1 : one_in(r, 2) ? 0 : rnd_value(r);
        if (one_in(r, 4))
            g[1] |= 1ull << 32;
        break;
    default:
        break;
    }
}

/* XRSTOR's area: mostly a good header, sometimes one that is refused. */
static void fix_xrstor(struct rng *r, struct test_case *c, uint8_t *data)
{
    uint64_t header[8] = { rnd(r) & 7 };
    const uint64_t unknown = 1ull << (20 + rnd_below(r, 43)); /* components of no processor */
    if (one_in(r, 6))
        header[0] |= unknown;
    if (one_in(r, 3)) {
        header[1] = 1ull << 63 | header[0] | (rnd(r) & 7);
        if (one_in(r, 8))
            header[1] ^= one_in(r, 2) ? unknown : rnd(r) & 7;
    }
    if (one_in(r, 8))
        header[1 + rnd_below(r, 7)] = rnd_value(r) << 20;
    poke(data, c->target + 512, header, sizeof header);
}

/* After the registers of the address are known. */
static void fix_after(struct rng *r, struct test_case *c, uint8_t *data)
{
    uint64_t *g = c->in.gpr, v = 0, taken = c->slot + SLOT_TAKEN;
    switch (c->enc->row->fix) {
    case FIX_POPF: /* no trap flag, no alignment checks, no nested task */
        peek(data, g[4], &v, 8);
        v &= ~(0x100ull | 0x4000 | 0x40000);
        poke(data, g[4], &v, 8);
        break;
    case FIX_RET:
        poke(data, g[4], &taken, 8);
        break;
    case FIX_JMP_IND:
        if (c->mem.used)
            poke(data, c->target, &taken, 8);
        else
            g[c->rm] = taken;
        break;
    case FIX_CMPXCHG:
        if (one_in(r, 2))
            break;
        if (c->mem.used)
            poke(data, c->target, &g[0], c->opsize);
        else if (c->opsize > 1)
            g[c->rm] = g[0];
        break;
    case FIX_CMPXCHG8B:
        if (one_in(r, 2))
            break;
        poke(data, c->target, &g[0], c->opsize);
        poke(data, c->target + c->opsize, &g[2], c->opsize);
        break;
    case FIX_XRSTOR:
        fix_xrstor(r, c, data);
        /* fall through */
    case FIX_FXRSTOR:
        v = one_in(r, 6) ? rnd(r) & 0xfffdffff : rnd(r) & 0xffff;
        poke(data, c->target + 24, &v, 4);
        for (unsigned i = 8; i < 24; i += 8) { /* pointers that are addresses */
            v = rnd(r) >> 17;
            poke(data, c->target + i, &v, 8);
        }
        break;
    case FIX_LDMXCSR:
        peek(data, c->target, &v, 4);
        v &= one_in(r, 6) ? 0xffffffff & ~0x20000u : 0xffff;
        poke(data, c->target, &v, 4);
        break;
    default:
        break;
    }
}

static void gather_state(struct rng *r, struct test_case *c)
{
    const struct mem_form *m = &c->mem;
    uint8_t *area = c->in.xsave;
    unsigned isz = c->enc->op & 1 ? 8 : 4, lane = c->w ? 8 : 4, n = (c->vex_l ? 32u : 16u) / isz;
    uint64_t base = DATA + rnd_below(r, 4096) - 2048;
    bool good = !one_in(r, 3);
    c->in.gpr[m->base] = cut(c, base, r);
    for (unsigned i = 0; i < n; i++) {
        uint64_t t = DATA + 4096 + rnd_below(r, 8000);
        if (!good)
            t = pick_target(r, c, lane);
        if (t > DATA + DATA_LEN)
            t = DATA;
        int64_t idx = (int64_t)(t - base - (uint64_t)(int64_t)m->disp) >> m->scale;
        unsigned off = i * isz;
        memcpy(area + (off < 16 ? 160 : 576 - 16) + 16 * m->index + off, &idx, isz);
    }
}

static uint8_t *vec_bytes(uint8_t *area, unsigned reg, unsigned off)
{
    return area + (off < 16 ? 160 : 576 - 16) + 16 * reg + off;
}

void gen_state(struct rng *r, struct test_case *c, uint8_t *data)
{
    const struct row *row = c->enc->row;
    uint64_t *g = c->in.gpr;
    c->windows = 0;
    c->target = 0;
    for (unsigned i = 0; i < 16; i++)
        g[i] = rnd_value(r);
    c->in.rflags = 0x202 | (rnd(r) & ARITH) | (one_in(r, 8) ? DF : 0);
    c->in.rip = c->slot;
    gen_xsave(r, c->in.xsave);
    fix_before(r, c);
    if (row->flags & F_STACK)
        g[4] = pick_target(r, c, 8) & (one_in(r, 4) ? ~0ull : ~7ull);
    if (row->fix == FIX_ENTER || row->fix == FIX_LEAVE)
        g[5] = pick_target(r, c, 8);
    if (row->fix == FIX_GATHER)
        gather_state(r, c);
    else if (c->mem.used)
        solve(r, c);
    else if (row->imm == IMM_MOFFS)
        c->target = c->fixed_target;
    if (row->fix == FIX_STRING)
        fix_string(r, c);
    if (row->fix == FIX_MASKMOV) {
        c->target = pick_target(r, c, c->mem_bytes);
        g[7] = cut(c, c->target, r);
        c->target = c->mem.a32 ? (uint32_t)g[7] : g[7];
        if (one_in(r, 2)) /* masks of whole runs */
            memset(vec_bytes(c->in.xsave, c->rm, 0), one_in(r, 4) ? 0 : 0xff, 16);
    }
    if (row->fix == FIX_XLAT) {
        c->target = pick_target(r, c, 1);
        g[3] = cut(c, c->target - (g[0] & 0xff), r);
        c->target = c->mem.a32 ? (uint32_t)(g[3] + (g[0] & 0xff)) : g[3] + (g[0] & 0xff);
    }
    if (row->fix != FIX_LEA && c->target)
        window(c, c->target, row->fix == FIX_BT ? 600 : 64,
               row->fix == FIX_BT ? 600 : 192u + c->mem_bytes);
    if (row->flags & F_STACK)
        window(c, g[4], row->fix == FIX_ENTER ? 640 : 64, 64);
    if (row->fix == FIX_LEAVE)
        window(c, g[5], 64, 64);
    for (unsigned i = 0; i < c->windows; i++)
        fill(r, data + c->win[i].off, c->win[i].len);
    fix_after(r, c, data);
}

/* ---- undefined flags ------------------------------------------------------------------------- */

static uint64_t shift_undefined(const struct test_case *c, unsigned count)
{
    unsigned bits = c->opsize * 8u, ext = c->enc->row->ext;
    count &= c->opsize == 8 ? 63 : 31;
    if (!count)
        return 0;
    if (c->enc->row->fix == FIX_SHLD)
        return AF | (count > 1 ? OF : 0);
    if (ext <= 3) /* rotates: OF only for single-bit ones */
        return count == 1 ? 0 : OF;
    return AF | (count == 1 ? 0 : OF) | (count >= bits && ext != 7 ? CF : 0);
}

uint64_t undefined_flags(const struct test_case *c)
{
    const struct row *row = c->enc->row;
    unsigned op = c->enc->op;
    if (row->fix != FIX_SHIFT && row->fix != FIX_SHLD)
        return row->undef;
    if (row->imm == IMM_B)
        return shift_undefined(c, c->code[c->len - 1]);
    return shift_undefined(c, row->fix == FIX_SHIFT && (op == 0xd0 || op == 0xd1)
                                  ? 1 : (unsigned)c->in.gpr[1] & 0xff);
}
