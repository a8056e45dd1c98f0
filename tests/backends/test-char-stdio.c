/*
 * test-char-stdio.c: standard input and output as a pseudo-terminal, pipes, files and /dev/null.
 * Each test swaps descriptors 0 and 1 while the object lives.
 */
#include "owner.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

static struct {
    int in, out;
} kept;

static void swap_in(int in, int out)
{
    (void)fflush(stdout);
    kept.in = dup(0);
    kept.out = dup(1);
    (void)dup2(in, 0);
    (void)dup2(out, 1);
}

static void swap_back(void)
{
    (void)dup2(kept.in, 0);
    (void)dup2(kept.out, 1);
    (void)close(kept.in);
    (void)close(kept.out);
}

static struct fake *machine(struct owner **o, const char *const *settings)
{
    struct fake *f = fake_new(4096, 1);
    void *s = fake_add(f, "tty", fake_class(PLUGINS "/char-stdio.so", "stdio"), settings);
    if (!s)
        fail_msg("%s", fake_failure(f));
    assert_non_null(*o = fake_add(f, "owner", owner_class(), NULL));
    fake_run(f);
    return f;
}

static void test_terminal(void **state)
{
    (void)state;
    int master, slave;
    struct winsize w = { .ws_col = 90, .ws_row = 30 };
    assert_int_equal(openpty(&master, &slave, NULL, NULL, &w), 0);
    struct termios before, raw, after;
    assert_int_equal(tcgetattr(slave, &before), 0);
    int flags = fcntl(slave, F_GETFL);
    struct owner *o;
    swap_in(slave, slave);
    struct fake *f = machine(&o, NULL);
    swap_back(); /* the object has what it needs, but for descriptors 0 and 1 */
    swap_in(slave, slave);
    assert_int_equal(tcgetattr(slave, &raw), 0);
    assert_false(raw.c_lflag & (ICANON | ECHO | ISIG));
    /* Keys go through one by one, Ctrl-C and carriage return as they are. */
    assert_int_equal(write(master, "a\003\r\177", 4), 4);
    assert_true(owner_reads(f, o, 4));
    assert_memory_equal(o->in, "a\003\r\177", 4);
    /* Ctrl-A Ctrl-A is one Ctrl-A, also when it comes in two pieces. */
    assert_int_equal(write(master, "x\001", 2), 2);
    assert_true(owner_reads(f, o, 5));
    assert_int_equal(write(master, "\001y\001z", 4), 4); /* z means nothing: dropped */
    assert_true(owner_reads(f, o, 7));
    assert_memory_equal(o->in + 4, "x\001y", 3);
    assert_int_equal(write(master, "\001h", 2), 2);
    char buf[1024] = { 0 };
    for (int i = 0; i < 20; i++) {
        (void)fake_poll(f, 10);
        (void)fake_run(f);
    }
    ssize_t n = read(master, buf, sizeof buf - 1);
    assert_true(n > 0 && strstr(buf, "Ctrl-A x"));
    assert_int_equal(fake_requests(f, MOBO_VM_QUIT), 0);
    assert_int_equal(write(master, "\001x", 2), 2);
    for (int i = 0; i < 100 && !fake_requests(f, MOBO_VM_QUIT); i++) {
        (void)fake_poll(f, 10);
        (void)fake_run(f);
    }
    assert_int_equal(fake_requests(f, MOBO_VM_QUIT), 1);
    assert_int_equal(o->len, 7);
    /* Size, and its change. */
    uint32_t cols, rows;
    assert_int_equal(mobo_char_winsize(o->link, &cols, &rows), 0);
    assert_true(cols == 90 && rows == 30);
    w = (struct winsize){ .ws_col = 100, .ws_row = 40 };
    assert_int_equal(ioctl(master, TIOCSWINSZ, &w), 0);
    fake_step(f, UINT64_C(600000000));
    fake_run(f);
    assert_true(o->events & MOBO_CHAR_RESIZED);
    assert_int_equal(mobo_char_winsize(o->link, &cols, &rows), 0);
    assert_true(cols == 100 && rows == 40);
    /* Nobody reads the terminal: writes come up short and never block. */
    static char block[4096];
    memset(block, 'x', sizeof block);
    uint64_t total = 0;
    uint32_t k;
    do {
        k = mobo_char_write(o->link, block, sizeof block);
        total += k;
        assert_true(total < 16 << 20);
    } while (k == sizeof block);
    assert_false(o->events & MOBO_CHAR_WRITABLE);
    while (total) {
        n = read(master, buf, sizeof buf);
        assert_true(n > 0);
        total -= (uint64_t)n < total ? (uint64_t)n : total;
    }
    assert_true(owner_hears(f, o, MOBO_CHAR_WRITABLE));
    fake_free(f);
    swap_back();
    assert_int_equal(tcgetattr(slave, &after), 0);
    assert_int_equal(after.c_lflag, before.c_lflag);
    assert_int_equal(after.c_iflag, before.c_iflag);
    assert_int_equal(fcntl(slave, F_GETFL), flags); /* O_NONBLOCK did not leak */
    (void)close(master);
    (void)close(slave);
}

