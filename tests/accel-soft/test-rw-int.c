/*
 * test-rw-int.c: the rewriter's integer instructions against the host's own: a random instruction
 * runs as it is and as rw_emit_int translates it, with the same registers, flags and memory, and
 * both must end alike. Its line of the flags table is put to the test on the way. The emitters, the
 * memory look-up and the flags are the real ones; what trans.c does is stood in for here.
 *
 * Not here: blocks, misses, the slow way. native1 runs the rewriter as a whole.
 */
#undef _GNU_SOURCE /* its names for saved registers are the decoder's names for the guest's */
#define _DEFAULT_SOURCE

#include "../../plugins/accel-soft/rw/emit.h"
#include "test-rw-int.h"

#include <asm/prctl.h>
#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    CODE = 0x10000000, CODE_LEN = 0x4000,
    NATIVE = 0x100, REWRITTEN = 0x1000, /* offsets in the code area, which is the cache too */
    CASES = 150000,
};
enum { SAVED_RIP = 16 }; /* in gregs */
#define VIEW_BYTES (UINT64_C(1) << 40)

struct ctx ctx;
uint8_t *data;

struct run {
    uint64_t gpr[16], fl;
    bool fault;
    uint8_t mem[DATA];
};

static struct rw rw;
static struct rw_tr tr;
static uint8_t *code, *host_data;        /* host_data: where the rewriter finds `data` */
static uint64_t *view;
static uint64_t exit_at;                 /* where a fault goes on */
static volatile sig_atomic_t faulted;
static bool lacking;                     /* the model has no optional features */
static unsigned side_entries, done[OP_COUNT];
static uint64_t bytes_in, bytes_out;

static struct test_insn cur;

/* ---- what trans.c and cpuid.c have ----------------------------------------------------------- */

bool cpu_has(const struct vcpu *cpu, enum x86_feature f)
{
    unsigned a = 0, c1 = 0, b7 = 0, ce = 0, t = 0;
    (void)cpu;
    if (lacking)
        return false;
    (void)__get_cpuid(1, &a, &t, &c1, &t);
    (void)__get_cpuid_count(7, 0, &a, &b7, &t, &t);
    (void)__get_cpuid(0x80000001, &a, &t, &ce, &t);
    switch (f) {
    case FEAT_BMI1: return b7 & bit_BMI;
    case FEAT_BMI2: return b7 & bit_BMI2;
    case FEAT_ADX: return b7 & bit_ADX;
    case FEAT_MOVBE: return c1 & bit_MOVBE;
    case FEAT_POPCNT: return c1 & bit_POPCNT;
    case FEAT_SSE42: return c1 & bit_SSE4_2;
    case FEAT_LZCNT: return ce & bit_LZCNT;
    default: return true;
    }
}

void rw_side_add(struct rw_tr *t, bool start)
{
    (void)t;
    (void)start;
    side_entries++;
}

struct rw_cold *rw_cold_new(struct rw_tr *t, enum rw_cold_kind kind)
{
    struct rw_cold *c = &t->cold[t->colds++];
    *c = (struct rw_cold){ .kind = (uint8_t)kind };
    return c;
}

void rw_cold_site(struct rw_tr *t, struct rw_cold *cold)
{
    cold->site[cold->sites++] = e_here(t);
    e4(t, 0);
}

/* All pages are in the view with the same entry: the cold part gives it to whoever asks. */
static void cold_parts(struct rw_tr *t)
{
    for (unsigned i = 0; i < t->colds; i++) {
        struct rw_cold *c = &t->cold[i];
        for (unsigned k = 0; k < c->sites; k++)
            e_fix32(t->rw, c->site[k], e_here(t));
        e_mov_ri(t, H_T1, (uintptr_t)host_data - LIN);
        e_jmp(t, c->resume);
    }
}

/* ---- running --------------------------------------------------------------------------------- */

#define CTX(member) offsetof(struct ctx, member)

