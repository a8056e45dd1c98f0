/*
 * os.h: what the runtime wants from the operating system beyond libuv and pthreads. One
 * implementation per system: os-linux.c. It knows nothing of machines and objects.
 */
#ifndef MOBO_OS_H
#define MOBO_OS_H

#include <stdbool.h>
#include <stdint.h>

/* ---- memory: zeroed, shared, lazily backed, with inaccessible pages on both sides ------------ */

struct os_mem {
    uint8_t *host;    /* aligned to 2 MiB, or to the huge page */
    uint64_t len;
    void *reserved;   /* the address range around it */
    uint64_t reserved_len;
    int fd;           /* memfd, sealed against growing and shrinking */
};

/* PAGE: 0 for normal pages, else the size of the huge pages. False: *why says it in words. */
bool os_mem_new(struct os_mem *mem, const char *name, uint64_t len, uint64_t page,
                const char **why);
void os_mem_free(struct os_mem *mem);

/* ---- time ------------------------------------------------------------------------------------ */

uint64_t os_now(void);      /* ns, monotonic */
uint64_t os_now_real(void); /* ns since 1970-01-01 00:00 UTC */

/* A descriptor that becomes readable at a point of os_now(). */
int os_timer_new(void);
void os_timer_arm(int fd, uint64_t when); /* 0: never */
void os_timer_take(int fd);               /* makes it unreadable again */

/* ---- events ---------------------------------------------------------------------------------- */

int os_event_new(bool set);
void os_event_take(int fd);

/* ---- readiness of many descriptors, itself a descriptor that can be polled ------------------- */

enum { OS_READ = 1, OS_WRITE = 2 };

struct os_ready {
    void *tag;
    uint32_t events; /* errors and hang-ups count as both */
};

int os_pollset_new(void);
/* Change interest in FD from OLD to EVENTS (0: none). 1: this kind of file cannot be polled. */
int os_pollset_set(int set, int fd, uint32_t old, uint32_t events, void *tag);
/* Never waits. */
unsigned os_pollset_take(int set, struct os_ready *ready, unsigned max);

void os_thread_name(const char *name);

/* Fill closed ones of descriptors 0 to 2, or the next file opened were standard error. */
void os_std_fill(void);

#endif
