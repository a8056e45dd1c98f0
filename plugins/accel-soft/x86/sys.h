/*
 * sys.h: what the files of the system side share: descriptors, segment registers, operands of
 * system instructions, stacks being pushed to. Nothing here is for the engines, which use state.h.
 */
#ifndef SOFT_X86_SYS_H
#define SOFT_X86_SYS_H

#include "../soft.h"
#include "lapic.h"

__extension__ typedef unsigned __int128 u128;

/* ---- modes ----------------------------------------------------------------------------------- */

static inline bool is_long(const struct vcpu *cpu)
{
    return (cpu->efer & EFER_LMA) != 0;
}

static inline bool is_vm86(const struct vcpu *cpu)
{
    return (cpu->fl & FL_VM) != 0;
}

/* Protected or long mode, not virtual-8086: selectors name descriptors. */
static inline bool is_protected(const struct vcpu *cpu)
{
    return (cpu->cr0 & CR0_PE) && !is_vm86(cpu);
}

static inline unsigned iopl(const struct vcpu *cpu)
{
    return (cpu->fl >> 12) & 3;
}

static inline bool is_amd(const struct vcpu *cpu)
{
    return cpu->soft->model.vendor == VENDOR_AMD;
}

static inline bool canonical(uint64_t linear)
{
    return (uint64_t)((int64_t)(linear << 16) >> 16) == linear;
}

/* Linear addresses outside long mode have 32 bits. */
static inline uint64_t lin(const struct vcpu *cpu, uint64_t linear)
{
    return is_long(cpu) ? linear : (uint32_t)linear;
}

static inline uint64_t width_mask(unsigned bytes)
{
    return bytes >= 8 ? ~0ull : (1ull << (8 * bytes)) - 1;
}

static inline uint64_t stack_mask(const struct vcpu *cpu)
{
    return width_mask(cpu->stack_bits / 8u);
}

/* ---- descriptors (seg.c) --------------------------------------------------------------------- */

struct desc {
    uint64_t lo, hi; /* hi: second half of a 16-byte system descriptor */
    uint64_t addr;   /* linear address it was read from */
};

static inline unsigned desc_type(uint64_t lo)
{
    return (lo >> 40) & 15;
}
static inline bool desc_s(uint64_t lo)
{
    return (lo >> 44) & 1;
}
static inline unsigned desc_dpl(uint64_t lo)
{
    return (lo >> 45) & 3;
}
static inline bool desc_p(uint64_t lo)
{
    return (lo >> 47) & 1;
}
static inline bool desc_l(uint64_t lo)
{
    return (lo >> 53) & 1;
}
static inline bool desc_d(uint64_t lo)
{
    return (lo >> 54) & 1;
}
static inline bool desc_code(uint64_t lo)
{
    return desc_s(lo) && (desc_type(lo) & 8);
}
static inline bool desc_conforming(uint64_t lo)
{
    return desc_code(lo) && (desc_type(lo) & 4);
}
static inline bool desc_writable(uint64_t lo)
{
    return desc_s(lo) && !(desc_type(lo) & 8) && (desc_type(lo) & 2);
}

static inline uint64_t desc_base(uint64_t lo)
{
    return ((lo >> 16) & 0xffffff) | ((lo >> 32) & 0xff000000);
}

static inline uint32_t desc_limit(uint64_t lo)
{
    uint32_t limit = (uint32_t)(lo & 0xffff) | (uint32_t)((lo >> 32) & 0xf0000);
    return (lo >> 55) & 1 ? limit << 12 | 0xfff : limit;
}

static inline uint16_t desc_attr(uint64_t lo)
{
    return (uint16_t)(((lo >> 40) & 0xff) | (((lo >> 52) & 15) << 8));
}

static inline bool sel_null(uint16_t sel)
{
    return (sel & 0xfffc) == 0;
}

