/*
 * run.h: runs the real `mobo` and keeps what it says, for tests of the command line. The paths
 * come from the build (MOBO_EXE, PLUGINS).
 */
#ifndef TEST_RUN_H
#define TEST_RUN_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct said {
    int status;      /* of waitpid() */
    unsigned lines;  /* in text */
    char text[16384];/* standard error, or output if that was asked for */
};

/* FD is 1 or 2: which stream to keep; the other one goes to /dev/null. */
static inline void run_mobo(struct said *s, int fd, char *const argv[])
{
    int ends[2];
    size_t len = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        (void)dup2(null, fd == 1 ? 2 : 1);
        (void)dup2(ends[1], fd);
        (void)close(ends[0]);
        (void)close(ends[1]);
        execv(MOBO_EXE, argv);
        _exit(99);
    }
    (void)close(ends[1]);
    memset(s, 0, sizeof *s);
    for (;;) {
        char drop[512];
        bool full = len == sizeof s->text - 1;
        ssize_t n = full ? read(ends[0], drop, sizeof drop)
                         : read(ends[0], s->text + len, sizeof s->text - 1 - len);
        if (n <= 0)
            break;
        len += full ? 0 : (size_t)n;
    }
    (void)close(ends[0]);
    assert_int_equal(waitpid(pid, &s->status, 0), pid);
    for (const char *p = s->text; (p = strchr(p, '\n')); p++)
        s->lines++;
}

static inline int exit_code(const struct said *s)
{
    return WIFEXITED(s->status) ? WEXITSTATUS(s->status) : -1;
}

static inline void write_file(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    (void)close(fd);
}

static inline void write_text(const char *path, const char *text)
{
    write_file(path, text, strlen(text));
}

/* A new empty folder, and the process in it. */
static inline void enter_empty_folder(char path[64])
{
    (void)snprintf(path, 64, "/tmp/mobo-test-XXXXXX");
    assert_non_null(mkdtemp(path));
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(chdir(path), 0);
}

/* It must be empty again. */
static inline void leave_folder(const char *path)
{
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(rmdir(path), 0);
}

#endif
