/*
 * native_sig.c: ends a thunk when the host processor faults in it: SIGFPE is an unmasked SIMD
 * exception of the guest, SIGILL an encoding that the host does not know.
 *
 * Signal handlers belong to the process, so this file has the only state that is not a machine's:
 * the handlers that were there before, and per thread where its thunks lie. Signals that do not
 * come from a thunk go to the former handler.
 */
#include "native_sig.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <ucontext.h>

_Thread_local struct thunk_guard native_guard __attribute__((tls_model("initial-exec")));

static const int signals[2] = { SIGFPE, SIGILL };
static struct sigaction former[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local int passing __attribute__((tls_model("initial-exec")));

static void pass_on(int sig, siginfo_t *info, void *context)
{
    const struct sigaction *old = &former[sig == signals[0] ? 0 : 1];
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
    if ((uint64_t)reg[REG_RIP] - native_guard.code >= native_guard.len) {
        pass_on(sig, info, context);
        return;
    }
    /* A thunk has nothing on the stack while its instruction runs: leave by the common exit. */
    reg[REG_RIP] = (greg_t)native_guard.code;
    reg[REG_RAX] = sig == SIGFPE ? THUNK_SIMD_FAULT : THUNK_NO_SUCH_INSN;
    if (sig == SIGFPE)
        *native_guard.mxcsr = uc->uc_mcontext.fpregs->mxcsr;
    uc->uc_mcontext.fpregs->mxcsr = 0x1f80;
}

/* For each virtual CPU: somebody may have put a handler over ours since the last one. */
int native_sig_init(void)
{
    struct sigaction act = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK }, now;
    int rc = 0;
    (void)sigemptyset(&act.sa_mask);
    (void)pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < 2; i++) {
        rc |= sigaction(signals[i], NULL, &now);
        if (rc || ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_fault))
            continue;
        former[i] = now;
        rc |= sigaction(signals[i], &act, NULL);
    }
    (void)pthread_mutex_unlock(&lock);
    return rc;
}

void native_sig_guard(const struct thunk_guard *g)
{
    sigset_t set; /* a blocked signal of a fault would end the process */
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGFPE);
    (void)sigaddset(&set, SIGILL);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    native_guard = *g;
}
