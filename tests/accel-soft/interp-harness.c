/*
 * interp-harness.c: see interp-harness.h. Stands in for the system and vector sides of accel-soft.
 */
#include "interp-harness.h"

static struct machine *machine_of(struct vcpu *cpu)
{
    return (struct machine *)(void *)cpu->soft; /* the first member */
}

/* ---- what the rest of accel-soft would provide ---- */

void x86_raise(struct vcpu *cpu, unsigned vector)
{
    machine_of(cpu)->vector = (int)vector;
    machine_of(cpu)->has_error = false;
    longjmp(cpu->unwind, 1);
}

void x86_raise_err(struct vcpu *cpu, unsigned vector, uint32_t error)
{
    machine_of(cpu)->vector = (int)vector;
    machine_of(cpu)->has_error = true;
    machine_of(cpu)->error = error;
    longjmp(cpu->unwind, 1);
}

void x86_raise_pf(struct vcpu *cpu, uint64_t linear, uint32_t error)
{
    cpu->cr2 = linear;
    x86_raise_err(cpu, VEC_PF, error);
}

void sys_execute(struct vcpu *cpu, const struct x86_insn *in)
{
    if (in->op == OP_HLT)
        cpu->activity = CPU_HALTED;
    else if (in->op == OP_STI)
        cpu->fl |= FL_IF, cpu->inhibit = 1;
    else if (in->op != OP_MFENCE && in->op != OP_LFENCE && in->op != OP_SFENCE)
        x86_raise(cpu, VEC_UD);
    cpu->rip += in->len;
}

bool sys_handles(enum x86_op op)
{
    return op == OP_HLT || op == OP_STI || op == OP_MFENCE || op == OP_LFENCE || op == OP_SFENCE;
}

void vec_execute(struct vcpu *cpu, const struct x86_insn *in, const uint8_t *bytes)
{
    (void)in;
    (void)bytes;
    x86_raise(cpu, VEC_UD);
}

bool vec_handles(enum x86_op op)
{
    (void)op;
    return false;
}

bool cpu_has(const struct vcpu *cpu, enum x86_feature feature)
{
    (void)cpu;
    (void)feature;
    return true;
}

bool lapic_mmio(struct vcpu *cpu, uint64_t gpa, void *data, unsigned len, bool write)
{
    (void)cpu;
    (void)gpa;
    (void)data;
    (void)len;
    (void)write;
    return false;
}

void soft_request(struct vcpu *cpu, uint32_t req)
{
    atomic_fetch_or(&cpu->exit_req, req);
}

/* One lock is enough: the tests' other CPU does not enter an exclusive section of its own. */
void soft_exclusive_begin(struct vcpu *self)
{
    (void)self;
}

void soft_exclusive_end(struct vcpu *self)
{
    (void)self;
}

static void mmio(void *ctx, uint64_t gpa, void *data, uint32_t len, uint32_t write)
{
    struct machine *m = ctx;
    m->mmio_gpa = gpa;
    m->mmio_len = len;
    m->mmio_write = write;
    m->mmio_count++;
    if (write)
        memcpy(m->mmio_data, data, len);
    else
        for (uint32_t i = 0; i < len; i++)
            ((uint8_t *)data)[i] = (uint8_t)(gpa + i);
}

static const mobo_exits_t exits = { .size = sizeof exits, .mmio = mmio };

/* ---- the machine ---- */

