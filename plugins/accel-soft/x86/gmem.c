/*
 * gmem.c: guest memory as instructions see it: linear accesses with the rights of a privilege
 * level, segment checks, physical accesses, locked operations. RAM is reached through the TLB;
 * what is not RAM is the local APIC or goes up as MMIO. Every byte of guest memory is read once
 * per access.
 */
#include "../rw/lockstep.h"
#include "flags.h"
#include "lapic.h"
#include "mmu.h"

#include <string.h>

/* ---- physical ---- */

static void mmio(struct vcpu *cpu, uint64_t gpa, void *data, uint32_t len, bool write)
{
    if (cpu->lockstep)
        lockstep_device(cpu);
    cpu->mmio++;
    if (lapic_mmio(cpu, gpa, data, len, write))
        return;
    if (cpu->up && cpu->up->mmio)
        cpu->up->mmio(cpu->up_ctx, gpa, data, len, write);
    else
        for (uint8_t *p = data; !write && len; len--)
            *p++ = 0xff;
}

uint64_t phys_read(struct vcpu *cpu, uint64_t gpa, unsigned bytes)
{
    const struct ram_slot *slot = ram_slot_of(cpu->soft, gpa);
    if (slot && slot->len - (gpa - slot->gpa) >= bytes)
        return host_load(slot->host + (gpa - slot->gpa), bytes);
    uint64_t val = 0;
    mmio(cpu, gpa, &val, bytes, false);
    return val;
}

void phys_write(struct vcpu *cpu, uint64_t gpa, uint64_t val, unsigned bytes)
{
    const struct ram_slot *slot = ram_slot_of(cpu->soft, gpa);
    if (slot && slot->len - (gpa - slot->gpa) >= bytes && !(slot->flags & MOBO_MAP_READONLY)) {
        uint8_t *host = slot->host + (gpa - slot->gpa);
        if (cpu->lockstep)
            lockstep_page(cpu, gpa, host - (gpa & (PAGE_BYTES - 1)));
        host_store(host, val, bytes);
        smc_stored(cpu, gpa, bytes);
        return;
    }
    mmio(cpu, gpa, &val, bytes, true);
}

/* ---- spans: an access of any length over at most two pages ---- */

static uint64_t linear_wrap(const struct vcpu *cpu, uint64_t linear)
{
    return (cpu->efer & EFER_LMA) ? linear : (uint32_t)linear;
}

void span_make(struct vcpu *cpu, struct span *s, unsigned set, uint64_t linear, unsigned len,
               unsigned acc)
{
    unsigned room = PAGE_BYTES - (unsigned)(linear & (PAGE_BYTES - 1));
    unsigned done = 0;
    if ((cpu->efer & EFER_LMA) && !is_canonical(cpu, linear))
        x86_raise_err(cpu, VEC_GP, 0);
    /* SDM volume 3A, 6.15, #AC: words, doublewords and quadwords of ring 3. */
    if (set == TLB_USER_AC && (len == 2 || len == 4 || len == 8) && (linear & (len - 1)))
        x86_raise_err(cpu, VEC_AC, 0);
    s->parts = 0;
    while (done < len && s->parts < 2) {
        uint64_t at = linear_wrap(cpu, linear + done);
        if (done && (cpu->efer & EFER_LMA) && !is_canonical(cpu, at))
            x86_raise_err(cpu, VEC_GP, 0);
        unsigned n = len - done < room ? len - done : room;
        const struct tlb_note *note;
        /* CR2 names the first byte of the page that faults (the operand's, or the second page's) */
        note = mmu_page(cpu, set, at, acc);
        s->part[s->parts].gpa = note->gpa + (at & (PAGE_BYTES - 1));
        s->part[s->parts].host = note->host ? note->host + (at & (PAGE_BYTES - 1)) : NULL;
        s->part[s->parts].writable = !note->readonly;
        s->part[s->parts].len = n;
        s->parts++;
        done += n;
        room = PAGE_BYTES;
    }
    if (cpu->debug_watch)
        debug_access(cpu, linear, len, acc & ACC_W);
}

