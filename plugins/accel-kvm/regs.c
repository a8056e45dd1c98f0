/*
 * regs.c: the frozen register blocks of mobo/arch/x86.h out of and into KVM's structures. Read and
 * written between runs. The blocks have no place for an interrupt that KVM is in the middle of
 * delivering; run leaves between instructions, so that is rare.
 */
#include "kvm.h"

#include <errno.h>

enum { MSR_DEADLINE = 0x6e0 };

static int asked(int rc)
{
    return rc < 0 ? MOBO_EINVAL : MOBO_OK;
}

/* ---- general registers ----------------------------------------------------------------------- */

static int get_regs(struct kvm_cpu *cpu, mobo_x86_regs_t *out)
{
    struct kvm_regs r;
    if (ioctl(cpu->fd, KVM_GET_REGS, &r) < 0)
        return MOBO_EFAIL;
    *out = (mobo_x86_regs_t){ .gpr = { r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8,
                                       r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15 },
                              .rip = r.rip,
                              .rflags = r.rflags };
    return MOBO_OK;
}

static int set_regs(struct kvm_cpu *cpu, const mobo_x86_regs_t *in)
{
    const uint64_t *g = in->gpr;
    struct kvm_regs r = { .rax = g[0], .rcx = g[1], .rdx = g[2], .rbx = g[3], .rsp = g[4],
                          .rbp = g[5], .rsi = g[6], .rdi = g[7], .r8 = g[8], .r9 = g[9],
                          .r10 = g[10], .r11 = g[11], .r12 = g[12], .r13 = g[13], .r14 = g[14],
                          .r15 = g[15], .rip = in->rip, .rflags = in->rflags | 2 };
    return asked(ioctl(cpu->fd, KVM_SET_REGS, &r));
}

/* ---- segments, control registers ------------------------------------------------------------- */

static mobo_x86_seg_t seg_out(const struct kvm_segment *s)
{
    return (mobo_x86_seg_t){
        .base = s->base,
        .limit = s->limit,
        .selector = s->selector,
        .attr = (uint16_t)((s->type & 15) | (s->s & 1) << 4 | (s->dpl & 3) << 5 |
                           (s->present & 1) << 7 | (s->avl & 1) << 8 | (s->l & 1) << 9 |
                           (s->db & 1) << 10 | (s->g & 1) << 11 | (s->unusable & 1) << 12),
    };
}

static struct kvm_segment seg_in(const mobo_x86_seg_t *s)
{
    uint32_t a = s->attr;
    return (struct kvm_segment){
        .base = s->base,
        .limit = s->limit,
        .selector = s->selector,
        .type = a & 15,
        .s = a >> 4 & 1,
        .dpl = a >> 5 & 3,
        .present = a >> 7 & 1,
        .avl = a >> 8 & 1,
        .l = a >> 9 & 1,
        .db = a >> 10 & 1,
        .g = a >> 11 & 1,
        .unusable = a >> 12 & 1,
    };
}

static int get_sregs(struct kvm_cpu *cpu, mobo_x86_sregs_t *out)
{
    struct kvm_sregs s;
    if (ioctl(cpu->fd, KVM_GET_SREGS, &s) < 0)
        return MOBO_EFAIL;
    *out = (mobo_x86_sregs_t){
        .es = seg_out(&s.es), .cs = seg_out(&s.cs),  .ss = seg_out(&s.ss), .ds = seg_out(&s.ds),
        .fs = seg_out(&s.fs), .gs = seg_out(&s.gs),  .ldt = seg_out(&s.ldt), .tr = seg_out(&s.tr),
        .gdt_base = s.gdt.base, .idt_base = s.idt.base,
        .gdt_limit = s.gdt.limit, .idt_limit = s.idt.limit,
        .cr0 = s.cr0, .cr2 = s.cr2, .cr3 = s.cr3, .cr4 = s.cr4, .cr8 = s.cr8,
        .efer = s.efer, .apic_base = s.apic_base,
    };
    return MOBO_OK;
}

/* KVM refuses what no CPU can be in. */
static int set_sregs(struct kvm_cpu *cpu, const mobo_x86_sregs_t *in)
{
    struct kvm_sregs s = {
        .es = seg_in(&in->es), .cs = seg_in(&in->cs), .ss = seg_in(&in->ss), .ds = seg_in(&in->ds),
        .fs = seg_in(&in->fs), .gs = seg_in(&in->gs), .ldt = seg_in(&in->ldt), .tr = seg_in(&in->tr),
        .gdt = { .base = in->gdt_base, .limit = in->gdt_limit },
        .idt = { .base = in->idt_base, .limit = in->idt_limit },
        .cr0 = in->cr0, .cr2 = in->cr2, .cr3 = in->cr3, .cr4 = in->cr4, .cr8 = in->cr8,
        .efer = in->efer, .apic_base = in->apic_base,
    };
    if (in->cr8 > 15)
        return MOBO_EINVAL;
    return asked(ioctl(cpu->fd, KVM_SET_SREGS, &s));
}

