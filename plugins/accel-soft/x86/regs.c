/*
 * regs.c: reset values of a CPU, and its state as the frozen register blocks of mobo/arch/x86.h.
 * References: Intel SDM volume 3A, 10.1 (table 10-1: values after RESET and INIT).
 */
#include "fpu.h"
#include "lapic_int.h"
#include "vecstate.h"

static void seg_reset(struct vcpu *cpu, unsigned seg, uint16_t attr)
{
    cpu->seg[seg] = (struct seg){ .limit = 0xffff, .attr = attr };
}

void x86_reset(struct vcpu *cpu, bool init)
{
    vec_out(cpu);
    uint64_t keep = init ? cpu->cr0 & ((uint64_t)CR0_CD | CR0_NW) : (uint64_t)CR0_CD | CR0_NW;
    memset(cpu->gpr, 0, sizeof cpu->gpr);
    cpu->gpr[REG_RDX] = cpu->soft->model.signature;
    cpu->rip = 0xfff0;
    cpu->fl = FL_1;
    cpu_set_rflags(cpu, 0, FL_WRITABLE);
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        seg_reset(cpu, i, 0x3 | ATTR_S | ATTR_P);
    cpu->seg[SEG_CS] = (struct seg){
        .base = 0xffff0000, .limit = 0xffff, .sel = 0xf000, .attr = 0xb | ATTR_S | ATTR_P
    };
    seg_reset(cpu, SEG_LDT, 0x2 | ATTR_P);
    seg_reset(cpu, SEG_TR, 0xb | ATTR_P);
    cpu->gdt_base = cpu->idt_base = 0;
    cpu->gdt_limit = cpu->idt_limit = 0xffff;
    cpu->cr0 = keep | CR0_ET;
    cpu->cr2 = cpu->cr3 = cpu->cr4 = cpu->cr8 = cpu->efer = 0;
    memset(cpu->pdpte, 0, sizeof cpu->pdpte);
    memset(cpu->dr, 0, sizeof cpu->dr);
    cpu->dr6 = 0xffff0ff0;
    cpu->dr7 = 0x400;
    cpu->debug_armed = cpu->debug_watch = 0;
    cpu->cpl = 0;
    cpu->inhibit = cpu->nmi_blocked = cpu->in_delivery = cpu->single_step = cpu->mwait = 0;
    cpu->exc_pending = cpu->shutdown = cpu->event_waiting = 0;
    atomic_store(&cpu->nmi_pending, 0);
    if (!init) {
        atomic_store(&cpu->init_pending, 0);
        atomic_store(&cpu->sipi_pending, 0);
        cpu->xcr0 = 1;
        fpu_reset(cpu);
        msr_reset(cpu);
        pv_reset(cpu);
    }
    lapic_reset(cpu, init);
    /* The boot processor starts at the reset vector after INIT too (SDM volume 3A, 9.4.1). */
    cpu->activity = cpu->index == 0 ? CPU_RUNNING : CPU_WAIT_SIPI;
    tlb_flush(cpu);
    mode_update(cpu);
}

/* ---- general registers, segments, control registers ------------------------------------------ */

static void get_regs(const struct vcpu *cpu, mobo_x86_regs_t *r)
{
    memcpy(r->gpr, cpu->gpr, sizeof r->gpr);
    r->rip = cpu->rip;
    r->rflags = cpu_rflags(cpu);
}

static void set_regs(struct vcpu *cpu, const mobo_x86_regs_t *r)
{
    memcpy(cpu->gpr, r->gpr, sizeof r->gpr);
    cpu->rip = r->rip;
    cpu_set_rflags(cpu, r->rflags, FL_WRITABLE);
    mode_update(cpu);
}

static mobo_x86_seg_t get_seg(const struct seg *s)
{
    return (
        mobo_x86_seg_t){ .base = s->base, .limit = s->limit, .selector = s->sel, .attr = s->attr };
}

