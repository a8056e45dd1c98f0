/*
 * test-rw-random.c: random blocks of valid encodings on two equal machines, one interpreted, one
 * rewritten, from random registers: everything must come out the same. Blocks lie anywhere in
 * pages and across their ends, at CPL 0 and 3, in both halves of the address space; operands are
 * in RAM, at page ends, read-only, not present, supervisor only, not canonical, in a device, or
 * the block itself through another address. The instructions are native1's.
 *
 *     test-rw-random [--count N] [--seconds N] [--seed N] [--case N]
 *
 * Each case is a block and STATES register files; it depends on the seed and its number only.
 */
#include "test-rw-random.h"
#include "rig.h"

#include "../../plugins/accel-soft/interp.h"
#include "../../plugins/accel-soft/rw/lockstep_int.h"
#include "../../plugins/accel-soft/x86/flags.h"
#include "../../plugins/accel-soft/x86/fpu.h"
#include "../../plugins/accel-soft/x86/mmu.h"
#include "../../plugins/accel-soft/x86/vecstate.h"

#include <time.h>

enum { AREA_BYTES = sizeof((mobo_x86_xsave_t *)0)->area };

struct side {
    struct rig rig;
    struct vcpu *cpu;
    uint64_t device; /* hash of what the device has seen */
};

static struct side interp, rw;
static struct lockstep cmp;
static uint8_t linear_data[DATA_LEN];
static uint64_t pte[DATA_ALL];

/* ---- machines ---- */

static void device(void *ctx, uint64_t gpa, void *data, uint32_t len, uint32_t write)
{
    struct side *s = ctx;
    uint64_t v = 0;
    vec_out(s->cpu); /* as loop.c does */
    if (write)
        memcpy(&v, data, len < 8 ? len : 8);
    s->device = (s->device ^ gpa ^ (uint64_t)len << 48 ^ (uint64_t)write << 56) *
                    UINT64_C(0x9e3779b97f4a7c15) + v;
    if (!write)
        for (uint32_t i = 0; i < len; i++)
            ((uint8_t *)data)[i] = (uint8_t)((gpa + i) * 7 + 3);
}

static const mobo_exits_t exits = { .size = sizeof exits, .mmio = device, .pio = rig_pio,
                                    .stop = rig_stop, .intack = rig_ack, .eoi = rig_eoi };

static void put_table(struct side *s, unsigned page, unsigned index, uint64_t entry)
{
    memcpy(s->rig.ram + TABLE_GPA + page * 4096u + index * 8u, &entry, 8);
}

static uint64_t data_gpa(unsigned page)
{
    return (uint64_t)DATA_GPA + (page * 7 + 3) % 32 * 4096u; /* not in order: crossings are real */
}

static void make_tables(struct side *s)
{
    const uint64_t all = PTE_P | PTE_W | PTE_U | PTE_A, t = TABLE_GPA;
    put_table(s, 0, 0, (t + 0x1000) | all);
    put_table(s, 0, 256, (t + 0x1000) | all);
    put_table(s, 1, 0, (t + 0x2000) | all);
    put_table(s, 2, CODE >> 21, (t + 0x3000) | all);
    put_table(s, 2, DATA >> 21, (t + 0x4000) | all);
    put_table(s, 2, CODE_ALIAS >> 21, (t + 0x5000) | all);
    for (unsigned i = 0; i < CODE_LEN / 4096; i++) {
        put_table(s, 3, i, (CODE_GPA + i * 4096u) | PTE_P | PTE_U);
        put_table(s, 5, i, (CODE_GPA + i * 4096u) | PTE_P | PTE_U | PTE_W | PTE_NX);
    }
    for (unsigned i = 0; i < DATA_ALL; i++)
        put_table(s, 4, i, pte[i]);
}

