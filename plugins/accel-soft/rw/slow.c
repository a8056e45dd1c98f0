/*
 * slow.c: the C side of the glue. A missing page is filled in; anything else is one instruction
 * for the interpreter, and rewritten code goes on behind it.
 *
 * The state while C runs is that before the instruction: registers in cpu->gpr, arithmetic flags
 * in both cpu->fl_image and cc_res/cc_src, rip of the instruction (where C may raise) in cpu->rip.
 */
#include "fault.h"
#include "mirror.h"
#include "rw.h"
#include "stats.h"

#include "../interp.h"
#include "../x86/flags.h"
#include "../x86/ftab.h"
#include "../x86/mmu.h"
#include "../x86/vecstate.h"

static void flags_in(struct vcpu *cpu)
{
    if (!VEC_KEPT_BY_C)
        vec_out(cpu);
    if (cpu->rw_mode_dirty) { /* SYSCALL and the like in rewritten code */
        cpu->rw_mode_dirty = 0;
        cpu_mode_changed(cpu);
    }
    unsigned image = cpu->fl_image;
    flags_load(cpu, image >> 8 | (image & 1) << 11);
}

static void flags_out(struct vcpu *cpu)
{
    uint64_t fl = flags_arith(cpu);
    cpu->fl_image = (uint16_t)((fl & 0xff) << 8 | (fl >> 11 & 1));
}

/* Return pairs of one privilege level are no business of the other's code. */
static void pair_stack(struct vcpu *cpu)
{
    if (cpu->rw_pair_cpl == cpu->cpl)
        return;
    if (cpu->cpl == 0) {
        cpu->rw_pair_user = cpu->rw_rsp;
        cpu->rw_rsp = cpu->rw_pair_base[0];
    } else {
        cpu->rw_rsp = cpu->rw_pair_user;
    }
    cpu->rw_pair_cpl = cpu->cpl;
}

void rw_enter(struct vcpu *cpu, uint64_t host)
{
    const struct rw *rw = cpu->rw;
    void (*enter)(struct vcpu *, uint64_t);
    uintptr_t code = (uintptr_t)rw->rx_base + rw->glue.enter;
    __extension__ enter = (void (*)(struct vcpu *, uint64_t))code;
    pair_stack(cpu);
    flags_out(cpu);
    enter(cpu, host);
    flags_in(cpu);
}

static bool may_go_on(const struct vcpu *cpu, unsigned cpl)
{
    return cpu->cpl == cpl && !cpu->inhibit && cpu->activity == CPU_RUNNING && !cpu->stopped &&
           rw_mode_ok(cpu) && !atomic_load_explicit(&cpu->exit_req, memory_order_relaxed);
}

/* At cpu->rip, in whatever block. */
static uint64_t go_on(struct vcpu *cpu)
{
    pair_stack(cpu);
    cpu->rw_jc = cpu->cpl == 3 ? cpu->rw_jc_user : cpu->rw_jc_kernel;
    uintptr_t at = (uintptr_t)cpu->rw_jc + rw_jc_offset(cpu->rip);
    const struct rw_jc *e = (const struct rw_jc *)at;
    return e->rip == cpu->rip ? e->host : rw_on_lookup(cpu, cpu->rip);
}

/* Does the instruction at AT belong to a run (stack.c) that begins at OFF? */
static bool in_run(const struct rw_block *b, unsigned off, unsigned at)
{
    for (unsigned i = 0; i < b->sides; i++)
        if (b->side[i].start && b->side[i].guest > off)
            return at > off && at < b->side[i].guest;
    return at > off;
}

/* By the interpreter: the instruction, or run, that host address RET - 1 belongs to. */
static uint64_t step(struct vcpu *cpu, uint64_t ret)
{
    unsigned off;
    struct rw_block *b = rw_block_at(cpu->rw, ret - 1, &off);
    unsigned cpl = cpu->cpl;
    if (!b)
        return 0; /* cannot be: cpu->rip is stale */
    cpu->rip = b->rip + off;
    rw_stats_slow(cpu, b, off);
    uint64_t host = 0;
    do {
        flags_in(cpu);
        interp_step(cpu);
        flags_out(cpu);
        if (!may_go_on(cpu, cpl))
            return 0;
        if (!b->valid || cpu->rip - b->rip >= b->len)
            return go_on(cpu);
        host = rw_host_of(cpu->rw, b, (unsigned)(cpu->rip - b->rip));
    } while (!host && in_run(b, off, (unsigned)(cpu->rip - b->rip)));
    if (!host)
        return go_on(cpu);
    if ((b->uses_vec & ~cpu->vec_ready) && !vec_need(cpu, b->uses_vec))
        return 0; /* the next block looks again */
    return host;
}

/* The vector registers that the block of RET wants live: true if they have become so just now. */
static bool made_ready(struct vcpu *cpu, uint64_t ret, uint64_t *again)
{
    unsigned off;
    const struct rw_block *b = rw_block_at(cpu->rw, ret - 1, &off);
    if (!b || !(b->uses_vec & ~cpu->vec_ready) || !vec_need(cpu, b->uses_vec))
        return false;
    *again = rw_host_of(cpu->rw, b, off);
    return *again != 0;
}

void rw_to_c(struct vcpu *cpu)
{
    flags_in(cpu);
}

