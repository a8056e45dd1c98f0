/*
 * interp-harness.h: a virtual CPU around the interpreter and its MMU alone: flat RAM, faults
 * caught, no devices, no local APIC, no system instructions but HLT. For test-mmu, test-interp and
 * the bench.
 */
#ifndef TESTS_INTERP_HARNESS_H
#define TESTS_INTERP_HARNESS_H

#include "interp.h"
#include "x86/flags.h"
#include "x86/lapic.h"
#include "x86/mmu.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

struct machine {
    struct soft soft;
    struct vcpu *cpu[2];
    uint8_t *ram;
    uint64_t ram_len;
    /* the last exception */
    int vector;
    bool has_error;
    uint32_t error;
    /* the last MMIO */
    uint64_t mmio_gpa;
    uint32_t mmio_len, mmio_write, mmio_count;
    uint8_t mmio_data[64];
};

enum { HARNESS_LONG = 64, HARNESS_PROT = 32, HARNESS_REAL = 16 };

struct machine *machine_new(uint64_t ram_len, unsigned cpus);
void machine_free(struct machine *m);
/* Registers as a flat program wants them; 64: identity page tables of 2 MiB pages at 0x1000. */
void machine_mode(struct machine *m, unsigned cpu, unsigned bits);
/* Run until HLT, an exception (returns its vector, else -1) or N instructions. */
int machine_run(struct machine *m, unsigned cpu, uint64_t n);
/* Call FN with the exceptions of CPU caught; the vector, or -1. */
int machine_try(struct machine *m, unsigned n, void (*fn)(struct vcpu *cpu, void *arg), void *arg);

#endif
