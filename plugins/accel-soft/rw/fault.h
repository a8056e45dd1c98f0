/*
 * fault.h: between fault.c, which knows signals, and slow.c, which knows rewritten code: their
 * headers do not go together (both name the registers).
 */
#ifndef SOFT_RW_FAULT_H
#define SOFT_RW_FAULT_H

#include <stdbool.h>
#include <stdint.h>

/* Registers of the host at the fault; those that rw_fault_fix() changes are written back. */
struct rw_trap {
    uint64_t rip, rsp, rflags, t1;
    uint64_t addr;      /* SIGSEGV: of the access; else 0 */
    uint64_t write;     /* not 0: it was a store */
};

/* Signal handler: no C library. False: not a fault of rewritten code. */
bool rw_fault_fix(void *cpu, struct rw_trap *trap);
/* The process has the handlers; below 0: it cannot. */
int rw_fault_init(void);
/* This thread runs the code of that struct vcpu now (NULL: none). */
void rw_fault_guard(void *cpu);

#endif
