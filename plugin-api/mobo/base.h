/*
 * mobo/base.h: the words every mobo header uses: result codes, log levels, the size test.
 * No function here touches the monitor; it can be included by anything.
 */
#ifndef MOBO_BASE_H
#define MOBO_BASE_H

#include <stddef.h>
#include <stdint.h>

/* The major version is in the name of the entry function, mobo_plugin_v1(). The minor only grows. */
enum { MOBO_ABI_MAJOR = 1, MOBO_ABI_MINOR = 0 };

/*
 * Results are int: 0 (or a documented positive value) is success, a negative MOBO_E... is an error.
 * The numbers are mobo's own because errno differs between operating systems. 0 is never an error.
 */
enum {
    MOBO_OK = 0,
    MOBO_EFAIL = -1,     /* anything without a better word; the message says what */
    MOBO_EINVAL = -2,    /* an argument or a setting is out of its range */
    MOBO_ENOMEM = -3,    /* the host has no memory for it */
    MOBO_ENOENT = -4,    /* the named thing does not exist */
    MOBO_EEXIST = -5,    /* the address, line or name is taken */
    MOBO_EACCES = -6,    /* the host refuses the access */
    MOBO_EBUSY = -7,     /* somebody else uses it */
    MOBO_EFAULT = -8,    /* a guest address is not (wholly) RAM */
    MOBO_EIO = -9,       /* the host reports an input/output error */
    MOBO_ENOSPC = -10,   /* the host's disk is full */
    MOBO_ENOTSUP = -11,  /* this host, accelerator or provider cannot do it */
    MOBO_EAGAIN = -12,   /* not now; an event will say when */
    MOBO_ECANCELED = -13,/* reset or power-off came first */
    MOBO_ERANGE = -14,   /* the buffer is too small, or the number too large */
};

/* Log levels. MOBO_WARN and up caused by the guest are rate limited per object by the core. */
enum {
    MOBO_ERROR = 1,
    MOBO_WARN = 2,
    MOBO_INFO = 3,  /* shown with -v */
    MOBO_DEBUG = 4, /* shown with -vv */
};

/*
 * True if TABLE (a pointer to a struct that starts with `uint32_t size`) holds MEMBER and MEMBER is
 * set. The only way to ask whether the other side knows something: the minor is for messages.
 */
#define MOBO_HAS(table, member)                                                                    \
    ((table)->size >= offsetof(__typeof__(*(table)), member) + sizeof((table)->member) &&          \
     (table)->member)

/* A piece of host memory; len is in bytes. */
typedef struct mobo_iov {
    void *base;
    uint64_t len;
} mobo_iov_t;

typedef struct mobo_obj mobo_obj_t;
typedef struct mobo_host mobo_host_t;

#endif
