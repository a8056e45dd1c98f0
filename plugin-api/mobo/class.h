/*
 * mobo/class.h: what a plugin says about itself: its entry point, its classes, and for each class
 * the properties (INI keys), the state (what a snapshot holds) and the interfaces it provides.
 *
 * All tables are constant data. The core reads min(size, its own) bytes of each, and walks arrays
 * with the stride the plugin was compiled with, so that both sides may grow (ABI.md, "Growing").
 */
#ifndef MOBO_CLASS_H
#define MOBO_CLASS_H

#include <mobo/base.h>

/* ---- properties ------------------------------------------------------------------------------ */

/* Property types. The C type of the member each one fills stands behind it. */
enum {
    MOBO_T_NONE = 0,
    MOBO_T_U32 = 1,  /* uint32_t; decimal or 0x... ; min and max inclusive (0, 0: whole range) */
    MOBO_T_U64 = 2,  /* uint64_t; likewise */
    MOBO_T_BOOL = 3, /* uint32_t 0 or 1; yes|no|on|off|true|false */
    MOBO_T_SIZE = 4, /* uint64_t bytes; a number with K, M, G or T (powers of 1024) behind it */
    MOBO_T_STR = 5,  /* const char *, never NULL, lives as long as the object; min/max: length */
    MOBO_T_ENUM = 6, /* uint32_t index into the words of `arg`, which are separated by | */
    MOBO_T_LINK = 7, /* a typed link {ops, self}; `arg` holds interface ids separated by | */
    MOBO_T_IRQ = 8,  /* mobo_irq_t; INI syntax CHIP:LINE, or LINE on the object's own bus */
    MOBO_T_PATH = 9, /* const char *, absolute; relative ones count from the INI file's folder */
    MOBO_T_MAC = 10, /* uint8_t[6]; xx:xx:xx:xx:xx:xx */
};

enum {
    MOBO_P_OPTIONAL = 1, /* a link or irq that may stay unset: ops is NULL then */
    MOBO_P_BUS = 2,      /* the link that names the bus: the bus's child_props are keys here too */
};

typedef struct mobo_prop {
    const char *name;     /* INI key: lower case, digits, dashes. Never renamed: add an alias */
    const char *doc;      /* one line for `mobo describe`; must not be empty */
    const char *def;      /* default in INI syntax; NULL: required (links: see below) */
    const char *arg;      /* MOBO_T_ENUM, MOBO_T_LINK: see the types */
    const char *alias_of; /* an old name of the property named here; gives a warning when used */
    uint32_t type, flags; /* MOBO_T_..., MOBO_P_... */
    uint32_t offset, _pad;
    uint64_t min, max;
} mobo_prop_t;

/*
 * A link without a default is taken from the only object that provides the interface; none or two
 * such objects is an error that names them, unless MOBO_P_OPTIONAL. An optional link with the default
 * "" is connected only where the INI names an object. The last argument of each macro
 * is the doc text, optionally followed by more initialisers:
 *     MOBO_U32(struct blk, queues, "1", "request queues", .min = 1, .max = 64),
 */
#define MOBO_PROP_(T, member, t, d, ...)                                                           \
    { .name = #member, .type = (t), .offset = (uint32_t)offsetof(T, member), .def = (d),           \
      .doc = __VA_ARGS__ }
#define MOBO_U32(T, member, def, ...) MOBO_PROP_(T, member, MOBO_T_U32, def, __VA_ARGS__)
#define MOBO_U64(T, member, def, ...) MOBO_PROP_(T, member, MOBO_T_U64, def, __VA_ARGS__)
#define MOBO_BOOL(T, member, def, ...) MOBO_PROP_(T, member, MOBO_T_BOOL, def, __VA_ARGS__)
#define MOBO_SIZE(T, member, def, ...) MOBO_PROP_(T, member, MOBO_T_SIZE, def, __VA_ARGS__)
#define MOBO_STR(T, member, def, ...) MOBO_PROP_(T, member, MOBO_T_STR, def, __VA_ARGS__)
#define MOBO_PATH(T, member, def, ...) MOBO_PROP_(T, member, MOBO_T_PATH, def, __VA_ARGS__)
#define MOBO_MAC(T, member, def, ...) MOBO_PROP_(T, member, MOBO_T_MAC, def, __VA_ARGS__)
#define MOBO_ENUM(T, member, d, words, ...)                                                        \
    { .name = #member, .type = MOBO_T_ENUM, .offset = (uint32_t)offsetof(T, member), .def = (d),   \
      .arg = (words), .doc = __VA_ARGS__ }
