/*
 * interp.h: the interpreter's decoded blocks and how its handlers find their way from one to the
 * next. What a handler does is in x86/interp_*.c; fetching and caching is in blocks.c.
 *
 * A block is straight-line code decoded into an array of struct dop ("decoded operation"). A
 * handler executes its operation and calls the next one as its last act, a sibling call, so a
 * block runs without a loop around it. Builds without sibling calls (-O0, sanitizers) return the
 * next operation to a loop instead; the handlers are the same text (NEXT, GOTO).
 *
 * cpu->rip is stale inside a block. A handler that may fault or that others look at first calls
 * interp_sync(). A dropped block stays in memory with all its handlers replaced by op_stale, so
 * that whoever is in it, or jumps into it, leaves at the next instruction; memory is reclaimed only
 * between blocks, all at once.
 */
#ifndef SOFT_INTERP_H
#define SOFT_INTERP_H

#include "soft.h"

struct dop;
struct block;
typedef const struct dop *(*op_fn)(struct vcpu *cpu, const struct dop *op);

/*
 * One operation. Registers are byte offsets from the start of struct vcpu, where gpr[] is, so AH is
 * offset 1 and "no register" is the offset of the member that is always zero.
 */
struct dop {
    op_fn fn;
    uint64_t a;       /* displacement, branch target, 64-bit immediate, or a struct xrec * */
    int32_t imm;
    uint16_t off;     /* of the instruction from the start of its block */
    uint8_t idx;      /* instructions of the block before this one */
    uint8_t r, m;     /* register operands: destination, source */
    uint8_t base, index, scale;
    uint8_t seg;      /* offset of the segment's base / 8 */
    uint8_t fl;       /* DOP_...: the segment's number and the address size, for slow paths */
    uint8_t count;    /* ends of blocks: instructions executed when it is done */
    uint8_t x;
};

enum { DOP_SEG = 7, DOP_A16 = 8, DOP_A32 = 16 };

/* Follows an operation that ends a block, once for each place it may go to. Two dops long. */
struct link {
    op_fn fn;                 /* op_resolve: what runs while target is this link itself */
    uint64_t rip;             /* where to */
    const struct dop *target; /* the first operation there */
    uint64_t key;             /* code_key when it was found; equal: still good */
    struct link *next;        /* other links to the same block */
    struct block *to;
    uint64_t pad[2];
};

/* An instruction with no handler of its own: executed from its x86_insn. */
struct xrec {
    void (*exec)(struct vcpu *cpu, const struct x86_insn *in);
    struct x86_insn in;
    uint8_t bytes[16];
};

struct block {
    uint64_t rip, gpa, gpa2;  /* gpa2: page that a page-crossing instruction ends in, or ~0 */
    uint64_t mode;
    struct block *hash_next, *page_next[2];
    struct link *in;
    uint16_t len;
    uint8_t ops, valid;       /* operations, links not counted */
    uint32_t pad[7];
    /* struct dop follow */
};

enum { LOOKUP_BITS = 13, LOOKUP_ENTRIES = 1 << LOOKUP_BITS, BLOCK_INSNS = 48,
       BLOCK_HASH_BITS = 16, PAGE_HASH_BITS = 12, CODE_MSGS = 4096 };

struct lookup {
    uint64_t rip, key;
    struct block *block;
    uint64_t pad;
};

/* A guest-physical page with blocks of this CPU. */
struct code_page {
    uint64_t gpa;
    const void *map;          /* code_pages of its slot then: RAM may be another by now */
    struct block *first;
    struct code_page *next;
};

/* What another thread has to say: CODE_WRITTEN ... */
struct code_msg {
    uint64_t gpa, len;
    uint32_t from;            /* CODE_PROTECT: the CPU that has decoded there */
    uint32_t kind;
};

struct interp {
    struct lookup lookup[LOOKUP_ENTRIES]; /* by rip */
    struct link *link;        /* the link that asked for the next block */
    uint8_t leave;            /* return to the run loop although exit_req is 0 */
    uint8_t upper_own;        /* a non-global page of the upper half was looked up */
    uint16_t mode;
    uint64_t gen[2];
    uint32_t pauses;

    uint8_t *arena;
    uint64_t arena_size, arena_used;
    struct block **hash;
    struct code_page **pages, *free_pages;

