/* tanh, sigmoid and exp of vectors: within 3 ulp of the true value wherever it is a normal float
 * (tests/native/test_activations.py measures it). */
#ifndef RNNLAB_ACTIVATIONS_H
#define RNNLAB_ACTIVATIONS_H

#include <math.h>

#include "vector.h"

/* exp(2x) = 2^n (1 + 2p), |x| < 44: returns p, and 2^n in `scale`.
 *
 * 2x = n ln 2 + 2r with |2r| <= ln(2) / 2, and p is a minimax fit of (exp(2r) - 1) / 2 with a relative error of at most
 * 1.4e-8. The two parts are returned separately, so that a caller can subtract without losing digits. NaN stays NaN. */
INLINE vec exp_parts(vec x, float limit, vec *scale) {
    const float round_magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    x = at_least(at_most(x, limit), -limit);
    vec shifted = fma_(x, splat(2.88539008f), splat(round_magic)); /* n = round(2x / ln 2) */
    vec n = shifted - round_magic;
    vec r = fma_(n, splat(-0.346573591f), x); /* ln(2) / 2 in two parts */
    r = fma_(n, splat(9.52331e-10f), r);
    vec p = fma_(splat(0.0444236665f), r, splat(0.133874894f));
    p = fma_(p, r, splat(0.33333777f));
    p = fma_(p, r, splat(0.666661547f));
    p = fma_(p, r, splat(0.999999961f));
    *scale = (vec)(((vec_bits)shifted << 23) + 0x3f800000);
    return fma_(p, r * r, r);
}

/* (exp(2x) - 1) / 2, with a small relative error also near 0 */
INLINE vec half_expm1(vec x, float limit) {
    vec scale, p = exp_parts(x, limit, &scale);
    return fma_(scale, p, fma_(scale, splat(0.5f), splat(-0.5f)));
}

/* tanh x = e / (e + 1), e = (exp(2x) - 1) / 2; never above 1 */
INLINE vec vec_tanh(vec x) {
    vec e = half_expm1(x, 9.02f);
    return e / (e + 1.0f);
}

/* 1 / (1 + exp(-x)) = 0.5 / (e + 1), e = (exp(-x) - 1) / 2; accurate in both tails, and 0 where the true value would be
 * subnormal, so that the gradient s (1 - s) is 0 at both ends */
INLINE vec vec_sigmoid(vec x) {
    const vec half = pick(x < splat(-87.33f), splat(0.0f), splat(0.5f)); /* so that the compiler divides once */
    return half / (half_expm1(x * -0.5f, 43.67f) + 1.0f);
}

/* exp x for |x| <= 87; beyond, the value at 87 or -87 */
INLINE vec vec_exp(vec x) {
    vec scale, p = exp_parts(x * 0.5f, 43.5f, &scale);
    return scale * fma_(p, splat(2.0f), splat(1.0f));
}

/* as torch's relu: NaN stays NaN */
INLINE vec vec_relu(vec x) { return pick(x < splat(0.0f), splat(0.0f), x); }
INLINE vec vec_abs(vec x) { return (vec)((vec_int)x & 0x7fffffff); }
INLINE vec vec_sign(vec x) {
    return pick(x > splat(0.0f), splat(1.0f), pick(x < splat(0.0f), splat(-1.0f), splat(0.0f)));
}
INLINE vec vec_max(vec a, vec b) { return pick(a != a, a, pick(b != b, b, pick(a < b, b, a))); }
INLINE vec vec_min(vec a, vec b) { return pick(a != a, a, pick(b != b, b, pick(b < a, b, a))); }

/* All bits set in the lanes of real units, and none in those of the padding. */
INLINE vec_int real_units(size_t j, size_t hidden) {
    static const int32_t lanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vec_int lane;
    memcpy(&lane, lanes, sizeof lane);
    return lane + (int32_t)j < (vec_int){0} + (int32_t)hidden;
}

/* A sum over units in BLOCK lanes on every machine. */
typedef struct {
    vec part[BLOCK / WIDTH];
} UnitSum;
INLINE void add_units(UnitSum *sum, size_t j, size_t hidden, vec v) {
    vec *part = &sum->part[j / WIDTH % (BLOCK / WIDTH)];
    *part += pick(real_units(j, hidden), v, splat(0.0f));
}
INLINE vec sum_units(const UnitSum *sum) { /* pairwise: lane j + lane j + 8, then j + 4, j + 2 and j + 1 */
    typedef float four __attribute__((vector_size(16)));
    four part[BLOCK / 4];
    memcpy(part, sum->part, sizeof part);
    const four s = (part[0] + part[2]) + (part[1] + part[3]);
    return splat((s[0] + s[2]) + (s[1] + s[3]));
}

/* For numbers that are equal in all lanes: one division, or one root, for all. */
INLINE vec row_div(vec a, vec b) { return splat(a[0] / b[0]); }
INLINE vec row_sqrt(vec a) { return splat(__builtin_sqrtf(a[0])); }

#endif
