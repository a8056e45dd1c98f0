/*
 * ftab-rig.h: a CPU with flat page tables and two page-table trees of its own to play with. For
 * test-ftab.c and test-ftab-random.c.
 */
#ifndef TEST_ACCEL_SOFT_FTAB_RIG_H
#define TEST_ACCEL_SOFT_FTAB_RIG_H

#define RIG_ENGINE ENGINE_INTERP /* which has no such tables of its own */
#include "rig.h"
#include "rig-modes.h"

#include "../../plugins/accel-soft/interp.h"
#include "../../plugins/accel-soft/x86/ftab_int.h"

enum { BANK = 16 << 20, BANK_LEN = 32 << 20, ROM = 0x60000000 };

struct frig {
    struct rig r;              /* the first member */
    uint8_t *bank, *rom; /* RAM at 16 MiB, 32 MiB long; ROM of 64 KiB */
    struct vcpu *cpu;
};

/* Only what needs no walk: where guest-physical memory lies. */
static inline uint8_t *host_of(struct frig *f, uint64_t gpa)
{
    uint64_t left = 0;
    uint32_t flags = 0;
    return soft_ram(f->r.s, gpa, &left, &flags);
}

static inline void word_set(struct frig *f, uint64_t gpa, uint64_t val)
{
    memcpy(host_of(f, gpa), &val, 8);
}

static inline uint64_t word_get(struct frig *f, uint64_t gpa)
{
    uint64_t val;
    memcpy(&val, host_of(f, gpa), 8);
    return val;
}

static inline uint8_t *map_memory(uint64_t len)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    return p;
}

static inline void frig_new(struct frig *f, unsigned contexts, const struct ftab_hooks *hooks)
{
    const char *why = NULL;
    memset(f, 0, sizeof *f);
    rig_new(&f->r, "max", RIG_INTEL, 1);
    f->cpu = f->r.cpu[0];
    f->bank = map_memory(BANK_LEN);
    f->rom = map_memory(64 << 10);
    assert_int_equal(soft_accel_ops.ram_map(f->r.s, BANK, f->bank, BANK_LEN, 0), MOBO_OK);
    assert_int_equal(
        soft_accel_ops.ram_map(f->r.s, ROM, f->rom, 64 << 10, MOBO_MAP_READONLY), MOBO_OK);
    long_mode(&f->r, 0);
    f->cpu->cr4 |= CR4_PGE;
    f->cpu->cr0 |= CR0_WP;
    f->cpu->efer |= EFER_NXE;
    tlb_flush(f->cpu);
    if (ftab_init(f->cpu, contexts, hooks, &why) != MOBO_OK) {
        print_message("no flat page tables here: %s\n", why);
        skip();
    }
    cpu_mode_changed(f->cpu);
}

static inline void frig_free(struct frig *f)
{
    ftab_fini(f->cpu);
    rig_free(&f->r);
    munmap(f->bank, BANK_LEN);
    munmap(f->rom, 64 << 10);
}

static inline void mode(struct frig *f, unsigned cpl, bool ac)
{
    f->cpu->cpl = (uint8_t)cpl;
    f->cpu->fl = (f->cpu->fl & ~(uint32_t)FL_AC) | (ac ? (uint32_t)FL_AC : 0);
    cpu_mode_changed(f->cpu);
}

/* ---- instructions ---- */

static inline void mov_cr(struct frig *f, unsigned cr, uint64_t val)
{
    char text[3] = { 0x0f, 0x22, (char)(0xc0 | cr << 3) };
    uint64_t rip = f->cpu->rip;
    f->cpu->gpr[REG_RAX] = val;
    assert_int_equal(rig_exec(f->cpu, text, 3), -1);
    f->cpu->rip = rip;
}

static inline void invlpg(struct frig *f, uint64_t linear)
{
    uint64_t rip = f->cpu->rip;
    f->cpu->gpr[REG_RAX] = linear;
    assert_int_equal(EXEC(f->cpu, "\x0f\x01\x38"), -1);
    f->cpu->rip = rip;
}

/*
 * ---- address spaces: a lower half each, one upper half for all ----
 *
 * Lower: LOW + [0, 4 MiB) by two page tables. Upper: UP + [0, 4 MiB) by two page tables, and
 * DATA_AT, a global 2 MiB page of the supervisor for what instructions read.
 */
#define LOW ((UINT64_C(36) << 39) | (UINT64_C(209) << 30))
#define UP (UINT64_C(0xffff000000000000) | (UINT64_C(300) << 39) | (UINT64_C(17) << 30))
#define DATA_AT (UINT64_C(0xffff000000000000) | (UINT64_C(511) << 39))

