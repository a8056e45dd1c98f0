/* simd.c: vector instructions: SSE2 integers, SSE and AVX2+FMA matrix products. */
#include "bench.h"
#include <immintrin.h>
#include <string.h>

enum { DIM = 64 };

struct matrices {
    _Alignas(64) float a[DIM][DIM], b[DIM][DIM], c[DIM][DIM];
};

static struct matrices *matrices(void)
{
    static struct matrices m;
    if (m.a[0][0] == 0) {
        for (int i = 0; i < DIM; i++) {
            for (int k = 0; k < DIM; k++) {
                m.a[i][k] = (float)(i * 3 + k + 1) / 64;
                m.b[i][k] = (float)(k * 5 - i) / 64;
            }
        }
    }
    return &m;
}

static uint64_t matrix_sum(const struct matrices *m)
{
    double sum = 0;
    for (int i = 0; i < DIM; i++)
        sum += (double)m->c[i][(i * 7) % DIM];
    uint64_t u;
    memcpy(&u, &sum, sizeof u);
    return u;
}

static uint64_t sse_integer(uint64_t n)
{
    _Alignas(16) static int16_t data[1024];
    if (!data[0]) {
        for (int i = 0; i < 1024; i++)
            data[i] = (int16_t)(i * 37 + 1);
    }
    __m128i sum = _mm_setzero_si128(), mix = _mm_set1_epi16(0x35);
    for (uint64_t r = 0; r < n; r++) {
        for (int i = 0; i < 1024; i += 8) {
            __m128i v = _mm_load_si128((const __m128i *)(const void *)(data + i));
            sum = _mm_add_epi32(sum, _mm_madd_epi16(v, mix));
            mix = _mm_xor_si128(mix, _mm_add_epi16(v, mix));
        }
    }
    _Alignas(16) uint64_t out[2];
    _mm_store_si128((__m128i *)(void *)out, _mm_xor_si128(sum, mix));
    return out[0] ^ out[1];
}

static uint64_t sse_matmul(uint64_t n)
{
    struct matrices *m = matrices();
    for (uint64_t r = 0; r < n; r++) {
        for (int i = 0; i < DIM; i++) {
            for (int j = 0; j < DIM; j += 4) {
                __m128 sum = _mm_setzero_ps();
                for (int k = 0; k < DIM; k++)
                    sum = _mm_add_ps(sum,
                                     _mm_mul_ps(_mm_set1_ps(m->a[i][k]), _mm_load_ps(&m->b[k][j])));
                _mm_store_ps(&m->c[i][j], sum);
            }
        }
        __asm__ volatile("" : : "r"(m) : "memory");
    }
    return matrix_sum(m);
}

__attribute__((target("avx2,fma"))) static uint64_t avx_matmul(uint64_t n)
{
    struct matrices *m = matrices();
    for (uint64_t r = 0; r < n; r++) {
        for (int i = 0; i < DIM; i++) {
            for (int j = 0; j < DIM; j += 16) {
                __m256 lo = _mm256_setzero_ps(), hi = _mm256_setzero_ps();
                for (int k = 0; k < DIM; k++) {
                    __m256 a = _mm256_set1_ps(m->a[i][k]);
                    lo = _mm256_fmadd_ps(a, _mm256_load_ps(&m->b[k][j]), lo);
                    hi = _mm256_fmadd_ps(a, _mm256_load_ps(&m->b[k][j + 8]), hi);
                }
                _mm256_store_ps(&m->c[i][j], lo);
                _mm256_store_ps(&m->c[i][j + 8], hi);
            }
        }
        __asm__ volatile("" : : "r"(m) : "memory");
    }
    return matrix_sum(m);
}

/* The compiler's test covers CPUID and what the system has enabled in XCR0. */
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const struct test simd_tests[] = {
    { .group = "fp", .name = "sse-integer", .run = sse_integer, .ops = 1 },
    { .group = "fp", .name = "sse-matmul", .run = sse_matmul, .ops = 1 },
    { .group = "fp", .name = "avx2-matmul", .run = avx_matmul, .ops = 1, .usable = has_avx2 },
    { .name = NULL },
};
