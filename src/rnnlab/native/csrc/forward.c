/* The forward pass of a stack through time. */
#include "run.h"

/* Stores the states from which a step with resets starts. */
static void keep_reset_states(const Run *run, size_t i) {
    Block *b = run->block;
    const size_t t = time_of(run, i), units = run->stack->units;
    const uint8_t *reset = b->reset[run->direction] + t * b->rows;
    for (size_t k = 0; k < run->stack->states; k++) {
        run->any_reset[t] = 0; /* so that `before` gives the states without resets */
        const Rows was = before(run, i, k);
        run->any_reset[t] = 1;
        float *kept = b->before[run->cell] + (t * run->stack->states + k) * run->state;
        for (size_t r = 0; r < b->rows; r++)
            memcpy(kept + r * units, reset[r] ? run->packed->initial + k * units : was.pointer + r * was.stride,
                   4 * units);
    }
}

/* Computes the input's part of the slots, and the biases, for steps [t, t + steps). */
static void project(const Run *run, size_t t, size_t steps) {
    const Stack *s = run->stack;
    const size_t rows = steps * run->block->rows, first = t * run->block->rows, columns = s->cell->inputs * s->units;
    const size_t rest = s->cell->slots * s->units - columns; /* slots without an input */
    float *slots = run->slots + first * s->slot_stride;
    if (run->layer == 0 && s->bare) {
        for (size_t r = 0; r < rows; r++) {
            const size_t token = run->block->tokens[first + r], row = (first + r) % run->block->rows;
            const vec mask = splat(run->block->input_mask[row * s->shape.inputs + token]);
            const float *from = run->packed->ih + token * columns;
            for (size_t j = 0; j < columns; j += WIDTH)
                store(slots + r * s->slot_stride + j, fma_(mask, load(from + j), load(run->packed->bias + j)));
        }
    } else if (run->layer == 0 && s->shape.one_hot) {
        for (size_t r = 0; r < rows; r++)
            memcpy(slots + r * s->slot_stride, run->packed->ih + (size_t)run->block->tokens[first + r] * columns,
                   4 * columns);
    } else {
        Left input = run->input;
        input.pointer += first * input.stride;
        product(rows, input_columns(run, t, steps), input, run->packed->ih, run->packed->bias, 0, slots,
                s->slot_stride);
    }
    for (size_t r = 0; r < rows && rest; r++)
        memcpy(slots + r * s->slot_stride + columns, run->packed->bias + columns, 4 * rest);
}

static void step_forward(const Run *run, size_t i) {
    const Stack *s = run->stack;
    const Cell *cell = s->cell;
    const size_t t = time_of(run, i);
    const int resets = run->any_reset && run->any_reset[t];
    if (resets) keep_reset_states(run, i);
    const int zero = i == 0 && !resets && run->block->from_zero, quiet = are_quiet(run, t, 1);
    StepRows rows;
    rows_at(run, i, &rows);
    for (int64_t phase = 0; phase < cell->phases; phase++) {
        for (int64_t k = 0; k < cell->products; k++) {
            const Product *p = &cell->product[k];
            if (p->phase != phase || (p->state >= 0 && zero) || (p->left_out && quiet)) continue;
            const Rows from = p->state >= 0 ? rows.was[p->state]
                                            : (Rows){rows.kept.pointer + p->kept * s->units, rows.kept.stride};
            float *to = rows.slots.pointer + p->slot * s->units;
            const Left left = {from.pointer, from.stride, 1, s->shape.hidden, 0};
            product(rows.rows, p->count * s->units, left, run->packed->product[k], to, s->slot_stride, to,
                    s->slot_stride);
        }
        (quiet ? cell->quiet_forward : cell->forward)[phase](&rows);
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

Rows last_state(const Stack *stack, const Block *block, size_t cell, size_t state) {
    const size_t D = stack->shape.directions;
    const Run run = run_of(stack, (Block *)block, cell / D, cell % D);
    return after(&run, time_of(&run, block->steps - 1), state);
}
