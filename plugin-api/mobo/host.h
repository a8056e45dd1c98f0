/*
 * mobo/host.h: what the monitor does for a plugin: one table of functions per area.
 *
 * Authors call the inline functions at the end of this file, not the tables: they format, they
 * test whether the running monitor has the service, and they fall back where it has not.
 *
 * Thread marks, the only three:
 *   [any]          from any thread, takes no object lock, never blocks
 *   [locked]       the object's lock is held, by the core, before the call
 *   [vcpu thread]  on the thread of a virtual CPU
 */
#ifndef MOBO_HOST_H
#define MOBO_HOST_H

#include <mobo/base.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- log ------------------------------------------------------------------------------------- */

typedef struct mobo_log_api {
    uint32_t size, _pad;
    /* [any] One line of UTF-8 without a newline. The core adds the section's name. */
    void (*log)(mobo_obj_t *obj, uint32_t level, const char *text);
    /* [any] The same at MOBO_ERROR with FILE:LINE: [SECTION]: in front; returns code. */
    int (*fail)(mobo_obj_t *obj, int code, const char *text);
    /* [any] 1 if lines of that level are shown: to skip the work of making one. */
    int (*shown)(mobo_obj_t *obj, uint32_t level);
} mobo_log_api_t;

/* ---- memory and the address map -------------------------------------------------------------- */

enum { MOBO_SPACE_MEM = 1, MOBO_SPACE_IO = 2 };

/*
 * A window of registers. Callbacks get an offset, never an address, and a width between min_access
 * and max_access bytes (powers of two up to 8), naturally aligned: the core splits wider or
 * misaligned accesses, reads narrower ones out of an aligned min_access read, and drops narrower
 * writes (they read as written by no hardware; logged at MOBO_DEBUG). Called [locked] by the owner,
 * or unlocked on the [vcpu thread] if the owner's class is MOBO_PARALLEL.
 */
typedef struct mobo_region {
    uint32_t size, flags;
    const char *name;    /* for the log and for `-d` traces */
    uint64_t length;     /* bytes */
    uint32_t min_access; /* 0: 1 */
    uint32_t max_access; /* 0: 8 */
    uint64_t (*read)(void *self, uint64_t off, unsigned bytes);
    void (*write)(void *self, uint64_t off, uint64_t val, unsigned bytes);
} mobo_region_t;

/* Where a region or a piece of device memory goes in the map. */
typedef struct mobo_place {
    uint32_t size, space;       /* MOBO_SPACE_... */
    uint64_t base;              /* guest-physical address or port */
    int32_t priority;           /* the higher one covers the lower one; guest RAM has 0 */
    uint32_t disabled;          /* 1: placed, but not visible until region_move */
    const mobo_region_t *region;/* registers, or NULL: */
    void *ram;                  /* memory from ram_new (ram_len bytes of it) */
    uint64_t ram_len;
    uint32_t ram_flags, _pad;   /* MOBO_RAM_... */
} mobo_place_t;

enum {
    MOBO_RAM_READONLY = 1, /* the guest reads it; guest writes go nowhere (ROM) */
};