#define MOBO_LINK(T, member, ids, ...)                                                             \
    { .name = #member, .type = MOBO_T_LINK, .offset = (uint32_t)offsetof(T, member), .arg = (ids), \
      .doc = __VA_ARGS__ }
#define MOBO_BUS(T, member, ids, ...) MOBO_LINK(T, member, ids, __VA_ARGS__, .flags = MOBO_P_BUS)
#define MOBO_LINK_OPT(T, member, ids, ...)                                                         \
    MOBO_LINK(T, member, ids, __VA_ARGS__, .flags = MOBO_P_OPTIONAL)
#define MOBO_IRQ(T, member, ...)                                                                   \
    { .name = #member, .type = MOBO_T_IRQ, .offset = (uint32_t)offsetof(T, member),                \
      .flags = MOBO_P_OPTIONAL, .doc = __VA_ARGS__ }
/* Keys that are no C identifiers: MOBO_NAMED(T, on_reset, "on-reset", MOBO_T_U32, "1", "doc") */
#define MOBO_NAMED(T, member, key, t, d, ...)                                                      \
    { .name = (key), .type = (t), .offset = (uint32_t)offsetof(T, member), .def = (d),             \
      .doc = __VA_ARGS__ }

/* ---- state ----------------------------------------------------------------------------------- */

enum {
    MOBO_F_NONE = 0,
    MOBO_F_UINT = 1,  /* unsigned integers of `width` bytes: 1, 2, 4 or 8 */
    MOBO_F_BYTES = 2, /* raw bytes */
};

/* One named field of the instance that a snapshot holds, little-endian, `count` elements. */
typedef struct mobo_field {
    const char *name;
    uint32_t type;   /* MOBO_F_... */
    uint32_t offset; /* into the instance */
    uint32_t width;  /* bytes of one element */
    uint32_t count;  /* elements; arrays have a fixed count, which bounds what a file may say */
    uint32_t since;  /* state_version that brought the field; 0 and 1: always there */
    uint32_t flags;
} mobo_field_t;

/* A scalar, an array of integers, or a byte array member of T. */
#define MOBO_STATE_(T, member, ...)                                                                \
    { .name = #member, .type = MOBO_F_UINT, .offset = (uint32_t)offsetof(T, member),               \
      .width = (uint32_t)sizeof(((T *)0)->member), .count = 1, __VA_ARGS__ }
#define MOBO_STATE_ARRAY_(T, member, ...)                                                          \
    { .name = #member, .type = MOBO_F_UINT, .offset = (uint32_t)offsetof(T, member),               \
      .width = (uint32_t)sizeof(((T *)0)->member[0]),                                              \
      .count = (uint32_t)(sizeof(((T *)0)->member) / sizeof(((T *)0)->member[0])), __VA_ARGS__ }
/* A struct, or anything else whose bytes are already in a fixed layout. */
#define MOBO_STATE_BYTES_(T, member, ...)                                                          \
    { .name = #member, .type = MOBO_F_BYTES, .offset = (uint32_t)offsetof(T, member), .width = 1,  \
      .count = (uint32_t)sizeof(((T *)0)->member), __VA_ARGS__ }
/* MOBO_STATE(T, member), optionally followed by more initialisers: MOBO_STATE(T, x, .since = 2) */
#define MOBO_STATE(...) MOBO_STATE_(__VA_ARGS__, .flags = 0)
#define MOBO_STATE_ARRAY(...) MOBO_STATE_ARRAY_(__VA_ARGS__, .flags = 0)
#define MOBO_STATE_BYTES(...) MOBO_STATE_BYTES_(__VA_ARGS__, .flags = 0)

