/*
 * gen.h: what gen.c and state.c share.
 */
#ifndef NATIVE1_GEN_H
#define NATIVE1_GEN_H

#include "enc.h"

#include <stddef.h>

/* Numbers near the places where arithmetic changes its mind. */
uint64_t rnd_value(struct rng *r);
/* A linear address for an access of len bytes: mostly good, sometimes one that faults. */
uint64_t pick_target(struct rng *r, const struct test_case *c, unsigned len);

#endif
