/*
 * soft.c: runs one instruction on the software CPU: a virtual CPU in 64-bit mode at CPL 3 whose
 * page tables give the fixed addresses of native1.h the same rights as the host's. It stops
 * where the instruction goes to one of the exits, which are not mapped for it.
 */
#include "native1.h"

#include "accel-soft/rw/rw.h"
#include "accel-soft/x86/fpu.h"
#include "accel-soft/x86/native.h"
#include "accel-soft/x86/vecstate.h"

#include <asm/prctl.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PTE_P = 1, PTE_W = 2, PTE_U = 4 };
enum { AREA_BYTES = sizeof((mobo_x86_xsave_t *)0)->area };

static struct soft *vm;
static struct vcpu *cpu;

static void put_table(const struct memory *m, unsigned page, unsigned index, uint64_t entry)
{
    memcpy(m->file + FILE_TABLES + page * 4096u + index * 8u, &entry, 8);
}

static uint64_t table_gpa(unsigned page)
{
    return (uint64_t)GPA_BASE + FILE_TABLES + page * 4096u;
}

/* PML4, PDPT, PD, page tables of the code and of the data: pages 0 to 4. */
static void make_tables(const struct memory *m)
{
    const uint64_t all = PTE_P | PTE_W | PTE_U;
    memset(m->file + FILE_TABLES, 0, 5 * 4096);
    put_table(m, 0, 0, table_gpa(1) | all);
    put_table(m, 1, 0, table_gpa(2) | all);
    put_table(m, 2, CODE >> 21, table_gpa(3) | all);
    put_table(m, 2, DATA >> 21, table_gpa(4) | all);
    for (unsigned i = 0; i < CODE_LEN / 4096; i++)
        put_table(m, 3, i, ((uint64_t)GPA_BASE + FILE_CODE + i * 4096u) | PTE_P | PTE_U);
    for (unsigned i = 0; i < DATA_PAGES; i++) {
        char rights = DATA_RIGHTS[i];
        if (rights != 'N')
            put_table(m, 4, i, ((uint64_t)GPA_BASE + memory_file_off(i)) | PTE_P | PTE_U |
                                   (rights == 'W' ? PTE_W : 0) | 1ull << 63);
    }
}

int native1_soft_init(const struct memory *m, bool rewrite)
{
    vm = calloc(1, sizeof *vm);
    cpu = aligned_alloc(64, (sizeof *cpu + 63) & ~(size_t)63);
    if (!vm || !cpu)
        return -1;
    memset(cpu, 0, sizeof *cpu);
    make_tables(m);
    memset(vm->model.features, 0xff, sizeof vm->model.features);
    vm->model.xcr0 = XSTATE_ALL;
    vm->model.phys_bits = 40;
    vm->model.linear_bits = 48;
    vm->slot[0] = (struct ram_slot){
        .gpa = GPA_BASE, .len = FILE_LEN, .host = m->file,
        .code_pages = calloc(FILE_LEN / 4096, sizeof *vm->slot[0].code_pages),
        .code_lines = calloc(FILE_LEN / 4096, sizeof *vm->slot[0].code_lines),
    };
    vm->slot_count = 1;
    vm->vcpu[0] = cpu;
    vm->vcpu_count = 1;
    atomic_store(&vm->vcpu_ready, 1);
    vm->engine = rewrite ? &engine_rw : &engine_interp;
    vm->engine_prop = rewrite ? ENGINE_RW : ENGINE_INTERP;
    cpu->soft = vm;
    fpu_reset(cpu);
    cpu->fl = FL_1 | FL_IF;
    cpu->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
    cpu->cr3 = table_gpa(0);
    cpu->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
    cpu->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    cpu->xcr0 = XSTATE_ALL;
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        cpu->seg[i] = (struct seg){ .limit = 0xffffffff, .sel = 0x2b, .attr = 0xcf3 };
    cpu->seg[SEG_CS] = (struct seg){ .limit = 0xffffffff, .sel = 0x33, .attr = 0xafb };
    cpu->seg[SEG_GS].base = GS_BASE;
    cpu->cpl = 3;
    cpu->code_bits = cpu->stack_bits = 64;
    cpu->flat = 1;
    if (!vm->slot[0].code_pages || !vm->slot[0].code_lines || vm->engine->cpu_init(cpu) ||
        native_init(cpu))
        return -1;
    cpu_mode_changed(cpu);
    return 0;
}

void native1_soft_code_changed(void)
{
    if (vm)
        vm->engine->invalidate(cpu, GPA_BASE + FILE_CODE, CODE_LEN);
}

/* Until an exception; false: the instructions of a slot did not come to an end. */
static bool run(void)
{
    for (volatile unsigned i = 0; i < 4096; i++) {
        if (setjmp(cpu->unwind) == 1)
            return true;
        vm->engine->execute(cpu, 8);
    }
    return false;
}

void native1_soft_run(const struct test_case *c, struct outcome *out)
{
    static uint8_t area[AREA_BYTES];
    memcpy(cpu->gpr, c->in.gpr, sizeof cpu->gpr);
    memcpy(area, c->in.xsave, XSAVE_BYTES);
    (void)fpu_set_xsave(cpu, area);
    cpu_set_rflags(cpu, c->in.rflags, ~0ull);
    cpu->rip = c->slot;
    cpu->cr2 = 0;
    cpu->exc_pending = cpu->in_delivery = cpu->inhibit = 0;
    atomic_store(&cpu->exit_req, 0);
    memset(out, 0, sizeof *out);
    out->vector = -1;
    if (!run())
        out->vector = -2; /* equals no outcome of the host */
    if (vm->engine != &engine_interp) {
        vec_out(cpu);
        (void)syscall(SYS_arch_prctl, ARCH_SET_GS, (unsigned long)GS_BASE); /* the host's run's */
    }
    memcpy(out->regs.gpr, cpu->gpr, sizeof out->regs.gpr);
    out->regs.rflags = cpu_rflags(cpu);
    out->regs.rip = cpu->rip;
    fpu_get_xsave(cpu, area);
    memcpy(out->regs.xsave, area, XSAVE_BYTES);
    bool at_exit = cpu->rip == EXIT_A || cpu->rip == EXIT_B;
    if (cpu->exc_pending && !(cpu->exc_vector == VEC_PF && at_exit)) {
        out->vector = cpu->exc_vector;
        out->error = cpu->exc_has_error ? cpu->exc_error : 0;
        out->cr2 = cpu->exc_vector == VEC_PF ? cpu->cr2 : 0;
    }
}

const char *native1_soft_format(const struct test_case *c, char *buf, unsigned len)
{
    struct x86_insn in;
    if (x86_decode(c->code, c->len, (struct x86_dec_mode){ 64 }, &in) != DEC_OK)
        return "(not decoded)";
    return x86_format(&in, c->slot, buf, len);
}
