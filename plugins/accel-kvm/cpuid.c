/*
 * cpuid.c: what the guest's CPUID says: what KVM supports, with the topology of one socket of N
 * one-thread cores and without what this plugin does not carry (VMX, SVM, performance counters).
 * References: Intel SDM volume 2A, CPUID; AMD64 APM volume 3, appendix E.
 */
#include "kvm.h"

#include <errno.h>

enum { L1_ECX_VMX = 1 << 5, L1_ECX_X2APIC = 1 << 21, L1_ECX_DEADLINE = 1 << 24 };
enum { L1_EDX_HTT = 1 << 28, L81_ECX_CMP_LEGACY = 1 << 1, L81_ECX_SVM = 1 << 2 };
enum { L81_ECX_PERFCTR = 1 << 23 | 1 << 24 | 1 << 28 };

int kvm_cpuid_load(struct kvm *k)
{
    k->supported.head.nent = KVM_CPUID_MAX;
    if (ioctl(k->dev, KVM_GET_SUPPORTED_CPUID, &k->supported) < 0)
        return mobo_fail_code(k->obj, MOBO_EFAIL, "KVM does not tell its CPUID: %s",
                              strerror(errno));
    return MOBO_OK;
}

uint32_t kvm_cpuid_signature(const struct kvm *k)
{
    for (uint32_t i = 0; i < k->supported.head.nent; i++)
        if (k->supported.entry[i].function == 1)
            return k->supported.entry[i].eax;
    return 0x600;
}

/* Bits that hold the numbers below COUNT. */
static uint32_t bits_for(uint32_t count)
{
    uint32_t bits = 0;
    while ((1u << bits) < count)
        bits++;
    return bits;
}

/* Caches of level 3 are everybody's, the others each core's own. */
static uint32_t shared_by(const struct kvm_cpuid_entry2 *e, uint32_t all)
{
    uint32_t level = (e->eax >> 5) & 7;
    return (e->eax & ~(0xfffu << 14)) | (level >= 3 ? all - 1 : 0) << 14;
}

/* False: the leaf is not shown. */
static bool fit(const struct kvm_cpu *cpu, struct kvm_cpuid_entry2 *e)
{
    const struct kvm *k = cpu->vm;
    uint32_t n = k->vcpu_count, id = cpu->index, bits = bits_for(n);
    switch (e->function) {
    case 1:
        e->ebx = (e->ebx & 0xff00) | id << 24 | (n > 1 ? 1u << bits : 1) << 16;
        e->ecx = (e->ecx & ~((uint32_t)L1_ECX_VMX | L1_ECX_DEADLINE)) | L1_ECX_X2APIC | 1u << 31;
        if (k->has_deadline)
            e->ecx |= L1_ECX_DEADLINE;
        e->edx = n > 1 ? e->edx | L1_EDX_HTT : e->edx & ~(uint32_t)L1_EDX_HTT;
        return true;
    case 4:
        if ((e->eax & 0x1f) != 0)
            e->eax = (shared_by(e, 1u << bits) & 0x03ffffff) | ((1u << bits) - 1) << 26;
        return true;
    case 0xa:
        e->eax = e->ebx = e->ecx = e->edx = 0;
        return true;
    case 0xb: /* made below */
    case 0x1f:
    case 0x80000022:
        return false;
    case 0x80000001:
        e->ecx &= ~((uint32_t)L81_ECX_SVM | L81_ECX_CMP_LEGACY | L81_ECX_PERFCTR);
        if (n > 1)
            e->ecx |= L81_ECX_CMP_LEGACY;
        return true;
    case 0x80000008:
        e->ecx = (n - 1) | bits << 12;
        return true;
    case 0x8000000a:
        e->eax = e->ebx = e->ecx = e->edx = 0;
        return true;
    case 0x8000001d:
        if ((e->eax & 0x1f) != 0)
            e->eax = shared_by(e, 1u << bits);
        return true;
    case 0x8000001e:
        e->eax = id;
        e->ebx = id & 0xff;
        e->ecx = 0;
        return true;
    default:
        return true;
    }
}

/* Leaf 0xb: threads (level 1: one a core), cores (level 2: all), the end. */
static void topology(struct kvm_cpuid_table *t, uint32_t index, uint32_t n)
{
    const struct kvm_cpuid_entry2 levels[3] = {
        { .eax = 0, .ebx = 1, .ecx = 0 | 1 << 8 },
        { .eax = bits_for(n), .ebx = n, .ecx = 1 | 2 << 8 },
        { .ecx = 2 },
    };
    for (uint32_t i = 0; i < 3 && t->head.nent < KVM_CPUID_MAX; i++) {
        struct kvm_cpuid_entry2 *e = &t->entry[t->head.nent++];
        *e = levels[i];
        e->function = 0xb;
        e->index = i;
        e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
        e->edx = index;
    }
}

int kvm_cpuid_set(struct kvm_cpu *cpu)
{
    const struct kvm *k = cpu->vm;
    struct kvm_cpuid_table t;
    bool has_b = false;
    memset(&t, 0, sizeof t);
    for (uint32_t i = 0; i < k->supported.head.nent; i++) {
        struct kvm_cpuid_entry2 e = k->supported.entry[i];
        has_b = has_b || (e.function == 0 && e.eax >= 0xb);
        if (fit(cpu, &e))
            t.entry[t.head.nent++] = e;
    }
    if (has_b)
        topology(&t, cpu->index, k->vcpu_count);
    return ioctl(cpu->fd, KVM_SET_CPUID2, &t) < 0 ? MOBO_EFAIL : MOBO_OK;
}
