/*
 * test-ftab-flush.c: flat page tables: what each flush drops and what it keeps, contexts, and page
 * faults.
 */
#include "ftab-rig.h"

enum { F_PAGE, F_CR3, F_CR3_KEEP_SAME, F_PCID_PAGE, F_PCID_PAGE_OTHER, F_PCID, F_PCID_OTHER,
       F_NONGLOBAL, F_ALL, F_PGE, F_SMEP, F_SMAP, F_WP, F_NXE, F_REQUEST, F_KINDS };
/* What there is to drop: entries of the current context, of another one, S, and K. */
enum { E_USER, E_USER_GLOBAL, E_OTHER, E_OTHER_GLOBAL, E_SUPER, E_UPPER, E_UPPER_GLOBAL, E_KINDS };

static void flush(struct frig *f, unsigned kind, uint64_t linear)
{
    struct vcpu *cpu = f->cpu;
    switch (kind) {
    case F_PAGE:
        invlpg(f, linear + 0x123);
        break;
    case F_CR3:
        mov_cr(f, 3, cpu->cr3);
        break;
    case F_CR3_KEEP_SAME:
        mov_cr(f, 3, cpu->cr3 | UINT64_C(1) << 63);
        break;
    case F_PCID_PAGE:
        invpcid(f, 0, 1, linear);
        break;
    case F_PCID_PAGE_OTHER:
        invpcid(f, 0, 2, linear);
        break;
    case F_PCID:
        invpcid(f, 1, 1, 0);
        break;
    case F_PCID_OTHER:
        invpcid(f, 1, 2, 0);
        break;
    case F_NONGLOBAL:
        invpcid(f, 3, 0, 0);
        break;
    case F_ALL:
        invpcid(f, 2, 0, 0);
        break;
    case F_PGE:
        mov_cr(f, 4, cpu->cr4 ^ CR4_PGE);
        break;
    case F_SMEP:
        mov_cr(f, 4, cpu->cr4 ^ CR4_SMEP);
        break;
    case F_SMAP:
        mov_cr(f, 4, cpu->cr4 ^ CR4_SMAP);
        break;
    case F_WP:
        mov_cr(f, 0, cpu->cr0 ^ CR0_WP);
        break;
    case F_NXE:
        assert_true(efer_write(cpu, cpu->efer ^ EFER_NXE));
        break;
    default: /* what REQ_FLUSH does */
        tlb_flush(cpu);
        break;
    }
}

static void test_flushes(void **unused)
{
    (void)unused;
    /* D: must be dropped; K: is kept, or a switch would cost refills; 0: either */
    static const char rows[F_KINDS][E_KINDS + 1] = {
        [F_PAGE] = "DDKDDDD",          [F_CR3] = "D0K0DDK",
        [F_CR3_KEEP_SAME] = "KKKKKKK", [F_PCID_PAGE] = "D0K0DD0",
        [F_PCID_PAGE_OTHER] = "K0D0KKK", [F_PCID] = "D0K0DDK",
        [F_PCID_OTHER] = "KKD0KKK",    [F_NONGLOBAL] = "D0D0DDK",
        [F_ALL] = "DDDDDDD",           [F_PGE] = "DDDDDDD",
        [F_SMEP] = "DDDDDDD",          [F_SMAP] = "DDDDDDD",
        [F_WP] = "DDDDDDD",            [F_NXE] = "DDDDDDD",
        [F_REQUEST] = "DDDDDDD",
    };
    struct frig f;
    start_spaces(&f, 4, NULL);
    mov_cr(&f, 4, f.cpu->cr4 | CR4_PCIDE);
    for (unsigned kind = 0; kind < F_KINDS; kind++)
        for (unsigned what = 0; what < E_KINDS; what++)
            for (unsigned n = 0; n < 3; n++) {
                bool upper = what >= E_UPPER, other = what == E_OTHER || what == E_OTHER_GLOBAL;
                bool global = what == E_USER_GLOBAL || what == E_OTHER_GLOBAL ||
                              what == E_UPPER_GLOBAL;
                uint64_t linear = upper ? UP : LOW, leaf = PWUAD | (global ? G : 0);
                int space = upper ? -1 : other ? 1 : 0;
                mov_cr(&f, 3, space_cr3(1) | 2);
                mov_cr(&f, 3, space_cr3(0) | 1);
                if (other)
                    mov_cr(&f, 3, space_cr3(1) | 2);
                mode(&f, what <= E_OTHER_GLOBAL ? 3 : 0, false);
                /* n 0: a page of 4 KiB, 1: a neighbour of it, 2: elsewhere in 2 MiB */
                word_set(&f, pde_at(space, 1), FRAMES | leaf | PS);
                for (unsigned i = 0; i < 2; i++)
                    word_set(&f, pte_at(space, i), (FRAMES + i * 0x1000u) | leaf);
                uint64_t at = linear + (n == 2 ? 0x200000 : n * 0x1000u);
                assert_true(ftab_fill(f.cpu, linear + (n == 2 ? 0x200000 : 0), ACC_W));
                struct ftab_table *t = upper ? &f.cpu->ftab->k : what == E_SUPER ? &f.cpu->ftab->s
                                                                : &f.cpu->ftab->now->u;
                uint64_t i = half_index(at);
                assert_int_not_equal(t->r[i], 0);
                assert_int_not_equal(t->w[i], 0);
                mode(&f, 0, false);
                if (other)
                    mov_cr(&f, 3, space_cr3(0) | 1 | UINT64_C(1) << 63);
                flush(&f, kind, n == 2 ? linear + 0x3ff000 : at);
                char want = rows[kind][what];
                if ((want == 'D' && (t->r[i] || t->w[i])) || (want == 'K' && !(t->r[i] && t->w[i])))
                    print_error("flush %u, entry %u.%u\n", kind, what, n);
                if (want == 'D')
                    assert_int_equal(t->r[i] | t->w[i], 0);
                if (want == 'K')
                    assert_true(t->r[i] && t->w[i]);
                flush(&f, kind < F_PGE ? F_REQUEST : kind, 0); /* toggle back */
            }
    frig_free(&f);
}

