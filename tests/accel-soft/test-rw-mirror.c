/*
 * test-rw-mirror.c: mirror mode (plugins/accel-soft/rw/mirror.h): loads and stores of CPL 3 at its
 * own addresses in this process. What the page tables say is what they reach, at hostile addresses
 * too, and never a byte of this process.
 */
#include "rig-modes.h"

#include "../../plugins/accel-soft/rw/fault.h"
#include "../../plugins/accel-soft/rw/mirror.h"
#include "../../plugins/accel-soft/x86/ftab.h"

#include <time.h>

enum { TABLES = 0x100000, FRAMES = 0x200000, ROUNDS = 4000 };
#define AT (UINT64_C(0x5e) << 40) /* in a granule that no process has anything in, as a rule */

static struct rig r;
static struct vcpu *cpu;
static uint64_t tables;

static uint64_t *entry(uint64_t table, unsigned i)
{
    return (uint64_t *)(void *)(r.ram + (table & PTE_FRAME)) + i;
}

/* The page-table entry of LINEAR, with tables on the way as needed. */
static uint64_t *pte(uint64_t linear)
{
    uint64_t table = PML4;
    for (unsigned shift = 39; shift > 12; shift -= 9) {
        uint64_t *e = entry(table, (unsigned)(linear >> shift) & 511);
        if (!(*e & PTE_P) || (*e & PTE_PS)) {
            *e = tables | PTE_P | PTE_W | PTE_U;
            memset(r.ram + tables, 0, 4096);
            tables += 4096;
        }
        table = *e;
    }
    return entry(table, (unsigned)(linear >> 12) & 511);
}

static void begin(void)
{
    memset(r.ram, 0, RIG_RAM);
    tables = TABLES;
    assert_true(rw_fault_init() >= 0); /* cmocka has put handlers of its own there */
    long_mode(&r, 3);
    cpu->cr0 |= CR0_WP;
    mode_update(cpu);
    tlb_flush(cpu);
    (void)mirror_promote(cpu);
    assert_true(cpu->rw_mirror != 0);
}

/* Run the code up to its UD2 or fault; the vector. */
static int run(const char *code, unsigned len)
{
    volatile unsigned turns = 0;
    memcpy(r.ram + CODE, code, len);
    memcpy(r.ram + CODE + len, "\x0f\x0b", 2);
    engine_rw.invalidate(cpu, CODE, 64);
    cpu->rip = CODE;
    cpu->exc_pending = 0;
    if (!cpu->rw_mirror) /* the policy demotes who uses denied addresses */
        (void)mirror_promote(cpu);
    assert_true(cpu->rw_mirror != 0);
    (void)setjmp(cpu->unwind);
    while (!cpu->exc_pending && ++turns < 1000) {
        atomic_store(&cpu->exit_req, 0);
        engine_rw.execute(cpu, 1 << 20);
    }
    int vector = cpu->exc_pending ? cpu->exc_vector : -1;
    cpu->exc_pending = 0;
    return vector;
}
#define RUN(code) run(code, sizeof code - 1)
#define LOAD "\x48\x8b\x07"  /* mov rax, [rdi] */
#define STORE "\x48\x89\x1f" /* mov [rdi], rbx */
#define LOAD16 "\x0f\x10\x07" /* movups xmm0, [rdi] */

static int load_at(uint64_t linear, uint64_t *val)
{
    cpu->gpr[REG_RDI] = linear;
    cpu->gpr[REG_RAX] = 0x1234;
    int vector = RUN(LOAD);
    *val = cpu->gpr[REG_RAX];
    return vector;
}

static int store_at(uint64_t linear, uint64_t val)
{
    cpu->gpr[REG_RDI] = linear;
    cpu->gpr[REG_RBX] = val;
    return RUN(STORE);
}

static void frame_set(unsigned n, uint64_t val)
{
    memcpy(r.ram + FRAMES + n * 4096u, &val, 8);
}

static uint64_t frame_get(unsigned n, unsigned off)
{
    uint64_t val;
    memcpy(&val, r.ram + FRAMES + n * 4096u + off, 8);
    return val;
}

static void follows_the_page_tables(void **state)
{
    (void)state;
    uint64_t val, pages = mirror_stats(cpu)->pages;
    begin();
    frame_set(1, 111);
    frame_set(2, 222);
    *pte(AT) = (FRAMES + 0x1000) | PTE_P | PTE_W | PTE_U;
    *pte(AT + 0x1000) = (FRAMES + 0x5000) | PTE_P | PTE_U;
    /* the first page of a granule is never mirrored by itself: use the second one too */
    *pte(AT + 0x2000) = (FRAMES + 0x1000) | PTE_P | PTE_W | PTE_U;
    *pte(AT + 0x3000) = (FRAMES + 0x3000) | PTE_P | PTE_W | PTE_U;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(load_at(AT, &val), VEC_UD);
        assert_int_equal(val, 111);
        assert_int_equal(load_at(AT + 0x2000, &val), VEC_UD);
        assert_int_equal(val, 111);
    }
    assert_true(mirror_stats(cpu)->pages > pages);
    assert_int_equal(*pte(AT + 0x2000) & (PTE_A | PTE_D), PTE_A);
    assert_int_equal(store_at(AT + 0x2008, 77), VEC_UD);
    assert_int_equal(*pte(AT + 0x2000) & (PTE_A | PTE_D), PTE_A | PTE_D);
    assert_int_equal(frame_get(1, 8), 77);
    /* across pages that are no neighbours in RAM */
    assert_int_equal(store_at(AT + 0x2ffc, UINT64_C(0x1122334455667788)), VEC_UD);
    assert_int_equal(frame_get(1, 0xff8) >> 32, 0x55667788);
    assert_int_equal(frame_get(3, 0) & 0xffffffff, 0x11223344);
    /* no right to store */
    assert_int_equal(load_at(AT + 0x1000, &val), VEC_UD);
    assert_int_equal(store_at(AT + 0x1000, 5), VEC_PF);
    assert_int_equal(cpu->exc_error, PF_P | PF_W | PF_U);
    assert_int_equal(frame_get(5, 0), 0);
    /* another frame: after a flush of the page, of the context, of everything */
    for (unsigned how = 0; how < 3; how++) {
        *pte(AT + 0x2000) = (FRAMES + 0x1000 * (how & 1 ? 1 : 2)) | PTE_P | PTE_W | PTE_U;
        if (how == 0)
            tlb_flush_page(cpu, AT + 0x2000);
        else if (how == 1)
            tlb_flush_context(cpu);
        else
            tlb_flush(cpu);
        assert_int_equal(load_at(AT + 0x2000, &val), VEC_UD);
        assert_int_equal(val, how & 1 ? 111 : 222);
    }
    *pte(AT + 0x2000) &= ~(uint64_t)PTE_U;
    tlb_flush_context(cpu);
    assert_int_equal(load_at(AT + 0x2000, &val), VEC_PF);
    assert_int_equal(val, 0x1234);
}

