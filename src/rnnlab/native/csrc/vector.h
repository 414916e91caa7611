/* A vector of floats with the width of the machine's registers, and the operations that the kernels need.
 *
 * Each operation is exact or correctly rounded, and fused multiply-adds are explicit (contraction is off), so that
 * results do not depend on the width, the compiler or its options. */
#ifndef RNNLAB_VECTOR_H
#define RNNLAB_VECTOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <xmmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

/* Floats in a vector. A vector wider than the target's registers goes through the stack, 40 times slower. */
#if defined(__AVX512F__)
#define WIDTH 16
#elif defined(__AVX__)
#define WIDTH 8
#else
#define WIDTH 4
#endif

/* Units are padded to whole blocks of 16 floats on every machine, so that layouts and bits are the same. */
#define BLOCK 16

typedef float vec __attribute__((vector_size(4 * WIDTH)));
typedef float vec_unaligned __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int32_t vec_int __attribute__((vector_size(4 * WIDTH))); /* the type of comparisons */
typedef uint32_t vec_bits __attribute__((vector_size(4 * WIDTH)));

#define INLINE static inline __attribute__((always_inline))

/* for (int i = 0; i < n; i++), unrolled: n is a constant where it is used, and the body works on registers */
#define EACH(i, n) _Pragma("GCC unroll 16") for (int i = 0; i < (n); i++)

INLINE size_t padded(size_t n) { return (n + BLOCK - 1) / BLOCK * BLOCK; }

/* Floats from one row to the next. With a multiple of 512 bytes, all rows would share a few sets of the cache. */
INLINE size_t row_stride(size_t n) { return padded(n) % 128 ? padded(n) : padded(n) + BLOCK; }

INLINE vec load(const float *p) { return *(const vec_unaligned *)p; }
INLINE void store(float *p, vec v) { *(vec_unaligned *)p = v; }
INLINE vec splat(float x) { return x - (vec){0}; }

/* a * b + c, rounded once */
INLINE vec fma_(vec a, vec b, vec c) {
#if defined(__AVX512F__)
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX__) && defined(__FMA__)
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_NEON) && defined(__aarch64__)
    return (vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    vec out;
    for (int i = 0; i < WIDTH; i++) out[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return out;
#endif
}

/* where mask: a, else b; as one instruction, because compilers may otherwise compute a division twice */
INLINE vec pick(vec_int mask, vec a, vec b) {
#if defined(__AVX512F__)
    return (vec)_mm512_ternarylogic_epi32((__m512i)mask, (__m512i)a, (__m512i)b, 0xca);
#elif defined(__AVX__)
    return (vec)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)mask);
#else
    return (vec)((mask & (vec_int)a) | (~mask & (vec_int)b));
#endif
}

/* NaN stays NaN: comparisons with NaN are false, and then the instructions return their second operand. */
#if defined(__AVX512F__)
INLINE vec at_most(vec a, float limit) { return (vec)_mm512_min_ps((__m512)splat(limit), (__m512)a); }
INLINE vec at_least(vec a, float limit) { return (vec)_mm512_max_ps((__m512)splat(limit), (__m512)a); }
#elif defined(__AVX__)
INLINE vec at_most(vec a, float limit) { return (vec)_mm256_min_ps((__m256)splat(limit), (__m256)a); }
INLINE vec at_least(vec a, float limit) { return (vec)_mm256_max_ps((__m256)splat(limit), (__m256)a); }
#else
INLINE vec at_most(vec a, float limit) { return pick(a > splat(limit), splat(limit), a); }
INLINE vec at_least(vec a, float limit) { return pick(a < splat(limit), splat(limit), a); }
#endif

#endif
