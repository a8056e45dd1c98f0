/*
 * state.h: a virtual x86 CPU: what the engines, the MMU, the system instructions and the local APIC
 * share. One struct vcpu per CPU, touched by its own thread only, except the members marked atomic.
 *
 * Faults: code that executes a guest instruction calls x86_raise() and does not return from it (it
 * unwinds to the run loop with longjmp), so everything that may fault happens before the first
 * commit of an instruction. cpu->rip then still names the faulting instruction.
 */
#ifndef SOFT_X86_STATE_H
#define SOFT_X86_STATE_H

#include "dec.h"

#include <mobo/accel.h>
#include <mobo/arch/x86.h>
#include <mobo/host.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* RFLAGS */
enum {
    FL_CF = 1u << 0, FL_1 = 1u << 1, FL_PF = 1u << 2, FL_AF = 1u << 4, FL_ZF = 1u << 6,
    FL_SF = 1u << 7, FL_TF = 1u << 8, FL_IF = 1u << 9, FL_DF = 1u << 10, FL_OF = 1u << 11,
    FL_IOPL = 3u << 12, FL_NT = 1u << 14, FL_RF = 1u << 16, FL_VM = 1u << 17, FL_AC = 1u << 18,
    FL_VIF = 1u << 19, FL_VIP = 1u << 20, FL_ID = 1u << 21,
    FL_ARITH = FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF,
};
__extension__ enum {
    CR0_PE = 1u << 0, CR0_MP = 1u << 1, CR0_EM = 1u << 2, CR0_TS = 1u << 3, CR0_ET = 1u << 4,
    CR0_NE = 1u << 5, CR0_WP = 1u << 16, CR0_AM = 1u << 18, CR0_NW = 1u << 29, CR0_CD = 1u << 30,
    CR0_PG = 1u << 31,
};
enum {
    CR4_VME = 1u << 0, CR4_PVI = 1u << 1, CR4_TSD = 1u << 2, CR4_DE = 1u << 3, CR4_PSE = 1u << 4,
    CR4_PAE = 1u << 5, CR4_MCE = 1u << 6, CR4_PGE = 1u << 7, CR4_PCE = 1u << 8,
    CR4_OSFXSR = 1u << 9, CR4_OSXMMEXCPT = 1u << 10, CR4_UMIP = 1u << 11, CR4_FSGSBASE = 1u << 16,
    CR4_PCIDE = 1u << 17, CR4_OSXSAVE = 1u << 18, CR4_SMEP = 1u << 20, CR4_SMAP = 1u << 21,
};
enum { EFER_SCE = 1u << 0, EFER_LME = 1u << 8, EFER_LMA = 1u << 10, EFER_NXE = 1u << 11 };

enum {
    VEC_DE = 0, VEC_DB = 1, VEC_NMI = 2, VEC_BP = 3, VEC_OF = 4, VEC_BR = 5, VEC_UD = 6, VEC_NM = 7,
    VEC_DF = 8, VEC_TS = 10, VEC_NP = 11, VEC_SS = 12, VEC_GP = 13, VEC_PF = 14, VEC_MF = 16,
    VEC_AC = 17, VEC_MC = 18, VEC_XM = 19,
};
/* Page-fault error code */
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };

/* exit_req: why the run loop must look up from guest code; polled at block ends. atomic. */
enum {
    REQ_KICK = 1u << 0,   /* run() returns */
    REQ_EVENT = 1u << 1,  /* something may be pending: interrupt, NMI, INIT, SIPI, timer */
    REQ_FLUSH = 1u << 2,  /* another CPU asks for a TLB flush */
    REQ_SMC = 1u << 3,    /* another CPU or DMA has written a page that holds decoded code */
    REQ_STOP = 1u << 4,   /* stop-the-world: park until released */
    REQ_YIELD = 1u << 5,  /* PAUSE, SIPI hand-over: give the host CPU away once */
};

struct seg {
    uint64_t base;
    uint32_t limit;   /* bytes, granularity applied */
    uint16_t sel;
    uint16_t attr;    /* layout of mobo_x86_seg_t.attr; bit 12: unusable (null) */
};
enum { ATTR_S = 1 << 4, ATTR_P = 1 << 7, ATTR_L = 1 << 9, ATTR_DB = 1 << 10, ATTR_G = 1 << 11,
       ATTR_UNUSABLE = 1 << 12 };

enum cpu_activity { CPU_RUNNING = 0, CPU_HALTED = 1, CPU_WAIT_SIPI = 2 };

/* x87 state in the layout of FXSAVE64 (SDM volume 1, 10.5.1), XMM area unused. */
struct x87_image {
    uint16_t fcw, fsw;
    uint8_t ftw, rsvd;      /* abridged tags */
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t st[8][16];
    uint8_t rest[512 - 160];
} __attribute__((aligned(64)));

