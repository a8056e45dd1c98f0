/*
 * mobo/accel.h: "mobo.accel/1", what runs guest code: accel-kvm, accel-hvf, accel-whpx, accel-soft.
 *
 * The accelerator owns the virtual CPUs, the second-level mappings and the interrupt controller next
 * to the CPU (local APICs on x86, the GIC on arm64). Exits are callbacks up, not a returned record:
 * a decoder in the middle of an instruction needs the answer at once, and a table of callbacks can
 * grow. Classes that provide this interface are MOBO_PARALLEL.
 */
#ifndef MOBO_ACCEL_H
#define MOBO_ACCEL_H

#include <mobo/base.h>

#define MOBO_ACCEL "mobo.accel/1"

/* Capabilities. */
enum {
    MOBO_ACCEL_DIRTY_LOG = 1, /* ram_dirty works */
    MOBO_ACCEL_DOORBELL = 2,  /* doorbell takes an event fd */
    MOBO_ACCEL_GIC = 4,       /* irq: wires end in the accelerator (arm64) */
};

enum {
    MOBO_MAP_READONLY = 1, /* guest writes leave through exits.mmio */
    MOBO_MAP_LOG = 2,      /* keep a dirty log */
};

/* Why a virtual CPU cannot go on by itself (exits.stop). */
enum {
    MOBO_STOP_TRIPLE_FAULT = 1,
    MOBO_STOP_FAIL = 2, /* the accelerator is at its end; message already logged */
    MOBO_STOP_RESET = 3,/* a CPU-side reset request */
};

/*
 * What the core answers. CTX goes back as it was given to run. All are called on the vCPU thread
 * with no lock of the accelerator held.
 */
typedef struct mobo_exits {
    uint32_t size, _pad;
    /* A guest access outside mapped memory; len 1..64, any alignment. Unclaimed reads give ones. */
    void (*mmio)(void *ctx, uint64_t gpa, void *data, uint32_t len, uint32_t write);
    /* IN and OUT; len 1, 2 or 4. */
    void (*pio)(void *ctx, uint32_t port, void *data, uint32_t len, uint32_t write);
    /* The CPU stops; run returns soon after. */
    void (*stop)(void *ctx, uint32_t why, uint64_t arg);
    int (*intack)(void *ctx);                   /* x86: vector of the 8259, negative: spurious */
    void (*eoi)(void *ctx, uint32_t vector);    /* x86: end of a level-triggered interrupt */
} mobo_exits_t;

typedef struct mobo_accel_ops {
    uint32_t size, _pad;
    uint64_t (*caps)(void *self); /* [any] MOBO_ACCEL_... */
    /*
     * Guest RAM [gpa, gpa + len) is at HOST from now on; page aligned. Called before vcpu_new and,
     * when the map changes, while virtual CPUs run: after return no CPU uses the old mapping.
     */
    int (*ram_map)(void *self, uint64_t gpa, void *host, uint64_t len, uint32_t flags);
    int (*ram_unmap)(void *self, uint64_t gpa, uint64_t len);
    /* [any] The monitor (DMA) wrote guest RAM: translated code there is stale. May be NULL. */
    void (*ram_written)(void *self, uint64_t gpa, uint64_t len);
    int (*ram_dirty)(void *self, uint64_t gpa, uint64_t len, uint64_t *bitmap); /* and clear */
    /* Before the first run, once for each index from 0 on. Freed by the class's fini. */
    int (*vcpu_new)(void *self, uint32_t index, void **vcpu);
    /* [vcpu thread or stopped] Power-on state: index 0 at the reset vector, others wait for SIPI. */
    void (*vcpu_reset)(void *vcpu);
    /* [vcpu thread] Run until kicked (0) or stopped (0, after exits.stop), or a negative error. */
    int (*run)(void *vcpu, const mobo_exits_t *up, void *ctx);
    void (*kick)(void *vcpu); /* [any] run returns soon; a kick before run makes it return at once */
    /* [stopped] Register blocks of mobo/arch/..., frozen formats. MOBO_ENOTSUP: unknown block. */
    int (*get)(void *vcpu, uint32_t block, void *buf, uint32_t len);
    int (*set)(void *vcpu, uint32_t block, const void *buf, uint32_t len);
    int (*msi)(void *self, uint64_t addr, uint32_t data, uint32_t requester); /* [any] */
    void (*extint)(void *self, uint32_t level);                               /* [any] x86 */
    int (*nmi)(void *self, uint32_t index);                                   /* [any] */
    int (*irq)(void *self, uint32_t line, uint32_t level);                    /* [any] GIC */
    /* Stores of LEN bytes (VALUE, or any) at ADDR in SPACE signal FD instead of leaving. */
    int (*doorbell)(void *self, uint32_t space, uint64_t addr, uint32_t len, uint64_t value,
                    uint32_t any_value, int fd, uint32_t add);
    /* [any] Text figures for `mobo run --stats`; returns bytes put into buf. May be NULL. */
    uint32_t (*stats)(void *self, char *buf, uint32_t len);
} mobo_accel_ops_t;

typedef struct mobo_accel {
    const mobo_accel_ops_t *ops;
    void *self;
} mobo_accel_t;

#endif
