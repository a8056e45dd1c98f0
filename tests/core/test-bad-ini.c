/*
 * test-bad-ini: a table of wrong machines. For each, `mobo check` must say what is wrong and in
 * which line, exit with 2, and leave nothing behind; where several things are wrong, all must be
 * said.
 */
#include "run.h"

#include <dirent.h>

#define ACCEL "[accel]\ntype = test-front/accel\n"          /* lines 1, 2 */
#define BUS "[pic]\ntype = test-front/chip\n[bus]\ntype = test-front/bus\n" /* 4 lines */
#define DISK "[d0]\ntype = test-front/disk\npath = x\n"      /* 3 lines */
#define DEV "[vda]\ntype = test-front/dev\nat = 0x1000\n"    /* 3 lines: 8 to 10 */
#define MACHINE BUS DISK DEV

struct bad {
    const char *name, *text;
    const char *expect[4]; /* each in one line of its own */
    const char *overrides[3];
    size_t len;            /* of text with NUL bytes */
};

#define BAD(n, t, ...) { .name = (n), .text = (t), .expect = { __VA_ARGS__ } }
#define OVER(n, t, o, ...)                                                                         \
    { .name = (n), .text = (t), .overrides = { o }, .expect = { __VA_ARGS__ } }
#define NUL(n, t, l, ...) { .name = (n), .text = (t), .len = (l), .expect = { __VA_ARGS__ } }

