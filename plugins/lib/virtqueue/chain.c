/*
 * chain.c: the bytes of a popped chain: copied (headers) or borrowed (bulk data). It uses only the
 * copies of the descriptors that virtqueue.c took, never the descriptors.
 */
#include "virtqueue/virtqueue.h"

/* A part of a chain, one piece at a time. */
struct cursor {
    const struct vq_buf *buf, *end;
    uint32_t skip; /* bytes of *buf that are behind us */
    uint32_t left; /* bytes wanted */
};

static int cursor_init(struct cursor *c, const struct vq_chain *chain, int writable, uint32_t off,
                       uint32_t len)
{
    uint32_t size = writable ? chain->write_len : chain->read_len;
    if (len > size || off > size - len)
        return MOBO_ERANGE;
    c->buf = chain->buf + (writable ? chain->readable : 0);
    c->end = chain->buf + (writable ? chain->count : chain->readable);
    c->left = len;
    while (len && off >= c->buf->len)
        off -= c->buf++->len;
    c->skip = off;
    return 0;
}

/* The next piece, or 0 at the end. */
static uint32_t cursor_next(struct cursor *c, uint64_t *gpa)
{
    if (c->left == 0 || c->buf == c->end)
        return 0;
    uint32_t len = c->buf->len - c->skip;
    if (len > c->left)
        len = c->left;
    *gpa = c->buf->gpa + c->skip;
    c->left -= len;
    c->skip = 0;
    c->buf++;
    return len;
}

int vq_read(struct vq *q, const struct vq_chain *chain, uint32_t off, void *buf, uint32_t len)
{
    struct cursor c;
    uint8_t *to = buf;
    uint64_t gpa;
    if (cursor_init(&c, chain, 0, off, len))
        return MOBO_ERANGE;
    for (uint32_t n; (n = cursor_next(&c, &gpa)); to += n)
        if (mobo_dma_read(q->obj, gpa, to, n))
            return MOBO_EFAULT;
    return 0;
}

int vq_write(struct vq *q, const struct vq_chain *chain, uint32_t off, const void *buf,
             uint32_t len)
{
    struct cursor c;
    const uint8_t *from = buf;
    uint64_t gpa;
    if (cursor_init(&c, chain, 1, off, len))
        return MOBO_ERANGE;
    for (uint32_t n; (n = cursor_next(&c, &gpa)); from += n)
        if (mobo_dma_write(q->obj, gpa, from, n))
            return MOBO_EFAULT;
    return 0;
}

int vq_map(struct vq *q, const struct vq_chain *chain, int for_write, uint32_t off, uint32_t len,
           mobo_iov_t *iov, uint32_t room, uint32_t *count)
{
    struct cursor c;
    uint64_t gpa;
    int rc = cursor_init(&c, chain, for_write, off, len);
    *count = 0;
    for (uint32_t n; rc == 0 && (n = cursor_next(&c, &gpa));) {
        while (n && rc == 0) {
            void *host = NULL;
            uint64_t got = 0;
            if (*count == room)
                rc = MOBO_ERANGE;
            else if (mobo_dma_map(q->obj, gpa, n, (uint32_t)for_write, &host, &got) || got == 0)
                rc = MOBO_EFAULT;
            if (rc)
                break;
            if (got > n)
                got = n;
            iov[(*count)++] = (mobo_iov_t){ .base = host, .len = got };
            gpa += got;
            n -= (uint32_t)got;
        }
    }
    if (rc) {
        vq_unmap(q->obj, iov, *count, 0);
        *count = 0;
    }
    return rc;
}

void vq_unmap(mobo_obj_t *obj, const mobo_iov_t *iov, uint32_t count, uint64_t written)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t here = written < iov[i].len ? written : iov[i].len;
        mobo_dma_unmap(obj, iov[i].base, iov[i].len, here);
        written -= here;
    }
}
