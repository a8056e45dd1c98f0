/*
 * io.c: the requests of block-file, each one on a worker thread with plain system calls. It keeps
 * no order between requests: a flush covers the writes that were completed before it was submitted,
 * as block.h says.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "file.h"

enum { IOV_STEP = 64 };       /* pieces to one system call */
enum { ZERO_STEP = 64 * 1024 }; /* bytes to one write of zeros */

static int error_code(int err)
{
    switch (err) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: /* RLIMIT_FSIZE */
        return MOBO_ENOSPC;
    case EACCES:
    case EPERM:
    case EROFS:
        return MOBO_EACCES;
    case ENOMEM:
        return MOBO_ENOMEM;
    default:
        return MOBO_EIO;
    }
}

static const char *op_name(uint32_t op)
{
    static const char *const names[] = { "?", "read", "write", "flush", "discard", "zero" };
    return op < sizeof names / sizeof *names ? names[op] : "?";
}

static int io_error(struct file *f, const mobo_block_req_t *req, int err)
{
    mobo_log(f->obj, MOBO_WARN, "%s: %s of %llu bytes at %llu: %s", f->path, op_name(req->op),
             (unsigned long long)req->len, (unsigned long long)req->off, strerror(err));
    return error_code(err);
}

/* Take the next pieces, SKIP bytes into the first one, into LIST. */
static int iov_take(const mobo_iov_t *iov, uint32_t count, uint64_t skip, struct iovec *list)
{
    int n = 0;
    for (uint32_t i = 0; i < count && n < IOV_STEP; i++) {
        list[n].iov_base = (uint8_t *)iov[i].base + skip;
        list[n++].iov_len = (size_t)(iov[i].len - skip);
        skip = 0;
    }
    return n;
}

static ssize_t transfer_once(int fd, const mobo_block_req_t *req, struct iovec *list, int count,
                             uint64_t off)
{
    if (req->op == MOBO_BLOCK_READ)
        return preadv(fd, list, count, (off_t)off);
    return pwritev(fd, list, count, (off_t)off);
}

/* Read or write all of the request, however the kernel cuts it. */
static int transfer(struct file *f, const mobo_block_req_t *req)
{
    const mobo_iov_t *iov = req->iov;
    uint32_t count = req->iov_count;
    uint64_t done = 0, skip = 0;
    int fd = f->direct_fd >= 0 ? f->direct_fd : f->fd;
    while (done < req->len) {
        struct iovec list[IOV_STEP];
        int pieces = iov_take(iov, count, skip, list);
        ssize_t n = transfer_once(fd, req, list, pieces, req->off + done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EINVAL && fd != f->fd) {
            fd = f->fd; /* memory that is not aligned for O_DIRECT goes through the page cache */
            continue;
        }
        if (n < 0)
            return io_error(f, req, errno);
        if (n == 0) {
            mobo_log(f->obj, MOBO_WARN, "%s ends at byte %llu: it was %llu bytes at the start",
                     f->path, (unsigned long long)(req->off + done),
                     (unsigned long long)f->length);
            return MOBO_EIO;
        }
        done += (uint64_t)n;
        skip += (uint64_t)n;
        while (count && skip >= iov->len) {
            skip -= iov->len;
            iov++;
            count--;
        }
    }
    return 0;
}

static int flush(struct file *f, const mobo_block_req_t *req)
{
    while (fdatasync(f->fd))
        if (errno != EINTR)
            return io_error(f, req, errno);
    return 0;
}

static int punch(struct file *f, int mode, uint64_t off, uint64_t len)
{
    int rc;
    do {
        rc = fallocate(f->fd, mode, (off_t)off, (off_t)len);
    } while (rc && errno == EINTR);
    return rc ? errno : 0;
}

/* Where the host cannot discard, nothing happens: the range "may read as anything". */
static int discard(struct file *f, const mobo_block_req_t *req)
{
    if (!f->discard)
        return 0;
    int err = punch(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, req->off, req->len);
    if (err && f->is_device) {
        uint64_t range[2] = { req->off, req->len };
        err = ioctl(f->fd, BLKDISCARD, range) ? errno : 0;
    }
    if (err && err != EOPNOTSUPP && err != ENOTTY && err != ENODEV && err != EINVAL)
        return io_error(f, req, err);
    return 0;
}

static int write_zeros(struct file *f, const mobo_block_req_t *req)
{
    static const uint8_t zeros[ZERO_STEP];
    for (uint64_t done = 0; done < req->len;) {
        uint64_t len = req->len - done < sizeof zeros ? req->len - done : sizeof zeros;
        ssize_t n = pwrite(f->fd, zeros, (size_t)len, (off_t)(req->off + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return io_error(f, req, n ? errno : EIO);
        done += (uint64_t)n;
    }
    return 0;
}

static int zero(struct file *f, const mobo_block_req_t *req)
{
    int err = EOPNOTSUPP;
    if ((req->flags & MOBO_BLOCK_UNMAP) && f->discard)
        err = punch(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, req->off, req->len);
    if (err)
        err = punch(f, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, req->off, req->len);
    if (err == 0)
        return 0;
    if (err == ENOSPC || err == EIO)
        return io_error(f, req, err);
    return write_zeros(f, req);
}

static int perform(struct file *f, const mobo_block_req_t *req)
{
    switch (req->op) {
    case MOBO_BLOCK_READ:
        return transfer(f, req);
    case MOBO_BLOCK_WRITE: {
        int rc = transfer(f, req);
        return rc || !(req->flags & MOBO_BLOCK_FUA) ? rc : flush(f, req);
    }
    case MOBO_BLOCK_FLUSH:
        return flush(f, req);
    case MOBO_BLOCK_DISCARD:
        return discard(f, req);
    default:
        return zero(f, req);
    }
}

/* On a worker thread. */
static void work(void *arg)
{
    mobo_block_req_t *req = arg;
    req->rc = perform((struct file *)(uintptr_t)req->backend[0], req);
}

static void work_done(void *self, void *arg)
{
    (void)self;
    mobo_block_req_t *req = arg;
    mobo_block_done(req, req->rc);
}

static int check(const struct file *f, const mobo_block_req_t *req)
{
    uint64_t total = 0;
    if (req->op == MOBO_BLOCK_FLUSH)
        return 0;
    if (req->op < MOBO_BLOCK_READ || req->op > MOBO_BLOCK_ZERO)
        return MOBO_ENOTSUP;
    if (req->op != MOBO_BLOCK_READ && f->readonly)
        return MOBO_EACCES;
    if (req->len > f->length || req->off > f->length - req->len || req->off % f->block_size ||
        req->len % f->block_size)
        return MOBO_EINVAL;
    if (req->op != MOBO_BLOCK_READ && req->op != MOBO_BLOCK_WRITE)
        return 0;
    for (uint32_t i = 0; i < req->iov_count; i++)
        if (__builtin_add_overflow(total, req->iov[i].len, &total))
            return MOBO_EINVAL;
    return total == req->len ? 0 : MOBO_EINVAL;
}

void file_submit(void *self, mobo_block_req_t *req)
{
    struct file *f = self;
    int rc = check(f, req);
    /* Nothing to do: no range, or a flush of what cannot have been written. */
    int idle = req->op == MOBO_BLOCK_FLUSH ? f->readonly != 0 : req->len == 0;
    if (rc == 0 && !idle) {
        req->backend[0] = (uintptr_t)f;
        rc = mobo_work(f->obj, work, work_done, req);
        if (rc == 0)
            return;
    }
    mobo_block_done(req, rc);
}
