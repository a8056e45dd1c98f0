/*
 * CPU models: every model is coherent with itself, features and CPUID bits agree, what is asked for
 * wrongly is refused with a helpful message.
 */
#include "rig.h"

static void query(struct rig *r, unsigned cpu, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    cpuid_query(r->cpu[cpu], leaf, sub, out);
}

static bool bit(uint32_t word, unsigned n)
{
    return (word >> n) & 1;
}

static const char *const models[] = { "x86-64", "x86-64-v2", "max" };

static void check_coherent(struct rig *r, bool amd)
{
    uint32_t o[4], one[4], seven[4], ext[4];
    query(r, 0, 0, 0, o);
    assert_memory_equal(&o[1], amd ? "Auth" : "Genu", 4);
    assert_true(o[0] >= 0xd);
    query(r, 0, 1, 0, one);
    query(r, 0, 7, 0, seven);
    query(r, 0, 0x80000001, 0, ext);
    /* long mode and what every 64-bit kernel takes for granted */
    static const uint8_t base[] = { 0, 3, 4, 5, 6, 8, 9, 13, 15, 16, 19, 23, 24, 25, 26 };
    for (unsigned i = 0; i < sizeof base; i++)
        assert_true(bit(one[3], base[i]));
    assert_true(bit(ext[3], 29) && bit(ext[3], 20) && bit(ext[3], 11));
    assert_true(bit(one[2], 31));
    /* what rests on something has it */
    if (bit(one[2], 28))
        assert_true(bit(one[2], 26));
    if (bit(seven[1], 5) || bit(one[2], 12) || bit(one[2], 29))
        assert_true(bit(one[2], 28));
    if (bit(one[2], 20))
        assert_true(bit(one[2], 19) && bit(one[2], 9) && bit(one[2], 0));
    assert_int_equal(cpu_has(r->cpu[0], FEAT_AVX), bit(one[2], 28));
    assert_int_equal(cpu_has(r->cpu[0], FEAT_AVX2), bit(seven[1], 5));
    assert_int_equal(cpu_has(r->cpu[0], FEAT_POPCNT), bit(one[2], 23));
    assert_int_equal(cpu_has(r->cpu[0], FEAT_BMI2), bit(seven[1], 8));
    assert_int_equal(cpu_has(r->cpu[0], FEAT_SMAP), bit(seven[1], 20));
    assert_true(cpu_has(r->cpu[0], FEAT_BASE));
    /* never: TSX, MPX, PKU, la57, AVX-512, CET, XSAVES, SVM, VMX */
    assert_false(bit(seven[1], 4) || bit(seven[1], 11) || bit(seven[1], 14) || bit(seven[1], 16));
    assert_false(bit(seven[2], 3) || bit(seven[2], 7) || bit(seven[2], 16) || bit(seven[3], 20));
    assert_false(bit(one[2], 5) || bit(ext[2], 2));
    query(r, 0, 0xd, 1, o);
    assert_false(bit(o[0], 3));
    /* XSAVE sizes follow XCR0 */
    query(r, 0, 0xd, 0, o);
    if (bit(one[2], 26)) {
        assert_int_equal(o[0], bit(one[2], 28) ? 7 : 3);
        assert_int_equal(o[2], bit(one[2], 28) ? 832 : 576);
        assert_int_equal(o[1], 576);
        r->cpu[0]->xcr0 = o[0];
        query(r, 0, 0xd, 0, o);
        assert_int_equal(o[1], o[2]);
        r->cpu[0]->xcr0 = 1;
    } else {
        assert_int_equal(o[0], 0);
    }
    query(r, 0, 0x80000008, 0, o);
    assert_int_equal((o[0] >> 8) & 0xff, 48);
    assert_in_range(o[0] & 0xff, 36, 48);
    query(r, 0, 0x80000007, 0, o);
    assert_true(bit(o[3], 8));
}

static void test_models_coherent(void **state)
{
    (void)state;
    for (unsigned vendor = RIG_INTEL; vendor <= RIG_AMD; vendor++) {
        for (unsigned i = 0; i < sizeof models / sizeof models[0]; i++) {
            struct rig r;
            rig_new(&r, models[i], vendor, 1);
            check_coherent(&r, vendor == RIG_AMD);
            rig_free(&r);
        }
    }
}

/* What Windows 11 24H2 and the x86-64-v2 level of the psABI ask for. */
static void test_v2_is_enough_for_windows(void **state)
{
    (void)state;
    struct rig r;
    uint32_t one[4], ext[4];
    rig_new(&r, "x86-64-v2", RIG_HOST, 1);
    query(&r, 0, 1, 0, one);
    query(&r, 0, 0x80000001, 0, ext);
    static const uint8_t need[] = { 0, 9, 13, 19, 20, 23 };
    for (unsigned i = 0; i < sizeof need; i++)
        assert_true(bit(one[2], need[i]));
    assert_true(bit(ext[2], 0) && bit(ext[2], 8) && bit(ext[3], 20));
    assert_false(bit(one[2], 28)); /* AVX is v3's */
    rig_free(&r);
}