static const struct bad table[] = {
    /* lines */
    BAD("no equals", "[a]\ntype test\n", "m.ini:2: [a]: 'type test' is neither"),
    BAD("colon", "[a]\ntype: test\n", "m.ini:2: [a]: 'type: test' is neither", "write = instead"),
    BAD("no key", "[a]\n= 5\n", "m.ini:2: [a]: there is no key before"),
    BAD("key with blank", "[a]\nmy key = 5\n", "m.ini:2: [a]: 'my key' is no key"),
    BAD("key with dot", "[a]\nb.c = 5\n", "m.ini:2: [a]: 'b.c' is no key"),
    BAD("no bracket", "[a\ntype = b\n", "m.ini:1: ']' is missing"),
    BAD("empty section name", "[]\n", "m.ini:1: the section has no name"),
    BAD("blank section name", "[  ]\n", "m.ini:1: the section has no name"),
    BAD("section with blank", "[a b]\n", "m.ini:1: [a b] is no section name"),
    BAD("text behind section", "[a] b\n", "m.ini:1: 'b' stands behind"),
    BAD("empty variant", "[a@]\n", "m.ini:1: [a@] is no section name"),
    BAD("variant with blank", "[a@b c]\n", "m.ini:1: [a@b c] is no section name"),
    BAD("section twice", ACCEL "\n[accel]\n",
        "m.ini:4: section [accel] stands twice, first in line 1"),
    BAD("variant twice", ACCEL "[accel@x]\n[accel@x]\n",
        "m.ini:4: section [accel@x] stands twice, first in line 3"),
    BAD("key twice", "[accel]\ntype = a\n; c\ntype = b\n",
        "m.ini:4: [accel]: key 'type' stands twice, first in line 2"),
    BAD("key before section", "x = 5\n", "m.ini:1: key 'x' stands before"),
    BAD("include in section", "[a]\ninclude = b\n", "m.ini:2: [a]: include must stand before"),
    BAD("include nothing", "include =\n", "m.ini:1: include names no file"),
    BAD("include missing", "\ninclude = no.ini\n", "m.ini:2: include = no.ini: no such file"),
    BAD("include folder", "include = /tmp\n", "m.ini:1: include = /tmp: is a folder"),
    BAD("include itself", "include = m.ini\n", "m.ini:1: include cycle: m.ini -> m.ini"),
    BAD("control character", "[a]\ntype = \001\n",
        "m.ini:2: [a]: column 8 holds the control character 0x01"),
    BAD("carriage return inside", "[a]\ntype = b\rc\n",
        "m.ini:2: [a]: column 9 holds the control character 0x0d"),
    NUL("NUL", "[a]\nty\0pe = b\n", 14, "m.ini:2: [a]: column 3 holds a NUL byte"),
    BAD("Latin 1", "[a]\ntype = \xe4\n", "m.ini:2: [a]: column 8: byte 0xe4 is no UTF-8"),
    BAD("overlong", "[a]\ntype = \xc0\xaf\n", "m.ini:2: [a]: column 8: byte 0xc0"),
    BAD("surrogate", "[a]\ntype = \xed\xa0\x80\n", "m.ini:2: [a]: column 8: byte 0xed"),
    NUL("UTF-16", "\xff\xfe[\0a\0]\0", 8, "m.ini:1: the file is UTF-16"),
    BAD("CRLF counts", "[a]\r\ntype = x\r\n?\r\n", "m.ini:3: [a]: '?' is neither"),
    BAD("BOM counts", "\xef\xbb\xbf[a]\n?\n", "m.ini:2: [a]: '?' is neither"),
    BAD("indented counts", "  [a]\n\t?\n", "m.ini:2: [a]: '?' is neither"),
    BAD("several", "[a]\n?\n!\n[\n", "m.ini:2: [a]: '?'", "m.ini:3: [a]: '!'", "m.ini:4: ']'"),

    /* types */
    BAD("no type", "\n[a]\nx = 1\n", "m.ini:2: [a]: no type: write"),
    BAD("no type, machine meant", "[machin]\nmemory = 1G\n", "m.ini:1: [machin]: no type",
        "(did you mean 'machine'?)"),
    BAD("no plugin", "[a]\ntype = test-fron/dev\n", "m.ini:2: [a]: no plugin 'test-fron'",
        "(did you mean 'test-front'?)"),
    BAD("no class", "[a]\ntype = test-front/chop\n",
        "m.ini:2: [a]: plugin test-front has no class 'chop' (did you mean 'chip'?)"),
    BAD("class left out", "[a]\ntype = test-front\n",
        "m.ini:2: [a]: plugin test-front has several classes; write test-front/CLASS with one of "
        "accel, slow"),
    BAD("empty type", "[a]\ntype =\n", "m.ini:2: [a]: an empty type"),
    BAD("comma at the end", "[accel]\ntype = test-front/accel,\n",
        "m.ini:2: [accel]: an empty type"),
    BAD("type with space", "[a]\ntype = te st\n", "m.ini:2: [a]: 'te st' is no type"),
    BAD("file without folder", "[a]\ntype = x.so\n", "m.ini:2: [a]: write ./x.so"),
    BAD("file missing", "[a]\ntype = ./x.so:y\n", "m.ini:2: [a]: no plugin 'x' ("),
    BAD("type twice", "[a]\ntype = test-front/accel, test-front/accel\n",
        "m.ini:2: [a]: type 'test-front/accel' stands twice"),
    BAD("all alternatives missing", "[a]\ntype = nix, gar\n", "m.ini:2: [a]: no plugin 'nix'",
        "m.ini:2: [a]: no plugin 'gar'"),
    BAD("variant of nothing", ACCEL "[acel@test-front/accel]\n",
        "m.ini:3: [acel@test-front/accel]: no section [acel]", "(did you mean 'accel'?)"),
    BAD("variant of other class", ACCEL "[accel@test-front/slow]\n",
        "m.ini:3: [accel@test-front/slow]: 'test-front/slow' is not among the types"),
    BAD("type in variant", ACCEL "[accel@test-front/accel]\ntype = x\n",
        "m.ini:4: [accel@test-front/accel]: key 'type' belongs into [accel]"),
    BAD("machine with type", "[machine]\ntype = x\n", "m.ini:2: [machine]: unknown key 'type'"),
    BAD("two accelerators", ACCEL "[b]\ntype = test-front/slow\n",
        "m.ini:3: [b]: a second accelerator beside [accel]"),
    BAD("mixed alternatives", "[a]\ntype = test-front/accel, test-front/chip\n",
        "m.ini:1: [a]: accelerators and other classes"),

    /* keys and values */
    BAD("unknown key", MACHINE "quues = 1\n",
        "m.ini:11: [vda]: unknown key 'quues' (did you mean 'queues'?)"),
    BAD("unknown key of the bus", MACHINE "labl = 1\n",
        "m.ini:11: [vda]: unknown key 'labl' (did you mean 'label'?)"),
    BAD("unknown machine key", "[machine]\nmemroy = 1G\n",
        "m.ini:2: [machine]: unknown key 'memroy' (did you mean 'memory'?)"),
    BAD("unknown key far away", ACCEL "zzzzzzzz = 1\n",
        "m.ini:3: [accel]: unknown key 'zzzzzzzz'\n"),
    BAD("value wrong for both alternatives",
        "[a]\ntype = test-front/accel, test-front/slow\ncommon = 6\n",
        "m.ini:3: [a]: common = 6: out of range 0..5"),
    BAD("variant of machine", "[machine@x]\n", "m.ini:1: [machine@x]: no section [machine]"),
    BAD("key of no alternative", "[a]\ntype = test-front/accel, test-front/slow\nfoo = 1\n",
        "m.ini:3: [a]: unknown key 'foo'"),
    BAD("key of the other class",
        "[a]\ntype = test-front/accel, test-front/slow\n[a@test-front/accel]\nlevel = 4\n",
        "m.ini:4: [a@test-front/accel]: unknown key 'level'"),
    BAD("value of an alternative", "[a]\ntype = test-front/accel, test-front/slow\nlevel = 40\n",
        "m.ini:3: [a]: level = 40: out of range 1..9"),
    BAD("key missing", "[d]\ntype = test-front/disk\n",
        "m.ini:1: [d]: key 'path' is missing: image file"),
    BAD("bus key missing", BUS DISK "[v]\ntype = test-front/dev\n",
        "m.ini:8: [v]: key 'at' is missing: address of the window"),
    BAD("no number", MACHINE "queues = many\n", "m.ini:11: [vda]: queues = many: not a number"),
    BAD("number and more", MACHINE "queues = 4x\n", "m.ini:11: [vda]: queues = 4x: not a number"),
    BAD("negative", MACHINE "queues = -1\n", "m.ini:11: [vda]: queues = -1: negative"),
    BAD("number too small", MACHINE "queues = 0\n",
        "m.ini:11: [vda]: queues = 0: out of range 1..64"),
    BAD("number too large", MACHINE "queues = 65\n",
        "m.ini:11: [vda]: queues = 65: out of range 1..64"),
    BAD("65 bits", MACHINE "count = 18446744073709551616\n",
        "m.ini:11: [vda]: count = 18446744073709551616: more than 64 bits"),
    BAD("33 bits", MACHINE "line = 4294967296\n",
        "m.ini:11: [vda]: line = 4294967296: not an interrupt"),
    BAD("bare 0x", MACHINE "count = 0x\n", "m.ini:11: [vda]: count = 0x: not a number"),
    BAD("no value", MACHINE "count =\n", "m.ini:11: [vda]: count =: the value is missing"),
    BAD("no bool", MACHINE "flag = yess\n",
        "m.ini:11: [vda]: flag = yess: neither yes nor no (did you mean 'yes'?)"),
    BAD("no enum word", MACHINE "cache = writethru\n",
        "m.ini:11: [vda]: cache = writethru: not one of writeback|writethrough|none",
        "did you mean 'writethrough'"),
    BAD("no size", MACHINE "bytes = 4KB\n", "m.ini:11: [vda]: bytes = 4KB: not a size"),
    BAD("size overflow", "[machine]\nmemory = 99999999999T\n",
        "m.ini:2: [machine]: memory = 99999999999T: more than 64 bits"),
    BAD("size too large", MACHINE "bytes = 2M\n",
        "m.ini:11: [vda]: bytes = 2M: out of range 512..1M"),
    BAD("string too long", MACHINE "serial = 123456789012345678901\n",
        "m.ini:11: [vda]: serial = 123456789012345678901: 21 bytes long; allowed: 0..20"),
    BAD("no MAC", MACHINE "mac = 52:54:00:12:34\n",
        "m.ini:11: [vda]: mac = 52:54:00:12:34: not a MAC"),
    BAD("multicast MAC", MACHINE "mac = 53:54:00:12:34:56\n",
        "m.ini:11: [vda]: mac = 53:54:00:12:34:56: a multicast"),
    BAD("memory unaligned", "[machine]\nmemory = 1048577\n",
        "m.ini:2: [machine]: memory = 1048577: not a multiple of 4K"),
    BAD("half a huge page", "[machine]\nmemory = 3M\nhuge-pages = 2M\n",
        "m.ini:3: [machine]: huge-pages = 2M: memory = 3145728 bytes is not a multiple"),
    BAD("default memory in huge pages", "[machine]\nhuge-pages = 1G\n",
        "m.ini:2: [machine]: huge-pages = 1G: memory = 536870912 bytes is not a multiple"),
    BAD("no memory", "[machine]\nmemory = 0\n",
        "m.ini:2: [machine]: memory = 0: out of range 1M..16T"),
    BAD("cpus", "[machine]\ncpus = 65\n", "m.ini:2: [machine]: cpus = 65: out of range 1..64"),
    BAD("arch", "[machine]\narch = x86_64\n", "m.ini:2: [machine]: arch = x86_64: not one of",
        "did you mean 'x86-64'"),
    BAD("bad thread", ACCEL "thread = a b\n", "m.ini:3: [accel]: thread = a b: not a name"),
    BAD("alias and name", MACHINE "queues = 2\nqueue-count = 3\n",
        "m.ini:12: [vda]: 'queue-count' is the old name of 'queues', which is set too"),

    /* links and irqs */
    BAD("link to nothing", MACHINE "drive = d1\n",
        "m.ini:11: [vda]: drive = d1: no such section (did you mean 'd0'?)"),
    BAD("link to machine", MACHINE "drive = machine\n",
        "m.ini:11: [vda]: drive = machine: no such section"),
    BAD("wrong interface", MACHINE "drive = pic\n",
        "m.ini:11: [vda]: drive = pic: test-front/chip provides mobo.irqchip/1; wanted: "
        "mobo.block/2|mobo.block/1"),
    BAD("link to a device", MACHINE "drive = vda\n",
        "m.ini:11: [vda]: drive = vda: test-front/dev provides nothing"),
    BAD("one alternative does not fit",
        BUS DISK "[v]\ntype = test-front/dev\nat = 1\ndrive = m\n"
        "[m]\ntype = test-front/disk, test-front/chip\npath = x\n",
        "m.ini:11: [v]: drive = m: test-front/chip provides mobo.irqchip/1"),
    BAD("no provider", BUS "[v]\ntype = test-front/dev\nat = 1\n",
        "m.ini:5: [v]: key 'drive' is missing, and no section provides "
        "mobo.block/2|mobo.block/1: its disk"),
    BAD("two providers", MACHINE "[d1]\ntype = test-front/disk\npath = y\n",
        "m.ini:8: [vda]: key 'drive' is missing: [d0], [d1] provide mobo.block"),
    BAD("required link empty", MACHINE "drive =\n",
        "m.ini:11: [vda]: drive =: the value is missing"),
    BAD("irq of nothing", MACHINE "line = pik:3\n",
        "m.ini:11: [vda]: line = pik: no such section (did you mean 'pic'?)"),
    BAD("irq of a disk", MACHINE "line = d0:3\n",
        "m.ini:11: [vda]: line = d0: test-front/disk provides mobo.block/1; wanted: "
        "mobo.irqchip/1"),
    BAD("irq without number", MACHINE "line = pic:x\n",
        "m.ini:11: [vda]: line = pic:x: not an interrupt"),
    BAD("irq on which chip", MACHINE "line = 3\n[p2]\ntype = test-front/chip\n",
        "m.ini:11: [vda]: line = 3: on which of [pic], [p2]? Write CHIP:3"),
    BAD("link to itself", "[k]\ntype = test-front/knot\nnext = k\n",
        "m.ini:3: [k]: next = k: an object cannot link to itself"),
    BAD("circle of two",
        "[a]\ntype = test-front/knot\nnext = b\n[b]\ntype = test-front/knot\nnext = a\n",
        "m.ini:1: [a]: links form a circle: [a] -> [b] -> [a]"),
    BAD("circle of three",
        "[a]\ntype = test-front/knot\nnext = b\n[b]\ntype = test-front/knot\nnext = c\n"
        "[c]\ntype = test-front/knot\nnext = b\n",
        "m.ini:4: [b]: links form a circle: [b] -> [c] -> [b]"),
    BAD("many faults at once", MACHINE "queues = 0\ncache = no\nfoo = 1\ndrive = no\n",
        "m.ini:11: [vda]: queues", "m.ini:12: [vda]: cache", "m.ini:13: [vda]: unknown key 'foo'",
        "m.ini:14: [vda]: drive"),

    /* the command line */
    OVER("override of nothing", ACCEL, "acel.fast=yes",
        "command line: no section [acel] to set fast in (did you mean 'accel'?)"),
    OVER("override without dot", ACCEL, "fast=yes",
        "command line: 'fast=yes' is no SECTION.KEY=VALUE"),
    OVER("override without equals", ACCEL, "accel.fast",
        "command line: 'accel.fast' is no SECTION.KEY=VALUE"),
    OVER("override with bad value", ACCEL, "accel.fast=2",
        "command line: [accel]: fast = 2: neither yes nor no"),
    OVER("override with bad key", ACCEL, "accel.fats=yes",
        "command line: [accel]: unknown key 'fats' (did you mean 'fast'?)"),
    OVER("override with control", ACCEL, "accel.fast=\x1b[2J", "command line: the value of",
        "control character"),
    OVER("new section by override", ACCEL, "x.type=nix", "command line: [x]: no plugin 'nix'"),
};

