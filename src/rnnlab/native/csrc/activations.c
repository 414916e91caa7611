/* The functions alone, for the tests that measure their errors. */
#include "functions.h"

/* y = f(x), where f is the function at this position of the list below; n is a multiple of BLOCK. */
#define ONE(f) \
    static void each_##f(int64_t n, const float *x, float *y) { \
        for (int64_t i = 0; i < n; i += WIDTH) store(y + i, vec_##f(load(x + i))); \
    }
ONE(tanh) ONE(sigmoid) ONE(exp) ONE(exp_any) ONE(expm1) ONE(log) ONE(log1p) ONE(softplus) ONE(sqrt) ONE(sin) ONE(cos)
ONE(erf)

void rnnlab_activation(int64_t which, int64_t n, const float *x, float *y) {
    static void (*const functions[])(int64_t, const float *, float *) = {
        each_tanh, each_sigmoid, each_exp, each_exp_any, each_expm1, each_log,
        each_log1p, each_softplus, each_sqrt, each_sin, each_cos, each_erf,
    };
    functions[which](n, x, y);
}

void rnnlab_power(int64_t n, const float *a, const float *b, float *y) {
    for (int64_t i = 0; i < n; i += WIDTH) store(y + i, vec_power(load(a + i), load(b + i)));
}
