/* Other functions in a cell's step: expm1, log, log1p, softplus, sqrt, sin, cos, erf and powers of vectors.
 *
 * As in activations.h, each operation is exact or correctly rounded, so that the bits are the same on every machine.
 * The polynomials are minimax fits to the functions in their comments. tests/native/test_activations.py measures the
 * errors. */
#ifndef RNNLAB_FUNCTIONS_H
#define RNNLAB_FUNCTIONS_H

#include "activations.h"

#define SELDOM static __attribute__((noinline, unused))

INLINE int any(vec_int mask) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX__)
    return _mm256_movemask_ps((__m256)mask) != 0;
#else
    int32_t found = 0;
    for (int i = 0; i < WIDTH; i++) found |= mask[i];
    return found != 0;
#endif
}

INLINE vec vec_sqrt(vec x) {
#if defined(__AVX512F__)
    return (vec)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX__)
    return (vec)_mm256_sqrt_ps((__m256)x);
#elif defined(__ARM_NEON) && defined(__aarch64__)
    return (vec)vsqrtq_f32((float32x4_t)x);
#else
    vec out;
    for (int i = 0; i < WIDTH; i++) out[i] = sqrtf(x[i]);
    return out;
#endif
}

/* exp x for all x: 2^n as two factors, so that the whole range of floats is reached; beyond it infinity or 0. */
INLINE vec vec_exp_any(vec x) {
    const vec two = splat(2.0f), one = splat(1.0f);
    vec scale, p = exp_parts(x * 0.5f, 43.5f, &scale);
    const vec usual = scale * fma_(p, two, one);
    const vec_int beyond = vec_abs(x) > splat(87.0f);
    if (!any(beyond)) return usual;
    vec rest_scale, q = exp_parts(at_least(at_most((x - pick(x > splat(0.0f), splat(64.0f), splat(-64.0f))) * 0.5f,
                                                   43.5f), -43.5f), 43.5f, &rest_scale);
    const vec far = rest_scale * fma_(q, two, one) *
                    pick(x > splat(0.0f), splat(6.2351491e27f), splat(1.6038109e-28f)); /* exp(64), exp(-64) */
    return pick(beyond, far, usual);
}

/* exp(x) - 1, accurate near 0 */
INLINE vec vec_expm1(vec x) {
    const vec_int large = vec_abs(x) > splat(80.0f);
    const vec usual = 2.0f * half_expm1(x * 0.5f, 43.5f);
    return any(large) ? pick(large, vec_exp_any(x) - 1.0f, usual) : usual;
}

/* x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), for x > 0 */
INLINE vec split_power_of_two(vec x, vec *f) {
    const vec_int small = x < splat(0x1p-126f); /* subnormal */
    vec less = splat(0.0f);
    if (any(small)) {
        x = pick(small, x * 0x1p24f, x);
        less = pick(small, splat(24.0f), less);
    }
    const vec_int bits = (vec_int)x, e = (bits - 0x3f3504f3) >> 23;
    *f = (vec)(bits - (e << 23)) - 1.0f;
    return __builtin_convertvector(e, vec) - less;
}

/* Replaces `usual` by the value of log x at 0 and infinity, for x < 0 and for NaN */
INLINE vec log_ends(vec x, vec usual) {
    const vec known = pick(x < splat(INFINITY), usual, x);
    return pick(x < splat(0.0f), splat(NAN), pick(x == splat(0.0f), splat(-INFINITY), known));
}

/* log x = e ln 2 + f - f^2 / 2 + f^3 p(f), for x > 0 */
INLINE vec log_positive(vec x) {
    vec f, e = split_power_of_two(x, &f), square = f * f;
    vec p = fma_(splat(-0.0763449296f), f, splat(0.12761575f));
    p = fma_(p, f, splat(-0.131601825f));
    p = fma_(p, f, splat(0.142017588f));
    p = fma_(p, f, splat(-0.166233569f));
    p = fma_(p, f, splat(0.200012267f));
    p = fma_(p, f, splat(-0.250008196f));
    p = fma_(p, f, splat(0.333333313f));
    vec y = fma_(e, splat(-2.12194440e-4f), f * square * p); /* ln 2 in two parts, the first with ten digits */
    y = fma_(square, splat(-0.5f), y);
    return fma_(e, splat(0.693359375f), f + y);
}
INLINE vec vec_log(vec x) { return log_ends(x, log_positive(x)); }

