/*
 * cache.c: the memory of a virtual CPU's rewriter: the code cache (memory mapped twice, so that no
 * mapping is ever writable and executable), the arena of blocks, the stacks of return pairs.
 * What is in them is blk.c's, link.c's and glue.c's business.
 */
#include "blk.h"
#include "fault.h"

#include "../interp.h"
#include "../x86/vecstate.h"

#include <cpuid.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    CODE_BYTES = 64 << 20,
    BLOCKS_MAX = CODE_BYTES / 128,
    GUARD = 4096,
};
#define META_BYTES (UINT64_C(96) << 20) /* address space; memory as it is used */

/* BMI2 for the look-up; a host without the others would run LZCNT and TZCNT as BSR and BSF. */
static bool host_suffices(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_BMI2) || !(b & bit_BMI))
        return false;
    return __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & bit_LZCNT);
}

static void *map_zero(size_t len)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void unmap(void *p, size_t len)
{
    if (p)
        (void)munmap(p, len);
}

/*
 * Shared anonymous memory and not a memfd: mremap() of 0 bytes maps it a second time (mremap(2)),
 * and perf looks names up in its map only for memory that is no file's.
 */
static bool map_code(struct rw *rw)
{
    void *w = mmap(NULL, CODE_BYTES, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (w == MAP_FAILED)
        return false;
    rw->rw_base = w;
    rw->size = CODE_BYTES;
    void *x = mremap(w, 0, CODE_BYTES, MREMAP_MAYMOVE);
    if (x == MAP_FAILED)
        return false;
    rw->rx_base = x;
    return mprotect(x, CODE_BYTES, PROT_READ | PROT_EXEC) == 0;
}

/*
 * A stack of pairs: guard page, pairs, and above them the sentinel, whose tag is an address like any
 * other: canonical, since RET faults before it has popped one that is not, and that is seen only
 * where tags do not match. Its host address is glue.ret_miss: whoever pops the sentinel gets a stack
 * pointer 8 above the base, which ret_miss puts right before anything can be pushed over it.
 */
static bool map_stack(struct vcpu *cpu, unsigned which)
{
    struct rw *rw = cpu->rw;
    uint8_t *p = map_zero(GUARD + RW_PAIR_STACK + GUARD);
    rw->stack[which] = p;
    if (!p || mprotect(p, GUARD, PROT_NONE) != 0)
        return false;
    uint64_t *base = (uint64_t *)(void *)(p + GUARD + RW_PAIR_STACK);
    base[0] = (uint64_t)(uintptr_t)rw->rx_base + rw->glue.ret_miss;
    base[1] = 0;
    cpu->rw_pair_base[which] = (uint64_t)(uintptr_t)base;
    return true;
}

void rw_pairs_reset(struct vcpu *cpu, unsigned which)
{
    bool user_now = cpu->rw_pair_cpl != 0;
    if (which & (user_now ? 2u : 1u))
        cpu->rw_rsp = cpu->rw_pair_base[user_now];
    if ((which & 2) && !user_now)
        cpu->rw_pair_user = cpu->rw_pair_base[1];
}

static bool make(struct vcpu *cpu, const char **why)
{
    struct rw *rw = cpu->rw;
    *why = "no memory";
    rw->hash = map_zero(sizeof *rw->hash << RW_HASH_BITS);
    rw->by_code = map_zero(BLOCKS_MAX * sizeof *rw->by_code);
    rw->by_code_max = BLOCKS_MAX;
    rw->chunk = map_zero(RW_CHUNKS(CODE_BYTES) * sizeof *rw->chunk);
    rw->meta = map_zero(META_BYTES);
    rw->meta_size = META_BYTES;
    rw->pages = map_zero(sizeof *rw->pages);
    rw->jcs = map_zero(sizeof *rw->jcs);
    rw->tr = map_zero(sizeof *rw->tr);
    if (!rw->hash || !rw->by_code || !rw->chunk || !rw->meta || !rw->pages || !rw->jcs || !rw->tr)
        return false;
    *why = "the host allows no executable memory";
    if (!map_code(rw))
        return false;
    *why = "the host gives no signal handlers";
    if (rw_fault_init() < 0)
        return false;
    rw->tr->cpu = cpu;
    rw->tr->rw = rw;
    *why = "the code cache is too small";
    if (rw_glue_build(rw) < 0)
        return false;
    *why = "no memory";
    if (!map_stack(cpu, 0) || !map_stack(cpu, 1))
        return false;
    cpu->rw_pair_cpl = 0;
    rw_pairs_reset(cpu, 3);
    cpu->rw_code = (uint64_t)(uintptr_t)rw->rx_base;
    cpu->rw_code_len = rw->size;
    rw_jcs_reset(rw);
    rw->jc_user = rw->jcs->cache[0].e;
    rw->jc_kernel = rw->jcs->cache[RW_JC_KERNEL].e;
    cpu->rw_jc_user = (uint64_t)(uintptr_t)rw->jc_user;
    cpu->rw_jc = cpu->rw_jc_kernel = (uint64_t)(uintptr_t)rw->jc_kernel;
    return true;
}

int rw_new(struct vcpu *cpu, const char **why)
{
    *why = "the host's processor has no BMI2";
    if (!host_suffices())
        return MOBO_ENOTSUP;
    *why = "no memory";
    cpu->rw = map_zero(sizeof *cpu->rw);
    if (!cpu->rw)
        return MOBO_ENOMEM;
    if (make(cpu, why))
        return 0;
    rw_free(cpu);
    return MOBO_ENOTSUP;
}

static void leave_pages(struct vcpu *cpu)
{
    struct rw_pages *pages = cpu->rw->pages;
    for (unsigned i = 0; i < RW_PAGE_BUCKETS; i++)
        for (struct rw_page *p = pages->bucket[i]; p; p = p->next)
            if (p->entered) {
                p->entered = false;
                smc_leave(cpu, p->gpa, p->map);
            }
}

void rw_free(struct vcpu *cpu)
{
    struct rw *rw = cpu->rw;
    if (!rw)
        return;
    if (rw->pages)
        leave_pages(cpu);
    unmap(rw->rw_base, CODE_BYTES);
    unmap(rw->rx_base, CODE_BYTES);
    unmap(rw->hash, sizeof *rw->hash << RW_HASH_BITS);
    unmap(rw->by_code, BLOCKS_MAX * sizeof *rw->by_code);
    unmap(rw->chunk, RW_CHUNKS(CODE_BYTES) * sizeof *rw->chunk);
    unmap(rw->meta, META_BYTES);
    unmap(rw->pages, sizeof *rw->pages);
    unmap(rw->jcs, sizeof *rw->jcs);
    unmap(rw->tr, sizeof *rw->tr);
    unmap(rw->stack[0], GUARD + RW_PAIR_STACK + GUARD);
    unmap(rw->stack[1], GUARD + RW_PAIR_STACK + GUARD);
    unmap(rw, sizeof *rw);
    cpu->rw = NULL;
    cpu->rw_code_len = 0;
}

void rw_flush(struct vcpu *cpu)
{
    struct rw *rw = cpu->rw;
    vec_out(cpu);
    leave_pages(cpu);
    memset(rw->pages, 0, sizeof *rw->pages);
    memset(rw->hash, 0, sizeof *rw->hash << RW_HASH_BITS);
    rw_jcs_reset(rw);
    rw_pairs_reset(cpu, 3);
    rw->count = 0;
    rw->meta_used = 0;
    rw->used = rw->glue_end;
    rw->full = 0;
    rw->stats.flushes++;
}
