/*
 * plugin.c: the plugin accel-kvm and its one class: properties and interfaces.
 */
#include "kvm.h"

#include <mobo/plugin.h>

static const mobo_prop_t props[] = {
    { .name = "cpu",
      .type = MOBO_T_ENUM,
      .offset = offsetof(struct kvm, cpu_prop),
      .def = "host",
      .arg = "host",
      .doc = "CPU model: what the host's KVM offers" },
    { .name = "slow",
      .type = MOBO_T_ENUM,
      .offset = offsetof(struct kvm, slow_prop),
      .def = "refuse",
      .arg = "refuse|ok",
      .doc = "a /dev/kvm that only emulates instructions: refuse it, or use it all the same" },
    MOBO_END,
};

/* vCPU state is saved through the register blocks of mobo/arch/x86.h, not as fields. */
static const mobo_field_t state[] = { MOBO_END };

static const mobo_iface_t provides[] = { { MOBO_ACCEL, &kvm_accel_ops }, { NULL, NULL } };

static const mobo_class_t kvm_class = {
    MOBO_CLASS(struct kvm, props, state),
    .flags = MOBO_PARALLEL,
    .name = "kvm",
    .summary = "the host's CPU through Linux KVM (x86-64)",
    .provides = provides,
    .init = kvm_init,
    .fini = kvm_fini,
};

MOBO_PLUGIN("accel-kvm", "0.1", "MIT", &kvm_class)
