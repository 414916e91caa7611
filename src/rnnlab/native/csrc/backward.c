/* The backward pass of a stack through time. */
#include "run.h"

/* The arrays of one cell's backward pass. */
typedef struct {
    const float *d_out; /* gradient of the cell's columns of its layer's output: of all steps, or only of step `only` */
    int64_t only;       /* -1: all */
    float *deltas;      /* gradients of the slots, in place of the slots or in separate memory */
    float *d_below;     /* gradient of the layer's input, all columns, or NULL */
    size_t below_stride;
    Sums *sums;
} Back;

static const float *d_out_at(const Run *run, const Back *back, size_t t) {
    if (!back->d_out || (back->only >= 0 && (size_t)back->only != t)) return NULL;
    return back->d_out + (back->only >= 0 ? 0 : t * run->block->rows * run->stack->out_stride);
}

static void add_rows(size_t rows, size_t n, float *to, size_t to_stride, const float *from, size_t from_stride) {
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < n; j += WIDTH)
            store(to + r * to_stride + j, load(to + r * to_stride + j) + load(from + r * from_stride + j));
}

/* The deltas of `count` slots at step t. */
static Left deltas_of(const Run *run, const Back *back, size_t t, size_t slot, size_t count) {
    const Stack *s = run->stack;
    return (Left){back->deltas + t * run->block->rows * s->slot_stride + slot * s->units, s->slot_stride, count,
                  s->shape.hidden, s->units};
}

/* Rows that were reset before a step pass their gradient to `initial`, and none to the previous step. */
static void release_reset_rows(const Run *run, const Back *back, size_t t) {
    Block *b = run->block;
    const size_t units = run->stack->units;
    for (size_t r = 0; r < b->rows; r++) {
        if (!b->reset[run->direction][t * b->rows + r]) continue;
        for (size_t k = 0; k < run->stack->states; k++) {
            float *parts[2] = {b->d + k * run->state + r * units, b->carry + k * run->state + r * units};
            const int64_t used[2] = {run->stack->cell->multiplied[k], run->stack->cell->carried[k]};
            for (size_t i = 0; i < 2; i++) {
                if (!used[i]) continue;
                add_rows(1, units, back->sums->initial + k * units, 0, parts[i], 0);
                memset(parts[i], 0, 4 * units);
            }
        }
    }
}

/* Computes d of a state: the gradient from the products of step t (in time), added to `start`, which may be NULL. */
static void multiply_back(const Run *run, const Back *back, size_t t, size_t state, const float *start,
                          size_t stride) {
    const Stack *s = run->stack;
    float *d = run->block->d + state * run->state;
    for (int64_t k = 0; k < s->cell->products; k++) {
        const Product *p = &s->cell->product[k];
        if (p->state != (int64_t)state) continue;
        product(run->block->rows, s->units, deltas_of(run, back, t, p->slot, p->count), run->packed->product_back[k],
                p->again ? d : start, p->again ? s->units : stride, d, s->units);
    }
}

static int has_product(const Cell *cell, size_t state) {
    for (int64_t k = 0; k < cell->products; k++)
        if (cell->product[k].state == (int64_t)state) return 1;
    return 0;
}