static void on_signal(int sig, siginfo_t *info, void *context)
{
    greg_t *reg = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)info;
    if (sig == SIGFPE && (uint64_t)reg[SAVED_RIP] - CODE < CODE_LEN) {
        faulted = 1;
        reg[SAVED_RIP] = (greg_t)exit_at;
        return;
    }
    char text[200], *p = text;
    p += sprintf(p, "signal %d at %llx:", sig, reg[SAVED_RIP]);
    for (unsigned i = 0; i < cur.len; i++)
        p += sprintf(p, " %02x", cur.b[i]);
    *p++ = '\n';
    (void)!write(2, text, (size_t)(p - text));
    _exit(1);
}

/* cmocka puts its own handlers there before each test. */
static void catch_signals(void)
{
    static const int signals[] = { SIGFPE, SIGSEGV, SIGILL, SIGBUS };
    struct sigaction act = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    for (unsigned k = 0; k < sizeof signals / sizeof *signals; k++)
        sigaction(signals[k], &act, NULL);
}

/* Save the callee's registers, load the guest's flags. */
static void enter_code(struct rw_tr *t)
{
    static const uint8_t push[] = { 0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57 };
    for (unsigned i = 0; i < sizeof push; i++)
        e1(t, push[i]);
    e_store(t, 4, CTX(rsp));
    e1(t, 0x65);
    e1(t, 0xff);
    e_modrm_abs(t, 6, CTX(in_fl));
    e1(t, 0x9d);
}

static void leave_code(struct rw_tr *t)
{
    static const uint8_t pop[] = { 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b,
                                   0xc3 };
    e_store(t, 4, CTX(rsp_after));
    e_load(t, 4, CTX(rsp));
    e1(t, 0x9c);
    e1(t, 0x65);
    e1(t, 0x8f);
    e_modrm_abs(t, 0, CTX(out_fl));
    for (unsigned i = 0; i < sizeof pop; i++)
        e1(t, pop[i]);
}

static void call(unsigned off, struct run *r)
{
    void (*fn)(void);
    uintptr_t at = (uintptr_t)code + off;
    __extension__ fn = (void (*)(void))at;
    faulted = 0;
    fn();
    memcpy(r->gpr, ctx.out, sizeof r->gpr);
    r->fl = ctx.out_fl & ARITH;
    r->fault = faulted;
    memcpy(r->mem, data, DATA);
}

/* The instruction as it is, at an address that native_rip() knows before. */
static uint64_t native_rip(void)
{
    struct rw_tr *t = &tr;
    t->p = code + NATIVE;
    enter_code(t);
    for (unsigned g = 0; g < 16; g++)
        e_load(t, g, CTX(in) + 8 * g);
    return (uintptr_t)t->p;
}

static void native_code(const struct test_insn *i)
{
    struct rw_tr *t = &tr;
    (void)native_rip();
    memcpy(t->p, i->b, i->len);
    if (lacking && (i->in.op == OP_TZCNT || i->in.op == OP_LZCNT)) /* BSF, BSR then */
        for (unsigned k = 0; k < i->in.opcode_off; k++)
            if (t->p[k] == 0xf3)
                t->p[k] = 0x3e;
    t->p += i->len;
    for (unsigned g = 0; g < 16; g++)
        e_store(t, g, CTX(out) + 8 * g);
    leave_code(t);
}

static uint64_t native_exit(const struct test_insn *i)
{
    return native_rip() + i->len;
}

/* Nothing but the prefix shows that it is atomic. */
static void check_lock(const uint8_t *body, unsigned op)
{
    struct x86_insn in;
    for (const uint8_t *p = body; p < tr.p; p += in.len) {
        enum x86_dec_result res = x86_decode(p, 15, (struct x86_dec_mode){ 64 }, &in);
        assert_int_equal(res, DEC_OK);
        if (in.op == op && (in.flags & INSN_LOCK) && (in.base == 14 || in.base == 15))
            return;
    }
    fail_msg("the lock is lost");
}

