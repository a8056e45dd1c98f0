/*
 * stats.c: figures about the rewriter for --stats, and names of its code for perf. It counts
 * nothing but slow instructions by operation, and those by sampling: to decode each again would
 * cost as much as executing it.
 */
#include "stats.h"
#include "mirror.h"

#include "../x86/ftab.h"
#include "../x86/sys.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

enum { TOP_OPS = 12 };

/* ---- text ---- */

struct text {
    char *buf;
    uint32_t len, used;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *format, ...)
{
    va_list ap;
    if (t->used >= t->len)
        return;
    va_start(ap, format);
    int n = vsnprintf(t->buf + t->used, t->len - t->used, format, ap);
    va_end(ap);
    if (n > 0)
        t->used = (uint32_t)n < t->len - t->used ? t->used + (uint32_t)n : t->len - 1;
}

static unsigned long long ull(uint64_t v)
{
    return v;
}

/* TSC ticks to ns. */
static uint64_t to_ns(const struct vcpu *cpu, uint64_t ticks)
{
    uint64_t khz = cpu->soft->model.tsc_hz / 1000;
    return khz ? (uint64_t)((u128)ticks * 1000000u / khz) : 0;
}

static uint64_t permille(uint64_t part, uint64_t whole)
{
    return whole ? part * 1000 / whole : 0;
}

static void put_ops(struct text *t, const struct rw_stats *st)
{
    uint64_t below = ~(uint64_t)0, all = 0;
    for (unsigned op = 0; op < OP_COUNT; op++)
        all += st->slow_op[op];
    if (!all)
        return;
    put(t, "slow instructions:");
    unsigned last = 0;
    for (unsigned n = 0; n < TOP_OPS; n++) {
        unsigned best = OP_COUNT;
        for (unsigned op = 0; op < OP_COUNT; op++) {
            uint64_t v = st->slow_op[op];
            bool later = v < below || (v == below && op > last);
            if (v && later && (best == OP_COUNT || v > st->slow_op[best]))
                best = op;
        }
        if (best == OP_COUNT)
            break;
        below = st->slow_op[best];
        last = best;
        put(t, " %s %llu.%llu%%", x86_op_name((enum x86_op)best), ull(permille(below, all) / 10),
            ull(permille(below, all) % 10));
    }
    put(t, "\n");
}

static void put_tables(struct text *t, const struct vcpu *cpu)
{
    const struct ftab_stats *st = ftab_stats(cpu);
    put(t,
        "cpu%u: flat tables: %llu fills, %llu refused, %llu for neighbours, %llu walks, %llu moved, "
        "%llu dropped for code; flushes: %llu of all, %llu of contexts, %llu of pages; %llu switches "
        "of %u contexts, %llu kept, %llu recycled, %llu released\n",
        cpu->index, ull(st->fills), ull(st->refused), ull(st->around), ull(st->walks),
        ull(st->steals), ull(st->protects), ull(st->flush_all), ull(st->flush_context),
        ull(st->flush_page), ull(st->switches), ftab_contexts(cpu), ull(st->kept),
        ull(st->recycles), ull(st->releases));
}

static void put_mirrors(struct text *t, const struct vcpu *cpu)
{
    const struct mirror_stats *st = mirror_stats(cpu);
    if (!st)
        return;
    put(t,
        "cpu%u: mirrors: %llu promotions, %llu demotions, %llu evictions; %llu faults, %llu refused; "
        "%llu pages in %llu batches, %llu unmapped, %llu checks, %llu denied (%llx); %llu.%llu%% of the "
        "time\n",
        cpu->index, ull(st->promotions), ull(st->demotions), ull(st->evictions), ull(st->faults),
        ull(st->refused), ull(st->pages), ull(st->batches), ull(st->unmapped), ull(st->checks),
        ull(st->denied), ull(st->denied_at), ull(permille(to_ns(cpu, st->ticks), cpu->run_ns) / 10),
        ull(permille(to_ns(cpu, st->ticks), cpu->run_ns) % 10));
}