static void is_empty_but(const char *only)
{
    DIR *d = opendir(".");
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] != '.')
            assert_string_equal(e->d_name, only);
    }
    (void)closedir(d);
}

static void bad_machines(void **state)
{
    char folder[64];
    static struct said s;
    unsigned failed = 0;
    (void)state;
    enter_empty_folder(folder);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct bad *b = &table[i];
        char *argv[] = { "mobo", "check", "m.ini", (char *)b->overrides[0],
                         (char *)b->overrides[1], NULL };
        write_file("m.ini", b->text, b->len ? b->len : strlen(b->text));
        run_mobo(&s, 2, argv);
        bool good = exit_code(&s) == 2;
        unsigned faults = 0;
        for (unsigned e = 0; e < 4 && b->expect[e]; e++) {
            good = good && strstr(s.text, b->expect[e]);
            faults += strncmp(b->expect[e], "m.ini:", 6) == 0 ||
                      strncmp(b->expect[e], "command line:", 13) == 0;
        }
        if (!good || s.lines != faults) { /* one line for each fault, and no others */
            print_message("case '%s': exit code %d, said:\n%s", b->name, exit_code(&s), s.text);
            failed++;
        }
        is_empty_but("m.ini");
    }
    assert_int_equal(failed, 0);
    print_message("%zu machines refused\n", sizeof table / sizeof table[0]);
    (void)unlink("m.ini");
    leave_folder(folder);
}