/* Collects the gradient of the states after step i, from the next step and from the layer's output. */
static void gather(const Run *run, const Back *back, size_t i, StepRows *rows) {
    const Stack *s = run->stack;
    const Cell *cell = s->cell;
    Block *b = run->block;
    const size_t units = s->units, n = b->rows;
    const float *d_out = d_out_at(run, back, time_of(run, i));
    const int last = i + 1 == b->steps;
    const size_t next = last ? 0 : time_of(run, i + 1);
    const int resets = !last && run->any_reset && run->any_reset[next];
    for (size_t k = 0; k < s->states; k++) {
        float *d = b->d + k * run->state;
        const float *out = cell->output == (int64_t)k ? d_out : NULL;
        rows->carry[k] = (Rows){b->carry + k * run->state, units};
        rows->d[k] = (Rows){d, units};
        if (!cell->multiplied[k]) continue;
        if (last && b->d_last) memcpy(d, b->d_last + k * run->state, 4 * run->state);
        else if (!last && has_product(cell, k)) multiply_back(run, back, next, k, resets ? NULL : out, s->out_stride);
        else if (out && !resets) {
            rows->d[k] = (Rows){(float *)out, s->out_stride};
            continue;
        } else memset(d, 0, 4 * run->state);
        if (out && last) add_rows(n, units, d, units, out, s->out_stride);
    }
    if (resets) {
        release_reset_rows(run, back, next);
        if (d_out && cell->output >= 0)
            add_rows(n, units, b->d + cell->output * run->state, units, d_out, s->out_stride);
    }
    rows->d_y = d_out ? (Rows){(float *)d_out, s->out_stride} : (Rows){(float *)b->zeros, 0};
}

/* Sets gradients after a row's end to zero. */
static void clear_padding(const Run *run, size_t t, StepRows *rows) {
    const Block *b = run->block;
    for (size_t r = 0; r < b->rows; r++) {
        if (t < (size_t)b->lengths[r]) continue;
        memset(rows->deltas.pointer + r * rows->deltas.stride, 0, 4 * run->stack->cell->slots * rows->units);
        for (size_t k = 0; k < run->stack->states; k++)
            memset(rows->carry[k].pointer + r * rows->units, 0, 4 * rows->units);
    }
}

/* The part of the rows from `first` to `first + count`. */
static StepRows part_of(const StepRows *rows, size_t states, size_t first, size_t count) {
    StepRows part = *rows;
    Rows *const moved[] = {&part.slots, &part.kept, &part.y,   &part.mask,  &part.keep,
                           &part.spare, &part.d_y,  &part.deltas, &part.d_kept};
    for (size_t i = 0; i < sizeof moved / sizeof *moved; i++)
        if (moved[i]->pointer) moved[i]->pointer += first * moved[i]->stride;
    for (size_t k = 0; k < states; k++) {
        Rows *const of_state[] = {&part.was[k], &part.next[k], &part.d[k], &part.carry[k]};
        for (size_t i = 0; i < 4; i++) of_state[i]->pointer += first * of_state[i]->stride;
    }
    part.rows = count;
    return part;
}

/* Runs a phase of a step, only for rows that have not ended: a cell's own function could make NaN from their zeros. */
static void phase_backward(const Run *run, size_t t, size_t phase, const StepRows *rows) {
    const Cell *cell = run->stack->cell;
    void (*const compute)(const StepRows *) = (are_quiet(run, t, 1) ? cell->quiet_backward : cell->backward)[phase];
    const int32_t *lengths = run->block->lengths;
    if (!lengths) {
        compute(rows);
        return;
    }
    for (size_t r = 0, end; r < rows->rows; r = end) {
        const int lives = t < (size_t)lengths[r];
        for (end = r + 1; end < rows->rows && (t < (size_t)lengths[end]) == lives; end++) {}
        const StepRows part = part_of(rows, run->stack->states, r, end - r);
        if (lives) compute(&part);
    }
}