uint32_t rw_stats_text(const struct vcpu *cpu, char *buf, uint32_t len)
{
    const struct rw *rw = cpu->rw;
    const struct rw_stats *st = &rw->stats;
    struct text t = { buf, len, 0 };
    uint64_t ns = to_ns(cpu, st->translate_ticks);
    uint64_t run = to_ns(cpu, st->run_ticks), turn = to_ns(cpu, st->turn_ticks);
    uint64_t growth = st->guest_bytes ? st->host_bytes * 100 / st->guest_bytes : 0;

    put(&t,
        "cpu%u: rewriter: %llu blocks, %llu instructions, %llu bytes to %llu (%llu.%02llu), "
        "%llu ns per instruction, %llu flushes, %llu blocks dropped\n",
        cpu->index, ull(st->blocks), ull(st->insns), ull(st->guest_bytes), ull(st->host_bytes),
        ull(growth / 100), ull(growth % 100), ull(st->insns ? ns / st->insns : 0),
        ull(st->flushes), ull(st->invalidated));
    put(&t,
        "cpu%u: %llu memory misses, %llu filled, %llu slow accesses, %llu slow instructions, "
        "%llu host faults; %llu links, %llu cut, %llu look-ups\n",
        cpu->index, ull(st->misses), ull(st->fills), ull(st->slow_mem), ull(st->slow_insn),
        ull(st->host_faults), ull(st->links), ull(st->unlinks), ull(st->lookups));
    put(&t,
        "cpu%u: %llu entries, left for requests %llu, otherwise %llu; interpreter's turns %llu; "
        "rewritten %llu.%llu%%, translating %llu.%llu%%, interpreter's turns %llu.%llu%% of the "
        "time\n",
        cpu->index, ull(st->enters), ull(st->left_request), ull(st->left_other), ull(st->turns),
        ull(permille(run, cpu->run_ns) / 10), ull(permille(run, cpu->run_ns) % 10),
        ull(permille(ns, cpu->run_ns) / 10), ull(permille(ns, cpu->run_ns) % 10),
        ull(permille(turn, cpu->run_ns) / 10), ull(permille(turn, cpu->run_ns) % 10));
    if (cpu->ftab)
        put_tables(&t, cpu);
    put_mirrors(&t, cpu);
    put_ops(&t, st);
    return t.used;
}

/* ---- perf ---- */

/* All CPUs append to one file; the first begins it anew. */
int rw_perf_open(struct rw *rw, bool first)
{
    char name[64];
    (void)snprintf(name, sizeof name, "/tmp/perf-%ld.map", (long)getpid());
    if (first)
        (void)unlink(name);
    FILE *f = fopen(name, first ? "wxe" : "ae");
    if (!f)
        return errno;
    (void)setvbuf(f, NULL, _IOLBF, 0); /* lines of several CPUs do not mix */
    rw->perf_map = f;
    fprintf(f, "%llx %x guest-glue-%p\n", ull((uintptr_t)rw->rx_base), (unsigned)rw->glue_end,
            (void *)rw);
    return 0;
}

void rw_perf_close(struct rw *rw)
{
    if (rw->perf_map)
        (void)fclose(rw->perf_map);
    rw->perf_map = NULL;
}

void rw_perf_block(const struct rw *rw, const struct rw_block *b)
{
    fprintf(rw->perf_map, "%llx %x %s-%llx\n", ull((uintptr_t)rw->rx_base + b->code),
            (unsigned)b->size, b->cpl ? "user" : "kernel", ull(b->rip));
}

/* ---- slow instructions ---- */

void rw_stats_slow(struct vcpu *cpu, const struct rw_block *b, unsigned off)
{
    struct rw_stats *st = &cpu->rw->stats;
    struct x86_dec_mode mode = { .bits = 64 };
    struct x86_insn in;
    uint64_t left;
    uint32_t flags;
    if ((st->slow_insn + st->slow_mem) % RW_STATS_EVERY)
        return;
    const uint8_t *p = soft_ram(cpu->soft, b->gpa + off, &left, &flags);
    if (p && x86_decode(p, left < 15 ? (unsigned)left : 15, mode, &in) == DEC_OK)
        st->slow_op[in.op] += RW_STATS_EVERY;
}