static void test_topology(void **state)
{
    (void)state;
    for (unsigned vendor = RIG_INTEL; vendor <= RIG_AMD; vendor++) {
        for (unsigned n = 1; n <= 5; n++) {
            struct rig r;
            uint32_t o[4];
            rig_new(&r, "max", vendor, n);
            for (unsigned i = 0; i < n; i++) {
                query(&r, i, 1, 0, o);
                assert_int_equal(o[1] >> 24, i);
                assert_true(((o[1] >> 16) & 0xff) >= n);
                assert_int_equal(bit(o[3], 28), n > 1);
                query(&r, i, 0xb, 0, o);
                assert_int_equal(o[0], 0);
                assert_int_equal(o[1], 1);
                assert_int_equal(o[3], i);
                query(&r, i, 0xb, 1, o);
                assert_int_equal(o[1], n);
                assert_int_equal(i >> o[0], 0); /* one package */
                assert_int_equal((o[2] >> 8) & 0xff, 2);
                query(&r, i, 0xb, 2, o);
                assert_int_equal((o[2] >> 8) & 0xff, 0);
            }
            query(&r, n - 1, vendor == RIG_AMD ? 0x80000008 : 4, 0, o);
            if (vendor == RIG_AMD) {
                assert_int_equal((o[2] & 0xff) + 1, n);
                query(&r, n - 1, 0x8000001e, 0, o);
                assert_int_equal(o[0], n - 1);
            } else {
                assert_true((o[0] >> 26) + 1 >= n);
            }
            rig_free(&r);
        }
    }
}

static void test_kvm_leaves(void **state)
{
    (void)state;
    struct rig r;
    uint32_t o[4];
    rig_new(&r, "max", RIG_HOST, 1);
    query(&r, 0, 0x40000000, 0, o);
    assert_memory_equal(&o[1], "KVMKVMKVM\0\0", 12);
    assert_true(o[0] >= 0x40000010);
    query(&r, 0, 0x40000001, 0, o);
    assert_true(bit(o[0], 3) && bit(o[0], 24) && bit(o[0], 6));
    assert_false(bit(o[0], 4) || bit(o[0], 5)); /* async page faults, steal time */
    query(&r, 0, 0x40000010, 0, o);
    assert_int_equal(o[0], r.s->model.tsc_hz / 1000);
    rig_free(&r);
    rig_new(&r,
            "max,-kvm-clock,-kvm-nopiodelay,-kvm-pv-eoi,-kvm-pv-unhalt,-kvm-pv-ipi,"
            "-kvm-poll-control,-kvm-sched-yield",
            RIG_HOST, 1);
    query(&r, 0, 0x40000000, 0, o);
    assert_int_equal(o[0] | o[1] | o[2] | o[3], 0);
    rig_free(&r);
}

/* kvm-clock's multiplier and the TSC's frequency describe the same clock. */
static void test_clocks_agree(void **state)
{
    (void)state;
    struct rig r;
    rig_new(&r, "max", RIG_INTEL, 1);
    uint64_t ticks = r.s->model.tsc_hz * 100;
    u128 ns = r.s->pv_shift >= 0 ? (u128)ticks << r.s->pv_shift : (u128)ticks >> -r.s->pv_shift;
    ns = ns * r.s->pv_mult >> 32;
    int64_t off = (int64_t)ns - 100000000000;
    assert_true(off > -200 && off < 200); /* 100 s to 200 ns */
    uint32_t o[4];
    query(&r, 0, 0x15, 0, o);
    assert_int_equal((uint64_t)o[2] * o[1] / o[0], r.s->model.tsc_hz / 100 * 100);
    rig_free(&r);
}

static void test_dynamic_bits(void **state)
{
    (void)state;
    struct rig r;
    uint32_t o[4];
    rig_new(&r, "max", RIG_HOST, 1);
    query(&r, 0, 1, 0, o);
    assert_false(bit(o[2], 27));
    r.cpu[0]->cr4 |= CR4_OSXSAVE;
    query(&r, 0, 1, 0, o);
    assert_true(bit(o[2], 27));
    r.cpu[0]->apic_base &= ~(uint64_t)APIC_BASE_EN;
    query(&r, 0, 1, 0, o);
    assert_false(bit(o[3], 9));
    rig_free(&r);
}

static void refused(const char *prop, const char *expect)
{
    struct rig r;
    assert_int_equal(rig_model(&r, prop, RIG_HOST, 1), MOBO_EINVAL);
    if (!strstr(r.message, expect))
        print_error("cpu = %s: message is: %s\n", prop, r.message);
    assert_non_null(strstr(r.message, expect));
    rig_free(&r);
}

static void test_bad_words(void **state)
{
    (void)state;
    refused("x86-64-v9", "did you mean 'x86-64");
    refused("pentium", "models are x86-64, x86-64-v2, x86-64-v3, max");
    refused("max,+acx2", "did you mean 'avx2'");
    refused("max,+zzzzzzzzzz", "there are: fpu");
    refused("max,avx2", "neither +feature nor -feature");
    refused("max,", "neither +feature nor -feature");
    refused("x86-64,+avx2", "+avx2 needs avx");
}

static void test_minus_takes_dependents_along(void **state)
{
    (void)state;
    struct rig r;
    rig_new(&r, "max,-xsave", RIG_HOST, 1);
    assert_false(cpu_has(r.cpu[0], FEAT_AVX) || cpu_has(r.cpu[0], FEAT_AVX2) ||
                 cpu_has(r.cpu[0], FEAT_FMA) || cpu_has(r.cpu[0], FEAT_VAES));
    assert_int_equal(r.s->model.xcr0, 1);
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models_coherent), cmocka_unit_test(test_v2_is_enough_for_windows),
        cmocka_unit_test(test_topology),        cmocka_unit_test(test_kvm_leaves),
        cmocka_unit_test(test_clocks_agree),    cmocka_unit_test(test_dynamic_bits),
        cmocka_unit_test(test_bad_words),       cmocka_unit_test(test_minus_takes_dependents_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