struct machine *machine_new(uint64_t ram_len, unsigned cpus)
{
    struct machine *m = calloc(1, sizeof *m);
    void *ram = mmap(NULL, ram_len, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!m || ram == MAP_FAILED)
        exit(1);
    m->ram = ram;
    m->ram_len = ram_len;
    m->soft.engine = &engine_interp;
    m->soft.model.phys_bits = 40;
    m->soft.model.linear_bits = 48;
    m->soft.slot[0].host = ram;
    m->soft.slot[0].len = ram_len;
    m->soft.slot_count = 1;
    for (unsigned i = 0; i < cpus; i++) {
        struct vcpu *cpu = aligned_alloc(64, (sizeof *cpu + 63) & ~(size_t)63);
        if (!cpu)
            exit(1);
        memset(cpu, 0, sizeof *cpu);
        cpu->soft = &m->soft;
        cpu->index = i;
        cpu->up = &exits;
        cpu->up_ctx = m;
        m->cpu[i] = cpu;
        m->soft.vcpu[i] = cpu;
        if (engine_interp.cpu_init(cpu) < 0)
            exit(1);
    }
    m->soft.vcpu_count = cpus;
    atomic_store(&m->soft.vcpu_ready, cpus);
    return m;
}

void machine_free(struct machine *m)
{
    unsigned n = m->soft.vcpu_count;
    for (unsigned i = 0; i < n; i++)
        engine_interp.cpu_fini(m->cpu[i]);
    for (unsigned i = 0; i < n; i++)
        free(m->cpu[i]);
    free(m->soft.slot[0].code_pages);
    free(m->soft.slot[0].code_lines);
    munmap(m->ram, m->ram_len);
    free(m);
}

void machine_mode(struct machine *m, unsigned n, unsigned bits)
{
    struct vcpu *cpu = m->cpu[n];
    cpu->fl = FL_1;
    cpu->cpl = 0;
    cpu->cr0 = bits == 16 ? 0 : CR0_PE;
    cpu->cr4 = 0;
    cpu->efer = 0;
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        cpu->seg[i].base = 0;
        cpu->seg[i].limit = bits == 16 ? 0xffff : 0xffffffff;
        cpu->seg[i].attr = 0x93;
        if (bits != 16)
            cpu->seg[i].attr |= ATTR_DB | ATTR_G;
    }
    cpu->seg[SEG_CS].attr = 0x9b | (bits == 32 ? ATTR_DB | ATTR_G : 0);
    if (bits == 64) {
        cpu->seg[SEG_CS].attr = 0x9b | ATTR_L | ATTR_G;
        cpu->cr0 |= CR0_PG | CR0_WP;
        cpu->cr4 = CR4_PAE | CR4_PGE;
        cpu->efer = EFER_LME | EFER_LMA | EFER_NXE;
        cpu->cr3 = 0x1000;
        uint64_t *pml4 = (uint64_t *)(void *)(m->ram + 0x1000);
        uint64_t *pdpt = (uint64_t *)(void *)(m->ram + 0x2000);
        pml4[0] = 0x2007;
        for (unsigned g = 0; g < 4; g++) {
            uint64_t *pd = (uint64_t *)(void *)(m->ram + 0x3000 + g * 0x1000);
            pdpt[g] = (0x3000 + g * 0x1000) | 7;
            for (uint64_t i = 0; i < 512; i++)
                pd[i] = ((uint64_t)g << 30 | i << 21) | 0x87;
        }
    }
    tlb_flush(cpu);
    cpu_mode_changed(cpu);
    cpu->activity = CPU_RUNNING;
}

int machine_try(struct machine *m, unsigned n, void (*fn)(struct vcpu *cpu, void *arg), void *arg)
{
    struct vcpu *cpu = m->cpu[n];
    m->vector = -1;
    if (setjmp(cpu->unwind) == 0)
        fn(cpu, arg);
    return m->vector;
}

int machine_run(struct machine *m, unsigned n, uint64_t budget)
{
    struct vcpu *cpu = m->cpu[n];
    uint64_t end = cpu->insns + budget;
    cpu->activity = CPU_RUNNING;
    m->vector = -1;
    if (setjmp(cpu->unwind) == 0)
        while (cpu->activity == CPU_RUNNING && cpu->insns < end) {
            engine_interp.execute(cpu, end - cpu->insns);
            atomic_store(&cpu->exit_req, 0);
        }
    return m->vector;
}
