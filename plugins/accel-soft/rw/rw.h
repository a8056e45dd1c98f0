/*
 * rw.h: the rewriter: 64-bit guest code rewritten for a 64-bit x86 host, instruction by
 * instruction, and what its files share. README.md in the folder above walks through it.
 *
 * Registers inside rewritten code. Guest RAX RCX RDX RBX RBP RSI RDI R8-R11 live in the host
 * registers of the same name. Guest RSP lives in host R13. Guest R12-R15 stay in cpu->gpr. Host R12
 * is the view, the flat table of the current context (x86/ftab.h); host R14 (T0) and R15 (T1) are
 * scratch between any two guest instructions. Host RSP is a stack of return pairs (flow.c). GS is
 * the struct vcpu. Vector, MMX and x87 registers are the guest's while cpu->vec_live is set.
 *
 * Arithmetic flags live in the host's EFLAGS (HOST), in cpu->fl_image (MEM), in both, or nowhere
 * when no one will read them (DEAD); flags.c follows them. Everything that calls C has them in MEM
 * or DEAD, and everything that comes back from C has them in both places.
 *
 * The slow way. A memory operand that is not in the view, an instruction that is not rewritten, a
 * host fault: the state is that before the instruction, the interpreter executes it (and raises
 * what is due), and rewritten code goes on behind it. So nothing here decides about a guest fault.
 *
 * Code caches belong to one virtual CPU each: no code is ever changed under another CPU's feet.
 */
#ifndef SOFT_RW_RW_H
#define SOFT_RW_RW_H

#include "../soft.h"

#include <stddef.h>

struct rw;
struct rw_block;

enum {
    RW_INSNS = 64,                /* of a block at most */
    RW_CODE_MAX = 16 << 10,       /* host bytes of a block at most; translation stops before */
    RW_JC_ENTRIES = 4096,         /* jump cache */
    RW_PAIR_STACK = 64 << 10,     /* bytes of a stack of return pairs */
};

/* Host registers. */
enum {
    H_RAX, H_RCX, H_RDX, H_RBX, H_RSPHOST, H_RBP, H_RSI, H_RDI, H_R8, H_R9, H_R10, H_R11,
    H_VIEW, H_RSP, H_T0, H_T1,
    H_SPILLED = 0xff,
};

/* Where guest register G lives; H_SPILLED: in cpu->gpr only. */
static inline unsigned rw_host_reg(unsigned g)
{
    return g == REG_RSP ? H_RSP : g >= 12 ? H_SPILLED : g;
}

/* ---- blocks (blk.c) ---- */

/*
 * A jump of a block to a guest address that is known. The rel32 at `site` points at the stub
 * until the link is resolved, then at the block's entry. Stub: `call glue.link`.
 */
struct rw_link {
    uint64_t rip;                 /* guest target */
    uint32_t site;                /* cache offset of the rel32 */
    uint32_t stub;                /* cache offset */
    uint8_t flags_mem;            /* the edge is taken with the flags in MEM: enter at entry_mem */
    uint8_t flags_dead;           /* neither: only to blocks whose live_in is 0 */
    uint8_t pad[6];
    struct rw_block *to, *from;
    struct rw_link *next_in;      /* other links to the same block */
};

/*
 * Side table: host code from `host` on (relative to the block) belongs to that instruction, and
 * the guest's flags are there. start: the instruction begins here, and may be resumed here.
 */
struct rw_side {
    uint16_t host;
    uint16_t guest : 12;          /* offset from the block's rip */
    uint16_t place : 2;           /* enum rw_flag_place */
    uint16_t start : 1;
};

struct rw_block {
    uint64_t rip, gpa;            /* of the first instruction */
    uint32_t code, size;          /* cache offset and length, cold part included */
    uint32_t entry, entry_mem;    /* cache offsets: flags in HOST; flags in MEM */
    uint16_t len;                 /* guest bytes */
    uint8_t insns, links, cpl;    /* cpl: 0 or 3 */
    uint8_t live_in;              /* FL_BIT_...: flags that it reads before it sets them */
    uint8_t valid;
    uint8_t uses_vec;
    uint8_t mirror;               /* its accesses are those of mirror.h */
    uint16_t sides;
    uint16_t look_lo, look_hi;    /* page offsets of all code that was looked at: for smc_lines */
    struct rw_block *hash_next, *page_next;
    struct rw_link *in;           /* links that lead here */
    struct rw_link *link;         /* [links] */
    struct rw_side *side;         /* [sides], sorted by host */
};

