/*
 * model.c: CPU models: which features x86-64, x86-64-v2, x86-64-v3 and max have, what `cpu = model,
 * +feature,-feature` makes of them, what must be left out because this host cannot execute it.
 *
 * Vector instructions are executed by the host's own units, so they need the host to have them;
 * everything else is done in C and is always possible. Side channels: guests are told that they
 * need no mitigations, because nothing here speculates across guest privilege levels in ways that
 * those mitigations would change (soft CPU isolation is the host process's).
 */
#include "sys.h"

#include <cpuid.h>

/* Registers of CPUID that hold feature bits. */
enum word {
    W_1C,
    W_1D,
    W_7B,
    W_7C,
    W_7D,
    W_D1,
    W_X1C,
    W_X1D,
    W_X7D,
    W_X8B,
    W_X21A,
    W_X21C,
    W_KVM,
    WORDS
};

/* Which models have a feature, as bits. */
enum {
    M_V1 = 1,
    M_V2 = 2,
    M_V3 = 4,
    M_MAX = 8,
    ALL = 15,
    V2UP = 14,
    V3UP = 12,
    ONLY_MAX = 8,
    AMD = 16,
    INTEL = 32
};

struct feature {
    const char *name;
    uint8_t word, bit;
    uint8_t models;    /* M_..., AMD and INTEL: with that vendor only */
    uint8_t native;    /* 1: the host must have it */
    uint8_t feat;      /* enum x86_feature it stands for, FEAT_BASE: none */
    const char *needs; /* another feature without which it is meaningless */
};

