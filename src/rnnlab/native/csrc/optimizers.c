#include "optimizers.h"

#include <math.h>

#define LANES 16 /* partial sums of the norm, on every machine */

/* These loops have no sums across elements: the compiler may use any vectors without changing a bit. */

static double sum_of_squares(const float *x, size_t n) {
    double lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) lanes[j] += (double)x[i + j] * x[i + j];
    for (size_t j = 0; i + j < n; j++) lanes[j] += (double)x[i + j] * x[i + j];
    for (size_t half = LANES / 2; half; half /= 2)
        for (size_t j = 0; j < half; j++) lanes[j] += lanes[j + half];
    return lanes[0];
}

static void clip_value(float *g, size_t n, float limit) {
    for (size_t i = 0; i < n; i++) g[i] = g[i] > limit ? limit : g[i] < -limit ? -limit : g[i]; /* NaN stays */
}

static void scale_by(float *g, size_t n, float factor) {
    for (size_t i = 0; i < n; i++) g[i] *= factor;
}

/* base^n by squaring; not pow, whose last bit depends on the C library. */
static double power(double base, uint64_t n) {
    double result = 1;
    for (; n; n /= 2, base *= base)
        if (n % 2) result *= base;
    return result;
}

/* Kingma and Ba 2015; decoupled weight decay: Loshchilov and Hutter 2019. */
static void adam(const Optimizer *o, size_t n, float *restrict p, const float *restrict grad, float *restrict m,
                 float *restrict v, uint64_t step, double lr) {
    const float shrink = o->decoupled ? (float)(1 - lr * o->weight_decay) : 1.0f;
    const float decay = o->decoupled ? 0.0f : (float)o->weight_decay;
    const float a1 = (float)(1 - o->beta1), b2 = (float)o->beta2, a2 = (float)(1 - o->beta2), eps = (float)o->eps;
    const float size = (float)(lr / (1 - power(o->beta1, step))), root = (float)sqrt(1 - power(o->beta2, step));
    for (size_t i = 0; i < n; i++) {
        const float x = p[i] * shrink, g = grad[i] + decay * x;
        m[i] += a1 * (g - m[i]);
        v[i] = v[i] * b2 + a2 * g * g;
        p[i] = x - size * (m[i] / (sqrtf(v[i]) / root + eps));
    }
}

static void sgd(const Optimizer *o, size_t n, float *restrict p, const float *restrict grad, float *restrict m,
                double lr) {
    const float rate = (float)lr, decay = (float)o->weight_decay, momentum = (float)o->momentum;
    const float keep = o->started ? momentum : 0.0f; /* as in torch, the buffer starts as the first gradient */
    const float take = o->started ? (float)(1 - o->dampening) : 1.0f;
    if (!m) {
        for (size_t i = 0; i < n; i++) p[i] -= rate * (grad[i] + decay * p[i]);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const float g = grad[i] + decay * p[i];
        m[i] = keep * m[i] + take * g;
        p[i] -= rate * (o->nesterov ? g + momentum * m[i] : m[i]);
    }
}

/* Tieleman and Hinton 2012, centered: Graves 2013; as in torch, eps is added outside the root. */
static void rmsprop(const Optimizer *o, size_t n, float *restrict p, const float *restrict grad, float *restrict m,
                    float *restrict v, float *restrict mean, double lr) {
    const float rate = (float)lr, decay = (float)o->weight_decay, momentum = (float)o->momentum;
    const float alpha = (float)o->alpha, fresh = (float)(1 - o->alpha), eps = (float)o->eps;
    for (size_t i = 0; i < n; i++) {
        const float g = grad[i] + decay * p[i];
        v[i] = v[i] * alpha + fresh * g * g;
        float spread = v[i];
        if (mean) {
            mean[i] += fresh * (g - mean[i]);
            spread -= mean[i] * mean[i];
        }
        float change = g / (sqrtf(spread) + eps);
        if (m) change = m[i] = momentum * m[i] + change;
        p[i] -= rate * change;
    }
}

double optimizer_update(Optimizer *o, float *parameters, float *gradients, double lr, int carried) {
    double squares = 0;
    for (int64_t s = 0; s < o->segment_count; s++)
        squares += sum_of_squares(gradients + o->segments[s].offset, o->segments[s].size);
    const double norm = sqrt(squares), factor = o->clip_value / (norm + 1e-6);
    for (int64_t s = 0; s < o->segment_count; s++) {
        const Segment segment = o->segments[s];
        if (segment.rests > 1 || (carried && segment.rests)) continue;
        const size_t start = segment.offset, n = segment.size;
        float *p = parameters + start, *g = gradients + start, *m = o->moment ? o->moment + start : NULL;
        float *v = o->square ? o->square + start : NULL, *mean = o->average ? o->average + start : NULL;
        if (o->clip == CLIP_VALUE) clip_value(g, n, (float)o->clip_value);
        if (o->clip == CLIP_NORM && !(factor >= 1)) scale_by(g, n, (float)factor); /* NaN scales too, as in torch */
        if (o->steps) o->steps[s] += 1;
        if (o->kind == ADAM) adam(o, n, p, g, m, v, (uint64_t)o->steps[s], lr);
        if (o->kind == SGD) sgd(o, n, p, g, m, lr);
        if (o->kind == RMSPROP) rmsprop(o, n, p, g, m, v, mean, lr);
    }
    o->started = 1;
    return norm;
}
