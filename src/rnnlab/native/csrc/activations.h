/* tanh, sigmoid and exp of vectors: within 3 ulp of the true value wherever it is a normal float
 * (tests/native/test_activations.py measures it). */
#ifndef RNNLAB_ACTIVATIONS_H
#define RNNLAB_ACTIVATIONS_H

#include "vector.h"

/* exp(2x) = 2^n (1 + 2p), |x| < 44: returns p, and 2^n in `scale`.
 *
 * 2x = n ln 2 + 2r with |2r| <= ln(2) / 2, and p is a minimax fit of (exp(2r) - 1) / 2, off by 1.4e-8 of it
 * at most. Both parts stay apart, so that a caller can subtract without losing digits. NaN stays NaN. */
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

/* (exp(2x) - 1) / 2, accurate near 0 in the relative sense */
INLINE vec half_expm1(vec x, float limit) {
    vec scale, p = exp_parts(x, limit, &scale);
    return fma_(scale, p, fma_(scale, splat(0.5f), splat(-0.5f)));
}

/* tanh x = e / (e + 1), e = (exp(2x) - 1) / 2; never above 1 */
INLINE vec vec_tanh(vec x) {
    vec e = half_expm1(x, 9.02f);
    return e / (e + 1.0f);
}

/* 1 / (1 + exp(-x)) = 0.5 / (e + 1), e = (exp(-x) - 1) / 2; accurate in both tails */
INLINE vec vec_sigmoid(vec x) { return 0.5f / (half_expm1(x * -0.5f, 43.5f) + 1.0f); }

/* exp x for |x| <= 87; beyond, as at 87 */
INLINE vec vec_exp(vec x) {
    vec scale, p = exp_parts(x * 0.5f, 43.5f, &scale);
    return scale * fma_(p, splat(2.0f), splat(1.0f));
}

#endif