struct soft;         /* the virtual machine: soft.h */
struct tlb;          /* mmu.h */
struct tlb_entry;    /* mmu.h */
struct interp;       /* the interpreter's decoded blocks: interp.h */
struct ftab;         /* ftab.h */
struct lapic;        /* lapic.h */
struct native;       /* native thunks: native.h */

struct vcpu {
    /* hot: general registers and flags */
    uint64_t gpr[16];
    uint64_t zero;         /* always 0: the base or index that an address does not have */
    uint64_t rip;          /* offset in CS of the instruction being executed */
    uint64_t cc_res, cc_src; /* lazy arithmetic flags, see flags.h */
    uint32_t fl;           /* RFLAGS without the arithmetic flags (those are lazy), bit 1 set */
    _Atomic uint32_t exit_req;
    uint8_t cpl;           /* kept equal to SS.DPL; 3 in virtual-8086 mode, 0 in real mode */
    uint8_t code_bits;     /* 16, 32, 64: from CS and EFER.LMA */
    uint8_t stack_bits;    /* 16, 32, 64: width of the stack pointer */
    uint8_t flat;          /* 1: ES CS SS DS have base 0 and limit 4 GiB, or long mode */
    uint8_t inhibit;       /* interrupt shadow of STI or MOV SS until the next instruction is done */
    uint8_t activity;      /* enum cpu_activity */
    struct seg seg[SEG_COUNT];
    /* the interpreter's: see mmu.h and interp.h */
    struct tlb_entry *tlb_now;  /* TLB set of the current CPL and RFLAGS.AC */
    uint64_t insn_limit;        /* leave execute() when insns gets there */
    uint64_t code_key[2];       /* mode and generation of code look-ups, by bit 63 of rip */
    uint64_t scratch;           /* result of a handler on its way to a second register */
    /* flat page tables: see ftab.h; NULL without them */
    uint64_t *view_now, *view_user, *view_kernel;
    struct ftab *ftab;
    /* the rewriter's: see rw/rw.h */
    uint16_t fl_image;          /* flags in MEM: AH as LAHF stores it in the high byte, OF in bit 0 */
    uint64_t rw_tmp, rw_tmp2;   /* a host register on its way */
    uint64_t rw_park;           /* an operand while a second one is looked up (stack.c, flow.c) */
    uint64_t rw_t0, rw_t1;      /* T0 and T1 when C is done */
    uint32_t rw_pauses;         /* PAUSE instructions until the host's CPU is given away */
    uint8_t rw_mode_dirty;      /* CPL or AC has changed: cpu_mode_changed() is due (slow.c) */
    uint64_t rw_c_rsp;          /* the thread's own stack while rewritten code runs */
    uint64_t rw_rsp;            /* pair stack pointer while C runs */
    uint64_t rw_pair_user;      /* pair stack pointer of CPL 3 while CPL 0 runs */
    uint64_t rw_pair_cpl;       /* whose rw_rsp (and host RSP in rewritten code) is: 0 or 3 */
    uint64_t rw_pair_base[2];   /* empty pair stacks: [0] CPL 0, [1] CPL 3 */
    uint64_t rw_jc;             /* jump cache of the current privilege level and context */
    uint64_t rw_jc_user, rw_jc_kernel;
    uint64_t rw_code, rw_code_len; /* where rewritten code executes */
    struct rw *rw;
    struct lockstep *lockstep;  /* rw/lockstep.h; NULL: off */
    uint64_t rw_view3;          /* host R12 in CPL 3: view_user, or rw_mirror if that is not 0 */
    uint64_t rw_mirror;         /* the current context's granule map: rw/mirror.h */
    uint64_t rw_fault;          /* address of a host fault in rewritten code, or 0; and its kind */
    uint32_t rw_fault_write;
    struct mirrors *mirrors;    /* NULL: off */

    /* control */
    uint64_t cr0, cr2, cr3, cr4, cr8, efer, xcr0;
    uint64_t pdpte[4];     /* PAE paging: loaded with CR3 */
    uint64_t gdt_base, idt_base;
    uint16_t gdt_limit, idt_limit;
    uint64_t dr[4], dr6, dr7;
    uint8_t debug_armed, debug_watch; /* a breakpoint is enabled; one of them on data (debug.c) */
    uint8_t debug_hits;    /* data breakpoints that the instruction has hit */

    /* vectors; xmm n is the low half of ymm[n] */
    uint8_t vec_live;      /* ymm and mxcsr are stale: they are in the host's registers (vecstate.h) */
    uint8_t x87_live;      /* x87 too, but for fop, fip and fdp; only with vec_live */
    uint8_t vec_ready;     /* VEC_...: live, and such instructions may execute */
    uint8_t ymm[16][32] __attribute__((aligned(64)));
    struct x87_image x87;
    uint32_t mxcsr;
    uint8_t bounce[64] __attribute__((aligned(64))); /* a memory operand on its way */

