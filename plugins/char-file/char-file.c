/*
 * char-file.c: output into a file, and optionally input out of another one, as a "mobo.char/1".
 * Files may be FIFOs or devices; they are opened without waiting and never closed before the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chario/chario.h"

struct file {
    mobo_obj_t *obj;
    struct chario io;
    const char *path, *input; /* properties */
    uint32_t append;
    uint64_t max_size;
    uint64_t written; /* bytes in the file, as far as we know */
    int in, out, full;
};
CHARIO_CHECK_HEAD(struct file);

static int file_open(void *self, mobo_obj_t *owner, void (*event)(void *, uint32_t))
{
    struct file *f = self;
    int rc = chario_open(&f->io, owner, event);
    if (rc == 0)
        chario_tell(&f->io, MOBO_CHAR_OPENED);
    return rc;
}

static uint32_t file_read(void *self, void *buf, uint32_t len)
{
    return chario_read(&((struct file *)self)->io, buf, len);
}

static uint32_t file_write(void *self, const void *buf, uint32_t len)
{
    struct file *f = self;
    uint32_t room = len;
    if (f->max_size && len > f->max_size - f->written) {
        room = (uint32_t)(f->max_size - f->written);
        if (!f->full)
            mobo_log(f->obj, MOBO_WARN, "%s has reached max-size, %llu bytes: the rest is dropped",
                     f->path, (unsigned long long)f->max_size);
        f->full = 1;
    }
    uint32_t n = room ? chario_write(&f->io, buf, room) : 0;
    f->written += f->max_size ? n : 0;
    return n == room ? len : n;
}

/* A full disk loses output, it does not stop the guest. */
static void file_ended(void *self, uint32_t what, int err)
{
    struct file *f = self;
    if (what == CHARIO_IN_ENDED) {
        chario_detach_in(&f->io);
        return;
    }
    mobo_log(f->obj, MOBO_WARN, "%s: %s: output is lost", f->path, strerror(err));
    if (err == ENOSPC || err == EDQUOT || err == EFBIG)
        return;
    chario_detach_out(&f->io);
    chario_tell(&f->io, MOBO_CHAR_CLOSED);
}

static int output_open(struct file *f)
{
    struct stat st;
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    f->out = open(f->path, flags | (f->append ? O_APPEND : O_TRUNC), 0666);
    if (f->out < 0 && errno == ENXIO)
        return mobo_fail_code(f->obj, MOBO_ENOENT, "%s is a FIFO that nobody reads: start the "
                              "reader first", f->path);
    if (f->out < 0)
        return mobo_fail_code(f->obj, MOBO_EACCES, "cannot write %s: %s", f->path, strerror(errno));
    if (f->append && fstat(f->out, &st) == 0 && S_ISREG(st.st_mode))
        f->written = (uint64_t)st.st_size;
    if (f->max_size && f->written > f->max_size)
        f->written = f->max_size;
    return 0;
}

static int input_open(struct file *f)
{
    struct stat st;
    if (!*f->input)
        return 0;
    int flags = O_RDONLY;
    /* Opened for both, a FIFO does not end each time a writer leaves (fifo(7)). */
    if (stat(f->input, &st) == 0 && S_ISFIFO(st.st_mode))
        flags = O_RDWR;
    f->in = open(f->input, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (f->in < 0)
        return mobo_fail_code(f->obj, MOBO_ENOENT, "cannot read %s: %s", f->input,
                              strerror(errno));
    if (fstat(f->in, &st) == 0 && S_ISDIR(st.st_mode))
        return mobo_fail(f->obj, "%s is a directory: input must name a file", f->input);
    return 0;
}

static int file_init(void *self)
{
    struct file *f = self;
    f->in = f->out = -1;
    chario_init(&f->io, f->obj, file_ended);
    int rc = input_open(f);
    if (rc == 0)
        rc = output_open(f);
    return rc ? rc : chario_attach(&f->io, f->in, CHARIO_NONBLOCK, f->out, CHARIO_NONBLOCK);
}

static void file_fini(void *self)
{
    struct file *f = self;
    if (f->in > 0)
        (void)close(f->in);
    if (f->out > 0)
        (void)close(f->out);
}

static const mobo_prop_t props[] = {
    MOBO_PATH(struct file, path, NULL, "file for the output; created, or emptied"),
    MOBO_BOOL(struct file, append, "no", "add to the file instead of emptying it"),
    MOBO_PATH(struct file, input, "", "file or FIFO whose content is the input"),
    MOBO_NAMED(struct file, max_size, "max-size", MOBO_T_SIZE, "0",
               "drop output beyond this size of the file; 0: no limit"),
    MOBO_END,
};
static const mobo_char_ops_t ops = {
    .size = sizeof ops, .open = file_open, .read = file_read, .write = file_write,
};
static const mobo_iface_t provides[] = { { MOBO_CHAR, &ops }, { NULL, NULL } };
static const mobo_class_t file_class = {
    MOBO_CLASS(struct file, props, NULL), .name = "file",
    .summary = "character stream into a file", .provides = provides,
    .init = file_init, .fini = file_fini,
};
MOBO_PLUGIN("char-file", "0.1.0", "MIT", &file_class)
