/*
 * runtime.h: what the parts of the back share: the state of a running machine and of its objects.
 * The front sees none of this; plugins see only host.h.
 *
 * Locks, outermost first: object locks (along links), then map.lock, then a wire, then the small
 * ones (loop, work, control, firmware, log), under which nothing else is called.
 */
#ifndef MOBO_RUNTIME_H
#define MOBO_RUNTIME_H

#include "core.h"
#include "os.h"

#include <stdatomic.h>
#include <uv.h>

struct runtime;

/* ---- memory (ram.c, map.c, flat.c) ----------------------------------------------------------- */

struct ram_area {
    struct ram_area *next;
    struct os_mem mem;
    uint64_t len;
    bool readonly;
};

struct doorbell {
    struct doorbell *next;      /* of the region */
    struct object *o;
    struct region *region;
    uint64_t off, match;
    uint32_t len, any_value;
    void (*fn)(void *self, void *arg);
    void *arg;
    atomic_bool pending;        /* rung, and fn has not run since */
    atomic_bool queued;         /* task is in the loop's queue; it may outlive pending (reset) */
    struct task *task;          /* its own, so that ringing never allocates */
    struct mobo_watch *watch;   /* of fd, where the accelerator rings it */
    bool handed;                /* the accelerator has it, at this address: */
    uint64_t handed_addr;
};

/* A place in the map: registers, or memory (host is set then). */
struct region {
    struct object *owner;       /* NULL: the machine's RAM */
    uint32_t space;
    bool enabled, dropped, readonly;
    int32_t priority;
    uint64_t base, len;
    uint8_t *host;
    mobo_region_t ops;          /* widths filled in */
    atomic_bool live;           /* visible; asked again after the owner's lock was taken */
    struct doorbell *_Atomic bells;
};

/* A stretch of addresses [base, last] of one region; off is base's offset in it. */
struct flat {
    uint64_t base, last, off;
    struct region *region;
};

/* The whole map at one moment; never changed once published. Sorted, without overlaps. */
struct view {
    struct flat *mem, *io, *ram; /* ram: the part of mem that is memory */
    unsigned mem_count, io_count, ram_count;
};

/*
 * Readers of the view announce themselves in the slot of their thread and take no lock; a writer
 * that has published a new view waits until it has seen each slot empty once, then frees the old.
 */
enum { GATE_SLOTS = 32 };
struct gate_slot {
    _Alignas(64) _Atomic uint32_t readers;
};

struct map {
    pthread_mutex_t lock;       /* for changes */
    struct region **regions;    /* handle N is regions[N - 1]; freed at the end of the machine */
    unsigned count, room;
    struct flat *mapped;        /* what the accelerator has: whole pages; off as in struct flat */
    unsigned mapped_count;
    struct view *_Atomic view;
    struct gate_slot gate[GATE_SLOTS];
};

int ram_start(struct runtime *rt); /* 0 or the exit code */
void ram_end(struct runtime *rt);
void ram_release(struct object *o);
int ram_new(mobo_obj_t *obj, const char *name, uint64_t len, uint32_t flags, void **host);
int ram_dirty(mobo_obj_t *obj, void *ram, uint64_t off, uint64_t len, uint64_t *bitmap);
void ram_written(struct runtime *rt, uint64_t gpa, uint64_t len);

bool map_start(struct runtime *rt);
void map_end(struct runtime *rt);
int map_add(struct runtime *rt, struct object *owner, const mobo_place_t *place, uint32_t *handle);
int map_accel(struct runtime *rt); /* the accelerator is there: give it all of the map */
void map_release(struct object *o);
struct region *map_region(struct object *o, uint32_t handle);
int region_add(mobo_obj_t *owner, const mobo_place_t *place, uint32_t *handle);
int region_move(mobo_obj_t *owner, uint32_t handle, uint64_t base, uint32_t enabled);
int region_drop(mobo_obj_t *owner, uint32_t handle);

struct view *view_new(struct region *const *regions, unsigned count);
void view_swap(struct map *map, struct view *view);
const struct view *view_enter(struct map *map, struct gate_slot **slot);
void view_leave(struct gate_slot *slot);
/* The stretch that holds ADDR, or NULL and in *gap how many bytes are unclaimed (0: to the end). */
const struct flat *flat_find(const struct flat *flats, unsigned count, uint64_t addr,
                             uint64_t *gap);
/* A guest access of 1 to 64 bytes. */
void map_access(struct runtime *rt, uint32_t space, uint64_t addr, void *data, uint32_t len,
                bool write);

/* ---- wires (wire.c) -------------------------------------------------------------------------- */

void wires_clear(struct runtime *rt);
void wires_release(struct object *o);
int wires_intack(struct runtime *rt);
void wires_eoi(struct runtime *rt, uint32_t vector);

/* ---- loops (loop.c, timer.c, watch.c, work.c, doorbell.c) ------------------------------------ */