static unsigned hook_switched[16], hook_dropped[16];

static void switched(struct vcpu *cpu, unsigned context)
{
    assert_int_equal(ftab_context(cpu), context);
    hook_switched[context]++;
}

static void dropped(struct vcpu *cpu, unsigned context)
{
    (void)cpu;
    hook_dropped[context]++;
}

static void go(struct frig *f, unsigned space, unsigned pcid, bool keep)
{
    mov_cr(f, 3, space_cr3(space) | pcid | (keep ? UINT64_C(1) << 63 : 0));
}

static void test_contexts(void **unused)
{
    (void)unused;
    static const struct ftab_hooks hooks = { .switched = switched, .dropped = dropped };
    struct frig f;
    memset(hook_switched, 0, sizeof hook_switched);
    start_spaces(&f, 3, &hooks);
    for (unsigned n = 0; n < 5; n++)
        word_set(&f, pte_at((int)n, 0), (FRAMES + n * 0x1000u) | PWUAD);
    mode(&f, 3, false);
    FILLED(&f, LOW, FRAMES, ACC_W);
    mode(&f, 0, false);
    /* without PCIDs a CR3 write drops it, going back included */
    go(&f, 1, 0, false);
    go(&f, 0, 0, false);
    mode(&f, 3, false);
    assert_int_equal(entry(&f, LOW, true), 0);
    mode(&f, 0, false);
    mov_cr(&f, 4, f.cpu->cr4 | CR4_PCIDE);
    for (unsigned n = 0; n < 3; n++) {
        go(&f, n, n + 1, true);
        mode(&f, 3, false);
        FILLED(&f, LOW, FRAMES + n * 0x1000u, ACC_W);
        mode(&f, 0, false);
    }
    uint64_t recycles = ftab_stats(f.cpu)->recycles;
    for (unsigned n = 0; n < 3; n++) { /* three contexts: all kept */
        go(&f, n, n + 1, true);
        mode(&f, 3, false);
        check_host(&f, LOW, FRAMES + n * 0x1000u, true);
        mode(&f, 0, false);
        assert_ptr_equal(f.cpu->view_user, f.cpu->ftab->now->view);
    }
    assert_int_equal(ftab_stats(f.cpu)->recycles, recycles);
    memset(hook_switched, 0, sizeof hook_switched);
    memset(hook_dropped, 0, sizeof hook_dropped);
    go(&f, 3, 4, true); /* the first one has waited longest */
    assert_int_equal(ftab_stats(f.cpu)->recycles, recycles + 1);
    unsigned taken = ftab_context(f.cpu);
    assert_int_equal(hook_switched[taken], 1);
    assert_int_equal(hook_dropped[taken], 1);
    mode(&f, 3, false);
    assert_int_equal(entry(&f, LOW, false), 0);
    FILLED(&f, LOW, FRAMES + 0x3000, ACC_W);
    mode(&f, 0, false);
    go(&f, 2, 3, true);
    mode(&f, 3, false);
    check_host(&f, LOW, FRAMES + 0x2000, true);
    mode(&f, 0, false);
    /* another base under a PCID is another context; dropping the PCID drops both */
    go(&f, 4, 3, true);
    mode(&f, 3, false);
    FILLED(&f, LOW, FRAMES + 0x4000, ACC_W);
    mode(&f, 0, false);
    go(&f, 4, 3, false);
    go(&f, 2, 3, true);
    mode(&f, 3, false);
    assert_int_equal(entry(&f, LOW, false), 0);
    /* what the supervisor has below and non-global entries above do not outlive a switch */
    word_set(&f, pte_at(2, 9), (FRAMES + 0x9000) | P | W | A | D);
    word_set(&f, pte_at(-1, 9), (FRAMES + 0x9000) | P | W | A | D);
    word_set(&f, pte_at(-1, 10), (FRAMES + 0xa000) | P | W | A | D | G);
    mode(&f, 0, false);
    FILLED(&f, LOW + 0x9000, FRAMES + 0x9000, ACC_R);
    FILLED(&f, UP + 0x9000, FRAMES + 0x9000, ACC_R);
    go(&f, 3, 4, true);
    assert_int_equal(entry(&f, LOW + 0x9000, false), 0);
    assert_int_equal(entry(&f, UP + 0x9000, false), 0);
    frig_free(&f);
}

