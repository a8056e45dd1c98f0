/*
 * block-file.c: a raw disk image, or a block device of the host, as a "mobo.block/1". The content
 * is the guest's: nothing of it is ever looked at, so it is never taken for another format.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

enum { SECTOR = 512, PAGE = 4096 };

static int file_open(struct file *f)
{
    int flags = (f->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    f->fd = open(f->path, flags); /* O_NONBLOCK: a FIFO is refused below, not waited for */
    if (f->fd >= 0)
        return 0;
    int err = errno;
    if ((err == EACCES || err == EROFS || err == EPERM) && !f->readonly)
        return mobo_fail_code(f->obj, MOBO_EACCES, "%s cannot be written (%s): give access, or set "
                              "readonly = yes", f->path, strerror(err));
    if (err == ENOENT)
        return mobo_fail_code(f->obj, MOBO_ENOENT, "%s does not exist: create it with `truncate -s "
                              "SIZE %s`, or correct path", f->path, f->path);
    if (err == EISDIR)
        return mobo_fail(f->obj, "%s is a directory: path must name an image or a block device",
                         f->path);
    return mobo_fail_code(f->obj, err == EACCES ? MOBO_EACCES : MOBO_EFAIL, "cannot open %s: %s",
                          f->path, strerror(err));
}

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode)    ? "a directory"
           : S_ISFIFO(mode) ? "a FIFO"
           : S_ISCHR(mode)  ? "a character device"
           : S_ISSOCK(mode) ? "a socket"
                            : "no file";
}

static int file_measure(struct file *f)
{
    struct stat st;
    if (fstat(f->fd, &st))
        return mobo_fail_code(f->obj, MOBO_EIO, "%s: %s", f->path, strerror(errno));
    f->is_device = S_ISBLK(st.st_mode);
    if (!f->is_device && !S_ISREG(st.st_mode))
        return mobo_fail(f->obj, "%s is %s: path must name an image or a block device", f->path,
                         kind_of(st.st_mode));
    f->block_size = SECTOR;
    f->physical_block = PAGE;
    f->length = (uint64_t)st.st_size;
    if (f->is_device) {
        int logical = SECTOR;
        unsigned physical = PAGE;
        if (ioctl(f->fd, BLKGETSIZE64, &f->length))
            return mobo_fail_code(f->obj, MOBO_EIO, "%s does not tell its size: %s", f->path,
                                  strerror(errno));
        if (f->direct && ioctl(f->fd, BLKSSZGET, &logical) == 0 && logical > SECTOR)
            f->block_size = (uint32_t)logical;
        if (ioctl(f->fd, BLKPBSZGET, &physical) == 0 && physical >= SECTOR)
            f->physical_block = physical;
    }
    if (f->length == 0)
        return mobo_fail(f->obj, "%s is empty: give it a size with `truncate -s SIZE %s`", f->path,
                         f->path);
    if (f->length % f->block_size) {
        uint64_t up = f->length / f->block_size * f->block_size + f->block_size;
        return mobo_fail(f->obj, "%s has %llu bytes, not a multiple of %u: is it a raw image? "
                         "`truncate -s %llu %s` pads it", f->path, (unsigned long long)f->length,
                         f->block_size, (unsigned long long)up, f->path);
    }
    return 0;
}

/* An open-file-description lock: it also keeps out a second object of this process. */
static int file_lock(struct file *f)
{
    struct flock l = { .l_type = (short)(f->readonly ? F_RDLCK : F_WRLCK), .l_whence = SEEK_SET };
    if (!f->lock || fcntl(f->fd, F_OFD_SETLK, &l) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return mobo_fail_code(f->obj, MOBO_EBUSY, "%s is in use by another machine%s: stop that "
                              "one, or use a copy", f->path,
                              f->readonly ? " that writes it" : "");
    return mobo_fail_code(f->obj, MOBO_ENOTSUP, "%s cannot be locked (%s): set lock = no if nobody "
                          "else uses it", f->path, strerror(errno));
}

static int file_open_direct(struct file *f)
{
    if (!f->direct)
        return 0;
    char name[32];
    (void)snprintf(name, sizeof name, "/proc/self/fd/%d", f->fd);
    f->direct_fd = open(name, (f->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_DIRECT);
    if (f->direct_fd >= 0)
        return 0;
    return mobo_fail_code(f->obj, MOBO_ENOTSUP, "%s does not allow direct access (%s): set "
                          "direct = no", f->path, strerror(errno));
}

static int file_init(void *self)
{
    struct file *f = self;
    f->fd = f->direct_fd = -1;
    int rc = file_open(f);
    if (rc == 0)
        rc = file_measure(f);
    if (rc == 0)
        rc = file_lock(f);
    return rc ? rc : file_open_direct(f);
}

static void file_fini(void *self)
{
    struct file *f = self;
    /* Zero means that init never ran: nothing of ours is open, and 0 is standard input. */
    if (f->direct_fd > 0)
        (void)close(f->direct_fd);
    if (f->fd > 0)
        (void)close(f->fd);
}

static void file_info(void *self, mobo_block_info_t *info)
{
    struct file *f = self;
    mobo_block_info_t full = {
        .size = info->size, .block_size = f->block_size, .length = f->length,
        .physical_block = f->physical_block, .read_only = f->readonly,
        .can_discard = f->discard, .write_cache = !f->readonly,
    };
    memcpy(info, &full, info->size < sizeof full ? info->size : sizeof full);
}

static const mobo_prop_t props[] = {
    MOBO_PATH(struct file, path, NULL, "raw image or block device"),
    MOBO_BOOL(struct file, readonly, "no", "never write; the guest sees a read-only disk"),
    MOBO_BOOL(struct file, direct, "no", "bypass the host's page cache (O_DIRECT)"),
    MOBO_BOOL(struct file, discard, "yes", "give discarded ranges back to the host"),
    MOBO_BOOL(struct file, lock, "yes", "refuse a second writer (and readers beside a writer)"),
    MOBO_END,
};
static const mobo_block_ops_t ops = {
    .size = sizeof ops, .info = file_info, .submit = file_submit,
};
static const mobo_iface_t provides[] = { { MOBO_BLOCK, &ops }, { NULL, NULL } };
static const mobo_class_t file_class = {
    MOBO_CLASS(struct file, props, NULL), .name = "file",
    .summary = "raw disk image or block device", .provides = provides,
    .init = file_init, .fini = file_fini,
};
MOBO_PLUGIN("block-file", "0.1.0", "MIT", &file_class)
