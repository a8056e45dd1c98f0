/*
 * lockstep.c: runs the guest unit by unit, each twice: first by the interpreter, instruction by
 * instruction with the state noted after each, then, on the same memory, by one block of rewritten
 * code, whose links and look-ups all lead back to C. If the state that the rewriter ends in is not
 * that of the interpreter at the same place, the unit is repeated a few times (a device or another
 * thread may have written to memory in between) and then reported, and the machine stops.
 *
 * A unit is a block, or its part in front of an instruction that must not be executed twice: one
 * that a device hears of, that reads the time, that changes control registers or flushes
 * translations. Those are the interpreter's alone.
 *
 * With several CPUs one runs at a time, in exclusive sections of many units. As the guest is slowed
 * down a hundredfold but its clock is not, timer interrupts are held back for some instructions, or
 * it would do nothing else.
 */
#include "lockstep_int.h"

#include "../interp.h"
#include "../x86/mmu.h"
#include "../x86/vecstate.h"
#include "blk.h"

enum {
    TRIES = 4,
    SLICE = 2000,      /* units before another CPU has its turn */
    HOLD = 30000,      /* instructions between interrupts of the timer */
    EARLY_MAX = 200,
};

int lockstep_init(struct vcpu *cpu)
{
    struct soft *s = cpu->soft;
    if (s->lockstep_prop == LOCKSTEP_OFF || !cpu->rw)
        return MOBO_OK;
    struct lockstep *ls = aligned_alloc(64, (sizeof *ls + 63) & ~(size_t)63);
    if (!ls)
        return MOBO_ENOMEM;
    memset(ls, 0, sizeof *ls);
    ls->cpu = cpu;
    ls->mode = (uint8_t)s->lockstep_prop;
    ls->insns_first = ls->mode == LOCKSTEP_INSN ? ~(uint64_t)0 : s->lockstep_insns_prop;
    cpu->lockstep = ls;
    cpu->rw->insns_max = ls->insns_first ? 1 : 0;
    return ls_log_init(ls);
}

void lockstep_fini(struct vcpu *cpu)
{
    struct lockstep *ls = cpu->lockstep;
    if (!ls)
        return;
    ls_summary(ls);
    ls_log_fini(ls);
    free(ls);
    cpu->lockstep = NULL;
}

/* ---- what is executed once only ---- */

bool lockstep_once(const struct x86_insn *in)
{
    switch (in->op) {
    case OP_IRET: /* compared although sys_execute() does them */
    case OP_CLI:
    case OP_STI:
    case OP_SYSCALL:
    case OP_SYSRET:
    case OP_SWAPGS:
    case OP_CLAC:
    case OP_STAC:
    case OP_RDFSBASE:
    case OP_RDGSBASE:
    case OP_WRFSBASE:
    case OP_WRGSBASE:
    case OP_RDPID:
    case OP_MOV_FROM_SEG:
    case OP_MOV_TO_SEG:
    case OP_PUSH_SEG:
    case OP_POP_SEG:
    case OP_MOV_FROM_CR:
    case OP_SGDT:
    case OP_SIDT:
    case OP_SLDT:
    case OP_STR:
    case OP_SMSW:
    case OP_LAR:
    case OP_LSL:
    case OP_VERR:
    case OP_VERW:
    case OP_XGETBV:
    case OP_CLFLUSH:
    case OP_CLFLUSHOPT:
    case OP_CLWB:
    case OP_LFENCE:
    case OP_MFENCE:
    case OP_SFENCE:
    case OP_PREFETCH:
        return false;
    default:
        return sys_handles(in->op);
    }
}

static _Noreturn void leave(struct vcpu *cpu)
{
    cpu->lockstep->aborted = 1;
    longjmp(cpu->unwind, 2);
}

void lockstep_sys(struct vcpu *cpu, const struct x86_insn *in)
{
    if (cpu->lockstep->phase != LS_IDLE && lockstep_once(in))
        leave(cpu);
}

void lockstep_device(struct vcpu *cpu)
{
    if (cpu->lockstep->phase != LS_IDLE)
        leave(cpu);
}

/* ---- the two executions ---- */

/* Of the unit's page; NULL: not RAM any more. */
static const uint8_t *page_of(const struct lockstep *ls)
{
    uint64_t left;
    uint32_t flags;
    const uint8_t *p = soft_ram(ls->cpu->soft, ls->gpa & PAGE_MASK, &left, &flags);
    return p && left >= PAGE_BYTES ? p : NULL;
}

