/* test-aml.c: the bytes the AML writer makes, against the encodings of ACPI 6.5, chapter 20. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <aml/aml.h>

static uint8_t buf[1 << 21];

static void expect(struct aml *a, const void *bytes, uint32_t len)
{
    uint32_t got;
    assert_int_equal(aml_done(a, &got), 0);
    assert_int_equal(got, len);
    assert_memory_equal(buf, bytes, len);
}
#define EXPECT(a, ...)                                                                             \
    expect((a), (const uint8_t[]){ __VA_ARGS__ }, sizeof(const uint8_t[]){ __VA_ARGS__ })

static void integers(void **state)
{
    (void)state;
    struct aml a;
    aml_init(&a, buf, sizeof buf);
    aml_int(&a, 0);
    aml_int(&a, 1);
    aml_int(&a, 2);
    aml_int(&a, 0xff);
    aml_int(&a, 0x100);
    aml_int(&a, 0x10000);
    aml_int(&a, UINT64_C(0x100000000));
    EXPECT(&a, 0x00, 0x01, 0x0a, 0x02, 0x0a, 0xff, 0x0b, 0x00, 0x01, 0x0c, 0, 0, 1, 0, 0x0e, 0, 0,
           0,
           0, 1, 0, 0, 0);
}

static void names(void **state)
{
    (void)state;
    struct aml a;
    aml_init(&a, buf, sizeof buf);
    aml_path(&a, "\\_SB_");
    aml_path(&a, "A");
    aml_path(&a, "^PCI0.ISA");
    aml_path(&a, "A.B.C");
    aml_path(&a, "\\");
    EXPECT(&a, '\\', '_', 'S', 'B', '_', 'A', '_', '_', '_', '^', 0x2e, 'P', 'C', 'I', '0', 'I',
           'S',
           'A', '_', 0x2f, 3, 'A', '_', '_', '_', 'B', '_', '_', '_', 'C', '_', '_', '_', '\\', 0);
}

static void bad_names_fail(void **state)
{
    (void)state;
    static const char *const bad[] = { "0AB", "abcd", "ABCDE", "A..B", "", "A-B" };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct aml a;
        uint32_t len;
        aml_init(&a, buf, sizeof buf);
        aml_device(&a, bad[i]);
        aml_end(&a);
        /* The empty path is the null name, which a device cannot have but the writer can write. */
        assert_int_equal(aml_done(&a, &len), *bad[i] ? -1 : 0);
    }
}

static void eisa_ids(void **state)
{
    (void)state;
    struct aml a;
    aml_init(&a, buf, sizeof buf);
    aml_name_eisa(&a, "_HID", "PNP0501");
    aml_name_eisa(&a, "_HID", "LNRO0005");
    EXPECT(&a, 0x08, '_', 'H', 'I', 'D', 0x0c, 0x41, 0xd0, 0x05, 0x01, 0x08, '_', 'H', 'I', 'D',
           0x0d,
           'L', 'N', 'R', 'O', '0', '0', '0', '5', 0);
}

/* The four sizes of PkgLength, on both sides of each border. */
static void package_lengths(void **state)
{
    (void)state;
    static const struct {
        uint32_t body;
        unsigned bytes;
    } t[] = { { 62, 1 }, { 63, 2 }, { 4093, 2 }, { 4094, 3 }, { 1048572, 3 }, { 1048573, 4 } };
    static uint8_t filler[1 << 20];
    for (unsigned i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct aml a;
        uint32_t len;
        aml_init(&a, buf, sizeof buf);
        aml_scope(&a, "X"); /* the name is four bytes of the body */
        aml_bytes(&a, filler, t[i].body - 4);
        aml_end(&a);
        assert_int_equal(aml_done(&a, &len), 0);
        assert_int_equal(len, 1 + t[i].bytes + t[i].body);
        uint32_t v = buf[1] >> 6 ? (buf[1] & 0xf) : buf[1];
        for (unsigned k = 1; k < t[i].bytes; k++)
            v |= (uint32_t)buf[1 + k] << (8 * k - 4);
        assert_int_equal(buf[1] >> 6, t[i].bytes - 1);
        assert_int_equal(v, t[i].bytes + t[i].body);
        assert_memory_equal(buf + 1 + t[i].bytes, "X___", 4);
    }
}

static void nested(void **state)
{
    (void)state;
    struct aml a;
    aml_init(&a, buf, sizeof buf);
    aml_scope(&a, "\\");
    aml_method(&a, "_STA", 0, 1);
    aml_return(&a);
    aml_int(&a, 15);
    aml_end(&a);
    aml_name(&a, "_S5");
    aml_package(&a, 2);
    aml_int(&a, 5);
    aml_int(&a, 0);
    aml_end(&a);
    aml_end(&a);
    EXPECT(&a, 0x10, 24, '\\', 0, 0x14, 9, '_', 'S', 'T', 'A', 8, 0xa4, 0x0a, 15, 0x08, '_', 'S',
           '5',
           '_', 0x12, 5, 2, 0x0a, 5, 0);
}

static void resources(void **state)
{
    (void)state;
    struct aml a;
    aml_init(&a, buf, sizeof buf);
    aml_crs_begin(&a);
    aml_crs_io(&a, 0x3f8, 8);
    aml_crs_irq(&a, 4);
    aml_crs_gsi(&a, 16, AML_IRQ_LEVEL | AML_IRQ_SHARED);
    aml_crs_mem32(&a, 0xd0000000, 0x1000);
    aml_crs_end(&a);
    EXPECT(&a, 0x08, '_', 'C', 'R', 'S', 0x11, 37, 0x0a, 34, 0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8, 0x22,
           0x10, 0, 0x89, 6, 0, 0x09, 1, 16, 0, 0, 0, 0x86, 9, 0, 1, 0, 0, 0, 0xd0, 0, 0x10, 0, 0,
           0x79, 0);
}

static void errors_stick(void **state)
{
    (void)state;
    struct aml a;
    uint32_t len;
    aml_init(&a, buf, 10);
    aml_name_str(&a, "_HID", "too long for it");
    assert_int_equal(aml_done(&a, &len), -1);
    assert_true(len <= 10);
    aml_init(&a, buf, sizeof buf);
    aml_scope(&a, "\\");
    assert_int_equal(aml_done(&a, &len), -1); /* still open */
    aml_init(&a, buf, sizeof buf);
    for (int i = 0; i <= AML_DEPTH; i++)
        aml_scope(&a, "X");
    assert_int_equal(aml_done(&a, &len), -1);
    aml_init(&a, buf, sizeof buf);
    aml_end(&a);
    assert_int_equal(aml_done(&a, &len), -1);
    aml_init(&a, buf, sizeof buf);
    aml_crs_begin(&a);
    for (int i = 0; i < AML_RES; i++)
        aml_crs_irq(&a, 3);
    aml_crs_end(&a);
    assert_int_equal(aml_done(&a, &len), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers),        cmocka_unit_test(names),
        cmocka_unit_test(bad_names_fail),  cmocka_unit_test(eisa_ids),
        cmocka_unit_test(package_lengths), cmocka_unit_test(nested),
        cmocka_unit_test(resources),       cmocka_unit_test(errors_stick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