static const struct feature table[] = {
    { "fpu", W_1D, 0, ALL, 0, FEAT_FPU, NULL },
    { "de", W_1D, 2, ALL, 0, 0, NULL },
    { "pse", W_1D, 3, ALL, 0, 0, NULL },
    { "tsc", W_1D, 4, ALL, 0, FEAT_TSC, NULL },
    { "msr", W_1D, 5, ALL, 0, FEAT_MSR, NULL },
    { "pae", W_1D, 6, ALL, 0, 0, NULL },
    { "mce", W_1D, 7, ALL, 0, 0, NULL },
    { "cx8", W_1D, 8, ALL, 0, FEAT_CX8, NULL },
    { "apic", W_1D, 9, ALL, 0, FEAT_APIC, NULL },
    { "sep", W_1D, 11, ALL, 0, FEAT_SEP, NULL },
    { "mtrr", W_1D, 12, ALL, 0, 0, NULL },
    { "pge", W_1D, 13, ALL, 0, 0, NULL },
    { "mca", W_1D, 14, ALL, 0, 0, NULL },
    { "cmov", W_1D, 15, ALL, 0, FEAT_CMOV, NULL },
    { "pat", W_1D, 16, ALL, 0, FEAT_PAT, NULL },
    { "pse36", W_1D, 17, ALL, 0, 0, NULL },
    { "clflush", W_1D, 19, ALL, 0, FEAT_CLFLUSH, NULL },
    { "mmx", W_1D, 23, ALL, 1, FEAT_MMX, NULL },
    { "fxsr", W_1D, 24, ALL, 0, FEAT_FXSR, NULL },
    { "sse", W_1D, 25, ALL, 1, FEAT_SSE, "fxsr" },
    { "sse2", W_1D, 26, ALL, 1, FEAT_SSE2, "sse" },
    { "sse3", W_1C, 0, V2UP, 1, FEAT_SSE3, "sse2" },
    { "pclmulqdq", W_1C, 1, V3UP, 1, FEAT_PCLMUL, "sse2" },
    { "monitor", W_1C, 3, 0, 0, FEAT_MONITOR, NULL },
    { "ssse3", W_1C, 9, V2UP, 1, FEAT_SSSE3, "sse3" },
    { "fma", W_1C, 12, V3UP, 1, FEAT_FMA, "avx" },
    { "cx16", W_1C, 13, V2UP, 0, FEAT_CX16, NULL },
    { "pcid", W_1C, 17, V3UP, 0, 0, NULL },
    { "sse4.1", W_1C, 19, V2UP, 1, FEAT_SSE41, "ssse3" },
    { "sse4.2", W_1C, 20, V2UP, 1, FEAT_SSE42, "sse4.1" },
    { "x2apic", W_1C, 21, ALL, 0, 0, NULL },
    { "movbe", W_1C, 22, V3UP, 0, FEAT_MOVBE, NULL },
    { "popcnt", W_1C, 23, V2UP, 0, FEAT_POPCNT, NULL },
    { "tsc-deadline", W_1C, 24, ALL, 0, 0, NULL },
    { "aes", W_1C, 25, V3UP, 1, FEAT_AES, "sse2" },
    { "xsave", W_1C, 26, V3UP, 0, FEAT_XSAVE, "fxsr" },
    { "avx", W_1C, 28, V3UP, 1, FEAT_AVX, "xsave" },
    { "f16c", W_1C, 29, V3UP, 1, FEAT_F16C, "avx" },
    { "rdrand", W_1C, 30, V3UP, 0, FEAT_RDRAND, NULL },
    { "hypervisor", W_1C, 31, ALL, 0, 0, NULL },
    { "fsgsbase", W_7B, 0, V3UP, 0, FEAT_FSGSBASE, NULL },
    { "tsc-adjust", W_7B, 1, ALL, 0, 0, NULL },
    { "bmi1", W_7B, 3, V3UP, 0, FEAT_BMI1, NULL },
    { "avx2", W_7B, 5, V3UP, 1, FEAT_AVX2, "avx" },
    { "smep", W_7B, 7, V3UP, 0, 0, NULL },
    { "bmi2", W_7B, 8, V3UP, 0, FEAT_BMI2, NULL },
    { "erms", W_7B, 9, ALL, 0, 0, NULL },
    { "invpcid", W_7B, 10, V3UP, 0, FEAT_INVPCID, NULL },
    { "rdseed", W_7B, 18, ONLY_MAX, 0, FEAT_RDSEED, NULL },
    { "adx", W_7B, 19, ONLY_MAX, 0, FEAT_ADX, NULL },
    { "smap", W_7B, 20, V3UP, 0, FEAT_SMAP, NULL },
    { "clflushopt", W_7B, 23, ONLY_MAX, 0, FEAT_CLFLUSHOPT, "clflush" },
    { "clwb", W_7B, 24, ONLY_MAX, 0, FEAT_CLWB, "clflush" },
    { "sha-ni", W_7B, 29, ONLY_MAX, 1, FEAT_SHA, "sse2" },
    { "umip", W_7C, 2, ONLY_MAX, 0, 0, NULL },
    { "gfni", W_7C, 8, ONLY_MAX, 1, FEAT_GFNI, "sse2" },
    { "vaes", W_7C, 9, ONLY_MAX, 1, FEAT_VAES, "avx" },
    { "vpclmulqdq", W_7C, 10, ONLY_MAX, 1, FEAT_VPCLMUL, "avx" },
    { "rdpid", W_7C, 22, ONLY_MAX, 0, FEAT_RDPID, NULL },
    { "fsrm", W_7D, 4, ALL, 0, 0, NULL },
    { "md-clear", W_7D, 10, ALL, 0, 0, NULL },
    { "spec-ctrl", W_7D, 26, ALL, 0, 0, NULL },
    { "arch-capabilities", W_7D, 29, ALL, 0, 0, NULL },
    { "ssbd", W_7D, 31, 0, 0, 0, "spec-ctrl" },
    { "xsaveopt", W_D1, 0, V3UP, 0, FEAT_XSAVEOPT, "xsave" },
    { "xsavec", W_D1, 1, ONLY_MAX, 0, FEAT_XSAVEC, "xsave" },
    { "xgetbv1", W_D1, 2, ONLY_MAX, 0, 0, "xsave" },
    { "lahf-lm", W_X1C, 0, V2UP, 0, FEAT_LAHF64, NULL },
    { "lzcnt", W_X1C, 5, V3UP, 0, FEAT_LZCNT, NULL },
    { "prefetchw", W_X1C, 8, V2UP, 0, FEAT_PREFETCHW, NULL },
    { "osvw", W_X1C, 9, ALL | AMD, 0, 0, NULL },
    { "topoext", W_X1C, 22, ALL | AMD, 0, 0, NULL },
    { "syscall", W_X1D, 11, ALL, 0, FEAT_SYSCALL, NULL },
    { "nx", W_X1D, 20, ALL, 0, 0, NULL },
    { "pdpe1gb", W_X1D, 26, V3UP, 0, 0, NULL },
    { "rdtscp", W_X1D, 27, V2UP, 0, FEAT_RDTSCP, NULL },
    { "lm", W_X1D, 29, ALL, 0, 0, NULL },
    { "invtsc", W_X7D, 8, ALL, 0, 0, NULL },
    { "xsaveerptr", W_X8B, 2, ALL | AMD, 0, 0, NULL },
    { "ibpb", W_X8B, 12, ALL | AMD, 0, 0, NULL },
    { "ssb-no", W_X8B, 26, ALL | AMD, 0, 0, NULL },
    { "btc-no", W_X8B, 29, ALL | AMD, 0, 0, NULL },
    { "lfence-serializing", W_X21A, 2, ALL | AMD, 0, 0, NULL },
    { "null-sel-clears-base", W_X21A, 6, ALL | AMD, 0, 0, NULL },
    { "auto-ibrs", W_X21A, 8, ALL | AMD, 0, 0, NULL },
    { "srso-no", W_X21A, 29, ALL | AMD, 0, 0, NULL },
    { "srso-user-kernel-no", W_X21A, 30, ALL | AMD, 0, 0, NULL },
    { "tsa-sq-no", W_X21C, 1, ALL | AMD, 0, 0, NULL },
    { "tsa-l1-no", W_X21C, 2, ALL | AMD, 0, 0, NULL },
    { "kvm-clock", W_KVM, 0, ALL, 0, 0, NULL },
    { "kvm-nopiodelay", W_KVM, 1, ALL, 0, 0, NULL },
    { "kvm-clock-new", W_KVM, 3, ALL, 0, 0, "kvm-clock" },
    { "kvm-pv-eoi", W_KVM, 6, ALL, 0, 0, "apic" },
    { "kvm-pv-unhalt", W_KVM, 7, ALL, 0, 0, NULL },
    { "kvm-pv-ipi", W_KVM, 11, ALL, 0, 0, "apic" },
    { "kvm-poll-control", W_KVM, 12, ALL, 0, 0, NULL },
    { "kvm-sched-yield", W_KVM, 13, ALL, 0, 0, NULL },
    { "kvm-clock-stable", W_KVM, 24, ALL, 0, 0, "kvm-clock" },
};
enum { FEATURES = sizeof table / sizeof table[0] };