static void step_backward(const Run *run, const Back *back, size_t i) {
    const Stack *s = run->stack;
    const Cell *cell = s->cell;
    Block *b = run->block;
    const size_t t = time_of(run, i), units = s->units;
    StepRows rows;
    rows_at(run, i, &rows);
    rows.deltas = (Rows){back->deltas + t * b->rows * s->slot_stride, s->slot_stride};
    rows.d_kept = (Rows){b->d_kept, s->kept_stride};
    rows.d_vectors = b->d_vectors;
    gather(run, back, i, &rows);
    if (b->lengths) clear_padding(run, t, &rows);
    const size_t by_unit = (cell->vectors + cell->derived) * units;
    memset(b->d_vectors, 0, 4 * by_unit);
    for (int64_t phase = 0; phase < cell->back_phases; phase++) {
        phase_backward(run, t, phase, &rows);
        for (int64_t k = 0; k < cell->products; k++) {
            const Product *p = &cell->product[k];
            if (p->state >= 0 || p->back != phase || (p->left_out && are_quiet(run, t, 1))) continue;
            float *to = b->d_kept + p->kept * units;
            product(b->rows, units, deltas_of(run, back, t, p->slot, p->count), run->packed->product_back[k],
                    p->again ? to : NULL, s->kept_stride, to, s->kept_stride);
        }
    }
    add_rows(1, by_unit, back->sums->total + cell->slots * units, 0, b->d_vectors, 0);
}

/* Adds the gradient of a matrix that multiplies a state, from steps [i, i + n) in the order of processing. */
static void add_state_weights(const Run *run, const Back *back, size_t k, size_t i, size_t n) {
    const Stack *s = run->stack;
    const Block *b = run->block;
    const Product *p = &s->cell->product[k];
    const size_t end = i + n;
    while (i < end) {
        const size_t t = time_of(run, i);
        const int resets = run->any_reset && run->any_reset[t], alone = i == 0 || resets;
        size_t count = 1; /* steps whose previous states are consecutive in memory */
        while (!alone && i + count < end && !(run->any_reset && run->any_reset[time_of(run, i + count)])) count++;
        if (!(i == 0 && b->from_zero && !resets)) {
            const size_t last = i + count - 1, at = run->direction ? last : i;
            const Rows was = before(run, at, p->state);
            add_outer(count * b->rows, deltas_of(run, back, time_of(run, at), p->slot, 1).pointer, s->slot_stride,
                      p->count * s->units, was.pointer, was.stride, s->units, back->sums->product[k], s->units);
        }
        i += count;
    }
}

/* The same for a product with a kept value, from steps [t, t + n) in time. */
static void add_kept_weights(const Run *run, const Back *back, size_t k, size_t t, size_t n) {
    const Stack *s = run->stack;
    const Product *p = &s->cell->product[k];
    const size_t rows = run->block->rows;
    add_outer(n * rows, deltas_of(run, back, t, p->slot, 1).pointer, s->slot_stride, p->count * s->units,
              run->block->kept[run->cell] + t * rows * s->kept_stride + p->kept * s->units, s->kept_stride, s->units,
              back->sums->product[k], s->units);
}

/* Adds the gradient of the input's weights and of the biases from steps [t, t + n). */
static void add_input_weights(const Run *run, const Back *back, size_t t, size_t n) {
    const Stack *s = run->stack;
    const Block *b = run->block;
    const size_t rows = n * b->rows, begin = t * b->rows, columns = s->cell->inputs * s->units,
                 used = input_columns(run, t, n), all = s->cell->slots * s->units;
    const float *deltas = back->deltas + begin * s->slot_stride,
                *x = run->input.pointer + begin * run->input.stride;
    float *sum = back->sums->ih, *total = back->sums->total;
    size_t summed = 0; /* columns whose totals add_narrow computes, too */
    if (run->layer == 0 && s->bare) {
        for (size_t r = 0; r < rows; r++) {
            const size_t token = b->tokens[begin + r], row = (begin + r) % b->rows;
            const vec mask = splat(b->input_mask[row * s->shape.inputs + token]);
            const float *from = deltas + r * s->slot_stride;
            float *to = sum + token * columns;
            for (size_t j = 0; j < columns; j += WIDTH) store(to + j, fma_(mask, load(from + j), load(to + j)));
        }
    } else if (run->layer == 0 && s->shape.one_hot) {
        for (size_t r = 0; r < rows; r++)
            add_rows(1, columns, sum + (size_t)b->tokens[begin + r] * columns, 0, deltas + r * s->slot_stride, 0);
    } else if (transposed(s, run->cell)) {
        add_narrow(rows, deltas, s->slot_stride, used, x, run->input.stride, s->shape.inputs, sum, columns,
                   total);
        summed = columns;
    } else {
        add_outer(rows, deltas, s->slot_stride, used, x, run->input.stride, run->packed->columns, sum,
                  run->packed->columns);
    }
    add_narrow(rows, deltas + summed, s->slot_stride, all - summed, NULL, 0, 0, NULL, 0, total + summed);
}