/* Look the host addresses of parts FROM.. up again: after calls that let the map change. */
static void span_renew(struct vcpu *cpu, struct span *s, unsigned from)
{
    for (unsigned i = from; i < s->parts; i++) {
        const struct ram_slot *slot = ram_slot_of(cpu->soft, s->part[i].gpa);
        if (!s->part[i].host)
            continue;
        s->part[i].host = slot ? slot->host + (s->part[i].gpa - slot->gpa) : NULL;
        s->part[i].writable = slot && !(slot->flags & MOBO_MAP_READONLY);
    }
}

static void copy(void *to, const void *from, unsigned len)
{
    if (len == 1 || len == 2 || len == 4 || len == 8)
        host_store(to, host_load(from, len), len);
    else
        memcpy(to, from, len);
}

void span_read(struct vcpu *cpu, struct span *s, void *buf)
{
    uint8_t *to = buf;
    for (unsigned i = 0; i < s->parts; i++) {
        unsigned len = s->part[i].len;
        if (s->part[i].host) {
            copy(to, s->part[i].host, len);
        } else {
            for (unsigned off = 0; off < len; off += 64)
                mmio(cpu, s->part[i].gpa + off, to + off, len - off < 64 ? len - off : 64, false);
            span_renew(cpu, s, i + 1);
        }
        to += len;
    }
}

void span_write(struct vcpu *cpu, struct span *s, const void *buf)
{
    const uint8_t *from = buf;
    for (unsigned i = 0; i < s->parts; i++) {
        unsigned len = s->part[i].len;
        if (s->part[i].host && s->part[i].writable) {
            copy(s->part[i].host, from, len);
            smc_stored(cpu, s->part[i].gpa, len);
        } else {
            uint8_t data[64];
            for (unsigned off = 0; off < len; off += 64) {
                unsigned n = len - off < 64 ? len - off : 64;
                memcpy(data, from + off, n);
                mmio(cpu, s->part[i].gpa + off, data, n, true);
            }
            span_renew(cpu, s, i + 1);
        }
        from += len;
    }
}

/* ---- linear accesses ---- */

/* What the TLB does not have; apart, so that what it has needs no frame. */
static __attribute__((noinline)) uint64_t read_slow(struct vcpu *cpu, unsigned set, uint64_t linear,
                                                    unsigned bytes)
{
    struct span s;
    uint64_t val = 0;
    span_make(cpu, &s, set, linear, bytes, ACC_R);
    span_read(cpu, &s, &val);
    return val;
}

static __attribute__((noinline)) void write_slow(struct vcpu *cpu, unsigned set, uint64_t linear,
                                                 uint64_t val, unsigned bytes)
{
    struct span s;
    span_make(cpu, &s, set, linear, bytes, ACC_W);
    span_write(cpu, &s, &val);
}

static inline uint64_t read_set(struct vcpu *cpu, unsigned set, uint64_t linear, unsigned bytes)
{
    const struct tlb_entry *e = &cpu->tlb->set[set].e[tlb_index(linear)];
    if (__builtin_expect(e->r == ((linear + (bytes - 1)) & PAGE_MASK), 1))
        return host_load((uint8_t *)(uintptr_t)(linear + e->addend), bytes);
    return read_slow(cpu, set, linear, bytes);
}

static inline void write_set(struct vcpu *cpu, unsigned set, uint64_t linear, uint64_t val,
                             unsigned bytes)
{
    const struct tlb_entry *e = &cpu->tlb->set[set].e[tlb_index(linear)];
    if (__builtin_expect(e->w == ((linear + (bytes - 1)) & PAGE_MASK), 1))
        host_store((uint8_t *)(uintptr_t)(linear + e->addend), val, bytes);
    else
        write_slow(cpu, set, linear, val, bytes);
}

