/*
 * native.h: vector, MMX and x87 instructions run by the host's own units, one small thunk of
 * machine code per distinct encoding. An engine keeps the thunk of an instruction with its
 * decoded form and calls it; whoever has no place for one calls vec_execute() (state.h), which
 * looks it up.
 */
#ifndef SOFT_X86_NATIVE_H
#define SOFT_X86_NATIVE_H

#include "state.h"

struct native_thunk;

/*
 * The thunk cache of a CPU: 0, or a negative MOBO_E... after saying why (the host forbids
 * executable memory, or is out of memory). vec_execute() makes it at its first use where nobody
 * did before.
 */
int native_init(struct vcpu *cpu);
void native_fini(struct vcpu *cpu);

/*
 * The thunk of an OP_VEC, OP_MMX or OP_X87 instruction. It stays valid until native_fini(). NULL:
 * there is none (another op, a form that is done in C, or the cache is full): use vec_execute().
 * Raises #UD where the CPU model lacks the feature, so call it on the way to executing only.
 */
const struct native_thunk *native_thunk(struct vcpu *cpu, const struct x86_insn *in,
                                        const uint8_t *bytes);
/* Execute: all checks, the memory operand, the thunk, the results. rip is left to the caller. */
void native_call(struct vcpu *cpu, const struct native_thunk *t, const struct x86_insn *in);

#endif
