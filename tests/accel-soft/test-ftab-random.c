/*
 * test-ftab-random.c: random page tables, accesses, CR3 writes and flushes. After each step every
 * entry that the architecture does not allow to be stale has to agree with a fresh walk, and a fill
 * has to succeed exactly where a walk and the memory map say that it can. Deterministic: the seed
 * is an argument (default 1), the second one is the number of steps.
 */
#include "ftab-rig.h"

enum { SPACES = SPACES_MAX, PLAIN = 3 /* spaces below have no global pages */, PAGES = 1024 };

struct state {
    struct frig f;
    uint64_t seed;
    bool stale[SPACES]; /* its lower half was changed while another was current: not told yet */
    unsigned now;
    const void *code[8]; /* frames FRAMES + n * 4096 that hold decoded code */
    uint8_t before[TREES_LEN];
    uint64_t fills, refused, entries, changes, switches;
};

static uint64_t rnd(struct state *s)
{
    s->seed ^= s->seed << 13;
    s->seed ^= s->seed >> 7;
    return s->seed ^= s->seed << 17;
}

static bool one_in(struct state *s, unsigned n)
{
    return rnd(s) % n == 0;
}

static unsigned pcid_of(unsigned space)
{
    return space + 1;
}

/* Few pages of each half, so that things meet: 24 of the first table, 8 of the second. */
static unsigned random_page(struct state *s)
{
    return one_in(s, 4) ? 512 + (unsigned)(rnd(s) & 7) : (unsigned)(rnd(s) % 24);
}

static uint64_t random_linear(struct state *s)
{
    return (one_in(s, 2) ? UP : LOW) + random_page(s) * 4096u + (rnd(s) & 0xfff);
}

static uint64_t random_flags(struct state *s, bool global)
{
    uint64_t r = rnd(s);
    uint64_t e = (r & 7 ? P : 0) | (r & 8 ? W : 0) | (r & 0x30 ? U : 0) | (r & 0x40 ? A : 0) |
                 (r & 0x80 ? D : 0) | (global && (r & 0x100) ? G : 0);
    e |= !(r >> 9 & 7) ? PTE_NX : 0;
    e |= !(r >> 12 & 31) ? UINT64_C(1) << 51 : 0;
    return e;
}

static uint64_t random_pte(struct state *s, bool global)
{
    uint64_t frame = FRAMES + (rnd(s) & 15) * 4096;
    if (one_in(s, 8))
        frame = one_in(s, 2) ? (uint64_t)ROM + (rnd(s) & 15) * 4096 : UINT64_C(0xd0000000);
    return frame | random_flags(s, global);
}

static uint64_t random_pde(struct state *s, int space, unsigned n, bool global)
{
    if (one_in(s, 3))
        return (FRAMES + (rnd(s) & 7) * (2u << 20)) | random_flags(s, global) | PS;
    uint64_t t = space < 0 ? (uint64_t)UPPER : space_cr3((unsigned)space);
    uint64_t e = (t + T_PT + n * 0x1000u) | P | (one_in(s, 4) ? 0 : W) | (one_in(s, 4) ? 0 : U);
    return one_in(s, 16) ? 0 : e;
}

/* ---- checks ---- */

static bool special(struct state *s, uint64_t gpa, bool write)
{
    uint64_t left = 0;
    uint32_t flags = 0;
    if (!soft_ram(s->f.r.s, gpa, &left, &flags))
        return true;
    if (!write)
        return false;
    for (unsigned i = 0; i < 8; i++)
        if (s->code[i] && FRAMES + i * 4096u == (gpa & PAGE_MASK))
            return true;
    return flags & MOBO_MAP_READONLY;
}

static void check_page(struct state *s, const struct ftab_table *t, unsigned set, uint64_t linear)
{
    uint64_t i = half_index(linear), r = t->r[i], w = t->w[i];
    struct walk walk = { 0 };
    if (!r && !w)
        return;
    s->entries++;
    uint64_t line = UINT64_C(1) << ((i >> 3) & 63);
    assert_true(!r || (t->region[i >> 9].r & line));
    assert_true(!w || (t->region[i >> 9].w & line));
    assert_true(mmu_walk_ram(s->f.cpu, set, linear, ACC_R, &walk));
    uint64_t host = (uintptr_t)host_of(&s->f, walk.gpa);
    assert_false(special(s, walk.gpa, false));
    if (r)
        assert_int_equal(r + linear, host);
    if (!w)
        return;
    assert_int_equal(w + linear, host);
    assert_true((walk.perm & ACC_W) && walk.writable);
    assert_false(special(s, walk.gpa, true));
}