/* ---- XSAVE ----------------------------------------------------------------------------------- */

static int get_xsave(struct kvm_cpu *cpu, mobo_x86_xsave_t *out)
{
    struct kvm_xsave x;
    struct kvm_xcrs c = { 0 };
    _Static_assert(sizeof x.region == sizeof out->area, "both are one page");
    memset(&x, 0, sizeof x);
    if (ioctl(cpu->fd, KVM_GET_XSAVE, &x) < 0 ||
        (cpu->vm->has_xcrs && ioctl(cpu->fd, KVM_GET_XCRS, &c) < 0))
        return MOBO_EFAIL;
    out->xcr0 = 1;
    for (uint32_t i = 0; i < c.nr_xcrs && i < KVM_MAX_XCRS; i++)
        if (c.xcrs[i].xcr == 0)
            out->xcr0 = c.xcrs[i].value;
    memcpy(out->area, x.region, sizeof out->area);
    return MOBO_OK;
}

static int set_xsave(struct kvm_cpu *cpu, const mobo_x86_xsave_t *in)
{
    struct kvm_xsave x;
    struct kvm_xcrs c = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = in->xcr0 } } };
    memset(&x, 0, sizeof x);
    memcpy(x.region, in->area, sizeof in->area);
    if (cpu->vm->has_xcrs ? ioctl(cpu->fd, KVM_SET_XCRS, &c) < 0 : in->xcr0 != 1)
        return MOBO_EINVAL;
    return asked(ioctl(cpu->fd, KVM_SET_XSAVE, &x));
}

/* ---- events ---------------------------------------------------------------------------------- */

static int get_events(struct kvm_cpu *cpu, mobo_x86_events_t *out)
{
    struct kvm_mp_state mp;
    struct kvm_vcpu_events e;
    memset(&e, 0, sizeof e);
    /* In this order: asking for the state takes an INIT or SIPI that waits. */
    if (ioctl(cpu->fd, KVM_GET_MP_STATE, &mp) < 0 || ioctl(cpu->fd, KVM_GET_VCPU_EVENTS, &e) < 0)
        return MOBO_EFAIL;
    memset(out, 0, sizeof *out);
    out->activity = mp.mp_state == KVM_MP_STATE_RUNNABLE ? MOBO_X86_RUNNING
                    : mp.mp_state == KVM_MP_STATE_HALTED ? MOBO_X86_HALTED
                                                         : MOBO_X86_WAIT_SIPI;
    out->sti_shadow = e.interrupt.shadow != 0;
    out->nmi_blocked = e.nmi.masked;
    out->nmi_pending = e.nmi.pending || e.nmi.injected;
    out->exception_pending = e.exception.injected != 0;
    out->exception_vector = e.exception.nr;
    out->exception_has_error = e.exception.has_error_code;
    out->exception_error = e.exception.error_code;
    out->sipi_vector = e.sipi_vector;
    return MOBO_OK;
}

static int set_events(struct kvm_cpu *cpu, const mobo_x86_events_t *in)
{
    if (in->activity > MOBO_X86_WAIT_SIPI || in->exception_vector > 31 || in->sipi_vector > 0xff)
        return MOBO_EINVAL;
    struct kvm_vcpu_events e;
    memset(&e, 0, sizeof e);
    e.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |
              KVM_VCPUEVENT_VALID_SHADOW;
    e.interrupt.shadow = in->sti_shadow ? KVM_X86_SHADOW_INT_STI : 0;
    e.nmi.masked = in->nmi_blocked != 0;
    e.nmi.pending = in->nmi_pending != 0;
    e.exception.injected = in->exception_pending != 0;
    e.exception.nr = in->exception_vector;
    e.exception.has_error_code = in->exception_has_error != 0;
    e.exception.error_code = in->exception_error;
    e.sipi_vector = in->sipi_vector;
    /* One that waits for a SIPI takes an INIT before it too, as UNINITIALIZED would ask for. */
    struct kvm_mp_state mp = { .mp_state = in->activity == MOBO_X86_RUNNING ? KVM_MP_STATE_RUNNABLE
                                           : in->activity == MOBO_X86_HALTED
                                               ? KVM_MP_STATE_HALTED
                                               : KVM_MP_STATE_INIT_RECEIVED };
    if (ioctl(cpu->fd, KVM_SET_VCPU_EVENTS, &e) < 0)
        return MOBO_EINVAL;
    return asked(ioctl(cpu->fd, KVM_SET_MP_STATE, &mp));
}