static bool decode(const struct lockstep *ls, const uint8_t *page, uint64_t rip,
                   struct x86_insn *in)
{
    static const struct x86_dec_mode mode = { .bits = 64 };
    unsigned off = (unsigned)(rip & (PAGE_BYTES - 1));
    return page && !((rip ^ ls->rip) & PAGE_MASK) &&
           x86_decode(page + off, PAGE_BYTES - off, mode, in) == DEC_OK;
}

/* Blocks end with an instruction that crosses the page's end: by calling the interpreter. */
static bool crosses(const struct lockstep *ls, const struct rw_block *b)
{
    static const struct x86_dec_mode mode = { .bits = 64 };
    const uint8_t *page = page_of(ls);
    struct x86_insn in;
    unsigned at = (unsigned)(b->rip & (PAGE_BYTES - 1)) + b->len;
    unsigned max = ls->cpu->rw->insns_max ? ls->cpu->rw->insns_max : RW_INSNS;
    return page && at < PAGE_BYTES && at > PAGE_BYTES - 15 && b->insns < max &&
           x86_decode(page + at, PAGE_BYTES - at, mode, &in) != DEC_OK;
}

/* Up to ls->limit instructions, as long as they follow each other. */
static void interp_steps(struct lockstep *ls)
{
    struct vcpu *cpu = ls->cpu;
    const uint8_t *page = page_of(ls);
    uint8_t undefined = 0, tainted = 0;
    while (ls->steps < ls->limit) {
        struct x86_insn in;
        struct rw_fl fl;
        uint64_t rip = cpu->rip;
        bool known = decode(ls, page, rip, &in);
        if (known) {
            rw_flags_of(&in, &fl);
            tainted |= (fl.reads & undefined) != 0;
            undefined = (uint8_t)((undefined & ~fl.kills) |
                                  ls_undefined(&in, &ls->step[ls->steps]));
        }
        interp_step(cpu);
        ls_capture(cpu, &ls->step[++ls->steps]);
        ls->step[ls->steps].undefined = undefined;
        ls->step[ls->steps].tainted = tainted;
        if (!known || cpu->rip != rip + in.len || cpu->activity != CPU_RUNNING ||
            cpu->rip - ls->rip > ls->block->len)
            return;
    }
}

static void run_interp(struct lockstep *ls)
{
    struct vcpu *cpu = ls->cpu;
    ls->steps = 0;
    ls->step[0] = ls->before;
    ls->aborted = 0;
    ls->phase = LS_INTERP;
    if (setjmp(cpu->unwind) == 0) {
        interp_steps(ls);
        ls->phase = LS_IDLE;
        return;
    }
    ls->phase = LS_IDLE;
    struct ls_state *last = &ls->step[ls->steps + 1];
    ls_capture(cpu, last);
    last->undefined = ls->step[ls->steps].undefined;
    last->tainted = ls->step[ls->steps].tainted;
    last->aborted = ls->aborted;
    if (ls->aborted && last->rip == ls->step[ls->steps].rip)
        last->inhibit = ls->step[ls->steps].inhibit; /* it has not begun: it is in the shadow */
    ls->steps++;
}

static void run_rw(struct lockstep *ls)
{
    struct vcpu *cpu = ls->cpu;
    ls->aborted = 0;
    ls->phase = LS_RW;
    if (setjmp(cpu->unwind) == 0) {
        const struct rw_block *b = rw_find(cpu, cpu->rip);
        if (b) {
            ls->code = b->code;
            ls->code_len = b->size;
            cpu->rw_jc = cpu->cpl == 0 ? cpu->rw_jc_kernel : cpu->rw_jc_user;
            rw_enter(cpu, (uint64_t)(uintptr_t)cpu->rw->rx_base + b->entry_mem);
        }
    }
    vec_out(cpu);
    ls->phase = LS_IDLE;
    ls_log_close(ls);
    ls_capture(cpu, &ls->rw);
    ls->rw.aborted = ls->aborted;
}

/* The step that the rewriter ended at, or -1. The last one first: that is the rule. */
static int match(const struct lockstep *ls, unsigned *diff)
{
    *diff = DIFF_RIP;
    for (unsigned i = ls->steps + 1; i-- > 0;) {
        unsigned d = ls_compare(ls, &ls->step[i], &ls->rw);
        if (d == 0)
            return (int)i;
        if (*diff == DIFF_RIP)
            *diff = d;
    }
    return -1;
}