static const struct {
    const char *name;
    unsigned bit;
} models[] = { { "x86-64", M_V1 }, { "x86-64-v2", M_V2 }, { "x86-64-v3", M_V3 }, { "max", M_MAX } };
enum { MODELS = sizeof models / sizeof models[0] };

/* IA32_ARCH_CAPABILITIES: RDCL_NO IBRS_ALL SKIP_L1DFL SSB_NO MDS_NO IF_PSCHANGE_MC_NO TAA_NO
   SBDR_SSDP_NO FBSDP_NO PSDP_NO BHI_NO PBRSB_NO GDS_NO RFDS_NO ITS_NO (SDM volume 4). */
static const uint64_t arch_caps_immune =
    1ull << 0 | 1ull << 1 | 1ull << 3 | 1ull << 4 | 1ull << 5 | 1ull << 6 | 1ull << 8 | 1ull << 13 |
    1ull << 14 | 1ull << 15 | 1ull << 20 | 1ull << 24 | 1ull << 26 | 1ull << 27 | 1ull << 62;

/* ---- the host -------------------------------------------------------------------------------- */

struct host {
    uint32_t word[WORDS], signature;
    unsigned phys_bits;
    bool amd;
};

static void host_probe(struct host *h)
{
    uint32_t a, b, c, d;
    memset(h, 0, sizeof *h);
    h->phys_bits = 40;
    if (__get_cpuid(0, &a, &b, &c, &d))
        h->amd = b == 0x68747541 || b == 0x6f677948; /* "Auth", "Hygo" */
    if (__get_cpuid(1, &h->signature, &b, &h->word[W_1C], &h->word[W_1D])) {
        /* AVX also needs the host's kernel to save YMM. */
        uint32_t lo = 0, hi = 0;
        if (h->word[W_1C] & (1u << 27))
            __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
        if ((lo & 6) != 6)
            h->word[W_1C] &= ~(1u << 28);
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        h->word[W_7B] = b;
        h->word[W_7C] = c;
        h->word[W_7D] = d;
    }
    if (__get_cpuid(0x80000008, &a, &b, &c, &d))
        h->phys_bits = a & 0xff;
}

