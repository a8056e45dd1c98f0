/*
 * test-mmu.c: page walks of every paging mode with rights, error codes, accessed and dirty bits;
 * what the TLB keeps and forgets; accesses across pages and outside RAM; segment checks.
 */
#include "interp-harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100 };
#define NX (UINT64_C(1) << 63)

/* Tables at fixed places: L4 1000h, L3 2000h, L2 3000h, L1 4000h; the page is at 100000h. */
enum { L4 = 0x1000, L3 = 0x2000, L2 = 0x3000, L1 = 0x4000, PAGE = 0x100000 };
/* Linear address whose indices are 1, 2, 3, 4 (4-level); 0, 3, 4 as PAE. */
#define LINEAR ((UINT64_C(1) << 39) | (UINT64_C(2) << 30) | (UINT64_C(3) << 21) | (4u << 12))

typedef uint64_t __attribute__((aligned(1))) word64;
typedef uint32_t __attribute__((aligned(1))) word32;

static word64 *q(struct machine *m, uint64_t gpa)
{
    return (word64 *)(void *)(m->ram + gpa);
}

static word32 *d(struct machine *m, uint64_t gpa)
{
    return (word32 *)(void *)(m->ram + gpa);
}

static struct machine *four_level(uint64_t leaf_flags)
{
    struct machine *m = machine_new(16 << 20, 1);
    struct vcpu *cpu = m->cpu[0];
    machine_mode(m, 0, 64);
    memset(m->ram, 0, 0x10000);
    *q(m, L4 + 8) = L3 | P | W | U;
    *q(m, L3 + 16) = L2 | P | W | U;
    *q(m, L2 + 24) = L1 | P | W | U;
    *q(m, L1 + 32) = PAGE | leaf_flags;
    cpu->cr3 = L4;
    tlb_flush(cpu);
    return m;
}

struct access {
    uint64_t linear, val;
    unsigned bytes;
    int kind; /* 'r', 'w', 'x', or 'i' implicit read, 'p' probe */
};

static void do_access(struct vcpu *cpu, void *arg)
{
    struct access *a = arg;
    switch (a->kind) {
    case 'r':
        a->val = mem_read(cpu, a->linear, a->bytes);
        break;
    case 'w':
        mem_write(cpu, a->linear, a->val, a->bytes);
        break;
    case 'i':
        a->val = mem_read_sys(cpu, a->linear, a->bytes);
        break;
    case 'p':
        mem_probe_write(cpu, a->linear, a->bytes);
        break;
    default:
        (void)mmu_page(cpu, tlb_set_now(cpu), a->linear, ACC_X);
        break;
    }
}

/* The vector; *error its code. */
static int try_access(struct machine *m, int kind, uint64_t linear, unsigned bytes)
{
    struct access a = { .linear = linear, .bytes = bytes, .kind = kind, .val = 0x1122334455667788 };
    m->error = 0;
    return machine_try(m, 0, do_access, &a);
}

static void ring(struct machine *m, unsigned cpl)
{
    m->cpu[0]->cpl = (uint8_t)cpl;
    cpu_mode_changed(m->cpu[0]);
}

#define FAULT(m, kind, linear, code)                                                               \
    do {                                                                                           \
        assert_int_equal(try_access(m, kind, linear, 1), VEC_PF);                                  \
        assert_int_equal((m)->error, code);                                                        \
        assert_int_equal((m)->cpu[0]->cr2, linear);                                                \
    } while (0)
#define FINE(m, kind, linear) assert_int_equal(try_access(m, kind, linear, 1), -1)