typedef struct mobo_mem_api {
    uint32_t size, _pad;
    /*
     * [any] Copy LEN bytes out of or into guest RAM. Reaches RAM only: MOBO_EFAULT if any byte of
     * the range is not RAM (or is ROM, for write), and then nothing was copied. Device registers
     * can never be reached this way.
     */
    int (*read)(mobo_obj_t *obj, uint64_t gpa, void *buf, uint64_t len);
    int (*write)(mobo_obj_t *obj, uint64_t gpa, const void *buf, uint64_t len);
    /*
     * [any] One naturally aligned load (acquire) or store (release) of 1, 2, 4 or 8 bytes, never
     * torn: ring indices and flags shared with a running guest. MOBO_EFAULT: not RAM;
     * MOBO_EINVAL: misaligned.
     */
    int (*load)(mobo_obj_t *obj, uint64_t gpa, uint32_t bytes, uint64_t *val);
    int (*store)(mobo_obj_t *obj, uint64_t gpa, uint32_t bytes, uint64_t val);
    /*
     * [any] Borrow host memory behind guest RAM, for bulk data only: a running guest may change it
     * at any time, so headers and lengths are read with `read` or `load`. `*got` is how many bytes
     * from GPA on are contiguous in host memory (1..len). Borrowed until `unmap` or the end of the
     * next reset; `unmap` says how many bytes were written (0: none).
     */
    int (*map)(mobo_obj_t *obj, uint64_t gpa, uint64_t len, uint32_t for_write, void **host,
               uint64_t *got);
    void (*unmap)(mobo_obj_t *obj, void *host, uint64_t len, uint64_t written);
    /* [locked, init only] Zeroed, page-aligned memory that the core owns and releases: VRAM, ROM. */
    int (*ram_new)(mobo_obj_t *obj, const char *name, uint64_t len, uint32_t flags, void **host);
    /*
     * [locked] Put a window into the map; move it (or hide it, with enabled 0); take it away.
     * Mostly for buses: a device gets its place from the bus it attaches to. OWNER is the object
     * whose instance the callbacks receive. MOBO_EEXIST: same space, overlap, same priority (the
     * message names both). Handles are > 0 and belong to OWNER.
     */
    int (*region_add)(mobo_obj_t *owner, const mobo_place_t *place, uint32_t *handle);
    int (*region_move)(mobo_obj_t *owner, uint32_t handle, uint64_t base, uint32_t enabled);
    int (*region_drop)(mobo_obj_t *owner, uint32_t handle);
    /*
     * [any] For RAM from ram_new: which 4 KiB pages the guest wrote since the last call; one bit a
     * page, LSB first, cleared by the call. MOBO_ENOTSUP: treat all as written.
     */
    int (*ram_dirty)(mobo_obj_t *obj, void *ram, uint64_t off, uint64_t len, uint64_t *bitmap);
} mobo_mem_api_t;

/* ---- time ------------------------------------------------------------------------------------ */

enum {
    MOBO_CLOCK_VM = 1,   /* ns since the first start; stands still while the machine is paused */
    MOBO_CLOCK_HOST = 2, /* ns, monotonic, never stops */
    MOBO_CLOCK_REAL = 3, /* ns since 1970-01-01 00:00 UTC */
};

typedef struct mobo_timer mobo_timer_t;

typedef struct mobo_time_api {
    uint32_t size, _pad;
    uint64_t (*now)(mobo_obj_t *obj, uint32_t clock); /* [any] */
    /* [locked] fn runs [locked] on the object's loop. The core frees timers with the object. */
    int (*timer_new)(mobo_obj_t *obj, void (*fn)(void *self), mobo_timer_t **timer);
    /* [any] Fire once at DEADLINE (MOBO_CLOCK_VM, ns); replaces an earlier deadline. */
    void (*timer_set)(mobo_timer_t *timer, uint64_t deadline);
    /* [locked] After it returns fn does not run until set again. */
    void (*timer_cancel)(mobo_timer_t *timer);
} mobo_time_api_t;

/* ---- tasks, files, doorbells ----------------------------------------------------------------- */

enum { MOBO_FD_READ = 1, MOBO_FD_WRITE = 2 };
typedef struct mobo_watch mobo_watch_t;

typedef struct mobo_task_api {
    uint32_t size, _pad;
    /* [any] Run fn(self, arg) [locked] on OBJ's loop, in the order of the posts. */
    int (*post)(mobo_obj_t *obj, void (*fn)(void *self, void *arg), void *arg);
    /*
     * [any] Run fn(arg) on a worker thread without a lock, then done(self, arg) [locked]. A reset
     * waits for every fn, so fn never waits for the loop; done may come after the reset.
     */
    int (*work)(mobo_obj_t *obj, void (*fn)(void *arg), void (*done)(void *self, void *arg),
                void *arg);
    /*
     * [locked] Call fn(self, events) [locked] while FD is ready for EVENTS (level triggered). Files
     * that the host cannot poll (regular files, /dev/null) count as always ready. The core stops
     * watching with the object, and never closes FD.
     */
    int (*fd_watch)(mobo_obj_t *obj, int fd, uint32_t events,
                    void (*fn)(void *self, uint32_t events), mobo_watch_t **watch);
    void (*fd_update)(mobo_watch_t *watch, uint32_t events); /* [locked] 0: keep, but sleep */
    void (*fd_drop)(mobo_watch_t *watch);                    /* [locked] */
    /*
     * [locked] A guest store of LEN bytes at OFF in the region HANDLE that equals MATCH (any value
     * if any_value) does not call `write` but, soon, fn(self, arg) [locked] on OBJ's loop; stores in
     * between fold into one call. ioeventfd under KVM; never a wait for the guest.
     */
    int (*doorbell)(mobo_obj_t *obj, uint32_t handle, uint64_t off, uint32_t len, uint64_t match,
                    uint32_t any_value, void (*fn)(void *self, void *arg), void *arg);
} mobo_task_api_t;

