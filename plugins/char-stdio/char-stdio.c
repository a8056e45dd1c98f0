/*
 * char-stdio.c: the terminal, or whatever standard input and output are, as a "mobo.char/1". A
 * terminal is put into raw mode, with Ctrl-A as the way out; pipes, files and /dev/null work as
 * they are. At most one object of this class makes sense, because there is one terminal.
 *
 * O_NONBLOCK is never set on the descriptors we were given: they are shared with the shell. Output
 * goes to an open file description of our own where there can be one.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "chario/chario.h"

enum { CTRL_A = 1 };
enum { ESCAPE_TTY = 0, ESCAPE_ALWAYS = 1, ESCAPE_NEVER = 2 };
/* Signals belong to the monitor, so a terminal that may change its size is asked now and then. */
#define WINSIZE_PERIOD UINT64_C(500000000)

struct stdio {
    mobo_obj_t *obj;
    struct chario io;
    uint32_t escape; /* property */
    int escapes;     /* Ctrl-A is ours */
    int prefix;      /* the last byte was Ctrl-A */
    int raw;         /* saved holds what to restore */
    int out_own;     /* descriptor of our own for output, or -1 */
    int tty;         /* descriptor of a terminal whose size counts, or -1 */
    struct termios saved;
    mobo_timer_t *timer;
    uint32_t cols, rows;
    int watching_size;
};
CHARIO_CHECK_HEAD(struct stdio);

static const char help[] = "\r\n"
                           "Ctrl-A x       leave (the machine stops at once)\r\n"
                           "Ctrl-A h       this text\r\n"
                           "Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n";

/* ---- terminal -------------------------------------------------------------------------------- */

static int terminal_raw(struct stdio *s)
{
    struct termios t;
    if (tcgetattr(STDIN_FILENO, &s->saved))
        return MOBO_ENOTSUP;
    /* From the background a change would stop the whole process (SIGTTOU). */
    pid_t front = tcgetpgrp(STDIN_FILENO);
    if (front >= 0 && front != getpgrp()) {
        mobo_log(s->obj, MOBO_INFO, "the terminal belongs to another job: its mode is left alone");
        return MOBO_EBUSY;
    }
    t = s->saved;
    t.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    t.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    t.c_cflag &= ~(tcflag_t)(CSIZE | PARENB);
    t.c_cflag |= CS8;
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    /* Output processing stays: the monitor's own lines end with a bare newline. */
    if (tcsetattr(STDIN_FILENO, TCSANOW, &t))
        return MOBO_EIO;
    s->raw = 1;
    return 0;
}

static int size_get(const struct stdio *s, uint32_t *cols, uint32_t *rows)
{
    struct winsize w;
    if (s->tty < 0 || ioctl(s->tty, TIOCGWINSZ, &w))
        return MOBO_ENOTSUP;
    *cols = w.ws_col;
    *rows = w.ws_row;
    return 0;
}

static void size_tick(void *self)
{
    struct stdio *s = self;
    uint32_t cols, rows;
    if (size_get(s, &cols, &rows) == 0 && (cols != s->cols || rows != s->rows)) {
        s->cols = cols;
        s->rows = rows;
        chario_tell(&s->io, MOBO_CHAR_RESIZED);
    }
    mobo_timer_set(s->obj, s->timer, mobo_now(s->obj, MOBO_CLOCK_VM) + WINSIZE_PERIOD);
}

/* ---- mobo.char/1 ----------------------------------------------------------------------------- */

static int stdio_open(void *self, mobo_obj_t *owner, void (*event)(void *, uint32_t))
{
    struct stdio *s = self;
    int rc = chario_open(&s->io, owner, event);
    if (rc == 0)
        chario_tell(&s->io, MOBO_CHAR_OPENED);
    return rc;
}

/* The byte behind a Ctrl-A: returns what goes to the guest, or -1. */
static int escape(struct stdio *s, uint8_t byte)
{
    switch (byte) {
    case 'x':
    case 'X':
        mobo_log(s->obj, MOBO_INFO, "Ctrl-A x: leaving");
        mobo_vm_request(s->obj, MOBO_VM_QUIT);
        return -1;
    case 'h':
    case '?':
        (void)chario_write(&s->io, help, sizeof help - 1);
        return -1;
    case 'a':
    case CTRL_A:
        return CTRL_A;
    default:
        return -1;
    }
}

/* Take the escapes out of LEN bytes, in place; returns what is left. */
static uint32_t filter(struct stdio *s, uint8_t *buf, uint32_t len)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < len; i++) {
        int byte = buf[i];
        if (s->prefix) {
            s->prefix = 0;
            byte = escape(s, buf[i]);
        } else if (byte == CTRL_A) {
            s->prefix = 1;
            byte = -1;
        }
        if (byte >= 0)
            buf[kept++] = (uint8_t)byte;
    }
    return kept;
}