/* ---- local APIC, debug registers ------------------------------------------------------------- */

static int get_apic(struct kvm_cpu *cpu, mobo_x86_apic_t *out)
{
    struct kvm_lapic_state s;
    _Static_assert(sizeof s.regs == sizeof out->reg, "the same registers");
    if (ioctl(cpu->fd, KVM_GET_LAPIC, &s) < 0)
        return MOBO_EFAIL;
    memcpy(out->reg, s.regs, sizeof out->reg);
    out->tsc_deadline = 0;
    (void)kvm_msr_get(cpu, MSR_DEADLINE, &out->tsc_deadline);
    return MOBO_OK;
}

static int set_apic(struct kvm_cpu *cpu, const mobo_x86_apic_t *in)
{
    struct kvm_lapic_state s;
    memcpy(s.regs, in->reg, sizeof s.regs);
    if (ioctl(cpu->fd, KVM_SET_LAPIC, &s) < 0)
        return MOBO_EINVAL;
    (void)kvm_msr_set(cpu, MSR_DEADLINE, in->tsc_deadline);
    return MOBO_OK;
}

static int get_debug(struct kvm_cpu *cpu, mobo_x86_debug_t *out)
{
    struct kvm_debugregs d;
    if (ioctl(cpu->fd, KVM_GET_DEBUGREGS, &d) < 0)
        return MOBO_EFAIL;
    *out = (mobo_x86_debug_t){ .dr = { d.db[0], d.db[1], d.db[2], d.db[3] },
                               .dr6 = d.dr6,
                               .dr7 = d.dr7 };
    return MOBO_OK;
}

static int set_debug(struct kvm_cpu *cpu, const mobo_x86_debug_t *in)
{
    struct kvm_debugregs d = { .db = { in->dr[0], in->dr[1], in->dr[2], in->dr[3] },
                               .dr6 = in->dr6,
                               .dr7 = in->dr7 };
    return asked(ioctl(cpu->fd, KVM_SET_DEBUGREGS, &d));
}

/* ---- by number ------------------------------------------------------------------------------- */

static const uint32_t block_len[] = {
    [MOBO_X86_REGS] = sizeof(mobo_x86_regs_t),     [MOBO_X86_SREGS] = sizeof(mobo_x86_sregs_t),
    [MOBO_X86_XSAVE] = sizeof(mobo_x86_xsave_t),   [MOBO_X86_MSRS] = sizeof(mobo_x86_msrs_t),
    [MOBO_X86_EVENTS] = sizeof(mobo_x86_events_t), [MOBO_X86_APIC] = sizeof(mobo_x86_apic_t),
    [MOBO_X86_DEBUG] = sizeof(mobo_x86_debug_t),
};

static int check_block(uint32_t block, uint32_t len)
{
    if (block == 0 || block >= sizeof block_len / sizeof block_len[0])
        return MOBO_ENOTSUP;
    return len < block_len[block] ? MOBO_ERANGE : MOBO_OK;
}

int kvm_vcpu_get(void *vcpu, uint32_t block, void *buf, uint32_t len)
{
    struct kvm_cpu *cpu = vcpu;
    int rc = check_block(block, len);
    if (rc != MOBO_OK)
        return rc;
    switch (block) {
    case MOBO_X86_REGS:
        return get_regs(cpu, buf);
    case MOBO_X86_SREGS:
        return get_sregs(cpu, buf);
    case MOBO_X86_XSAVE:
        return get_xsave(cpu, buf);
    case MOBO_X86_MSRS:
        return kvm_msrs_get(cpu, buf);
    case MOBO_X86_EVENTS:
        return get_events(cpu, buf);
    case MOBO_X86_APIC:
        return get_apic(cpu, buf);
    default:
        return get_debug(cpu, buf);
    }
}

int kvm_vcpu_set(void *vcpu, uint32_t block, const void *buf, uint32_t len)
{
    struct kvm_cpu *cpu = vcpu;
    int rc = check_block(block, len);
    if (rc != MOBO_OK)
        return rc;
    switch (block) {
    case MOBO_X86_REGS:
        return set_regs(cpu, buf);
    case MOBO_X86_SREGS:
        return set_sregs(cpu, buf);
    case MOBO_X86_XSAVE:
        return set_xsave(cpu, buf);
    case MOBO_X86_MSRS:
        return kvm_msrs_set(cpu, buf);
    case MOBO_X86_EVENTS:
        return set_events(cpu, buf);
    case MOBO_X86_APIC:
        return set_apic(cpu, buf);
    default:
        return set_debug(cpu, buf);
    }
}