/* ---- interrupts ------------------------------------------------------------------------------ */

/* One source on a wire. The core ORs the sources of a wire, so level lines may be shared. */
typedef struct mobo_irq_ops {
    uint32_t size, _pad;
    void (*set)(void *source, uint64_t line, uint32_t level); /* [any] */
} mobo_irq_ops_t;

typedef struct mobo_irq {
    const mobo_irq_ops_t *ops; /* NULL: not connected */
    void *self;
    uint64_t line;
} mobo_irq_t;

typedef struct mobo_irq_api {
    uint32_t size, _pad;
    /*
     * [locked, init only] A new source of OBJ on input LINE of the object that CHIP (the `self` of a
     * link to "mobo.irqchip/1") is. For buses and chained chips; devices use MOBO_IRQ properties.
     */
    int (*wire)(mobo_obj_t *obj, void *chip, uint32_t line, mobo_irq_t *irq);
    /* [any] A message-signalled interrupt: goes to the accelerator, never through the memory map. */
    int (*msi)(mobo_obj_t *obj, uint64_t addr, uint32_t data);
    /*
     * x86 only. [locked, init only] OBJ is the 8259 of the machine: `ack` [vcpu thread] answers the
     * interrupt acknowledge cycle with a vector, or a negative number for a spurious one.
     */
    int (*extint_attach)(mobo_obj_t *obj, int (*ack)(void *self));
    void (*extint)(mobo_obj_t *obj, uint32_t level); /* [any] the 8259's INTR pin */
    /* [locked, init only] eoi [vcpu thread] hears each end of a level-triggered VECTOR: IOAPICs. */
    int (*eoi_attach)(mobo_obj_t *obj, void (*eoi)(void *self, uint32_t vector));
} mobo_irq_api_t;

/* ---- the machine ----------------------------------------------------------------------------- */

enum { MOBO_ARCH_X86_64 = 1, MOBO_ARCH_ARM64 = 2 };

typedef struct mobo_vm_info {
    uint32_t size; /* in: sizeof as compiled */
    uint32_t arch; /* MOBO_ARCH_... */
    uint32_t vcpus, _pad;
    uint64_t memory; /* bytes of guest RAM */
} mobo_vm_info_t;

enum {
    MOBO_VM_RESET = 1, /* the guest asks for a reset: [machine] on-reset decides */
    MOBO_VM_OFF = 2,   /* the guest powers off: exit 0 */
    MOBO_VM_CRASH = 3, /* the guest is dead (triple fault): [machine] on-crash decides */
    MOBO_VM_QUIT = 4,  /* the user wants to leave: exit 0 after a clean stop */
    MOBO_VM_FAIL = 5,  /* the monitor cannot go on (message already logged): exit 1 */
};

typedef struct mobo_vm_api {
    uint32_t size, _pad;
    void (*info)(mobo_obj_t *obj, mobo_vm_info_t *info);             /* [any] */
    void (*request)(mobo_obj_t *obj, uint32_t what);                 /* [any] MOBO_VM_... */
    /* [locked, reset only] Register blocks of mobo/arch/..., for what loads kernels. */
    int (*vcpu_get)(mobo_obj_t *obj, uint32_t index, uint32_t block, void *buf, uint32_t len);
    int (*vcpu_set)(mobo_obj_t *obj, uint32_t index, uint32_t block, const void *buf,
                    uint32_t len);
} mobo_vm_api_t;

