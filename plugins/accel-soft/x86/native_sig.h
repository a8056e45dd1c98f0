/*
 * native_sig.h: the guard around thunks. Apart from native_int.h because the names of general
 * registers in <sys/ucontext.h> and in dec.h are the same.
 */
#ifndef SOFT_X86_NATIVE_SIG_H
#define SOFT_X86_NATIVE_SIG_H

#include <stddef.h>
#include <stdint.h>

enum { THUNK_DONE = 0, THUNK_SIMD_FAULT = 1, THUNK_NO_SUCH_INSN = 2 }; /* what a thunk returns */

/* Code in [code, code + len) that may fault; its exit is at code; *mxcsr gets the fault's MXCSR. */
struct thunk_guard {
    uintptr_t code;
    size_t len;
    uint32_t *mxcsr;
};

/* The guard of the thread. initial-exec: the dynamic linker allocates nothing in a handler. */
extern _Thread_local struct thunk_guard native_guard __attribute__((tls_model("initial-exec")));

/* Installs the process's handlers unless they are there. */
int native_sig_init(void);
/* Makes g the guard of this thread. */
void native_sig_guard(const struct thunk_guard *g);

#endif
