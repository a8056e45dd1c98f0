/* test-char-file.c: output files, their limits, and input. */
#include "owner.h"

#include <fcntl.h>
#include <sys/stat.h>

static const mobo_class_t *file_class(void)
{
    return fake_class(PLUGINS "/char-file.so", "file");
}

static struct fake *machine(struct owner **o, const char *const *settings)
{
    struct fake *f = fake_new(4096, 1);
    assert_non_null(fake_add(f, "log", file_class(), settings));
    assert_non_null(*o = fake_add(f, "owner", owner_class(), NULL));
    fake_run(f);
    return f;
}

static void holds(const char *path, const char *text)
{
    char buf[256] = { 0 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = read(fd, buf, sizeof buf - 1);
    (void)close(fd);
    assert_int_equal(n, strlen(text));
    assert_string_equal(buf, text);
}

static void test_output(void **state)
{
    (void)state;
    struct folder d;
    folder_new(&d);
    struct owner *o;
    const char *const fresh[] = { file(&d, "path=", "out"), NULL };
    const char *const more[] = { file(&d, "path=", "out"), "append=yes", NULL };
    const char *const limit[] = { file(&d, "path=", "out"), "append=yes", "max-size=10", NULL };
    struct fake *f = machine(&o, fresh);
    assert_true(o->events & MOBO_CHAR_OPENED);
    assert_int_equal(mobo_char_write(o->link, "hello", 5), 5);
    uint32_t cols, rows;
    assert_int_equal(mobo_char_winsize(o->link, &cols, &rows), MOBO_ENOTSUP);
    fake_free(f);
    holds(file(&d, "", "out"), "hello");
    f = machine(&o, more);
    assert_int_equal(mobo_char_write(o->link, "+", 1), 1);
    fake_free(f);
    holds(file(&d, "", "out"), "hello+");
    f = machine(&o, limit);
    assert_int_equal(mobo_char_write(o->link, "123456789", 9), 9); /* the guest never stalls */
    assert_int_equal(mobo_char_write(o->link, "more", 4), 4);
    assert_int_equal(fake_log_count(f, MOBO_WARN), 1); /* said once */
    fake_free(f);
    holds(file(&d, "", "out"), "hello+1234");
    f = machine(&o, fresh);
    fake_free(f);
    holds(file(&d, "", "out"), "");
    folder_remove(&d);
}

static void test_full(void **state)
{
    (void)state;
    struct owner *o;
    const char *const settings[] = { "path=/dev/full", NULL };
    struct fake *f = machine(&o, settings);
    assert_int_equal(mobo_char_write(o->link, "lost", 4), 4);
    assert_non_null(strstr(fake_last_log(f, MOBO_WARN), "output is lost"));
    assert_int_equal(mobo_char_write(o->link, "lost", 4), 4);
    fake_free(f);
}

static void test_input(void **state)
{
    (void)state;
    struct folder d;
    folder_new(&d);
    int fd = open(file(&d, "", "keys"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "some keys", 9), 9);
    (void)close(fd);
    struct owner *o;
    const char *const settings[] = { file(&d, "path=", "out"), file(&d, "input=", "keys"), NULL };
    struct fake *f = machine(&o, settings);
    assert_true(owner_reads(f, o, 9));
    assert_memory_equal(o->in, "some keys", 9);
    for (int i = 0; i < 5; i++) /* the end is quiet: no file that is ready for ever */
        assert_int_equal(fake_poll(f, 0), 0);
    fake_free(f);
    /* A FIFO goes on when its writer leaves. */
    assert_int_equal(mkfifo(file(&d, "", "fifo"), 0600), 0);
    const char *const fifo[] = { file(&d, "path=", "out"), file(&d, "input=", "fifo"), NULL };
    f = machine(&o, fifo);
    for (uint32_t i = 1; i <= 3; i++) {
        fd = open(file(&d, "", "fifo"), O_WRONLY | O_CLOEXEC);
        assert_int_equal(write(fd, "x", 1), 1);
        (void)close(fd);
        assert_true(owner_reads(f, o, i));
    }
    fake_free(f);
    folder_remove(&d);
}

static void test_refused(void **state)
{
    (void)state;
    struct folder d;
    folder_new(&d);
    assert_int_equal(mkfifo(file(&d, "", "fifo"), 0600), 0);
    const struct { const char *s[3], *text; } bad[] = {
        { { file(&d, "path=", "."), NULL }, "Is a directory" },
        { { file(&d, "path=", "none/out"), NULL }, "cannot write" },
        { { file(&d, "path=", "fifo"), NULL }, "FIFO that nobody reads" },
        { { file(&d, "path=", "out"), file(&d, "input=", "none"), NULL }, "cannot read" },
        { { file(&d, "path=", "out"), file(&d, "input=", "."), NULL }, "is a directory" },
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct fake *f = fake_new(4096, 1);
        assert_null(fake_add(f, "log", file_class(), bad[i].s));
        if (!strstr(fake_failure(f), bad[i].text))
            fail_msg("%s: %s", bad[i].text, fake_failure(f));
        fake_free(f);
    }
    folder_remove(&d);
}

/* One owner only. */
static void test_busy(void **state)
{
    (void)state;
    struct owner *o;
    const char *const settings[] = { "path=/dev/null", NULL };
    struct fake *f = machine(&o, settings);
    assert_null(fake_add(f, "second", owner_class(), NULL));
    struct owner *second = fake_self(f, "second");
    if (second)
        assert_int_equal(second->open_rc, MOBO_EBUSY);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output), cmocka_unit_test(test_full), cmocka_unit_test(test_input),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
