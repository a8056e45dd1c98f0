/*
 * test-loader: whatever is wrong with a plugin, `mobo describe` says so in one line and exits with
 * 2; it never dies of it. Damaged files are made here, out of a good one.
 */
#include "run.h"

#include <elf.h>

static struct said said;

static void describe(const char *path)
{
    run_mobo(&said, 2, (char *[]){ "mobo", "describe", (char *)path, NULL });
}

static void refused(const char *path, const char *expect)
{
    describe(path);
    if (exit_code(&said) != 2 || said.lines != 1 || !strstr(said.text, expect)) {
        print_message("%s: exit code %d (status %x), expected '%s', said:\n%s", path,
                      exit_code(&said), (unsigned)said.status, expect, said.text);
        fail();
    }
}

static const struct {
    const char *name, *expect;
} wrong[] = {
    { "symbol", "has no function mobo_plugin_v1" },
    { "abi3", "is built for ABI 3, this mobo speaks 1" },
    { "short", "its description has 39 bytes, ABI 1.0 has 40" },
    { "short_class", "a class table has 111 bytes, ABI 1.0 has 112" },
    { "instance", "class thing: has an instance of 0 bytes" },
    { "stride", "class thing: prop_stride is 8, ABI 1.0 has 72" },
    { "name", "calls itself 'other'" },
    { "null_name", "calls itself ''" },
    { "wild", "while being loaded" },
    { "license", "has no license" },
    { "null", "mobo_plugin_v1 answers NULL" },
    { "impure", "answers differently each time" },
    { "none", "has no classes" },
    { "classes", "class 'thing' stands twice" },
    { "unnamed", "a class has no proper name" },
    { "summary", "class thing: has no summary" },
    { "outside", "property 'value' lies outside its block of 16 bytes" },
    { "far", "property 'value' lies outside its block" },
    { "odd", "property 'value' lies at the odd offset 9" },
    { "type", "property 'value' has type 77" },
    { "undocumented", "property 'value' has no doc text" },
    { "default", "property 'value' has the default '9': out of range 1..8" },
    { "twice", "property 'value' stands twice" },
    { "reserved", "'type' is no name for a property" },
    { "alias", "property 'old' is an alias of 'older', which is none" },
    { "words", "property 'value' names no words" },
    { "field", "state field 'value' has a wrong type, width or place" },
    { "iface", "interface mobo.block/1 has an empty table" },
    { "id", "'block' is no interface id" },
    { "callback", "interface mobo.irqchip/1 lacks the function 'lines'" },
    { "exits", "ends the process (exit code " }, /* under ASan its exit() finds leaks: 1 */
    { "exits3", "ends the process (exit code 3) while being loaded" },
    { "spins", "does not come back from being loaded (2 s)" },
    { "segfaults", "while being loaded" },
    { "prints", "while being loaded" },
    { "depends", "libmobo-gone.so.1: cannot open shared object file" },
};

static void wrong_plugins(void **state)
{
    char path[512];
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/bad-%s.so", BAD_PLUGINS, wrong[i].name);
        refused(path, wrong[i].expect);
    }
    (void)snprintf(path, sizeof path, "%s/bad-nothing.so", BAD_PLUGINS);
    describe(path);
    assert_int_equal(exit_code(&said), 0);
    assert_string_equal(said.text, "");
}

static void one_bad_among_good(void **state)
{
    /* A machine with a spinning, a dying and a good plugin: each gets its own line. */
    char folder[64], text[2048];
    (void)state;
    enter_empty_folder(folder);
    (void)snprintf(text, sizeof text,
                   "[a]\ntype = %s/bad-segfaults.so\n[b]\ntype = %s/bad-nothing.so\n"
                   "[c]\ntype = %s/bad-exits3.so\n[d]\ntype = %s/bad-name.so\n",
                   BAD_PLUGINS, BAD_PLUGINS, BAD_PLUGINS, BAD_PLUGINS);
    write_text("m.ini", text);
    run_mobo(&said, 2, (char *[]){ "mobo", "check", "m.ini", NULL });
    assert_int_equal(exit_code(&said), 2);
    assert_int_equal(said.lines, 3);
    assert_non_null(strstr(said.text, "m.ini:2: [a]: "));
    assert_non_null(strstr(said.text, "m.ini:6: [c]: "));
    assert_non_null(strstr(said.text, "m.ini:8: [d]: "));
    (void)unlink("m.ini");
    leave_folder(folder);
}

/* ---- files ----------------------------------------------------------------------------------- */

static char *good_data;
static size_t good_len;

static int read_good(void **state)
{
    static char data[4 << 20];
    (void)state;
    FILE *f = fopen(BAD_PLUGINS "/bad-nothing.so", "rb");
    if (!f)
        return -1;
    good_data = data;
    good_len = fread(data, 1, sizeof data, f);
    (void)fclose(f);
    return good_len > 4096 && good_len < sizeof data ? 0 : -1;
}

#define FILE_NAME "bad-nothing.so"
#define HERE "./" FILE_NAME

