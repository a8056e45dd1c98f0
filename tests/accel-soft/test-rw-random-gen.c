/*
 * test-rw-random-gen.c: pieces of random code: native1's instructions and a few more one after the
 * other, and addresses for their operands.
 */
#include "test-rw-random.h"

#include "accel-soft/x86/dec.h"

#include <string.h>

enum { INSNS_MAX = 14 };

/* Instructions that native1's tables do not have. */
static const struct { uint8_t len, text[5]; } more[] = {
    { 1, { 0x9c } }, { 1, { 0xfa } }, { 1, { 0xfb } }, { 1, { 0xfc } }, { 1, { 0xfd } },
    { 1, { 0x9f } }, { 1, { 0x9e } }, { 1, { 0xf8 } }, { 1, { 0xf9 } }, { 1, { 0xf5 } },
    { 3, { 0x0f, 0x01, 0xf8 } },             /* swapgs */
    { 5, { 0xf3, 0x48, 0x0f, 0xae, 0xc0 } }, /* rdfsbase rax */
    { 5, { 0xf3, 0x48, 0x0f, 0xae, 0xd1 } }, /* wrfsbase rcx */
    { 5, { 0xf3, 0x48, 0x0f, 0xae, 0xcb } }, /* rdgsbase rbx */
    { 3, { 0x0f, 0xae, 0xe8 } }, { 2, { 0xf3, 0x90 } }, { 1, { 0x90 } }, { 1, { 0xc3 } },
    { 1, { 0xc9 } }, { 1, { 0x55 } }, { 1, { 0x53 } }, { 1, { 0x5b } }, { 1, { 0x5d } },
    { 2, { 0x41, 0x54 } }, { 2, { 0x41, 0x5c } }, { 3, { 0x48, 0x89, 0xe5 } },
    { 4, { 0x48, 0x83, 0xec, 0x28 } }, { 4, { 0x48, 0x83, 0xc4, 0x28 } },
};

/*
 * SHA1 and SHA256 instructions with an operand in memory: Intel wants it aligned, some of AMD's
 * processors do not, and rewritten code follows the host.
 */
static bool host_decides(const struct test_case *c)
{
    struct x86_insn in;
    struct x86_dec_mode mode = { .bits = 64 };
    return x86_decode(c->code, c->len, mode, &in) == DEC_OK && in.feature == FEAT_SHA &&
           in.modrm < 0xc0;
}

/* Branches go forward, so that most blocks end. */
static void steer(struct rng *r, uint8_t *code, unsigned len)
{
    struct x86_insn in;
    struct x86_dec_mode mode = { .bits = 64 };
    if (x86_decode(code, len, mode, &in) != DEC_OK || !in.imm_len)
        return;
    switch (in.op) {
    case OP_JMP_REL: case OP_JCC: case OP_CALL_REL: case OP_LOOP: case OP_LOOPE: case OP_LOOPNE:
    case OP_JCXZ: {
        int32_t rel = one_in(r, 12) ? -(int32_t)rnd_below(r, 40) : (int32_t)rnd_below(r, 24);
        memcpy(code + in.imm_off, &rel, in.imm_len);
        break;
    }
    default:
        break;
    }
}

void piece_make(struct rng *r, struct piece *b)
{
    unsigned n = 1 + rnd_below(r, INSNS_MAX), chosen = rnd_below(r, n);
    uint64_t page = CODE + rnd_below(r, CODE_LEN / 4096 - 1) * 4096u;
    uint8_t *text = b->text;
    memset(text, 0xf4, sizeof b->text); /* HLT: ends the block at CPL 0, and at CPL 3 by #GP */
    b->at = page + (one_in(r, 3) ? 4096 - rnd_below(r, 90) : rnd_below(r, 3500));
    b->cpl = one_in(r, 2) ? 3 : 0;
    b->upper = b->cpl == 0 && one_in(r, 2);
    b->len = 0;
    for (unsigned i = 0; i < n; i++) {
        struct test_case c;
        if (one_in(r, 5)) {
            unsigned k = rnd_below(r, sizeof more / sizeof *more);
            memcpy(text + b->len, more[k].text, more[k].len);
            b->len += more[k].len;
            if (i == chosen)
                chosen++;
            continue;
        }
        do
            gen_insn(r, &c, b->at + b->len);
        while (host_decides(&c));
        memcpy(text + b->len, c.code, c.len);
        steer(r, text + b->len, c.len);
        b->len += c.len;
        if (i <= chosen)
            b->insn = c;
    }
    if (chosen >= n && !b->insn.enc)
        gen_insn(r, &b->insn, b->at);
}

uint64_t piece_address(struct rng *r, const struct piece *b)
{
    uint64_t v;
    switch (rnd_below(r, 12)) {
    case 0:
        v = CODE_ALIAS + (b->at - CODE) + rnd_below(r, b->len + 16); /* the block itself */
        break;
    case 1:
        v = rnd(r) << 40 | 0x11003000; /* mostly not canonical */
        break;
    case 2:
        v = UINT64_C(0x7ffffffffff0) + rnd_below(r, 32);
        break;
    case 3:
        v = DATA + rnd_below(r, DATA_ALL) * 4096u - rnd_below(r, 40);
        break;
    case 4:
        v = DATA + DATA_PAGES * 4096u + rnd_below(r, 3 * 4096);
        break;
    default:
        v = DATA + rnd_below(r, DATA_LEN) / 8 * 8;
        break;
    }
    return b->upper && v < UINT64_C(0x20000000) && !one_in(r, 8) ? v | UPPER : v;
}