static bool rewritten_code(const struct test_insn *i, const struct rw_fl *fl, uint64_t rip)
{
    struct rw_tr *t = &tr;
    t->p = t->start = code + REWRITTEN;
    t->n = 1;
    t->rip = rip;
    t->off[1] = (uint16_t)i->len;
    t->in[0] = i->in;
    t->fl[0] = *fl;
    t->colds = 0;
    t->flags = FLAGS_HOST;
    enter_code(t);
    for (unsigned g = 0; g < 12; g++)
        e_load(t, rw_host_reg(g), CTX(in) + 8 * g);
    e_mov_ri(t, H_VIEW, (uintptr_t)view);
    e_mov_ri(t, H_T0, 0x5a5a5a5a5a5a5a5a);
    e_mov_ri(t, H_T1, 0xa5a5a5a5a5a5a5a5);
    uint8_t *body = t->p;
    side_entries = 0;
    if (!rw_emit_int(t, &t->in[0])) {
        assert_ptr_equal(t->p, body);
        return false;
    }
    rw_flags_after_op(t);
    bytes_in += i->len;
    bytes_out += (uint64_t)(t->p - body);
    if (i->in.flags & INSN_LOCK)
        check_lock(body, i->in.op);
    exit_at = (uintptr_t)t->p;
    for (unsigned g = 0; g < 12; g++)
        e_store(t, rw_host_reg(g), CTX(out) + 8 * g);
    e_store(t, H_VIEW, CTX(view));
    leave_code(t);
    cold_parts(t);
    return true;
}

/* ---- flags ----------------------------------------------------------------------------------- */

static uint64_t to_eflags(unsigned bits)
{
    static const uint16_t place[6] = { CF, PF, AF, ZF, SF, OF };
    uint64_t fl = 0;
    for (unsigned n = 0; n < 6; n++)
        fl |= bits >> n & 1 ? place[n] : 0;
    return fl;
}

/* Flags that the processor's manual calls undefined here. SDM volume 1, appendix A */
static uint64_t undefined(const struct x86_insn *in)
{
    const struct x86_operand *last = &in->opnd[in->operands ? in->operands - 1 : 0];
    uint64_t count = last->kind == OPND_IMM ? in->imm : ctx.in[REG_RCX];
    count &= in->opsize == 8 ? 63 : 31;
    switch (in->op) {
    case OP_AND: case OP_OR: case OP_XOR: case OP_TEST: return AF;
    case OP_MUL: case OP_IMUL1: case OP_IMUL2: return SF | ZF | AF | PF;
    case OP_DIV: case OP_IDIV: return ARITH;
    case OP_BSF: case OP_BSR: return ARITH & ~ZF;
    case OP_TZCNT: case OP_LZCNT: return ARITH & ~(lacking ? ZF : ZF | CF);
    case OP_ANDN: case OP_BLSI: case OP_BLSR: case OP_BLSMSK: case OP_BZHI: return AF | PF;
    case OP_BEXTR: return AF | SF | PF;
    case OP_ROL: case OP_ROR: case OP_RCL: case OP_RCR: return count > 1 ? OF : 0;
    case OP_SHL: case OP_SHR: case OP_SAR: /* CF too where nothing of the operand is left */
        return !count ? 0 : count == 1 ? AF : AF | OF | (count >= in->opnd[0].size * 8u ? CF : 0);
    case OP_SHLD: case OP_SHRD:
        return !count ? 0 : count == 1 ? AF : in->opsize == 2 && count > 16 ? ARITH : AF | OF;
    default: return 0;
    }
}

static _Noreturn void differ(const char *what, uint64_t native, uint64_t rewritten)
{
    char text[128];
    fprintf(stderr, "%s: %s\n  native %016llx rewritten %016llx\n  guest:", what,
            x86_format(&cur.in, tr.rip, text, sizeof text), (unsigned long long)native,
            (unsigned long long)rewritten);
    for (unsigned k = 0; k < cur.len; k++)
        fprintf(stderr, " %02x", cur.b[k]);
    fprintf(stderr, "\n  host:");
    for (const uint8_t *p = tr.start; p < tr.p; p++)
        fprintf(stderr, " %02x", *p);
    fprintf(stderr, "\n");
    fail();
    abort();
}

static void check_equal(const char *what, uint64_t a, uint64_t b)
{
    if (a != b)
        differ(what, a, b);
}

