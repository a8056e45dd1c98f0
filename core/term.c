/*
 * term.c: the terminal is left as it was found, however the program ends. Whoever wants raw mode
 * sets it; this file only remembers and restores.
 *
 * Its state is the process's, as the terminal and signal handlers are.
 */
#include "runtime.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { FATAL_COUNT = 9 };
static const int fatal[FATAL_COUNT] = { SIGSEGV, SIGBUS,  SIGILL,  SIGFPE, SIGABRT,
                                        SIGSYS,  SIGQUIT, SIGXCPU, SIGALRM };

static struct termios saved;
static volatile sig_atomic_t have_saved;
static struct sigaction old_action[FATAL_COUNT];

void term_restore(void)
{
    struct termios now;
    if (!have_saved || tcgetattr(STDIN_FILENO, &now) < 0)
        return;
    if (now.c_iflag == saved.c_iflag && now.c_oflag == saved.c_oflag &&
        now.c_cflag == saved.c_cflag && now.c_lflag == saved.c_lflag &&
        !memcmp(now.c_cc, saved.c_cc, sizeof now.c_cc))
        return;
    /* In the background the terminal is somebody else's, and touching it would stop us. */
    if (tcgetpgrp(STDIN_FILENO) == getpgrp())
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

/* Only async-signal-safe calls here (POSIX 2.4.3). */
static void on_fatal(int sig, siginfo_t *info, void *context)
{
    static const char text[] = "mobo: fatal signal; the terminal is restored\r\n";
    (void)context;
    term_restore();
    if (have_saved && write(STDERR_FILENO, text, sizeof text - 1) < 0)
        have_saved = 0;
    for (unsigned i = 0; i < FATAL_COUNT; i++)
        if (fatal[i] == sig)
            (void)sigaction(sig, &old_action[i], NULL);
    /* A fault comes again when we return, with its details; what was sent has to be sent again. */
    if (info->si_code <= 0)
        (void)raise(sig);
}

void term_save(void)
{
    if (have_saved || tcgetattr(STDIN_FILENO, &saved) < 0)
        return;
    struct sigaction action = { .sa_flags = SA_SIGINFO | SA_ONSTACK };
    action.sa_sigaction = on_fatal;
    sigemptyset(&action.sa_mask);
    for (unsigned i = 0; i < FATAL_COUNT; i++)
        (void)sigaction(fatal[i], &action, &old_action[i]);
    have_saved = 1;
    (void)atexit(term_restore);
}
