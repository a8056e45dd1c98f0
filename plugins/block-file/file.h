/*
 * file.h: what block-file.c (opening) and io.c (requests) share. Constant after init, so that the
 * worker threads need no lock.
 */
#ifndef BLOCK_FILE_H
#define BLOCK_FILE_H

#include <mobo/block.h>
#include <mobo/plugin.h>

struct file {
    mobo_obj_t *obj;
    const char *path; /* properties */
    uint32_t readonly, direct, discard, lock;
    int fd;           /* -1: not open */
    int direct_fd;    /* the same file with O_DIRECT, or -1 */
    int is_device;    /* a block device */
    uint64_t length;
    uint32_t block_size, physical_block;
};

/* [locked] Hand a checked request to a worker. */
void file_submit(void *self, mobo_block_req_t *req);

#endif
