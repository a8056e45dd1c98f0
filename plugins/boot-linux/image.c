/*
 * image.c: a kernel or initrd file, and its way into guest memory. It knows no format.
 */
#include "boot.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int image_open(mobo_obj_t *obj, const char *what, const char *path, struct image *img)
{
    struct stat st;
    img->path = path;
    img->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (img->fd < 0)
        return mobo_fail_code(obj, errno == ENOENT ? MOBO_ENOENT : MOBO_EACCES, "%s %s: %s", what,
                              path, strerror(errno));
    if (fstat(img->fd, &st))
        return mobo_fail_code(obj, MOBO_EIO, "%s %s: %s", what, path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return mobo_fail(obj, "%s %s is not a regular file", what, path);
    if (st.st_size == 0)
        return mobo_fail(obj, "%s %s is empty", what, path);
    img->len = (uint64_t)st.st_size;
    return 0;
}

void image_close(struct image *img)
{
    /* A zeroed image is one that was never opened: fd 0 is the user's terminal, never ours. */
    if (img->fd > 0)
        (void)close(img->fd);
    img->fd = 0;
}

int image_read(mobo_obj_t *obj, const struct image *img, uint64_t off, void *buf, uint64_t len)
{
    uint8_t *p = buf;
    while (len) {
        ssize_t n = pread(img->fd, p, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mobo_fail_code(obj, MOBO_EIO, "reading %s at byte %llu: %s", img->path,
                                  (unsigned long long)off, strerror(errno));
        if (n == 0)
            return mobo_fail_code(obj, MOBO_EIO, "%s is cut off or damaged: it ends at byte %llu",
                                  img->path, (unsigned long long)off);
        p += n;
        off += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}

static int zero_guest(mobo_obj_t *obj, uint64_t gpa, uint64_t len)
{
    while (len) {
        void *host;
        uint64_t got;
        int rc = mobo_dma_map(obj, gpa, len, 1, &host, &got);
        if (rc)
            return rc;
        memset(host, 0, got);
        mobo_dma_unmap(obj, host, got, got);
        gpa += got;
        len -= got;
    }
    return 0;
}

int image_load(mobo_obj_t *obj, const struct image *img, uint64_t off, uint64_t len, uint64_t gpa,
               uint64_t mem_len)
{
    uint64_t zeros = mem_len - len, at = gpa;
    while (len) {
        void *host;
        uint64_t got;
        int rc = mobo_dma_map(obj, at, len, 1, &host, &got);
        if (rc)
            return mobo_fail_code(obj, rc, "guest address 0x%llx is not RAM; give the machine more",
                                  (unsigned long long)at);
        rc = image_read(obj, img, off, host, got);
        mobo_dma_unmap(obj, host, got, got);
        if (rc)
            return rc;
        off += got;
        at += got;
        len -= got;
    }
    return zero_guest(obj, at, zeros);
}