static void check_half(struct state *s, const struct ftab_table *t, unsigned set, uint64_t base)
{
    if (!t->count)
        return;
    for (unsigned n = 0; n < PAGES; n++) {
        if (n == 32)
            n = 512;
        if (n == 512 + 32)
            break;
        check_page(s, t, set, base + n * 4096u);
    }
}

/* All tables; fresh walks set A and D where they are not set yet: that must not happen here. */
static void check(struct state *s)
{
    struct vcpu *cpu = s->f.cpu;
    struct ftab *ft = cpu->ftab;
    uint64_t cr3 = cpu->cr3;
    memcpy(s->before, s->f.bank, TREES_LEN);
    check_half(s, &ft->s, TLB_SUPER, LOW);
    check_half(s, &ft->k, TLB_SUPER, UP);
    for (unsigned n = 0; n < ft->contexts; n++) {
        struct ftab_context *c = &ft->context[n];
        unsigned space = (unsigned)((c->base - TREE) / (TREE_PAGES * 4096));
        if (!c->valid || s->stale[space])
            continue;
        cpu->cr3 = c->base;
        check_half(s, &c->u, TLB_USER, LOW);
    }
    cpu->cr3 = cr3;
    assert_memory_equal(s->before, s->f.bank, TREES_LEN);
}

/* ---- steps ---- */

static void access_(struct state *s)
{
    static const struct {
        uint8_t cpl, ac;
    } modes[] = { { 3, 0 }, { 0, 0 }, { 0, 1 } };
    struct vcpu *cpu = s->f.cpu;
    unsigned m = rnd(s) % 3, acc = one_in(s, 3) ? ACC_W : ACC_R;
    uint64_t linear = random_linear(s);
    bool upper = linear >> 63, smap = cpu->cr4 & CR4_SMAP, possible;
    mode(&s->f, modes[m].cpl, modes[m].ac);
    memcpy(s->before, s->f.bank, TREES_LEN);
    bool user_set = cpu->cpl == 3 || (!upper && smap && modes[m].ac);
    bool got = ftab_fill(cpu, linear, acc);
    if (got) {
        s->fills++;
        assert_non_null(ftab_host(cpu, linear, 1, acc == ACC_W));
    } else {
        s->refused++;
    }
    /* what a walk with the rights of the table says, after the fill: A and D are no matter */
    struct walk walk = { 0 };
    possible = !(upper && cpu->cpl == 3) &&
               mmu_walk_ram(cpu, user_set ? TLB_USER : TLB_SUPER, linear, acc, &walk) &&
               !special(s, walk.gpa, acc == ACC_W) && (acc == ACC_R || walk.writable);
    if (got != possible)
        print_error("%llx, access %u, cpl %u ac %u smap %d wp %d nxe %d: fill %d, walk %d: "
                    "error %x, gpa %llx\n",
                    (unsigned long long)linear, acc, cpu->cpl, modes[m].ac, smap,
                    !!(cpu->cr0 & CR0_WP), !!(cpu->efer & EFER_NXE), got, possible, walk.error,
                    (unsigned long long)walk.gpa);
    assert_int_equal(got, possible);
    if (got)
        assert_ptr_equal(ftab_host(cpu, linear, 1, acc == ACC_W),
                         host_of(&s->f, walk.gpa) + (linear & 0xfff));
    if (walk.error) /* a fault: nothing happened */
        assert_memory_equal(s->before, s->f.bank, TREES_LEN);
    mode(&s->f, 0, false);
}

static void all_told(struct state *s)
{
    memset(s->stale, 0, sizeof s->stale);
}

static void go(struct state *s, unsigned space, bool keep)
{
    keep = keep && !s->stale[space];
    mov_cr(&s->f, 3, space_cr3(space) | pcid_of(space) | (keep ? UINT64_C(1) << 63 : 0));
    s->now = space;
    if (!keep)
        s->stale[space] = false;
    s->switches++;
}

/* Something that covers what was changed: LINEAR alone if PAGE, in SPACE (-1: the upper half). */
static void tell(struct state *s, int space, uint64_t linear, bool page, bool global)
{
    struct frig *f = &s->f;
    bool other = space >= 0 && (unsigned)space != s->now;
    unsigned pcid = pcid_of(space < 0 ? s->now : (unsigned)space);
    if (global) {
        /* the other mappings of the page in other address spaces are not global: theirs too */
        if (page && !other && one_in(s, 2)) {
            invlpg(f, linear);
        } else {
            one_in(s, 2) ? invpcid(f, 2, 0, 0) : tlb_flush(f->cpu);
            all_told(s);
        }
        return;
    }
    switch (rnd(s) % 6) {
    case 0:
    case 1:
        if (page && !other) {
            invlpg(f, linear);
            break;
        }
        if (page) {
            invpcid(f, 0, pcid, linear);
            break;
        }
        /* fallthrough */
    case 2:
        if (page) {
            invpcid(f, 0, pcid, linear);
            break;
        }
        invpcid(f, 1, pcid, 0);
        if (space >= 0)
            s->stale[space] = false;
        break;
    case 3:
        if (other) { /* later, by the CR3 write that goes there */
            s->stale[space] = true;
            break;
        }
        go(s, s->now, false);
        break;
    case 4:
        invpcid(f, 3, 0, 0);
        all_told(s);
        break;
    default:
        invpcid(f, 1, pcid, 0);
        if (space >= 0)
            s->stale[space] = false;
        break;
    }
}

