/*
 * test-ini: what the reader makes of good files: values, places, merging, overrides. Wrong files:
 * test-bad-ini.
 */
#include "front.h" /* first: cmocka.h has a macro fail() */

#include "run.h"

static struct front *read_string(const char *text)
{
    struct front *f = front_new();
    ini_read_text(f, "t.ini", text, strlen(text));
    assert_int_equal(f->faults, 0);
    return f;
}

static const struct ini_key *get(const struct front *f, const char *section, const char *variant,
                                 const char *key)
{
    const struct ini_section *s = ini_find(&f->ini, section, variant);
    assert_non_null(s);
    return ini_key(s, key);
}

static void is(const struct front *f, const char *section, const char *key, const char *value,
               unsigned line)
{
    const struct ini_key *k = get(f, section, NULL, key);
    assert_non_null(k);
    assert_string_equal(k->value, value);
    assert_int_equal(k->pos.line, line);
}

static void values(void **state)
{
    (void)state;
    struct front *f = read_string("; comment\n"
                                  "# comment\n"
                                  "\n"
                                  "[a]\n"
                                  "plain=1\n"
                                  "  indented\t = \t two words \n"
                                  "empty =\n"
                                  "comment = x ; y\n"
                                  "semicolon = x;y\n"
                                  "hash = x # y\n"
                                  "equals = a=b=c\n"
                                  "colon = a:b\n"
                                  "only = ; comment\n"
                                  "quotes = \"a b\"\n"
                                  "utf8 = \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\n"
                                  "last = end");
    is(f, "a", "plain", "1", 5);
    is(f, "a", "indented", "two words", 6);
    is(f, "a", "empty", "", 7);
    is(f, "a", "comment", "x", 8);
    is(f, "a", "semicolon", "x;y", 9);
    is(f, "a", "hash", "x # y", 10);
    is(f, "a", "equals", "a=b=c", 11);
    is(f, "a", "colon", "a:b", 12);
    is(f, "a", "only", "", 13);
    is(f, "a", "quotes", "\"a b\"", 14);
    is(f, "a", "utf8", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 15);
    is(f, "a", "last", "end", 16);
    front_free(f);
}

static void sections(void **state)
{
    (void)state;
    struct front *f = read_string("[empty]\n[a] ; comment\n[ b ]\nx=1\n[b@c/d]\nx=2\n[z]\n");
    assert_int_equal(f->ini.section_count, 5); /* empty ones count, order stays */
    assert_string_equal(f->ini.sections[0].name, "empty");
    assert_string_equal(f->ini.sections[4].name, "z");
    assert_int_equal(f->ini.sections[4].pos.line, 7);
    is(f, "b", "x", "1", 4);
    assert_string_equal(get(f, "b", "c/d", "x")->value, "2");
    assert_null(ini_find(&f->ini, "b", "c"));
    front_free(f);
}

static void line_ends(void **state)
{
    (void)state;
    struct front *f = read_string("\xef\xbb\xbf[a]\r\nx = 1\r\n\r\ny = 2\r\n");
    is(f, "a", "x", "1", 2);
    is(f, "a", "y", "2", 4);
    front_free(f);
}

static void long_value(void **state)
{
    static char text[VALUE_MAX_LEN + 32];
    (void)state;
    int n = snprintf(text, sizeof text, "[a]\nx = ");
    memset(text + n, 'q', VALUE_MAX_LEN);
    text[n + 150] = '='; /* what inih would stumble over */
    text[n + 250] = ';';
    text[n + 300] = '[';
    struct front *f = read_string(text);
    is(f, "a", "x", text + n, 2);
    front_free(f);
}

static void includes(void **state)
{
    char folder[64];
    (void)state;
    enter_empty_folder(folder);
    assert_int_equal(mkdir("sub", 0755), 0);
    write_text("sub/board.ini", "include = deep.ini\n[a]\nx = 1\ny = 1\n[b]\nz = 1\n");
    write_text("sub/deep.ini", "[deep]\nk = v\n[a]\nw = 0\nx = 0\n");
    write_text("m.ini", "include = sub/board.ini\n[c]\nq = 1\n[a]\ny = 2\n[a@t]\nx = 3\n");
    struct front *f = front_new();
    ini_read(f, "m.ini");
    assert_int_equal(f->faults, 0);
    is(f, "a", "w", "0", 4);
    is(f, "a", "x", "1", 3); /* the includer over the included, key by key */
    is(f, "a", "y", "2", 5);
    is(f, "b", "z", "1", 6);
    assert_string_equal(get(f, "a", NULL, "x")->pos.file, "sub/board.ini");
    assert_string_equal(get(f, "deep", NULL, "k")->pos.file, "sub/deep.ini");
    assert_string_equal(get(f, "a", NULL, "y")->pos.file, "m.ini");
    assert_string_equal(f->ini.sections[0].name, "deep");
    const char *dir = get(f, "deep", NULL, "k")->dir;
    assert_string_equal(dir + strlen(dir) - 4, "/sub");
    assert_int_equal(dir[0], '/');
    front_free(f);
    (void)unlink("m.ini");
    (void)unlink("sub/board.ini");
    (void)unlink("sub/deep.ini");
    (void)rmdir("sub");
    leave_folder(folder);
}

static void overrides(void **state)
{
    (void)state;
    struct front *f = read_string("[a]\ntype = t\nx = 1\n");
    char *list[] = { "n.k=1", "a.x= two = ; words ", "n.type=t", "a@t.x=3", "machine.memory=1G",
                     "a.x=last", "b@q.x=1", NULL };
    ini_override(f, list, 6);
    assert_int_equal(f->faults, 0);
    is(f, "a", "x", "last", 0);
    is(f, "n", "k", "1", 0);
    is(f, "machine", "memory", "1G", 0);
    assert_string_equal(get(f, "a", NULL, "x")->pos.file, "command line");
    assert_string_equal(get(f, "a", "t", "x")->value, "3");
    ini_override(f, list + 1, 1);
    is(f, "a", "x", "two = ; words", 0);
    ini_override(f, list + 6, 1);
    assert_int_equal(f->faults, 1);
    front_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),     cmocka_unit_test(sections), cmocka_unit_test(line_ends),
        cmocka_unit_test(long_value), cmocka_unit_test(includes), cmocka_unit_test(overrides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
