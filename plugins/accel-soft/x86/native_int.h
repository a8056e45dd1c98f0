/*
 * native_int.h: what the files native*.c, fpu.c and vecmem.c share.
 */
#ifndef SOFT_X86_NATIVE_INT_H
#define SOFT_X86_NATIVE_INT_H

#include "native.h"
#include "native_sig.h"

enum {
    THUNK_CODE = 4 << 20,     /* bytes of machine code per virtual CPU, touched as needed */
    THUNK_SLOTS = 32768,      /* power of two; look-up table */
    THUNK_MAX = 24576,        /* thunks; encodings beyond run through one scratch thunk */
    THUNK_BYTES = 512,        /* no thunk is longer */
    THUNK_SCRATCH = 464,      /* into x87_image: bytes the processor leaves to software */
};

enum thunk_kind { THUNK_RUN, THUNK_LOAD, THUNK_STORE, THUNK_COPY };

/* thunk.flags */
enum {
    THUNK_VEX = 1, THUNK_X87 = 2, THUNK_MMX = 4, THUNK_ALIGNED = 8, THUNK_FP = 16,
    THUNK_FLAGS_IN = 32, THUNK_FLAGS_OUT = 64, THUNK_PROBE = 128,
    THUNK_XMM = 256,    /* OP_MMX that works on XMM registers too */
    THUNK_NO_MM = 512,  /* OP_MMX without an MM register: the x87 state stays as it is */
};

struct native_thunk {
    uint64_t (*enter)(struct vcpu *cpu, void *mem); /* THUNK_DONE ... */
    uint16_t flags;    /* THUNK_... */
    uint8_t kind;      /* enum thunk_kind */
    uint8_t mem_size, mem_rw;
    uint8_t reg, reg2; /* THUNK_LOAD, _STORE, _COPY: vector registers */
    uint8_t key_len;   /* 0: free slot */
    uint8_t key[24];
};

/* What vec_execute() ran last from some address of instruction bytes; bytes and mode decide. */
struct native_recent {
    const struct native_thunk *thunk; /* NULL: free */
    uint8_t len, code_bits, bytes[22];
};
enum { NATIVE_RECENT = 1024 };

/* One memfd seen twice: written through rw, executed through rx. Never both in one mapping. */
struct native {
    struct thunk_guard guard;
    uint8_t *rw, *rx;
    size_t used;
    unsigned count;
    struct native_thunk scratch; /* rebuilt for each use once the table is full */
    size_t scratch_off;
    struct native_recent recent[NATIVE_RECENT];
    struct native_thunk slot[THUNK_SLOTS];
};

/* ---- native_gen.c ---- */

/* Fills t for the instruction; its code goes to at (at most THUNK_BYTES). Returns the length. */
size_t thunk_build(const struct vcpu *cpu, const struct x86_insn *in, const uint8_t *bytes,
                   struct native_thunk *t, uint8_t *at);
/* The identity of an instruction's thunk: key and key_len of t. False: not one for a thunk. */
bool thunk_key(const struct vcpu *cpu, const struct x86_insn *in, const uint8_t *bytes,
               struct native_thunk *t);

/* ---- fpu.c ---- */

/* The control word with its reserved bits, and ES and B of the status word after it. */
void fpu_set_fcw(struct x87_image *f, uint16_t fcw);
/* #NM of instructions that CR0.EM and CR0.TS both stop. */
void fpu_check(struct vcpu *cpu);
/* Linear address of the memory operand; #GP(0) if it is not aligned. */
uint64_t fpu_operand(struct vcpu *cpu, const struct x86_insn *in, unsigned len, unsigned align,
                     bool write);

/* ---- vecmem.c ---- */

void vec_maskmov(struct vcpu *cpu, const struct x86_insn *in);
void vec_maskmovq(struct vcpu *cpu, const struct x86_insn *in);
void vec_gather(struct vcpu *cpu, const struct x86_insn *in, const uint8_t *bytes);

/* ---- native.c ---- */

/* #UD, #NM and #MF before a vector, MMX or x87 instruction (SDM volume 3A, 2.5, 13.1, 14.1). */
void vec_check_sse(struct vcpu *cpu);
void vec_check_avx(struct vcpu *cpu);
void vec_check_x87(struct vcpu *cpu);
void vec_check_mmx(struct vcpu *cpu);
/* MMX turns the stack so that MM n is ST(n), TOP 0, all tags valid (SDM volume 1, 9.5.1). */
void vec_enter_mmx(struct vcpu *cpu);

/* Cut an address to the address size. */
static inline uint64_t vec_cut(const struct x86_insn *in, uint64_t ea)
{
    return in->addrsize == 8 ? ea : in->addrsize == 4 ? (uint32_t)ea : (uint16_t)ea;
}

/* The offset of the memory operand. */
static inline uint64_t vec_ea(const struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t ea = (uint64_t)in->disp;
    if (in->base == REG_RIP)
        ea += cpu->rip + in->len;
    else if (in->base != REG_NONE)
        ea += cpu->gpr[in->base & 15];
    if (in->index != REG_NONE)
        ea += cpu->gpr[in->index & 15] * in->scale;
    return vec_cut(in, ea);
}

static inline uint64_t vec_seg_base(const struct vcpu *cpu, unsigned seg)
{
    return cpu->code_bits == 64 && seg < SEG_FS ? 0 : cpu->seg[seg].base;
}

#endif
