/*
 * test-ftab.c: flat page tables: what is entered for which mode, and that no address, however
 * hostile, leads out of guest RAM. Flushes are in test-ftab-flush.c, random sequences in
 * test-ftab-random.c.
 */
#include "ftab-rig.h"

#include <sys/resource.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif

static void test_fill_sets_accessed_and_dirty(void **unused)
{
    (void)unused;
    struct frig f;
    start_spaces(&f, 2, NULL);
    word_set(&f, pte_at(0, 5), FRAMES | P | W | U);
    mode(&f, 3, false);
    FILLED(&f, LOW + 0x5123, FRAMES + 0x123, ACC_R);
    assert_int_equal(word_get(&f, pte_at(0, 5)) & (A | D), A);
    assert_int_equal(word_get(&f, pde_at(0, 0)) & A, A);
    assert_int_equal(entry(&f, LOW + 0x5000, true), 0); /* the first store has to set D */
    FILLED(&f, LOW + 0x5ff8, FRAMES + 0xff8, ACC_W);
    assert_int_equal(word_get(&f, pte_at(0, 5)) & (A | D), A | D);
    assert_ptr_equal(ftab_host(f.cpu, LOW + 0x5ffc, 8, false), NULL); /* not aligned */
    frig_free(&f);
}

static void test_rights(void **unused)
{
    (void)unused;
    /* leaf and modes; is a load, a store entered? */
    static const struct {
        uint64_t leaf;
        uint8_t cpl, ac, smap, wp;
        bool load, store;
    } rows[] = {
        { P | W | U, 3, 0, 1, 1, true, true },   { P | U, 3, 0, 1, 1, true, false },
        { P | W, 3, 0, 1, 1, false, false },     { P | W, 3, 0, 0, 0, false, false },
        { P | W | U, 0, 0, 0, 1, true, true },   { P | W | U, 0, 1, 0, 1, true, true },
        { P | W | U, 0, 0, 1, 1, false, false }, { P | W | U, 0, 1, 1, 1, true, true },
        { P | U, 0, 1, 1, 1, true, false },      { P | W, 0, 0, 1, 1, true, true },
        { P | W, 0, 1, 1, 1, false, false }, /* permitted, but slow */
        { P, 0, 0, 1, 1, true, false },          { P, 0, 0, 1, 0, true, false }, /* WP = 0: slow */
        { P | U, 0, 1, 1, 0, true, false },      { 0, 0, 0, 1, 1, false, false },
        { P | W | U | UINT64_C(1) << 51, 3, 0, 1, 1, false, false },
    };
    struct frig f;
    start_spaces(&f, 2, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (unsigned upper = 0; upper < 2; upper++) {
            uint64_t linear = (upper ? UP : LOW) + 0x7000, at = pte_at(upper ? -1 : 0, 7);
            word_set(&f, at, rows[i].leaf | FRAMES);
            f.cpu->cr4 = (f.cpu->cr4 & ~(uint64_t)CR4_SMAP) | (rows[i].smap ? CR4_SMAP : 0);
            f.cpu->cr0 = (f.cpu->cr0 & ~(uint64_t)CR0_WP) | (rows[i].wp ? CR0_WP : 0);
            tlb_flush(f.cpu);
            mode(&f, rows[i].cpl, rows[i].ac);
            bool user = rows[i].leaf & U, ac = rows[i].ac && rows[i].smap;
            bool load = rows[i].load, store = rows[i].store;
            if (upper) {
                /* CPL 3 never; the supervisor as with AC = 0, for the upper half is shared */
                load = rows[i].cpl != 3 && (rows[i].leaf & P) && !(user && rows[i].smap);
                store = load && (rows[i].leaf & W);
                if (ac && (rows[i].leaf & P) && !user)
                    load = true;
            }
            if (load)
                FILLED(&f, linear, FRAMES, ACC_R);
            else
                REFUSED(&f, linear, ACC_R);
            if (!load) /* denied ones leave no trace */
                assert_int_equal(word_get(&f, at) & (A | D), 0);
            if (store)
                FILLED(&f, linear, FRAMES, ACC_W);
            else
                REFUSED(&f, linear, ACC_W);
        }
    frig_free(&f);
}

static void test_views(void **unused)
{
    (void)unused;
    struct frig f;
    start_spaces(&f, 2, NULL);
    struct vcpu *cpu = f.cpu;
    uint64_t *empty = cpu->ftab->empty;
    word_set(&f, pte_at(0, 0), FRAMES | P | W | U);
    mode(&f, 0, false);
    assert_ptr_equal(cpu->view_now, cpu->view_kernel);
    mode(&f, 0, true);
    assert_ptr_equal(cpu->view_now, cpu->view_kernel);
    mov_cr(&f, 4, cpu->cr4 | CR4_SMAP);
    assert_ptr_equal(cpu->view_now, cpu->view_user);
    cpu->cr0 |= CR0_AM;
    mode(&f, 3, false);
    assert_ptr_equal(cpu->view_now, cpu->view_user);
    FILLED(&f, LOW, FRAMES, ACC_R);
    mode(&f, 3, true);
    assert_ptr_equal(cpu->view_now, empty);
    REFUSED(&f, LOW, ACC_R);
    mode(&f, 3, false);
    cpu->dr[0] = LOW + 0x5000;
    cpu->dr7 = 0x400 | 3 | 3u << 16; /* loads and stores */
    debug_changed(cpu);
    assert_true(cpu->debug_watch);
    assert_ptr_equal(cpu->view_now, empty);
    assert_ptr_equal(cpu->view_user, empty);
    assert_ptr_equal(cpu->view_kernel, empty);
    REFUSED(&f, LOW, ACC_R);
    cpu->dr7 = 0x400;
    debug_changed(cpu);
    assert_ptr_not_equal(cpu->view_now, empty);
    assert_int_equal(entry(&f, LOW, false), 0);
    FILLED(&f, LOW, FRAMES, ACC_W);
    frig_free(&f);
}

static void test_not_ram(void **unused)
{
    (void)unused;
    struct frig f;
    start_spaces(&f, 2, NULL);
    mode(&f, 3, false);
    word_set(&f, pte_at(0, 0), UINT64_C(0xd0000000) | PWUAD);
    word_set(&f, pte_at(0, 1), (uint64_t)ROM | PWUAD);
    word_set(&f, pte_at(0, 2), FRAMES | PWUAD);
    REFUSED(&f, LOW, ACC_R);
    REFUSED(&f, LOW, ACC_W);
    FILLED(&f, LOW + 0x1000, ROM, ACC_R);
    REFUSED(&f, LOW + 0x1000, ACC_W);
    FILLED(&f, LOW + 0x2000, FRAMES, ACC_W);
    assert_int_equal(entry(&f, LOW + 0x1000, true), 0); /* nor as a neighbour */
    assert_int_equal(entry(&f, LOW, false), 0);
    f.cpu->apic_base = FRAMES | 0x800; /* the local APIC over RAM */
    tlb_flush(f.cpu);
    REFUSED(&f, LOW + 0x2000, ACC_R);
    FILLED(&f, LOW + 0x1000, ROM, ACC_R);
    assert_int_equal(entry(&f, LOW + 0x2000, false), 0);
    /* a page table that is not in RAM: no device hears of the walk */
    word_set(&f, pde_at(0, 1), UINT64_C(0xd0000000) | PWUAD);
    uint64_t before = f.cpu->mmio;
    REFUSED(&f, LOW + 0x200000, ACC_R);
    assert_int_equal(f.cpu->mmio, before);
    /* addresses that are none */
    f.cpu->apic_base = 0;
    word_set(&f, pte_at(-1, 2), FRAMES | PWUAD);
    tlb_flush(f.cpu);
    REFUSED(&f, (LOW + 0x2000) | UINT64_C(1) << 50, ACC_R);
    REFUSED(&f, UP + 0x2000, ACC_R);
    mode(&f, 0, false);
    REFUSED(&f, (LOW + 0x2000) | UINT64_C(1) << 50, ACC_R);
    REFUSED(&f, (UP + 0x2000) ^ UINT64_C(1) << 50, ACC_R);
    REFUSED(&f, UP - (UINT64_C(1) << 48) + 0x2000, ACC_R);
    FILLED(&f, UP + 0x2000, FRAMES, ACC_W);
    frig_free(&f);
}

static void test_neighbours(void **unused)
{
    (void)unused;
    struct frig f;
    start_spaces(&f, 2, NULL);
    mode(&f, 3, false);
    static const uint64_t leaf[9] = { PWUAD, P | W | U | A, P | W | U, P | U | A | D, P | W | A | D,
                                      W | U | A | D, PWUAD, PWUAD | UINT64_C(1) << 51, PWUAD };
    for (unsigned i = 0; i < 9; i++)
        word_set(&f, pte_at(0, 16 + i), (FRAMES + i * 0x3000u) | leaf[i]);
    FILLED(&f, LOW + 0x16000, FRAMES + 6 * 0x3000, ACC_R);
    static const bool load[9] = { 1, 1, 0, 1, 0, 0, 1, 0, 0 }, store[9] = { 1, 0, 0, 0, 0, 0, 1 };
    for (unsigned i = 0; i < 9; i++) {
        uint64_t at = LOW + 0x10000 + i * 0x1000u;
        uint64_t host = (uintptr_t)host_of(&f, FRAMES + i * 0x3000u);
        assert_int_equal(entry(&f, at, false), load[i] ? host - at : 0);
        assert_int_equal(entry(&f, at, true), store[i] ? host - at : 0);
        assert_int_equal(word_get(&f, pte_at(0, 16 + i)), (FRAMES + i * 0x3000u) | leaf[i]);
    }
    /* a large page fills around too, but not where the page is decoded code */
    const void *map = smc_enter(f.cpu, FRAMES + 0x1000);
    word_set(&f, pde_at(0, 1), FRAMES | PWUAD | PS);
    FILLED(&f, LOW + 0x203000, FRAMES + 0x3000, ACC_W);
    check_host(&f, LOW + 0x204010, FRAMES + 0x4010, true);
    check_host(&f, LOW + 0x201010, FRAMES + 0x1010, false);
    assert_int_equal(entry(&f, LOW + 0x201000, true), 0);
    smc_leave(f.cpu, FRAMES + 0x1000, map);
    frig_free(&f);
}

static void test_decoded_code(void **unused)
{
    (void)unused;
    struct frig f;
    start_spaces(&f, 2, NULL);
    mode(&f, 0, false);
    /* one frame at two places below and one above */
    for (unsigned i = 0; i < 2; i++)
        word_set(&f, pte_at(0, 8 * i), FRAMES | PWUAD);
    word_set(&f, pte_at(-1, 0), FRAMES | PWUAD);
    FILLED(&f, LOW, FRAMES, ACC_W);
    FILLED(&f, UP, FRAMES, ACC_W);
    check_host(&f, LOW, FRAMES, true);
    FILLED(&f, LOW + 0x8000, FRAMES, ACC_W);
    assert_int_equal(entry(&f, LOW, true), 0); /* one place at a time: so it can be found */
    check_host(&f, LOW, FRAMES, false);
    assert_int_equal(ftab_stats(f.cpu)->steals, 1);
    const void *map = smc_enter(f.cpu, FRAMES + 0x20);
    assert_int_equal(entry(&f, LOW + 0x8000, true), 0);
    assert_int_equal(entry(&f, UP, true), 0);
    check_host(&f, LOW + 0x8000, FRAMES, false);
    REFUSED(&f, LOW, ACC_W);
    REFUSED(&f, UP, ACC_W);
    assert_false(mmu_protect(f.cpu, FRAMES)); /* nothing was direct any more */
    smc_leave(f.cpu, FRAMES + 0x20, map);
    FILLED(&f, LOW, FRAMES, ACC_W);
    assert_true(mmu_protect(f.cpu, FRAMES));
    frig_free(&f);
}

static void test_slots(void **unused)
{
    (void)unused;
    struct frig f;
    start_spaces(&f, 2, NULL);
    uint8_t *more = map_memory(64 << 10);
    assert_int_equal(soft_accel_ops.ram_map(f.r.s, 0x70000000, more, 64 << 10, 0), MOBO_OK);
    word_set(&f, pte_at(0, 0), UINT64_C(0x70000000) | PWUAD);
    word_set(&f, pte_at(-1, 0), UINT64_C(0x70000000) | PWUAD);
    FILLED(&f, LOW, 0x70000000, ACC_W);
    FILLED(&f, UP, 0x70000000, ACC_W);
    mode(&f, 3, false);
    FILLED(&f, LOW, 0x70000000, ACC_W);
    assert_int_equal(soft_accel_ops.ram_unmap(f.r.s, 0x70000000, 64 << 10), MOBO_OK);
    REFUSED(&f, LOW, ACC_W);
    mode(&f, 0, false);
    assert_int_equal(entry(&f, LOW, false) | entry(&f, LOW, true), 0);
    assert_int_equal(entry(&f, UP, false) | entry(&f, UP, true), 0);
    munmap(more, 64 << 10);
    frig_free(&f);
}

static void test_no_room(void **unused)
{
    (void)unused;
    struct frig f;
    const char *why = NULL;
    struct rlimit old, few = { 1 << 20, 1 << 20 };
    start_spaces(&f, 2, NULL);
    ftab_fini(f.cpu);
    assert_null(f.cpu->view_now);
    cpu_mode_changed(f.cpu); /* works without tables */
    tlb_flush(f.cpu);
    f.r.s->vcpu_count = 32;
    assert_int_equal(ftab_init(f.cpu, 0, NULL, &why), MOBO_ENOMEM);
    assert_non_null(why);
    assert_null(f.cpu->ftab);
    f.r.s->vcpu_count = 8;
    assert_int_equal(ftab_init(f.cpu, 0, NULL, &why), MOBO_OK);
    assert_in_range(ftab_contexts(f.cpu), 4, 15);
    ftab_fini(f.cpu);
    f.r.s->vcpu_count = 1;
#ifndef SANITIZED /* the sanitizer needs address space itself */
    assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
    few.rlim_max = old.rlim_max;
    few.rlim_cur = UINT64_C(1) << 40;
    assert_int_equal(setrlimit(RLIMIT_AS, &few), 0);
    why = NULL;
    assert_int_equal(ftab_init(f.cpu, 0, NULL, &why), MOBO_ENOMEM);
    assert_non_null(why);
    assert_int_equal(setrlimit(RLIMIT_AS, &old), 0);
#endif
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    few.rlim_max = old.rlim_max;
    few.rlim_cur = 1 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &few), 0);
    assert_int_equal(ftab_init(f.cpu, 0, NULL, &why), MOBO_ENOMEM);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(ftab_init(f.cpu, 1, NULL, &why), MOBO_OK);
    frig_free(&f);
}

