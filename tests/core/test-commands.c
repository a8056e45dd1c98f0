/*
 * test-commands: the commands on good input, and the command line on bad input: exit codes, what
 * goes to which stream, and that what `explain` prints is the same machine again.
 */
#include "run.h"

#include <signal.h>

static struct said said, again;

static const char machine[] =
    "[machine]\nmemory = 1G\n"
    "[accel]\ntype = test-front/accel, no-such-plugin, test-front/slow\n"
    "fast = yes ; a key of one alternative\n"
    "[accel@test-front/slow]\nlevel = 4\n"
    "[accel@no-such-plugin]\nwhat = ever\n"
    "[pic]\ntype = test-front/chip\n"
    "[bus]\ntype = test-front/bus\nchip =\n"
    "[vda]\ntype = test-front/dev\nqueue-count = 4\nat = 0x1000\nirq = pic:3\nline = pic:5\n"
    "thread = io\n"
    "[d0]\ntype = test-front/disk\npath = foo.img\n"
    "[top]\ntype = test-front/knot\nnext = mid\n"
    "[mid]\ntype = test-front/knot\nnext = pic\n"
    "[vdb]\ntype = test-front/dev\nat = 0x2000\n";

#define RUN(fd, ...) run_mobo(&said, (fd), (char *[]){ "mobo", __VA_ARGS__, NULL })

static void has(const char *text)
{
    if (!strstr(said.text, text)) {
        print_message("'%s' is not in:\n%s", text, said.text);
        fail();
    }
}

static void before(const char *first, const char *second)
{
    const char *a = strstr(said.text, first), *b = strstr(said.text, second);
    assert_non_null(a);
    assert_non_null(b);
    assert_true(a < b);
}

static int enter(void **state)
{
    static char folder[64];
    (void)setenv("MOBO_PLUGIN_PATH", PLUGINS, 1);
    enter_empty_folder(folder);
    write_text("m.ini", machine);
    *state = folder;
    return 0;
}

static int leave(void **state)
{
    (void)unlink("m.ini");
    (void)unlink("x.ini");
    leave_folder(*state);
    return 0;
}

static void check(void **state)
{
    (void)state;
    RUN(2, "check", "m.ini");
    assert_int_equal(exit_code(&said), 0);
    has("m.ini:4: [accel]: no plugin 'no-such-plugin'");
    has("m.ini:17: [vda]: 'queue-count' is the old name of 'queues'");
    assert_int_equal(said.lines, 2); /* both are warnings */
    RUN(1, "check", "m.ini");
    assert_string_equal(said.text, "");
    RUN(2, "-v", "check", "m.ini");
    has("loaded ");
    has("test-front 1.0, ABI 1.0");
}

static void explain(void **state)
{
    (void)state;
    RUN(1, "explain", "m.ini", "vda.serial=abc", "vda.cache=none");
    assert_int_equal(exit_code(&said), 0);
    has("memory = 1G ; m.ini:2\n");
    has("cpus = 1 ; default\n");
    has("type = test-front/accel, test-front/slow ; m.ini:4\n");
    has("[accel@test-front/slow]\nlevel = 4 ; m.ini:7\n");
    has("fast = yes ; m.ini:5\n");
    has("chip =  ; m.ini:14\n"); /* unset by its user */
    has("; line is not set: a line of its own\n");
    has("bus = bus ; the only one that provides mobo.bus.mmio/1\n");
    has("drive = d0 ; the only one that provides");
    has("line = pic:5 ; m.ini:20\n");
    has("queues = 4 ; m.ini:17\n");
    has("serial = abc ; command line\n");
    has("cache = none ; command line\n");
    has("thread = io ; m.ini:21\n");
    has("at = 0x1000 ; m.ini:18\n");
    has("/foo.img ; m.ini:24\n");
    has("path = /");
    before("\n[d0]", "\n[vda]"); /* what is linked to starts first */
    before("\n[pic]", "\n[mid]");
    before("\n[mid]", "\n[top]");
    /* The output is a machine, and explains to the same values. */
    write_text("x.ini", said.text);
    run_mobo(&again, 1, (char *[]){ "mobo", "explain", "x.ini", NULL });
    assert_int_equal(exit_code(&again), 0);
    assert_int_equal(again.lines, said.lines);
    const char *a = said.text, *b = again.text;
    while (*a && *b) {
        size_t la = strcspn(a, "\n"), lb = strcspn(b, "\n");
        const char *ca = memmem(a, la, " ; ", 3), *cb = memmem(b, lb, " ; ", 3);
        size_t va = ca ? (size_t)(ca - a) : la, vb = cb ? (size_t)(cb - b) : lb;
        assert_int_equal(va, vb);
        assert_memory_equal(a, b, va);
        a += la + 1;
        b += lb + 1;
    }
}

static void list_and_describe(void **state)
{
    (void)state;
    RUN(1, "list");
    has("test-front/dev ");
    has("device with a key of every type");
    RUN(1, "describe", "test-front/dev");
    assert_int_equal(exit_code(&said), 0);
    has("  queues         u32 1..64, default 1\n");
    has("  bytes          size 512..1M, default 4K\n");
    has("  queue-count    old name of queues\n");
    RUN(1, "describe", "test-front/bus");
    has("provides mobo.bus.mmio/1\n");
    has("keys of sections on this bus:\n  at             u64 0..4294901760, required\n");
    RUN(1, "describe", "machine");
    has("on-reset       enum reset|exit, default reset");
    RUN(1, "describe", "--json", "test-front/dev");
    assert_int_equal(exit_code(&said), 0);
    has("{\"name\": \"queues\", \"type\": \"u32\", \"doc\": \"request queues\", "
        "\"default\": \"1\", \"required\": false, \"min\": 1, \"max\": 64}");
    has("\"interfaces\": [\"mobo.block/2\", \"mobo.block/1\"]");
    RUN(1, "describe", PLUGINS "/test-front.so:chip");
    assert_int_equal(exit_code(&said), 0);
    has("test-front/chip: interrupt controller");
    RUN(2, "describe", "test-front/nix");
    assert_int_equal(exit_code(&said), 2);
    RUN(2, "describe", "nix");
    assert_int_equal(exit_code(&said), 2);
    has("no plugin 'nix'");
}

