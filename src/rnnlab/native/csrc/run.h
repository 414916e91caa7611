/* The run of one cell through time: the part that forward.c and backward.c share. */
#ifndef RNNLAB_RUN_H
#define RNNLAB_RUN_H

#include "recurrence.h"

/* A cell and its arrays in a block. */
typedef struct {
    const Stack *stack;
    const Packed *packed;
    Block *block;
    size_t cell, layer, direction;
    Left input;   /* its rows for all steps */
    float *out;   /* its columns of the layer's output */
    float *slots; /* [T][R][slot_stride] */
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
                 .slots = block->slots[cell],
                 .any_reset = block->any_reset[direction],
                 .state = block->rows * units};
}

/* Step i in the order of processing is step time_of(i) in time. */
INLINE size_t time_of(const Run *run, size_t i) { return run->direction ? run->block->steps - 1 - i : i; }

/* A state after step t in time. */
INLINE Rows after(const Run *run, size_t t, size_t state) {
    const Block *b = run->block;
    const int64_t own = run->stack->cell->own[state];
    if (own < 0) return (Rows){run->out + t * b->rows * run->stack->out_stride, run->stack->out_stride};
    return (Rows){b->own[run->cell] + (own * b->steps + t) * run->state, run->stack->units};
}

/* A state before step i. */
INLINE Rows before(const Run *run, size_t i, size_t state) {
    const Block *b = run->block;
    const size_t t = time_of(run, i), units = run->stack->units;
    if (run->any_reset && run->any_reset[t])
        return (Rows){b->before[run->cell] + (t * run->stack->states + state) * run->state, units};
    if (i == 0) return (Rows){b->first[run->cell] + state * run->state, units};
    return after(run, time_of(run, i - 1), state);
}

/* Fills in the arguments of a cell's functions at step i, without the gradients. */
INLINE void rows_at(const Run *run, size_t i, StepRows *rows) {
    const Stack *s = run->stack;
    const Block *b = run->block;
    const size_t t = time_of(run, i), first = t * b->rows;
    rows->rows = b->rows;
    rows->units = s->units;
    rows->hidden = s->shape.hidden;
    rows->slots = (Rows){run->slots + first * s->slot_stride, s->slot_stride};
    rows->kept = (Rows){s->cell->kept ? b->kept[run->cell] + first * s->kept_stride : NULL, s->kept_stride};
    rows->y = (Rows){run->out + first * s->out_stride, s->out_stride};
    rows->vectors = run->packed->vectors;
    rows->mask = (Rows){b->products[run->cell], s->units};
    rows->keep = (Rows){s->cell->keeps ? b->keep[run->cell] + first * s->cell->keeps * s->units : NULL,
                        s->cell->keeps * s->units};
    rows->spare = (Rows){b->spare, s->cell->spares * s->units};
    for (size_t k = 0; k < s->states; k++) {
        rows->was[k] = before(run, i, k);
        rows->next[k] = after(run, t, k);
    }
}

/* Whether no output of steps [t, t + n) is read. */
INLINE int are_quiet(const Run *run, size_t t, size_t n) {
    const int64_t read = run->block->read_step;
    return run->stack->cell->quiet_forward && run->layer + 1 == (size_t)run->stack->shape.layers && read >= 0 &&
           (size_t)read - t >= n;
}

/* How many columns of the input's product steps [t, t + n) need, in whole panels. */
INLINE size_t input_columns(const Run *run, size_t t, size_t n) {
    const Cell *cell = run->stack->cell;
    const size_t all = cell->inputs * run->stack->units, panel = 2 * BLOCK;
    const size_t quiet = (cell->quiet_inputs * run->stack->units + panel - 1) / panel * panel;
    return are_quiet(run, t, n) && quiet < all ? quiet : all;
}

/* How many steps one product covers; depends only on sizes. */
INLINE size_t span_steps(const Block *b) {
    const size_t steps = (SPAN_ROWS + b->rows - 1) / b->rows;
    return steps < b->steps ? steps : b->steps;
}

#endif
