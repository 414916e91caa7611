/* Long short-term memory (Hochreiter and Schmidhuber 1997) with a forget gate (Gers et al. 2000), one step,
 * after the matrix products.
 *
 *   i, f, o = sigmoid(u_i), sigmoid(u_f), sigmoid(u_o)     g = tanh(u_g)
 *   c' = f c + i g                                         h' = o tanh(c')
 *
 *   dc' += dh' o (1 - tanh(c')^2)        dc = dc' f (the carry)
 *   du_i = dc' g i (1 - i)    du_f = dc' c f (1 - f)    du_g = dc' i (1 - g^2)    du_o = dh' tanh(c') o (1 - o)
 *
 * The four slots of a row stand in torch's order i, f, g, o. Forward turns each u into its gate. */
#ifndef RNNLAB_LSTM_H
#define RNNLAB_LSTM_H

#include "activations.h"

/* `tanh_c` keeps tanh(c') for the way back. */
INLINE void lstm_forward(size_t units, float *slots, const float *c, float *c_next, float *tanh_c, float *h_next) {
    const size_t F = units, G = 2 * units, O = 3 * units;
    for (size_t j = 0; j < units; j += WIDTH) {
        const vec i = vec_sigmoid(load(slots + j)), f = vec_sigmoid(load(slots + F + j));
        const vec g = vec_tanh(load(slots + G + j)), o = vec_sigmoid(load(slots + O + j));
        const vec next = fma_(f, load(c + j), i * g), t = vec_tanh(next);
        store(slots + j, i);
        store(slots + F + j, f);
        store(slots + G + j, g);
        store(slots + O + j, o);
        store(c_next + j, next);
        store(tanh_c + j, t);
        store(h_next + j, o * t);
    }
}

/* `carry` holds dc' from the step after; it becomes dc. */
INLINE void lstm_backward(size_t units, const float *dh, const float *slots, const float *c, const float *tanh_c,
                          float *carry, float *deltas) {
    const size_t F = units, G = 2 * units, O = 3 * units;
    for (size_t j = 0; j < units; j += WIDTH) {
        const vec i = load(slots + j), f = load(slots + F + j), g = load(slots + G + j), o = load(slots + O + j);
        const vec t = load(tanh_c + j), gh = load(dh + j);
        const vec dc = fma_(gh * o, fma_(-t, t, splat(1.0f)), load(carry + j));
        store(carry + j, dc * f);
        store(deltas + j, dc * g * fma_(-i, i, i));
        store(deltas + F + j, dc * load(c + j) * fma_(-f, f, f));
        store(deltas + G + j, dc * i * fma_(-g, g, splat(1.0f)));
        store(deltas + O + j, gh * t * fma_(-o, o, o));
    }
}

#endif
