/*
 * decode: libFuzzer target for the x86 decoder and its text output. The first byte chooses the
 * mode, the rest is code.
 *
 * Beyond "no crash": what comes out is well formed, the same bytes give the same result, the start
 * of an instruction is "more bytes needed", and no byte behind the instruction matters.
 */
// sources: plugins/accel-soft/x86/dec.c plugins/accel-soft/x86/dec_opnd.c
// sources: plugins/accel-soft/x86/dec_x87.c
// sources: plugins/accel-soft/x86/dec_tab_one.c plugins/accel-soft/x86/dec_tab_0f.c
// sources: plugins/accel-soft/x86/dec_tab_0f38.c plugins/accel-soft/x86/dec_fmt.c
// includes: plugins/accel-soft/x86
#include "dec.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* Decode from a copy of exactly n bytes, so that the sanitizer sees a read beyond them. */
static enum x86_dec_result decode(const uint8_t *code, size_t n, unsigned bits, struct x86_insn *in)
{
    uint8_t *copy = malloc(n ? n : 1);
    enum x86_dec_result result;

    require(copy != NULL);
    memcpy(copy, code, n);
    result = x86_decode(copy, (unsigned)n, (struct x86_dec_mode){ (uint8_t)bits }, in);
    free(copy);
    return result;
}

static void check(const struct x86_insn *in, size_t n)
{
    require(in->len >= 1 && in->len <= 15 && in->len <= n);
    require(in->op > OP_UD && in->op < OP_COUNT && in->feature < FEAT_COUNT);
    require(in->operands <= 4 && in->seg < SEG_LDT && in->cc < 16 && in->map < 4);
    require(in->imm_off + in->imm_len <= in->len && in->opcode_off < in->len);
    require(in->base < 16 || in->base == REG_NONE || in->base == REG_RIP);
    require(in->index < 16 || in->index == REG_NONE);
    require(in->scale == 1 || in->scale == 2 || in->scale == 4 || in->scale == 8);
    for (unsigned i = 0; i < in->operands; i++)
        require(in->opnd[i].kind != OPND_NONE && in->opnd[i].reg < 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t modes[3] = { 16, 32, 64 };
    struct x86_insn in, again;
    enum x86_dec_result result;
    unsigned bits;
    char text[40];

    if (len < 1)
        return 0;
    bits = modes[data[0] % 3];
    data++;
    if (--len > 20)
        len = 20;
    result = decode(data, len, bits, &in);
    require(result == DEC_OK || in.op == OP_UD || result != DEC_UD);
    require(result != DEC_MORE || len < 15);
    require(result != DEC_LONG || len >= 15);
    if (result != DEC_OK)
        return 0;
    check(&in, len);
    x86_format(&in, 0x1000, text, sizeof text);
    require(strlen(text) < sizeof text);
    require(decode(data, in.len, bits, &again) == DEC_OK && !memcmp(&in, &again, sizeof in));
    for (unsigned n = 0; n < in.len; n++)
        require(decode(data, n, bits, &again) == DEC_MORE);
    return 0;
}
