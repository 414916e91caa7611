#include "heads.h"

#include <math.h>

#include "activations.h"

void head_arrange(const Stack *stack, Head *head, int64_t outputs, Arena *arena) {
    const size_t D = stack->shape.directions, H = stack->shape.hidden;
    head->outputs = outputs;
    head->columns = padded(outputs);
    head->stride = row_stride(outputs);
    head->width = D * stack->units;
    head->forward = take(arena, panel_floats(D * H, head->columns));
    head->back = take(arena, panel_floats(outputs, head->width));
    head->bias = take(arena, head->columns);
}

void head_sums_arrange(const Head *head, HeadSums *sums, Arena *arena) {
    sums->weight = take(arena, head->columns * head->width);
    sums->bias = take(arena, head->columns);
}

void head_pack(const Stack *stack, Head *head, const float *weight, const float *bias, int back) {
    const size_t D = stack->shape.directions, H = stack->shape.hidden;
    for (size_t o = 0; o < head->outputs; o++) {
        pack_column(head->forward, o, head->columns, weight + o * D * H, D * H);
        if (back) pack_row(head->back, o, head->outputs, weight + o * D * H, D, H, head->width);
        head->bias[o] = bias ? bias[o] : 0.0f;
    }
}

void head_forward(const Stack *stack, const Head *head, size_t rows, const float *y, size_t y_stride, float *z) {
    const Left left = {y, y_stride, stack->shape.directions, stack->shape.hidden, stack->units};
    product(rows, head->columns, left, head->forward, head->bias, 0, z, head->stride);
}

void head_backward(const Stack *stack, const Head *head, size_t rows, const float *dz, const float *y,
                   size_t y_stride, HeadSums *sums, float *dy, size_t dy_stride) {
    (void)stack;
    const Left left = {dz, head->stride, 1, head->outputs, 0};
    product(rows, head->width, left, head->back, NULL, 0, dy, dy_stride);
    add_outer(rows, dz, head->stride, head->columns, y, y_stride, head->width, sums->weight, head->width);
    add_narrow(rows, dz, head->stride, head->columns, NULL, 0, 0, NULL, 0, sums->bias);
}

static void clear_padding(const Head *head, float *z) {
    for (size_t i = head->outputs; i < head->columns; i++) z[i] = 0.0f;
}

/* -log softmax(z)[label], by way of the largest z; the sum runs in 16 lanes on every machine. */
static double cross_entropy(const Head *head, float *z, int64_t label, float scale) {
    const size_t n = head->outputs;
    float most = z[0];
    for (size_t i = 1; i < n; i++) most = z[i] > most ? z[i] : most;
    const double right = (double)z[label] - most;
    for (size_t i = 0; i < head->columns; i += WIDTH) store(z + i, vec_exp(load(z + i) - most));
    clear_padding(head, z);
    float lanes[BLOCK] = {0};
    for (size_t i = 0; i < head->columns; i += BLOCK)
        for (size_t j = 0; j < BLOCK; j++) lanes[j] += z[i + j];
    for (size_t half = BLOCK / 2; half; half /= 2)
        for (size_t j = 0; j < half; j++) lanes[j] += lanes[j + half];
    const float share = scale / lanes[0];
    for (size_t i = 0; i < head->columns; i += WIDTH) store(z + i, load(z + i) * share);
    z[label] -= scale;
    return log((double)lanes[0]) - right;
}

/* For a single output: -log sigmoid(z) for label 1, -log(1 - sigmoid(z)) for label 0. */
static double binary_cross_entropy(const Head *head, float *z, int64_t label, float scale) {
    const double x = z[0];
    float p[BLOCK] = {z[0]};
    for (size_t i = 0; i < BLOCK; i += WIDTH) store(p + i, vec_sigmoid(load(p + i)));
    z[0] = (p[0] - (float)label) * scale;
    clear_padding(head, z);
    return (x > 0 ? x : x != x ? x : 0) - x * (double)label + log1p(exp(-fabs(x)));
}

static double distance(const Head *head, float *z, const float *target, float scale) {
    const float delta = head->huber_delta;
    double sum = 0;
    for (size_t i = 0; i < head->outputs; i++) {
        const float e = z[i] - target[i], size = fabsf(e), sign = e > 0 ? 1.0f : e < 0 ? -1.0f : e;
        if (head->loss == MSE) {
            sum += (double)e * e;
            z[i] = 2.0f * scale * e;
        } else if (head->loss == MAE) {
            sum += size;
            z[i] = scale * sign;
        } else {                               /* Huber 1964: a square near 0, a line beyond delta */
            const int near = !(size >= delta); /* NaN too */
            sum += near ? 0.5 * e * e : (double)delta * (size - 0.5 * delta);
            z[i] = scale * (near ? e : delta * sign);
        }
    }
    clear_padding(head, z);
    return sum;
}

/* Koenker and Bassett 1978: a value above the predicted quantile costs `level` per unit, a value below 1 - level. At the
   quantile the slope is the mean of both sides, as autograd has it. */
static double pinball(const Head *head, float *z, const float *target, float scale) {
    const size_t count = head->level_count;
    double sum = 0;
    for (size_t i = 0; i < head->outputs; i++) {
        const float level = head->levels[i % count], e = z[i] - target[i / count];
        const float slope = e > 0 ? 1.0f - level : e < 0 ? -level : e == 0 ? 0.5f - level : e;
        sum += (double)slope * e;
        z[i] = scale * slope;
    }
    clear_padding(head, z);
    return sum;
}

double head_loss(const Head *head, float *z, const float *target, int64_t label, float scale) {
    if (head->loss == CROSS_ENTROPY) return cross_entropy(head, z, label, scale);
    if (head->loss == BINARY) return binary_cross_entropy(head, z, label, scale);
    if (head->loss == PINBALL) return pinball(head, z, target, scale);
    return distance(head, z, target, scale);
}

void head_collect(const Stack *stack, const Head *head, HeadSums *groups, size_t count, float *weight,
                  float *bias) {
    const size_t D = stack->shape.directions, H = stack->shape.hidden;
    Parts weights = {.count = count}, biases = {.count = count};
    for (size_t g = 0; g < count; g++) {
        weights.pointers[g] = groups[g].weight;
        biases.pointers[g] = groups[g].bias;
    }
    for (size_t o = 0; o < head->outputs; o++)
        for (size_t d = 0; d < D; d++)
            collect(weights, o * head->width + d * stack->units, 1, H, 0, weight + (o * D + d) * H);
    if (bias) collect(biases, 0, 1, head->outputs, 0, bias);
}
