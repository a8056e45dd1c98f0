/*
 * test-rw-flow.c: jumps, calls, returns and the stack of the rewriter against the interpreter.
 * Random programs of functions that call each other run on both, from the same state, until they
 * fault; registers, flags, memory and the fault must be the same. Another thread keeps asking the
 * rewriter to leave.
 */
#include "rig-modes.h"
#include "test-rw-flow.h"

#include "../../plugins/accel-soft/interp.h"
#include "../../plugins/accel-soft/rw/fault.h"
#include "../../plugins/accel-soft/rw/rw.h"

#include <time.h>
#include <unistd.h>

/*
 * All canonical addresses lead to the 4 MiB of RAM, again and again, but those with bits 29..21 of
 * HOLES: there each page has an entry of its own, and some have none.
 */
enum {
    HOLES = 5 << 21, HOLE_PAGES = 16, HOLE_RAM = 0x300000, PT = 0x8000, CASES = 12000,
};

struct box {
    struct rig r;
    struct vcpu *cpu;
    const struct engine *engine;
};

static struct box interp_box, rw_box;
static atomic_uint meddle;
static bool have_rw;

/* ---- machines ---- */

static bool box_new(struct box *b, const struct engine *engine)
{
    struct rig *r = &b->r;
    void *cpu = NULL;
    assert_int_equal(rig_model(r, "max", RIG_INTEL, 1), MOBO_OK);
    r->s->engine = b->engine = engine;
    r->s->engine_prop = engine == &engine_interp ? ENGINE_INTERP : ENGINE_RW;
    r->ram = mmap(NULL, RIG_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(r->ram, MAP_FAILED);
    assert_int_equal(soft_accel_ops.ram_map(r->s, 0, r->ram, RIG_RAM, 0), MOBO_OK);
    if (soft_accel_ops.vcpu_new(r->s, 0, &cpu) != MOBO_OK) {
        print_message("%s\n", r->message);
        return false;
    }
    b->cpu = r->cpu[0] = cpu;
    b->cpu->up = &rig_exits;
    b->cpu->up_ctx = r;
    return true;
}

static void box_mode(struct box *b, unsigned cpl, unsigned holes)
{
    assert_true(rw_fault_init() >= 0); /* cmocka has put handlers of its own there */
    long_mode(&b->r, cpl);
    for (unsigned i = 0; i < 512; i++) {
        put(&b->r, PML4 + 8 * i, PDPT | 7, 8);
        put(&b->r, PDPT + 8 * i, PD | 7, 8);
        put(&b->r, PD + 8 * i, (uint64_t)(i & 1) << 21 | 0xe7, 8);
        put(&b->r, PT + 8 * i, 0, 8);
    }
    put(&b->r, PD + (HOLES >> 21) * 8, PT | 7, 8);
    for (unsigned i = 0; i < HOLE_PAGES; i++)
        if (holes >> i & 1)
            put(&b->r, PT + 8 * i, (HOLE_RAM + ((i * 7u) & 15) * 0x1000) | 0x67, 8);
    b->cpu->cr0 |= CR0_WP;
    b->cpu->exc_pending = 0;
    mode_update(b->cpu);
    tlb_flush(b->cpu);
}

/* Until an exception; its vector, or -1: too long. */
static int box_run(struct box *b)
{
    struct vcpu *cpu = b->cpu;
    volatile unsigned turns = 0;
    cpu->exc_pending = 0;
    (void)setjmp(cpu->unwind);
    while (!cpu->exc_pending && ++turns < 200000) {
        atomic_store(&cpu->exit_req, 0);
        b->engine->execute(cpu, 1 << 20);
    }
    int vector = cpu->exc_pending ? cpu->exc_vector : -1;
    cpu->exc_pending = 0;
    return vector;
}

static void *meddler(void *arg)
{
    (void)arg;
    while (atomic_load(&meddle)) {
        struct timespec ts = { 0, 20000 };
        (void)nanosleep(&ts, NULL);
        atomic_fetch_or(&rw_box.cpu->exit_req, REQ_YIELD);
    }
    return NULL;
}

/* ---- comparison ---- */

static void program_in(struct box *b)
{
    memcpy(b->r.ram + PROGRAM, pr.code, PROGRAM_LEN);
    b->engine->invalidate(b->cpu, PROGRAM, PROGRAM_LEN);
}

static unsigned compare(uint64_t number, int vi, int vr)
{
    const struct vcpu *i = interp_box.cpu, *r = rw_box.cpu;
    unsigned bad = vi != vr || i->rip != r->rip;
    uint64_t fi = cpu_rflags(i), fr = cpu_rflags(r);
    /* flags that the program would not have read before it sets them need not be there at faults */
    if (vi == VEC_UD && fi != fr)
        bad = 1;
    for (unsigned g = 0; g < 16; g++)
        bad |= i->gpr[g] != r->gpr[g];
    if (vi == VEC_PF)
        bad |= i->exc_payload != r->exc_payload || i->exc_error != r->exc_error;
    if (memcmp(interp_box.r.ram + HOLE_RAM, rw_box.r.ram + HOLE_RAM, HOLE_PAGES << 12) != 0) {
        bad = 1;
        print_message("memory differs\n");
    }
    if (!bad)
        return 0;
    print_message("program %llu, base %llx: interpreter, rewriter\n", (unsigned long long)number,
                  (unsigned long long)pr.base);
    print_message("  vector %d %d, rip %llx %llx, flags %llx %llx, payload %llx %llx\n", vi, vr,
                  (unsigned long long)i->rip, (unsigned long long)r->rip, (unsigned long long)fi,
                  (unsigned long long)fr, (unsigned long long)i->exc_payload,
                  (unsigned long long)r->exc_payload);
    for (unsigned g = 0; g < 16; g++)
        if (i->gpr[g] != r->gpr[g])
            print_message("  reg %u: %llx %llx\n", g, (unsigned long long)i->gpr[g],
                          (unsigned long long)r->gpr[g]);
    return 1;
}

static void one_program(uint64_t number, unsigned *vectors)
{
    static const uint64_t bases[] = { 0, UINT64_C(0x555540000000), UINT64_C(0xffffffff80000000),
                                      UINT64_C(0xffff888000000000), UINT64_C(0x7fffffc00000) };
    unsigned which = (unsigned)rnd(5), cpl = which == 2 || which == 3 ? 0 : rnd(4) ? 3 : 0;
    unsigned holes = rnd(3) ? 0xffff : 0xffff & ~(1u << rnd(16));
    generate(bases[which]);
    uint64_t stack = bases[which == 4 ? 0 : which] + HOLES + 0xa000 + rnd(rnd(2) ? 64 : 4096) * 8;
    if (!rnd(8))
        stack += rnd(8);
    uint64_t gpr[16];
    for (unsigned g = 0; g < 16; g++)
        gpr[g] = rnd(UINT64_C(1) << 32) * rnd(UINT64_C(1) << 32);
    struct box *both[] = { &interp_box, &rw_box };
    int vector[2];
    for (unsigned k = 0; k < 2; k++) {
        struct vcpu *cpu = both[k]->cpu;
        box_mode(both[k], cpl, holes);
        program_in(both[k]);
        memset(both[k]->r.ram + HOLE_RAM, 0x5a, HOLE_PAGES << 12);
        memcpy(cpu->gpr, gpr, sizeof gpr);
        cpu->gpr[R_SP] = stack;
        cpu_set_rflags(cpu, gpr[0], FL_ARITH);
        cpu->rip = pr.base + PROGRAM + pr.at[0];
        vector[k] = box_run(both[k]);
    }
    assert_int_equal(compare(number, vector[0], vector[1]), 0); /* FLOW_SEED=number repeats it */
    vectors[vector[0] < 0 ? 31 : vector[0] & 31]++;
}

static void random_programs(void **state)
{
    const char *only = getenv("FLOW_SEED"), *many = getenv("FLOW_CASES");
    uint64_t first = only ? strtoull(only, NULL, 0) : 1, n = many ? strtoull(many, NULL, 0) : CASES;
    unsigned vectors[32] = { 0 };
    pthread_t thread;
    (void)state;
    atomic_store(&meddle, only == NULL);
    assert_int_equal(pthread_create(&thread, NULL, meddler, NULL), 0);
    for (uint64_t i = first; i < first + n; i++) {
        generate_seed(i);
        one_program(i, vectors);
    }
    atomic_store(&meddle, 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    const struct rw_stats *st = &rw_box.cpu->rw->stats;
    print_message("#UD %u #GP %u #PF %u endless %u; blocks %llu links %llu lookups %llu "
                  "ret misses %llu, slow %llu of memory, %llu of instructions\n",
                  vectors[VEC_UD], vectors[VEC_GP], vectors[VEC_PF], vectors[31],
                  (unsigned long long)st->blocks, (unsigned long long)st->links,
                  (unsigned long long)st->lookups, (unsigned long long)st->ret_misses,
                  (unsigned long long)st->slow_mem, (unsigned long long)st->slow_insn);
    assert_int_equal(vectors[31], 0);
    if (!only) { /* the programs are what they are meant to be, and were not interpreted */
        assert_true(vectors[VEC_UD] > n / 2);
        assert_true(vectors[VEC_GP] > n / 50);
        assert_true(vectors[VEC_PF] > 0);
        assert_true(st->links > n);
    }
}

/* ---- programs by hand ---- */

#define PROGRAM_TEXT(at, text) memcpy(pr.code + (at), text, sizeof(text) - 1)

/* From BASE + PROGRAM, RSP in plain memory, both machines; the vector. */
static int by_hand(uint64_t base, unsigned cpl, uint64_t rcx)
{
    struct box *both[] = { &interp_box, &rw_box };
    int vector[2];
    pr.base = base;
    for (unsigned k = 0; k < 2; k++) {
        struct vcpu *cpu = both[k]->cpu;
        box_mode(both[k], cpl, 0xffff);
        program_in(both[k]);
        memset(cpu->gpr, 0, sizeof cpu->gpr);
        cpu->gpr[R_CX] = rcx;
        cpu->gpr[R_SP] = base + 0x2f0000;
        cpu_set_rflags(cpu, 0, FL_ARITH);
        cpu->rip = base + PROGRAM;
        vector[k] = box_run(both[k]);
    }
    assert_int_equal(compare(0, vector[0], vector[1]), 0);
    return vector[1];
}

/* More calls than a stack of pairs holds, three times over. */
static void deep_recursion(void **state)
{
    static const uint64_t bases[] = { 0, UINT64_C(0x555540000000), UINT64_C(0xffffffff80000000) };
    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        memset(pr.code, 0x0f, sizeof pr.code);
        PROGRAM_TEXT(0, "\xe8\x02\x00\x00\x00"  /* call f */
                        "\x0f\x0b"              /* ud2 */
                        "\xff\xc9"              /* f: dec ecx */
                        "\x74\x09"              /* jz out */
                        "\x53\xe8\xf6\xff\xff\xff" /* push rbx; call f */
                        "\x5b\xff\xc0"          /* pop rbx; inc eax */
                        "\xc3");                /* out: ret */
        assert_int_equal(by_hand(bases[i % 3], i % 3 == 2 ? 0 : 3, RW_PAIR_STACK / 16 * 3),
                         VEC_UD);
        assert_int_equal(rw_box.cpu->gpr[0], RW_PAIR_STACK / 16 * 3 - 1);
    }
}

/* A call whose return address is not canonical: the RET faults, where it stands. */
static void last_call(void **state)
{
    static const char call[] = "\xe8\x00\x00\x00\x00";
    uint64_t base = UINT64_C(0x7fffffc00000), end = base + RIG_RAM;
    struct box *both[] = { &interp_box, &rw_box };
    uint32_t rel = (uint32_t)(base + PROGRAM + 0x10 - end);
    (void)state;
    memset(pr.code, 0x90, 64);
    pr.code[0] = 0xe9;
    memcpy(pr.code + 1, &(uint32_t){ RIG_RAM - 5 - PROGRAM - 5 }, 4);
    pr.code[0x10] = 0xc3;
    for (unsigned k = 0; k < 2; k++) {
        memcpy(both[k]->r.ram + RIG_RAM - 5, call, 5);
        memcpy(both[k]->r.ram + RIG_RAM - 4, &rel, 4);
    }
    assert_int_equal(by_hand(base, 3, 0), VEC_GP);
    assert_int_equal(rw_box.cpu->rip, base + PROGRAM + 0x10);
}

static void *kicker(void *arg)
{
    struct timespec ts = { 0, 20000000 };
    (void)arg;
    (void)nanosleep(&ts, NULL);
    atomic_fetch_or(&rw_box.cpu->exit_req, REQ_KICK);
    return NULL;
}

static void run_until_kicked(void)
{
    pthread_t thread;
    atomic_store(&rw_box.cpu->exit_req, 0);
    assert_int_equal(pthread_create(&thread, NULL, kicker, NULL), 0);
    (void)alarm(20);
    if (setjmp(rw_box.cpu->unwind) == 0)
        while (!(atomic_load(&rw_box.cpu->exit_req) & REQ_KICK))
            engine_rw.execute(rw_box.cpu, 1 << 20);
    (void)alarm(0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* No loop of any kind of edge keeps the CPU from its run loop. A hang ends by SIGALRM. */
static void endless_loops_end(void **state)
{
    static const struct { char code[32]; unsigned len; } loops[] = {
#define LOOP(text) { text, sizeof(text) - 1 }
        LOOP("\xeb\xfe"),                                /* jmp $ */
        LOOP("\x48\x8d\x05\xf9\xff\xff\xff\xff\xe0"),    /* lea rax, [$]; jmp rax */
        LOOP("\x48\x8d\x05\xf9\xff\xff\xff\x50\xc3"),    /* lea rax, [$]; push rax; ret */
        LOOP("\x48\x8d\x05\xf9\xff\xff\xff\x5b\xff\xd0"), /* ...; pop rbx; call rax */
        LOOP("\x58\xe8\xfa\xff\xff\xff"),                /* pop rax; call $ - 1 */
        LOOP("\xe8\x00\x00\x00\x00\x48\x83\x2c\x24\x05\xc3"), /* call; sub [rsp], 5; ret */
        LOOP("\x39\xc0\x74\xfc"),                        /* cmp eax, eax; jz */
        LOOP("\xb1\x05\xe2\xfc"),                        /* mov cl, 5; loop */
#undef LOOP
    };
    (void)state;
    for (unsigned i = 0; i < sizeof loops / sizeof *loops * 2; i++) {
        const struct vcpu *cpu = rw_box.cpu;
        memset(pr.code, 0x0f, sizeof pr.code);
        memcpy(pr.code, loops[i / 2].code, loops[i / 2].len);
        box_mode(&rw_box, i & 1 ? 3 : 0, 0xffff);
        program_in(&rw_box);
        memset(rw_box.cpu->gpr, 0, sizeof cpu->gpr);
        rw_box.cpu->gpr[R_SP] = 0x2f0000;
        rw_box.cpu->rip = PROGRAM;
        run_until_kicked();
        assert_false(cpu->exc_pending);
        assert_true(cpu->rip - PROGRAM < loops[i / 2].len);
    }
}

static int want_rw(void **state)
{
    (void)state;
    if (!have_rw)
        skip();
    return 0;
}

static int boxes(void **state)
{
    (void)state;
    if (!box_new(&interp_box, &engine_interp))
        return -1;
    have_rw = box_new(&rw_box, &engine_rw); /* needs BMI2, among others */
    return 0;
}

static int no_boxes(void **state)
{
    (void)state;
    rig_free(&interp_box.r);
    rig_free(&rw_box.r);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(deep_recursion, want_rw),
        cmocka_unit_test_setup(last_call, want_rw),
        cmocka_unit_test_setup(endless_loops_end, want_rw),
        cmocka_unit_test_setup(random_programs, want_rw),
    };
    return cmocka_run_group_tests(tests, boxes, no_boxes);
}
