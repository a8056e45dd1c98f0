/*
 * test-props: values of all property types at and beyond their limits, and where they are stored.
 */
#include "front.h" /* first: cmocka.h has a macro fail() */

#include "run.h"

static const struct {
    uint32_t type;
    const char *text, *arg;
    uint64_t min, max;
    bool good;
    uint64_t num;
} numbers[] = {
    { MOBO_T_U32, "0", NULL, 0, 0, true, 0 },
    { MOBO_T_U32, "4294967295", NULL, 0, 0, true, UINT32_MAX },
    { MOBO_T_U32, "4294967296", NULL, 0, 0, false, 0 },
    { MOBO_T_U32, "0xffffffff", NULL, 0, 0, true, UINT32_MAX },
    { MOBO_T_U32, "0X1F", NULL, 0, 0, true, 31 },
    { MOBO_T_U32, "0x", NULL, 0, 0, false, 0 },
    { MOBO_T_U32, "", NULL, 0, 0, false, 0 },
    { MOBO_T_U32, "1 ", NULL, 0, 0, false, 0 },
    { MOBO_T_U32, "+1", NULL, 0, 0, false, 0 },
    { MOBO_T_U32, "-1", NULL, 0, 0, false, 0 },
    { MOBO_T_U32, "0x1g", NULL, 0, 0, false, 0 },
    { MOBO_T_U32, "010", NULL, 0, 0, true, 10 }, /* no octal */
    { MOBO_T_U32, "1", NULL, 2, 4, false, 0 },
    { MOBO_T_U32, "2", NULL, 2, 4, true, 2 },
    { MOBO_T_U32, "4", NULL, 2, 4, true, 4 },
    { MOBO_T_U32, "5", NULL, 2, 4, false, 0 },
    { MOBO_T_U32, "5", NULL, 2, 0, true, 5 }, /* min alone */
    { MOBO_T_U32, "1", NULL, 2, 0, false, 0 },
    { MOBO_T_U64, "18446744073709551615", NULL, 0, 0, true, UINT64_MAX },
    { MOBO_T_U64, "18446744073709551616", NULL, 0, 0, false, 0 },
    { MOBO_T_U64, "0xffffffffffffffff", NULL, 0, 0, true, UINT64_MAX },
    { MOBO_T_U64, "0x10000000000000000", NULL, 0, 0, false, 0 },
    { MOBO_T_SIZE, "4096", NULL, 0, 0, true, 4096 },
    { MOBO_T_SIZE, "4K", NULL, 0, 0, true, 4096 },
    { MOBO_T_SIZE, "4k", NULL, 0, 0, true, 4096 },
    { MOBO_T_SIZE, "0x10M", NULL, 0, 0, true, 16 << 20 },
    { MOBO_T_SIZE, "16777215T", NULL, 0, 0, true, UINT64_C(16777215) << 40 },
    { MOBO_T_SIZE, "16777216T", NULL, 0, 0, false, 0 },
    { MOBO_T_SIZE, "1KB", NULL, 0, 0, false, 0 },
    { MOBO_T_SIZE, "K", NULL, 0, 0, false, 0 },
    { MOBO_T_SIZE, "1.5G", NULL, 0, 0, false, 0 },
    { MOBO_T_SIZE, "1025", NULL, 512, 1024, false, 0 },
    { MOBO_T_BOOL, "yes", NULL, 0, 0, true, 1 },
    { MOBO_T_BOOL, "on", NULL, 0, 0, true, 1 },
    { MOBO_T_BOOL, "true", NULL, 0, 0, true, 1 },
    { MOBO_T_BOOL, "no", NULL, 0, 0, true, 0 },
    { MOBO_T_BOOL, "off", NULL, 0, 0, true, 0 },
    { MOBO_T_BOOL, "false", NULL, 0, 0, true, 0 },
    { MOBO_T_BOOL, "1", NULL, 0, 0, false, 0 },
    { MOBO_T_BOOL, "Yes", NULL, 0, 0, false, 0 },
    { MOBO_T_ENUM, "a", "a|bc|d", 0, 0, true, 0 },
    { MOBO_T_ENUM, "bc", "a|bc|d", 0, 0, true, 1 },
    { MOBO_T_ENUM, "d", "a|bc|d", 0, 0, true, 2 },
    { MOBO_T_ENUM, "b", "a|bc|d", 0, 0, false, 0 },
    { MOBO_T_ENUM, "a|bc", "a|bc|d", 0, 0, false, 0 },
    { MOBO_T_IRQ, "pic:7", NULL, 0, 0, true, 7 },
    { MOBO_T_IRQ, "7", NULL, 0, 0, true, 7 },
    { MOBO_T_IRQ, ":7", NULL, 0, 0, false, 0 },
    { MOBO_T_IRQ, "pic:", NULL, 0, 0, false, 0 },
    { MOBO_T_IRQ, "pic:4294967296", NULL, 0, 0, false, 0 },
    { MOBO_T_NONE, "1", NULL, 0, 0, false, 0 },
    { 99, "1", NULL, 0, 0, false, 0 },
};

