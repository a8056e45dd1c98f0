/*
 * test-process.c: what concerns the process as a whole, each in a child: the terminal is restored
 * however it ends, a machine that hangs can be left, memory that the host has not got is an error.
 */
#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static int how;          /* a signal the guest dies of, or 0: it powers off */
static atomic_bool hang; /* the guest does not hear kicks */

static int guest_raw(struct fake_cpu *cpu)
{
    struct termios raw;
    (void)cpu;
    CHECK(tcgetattr(STDIN_FILENO, &raw) == 0);
    cfmakeraw(&raw);
    CHECK(tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0);
    if (how)
        raise(how);
    fake_request(MOBO_VM_OFF);
    return FAKE_HALT;
}

/* A child whose standard input is a terminal of its own. */
static pid_t child_on_terminal(const char *terminal)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    struct rlimit no_core = { 0, 0 };
    (void)setrlimit(RLIMIT_CORE, &no_core);
    setsid();
    int fd = open(terminal, O_RDWR);
    int null = open("/dev/null", O_WRONLY);
    (void)ioctl(fd, TIOCSCTTY, 0);
    dup2(fd, STDIN_FILENO);
    dup2(null, STDERR_FILENO); /* sanitizers would report the signals we send ourselves */
    fake_new(1, 2 << 20, guest_raw);
    _exit(machine_run(&fake.m, false));
}

static void test_terminal(void **state)
{
    static const int ways[] = { 0, SIGSEGV, SIGBUS, SIGABRT, SIGQUIT, SIGXCPU, SIGALRM };
    (void)state;
    for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++) {
        int master = posix_openpt(O_RDWR | O_NOCTTY);
        assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
        char name[64];
        assert_int_equal(ptsname_r(master, name, sizeof name), 0);
        int slave = open(name, O_RDWR | O_NOCTTY);
        struct termios before, after;
        assert_int_equal(tcgetattr(slave, &before), 0);
        assert_true(before.c_lflag & ICANON);
        how = ways[i];
        pid_t pid = child_on_terminal(name);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(how || (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_GUEST_OFF));
        assert_true(!how || !WIFEXITED(status) || WEXITSTATUS(status) != 0);
        assert_int_equal(tcgetattr(slave, &after), 0);
        assert_int_equal(after.c_lflag, before.c_lflag);
        assert_int_equal(after.c_iflag, before.c_iflag);
        assert_int_equal(after.c_oflag, before.c_oflag);
        close(slave);
        close(master);
    }
}

/* ---- a hang ---------------------------------------------------------------------------------- */

static int guest_hangs(struct fake_cpu *cpu)
{
    (void)cpu;
    CHECK(write(STDOUT_FILENO, "x", 1) == 1); /* up and running */
    while (atomic_load(&hang))
        usleep(1000);
    return FAKE_HALT;
}

static void test_second_signal(void **state)
{
    int ends[2], status;
    char byte;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (!pid) {
        dup2(ends[1], STDOUT_FILENO);
        fake_new(1, 2 << 20, guest_hangs);
        atomic_store(&hang, true);
        _exit(10 + machine_run(&fake.m, false));
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(kill(pid, SIGTERM), 0);
    usleep(300000); /* it waits for the guest, politely */
    assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
    assert_int_equal(kill(pid, SIGINT), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_OTHER);
    close(ends[0]);
    close(ends[1]);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static int guest_off(struct fake_cpu *cpu)
{
    (void)cpu;
    fake_request(MOBO_VM_OFF);
    return FAKE_HALT;
}

static void test_memory(void **state)
{
    static const struct { uint64_t memory, low; uint32_t huge; int code; } cases[] = {
        { 2 << 20, 1 << 20, HUGE_NO, EXIT_GUEST_OFF },
        { (uint64_t)1 << 36, (uint64_t)3 << 30, HUGE_NO, EXIT_GUEST_OFF }, /* lazily backed */
        { 2 << 20, 1 << 20, HUGE_TRY, EXIT_GUEST_OFF },
        { 3 << 20, 1 << 20, HUGE_TRY, EXIT_GUEST_OFF },
        { 3 << 20, 1 << 20, HUGE_2M, EXIT_BAD_INPUT },
        { 2 << 20, 1 << 20, HUGE_1G, EXIT_BAD_INPUT },
        { (uint64_t)1 << 50, 1 << 20, HUGE_2M, EXIT_OTHER }, /* more than any host has */
        { UINT64_MAX - 4095, 1 << 20, HUGE_NO, EXIT_OTHER },
        { 0, 1 << 20, HUGE_NO, EXIT_BAD_INPUT },
        { 4097, 0, HUGE_NO, EXIT_BAD_INPUT },
        { 2 << 20, ((uint64_t)1 << 32) + 4096, HUGE_NO, EXIT_BAD_INPUT },
    };
    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake_new(1, cases[i].memory, guest_off);
        fake.m.set.low_memory = cases[i].low;
        fake.m.set.huge_pages = cases[i].huge;
        int code = fake_run();
        if (code != cases[i].code)
            print_message("case %u\n", i);
        assert_int_equal(code, cases[i].code);
    }
}

/*
 * Too few open files: an error and a clean end, at whichever point they run out (robustness L8).
 * The first test that needs libuv in this process: its one-time set-up has to get through, too.
 */
static void test_few_files(void **state)
{
    unsigned ended = 0, worked = 0;
    (void)state;
    for (rlim_t limit = 5; limit < 40; limit++) {
        pid_t pid = fork();
        if (!pid) {
            struct rlimit few = { limit, limit };
            (void)setrlimit(RLIMIT_NOFILE, &few);
            fake_new(1, 2 << 20, guest_off);
            log_set_level(0);
            _exit(machine_run(&fake.m, false));
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        ended += WEXITSTATUS(status) == EXIT_OTHER;
        worked += WEXITSTATUS(status) == EXIT_GUEST_OFF;
    }
    assert_true(ended > 0 && worked > 0);
    assert_int_equal(ended + worked, 35);
}

/* A file as large as it may be is an error of write(), and not the end. */
static int guest_writes(struct fake_cpu *cpu)
{
    char name[] = "/tmp/mobo-test-XXXXXX";
    struct rlimit small = { 4096, 4096 };
    (void)cpu;
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    int fd = mkstemp(name);
    (void)unlink(name);
    CHECK(fd >= 0 && pwrite(fd, "x", 1, 4096) == -1 && errno == EFBIG);
    close(fd);
    fake_request(MOBO_VM_OFF);
    return FAKE_HALT;
}

static void test_file_size(void **state)
{
    int status;
    (void)state;
    pid_t pid = fork();
    if (!pid) {
        fake_new(1, 2 << 20, guest_writes);
        int code = machine_run(&fake.m, false);
        _exit(atomic_load(&fake_failures) ? 99 : code);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_GUEST_OFF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terminal),
        cmocka_unit_test(test_second_signal),
        cmocka_unit_test(test_few_files),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_file_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