/* Entry of a jump cache: guest address to entry_mem, as a host address. */
struct rw_jc {
    uint64_t rip, host;
};

/* Byte offset in the jump cache; generated code computes the same (flow.c). */
static inline uint32_t rw_jc_offset(uint64_t rip)
{
    return ((uint32_t)rip * UINT32_C(0x9e3779b1) >> 16) & ((RW_JC_ENTRIES - 1) << 4);
}

/* Cache offsets of the glue (glue.c), all inside the code cache. */
struct rw_glue {
    uint32_t enter;               /* C calls it: void (struct vcpu *, host address) */
    uint32_t leave;               /* jump: cpu->rip is set, flags in MEM; returns from enter */
    uint32_t leave_t0;            /* jump: the same, guest rip in T0 */
    uint32_t miss[2][6];          /* call, from cold stubs; [write][log2 of the size]: T0 is the
                                     address; comes back with T1 good, or not at all */
    uint32_t mirror_miss[2][6];   /* the same where the address is one of mirror.h */
    uint32_t insn;                /* call: the interpreter executes the instruction it is in */
    uint32_t link;                /* call, from the stub of a link */
    uint32_t link_host;           /* the same with the flags in HOST only */
    uint32_t lookup;              /* jump: to guest rip T0, flags in MEM; probes the jump cache */
    uint32_t lookup_slow;         /* jump: the same without the probe; empty jump cache entries are
                                     { an address of another slot, rx_base + lookup_slow } */
    uint32_t fault;               /* fault.c resumes here: T1 is the faulting host address + 1 */
    uint32_t ret_miss;            /* jump: as lookup, after a RET whose pair did not match */
    uint32_t helper;              /* call: the C function T0, uint64_t (struct vcpu *, host address
                                     behind the call); goes on where it says (sys.h) */
    uint32_t syscall, sysret;     /* call, flags in MEM: T0 is the next instruction of SYSCALL; never
                                     come back (sys_call.c) */
    uint32_t mask_user, mask_kernel; /* data: the two masks of PEXT */
};

struct rw_stats {
    uint64_t blocks, insns, guest_bytes, host_bytes, translate_ns, translate_ticks;
    uint64_t misses, fills, slow_mem, slow_insn, host_faults;
    uint64_t lookups, lookup_found, links, unlinks, ret_misses, invalidated, flushes, enters;
    uint64_t left_request, left_other, turns; /* returns of rw_enter(); turns of the interpreter */
    uint64_t run_ticks, turn_ticks;           /* TSC: in rw_enter(), in turns of the interpreter */
    uint64_t slow_op[OP_COUNT];   /* instructions executed by the interpreter, by operation */
};

enum { RW_CHUNK_BITS = 12 };
#define RW_CHUNKS(size) (((size) >> RW_CHUNK_BITS) + 16)

struct rw {
    /* the code cache: one memfd seen twice */
    uint8_t *rw_base;             /* written through this */
    uint8_t *rx_base;             /* executed here */
    uint32_t size, used, glue_end;
    uint32_t full;                /* out of room: flush between blocks */
    struct rw_glue glue;

    /* blocks */
    struct rw_block **hash;       /* by rip and cpl */
    struct rw_block **by_code;    /* in order of `code`; count */
    uint32_t count, by_code_max;
    uint32_t *chunk;              /* by_code where each RW_CHUNK_BITS piece of the cache begins */
    uint8_t *meta;                /* arena of blocks, links and side tables; reset with the cache */
    size_t meta_size, meta_used;
    struct rw_pages *pages;       /* blk.c: guest-physical page -> blocks */
    struct rw_jc *jc_user, *jc_kernel; /* jc_user: of the current context (blk.c) */
    struct rw_jcs *jcs;           /* blk.c: all jump caches */
    uint8_t *stack[2];            /* pair stacks: [0] CPL 0, [1] CPL 3; mmap with a guard page */

    struct rw_tr *tr;             /* translation in progress: preallocated */
    struct rw_stats stats;
    void *perf_map;               /* FILE of the perf map, or NULL (stats.c) */
    uint32_t insns_max;           /* of a block; 0: RW_INSNS (lockstep.c) */
};