enum { TREE = BANK, TREE_PAGES = 8, SPACES_MAX = 5, UPPER = TREE + SPACES_MAX * TREE_PAGES * 4096,
       TREES_LEN = (SPACES_MAX + 1) * TREE_PAGES * 4096 };
enum { T_PML4 = 0, T_PDPT = 0x1000, T_PD = 0x2000, T_PT = 0x3000, T_DATA_PDPT = 0x5000,
       T_DATA_PD = 0x6000 };
enum { FRAMES = BANK + (4 << 20) }; /* RAM to map: 28 MiB from here on */

static inline uint64_t space_cr3(unsigned n)
{
    return TREE + (uint64_t)n * TREE_PAGES * 4096;
}

/* Where the page-table entry of page N (0..1023) is; space -1: the upper half. */
static inline uint64_t pte_at(int space, unsigned n)
{
    return (space < 0 ? (uint64_t)UPPER : space_cr3((unsigned)space)) + T_PT + 8u * n;
}

static inline uint64_t pde_at(int space, unsigned n)
{
    return (space < 0 ? (uint64_t)UPPER : space_cr3((unsigned)space)) + T_PD + 8u * n;
}

static inline uint64_t pdpte_at(int space)
{
    return space < 0 ? UPPER + T_PDPT + 8 * 17u : space_cr3((unsigned)space) + T_PDPT + 8 * 209u;
}

static inline void spaces_build(struct frig *f)
{
    memset(f->bank, 0, TREES_LEN);
    for (int n = -1; n < SPACES_MAX; n++) {
        uint64_t t = n < 0 ? (uint64_t)UPPER : space_cr3((unsigned)n);
        if (n >= 0) {
            word_set(f, t + T_PML4 + 8 * 36, (t + T_PDPT) | 7);
            word_set(f, t + T_PML4 + 8 * 300, (UPPER + T_PDPT) | 0x27);
            word_set(f, t + T_PML4 + 8 * 511, (UPPER + T_DATA_PDPT) | 0x27);
        }
        word_set(f, pdpte_at(n), (t + T_PD) | 7);
        for (unsigned k = 0; k < 2; k++)
            word_set(f, pde_at(n, k), (t + T_PT + k * 0x1000) | 7);
    }
    word_set(f, UPPER + T_DATA_PDPT, (UPPER + T_DATA_PD) | 3);
    word_set(f, UPPER + T_DATA_PD, 0x200000 | 0x1e3); /* P W A D PS G */
    f->cpu->cr3 = space_cr3(0);
    tlb_flush(f->cpu);
}

/* The descriptor lies in the rig's RAM at 2 MiB + 1f0000h. */
static inline void invpcid(struct frig *f, unsigned type, uint64_t pcid, uint64_t linear)
{
    uint64_t rip = f->cpu->rip;
    word_set(f, 0x3f0000, pcid);
    word_set(f, 0x3f0008, linear);
    f->cpu->gpr[REG_RAX] = DATA_AT + 0x1f0000;
    f->cpu->gpr[REG_RCX] = type;
    assert_int_equal(EXEC(f->cpu, "\x66\x0f\x38\x82\x08"), -1);
    f->cpu->rip = rip;
}

/* ---- what tests ask ---- */

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100, PWUAD = P | W | U | A | D };

static inline void start_spaces(struct frig *f, unsigned contexts, const struct ftab_hooks *hooks)
{
    frig_new(f, contexts, hooks);
    spaces_build(f);
}

/* The entry that an access of the present mode uses. */
static inline uint64_t entry(struct frig *f, uint64_t linear, bool write)
{
    uint64_t mask = f->cpu->cpl == 3 ? FTAB_MASK_USER : FTAB_MASK_SUPER;
    return f->cpu->view_now[(linear & mask) >> 12 | (uint64_t)write << FTAB_WRITE_BIT];
}

static inline void check_host(struct frig *f, uint64_t linear, uint64_t gpa, bool write)
{
    assert_ptr_equal(ftab_host(f->cpu, linear, 1, write), host_of(f, gpa));
}

#define FILLED(f, linear, gpa, acc)                                                                \
    do {                                                                                           \
        assert_true(ftab_fill((f)->cpu, linear, acc));                                             \
        check_host(f, linear, gpa, (acc) == ACC_W);                                                \
    } while (0)
#define REFUSED(f, linear, acc)                                                                    \
    do {                                                                                           \
        assert_false(ftab_fill((f)->cpu, linear, acc));                                            \
        assert_int_equal(entry(f, linear, (acc) == ACC_W), 0);                                     \
    } while (0)

#endif
