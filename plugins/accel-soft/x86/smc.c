/*
 * smc.c: self-modifying code. Which RAM pages hold decoded code, and who hears of a store to them.
 *
 * ram_slot.code_pages counts, per page, the CPUs with blocks on it (twice where both
 * the interpreter and the rewriter have some); code_lines has a bit for each 64 bytes of the page
 * that some block covers. While the count is not 0 no TLB may write the page
 * directly: stores go through smc_stored(), which costs no more than two look-ups unless the bytes
 * are code (so pages that mix code and data stay usable).
 *
 * The order that makes it safe: a decoder counts itself in (smc_enter), marks the lines, and then
 * compares what it decoded with memory; a writer stores, then looks at count and lines. One of them
 * sees the other. A CPU that still has a direct mapping learns of it by message, drops the mapping,
 * and if it had one, answers that the page was written: a store before that is then never lost, and
 * nobody waits for anybody.
 */
#include "../interp.h"
#include "../rw/lockstep.h"
#include "../rw/rw.h"
#include "mmu.h"
#include "vecstate.h"

#include <stdlib.h>

static void lock(_Atomic uint32_t *l)
{
    while (atomic_exchange_explicit(l, 1, memory_order_acquire))
        while (atomic_load_explicit(l, memory_order_relaxed))
            __builtin_ia32_pause();
}

static void unlock(_Atomic uint32_t *l)
{
    atomic_store_explicit(l, 0, memory_order_release);
}

/*
 * Not soft_request(): a CPU that sleeps need not wake up for it, it reads its messages before it
 * executes anything.
 */
static void post(struct vcpu *to, uint32_t kind, uint64_t gpa, uint64_t len, uint32_t from)
{
    struct interp *ip = to->interp;
    if (!ip)
        return;
    lock(&ip->msg_lock);
    if (ip->msg_count < CODE_MSGS)
        ip->msg[ip->msg_count++] = (struct code_msg){ gpa, len, from, kind };
    else
        ip->msg[CODE_MSGS - 1].kind = CODE_OVERFLOW;
    atomic_store(&ip->msg_pending, 1);
    unlock(&ip->msg_lock);
    atomic_fetch_or(&to->exit_req, REQ_SMC);
}

static void post_others(struct vcpu *cpu, uint32_t kind, uint64_t gpa, uint64_t len)
{
    struct soft *s = cpu->soft;
    for (unsigned i = 0; i < atomic_load(&s->vcpu_ready); i++)
        if (s->vcpu[i] != cpu)
            post(s->vcpu[i], kind, gpa, len, cpu->index);
}

/* The bits of code_lines for [gpa, gpa + len), which lies in one page. */
static uint64_t line_mask(uint64_t gpa, uint64_t len)
{
    unsigned first = (gpa & (PAGE_BYTES - 1)) >> 6;
    unsigned last = ((gpa & (PAGE_BYTES - 1)) + len - 1) >> 6;
    uint64_t up_to = last >= 63 ? ~(uint64_t)0 : (UINT64_C(1) << (last + 1)) - 1;
    return up_to & ~((UINT64_C(1) << first) - 1);
}

static struct ram_slot *slot_with_map(struct soft *s, uint64_t gpa)
{
    struct ram_slot *slot = (struct ram_slot *)(uintptr_t)ram_slot_of(s, gpa);
    if (!slot)
        return NULL;
    if (!slot->code_pages || !slot->code_lines)
        vec_out_thread(); /* calloc */
    if (!slot->code_pages)
        slot->code_pages = calloc((slot->len + PAGE_BYTES - 1) >> PAGE_BITS, 1);
    if (!slot->code_lines)
        slot->code_lines = calloc((slot->len + PAGE_BYTES - 1) >> PAGE_BITS, sizeof(uint64_t));
    return slot->code_pages && slot->code_lines ? slot : NULL;
}

const void *smc_enter(struct vcpu *cpu, uint64_t gpa)
{
    struct soft *s = cpu->soft;
    lock(&s->code_lock);
    struct ram_slot *slot = slot_with_map(s, gpa);
    bool first = slot && __atomic_fetch_add(&slot->code_pages[(gpa - slot->gpa) >> PAGE_BITS], 1,
                                            __ATOMIC_SEQ_CST) == 0;
    const void *map = slot ? slot->code_pages : NULL;
    unlock(&s->code_lock);
    if (first) {
        mmu_protect(cpu, gpa & PAGE_MASK);
        post_others(cpu, CODE_PROTECT, gpa & PAGE_MASK, PAGE_BYTES);
    }
    return map;
}

void smc_lines(struct vcpu *cpu, uint64_t gpa, uint64_t len)
{
    struct soft *s = cpu->soft;
    lock(&s->code_lock);
    struct ram_slot *slot = slot_with_map(s, gpa);
    if (slot)
        __atomic_fetch_or(&slot->code_lines[(gpa - slot->gpa) >> PAGE_BITS], line_mask(gpa, len),
                          __ATOMIC_SEQ_CST);
    unlock(&s->code_lock);
}