/* log(1 + x) = log u + (rounding error of u = 1 + x) / u */
INLINE vec vec_log1p(vec x) {
    const vec u = 1.0f + x, back = u - 1.0f;
    const vec lost = (1.0f - (u - back)) + (x - back);
    const vec usual = vec_log(u) + lost / u;
    return pick(vec_abs(x) < splat(INFINITY), pick(u == splat(0.0f), splat(-INFINITY), usual), vec_log(u));
}

/* log(1 + exp(x)); for x > 20 x itself, as in torch */
INLINE vec vec_softplus(vec x) {
    const vec e = vec_exp_any(-vec_abs(x)), u = 1.0f + e; /* log1p(e), e from 0 to 1 */
    const vec low = log_positive(u) + (e - (u - 1.0f)) / u;
    return pick(x > splat(20.0f), x, vec_relu(x) + low);
}

/* x = q pi / 2 + r for large x, by the product with 2 / pi, without those digits of 2 / pi that give multiples of 4 */
SELDOM void reduce_far(vec x, vec *r, vec_int *q) {
    static const uint32_t digits[] = {0,          0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0,
                                      0xdb629599, 0x3c439041, 0xfe5163ab, 0xdebbc561};
    for (int i = 0; i < WIDTH; i++) {
        const uint32_t bits = ((vec_bits)x)[i], exponent = bits >> 23 & 255;
        if (exponent < 127 + 16) continue; /* small enough for the usual method */
        if (exponent == 255) {
            (*r)[i] = NAN;
            continue;
        }
        const uint64_t m = (bits & 0x7fffff) | 0x800000; /* |x| = m 2^e */
        const uint32_t start = exponent - 150 - 2 + 32;
        unsigned __int128 window = 0;
        for (uint32_t k = 0; k < 4; k++) window = window << 32 | digits[start / 32 + k];
        window = window << start % 32 >> 32;
        const unsigned __int128 half = (unsigned __int128)1 << 93, turns = window * m + half; /* quarters, by 2^94 */
        const int64_t rest = (int64_t)((__int128)((turns & (2 * half - 1)) - half) >> 30);
        const float angle = (float)((double)rest * (0x1p-64 * 1.5707963267948966));
        const int32_t quarter = (int32_t)(turns >> 94 & 3);
        (*r)[i] = bits >> 31 ? -angle : angle;
        (*q)[i] = bits >> 31 ? -quarter : quarter;
    }
}

/* sin(x + turn * pi / 2) */
INLINE vec sin_from(vec x, int32_t turn) {
    const float round_magic = 12582912.0f; /* as in exp_parts */
    const vec shifted = fma_(x, splat(0.63661975f), splat(round_magic)), n = shifted - round_magic;
    vec_int q = (vec_int)shifted;
    vec r = fma_(n, splat(-0x1.921fb6p+0f), x); /* pi / 2 in three parts; exact, as long as x is below 2^16 */
    r = fma_(n, splat(0x1.777a5cp-25f), r);
    r = fma_(n, splat(0x1.ee59dap-50f), r);
    if (any(vec_abs(x) >= splat(65536.0f))) reduce_far(x, &r, &q);
    q += turn;
    const vec z = r * r;
    vec s = fma_(splat(2.71812155e-06f), z, splat(-0.000198393129f)); /* (sin r - r) / r^3 */
    s = fma_(s, z, splat(0.00833332911f));
    s = fma_(s, z, splat(-0.166666672f));
    s = fma_(s * z, r, r);
    vec c = fma_(splat(-2.7205752e-07f), z, splat(2.47994594e-05f)); /* (cos r - 1 + r^2 / 2) / r^4 */
    c = fma_(c, z, splat(-0.00138888834f));
    c = fma_(c, z, splat(0.0416666679f));
    c = fma_(c * z, z, fma_(z, splat(-0.5f), splat(1.0f)));
    const vec found = pick((q & 1) != 0, c, s);
    return (vec)((vec_int)found ^ (q & 2) << 30);
}
INLINE vec vec_sin(vec x) { return sin_from(x, 0); }
INLINE vec vec_cos(vec x) { return sin_from(x, 1); }

