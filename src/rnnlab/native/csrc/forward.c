/* A stack forward through time. */
#include "elman.h"
#include "gru.h"
#include "lstm.h"
#include "run.h"

/* Writes down the state that a step with resets starts from. */
static void keep_reset_state(const Run *run, size_t i) {
    Block *b = run->block;
    const size_t t = time_of(run, i), units = run->stack->units;
    run->any_reset[t] = 0; /* look at the state as if there were no resets */
    const Before was = before(run, i);
    run->any_reset[t] = 1;
    float *kept = b->before[run->cell] + t * run->stack->states * run->state;
    const uint8_t *reset = b->reset[run->direction] + t * b->rows;
    for (size_t r = 0; r < b->rows; r++) {
        memcpy(kept + r * units, reset[r] ? run->packed->initial : was.h + r * was.stride, 4 * units);
        if (run->stack->states == 2)
            memcpy(kept + run->state + r * units, reset[r] ? run->packed->initial + units : was.c + r * units,
                   4 * units);
    }
}

/* The input's part of the gates, with the biases, for steps [t, t + steps). */
static void project(const Run *run, size_t t, size_t steps) {
    const Stack *s = run->stack;
    const size_t rows = steps * run->block->rows, first = t * run->block->rows, columns = s->gates * s->units;
    float *gates = run->gates + first * s->gate_stride;
    if (run->layer == 0 && s->shape.one_hot) {
        for (size_t r = 0; r < rows; r++)
            memcpy(gates + r * s->gate_stride, run->packed->ih + (size_t)run->block->tokens[first + r] * columns,
                   4 * columns);
    } else {
        Left input = run->input;
        input.pointer += first * input.stride;
        product(rows, columns, input, run->packed->ih, run->packed->bias, 0, gates, s->gate_stride);
    }
    if (s->slots > s->gates) /* the GRU's h_n takes only the state's product */
        for (size_t r = 0; r < rows; r++)
            memcpy(gates + r * s->gate_stride + columns, run->packed->bias + columns,
                   4 * (s->slots * s->units - columns));
}

static void step_forward(const Run *run, size_t i) {
    const Stack *s = run->stack;
    Block *b = run->block;
    const size_t t = time_of(run, i), rows = b->rows, units = s->units;
    float *gates = run->gates + t * rows * s->gate_stride, *out = run->out + t * rows * s->out_stride;
    const int resets = run->any_reset && run->any_reset[t];
    if (resets) keep_reset_state(run, i);
    const Before was = before(run, i);
    if (i || resets || !b->from_zero) {
        float *to = gates + state_slot(s) * units;
        const Left h = {was.h, was.stride, 1, s->shape.hidden, 0};
        product(rows, s->gates * units, h, run->packed->hh, to, s->gate_stride, to, s->gate_stride);
    }
    for (size_t r = 0; r < rows; r++) {
        float *g = gates + r * s->gate_stride, *h = out + r * s->out_stride;
        const size_t place = t * run->state + r * units;
        if (s->shape.kind == ELMAN) elman_forward(s->shape.relu, units, g, h);
        if (s->shape.kind == GRU) gru_forward(units, g, was.h + r * was.stride, h);
        if (s->shape.kind == LSTM)
            lstm_forward(units, g, was.c + r * units, b->c[run->cell] + place, b->tanh_c[run->cell] + place,
                         h);
    }
}

static void cell_forward(const Run *run) {
    const Block *b = run->block;
    const size_t span = span_steps(b), stride = run->stack->out_stride;
    for (size_t i = 0; i < b->steps; i += span) {
        const size_t n = b->steps - i < span ? b->steps - i : span;
        project(run, run->direction ? time_of(run, i + n - 1) : i, n);
        for (size_t k = i; k < i + n; k++) step_forward(run, k);
    }
    if (b->lengths)
        for (size_t r = 0; r < b->rows; r++)
            for (size_t t = b->lengths[r]; t < b->steps; t++)
                memset(run->out + (t * b->rows + r) * stride, 0, 4 * run->stack->units);
}

void stack_forward(const Stack *stack, Block *block) {
    for (size_t l = 0; l < (size_t)stack->shape.layers; l++) {
        for (size_t d = 0; d < (size_t)stack->shape.directions; d++) {
            const Run run = run_of(stack, block, l, d);
            cell_forward(&run);
        }
        if (block->mask[l])
            for (size_t i = 0; i < block->rows * block->steps * stack->out_stride; i += WIDTH)
                store(block->dropped[l] + i, load(block->out[l] + i) * load(block->mask[l] + i));
    }
}

const float *last_h(const Stack *stack, const Block *block, size_t cell, size_t *stride) {
    const size_t D = stack->shape.directions, t = cell % D ? 0 : block->steps - 1;
    *stride = stack->out_stride;
    return block->out[cell / D] + t * block->rows * stack->out_stride + cell % D * stack->units;
}

const float *last_c(const Stack *stack, const Block *block, size_t cell) {
    const size_t t = cell % stack->shape.directions ? 0 : block->steps - 1;
    return block->c[cell] + t * block->rows * stack->units;
}
