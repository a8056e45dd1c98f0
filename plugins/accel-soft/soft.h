/*
 * soft.h: a virtual machine of the software CPU: guest RAM, the virtual CPUs, the CPU model, and
 * the contract between the run loop and an engine.
 */
#ifndef SOFT_SOFT_H
#define SOFT_SOFT_H

#include "x86/state.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOFT_VCPUS_MAX = 64, SOFT_SLOTS_MAX = 32 };

/* Guest-physical RAM. Slots change only while all virtual CPUs are parked. */
struct ram_slot {
    uint64_t gpa, len;
    uint8_t *host;
    uint32_t flags;          /* MOBO_MAP_... */
    uint8_t *code_pages;     /* per 4 KiB page, atomic: CPUs with decoded code there (x86/smc.c) */
    uint64_t *code_lines;    /* per page, atomic: one bit for each 64 bytes of decoded code */
};

/* Behaviour that differs between the makers (SYSCALL, SYSENTER, ...) follows the vendor string. */
enum cpu_vendor { VENDOR_INTEL = 0, VENDOR_AMD = 1 };

/* What a CPU model offers: bits as CPUID would show them; see cpuid.c. */
struct cpu_model {
    uint64_t features[2];    /* bit n of word n/64: enum x86_feature n is there */
    uint32_t leaf1_ecx, leaf1_edx, leaf7_ebx, leaf7_ecx, leaf7_edx, leafd1_eax;
    uint32_t ext1_ecx, ext1_edx;
    uint32_t ext7_edx, ext8_ebx, ext21_eax, ext21_ecx, kvm_eax;
    uint32_t vendor;         /* enum cpu_vendor */
    uint32_t signature;      /* leaf 1 EAX: family, model, stepping */
    uint64_t arch_caps;      /* IA32_ARCH_CAPABILITIES */
    uint64_t xcr0;           /* components that XSETBV may enable */
    uint64_t tsc_hz;
    uint8_t phys_bits, linear_bits;
};

/*
 * An engine executes guest instructions of one CPU until it has a reason to look up: exit_req is
 * not 0, the CPU halts, or the budget (instructions, a hint) is used up. On return the state is
 * precise at an instruction boundary. Exceptions unwind through cpu->unwind.
 */
struct engine {
    const char *name;
    int (*cpu_init)(struct vcpu *cpu);
    void (*cpu_fini)(struct vcpu *cpu);
    void (*execute)(struct vcpu *cpu, uint64_t budget);
    /* Guest-physical page changed under decoded code, or the whole cache must go (gpa ~0). */
    void (*invalidate)(struct vcpu *cpu, uint64_t gpa, uint64_t len);
};
extern const struct engine engine_interp; /* engine_rw: rw/rw.h */
enum { ENGINE_AUTO = 0, ENGINE_INTERP = 1, ENGINE_RW = 2 }; /* the property */

struct soft {
    mobo_obj_t *obj;
    /* properties */
    const char *cpu_prop;
    uint32_t engine_prop, trace_prop, vendor_prop, perf_map_prop;
    const char *trace_file_prop;
    uint32_t lockstep_prop;  /* LOCKSTEP_...: rw/lockstep.h */
    uint64_t lockstep_insns_prop;
    uint32_t mirror_prop;    /* MIRROR_...: rw/mirror.h */
    /* */
    struct cpu_model model;
    const struct engine *engine;
    struct ram_slot slot[SOFT_SLOTS_MAX];
    unsigned slot_count;
    struct vcpu *vcpu[SOFT_VCPUS_MAX];
    unsigned vcpu_count;
    pthread_mutex_t lock;    /* slots, exclusive sections; never held while guest code runs */
    _Atomic uint32_t code_lock; /* code_pages and code_lines: x86/smc.c */
    _Atomic uint32_t extint; /* level of the 8259's INTR pin */
    _Atomic uint32_t vcpu_ready; /* vCPUs that other threads may touch: vcpu[0..vcpu_ready) */

    /* exclusive sections (loop.c) */
    pthread_mutex_t ex_lock;
    pthread_cond_t ex_free, ex_idle;
    _Atomic uint32_t ex_active;
    pthread_t ex_owner;
    uint32_t ex_depth, ex_waiters, ex_handoff;

    /* the timer thread (loop.c) */
    pthread_t timer_thread;
    pthread_mutex_t timer_lock;
    pthread_cond_t timer_cond;
    uint64_t timer_target;   /* when it wakes up next, host ns */
    uint32_t timer_running, timer_quit;

    /* time: guest TSC = host TSC + tsc_offset (before the guest adjusts it) */
    uint64_t tsc_offset, cal_tsc, cal_ns;
    uint64_t boot_real_ns;   /* real time at guest TSC 0, for the KVM wall clock */
    uint32_t pv_mult;        /* guest TSC to ns as pvclock does it */
    int32_t pv_shift;
    uint32_t spare_cpus;     /* the host has more CPUs than the guest: spinning is affordable */
    uint64_t *ftab_empty;    /* x86/ftab_map.c: the view with nothing in it */
    uint32_t ftab_users;
    struct granules *granules; /* rw/mirror_space.c: the address space of mirrors */
    _Atomic uint32_t lowest_rr; /* lowest-priority delivery: where to begin */
    FILE *trace_out;
    uint32_t init_done;
};

/* CLOCK_MONOTONIC in ns: what deadlines count in. */
uint64_t soft_now(void);
/* Host address of guest RAM, or NULL; *left is how many bytes from there on are contiguous. */
uint8_t *soft_ram(const struct soft *s, uint64_t gpa, uint64_t *left, uint32_t *flags);
/* Any thread that is no vCPU's: all CPUs are parked between these two (loop.c). */
void soft_all_stop(struct soft *s);
void soft_all_go(struct soft *s);
/* Any thread: set bits of exit_req and wake the CPU if it sleeps (loop.c). */
void soft_request(struct vcpu *cpu, uint32_t req);
/*
 * A CPU counts as parked while it is outside guest code: in exits.* (the wrappers behind cpu->up
 * see to it), in HLT, and while it waits for its own exclusive section. Host pointers into guest
 * RAM do not survive those calls: look them up again behind soft_exclusive_begin and up->mmio.
 */
/* Any thread but not with locks held: all other CPUs are parked between these two (loop.c). */
void soft_exclusive_begin(struct vcpu *self);
void soft_exclusive_end(struct vcpu *self);

/* What plugin.c puts into the class (soft.c, loop.c, x86/regs.c). */
extern const mobo_accel_ops_t soft_accel_ops;
int soft_init(void *self);
void soft_fini(void *self);
int soft_run(void *vcpu, const mobo_exits_t *up, void *ctx);
void soft_kick(void *vcpu);
int soft_get(void *vcpu, uint32_t block, void *buf, uint32_t len);
int soft_set(void *vcpu, uint32_t block, const void *buf, uint32_t len);
int soft_timer_start(struct soft *s);
void soft_timer_stop(struct soft *s);

#endif