    /* from other threads */
    _Atomic uint32_t msg_lock, msg_pending;
    unsigned msg_first, msg_count; /* msg[first..count) are to be read */
    struct code_msg msg[CODE_MSGS];
};

enum { CODE_WRITTEN = 1, CODE_PROTECT = 2, CODE_ALL = 3, CODE_OVERFLOW = 4 };

/* Mode bits of a block. */
enum {
    MODE_CODE16 = 0, MODE_CODE32 = 1, MODE_CODE64 = 2, MODE_CODE = 3,
    MODE_STACK32 = 4, MODE_STACK64 = 8, MODE_FLAT = 16, MODE_USER = 32,
    MODE_ONCE = 64,    /* one instruction, then leave */
    MODE_LIMIT = 128,  /* CS has a limit below 4 GiB: no links, each jump is checked */
    MODE_INNER = 256,  /* CPL 1 or 2 */
    MODE_BITS = 16,
};

static inline const struct dop *block_ops(const struct block *b)
{
    return (const struct dop *)(const void *)(b + 1);
}

static inline struct block *block_of(const struct dop *op)
{
    return (struct block *)(void *)(uintptr_t)(op - op->idx) - 1;
}

static inline unsigned lookup_index(uint64_t rip)
{
    return (unsigned)((rip ^ (rip >> LOOKUP_BITS)) & (LOOKUP_ENTRIES - 1));
}

/* Make cpu->rip name the instruction being executed. */
static inline void interp_sync(struct vcpu *cpu, const struct dop *op)
{
    cpu->rip = block_of(op)->rip + op->off;
}

/* ---- blocks.c ---- */

struct block *block_find(struct vcpu *cpu, unsigned extra_mode); /* at cpu->rip; may raise */
void blocks_drop_page(struct vcpu *cpu, uint64_t gpa);
void blocks_drop_all(struct vcpu *cpu); /* between blocks only */
bool blocks_have(struct vcpu *cpu, uint64_t gpa);

/* ---- interp.c ---- */

void interp_code_moved(struct vcpu *cpu, bool global_too); /* linear -> physical has changed */
void interp_mode_changed(struct vcpu *cpu);
void interp_step(struct vcpu *cpu);                 /* exactly one instruction */
void interp_run(struct vcpu *cpu, uint64_t budget); /* until there is reason to look up */
const struct dop *op_stale(struct vcpu *cpu, const struct dop *op);
const struct dop *op_resolve(struct vcpu *cpu, const struct dop *op);

/* ---- x86/smc.c ---- */

/* This CPU is about to decode from a page of RAM it had no blocks on: smc.c has the protocol. */
const void *smc_enter(struct vcpu *cpu, uint64_t gpa);
void smc_lines(struct vcpu *cpu, uint64_t gpa, uint64_t len);
void smc_leave(struct vcpu *cpu, uint64_t gpa, const void *map);
void smc_drain(struct vcpu *cpu);
/* Drain if there is something; between blocks only. */
static inline void smc_look(struct vcpu *cpu)
{
    if (atomic_load_explicit(&cpu->interp->msg_pending, memory_order_relaxed))
        smc_drain(cpu);
}
void smc_written(struct vcpu *cpu, uint64_t gpa, uint64_t len); /* any thread */

/* ---- x86/interp_select.c ---- */

/*
 * Fill OP (and the links behind it, returned in *links) for IN at RIP; AT is where decoded
 * records may go (xrec). True: the block ends here.
 */
struct build {
    struct vcpu *cpu;
    unsigned mode;
    uint64_t rip;           /* of the instruction */
    struct xrec *rec;       /* room for one; used: taken */
    bool rec_used;
    unsigned links;
    uint64_t link_rip[2];
};
bool interp_select(struct build *b, struct x86_insn *in, const uint8_t *bytes, struct dop *op);
/* Handlers for what decoding found instead of an instruction. */
const struct dop *op_undefined(struct vcpu *cpu, const struct dop *op);
const struct dop *op_too_long(struct vcpu *cpu, const struct dop *op);
/* The end of a block that does not end in a jump: goes to its one link. */
const struct dop *op_fall(struct vcpu *cpu, const struct dop *op);
const struct dop *op_leave(struct vcpu *cpu, const struct dop *op);

#endif
