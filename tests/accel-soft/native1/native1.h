/*
 * native1.h: the oracle that compares single instructions on the host's processor with the software
 * CPU. One case is an encoding, a register file and some memory; both sides run it at the same
 * linear addresses and must agree on everything that the instruction defines.
 */
#ifndef NATIVE1_H
#define NATIVE1_H

#include <stdbool.h>
#include <stdint.h>

/* ---- the common address space, below 2 GiB so that 32-bit addressing reaches it -------------- */

enum {
    CODE = 0x10000000, CODE_LEN = 0x10000,   /* slots with instructions, executable for both */
    STUB = CODE + CODE_LEN,                  /* native: entry and exits; not mapped for the guest */
    EXIT_A = STUB + 0x400,                   /* a slot goes here when it falls through */
    EXIT_B = STUB + 0x440,                   /* ... and when it branches */
    CTX = 0x10200000,                        /* native only: struct ctx */
    DATA = 0x11000000, DATA_PAGES = 12, DATA_LEN = DATA_PAGES * 4096,
    SLOT = 64, SLOTS = CODE_LEN / SLOT,
    SLOT_TAKEN = 40,                         /* a taken branch lands here, in its slot */
    GS_BASE = 0x3000,
    XSAVE_BYTES = 832,
};
/* Rights of the data pages: N not mapped, R read-only, W writable. */
#define DATA_RIGHTS "NWWRNRWNWWWN"

struct regs {
    uint64_t gpr[16], rip, rflags;
    uint8_t xsave[XSAVE_BYTES] __attribute__((aligned(64)));
};

/* What came out. vector: -1 for none. */
struct outcome {
    struct regs regs;
    int vector;
    uint32_t error;
    uint64_t cr2;
};

struct window { uint32_t off, len; }; /* bytes of the data area that a case may touch */

enum cls {
    CLS_ALU, CLS_SHIFT, CLS_MULDIV, CLS_BIT, CLS_MOVE, CLS_STACK, CLS_STRING, CLS_FLOW, CLS_ATOMIC,
    CLS_BMI, CLS_X87, CLS_MMX, CLS_SSE, CLS_SSE_FP, CLS_AVX, CLS_AVX_FP, CLS_FMA, CLS_CRYPTO,
    CLS_STATE, CLS_COUNT
};

struct enc; /* a line of the tables: tab_*.c */

/* The memory operand: [base + index << scale + disp], 0xff for no register. */
struct mem_form {
    bool used, rip, a32, gs;
    uint8_t base, index, scale, disp_len;
    int32_t disp;
};

struct test_case {
    const struct enc *enc;
    uint8_t code[24];
    uint8_t len;
    uint8_t opsize;        /* 1, 2, 4, 8 */
    uint8_t reg, rm, vvvv;
    uint16_t mem_bytes;
    bool w, vex_l, lock, rex, vex_gpr;
    struct mem_form mem;
    uint64_t fixed_target; /* the address is in the code */
    uint64_t slot;         /* address of the instruction */
    /* from here on: one state of many */
    struct regs in;
    struct window win[2];
    unsigned windows;
    uint64_t target;       /* linear address of the memory operand; 0: none */
    uint64_t undef;        /* RFLAGS bits not to compare */
};

/* ---- memory.c: the mappings ------------------------------------------------------------------ */

struct memory {
    int fd;
    uint8_t *file;   /* all of it, in file order: what the guest's RAM slot points to */
    uint8_t *code;   /* the code area, writable */
    uint8_t *data;   /* the data area in the order of linear addresses, writable */
};
enum { FILE_CODE = 0, FILE_DATA = CODE_LEN, FILE_TABLES = FILE_DATA + DATA_LEN,
       FILE_LEN = FILE_TABLES + 0x10000, GPA_BASE = 0x40000000 };
int memory_init(struct memory *m);
/* Offset in the file of page n of the data area: not in order, so that crossings are real. */
uint32_t memory_file_off(unsigned data_page);

/* ---- native.c -------------------------------------------------------------------------------- */

int native1_host_init(void);
void native1_host_run(const struct test_case *c, struct outcome *out);

/* ---- soft.c ---------------------------------------------------------------------------------- */

/* rewrite: by the rewriter, else by the interpreter. */
int native1_soft_init(const struct memory *m, bool rewrite);
void native1_soft_run(const struct test_case *c, struct outcome *out);
void native1_soft_code_changed(void);
const char *native1_soft_format(const struct test_case *c, char *buf, unsigned len);

/* ---- gen.c ----------------------------------------------------------------------------------- */

struct rng { uint64_t s; };
uint64_t rnd(struct rng *r);
static inline unsigned rnd_below(struct rng *r, unsigned n)
{
    return (unsigned)((rnd(r) >> 33) * n >> 31);
}
static inline bool one_in(struct rng *r, unsigned n)
{
    return rnd_below(r, n) == 0;
}

/* Only classes named so; NULL: all. False: there is no such class. */
bool gen_init(const char *only);
unsigned gen_count(enum cls cls); /* encodings that this host can execute */
/* A new instruction for the slot address AT. */
void gen_insn(struct rng *r, struct test_case *c, uint64_t at);
/* New registers and memory for it (state.c). */
void gen_state(struct rng *r, struct test_case *c, uint8_t *data);
/* Flags that the instruction leaves undefined with these registers. */
uint64_t undefined_flags(const struct test_case *c);
enum cls enc_cls(const struct enc *e);
const char *cls_name(enum cls cls);

#endif