/* Does the instruction, executed twice, keep what its line of the table says? */
static void check_table(const struct rw_fl *fl, const struct run *first, uint64_t was)
{
    static struct run second;
    uint64_t reads = to_eflags(fl->reads), kills = to_eflags(fl->kills), may = to_eflags(fl->may);
    uint64_t undef = undefined(&cur.in);
    check_equal("flags beyond those it may write", (was ^ first->fl) & ARITH & ~may, 0);
    ctx.in_fl ^= rnd() & ARITH & ~reads;
    exit_at = native_exit(&cur);
    native_code(&cur);
    call(NATIVE, &second);
    for (unsigned g = 0; g < 16; g++)
        check_equal("reads more flags", first->gpr[g], second.gpr[g]);
    check_equal("flags depend on others", (first->fl ^ second.fl) & kills & ~undef, 0);
    ctx.in_fl = was;
}

static void compare(const struct run *n, const struct run *r, unsigned live)
{
    uint64_t fl = r->fl, image = ctx.cpu.fl_image;
    for (unsigned g = 0; g < 16; g++)
        check_equal(n->fault ? "register after fault" : "register", n->gpr[g],
                    rw_host_reg(g) == H_SPILLED ? ctx.cpu.gpr[g] : r->gpr[g]);
    check_equal("fault", n->fault, r->fault);
    if (memcmp(n->mem, r->mem, DATA) != 0)
        differ("memory", 0, 0);
    check_equal("view", (uintptr_t)view, ctx.view);
    check_equal("host stack", ctx.rsp, ctx.rsp_after);
    if (n->fault)
        return;
    if (tr.flags == FLAGS_DEAD)
        check_equal("flags are lost", to_eflags(live), 0);
    if (!(tr.flags & FLAGS_HOST))
        fl = (image >> 8 & 0xd5) | (image & 1) << 11;
    uint64_t mask = to_eflags(live) & ~undefined(&cur.in);
    check_equal("flags", n->fl & mask, fl & mask);
}

/* ---- the tests ------------------------------------------------------------------------------- */

static void one_case(void)
{
    static struct run native, rewritten;
    static uint8_t before[DATA];
    uint64_t rip = native_rip();
    struct rw_fl fl;

    random_case(&cur, rip);
    rw_flags_of(&cur.in, &fl);
    fl.live = one_in(2) ? FL_BIT_ALL : (uint8_t)(rnd() & FL_BIT_ALL);
    tr.cpl = one_in(2) ? 3 : 0;
    if (!rewritten_code(&cur, &fl, rip)) {
        bool native_only = lacking && cur.in.feature != FEAT_BASE;
        if (!native_only && done[cur.in.op] && cur.in.op != OP_BSWAP)
            differ("not translated", 0, 0);
        return;
    }
    done[cur.in.op]++;
    if (cur.in.op == OP_DIV || cur.in.op == OP_IDIV || memory_operand(&cur.in))
        assert_int_not_equal(side_entries, 0);
    uint64_t fault_exit = exit_at;
    memcpy(before, data, DATA);
    exit_at = native_exit(&cur);
    native_code(&cur);
    call(NATIVE, &native);
    memcpy(data, before, DATA);
    check_table(&fl, &native, ctx.in_fl);

    memcpy(data, before, DATA);
    memcpy(ctx.cpu.gpr, ctx.in, sizeof ctx.cpu.gpr);
    ctx.cpu.fl_image = (uint16_t)rnd();
    tr.p = tr.start;
    (void)rewritten_code(&cur, &fl, rip);
    exit_at = fault_exit;
    call(REWRITTEN, &rewritten);
    compare(&native, &rewritten, fl.live);
}