static void test_pipes(void **state)
{
    (void)state;
    int in[2], out[2];
    assert_true(pipe(in) == 0 && pipe(out) == 0);
    struct owner *o;
    swap_in(in[0], out[1]);
    struct fake *f = machine(&o, NULL);
    assert_int_equal(write(in[1], "\001x\001h", 4), 4); /* no terminal: bytes are bytes */
    assert_true(owner_reads(f, o, 4));
    assert_memory_equal(o->in, "\001x\001h", 4);
    assert_int_equal(fake_requests(f, MOBO_VM_QUIT), 0);
    uint32_t cols, rows;
    assert_int_equal(mobo_char_winsize(o->link, &cols, &rows), MOBO_ENOTSUP);
    assert_int_equal(fake_deadline(f), UINT64_MAX); /* no timer runs for it */
    /* A full pipe. */
    static char block[65536], back[65536];
    uint64_t total = 0;
    uint32_t k;
    do {
        k = mobo_char_write(o->link, block, sizeof block);
        total += k;
    } while (k);
    assert_true(total >= 4096);
    for (uint64_t got = 0; got < total;) {
        ssize_t n = read(out[0], back, sizeof back);
        assert_true(n > 0);
        got += (uint64_t)n;
    }
    assert_true(owner_hears(f, o, MOBO_CHAR_WRITABLE));
    assert_int_equal(fcntl(out[1], F_GETFL) & O_NONBLOCK, 0);
    /* The end of input is not the end: output goes on, and no watch spins. */
    (void)close(in[1]);
    for (int i = 0; i < 5; i++) {
        (void)fake_poll(f, 10);
        (void)fake_run(f);
    }
    assert_int_equal(fake_poll(f, 0), 0);
    assert_int_equal(mobo_char_write(o->link, "still", 5), 5);
    assert_int_equal(read(out[0], back, 5), 5);
    assert_int_equal(fake_requests(f, MOBO_VM_QUIT), 0);
    fake_free(f);
    swap_back();
    (void)close(in[0]);
    (void)close(out[0]);
    (void)close(out[1]);
}

static void test_always(void **state)
{
    (void)state;
    int in[2];
    assert_int_equal(pipe(in), 0);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct owner *o;
    swap_in(in[0], null);
    const char *const settings[] = { "escape=always", NULL };
    struct fake *f = machine(&o, settings);
    assert_int_equal(write(in[1], "a\001xb", 4), 4);
    assert_true(owner_reads(f, o, 2));
    assert_memory_equal(o->in, "ab", 2);
    assert_int_equal(fake_requests(f, MOBO_VM_QUIT), 1);
    fake_free(f);
    swap_back();
    (void)close(in[0]);
    (void)close(in[1]);
    (void)close(null);
}

static void test_files(void **state)
{
    (void)state;
    char path[] = "/tmp/mobo-test-XXXXXX";
    int file_fd = mkstemp(path), null = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(write(file_fd, "typed", 5), 5);
    assert_int_equal(lseek(file_fd, 0, SEEK_SET), 0);
    int out = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    struct owner *o;
    swap_in(file_fd, out); /* in and out of one file */
    struct fake *f = machine(&o, NULL);
    assert_true(owner_reads(f, o, 5));
    assert_memory_equal(o->in, "typed", 5);
    assert_int_equal(mobo_char_write(o->link, "!", 1), 1);
    fake_free(f);
    swap_back();
    char buf[8] = { 0 };
    assert_int_equal(pread(file_fd, buf, 8, 0), 6);
    assert_string_equal(buf, "typed!");
    swap_in(null, null);
    f = machine(&o, NULL);
    for (int i = 0; i < 3; i++) {
        (void)fake_poll(f, 0);
        (void)fake_run(f);
    }
    assert_int_equal(o->len, 0);
    assert_int_equal(mobo_char_write(o->link, "gone", 4), 4);
    assert_int_equal(fake_poll(f, 0), 0);
    fake_free(f);
    swap_back();
    (void)close(file_fd);
    (void)close(out);
    (void)close(null);
    (void)unlink(path);
}

/* The reader of our output goes away. */
static void test_broken_pipe(void **state)
{
    (void)state;
    int out[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(pipe(out), 0);
    void (*handler)(int) = signal(SIGPIPE, SIG_IGN); /* as the monitor does */
    struct owner *o;
    swap_in(null, out[1]);
    struct fake *f = machine(&o, NULL);
    (void)close(out[0]);
    assert_int_equal(mobo_char_write(o->link, "lost", 4), 4);
    fake_run(f);
    assert_true(o->events & MOBO_CHAR_CLOSED);
    assert_int_equal(mobo_char_write(o->link, "lost", 4), 4);
    fake_free(f);
    swap_back();
    (void)signal(SIGPIPE, handler);
    (void)close(out[1]);
    (void)close(null);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terminal), cmocka_unit_test(test_pipes),
        cmocka_unit_test(test_always), cmocka_unit_test(test_files),
        cmocka_unit_test(test_broken_pipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
