/* One cell on its way through time: what forward.c and backward.c share. */
#ifndef RNNLAB_RUN_H
#define RNNLAB_RUN_H

#include "recurrence.h"

/* A cell's place in its block. */
typedef struct {
    const Stack *stack;
    const Packed *packed;
    Block *block;
    size_t cell, layer, direction;
    Left input;   /* its rows for all steps */
    float *out;   /* its columns of the layer's output */
    float *gates; /* [T][R][gate_stride] */
    uint8_t *any_reset;
    size_t state; /* floats of one state: R * units */
} Run;

INLINE Run run_of(const Stack *stack, Block *block, size_t layer, size_t direction) {
    const size_t cell = layer * stack->shape.directions + direction, units = stack->units;
    const Packed *p = &stack->packed[cell];
    const float *below = !layer                      ? block->x
                         : block->dropped[layer - 1] ? block->dropped[layer - 1]
                                                     : block->out[layer - 1];
    return (Run){.stack = stack,
                 .packed = p,
                 .block = block,
                 .cell = cell,
                 .layer = layer,
                 .direction = direction,
                 .input = {below, layer ? stack->out_stride : block->x_stride, p->blocks, p->length, units},
                 .out = block->out[layer] + direction * units,
                 .gates = block->gates[cell],
                 .any_reset = block->any_reset[direction],
                 .state = block->rows * units};
}

/* Step i in the order of processing is step time_of(i) in time. */
INLINE size_t time_of(const Run *run, size_t i) { return run->direction ? run->block->steps - 1 - i : i; }

/* The state before step i: rows of `stride` floats. */
typedef struct {
    const float *h, *c;
    size_t stride;
} Before;

INLINE Before before(const Run *run, size_t i) {
    const Block *b = run->block;
    const size_t t = time_of(run, i), units = run->stack->units;
    if (run->any_reset && run->any_reset[t]) {
        const float *kept = b->before[run->cell] + t * run->stack->states * run->state;
        return (Before){kept, kept + run->state, units};
    }
    if (i == 0) return (Before){b->first[run->cell], b->first[run->cell] + run->state, units};
    const size_t prev = time_of(run, i - 1);
    return (Before){run->out + prev * b->rows * run->stack->out_stride,
                    b->c[run->cell] ? b->c[run->cell] + prev * run->state : NULL, run->stack->out_stride};
}

/* Steps that one product covers, by size alone. */
INLINE size_t span_steps(const Block *b) {
    const size_t steps = (SPAN_ROWS + b->rows - 1) / b->rows;
    return steps < b->steps ? steps : b->steps;
}

#endif
