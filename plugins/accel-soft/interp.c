/*
 * interp.c: the interpreter as an engine of soft.h: the loop around decoded blocks.
 */
#include "interp.h"

#include "x86/mmu.h"
#include "x86/ops.h"

#include <stdlib.h>
#include <sys/mman.h>

#define ARENA_BYTES (UINT64_C(96) << 20) /* address space; memory as it is used */

static void interp_fini(struct vcpu *cpu)
{
    struct interp *ip = cpu->interp;
    if (ip) {
        if (ip->hash && ip->pages)
            blocks_drop_all(cpu);
        for (struct code_page *p = ip->free_pages, *next; p; p = next) {
            next = p->next;
            free(p);
        }
        if (ip->arena)
            munmap(ip->arena, ip->arena_size);
        free(ip->hash);
        free(ip->pages);
        free(ip);
        cpu->interp = NULL;
    }
    mmu_fini(cpu);
}

static int interp_init(struct vcpu *cpu)
{
    struct interp *ip = calloc(1, sizeof *ip);
    if (!ip)
        return MOBO_ENOMEM;
    cpu->interp = ip;
    cpu->zero = 0;
    if (mmu_init(cpu) < 0)
        return MOBO_ENOMEM;
    void *arena = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED)
        return MOBO_ENOMEM;
    ip->arena = arena;
    ip->arena_size = ARENA_BYTES;
    ip->hash = calloc(UINT64_C(1) << BLOCK_HASH_BITS, sizeof *ip->hash);
    ip->pages = calloc(UINT64_C(1) << PAGE_HASH_BITS, sizeof *ip->pages);
    if (!ip->hash || !ip->pages)
        return MOBO_ENOMEM;
    ip->gen[0] = ip->gen[1] = 1;
    interp_mode_changed(cpu);
    return 0;
}

void interp_mode_changed(struct vcpu *cpu)
{
    struct interp *ip = cpu->interp;
    if (!ip)
        return;
    unsigned mode = cpu->code_bits == 64   ? MODE_CODE64 | MODE_STACK64
                    : cpu->code_bits == 32 ? MODE_CODE32
                                           : MODE_CODE16;
    if (cpu->code_bits != 64) {
        if (cpu->stack_bits == 32)
            mode |= MODE_STACK32;
        if (cpu->seg[SEG_CS].limit != 0xffffffff || cpu->seg[SEG_CS].base != 0)
            mode |= MODE_LIMIT;
    }
    if (cpu->flat)
        mode |= MODE_FLAT;
    if (cpu->cpl == 3)
        mode |= MODE_USER;
    else if (cpu->cpl != 0)
        mode |= MODE_INNER;
    ip->mode = (uint16_t)mode;
    cpu->code_key[0] = mode | ip->gen[0] << MODE_BITS;
    cpu->code_key[1] = mode | ip->gen[1] << MODE_BITS;
}

void interp_code_moved(struct vcpu *cpu, bool global_too)
{
    struct interp *ip = cpu->interp;
    if (!ip)
        return;
    ip->gen[0]++;
    if (global_too || ip->upper_own) {
        ip->gen[1]++;
        ip->upper_own = 0;
    }
    interp_mode_changed(cpu);
}

const struct dop *op_stale(struct vcpu *cpu, const struct dop *op)
{
    interp_sync(cpu, op);
    cpu->insns += op->idx;
    return NULL;
}

const struct dop *op_resolve(struct vcpu *cpu, const struct dop *op)
{
    struct link *link = (struct link *)(uintptr_t)op;
    cpu->rip = link->rip;
    cpu->interp->link = link;
    return NULL;
}

static void run_block(struct vcpu *cpu, const struct block *b)
{
    const struct dop *op = block_ops(b);
#if INTERP_LOOP
    while (op)
        op = op->fn(cpu, op);
#else
    (void)op->fn(cpu, op);
#endif
}

/* One instruction, with nothing looked at in between. */
void interp_step(struct vcpu *cpu)
{
    cpu->interp->link = NULL;
    cpu->inhibit = 0; /* the shadow covers just this one; it may cast its own */
    run_block(cpu, block_find(cpu, MODE_ONCE));
}

void interp_run(struct vcpu *cpu, uint64_t budget)
{
    cpu->interp->link = NULL;
    cpu->insn_limit = budget > ~cpu->insns ? ~(uint64_t)0 : cpu->insns + budget;
    run_block(cpu, block_find(cpu, 0));
}

static void interp_execute(struct vcpu *cpu, uint64_t budget)
{
    struct interp *ip = cpu->interp;
    uint64_t start = cpu->insns;

    ip->link = NULL;
    smc_look(cpu);
    cpu->insn_limit = budget > ~start ? ~(uint64_t)0 : start + budget;
    if ((cpu->fl & FL_TF) || budget <= 1) {
        cpu->single_step = (cpu->fl & FL_TF) != 0;
        interp_step(cpu);
        return;
    }
    do {
        if (cpu->inhibit)
            interp_step(cpu);
        else
            run_block(cpu, block_find(cpu, 0));
        if (cpu->fl & FL_TF)
            return;
    } while (cpu->inhibit ||
             (!atomic_load_explicit(&cpu->exit_req, memory_order_relaxed) &&
              cpu->activity == CPU_RUNNING && cpu->insns < cpu->insn_limit));
}

static void interp_invalidate(struct vcpu *cpu, uint64_t gpa, uint64_t len)
{
    smc_written(cpu, gpa, len);
}

const struct engine engine_interp = {
    .name = "interp",
    .cpu_init = interp_init,
    .cpu_fini = interp_fini,
    .execute = interp_execute,
    .invalidate = interp_invalidate,
};
