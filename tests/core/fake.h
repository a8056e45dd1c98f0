/*
 * fake.h: a machine built by hand, without INI files and plugins, for tests of the runtime. Its
 * accelerator runs C functions as guests; checks count failures, because they run on any thread.
 */
#ifndef FAKE_H
#define FAKE_H

#include "core.h"
#include "runtime.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

extern atomic_uint fake_failures;
void fake_failed(const char *file, int line, const char *what);
#define CHECK(what) ((what) ? (void)0 : fake_failed(__FILE__, __LINE__, #what))

struct fake_cpu {
    uint32_t index;
    struct fake_accel *accel;
    const mobo_exits_t *up;
    void *ctx;
    atomic_bool kicked;
    uint64_t resets, regs;      /* regs: the one register block, number 1 */
    pthread_mutex_t lock;
    pthread_cond_t wake;
};

enum { FAKE_AGAIN, FAKE_HALT }; /* what a guest returns: call me again, or sleep until a kick */
typedef int fake_guest_t(struct fake_cpu *cpu);

struct fake_slot {
    uint64_t gpa, len;
    uint8_t *host;
    uint32_t flags;
};

enum { FAKE_CPUS = 8, FAKE_SLOTS = 64 };

struct fake_accel {
    mobo_obj_t *obj;
    struct fake_cpu cpu[FAKE_CPUS];
    struct fake_slot slot[FAKE_SLOTS];
    atomic_uint slots, unmaps, maps;
    atomic_uint writes;         /* calls of ram_written */
    _Atomic uint64_t write_gpa, write_len;
    atomic_uint msis, extint;
    int bell_fd;
    uint64_t bell_addr;
    atomic_uint bells_added, bells_removed;
};

struct fake {
    struct machine m;
    struct object *list[16];
    struct klass klass[16];
    struct candidate candidate[16][2];
    struct fake_accel *accel;   /* from its init on */
    struct runtime *rt;         /* while it runs */
};

extern struct fake fake;
extern fake_guest_t *fake_guest;
extern uint64_t fake_caps;      /* of the accelerator */

/* An empty machine with an accelerator; 1 MiB low, the rest from 4 GiB on. */
void fake_new(uint32_t cpus, uint64_t memory, fake_guest_t *guest);
struct object *fake_add(const char *name, const mobo_class_t *c, const char *thread);
void fake_alternative(struct object *o, const mobo_class_t *c); /* the second candidate */
int fake_run(void);             /* machine_run, and no CHECK failed */
void fake_request(uint32_t what);

/* Guest accesses. */
uint64_t fake_in(struct fake_cpu *cpu, uint32_t port, uint32_t len);
void fake_out(struct fake_cpu *cpu, uint32_t port, uint64_t val, uint32_t len);
uint64_t fake_load(struct fake_cpu *cpu, uint64_t gpa, uint32_t len);
void fake_store(struct fake_cpu *cpu, uint64_t gpa, uint64_t val, uint32_t len);

/* Wait up to 10 s for a counter to reach a value; false: it did not. */
bool fake_wait(atomic_uint *counter, unsigned value);

#endif