static const uint16_t expected[] = {
    OP_MOV, OP_MOVZX, OP_MOVSX, OP_LEA, OP_XCHG, OP_LAHF, OP_SAHF, OP_BSWAP, OP_CMOV, OP_SETCC,
    OP_CBW, OP_CWD, OP_MOVBE, OP_MOVNTI, OP_ADD, OP_OR, OP_ADC, OP_SBB, OP_AND, OP_SUB, OP_XOR,
    OP_CMP, OP_TEST, OP_INC, OP_DEC, OP_NEG, OP_NOT, OP_MUL, OP_IMUL1, OP_IMUL2, OP_DIV, OP_IDIV,
    OP_ROL, OP_ROR, OP_RCL, OP_RCR, OP_SHL, OP_SHR, OP_SAR, OP_SHLD, OP_SHRD, OP_BT, OP_BTS,
    OP_BTR, OP_BTC, OP_BSF, OP_BSR, OP_TZCNT, OP_LZCNT, OP_POPCNT, OP_CRC32, OP_CMPXCHG,
    OP_CMPXCHG8B, OP_CMPXCHG16B, OP_XADD, OP_ANDN, OP_BEXTR, OP_BLSI, OP_BLSMSK, OP_BLSR, OP_BZHI,
    OP_MULX, OP_PDEP, OP_PEXT, OP_RORX, OP_SARX, OP_SHLX, OP_SHRX, OP_ADCX, OP_ADOX, OP_CLC,
    OP_STC, OP_CMC, OP_NOP, OP_PREFETCH, OP_LFENCE, OP_MFENCE, OP_SFENCE,
};

static void test_random(void **state)
{
    (void)state;
    unsigned missing = 0;
    catch_signals();
    for (unsigned n = 0; n < CASES; n++)
        one_case();
    for (unsigned k = 0; k < sizeof expected / sizeof *expected; k++) {
        if (done[expected[k]] >= 10)
            continue;
        print_error("%s: %u cases\n", x86_op_name(expected[k]), done[expected[k]]);
        missing++;
    }
    assert_int_equal(missing, 0);
    print_message("%.1f host bytes per guest byte\n", (double)bytes_out / (double)bytes_in);
}

static void test_features_missing(void **state)
{
    (void)state;
    memset(done, 0, sizeof done);
    catch_signals();
    lacking = true;
    for (unsigned n = 0; n < CASES / 2; n++)
        one_case();
    lacking = false;
    assert_true(done[OP_TZCNT] > 10 && done[OP_LZCNT] > 10);
    assert_int_equal(done[OP_POPCNT] + done[OP_MULX] + done[OP_CRC32] + done[OP_MOVBE], 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_features_missing),
    };
    static uint8_t stack[65536];
    stack_t st = { .ss_sp = stack, .ss_size = sizeof stack };
    int fd = (int)syscall(SYS_memfd_create, "test-rw-int", 0);
    int rwx = PROT_READ | PROT_WRITE | PROT_EXEC;

    if (argc > 1)
        seed = strtoull(argv[1], NULL, 0);
    if (!cpu_has(NULL, FEAT_BMI2) || !cpu_has(NULL, FEAT_BMI1)) {
        print_message("the rewriter needs BMI2: nothing to test on this host\n");
        return 0;
    }
    if (fd < 0 || ftruncate(fd, DATA) != 0)
        return 1;
    code = mmap((void *)(uintptr_t)CODE, CODE_LEN, rwx, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    data = mmap((void *)(uintptr_t)LIN, DATA, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    host_data = mmap(NULL, DATA, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    view = mmap(NULL, VIEW_BYTES, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if ((uintptr_t)code != CODE || (uintptr_t)data != LIN || host_data == MAP_FAILED ||
        view == MAP_FAILED) {
        perror("test-rw-int: mmap");
        return 1;
    }
    for (uint64_t page = LIN >> 12; page < (LIN + DATA) >> 12; page++)
        view[page] = view[page | UINT64_C(1) << 36] = (uintptr_t)host_data - LIN;
    rw.rw_base = rw.rx_base = code;
    rw.glue.mask_user = 0;
    rw.glue.mask_kernel = 8;
    memcpy(code, &(uint64_t){ 0x00007ffffffff000 }, 8);
    memcpy(code + 8, &(uint64_t){ 0x0000fffffffff000 }, 8);
    tr.rw = &rw;
    tr.cpu = &ctx.cpu;
    sigaltstack(&st, NULL);
    if (syscall(SYS_arch_prctl, ARCH_SET_GS, &ctx) != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
