/*
 * probe.c: loads plugins in a forked child before this process does, because constructors and
 * damaged files can crash, exit or spin. The child says over a pipe how far it is with which
 * plugin; silence, death or two seconds without progress is that plugin's fault, and a new child
 * goes on behind it.
 *
 * This protects from broken files, not from hostile ones: a plugin has all rights of the process.
 */
#include "front.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROBE_MS = 2000 };

/* What the child sends for each plugin, in one write (shorter than PIPE_BUF, so never torn). */
struct report {
    uint32_t good;
    char why[MESSAGE_MAX];
};

__attribute__((noreturn)) static void child(struct registry *r, struct module **modules,
                                            unsigned count, int out)
{
    const struct rlimit none = { 0, 0 };
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* Constructors may print; the one line about them is the parent's. */
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd <= 2 && null >= 0; fd++)
        (void)dup2(null, fd);
    for (unsigned i = 0; i < count; i++) {
        struct report rep = { .good = 0 };
        if (!modules[i]->error && modules[i]->fd >= 0)
            rep.good = plugin_load(r, modules[i], rep.why);
        if (write(out, &rep, sizeof rep) != (ssize_t)sizeof rep)
            break;
    }
    _exit(0);
}

static void explain_death(int status, bool timed_out, char why[MESSAGE_MAX])
{
    if (timed_out)
        message(why, "does not come back from being loaded (%d s)", PROBE_MS / 1000);
    else if (WIFSIGNALED(status))
        message(why, "crashes while being loaded (signal %d, %s)", WTERMSIG(status),
                strsignal(WTERMSIG(status)));
    else
        message(why, "ends the process (exit code %d) while being loaded", WEXITSTATUS(status));
}

/* One child; returns how many of the plugins have an answer now. */
static unsigned probe_some(struct registry *r, struct module **modules, unsigned count,
                           struct arena *a)
{
    int ends[2];
    char why[MESSAGE_MAX];
    (void)fflush(NULL);
    pid_t pid = pipe2(ends, O_CLOEXEC) == 0 ? fork() : -1;
    if (pid == 0)
        child(r, modules, count, ends[1]);
    if (pid < 0) {
        modules[0]->error = arena_format(a, "cannot be tried out: %s", strerror(errno));
        return 1;
    }
    (void)close(ends[1]);
    unsigned done = 0;
    bool timed_out = false;
    while (done < count) {
        struct pollfd p = { .fd = ends[0], .events = POLLIN };
        struct report rep;
        int ready = poll(&p, 1, PROBE_MS);
        if (ready < 0 && errno == EINTR)
            continue;
        timed_out = ready == 0;
        if (ready <= 0 || read(ends[0], &rep, sizeof rep) != (ssize_t)sizeof rep)
            break;
        struct module *m = modules[done++];
        rep.why[sizeof rep.why - 1] = '\0';
        if (!rep.good && !m->error)
            m->error = arena_text(a, rep.why, strlen(rep.why));
    }
    (void)close(ends[0]);
    int status = 0;
    if (done < count)
        (void)kill(pid, SIGKILL); /* it may have closed the pipe and live on */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (done < count) {
        explain_death(status, timed_out, why);
        modules[done++]->error = arena_text(a, why, strlen(why));
    }
    return done;
}

void plugin_probe(struct registry *r, struct module **modules, unsigned count, struct arena *a)
{
    for (unsigned done = 0; done < count;)
        done += probe_some(r, modules + done, count - done, a);
}
