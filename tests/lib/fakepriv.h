/* fakepriv.h: what the files of the fake host share. Tests do not include it. */
#ifndef FAKEPRIV_H
#define FAKEPRIV_H

#include "fakehost.h"

enum {
    FAKE_OBJECTS = 64,
    FAKE_REGIONS = 128,
    FAKE_TIMERS = 128,
    FAKE_TASKS = 4096,
    FAKE_WATCHES = 32,
    FAKE_BELLS = 64,
    FAKE_SOURCES = 512,
    FAKE_WIRES = 512,
    FAKE_MSIS = 256,
    FAKE_FW = 128,
    FAKE_RES = 64,
    FAKE_BLOCKS = 256,
    FAKE_RAMS = 32,
    FAKE_STRINGS = 1024,
};

struct fake_obj {
    mobo_obj_t pub; /* first: what plugins see */
    struct fake *f;
    const mobo_class_t *c;
    void *self;
    struct fake_obj *bus;
    void *child;
    unsigned held;
    char name[32];
};

struct fake_place {
    struct fake_obj *owner;
    mobo_place_t place;
    mobo_region_t region;
    bool used, enabled;
};

struct mobo_timer {
    struct fake_obj *owner;
    void (*fn)(void *self);
    uint64_t deadline;
    bool set;
};

struct mobo_watch {
    struct fake_obj *owner;
    void (*fn)(void *self, uint32_t events);
    int fd;
    uint32_t events;
    bool used;
};

struct fake_task {
    struct fake_obj *owner;
    void (*fn)(void *self, void *arg);
    void (*work)(void *arg);
    void *arg;
};

struct fake_bell {
    struct fake_obj *owner;
    uint32_t handle, len, any;
    uint64_t off, match;
    void (*fn)(void *self, void *arg);
    void *arg;
    bool pending;
};

struct fake_wire {
    struct fake_obj *chip;
    uint32_t line, level, edges, count; /* count: sources at level 1 */
};

struct fake_source {
    struct fake *f;
    struct fake_wire *wire;
    uint32_t level;
};

struct fake {
    struct fake_obj *objects[FAKE_OBJECTS];
    unsigned object_count;
    uint8_t *ram;
    uint64_t ram_len;
    uint32_t vcpus, maps;
    uint64_t mapped_writes;
    struct fake_place places[FAKE_REGIONS];
    unsigned place_count;
    void *rams[FAKE_RAMS];
    unsigned ram_count;
    uint64_t now, real;
    mobo_timer_t timers[FAKE_TIMERS];
    unsigned timer_count;
    struct fake_task tasks[FAKE_TASKS];
    unsigned task_head, task_tail;
    mobo_watch_t watches[FAKE_WATCHES];
    struct fake_bell bells[FAKE_BELLS];
    unsigned bell_count;
    struct fake_wire wires[FAKE_WIRES];
    unsigned wire_count;
    struct fake_source sources[FAKE_SOURCES];
    unsigned source_count;
    struct fake_msi msis[FAKE_MSIS];
    uint32_t msi_count;
    struct fake_obj *pic;
    int (*ack)(void *self);
    uint32_t extint;
    struct fake_obj *eoi_owner[8];
    void (*eoi[8])(void *self, uint32_t vector);
    unsigned eoi_count;
    uint32_t requests[8];
    mobo_fw_device_t fw[FAKE_FW];
    mobo_fw_res_t fw_res[FAKE_FW][8];
    uint32_t fw_count;
    mobo_mem_range_t reserved[FAKE_RES];
    uint32_t reserved_count;
    struct {
        uint32_t index, block, len;
        void *buf;
    } blocks[FAKE_BLOCKS];
    unsigned block_count;
    char *strings[FAKE_STRINGS];
    unsigned string_count;
    char failure[512], logs[8][512];
    uint32_t log_counts[8];
};

/* Ends the test: the test itself is wrong, or a device broke a rule of the ABI. */
__attribute__((noreturn, format(printf, 1, 2))) void fake_die(const char *format, ...);
int fake_fail(mobo_obj_t *obj, int code, const char *text); /* keeps the message; returns code */
struct fake_obj *fake_find(struct fake *f, const char *name);
struct fake_obj *fake_by_self(struct fake *f, const void *self);
char *fake_string(struct fake *f, const char *text);
void fake_enter(struct fake_obj *o);
void fake_leave(struct fake_obj *o);
int fake_source_new(struct fake_obj *chip, uint32_t line, mobo_irq_t *irq);
const void *fake_iface_of(const struct fake_obj *o, const char *id);
/* Properties: defaults and settings into the instance (and the child block of its bus). */
void fake_props(struct fake_obj *o, const char *const *settings);
struct fake_obj *fake_obj_new(struct fake *f, const char *name, const mobo_class_t *c);

static inline struct fake_obj *fake_of(mobo_obj_t *obj)
{
    return (struct fake_obj *)obj;
}

extern const mobo_mem_api_t fake_mem_api;
extern const mobo_irq_api_t fake_irq_api;
extern const mobo_vm_api_t fake_vm_api;
extern const mobo_fw_api_t fake_fw_api;
extern const mobo_host_t fake_host;

#endif
