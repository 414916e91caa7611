/* The simple recurrent network (Elman 1990), one step, after the matrix products.
 *
 *   u = W_ih x + b_ih + W_hh h + b_hh        h' = f(u), f = tanh or relu
 *   du = dh' f'(u)                           f' = 1 - h'^2, or 1 where h' > 0
 */
#ifndef RNNLAB_ELMAN_H
#define RNNLAB_ELMAN_H

#include "activations.h"

/* u -> h */
INLINE void elman_forward(int relu, size_t units, const float *u, float *h) {
    for (size_t j = 0; j < units; j += WIDTH) {
        const vec x = load(u + j);
        /* as torch's relu: NaN stays NaN */
        store(h + j, relu ? pick(x < splat(0.0f), splat(0.0f), x) : vec_tanh(x));
    }
}

/* dh, h -> du */
INLINE void elman_backward(int relu, size_t units, const float *dh, const float *h, float *du) {
    for (size_t j = 0; j < units; j += WIDTH) {
        const vec g = load(dh + j), y = load(h + j);
        store(du + j, relu ? pick(y > splat(0.0f), g, splat(0.0f)) : fma_(-g, y * y, g));
    }
}

#endif