void smc_leave(struct vcpu *cpu, uint64_t gpa, const void *map)
{
    struct soft *s = cpu->soft;
    lock(&s->code_lock);
    struct ram_slot *slot = slot_with_map(s, gpa);
    if (slot && slot->code_pages == map) {
        uint64_t page = (gpa - slot->gpa) >> PAGE_BITS;
        if (__atomic_sub_fetch(&slot->code_pages[page], 1, __ATOMIC_SEQ_CST) == 0)
            __atomic_store_n(&slot->code_lines[page], 0, __ATOMIC_SEQ_CST);
    }
    unlock(&s->code_lock);
}

/* Does [gpa, gpa + len), within a page, touch a line of decoded code? *cpus: how many have some. */
static bool overlaps(const struct soft *s, uint64_t gpa, uint64_t len, unsigned *cpus)
{
    const struct ram_slot *slot = ram_slot_of(s, gpa);
    if (!slot || !slot->code_pages || !slot->code_lines)
        return false;
    uint64_t page = (gpa - slot->gpa) >> PAGE_BITS;
    *cpus = __atomic_load_n(&slot->code_pages[page], __ATOMIC_SEQ_CST);
    if (!*cpus)
        return false;
    return __atomic_load_n(&slot->code_lines[page], __ATOMIC_SEQ_CST) & line_mask(gpa, len);
}

/* Of both engines; returns how many of them had code there: each counts itself in. */
static unsigned drop_page(struct vcpu *cpu, uint64_t gpa)
{
    unsigned own = 0;
    if (blocks_have(cpu, gpa)) {
        blocks_drop_page(cpu, gpa);
        own++;
    }
    if (cpu->rw && rw_have(cpu, gpa)) {
        rw_drop_page(cpu, gpa);
        own++;
    }
    return own;
}

static void drop_all(struct vcpu *cpu)
{
    blocks_drop_all(cpu);
    if (cpu->rw)
        rw_drop_all(cpu);
}

void smc_stored(struct vcpu *cpu, uint64_t gpa, uint64_t len)
{
    if (cpu->lockstep)
        lockstep_stored(cpu, gpa, len);
    atomic_thread_fence(memory_order_seq_cst);
    while (len) {
        uint64_t room = PAGE_BYTES - (gpa & (PAGE_BYTES - 1)), n = len < room ? len : room;
        unsigned cpus;
        if (overlaps(cpu->soft, gpa, n, &cpus)) {
            if (cpus > drop_page(cpu, gpa))
                post_others(cpu, CODE_WRITTEN, gpa, n);
        }
        gpa += n;
        len -= n;
    }
}

void smc_written(struct vcpu *cpu, uint64_t gpa, uint64_t len)
{
    if (gpa == ~(uint64_t)0) {
        post(cpu, CODE_ALL, 0, 0, cpu->index);
        return;
    }
    atomic_thread_fence(memory_order_seq_cst);
    while (len) {
        uint64_t room = PAGE_BYTES - (gpa & (PAGE_BYTES - 1)), n = len < room ? len : room;
        unsigned cpus;
        if (overlaps(cpu->soft, gpa, n, &cpus))
            post(cpu, CODE_WRITTEN, gpa, n, cpu->index);
        gpa += n;
        len -= n;
    }
}

static bool next_message(struct interp *ip, struct code_msg *msg)
{
    bool have = false;
    lock(&ip->msg_lock);
    if (ip->msg_first < ip->msg_count) {
        *msg = ip->msg[ip->msg_first++];
        have = true;
    } else {
        ip->msg_first = ip->msg_count = 0;
        atomic_store(&ip->msg_pending, 0);
    }
    unlock(&ip->msg_lock);
    return have;
}

/* Called between blocks: do what other threads asked for. */
void smc_drain(struct vcpu *cpu)
{
    struct code_msg msg;
    unsigned cpus;
    while (next_message(cpu->interp, &msg))
        switch (msg.kind) {
        case CODE_ALL:
            drop_all(cpu);
            break;
        case CODE_WRITTEN:
            if (overlaps(cpu->soft, msg.gpa, msg.len, &cpus))
                (void)drop_page(cpu, msg.gpa);
            break;
        case CODE_PROTECT:
            if (mmu_protect(cpu, msg.gpa) && msg.from < atomic_load(&cpu->soft->vcpu_ready))
                post(cpu->soft->vcpu[msg.from], CODE_WRITTEN, msg.gpa, PAGE_BYTES, cpu->index);
            break;
        default: /* messages were lost, perhaps CODE_PROTECT: act as on each of them */
            drop_all(cpu);
            tlb_flush(cpu);
            post_others(cpu, CODE_ALL, 0, 0);
            break;
        }
}