/* erf x: x + x p(x^2) near 0, otherwise 1 - exp(x q(x)) */
INLINE vec vec_erf(vec x) {
    const vec a = at_most(vec_abs(x), 4.0f), z = a * a;
    vec p = fma_(splat(8.38239066e-05f), z, splat(-0.000814559753f));
    p = fma_(p, z, splat(0.00520128617f));
    p = fma_(p, z, splat(-0.0268594995f));
    p = fma_(p, z, splat(0.112836972f));
    p = fma_(p, z, splat(-0.376126349f));
    p = fma_(p, z, splat(0.128379166f));
    vec q = fma_(splat(-1.12312773e-05f), a, splat(0.000322803593f));
    q = fma_(q, a, splat(-0.003642458f));
    q = fma_(q, a, splat(0.0237620603f));
    q = fma_(q, a, splat(-0.106236875f));
    q = fma_(q, a, splat(-0.635151327f));
    q = fma_(q, a, splat(-1.12864852f));
    const vec_int sign = (vec_int)x & (int32_t)0x80000000;
    const vec found = pick(a < splat(0.92f), fma_(a, p, a), 1.0f - vec_exp(a * q));
    return pick(x == x, (vec)((vec_int)found | sign), x);
}

/* a^b = exp(b log a), the logarithm in two parts: log a = e ln 2 + 2 artanh s, s = f / (2 + f) */
INLINE vec vec_power(vec a, vec b) {
    const vec one = splat(1.0f), zero = splat(0.0f), size = vec_abs(a);
    vec f, e = split_power_of_two(size, &f);
    const vec d = f + 2.0f, d_lost = f - (d - 2.0f), s = f / d;
    const vec s_lost = fma_(-s, d_lost, fma_(-s, d, f)) / d, z = s * s;
    vec p = fma_(splat(0.23581472f), z, splat(0.285373479f));
    p = fma_(p, z, splat(0.400003344f));
    p = fma_(p, z, splat(0.666666627f));
    vec low = fma_(s * z, p, fma_(e, splat(-2.12194440e-4f), s_lost + s_lost));
    const vec whole = e * 0.693359375f, twice = s + s, sum = whole + twice; /* |whole| is the larger one, or 0 */
    low += twice - (sum - whole);
    const vec high = sum + low;
    low += sum - high;
    const vec y = b * log_ends(size, high), lost = fma_(b, low, fma_(b, high, -y));
    const vec grown = vec_exp_any(y), usual = fma_(grown, pick(vec_abs(y) < splat(200.0f), lost, zero), grown);
    /* the sign for a negative base, which only integer exponents allow */
    const vec bound = at_most(vec_abs(b), 16777216.0f);
    const vec_int number = __builtin_convertvector(bound, vec_int);
    const vec_int is_whole = __builtin_convertvector(number, vec) == bound;
    const vec_int odd = is_whole & (((number & 1) != 0) & (vec_abs(b) < splat(16777216.0f)));
    const vec_int minus = (vec_int)a & (int32_t)0x80000000 & odd;
    vec found = pick(grown < splat(INFINITY), usual, grown);
    found = (vec)((vec_int)found | minus);
    found = pick((a < zero) & (vec_int)(a > splat(-INFINITY)) & ~is_whole, splat(NAN), found);
    found = pick((a == -one) & (vec_abs(b) == splat(INFINITY)), one, found);
    return pick((b == zero) | (a == one), one, pick((a != a) | (b != b), splat(NAN), found));
}

#endif
