/*
 * sys_handed.c: system instructions that sys_execute() (x86/sys.c) executes whole: WRMSR, INVLPG,
 * MOV CR, IN, OUT, CPUID, INT, ... Rewritten code calls it directly with the decoded instruction,
 * which lies in the code cache behind the call; the interpreter would have to find both first. And
 * the instruction behind which no code of its block follows, executed by the interpreter.
 */
#include "sys.h"

#include "../interp.h"

struct handed {
    uint64_t rip;
    struct x86_insn in;
};

enum { ALIGN = _Alignof(struct handed), JMP8 = 2 };
_Static_assert(sizeof(struct handed) + ALIGN + JMP8 < 128, "a short jump leads over it");

/* Behind the call at RET: jmp over, padding, struct handed. */
static inline uint64_t handed_at(uint64_t ret)
{
    return (ret + JMP8 + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
}

static uint64_t on_handed(struct vcpu *cpu, uint64_t ret)
{
    const struct handed *h = (const struct handed *)(uintptr_t)handed_at(ret);
    struct rw_before then = rw_before(cpu, ret);
    cpu->rip = h->rip;
    rw_to_c(cpu);
    if ((h->in.flags & INSN_PRIV) && cpu->cpl != 0)
        x86_raise_err(cpu, VEC_GP, 0);
    sys_execute(cpu, &h->in);
    if (h->in.flags & INSN_ENDS_BLOCK && h->in.op != OP_WRMSR && h->in.op != OP_CLTS)
        return rw_from_c(cpu);
    return rw_from_c_behind(cpu, &then, h->rip + h->in.len);
}

/* INS and OUTS, which may stop half-way, are the interpreter's. */
static bool handed(enum x86_op op)
{
    return sys_handles(op) && op != OP_INS && op != OP_OUTS;
}

bool rw_emit_handed(struct rw_tr *t, const struct x86_insn *in)
{
    if (!handed((enum x86_op)in->op))
        return false;
    rw_call_helper(t, on_handed);
    struct handed h = { .rip = rw_rip_of(t, t->cur), .in = *in };
    uint8_t *base = t->rw->rw_base, *ret = t->p;
    uint8_t *at = base + handed_at((uint64_t)(ret - base)); /* both views begin on a page */
    e1(t, 0xeb);
    e1(t, (unsigned)(at + sizeof h - (t->p + 1)));
    while (t->p < at)
        e1(t, 0xcc);
    memcpy(t->p, &h, sizeof h);
    t->p += sizeof h;
    if (in->flags & INSN_ENDS_BLOCK && in->op != OP_WRMSR && in->op != OP_CLTS)
        t->ended = 1;
    return true;
}

/* cpu->rip is the instruction's. */
static uint64_t on_step(struct vcpu *cpu, uint64_t ret)
{
    (void)ret;
    cpu->rw->stats.slow_insn++;
    rw_to_c(cpu);
    interp_step(cpu);
    return rw_from_c(cpu);
}

void rw_slow_last(struct rw_tr *t)
{
    e_mov_ri(t, H_T0, rw_rip_of(t, t->cur));
    e_store(t, H_T0, STATE(rip));
    rw_call_helper(t, on_step);
}
