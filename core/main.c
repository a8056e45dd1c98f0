/*
 * main.c: the command line. Each command reads its machine with front_load() or machine_load() and
 * hands it on; exit codes are those of mobo(1).
 */
#include "front.h"
#include "os.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

static const char usage_text[] =
    "usage: mobo [-v] run FILE [SECTION.KEY=VALUE ...] [--stats]\n"
    "       mobo [-v] check FILE [SECTION.KEY=VALUE ...]\n"
    "       mobo [-v] explain FILE [SECTION.KEY=VALUE ...]\n"
    "       mobo list\n"
    "       mobo describe TYPE [--json]\n"
    "       mobo --include | --version | --help\n"
    "\n"
    "run       start the machine that FILE describes\n"
    "check     report every fault of FILE, and start nothing\n"
    "explain   print the whole machine, with where each value came from\n"
    "list      classes of the installed plugins\n"
    "describe  the keys of a class (PLUGIN, PLUGIN/CLASS, ./FILE.so) or of [machine]\n"
    "-v        more messages; twice: even more\n"
    "\n"
    "Exit codes: 0 the guest powered off, 2 bad input, 3 the guest reset (on-reset = exit),\n"
    "4 the guest crashed (on-crash = exit), 1 anything else.\n";

struct args {
    const char *command;
    char **words; /* behind the command, options taken out */
    unsigned word_count;
    unsigned level;
    bool stats, json, help, version, include;
};

static int usage_error(const char *what, const char *word)
{
    log_line(MOBO_ERROR, "%s%s%s; see mobo --help", what, word ? " " : "", word ? word : "");
    return EXIT_BAD_INPUT;
}

static bool take_option(struct args *a, const char *word)
{
    if (word[1] == 'v' && strspn(word + 1, "v") == strlen(word + 1))
        a->level += (unsigned)strlen(word + 1);
    else if (strcmp(word, "--stats") == 0)
        a->stats = true;
    else if (strcmp(word, "--json") == 0)
        a->json = true;
    else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        a->help = true;
    else if (strcmp(word, "--version") == 0)
        a->version = true;
    else if (strcmp(word, "--include") == 0)
        a->include = true;
    else
        return false;
    return true;
}

/* Options may stand anywhere; behind "--" all words are words. NULL: good, else the bad one. */
static const char *take_args(struct args *a, int argc, char **argv)
{
    bool options = true;
    a->words = argv; /* words are moved to the front of what was read */
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];
        if (options && strcmp(word, "--") == 0)
            options = false;
        else if (options && word[0] == '-' && word[1]) {
            if (!take_option(a, word))
                return word;
        } else if (!a->command)
            a->command = word;
        else
            a->words[a->word_count++] = word;
    }
    return NULL;
}

static int print_include(void)
{
    struct front *f = front_new();
    const char *dir = f->prefix ? arena_format(&f->arena, "%s/include", f->prefix) : NULL;
    int rc = 0;
    if (dir && access(arena_format(&f->arena, "%s/mobo/plugin.h", dir), R_OK) == 0)
        printf("%s\n", dir);
    else {
        log_line(MOBO_ERROR, "no headers in %s; install them", dir ? dir : "the prefix");
        rc = EXIT_OTHER;
    }
    front_free(f);
    return rc;
}

static int run(const struct args *a)
{
    struct machine *m = machine_load(a->words[0], a->words + 1, a->word_count - 1);
    if (!m)
        return EXIT_BAD_INPUT;
    int rc = machine_run(m, a->stats);
    machine_free(m);
    return rc;
}

static int check(const struct args *a, bool explain)
{
    struct front *f = front_load(a->words[0], a->words + 1, a->word_count - 1, 0);
    if (!f)
        return EXIT_BAD_INPUT;
    int rc = explain ? cmd_explain(f) : 0;
    front_free(f);
    return rc;
}

static int command(const struct args *a)
{
    static const char *const names[] = { "run", "check", "explain", "list", "describe" };
    enum { RUN, CHECK, EXPLAIN, LIST, DESCRIBE, COUNT };
    unsigned which = 0;
    struct guess g = guess_start(a->command);
    while (which < COUNT && strcmp(a->command, names[which]) != 0)
        guess_offer(&g, names[which++]);
    if (which == COUNT) {
        log_line(MOBO_ERROR, "no command '%.80s'%s; see mobo --help", a->command, guess_text(&g));
        return EXIT_BAD_INPUT;
    }
    if (a->stats && which != RUN)
        return usage_error("--stats belongs to run, not to", a->command);
    if (a->json && which != DESCRIBE)
        return usage_error("--json belongs to describe, not to", a->command);
    if (which == LIST)
        return a->word_count ? usage_error("list takes no argument:", a->words[0]) : cmd_list();
    if (a->word_count == 0)
        return usage_error(which == DESCRIBE ? "describe needs a TYPE" : "a FILE is missing behind",
                           which == DESCRIBE ? NULL : a->command);
    if (which == DESCRIBE)
        return a->word_count > 1 ? usage_error("describe takes one TYPE, not also", a->words[1])
                                 : cmd_describe(a->words[0], a->json);
    return which == RUN ? run(a) : check(a, which == EXPLAIN);
}

static int dispatch(const struct args *a)
{
    if (a->help)
        return fputs(usage_text, stdout) < 0 ? EXIT_OTHER : 0;
    if (a->version)
        return printf("mobo %s (plugin ABI %d.%d)\n", MOBO_VERSION, MOBO_ABI_MAJOR,
                      MOBO_ABI_MINOR) < 0
                   ? EXIT_OTHER
                   : 0;
    if (a->include)
        return print_include();
    if (!a->command)
        return usage_error("what shall I do?", NULL);
    return command(a);
}

/* A wish for statistics that comes before the machine runs, or after: no reason to die. */
static void no_stats(int sig)
{
    (void)sig;
}

int main(int argc, char **argv)
{
    struct args a = { .level = MOBO_WARN };
    (void)sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = no_stats, .sa_flags = SA_RESTART },
                    NULL);
    os_std_fill();
    const char *bad = take_args(&a, argc, argv);
    if (bad)
        return usage_error("no option", bad);
    log_set_level(a.level);
    int rc = dispatch(&a);
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout)) {
        log_line(MOBO_ERROR, "standard output: %s", errno ? strerror(errno) : "cannot be written");
        return rc ? rc : EXIT_OTHER;
    }
    return rc;
}
