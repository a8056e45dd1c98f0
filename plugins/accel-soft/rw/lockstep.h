/*
 * lockstep.h: the property `lockstep`: the interpreter and the rewriter execute the same code from
 * the same state, and the machine stops at the first difference. lockstep.c drives, lockstep_log.c
 * keeps memory, lockstep_cmp.c compares, lockstep_say.c reports.
 *
 * The rest of accel-soft knows of it by the hooks below, each behind `if (cpu->lockstep)`: every
 * store goes the slow way (no TLB entry for stores is ever filled, and the rewriter's are taken
 * back after each block), and what a second execution would change (devices, time, translations)
 * is not executed twice.
 */
#ifndef SOFT_RW_LOCKSTEP_H
#define SOFT_RW_LOCKSTEP_H

#include "rw.h"

enum { LOCKSTEP_OFF = 0, LOCKSTEP_BLOCK = 1, LOCKSTEP_INSN = 2 };

struct lockstep;

int lockstep_init(struct vcpu *cpu);
void lockstep_fini(struct vcpu *cpu);
/* Instead of the engine's execute(); rewritten code must be enterable (execute.c). */
void lockstep_execute(struct vcpu *cpu, uint64_t budget);

/* ---- hooks ---- */

/* mmu.c, gmem.c: a store to the RAM page is coming. May unwind. */
void lockstep_page(struct vcpu *cpu, uint64_t gpa, uint8_t *host);
/* smc.c: a store has been done. */
void lockstep_stored(struct vcpu *cpu, uint64_t gpa, uint64_t len);
/* gmem.c: a device is about to hear of the instruction; unwinds if that would be once too often. */
void lockstep_device(struct vcpu *cpu);
/* sys.c: the same for an instruction as a whole. */
void lockstep_sys(struct vcpu *cpu, const struct x86_insn *in);
/* Is it an instruction that is executed once only? trans.c leaves it to the interpreter then. */
bool lockstep_once(const struct x86_insn *in);
/* ftab.c: ENTRY is to permit stores to the page; false: it must not. */
bool lockstep_filled(struct vcpu *cpu, uint64_t gpa, uint8_t *host, uint64_t *entry);

#endif
