/* programs.c: measures whole programs, one per line of the file `programs`:
 *     group name kind command...
 * kind run: the time of `sh -c command`; its output is the check.    kind time: the same, output
 * not compared.    kind value: the last line of the output is the figure, in nanoseconds per
 * operation. */
#include "bench.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct program {
    char group[32], name[64], kind[16], command[1024];
};

/* Runs the command and returns its seconds. Its standard output goes to the sum and, the last line
 * of it, to `last`; without a sum it goes nowhere. */
static double command_run(const char *command, uint64_t *sum, char *last, size_t size)
{
    int fd[2] = { -1, -1 };
    if (sum && pipe(fd))
        exit(90);
    double begin = now();
    pid_t pid = fork();
    if (pid < 0)
        exit(91);
    if (pid == 0) {
        int out = sum ? fd[1] : open("/dev/null", O_WRONLY), in = open("/dev/null", O_RDONLY);
        dup2(in, 0);
        dup2(out, 1);
        if (sum)
            close(fd[0]);
        execl("/bin/dash", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    if (sum) {
        static char text[65536];
        size_t len = 0;
        ssize_t got;
        close(fd[1]);
        *sum = 14695981039346656037u; /* FNV-1a */
        while ((got = read(fd[0], text, sizeof text)) > 0) {
            for (ssize_t i = 0; i < got; i++) {
                *sum = (*sum ^ (unsigned char)text[i]) * 1099511628211u;
                if (i && text[i - 1] == '\n')
                    len = 0;
                if (len + 1 < size)
                    last[len++] = text[i];
            }
        }
        last[len] = 0;
        close(fd[0]);
    }
    int status;
    waitpid(pid, &status, 0);
    double took = now() - begin;
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        exit(WIFEXITED(status) ? WEXITSTATUS(status) : 92);
    return took;
}

static void program_measure(const struct options *o, const void *arg)
{
    const struct program *p = arg;
    uint64_t sum = 0;
    char last[128] = "";
    if (chdir(o->dir))
        exit(93);
    double best = command_run(p->command, &sum, last, sizeof last);
    if (!strcmp(p->kind, "value")) {
        double ns = atof(last);
        if (ns <= 0)
            exit(94);
        report(p->name, ns, 0);
        return;
    }
    /* The first run warms the caches up and counts only where it is so slow that it must do. */
    double total = 0;
    for (unsigned i = 0; best < 3 && i < o->samples + 1 && (i == 0 || total < o->sample * 5); i++) {
        double took = command_run(p->command, NULL, NULL, 0);
        total += took;
        if (i == 0 || took < best)
            best = took;
    }
    report(p->name, best * 1e9, !strcmp(p->kind, "run") ? sum : 0);
}

void programs_run(const struct options *o)
{
    static char text[65536];
    char path[256];
    snprintf(path, sizeof path, "%s/programs", o->dir);
    /* Read at once: a child that ends would move the place in a file that it shares with us. */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (len < 0) {
        printf("X programs %s: %s\n", path, strerror(errno));
        return;
    }
    close(fd);
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n"))) {
        struct program p;
        if (line[0] == '#' ||
            sscanf(line, "%31s %63s %15s %1023[^\n]", p.group, p.name, p.kind, p.command) != 4)
            continue;
        if (chosen(o, p.group, p.name))
            supervise(o, p.name, program_measure, &p);
    }
}