static void all_numbers(void **state)
{
    char why[MESSAGE_MAX];
    struct value v;
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        mobo_prop_t p = { .name = "x", .type = numbers[i].type, .arg = numbers[i].arg,
                          .min = numbers[i].min, .max = numbers[i].max };
        bool good = prop_parse(&p, numbers[i].text, &v, why);
        if (good != numbers[i].good || (good && v.num != numbers[i].num)) {
            print_message("'%s': %d, %llu\n", numbers[i].text, good, (unsigned long long)v.num);
            fail();
        }
    }
}

static void texts(void **state)
{
    char why[MESSAGE_MAX];
    struct value v;
    mobo_prop_t p = { .name = "x", .type = MOBO_T_STR, .min = 2, .max = 3 };
    (void)state;
    assert_false(prop_parse(&p, "a", &v, why));
    assert_true(prop_parse(&p, "ab", &v, why));
    assert_true(prop_parse(&p, "abc", &v, why));
    assert_false(prop_parse(&p, "abcd", &v, why));
    p = (mobo_prop_t){ .name = "x", .type = MOBO_T_MAC };
    assert_true(prop_parse(&p, "02:fF:00:9a:Bc:01", &v, why));
    assert_memory_equal(v.mac, "\x02\xff\x00\x9a\xbc\x01", 6);
    assert_false(prop_parse(&p, "02:ff:00:9a:bc", &v, why));
    assert_false(prop_parse(&p, "02:ff:00:9a:bc:0", &v, why));
    assert_false(prop_parse(&p, "02-ff-00-9a-bc-01", &v, why));
    assert_false(prop_parse(&p, "0x:ff:00:9a:bc:01", &v, why));
    assert_false(prop_parse(&p, "03:ff:00:9a:bc:01", &v, why));
    p = (mobo_prop_t){ .name = "x", .type = MOBO_T_LINK, .arg = "a/1" };
    assert_true(prop_parse(&p, "disk0", &v, why));
    assert_int_equal(v.text_len, 5);
    assert_false(prop_parse(&p, "disk 0", &v, why));
    assert_false(prop_parse(&p, "", &v, why));
    p.flags = MOBO_P_OPTIONAL;
    assert_true(prop_parse(&p, "", &v, why));
    assert_null(v.text);
    p = (mobo_prop_t){ .name = "x", .type = MOBO_T_IRQ };
    assert_true(prop_parse(&p, "chip:0x10", &v, why));
    assert_int_equal(v.text_len, 4);
    assert_int_equal(v.num, 16);
}

/* Each type writes its member and nothing beside it. */
static void stores(void **state)
{
    static const struct {
        uint32_t type;
        const char *text, *arg;
    } all[] = {
        { MOBO_T_U32, "0x11223344", NULL },      { MOBO_T_U64, "0x1122334455667788", NULL },
        { MOBO_T_BOOL, "yes", NULL },            { MOBO_T_SIZE, "3G", NULL },
        { MOBO_T_STR, "text", NULL },            { MOBO_T_ENUM, "b", "a|b" },
        { MOBO_T_PATH, "/x", NULL },             { MOBO_T_MAC, "02:03:04:05:06:07", NULL },
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        unsigned char block[64];
        char why[MESSAGE_MAX];
        struct value v;
        mobo_prop_t p = { .name = "x", .type = all[i].type, .arg = all[i].arg, .offset = 24 };
        memset(block, 0xa5, sizeof block);
        assert_true(prop_parse(&p, all[i].text, &v, why));
        prop_store(&p, &v, block);
        uint32_t width = prop_width(p.type);
        assert_true(width > 0 && width <= 24);
        for (uint32_t b = 0; b < sizeof block; b++) {
            if (b < 24 || b >= 24 + width)
                assert_int_equal(block[b], 0xa5);
        }
        uint32_t word;
        const char *text;
        memcpy(&word, block + 24, sizeof word);
        memcpy(&text, block + 24, sizeof text);
        if (p.type == MOBO_T_U32)
            assert_int_equal(word, 0x11223344);
        else if (p.type == MOBO_T_BOOL || p.type == MOBO_T_ENUM)
            assert_int_equal(word, 1);
        else if (p.type == MOBO_T_STR || p.type == MOBO_T_PATH)
            assert_string_equal(text, all[i].text);
        else if (p.type == MOBO_T_MAC)
            assert_memory_equal(block + 24, "\2\3\4\5\6\7", 6);
    }
}

static void guesses(void **state)
{
    static const char *const words[] = { "queues", "cache", "serial" };
    static const struct {
        const char *word, *text;
    } all[] = {
        { "quues", " (did you mean 'queues'?)" }, { "qeueus", " (did you mean 'queues'?)" },
        { "cash", " (did you mean 'cache'?)" },   { "bootindex", "" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct guess g = guess_start(all[i].word);
        for (unsigned n = 0; n < 3; n++)
            guess_offer(&g, words[n]);
        assert_string_equal(guess_text(&g), all[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_numbers),
        cmocka_unit_test(texts),
        cmocka_unit_test(stores),
        cmocka_unit_test(guesses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