    /* MSRs with a plain value; the rest is in msr.c */
    uint64_t star, lstar, cstar, fmask, kernel_gs_base, tsc_aux, tsc_offset;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip, pat, misc_enable, spec_ctrl;
    _Atomic uint64_t apic_base; /* IPI senders look at it */
    uint64_t mtrr_def, mtrr_fixed[11], mtrr_var[16];
    uint64_t kvm_wall_clock, kvm_system_time, kvm_eoi, kvm_steal, kvm_poll;

    /* events */
    _Atomic uint32_t nmi_pending; /* atomic */
    uint8_t nmi_blocked;
    uint8_t in_delivery;   /* nesting of exception delivery: double and triple fault */
    uint8_t delivering;    /* vector being delivered */
    uint8_t single_step;   /* TF was set when the instruction began */
    uint8_t rep_midway;    /* a string instruction was left between two iterations */
    jmp_buf unwind;        /* x86_raise and x86_unwind jump here */

    /* parts */
    struct soft *soft;
    uint32_t index;        /* also the APIC id */
    struct tlb *tlb;
    struct interp *interp;
    struct lapic *lapic;
    struct native *native;
    const mobo_exits_t *up; /* during run */
    void *up_ctx;

    /* an exception on its way from x86_raise to x86_deliver_pending (exc.c) */
    uint8_t exc_pending, exc_vector, exc_has_error, shutdown;
    uint32_t exc_error;
    uint64_t exc_payload;  /* CR2 of a page fault */
    uint64_t insn_rip;     /* sys_execute: the instruction itself, once rip is behind it */

    /* run loop (loop.c) */
    uint8_t event_waiting; /* an interrupt is held back by IF or a shadow: setting IF sets REQ_EVENT */
    uint8_t timer_dirty;   /* deadline changed since the timer thread heard of it */
    uint8_t mwait;         /* halted by MWAIT: 1, | 2: interrupts end it even if masked */
    uint8_t stopped;       /* exits.stop was called: run returns */
    _Atomic uint8_t extint_latched; /* an IOAPIC pin in ExtINT mode has fired */
    _Atomic uint32_t outside;  /* 1: runs no guest code, so exclusive sections need not wait */
    _Atomic uint32_t sleeping; /* 1: in HLT or wait-for-SIPI, on wake_cond */
    _Atomic uint32_t init_pending, sipi_pending; /* sipi_pending: 0x100 | vector */
    _Atomic uint64_t deadline; /* host ns (CLOCK_MONOTONIC) of the next timer event, ~0: none */
    uint64_t poll_ns;      /* how long HLT spins before it sleeps */
    uint64_t run_ns;       /* time spent in run, for --stats */
    const mobo_exits_t *exits; /* as given to run; `up` wraps it */
    void *exits_ctx;
    pthread_mutex_t wake_lock;
    pthread_cond_t wake_cond;
    struct pv *pv;         /* pv.c */
    uint64_t tsc_adjust, tsc_deadline, mcg_status, misc_features, hwcr, syscfg;

    /* figures for --stats */
    uint64_t insns, blocks_decoded, tlb_fills, faults, interrupts, mmio, pio, halts;
};

/* ---- exceptions (exc.c) ------------------------------------------------------------------------ */

/* Raise an exception of the current instruction and unwind to the run loop. */
_Noreturn void x86_raise(struct vcpu *cpu, unsigned vector);
_Noreturn void x86_raise_err(struct vcpu *cpu, unsigned vector, uint32_t error);
_Noreturn void x86_raise_pf(struct vcpu *cpu, uint64_t linear, uint32_t error);
/* Leave the instruction without an exception: state is consistent, the run loop goes on at rip. */
_Noreturn void x86_unwind(struct vcpu *cpu);
/* Software interrupts: INT n, INT3, INTO (soft 1) and ICEBP. rip is already behind the instruction. */
void x86_soft_int(struct vcpu *cpu, unsigned vector, bool int3_or_into);
/* An external interrupt or NMI at an instruction boundary. */
void x86_deliver_irq(struct vcpu *cpu, unsigned vector);
/* Deliver an exception that x86_raise recorded; called by the run loop after the unwind. */
void x86_deliver_pending(struct vcpu *cpu);

/* ---- flags (flags.h has the fast parts) ---------------------------------------------------------- */

uint64_t cpu_rflags(const struct vcpu *cpu);
/* Sets the bits of mask, no checks of privilege. */
void cpu_set_rflags(struct vcpu *cpu, uint64_t value, uint64_t mask);

/* ---- memory (mmu.c): linear addresses, with the rights of the current CPL ------------------------ */