/* Reads the descriptor; false if it lies outside its table. Null selectors are the caller's. */
bool desc_fetch(struct vcpu *cpu, uint16_t sel, struct desc *d);
/* The second half of a system descriptor in long mode; false outside the table. */
bool desc_fetch_high(struct vcpu *cpu, uint16_t sel, struct desc *d);
void desc_set_accessed(struct vcpu *cpu, struct desc *d);
void desc_set_busy(struct vcpu *cpu, uint64_t addr, bool busy);

void seg_from_desc(struct vcpu *cpu, unsigned seg, uint16_t sel, uint64_t lo);
void seg_make_null(struct vcpu *cpu, unsigned seg, uint16_t sel);
void seg_flat_code(struct vcpu *cpu, uint16_t sel, unsigned dpl, unsigned bits);
void seg_flat_stack(struct vcpu *cpu, uint16_t sel, unsigned dpl);
/* Loads CS (checked by the caller) and makes CPL the current level. */
void seg_set_cs(struct vcpu *cpu, uint16_t sel, uint64_t lo, unsigned cpl);
/* Checks SS for level CPL as an inter-privilege transfer does; raises VEC_TS (or GP) and #SS. */
void seg_check_stack(struct vcpu *cpu, uint16_t sel, unsigned cpl, unsigned vector, unsigned ext,
                     struct desc *out);
/* Data segments too privileged for the new CPL become null (return to an outer ring). */
void seg_drop_privileged(struct vcpu *cpu);
/* CPL in real and virtual-8086 mode, then cpu_mode_changed for all that follows from it. */
void mode_update(struct vcpu *cpu);
void pop_ss_shadow(struct vcpu *cpu);
void seg_execute(struct vcpu *cpu, const struct x86_insn *in);

/* ---- a stack being pushed to or popped from before anything is committed --------------------- */

struct stack {
    uint64_t base, sp, mask;
    uint32_t limit;
    uint16_t attr;
    unsigned cpl;   /* the accesses are made with its rights */
    uint32_t error; /* of #SS */
    bool flat64;    /* 64-bit: no limit, addresses must be canonical */
};

void stack_current(const struct vcpu *cpu, struct stack *st);
/* For a stack segment that is about to be loaded. */
void stack_from_desc(const struct vcpu *cpu, struct stack *st, uint64_t lo, uint64_t sp,
                     unsigned cpl, uint32_t error);
void stack_push(struct vcpu *cpu, struct stack *st, uint64_t val, unsigned bytes);
/*
 * N 8-byte words, the last one first: as so many times stack_push. 64-bit stacks only (flat64).
 * stack_peek reads the N words at the top if that needs no walk and no device; false: nothing done.
 */
void stack_push_frame(struct vcpu *cpu, struct stack *st, const uint64_t *words, unsigned n);
bool stack_peek(const struct vcpu *cpu, const struct stack *st, uint64_t *words, unsigned n);
uint64_t stack_pop(struct vcpu *cpu, struct stack *st, unsigned bytes);
/* Writes the stack pointer back with the width of its mask. */
void stack_commit(struct vcpu *cpu, const struct stack *st);
void stack_set_sp(struct vcpu *cpu, uint64_t sp, uint64_t mask);

/* ---- operands (sys.c) ------------------------------------------------------------------------ */

uint64_t insn_ea(const struct vcpu *cpu, const struct x86_insn *in);
uint64_t insn_linear(struct vcpu *cpu, const struct x86_insn *in, uint64_t delta, unsigned bytes,
                     unsigned write);
uint64_t opnd_read(struct vcpu *cpu, const struct x86_insn *in, unsigned n, unsigned bytes);
void opnd_write(struct vcpu *cpu, const struct x86_insn *in, unsigned n, uint64_t val,
                unsigned bytes);
void gpr_write(struct vcpu *cpu, unsigned reg, uint64_t val, unsigned bytes);
/* Where the next instruction is, cut to the code width. */
uint64_t insn_next(const struct vcpu *cpu, const struct x86_insn *in);

/* ---- transfers ------------------------------------------------------------------------------- */