/* 1 GiB and 4 MiB mappings: INVLPG anywhere in them drops all of them, and no page beside. */
static void test_huge_pages(void **unused)
{
    (void)unused;
    struct frig f;
    start_spaces(&f, 2, NULL);
    mode(&f, 0, false);
    word_set(&f, pdpte_at(0), PWUAD | PS); /* guest-physical 0: RAM is at 16 MiB */
    word_set(&f, pte_at(-1, 0), FRAMES | PWUAD | G);
    FILLED(&f, LOW + BANK + 0x5000, BANK + 0x5000, ACC_W);
    FILLED(&f, LOW + BANK + 0x1e00000, BANK + 0x1e00000, ACC_W);
    FILLED(&f, UP, FRAMES, ACC_W);
    invlpg(&f, LOW + 0x3ff00000);
    assert_int_equal(entry(&f, LOW + BANK + 0x5000, false), 0);
    assert_int_equal(entry(&f, LOW + BANK + 0x1e00000, true), 0);
    check_host(&f, UP, FRAMES, true);
    invlpg(&f, UP + 0x1000);
    check_host(&f, UP, FRAMES, true); /* the page next to it stays */
    frig_free(&f);

    frig_new(&f, 1, NULL); /* 32-bit paging with PSE */
    protected_mode(&f.r, 0);
    f.cpu->cr3 = PML4;
    f.cpu->efer = 0;
    f.cpu->cr4 = CR4_PSE;
    uint32_t pde = BANK | 0xe7;
    memset(f.r.ram + PML4, 0, 4096);
    memcpy(f.r.ram + PML4 + 4 * 5, &pde, 4);
    f.cpu->cr0 |= CR0_PG;
    tlb_flush(f.cpu);
    cpu_mode_changed(f.cpu);
    FILLED(&f, (5u << 22) + 0x1000, BANK + 0x1000, ACC_W);
    FILLED(&f, (5u << 22) + 0x3ff000, BANK + 0x3ff000, ACC_W);
    tlb_flush_page(f.cpu, (5u << 22) + 0x2ff000);
    assert_int_equal(entry(&f, (5u << 22) + 0x1000, false), 0);
    assert_int_equal(entry(&f, (5u << 22) + 0x3ff000, true), 0);
    /* and without paging at all */
    f.cpu->cr0 &= ~(uint64_t)CR0_PG;
    tlb_flush(f.cpu);
    FILLED(&f, BANK + 0x7000, BANK + 0x7000, ACC_W);
    REFUSED(&f, 0xd0000000, ACC_R);
    frig_free(&f);
}

/* A page fault drops what the tables still had for the address (SDM volume 3A, 4.10.4.1). */
static void test_fault_drops(void **unused)
{
    (void)unused;
    struct frig f;
    start_spaces(&f, 2, NULL);
    word_set(&f, pte_at(0, 0), FRAMES | P | U | A);
    mode(&f, 3, false);
    FILLED(&f, LOW, FRAMES, ACC_R);
    word_set(&f, pte_at(0, 0), 0);
    check_host(&f, LOW, FRAMES, false); /* not told yet */
    if (setjmp(f.cpu->unwind) == 0) {
        mem_write(f.cpu, LOW, 1, 1);
        assert_true(false);
    }
    f.cpu->exc_pending = 0;
    assert_int_equal(f.cpu->exc_vector, VEC_PF);
    assert_int_equal(entry(&f, LOW, false), 0);
    /* rights that were added above need no flush: the paging-structure cache is not believed */
    word_set(&f, pte_at(0, 0), FRAMES | PWUAD);
    word_set(&f, pde_at(0, 0), word_get(&f, pde_at(0, 0)) & ~(uint64_t)W);
    tlb_flush(f.cpu);
    FILLED(&f, LOW, FRAMES, ACC_R);
    REFUSED(&f, LOW, ACC_W);
    word_set(&f, pde_at(0, 0), word_get(&f, pde_at(0, 0)) | W);
    FILLED(&f, LOW, FRAMES, ACC_W);
    frig_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flushes),
        cmocka_unit_test(test_contexts),
        cmocka_unit_test(test_huge_pages),
        cmocka_unit_test(test_fault_drops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
