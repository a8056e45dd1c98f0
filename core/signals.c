/*
 * signals.c: one thread that waits for signals, so that no handler ever runs in the middle of
 * anything, and so that a machine that hangs can still be left.
 */
#include "runtime.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* What they tell comes as an error of write() as well: EPIPE, EFBIG. */
static const int ignored[] = { SIGPIPE, SIGXFSZ };

struct signals {
    pthread_t thread;
    sigset_t set, old_set;
    struct sigaction old_action[sizeof ignored / sizeof *ignored];
    atomic_bool end;
    bool started;
};

static void *signals_main(void *arg)
{
    struct runtime *rt = arg;
    struct signals *s = rt->signals;
    unsigned interrupts = 0;
    int sig;
    os_thread_name("signals");
    while (sigwait(&s->set, &sig) == 0 && !atomic_load(&s->end)) {
        if (sig == SIGUSR1) {
            stats_print(rt);
            continue;
        }
        if (interrupts++) {
            term_restore();
            _exit(EXIT_OTHER); /* asked for twice: some part does not end */
        }
        control_request(rt, REQUEST_SIGNAL);
    }
    return NULL;
}

/* Before any other thread starts: all inherit that these signals are not theirs. */
void signals_start(struct runtime *rt)
{
    static const int wanted[] = { SIGINT, SIGTERM, SIGHUP };
    struct signals *s = calloc(1, sizeof *s);
    if (!s)
        return;
    rt->signals = s;
    sigemptyset(&s->set);
    sigaddset(&s->set, SIGUSR1);
    for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        struct sigaction now;
        if (sigaction(wanted[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN) /* nohup */
            sigaddset(&s->set, wanted[i]);
    }
    pthread_sigmask(SIG_BLOCK, &s->set, &s->old_set);
    const struct sigaction ignore = { .sa_handler = SIG_IGN };
    for (unsigned i = 0; i < sizeof ignored / sizeof *ignored; i++)
        (void)sigaction(ignored[i], &ignore, &s->old_action[i]);
    s->started = pthread_create(&s->thread, NULL, signals_main, rt) == 0;
}

void signals_end(struct runtime *rt)
{
    struct signals *s = rt->signals;
    if (!s)
        return;
    if (s->started) {
        atomic_store(&s->end, true);
        pthread_kill(s->thread, SIGUSR1);
        pthread_join(s->thread, NULL);
    }
    for (unsigned i = 0; i < sizeof ignored / sizeof *ignored; i++)
        (void)sigaction(ignored[i], &s->old_action[i], NULL);
    pthread_sigmask(SIG_SETMASK, &s->old_set, NULL);
    free(s);
    rt->signals = NULL;
}
