/*
 * bad: one plugin source, wrong in as many ways as there are CASE_ macros. Built once for each way
 * as bad-CASE.so; without a macro it is right.
 */
#include <mobo/plugin.h>

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef NAME
#define NAME "bad-nothing"
#endif

struct thing {
    mobo_obj_t *obj;
    uint32_t value;
    uint32_t more;
};

#if defined(CASE_exits)
__attribute__((constructor)) static void at_load(void)
{
    exit(0);
}
#elif defined(CASE_exits3)
__attribute__((constructor)) static void at_load(void)
{
    _exit(3);
}
#elif defined(CASE_spins)
__attribute__((constructor)) static void at_load(void)
{
    for (;;)
        (void)sleep(1);
}
#elif defined(CASE_segfaults)
__attribute__((constructor)) static void at_load(void)
{
    (void)raise(SIGSEGV);
}
#elif defined(CASE_prints)
__attribute__((constructor)) static void at_load(void)
{
    (void)!write(2, "a\nb\n", 4);
    (void)raise(SIGABRT);
}
#elif defined(CASE_depends)
int gone(void);
#endif

static const mobo_prop_t props[] = {
#if defined(CASE_outside)
    { .name = "value", .type = MOBO_T_U64, .offset = sizeof(struct thing) - 4, .def = "0",
      .doc = "reaches out of the instance" },
#elif defined(CASE_far)
    { .name = "value", .type = MOBO_T_U32, .offset = 0xfffffffc, .def = "0", .doc = "far" },
#elif defined(CASE_odd)
    { .name = "value", .type = MOBO_T_U32, .offset = 9, .def = "0", .doc = "at an odd place" },
#elif defined(CASE_type)
    { .name = "value", .type = 77, .offset = 8, .def = "0", .doc = "of no known type" },
#elif defined(CASE_undocumented)
    MOBO_U32(struct thing, value, "0", ""),
#elif defined(CASE_default)
    MOBO_U32(struct thing, value, "9", "default out of range", .min = 1, .max = 8),
#elif defined(CASE_twice)
    MOBO_U32(struct thing, value, "0", "one"),
    MOBO_U32(struct thing, value, "0", "two"),
#elif defined(CASE_reserved)
    { .name = "type", .type = MOBO_T_U32, .offset = 8, .def = "0", .doc = "a reserved name" },
#elif defined(CASE_alias)
    { .name = "old", .alias_of = "older" },
#elif defined(CASE_words)
    { .name = "value", .type = MOBO_T_ENUM, .offset = 8, .def = "a", .doc = "without words" },
#else
    MOBO_U32(struct thing, value, "0", "a value"),
#endif
    MOBO_END,
};

static const mobo_field_t state[] = {
#if defined(CASE_field)
    { .name = "value", .type = MOBO_F_UINT, .offset = 8, .width = 4, .count = 0x40000000 },
#endif
    MOBO_STATE(struct thing, value),
    MOBO_END,
};

#if defined(CASE_iface)
static const mobo_iface_t provides[] = { { "mobo.block/1", NULL }, { 0 } };
#elif defined(CASE_id)
static const uint32_t ops[2] = { sizeof ops };
static const mobo_iface_t provides[] = { { "block", ops }, { 0 } };
#elif defined(CASE_callback)
static const mobo_irqchip_ops_t ops = { .size = sizeof ops };
static const mobo_iface_t provides[] = { { MOBO_IRQCHIP, &ops }, { 0 } };
#else
static const mobo_iface_t provides[] = { { 0 } };
#endif

static const mobo_class_t thing = {
    MOBO_CLASS(struct thing, props, state),
    .provides = provides,
#if !defined(CASE_unnamed)
    .name = "thing",
#endif
#if !defined(CASE_summary)
    .summary = "a thing",
#endif
};

static const mobo_class_t *one(void)
{
#if defined(CASE_short_class) || defined(CASE_instance) || defined(CASE_stride)
    static mobo_class_t broken;
    broken = thing;
#if defined(CASE_short_class)
    broken.size--;
#elif defined(CASE_instance)
    broken.instance_size = 0;
#else
    broken.prop_stride = 8;
#endif
    return &broken;
#else
    return &thing;
#endif
}

#if defined(CASE_abi3)
#define ENTRY mobo_plugin_v3
#elif defined(CASE_symbol)
#define ENTRY mobo_plugin_va
#else
#define ENTRY mobo_plugin_v1
#endif

MOBO_EXPORT const mobo_plugin_t *ENTRY(void);
const mobo_plugin_t *ENTRY(void)
{
    static const mobo_class_t *classes[3];
    static mobo_plugin_t plugin = {
        .size = sizeof plugin, .name = NAME, .version = "1.0", .license = "MIT",
        .classes = classes,
    };
    classes[0] = one();
#if defined(CASE_classes)
    classes[1] = &thing;
#elif defined(CASE_none)
    classes[0] = NULL;
#elif defined(CASE_short)
    plugin.size = sizeof plugin - 1;
#elif defined(CASE_name)
    plugin.name = "other";
#elif defined(CASE_null_name)
    plugin.name = NULL;
#elif defined(CASE_wild)
    plugin.name = (const char *)16;
#elif defined(CASE_license)
    plugin.license = NULL;
#elif defined(CASE_depends)
    plugin.abi_minor = (uint32_t)gone();
#elif defined(CASE_null)
    return NULL;
#elif defined(CASE_impure)
    static mobo_plugin_t second;
    static int calls;
    return calls++ ? &second : &plugin;
#endif
    return &plugin;
}