/* A call to come: a post, the two halves of a piece of work, or a doorbell. */
struct task {
    struct task *next;
    struct object *o;
    void (*fn)(void *self, void *arg);
    void (*work)(void *arg);
    void *arg;
    struct doorbell *bell; /* set: rings it instead, and is not the pool's */
};

struct task_queue {
    struct task *head, **tail;
    unsigned count;
};

struct loop {
    struct loop *next;
    struct runtime *rt;
    char *name;
    uv_loop_t uv;
    uv_async_t wake;
    uv_poll_t timer_poll, set_poll;
    bool uv_ok, started;
    pthread_t thread;
    int timer_fd, set_fd;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct task_queue queue;
    struct task *spare;         /* tasks to use again */
    bool park, parked, end;

    pthread_mutex_t timer_lock;
    mobo_timer_t **heap;        /* the earliest first */
    unsigned timer_count, timer_room;
    unsigned timers_made;       /* the heap has room for all of them: timer_set never allocates */

    mobo_watch_t *grave;        /* dropped; freed when no event can still name them */
    _Atomic uint64_t posts, timers_fired, fd_events;
};

struct mobo_timer {
    struct mobo_timer *next;    /* of the object */
    struct object *o;
    void (*fn)(void *self);
    uint64_t deadline;
    unsigned at;                /* place in the heap + 1; 0: not in it */
    bool due;                   /* out of the heap, about to run unless cancelled */
};

struct mobo_watch {
    struct mobo_watch *next;    /* of the object, or of the grave */
    struct object *o;
    int fd;                     /* what is polled */
    int stand_in;               /* an event that is always set, for files that cannot be polled */
    uint32_t events;
    bool dropped;
    void (*fn)(void *self, uint32_t events);
    struct doorbell *bell;      /* set: fd is ours, and rings it */
};

void task_push(struct task_queue *q, struct task *t);
struct task *task_pop(struct task_queue *q);
void task_purge(struct task_queue *q, const struct object *o, struct task **spare);

struct loop *loop_get(struct runtime *rt, const char *name);
int loops_run(struct runtime *rt);    /* start the threads, parked */
void loops_park(struct runtime *rt);  /* after it no callback of any object runs */
void loops_go(struct runtime *rt);
void loops_settle(struct runtime *rt);/* wait, but not for long, until nothing is posted */
void loops_end(struct runtime *rt);   /* the threads are gone; tasks stay */
void loops_free(struct runtime *rt);
void loop_release(struct object *o);
struct task *loop_task(struct loop *l);
void loop_push(struct loop *l, struct task *t);
int task_post(mobo_obj_t *obj, void (*fn)(void *self, void *arg), void *arg);

void clock_start(struct runtime *rt);
void clock_stop(struct runtime *rt);
uint64_t clock_vm(struct runtime *rt);
void timer_rearm(struct loop *l);
void timer_expire(struct loop *l);
void timers_quiet(struct object *o);
void timers_release(struct object *o);
uint64_t time_now(mobo_obj_t *obj, uint32_t clock);
int timer_new(mobo_obj_t *obj, void (*fn)(void *self), mobo_timer_t **timer);
void timer_set(mobo_timer_t *timer, uint64_t deadline);
void timer_cancel(mobo_timer_t *timer);

mobo_watch_t *watch_bell(struct doorbell *b);
void watch_ready(struct loop *l);
void watch_bury(struct loop *l);
void watches_quiet(struct object *o);
void watches_release(struct object *o);
int fd_watch(mobo_obj_t *obj, int fd, uint32_t events, void (*fn)(void *self, uint32_t events),
             mobo_watch_t **watch);
void fd_update(mobo_watch_t *watch, uint32_t events);
void fd_drop(mobo_watch_t *watch);

struct work {
    pthread_mutex_t lock;
    pthread_cond_t wake, idle;
    struct task_queue queue;
    pthread_t threads[4];
    unsigned thread_count, waiting, busy;
    bool end;
    const struct object *last;  /* whose call runs, for the message when it never ends */
    _Atomic uint64_t done;
};

void work_start(struct runtime *rt);
void work_drain(struct runtime *rt); /* nothing queued, nothing running */
void work_end(struct runtime *rt);
int task_work(mobo_obj_t *obj, void (*fn)(void *arg), void (*done)(void *self, void *arg),
              void *arg);

int doorbell_new(mobo_obj_t *obj, uint32_t handle, uint64_t off, uint32_t len, uint64_t match,
                 uint32_t any_value, void (*fn)(void *self, void *arg), void *arg);
bool doorbell_match(struct region *r, uint64_t off, const void *data, uint32_t len);
void doorbell_run(struct doorbell *b);
void doorbell_hand(struct doorbell *b); /* tell the accelerator where it is now */
void doorbells_clear(struct runtime *rt);
void doorbells_free(struct region *r);