/* ---- words ----------------------------------------------------------------------------------- */

static const struct feature *find_feature(const char *name, size_t len)
{
    for (unsigned i = 0; i < FEATURES; i++)
        if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0)
            return &table[i];
    return NULL;
}

static unsigned distance(const char *a, size_t n, const char *b)
{
    unsigned row[65], m = (unsigned)strlen(b);
    if (m > 64)
        return 99;
    for (unsigned j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        unsigned diag = row[0];
        row[0] = (unsigned)i;
        for (unsigned j = 1; j <= m; j++) {
            unsigned subst = diag + (a[i - 1] != b[j - 1]), best = row[j] + 1;
            diag = row[j];
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            row[j] = subst < best ? subst : best;
        }
    }
    return row[m];
}

static int unknown_feature(struct soft *s, const char *name, size_t len)
{
    const char *near = NULL;
    unsigned best = 4;
    for (unsigned i = 0; i < FEATURES; i++) {
        unsigned d = distance(name, len < 64 ? len : 64, table[i].name);
        if (d < best) {
            best = d;
            near = table[i].name;
        }
    }
    if (near)
        return mobo_fail(s->obj, "cpu: no feature '%.*s' (did you mean '%s'?)", (int)len, name,
                         near);
    char list[400] = "";
    size_t used = 0;
    for (unsigned i = 0; i < FEATURES; i++) {
        int put = snprintf(list + used, sizeof list - used, "%s%s", i ? " " : "", table[i].name);
        if (put < 0 || (size_t)put >= sizeof list - used)
            break;
        used += (size_t)put;
    }
    return mobo_fail(s->obj, "cpu: no feature '%.*s'; there are: %s ...", (int)len, name, list);
}

