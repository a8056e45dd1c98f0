/*
 * virtqueue.h: the device side of a split virtqueue (virtio 1.2, 2.7), and the only code of mobo
 * that walks descriptor chains. It knows no transport and no device, and it does not allocate.
 *
 * Everything in guest memory is hostile. Each descriptor is read once, into a copy; ring
 * indices are single loads; a chain has at most as many descriptors as the queue; a queue whose
 * rings make no sense is broken and stays so until it is started again. All functions are
 * [locked] by the owner.
 */
#ifndef VIRTQUEUE_H
#define VIRTQUEUE_H

#include <mobo/host.h>

enum { VQ_SIZE_MAX = 1024 };

/* Negotiated features that change the ring. */
enum {
    VQ_INDIRECT = 1,  /* VIRTIO_F_INDIRECT_DESC (28) */
    VQ_EVENT_IDX = 2, /* VIRTIO_F_EVENT_IDX (29) */
};

/* The members up to `broken` are what a snapshot holds: VQ_STATE(). */
struct vq {
    uint64_t desc, avail, used; /* guest addresses: descriptor, driver and device area */
    uint32_t features;          /* VQ_... */
    uint16_t size;
    uint16_t next_avail; /* the next entry of the available ring; free-running */
    uint16_t next_used;  /* likewise of the used ring: next_used + in_flight == next_avail */
    uint16_t signalled;  /* next_used when interrupting the driver was last considered */
    uint8_t live;
    uint8_t broken;
    uint8_t quiet;       /* the driver was told not to kick */
    uint16_t in_flight;  /* chains popped and not pushed */
    mobo_obj_t *obj;
    uint32_t generation; /* grows with each start and stop: a chain of an older one is dropped */
    const char *why;     /* what broke it; a constant text */
};

#define VQ_STATE(T, q)                                                                             \
    MOBO_STATE(T, q.desc), MOBO_STATE(T, q.avail), MOBO_STATE(T, q.used),                          \
        MOBO_STATE(T, q.features), MOBO_STATE(T, q.size), MOBO_STATE(T, q.next_avail),             \
        MOBO_STATE(T, q.next_used), MOBO_STATE(T, q.signalled), MOBO_STATE(T, q.live),             \
        MOBO_STATE(T, q.broken), MOBO_STATE(T, q.quiet)

/* A piece of a chain: a checked copy of a descriptor. */
struct vq_buf {
    uint64_t gpa;
    uint32_t len, _pad;
};

/* buf[0 .. readable) is what the device reads, buf[readable .. count) what it writes. */
struct vq_chain {
    struct vq_buf *buf; /* the caller's: room entries, at least as many as the queue has */
    uint32_t room;
    uint32_t count, readable;
    uint32_t read_len, write_len; /* bytes in all */
    uint32_t generation;
    uint16_t head;
};

/*
 * Start with the geometry the driver chose; it is frozen from here on. 0, or MOBO_EINVAL with
 * q->why set. Addresses are only checked for alignment and overflow: whether they are RAM shows
 * with each access.
 */
int vq_start(struct vq *q, mobo_obj_t *obj, uint16_t size, uint64_t desc, uint64_t avail,
             uint64_t used, uint32_t features);
void vq_stop(struct vq *q);
/* After a snapshot was loaded: is what it said possible? 0 or MOBO_EINVAL. */
int vq_loaded(struct vq *q, mobo_obj_t *obj, uint16_t size_max);

/* Take the next chain: 1; none there, or not live: 0; a broken queue: MOBO_EFAULT. */
int vq_pop(struct vq *q, struct vq_chain *chain);
/* Put the chain popped last back, as if it had not been popped. */
void vq_unpop(struct vq *q, const struct vq_chain *chain);
/* Give a chain back; LEN is how many bytes were written to it. A stale chain is dropped. */
void vq_push(struct vq *q, const struct vq_chain *chain, uint32_t len);
/* 1 if the driver wants an interrupt for what was pushed since the last call. */
int vq_wants_interrupt(struct vq *q);
/*
 * Ask the driver to kick (or, as a hint, not to). With ON, 1 is returned if chains are waiting
 * already: the kick for them may never come, so pop again.
 */
int vq_kicks(struct vq *q, int on);
void vq_break(struct vq *q, const char *why);
/* 1 if the chain belongs to the queue as it is now. */
int vq_current(const struct vq *q, const struct vq_chain *chain);

/* Copy LEN bytes at OFF out of the readable part, or into the writable part: 0, MOBO_ERANGE or
 * MOBO_EFAULT. For headers: the copy is what is checked and used. */
int vq_read(struct vq *q, const struct vq_chain *chain, uint32_t off, void *buf, uint32_t len);
int vq_write(struct vq *q, const struct vq_chain *chain, uint32_t off, const void *buf,
             uint32_t len);
/*
 * Borrow the host memory of LEN bytes at OFF of the readable (or, for_write, the writable)
 * part, for bulk data only. *count entries of iov are set. On an error nothing stays borrowed:
 * MOBO_EFAULT (not RAM) or MOBO_ERANGE (too long, or more than ROOM pieces).
 */
int vq_map(struct vq *q, const struct vq_chain *chain, int for_write, uint32_t off, uint32_t len,
           mobo_iov_t *iov, uint32_t room, uint32_t *count);
/* Give it back; the first WRITTEN bytes were changed. */
void vq_unmap(mobo_obj_t *obj, const mobo_iov_t *iov, uint32_t count, uint64_t written);

#endif