static void test_rights(void **unused)
{
    (void)unused;
    /* leaf; then what user and supervisor (WP=1) reads, writes, fetches give: -1 or the code */
    static const struct {
        uint64_t leaf;
        int user[3], super[3];
    } rows[] = {
        { P | W | U, { -1, -1, -1 }, { -1, -1, -1 } },
        { P | U, { -1, PF_P | PF_W | PF_U, -1 }, { -1, PF_P | PF_W, -1 } },
        { P | W, { PF_P | PF_U, PF_P | PF_W | PF_U, PF_P | PF_U | PF_I }, { -1, -1, -1 } },
        { P, { PF_P | PF_U, PF_P | PF_W | PF_U, PF_P | PF_U | PF_I }, { -1, PF_P | PF_W, -1 } },
        { P | W | U | NX, { -1, -1, PF_P | PF_U | PF_I }, { -1, -1, PF_P | PF_I } },
        { 0, { PF_U, PF_W | PF_U, PF_U | PF_I }, { 0, PF_W, PF_I } },
        { P | W | U | UINT64_C(1) << 45,
          { PF_P | PF_RSVD | PF_U, PF_P | PF_RSVD | PF_W | PF_U, PF_P | PF_RSVD | PF_U | PF_I },
          { PF_P | PF_RSVD, PF_P | PF_RSVD | PF_W, PF_P | PF_RSVD | PF_I } },
    };
    static const int kinds[] = { 'r', 'w', 'x' };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct machine *m = four_level(rows[i].leaf);
        for (unsigned round = 0; round < 2; round++) /* from the walk, then from the TLB */
            for (unsigned k = 0; k < 3; k++)
                for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
                    int want = cpl ? rows[i].user[k] : rows[i].super[k];
                    ring(m, cpl);
                    if (want < 0)
                        FINE(m, kinds[k], LINEAR + 5);
                    else
                        FAULT(m, kinds[k], LINEAR + 5, (uint32_t)want);
                }
        machine_free(m);
    }
}

static void test_upper_levels_limit_rights(void **unused)
{
    (void)unused;
    struct machine *m = four_level(P | W | U);
    *q(m, L3 + 16) = L2 | P | U; /* read-only above */
    FAULT(m, 'w', LINEAR, PF_P | PF_W);
    *q(m, L3 + 16) = L2 | P | W | U | NX;
    tlb_flush(m->cpu[0]);
    FAULT(m, 'x', LINEAR, PF_P | PF_I);
    *q(m, L3 + 16) = L2 | P | W;
    tlb_flush(m->cpu[0]);
    ring(m, 3);
    FAULT(m, 'r', LINEAR, PF_P | PF_U);
    *q(m, L4 + 8) = 0;
    tlb_flush(m->cpu[0]);
    FAULT(m, 'r', LINEAR, PF_U);
    machine_free(m);
}

static void test_nx_needs_nxe(void **unused)
{
    (void)unused;
    struct machine *m = four_level(P | W | U | NX);
    m->cpu[0]->efer &= ~(uint64_t)EFER_NXE;
    FAULT(m, 'r', LINEAR, PF_P | PF_RSVD); /* bit 63 is reserved then */
    FAULT(m, 'x', LINEAR, PF_P | PF_RSVD); /* and no I */
    m->cpu[0]->cr4 |= CR4_SMEP;
    FAULT(m, 'x', LINEAR, PF_P | PF_RSVD | PF_I);
    machine_free(m);
}

static void test_write_protect(void **unused)
{
    (void)unused;
    struct machine *m = four_level(P | U);
    m->cpu[0]->cr0 &= ~(uint64_t)CR0_WP;
    FINE(m, 'w', LINEAR);
    ring(m, 3);
    FAULT(m, 'w', LINEAR, PF_P | PF_W | PF_U);
    machine_free(m);
}

static void test_smep_smap(void **unused)
{
    (void)unused;
    struct machine *m = four_level(P | W | U);
    struct vcpu *cpu = m->cpu[0];
    cpu->cr4 |= CR4_SMEP | CR4_SMAP;
    cpu_mode_changed(cpu);
    tlb_flush(cpu);
    FAULT(m, 'x', LINEAR, PF_P | PF_I);
    FAULT(m, 'r', LINEAR, PF_P);
    FAULT(m, 'w', LINEAR, PF_P | PF_W);
    cpu_set_rflags(cpu, FL_AC, FL_AC);
    FINE(m, 'r', LINEAR);
    FINE(m, 'w', LINEAR);
    FAULT(m, 'x', LINEAR, PF_P | PF_I);
    FAULT(m, 'i', LINEAR, PF_P); /* implicit: AC does not help */
    cpu_set_rflags(cpu, 0, FL_AC);
    FAULT(m, 'r', LINEAR, PF_P);
    ring(m, 3);
    FINE(m, 'r', LINEAR);
    FINE(m, 'x', LINEAR);
    FAULT(m, 'i', LINEAR, PF_P); /* implicit at CPL 3: a supervisor access */
    machine_free(m);
}