static int unknown_model(struct soft *s, const char *name, size_t len)
{
    const char *near = NULL;
    for (unsigned i = 0; i < MODELS && !near; i++)
        if (distance(name, len < 64 ? len : 64, models[i].name) <= 2)
            near = models[i].name;
    return mobo_fail(
        s->obj, "cpu: no model '%.*s'%s%s%s; models are x86-64, x86-64-v2, x86-64-v3, max",
        (int)len, name, near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

/* ---- building -------------------------------------------------------------------------------- */

struct build {
    uint32_t word[WORDS];
    struct host host;
};

static bool has(const struct build *b, const struct feature *f)
{
    return (b->word[f->word] >> f->bit) & 1;
}

static bool host_can(const struct build *b, const struct feature *f)
{
    return !f->native || ((b->host.word[f->word] >> f->bit) & 1);
}

static void take(struct build *b, const struct feature *f, bool on)
{
    uint32_t bit = 1u << f->bit;
    b->word[f->word] = on ? b->word[f->word] | bit : b->word[f->word] & ~bit;
}

/* Features without what they rest on go too; one pass per level of dependence. */
static void settle(struct build *b)
{
    for (bool again = true; again;) {
        again = false;
        for (unsigned i = 0; i < FEATURES; i++) {
            const struct feature *f = &table[i];
            if (f->needs && has(b, f) && !has(b, find_feature(f->needs, strlen(f->needs)))) {
                take(b, f, false);
                again = true;
            }
        }
    }
}

static int start_model(struct soft *s, struct build *b, const char *name, size_t len)
{
    unsigned bit = 0, vendor = s->model.vendor == VENDOR_AMD ? AMD : INTEL;
    for (unsigned i = 0; i < MODELS; i++)
        if (strlen(models[i].name) == len && memcmp(models[i].name, name, len) == 0)
            bit = models[i].bit;
    if (!bit)
        return unknown_model(s, name, len);
    for (unsigned i = 0; i < FEATURES; i++) {
        const struct feature *f = &table[i];
        if (!(f->models & bit) || ((f->models & (AMD | INTEL)) && !(f->models & vendor)))
            continue;
        if (!host_can(b, f)) {
            if (bit == M_MAX)
                continue;
            return mobo_fail(s->obj,
                             "cpu: model %.*s needs %s, which this host's CPU lacks; use a "
                             "lower model or -%s",
                             (int)len, name, f->name, f->name);
        }
        take(b, f, true);
    }
    /* `max` on the maker it imitates shows the host's own family, model and stepping. */
    bool same = b->host.amd == (s->model.vendor == VENDOR_AMD);
    s->model.signature = vendor == AMD ? 0x00a10f11 : 0x000606a6; /* Zen 4, Ice Lake server */
    if (bit == M_MAX && same && b->host.signature)
        s->model.signature = b->host.signature;
    s->model.phys_bits = 40;
    if (bit == M_MAX)
        s->model.phys_bits = (uint8_t)(b->host.phys_bits < 36   ? 36
                                       : b->host.phys_bits > 48 ? 48
                                                                : b->host.phys_bits);
    return MOBO_OK;
}

static int change(struct soft *s, struct build *b, const char *word, size_t len,
                  uint32_t asked[WORDS])
{
    bool on = word[0] == '+';
    if (len < 2 || (!on && word[0] != '-'))
        return mobo_fail(s->obj, "cpu: '%.*s' is neither +feature nor -feature", (int)len, word);
    const struct feature *f = find_feature(word + 1, len - 1);
    if (!f)
        return unknown_feature(s, word + 1, len - 1);
    if (on && !host_can(b, f))
        return mobo_fail(s->obj, "cpu: +%s: this host's CPU has no %s, and it is executed natively",
                         f->name, f->name);
    take(b, f, on);
    asked[f->word] = on ? asked[f->word] | 1u << f->bit : asked[f->word] & ~(1u << f->bit);
    return MOBO_OK;
}

/* CPUID bits and `features` (what makes instructions #UD) say the same. */
static void publish(struct soft *s, const struct build *b)
{
    struct cpu_model *m = &s->model;
    m->leaf1_ecx = b->word[W_1C];
    m->leaf1_edx = b->word[W_1D];
    m->leaf7_ebx = b->word[W_7B];
    m->leaf7_ecx = b->word[W_7C];
    m->leaf7_edx = b->word[W_7D];
    m->leafd1_eax = b->word[W_D1];
    m->ext1_ecx = b->word[W_X1C];
    m->ext1_edx = b->word[W_X1D];
    m->ext7_edx = b->word[W_X7D];
    m->ext8_ebx = b->word[W_X8B];
    m->ext21_eax = b->word[W_X21A];
    m->ext21_ecx = b->word[W_X21C];
    m->kvm_eax = b->word[W_KVM];
    /* AMD repeats the old bits of leaf 1 EDX there. */
    if (m->vendor == VENDOR_AMD)
        m->ext1_edx |= m->leaf1_edx & 0x0183f3ff;
    m->features[0] = 1ull << FEAT_BASE;
    m->features[1] = 0;
    for (unsigned i = 0; i < FEATURES; i++)
        if (table[i].feat && has(b, &table[i]))
            m->features[table[i].feat / 64] |= 1ull << (table[i].feat % 64);
    m->xcr0 = m->leaf1_ecx & (1u << 26) ? 3 : 1;
    if (m->leaf1_ecx & (1u << 28))
        m->xcr0 |= 4;
    m->arch_caps = m->leaf7_edx & (1u << 29) ? arch_caps_immune : 0;
    m->linear_bits = 48;
}

int cpuid_build(struct soft *s)
{
    enum { VENDOR_PROP_HOST = 0, VENDOR_PROP_INTEL = 1, VENDOR_PROP_AMD = 2 };
    struct build b;
    uint32_t asked[WORDS] = { 0 };
    memset(&b, 0, sizeof b);
    host_probe(&b.host);
    bool amd = s->vendor_prop == VENDOR_PROP_HOST ? b.host.amd : s->vendor_prop == VENDOR_PROP_AMD;
    s->model.vendor = amd ? VENDOR_AMD : VENDOR_INTEL;
    const char *p = s->cpu_prop;
    size_t len = strcspn(p, ",");
    int rc = start_model(s, &b, p, len);
    while (rc == MOBO_OK && p[len]) {
        p += len + 1;
        p += strspn(p, " \t");
        len = strcspn(p, ",");
        rc = change(s, &b, p, len, asked);
    }
    if (rc != MOBO_OK)
        return rc;
    settle(&b);
    for (unsigned i = 0; i < FEATURES; i++) {
        const struct feature *f = &table[i];
        if (((asked[f->word] >> f->bit) & 1) && !has(&b, f))
            return mobo_fail(s->obj, "cpu: +%s needs %s", f->name, f->needs ? f->needs : "more");
    }
    publish(s, &b);
    return MOBO_OK;
}
