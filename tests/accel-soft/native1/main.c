/*
 * main.c: the loop of the oracle, the comparison, the reports. A child process does the work, so
 * that an instruction that goes astray ends the child and is reported with what it was.
 *
 * native1 [--count N] [--seed N] [--class NAME] [--batch N] [--keep-going] [--host-only] [--rw]
 * A mismatch prints both states and the command that repeats its batch alone.
 */
#include "enc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STATES = 4, MISMATCHES_MAX = 5 };

struct options {
    uint64_t count, seed, batch;
    const char *cls;
    bool one_batch, keep_going, host_only, rewrite;
};

struct tally { uint64_t cases, vec[32], bad; };

/* Shared with the parent, which reports it if the child dies. */
struct progress {
    struct tally cls[CLS_COUNT];
    uint64_t batch, cases, mismatches;
    struct test_case now;
    int phase; /* 1 host, 2 software */
};

static struct progress *prog;

/* ---- comparison ------------------------------------------------------------------------------ */

static const char *const reg_names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                           "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };

struct area_part { const char *name; unsigned off, len, step, count; };
static const struct area_part parts[] = {
    { "fcw", 0, 2, 0, 1 },     { "fsw", 2, 2, 0, 1 },       { "ftw", 4, 1, 0, 1 },
    { "fop", 6, 2, 0, 1 },     { "fip", 8, 8, 0, 1 },       { "fdp", 16, 8, 0, 1 },
    { "mxcsr", 24, 4, 0, 1 },  { "st", 32, 10, 16, 8 },     { "xmm", 160, 16, 16, 16 },
    { "ymmh", 576, 16, 16, 16 },
};

struct report {
    char text[4096];
    unsigned len;
};

__attribute__((format(printf, 2, 3))) static void say(struct report *r, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(r->text + r->len, sizeof r->text - r->len, format, ap);
    va_end(ap);
    if (n > 0)
        r->len = r->len + (unsigned)n < sizeof r->text ? r->len + (unsigned)n : sizeof r->text - 1;
}

static void say_bytes(struct report *r, const char *what, unsigned index, const uint8_t *in,
                      const uint8_t *host, const uint8_t *soft, unsigned len)
{
    const uint8_t *col[3] = { in, host, soft };
    say(r, "  %s%u", what, index);
    for (unsigned k = 0; k < 3; k++) {
        say(r, "%s", k == 0 ? " in " : k == 1 ? " host " : " soft ");
        for (unsigned i = len; i-- > 0;)
            say(r, "%02x", col[k][i]);
    }
    say(r, "\n");
}

static void compare_area(struct report *r, const struct test_case *c, const uint8_t *host,
                         const uint8_t *soft)
{
    for (unsigned p = 0; p < sizeof parts / sizeof parts[0]; p++)
        for (unsigned i = 0; i < parts[p].count; i++) {
            unsigned off = parts[p].off + i * parts[p].step;
            if (memcmp(host + off, soft + off, parts[p].len))
                say_bytes(r, parts[p].name, i, c->in.xsave + off, host + off, soft + off,
                          parts[p].len);
        }
}

/* Of the (at most two) pages of the memory operand, how many are not writable. */
static unsigned pages_bad(const struct test_case *c)
{
    uint64_t first = (c->target - DATA) >> 12, last = (c->target + c->mem_bytes - 1 - DATA) >> 12;
    if (last >= DATA_PAGES || first == last)
        return 0;
    return (DATA_RIGHTS[first] != 'W') + (DATA_RIGHTS[last] != 'W');
}

/* Whether [at, at + len) cannot be read, or written. */
static bool faults(uint64_t at, unsigned len, bool write)
{
    for (unsigned i = 0; i < 2; i++, at += len - 1) {
        if (at - DATA >= DATA_LEN)
            return true;
        char rights = DATA_RIGHTS[(at - DATA) >> 12];
        if (rights == 'N' || (write && rights == 'R'))
            return true;
        if (i)
            break;
    }
    return false;
}

/*
 * MOVS and CMPS access two operands in an order that no manual gives: where both fault, which one
 * is reported is the processor's choice.
 */
static bool either_may_fault(const struct test_case *c, const struct outcome *o)
{
    uint8_t op = c->enc->op;
    uint64_t si = o->regs.gpr[6], di = o->regs.gpr[7];
    if (c->enc->row->fix != FIX_STRING || op < 0xa4 || op > 0xa7)
        return false;
    if (c->mem.a32) {
        si = (uint32_t)si;
        di = (uint32_t)di;
    }
    return faults(si, c->opsize, false) && faults(di, c->opsize, op <= 0xa5);
}

