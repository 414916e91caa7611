/* The linear head and its loss. */
#ifndef RNNLAB_HEADS_H
#define RNNLAB_HEADS_H

#include "recurrence.h"

enum { MSE, MAE, HUBER, PINBALL, CROSS_ENTROPY, BINARY };

/* A head over the top layer's output: weight (outputs, D * H), bias (outputs,), packed. */
typedef struct {
    size_t outputs, columns; /* columns: outputs padded */
    size_t stride;           /* floats between rows of outputs */
    size_t width;            /* D * units: the padded input */
    int64_t loss;
    float huber_delta;
    const float *levels; /* for PINBALL: `level_count` consecutive outputs for each target; otherwise 1 */
    size_t level_count;
    float *forward, *back, *bias;
} Head;

/* A group's sums of gradients: weight [columns][width], bias [columns]. */
typedef struct {
    float *weight, *bias;
} HeadSums;

void head_arrange(const Stack *stack, Head *head, int64_t outputs, Arena *arena);
void head_sums_arrange(const Head *head, HeadSums *sums, Arena *arena);
void head_pack(const Stack *stack, Head *head, const float *weight, const float *bias, int back);

/* z[r] = W y[r] + b for rows of the top layer's output. */
void head_forward(const Stack *stack, const Head *head, size_t rows, const float *y, size_t y_stride, float *z);

/* From dz: adds to `sums`, and writes dy (padded to `width`). */
void head_backward(const Stack *stack, const Head *head, size_t rows, const float *dz, const float *y,
                   size_t y_stride, HeadSums *sums, float *dy, size_t dy_stride);

/* Returns the sum of a row's losses. Replaces z (outputs) by the gradient times `scale`, with zeros in its padding.
 * `target`: the true values for MSE, MAE, HUBER and PINBALL; `label`: the true class. */
double head_loss(const Head *head, float *z, const float *target, int64_t label, float scale);

void head_collect(const Stack *stack, const Head *head, HeadSums *groups, size_t count, float *weight,
                  float *bias);

#endif