uint64_t mem_read(struct vcpu *cpu, uint64_t linear, unsigned bytes);  /* 1, 2, 4, 8 */
void mem_write(struct vcpu *cpu, uint64_t linear, uint64_t val, unsigned bytes);
void mem_read_bytes(struct vcpu *cpu, uint64_t linear, void *buf, unsigned len);
void mem_write_bytes(struct vcpu *cpu, uint64_t linear, const void *buf, unsigned len);
/* Fault now if a later write of len bytes would. */
void mem_probe_write(struct vcpu *cpu, uint64_t linear, unsigned len);
/* Implicit supervisor accesses: descriptor tables, TSS, interrupt stack frames of inner rings. */
uint64_t mem_read_sys(struct vcpu *cpu, uint64_t linear, unsigned bytes);
void mem_write_sys(struct vcpu *cpu, uint64_t linear, uint64_t val, unsigned bytes);
/* As a given CPL would: interrupt delivery pushes with the new one. */
uint64_t mem_read_cpl(struct vcpu *cpu, uint64_t linear, unsigned bytes, unsigned cpl);
void mem_write_cpl(struct vcpu *cpu, uint64_t linear, uint64_t val, unsigned bytes, unsigned cpl);
/* Segment check and linear address of seg:off; raises #GP(0) or #SS(0). write: 0, 1. */
uint64_t seg_linear(struct vcpu *cpu, unsigned seg, uint64_t off, unsigned bytes, unsigned write);
/* Physical accesses of page tables and devices; goes to exits.mmio where there is no RAM. */
uint64_t phys_read(struct vcpu *cpu, uint64_t gpa, unsigned bytes);
void phys_write(struct vcpu *cpu, uint64_t gpa, uint64_t val, unsigned bytes);

/* Breakpoints of DR0-DR3 (debug.c). */
bool debug_page_watched(const struct vcpu *cpu, uint64_t page);
void debug_access(struct vcpu *cpu, uint64_t linear, unsigned len, bool write);
void debug_changed(struct vcpu *cpu);          /* DR0-DR3 or DR7 have new values */
bool debug_before(struct vcpu *cpu);           /* true: #DB instead of the instruction */
void debug_raise(struct vcpu *cpu, uint64_t dr6);

void tlb_flush(struct vcpu *cpu);                      /* everything, global pages too */
void tlb_flush_context(struct vcpu *cpu);              /* all but global pages (CR3 write) */
void tlb_cr3_written(struct vcpu *cpu, bool keep);     /* keep: with the NOFLUSH bit */
void tlb_flush_pcid(struct vcpu *cpu, unsigned pcid);  /* INVPCID: all but global pages ... */
void tlb_flush_pcid_page(struct vcpu *cpu, unsigned pcid, uint64_t linear);
void tlb_flush_nonglobal(struct vcpu *cpu);            /* of all PCIDs */
void tlb_flush_page(struct vcpu *cpu, uint64_t linear);/* INVLPG */
/* CR0, CR4, EFER, CPL, RFLAGS.AC or a segment changed: re-derive cached modes. */
void cpu_mode_changed(struct vcpu *cpu);

/* ---- control registers, segments, transfers (sys.c, seg.c) -------------------------------------- */

void seg_load(struct vcpu *cpu, unsigned seg, uint16_t sel);  /* MOV/POP/LxS with all checks */
void seg_load_real(struct vcpu *cpu, unsigned seg, uint16_t sel); /* real and virtual-8086 mode */
void cr_write(struct vcpu *cpu, unsigned cr, uint64_t val);   /* with #GP checks */
uint64_t cr_read(struct vcpu *cpu, unsigned cr);
bool msr_read(struct vcpu *cpu, uint32_t index, uint64_t *val);  /* false: #GP(0) */
bool msr_write(struct vcpu *cpu, uint32_t index, uint64_t val);
void cpuid_query(const struct vcpu *cpu, uint32_t leaf, uint32_t sub, uint32_t out[4]);
bool cpu_has(const struct vcpu *cpu, enum x86_feature feature);
uint64_t cpu_tsc(const struct vcpu *cpu);

/*
 * Instructions that the interpreter hands over whole: far transfers, system registers, port I/O.
 * rip names the instruction on entry; on return it names the next one to execute.
 */
void sys_execute(struct vcpu *cpu, const struct x86_insn *in);
bool sys_handles(enum x86_op op);

/* ---- vector, MMX and x87 instructions (native.c, fpu.c) ------------------------------------------ */

/* Executes one such instruction, rip left to the caller; raises #NM #UD #XM #MF #GP #PF as due. */
void vec_execute(struct vcpu *cpu, const struct x86_insn *in, const uint8_t *bytes);
bool vec_handles(enum x86_op op);

#endif
