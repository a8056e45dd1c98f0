/* main.c: the guest side of tests/bench/soft. Runs the chosen tests one after the other, each in
 * its own process with a time limit, and prints a line for each: T name                  it begins
 *     R name nanoseconds ns check    its figure: the best of some samples, per operation
 *     X name reason           it gave none
 * It judges nothing: the host compares machines. */
#include "bench.h"
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool listed(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = list; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
        if (!strncmp(p, name, len) && (p[len] == 0 || p[len] == ','))
            return true;
    }
    return false;
}

bool chosen(const struct options *o, const char *group, const char *name)
{
    if ((o->groups && !listed(o->groups, group)) || (o->tests && !listed(o->tests, name)))
        return false;
    if (o->list)
        printf("L %s %s\n", group, name);
    return !o->list;
}

void report(const char *name, double ns, uint64_t check)
{
    printf("R %s %.4g ns %llx\n", name, ns, (unsigned long long)check);
    fflush(stdout);
}

void supervise(const struct options *o, const char *name,
               void (*fn)(const struct options *, const void *), const void *arg)
{
    printf("T %s\n", name);
    fflush(stdout);
    sigset_t child, before;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &before);
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sigprocmask(SIG_SETMASK, &before, NULL);
        fn(o, arg);
        exit(0);
    }
    double end = now() + o->timeout;
    int status = 0;
    bool late = pid < 0;
    while (pid > 0 && waitpid(pid, &status, WNOHANG) == 0) {
        double left = end - now();
        if (left <= 0) {
            late = true;
            kill(-pid, SIGKILL);
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            break;
        }
        struct timespec wait = { (time_t)left, 1000000 };
        sigtimedwait(&child, NULL, &wait);
    }
    if (pid > 0)
        kill(-pid, SIGKILL); /* whatever the test left running */
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        printf("X %s fork: %s\n", name, strerror(errno));
    else if (late)
        printf("X %s no end in %u s\n", name, o->timeout);
    else if (WIFSIGNALED(status))
        printf("X %s signal %d\n", name, WTERMSIG(status));
    else if (WEXITSTATUS(status))
        printf("X %s exit code %d\n", name, WEXITSTATUS(status));
    fflush(stdout);
}

/* The first call warms up and gives the check; then n grows until a sample is long enough. */
static void measure(const struct options *o, const void *arg)
{
    const struct test *t = arg;
    double begin = now();
    uint64_t check = t->run(1), n = 1;
    double took = now() - begin, best = 0;
    while (took < o->sample / 4) {
        n = took < o->sample / 40 ? n * 8 : n * 2;
        begin = now();
        t->run(n);
        took = now() - begin;
    }
    n = (uint64_t)((double)n * o->sample / took);
    if (!n)
        n = 1;
    for (unsigned i = 0, again = 0; i < o->samples; i++) {
        begin = now();
        t->run(n);
        took = now() - begin;
        if (took < o->sample / 2 && again++ < 8) {
            /* Something disturbed the search for n: a start that dominates would be measured. */
            n = (uint64_t)((double)n * o->sample / took) + 1;
            best = 0;
            i = UINT_MAX;
            continue;
        }
        if (best == 0 || took / (double)n < best)
            best = took / (double)n;
        if (took > 2)
            break; /* a slow machine: one sample must do */
    }
    report(t->name, best * 1e9 / t->ops, check);
}

static void tests_run(const struct options *o, const struct test *t)
{
    for (; t->name; t++) {
        if (!chosen(o, t->group, t->name))
            continue;
        if (t->usable && !t->usable()) {
            printf("X %s this CPU lacks the instructions\n", t->name);
            continue;
        }
        supervise(o, t->name, measure, t);
    }
}

static const char *value(const char *arg, const char *key)
{
    size_t len = strlen(key);
    return !strncmp(arg, key, len) && arg[len] == '=' && arg[len + 1] ? arg + len + 1 : NULL;
}

int main(int argc, char **argv)
{
    struct options o = { .sample = 0.05, .samples = 4, .timeout = 60, .dir = "/bench" };
    for (int i = 1; i < argc; i++) {
        const char *v;
        if ((v = value(argv[i], "groups")))
            o.groups = v;
        else if ((v = value(argv[i], "tests")))
            o.tests = v;
        else if ((v = value(argv[i], "sample")))
            o.sample = atof(v);
        else if ((v = value(argv[i], "samples")))
            o.samples = (unsigned)atoi(v);
        else if ((v = value(argv[i], "timeout")))
            o.timeout = (unsigned)atoi(v);
        else if ((v = value(argv[i], "dir")))
            o.dir = v;
        else if (!strcmp(argv[i], "list"))
            o.list = true;
    }
    double begin = now();
    if (!o.list)
        printf("BENCH begin cpus %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
    fflush(stdout);
    static const struct test *const all[] = { integer_tests, fp_tests,     simd_tests,
                                              os_tests,      memory_tests, smp_tests };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tests_run(&o, all[i]);
    programs_run(&o);
    if (!o.list)
        printf("BENCH end after %.3f s\n", now() - begin);
    return 0;
}