static void long_lines(void **state)
{
    char folder[64];
    static struct said s;
    static char text[70000];
    (void)state;
    enter_empty_folder(folder);
    char *argv[] = { "mobo", "check", "m.ini", NULL };
    /* 64 KiB are read whole: the limit of the key (20 bytes) complains, not the reader. */
    int n = snprintf(text, sizeof text, "%sserial = ", MACHINE);
    memset(text + n, 'x', 65536);
    write_file("m.ini", text, (size_t)n + 65536);
    run_mobo(&s, 2, argv);
    assert_int_equal(exit_code(&s), 2);
    assert_non_null(strstr(s.text, "m.ini:11: [vda]: serial = xxxxxxxx"));
    assert_non_null(strstr(s.text, "65536 bytes long; allowed: 0..20"));
    memset(text + n, 'x', 65537);
    write_file("m.ini", text, (size_t)n + 65537);
    run_mobo(&s, 2, argv);
    assert_non_null(strstr(s.text, "m.ini:11: [vda]: the value of 'serial' has 65537 bytes"));
    memset(text + n, 'x', 66000);
    write_file("m.ini", text, (size_t)n + 66000);
    run_mobo(&s, 2, argv);
    assert_non_null(strstr(s.text, "m.ini:11: [vda]: the line has 66009 bytes"));
    (void)unlink("m.ini");
    leave_folder(folder);
}