void far_execute(struct vcpu *cpu, const struct x86_insn *in);  /* far.c: JMP CALL RET far */
void iret_execute(struct vcpu *cpu, const struct x86_insn *in); /* ret.c */
void fast_execute(struct vcpu *cpu, const struct x86_insn *in); /* ret.c: SYSCALL SYSENTER ... */
void io_execute(struct vcpu *cpu, const struct x86_insn *in);   /* io.c */
void cr_execute(struct vcpu *cpu, const struct x86_insn *in);   /* cr.c: MOV CR/DR LMSW CLTS ... */
bool cr_handles(enum x86_op op);
void dtab_execute(struct vcpu *cpu, const struct x86_insn *in); /* dtab.c: LGDT ... ARPL */
bool dtab_handles(enum x86_op op);
bool dtab_needs_protected(enum x86_op op); /* #UD in real and virtual-8086 mode */

enum task_reason { TASK_JMP, TASK_CALL, TASK_INT, TASK_IRET };
/* error: pushed on the new task's stack if has_error; next: EIP saved in the old TSS. */
void task_switch(struct vcpu *cpu, uint16_t sel, enum task_reason why, uint64_t next,
                 bool has_error, uint32_t error, unsigned ext);

/* Flags that IRET and task switches may set at all. */
enum {
    FL_WRITABLE = FL_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF | FL_VM | FL_AC |
                  FL_VIF | FL_VIP | FL_ID
};

/* The CPU may take interrupts from now on: have the run loop look if one was held back. */
static inline void if_was_set(struct vcpu *cpu)
{
    if (cpu->event_waiting)
        atomic_fetch_or_explicit(&cpu->exit_req, REQ_EVENT, memory_order_relaxed);
}

/* Make the engine return to the run loop behind this instruction. */
static inline void want_loop(struct vcpu *cpu)
{
    atomic_fetch_or_explicit(&cpu->exit_req, REQ_EVENT, memory_order_relaxed);
}

void x86_icebp(struct vcpu *cpu); /* exc.c: INT1, rip behind it */

/* ---- CPU resets, model, MSRs ----------------------------------------------------------------- */

void x86_reset(struct vcpu *cpu, bool init); /* power-on, or INIT */
int cpuid_build(struct soft *s);             /* parses the cpu property; reports by mobo_fail */
void msr_reset(struct vcpu *cpu);
bool cr_valid_state(const struct vcpu *cpu, uint64_t cr0, uint64_t cr4, uint64_t efer);
void cr_load_pdpte(struct vcpu *cpu, uint64_t cr3);
uint64_t cr4_allowed(const struct vcpu *cpu);
uint64_t efer_allowed(const struct vcpu *cpu);
bool efer_write(struct vcpu *cpu, uint64_t val);

/* ---- paravirtual clock (pv.c) ---------------------------------------------------------------- */

int pv_init(struct vcpu *cpu);
void pv_fini(struct vcpu *cpu);
void pv_reset(struct vcpu *cpu);
void pv_scale(struct soft *s); /* pv_mult and pv_shift from tsc_hz */
bool pv_msr(struct vcpu *cpu, uint32_t index, uint64_t *val, bool write);
bool pv_msr_known(uint32_t index);
void pv_tsc_changed(struct vcpu *cpu);
/* PV EOI: the guest may end VECTOR by clearing a bit in its memory. */
void pv_eoi_offer(struct vcpu *cpu);
/* True if the guest has ended an interrupt that way; withdraw: the offer is over in any case. */
bool pv_eoi_taken(struct vcpu *cpu, bool withdraw);
uint64_t pv_hypercall(struct vcpu *cpu);
/* Another CPU has kicked this one out of HLT (KVM_HC_KICK_CPU); once. */
bool pv_kicked(struct vcpu *cpu);

/* ---- trace (trace.c) ------------------------------------------------------------------------- */

enum { TRACE_NONE = 0, TRACE_INT = 1, TRACE_EXEC = 2 };
int trace_open(struct soft *s);
void trace_close(struct soft *s);
void trace_exec(struct vcpu *cpu);
void trace_event(struct vcpu *cpu, const char *what, unsigned vector, bool has_error,
                 uint32_t error);

#endif
