/*
 * mobo/block.h: "mobo.block/1", a disk's bytes. Provided by block-* backends, used by disk devices.
 */
#ifndef MOBO_BLOCK_H
#define MOBO_BLOCK_H

#include <mobo/base.h>
#include <mobo/host.h>

#define MOBO_BLOCK "mobo.block/1"

enum {
    MOBO_BLOCK_READ = 1,
    MOBO_BLOCK_WRITE = 2,
    MOBO_BLOCK_FLUSH = 3,   /* all writes completed before it are on stable storage after it */
    MOBO_BLOCK_DISCARD = 4, /* the range's content is no longer needed; it may read as anything */
    MOBO_BLOCK_ZERO = 5,    /* the range reads as zeros afterwards */
};
enum {
    MOBO_BLOCK_FUA = 1,     /* WRITE: on stable storage at completion */
    MOBO_BLOCK_UNMAP = 2,   /* ZERO: space may be given back */
};

/*
 * A request belongs to the caller, from submit until done. Offsets and lengths are bytes and
 * multiples of the block size; the iov's total equals len for READ and WRITE.
 */
typedef struct mobo_block_req mobo_block_req_t;
struct mobo_block_req {
    uint32_t size, op;    /* sizeof(mobo_block_req_t), MOBO_BLOCK_... */
    uint64_t off, len;
    const mobo_iov_t *iov;
    uint32_t iov_count, flags;
    mobo_obj_t *owner;    /* whose loop and lock `done` uses */
    void (*done)(void *owner_self, void *req); /* [locked] req->rc is set */
    int32_t rc;           /* 0, MOBO_EIO, MOBO_ENOSPC, MOBO_EACCES (read-only), MOBO_EINVAL, ... */
    uint32_t _pad;
    uint64_t backend[6];  /* the backend's, while it has the request */
};

typedef struct mobo_block_info {
    uint32_t size;              /* in: as compiled */
    uint32_t block_size;        /* bytes; power of two, 512 or more: what off and len count in */
    uint64_t length;            /* bytes */
    uint32_t physical_block;    /* bytes; hint */
    uint32_t read_only;         /* 1: WRITE, DISCARD and ZERO end with MOBO_EACCES */
    uint32_t can_discard;       /* 1: DISCARD and ZERO do something useful */
    uint32_t write_cache;       /* 1: FLUSH is needed for durability */
} mobo_block_info_t;

typedef struct mobo_block_ops {
    uint32_t size, _pad;
    void (*info)(void *self, mobo_block_info_t *info);
    /*
     * [locked] Takes the request and returns at once; mobo_block_done() ends it. Requests may
     * complete in any order. Errors are delivered by done, never by a return value.
     */
    void (*submit)(void *self, mobo_block_req_t *req);
} mobo_block_ops_t;

typedef struct mobo_block {
    const mobo_block_ops_t *ops;
    void *self;
} mobo_block_t;

static inline void mobo_block_info(mobo_block_t b, mobo_block_info_t *info)
{
    memset(info, 0, sizeof *info);
    info->size = sizeof *info;
    const mobo_host_t *host = mobo_enter(b.self);
    b.ops->info(b.self, info);
    mobo_leave(host, b.self);
}

static inline void mobo_block_submit(mobo_block_t b, mobo_block_req_t *req)
{
    const mobo_host_t *host = mobo_enter(b.self);
    b.ops->submit(b.self, req);
    mobo_leave(host, b.self);
}

/* [any] For backends: end a request. It belongs to its owner again. */
static inline void mobo_block_done(mobo_block_req_t *req, int rc)
{
    req->rc = rc;
    (void)mobo_post(req->owner, req->done, req);
}

#endif