static void include_chains(void **state)
{
    char folder[64], name[32], text[64];
    static struct said s;
    (void)state;
    enter_empty_folder(folder);
    char *argv[] = { "mobo", "check", "m.ini", NULL };
    write_text("m.ini", "include = b.ini\n");
    write_text("b.ini", "\ninclude = c.ini\n");
    write_text("c.ini", "include = b.ini\n");
    run_mobo(&s, 2, argv);
    assert_int_equal(exit_code(&s), 2);
    assert_non_null(strstr(s.text, "c.ini:1: include cycle: b.ini -> c.ini -> b.ini"));
    for (int i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof name, i ? "l%d.ini" : "m.ini", i);
        int n = snprintf(text, sizeof text, "include = l%d.ini\n", i + 1);
        write_file(name, text, (size_t)n);
    }
    run_mobo(&s, 2, argv);
    assert_int_equal(exit_code(&s), 2);
    assert_non_null(strstr(s.text, "l15.ini:1: include = l16.ini: more than 16 levels"));
    for (int i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof name, i ? "l%d.ini" : "m.ini", i);
        (void)unlink(name);
    }
    (void)unlink("b.ini");
    (void)unlink("c.ini");
    leave_folder(folder);
}

static void no_file(void **state)
{
    static struct said s;
    (void)state;
    run_mobo(&s, 2, (char *[]){ "mobo", "check", "/no/such.ini", NULL });
    assert_int_equal(exit_code(&s), 2);
    assert_string_equal(s.text, "/no/such.ini: No such file or directory\n");
    run_mobo(&s, 2, (char *[]){ "mobo", "check", "/tmp", NULL });
    assert_int_equal(exit_code(&s), 2);
    assert_string_equal(s.text, "/tmp: is a folder; name an INI file\n");
}

int main(void)
{
    (void)setenv("MOBO_PLUGIN_PATH", PLUGINS, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_machines), cmocka_unit_test(long_lines),
        cmocka_unit_test(include_chains), cmocka_unit_test(no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