static void test_accessed_dirty(void **unused)
{
    (void)unused;
    struct machine *m = four_level(P | W | U);
    FINE(m, 'r', LINEAR);
    assert_int_equal(*q(m, L4 + 8) & (A | D), A);
    assert_int_equal(*q(m, L3 + 16) & (A | D), A);
    assert_int_equal(*q(m, L2 + 24) & (A | D), A);
    assert_int_equal(*q(m, L1 + 32) & (A | D), A);
    FINE(m, 'w', LINEAR); /* the entry is in the TLB, but D has to be set */
    assert_int_equal(*q(m, L1 + 32) & (A | D), A | D);
    assert_int_equal(*q(m, L2 + 24) & (A | D), A);
    machine_free(m);

    m = four_level(P | U); /* a write that faults sets nothing */
    FAULT(m, 'w', LINEAR, PF_P | PF_W);
    assert_int_equal(*q(m, L1 + 32) & (A | D), 0);
    machine_free(m);
}

static void test_large_pages(void **unused)
{
    (void)unused;
    struct machine *m = four_level(0);
    struct vcpu *cpu = m->cpu[0];
    struct access a = { .linear = LINEAR + 0x123, .bytes = 8, .kind = 'r' };

    *q(m, L2 + 24) = UINT64_C(0x200000) | P | W | U | PS;
    *q(m, 0x200000 + 0x4123) = 0xabcdef;
    assert_int_equal(machine_try(m, 0, do_access, &a), -1);
    assert_int_equal(a.val, 0xabcdef);
    FINE(m, 'w', LINEAR);
    assert_int_equal(*q(m, L2 + 24) & (A | D), A | D);
    *q(m, L2 + 24) |= 1u << 13;
    tlb_flush(cpu);
    FAULT(m, 'r', LINEAR, PF_P | PF_RSVD);

    *q(m, L3 + 16) = P | W | U | PS; /* 1 GiB at 0 */
    tlb_flush(cpu);
    *q(m, 0x604123) = 0x55aa;
    assert_int_equal(machine_try(m, 0, do_access, &a), -1);
    assert_int_equal(a.val, 0x55aa);
    *q(m, L3 + 16) |= UINT64_C(1) << 29;
    tlb_flush(cpu);
    FAULT(m, 'r', LINEAR, PF_P | PF_RSVD);
    *q(m, L4 + 8) |= PS;
    FAULT(m, 'r', LINEAR, PF_P | PF_RSVD);
    machine_free(m);
}

static void test_legacy(void **unused)
{
    (void)unused;
    struct machine *m = machine_new(16 << 20, 1);
    struct vcpu *cpu = m->cpu[0];
    machine_mode(m, 0, 32);
    *d(m, L4 + 3 * 4) = L3 | P | W | U;
    *d(m, L3 + 5 * 4) = PAGE | P | U;
    cpu->cr3 = L4;
    cpu->cr0 |= CR0_PG;
    tlb_flush(cpu);
    uint64_t linear = 3u << 22 | 5u << 12 | 0x10;
    struct access a = { .linear = linear, .bytes = 4, .kind = 'r' };
    *d(m, PAGE + 0x10) = 0x1234;
    assert_int_equal(machine_try(m, 0, do_access, &a), -1);
    assert_int_equal(a.val, 0x1234);
    assert_int_equal(*d(m, L3 + 20) & (A | D), A);
    FINE(m, 'w', linear); /* WP = 0 */
    assert_int_equal(*d(m, L3 + 20) & (A | D), A | D);
    ring(m, 3);
    FAULT(m, 'w', linear, PF_P | PF_W | PF_U);
    FAULT(m, 'x', 0x10, PF_U); /* no NX here: never I */

    /* 4 MiB, with bits 20:13 above 4 GiB; without PSE the bit is ignored */
    cpu->cr4 |= CR4_PSE;
    *d(m, L4 + 7 * 4) = 0x400000 | P | W | U | PS;
    tlb_flush(cpu);
    *d(m, 0x400000 + 0x5678) = 0x77;
    a.linear = 7u << 22 | 0x5678;
    assert_int_equal(machine_try(m, 0, do_access, &a), -1);
    assert_int_equal(a.val, 0x77);
    *d(m, L4 + 7 * 4) |= 1u << 21;
    tlb_flush(cpu);
    FAULT(m, 'r', a.linear, PF_P | PF_RSVD | PF_U);
    *d(m, L4 + 7 * 4) = 0x400000 | P | W | U | PS | 1u << 13;
    tlb_flush(cpu);
    assert_int_equal(machine_try(m, 0, do_access, &a), -1);
    assert_int_equal(m->mmio_gpa, UINT64_C(0x100405678));
    machine_free(m);
}

