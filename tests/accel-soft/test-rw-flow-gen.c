/*
 * test-rw-flow-gen.c: random programs for test-rw-flow: functions that call only those with higher
 * numbers, so all of them end. What they compute makes no sense; that it depends on every flag and
 * every stack slot does.
 */
#include "test-rw-flow.h"

#include <string.h>

struct program pr;
static uint64_t seed;

void generate_seed(uint64_t number)
{
    seed = number * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

uint64_t rnd(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (seed * UINT64_C(0x2545f4914f6cdd1d) >> 32) % n;
}


static void b1(unsigned v)
{
    if (pr.p < PROGRAM_LEN)
        pr.code[pr.p++] = (uint8_t)v;
}

static void b4(uint64_t v)
{
    for (unsigned i = 0; i < 4; i++)
        b1((unsigned)(v >> 8 * i) & 0xff);
}

static void b8(uint64_t v)
{
    b4(v);
    b4(v >> 32);
}

/* A register that is free to change. */
static unsigned any_reg(void)
{
    unsigned r;
    do
        r = (unsigned)rnd(16);
    while (r == R_SP || r == R_CX || r == R_BP);
    return r;
}

static unsigned some_reg(void) /* to read */
{
    return rnd(12) ? any_reg() : (unsigned[]){ R_SP, R_CX, R_BP }[rnd(3)];
}

static void op_rr(unsigned w, unsigned op, unsigned reg, unsigned rm)
{
    b1(0x40 | w << 3 | (reg >> 3) << 2 | rm >> 3);
    if (op > 0xff)
        b1(0x0f);
    b1(op & 0xff);
    b1(0xc0 | (reg & 7) << 3 | (rm & 7));
}

static void mov_ri(unsigned reg, uint64_t v)
{
    b1(0x48 | reg >> 3);
    b1(0xb8 | (reg & 7));
    b8(v);
}

static void push(unsigned reg)
{
    if (reg >= 8)
        b1(0x41);
    b1(0x50 | (reg & 7));
}

static void pop(unsigned reg)
{
    if (reg >= 8)
        b1(0x41);
    b1(0x58 | (reg & 7));
}

static void gen_alu(void)
{
    static const uint16_t op[] = { 0x01, 0x29, 0x39, 0x85, 0x11, 0x19, 0x31 };
    unsigned w = (unsigned)rnd(2), r = any_reg();
    switch (rnd(8)) {
    case 0: /* SETcc */
        b1(0x40 | r >> 3);
        b1(0x0f);
        b1(0x90 | (unsigned)rnd(16));
        b1(0xc0 | (r & 7));
        break;
    case 1:
        op_rr(w, 0x140 | (unsigned)rnd(16), r, some_reg()); /* CMOVcc */
        break;
    case 2: /* INC, DEC */
        op_rr(w, 0xff, (unsigned)rnd(2), r);
        break;
    case 3: /* ADD to memory below the stack pointer: flags and a look-up */
        b1(0x48 | (r >> 3) << 2);
        b1(0x01);
        b1(0x44 | (r & 7) << 3);
        b1(0x24);
        b1(0x80 + (unsigned)rnd(100));
        break;
    case 4: /* MOV keeps the flags, with a look-up */
        b1(0x48 | (r >> 3) << 2);
        b1(0x8b);
        b1(0x44 | (r & 7) << 3);
        b1(0x24);
        b1((unsigned)rnd(100));
        break;
    default:
        op_rr(w, op[rnd(7)], some_reg(), r);
        break;
    }
}

static void gen_moves(void)
{
    if (rnd(4))
        return;
    unsigned r = any_reg();
    switch (rnd(4)) {
    case 0:
        mov_ri(r, rnd(2) ? rnd(1u << 31) : rnd(1u << 31) << 30);
        break;
    case 1: /* mov r32, imm32 */
        if (r >= 8)
            b1(0x41);
        b1(0xb8 | (r & 7));
        b4(rnd(UINT64_C(1) << 32));
        break;
    case 2:
        op_rr(1, 0x89, some_reg(), r);
        break;
    default:
        op_rr(0, 0x89, any_reg(), r);
        break;
    }
}

static void gen_push(void)
{
    switch (rnd(8)) {
    case 0:
        b1(0x6a);
        b1((unsigned)rnd(256));
        break;
    case 1:
        b1(0x68);
        b4(rnd(UINT64_C(1) << 32));
        break;
    case 2: /* push qword [rsp + d] */
        b1(0xff);
        b1(0x74);
        b1(0x24);
        b1((unsigned)rnd(64));
        break;
    default:
        push(some_reg());
        break;
    }
}

static void gen_pop(void)
{
    if (rnd(8)) {
        pop(any_reg());
        return;
    }
    b1(0x8f); /* pop qword [rsp + d]: not above what this function has pushed */
    b1(0x44);
    b1(0x24);
    b1((unsigned)(0xf8 - 8 * rnd(3)));
}

static void gen_stack(void)
{
    unsigned n = (unsigned)rnd(rnd(4) ? 7 : 18);
    for (unsigned i = 0; i < n; i++) {
        gen_push();
        gen_moves();
    }
    if (!rnd(3))
        gen_alu();
    for (unsigned i = 0; i < n; i++) {
        gen_pop();
        gen_moves();
    }
    if (!rnd(4)) {
        push(R_SP);
        pop(R_SP);
    }
}

static void gen_body(unsigned f, unsigned n);

static void gen_jcc(unsigned f)
{
    unsigned kind = (unsigned)rnd(8), at;
    if (kind == 0) {
        b1(0xe3); /* JRCXZ */
        b1(0);
        at = pr.p;
        for (unsigned i = 0; i < 5; i++)
            gen_alu();
        pr.code[at - 1] = (uint8_t)(pr.p - at);
        return;
    }
    b1(0x0f);
    b1(0x80 | (unsigned)rnd(16));
    b4(0);
    at = pr.p;
    gen_body(f, 2);
    uint32_t rel = pr.p - at;
    memcpy(pr.code + at - 4, &rel, 4);
}

static void gen_loop(unsigned f)
{
    static const uint8_t loops[] = { 0xe2, 0xe2, 0xe1, 0xe0 };
    b1(0xb9); /* mov ecx, n */
    b4(1 + rnd(3));
    unsigned top = pr.p;
    push(R_CX);
    gen_body(f, 2);
    pop(R_CX);
    unsigned kind = (unsigned)rnd(8);
    if (pr.p - top < 120 && kind < 4) {
        if (kind == 3) { /* 32-bit counter, in a register that is cut to it */
            b1(0x67);
        }
        b1(loops[rnd(4)]);
        b1(top - (pr.p + 1));
        return;
    }
    b1(0xff); /* dec ecx */
    b1(0xc9);
    if (kind & 1)
        gen_moves();
    b1(0x0f);
    b1(0x85);
    b4(top - (pr.p + 4));
}

static void target(unsigned reg, uint64_t to)
{
    mov_ri(reg, pr.base + PROGRAM + to);
}

static void gen_call(unsigned f)
{
    unsigned to = f + 1 + (unsigned)rnd(FUNCS - f - 1), reg = any_reg();
    for (unsigned i = 0; i < to % 3; i++) /* RET 8 * (number % 3) drops them */
        push(some_reg());
    switch (rnd(5)) {
    case 0:
        target(reg, pr.at[to]);
        op_rr(0, 0xff, 2, reg);
        break;
    case 1:
        target(reg, pr.at[to]);
        push(reg);
        b1(0xff); /* call [rsp] */
        b1(0x14);
        b1(0x24);
        pop(reg); /* one is left, whatever was dropped */
        break;
    default:
        b1(0xe8);
        b4(pr.at[to] - (pr.p + 4));
        break;
    }
}

static void gen_jump(void)
{
    unsigned reg = any_reg(), at;
    switch (rnd(6)) {
    case 0: /* jmp reg */
        target(reg, pr.p + 13);
        op_rr(0, 0xff, 4, reg);
        break;
    case 1: /* a return to where nobody called from */
        target(reg, pr.p + 10 + (reg >= 8 ? 2 : 1) + 1);
        push(reg);
        b1(0xc3);
        break;
    case 2: /* call next; pop */
        b1(0xe8);
        b4(0);
        pop(reg);
        break;
    case 3: /* jmp [rsp] */
        target(reg, pr.p + 10 + (reg >= 8 ? 2 : 1) + 3);
        push(reg);
        b1(0xff);
        b1(0x24);
        b1(0x24);
        pop(reg);
        break;
    default: /* forward */
        b1(0xe9);
        b4(0);
        at = pr.p;
        for (unsigned i = (unsigned)rnd(3); i--;)
            gen_alu();
        uint32_t rel = pr.p - at;
        memcpy(pr.code + at - 4, &rel, 4);
        break;
    }
}

static void gen_body(unsigned f, unsigned n)
{
    if (pr.depth > 3)
        n = 1;
    pr.depth++;
    for (unsigned i = 0; i < n; i++) {
        switch (rnd(9)) {
        case 0: case 1: case 2:
            gen_alu();
            break;
        case 3: case 4:
            gen_stack();
            break;
        case 5:
            gen_jump();
            break;
        case 6:
            gen_jcc(f);
            break;
        case 7:
            if (pr.depth < 3)
                gen_loop(f);
            break;
        default:
            if (f + 1 < FUNCS && pr.depth < 3)
                gen_call(f);
            break;
        }
    }
    pr.depth--;
}

/* The last instruction: nothing comes behind it. */
static void gen_end(unsigned kind)
{
    uint64_t bad = UINT64_C(0x0000800000000000) << rnd(16) | rnd(4096);
    if (kind < 4)
        mov_ri(0, bad);
    if (kind == 0) { /* jmp rax */
        op_rr(0, 0xff, 4, 0);
    } else if (kind == 1) {
        op_rr(0, 0xff, 2, 0);
    } else if (kind == 2) { /* push rax; ret 16 */
        push(0);
        b1(0xc2);
        b1(16);
        b1(0);
    } else if (kind == 3) { /* two slots, so a run */
        push(0);
        push(3);
        pop(7);
        b1(0xc3);
    }
    b1(0x0f);
    b1(0x0b);
}

static void gen_func(unsigned f)
{
    unsigned saved[8], n = (unsigned)rnd(7), frame = (unsigned)rnd(3);
    pr.p = (unsigned)pr.at[f];
    if (frame == 0) {
        push(R_BP);
        op_rr(1, 0x89, R_SP, R_BP);
    }
    for (unsigned i = 0; i < n; i++) {
        saved[i] = any_reg();
        push(saved[i]);
        gen_moves();
    }
    gen_body(f, 6);
    for (unsigned i = n; i-- > 0;) {
        pop(saved[i]);
        gen_moves();
    }
    if (f == 0) {
        gen_end(pr.end);
        return;
    }
    if (frame == 0)
        b1(0xc9);
    if (f % 3) {
        b1(0xc2);
        b1(8 * (f % 3));
        b1(0);
    } else {
        if (!rnd(4))
            b1(0xf3); /* rep ret */
        b1(0xc3);
    }
}

void generate(uint64_t base)
{
    unsigned at = 0;
    memset(pr.code, 0x0f, sizeof pr.code);
    pr.base = base;
    pr.depth = 0;
    pr.end = (unsigned)rnd(12);
    for (unsigned f = 0; f < FUNCS; f++) { /* any order of addresses */
        pr.at[f] = at + rnd(64);
        at += 0x1400;
    }
    for (unsigned f = FUNCS; f-- > 1;) {
        unsigned k = (unsigned)rnd(f + 1);
        uint64_t x = pr.at[f];
        pr.at[f] = pr.at[k];
        pr.at[k] = x;
    }
    for (unsigned f = 0; f < FUNCS; f++)
        gen_func(f);
}
