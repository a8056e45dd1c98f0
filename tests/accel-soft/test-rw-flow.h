/*
 * test-rw-flow.h: the random programs of test-rw-flow.
 */
#ifndef TEST_RW_FLOW_H
#define TEST_RW_FLOW_H

#include <stdint.h>

enum { FUNCS = 7, PROGRAM = 0x100000, PROGRAM_LEN = 0x10000 };

/* Runs at base + PROGRAM, from at[0] on; base: a multiple of 4 MiB. */
extern struct program {
    uint64_t base;
    uint8_t code[PROGRAM_LEN];
    uint64_t at[FUNCS];        /* offsets of the functions */
    unsigned p;                /* where the next byte goes */
    unsigned depth;
    unsigned end;              /* how it ends */
} pr;

enum { R_CX = 1, R_SP = 4, R_BP = 5 };

void generate_seed(uint64_t number);
uint64_t rnd(uint64_t n); /* 0..n-1 */
void generate(uint64_t base);

#endif
