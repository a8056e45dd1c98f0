/* fp.c: scalar floating point: SSE2 doubles, the mathematics library, x87. */
#include "bench.h"
#include <math.h>
#include <string.h>

static uint64_t bits(double d)
{
    uint64_t u;
    memcpy(&u, &d, sizeof u);
    return u;
}

static uint64_t mandelbrot(uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t r = 0; r < n; r++) {
        for (int py = 0; py < 48; py++) {
            for (int px = 0; px < 64; px++) {
                double x0 = px * (3.0 / 64) - 2, y0 = py * (2.0 / 48) - 1, x = 0, y = 0;
                int i = 0;
                for (; i < 100 && x * x + y * y < 4; i++) {
                    double t = x * x - y * y + x0;
                    y = 2 * x * y + y0;
                    x = t;
                }
                sum += (uint64_t)i;
            }
        }
    }
    return sum;
}

/* The library picks its code by the CPU, so the last bits may differ: check fewer. */
static uint64_t libm(uint64_t n)
{
    double sum = 0;
    for (uint64_t i = 0; i < n * 1000; i++) {
        double x = (double)(i % 1000) * 0.01 + 0.1;
        sum += sin(x) + cos(x) + exp(-x) + sqrt(x);
    }
    return (uint64_t)(sum / (double)n * 1000);
}

static uint64_t x87(uint64_t n)
{
    volatile long double half = 0.5L;
    long double x = 1.5L, a = half;
    for (uint64_t i = 0; i < n * 1000; i++) {
        x = x * a + 1.25L;
        x = x - a / (x + 1);
        __asm__("fsqrt" : "+t"(x));
    }
    return bits((double)x);
}

/* After the Whetstone benchmark of Curnow and Wichmann, 1976: array elements, a procedure with
 * pointer arguments, trigonometric and standard functions; the weights are not theirs. */
__attribute__((noinline)) static void elements(double *e, double t)
{
    for (int i = 0; i < 6; i++) {
        e[0] = (e[0] + e[1] + e[2] - e[3]) * t;
        e[1] = (e[0] + e[1] - e[2] + e[3]) * t;
        e[2] = (e[0] - e[1] + e[2] + e[3]) * t;
        e[3] = (-e[0] + e[1] + e[2] + e[3]) / 2.0000001;
    }
}

__attribute__((noinline)) static void procedure(double x, double y, double *z)
{
    double p = 0.499975 * (x + y), q = 0.499975 * (p + y);
    *z = (p + q) / 2.0;
}

static uint64_t whetstone(uint64_t n)
{
    double total = 0;
    for (uint64_t r = 0; r < n; r++) {
        double e[4] = { 1, -1, -1, -1 }, x = 0.5, y = 0.5, z = 1;
        for (int i = 0; i < 14; i++)
            elements(e, 0.499975);
        for (int i = 0; i < 32; i++) {
            x = 0.499975 * atan(2 * sin(x) * cos(x) / (cos(x + y) + cos(x - y) - 1));
            y = 0.499975 * atan(2 * sin(y) * cos(y) / (cos(x + y) + cos(x - y) - 1));
        }
        for (int i = 0; i < 900; i++)
            procedure(x + i, y, &z);
        x = 0.75;
        for (int i = 0; i < 93; i++)
            x = sqrt(exp(log(x) / 0.50025));
        total += e[3] + z + x;
    }
    return (uint64_t)(total / (double)n * 1000);
}

const struct test fp_tests[] = {
    { .group = "fp", .name = "mandelbrot", .run = mandelbrot, .ops = 1 },
    { .group = "fp", .name = "libm", .run = libm, .ops = 1000 },
    { .group = "fp", .name = "x87", .run = x87, .ops = 1000 },
    { .group = "fp", .name = "whetstone", .run = whetstone, .ops = 1 },
    { .name = NULL },
};
