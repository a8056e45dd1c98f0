/*
 * lockstep_say.c: what lockstep has found, as text on the trace's file or standard error: the code
 * of the block with the offsets of its host code, the host code, and the state before, after the
 * interpreter, and after the rewriter.
 */
#include "lockstep_int.h"

#include "../x86/flags.h"
#include "../x86/mmu.h"
#include "../x86/vecstate.h"

typedef unsigned long long ull;

static FILE *out(const struct lockstep *ls)
{
    return ls->cpu->soft->trace_out ? ls->cpu->soft->trace_out : stderr;
}

static void say_code(FILE *f, const struct lockstep *ls)
{
    const struct rw *rw = ls->cpu->rw;
    struct x86_dec_mode mode = { .bits = 64 };
    uint64_t left;
    uint32_t flags;
    uint64_t at = ls->gpa & (PAGE_BYTES - 1), end = at + 256;
    const uint8_t *page = soft_ram(ls->cpu->soft, ls->gpa & PAGE_MASK, &left, &flags);
    if (!page || left < PAGE_BYTES)
        return;
    unsigned last = 0;
    for (unsigned i = 0; i <= ls->steps; i++)
        if (ls->step[i].rip - ls->rip < 256 && ls->step[i].rip - ls->rip > last)
            last = (unsigned)(ls->step[i].rip - ls->rip);
    for (unsigned n = 0; n < RW_INSNS && at < PAGE_BYTES && at < end; n++) {
        struct x86_insn in;
        char text[128];
        uint64_t off = at - (ls->gpa & (PAGE_BYTES - 1)), rip = ls->rip + off;
        if (x86_decode(page + at, (unsigned)(PAGE_BYTES - at), mode, &in) != DEC_OK)
            break;
        uint64_t host = ls->block ? rw_host_of(rw, ls->block, (unsigned)off) : 0;
        fprintf(f, "  %016llx  +%03x  ", (ull)rip,
                host ? (unsigned)(host - (uintptr_t)rw->rx_base) - ls->code : 0u);
        for (unsigned i = 0; i < 12; i++)
            if (i < in.len)
                fprintf(f, "%02x", page[at + i]);
            else
                fprintf(f, "  ");
        fprintf(f, "  %s\n", x86_format(&in, rip, text, sizeof text));
        at += in.len;
        if (ls->block ? off + in.len >= ls->block->len : off > last)
            break;
    }
}

static void say_host(FILE *f, const struct lockstep *ls)
{
    const uint8_t *p = ls->cpu->rw->rw_base + ls->code;
    fprintf(f, "host code at offset %x of the cache, executed at %llx:", (unsigned)ls->code,
            (ull)((uintptr_t)ls->cpu->rw->rx_base + ls->code));
    for (unsigned i = 0; i < ls->code_len && i < 4096; i++)
        fprintf(f, "%s%02x", i % 32 ? " " : "\n  ", p[i]);
    fprintf(f, "\n");
}

static void line(FILE *f, const char *name, uint64_t before, uint64_t a, uint64_t b)
{
    fprintf(f, "%c %-8s %016llx  %016llx  %016llx\n", a == b ? ' ' : '*', name, (ull)before,
            (ull)a, (ull)b);
}

static uint64_t rflags(const struct ls_state *st)
{
    struct vcpu tmp;
    tmp.cc_res = st->cc_res;
    tmp.cc_src = st->cc_src;
    return st->fl | flags_arith(&tmp);
}