uint64_t mem_read(struct vcpu *cpu, uint64_t linear, unsigned bytes)
{
    return read_set(cpu, tlb_set_now(cpu), linear, bytes);
}

void mem_write(struct vcpu *cpu, uint64_t linear, uint64_t val, unsigned bytes)
{
    write_set(cpu, tlb_set_now(cpu), linear, val, bytes);
}

void mem_read_bytes(struct vcpu *cpu, uint64_t linear, void *buf, unsigned len)
{
    struct span s;
    span_make(cpu, &s, tlb_set_now(cpu), linear, len, ACC_R);
    span_read(cpu, &s, buf);
}

void mem_write_bytes(struct vcpu *cpu, uint64_t linear, const void *buf, unsigned len)
{
    struct span s;
    span_make(cpu, &s, tlb_set_now(cpu), linear, len, ACC_W);
    span_write(cpu, &s, buf);
}

void mem_probe_write(struct vcpu *cpu, uint64_t linear, unsigned len)
{
    struct span s;
    if (!tlb_host_w(cpu, linear, len))
        span_make(cpu, &s, tlb_set_now(cpu), linear, len, ACC_W);
}

/* Implicit accesses are supervisor ones at any CPL, and AC does not help them (SDM 4.6.1). */
uint64_t mem_read_sys(struct vcpu *cpu, uint64_t linear, unsigned bytes)
{
    return read_set(cpu, TLB_SUPER, linear, bytes);
}

void mem_write_sys(struct vcpu *cpu, uint64_t linear, uint64_t val, unsigned bytes)
{
    write_set(cpu, TLB_SUPER, linear, val, bytes);
}

uint64_t mem_read_cpl(struct vcpu *cpu, uint64_t linear, unsigned bytes, unsigned cpl)
{
    return read_set(cpu, cpl == 3 ? TLB_USER : TLB_SUPER, linear, bytes);
}

void mem_write_cpl(struct vcpu *cpu, uint64_t linear, uint64_t val, unsigned bytes, unsigned cpl)
{
    write_set(cpu, cpl == 3 ? TLB_USER : TLB_SUPER, linear, val, bytes);
}

/* ---- segments ---- */

static _Noreturn void seg_fault(struct vcpu *cpu, unsigned seg)
{
    x86_raise_err(cpu, seg == SEG_SS ? VEC_SS : VEC_GP, 0);
}

/* SDM volume 3A, 5.3 (limits), 5.5 (types); in 64-bit mode the address has to be canonical. */
uint64_t seg_linear(struct vcpu *cpu, unsigned seg, uint64_t off, unsigned bytes, unsigned write)
{
    const struct seg *s = &cpu->seg[seg];
    uint64_t last = bytes ? bytes - 1 : 0;

    if (cpu->code_bits == 64) {
        uint64_t linear = seg >= SEG_FS ? s->base + off : off;
        if (!is_canonical(cpu, linear) || !is_canonical(cpu, linear + last))
            seg_fault(cpu, seg);
        return linear;
    }
    if (cpu->flat && seg <= SEG_DS && seg != SEG_CS)
        return (uint32_t)off;
    if (s->attr & ATTR_UNUSABLE)
        x86_raise_err(cpu, VEC_GP, 0);
    bool code = s->attr & 8;
    if ((cpu->cr0 & CR0_PE) && !(cpu->fl & FL_VM)) {
        if (write ? code || !(s->attr & 2) : code && !(s->attr & 2))
            seg_fault(cpu, seg);
    }
    if (!code && (s->attr & 4) && (cpu->cr0 & CR0_PE) && !(cpu->fl & FL_VM)) {
        uint64_t top = (s->attr & ATTR_DB) ? 0xffffffff : 0xffff;
        if (off <= s->limit || off + last > top)
            seg_fault(cpu, seg);
    } else if (s->limit != 0xffffffff && (off > s->limit || last > s->limit - off)) {
        seg_fault(cpu, seg);
    }
    return (uint32_t)(s->base + off);
}

/* ---- locked read-modify-write ---- */

