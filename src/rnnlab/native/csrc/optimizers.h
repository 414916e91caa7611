/* torch.optim's updates on flat buffers: Adam, AdamW, SGD, RMSprop; clipping by norm and by value. */
#ifndef RNNLAB_OPTIMIZERS_H
#define RNNLAB_OPTIMIZERS_H

#include <stddef.h>
#include <stdint.h>

enum { ADAM, SGD, RMSPROP };
enum { CLIP_NONE, CLIP_NORM, CLIP_VALUE };

/* One parameter's stretch of the flat buffers. */
typedef struct {
    int64_t offset, size;
    int64_t rests; /* 1: a learned initial state rests while the state is carried; 2: a step does not use it */
} Segment;

/* Names as torch.optim has them. The buffers are laid out as the parameters; NULL for what is not used. */
typedef struct {
    int64_t kind, clip, decoupled, nesterov, centered;
    int64_t started; /* SGD: the momentum buffers hold something */
    double clip_value, beta1, beta2, eps, weight_decay, momentum, dampening, alpha;
    float *moment;  /* exp_avg or momentum_buffer */
    float *square;  /* exp_avg_sq or square_avg */
    float *average; /* grad_avg */
    float *steps;   /* one float a segment, as torch counts */
    const Segment *segments;
    int64_t segment_count;
} Optimizer;

/* Clips the gradients in place and updates; returns the gradients' 2-norm before clipping. With `carried`,
 * segments that are initial states stay as they are. */
double optimizer_update(Optimizer *o, float *parameters, float *gradients, double lr, int carried);

#endif