static void test_pae(void **unused)
{
    (void)unused;
    struct machine *m = machine_new(16 << 20, 1);
    struct vcpu *cpu = m->cpu[0];
    machine_mode(m, 0, 32);
    cpu->cr4 |= CR4_PAE;
    cpu->cr0 |= CR0_PG;
    cpu->efer |= EFER_NXE;
    cpu->pdpte[3] = L2 | P;
    *q(m, L2 + 8) = L1 | P | W | U;
    *q(m, L1 + 16) = PAGE | P | W | U | NX;
    tlb_flush(cpu);
    uint64_t linear = UINT64_C(3) << 30 | 1u << 21 | 2u << 12;
    FINE(m, 'r', linear);
    FINE(m, 'w', linear);
    FAULT(m, 'x', linear, PF_P | PF_I);
    FAULT(m, 'r', UINT64_C(1) << 30, 0); /* PDPTE not present */
    *q(m, L1 + 16) = PAGE | P | W | U | UINT64_C(1) << 55;
    tlb_flush(cpu);
    FAULT(m, 'r', linear, PF_P | PF_RSVD); /* 62:52 are reserved outside long mode */
    *q(m, L2 + 8) = UINT64_C(0x200000) | P | W | PS;
    tlb_flush(cpu);
    FINE(m, 'w', linear);
    ring(m, 3);
    FAULT(m, 'r', linear, PF_P | PF_U);
    machine_free(m);
}

static void test_tlb_keeps_and_forgets(void **unused)
{
    (void)unused;
    struct machine *m = four_level(P | W | U);
    struct vcpu *cpu = m->cpu[0];
    FINE(m, 'r', LINEAR);
    *q(m, L1 + 32) = 0;
    FINE(m, 'r', LINEAR); /* still there */
    tlb_flush_page(cpu, LINEAR + 0xfff);
    FAULT(m, 'r', LINEAR, 0);

    *q(m, L1 + 32) = PAGE | P | W | U | G;
    FINE(m, 'r', LINEAR);
    *q(m, L1 + 32) = 0;
    tlb_flush_context(cpu);
    FINE(m, 'r', LINEAR); /* global pages survive a CR3 write */
    tlb_flush(cpu);
    FAULT(m, 'r', LINEAR, 0);

    *q(m, L1 + 32) = PAGE | P | W | U;
    FINE(m, 'r', LINEAR);
    *q(m, L1 + 32) = 0;
    tlb_flush_context(cpu);
    FAULT(m, 'r', LINEAR, 0);

    /* INVLPG anywhere in a large page drops all of it */
    *q(m, L2 + 24) = UINT64_C(0x200000) | P | W | U | PS;
    FINE(m, 'r', LINEAR);
    FINE(m, 'r', LINEAR + 0x1000);
    *q(m, L2 + 24) = 0;
    tlb_flush_page(cpu, LINEAR + 0x80000);
    FAULT(m, 'r', LINEAR, 0);
    FAULT(m, 'r', LINEAR + 0x1000, 0);

    /* a fault on a stale entry re-reads the tables: making a page writable needs no INVLPG */
    *q(m, L2 + 24) = L1 | P | W | U;
    *q(m, L1 + 32) = PAGE | P | U;
    FINE(m, 'r', LINEAR);
    *q(m, L1 + 32) = PAGE | P | W | U;
    FINE(m, 'w', LINEAR);
    machine_free(m);
}