static void command_line(void **state)
{
    (void)state;
    RUN(1, "--help");
    assert_int_equal(exit_code(&said), 0);
    has("usage: mobo");
    RUN(1, "--version");
    assert_int_equal(exit_code(&said), 0);
    has("plugin ABI 1.0");
    static const struct {
        char *words[3];
        const char *expect;
    } wrong[] = {
        { { NULL }, "what shall I do?" },
        { { "chekc", "m.ini" }, "no command 'chekc' (did you mean 'check'?)" },
        { { "check" }, "a FILE is missing behind check" },
        { { "check", "m.ini", "--nope" }, "no option --nope" },
        { { "check", "m.ini", "--stats" }, "--stats belongs to run" },
        { { "list", "--json" }, "--json belongs to describe" },
        { { "list", "x" }, "list takes no argument: x" },
        { { "describe" }, "describe needs a TYPE" },
        { { "describe", "a", "b" }, "describe takes one TYPE" },
        { { "-x" }, "no option -x" },
        { { "--", "--help" }, "no command '--help'" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char *argv[] = { "mobo", wrong[i].words[0], wrong[i].words[0] ? wrong[i].words[1] : NULL,
                         wrong[i].words[0] && wrong[i].words[1] ? wrong[i].words[2] : NULL, NULL };
        run_mobo(&said, 2, argv);
        assert_int_equal(exit_code(&said), 2);
        assert_int_equal(said.lines, 1);
        has(wrong[i].expect);
    }
}

static void needs_accel(void **state)
{
    (void)state;
    write_text("x.ini", "[pic]\ntype = test-front/chip\n");
    RUN(2, "check", "x.ini"); /* a board alone is fine */
    assert_int_equal(exit_code(&said), 0);
    RUN(2, "run", "x.ini");
    assert_int_equal(exit_code(&said), 2);
    assert_string_equal(said.text, "x.ini: no section provides mobo.accel/1; add [accel] with "
                                   "type = accel-soft\n");
}

static void full_disk(void **state)
{
    (void)state;
    static const char *const commands[] = { "--help", "--version", "list", "describe test-front",
                                            "explain m.ini" };
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        char line[1024];
        (void)snprintf(line, sizeof line, "%s %s >/dev/full 2>/dev/null", MOBO_EXE, commands[i]);
        int status = system(line);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 1);
    }
}

/* Nothing that is opened later may become standard input, output or error. */
static void closed_files(void **state)
{
    (void)state;
    static const struct {
        const char *command, *closed;
        int code;
    } cases[] = {
        { "check", "<&-", 0 },           { "check", ">&-", 0 },
        { "check", "2>&-", 0 },          { "check", "<&- >&-", 0 },
        { "check", "<&- >&- 2>&-", 0 },  { "explain", "<&-", 0 },
        { "explain", "<&- >&-", 1 },     { "explain", "<&- >&- 2>&-", 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char line[1024];
        (void)snprintf(line, sizeof line, "%s %s m.ini >/dev/null 2>x.ini %s", MOBO_EXE,
                       cases[i].command, cases[i].closed);
        int status = system(line);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) != cases[i].code)
            print_message("%s %s\n", cases[i].command, cases[i].closed);
        assert_int_equal(WEXITSTATUS(status), cases[i].code);
    }
}

/* SIGUSR1 asks a running machine for statistics; one that does not run yet survives it. */
static void early_signal(void **state)
{
    int ends[2], status;
    char byte;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(ends[1], 2);
        execl(MOBO_EXE, "mobo", "-v", "check", "m.ini", NULL);
        _exit(99);
    }
    (void)close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1); /* it is loading plugins */
    for (int i = 0; i < 100 && kill(pid, SIGUSR1) == 0; i++)
        (void)usleep(10);
    while (read(ends[0], &byte, 1) == 1)
        ;
    (void)close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* A file that is missing when the machine starts: the line that names it is what is wrong. */
static void missing_file(void **state)
{
    (void)state;
    write_text("x.ini", "[accel]\ntype = test-front/accel\n"
                        "[d0]\ntype = test-front/disk\n\npath = no.img\n");
    RUN(2, "run", "x.ini");
    assert_int_equal(exit_code(&said), 2);
    assert_int_equal(said.lines, 1);
    has("x.ini:6: [d0]: /");
    has("/no.img does not exist\n");
    RUN(2, "run", "x.ini", "d0.path=/no/where.img");
    assert_int_equal(exit_code(&said), 2);
    assert_string_equal(said.text, "command line: [d0]: /no/where.img does not exist\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check),        cmocka_unit_test(explain),
        cmocka_unit_test(command_line), cmocka_unit_test(list_and_describe),
        cmocka_unit_test(needs_accel),  cmocka_unit_test(full_disk),
        cmocka_unit_test(closed_files), cmocka_unit_test(missing_file),
        cmocka_unit_test(early_signal),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