static void compare(struct report *r, const struct test_case *c, const struct outcome *host,
                    const struct outcome *soft)
{
    uint64_t cr2_mask = ~0ull;
    uint32_t error_mask = ~0u;
    /* Long operands are accessed in pieces, in an order of the processor's own: if several pages
       fault, any may be the first; else only the page counts. */
    if (c->mem_bytes > 32 || c->enc->row->fix == FIX_X87ENV) {
        cr2_mask = ~0xfffull;
        if (pages_bad(c) > 1)
            cr2_mask = error_mask = 0;
    }
    /* Linux reports pages of the kernel's half as present, whatever they are. */
    if (host->vector == 14 && host->cr2 >> 63)
        error_mask &= ~1u;
    bool either = host->vector >= 12 && soft->vector >= 12 && soft->vector <= 14 &&
                  either_may_fault(c, host);
    if (either) {
        /* the registers still have to agree: both are at the same element */
    } else if (host->vector != soft->vector || ((host->error ^ soft->error) & error_mask) ||
               ((host->cr2 ^ soft->cr2) & cr2_mask)) {
        say(r, "  fault: host vector %d error %x cr2 %llx, soft vector %d error %x cr2 %llx\n",
            host->vector, host->error, (unsigned long long)host->cr2, soft->vector, soft->error,
            (unsigned long long)soft->cr2);
    }
    if (host->regs.rip != soft->regs.rip)
        say(r, "  rip: host %llx soft %llx\n", (unsigned long long)host->regs.rip,
            (unsigned long long)soft->regs.rip);
    for (unsigned i = 0; i < 16; i++)
        if (host->regs.gpr[i] != soft->regs.gpr[i])
            say(r, "  %s: in %016llx host %016llx soft %016llx\n", reg_names[i],
                (unsigned long long)c->in.gpr[i], (unsigned long long)host->regs.gpr[i],
                (unsigned long long)soft->regs.gpr[i]);
    uint64_t undef = host->vector < 0 ? c->undef : c->enc->row->fix == FIX_DIV ? ARITH : 0;
    uint64_t mask = (ARITH | DF) & ~undef;
    if ((host->regs.rflags ^ soft->regs.rflags) & mask)
        say(r, "  flags: in %03llx host %03llx soft %03llx (compared %03llx)\n",
            (unsigned long long)c->in.rflags & 0xfff, (unsigned long long)host->regs.rflags & 0xfff,
            (unsigned long long)soft->regs.rflags & 0xfff, (unsigned long long)mask);
    if (memcmp(host->regs.xsave, soft->regs.xsave, XSAVE_BYTES))
        compare_area(r, c, host->regs.xsave, soft->regs.xsave);
}

/*
 * Some processors save the x87 pointers only while an unmasked exception is pending (AMD APM volume
 * 2, 11.4.4), so they are compared only then.
 */
static void forget_pointers(const struct test_case *c, const uint8_t *host, uint8_t *soft)
{
    bool pending = host[2] & 0x80;
    if (!pending) {
        memcpy(soft + 6, host + 6, 2);
        memcpy(soft + 8, host + 8, 8);
    }
    if (!pending || !c->mem.used) /* a task switch may have lost the former one */
        memcpy(soft + 16, host + 16, 8);
}

static void compare_memory(struct report *r, const struct test_case *c, const uint8_t *before,
                           const uint8_t *host, const uint8_t *soft)
{
    unsigned said = 0;
    for (unsigned i = 0; i < c->windows; before += c->win[i].len, host += c->win[i].len, i++)
        for (unsigned k = 0; k < c->win[i].len && said < 64; k++)
            if (host[k] != soft[c->win[i].off + k]) {
                say(r, "  mem %llx: in %02x host %02x soft %02x\n",
                    (unsigned long long)DATA + c->win[i].off + k, before[k], host[k],
                    soft[c->win[i].off + k]);
                said++;
            }
}

/* Take bytes of the memory operand out of the comparison. */
static void forget(const struct test_case *c, uint8_t *host, uint8_t *soft, unsigned off,
                   unsigned len)
{
    uint64_t at = c->target - DATA + off;
    for (unsigned i = 0; i < len && c->windows; i++, at++)
        if (at - c->win[0].off < c->win[0].len)
            host[at - c->win[0].off] = soft[at] = 0;
}

/*
 * What specifications leave to the processor in images of the state: x87 segment selectors, x87
 * pointers without a pending exception, MXCSR_MASK, and which components count as in use.
 */
