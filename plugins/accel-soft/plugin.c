/*
 * plugin.c: the plugin accel-soft and its one class: properties and interfaces.
 */
#include "soft.h"

#include <mobo/plugin.h>

static const mobo_prop_t props[] = {
    { .name = "cpu",
      .type = MOBO_T_STR,
      .offset = offsetof(struct soft, cpu_prop),
      .def = "max",
      .min = 1,
      .max = 1000,
      .doc = "CPU model (x86-64, x86-64-v2, x86-64-v3, max), then ,+feature or ,-feature" },
    { .name = "vendor",
      .type = MOBO_T_ENUM,
      .offset = offsetof(struct soft, vendor_prop),
      .def = "host",
      .arg = "host|intel|amd",
      .doc = "maker that CPUID names and whose behaviour the CPU follows" },
    { .name = "engine",
      .type = MOBO_T_ENUM,
      .offset = offsetof(struct soft, engine_prop),
      .def = "auto",
      .arg = "auto|interp|rw",
      .doc = "what executes guest code: an interpreter, or a rewriter for 64-bit code; auto: the "
             "rewriter where the host lets it" },
    { .name = "perf-map",
      .type = MOBO_T_BOOL,
      .offset = offsetof(struct soft, perf_map_prop),
      .def = "no",
      .doc = "write /tmp/perf-PID.map, by which perf names rewritten code" },
    { .name = "mirror",
      .type = MOBO_T_ENUM,
      .offset = offsetof(struct soft, mirror_prop),
      .def = "off",
      .arg = "off|auto",
      .doc = "map the memory of programs that compute a lot at its own addresses in this process, "
             "where rewritten code reaches it faster" },
    { .name = "lockstep",
      .type = MOBO_T_ENUM,
      .offset = offsetof(struct soft, lockstep_prop),
      .def = "off",
      .arg = "off|block|insn",
      .doc = "run rewritten code beside the interpreter, a block or an instruction at a time, and "
             "stop at the first difference (very slow)" },
    { .name = "lockstep-insns",
      .type = MOBO_T_U64,
      .offset = offsetof(struct soft, lockstep_insns_prop),
      .def = "0",
      .doc = "lockstep = block: compare so many single instructions first" },
    { .name = "trace",
      .type = MOBO_T_ENUM,
      .offset = offsetof(struct soft, trace_prop),
      .def = "none",
      .arg = "none|int|exec",
      .doc = "print interrupts and exceptions, or each instruction too (very slow)" },
    { .name = "trace-file",
      .type = MOBO_T_STR,
      .offset = offsetof(struct soft, trace_file_prop),
      .def = "",
      .max = 4000,
      .doc = "file the trace goes to; empty: standard error" },
    MOBO_END,
};

/* vCPU state is saved through the register blocks of mobo/arch/x86.h, not as fields. */
static const mobo_field_t state[] = { MOBO_END };

static const mobo_iface_t provides[] = { { MOBO_ACCEL, &soft_accel_ops }, { NULL, NULL } };

static const mobo_class_t soft_class = {
    MOBO_CLASS(struct soft, props, state),
    .flags = MOBO_PARALLEL,
    .name = "soft",
    .summary = "software CPU: x86-64 without hardware virtualization",
    .provides = provides,
    .init = soft_init,
    .fini = soft_fini,
};

MOBO_PLUGIN("accel-soft", "0.1", "MIT", &soft_class)