static void test_crossing(void **unused)
{
    (void)unused;
    struct machine *m = four_level(P | W | U);
    struct vcpu *cpu = m->cpu[0];
    struct access a = { .linear = LINEAR + 0xffd, .bytes = 8, .kind = 'w' };
    a.val = UINT64_C(0x0102030405060708);
    *q(m, PAGE + 0xff8) = 0;
    /* the second page is absent: CR2 is its first byte, and nothing is stored in the first */
    assert_int_equal(machine_try(m, 0, do_access, &a), VEC_PF);
    assert_int_equal(m->error, PF_W);
    assert_int_equal(cpu->cr2, LINEAR + 0x1000);
    assert_int_equal(*q(m, PAGE + 0xff8), 0);
    assert_int_equal(try_access(m, 'p', LINEAR + 0xffd, 8), VEC_PF);
    assert_int_equal(try_access(m, 'p', LINEAR + 0xff8, 8), -1);
    /* the pages are far apart in physical memory */
    *q(m, L1 + 40) = 0x300000 | P | W | U;
    assert_int_equal(machine_try(m, 0, do_access, &a), -1);
    assert_int_equal(*q(m, PAGE + 0xff8), UINT64_C(0x0607080000000000));
    assert_int_equal(*q(m, 0x300000), UINT64_C(0x0102030405));
    a.kind = 'r';
    a.val = 0;
    assert_int_equal(machine_try(m, 0, do_access, &a), -1);
    assert_int_equal(a.val, UINT64_C(0x0102030405060708));
    machine_free(m);
}

static void test_not_ram(void **unused)
{
    (void)unused;
    struct machine *m = four_level(UINT64_C(0xd0000000) | P | W | U);
    struct access a = { .linear = LINEAR + 0x10, .bytes = 4, .kind = 'r' };
    *q(m, L1 + 32) = UINT64_C(0xd0000000) | P | W | U;
    assert_int_equal(machine_try(m, 0, do_access, &a), -1);
    assert_int_equal(a.val, 0x13121110);
    a.kind = 'w';
    a.val = 0xcafe;
    assert_int_equal(machine_try(m, 0, do_access, &a), -1);
    assert_int_equal(m->mmio_gpa, UINT64_C(0xd0000010));
    assert_int_equal(m->mmio_len, 4);
    assert_int_equal(m->mmio_write, 1);
    assert_memory_equal(m->mmio_data, "\xfe\xca\0\0", 4);

    /* from RAM into registers: each side gets its part */
    *q(m, L1 + 24) = PAGE | P | W | U;
    *q(m, PAGE + 0xff8) = UINT64_C(0xeedd000000000000);
    a.linear = LINEAR - 2;
    a.kind = 'r';
    assert_int_equal(machine_try(m, 0, do_access, &a), -1);
    assert_int_equal(a.val, 0x0100eedd);

    /* ROM: read as memory, written as a device */
    m->soft.slot[1].gpa = 0xe0000000;
    m->soft.slot[1].len = 0x1000;
    m->soft.slot[1].host = m->ram + 0x200000;
    m->soft.slot[1].flags = MOBO_MAP_READONLY;
    m->soft.slot_count = 2;
    *q(m, 0x200000) = 0x600d;
    *q(m, L1 + 32) = UINT64_C(0xe0000000) | P | W | U;
    tlb_flush(m->cpu[0]);
    a.linear = LINEAR;
    assert_int_equal(machine_try(m, 0, do_access, &a), -1);
    assert_int_equal(a.val, 0x600d);
    FINE(m, 'w', LINEAR);
    assert_int_equal(m->mmio_gpa, UINT64_C(0xe0000000));
    assert_int_equal(*q(m, 0x200000), 0x600d);
    machine_free(m);
}

struct segment {
    unsigned seg, bytes, write;
    uint64_t off, linear;
};

static void do_segment(struct vcpu *cpu, void *arg)
{
    struct segment *s = arg;
    s->linear = seg_linear(cpu, s->seg, s->off, s->bytes, s->write);
}