static void side_new(struct side *s, unsigned engine)
{
    struct rig *r = &s->rig;
    memset(r, 0, sizeof *r);
    r->host = (mobo_host_t){ .size = sizeof r->host, .log = &rig_log_api, .vm = &rig_vm_api };
    r->obj.host = &r->host;
    r->obj.name = "accel";
    r->cpus = 1;
    r->s = calloc(1, sizeof *r->s);
    assert_non_null(r->s);
    r->s->obj = &r->obj;
    r->s->cpu_prop = "max";
    r->s->trace_file_prop = "";
    r->s->engine_prop = engine;
    assert_int_equal(soft_init(r->s), MOBO_OK);
    r->ram = mmap(NULL, RIG_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(r->ram, MAP_FAILED);
    assert_int_equal(soft_accel_ops.ram_map(r->s, 0, r->ram, RIG_RAM, 0), MOBO_OK);
    void *cpu = NULL;
    assert_int_equal(soft_accel_ops.vcpu_new(r->s, 0, &cpu), MOBO_OK);
    s->cpu = r->cpu[0] = cpu;
    s->cpu->up = &exits;
    s->cpu->up_ctx = s;
    make_tables(s);
}

static void changed(struct side *s, uint64_t gpa, uint64_t len)
{
    soft_accel_ops.ram_written(s->rig.s, gpa, len);
}

/* ---- cases ---- */

/* The same code for both. */
static void place(const struct piece *b)
{
    struct side *both[2] = { &interp, &rw };
    for (unsigned i = 0; i < 2; i++) {
        uint64_t gpa = CODE_GPA + (b->at - CODE), len = b->len + 64;
        memcpy(both[i]->rig.ram + gpa, b->text, len);
        changed(both[i], gpa, len);
    }
}

static void scatter(struct side *s)
{
    for (unsigned i = 0; i < DATA_PAGES; i++)
        memcpy(s->rig.ram + data_gpa(i), linear_data + 4096u * i, 4096);
}

static void gather(const struct side *s)
{
    for (unsigned i = 0; i < DATA_PAGES; i++)
        memcpy(linear_data + 4096u * i, s->rig.ram + data_gpa(i), 4096);
}

/* Equal state for both: registers good for one instruction, some of them then anything. */
static void make_state(struct rng *r, struct piece *b)
{
    gather(&interp);
    gen_state(r, &b->insn, linear_data);
    scatter(&interp);
    scatter(&rw);
    for (unsigned g = 0; g < 16; g++) {
        if (one_in(r, 3))
            b->insn.in.gpr[g] = piece_address(r, b);
        else if (b->upper && b->insn.in.gpr[g] - DATA < DATA_LEN)
            b->insn.in.gpr[g] |= UPPER;
    }
    if (!one_in(r, 10))
        b->insn.in.gpr[4] = (DATA + 0x1800 + rnd_below(r, 64) * 8u) | (b->upper ? UPPER : 0);
}

static void load(struct side *s, const struct piece *b)
{
    static uint8_t area[AREA_BYTES];
    struct vcpu *cpu = s->cpu;
    const struct regs *in = &b->insn.in;
    memcpy(cpu->gpr, in->gpr, sizeof cpu->gpr);
    memcpy(area, in->xsave, XSAVE_BYTES);
    (void)fpu_set_xsave(cpu, area);
    cpu->fl = FL_1 | FL_IF;
    flags_load(cpu, in->rflags);
    if (in->rflags & FL_DF)
        cpu->fl |= FL_DF;
    cpu->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
    cpu->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
    cpu->cr3 = TABLE_GPA;
    cpu->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    cpu->xcr0 = XSTATE_ALL;
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        cpu->seg[i] = (struct seg){ .limit = 0xffffffff, .sel = 0x2b, .attr = 0xcf3 };
    cpu->seg[SEG_CS] = (struct seg){ .limit = 0xffffffff, .sel = b->cpl ? 0x33 : 0x10,
                                     .attr = b->cpl ? 0xafb : 0xa9b };
    cpu->seg[SEG_GS].base = b->upper ? UPPER + GS_BASE : GS_BASE;
    cpu->kernel_gs_base = 0x5000;
    cpu->cpl = b->cpl;
    cpu->rip = b->at | (b->upper ? UPPER : 0);
    cpu->cr2 = 0;
    cpu->exc_pending = cpu->in_delivery = cpu->inhibit = cpu->nmi_blocked = cpu->stopped = 0;
    cpu->exc_vector = cpu->exc_has_error = 0;
    cpu->exc_error = 0;
    cpu->exc_payload = 0;
    cpu->activity = CPU_RUNNING;
    cpu->code_bits = cpu->stack_bits = 64;
    cpu->rep_midway = 0;
    atomic_store(&cpu->exit_req, 0);
    cpu_mode_changed(cpu);
    s->device = 0;
}

/* ---- running ---- */

static bool ended(const struct vcpu *cpu)
{
    return cpu->exc_pending || cpu->activity != CPU_RUNNING;
}

static bool decode_now(const struct vcpu *cpu, struct x86_insn *in)
{
    uint64_t off = (cpu->rip & ~UPPER) - CODE;
    struct x86_dec_mode mode = { .bits = 64 };
    return off < CODE_LEN - 16 &&
           x86_decode(interp.rig.ram + CODE_GPA + off, 15, mode, in) == DEC_OK;
}

/*
 * False: it does not end, or depends on flags that are undefined. Those count as undefined, too,
 * that were there when the block changed its own code: rewritten code does not keep what the code
 * behind was not going to read.
 */
static bool run_interp(const struct piece *b, uint8_t *undefined)
{
    const uint8_t *text = interp.rig.ram + CODE_GPA + (b->at - CODE);
    static uint8_t was[sizeof b->text];
    struct vcpu *cpu = interp.cpu;
    static struct ls_state now;
    static volatile unsigned steps;
    static volatile uint8_t und, before;
    und = 0;
    smc_drain(cpu);
    memcpy(was, text, b->len + 64);
    for (steps = 0; steps < STEPS_MAX && !ended(cpu); steps++) {
        struct x86_insn in;
        struct rw_fl fl;
        before = und;
        if (decode_now(cpu, &in)) {
            rw_flags_of(&in, &fl);
            if ((fl.reads & und) || (lockstep_once(&in) && in.op != OP_HLT))
                return false; /* the latter: changed bytes may come to mean RDTSC */
            memcpy(now.gpr, cpu->gpr, sizeof now.gpr);
            und = (uint8_t)((und & ~fl.kills) | ls_undefined(&in, &now));
        }
        if (setjmp(cpu->unwind) == 0)
            interp_step(cpu);
        atomic_store(&cpu->exit_req, 0);
        if (memcmp(was, text, b->len + 64) != 0) {
            memcpy(was, text, b->len + 64);
            und = before = FL_BIT_ALL;
        }
    }
    *undefined = cpu->exc_pending ? before : und;
    return ended(cpu);
}

static bool run_rw(void)
{
    struct vcpu *cpu = rw.cpu;
    static volatile unsigned turns;
    for (turns = 0; turns < 2 * STEPS_MAX && !ended(cpu); turns++) {
        if (setjmp(cpu->unwind) == 0)
            engine_rw.execute(cpu, 100000);
        vec_out(cpu);
        atomic_store(&cpu->exit_req, 0);
    }
    return ended(cpu);
}

static bool same_memory(void)
{
    const uint8_t *a = interp.rig.ram, *b = rw.rig.ram;
    if (memcmp(a + CODE_GPA, b + CODE_GPA, CODE_LEN) != 0)
        return false;
    return memcmp(a + DATA_GPA, b + DATA_GPA, 32 * 4096) == 0;
}

static void sync_memory(void)
{
    memcpy(rw.rig.ram + CODE_GPA, interp.rig.ram + CODE_GPA, CODE_LEN);
    memcpy(rw.rig.ram + DATA_GPA, interp.rig.ram + DATA_GPA, 32 * 4096);
    changed(&rw, CODE_GPA, CODE_LEN);
}

static void say_block(const struct piece *b, const uint8_t *bytes, const char *when)
{
    struct x86_dec_mode mode = { .bits = 64 };
    printf("%s:\n", when);
    for (unsigned at = 0; at < b->len;) {
        struct x86_insn in;
        char text[128];
        if (x86_decode(bytes + at, 15, mode, &in) != DEC_OK)
            break;
        printf("  %llx %s\n", (unsigned long long)b->at + at,
               x86_format(&in, b->at + at, text, sizeof text));
        at += in.len;
    }
}

static void say_memory(void)
{
    unsigned said = 0;
    for (unsigned i = CODE_GPA; i < DATA_GPA + 32 * 4096 && said < 32; i++)
        if (interp.rig.ram[i] != rw.rig.ram[i]) {
            printf("memory %x: interpreter %02x rewriter %02x\n", i, interp.rig.ram[i],
                   rw.rig.ram[i]);
            said++;
        }
}

/* True: no difference. *ran: it was a case. */
static bool run_case(struct piece *b, bool *ran)
{
    uint8_t undefined = 0;
    load(&interp, b);
    load(&rw, b);
    cmp.cpu = rw.cpu;
    cmp.rip = rw.cpu->rip;
    cmp.gpa = CODE_GPA + (b->at - CODE);
    ls_capture(rw.cpu, &cmp.before);
    *ran = run_interp(b, &undefined);
    if (!*ran) {
        sync_memory();
        return true;
    }
    bool end = run_rw();
    ls_capture(interp.cpu, &cmp.step[0]);
    ls_capture(rw.cpu, &cmp.rw);
    cmp.step[0].undefined = undefined;
    uint64_t rip = cmp.rip;
    cmp.rip = cmp.step[0].rip; /* where flags may be dead */
    cmp.gpa = CODE_GPA + ((cmp.rip & ~UPPER) - CODE) % CODE_LEN;
    unsigned diff = ls_compare(&cmp, &cmp.step[0], &cmp.rw);
    bool memory = same_memory(), devices = interp.device == rw.device;
    cmp.rip = rip;
    cmp.gpa = CODE_GPA + (b->at - CODE);
    if (!diff && memory && devices && end)
        return true;
    const struct rw_stats *st = &rw.cpu->rw->stats;
    load(&rw, b);
    cmp.block = setjmp(rw.cpu->unwind) == 0 ? rw_find(rw.cpu, rw.cpu->rip) : NULL;
    cmp.code = cmp.block ? cmp.block->code : 0;
    cmp.code_len = cmp.block ? cmp.block->size : 0;
    ls_report(&cmp, diff, 0);
    printf("rewriter so far: %llu misses, %llu slow operands, %llu slow instructions, %llu host "
           "faults\n",
           (unsigned long long)st->misses, (unsigned long long)st->slow_mem,
           (unsigned long long)st->slow_insn, (unsigned long long)st->host_faults);
    say_block(b, b->text, "the block as it was made");
    say_block(b, rw.rig.ram + CODE_GPA + (b->at - CODE), "as it is now");
    say_memory();
    if (!devices)
        printf("the device saw something else\n");
    if (!end)
        printf("the rewriter does not come to an end\n");
    return false;
}

/* Another page, other rights: as after a change by the guest, with its INVLPG. */
static void remap(struct rng *r)
{
    unsigned i = rnd_below(r, DATA_PAGES);
    uint64_t lin = DATA + i * 4096u;
    static const uint64_t rights[] = { PTE_P | PTE_U | PTE_W, PTE_P | PTE_U, PTE_P | PTE_W, 0,
                                       PTE_P | PTE_U | PTE_W | PTE_G };
    uint64_t frame = one_in(r, 2) ? data_gpa(i) : data_gpa(rnd_below(r, DATA_PAGES));
    uint64_t e = one_in(r, 2) ? pte[i]
                              : frame | PTE_NX | rights[rnd_below(r, 5)];
    struct side *both[2] = { &interp, &rw };
    for (unsigned k = 0; k < 2; k++) {
        put_table(both[k], 4, i, e);
        tlb_flush_page(both[k]->cpu, lin);
        tlb_flush_page(both[k]->cpu, lin | UPPER);
    }
    if (one_in(r, 8)) {
        tlb_flush(interp.cpu);
        tlb_flush(rw.cpu);
    } else if (one_in(r, 8)) {
        tlb_flush_context(interp.cpu);
        tlb_flush_context(rw.cpu);
    }
}

struct options {
    uint64_t count, seconds, seed, only;
};

static int work(const struct options *o)
{
    uint64_t cases = 0, ran = 0, begin = soft_now(), n;
    for (unsigned i = 0; i < DATA_PAGES; i++)
        pte[i] = DATA_RIGHTS[i] == 'N' ? 0 : data_gpa(i) | PTE_P | PTE_U | PTE_NX |
                                                (DATA_RIGHTS[i] == 'W' ? PTE_W : 0);
    pte[DATA_PAGES] = DEVICE_GPA | PTE_P | PTE_W | PTE_U | PTE_NX;
    pte[DATA_PAGES + 1] = data_gpa(20) | PTE_P | PTE_W | PTE_NX;
    pte[DATA_PAGES + 2] = data_gpa(2) | PTE_P | PTE_W | PTE_U | PTE_NX;
    side_new(&interp, ENGINE_INTERP);
    side_new(&rw, ENGINE_RW);
    if (!gen_init(NULL))
        return 2;
    uint64_t first = o->only == ~(uint64_t)0 ? 0 : o->only;
    for (n = first; cases < o->count && soft_now() - begin < o->seconds * 1000000000u; n++) {
        struct rng mix = { n }, r = { o->seed ^ rnd(&mix) };
        static struct piece b;
        memset(&b, 0, sizeof b);
        piece_make(&r, &b);
        place(&b);
        if (one_in(&r, 20))
            remap(&r);
        for (unsigned k = 0; k < STATES; k++, cases++) {
            bool did;
            make_state(&r, &b);
            if (!run_case(&b, &did)) {
                printf("case %llu, state %u, CPL %u; again: test-rw-random --seed %llu --case "
                       "%llu\n",
                       (unsigned long long)n, k, b.cpl, (unsigned long long)o->seed,
                       (unsigned long long)n);
                return 1;
            }
            ran += did;
        }
        if (o->only != ~(uint64_t)0)
            break;
    }
    printf("%llu cases, %llu of them compared, no difference (%llu blocks translated)\n",
           (unsigned long long)cases, (unsigned long long)ran,
           (unsigned long long)rw.cpu->rw->stats.blocks);
    return ran * 4 < cases ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct options o = { .count = 300000, .seconds = 60, .seed = 1, .only = ~(uint64_t)0 };
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t v = strtoull(argv[i + 1], NULL, 0);
        if (!strcmp(argv[i], "--count"))
            o.count = v, o.seconds = 86400;
        else if (!strcmp(argv[i], "--seconds"))
            o.seconds = v;
        else if (!strcmp(argv[i], "--seed"))
            o.seed = v;
        else if (!strcmp(argv[i], "--case"))
            o.only = v;
        else
            return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("test-rw-random: seed %llu\n", (unsigned long long)o.seed);
    return work(&o);
}