/* The step to show: the first from the end at the same address. */
static unsigned nearest(const struct lockstep *ls)
{
    for (unsigned i = ls->steps + 1; i-- > 0;)
        if (ls->step[i].rip == ls->rw.rip)
            return i;
    return ls->steps;
}

/* Both again with nothing translated: tells stale translations from wrong code. */
static bool same_after_flush(struct lockstep *ls)
{
    struct vcpu *cpu = ls->cpu;
    unsigned diff;
    ls_log_revert(ls);
    ls_restore(cpu, &ls->before);
    tlb_flush(cpu);
    if (cpu->rw->full)
        rw_flush(cpu);
    ls_log_begin(ls);
    run_interp(ls);
    ls_log_turn(ls);
    ls_restore(cpu, &ls->before);
    run_rw(ls);
    return match(ls, &diff) >= 0 && ls_log_same(ls);
}

/* ---- a unit ---- */

enum unit { UNIT_DONE, UNIT_ALONE, UNIT_STOP };

static enum unit report(struct lockstep *ls, unsigned diff, bool memory)
{
    struct vcpu *cpu = ls->cpu;
    unsigned at = nearest(ls);
    ls->stopped = 1;
    ls_report(ls, diff | (memory ? DIFF_MEM : 0), at);
    bool flushed = same_after_flush(ls);
    if (flushed) {
        FILE *f = cpu->soft->trace_out ? cpu->soft->trace_out : stderr;
        fprintf(f, "after a flush of all translations there is no difference\n");
    }
    return UNIT_STOP;
}

static void keep(struct lockstep *ls, unsigned at)
{
    struct vcpu *cpu = ls->cpu;
    const struct ls_state *st = &ls->step[at];
    bool whole = !st->aborted && !st->exc_pending;
    ls_restore(cpu, st);
    ls_log_end(ls);
    ls->count.units++;
    ls->count.insns += at - (whole || at == 0 ? 0 : 1);
}

static enum unit unit(struct lockstep *ls)
{
    struct vcpu *cpu = ls->cpu;
    struct rw_block *b = rw_find(cpu, cpu->rip);
    if (!b && cpu->rw->full) {
        rw_flush(cpu);
        b = rw_find(cpu, cpu->rip);
    }
    if (!b)
        return UNIT_ALONE;
    ls->block = b;
    ls->rip = b->rip;
    ls->gpa = b->gpa;
    unsigned limit = b->insns + crosses(ls, b);
    ls->limit = limit;
    vec_out(cpu);
    ls_capture(cpu, &ls->before);
    uint64_t insns = cpu->insns;
    unsigned tries = 0, early = 0;
    for (;;) {
        ls->requests |= atomic_exchange(&cpu->exit_req, 0);
        ls_log_begin(ls);
        run_interp(ls);
        cpu->insns = insns;
        ls_log_turn(ls);
        ls_restore(cpu, &ls->before);
        if (ls->steps == 1 && ls->step[1].aborted && ls->step[1].rip == ls->before.rip &&
            memcmp(ls->step[1].gpr, ls->before.gpr, sizeof ls->before.gpr) == 0) {
            ls_log_end(ls);
            return UNIT_ALONE;
        }
        run_rw(ls);
        cpu->insns = insns;
        unsigned diff;
        int at = match(ls, &diff);
        bool memory = at < 0 || (unsigned)at < ls->steps ? false : !ls_log_same(ls);
        if (at >= 0 && (unsigned)at == ls->steps && !memory) {
            keep(ls, ls->steps);
            cpu->insns = insns + ls->steps;
            return UNIT_DONE;
        }
        if (at > 0 && (unsigned)at < ls->steps && early++ < EARLY_MAX) {
            /* it has left before the end of the block, as it may: again, up to there */
            ls->limit = (unsigned)at;
            ls->count.early++;
        } else if (at == 0) {
            ls_log_revert(ls);
            ls_restore(cpu, &ls->before);
            ls_log_end(ls);
            ls->count.refused++;
            return UNIT_ALONE;
        } else if (ls->step[nearest(ls)].tainted) {
            /* it read flags that the architecture does not define: the interpreter's stand */
            ls->count.tainted++;
            ls_log_revert(ls);
            ls_restore(cpu, &ls->before);
            ls_log_end(ls);
            return UNIT_ALONE;
        } else if (++tries == TRIES) {
            return report(ls, at < 0 ? diff : 0, at < 0 ? !ls_log_same(ls) : memory);
        } else {
            ls->count.retries++;
            ls->limit = limit;
        }
        ls_log_revert(ls);
        ls_restore(cpu, &ls->before);
    }
}

