/*
 * cpuid.c: what CPUID answers: the leaves of a built CPU model, topology and caches included. Which
 * features a model has is decided in model.c.
 * References: Intel SDM volume 2A, CPUID; AMD64 APM volume 3, appendix E; Linux
 * Documentation/virt/kvm/x86/cpuid.rst for the leaves at 40000000h.
 */
#include "sys.h"

enum { LEAF_BASIC_MAX = 0x16, LEAF_EXT_MAX = 0x80000021u & 0x7fffffff, LEAF_KVM_MAX = 0x10 };
enum {
    L1C_OSXSAVE = 1u << 27,
    L1C_XSAVE = 1u << 26,
    L1D_APIC = 1u << 9,
    L1D_HTT = 1u << 28,
    E1C_CMP_LEGACY = 1u << 1,
    E1C_TOPOEXT = 1u << 22
};

static unsigned cpu_count(const struct vcpu *cpu)
{
    return cpu->soft->vcpu_count ? cpu->soft->vcpu_count : 1;
}

/* Bits of an APIC id that number the cores of the (one) package. */
static unsigned core_bits(unsigned count)
{
    unsigned bits = 0;
    while ((1u << bits) < count)
        bits++;
    return bits;
}

static void put_string(uint32_t out[4], const char text[16])
{
    memcpy(out, text, 16);
}

/* EBX, EDX, ECX in that order (leaf 0, 80000000h); EBX, ECX, EDX for the hypervisor's. */
static void put_vendor(const struct cpu_model *m, uint32_t out[4])
{
    const char *name = m->vendor == VENDOR_AMD ? "AuthenticAMD" : "GenuineIntel";
    memcpy(&out[1], name, 4);
    memcpy(&out[3], name + 4, 4);
    memcpy(&out[2], name + 8, 4);
}

static void leaf_1(const struct vcpu *cpu, const struct cpu_model *m, uint32_t out[4])
{
    unsigned n = cpu_count(cpu);
    out[0] = m->signature;
    out[1] = cpu->index << 24 | (1u << core_bits(n)) << 16 | (64 / 8) << 8; /* CLFLUSH line */
    out[2] = m->leaf1_ecx;
    if ((m->leaf1_ecx & L1C_XSAVE) && (cpu->cr4 & CR4_OSXSAVE))
        out[2] |= L1C_OSXSAVE;
    out[3] = m->leaf1_edx | (n > 1 ? L1D_HTT : 0);
    if (!(cpu->apic_base & (1u << 11)))
        out[3] &= ~L1D_APIC;
}

struct cache {
    uint8_t type, level; /* 1 data, 2 instruction, 3 unified */
    uint32_t ways, sets;
    bool shared; /* by all cores */
};

static const struct cache caches[] = {
    { 1, 1, 8, 64, false }, /* 32 KiB */
    { 2, 1, 8, 64, false },
    { 3, 2, 8, 1024, false },  /* 512 KiB */
    { 3, 3, 16, 16384, true }, /* 16 MiB */
};

/* Leaf 4 (Intel) and 8000001Dh (AMD) share their layout but for the core count. */
static void leaf_cache(const struct vcpu *cpu, uint32_t sub, bool intel, uint32_t out[4])
{
    if (sub >= sizeof caches / sizeof caches[0])
        return;
    const struct cache *c = &caches[sub];
    unsigned n = cpu_count(cpu), ids = 1u << core_bits(n);
    out[0] = c->type | (uint32_t)c->level << 5 | 1u << 8;
    out[0] |= (c->shared ? ids - 1 : 0) << 14;
    if (intel)
        out[0] |= (ids - 1) << 26;
    out[1] = (64 - 1) | (c->ways - 1) << 22;
    out[2] = c->sets - 1;
    out[3] = 0;
}

/* Leaf 0Bh: threads (one per core), then cores. */
static void leaf_topology(const struct vcpu *cpu, uint32_t sub, uint32_t out[4])
{
    unsigned n = cpu_count(cpu);
    out[2] = sub & 0xff;
    out[3] = cpu->index;
    if (sub == 0) {
        out[0] = 0;
        out[1] = 1;
        out[2] |= 1 << 8;
    } else if (sub == 1) {
        out[0] = core_bits(n);
        out[1] = n;
        out[2] |= 2 << 8;
    }
}

static void leaf_d(const struct vcpu *cpu, const struct cpu_model *m, uint32_t sub, uint32_t out[4])
{
    if (!(m->leaf1_ecx & L1C_XSAVE))
        return;
    bool avx = (m->xcr0 & 4) != 0;
    if (sub == 0) {
        out[0] = (uint32_t)m->xcr0;
        out[1] = cpu->xcr0 & 4 ? 832 : 576;
        out[2] = avx ? 832 : 576;
    } else if (sub == 1) {
        out[0] = m->leafd1_eax;
        out[1] = cpu->xcr0 & 4 ? 832 : 576; /* the compacted format has no gaps to save */
    } else if (sub == 2 && avx) {
        out[0] = 256;
        out[1] = 576;
    }
}