/* ---- translation (trans.c): what the emitting files share ---- */

/* The six arithmetic flags as bits of liveness sets. */
enum {
    FL_BIT_C = 1, FL_BIT_P = 2, FL_BIT_A = 4, FL_BIT_Z = 8, FL_BIT_S = 16, FL_BIT_O = 32,
    FL_BIT_ALL = 63,
};

enum rw_flag_place { FLAGS_DEAD = 0, FLAGS_HOST = 1, FLAGS_MEM = 2, FLAGS_BOTH = 3 };

/* Flags of one instruction of the block. */
struct rw_fl {
    uint8_t reads;    /* bits that it reads */
    uint8_t kills;    /* bits that it certainly writes (undefined ones count: as the host does) */
    uint8_t may;      /* bits that it may write: kills and more (shifts by CL, ...) */
    uint8_t live;     /* bits read later: live behind the instruction */
};

/* A piece of cold code, written behind the hot part (trans.c). */
struct rw_cold {
    uint8_t kind;                 /* enum rw_cold_kind */
    uint8_t write, size_log2;     /* COLD_MISS */
    uint8_t insn;                 /* index of the instruction */
    uint8_t sites;                /* rel32s of the hot part that jump here */
    uint8_t link;                 /* COLD_LINK: index */
    uint32_t site[2];             /* offsets in the cache */
    uint32_t resume;              /* cache offset where the hot part goes on */
};
enum rw_cold_kind {
    COLD_MISS,    /* call glue.miss; jmp resume */
    COLD_INSN,    /* call glue.insn: never comes back here */
    COLD_LINK,    /* the stub of a link: call glue.link */
};

enum { RW_COLDS = 4 * RW_INSNS, RW_LINKS = RW_INSNS + 2, RW_LIVES = 16 };

struct rw_tr {
    struct vcpu *cpu;
    struct rw *rw;
    uint8_t *p;                   /* next byte, in rw->rw_base */
    uint8_t *start, *limit;       /* start of the block; hot code must not pass limit */
    uint64_t rip, gpa;            /* of the block */
    uint8_t cpl;
    uint8_t flags;                /* enum rw_flag_place, here and now */
    uint8_t ended;                /* set by an emitter: control does not fall through */
    uint8_t uses_vec;
    uint8_t mirror;
    unsigned n, cur;              /* instructions, the one being translated */
    uint16_t off[RW_INSNS + 2];   /* offsets of the instructions from rip; [n]: end */
    struct x86_insn in[RW_INSNS];
    struct rw_fl fl[RW_INSNS + 1];
    const uint8_t *bytes;         /* the code of the block, in `page` */
    const uint8_t *source;        /* the guest page, in RAM */
    uint64_t copied;              /* lines of it that are in `page` */
    uint8_t page[4096 + 16] __attribute__((aligned(64))); /* each line as read once; behind it
                                     what cross.c has read of the next page */
    uint8_t crosses;              /* behind the last instruction: one that crosses the page's end */
    uint16_t look_lo, look_hi;
    unsigned known;               /* fl[] is right from here on */
    struct x86_insn peek;         /* trans.c: code that is not in the block */
    uint64_t live_rip[RW_LIVES];  /* what rw_live_at() has found out */
    uint8_t live[RW_LIVES];
    struct rw_cold cold[RW_COLDS];
    unsigned colds;
    struct rw_link link[RW_LINKS];
    unsigned links;
    struct rw_side side[4 * RW_INSNS + RW_COLDS + 2];
    unsigned sides;
    struct rw_block block;        /* filled when done */
};

/* Guest address of instruction I of the block; I = n: behind the last. */
static inline uint64_t rw_rip_of(const struct rw_tr *t, unsigned i)
{
    return t->rip + t->off[i];
}

/* ---- mem.c: memory operands ---- */

