/*
 * seg.c: descriptors and segment registers: fetching, checking and loading them, the stack that a
 * transfer pushes to before it commits, and the instructions that do nothing else. Far transfers
 * are in far.c, ret.c and exc.c. References: Intel SDM volume 3A, chapters 3 and 5; AMD64 APM
 * volume 2, chapter 4.
 */
#include "mmu.h"
#include "sys.h"

bool desc_fetch(struct vcpu *cpu, uint16_t sel, struct desc *d)
{
    uint64_t base = cpu->gdt_base;
    uint32_t limit = cpu->gdt_limit;
    if (sel & 4) {
        if (cpu->seg[SEG_LDT].attr & ATTR_UNUSABLE)
            return false;
        base = cpu->seg[SEG_LDT].base;
        limit = cpu->seg[SEG_LDT].limit;
    }
    uint32_t off = sel & 0xfff8u;
    if (limit < 7 || off > limit - 7)
        return false;
    d->addr = lin(cpu, base + off);
    d->hi = 0;
    d->lo = mem_read_sys(cpu, d->addr, 8);
    return true;
}

bool desc_fetch_high(struct vcpu *cpu, uint16_t sel, struct desc *d)
{
    uint32_t limit = sel & 4 ? cpu->seg[SEG_LDT].limit : cpu->gdt_limit;
    uint32_t off = sel & 0xfff8u;
    if (limit < 15 || off > limit - 15)
        return false;
    d->hi = mem_read_sys(cpu, d->addr + 8, 8);
    return true;
}

void desc_set_accessed(struct vcpu *cpu, struct desc *d)
{
    if (d->lo & (1ull << 40))
        return;
    d->lo |= 1ull << 40;
    mem_write_sys(cpu, lin(cpu, d->addr + 5), (d->lo >> 40) & 0xff, 1);
}

void desc_set_busy(struct vcpu *cpu, uint64_t addr, bool busy)
{
    uint64_t at = lin(cpu, addr + 5);
    uint8_t access = (uint8_t)mem_read_sys(cpu, at, 1);
    access = (uint8_t)(busy ? access | 2 : access & ~2);
    mem_write_sys(cpu, at, access, 1);
}

void seg_from_desc(struct vcpu *cpu, unsigned seg, uint16_t sel, uint64_t lo)
{
    cpu->seg[seg] = (struct seg){
        .base = desc_base(lo), .limit = desc_limit(lo), .sel = sel, .attr = desc_attr(lo)
    };
}

/*
 * AMD keeps the base and clears it only on newer parts ("null selector clears base", which the
 * model shows); Intel always clears it.
 */
void seg_make_null(struct vcpu *cpu, unsigned seg, uint16_t sel)
{
    cpu->seg[seg] = (struct seg){ .sel = sel, .attr = ATTR_UNUSABLE };
}

void seg_flat_code(struct vcpu *cpu, uint16_t sel, unsigned dpl, unsigned bits)
{
    uint16_t attr = (uint16_t)(0xb | ATTR_S | dpl << 5 | ATTR_P | ATTR_G);
    attr = (uint16_t)(attr | (bits == 64 ? ATTR_L : ATTR_DB));
    cpu->seg[SEG_CS] = (struct seg){ .limit = 0xffffffff, .sel = sel, .attr = attr };
}

void seg_flat_stack(struct vcpu *cpu, uint16_t sel, unsigned dpl)
{
    uint16_t attr = (uint16_t)(0x3 | ATTR_S | dpl << 5 | ATTR_P | ATTR_G | ATTR_DB);
    cpu->seg[SEG_SS] = (struct seg){ .limit = 0xffffffff, .sel = sel, .attr = attr };
}

void seg_set_cs(struct vcpu *cpu, uint16_t sel, uint64_t lo, unsigned cpl)
{
    seg_from_desc(cpu, SEG_CS, (uint16_t)((sel & 0xfffc) | cpl), lo);
    cpu->cpl = (uint8_t)cpl;
}

void mode_update(struct vcpu *cpu)
{
    if (!(cpu->cr0 & CR0_PE))
        cpu->cpl = 0;
    else if (is_vm86(cpu))
        cpu->cpl = 3;
    cpu_mode_changed(cpu);
}

