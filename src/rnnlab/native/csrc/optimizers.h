/* The updates of torch.optim on flat buffers: Adam, AdamW, SGD, RMSprop; clipping by norm and by value. */
#ifndef RNNLAB_OPTIMIZERS_H
#define RNNLAB_OPTIMIZERS_H

#include <stddef.h>
#include <stdint.h>

enum { ADAM, SGD, RMSPROP };
enum { CLIP_NONE, CLIP_NORM, CLIP_VALUE };

/* One parameter's part of the flat buffers. */
typedef struct {
    int64_t offset, size;
    int64_t rests; /* not updated: 1: a learned initial state, while the state is carried; 2: a step does not use it */
} Segment;

/* Names as in torch.optim. The buffers have the layout of the parameters; unused ones are NULL. */
typedef struct {
    int64_t kind, clip, decoupled, nesterov, centered;
    int64_t started; /* SGD: the momentum buffers are filled */
    double clip_value, beta1, beta2, eps, weight_decay, momentum, dampening, alpha;
    float *moment;  /* exp_avg or momentum_buffer */
    float *square;  /* exp_avg_sq or square_avg */
    float *average; /* grad_avg */
    float *steps;   /* one float per segment, as torch counts */
    const Segment *segments;
    int64_t segment_count;
} Optimizer;

/* Clips the gradients in place and updates; returns the gradients' 2-norm before clipping. With `carried`,
 * segments that are initial states are not changed. */
double optimizer_update(Optimizer *o, float *parameters, float *gradients, double lr, int carried);

#endif