void locked_begin(struct vcpu *cpu, struct locked *l, uint64_t linear, unsigned bytes)
{
    uint8_t *host = tlb_host_w(cpu, linear, bytes);
    l->bytes = bytes;
    l->alone = false;
    if (host) {
        l->span.parts = 1;
        l->span.part[0].host = host;
        l->span.part[0].writable = true;
        l->span.part[0].len = bytes;
        l->span.part[0].gpa = ~(uint64_t)0; /* no decoded code there */
        return;
    }
    span_make(cpu, &l->span, tlb_set_now(cpu), linear, bytes, ACC_R | ACC_W);
    if (l->span.parts == 1 && l->span.part[0].host && l->span.part[0].writable)
        return;
    if (cpu->lockstep)
        for (unsigned i = 0; i < l->span.parts; i++)
            if (!l->span.part[i].host || !l->span.part[i].writable)
                lockstep_device(cpu);
    l->alone = true;
    soft_exclusive_begin(cpu);
    span_renew(cpu, &l->span, 0); /* the memory map may have changed while this CPU waited */
}

void locked_load(struct vcpu *cpu, struct locked *l, void *old)
{
    if (l->alone)
        span_read(cpu, &l->span, old);
    else if (l->bytes == 16)
        memcpy(old, l->span.part[0].host, 16); /* may be torn: the compare then fails */
    else
        copy(old, l->span.part[0].host, l->bytes);
}

__extension__ typedef unsigned __int128 mem128;

static bool cas_host(uint8_t *p, unsigned bytes, void *old, const void *new)
{
    /* the host's LOCK prefix works at any alignment, as the guest's does */
    switch (bytes) {
    case 1:
        return __atomic_compare_exchange_n(p, (uint8_t *)old, *(const uint8_t *)new, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    case 2:
        return __atomic_compare_exchange_n((uint16_t *)(void *)p, (uint16_t *)old,
                                           *(const uint16_t *)new, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST);
    case 4:
        return __atomic_compare_exchange_n((uint32_t *)(void *)p, (uint32_t *)old,
                                           *(const uint32_t *)new, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST);
    case 8:
        return __atomic_compare_exchange_n((uint64_t *)(void *)p, (uint64_t *)old,
                                           *(const uint64_t *)new, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST);
    default: {
        uint64_t *o = old;
        const uint64_t *n = new;
        bool ok;
        __asm__ volatile("lock cmpxchg16b %1"
                         : "=@ccz"(ok), "+m"(*(mem128 *)(void *)p), "+a"(o[0]), "+d"(o[1])
                         : "b"(n[0]), "c"(n[1])
                         : "memory");
        return ok;
    }
    }
}

bool locked_cas(struct vcpu *cpu, struct locked *l, void *old, const void *new)
{
    if (l->alone) {
        span_write(cpu, &l->span, new);
        return true;
    }
    return cas_host(l->span.part[0].host, l->bytes, old, new);
}

void locked_end(struct vcpu *cpu, struct locked *l)
{
    if (l->alone)
        soft_exclusive_end(cpu);
    else if (l->span.part[0].gpa != ~(uint64_t)0)
        smc_stored(cpu, l->span.part[0].gpa, l->bytes);
}

/* ---- RFLAGS as one word ---- */

uint64_t cpu_rflags(const struct vcpu *cpu)
{
    return cpu->fl | flags_arith(cpu) | FL_1;
}

void cpu_set_rflags(struct vcpu *cpu, uint64_t value, uint64_t mask)
{
    uint32_t before = cpu->fl;
    if (mask & FL_ARITH)
        flags_load(cpu, (flags_arith(cpu) & ~mask) | (value & mask));
    uint32_t plain = (uint32_t)mask & ~(uint32_t)FL_ARITH;
    cpu->fl = (cpu->fl & ~plain) | ((uint32_t)value & plain) | FL_1;
    if ((before ^ cpu->fl) & (FL_AC | FL_VM))
        cpu_mode_changed(cpu);
}
