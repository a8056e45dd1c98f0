/*
 * guest.h: the other side of a virtio-mmio device for tests: a bus to put it on, and a driver that
 * makes rings in the fake host's RAM. It is written after the specification (virtio 1.2, 2.7 and
 * 4.2) and shares no code with the device.
 */
#ifndef GUEST_H
#define GUEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* Before cmocka.h, whose macro `fail` is also a member of a host table. */
#include <fakehost.h>

#include <cmocka.h>

enum { G_QUEUES = 12, G_NEXT = 1, G_WRITE = 2, G_INDIRECT = 4 };
enum {
    G_ACK = 1, G_DRIVER = 2, G_DRIVER_OK = 4, G_FEATURES_OK = 8, G_NEEDS_RESET = 64, G_FAILED = 128
};
enum { R_STATUS = 0x70, R_NOTIFY = 0x50, R_ISR = 0x60, R_ACK = 0x64, R_QSEL = 0x30, R_QREADY = 0x44,
       R_QNUM = 0x38, R_QMAX = 0x34, R_GEN = 0xfc, R_CONFIG = 0x100 };
#define G_VERSION_1 (UINT64_C(1) << 32)
#define G_EVENT_IDX (UINT64_C(1) << 29)
#define G_INDIRECT_DESC (UINT64_C(1) << 28)

struct guest_queue {
    uint16_t size, next_desc, avail_idx, used_idx;
    uint64_t desc, avail, used;
};

struct guest {
    struct fake *f;
    uint64_t base;
    uint64_t heap; /* next free byte of RAM */
    uint64_t features;
    struct guest_queue q[G_QUEUES];
};

struct guest_buf {
    uint64_t gpa;
    uint32_t len, flags; /* G_WRITE */
};

/* A fake host with a chip "chip" and an mmio bus "bus"; each device on it gets its own line. */
struct fake *guest_machine(void);
void guest_at(struct guest *g, struct fake *f, const char *device);

uint32_t guest_in(struct guest *g, uint32_t reg);
void guest_out(struct guest *g, uint32_t reg, uint32_t val);
uint64_t guest_offer(struct guest *g); /* device features */

uint64_t guest_alloc(struct guest *g, uint32_t len); /* zeroed, 16-byte aligned */
void *guest_ptr(struct guest *g, uint64_t gpa);

/* Status up to FEATURES_OK with these features (and VERSION_1); the status then. */
uint32_t guest_negotiate(struct guest *g, uint64_t features);
void guest_queue(struct guest *g, unsigned queue, uint16_t size);
void guest_go(struct guest *g); /* DRIVER_OK, and let it run */
/* All of that: queues 0 .. queues - 1 of SIZE entries. */
void guest_start(struct guest *g, uint64_t features, unsigned queues, uint16_t size);

void guest_desc(struct guest *g, unsigned queue, uint16_t index, uint64_t gpa, uint32_t len,
                uint16_t flags, uint16_t next);
/* Make a chain available without a kick; returns its head. */
uint16_t guest_add(struct guest *g, unsigned queue, const struct guest_buf *bufs, unsigned count);
void guest_avail(struct guest *g, unsigned queue, uint16_t head);
void guest_kick(struct guest *g, unsigned queue); /* and run all that follows */
/* The next used entry: 1, or 0 if there is none. */
int guest_used(struct guest *g, unsigned queue, uint32_t *id, uint32_t *len);

#endif