/* A page that the process has something at is the guest's all the same. */
static void own_addresses_of_the_host(void **state)
{
    (void)state;
    uint64_t *secret = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t at = (uint64_t)(uintptr_t)secret, val;
    assert_ptr_not_equal(secret, MAP_FAILED);
    begin();
    secret[0] = secret[1] = UINT64_C(0xfeedfacecafebeef);
    assert_int_equal(load_at(at, &val), VEC_PF);
    frame_set(4, 444);
    *pte(at) = (FRAMES + 0x4000) | PTE_P | PTE_W | PTE_U;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(load_at(at, &val), VEC_UD);
        assert_int_equal(val, 444);
        assert_int_equal(store_at(at + 8, i), VEC_UD);
        assert_int_equal(frame_get(4, 8), i);
    }
    assert_true(secret[0] == secret[1] && secret[0] == UINT64_C(0xfeedfacecafebeef));
    munmap(secret, 8192);
}

static uint64_t random64(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

/* Nothing is mapped at these: each must fault as the architecture has it, and change nothing. */
static void hostile_addresses(void **state)
{
    (void)state;
    uint64_t seed = (uint64_t)time(NULL) | 1, local = 99;
    print_message("seed %llu\n", (unsigned long long)seed);
    begin();
    *pte(AT + 0x2000) = (FRAMES + 0x1000) | PTE_P | PTE_W | PTE_U;
    const uint64_t base[] = {
        (uint64_t)(uintptr_t)&local, (uint64_t)(uintptr_t)cpu, (uint64_t)(uintptr_t)r.ram,
        (uint64_t)(uintptr_t)&hostile_addresses, cpu->rw_mirror, cpu->rw_code,
        (uint64_t)(uintptr_t)cpu->view_user, AT + (UINT64_C(1) << 30), AT, UINT64_C(1) << 47,
        ~(uint64_t)0 << 47, UINT64_C(1) << 34, 0, cpu->rw_pair_base[1],
    };
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t at = random64(&seed), val;
        if (i % 4)
            at = base[i % (sizeof base / sizeof *base)] + at % 8192 - 4096 +
                 (i % 4 == 1 ? 0 : random64(&seed) << 47);
        /* but 4 MiB of the rig and the page above */
        if (at + 64 < (4 << 20) + 64 || at - (AT + 0x1000) < 0x3000)
            continue;
        bool canonical = (uint64_t)((int64_t)(at << 16) >> 16) == at;
        bool canonical_end = (uint64_t)((int64_t)((at + 15) << 16) >> 16) == at + 15;
        if (canonical != canonical_end)
            continue;
        int want = canonical ? VEC_PF : VEC_GP, got;
        if (i & 1) {
            got = load_at(at, &val);
            assert_int_equal(val, 0x1234);
        } else if (i & 2) {
            got = store_at(at, 0x6666);
        } else {
            cpu->gpr[REG_RDI] = at;
            cpu->cr4 |= CR4_OSFXSR;
            got = RUN(LOAD16);
        }
        if (got != want)
            print_message("%llx: %d\n", (unsigned long long)at, got);
        assert_int_equal(got, want);
    }
    assert_int_equal(local, 99);
}

static int rig(void **state)
{
    (void)state;
    void *made = NULL;
    assert_int_equal(rig_model(&r, "max", RIG_INTEL, 1), MOBO_OK);
    r.s->engine = &engine_rw;
    r.s->engine_prop = ENGINE_RW;
    r.s->mirror_prop = MIRROR_AUTO;
    r.ram = mmap(NULL, RIG_RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(r.ram, MAP_FAILED);
    assert_int_equal(soft_accel_ops.ram_map(r.s, 0, r.ram, RIG_RAM, 0), MOBO_OK);
    if (soft_accel_ops.vcpu_new(r.s, 0, &made) != MOBO_OK)
        exit(77); /* no BMI2, for instance */
    cpu = r.cpu[0] = made;
    cpu->up = &rig_exits;
    cpu->up_ctx = &r;
    return 0;
}

static int no_rig(void **state)
{
    (void)state;
    rig_free(&r);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_page_tables),
        cmocka_unit_test(own_addresses_of_the_host),
        cmocka_unit_test(hostile_addresses),
    };
    return cmocka_run_group_tests(tests, rig, no_rig);
}
