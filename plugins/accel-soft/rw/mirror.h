/*
 * mirror.h: mirror mode: user pages of a hot context (a CR3 and PCID of one virtual CPU) lie at
 * their own linear addresses in this process too, so that rewritten code of CPL 3 accesses them
 * as they are. mem.c emits, per access,
 *
 *     lea  T0, [operand]               ; any 64-bit value
 *     shrx T1, T0, VIEW                ; by 30, the low six bits of VIEW: its number of 1 GiB
 *     cmp  byte [VIEW + T1], 0         ; the granule map of the context
 *     je   cold                        ; denied: the flat tables, out of line
 *     op   [T0]
 *
 * A granule is 1 GiB of linear addresses. It is allowed in one granule map at a time.
 *
 * Why no guest can reach a byte of the monitor, nor of another context.
 *  1. The map. T1 < 2^34, and 2^34 bytes from VIEW on are reserved; all but those of the lower half
 *     (2^17) are PROT_NONE, so an address of 2^47 or more faults there: the slow way.
 *  2. A granule is allowed only after all of it has been reserved by MAP_FIXED_NOREPLACE, so the
 *     process had nothing in it; while it is reserved the host's kernel places nothing in it
 *     either. It stays reserved, for the mirrors of this machine only, until the machine goes; all
 *     that is ever mapped over the reservation is RAM of the guest (pages that the context's page
 *     tables give CPL 3, never ROM for stores, never executable) and PROT_NONE again. Below
 *     vm.mmap_min_addr nobody can map. The granules into which the stack of the main thread may
 *     grow are never asked for.
 *  3. A call that maps over the reservation and fails may leave a hole. The mirror is then switched
 *     off before the guest's next instruction, and its granules are never allowed again.
 *  4. Straddling. An access of up to 64 bytes that begins in granule g may end in the first page of
 *     g + 1. That page is reserved together with g (behind the last granule there is nothing), and
 *     it is mirrored only by a mirror that owns g as well as g + 1.
 *  5. Whose. One mirror of one CPU owns a granule, and only that CPU's thread, in that context, runs
 *     with the map that allows it; CPL 0 never runs with a granule map. Nobody but that thread maps
 *     and unmaps there, between two of its instructions, so nothing changes while one executes.
 *     (RAM comes and goes while all CPUs are parked, and their tlb_flush() drops what is mirrored.)
 *  6. The glue's own accesses use GS and the pair stack; string instructions that C executes use
 *     the flat tables.
 * tests/accel-soft/test-rw-mirror.c throws hostile addresses, widths and page tables at this.
 *
 * What may be mirrored is what a TLB may hold. A flush marks the mirror; if its context is the
 * current one, or when it becomes it, the page tables are read again and what has changed goes
 * (mirror_flush.c). Single pages go at once. Stores to pages with decoded code are the slow way's.
 */
#ifndef SOFT_RW_MIRROR_H
#define SOFT_RW_MIRROR_H

#include "rw.h"

enum { MIRROR_GRANULE_BITS = 30 };
/*
 * In front of the granule map, so far from VIEW: a byte per granule, 1: denied for good, look in
 * the flat tables; 0: C may be able to do something about it.
 */
enum { MIRROR_FLAT = -((1 << 17) + MIRROR_GRANULE_BITS) };
enum { MIRROR_OFF = 0, MIRROR_AUTO = 1 }; /* the property */

struct mirror_stats {
    uint64_t promotions, demotions, evictions;
    uint64_t faults, refused;       /* host faults in allowed granules; not mirrored then */
    uint64_t pages, batches;        /* mapped; calls of the host that mapped them */
    uint64_t unmapped, checks;      /* pages; times the page tables were read again */
    uint64_t denied, denied_at;     /* pages whose granules could not be had; the last one */
    uint64_t ticks;                 /* TSC spent on all that */
};

/* When CPUs are made and go. Without the property, or where the host does not let us: nothing. */
void mirror_init(struct vcpu *cpu);
void mirror_fini(struct vcpu *cpu);
const struct mirror_stats *mirror_stats(const struct vcpu *cpu); /* NULL: there are no mirrors */

/* What the flat tables' hooks tell (x86/ftab.h). */
void mirror_dropped(struct vcpu *cpu, unsigned context);
void mirror_settled(struct vcpu *cpu);
void mirror_page(struct vcpu *cpu, unsigned pcid, uint64_t linear);
bool mirror_protect(struct vcpu *cpu, uint64_t gpa);

/*
 * The access at LINEAR faulted or was denied: mirror its page and neighbours. True: it may be
 * tried again. False: nothing the guest could see has happened, but for A and D as with ftab_fill.
 */
bool mirror_fill(struct vcpu *cpu, uint64_t linear, unsigned acc);
/* That access went by the flat tables although its context is mirrored. */
void mirror_denied(struct vcpu *cpu, uint64_t linear);

/* Between two blocks of rewritten code: who becomes, or no longer is, mirrored. */
void mirror_turn(struct vcpu *cpu);
/* Mirror the current context now; false: it cannot be. Between blocks. For the policy and tests. */
bool mirror_promote(struct vcpu *cpu);

#endif
