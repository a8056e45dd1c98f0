/*
 * fault.c: the host processor faults in rewritten code. The instruction at fault then takes the
 * slow way: the interpreter executes it again and raises what is due (#PF and #GP of addresses
 * outside the view, #DE, #XM, #MF, alignment). A fault on a pair stack's guard page only means
 * that the stack is full: pairs are hints, so it starts over empty.
 *
 * Signal handlers belong to the process: the handlers that were there before, and which CPU's code
 * a thread runs, are the only state here that is not a machine's.
 */
#include "fault.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static _Thread_local void *running __attribute__((tls_model("initial-exec")));
static _Thread_local int passing __attribute__((tls_model("initial-exec")));
static _Thread_local void *alt_stack __attribute__((tls_model("initial-exec")));

static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL };
enum { SIGNALS = sizeof signals / sizeof *signals, ALT_STACK = 64 << 10 };
static struct sigaction former[SIGNALS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void pass_on(int sig, siginfo_t *info, void *context)
{
    unsigned i = 0;
    while (i < SIGNALS - 1 && signals[i] != sig)
        i++;
    const struct sigaction *old = &former[i];
    bool chained = !passing && old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN;
    passing = 1; /* two handlers that pass on to each other end here */
    if (!chained)
        (void)signal(sig, SIG_DFL); /* the instruction faults again and ends the process */
    else if (old->sa_flags & SA_SIGINFO)
        old->sa_sigaction(sig, info, context);
    else
        old->sa_handler(sig);
    passing = 0;
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t *reg = uc->uc_mcontext.gregs;
    struct rw_trap trap = { .rip = (uint64_t)reg[REG_RIP], .rsp = (uint64_t)reg[REG_RSP],
                            .rflags = (uint64_t)reg[REG_EFL], .t1 = (uint64_t)reg[REG_R15] };
    if (sig == SIGSEGV) {
        trap.addr = (uint64_t)(uintptr_t)info->si_addr;
        trap.write = reg[REG_ERR] & 2; /* the processor's error code of #PF */
    }
    if (!running || !rw_fault_fix(running, &trap)) {
        pass_on(sig, info, context);
        return;
    }
    reg[REG_RIP] = (greg_t)trap.rip;
    reg[REG_RSP] = (greg_t)trap.rsp;
    reg[REG_R15] = (greg_t)trap.t1;
}

/* For each virtual CPU: somebody may have put a handler over ours since the last one. */
int rw_fault_init(void)
{
    struct sigaction act = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK }, now;
    int rc = 0;
    (void)sigemptyset(&act.sa_mask);
    (void)pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < SIGNALS; i++) {
        rc |= sigaction(signals[i], NULL, &now);
        if (rc || ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_fault))
            continue;
        former[i] = now;
        rc |= sigaction(signals[i], &act, NULL);
    }
    (void)pthread_mutex_unlock(&lock);
    return rc;
}

void rw_fault_guard(void *cpu)
{
    running = cpu;
    if (!cpu || alt_stack)
        return;
    sigset_t set; /* a blocked signal of a fault would end the process */
    (void)sigemptyset(&set);
    for (unsigned i = 0; i < SIGNALS; i++)
        (void)sigaddset(&set, signals[i]);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    stack_t st;
    if (sigaltstack(NULL, &st) == 0 && !(st.ss_flags & SS_DISABLE)) {
        alt_stack = st.ss_sp;
        return;
    }
    /* The pair stack is no place for a signal frame. Lives as long as the thread may. */
    void *p = mmap(NULL, ALT_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return;
    st = (stack_t){ .ss_sp = p, .ss_size = ALT_STACK };
    if (sigaltstack(&st, NULL) == 0)
        alt_stack = p;
}