static void forget_image(const struct test_case *c, const struct outcome *o, uint8_t *host,
                         uint8_t *soft)
{
    bool pending = o->regs.xsave[2] & 0x80;
    switch (c->enc->row->fix) {
    case FIX_X87ENV:
        forget(c, host, soft, 16, 2);
        forget(c, host, soft, 24, 2);
        break;
    case FIX_XSAVE:
        forget(c, host, soft, 512, 1);
        /* fall through */
    case FIX_FXSAVE:
        forget(c, host, soft, pending ? 12 : 6, pending ? 4 : 18);
        forget(c, host, soft, 20, pending ? 4 : 0);
        forget(c, host, soft, 28, 4);
        break;
    default:
        break;
    }
}

/* ---- running --------------------------------------------------------------------------------- */

static unsigned save_windows(const struct test_case *c, const uint8_t *data, uint8_t *to)
{
    unsigned n = 0;
    for (unsigned i = 0; i < c->windows; n += c->win[i].len, i++)
        memcpy(to + n, data + c->win[i].off, c->win[i].len);
    return n;
}

static void load_windows(const struct test_case *c, uint8_t *data, const uint8_t *from)
{
    for (unsigned i = 0; i < c->windows; from += c->win[i].len, i++)
        memcpy(data + c->win[i].off, from, c->win[i].len);
}

static void print_mismatch(const struct options *o, const struct test_case *c,
                           const struct outcome *host, const struct report *r)
{
    char text[128];
    printf("MISMATCH class %s, batch %llu: ", cls_name(enc_cls(c->enc)),
           (unsigned long long)prog->batch);
    for (unsigned i = 0; i < c->len; i++)
        printf("%02x ", c->code[i]);
    printf(" %s\n", native1_soft_format(c, text, sizeof text));
    printf("  at %llx, operand at %llx, host vector %d, flags in %03llx\n%s",
           (unsigned long long)c->slot, (unsigned long long)c->target, host->vector,
           (unsigned long long)c->in.rflags & 0xfff, r->text);
    for (unsigned i = 0; i < 16; i++)
        printf("  %s=%016llx%s", reg_names[i], (unsigned long long)c->in.gpr[i],
               i % 4 == 3 ? "\n" : "");
    printf("  again: native1 --seed %llu --batch %llu%s%s\n", (unsigned long long)o->seed,
           (unsigned long long)prog->batch, o->cls ? " --class " : "", o->cls ? o->cls : "");
}

static void run_case(const struct options *o, struct memory *m, struct test_case *c)
{
    static uint8_t before[DATA_LEN], after[DATA_LEN];
    static struct outcome host, soft;
    struct report r = { .len = 0 };
    (void)save_windows(c, m->data, before);
    c->undef = undefined_flags(c);
    prog->now = *c;
    prog->phase = 1;
    native1_host_run(c, &host);
    struct tally *t = &prog->cls[enc_cls(c->enc)];
    t->cases++;
    prog->cases++;
    if (host.vector >= 0)
        t->vec[host.vector & 31]++;
    if (o->host_only)
        return;
    (void)save_windows(c, m->data, after);
    load_windows(c, m->data, before);
    prog->phase = 2;
    native1_soft_run(c, &soft);
    forget_image(c, &host, after, m->data);
    forget_pointers(c, host.regs.xsave, soft.regs.xsave);
    compare(&r, c, &host, &soft);
    compare_memory(&r, c, before, after, m->data);
    if (!r.len)
        return;
    t->bad++;
    if (prog->mismatches++ < MISMATCHES_MAX || o->keep_going)
        print_mismatch(o, c, &host, &r);
}

/* An instruction at the end of a page now and then, so that it lies in two. */
static uint64_t place(struct rng *r, unsigned slot)
{
    uint64_t at = CODE + (uint64_t)slot * SLOT;
    bool last = slot % (4096 / SLOT) == 4096 / SLOT - 1;
    return last && slot != SLOTS - 1 ? at + SLOT - 1 - rnd_below(r, 12) : at;
}

static void put_jump(uint8_t *code, uint64_t at, uint64_t to)
{
    uint32_t rel = (uint32_t)(to - at - 5);
    code[at - CODE] = 0xe9;
    memcpy(code + (at - CODE) + 1, &rel, 4);
}

static void run_batch(const struct options *o, struct memory *m, uint64_t batch)
{
    static struct test_case cases[SLOTS];
    struct rng mix = { batch }, r = { o->seed ^ rnd(&mix) };
    unsigned n = 0;
    prog->batch = batch;
    memset(m->code, 0xcc, CODE_LEN);
    for (unsigned i = 0; i < 4096 * 6; i++) {
        uint64_t v = rnd(&r);
        memcpy(m->data + (i * 8) % DATA_LEN, &v, 8);
        if (i * 8 >= DATA_LEN)
            break;
    }
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        struct test_case *c = &cases[n++];
        uint64_t at = place(&r, slot);
        gen_insn(&r, c, at);
        memcpy(m->code + (at - CODE), c->code, c->len);
        put_jump(m->code, at + c->len, EXIT_A);
        put_jump(m->code, at + SLOT_TAKEN, EXIT_B);
        if (at % SLOT)
            slot++; /* it uses the next one too */
    }
    native1_soft_code_changed();
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < STATES; k++) {
            gen_state(&r, &cases[i], m->data);
            run_case(o, m, &cases[i]);
            if (prog->mismatches >= MISMATCHES_MAX && !o->keep_going)
                return;
        }
}

