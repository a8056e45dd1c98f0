/*
 * test-rw-random.h: what test-rw-random.c and its generator share: where things are, and a piece
 * of code with registers to begin with.
 */
#ifndef TEST_RW_RANDOM_H
#define TEST_RW_RANDOM_H

#include "native1/native1.h"

enum {
    STATES = 3, STEPS_MAX = 400,
    CODE_GPA = 0x100000, DATA_GPA = 0x200000, TABLE_GPA = 0x300000,
    DATA_ALL = DATA_PAGES + 3,            /* then a device, a supervisor's and an aliased page */
    CODE_ALIAS = 0x12000000,
    DEVICE_GPA = 0x10000000,
};
#define UPPER UINT64_C(0xffff800000000000)

struct piece {
    uint64_t at;               /* in the code area */
    unsigned len;
    uint8_t cpl;
    bool upper;
    uint8_t text[512];
    struct test_case insn;     /* one of them: its registers are the ones to begin with */
};

/* Registers and memory operands are chosen later: native1's gen_state() and piece_address(). */
void piece_make(struct rng *r, struct piece *b);
/* Somewhere good, bad or in the piece itself. */
uint64_t piece_address(struct rng *r, const struct piece *b);

#endif
