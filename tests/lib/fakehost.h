/*
 * fakehost.h: a monitor for tests of one device at a time. It implements every table of mobo/host.h
 * in one thread: the test makes guest accesses, steps the clock and runs posted work by hand, and
 * reads back what came out (interrupt levels, messages, requests, descriptions, log lines).
 *
 * It checks the threading rule where one thread can: entering an object that is already entered is
 * a deadlock in the real monitor and ends the test here. It is no model of speed or of races.
 */
#ifndef FAKEHOST_H
#define FAKEHOST_H

#include <mobo/bus.h>
#include <mobo/char.h>
#include <mobo/class.h>
#include <mobo/firmware.h>
#include <mobo/host.h>

#include <stdbool.h>

struct fake;

/* RAM from 0 on, RAM_LEN bytes; VCPUS is what mobo_vm_info answers. */
struct fake *fake_new(uint64_t ram_len, uint32_t vcpus);
void fake_free(struct fake *f); /* fini of all objects, last one first */

/* ---- objects --------------------------------------------------------------------------------- */

/* Open FOLDER/NAME.so and return its class table; ends the test if that does not work. */
const mobo_class_t *fake_class(const char *path, const char *class_name);

/*
 * Build an object and call its init. SETTINGS are "key=value" strings ended by NULL (or NULL
 * itself); keys of the class and of its bus, INI syntax, links by object name. Unset ones take
 * their defaults; a link without one takes the only provider. Returns the instance, or NULL when
 * init refused (fake_failure() has the message). A bad setting ends the test.
 */
void *fake_add(struct fake *f, const char *name, const mobo_class_t *c,
               const char *const *settings);
#define fake_add_(f, name, c, ...)                                                                 \
    fake_add((f), (name), (c), (const char *const[]){ __VA_ARGS__, NULL })
void fake_reset(struct fake *f);            /* reset of all objects, in the order they were added */
mobo_obj_t *fake_obj(struct fake *f, const char *name);
void *fake_self(struct fake *f, const char *name); /* NULL: no such object */
const void *fake_iface(struct fake *f, const char *name, const char *id);

/* Copy the state table's fields out of one instance, into another of the same class; `loaded`. */
uint32_t fake_state_len(const mobo_class_t *c);
void fake_save(struct fake *f, const char *name, void *buf);
int fake_load(struct fake *f, const char *name, const void *buf);

/* ---- guest accesses -------------------------------------------------------------------------- */

uint64_t fake_in(struct fake *f, uint32_t port, unsigned bytes);
void fake_out(struct fake *f, uint32_t port, uint64_t val, unsigned bytes);
uint64_t fake_read(struct fake *f, uint64_t gpa, unsigned bytes); /* registers, or RAM */
void fake_write(struct fake *f, uint64_t gpa, uint64_t val, unsigned bytes);
/* Base of the REGION_INDEX-th region of an object, and its space; there must be one. */
uint64_t fake_region(struct fake *f, const char *name, unsigned region_index, uint32_t *space);
uint8_t *fake_ram(struct fake *f);
uint64_t fake_ram_len(struct fake *f);
uint32_t fake_maps(struct fake *f); /* mobo_dma_map borrows not given back */
uint64_t fake_mapped_writes(struct fake *f); /* bytes that mobo_dma_unmap was told of, in all */

/* ---- time, tasks ----------------------------------------------------------------------------- */

uint64_t fake_now(struct fake *f);
void fake_step(struct fake *f, uint64_t ns); /* advance MOBO_CLOCK_VM, firing timers on the way */
void fake_set_real(struct fake *f, uint64_t ns); /* what MOBO_CLOCK_REAL says at VM time 0 */
uint64_t fake_deadline(struct fake *f);      /* of the earliest timer, UINT64_MAX: none is set */
unsigned fake_bells(struct fake *f); /* doorbells that were rung, and nothing else; count */
unsigned fake_run(struct fake *f); /* posts, works and doorbells until none is left; count */
unsigned fake_poll(struct fake *f, int timeout_ms); /* one poll(2) over the watched files */

/* ---- interrupts ------------------------------------------------------------------------------ */

/* An object "mobo.irqchip/1" that only records; GSI = line. */
void *fake_chip(struct fake *f, const char *name, uint32_t lines);
/* Level of the wire at LINE of a chip (fake or a real object), and its rising edges so far. */
uint32_t fake_level(struct fake *f, const char *chip, uint32_t line);
uint32_t fake_edges(struct fake *f, const char *chip, uint32_t line);
/* A source of the test's own on a wire. */
mobo_irq_t fake_wire(struct fake *f, const char *chip, uint32_t line);

struct fake_msi {
    mobo_obj_t *from;
    uint64_t addr;
    uint32_t data;
};
uint32_t fake_msi_count(struct fake *f);
struct fake_msi fake_msi_at(struct fake *f, uint32_t index); /* the last 256 are kept */
void fake_msi_clear(struct fake *f);
uint32_t fake_extint(struct fake *f); /* level of INTR */
int fake_intack(struct fake *f);
void fake_eoi(struct fake *f, uint32_t vector);

/* ---- machine, firmware, log ------------------------------------------------------------------ */

uint32_t fake_requests(struct fake *f, uint32_t what); /* how often MOBO_VM_... was asked for */
/* The block vcpu_set stored, or NULL. */
const void *fake_vcpu_block(struct fake *f, uint32_t index, uint32_t block, uint32_t *len);
const mobo_fw_device_t *fake_fw(struct fake *f, uint32_t index);
int fake_fw_add(struct fake *f, const mobo_fw_device_t *dev);
const char *fake_failure(struct fake *f); /* text of the last mobo_fail, "" before the first */
const char *fake_last_log(struct fake *f, uint32_t level); /* last line of that level, "" if none */
uint32_t fake_log_count(struct fake *f, uint32_t level);

/* ---- a character backend --------------------------------------------------------------------- */

/* An object "mobo.char/1". Output piles up while there is ROOM; input is what the test types. */
void *fake_char(struct fake *f, const char *name);
/* Room for so many more bytes; WRITABLE if a write was short before. */
void fake_char_room(struct fake *f, const char *name, uint32_t room);
void fake_char_type(struct fake *f, const char *name, const void *bytes, uint32_t len);
uint32_t fake_char_take(struct fake *f, const char *name, void *buf, uint32_t len); /* the output */
void fake_char_winsize(struct fake *f, const char *name, uint32_t cols, uint32_t rows);
void fake_char_event(struct fake *f, const char *name, uint32_t events);

#endif
