/* The gated recurrent unit (Cho et al. 2014) as cuDNN and torch have it, one step, after the matrix products.
 *
 *   x_n = W_in x + b_in            r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
 *   h_n = W_hn h + b_hn            z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
 *   n = tanh(x_n + r h_n)          h' = n + z (h - n)
 *
 *   dn = dh' (1 - z) (1 - n^2)     dx_n = dn        dr = dn h_n r (1 - r)
 *   dh += dh' z (the carry)        dh_n = dn r      dz = dh' (h - n) z (1 - z)
 *
 * The four slots of a row stand in the order n, r, z, h_n: the input's product goes to the first three, the
 * state's to the last three. Forward turns x_n, u_r, u_z, h_n into n, r, z, h_n. */
#ifndef RNNLAB_GRU_H
#define RNNLAB_GRU_H

#include "activations.h"

INLINE void gru_forward(size_t units, float *slots, const float *h, float *h_next) {
    float *sn = slots, *sr = slots + units, *sz = slots + 2 * units;
    const float *shn = slots + 3 * units;
    for (size_t j = 0; j < units; j += WIDTH) {
        const vec r = vec_sigmoid(load(sr + j)), z = vec_sigmoid(load(sz + j));
        const vec n = vec_tanh(fma_(r, load(shn + j), load(sn + j)));
        store(sn + j, n);
        store(sr + j, r);
        store(sz + j, z);
        store(h_next + j, fma_(z, load(h + j) - n, n));
    }
}

/* `carry` holds the part of dh' that came past the products; it becomes that of dh. */
INLINE void gru_backward(size_t units, const float *dh, const float *slots, const float *h, float *carry,
                         float *deltas) {
    const size_t R = units, Z = 2 * units, HN = 3 * units;
    for (size_t j = 0; j < units; j += WIDTH) {
        const vec n = load(slots + j), r = load(slots + R + j), z = load(slots + Z + j), hn = load(slots + HN + j);
        const vec g = load(dh + j) + load(carry + j), gz = g * z;
        const vec dn = (g - gz) * fma_(-n, n, splat(1.0f));
        store(carry + j, gz);
        store(deltas + j, dn);
        store(deltas + R + j, dn * hn * fma_(-r, r, r));
        store(deltas + Z + j, g * (load(h + j) - n) * fma_(-z, z, z));
        store(deltas + HN + j, dn * r);
    }
}

#endif
