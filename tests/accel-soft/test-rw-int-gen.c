/*
 * test-rw-int-gen.c: random instructions out of the opcodes that the integer emitters know, with
 * registers and memory that bring them to where arithmetic changes its mind. Whether an encoding
 * means anything is the decoder's judgement.
 */
#include "test-rw-int.h"

uint64_t seed = 1;

uint64_t rnd(void)
{
    uint64_t z = (seed += 0x9e3779b97f4a7c15); /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint64_t value(void)
{
    static const uint64_t edge[] = { 0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff,
                                     0x80000000, 0xffffffff, UINT64_C(1) << 63, INT64_MAX,
                                     UINT64_MAX };
    switch (rnd() % 4) {
    case 0: return edge[rnd() % (sizeof edge / sizeof *edge)];
    case 1: return rnd() & 0xff;
    case 2: return (uint64_t)((int64_t)rnd() >> (rnd() & 63));
    default: return rnd();
    }
}

static void put(struct test_insn *i, unsigned b)
{
    i->b[i->len++] = (uint8_t)b;
}

/* Opcodes of the instructions under test are more likely than others. */
static unsigned opcode(unsigned map)
{
    static const uint8_t one[] = { 0x63, 0x69, 0x6b, 0x80, 0x81, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88,
        0x89, 0x8a, 0x8b, 0x8d, 0x90, 0x91, 0x94, 0x97, 0x98, 0x99, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
        0xa3, 0xa8, 0xa9, 0xb0, 0xb4, 0xb7, 0xb8, 0xbc, 0xbf, 0xc0, 0xc1, 0xc6, 0xc7, 0xd0, 0xd1,
        0xd2, 0xd3, 0xf5, 0xf6, 0xf6, 0xf7, 0xf7, 0xf7, 0xf8, 0xf9, 0xfe, 0xff };
    static const uint8_t two[] = { 0x0d, 0x18, 0x1f, 0xa3, 0xa4, 0xa5, 0xab, 0xac, 0xad, 0xae, 0xaf,
        0xb0, 0xb1, 0xb3, 0xb6, 0xb7, 0xb8, 0xba, 0xba, 0xbb, 0xbc, 0xbd, 0xbe, 0xbf, 0xc0, 0xc1,
        0xc3, 0xc7, 0xc8, 0xcd, 0xcf };
    static const uint8_t three[] = { 0xf0, 0xf1, 0xf2, 0xf3, 0xf5, 0xf6, 0xf7 };
    if (map == 0)
        return one_in(2) ? one[rnd() % sizeof one] : (rnd() & 0x3f);
    if (map == 1)
        return one_in(2) ? two[rnd() % sizeof two] : (one_in(2) ? 0x40u : 0x90u) | (rnd() & 15);
    return map == 2 ? three[rnd() % sizeof three] : 0xf0;
}

/* Prefixes, opcode, ModRM, SIB, room for displacement and immediate. False: try again. */
static bool make(struct test_insn *i)
{
    bool vex = one_in(6), a32 = one_in(12);
    unsigned r = (unsigned)rnd(), map = vex ? 2 + one_in(5) : r % 8 < 4 ? 0 : r % 8 < 7 ? 1 : 2;
    *i = (struct test_insn){ .len = 0 };
    if (!vex && one_in(8))
        put(i, 0xf0);
    if (!vex && one_in(4))
        put(i, 0x66);
    if (!vex && one_in(map == 2 ? 2 : 5))
        put(i, one_in(2) ? 0xf2 : 0xf3);
    if (a32)
        put(i, 0x67);
    if (vex) {
        unsigned bits = (unsigned)rnd();
        put(i, 0xc4);
        put(i, (bits & 0xe0) | map);
        put(i, (one_in(3) ? 0x78 : bits >> 8 & 0xf8) | (bits >> 16 & 3));
    } else {
        if (!one_in(3))
            put(i, 0x40 | (rnd() & 15));
        if (map)
            put(i, 0x0f);
        if (map == 2)
            put(i, 0x38);
    }
    unsigned op = opcode(map);
    put(i, op);
    i->moffs_at = i->len;
    unsigned modrm = (unsigned)rnd() & 0xff, mod = one_in(2) ? 3 : modrm >> 6;
    modrm = (modrm & 63) | mod << 6;
    put(i, modrm);
    if (mod != 3 && (modrm & 7) == 4) {
        unsigned sib = (unsigned)rnd() & 0xff;
        put(i, sib);
        if (mod == 0 && (sib & 7) == 5)
            i->disp_len = 4;
    }
    if (mod == 0 && (modrm & 7) == 5)
        i->disp_len = 4;
    if (mod == 1 || mod == 2)
        i->disp_len = mod == 1 ? 1 : 4;
    i->disp_at = i->len;
    for (unsigned k = 0; k < 12 && i->len < 23; k++)
        put(i, (unsigned)(one_in(2) ? rnd() : rnd() % 40));
    if (i->disp_len == 4)
        i->b[i->disp_at + 2] = i->b[i->disp_at + 3] = 0;
    enum x86_dec_result res = x86_decode(i->b, 15, (struct x86_dec_mode){ 64 }, &i->in);
    i->len = i->in.len;
    if (map == 1 && op == 0x0d && mod == 3)
        return false; /* PREFETCHW of a register: a NOP or undefined, as the maker likes */
    return res == DEC_OK && i->in.opcode_off + (i->in.has_modrm ? 1u : 0) ==
                                i->moffs_at - (i->in.has_modrm ? 0 : 1u); /* no prefix instead */
}

const struct x86_operand *memory_operand(const struct x86_insn *in)
{
    for (unsigned k = 0; k < in->operands; k++)
        if (in->opnd[k].kind == OPND_MEM && in->op != OP_LEA && in->op != OP_NOP &&
            in->op != OP_PREFETCH)
            return &in->opnd[k];
    return NULL;
}

/* Registers and addresses so that the memory operand is at TARGET; false: cannot be. */
static bool aim(struct test_insn *i, uint64_t target, uint64_t rip)
{
    struct x86_insn *in = &i->in;
    uint64_t upper = in->addrsize == 4 ? rnd() << 32 : 0;
    int64_t disp = in->disp;
    if (!in->has_modrm) {
        memcpy(i->b + i->moffs_at, &target, in->addrsize);
    } else if (in->base == REG_RIP) {
        uint32_t d = (uint32_t)(target - rip - i->len);
        memcpy(i->b + i->disp_at, &d, 4);
    } else if (in->base == REG_NONE) {
        uint64_t x = rnd() & 0xfff;
        if (in->index != REG_NONE)
            ctx.in[in->index] = x | upper;
        uint32_t d = (uint32_t)(target - (in->index == REG_NONE ? 0 : x * in->scale));
        memcpy(i->b + i->disp_at, &d, 4);
    } else if (in->index == REG_NONE) {
        ctx.in[in->base] = ((target - (uint64_t)disp) & (upper ? 0xffffffff : UINT64_MAX)) | upper;
    } else {
        if (in->index == in->base)
            return false;
        uint64_t sum = target - (uint64_t)disp - ctx.in[in->index] * in->scale;
        ctx.in[in->base] = in->addrsize == 4 ? (sum & 0xffffffff) | upper : sum;
    }
    return x86_decode(i->b, 15, (struct x86_dec_mode){ 64 }, in) == DEC_OK;
}

/* The state before the instruction. */
static bool prepare(struct test_insn *i, uint64_t rip)
{
    struct x86_insn *in = &i->in;
    for (unsigned g = 0; g < 16; g++)
        ctx.in[g] = value();
    ctx.in_fl = (rnd() & ARITH) | 2;
    for (unsigned k = 0; k < DATA / 8; k++)
        memcpy(data + 8 * k, &(uint64_t){ rnd() }, 8);
    bool division = in->op == OP_DIV || in->op == OP_IDIV;
    if (division && one_in(2))
        ctx.in[REG_RDX] = in->op == OP_IDIV && (ctx.in[0] >> (8 * in->opsize - 1) & 1) ? ~0ull : 0;
    if (division && in->opsize == 1)
        ctx.in[REG_RAX] &= ~0xf000ull;
    const struct x86_operand *m = memory_operand(in), *b = &in->opnd[1];
    bool pair = in->op == OP_CMPXCHG8B || in->op == OP_CMPXCHG16B;
    uint64_t off = 3000 + rnd() % 2000;
    if (pair || one_in(2))
        off &= ~15ull;
    if (!m)
        return true;
    if (in->op >= OP_BT && in->op <= OP_BTC && b->kind == OPND_GPR) {
        if (b->reg == in->base || b->reg == in->index || in->addrsize == 4)
            return false;
        uint64_t low = m->size == 8 ? UINT64_MAX : m->size == 4 ? 0xffffffff : 0xffff;
        ctx.in[b->reg] = (rnd() & ~low) | ((rnd() % 40000 - 20000) & low);
    }
    if (!aim(i, LIN + off, rip))
        return false;
    if (in->op == OP_CMPXCHG && one_in(2))
        memcpy(data + off, &ctx.in[REG_RAX], 8);
    if (pair && one_in(2)) {
        memcpy(data + off, &ctx.in[REG_RAX], in->opsize);
        memcpy(data + off + in->opsize, &ctx.in[REG_RDX], in->opsize);
    }
    return true;
}

void random_case(struct test_insn *i, uint64_t rip)
{
    do
        while (!make(i))
            ;
    while (!prepare(i, rip));
}