/* A guest that touches one page in each 2 MiB makes the host provide 4 KiB each time: bounded. */
static void test_budget(void **unused)
{
    (void)unused;
    struct frig f;
    start_spaces(&f, 2, NULL);
    word_set(&f, pte_at(-1, 0), FRAMES | PWUAD | G);
    FILLED(&f, UP, FRAMES, ACC_W);
    f.cpu->ftab->budget = 1000;
    uint64_t releases = ftab_stats(f.cpu)->releases;
    for (uint64_t i = 1; i < 5000; i++) {
        uint64_t at = UINT64_C(0xffff900000000000) + i * (2 << 20);
        REFUSED(&f, at, i & 1 ? ACC_R : ACC_W);
        assert_in_range(f.cpu->ftab->touched, 0, 1001);
    }
    assert_true(ftab_stats(f.cpu)->releases >= releases + 4);
    FILLED(&f, UP, FRAMES, ACC_W); /* it goes on */
    check_host(&f, UP, FRAMES, false);
    frig_free(&f);
}

/* ---- no way out ---- */

static uint64_t rnd_state = 88172645463325252;

static uint64_t rnd(void)
{
    rnd_state ^= rnd_state << 13;
    rnd_state ^= rnd_state >> 7;
    return rnd_state ^= rnd_state << 17;
}

