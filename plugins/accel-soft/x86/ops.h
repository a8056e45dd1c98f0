/*
 * ops.h: what handlers are written with: how to go on, registers by offset, addresses, memory.
 *
 * Handlers of memory operands are written once (ops_*.h) and compiled several times: a fast one for
 * each kind of address, which does nothing but look into the TLB, and a slow one (_s), which may
 * fault, cross pages and reach devices. A fast handler that misses calls the slow one as its last
 * act and has done nothing before. So fast handlers call no function and keep no frame.
 */
#ifndef SOFT_X86_OPS_H
#define SOFT_X86_OPS_H

#include "../interp.h"
#include "flags.h"
#include "mmu.h"

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/*
 * Sibling calls need an optimising compiler. Elsewhere handlers return the next operation to the
 * loop in interp.c; NULL ends that loop in both.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__) ||     \
    defined(MOBO_INTERP_LOOP)
#define INTERP_LOOP 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define INTERP_LOOP 1
#endif
#endif
#ifndef INTERP_LOOP
#define INTERP_LOOP 0
#endif

#if INTERP_LOOP
#define NEXT return (void)cpu, op + 1
#define GOTO(to) return (to)
#define CALL_OP(fn) return fn(cpu, op)
#else
#if defined(__clang__)
#define SIBLING __attribute__((musttail)) return
#else
#define SIBLING return
#endif
#define NEXT SIBLING op[1].fn(cpu, op + 1)
#define GOTO(to)                                                                                   \
    do {                                                                                           \
        const struct dop *goto_ = (to);                                                            \
        SIBLING goto_->fn(cpu, goto_);                                                             \
    } while (0)
#define CALL_OP(fn) SIBLING fn(cpu, op)
#endif

#define HANDLER(name) static const struct dop *name(struct vcpu *cpu, const struct dop *op)

/* Registers by offset from the start of struct vcpu. */
static inline uint64_t r64(const struct vcpu *cpu, unsigned off)
{
    return *(const uint64_t *)(const void *)((const uint8_t *)cpu + off);
}

static inline uint64_t reg_get(const struct vcpu *cpu, unsigned off, unsigned bits)
{
    const uint8_t *p = (const uint8_t *)cpu + off;
    switch (bits) {
    case 8:
        return *p;
    case 16:
        return *(const uint16_t *)(const void *)p;
    case 32:
        return *(const uint32_t *)(const void *)p;
    default:
        return *(const uint64_t *)(const void *)p;
    }
}

static inline void reg_set(struct vcpu *cpu, unsigned off, uint64_t val, unsigned bits)
{
    uint8_t *p = (uint8_t *)cpu + off;
    switch (bits) {
    case 8:
        *p = (uint8_t)val;
        break;
    case 16:
        *(uint16_t *)(void *)p = (uint16_t)val;
        break;
    case 32:
        *(uint64_t *)(void *)p = (uint32_t)val;
        break;
    default:
        *(uint64_t *)(void *)p = val;
        break;
    }
}

/* ---- addresses: linear, of the kinds b f d; kind s is op_linear ---- */

static inline uint64_t ea_b(const struct vcpu *cpu, const struct dop *op)
{
    return r64(cpu, op->base) + op->a;
}

static inline uint64_t ea_sum(const struct vcpu *cpu, const struct dop *op)
{
    return r64(cpu, op->base) + (r64(cpu, op->index) << op->scale) + op->a;
}

/* 64-bit, with FS or GS perhaps */
static inline uint64_t ea_f(const struct vcpu *cpu, const struct dop *op)
{
    return ea_sum(cpu, op) + r64(cpu, op->seg * 8u);
}

/* 32-bit addresses in flat segments */
static inline uint64_t ea_d(const struct vcpu *cpu, const struct dop *op)
{
    return (uint32_t)ea_sum(cpu, op);
}

/* The slow path: all kinds, all checks; rip is made to name the instruction. */
static inline uint64_t ea_s(struct vcpu *cpu, const struct dop *op, unsigned bytes, unsigned write)
{
    uint64_t off = ea_sum(cpu, op);
    if (op->fl & DOP_A32)
        off = (uint32_t)off;
    else if (op->fl & DOP_A16)
        off = (uint16_t)off;
    interp_sync(cpu, op);
    return seg_linear(cpu, op->fl & DOP_SEG, off, bytes, write);
}

enum { KIND_B, KIND_F, KIND_D, KIND_S, KINDS };

/* Fill the address fields of OP from IN; which kind of handler it needs. */
unsigned op_address(struct build *b, const struct x86_insn *in, struct dop *op);
/* Offset of a general register operand. */
unsigned op_reg(const struct x86_operand *o);
/* 0..3 for 1, 2, 4, 8 bytes */
static inline unsigned size_log(unsigned bytes)
{
    return bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : 3;
}

/* ---- where to after a block ---- */

/* True: the run loop or execute() wants to look. COUNT instructions are done. */
static inline bool op_poll(struct vcpu *cpu, unsigned count)
{
    uint64_t n = cpu->insns + count;
    cpu->insns = n;
    return (n >= cpu->insn_limit) |
           (atomic_load_explicit(&cpu->exit_req, memory_order_relaxed) != 0);
}

#define LINKS(op) ((const struct link *)(const void *)((op) + 1))

/* Leave by a link. */
#define FOLLOW(l_, count_)                                                                         \
    do {                                                                                           \
        const struct link *link_ = (l_);                                                           \
        if (UNLIKELY(op_poll(cpu, (count_)))) {                                                    \
            cpu->rip = link_->rip;                                                                 \
            return NULL;                                                                           \
        }                                                                                          \
        if (UNLIKELY(link_->key != cpu->code_key[link_->rip >> 63])) {                             \
            const struct dop *stale_ = (const struct dop *)(const void *)link_;                    \
            GOTO_FN(op_resolve, stale_);                                                           \
        }                                                                                          \
        GOTO(link_->target);                                                                       \
    } while (0)

#if INTERP_LOOP
#define GOTO_FN(fn, to) return fn(cpu, (to))
#else
#define GOTO_FN(fn, to) SIBLING fn(cpu, (to))
#endif

/* ---- selectors of the fast handlers; NULL: none for this shape ---- */

op_fn fast_move(struct build *b, const struct x86_insn *in, struct dop *op);
op_fn fast_alu(struct build *b, const struct x86_insn *in, struct dop *op);
op_fn fast_misc(struct build *b, const struct x86_insn *in, struct dop *op);
op_fn fast_flow(struct build *b, const struct x86_insn *in, struct dop *op, bool *ends);

#endif