static void wrong_files(void **state)
{
    char folder[64];
    (void)state;
    enter_empty_folder(folder);
    refused(HERE, "no plugin 'bad-nothing'");
    write_file(FILE_NAME, good_data, good_len);
    describe(HERE);
    assert_int_equal(exit_code(&said), 0);

    assert_int_equal(chmod(FILE_NAME, 0646), 0);
    refused(HERE, "can be written by everybody; run: chmod go-w");
    assert_int_equal(chmod(FILE_NAME, 0664), 0);
    refused(HERE, "can be written by its group; run: chmod go-w");
    assert_int_equal(chmod(FILE_NAME, 0644), 0);
    assert_int_equal(chmod(".", 0757), 0);
    refused(HERE, "the folder ");
    assert_int_equal(chmod(".", 01777), 0);
    refused(HERE, "can be written by everybody");
    assert_int_equal(chmod(".", 0755), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(FILE_NAME, 12345, 0), 0);
        refused(HERE, "belongs to user 12345");
        assert_int_equal(chown(FILE_NAME, 0, 0), 0);
        assert_int_equal(chown(".", 12345, 0), 0);
        refused(HERE, "belongs to user 12345");
        assert_int_equal(chown(".", 0, 0), 0);
    }
    assert_int_equal(rename(FILE_NAME, "real.so"), 0);
    assert_int_equal(symlink("real.so", FILE_NAME), 0);
    refused(HERE, "is a symbolic link");
    (void)unlink(FILE_NAME);
    refused("./real.so", "calls itself 'bad-nothing'; file and plugin must have the same name");
    (void)unlink("real.so");
    assert_int_equal(mkfifo(FILE_NAME, 0644), 0);
    refused(HERE, "is a FIFO, not a file");
    (void)unlink(FILE_NAME);
    assert_int_equal(mkdir(FILE_NAME, 0755), 0);
    refused(HERE, "is a folder, not a file");
    (void)rmdir(FILE_NAME);
    write_file(FILE_NAME, "", 0);
    refused(HERE, "is no shared object");
    write_file(FILE_NAME, "#!/bin/sh\nexit 0\n", 17);
    refused(HERE, "is no shared object");
    (void)unlink(FILE_NAME);
    refused("/dev/null.so", "no plugin 'null'");
    leave_folder(folder);
}

static void wrong_headers(void **state)
{
    static char copy[4 << 20];
    Elf64_Ehdr *h = (Elf64_Ehdr *)copy;
    char folder[64];
    (void)state;
    enter_empty_folder(folder);
    memcpy(copy, good_data, good_len);
    h->e_ident[EI_CLASS] = ELFCLASS32;
    write_file(FILE_NAME, copy, good_len);
    refused(HERE, "is for another processor");
    memcpy(copy, good_data, good_len);
    h->e_machine = EM_S390;
    write_file(FILE_NAME, copy, good_len);
    refused(HERE, "is for another processor");
    memcpy(copy, good_data, good_len);
    h->e_type = ET_REL;
    write_file(FILE_NAME, copy, good_len);
    refused(HERE, "is no shared object (ELF type 1)");
    (void)unlink(FILE_NAME);
    leave_folder(folder);
}

static void truncated(void **state)
{
    char folder[64];
    (void)state;
    enter_empty_folder(folder);
    for (size_t len = 0; len < good_len; len += 4096) {
        write_file(FILE_NAME, good_data, len);
        refused(HERE, len ? "is truncated or damaged" : "is no shared object");
    }
    for (size_t len = 1; len < 4096; len += 321) {
        write_file(FILE_NAME, good_data, len);
        refused(HERE, len < sizeof(Elf64_Ehdr) ? "is no shared object" : "is truncated or damaged");
    }
    write_file(FILE_NAME, good_data, good_len - 1);
    refused(HERE, "is truncated or damaged");
    (void)unlink(FILE_NAME);
    leave_folder(folder);
}

/* Eight bytes of the first KiB changed at random: loaded or refused in one line, no signal. */
static void mutated(void **state)
{
    static char copy[4 << 20];
    char folder[64];
    uint64_t seed = 0x6d6f626f;
    unsigned loaded = 0, refusals = 0;
    (void)state;
    enter_empty_folder(folder);
    for (unsigned i = 0; i < 300; i++) {
        memcpy(copy, good_data, good_len);
        for (unsigned n = 0; n < 8; n++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            copy[16 + (seed >> 33) % 1008] = (char)(seed >> 56);
        }
        write_file(FILE_NAME, copy, good_len);
        describe(HERE);
        if (exit_code(&said) == 0 && said.lines == 0) {
            loaded++;
        } else if (exit_code(&said) == 2 && said.lines == 1) {
            refusals++;
        } else {
            print_message("mutation %u: status %x, said:\n%s", i, (unsigned)said.status, said.text);
            fail();
        }
    }
    print_message("of 300 mutated plugins %u were refused, %u loaded\n", refusals, loaded);
    assert_true(refusals > 100);
    (void)unlink(FILE_NAME);
    leave_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_plugins), cmocka_unit_test(one_bad_among_good),
        cmocka_unit_test(wrong_files),   cmocka_unit_test(wrong_headers),
        cmocka_unit_test(truncated),     cmocka_unit_test(mutated),
    };
    return cmocka_run_group_tests(tests, read_good, NULL);
}