/* DST = effective address, cut to opsize (LEA); DST may be T0. Destroys T0, T1. Keeps host flags. */
void rw_lea(struct rw_tr *t, const struct x86_insn *in, unsigned opsize, unsigned dst);
/* T0 = effective address of the memory operand, segment base included. Keeps host flags. */
void rw_ea(struct rw_tr *t, const struct x86_insn *in);
/*
 * The memory operand (rw_mem), or BYTES at T0 (rw_mem_t0): look-up and checks, then T0 + T1 is its
 * host address. ACC is ACC_R or ACC_W (mmu.h); ACC_W also covers reading. Host flags are lost;
 * the guest's are moved to MEM first if they live on. ALIGNED: a cold stub goes to the interpreter
 * unless the address is a multiple of BYTES (16-byte and wider operands; others re-check).
 */
void rw_mem(struct rw_tr *t, const struct x86_insn *in, unsigned bytes, unsigned acc);
void rw_mem_t0(struct rw_tr *t, unsigned bytes, unsigned acc);
/* T0 += T1, T1 is free: the operand is at [T0]. Keeps host flags. */
void rw_mem_fold(struct rw_tr *t);

/* ---- flags.c: where the guest's flags are ---- */

/* Fill in reads, kills, may of one instruction; of unknown ones: reads all, kills none. */
void rw_flags_of(const struct x86_insn *in, struct rw_fl *fl);
/* The next host instruction destroys EFLAGS: save the guest's if someone wants them. */
void rw_flags_clobber(struct rw_tr *t);
/* Flags to MEM if they are live: before anything that leaves the block for C. */
void rw_flags_to_mem(struct rw_tr *t);
/* Flags to HOST, keeping T0, T1 and all guest registers. */
void rw_flags_to_host(struct rw_tr *t);
/* (These two destroy T1.)  Directly before the guest's operation itself: to HOST if it reads or
   preserves live flags. */
void rw_flags_before_op(struct rw_tr *t);
/* The bare code: EFLAGS to fl_image (destroys T1), and back (destroys nothing). */
void rw_flags_save_code(struct rw_tr *t);
void rw_flags_restore_code(struct rw_tr *t);
/* trans.c calls it behind each instruction. */
void rw_flags_after_op(struct rw_tr *t);

/* ---- trans.c ---- */

/* Translate the code at cpu->rip (guest-physical gpa); NULL: cache full, or nothing to rewrite. */
struct rw_block *rw_translate(struct vcpu *cpu, uint64_t rip, uint64_t gpa);
/* The interpreter executes the current instruction: call glue.insn; flags are in both then. */
void rw_slow(struct rw_tr *t);
/* The same without a way back into the block, which is cheaper (sys_handed.c). */
void rw_slow_last(struct rw_tr *t);
/* Flags that code at that guest address reads before it sets them; FL_BIT_ALL if unknown. */
uint8_t rw_live_at(struct rw_tr *t, uint64_t rip);
/* A new cold piece; NULL cannot happen: RW_COLDS suffices. */
struct rw_cold *rw_cold_new(struct rw_tr *t, enum rw_cold_kind kind);
/* A side-table entry for what follows; rw_flags_before_op makes one, start: trans.c only. */
void rw_side_add(struct rw_tr *t, bool start);
/* Emit a rel32 jump (opcode bytes given by the caller before) to be filled for COLD. */
void rw_cold_site(struct rw_tr *t, struct rw_cold *cold);

/*
 * The emitters: true if they have translated t->in[t->cur]; false: not theirs (nothing emitted).
 * One that ends the block sets t->ended. Side-table entries are made by trans.c.
 */
bool rw_emit_int(struct rw_tr *t, const struct x86_insn *in);    /* int.c */
bool rw_emit_stack(struct rw_tr *t, const struct x86_insn *in);  /* stack.c: PUSH POP LEAVE ... */
bool rw_emit_flow(struct rw_tr *t, const struct x86_insn *in);   /* flow.c */
bool rw_emit_sys(struct rw_tr *t, const struct x86_insn *in);    /* sys.c: SYSCALL STI RDTSC ... */
bool rw_emit_str(struct rw_tr *t, const struct x86_insn *in);    /* str.c: MOVS STOS ... */
bool rw_emit_vec(struct rw_tr *t, const struct x86_insn *in);    /* vec.c */
/* cross.c: read the instruction that goes on in the next page to in[n]; false: the interpreter's. */
bool rw_cross_read(struct rw_tr *t);
/* Before its own code: is it still that instruction? Destroys T0, T1, EFLAGS. */
void rw_cross_check(struct rw_tr *t);
/* flow.c: go on at RIP behind the block (fall through, page end). */
void rw_emit_goto(struct rw_tr *t, uint64_t rip);
/* flow.c: a RET whose return address is in T0; BEHIND: what RSP is short of its slot. */
void rw_emit_ret_tail(struct rw_tr *t, const struct x86_insn *in, int32_t behind);