/* Real and virtual-8086 mode: the limit stays in real mode ("unreal"), virtual-8086 sets all. */
void seg_load_real(struct vcpu *cpu, unsigned seg, uint16_t sel)
{
    struct seg *s = &cpu->seg[seg];
    s->sel = sel;
    s->base = (uint64_t)sel << 4;
    if (is_vm86(cpu)) {
        s->limit = 0xffff;
        s->attr = 0x3 | ATTR_S | 3 << 5 | ATTR_P;
    } else if (s->attr & ATTR_UNUSABLE) {
        s->limit = 0xffff;
        s->attr = 0x3 | ATTR_S | ATTR_P;
    } else if (seg == SEG_CS) {
        /* A far jump in real mode makes CS a writable data-like segment again; D is kept. */
        s->attr = (uint16_t)((s->attr & (ATTR_DB | ATTR_G)) | 0x3 | ATTR_S | ATTR_P);
    }
    mode_update(cpu);
}

/* MOV SS and POP SS (SDM volume 2B, MOV). */
static void load_ss(struct vcpu *cpu, uint16_t sel)
{
    if (sel_null(sel)) {
        /* Only 64-bit code below CPL 3 may have a null SS, with RPL equal to CPL. */
        if (cpu->code_bits != 64 || cpu->cpl == 3 || (sel & 3) != cpu->cpl)
            x86_raise_err(cpu, VEC_GP, 0);
        seg_make_null(cpu, SEG_SS, sel);
        cpu->seg[SEG_SS].attr = (uint16_t)(ATTR_UNUSABLE | cpu->cpl << 5);
        mode_update(cpu);
        return;
    }
    struct desc d;
    uint32_t err = sel & 0xfffcu;
    if (!desc_fetch(cpu, sel, &d))
        x86_raise_err(cpu, VEC_GP, err);
    if ((sel & 3) != cpu->cpl || !desc_writable(d.lo) || desc_dpl(d.lo) != cpu->cpl)
        x86_raise_err(cpu, VEC_GP, err);
    if (!desc_p(d.lo))
        x86_raise_err(cpu, VEC_SS, err);
    desc_set_accessed(cpu, &d);
    seg_from_desc(cpu, SEG_SS, sel, d.lo);
    mode_update(cpu);
}

static void load_data(struct vcpu *cpu, unsigned seg, uint16_t sel)
{
    if (sel_null(sel)) {
        seg_make_null(cpu, seg, sel);
        mode_update(cpu);
        return;
    }
    struct desc d;
    uint32_t err = sel & 0xfffcu;
    if (!desc_fetch(cpu, sel, &d))
        x86_raise_err(cpu, VEC_GP, err);
    unsigned rpl = sel & 3, dpl = desc_dpl(d.lo);
    if (!desc_s(d.lo) || (desc_code(d.lo) && !(desc_type(d.lo) & 2)))
        x86_raise_err(cpu, VEC_GP, err);
    if (!desc_conforming(d.lo) && (rpl > dpl || cpu->cpl > dpl))
        x86_raise_err(cpu, VEC_GP, err);
    if (!desc_p(d.lo))
        x86_raise_err(cpu, VEC_NP, err);
    desc_set_accessed(cpu, &d);
    seg_from_desc(cpu, seg, sel, d.lo);
    mode_update(cpu);
}

void seg_load(struct vcpu *cpu, unsigned seg, uint16_t sel)
{
    if (!is_protected(cpu))
        seg_load_real(cpu, seg, sel);
    else if (seg == SEG_SS)
        load_ss(cpu, sel);
    else
        load_data(cpu, seg, sel);
}

