/*
 * execute.c: the rewriter as an engine of soft.h. It runs rewritten code where the CPU's mode has
 * some, and leaves everything else to the interpreter, which it contains: other modes than 64-bit,
 * code that is not in RAM, instructions across two pages, single steps.
 *
 * Budgets are not counted in rewritten code: whatever the run loop waits for sets exit_req, which
 * each chain of blocks polls.
 */
#include "blk.h"
#include "fault.h"
#include "lockstep.h"
#include "mirror.h"
#include "stats.h"

#include "../interp.h"
#include "../x86/ftab.h"
#include "../x86/vecstate.h"

#include <asm/prctl.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { HWCAP2_WRGSBASE = 1 << 1 }; /* HWCAP2_FSGSBASE of asm/hwcap2.h: Linux 5.9 */

/* ---- life ---- */

static void engine_fini(struct vcpu *cpu)
{
    lockstep_fini(cpu);
    if (cpu->rw) {
        rw_perf_close(cpu->rw);
        mirror_fini(cpu);
        ftab_fini(cpu);
        rw_free(cpu);
    }
    engine_interp.cpu_fini(cpu);
}

static void context_dropped(struct vcpu *cpu, unsigned context)
{
    rw_context_dropped(cpu, context);
    mirror_dropped(cpu, context);
}

static int make(struct vcpu *cpu, const char **why)
{
    static const struct ftab_hooks hooks = { rw_context_changed, context_dropped, mirror_settled,
                                             mirror_page };
    int rc = rw_new(cpu, why);
    if (rc < 0)
        return rc;
    rc = ftab_init(cpu, 0, &hooks, why);
    if (rc < 0)
        rw_free(cpu);
    return rc;
}

/* engine = auto: a host that does not let us is no reason not to run: a CPU without a rewriter is
   interpreted. */
static int engine_init(struct vcpu *cpu)
{
    struct soft *s = cpu->soft;
    const char *why = "";
    int rc = engine_interp.cpu_init(cpu);
    if (rc < 0)
        return rc;
    rc = make(cpu, &why);
    if (rc < 0 && s->engine_prop == ENGINE_RW)
        return mobo_fail_code(s->obj, MOBO_ENOTSUP, "engine = rw: %s", why);
    if (rc < 0) {
        if (cpu->index == 0)
            mobo_log(s->obj, MOBO_WARN, "guest code is interpreted, not rewritten: %s", why);
        return 0;
    }
    if (s->perf_map_prop && (rc = rw_perf_open(cpu->rw, cpu->index == 0)) != 0)
        return mobo_fail_code(s->obj, MOBO_EACCES, "perf-map: /tmp/perf-%ld.map: %s",
                              (long)getpid(), strerror(rc));
    if (lockstep_init(cpu) < 0)
        return mobo_fail_code(s->obj, MOBO_ENOMEM, "no memory for lockstep");
    mirror_init(cpu);
    return 0;
}

/* ---- running ---- */

/* GS is the struct vcpu while rewritten code runs; the C library uses FS only. */
static bool set_gs(struct vcpu *cpu)
{
    uint64_t base = (uint64_t)(uintptr_t)cpu;
    if (getauxval(AT_HWCAP2) & HWCAP2_WRGSBASE) {
        __asm__ volatile("wrgsbase %0" : : "r"(base) : "memory");
        return true;
    }
    return syscall(SYS_arch_prctl, ARCH_SET_GS, base) == 0;
}

static bool requested(const struct vcpu *cpu)
{
    return atomic_load_explicit(&cpu->exit_req, memory_order_relaxed) != 0;
}

/* A held-back interrupt can be taken as soon as IF is set. */
static bool wanted(const struct vcpu *cpu)
{
    return requested(cpu) || cpu->activity != CPU_RUNNING || cpu->stopped ||
           (cpu->event_waiting && (cpu->fl & FL_IF));
}

static void interpreter_turn(struct vcpu *cpu, uint64_t limit)
{
    struct rw_stats *st = &cpu->rw->stats;
    uint64_t begin = __builtin_ia32_rdtsc();
    st->turns++;
    interp_run(cpu, limit);
    st->turn_ticks += __builtin_ia32_rdtsc() - begin;
}

static void run_block(struct vcpu *cpu, const struct rw_block *b)
{
    struct rw *rw = cpu->rw;
    uint64_t begin = __builtin_ia32_rdtsc();
    rw->stats.enters++;
    cpu->rw_jc = cpu->cpl == 0 ? cpu->rw_jc_kernel : cpu->rw_jc_user;
    rw_enter(cpu, (uint64_t)(uintptr_t)rw->rx_base + b->entry_mem);
    if (requested(cpu))
        rw->stats.left_request++;
    else
        rw->stats.left_other++;
    rw->stats.run_ticks += __builtin_ia32_rdtsc() - begin;
}

static void turn(struct vcpu *cpu, uint64_t budget)
{
    struct rw *rw = cpu->rw;
    if (rw->full)
        rw_flush(cpu);
    if (cpu->inhibit) {
        interp_step(cpu);
    } else if (!rw_mode_ok(cpu)) {
        interpreter_turn(cpu, budget); /* comes back where the mode changes */
    } else {
        const struct rw_block *b = rw_find(cpu, cpu->rip);
        if (b) {
            run_block(cpu, b);
            if (cpu->mirrors)
                mirror_turn(cpu);
        } else if (!rw->full) {
            interpreter_turn(cpu, 1);
        }
    }
}

static void engine_execute(struct vcpu *cpu, uint64_t budget)
{
    if ((cpu->fl & FL_TF) || budget <= 1 || !cpu->rw || !set_gs(cpu)) {
        engine_interp.execute(cpu, budget);
        return;
    }
    uint64_t limit = budget > ~cpu->insns ? ~(uint64_t)0 : cpu->insns + budget;
    smc_look(cpu);
    rw_fault_guard(cpu);
    if (cpu->lockstep) {
        lockstep_execute(cpu, budget);
        return;
    }
    do
        turn(cpu, limit - cpu->insns);
    while (!(cpu->fl & FL_TF) && (cpu->inhibit || (!wanted(cpu) && cpu->insns < limit)));
}

static void engine_invalidate(struct vcpu *cpu, uint64_t gpa, uint64_t len)
{
    engine_interp.invalidate(cpu, gpa, len);
}

const struct engine engine_rw = {
    .name = "rw",
    .cpu_init = engine_init,
    .cpu_fini = engine_fini,
    .execute = engine_execute,
    .invalidate = engine_invalidate,
};
