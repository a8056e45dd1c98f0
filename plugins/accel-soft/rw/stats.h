/*
 * stats.h: figures about the rewriter, and names of its code for perf.
 */
#ifndef SOFT_RW_STATS_H
#define SOFT_RW_STATS_H

#include "rw.h"

/* Lines of text, each with a newline; returns how much of BUF is used. Any thread. */
uint32_t rw_stats_text(const struct vcpu *cpu, char *buf, uint32_t len);
/* /tmp/perf-PID.map: perf shows guest addresses for rewritten code. 0 or an errno. */
int rw_perf_open(struct rw *rw, bool first);
void rw_perf_close(struct rw *rw);
/* Not with vectors live: stdio. */
void rw_perf_block(const struct rw *rw, const struct rw_block *b);
/* The interpreter executes the instruction at OFF of the block: one in RW_STATS_EVERY is looked at. */
void rw_stats_slow(struct vcpu *cpu, const struct rw_block *b, unsigned off);

enum { RW_STATS_EVERY = 64 };

#endif