void seg_check_stack(struct vcpu *cpu, uint16_t sel, unsigned cpl, unsigned vector, unsigned ext,
                     struct desc *out)
{
    uint32_t err = (sel & 0xfffcu) | ext;
    if (sel_null(sel))
        x86_raise_err(cpu, vector, vector == VEC_TS ? err : ext);
    if (!desc_fetch(cpu, sel, out))
        x86_raise_err(cpu, vector, err);
    if ((sel & 3) != cpl || desc_dpl(out->lo) != cpl || !desc_writable(out->lo))
        x86_raise_err(cpu, vector, err);
    if (!desc_p(out->lo))
        x86_raise_err(cpu, VEC_SS, err);
    desc_set_accessed(cpu, out);
}

void seg_drop_privileged(struct vcpu *cpu)
{
    static const uint8_t data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
    for (unsigned i = 0; i < sizeof data; i++) {
        struct seg *s = &cpu->seg[data[i]];
        bool conforming = (s->attr & 0x1c) == 0x1c;
        if (s->attr & ATTR_UNUSABLE) {
            s->sel = 0; /* a null selector loses its RPL */
        } else if (!conforming && ((s->attr >> 5) & 3u) < cpu->cpl) {
            s->sel = 0;
            s->attr = ATTR_UNUSABLE;
            s->base = 0;
            s->limit = 0;
        }
    }
}

/* ---- stacks ---------------------------------------------------------------------------------- */

void stack_current(const struct vcpu *cpu, struct stack *st)
{
    const struct seg *ss = &cpu->seg[SEG_SS];
    *st = (struct stack){ .base = ss->base,
                          .limit = ss->limit,
                          .attr = ss->attr,
                          .mask = stack_mask(cpu),
                          .cpl = cpu->cpl,
                          .flat64 = cpu->code_bits == 64 };
    st->sp = cpu->gpr[REG_RSP] & st->mask;
    if (st->flat64)
        st->base = 0;
}

void stack_from_desc(const struct vcpu *cpu, struct stack *st, uint64_t lo, uint64_t sp,
                     unsigned cpl, uint32_t error)
{
    (void)cpu;
    *st = (struct stack){ .base = desc_base(lo),
                          .limit = desc_limit(lo),
                          .attr = desc_attr(lo),
                          .mask = desc_d(lo) ? 0xffffffff : 0xffff,
                          .cpl = cpl,
                          .error = error };
    st->sp = sp & st->mask;
}

static uint64_t stack_linear(struct vcpu *cpu, const struct stack *st, uint64_t off, unsigned bytes)
{
    if (st->flat64) {
        if (!canonical(off) || !canonical(off + bytes - 1))
            x86_raise_err(cpu, VEC_SS, st->error);
        return off;
    }
    uint32_t first = (uint32_t)off, last = first + (bytes - 1);
    bool bad = last < first;
    if ((st->attr & 0xc) == 0x4)
        bad |= first <= st->limit || (!(st->attr & ATTR_DB) && last > 0xffff);
    else
        bad |= last > st->limit;
    if (bad || (st->attr & ATTR_UNUSABLE))
        x86_raise_err(cpu, VEC_SS, st->error);
    return lin(cpu, st->base + first);
}

void stack_push(struct vcpu *cpu, struct stack *st, uint64_t val, unsigned bytes)
{
    uint64_t sp = (st->sp - bytes) & st->mask;
    mem_write_cpl(cpu, stack_linear(cpu, st, sp, bytes), val, bytes, st->cpl);
    st->sp = sp;
}

/* The words are within one page of RAM that the TLB knows. */
void stack_push_frame(struct vcpu *cpu, struct stack *st, const uint64_t *words, unsigned n)
{
    uint64_t low = st->sp - 8 * n;
    const struct tlb_set *set = &cpu->tlb->set[st->cpl == 3 ? TLB_USER : TLB_SUPER];
    const struct tlb_entry *e = &set->e[tlb_index(low)];
    if (e->w != ((low + 8 * n - 1) & PAGE_MASK)) {
        while (n > 0)
            stack_push(cpu, st, words[--n], 8);
        return;
    }
    for (unsigned i = 0; i < n; i++)
        host_store((uint8_t *)(uintptr_t)(low + e->addend) + 8 * i, words[i], 8);
    st->sp = low;
}