static int try_segment(struct machine *m, unsigned seg, uint64_t off, unsigned bytes,
                       unsigned write)
{
    struct segment s = { seg, bytes, write, off, 0 };
    return machine_try(m, 0, do_segment, &s);
}

static void test_segments(void **unused)
{
    (void)unused;
    struct machine *m = machine_new(16 << 20, 1);
    struct vcpu *cpu = m->cpu[0];
    struct segment s = { SEG_DS, 4, 0, 0xffc, 0 };
    machine_mode(m, 0, 32);
    cpu->seg[SEG_DS].base = 0x10000;
    cpu->seg[SEG_DS].limit = 0xfff;
    cpu_mode_changed(cpu);
    assert_int_equal(machine_try(m, 0, do_segment, &s), -1);
    assert_int_equal(s.linear, 0x10ffc);
    assert_int_equal(try_segment(m, SEG_DS, 0xffd, 4, 0), VEC_GP);
    assert_int_equal(try_segment(m, SEG_DS, 0xfff, 1, 0), -1);
    assert_int_equal(try_segment(m, SEG_DS, 0xffffffff, 2, 0), VEC_GP);
    cpu->seg[SEG_SS].limit = 0xffff;
    cpu_mode_changed(cpu);
    assert_int_equal(try_segment(m, SEG_SS, 0xfffe, 4, 1), VEC_SS);
    /* expand-down: valid above the limit, up to 64 KiB or 4 GiB by B */
    cpu->seg[SEG_DS].attr = 0x97 | ATTR_DB;
    assert_int_equal(try_segment(m, SEG_DS, 0xfff, 1, 0), VEC_GP);
    assert_int_equal(try_segment(m, SEG_DS, 0x1000, 1, 0), -1);
    assert_int_equal(try_segment(m, SEG_DS, 0xfffffffe, 4, 0), VEC_GP);
    cpu->seg[SEG_DS].attr = 0x97;
    assert_int_equal(try_segment(m, SEG_DS, 0xfffe, 4, 0), VEC_GP);
    assert_int_equal(try_segment(m, SEG_DS, 0xfffc, 4, 0), -1);
    /* types */
    cpu->seg[SEG_DS].attr = 0x91; /* read-only */
    assert_int_equal(try_segment(m, SEG_DS, 0, 1, 0), -1);
    assert_int_equal(try_segment(m, SEG_DS, 0, 1, 1), VEC_GP);
    assert_int_equal(try_segment(m, SEG_CS, 0, 1, 1), VEC_GP);
    cpu->seg[SEG_CS].attr = 0x99 | ATTR_DB; /* execute-only */
    assert_int_equal(try_segment(m, SEG_CS, 0, 1, 0), VEC_GP);
    cpu->seg[SEG_ES].attr |= ATTR_UNUSABLE;
    cpu_mode_changed(cpu);
    assert_int_equal(try_segment(m, SEG_ES, 0, 1, 0), VEC_GP);

    machine_mode(m, 0, 64);
    uint64_t hole = UINT64_C(1) << 47;
    assert_int_equal(try_segment(m, SEG_DS, hole - 1, 1, 0), -1);
    assert_int_equal(try_segment(m, SEG_DS, hole - 1, 2, 0), VEC_GP);
    assert_int_equal(try_segment(m, SEG_SS, hole, 1, 0), VEC_SS);
    assert_int_equal(try_segment(m, SEG_DS, ~hole + 1, 1, 0), -1);
    assert_int_equal(try_access(m, 'r', hole, 8), VEC_GP);
    machine_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rights),
        cmocka_unit_test(test_upper_levels_limit_rights),
        cmocka_unit_test(test_nx_needs_nxe),
        cmocka_unit_test(test_write_protect),
        cmocka_unit_test(test_smep_smap),
        cmocka_unit_test(test_accessed_dirty),
        cmocka_unit_test(test_large_pages),
        cmocka_unit_test(test_legacy),
        cmocka_unit_test(test_pae),
        cmocka_unit_test(test_tlb_keeps_and_forgets),
        cmocka_unit_test(test_crossing),
        cmocka_unit_test(test_not_ram),
        cmocka_unit_test(test_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