static void leaf_ext(const struct vcpu *cpu, const struct cpu_model *m, uint32_t leaf, uint32_t sub,
                     uint32_t out[4])
{
    static const char brand[48] = "mobo software CPU";
    unsigned n = cpu_count(cpu);
    bool amd = m->vendor == VENDOR_AMD;
    switch (leaf) {
    case 0x80000000:
        out[0] = 0x80000000u | (amd ? LEAF_EXT_MAX : 8);
        if (amd)
            put_vendor(m, out);
        break;
    case 0x80000001:
        out[0] = amd ? m->signature : 0;
        out[2] = m->ext1_ecx | (amd && n > 1 ? E1C_CMP_LEGACY : 0);
        out[3] = m->ext1_edx;
        break;
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
        put_string(out, brand + (leaf - 0x80000002) * 16);
        break;
    case 0x80000005: /* L1: 32 KiB, 8 ways, 64-byte lines; TLBs as Zen has them */
        if (amd) {
            out[0] = out[1] = 0xff40ff40;
            out[2] = out[3] = 32u << 24 | 8u << 16 | 1 << 8 | 64;
        }
        break;
    case 0x80000006: /* L2: 512 KiB, 8 ways; L3: 16 MiB in units of 512 KiB, 16 ways */
        out[2] = 512u << 16 | 6u << 12 | (amd ? 1u << 8 : 0) | 64;
        if (amd) {
            out[0] = out[1] = 0x48006400;
            out[3] = 32u << 18 | 8u << 12 | 1 << 8 | 64;
        }
        break;
    case 0x80000007:
        out[3] = m->ext7_edx;
        break;
    case 0x80000008:
        out[0] = m->phys_bits | (uint32_t)m->linear_bits << 8;
        out[1] = m->ext8_ebx;
        out[2] = amd ? (n - 1) | core_bits(n) << 12 : 0;
        break;
    case 0x8000001d:
        if (m->ext1_ecx & E1C_TOPOEXT)
            leaf_cache(cpu, sub, false, out);
        break;
    case 0x8000001e:
        if (m->ext1_ecx & E1C_TOPOEXT) {
            out[0] = cpu->index;
            out[1] = cpu->index & 0xff; /* core id; one thread per core */
        }
        break;
    case 0x80000021:
        out[0] = m->ext21_eax;
        out[2] = m->ext21_ecx;
        break;
    default:
        break;
    }
}

static void leaf_kvm(const struct cpu_model *m, uint32_t leaf, uint32_t out[4])
{
    if (!m->kvm_eax)
        return;
    switch (leaf) {
    case 0x40000000:
        out[0] = 0x40000000 | LEAF_KVM_MAX;
        memcpy(&out[1], "KVMKVMKVM\0\0", 12);
        break;
    case 0x40000001:
        out[0] = m->kvm_eax;
        break;
    case 0x40000010: /* kHz of the TSC and of the local APIC's timer */
        out[0] = (uint32_t)(m->tsc_hz / 1000);
        out[1] = 1000000;
        break;
    default:
        break;
    }
}

void cpuid_query(const struct vcpu *cpu, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    const struct cpu_model *m = &cpu->soft->model;
    bool intel = m->vendor == VENDOR_INTEL;
    memset(out, 0, 4 * sizeof out[0]);
    if (leaf >= 0x80000000) {
        leaf_ext(cpu, m, leaf, sub, out);
        return;
    }
    if (leaf >= 0x40000000) {
        leaf_kvm(m, leaf, out);
        return;
    }
    /* Intel answers leaves above the highest with the highest one's data, AMD with zeros. */
    if (leaf > LEAF_BASIC_MAX && intel)
        leaf = LEAF_BASIC_MAX;
    switch (leaf) {
    case 0:
        out[0] = LEAF_BASIC_MAX;
        put_vendor(m, out);
        break;
    case 1:
        leaf_1(cpu, m, out);
        break;
    case 2:
        if (intel) {
            out[0] = 0x00feff01; /* see leaves 4 and 18h */
            out[3] = 0;
        }
        break;
    case 4:
        if (intel)
            leaf_cache(cpu, sub, true, out);
        break;
    case 5: /* MONITOR/MWAIT: line of 64 bytes, interrupts break even when masked */
        out[0] = out[1] = 64;
        out[2] = 3;
        break;
    case 6:
        out[0] = 1 << 2; /* ARAT: the APIC timer never stops */
        break;
    case 7:
        if (sub == 0) {
            out[1] = m->leaf7_ebx;
            out[2] = m->leaf7_ecx;
            out[3] = m->leaf7_edx;
        }
        break;
    case 0xb:
        leaf_topology(cpu, sub, out);
        break;
    case 0xd:
        leaf_d(cpu, m, sub, out);
        break;
    case 0x15: /* TSC = crystal * EBX / EAX; a crystal of TSC / 100 Hz keeps the product exact */
        if (intel) {
            out[0] = 1;
            out[1] = 100;
            out[2] = (uint32_t)(m->tsc_hz / 100);
        }
        break;
    case 0x16:
        if (intel) {
            out[0] = out[1] = (uint32_t)(m->tsc_hz / 1000000);
            out[2] = 100;
        }
        break;
    default:
        break;
    }
}

bool cpu_has(const struct vcpu *cpu, enum x86_feature feature)
{
    return (cpu->soft->model.features[feature / 64] >> (feature % 64)) & 1;
}