static void set_seg(struct seg *s, const mobo_x86_seg_t *v)
{
    *s = (struct seg){
        .base = v->base, .limit = v->limit, .sel = v->selector, .attr = v->attr & 0x1fff
    };
}

static void get_sregs(const struct vcpu *cpu, mobo_x86_sregs_t *r)
{
    memset(r, 0, sizeof *r);
    r->es = get_seg(&cpu->seg[SEG_ES]);
    r->cs = get_seg(&cpu->seg[SEG_CS]);
    r->ss = get_seg(&cpu->seg[SEG_SS]);
    r->ds = get_seg(&cpu->seg[SEG_DS]);
    r->fs = get_seg(&cpu->seg[SEG_FS]);
    r->gs = get_seg(&cpu->seg[SEG_GS]);
    r->ldt = get_seg(&cpu->seg[SEG_LDT]);
    r->tr = get_seg(&cpu->seg[SEG_TR]);
    r->gdt_base = cpu->gdt_base;
    r->gdt_limit = cpu->gdt_limit;
    r->idt_base = cpu->idt_base;
    r->idt_limit = cpu->idt_limit;
    r->cr0 = cpu->cr0;
    r->cr2 = cpu->cr2;
    r->cr3 = cpu->cr3;
    r->cr4 = cpu->cr4;
    r->cr8 = lapic_get_cr8(cpu);
    r->efer = cpu->efer;
    r->apic_base = cpu->apic_base;
}

/* A saved state may come from anywhere: combinations that no CPU can be in are refused whole. */
bool cr_valid_state(const struct vcpu *cpu, uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    bool paging = (cr0 & CR0_PG) != 0, lma = (efer & EFER_LMA) != 0;
    if (cr0 >> 32 || (paging && !(cr0 & CR0_PE)) || ((cr0 & CR0_NW) && !(cr0 & CR0_CD)))
        return false;
    if ((cr4 & ~cr4_allowed(cpu)) || (efer & ~efer_allowed(cpu)))
        return false;
    if (lma != (paging && (efer & EFER_LME)))
        return false;
    return !lma || (cr4 & CR4_PAE);
}

static int set_sregs(struct vcpu *cpu, const mobo_x86_sregs_t *r)
{
    uint64_t phys = (1ull << cpu->soft->model.phys_bits) - 1;
    if (!cr_valid_state(cpu, r->cr0, r->cr4, r->efer) || r->cr8 > 15 || (r->cr3 & ~phys) ||
        (r->apic_base & ~(phys & ~0x2ffull)))
        return MOBO_EINVAL;
    set_seg(&cpu->seg[SEG_ES], &r->es);
    set_seg(&cpu->seg[SEG_CS], &r->cs);
    set_seg(&cpu->seg[SEG_SS], &r->ss);
    set_seg(&cpu->seg[SEG_DS], &r->ds);
    set_seg(&cpu->seg[SEG_FS], &r->fs);
    set_seg(&cpu->seg[SEG_GS], &r->gs);
    set_seg(&cpu->seg[SEG_LDT], &r->ldt);
    set_seg(&cpu->seg[SEG_TR], &r->tr);
    cpu->gdt_base = r->gdt_base;
    cpu->gdt_limit = r->gdt_limit;
    cpu->idt_base = r->idt_base;
    cpu->idt_limit = r->idt_limit;
    cpu->cr0 = r->cr0 | CR0_ET;
    cpu->cr2 = r->cr2;
    cpu->cr3 = r->cr3;
    cpu->cr4 = r->cr4;
    cpu->efer = r->efer;
    cpu->apic_base = r->apic_base;
    lapic_set_cr8(cpu, (unsigned)r->cr8);
    cpu->cpl = cpu->cr0 & CR0_PE ? (r->ss.attr >> 5) & 3 : 0;
    if ((r->cr0 & CR0_PG) && (r->cr4 & CR4_PAE) && !(r->efer & EFER_LMA)) {
        for (unsigned i = 0; i < 4; i++) {
            uint64_t left = 0;
            uint32_t flags;
            const uint8_t *p = soft_ram(cpu->soft, (r->cr3 & 0xffffffe0) + 8 * i, &left, &flags);
            cpu->pdpte[i] = 0;
            if (p && left >= 8)
                memcpy(&cpu->pdpte[i], p, 8);
        }
    }
    tlb_flush(cpu);
    mode_update(cpu);
    return MOBO_OK;
}

