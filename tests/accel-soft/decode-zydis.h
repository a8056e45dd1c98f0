/*
 * decode-zydis.h: one encoding decoded by both decoders, and what may differ between them on
 * purpose. Private to test-decode-zydis.
 */
#ifndef TEST_DECODE_ZYDIS_H
#define TEST_DECODE_ZYDIS_H

#include "../../plugins/accel-soft/x86/dec.h"

#include <Zydis/Zydis.h>

enum aspect { VALIDITY, LENGTH, OPSIZE, ADDRSIZE, FEATURE, PREFIX, PRIVILEGE, COUNT, KIND, REGISTER,
              SIZE, ACTION, MEMORY, IMMEDIATE, ALIGNMENT, FLOATING, IMPLICIT, BRANCH, ASPECTS };

struct pair {
    const uint8_t *bytes;
    unsigned bits;
    bool ours_ok, theirs_ok;
    struct x86_insn in;
    ZydisDecodedInstruction z;
    ZydisDecodedOperand zo[ZYDIS_MAX_OPERAND_COUNT];
};

/* Zydis decodes an extension that no CPU model offers. */
bool not_offered(const ZydisDecodedInstruction *z);
/* The feature found here is one that Zydis' class may need. */
bool feature_agrees(const struct pair *p);

struct decision {
    enum aspect aspect;
    bool (*applies)(const struct pair *p);
    const char *reason;
};
enum { DECISIONS = 26 };
extern const struct decision decisions[DECISIONS];

#endif
