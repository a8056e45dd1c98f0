/*
 * vecenc.h: a vector, MMX or x87 instruction of the guest encoded anew for the host: vector
 * registers keep their numbers, the general register and the memory operand are put elsewhere.
 */
#ifndef SOFT_X86_VECENC_H
#define SOFT_X86_VECENC_H

#include "dec.h"

#include <stddef.h>

enum { VEC_NO_INDEX = 0xff, VEC_ENCODED_MAX = 16 };

struct vec_place {
    uint8_t gpr;         /* host register of the general register operand */
    uint8_t base, index; /* of the memory operand: [base] or [base + index]; base not RBP, RSP, R12,
                            R13; without index not R12 */
    uint8_t opcode;      /* as in the instruction, or another that does the same */
    uint8_t bits;        /* of the guest's code segment */
};

/* The general register operand, the memory operand; NULL: none. PCMPxSTRx has fixed ones. */
const struct x86_operand *vec_gpr(const struct x86_insn *in);
const struct x86_operand *vec_mem(const struct x86_insn *in);

static inline bool vec_is_pcmpstr(const struct x86_insn *in)
{
    return in->map == 3 && in->opcode >= 0x60 && in->opcode <= 0x63;
}

/* Returns the length, at most VEC_ENCODED_MAX. */
size_t vec_encode(const struct x86_insn *in, const uint8_t *bytes, const struct vec_place *place,
                  uint8_t *out);

#endif
