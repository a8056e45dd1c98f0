/*
 * kvm.h: a virtual machine of Linux's KVM on x86-64: its memory slots, its virtual CPUs, and what
 * the files of this plugin ask of each other.
 */
#ifndef KVM_KVM_H
#define KVM_KVM_H

/* KVM's tables end in a flexible array; a head with its entries behind it is how one has them. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Wgnu-variable-sized-type-not-at-end"
#pragma clang diagnostic ignored "-Wflexible-array-extensions"
#endif

#include <mobo/accel.h>
#include <mobo/arch/x86.h>
#include <mobo/host.h>

#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>

enum { KVM_VCPUS_MAX = 64, KVM_SLOTS_MAX = 64, KVM_PINS = 24, KVM_CPUID_MAX = 128 };
enum { KVM_EXITS_COUNTED = 48 };

struct kvm_cpuid_table {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entry[KVM_CPUID_MAX];
};

struct kvm_msr_table {
    struct kvm_msrs head;
    struct kvm_msr_entry entry[MOBO_X86_MSRS_MAX];
};

/* All of a CPU's state in KVM's own formats. */
struct kvm_state {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xsave xsave;
    struct kvm_xcrs xcrs;
    struct kvm_vcpu_events events;
    struct kvm_mp_state mp;
    struct kvm_debugregs debug;
    struct kvm_lapic_state lapic;
    struct kvm_msr_table msrs;
};

struct kvm;

struct kvm_cpu {
    struct kvm *vm;
    uint32_t index;
    int fd;
    struct kvm_run *run;
    uint32_t run_len;
    _Atomic int in_kvm;      /* KVM_RUN may be under way: a kick needs the signal */
    _Atomic int kicked;      /* run returns; the other reasons to look up stay inside */
    _Atomic int tid;         /* of the thread in run */
    bool stopped;            /* exits.stop was called */
    struct kvm_state power_on;
    _Atomic uint64_t exits[KVM_EXITS_COUNTED]; /* by KVM_EXIT_...; the last: all others */
    _Atomic uint64_t runs, injected;
};

struct kvm_slot {
    uint64_t gpa, len; /* len 0: free */
};

/* A message whose interrupt is level-triggered: KVM reports the ends of those it knows. */
struct kvm_level_route {
    uint64_t addr, used; /* used 0: free */
    uint32_t data;
};

struct kvm {
    mobo_obj_t *obj;
    uint32_t cpu_prop, slow_prop;
    int dev, fd; /* valid if `opened`, `made` */
    bool opened, made, locked;
    bool has_xcrs, has_deadline;
    double mips;
    uint32_t vcpu_count;
    _Atomic uint32_t vcpu_ready;
    struct kvm_cpu *vcpu[KVM_VCPUS_MAX];
    struct kvm_slot slot[KVM_SLOTS_MAX];
    struct kvm_level_route route[KVM_PINS];
    uint64_t route_clock;
    pthread_mutex_t lock;    /* slots and routes */
    _Atomic uint32_t extint; /* level of the 8259's INTR pin */
    struct kvm_cpuid_table supported;
    uint32_t msr_list[MOBO_X86_MSRS_MAX];
    uint32_t msr_count;
    _Atomic uint64_t msis, routings;
};

/* vm.c */
int kvm_init(void *self);
void kvm_fini(void *self);
extern const mobo_accel_ops_t kvm_accel_ops;

/* calibrate.c: millions of instructions a second, or negative: cannot tell (says why in `why`). */
double kvm_calibrate(int dev, double enough, char *why, size_t len);

/* cpuid.c */
int kvm_cpuid_load(struct kvm *k);
int kvm_cpuid_set(struct kvm_cpu *cpu);
uint32_t kvm_cpuid_signature(const struct kvm *k);

/* msrs.c */
int kvm_msrs_list(struct kvm_cpu *cpu);
int kvm_msrs_read(struct kvm_cpu *cpu, struct kvm_msr_table *t);
int kvm_msrs_write(struct kvm_cpu *cpu, const struct kvm_msr_table *t);
int kvm_msrs_get(struct kvm_cpu *cpu, mobo_x86_msrs_t *out);
int kvm_msrs_set(struct kvm_cpu *cpu, const mobo_x86_msrs_t *in);
int kvm_msr_get(struct kvm_cpu *cpu, uint32_t index, uint64_t *value);
int kvm_msr_set(struct kvm_cpu *cpu, uint32_t index, uint64_t value);

/* vcpu.c */
int kvm_signal(void);
void kvm_signal_install(void);
int kvm_vcpu_new(void *self, uint32_t index, void **out);
void kvm_vcpu_free(struct kvm_cpu *cpu);
void kvm_vcpu_reset(void *vcpu);
int kvm_vcpu_run(void *vcpu, const mobo_exits_t *up, void *ctx);
void kvm_vcpu_kick(void *vcpu);
void kvm_vcpu_nudge(struct kvm_cpu *cpu);

/* exits.c */
void kvm_exit(struct kvm_cpu *cpu, const mobo_exits_t *up, void *ctx);
void kvm_dump(struct kvm_cpu *cpu, const char *why);
uint32_t kvm_stats(void *self, char *buf, uint32_t len);

/* regs.c */
int kvm_vcpu_get(void *vcpu, uint32_t block, void *buf, uint32_t len);
int kvm_vcpu_set(void *vcpu, uint32_t block, const void *buf, uint32_t len);

#endif
