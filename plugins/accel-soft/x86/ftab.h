/*
 * ftab.h: flat page tables, which generated code looks addresses up in without calling anybody.
 * Filling is ftab.c, forgetting is ftab_flush.c, address space and memory are ftab_map.c. The
 * interpreter does not use them: its TLB is in mmu.h.
 *
 * A view is an array with one 8-byte entry per page of the 48-bit linear address space: 2^36
 * entries for loads and right behind them 2^36 for stores. An entry is the host address of the page
 * minus its linear address, so that host = linear + entry; 0 is a miss. Generated code does
 *
 *     lea  t0, [operand]                 ; any 64-bit value
 *     pext t1, t0, MASK                  ; FTAB_MASK_SUPER, in code of CPL 3 FTAB_MASK_USER
 *     bts  t1, 36                        ; stores only
 *     mov  t1, [view + t1*8]
 *     test t1, t1 ; jz slow
 *     test t0b, size-1 ; jnz slow        ; size 1: left out; 10 bytes: 15; above 64: never direct
 *     op   [t0+t1]
 *
 * Tables. [U_c] holds the lower-half pages that CPL 3 may access in context c (a PCID and CR3
 * base), [S] the lower-half pages that the supervisor may access with AC = 0, [K] the upper half as
 * the supervisor sees it with AC = 0, the same memory in every view. The kernel's view is [S][K],
 * the view of context c is [U_c][K], once for loads and once for stores:
 *
 *     CPL 3                               view_user     (U_c only: the mask has no bit 47)
 *     CPL 0-2, SMAP off or AC = 0         view_kernel
 *     CPL 0-2, SMAP on and AC = 1         view_user     (supervisor pages below: slow)
 *     CPL 3 with alignment checks         an empty view
 *     breakpoints on data                 an empty view, whatever the CPL
 *
 * Why no guest can reach a byte of the monitor. What generated code accesses is
 * host(ea) = ea + entry[pext(ea)] mod 2^64, for an ea that the guest chooses freely.
 *  1. The load of the entry stays in the view: pext with 36 bits set yields i < 2^36, with the
 *     store bit i < 2^37, and a view is 2^37 entries of 8 bytes, all of them mapped.
 *  2. Let entry i be not 0. ftab.c stored it for one page P with (P >> 12) mod 2^36 = i, P
 *     canonical and of the half that the table is for, and H = P + entry is the host address of a
 *     whole 4 KiB page of guest RAM, below 2^47 (put() refuses others). For stores it is RAM that
 *     the guest may write; ROM is never entered.
 *  3. MASK of CPL 0-2, bits 12..47: ea = P + o + k * 2^48 mod 2^64 with o < 4096 and 0 <= k < 2^16,
 *     since all bits below 48 but the offset agree. host(ea) = H + o + k * 2^48: bits 63..48 are k,
 *     bit 47 is 0. For k = 0 that is the page H. For k > 0 it is not canonical (bits 63..47 are
 *     neither all 0 nor all 1): #GP of the host, which the fault handler turns into the slow way.
 *  4. MASK of CPL 3, bits 12..46, i < 2^35: the entries are those of U_c, so P < 2^47.
 *     ea = P + o + k * 2^47 with 0 <= k < 2^17, host(ea) = H + o + k * 2^47: bits 63..47 are k.
 *     k = 0 is the page; k = 2^17 - 1 is the upper half, which belongs to the host's kernel: #PF of
 *     the host (or the host's read-only vsyscall page, which holds no byte of ours); any other k is
 *     not canonical.
 *  5. Width. The low 12 bits of the entry are 0, so ea, ea + entry and o agree in them. size is a
 *     power of two up to 64, size - 1 fits t0b, and the test sends all but multiples of size away:
 *     o + size <= 4096. A byte needs no test. All of the operand lies in the one page (k = 0), or
 *     all of it has the same bits 63..47 and faults (k > 0).
 *  6. Hosts with 57-bit linear addresses: H + o + k * 2^48 with k < 2^8 (or k * 2^47) is canonical
 *     there, but above 2^47 Linux maps only what is asked for by a hint above 2^47, which we never
 *     give, so nothing of ours is there: #PF of the host.
 *  7. Time. Entries go before the RAM does: slots change while all CPUs are parked, and tlb_flush()
 *     of every CPU follows before one of them runs. Generated code keeps no host address across a
 *     poll or a call.
 * tests/accel-soft/test-ftab.c throws hostile addresses, widths and modes at this.
 *
 * Nothing here raises, calls the C library while filling, or touches vector registers: it runs
 * while those are the guest's.
 */
