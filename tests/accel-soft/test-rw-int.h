/*
 * test-rw-int.h: what test-rw-int.c and its generator of instructions share.
 */
#ifndef TEST_RW_INT_H
#define TEST_RW_INT_H

#include "../../plugins/accel-soft/rw/rw.h"

enum {
    LIN = 0x11000000, DATA = 8192,     /* guest memory: linear address, where it natively is too */
};
enum { CF = 1, PF = 4, AF = 16, ZF = 64, SF = 128, OF = 2048, ARITH = 0x8d5 };

/* What generated code reaches through GS. */
extern struct ctx {
    struct vcpu cpu;
    uint64_t in[16], in_fl, out[16], out_fl, rsp, view, rsp_after;
} ctx;

struct test_insn {
    uint8_t b[24];
    unsigned len, disp_at, disp_len, moffs_at;
    struct x86_insn in;
};

extern uint8_t *data;   /* at LIN */
extern uint64_t seed;

uint64_t rnd(void);
static inline bool one_in(unsigned n)
{
    return rnd() % n == 0;
}

/* A random instruction, and registers and memory for it when it is executed at RIP. */
void random_case(struct test_insn *i, uint64_t rip);
/* Its memory operand, if it is accessed. */
const struct x86_operand *memory_operand(const struct x86_insn *in);

#endif