/* ---- firmware description (see mobo/firmware.h) ------------------------------------------------ */

typedef struct mobo_fw_device mobo_fw_device_t;

enum {
    MOBO_MEM_RAM = 1,
    MOBO_MEM_RESERVED = 2,
    MOBO_MEM_ACPI = 3,     /* tables the guest may reuse after reading them */
    MOBO_MEM_ACPI_NVS = 4,
};
typedef struct mobo_mem_range {
    uint64_t base, len;
    uint32_t kind, _pad; /* MOBO_MEM_... */
} mobo_mem_range_t;

typedef struct mobo_fw_api {
    uint32_t size, _pad;
    /* [locked, init only] One entry of the neutral description; the core copies what it points to. */
    int (*describe)(mobo_obj_t *obj, const mobo_fw_device_t *dev);
    /* [any, from reset on] Entry INDEX, or NULL behind the last one. Borrowed, constant. */
    const mobo_fw_device_t *(*device)(mobo_obj_t *obj, uint32_t index);
    /* [locked, init or reset] Take a piece of RAM out of what the guest may use. Idempotent. */
    int (*reserve)(mobo_obj_t *obj, uint64_t gpa, uint64_t len, uint32_t kind);
    /* [any, from reset on] The memory map: sorted, without overlaps. 1: filled, 0: behind the last. */
    int (*memory)(mobo_obj_t *obj, uint32_t index, mobo_mem_range_t *range);
} mobo_fw_api_t;

/* ---- objects --------------------------------------------------------------------------------- */

typedef struct mobo_obj_api {
    uint32_t size, _pad;
    void (*enter)(void *self); /* used by the wrappers that call along a link */
    void (*leave)(void *self);
    /* [locked, from attach] The child_props block of DEV, for the bus OBJ. NULL: not a child. */
    void *(*child)(mobo_obj_t *obj, mobo_obj_t *dev);
    void *(*self)(mobo_obj_t *obj); /* [any] the instance behind an object */
} mobo_obj_api_t;

struct mobo_host {
    uint32_t size, abi_minor;
    const char *version; /* of the monitor, for messages */
    const mobo_log_api_t *log;
    const mobo_mem_api_t *mem;
    const mobo_time_api_t *time;
    const mobo_task_api_t *task;
    const mobo_irq_api_t *irq;
    const mobo_vm_api_t *vm;
    const mobo_fw_api_t *fw;
    const mobo_obj_api_t *obj;
    const void *(*query)(const char *id); /* [any] areas of later releases, "mobo.host.x/1" */
};

/* What the first word of every instance points to. The core's private part follows. */
struct mobo_obj {
    const mobo_host_t *host;
    const char *name; /* the section's name */
};

/* ---- the functions authors use ----------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static inline void mobo_log(mobo_obj_t *obj, uint32_t level,
                                                                  const char *format, ...)
{
    char text[512];
    if (!obj->host->log->shown(obj, level))
        return;
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    obj->host->log->log(obj, level, text);
}

/* [any] Report why the object cannot start, and return code: `return mobo_fail_code(...)`. */
__attribute__((format(printf, 3, 4))) static inline int mobo_fail_code(mobo_obj_t *obj, int code,
                                                                       const char *format, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    return obj->host->log->fail(obj, code, text);
}
#define mobo_fail(obj, ...) mobo_fail_code((obj), MOBO_EINVAL, __VA_ARGS__)

static inline int mobo_dma_read(mobo_obj_t *obj, uint64_t gpa, void *buf, uint64_t len)
{
    return obj->host->mem->read(obj, gpa, buf, len);
}

static inline int mobo_dma_write(mobo_obj_t *obj, uint64_t gpa, const void *buf, uint64_t len)
{
    return obj->host->mem->write(obj, gpa, buf, len);
}

static inline int mobo_dma_load(mobo_obj_t *obj, uint64_t gpa, uint32_t bytes, uint64_t *val)
{
    return obj->host->mem->load(obj, gpa, bytes, val);
}

static inline int mobo_dma_store(mobo_obj_t *obj, uint64_t gpa, uint32_t bytes, uint64_t val)
{
    return obj->host->mem->store(obj, gpa, bytes, val);
}