/* ---- virtual CPUs and the life of the machine (vcpu.c, life.c) ------------------------------- */

enum vcpu_command { VCPU_HOLD, VCPU_RUN, VCPU_END };

struct vcpu {
    struct runtime *rt;
    uint32_t index;
    void *handle;               /* the accelerator's */
    pthread_t thread;
    bool started;
    bool held;                  /* out of the accelerator; under control.lock */
    bool stopped;               /* waits for what control decides; its own thread's */
    _Atomic uint64_t mmio, pio;
};

enum { REQUEST_SIGNAL = 16 };   /* beside MOBO_VM_...: SIGINT, SIGTERM or SIGHUP came */

struct control {
    pthread_mutex_t lock;
    pthread_cond_t cpus;        /* for vCPU threads: the command changed */
    pthread_cond_t changed;     /* for the control thread */
    _Atomic enum vcpu_command command; /* written under lock */
    unsigned held;
    _Atomic uint32_t requests;  /* bits 1 << MOBO_VM_... */
    atomic_bool resetting;      /* vcpu_get and vcpu_set are allowed */
};

int vcpus_new(struct runtime *rt);
int vcpus_start(struct runtime *rt);
void vcpus_stop(struct runtime *rt);
void vcpus_go(struct runtime *rt);
void vcpus_end(struct runtime *rt);
void vcpus_reset(struct runtime *rt);
void control_request(struct runtime *rt, uint32_t what);

/* objects.c: from class to running object and back. */
bool object_open(struct runtime *rt, struct object *o);
void object_close(struct object *o);
int object_start(struct object *o); /* the first candidate whose init succeeds; says why none did */
void object_end(struct object *o);
void object_reset(struct object *o);

void stats_print(struct runtime *rt);
/* signals.c: SIGINT, SIGTERM and SIGHUP end the machine, the second time at once; SIGUSR1: stats. */
void signals_start(struct runtime *rt);
void signals_end(struct runtime *rt);

/* ---- firmware description (fwdesc.c) --------------------------------------------------------- */

struct fw {
    pthread_mutex_t lock;
    struct fw_entry *entries, *reserved;
    mobo_mem_range_t *ranges;   /* made when asked for, dropped by each change */
    unsigned range_count;
};

void fw_release(struct object *o);
void fw_end(struct runtime *rt);

/* ---- the terminal (term.c) ------------------------------------------------------------------- */

void term_save(void);
void term_restore(void); /* safe in a signal handler */

/* ---- log (log.c) ----------------------------------------------------------------------------- */

void log_quiet_ends(struct object *o); /* say how many lines were kept back */
extern const mobo_log_api_t log_api;

/* ---- all of it ------------------------------------------------------------------------------- */

struct object_runtime {
    atomic_bool closed;         /* fini comes or has come: no callback runs any more */
    _Atomic uintptr_t holder;   /* thread that holds the object's lock */
    struct ram_area *ram;
    struct source *sources;
    mobo_timer_t *timers;
    mobo_watch_t *watches;
    bool has_bells;

    pthread_mutex_t log_lock;
    uint64_t log_time;          /* when log_tokens was right */
    uint32_t log_tokens, log_kept;
    bool keep_reasons;          /* what fail says goes to `reasons`, not to the log */
    char *reasons;              /* lines, each ended by a newline */
};

struct runtime {
    struct machine *m;
    struct object *accel_object;
    mobo_accel_ops_t accel;     /* copied up to our size; all NULL without accelerator */
    void *accel_self;
    uint64_t accel_caps;

    struct os_mem ram;
    uint64_t low, high;         /* bytes from 0 and from 4 GiB on */
    struct map map;
    struct wire *wires;
    struct object *pic;         /* extint_attach */
    int (*pic_ack)(void *self);
    struct eoi_hook *eoi_hooks;
    struct loop *loops;
    struct work work;
    _Atomic uint64_t clock_offset, clock_frozen; /* see timer.c */
    struct vcpu *vcpus;
    struct control control;
    struct fw fw;
    _Atomic uint64_t bells_rung, msis;
    struct signals *signals;
    pthread_mutex_t stats_lock;
    bool stats_allowed;
};

static inline struct runtime *runtime_of(const struct object *o)
{
    return o->machine->rt;
}

static inline bool object_parallel(const struct object *o)
{
    return o->klass->c.flags & MOBO_PARALLEL;
}

/* The tables behind host_services. */
extern const mobo_mem_api_t mem_api;
extern const mobo_irq_api_t irq_api;
extern const mobo_time_api_t time_api;
extern const mobo_task_api_t task_api;
extern const mobo_vm_api_t vm_api;
extern const mobo_fw_api_t fw_api;

/* Take and give back an object's lock. */
void object_enter(struct object *o);
void object_leave(struct object *o);
/* Complain about a caller of a [locked] function that does not hold it. */
void object_check(struct object *o, const char *function);

#endif
