/*
 * core.h: the types the parts of the core share. A machine is a list of objects in start order; an
 * object is a section of the INI file that has found its class.
 *
 * The front (ini, schema, loader, graph, commands) builds a struct machine and never touches a
 * guest. The back (memory map, wires, loops, vCPU threads, life cycle) runs it and never reads INI.
 */
#ifndef MOBO_CORE_H
#define MOBO_CORE_H

#include <mobo/accel.h>
#include <mobo/bus.h>
#include <mobo/class.h>
#include <mobo/firmware.h>
#include <mobo/host.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

/* Exit codes of `mobo`, documented in mobo(1). */
enum { EXIT_GUEST_OFF = 0, EXIT_OTHER = 1, EXIT_BAD_INPUT = 2, EXIT_GUEST_RESET = 3, EXIT_GUEST_CRASH = 4 };

/* ---- the INI file, with provenance (ini.c) ---------------------------------------------------- */

struct ini_pos {
    const char *file; /* as the user would find it again; "command line" for overrides */
    unsigned line;    /* from 1; 0: no line (overrides) */
};

struct ini_key {
    const char *name, *value;
    struct ini_pos pos;
    const char *dir;  /* folder that relative paths in this value count from */
    bool used;        /* a schema has claimed it */
};

struct ini_section {
    const char *name;    /* "disk0" */
    const char *variant; /* the part behind @ in [accel@accel-soft], or NULL */
    struct ini_pos pos;
    struct ini_key *keys;
    unsigned key_count;
};

struct ini {
    struct ini_section *sections; /* in order of appearance; a name and variant stands once */
    unsigned section_count;
};

/* ---- plugins and classes (loader.c) ----------------------------------------------------------- */

struct plugin {
    const char *name, *path;
    const mobo_plugin_t *desc;
};

/* A class, its table copied up to the core's own size so that members can be read without tests. */
struct klass {
    mobo_class_t c;
    const struct plugin *plugin;
    const char *type;           /* "PLUGIN/CLASS", or "PLUGIN" where the plugin has one class */
};

/* ---- objects ---------------------------------------------------------------------------------- */

struct machine;
struct loop;

struct candidate {
    const struct klass *klass;
    const struct ini_section *variant; /* [name@class], or NULL */
};

struct object {
    mobo_obj_t pub;              /* first: what plugins see */
    struct machine *machine;
    const struct ini_section *section;
    struct candidate *candidates; /* `type = a, b`: in the user's order */
    unsigned candidate_count;
    const struct klass *klass;   /* the candidate in use, from object_build on */
    void *self;                  /* instance memory */
    struct object *bus;          /* the object the MOBO_P_BUS link names, or NULL */
    void *child;                 /* the bus's child_props block */
    struct object **deps;        /* all objects this one links to */
    unsigned dep_count;
    const char *thread;          /* key `thread`: the loop's name, or NULL */

    /* the back's part */
    struct loop *loop;
    pthread_mutex_t lock;
    bool inited;
    struct object_runtime *rt;
};

enum huge_pages { HUGE_NO, HUGE_2M, HUGE_1G, HUGE_TRY };
enum on_reset { ON_RESET_RESET, ON_RESET_EXIT };
enum on_crash { ON_CRASH_EXIT, ON_CRASH_RESET, ON_CRASH_PAUSE };

/* Section [machine]; filled by the same property code that fills instances. */
struct machine_settings {
    mobo_obj_t *obj;
    uint64_t memory;       /* bytes, multiple of 4 KiB */
    uint64_t low_memory;   /* RAM below the 32-bit hole ends here; the rest starts at 4 GiB */
    uint32_t cpus;
    uint32_t arch;         /* index: 0 x86-64, 1 arm64 */
    uint32_t huge_pages, on_reset, on_crash;
};

struct machine {
    struct machine_settings set;
    struct ini *ini;
    struct object **objects; /* in start order: what an object links to comes before it */
    unsigned object_count;
    struct runtime *rt;
};

/* ---- the front's functions -------------------------------------------------------------------- */

/*
 * Read FILE and the overrides ("section.key=value"), load the plugins, check everything, sort. All
 * faults are printed. NULL: there were some (exit 2), and nothing was created.
 */
struct machine *machine_load(const char *file, char *const *overrides, unsigned override_count);
void machine_free(struct machine *m);

/*
 * Allocate the instance of OBJECT for candidate number N and fill in properties, links, irqs and the
 * child block. Called in start order right before init; a second call (the next alternative)
 * releases the first instance.
 */
int object_build(struct object *o, unsigned n);

/* Where to send the reader of TEXT, a failure of O: to the path it speaks of, or to the section. */
struct ini_pos object_place(const struct object *o, const char *text);

/* What the interface ID of an object is, or NULL. */
const void *object_iface(const struct object *o, const char *id);

/* ---- the back's functions --------------------------------------------------------------------- */

/* Start, run and end the machine; returns the exit code of the process. */
int machine_run(struct machine *m, bool print_stats);

/* The table every object's pub.host points to. */
extern const mobo_host_t host_services;

/* A new source of O on LINE of the chip object; for MOBO_IRQ properties (wire.c). */
int wire_source(struct object *o, struct object *chip, uint32_t line, mobo_irq_t *irq);

static inline struct object *object_of(mobo_obj_t *obj)
{
    return (struct object *)obj;
}

/* ---- log (log.c) ------------------------------------------------------------------------------ */

void log_set_level(unsigned level);
bool log_shown(unsigned level);
/* One line on standard error, "mobo: text". */
__attribute__((format(printf, 2, 3))) void log_line(unsigned level, const char *format, ...);
/* "FILE:LINE: [SECTION]: text" at MOBO_ERROR; section may be NULL. */
__attribute__((format(printf, 3, 4))) void log_at(struct ini_pos pos, const char *section,
                                                  const char *format, ...);

#endif