/* ---- the engine ---- */

static void section_begin(const struct lockstep *ls)
{
    if (ls->shared)
        soft_exclusive_begin(ls->cpu);
}

static void section_end(const struct lockstep *ls)
{
    if (ls->shared)
        soft_exclusive_end(ls->cpu);
}

/* The interpreter alone, for good. */
static void alone(struct lockstep *ls)
{
    struct vcpu *cpu = ls->cpu;
    section_end(ls);
    memcpy(&cpu->unwind, &ls->outer, sizeof ls->outer);
    ls->count.alone++;
    interp_step(cpu); /* may unwind to the run loop */
    section_begin(ls);
}

static bool comparable(const struct vcpu *cpu)
{
    return !cpu->inhibit && rw_mode_ok(cpu) && !cpu->exc_pending;
}

/* Requests are hidden from a unit: where it ends must not depend on them. */
static enum unit hidden(struct lockstep *ls)
{
    struct vcpu *cpu = ls->cpu;
    volatile enum unit how = UNIT_ALONE;
    ls->requests = 0;
    if (setjmp(cpu->unwind) == 0)
        how = unit(ls); /* outside its two executions the fetch may fault: then in earnest */
    else
        cpu->exc_pending = 0;
    if (ls->requests)
        atomic_fetch_or(&cpu->exit_req, ls->requests);
    return how;
}

static bool due(struct lockstep *ls)
{
    const struct vcpu *cpu = ls->cpu;
    uint32_t req = atomic_load_explicit(&cpu->exit_req, memory_order_relaxed);
    if (ls->shared && ls->units_slice >= SLICE)
        return true; /* who waits for the section does not say so */
    if (!req)
        return false;
    if (req & ~(uint32_t)(REQ_EVENT | REQ_STOP))
        return true;
    if (!(req & REQ_EVENT))
        return false;
    uint64_t at = atomic_load_explicit(&cpu->deadline, memory_order_relaxed);
    if (at == ~(uint64_t)0 || at > soft_now())
        return true; /* an interrupt from elsewhere */
    if (cpu->insns - ls->timer_at < HOLD)
        return false;
    ls->timer_at = cpu->insns;
    return true;
}

static void next_mode(struct lockstep *ls)
{
    struct rw *rw = ls->cpu->rw;
    if (rw->insns_max && ls->count.insns >= ls->insns_first) {
        rw->insns_max = 0;
        rw_flush(ls->cpu);
    }
}

void lockstep_execute(struct vcpu *cpu, uint64_t budget)
{
    struct lockstep *ls = cpu->lockstep;
    uint64_t end = budget > ~cpu->insns ? ~(uint64_t)0 : cpu->insns + budget;
    memcpy(&ls->outer, &cpu->unwind, sizeof ls->outer);
    if (ls->stopped)
        return;
    if (atomic_load_explicit(&cpu->interp->msg_pending, memory_order_relaxed))
        smc_drain(cpu);
    if (cpu->fl & FL_TF) {
        cpu->single_step = 1;
        alone(ls);
        return;
    }
    ls->shared = cpu->soft->vcpu_count > 1;
    ls->units_slice = 0;
    section_begin(ls);
    do {
        ls->units_slice++;
        next_mode(ls);
        if (cpu->rw->full)
            rw_flush(cpu);
        enum unit how = comparable(cpu) ? hidden(ls) : UNIT_ALONE;
        if (how == UNIT_STOP)
            break;
        if (how == UNIT_ALONE)
            alone(ls);
    } while (!cpu->exc_pending && cpu->activity == CPU_RUNNING && cpu->insns < end &&
             !(cpu->fl & FL_TF) && !due(ls));
    section_end(ls);
    memcpy(&cpu->unwind, &ls->outer, sizeof ls->outer);
    if (ls->stopped) {
        cpu->up->stop(cpu->up_ctx, MOBO_STOP_FAIL, cpu->rip);
        soft_request(cpu, REQ_KICK);
    }
}
