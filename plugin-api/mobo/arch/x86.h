/*
 * mobo/arch/x86.h: the register blocks of an x86 virtual CPU, frozen formats, little-endian. A
 * machine saved under one accelerator loads under another because both speak these.
 * References: Intel SDM volume 3A; AMD64 APM volume 2.
 */
#ifndef MOBO_ARCH_X86_H
#define MOBO_ARCH_X86_H

#include <stdint.h>

enum {
    MOBO_X86_REGS = 1,   /* mobo_x86_regs_t */
    MOBO_X86_SREGS = 2,  /* mobo_x86_sregs_t */
    MOBO_X86_XSAVE = 3,  /* mobo_x86_xsave_t */
    MOBO_X86_MSRS = 4,   /* mobo_x86_msrs_t */
    MOBO_X86_EVENTS = 5, /* mobo_x86_events_t */
    MOBO_X86_APIC = 6,   /* mobo_x86_apic_t */
    MOBO_X86_DEBUG = 7,  /* mobo_x86_debug_t */
};

typedef struct mobo_x86_regs {
    uint64_t gpr[16]; /* RAX RCX RDX RBX RSP RBP RSI RDI R8..R15: the encoding's order */
    uint64_t rip, rflags;
} mobo_x86_regs_t;

typedef struct mobo_x86_seg {
    uint64_t base;
    uint32_t limit;    /* in bytes, granularity applied */
    uint16_t selector;
    uint16_t attr;     /* bits 0-3 type, 4 S, 5-6 DPL, 7 P, 8 AVL, 9 L, 10 D/B, 11 G, 12 unusable */
} mobo_x86_seg_t;

typedef struct mobo_x86_sregs {
    mobo_x86_seg_t es, cs, ss, ds, fs, gs, ldt, tr; /* es..gs: the encoding's order */
    uint64_t gdt_base, idt_base;
    uint16_t gdt_limit, idt_limit;
    uint32_t _pad;
    uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base;
} mobo_x86_sregs_t;

/* XSAVE in the standard (not compacted) format, SDM volume 1, 13.4. */
typedef struct mobo_x86_xsave {
    uint64_t xcr0;
    uint8_t area[4096];
} mobo_x86_xsave_t;

enum { MOBO_X86_MSRS_MAX = 128 };
typedef struct mobo_x86_msrs {
    uint32_t count, _pad;
    struct {
        uint32_t index, _pad;
        uint64_t value;
    } msr[MOBO_X86_MSRS_MAX];
} mobo_x86_msrs_t;

enum { MOBO_X86_RUNNING = 0, MOBO_X86_HALTED = 1, MOBO_X86_WAIT_SIPI = 2 };
typedef struct mobo_x86_events {
    uint8_t activity;        /* MOBO_X86_RUNNING ... */
    uint8_t sti_shadow;      /* interrupts blocked for one instruction by STI or MOV SS */
    uint8_t nmi_blocked, nmi_pending;
    uint8_t exception_pending, exception_vector, exception_has_error, _pad0;
    uint32_t exception_error, sipi_vector;
    uint64_t exception_payload; /* CR2 or DR6 bits */
} mobo_x86_events_t;

/* The local APIC's registers at their xAPIC offsets (SDM volume 3A, table 11-1). */
typedef struct mobo_x86_apic {
    uint8_t reg[1024];
    uint64_t tsc_deadline;
} mobo_x86_apic_t;

typedef struct mobo_x86_debug {
    uint64_t dr[4], dr6, dr7;
} mobo_x86_debug_t;

#endif