uint64_t rw_from_c(struct vcpu *cpu)
{
    flags_out(cpu);
    return may_go_on(cpu, cpu->cpl) ? go_on(cpu) : 0;
}

uint64_t rw_from_c_behind(struct vcpu *cpu, const struct rw_before *then, uint64_t next)
{
    flags_out(cpu);
    if (!may_go_on(cpu, cpu->cpl))
        return 0;
    if (cpu->rip != next || cpu->cpl != then->cpl || cpu->rw->stats.invalidated != then->dropped)
        return go_on(cpu);
    return !(then->ready & ~cpu->vec_ready) || vec_need(cpu, then->ready) ? then->ret : go_on(cpu);
}

uint64_t rw_on_miss(struct vcpu *cpu, uint64_t linear, uint64_t ret, uint64_t what)
{
    unsigned bytes = 1u << (what >> 1), write = what & 1, ready = cpu->vec_ready;
    cpu->rw->stats.misses++;
    if (!VEC_KEPT_BY_C)
        vec_out(cpu);
    if (cpu->rw_mirror && cpu->cpl == 3 && mirror_fill(cpu, linear, write ? ACC_W : ACC_R) &&
        (!(ready & ~cpu->vec_ready) || vec_need(cpu, ready))) {
        cpu->rw_t0 = linear;
        cpu->rw_t1 = 0;
        return ret;
    }
    if ((linear & (PAGE_BYTES - 1)) + bytes <= PAGE_BYTES &&
        ftab_fill(cpu, linear, write ? ACC_W : ACC_R)) {
        uint64_t index = linear >> PAGE_BITS &
                         (cpu->cpl == 3 ? (UINT64_C(1) << 35) - 1 : (UINT64_C(1) << 36) - 1);
        uint64_t addend = cpu->view_now[index | (uint64_t)write << 36];
        /* page tables in MMIO: the device is C code of any kind */
        bool back = !(ready & ~cpu->vec_ready) || vec_need(cpu, ready);
        if (addend && back) {
            cpu->rw->stats.fills++;
            mirror_denied(cpu, linear);
            cpu->rw_t0 = linear;
            cpu->rw_t1 = addend;
            return ret;
        }
    }
    cpu->rw->stats.slow_mem++;
    return step(cpu, ret);
}

/*
 * In mirror mode the access itself may fault: true if its page is there now, and *again where to go
 * on: at the instruction once more, or 0 if the run loop wants to look first.
 */
static bool mirrored(struct vcpu *cpu, uint64_t ret, uint64_t *again)
{
    uint64_t addr = cpu->rw_fault;
    unsigned off;
    cpu->rw_fault = 0;
    const struct rw_block *b = rw_block_at(cpu->rw, ret - 1, &off);
    if (!b || !b->mirror)
        return false;
    if (!VEC_KEPT_BY_C)
        vec_out(cpu);
    if (!mirror_fill(cpu, addr, cpu->rw_fault_write ? ACC_W : ACC_R))
        return false;
    cpu->rip = b->rip + off;
    *again = atomic_load_explicit(&cpu->exit_req, memory_order_relaxed)
                 ? 0
                 : rw_host_of(cpu->rw, b, off);
    if ((b->uses_vec & ~cpu->vec_ready) && !vec_need(cpu, b->uses_vec))
        *again = 0;
    return true;
}

uint64_t rw_on_insn(struct vcpu *cpu, uint64_t ret)
{
    uint64_t again;
    if (cpu->rw_fault && mirrored(cpu, ret, &again))
        return again;
    if (made_ready(cpu, ret, &again))
        return again;
    cpu->rw->stats.slow_insn++;
    return step(cpu, ret);
}

uint64_t rw_enter_link(struct vcpu *cpu, uint64_t ret)
{
    flags_in(cpu);
    return rw_on_link(cpu, ret);
}

uint64_t rw_enter_lookup(struct vcpu *cpu, uint64_t rip)
{
    flags_in(cpu);
    cpu->rip = rip;
    return rw_on_lookup(cpu, rip);
}

/* Below one of the pair stacks? Returns its base. */
static uint64_t pair_guard(const struct vcpu *cpu, uint64_t addr)
{
    for (unsigned i = 0; i < 2; i++)
        if (cpu->rw_pair_base[i] - RW_PAIR_STACK + 64 - addr < PAGE_BYTES + 64)
            return cpu->rw_pair_base[i];
    return 0;
}

bool rw_fault_fix(void *which, struct rw_trap *trap)
{
    struct vcpu *cpu = which;
    struct rw *rw = cpu->rw;
    unsigned off;
    enum rw_flag_place place;
    if (trap->rip - cpu->rw_code >= cpu->rw_code_len)
        return false;
    uint64_t base = trap->addr ? pair_guard(cpu, trap->addr) : 0;
    if (base) { /* the same instruction again, on an empty stack */
        trap->rsp = base;
        return true;
    }
    if (!rw_place_at(rw, trap->rip, &off, &place))
        return false;
    rw->stats.host_faults++;
    if (place & FLAGS_HOST)
        cpu->fl_image = (uint16_t)((trap->rflags & 0xff) << 8 | (trap->rflags >> 11 & 1));
    cpu->rw_fault = trap->addr;
    cpu->rw_fault_write = trap->write != 0;
    trap->t1 = trap->rip + 1;
    trap->rip = (uint64_t)(uintptr_t)rw->rx_base + rw->glue.fault;
    return true;
}