/* As ftab.h writes it down, with the instructions themselves where the host has them. */
static bool generated_code(const struct vcpu *cpu, uint64_t ea, unsigned bytes, bool write,
                           uint64_t *host)
{
    uint64_t mask = cpu->cpl == 3 ? FTAB_MASK_USER : FTAB_MASK_SUPER, i;
#ifdef __x86_64__
    if (__builtin_cpu_supports("bmi2"))
        __asm__("pext %2, %1, %0" : "=r"(i) : "r"(ea), "r"(mask));
    else
#endif
        i = (ea & mask) >> 12;
    i |= write ? UINT64_C(1) << FTAB_WRITE_BIT : 0;
    assert_true(i < UINT64_C(1) << 37);
    uint64_t e = cpu->view_now[i];
    if (!e || ((ea & 0xff) & (bytes - 1)))
        return false;
    *host = ea + e;
    return true;
}

static void check_harmless(struct frig *f, uint64_t host, unsigned bytes, bool write)
{
    uint64_t last = host + bytes - 1;
    if (host >> 47 != 0) { /* not ours, from the first to the last byte */
        assert_true(last >> 47 == host >> 47);
        return;
    }
    for (unsigned n = 0; n < f->r.s->slot_count; n++) {
        const struct ram_slot *slot = &f->r.s->slot[n];
        uint64_t off = host - (uintptr_t)slot->host;
        if (off < slot->len) {
            assert_true(slot->len - off >= bytes);
            assert_false(write && (slot->flags & MOBO_MAP_READONLY));
            return;
        }
    }
    print_error("host address %llx is the monitor's\n", (unsigned long long)host);
    assert_true(false);
}