static void say_state(FILE *f, const struct ls_state *before, const struct ls_state *a,
                      const struct ls_state *b)
{
    static const char *const name[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };
    static const char *const seg[SEG_COUNT] = { "es", "cs", "ss", "ds", "fs", "gs", "ldt", "tr" };
    fprintf(f, "           before            interpreter       rewriter\n");
    line(f, "rip", before->rip, a->rip, b->rip);
    for (unsigned i = 0; i < 16; i++)
        line(f, name[i], before->gpr[i], a->gpr[i], b->gpr[i]);
    line(f, "rflags", rflags(before), rflags(a), rflags(b));
    line(f, "cpl", before->cpl, a->cpl, b->cpl);
    line(f, "cr2", before->cr2, a->cr2, b->cr2);
    line(f, "activity", before->activity, a->activity, b->activity);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        if (memcmp(&a->seg[i], &b->seg[i], sizeof a->seg[i]) != 0) {
            fprintf(f, "* %s: sel %x base %llx limit %x attr %x, sel %x base %llx limit %x attr "
                       "%x\n",
                    seg[i], a->seg[i].sel, (ull)a->seg[i].base, (unsigned)a->seg[i].limit,
                    a->seg[i].attr, b->seg[i].sel, (ull)b->seg[i].base, (unsigned)b->seg[i].limit,
                    b->seg[i].attr);
        }
    if (a->cr0 != b->cr0 || a->cr4 != b->cr4 || a->cr3 != b->cr3 || a->efer != b->efer ||
        a->kernel_gs_base != b->kernel_gs_base) {
        line(f, "cr0", before->cr0, a->cr0, b->cr0);
        line(f, "cr3", before->cr3, a->cr3, b->cr3);
        line(f, "cr4", before->cr4, a->cr4, b->cr4);
        line(f, "efer", before->efer, a->efer, b->efer);
        line(f, "kgsbase", before->kernel_gs_base, a->kernel_gs_base, b->kernel_gs_base);
    }
    line(f, "mxcsr", before->mxcsr, a->mxcsr, b->mxcsr);
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < 4; k++) {
            uint64_t v[3];
            char text[16];
            memcpy(&v[0], before->ymm[i] + 8 * k, 8);
            memcpy(&v[1], a->ymm[i] + 8 * k, 8);
            memcpy(&v[2], b->ymm[i] + 8 * k, 8);
            (void)snprintf(text, sizeof text, "y%u.%u", i, k);
            if (v[1] != v[2])
                line(f, text, v[0], v[1], v[2]);
        }
    if (memcmp(a->x87, b->x87, sizeof a->x87) != 0)
        for (unsigned k = 0; k < sizeof a->x87; k += 8) {
            uint64_t v[3];
            char text[16];
            memcpy(&v[0], before->x87 + k, 8);
            memcpy(&v[1], a->x87 + k, 8);
            memcpy(&v[2], b->x87 + k, 8);
            (void)snprintf(text, sizeof text, "fx+%u", k);
            if (v[1] != v[2])
                line(f, text, v[0], v[1], v[2]);
        }
    const struct ls_state *both[2] = { a, b };
    for (unsigned i = 0; i < 2; i++)
        if (both[i]->exc_pending)
            fprintf(f, "  %s raised vector %u error %x address %llx\n",
                    i ? "the rewriter" : "the interpreter", both[i]->exc_vector,
                    (unsigned)both[i]->exc_error, (ull)both[i]->exc_payload);
        else if (both[i]->aborted)
            fprintf(f, "  %s stopped before an instruction that is executed once only\n",
                    i ? "the rewriter" : "the interpreter");
}

static void say_memory(FILE *f, const struct lockstep *ls)
{
    unsigned said = 0;
    for (unsigned i = 0; i < ls->pages; i++) {
        const struct ls_page *p = &ls->page[i];
        for (unsigned off = 0; off < PAGE_BYTES && said < 64; off++)
            if (p->after[off] != p->host[off]) {
                fprintf(f, "* memory %llx: before %02x interpreter %02x rewriter %02x\n",
                        (ull)(p->gpa + off), p->old[off], p->after[off], p->host[off]);
                said++;
            }
    }
}

void ls_report(struct lockstep *ls, unsigned diff, unsigned at)
{
    static const char *const kind[] = { "rip",    "registers", "flags",     "system state",
                                        "vectors", "x87",       "exception", "memory" };
    struct vcpu *cpu = ls->cpu;
    FILE *f = out(ls);
    vec_out(cpu);
    fprintf(f, "LOCKSTEP DIFFERENCE on CPU %u at %llx (gpa %llx), after %llu instructions:",
            (unsigned)cpu->index, (ull)ls->rip, (ull)ls->gpa,
            (ull)(ls->count.insns + ls->count.alone));
    for (unsigned i = 0; i < sizeof kind / sizeof *kind; i++)
        if (diff >> i & 1)
            fprintf(f, " %s", kind[i]);
    fprintf(f, "\nthe rewriter ended at %llx; compared with the interpreter after %u of %u steps\n",
            (ull)ls->rw.rip, at, ls->steps);
    say_code(f, ls);
    say_state(f, &ls->before, &ls->step[at], &ls->rw);
    say_memory(f, ls);
    say_host(f, ls);
    (void)fflush(f);
    mobo_log(cpu->soft->obj, MOBO_ERROR,
             "lockstep: the rewriter differs from the interpreter at %llx", (ull)ls->rip);
}

void ls_summary(const struct lockstep *ls)
{
    FILE *f = out(ls);
    fprintf(f,
            "lockstep cpu%u: %llu instructions compared in %llu units, %llu executed once only, "
            "%llu shortened, %llu refused, %llu repeated, %llu undefined flags, %llu bytes from "
            "elsewhere%s\n",
            (unsigned)ls->cpu->index, (ull)ls->count.insns, (ull)ls->count.units,
            (ull)ls->count.alone, (ull)ls->count.early, (ull)ls->count.refused,
            (ull)ls->count.retries, (ull)ls->count.tainted, (ull)ls->count.dma,
            ls->stopped ? "" : ", no difference");
    (void)fflush(f);
}
