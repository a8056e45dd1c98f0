/* bench.h: what the parts of the benchmark's guest program share. A test is a function that does
 * its operation n times; main.c finds n, measures and prints. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct test {
    const char *group;
    const char *name;
    uint64_t (*run)(uint64_t n); /* run(1) of a fresh process returns the same on every machine */
    double ops;           /* operations per n; the figure printed is nanoseconds per operation */
    bool (*usable)(void); /* NULL: on every x86-64 */
};

extern const struct test integer_tests[], fp_tests[], simd_tests[], os_tests[], memory_tests[],
    smp_tests[];

struct options {
    const char *groups; /* comma lists; NULL: all */
    const char *tests;
    double sample; /* seconds that one sample should take */
    unsigned samples;
    unsigned timeout; /* seconds; for each test */
    const char *dir;  /* where data, programs and helpers lie */
    bool list;
};

/* True if the test is to run. Where tests are only listed, prints it instead. */
bool chosen(const struct options *o, const char *group, const char *name);

/* Runs fn in a child with a time limit and prints why, if it gave no figure. */
void supervise(const struct options *o, const char *name,
               void (*fn)(const struct options *, const void *), const void *arg);

/* One figure. `check` is a sum over results that all machines must agree on, 0: none. */
void report(const char *name, double ns, uint64_t check);

double now(void);
void programs_run(const struct options *o);

/* A small generator, so that every machine works on the same numbers. */
static inline uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}