/* ---- MSRs ------------------------------------------------------------------------------------ */

static const uint32_t saved_msrs[] = {
    0x3b,       0x10,       0x48,       0x140,      0x174,      0x175,      0x176,      0x17a,
    0x1a0,      0x200,      0x201,      0x202,      0x203,      0x204,      0x205,      0x206,
    0x207,      0x208,      0x209,      0x20a,      0x20b,      0x20c,      0x20d,      0x20e,
    0x20f,      0x250,      0x258,      0x259,      0x268,      0x269,      0x26a,      0x26b,
    0x26c,      0x26d,      0x26e,      0x26f,      0x277,      0x2ff,      0xc0000081, 0xc0000082,
    0xc0000083, 0xc0000084, 0xc0000102, 0xc0000103, 0xc0010010, 0xc0010015, 0x4b564d00, 0x4b564d01,
    0x4b564d04, 0x4b564d05,
};

static int get_msrs(struct vcpu *cpu, mobo_x86_msrs_t *r)
{
    if (r->count > MOBO_X86_MSRS_MAX)
        return MOBO_ERANGE;
    if (r->count == 0) { /* all that a snapshot needs and this model has */
        for (unsigned i = 0; i < sizeof saved_msrs / sizeof saved_msrs[0]; i++) {
            uint64_t val;
            if (!msr_read(cpu, saved_msrs[i], &val))
                continue;
            r->msr[r->count].index = saved_msrs[i];
            r->msr[r->count]._pad = 0;
            r->msr[r->count++].value = val;
        }
        return MOBO_OK;
    }
    for (unsigned i = 0; i < r->count; i++)
        if (!msr_read(cpu, r->msr[i].index, &r->msr[i].value))
            return MOBO_ENOENT;
    return MOBO_OK;
}

static int set_msrs(struct vcpu *cpu, const mobo_x86_msrs_t *r)
{
    if (r->count > MOBO_X86_MSRS_MAX)
        return MOBO_ERANGE;
    for (unsigned i = 0; i < r->count; i++)
        if (!msr_write(cpu, r->msr[i].index, r->msr[i].value))
            return MOBO_EINVAL;
    return MOBO_OK;
}

/* ---- events, debug registers ----------------------------------------------------------------- */

static void get_events(const struct vcpu *cpu, mobo_x86_events_t *e)
{
    memset(e, 0, sizeof *e);
    e->activity = cpu->activity;
    e->sti_shadow = cpu->inhibit != 0;
    e->nmi_blocked = cpu->nmi_blocked;
    e->nmi_pending = atomic_load(&cpu->nmi_pending) != 0;
    e->exception_pending = cpu->exc_pending;
    e->exception_vector = cpu->exc_vector;
    e->exception_has_error = cpu->exc_has_error;
    e->exception_error = cpu->exc_error;
    e->exception_payload = cpu->exc_vector == VEC_PF ? cpu->cr2 : 0;
    e->sipi_vector = atomic_load(&cpu->sipi_pending);
}