static inline int mobo_dma_map(mobo_obj_t *obj, uint64_t gpa, uint64_t len, uint32_t for_write,
                               void **host, uint64_t *got)
{
    return obj->host->mem->map(obj, gpa, len, for_write, host, got);
}

static inline void mobo_dma_unmap(mobo_obj_t *obj, void *host, uint64_t len, uint64_t written)
{
    obj->host->mem->unmap(obj, host, len, written);
}

static inline int mobo_region_add(mobo_obj_t *owner, const mobo_place_t *place, uint32_t *handle)
{
    return owner->host->mem->region_add(owner, place, handle);
}

static inline uint64_t mobo_now(mobo_obj_t *obj, uint32_t clock)
{
    return obj->host->time->now(obj, clock);
}

static inline int mobo_timer_new(mobo_obj_t *obj, void (*fn)(void *self), mobo_timer_t **timer)
{
    return obj->host->time->timer_new(obj, fn, timer);
}

static inline void mobo_timer_set(mobo_obj_t *obj, mobo_timer_t *timer, uint64_t deadline)
{
    obj->host->time->timer_set(timer, deadline);
}

static inline void mobo_timer_cancel(mobo_obj_t *obj, mobo_timer_t *timer)
{
    obj->host->time->timer_cancel(timer);
}

static inline int mobo_post(mobo_obj_t *obj, void (*fn)(void *self, void *arg), void *arg)
{
    return obj->host->task->post(obj, fn, arg);
}

static inline int mobo_work(mobo_obj_t *obj, void (*fn)(void *arg),
                            void (*done)(void *self, void *arg), void *arg)
{
    return obj->host->task->work(obj, fn, done, arg);
}

static inline int mobo_fd_watch(mobo_obj_t *obj, int fd, uint32_t events,
                                void (*fn)(void *self, uint32_t events), mobo_watch_t **watch)
{
    return obj->host->task->fd_watch(obj, fd, events, fn, watch);
}

static inline void mobo_fd_update(mobo_obj_t *obj, mobo_watch_t *watch, uint32_t events)
{
    obj->host->task->fd_update(watch, events);
}

static inline void mobo_fd_drop(mobo_obj_t *obj, mobo_watch_t *watch)
{
    obj->host->task->fd_drop(watch);
}

/* [any] Level of one source; a source that is not connected swallows it. */
static inline void mobo_irq_set(mobo_irq_t irq, uint32_t level)
{
    if (irq.ops)
        irq.ops->set(irq.self, irq.line, level ? 1 : 0);
}

/* [any] An edge on an edge-triggered input. */
static inline void mobo_irq_pulse(mobo_irq_t irq)
{
    mobo_irq_set(irq, 1);
    mobo_irq_set(irq, 0);
}

static inline int mobo_wire(mobo_obj_t *obj, void *chip, uint32_t line, mobo_irq_t *irq)
{
    return obj->host->irq->wire(obj, chip, line, irq);
}

static inline int mobo_msi(mobo_obj_t *obj, uint64_t addr, uint32_t data)
{
    return obj->host->irq->msi(obj, addr, data);
}

static inline void mobo_vm_info(mobo_obj_t *obj, mobo_vm_info_t *info)
{
    memset(info, 0, sizeof *info);
    info->size = sizeof *info;
    obj->host->vm->info(obj, info);
}

static inline void mobo_vm_request(mobo_obj_t *obj, uint32_t what)
{
    obj->host->vm->request(obj, what);
}

/* The bracket around a call along a link; `self` is the link's. Takes the callee's lock. */
static inline const mobo_host_t *mobo_enter(void *self)
{
    const mobo_host_t *host = (*(mobo_obj_t **)self)->host;
    host->obj->enter(self);
    return host;
}

static inline void mobo_leave(const mobo_host_t *host, void *self)
{
    host->obj->leave(self);
}

static inline void *mobo_child(mobo_obj_t *bus, mobo_obj_t *dev)
{
    return bus->host->obj->child(bus, dev);
}

static inline void *mobo_self(mobo_obj_t *obj)
{
    return obj->host->obj->self(obj);
}

#endif