/* Where did the change go: the second table of each half may hold global pages. */
static void change(struct state *s)
{
    struct frig *f = &s->f;
    int space = one_in(s, 3) ? -1 : (int)(rnd(s) % SPACES);
    unsigned n = random_page(s);
    bool global = n >= 512 && (space < 0 || space >= PLAIN), page = !one_in(s, 6);
    uint64_t linear = (space < 0 ? UP : LOW) + n * 4096u;
    s->changes++;
    if (page) {
        word_set(f, pte_at(space, n), random_pte(s, global));
        /* it may be used through a large page now: INVLPG of the page is enough in any case */
    } else {
        word_set(f, pde_at(space, n >> 9), random_pde(s, space, n >> 9, global));
    }
    /* the paging structures of the upper half are cached for each PCID: each has to be told */
    for (unsigned i = 0; i < SPACES && space < 0; i++)
        s->stale[i] = s->stale[i] || i != s->now;
    tell(s, space, linear, page, global);
}

static void toggle(struct state *s)
{
    struct vcpu *cpu = s->f.cpu;
    switch (rnd(s) % 4) {
    case 0:
        mov_cr(&s->f, 4, cpu->cr4 ^ CR4_SMAP);
        break;
    case 1:
        mov_cr(&s->f, 0, cpu->cr0 ^ CR0_WP);
        break;
    case 2:
        mov_cr(&s->f, 4, cpu->cr4 ^ CR4_PGE);
        break;
    default:
        assert_true(efer_write(cpu, cpu->efer ^ EFER_NXE));
        break;
    }
    all_told(s);
}

static void toggle_code(struct state *s)
{
    unsigned n = rnd(s) & 7;
    uint64_t gpa = FRAMES + n * 4096u;
    if (s->code[n]) {
        smc_leave(s->f.cpu, gpa, s->code[n]);
        s->code[n] = NULL;
    } else {
        s->code[n] = smc_enter(s->f.cpu, gpa);
        assert_non_null(s->code[n]);
    }
}

static uint64_t arg_seed = 1, arg_steps = 8000;

static void test_random(void **unused)
{
    (void)unused;
    static struct state state;
    struct state *s = &state;
    memset(s, 0, sizeof *s);
    frig_new(&s->f, 3, NULL);
    spaces_build(&s->f);
    s->seed = arg_seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    mov_cr(&s->f, 4, s->f.cpu->cr4 | CR4_PCIDE);
    for (int space = -1; space < SPACES; space++)
        for (unsigned k = 0; k < 64; k++) {
            unsigned n = k < 32 ? k : 480 + k;
            bool global = n >= 512 && (space < 0 || space >= PLAIN);
            word_set(&s->f, pte_at(space, n), random_pte(s, global));
        }
    go(s, 0, false);
    for (uint64_t step = 0; step < arg_steps; step++) {
        unsigned what = rnd(s) % 64;
        if (what < 46)
            access_(s);
        else if (what < 55)
            change(s);
        else if (what < 61)
            go(s, (unsigned)(rnd(s) % SPACES), !one_in(s, 4));
        else if (what < 63)
            toggle_code(s);
        else
            toggle(s);
        if (what >= 46 || !(step & 3))
            check(s);
    }
    const struct ftab_stats *st = ftab_stats(s->f.cpu);
    print_message("%u fills, %u refused, %u entries checked, %u changes, %u switches, %u kept, "
                  "%u recycles, %u around, %u steals, %u protects\n",
                  (unsigned)s->fills, (unsigned)s->refused, (unsigned)s->entries,
                  (unsigned)s->changes, (unsigned)s->switches, (unsigned)st->kept,
                  (unsigned)st->recycles, (unsigned)st->around, (unsigned)st->steals,
                  (unsigned)st->protects);
    /* or the test tests nothing */
    assert_true(s->fills > arg_steps / 8 && s->entries > arg_steps && st->kept > arg_steps / 1000);
    frig_free(&s->f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_random) };
    if (argc > 1)
        arg_seed = strtoull(argv[1], NULL, 0);
    if (argc > 2)
        arg_steps = strtoull(argv[2], NULL, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
