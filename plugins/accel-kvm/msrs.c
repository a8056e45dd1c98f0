/*
 * msrs.c: the model-specific registers that make up a CPU's state: what KVM lists, less what this
 * plugin never shows a guest or what lives in other register blocks.
 */
#include "kvm.h"

#include <errno.h>

enum { MSR_TSC = 0x10, LISTED_MAX = 1024 };

/* First and last of what is left out. */
static const struct {
    uint32_t first, last;
} left_out[] = {
    { 0xc1, 0xc8 },             /* performance counters: CPUID shows none */
    { 0x186, 0x18d },           /* */
    { 0x309, 0x30b },           /* */
    { 0x38d, 0x391 },           /* */
    { 0x3f1, 0x3f1 },           /* PEBS */
    { 0x480, 0x493 },           /* VMX */
    { 0x570, 0x58f },           /* processor trace */
    { 0x600, 0x600 },           /* debug store */
    { 0x6e0, 0x6e0 },           /* TSC deadline: the APIC block's */
    { 0xc0000080, 0xc0000080 }, /* EFER: the system registers' */
    { 0xc0000100, 0xc0000101 }, /* FS and GS base: likewise */
    { 0xc0000104, 0xc0000104 }, /* TSC ratio */
    { 0xc0000300, 0xc0000303 }, /* performance counters */
    { 0xc0010000, 0xc0010007 }, /* */
    { 0xc0010117, 0xc0010117 }, /* SVM */
    { 0xc0010200, 0xc001020b }, /* performance counters */
    { 0x40000000, 0x400001ff }, /* Hyper-V */
    { 0x1b, 0x1b },             /* APIC base: the system registers' */
    { 0x9e, 0x9e },             /* SMM base */
    { 0x8b, 0x8b },             /* microcode revision: the host's */
};

/* Memory types are state that older kernels do not list. */
static const uint32_t mtrrs[] = {
    0x2ff, 0x200, 0x201, 0x202, 0x203, 0x204, 0x205, 0x206, 0x207, 0x208, 0x209, 0x20a, 0x20b, 0x20c,
    0x20d, 0x20e, 0x20f, 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
    0x277,
};

struct one {
    struct kvm_msrs head;
    struct kvm_msr_entry entry;
};

int kvm_msr_get(struct kvm_cpu *cpu, uint32_t index, uint64_t *value)
{
    struct one m = { .head.nmsrs = 1, .entry.index = index };
    if (ioctl(cpu->fd, KVM_GET_MSRS, &m) != 1)
        return MOBO_ENOENT;
    *value = m.entry.data;
    return MOBO_OK;
}

int kvm_msr_set(struct kvm_cpu *cpu, uint32_t index, uint64_t value)
{
    struct one m = { .head.nmsrs = 1, .entry = { .index = index, .data = value } };
    return ioctl(cpu->fd, KVM_SET_MSRS, &m) == 1 ? MOBO_OK : MOBO_EINVAL;
}

static bool wanted(uint32_t index)
{
    for (size_t i = 0; i < sizeof left_out / sizeof left_out[0]; i++)
        if (index >= left_out[i].first && index <= left_out[i].last)
            return false;
    return true;
}

/* It can be read, and what was read can be written back. */
static void take(struct kvm_cpu *cpu, uint32_t index)
{
    struct kvm *k = cpu->vm;
    uint64_t value;
    for (uint32_t i = 0; i < k->msr_count; i++)
        if (k->msr_list[i] == index)
            return;
    if (k->msr_count == MOBO_X86_MSRS_MAX || kvm_msr_get(cpu, index, &value) != MOBO_OK)
        return;
    if (index != MSR_TSC && kvm_msr_set(cpu, index, value) != MOBO_OK)
        return;
    k->msr_list[k->msr_count++] = index;
}

int kvm_msrs_list(struct kvm_cpu *cpu)
{
    struct {
        struct kvm_msr_list head;
        uint32_t index[LISTED_MAX];
    } t;
    memset(&t, 0, sizeof t);
    t.head.nmsrs = LISTED_MAX;
    if (ioctl(cpu->vm->dev, KVM_GET_MSR_INDEX_LIST, &t) < 0)
        return MOBO_EFAIL;
    for (uint32_t i = 0; i < t.head.nmsrs && i < LISTED_MAX; i++)
        if (wanted(t.index[i]))
            take(cpu, t.index[i]);
    for (size_t i = 0; i < sizeof mtrrs / sizeof mtrrs[0]; i++)
        take(cpu, mtrrs[i]);
    return MOBO_OK;
}

int kvm_msrs_read(struct kvm_cpu *cpu, struct kvm_msr_table *t)
{
    const struct kvm *k = cpu->vm;
    memset(t, 0, sizeof *t);
    t->head.nmsrs = k->msr_count;
    for (uint32_t i = 0; i < k->msr_count; i++)
        t->entry[i].index = k->msr_list[i];
    return ioctl(cpu->fd, KVM_GET_MSRS, t) == (int)k->msr_count ? MOBO_OK : MOBO_EFAIL;
}

/* All but the TSC. */
int kvm_msrs_write(struct kvm_cpu *cpu, const struct kvm_msr_table *t)
{
    struct kvm_msr_table w;
    memset(&w, 0, sizeof w);
    for (uint32_t i = 0; i < t->head.nmsrs; i++)
        if (t->entry[i].index != MSR_TSC)
            w.entry[w.head.nmsrs++] = t->entry[i];
    return ioctl(cpu->fd, KVM_SET_MSRS, &w) == (int)w.head.nmsrs ? MOBO_OK : MOBO_EFAIL;
}

int kvm_msrs_get(struct kvm_cpu *cpu, mobo_x86_msrs_t *out)
{
    const struct kvm *k = cpu->vm;
    if (out->count > MOBO_X86_MSRS_MAX)
        return MOBO_ERANGE;
    if (out->count == 0) {
        memset(out, 0, sizeof *out);
        out->count = k->msr_count;
        for (uint32_t i = 0; i < k->msr_count; i++)
            out->msr[i].index = k->msr_list[i];
    }
    for (uint32_t i = 0; i < out->count; i++)
        if (kvm_msr_get(cpu, out->msr[i].index, &out->msr[i].value) != MOBO_OK)
            return MOBO_ENOENT;
    return MOBO_OK;
}

int kvm_msrs_set(struct kvm_cpu *cpu, const mobo_x86_msrs_t *in)
{
    if (in->count > MOBO_X86_MSRS_MAX)
        return MOBO_ERANGE;
    for (uint32_t i = 0; i < in->count; i++)
        if (kvm_msr_set(cpu, in->msr[i].index, in->msr[i].value) != MOBO_OK)
            return MOBO_EINVAL;
    return MOBO_OK;
}