static int set_events(struct vcpu *cpu, const mobo_x86_events_t *e)
{
    if (e->activity > MOBO_X86_WAIT_SIPI || e->exception_vector > 31 || e->sipi_vector > 0x1ff)
        return MOBO_EINVAL;
    cpu->activity = e->activity;
    cpu->inhibit = e->sti_shadow ? 1 : 0;
    cpu->nmi_blocked = e->nmi_blocked != 0;
    atomic_store(&cpu->nmi_pending, e->nmi_pending ? 1 : 0);
    cpu->exc_pending = e->exception_pending != 0;
    cpu->exc_vector = e->exception_vector;
    cpu->exc_has_error = e->exception_has_error != 0;
    cpu->exc_error = e->exception_error;
    atomic_store(&cpu->sipi_pending, e->sipi_vector);
    atomic_fetch_or(&cpu->exit_req, REQ_EVENT);
    return MOBO_OK;
}

static void get_debug(const struct vcpu *cpu, mobo_x86_debug_t *d)
{
    memcpy(d->dr, cpu->dr, sizeof d->dr);
    d->dr6 = cpu->dr6;
    d->dr7 = cpu->dr7;
}

static int set_debug(struct vcpu *cpu, const mobo_x86_debug_t *d)
{
    if (d->dr6 >> 32 || d->dr7 >> 32)
        return MOBO_EINVAL;
    memcpy(cpu->dr, d->dr, sizeof cpu->dr);
    cpu->dr6 = (d->dr6 & 0xe00f) | 0xffff0ff0u;
    cpu->dr7 = (d->dr7 & 0xffff2bffu) | 0x400;
    debug_changed(cpu);
    return MOBO_OK;
}

/* ---- XSAVE ----------------------------------------------------------------------------------- */

static int get_xsave(struct vcpu *cpu, mobo_x86_xsave_t *x)
{
    memset(x, 0, sizeof *x);
    x->xcr0 = cpu->xcr0;
    fpu_get_xsave(cpu, x->area);
    return MOBO_OK;
}

static int set_xsave(struct vcpu *cpu, const mobo_x86_xsave_t *x)
{
    if (!(x->xcr0 & 1) || (x->xcr0 & ~cpu->soft->model.xcr0) || ((x->xcr0 & 4) && !(x->xcr0 & 2)))
        return MOBO_EINVAL;
    int rc = fpu_set_xsave(cpu, x->area);
    if (rc == MOBO_OK)
        cpu->xcr0 = x->xcr0;
    return rc;
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

int soft_get(void *vcpu, uint32_t block, void *buf, uint32_t len)
{
    struct vcpu *cpu = vcpu;
    int rc = check_block(block, len);
    if (rc != MOBO_OK)
        return rc;
    switch (block) {
    case MOBO_X86_REGS:
        get_regs(cpu, buf);
        return MOBO_OK;
    case MOBO_X86_SREGS:
        get_sregs(cpu, buf);
        return MOBO_OK;
    case MOBO_X86_XSAVE:
        return get_xsave(cpu, buf);
    case MOBO_X86_MSRS:
        return get_msrs(cpu, buf);
    case MOBO_X86_EVENTS:
        get_events(cpu, buf);
        return MOBO_OK;
    case MOBO_X86_APIC:
        lapic_get(cpu, buf);
        return MOBO_OK;
    default:
        get_debug(cpu, buf);
        return MOBO_OK;
    }
}

int soft_set(void *vcpu, uint32_t block, const void *buf, uint32_t len)
{
    struct vcpu *cpu = vcpu;
    int rc = check_block(block, len);
    if (rc != MOBO_OK)
        return rc;
    switch (block) {
    case MOBO_X86_REGS:
        set_regs(cpu, buf);
        return MOBO_OK;
    case MOBO_X86_SREGS:
        return set_sregs(cpu, buf);
    case MOBO_X86_XSAVE:
        return set_xsave(cpu, buf);
    case MOBO_X86_MSRS:
        return set_msrs(cpu, buf);
    case MOBO_X86_EVENTS:
        return set_events(cpu, buf);
    case MOBO_X86_APIC:
        return lapic_set(cpu, buf);
    default:
        return set_debug(cpu, buf);
    }
}