bool stack_peek(const struct vcpu *cpu, const struct stack *st, uint64_t *words, unsigned n)
{
    uint64_t low = st->sp;
    const struct tlb_set *set = &cpu->tlb->set[st->cpl == 3 ? TLB_USER : TLB_SUPER];
    const struct tlb_entry *e = &set->e[tlb_index(low)];
    if (!st->flat64 || e->r != ((low + 8 * n - 1) & PAGE_MASK))
        return false;
    for (unsigned i = 0; i < n; i++)
        words[i] = host_load((uint8_t *)(uintptr_t)(low + e->addend) + 8 * i, 8);
    return true;
}

uint64_t stack_pop(struct vcpu *cpu, struct stack *st, unsigned bytes)
{
    uint64_t val = mem_read_cpl(cpu, stack_linear(cpu, st, st->sp, bytes), bytes, st->cpl);
    st->sp = (st->sp + bytes) & st->mask;
    return val;
}

void stack_set_sp(struct vcpu *cpu, uint64_t sp, uint64_t mask)
{
    if (mask == 0xffff)
        cpu->gpr[REG_RSP] = (cpu->gpr[REG_RSP] & ~0xffffull) | (sp & 0xffff);
    else
        cpu->gpr[REG_RSP] = sp & mask;
}

void stack_commit(struct vcpu *cpu, const struct stack *st)
{
    stack_set_sp(cpu, st->sp, st->mask);
}

/* ---- instructions ---------------------------------------------------------------------------- */

/* The next instruction runs with interrupts held back (SDM volume 3A, 6.8.3). */
void pop_ss_shadow(struct vcpu *cpu)
{
    cpu->inhibit = 2;
}

static void push_seg(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opsize;
    struct stack st;
    stack_current(cpu, &st);
    /* A 32-bit push of a selector stores 16 bits and leaves the rest (SDM volume 2B, PUSH). */
    uint64_t sp = (st.sp - bytes) & st.mask;
    st.sp = sp;
    uint16_t sel = cpu->seg[in->opnd[0].reg].sel;
    unsigned store = bytes == 4 ? 2 : bytes;
    mem_write_cpl(cpu, stack_linear(cpu, &st, sp, store), sel, store, st.cpl);
    stack_commit(cpu, &st);
}

static void pop_seg(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned seg = in->opnd[0].reg;
    struct stack st;
    stack_current(cpu, &st);
    uint16_t sel = (uint16_t)mem_read_cpl(cpu, stack_linear(cpu, &st, st.sp, 2), 2, st.cpl);
    st.sp = (st.sp + in->opsize) & st.mask;
    seg_load(cpu, seg, sel);
    /* POP SS moves the pointer with the width of the old stack. */
    stack_commit(cpu, &st);
    if (seg == SEG_SS)
        pop_ss_shadow(cpu);
}

static void load_far(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opsize;
    uint64_t off = mem_read(cpu, insn_linear(cpu, in, 0, bytes, 0), bytes);
    uint16_t sel = (uint16_t)mem_read(cpu, insn_linear(cpu, in, bytes, 2, 0), 2);
    seg_load(cpu, in->opnd[2].reg, sel);
    gpr_write(cpu, in->opnd[0].reg, off, bytes);
    if (in->opnd[2].reg == SEG_SS)
        pop_ss_shadow(cpu);
}

void seg_execute(struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t next = insn_next(cpu, in);
    switch (in->op) {
    case OP_MOV_FROM_SEG:
        /* A register takes the operand size (zero extended), memory always 16 bits. */
        opnd_write(cpu, in, 0, cpu->seg[in->opnd[1].reg].sel,
                   in->opnd[0].kind == OPND_GPR ? in->opsize : 2);
        break;
    case OP_MOV_TO_SEG:
        seg_load(cpu, in->opnd[0].reg, (uint16_t)opnd_read(cpu, in, 1, 2));
        if (in->opnd[0].reg == SEG_SS)
            pop_ss_shadow(cpu);
        break;
    case OP_PUSH_SEG:
        push_seg(cpu, in);
        break;
    case OP_POP_SEG:
        pop_seg(cpu, in);
        break;
    default:
        load_far(cpu, in);
        break;
    }
    cpu->rip = next;
}