static uint32_t stdio_read(void *self, void *buf, uint32_t len)
{
    struct stdio *s = self;
    uint32_t n;
    do {
        n = chario_read(&s->io, buf, len);
        if (n == 0 || !s->escapes)
            return n;
        n = filter(s, buf, n);
    } while (n == 0);
    return n;
}

static uint32_t stdio_write(void *self, const void *buf, uint32_t len)
{
    return chario_write(&((struct stdio *)self)->io, buf, len);
}

static int stdio_winsize(void *self, uint32_t *cols, uint32_t *rows)
{
    struct stdio *s = self;
    int rc = size_get(s, cols, rows);
    if (rc)
        return rc;
    s->cols = *cols;
    s->rows = *rows;
    if (!s->watching_size) { /* only for an owner that cares */
        s->watching_size = 1;
        mobo_timer_set(s->obj, s->timer, mobo_now(s->obj, MOBO_CLOCK_VM) + WINSIZE_PERIOD);
    }
    return 0;
}

/* End of file on input only means that nobody types any more. */
static void stdio_ended(void *self, uint32_t what, int err)
{
    struct stdio *s = self;
    if (what == CHARIO_IN_ENDED) {
        chario_detach_in(&s->io);
        mobo_log(s->obj, MOBO_INFO, "standard input has ended");
        return;
    }
    mobo_log(s->obj, MOBO_WARN, "standard output: %s", strerror(err));
    if (err == ENOSPC)
        return; /* there may be room again */
    chario_detach_out(&s->io);
    chario_tell(&s->io, MOBO_CHAR_CLOSED);
}

/* ---- life ------------------------------------------------------------------------------------ */

/* Our own open file description of what descriptor 1 is, if that can be had; else poll and step. */
static uint32_t output_prepare(struct stdio *s, int *fd)
{
    struct stat st;
    *fd = STDOUT_FILENO;
    if (fstat(STDOUT_FILENO, &st)) {
        *fd = -1;
        return CHARIO_POLLED;
    }
    if (S_ISSOCK(st.st_mode))
        return CHARIO_SOCKET;
    /* A regular file would be opened anew at offset 0; it never blocks for long anyway. */
    if (isatty(STDOUT_FILENO) || S_ISFIFO(st.st_mode))
        s->out_own = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (s->out_own < 0)
        return CHARIO_POLLED;
    *fd = s->out_own;
    return CHARIO_NONBLOCK;
}

static int stdio_init(void *self)
{
    struct stdio *s = self;
    s->out_own = s->tty = -1;
    chario_init(&s->io, s->obj, stdio_ended);
    int rc = mobo_timer_new(s->obj, size_tick, &s->timer);
    if (rc)
        return rc;
    int in_tty = isatty(STDIN_FILENO), out, in = fcntl(STDIN_FILENO, F_GETFD) < 0 ? -1 : 0;
    uint32_t kind = output_prepare(s, &out);
    s->tty = isatty(STDOUT_FILENO) ? STDOUT_FILENO : in_tty ? STDIN_FILENO : -1;
    s->escapes = s->escape == ESCAPE_ALWAYS || (s->escape == ESCAPE_TTY && in_tty);
    if (in_tty && terminal_raw(s) == 0 && s->escapes)
        mobo_log(s->obj, MOBO_INFO, "Ctrl-A x leaves, Ctrl-A h helps");
    return chario_attach(&s->io, in, CHARIO_POLLED, out, kind);
}

static void stdio_fini(void *self)
{
    struct stdio *s = self;
    if (s->raw)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &s->saved);
    s->raw = 0;
    if (s->out_own > 0)
        (void)close(s->out_own);
}

static const mobo_prop_t props[] = {
    MOBO_ENUM(struct stdio, escape, "tty", "tty|always|never",
              "when Ctrl-A is the monitor's: if standard input is a terminal, always, never"),
    MOBO_END,
};
static const mobo_char_ops_t ops = {
    .size = sizeof ops, .open = stdio_open, .read = stdio_read, .write = stdio_write,
    .winsize = stdio_winsize,
};
static const mobo_iface_t provides[] = { { MOBO_CHAR, &ops }, { NULL, NULL } };
static const mobo_class_t stdio_class = {
    MOBO_CLASS(struct stdio, props, NULL), .name = "stdio",
    .summary = "the terminal, or standard input and output", .provides = provides,
    .init = stdio_init, .fini = stdio_fini,
};
MOBO_PLUGIN("char-stdio", "0.1.0", "MIT", &stdio_class)