static void cell_backward(const Run *run, const Back *back) {
    const Stack *s = run->stack;
    const Cell *cell = s->cell;
    Block *b = run->block;
    const size_t span = span_steps(b), rows = b->rows, units = s->units;
    const int top = run->layer + 1 == (size_t)s->shape.layers;
    for (size_t k = 0; k < s->states; k++) { /* where d is used, it gets d_last; see gather */
        float *carry = b->carry + k * run->state;
        if (b->d_last && !cell->multiplied[k]) memcpy(carry, b->d_last + k * run->state, 4 * run->state);
        else memset(carry, 0, 4 * run->state);
    }
    for (size_t end = b->steps; end > 0;) {
        const size_t i = end > span ? end - span : 0, n = end - i;
        for (size_t k = end; k-- > i;) step_backward(run, back, k);
        const size_t t = run->direction ? time_of(run, end - 1) : i;
        for (int64_t k = 0; k < cell->products; k++)
            if (cell->product[k].state >= 0) add_state_weights(run, back, k, i, n);
            else if (!cell->product[k].left_out || b->read_step < 0 || !top) add_kept_weights(run, back, k, t, n);
            else if ((size_t)b->read_step - t < n) add_kept_weights(run, back, k, b->read_step, 1);
        add_input_weights(run, back, t, n);
        if (back->d_below) {
            float *to = back->d_below + t * rows * back->below_stride;
            product(n * rows, run->packed->columns, deltas_of(run, back, t, 0, cell->inputs), run->packed->ih_back,
                    run->direction ? to : NULL, back->below_stride, to, back->below_stride);
        }
        end = i;
    }
    const size_t t = time_of(run, 0);
    const int resets = run->any_reset && run->any_reset[t];
    float *d_first = b->d_first[run->cell];
    if (!d_first && !resets) return;
    for (size_t k = 0; k < s->states; k++)
        if (has_product(cell, k)) multiply_back(run, back, t, k, NULL, 0);
        else memset(b->d + k * run->state, 0, 4 * run->state);
    if (resets) release_reset_rows(run, back, t);
    if (!d_first) return;
    memcpy(d_first, b->d, 4 * s->states * run->state);
    for (size_t k = 0; k < s->states; k++)
        if (cell->carried[k])
            add_rows(rows, units, d_first + k * run->state, units, b->carry + k * run->state, units);
}

void stack_backward(const Stack *stack, Block *block, Sums *sums) {
    const size_t D = stack->shape.directions, n = block->rows * block->steps;
    const float *d_out = block->d_out;
    for (size_t l = stack->shape.layers; l-- > 0;) {
        float *d_below = l ? block->d_below[l % 2] : block->d_x;
        for (size_t d = 0; d < D; d++) {
            const Run run = run_of(stack, block, l, d);
            const Back back = {.d_out = d_out ? d_out + d * stack->units : NULL,
                               .only = l + 1 == (size_t)stack->shape.layers ? block->read_step : -1,
                               .deltas = block->deltas[d] ? block->deltas[d] : run.slots,
                               .d_below = d_below,
                               .below_stride = l ? stack->out_stride : padded(stack->shape.inputs),
                               .sums = &sums[run.cell]};
            cell_backward(&run, &back);
        }
        if (l && block->mask[l - 1])
            for (size_t i = 0; i < n * stack->out_stride; i += WIDTH)
                store(d_below + i, load(d_below + i) * load(block->mask[l - 1] + i));
        d_out = d_below;
    }
}
