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
#include <ucontext.h>

_Thread_local struct thunk_guard native_guard __attribute__((tls_model("initial-exec")));

static struct sigaction former_fpe, former_ill;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int install_rc;

static void pass_on(int sig, siginfo_t *info, void *context)
{
    const struct sigaction *old = sig == SIGFPE ? &former_fpe : &former_ill;
    if (old->sa_flags & SA_SIGINFO)
        old->sa_sigaction(sig, info, context);
    else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN)
        old->sa_handler(sig);
    else
        (void)signal(sig, SIG_DFL); /* the instruction faults again and ends the process */
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

static void install(void)
{
    struct sigaction act = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    (void)sigemptyset(&act.sa_mask);
    install_rc = sigaction(SIGFPE, &act, &former_fpe) | sigaction(SIGILL, &act, &former_ill);
}

int native_sig_init(void)
{
    int rc = pthread_once(&once, install);
    return rc ? rc : install_rc;
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