#ifndef SOFT_X86_FTAB_H
#define SOFT_X86_FTAB_H

#include "mmu.h"

#define FTAB_MASK_SUPER UINT64_C(0x0000fffffffff000)
#define FTAB_MASK_USER UINT64_C(0x00007ffffffff000)
enum { FTAB_WRITE_BIT = 36, FTAB_CONTEXTS = 16 };

struct ftab_stats {
    uint64_t fills, refused, around;  /* entries made on demand; not made; made for neighbours */
    uint64_t walks;                   /* fills that had to walk from the top */
    uint64_t steals;                  /* store entries moved to another address of the same page */
    uint64_t protects;                /* store entries dropped for decoded code */
    uint64_t flush_all, flush_context, flush_page;
    /* CR3 writes to another context; to one that still had entries; contexts taken from others */
    uint64_t switches, kept, recycles;
    uint64_t releases;                /* tables given back to the host */
};

/* For whoever caches by context (jump caches): may be NULL. */
struct ftab_hooks {
    void (*switched)(struct vcpu *cpu, unsigned context); /* view_user is this context's now */
    void (*dropped)(struct vcpu *cpu, unsigned context);  /* its lower half is void */
    void (*settled)(struct vcpu *cpu); /* a flush is done, CR3's context is the current one */
    void (*page)(struct vcpu *cpu, unsigned pcid, uint64_t linear); /* its mapping is void */
};

/* CONTEXTS 0: as many as fit. Else an MOBO_E... and *why says what stands against it. */
int ftab_init(struct vcpu *cpu, unsigned contexts, const struct ftab_hooks *hooks,
              const char **why);
void ftab_fini(struct vcpu *cpu);
const struct ftab_stats *ftab_stats(const struct vcpu *cpu);
/* Number of the current context, and how many there are. */
unsigned ftab_context(const struct vcpu *cpu);
unsigned ftab_contexts(const struct vcpu *cpu);
/* What CR3 is in that context: the base, the PCID; false: it is nobody's. */
bool ftab_context_key(const struct vcpu *cpu, unsigned context, uint64_t *base, uint16_t *pcid);

/*
 * Make the entry by which an access at LINEAR in the current mode is direct; ACC is ACC_R or ACC_W
 * (which covers read-modify-write). Sets A and D as the access would. False: it must go the slow
 * way (a fault, MMIO, ROM, decoded code there, ...); nothing that a guest could see has happened
 * then, save that A or D of a mapping that does permit the access may be set.
 */
bool ftab_fill(struct vcpu *cpu, uint64_t linear, unsigned acc);

/* view_user, view_kernel and view_now again, after a change of CPL, AC, SMAP, AM, breakpoints. */
void ftab_view_update(struct vcpu *cpu);

/* What mmu.c calls; all but the first for the CPU's own thread. */
void ftab_flush_all(struct vcpu *cpu);            /* also looks at CR3 and modes anew */
void ftab_cr3_written(struct vcpu *cpu, bool keep); /* keep: bit 63 of the value was set */
void ftab_flush_page(struct vcpu *cpu, uint64_t linear);
void ftab_drop_stale(struct vcpu *cpu, uint64_t linear); /* #PF there: this context's entry goes */
void ftab_flush_nonglobal(struct vcpu *cpu);      /* all contexts */
void ftab_flush_pcid(struct vcpu *cpu, unsigned pcid);
void ftab_flush_pcid_page(struct vcpu *cpu, unsigned pcid, uint64_t linear);
/* No direct stores to that guest-physical page from now on; true if there could have been some. */
bool ftab_protect(struct vcpu *cpu, uint64_t gpa);

/* The look-up as generated code does it; NULL: slow. For C code beside it, and for tests. */
static inline uint8_t *ftab_host(const struct vcpu *cpu, uint64_t linear, unsigned bytes,
                                 bool write)
{
    uint64_t i = (linear & (cpu->cpl == 3 ? FTAB_MASK_USER : FTAB_MASK_SUPER)) >> PAGE_BITS;
    uint64_t entry = cpu->view_now[i | (uint64_t)write << FTAB_WRITE_BIT];
    if (!entry || (linear & (bytes - 1)))
        return NULL;
    return (uint8_t *)(uintptr_t)(linear + entry);
}

#endif