static void test_hostile_addresses(void **unused)
{
    (void)unused;
    struct frig f;
    unsigned hits = 0, wild = 0;
    start_spaces(&f, 2, NULL);
    f.cpu->cr4 |= CR4_SMAP;
    tlb_flush(f.cpu);
    for (unsigned i = 0; i < 1024; i++) {
        uint64_t user = rnd() & 1 ? U : 0, frame = rnd() % 3 ? FRAMES : ROM & ~0xfffffu;
        frame += (rnd() % (frame == FRAMES ? 4096 : 16)) << 12;
        word_set(&f, pte_at(0, i), frame | P | W | A | D | user);
        word_set(&f, pte_at(-1, i), frame | P | W | A | D | (rnd() & 1 ? G : 0));
    }
    for (unsigned round = 0; round < 400000; round++) {
        if (!(round & 63)) {
            static const struct {
                uint8_t cpl, ac;
            } modes[] = { { 3, 0 }, { 0, 0 }, { 0, 1 }, { 3, 0 } };
            unsigned m = rnd() & 3;
            mode(&f, modes[m].cpl, modes[m].ac);
        }
        uint64_t r = rnd(), base = r & 1 ? LOW : UP, ea = base + (rnd() & 0x3fffff);
        if (r & 2)
            (void)ftab_fill(f.cpu, ea, r & 4 ? ACC_W : ACC_R);
        switch (r >> 8 & 7) {
        case 0:
            ea ^= rnd() << 47;
            break;
        case 1:
            ea ^= rnd() << 48;
            break;
        case 2:
            ea ^= UINT64_C(1) << (rnd() & 63);
            break;
        case 3:
            ea += rnd() % 129 - 64;
            break;
        case 4:
            ea = rnd();
            break;
        case 5:
            ea = (uint64_t)((int64_t)(ea << 16) >> 16) ^ (rnd() & 1 ? UINT64_C(1) << 47 : 0);
            break;
        case 6:
            ea |= UINT64_C(0xffff800000000000);
            break;
        default:
            break;
        }
        unsigned bytes = 1u << (rnd() % 7);
        uint64_t host;
        if ((r >> 12 & 7) == 0)
            (void)ftab_fill(f.cpu, ea, r & 4 ? ACC_W : ACC_R);
        if (!generated_code(f.cpu, ea, bytes, r & 4, &host))
            continue;
        check_harmless(&f, host, bytes, r & 4);
        hits++;
        wild += host >> 47 != 0;
    }
    print_message("%u hits, %u of them end outside the lower half\n", hits, wild);
    assert_true(hits > 20000 && wild > 5000); /* or the test tests nothing */
    frig_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fill_sets_accessed_and_dirty),
        cmocka_unit_test(test_rights),
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_not_ram),
        cmocka_unit_test(test_neighbours),
        cmocka_unit_test(test_decoded_code),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_hostile_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