/* Ends a property or a state table. */
#define MOBO_END { .name = NULL }

/* ---- classes --------------------------------------------------------------------------------- */

/* An interface: an id such as "mobo.block/1" (or "com.example.thing/1") and its functions. */
typedef struct mobo_iface {
    const char *id;
    const void *ops; /* the struct that the interface's header declares; starts with its size */
} mobo_iface_t;

enum {
    /* Regions, doorbells and interfaces are called without the object's lock: the author locks. */
    MOBO_PARALLEL = 1,
};

typedef struct mobo_class {
    uint32_t size, flags;                /* sizeof(mobo_class_t); MOBO_PARALLEL */
    uint32_t instance_size, state_version; /* state_version counts from 1 */
    uint32_t prop_stride, field_stride;
    const char *name;                    /* INI: type = PLUGIN/NAME */
    const char *summary;                 /* one line for `mobo list` */
    const mobo_prop_t *props;            /* ends with MOBO_END; may be NULL */
    const mobo_field_t *state;           /* ends with MOBO_END; may be NULL */
    const mobo_iface_t *provides;        /* ends with {0}; may be NULL */
    int (*init)(void *self);             /* [locked] properties and links are set */
    void (*reset)(void *self);           /* [locked] power-on values; also before the first start */
    void (*fini)(void *self);            /* [locked] always called, even if init failed midway */
    int (*loaded)(void *self, uint32_t version); /* [locked] state is back: check it, re-derive */
    const mobo_prop_t *child_props;      /* buses: keys of the sections that sit on this bus; */
    uint32_t child_size, _pad;           /* offsets count from a block of child_size bytes that */
                                         /* mobo_child() returns to the bus */
} mobo_class_t;

/*
 * The head of every class. Refuses to compile unless the first member of T is `mobo_obj_t *obj`,
 * which the core fills in before init.
 */
#define MOBO_CLASS(T, props_table, state_table)                                                    \
    .size = sizeof(mobo_class_t),                                                                  \
    .instance_size = (uint32_t)sizeof(T) +                                                         \
                     0 * sizeof(char[offsetof(T, obj) == 0 ? 1 : -1]) +                            \
                     0 * sizeof(((T *)0)->obj->name),                                              \
    .state_version = 1, .prop_stride = sizeof(mobo_prop_t), .field_stride = sizeof(mobo_field_t),  \
    .props = (props_table), .state = (state_table)

/* ---- the plugin ------------------------------------------------------------------------------ */

typedef struct mobo_plugin {
    uint32_t size, abi_minor;     /* as the plugin was compiled */
    const char *name;             /* equal to the file name without its suffix */
    const char *version, *license;
    const mobo_class_t *const *classes; /* ends with NULL */
} mobo_plugin_t;

/* The only name a plugin exports. Pure: no side effects, the same answer each time. */
typedef const mobo_plugin_t *(*mobo_plugin_entry_t)(void);

#if defined(_WIN32)
#define MOBO_EXPORT __declspec(dllexport)
#else
#define MOBO_EXPORT __attribute__((visibility("default")))
#endif

#define MOBO_PLUGIN(plugin_name, plugin_version, plugin_license, ...)                              \
    MOBO_EXPORT const mobo_plugin_t *mobo_plugin_v1(void);                                         \
    const mobo_plugin_t *mobo_plugin_v1(void)                                                      \
    {                                                                                              \
        static const mobo_class_t *const classes[] = { __VA_ARGS__, NULL };                        \
        static const mobo_plugin_t plugin = {                                                      \
            .size = sizeof(mobo_plugin_t), .abi_minor = MOBO_ABI_MINOR, .name = (plugin_name),     \
            .version = (plugin_version), .license = (plugin_license), .classes = classes,          \
        };                                                                                         \
        return &plugin;                                                                            \
    }

#endif