/* ---- glue.c, slow.c, fault.c ---- */

int rw_glue_build(struct rw *rw);
void rw_glue_sys(struct rw_tr *t, struct rw_glue *g); /* sys_call.c */
/* Functions called through glue.helper: flags and modes as C code wants them; and the way back to
   rewritten code at cpu->rip, whatever has changed: what the function returns. */
void rw_to_c(struct vcpu *cpu);
uint64_t rw_from_c(struct vcpu *cpu);
/* The same; back to the code behind the call if that is still the code of NEXT. */
struct rw_before {
    uint64_t ret, dropped; /* rw_before() notes them */
    unsigned cpl, ready;
};
static inline struct rw_before rw_before(const struct vcpu *cpu, uint64_t ret)
{
    return (struct rw_before){ .ret = ret, .dropped = cpu->rw->stats.invalidated, .cpl = cpu->cpl,
                               .ready = cpu->vec_ready };
}
uint64_t rw_from_c_behind(struct vcpu *cpu, const struct rw_before *then, uint64_t next);
/* What the glue calls. They return the host address to go on at, or 0: leave to the run loop. */
uint64_t rw_on_miss(struct vcpu *cpu, uint64_t linear, uint64_t ret, uint64_t what);
uint64_t rw_on_insn(struct vcpu *cpu, uint64_t ret);
uint64_t rw_enter_link(struct vcpu *cpu, uint64_t ret);     /* slow.c: flags, then rw_on_link */
uint64_t rw_enter_lookup(struct vcpu *cpu, uint64_t rip);   /* and rw_on_lookup */
uint64_t rw_on_link(struct vcpu *cpu, uint64_t ret);        /* link.c */
uint64_t rw_on_lookup(struct vcpu *cpu, uint64_t rip);      /* link.c; cpu->rip is rip */
/* Enter rewritten code at a host address; the only way to do it. Returns when the run loop has to
   look up; precise state, flags in cc_res and cc_src. Exceptions unwind past it. */
void rw_enter(struct vcpu *cpu, uint64_t host);
/* ---- blk.c, link.c, execute.c ---- */

/* The valid block at rip in the current mode, translated if need be; NULL: the interpreter's turn
   (cpu->rip is rip then). May raise #PF of the fetch. */
struct rw_block *rw_find(struct vcpu *cpu, uint64_t rip);
/* The block and instruction that a host address inside the cache belongs to. */
struct rw_block *rw_block_at(const struct rw *rw, uint64_t host, unsigned *guest_off);
/* The same with the place of the flags at exactly that host address (fault.c); false: no block. */
bool rw_place_at(const struct rw *rw, uint64_t host, unsigned *guest_off,
                 enum rw_flag_place *place);
/* Host address of the instruction at guest offset OFF of the block, 0: none starts there. */
uint64_t rw_host_of(const struct rw *rw, const struct rw_block *b, unsigned off);
/* Drop blocks on a guest-physical page (smc.c), or all. Never frees memory under running code. */
void rw_drop_page(struct vcpu *cpu, uint64_t gpa);
bool rw_have(struct vcpu *cpu, uint64_t gpa);
void rw_drop_all(struct vcpu *cpu);
/* linear -> physical has changed: of the current context, or of the upper half too (mmu.c). */
void rw_code_moved(struct vcpu *cpu, bool upper_too);
/* The same of the current context's page at LINEAR, or the mapping of 2^shift bytes (INVLPG). */
void rw_page_moved(struct vcpu *cpu, uint64_t linear, unsigned shift);
/* view_user is another context's now (ftab.c): jump cache and pair stack follow. */
void rw_context_changed(struct vcpu *cpu, unsigned context);
/* What that context knew of the lower half is void (ftab.c). */
void rw_context_dropped(struct vcpu *cpu, unsigned context);
/* May the rewriter run the CPU's code in its present mode? */
bool rw_mode_ok(const struct vcpu *cpu);

extern const struct engine engine_rw;

#endif