static int work(const struct options *o)
{
    struct memory m;
    if (memory_init(&m) || native1_host_init() ||
        (!o->host_only && native1_soft_init(&m, o->rewrite))) {
        printf("native1: the fixed addresses of the test are not free in this process\n");
        return 1;
    }
    if (!gen_init(o->cls)) {
        printf("native1: no class is named %s\n", o->cls);
        return 2;
    }
    if (o->one_batch)
        run_batch(o, &m, o->batch);
    for (uint64_t b = 0; !o->one_batch && prog->cases < o->count; b++) {
        run_batch(o, &m, b);
        if (prog->mismatches >= MISMATCHES_MAX && !o->keep_going)
            break;
    }
    return prog->mismatches ? 1 : 0;
}

static void print_table(double seconds)
{
    static const struct { int v; const char *name; } cols[] = {
        { 0, "#DE" }, { 6, "#UD" }, { 12, "#SS" }, { 13, "#GP" }, { 14, "#PF" }, { 16, "#MF" },
        { 19, "#XM" },
    };
    printf("%-8s %10s %9s", "class", "encodings", "cases");
    for (unsigned i = 0; i < sizeof cols / sizeof cols[0]; i++)
        printf(" %8s", cols[i].name);
    printf(" %8s\n", "differ");
    for (unsigned k = 0; k < CLS_COUNT; k++) {
        const struct tally *t = &prog->cls[k];
        if (!t->cases)
            continue;
        printf("%-8s %10u %9llu", cls_name((enum cls)k), gen_count((enum cls)k),
               (unsigned long long)t->cases);
        for (unsigned i = 0; i < sizeof cols / sizeof cols[0]; i++)
            printf(" %8llu", (unsigned long long)t->vec[cols[i].v]);
        printf(" %8llu\n", (unsigned long long)t->bad);
    }
    printf("%llu cases in %.1f s, %llu differ\n", (unsigned long long)prog->cases, seconds,
           (unsigned long long)prog->mismatches);
}

static bool parse(struct options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *val = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--keep-going"))
            o->keep_going = true;
        else if (!strcmp(argv[i], "--rw"))
            o->rewrite = true;
        else if (!strcmp(argv[i], "--host-only"))
            o->host_only = true;
        else if (!val)
            return false;
        else if (!strcmp(argv[i], "--count"))
            o->count = strtoull(argv[++i], NULL, 0);
        else if (!strcmp(argv[i], "--seed"))
            o->seed = strtoull(argv[++i], NULL, 0);
        else if (!strcmp(argv[i], "--class"))
            o->cls = argv[++i];
        else if (!strcmp(argv[i], "--batch"))
            o->one_batch = true, o->batch = strtoull(argv[++i], NULL, 0);
        else
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options o = { .count = 2000000, .seed = (uint64_t)time(NULL) };
    if (!parse(&o, argc, argv)) {
        printf("usage: native1 [--count N] [--seed N] [--class NAME] [--batch N] [--keep-going] "
               "[--host-only] [--rw]\n");
        return 2;
    }
    prog = mmap(NULL, sizeof *prog, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (prog == MAP_FAILED)
        return 1;
    printf("native1: seed %llu\n", (unsigned long long)o.seed);
    (void)fflush(stdout);
    struct timespec t0, t1;
    (void)clock_gettime(CLOCK_MONOTONIC, &t0);
    pid_t pid = fork();
    if (pid == 0) {
        int rc = work(&o);
        (void)fflush(stdout);
        _exit(rc);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return 1;
    (void)clock_gettime(CLOCK_MONOTONIC, &t1);
    (void)gen_init(NULL); /* for the number of encodings */
    print_table((double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9);
    if (WIFSIGNALED(status)) {
        printf("died of signal %d in %s:", WTERMSIG(status),
               prog->phase == 1 ? "the host's instruction" : "the software CPU");
        for (unsigned i = 0; i < prog->now.len; i++)
            printf(" %02x", prog->now.code[i]);
        printf(" at %llx\n  again: native1 --seed %llu --batch %llu%s%s\n",
               (unsigned long long)prog->now.slot, (unsigned long long)o.seed,
               (unsigned long long)prog->batch, o.cls ? " --class " : "", o.cls ? o.cls : "");
        return 1;
    }
    return WEXITSTATUS(status);
}
