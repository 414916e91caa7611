/* A stack backward through time. */
#include "elman.h"
#include "gru.h"
#include "lstm.h"
#include "run.h"

/* What one cell's way back works on. */
typedef struct {
    const float *d_out; /* the cell's columns of its layer's output: all steps, or the one at `only` */
    int64_t only;       /* -1: all */
    float *deltas;      /* gradients of what the products give, where the gates are or apart */
    float *d_below;     /* gradient of the layer's input: all its columns, or NULL */
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

static Left deltas_of(const Run *run, const Back *back, size_t t, size_t first_slot) {
    const Stack *s = run->stack;
    return (Left){back->deltas + t * run->block->rows * s->gate_stride + first_slot * s->units, s->gate_stride,
                  s->gates, s->shape.hidden, s->units};
}

/* Rows that a step reset pass their gradient to `initial`, and none to the step before. */
static void release_reset_rows(const Run *run, const Back *back, size_t t) {
    const Stack *s = run->stack;
    Block *b = run->block;
    const size_t units = s->units;
    for (size_t r = 0; r < b->rows; r++) {
        if (!b->reset[run->direction][t * b->rows + r]) continue;
        float *d_h = b->d_h + r * units, *carry = b->carry + r * units, *sum = back->sums->initial;
        add_rows(1, units, sum, 0, d_h, 0);
        memset(d_h, 0, 4 * units);
        if (s->shape.kind == ELMAN) continue;
        add_rows(1, units, sum + (s->shape.kind == LSTM ? units : 0), 0, carry,
                 0); /* the GRU's carry is one of h */
        memset(carry, 0, 4 * units);
    }
}

/* d_h: what reaches the output of step i from the step after and from the layer's output. Returns where it stands.
 */
static const float *gather_d_h(const Run *run, const Back *back, size_t i, size_t *stride) {
    const Stack *s = run->stack;
    Block *b = run->block;
    const size_t t = time_of(run, i), rows = b->rows, units = s->units;
    const float *d_out = d_out_at(run, back, t);
    *stride = units;
    if (i + 1 == b->steps) {
        if (d_out && !b->d_last) {
            *stride = s->out_stride;
            return d_out;
        }
        if (b->d_last) memcpy(b->d_h, b->d_last, 4 * run->state);
        else memset(b->d_h, 0, 4 * run->state);
        if (d_out) add_rows(rows, units, b->d_h, units, d_out, s->out_stride);
        return b->d_h;
    }
    const size_t after = time_of(run, i + 1);
    const Left deltas = deltas_of(run, back, after, state_slot(s));
    const int resets = run->any_reset && run->any_reset[after];
    product(rows, units, deltas, run->packed->hh_back, resets ? NULL : d_out, s->out_stride, b->d_h, units);
    if (resets) {
        release_reset_rows(run, back, after);
        if (d_out) add_rows(rows, units, b->d_h, units, d_out, s->out_stride);
    }
    return b->d_h;
}

static void step_backward(const Run *run, const Back *back, size_t i) {
    const Stack *s = run->stack;
    Block *b = run->block;
    const size_t t = time_of(run, i), units = s->units;
    size_t d_stride;
    const float *d_h = gather_d_h(run, back, i, &d_stride);
    const Before was = before(run, i);
    const size_t first = t * b->rows;
    for (size_t r = 0; r < b->rows; r++) {
        const float *d = d_h + r * d_stride, *gates = run->gates + (first + r) * s->gate_stride;
        float *deltas = back->deltas + (first + r) * s->gate_stride, *carry = b->carry + r * units;
        if (s->shape.kind == ELMAN)
            elman_backward(s->shape.relu, units, d, run->out + (first + r) * s->out_stride, deltas);
        if (s->shape.kind == GRU) gru_backward(units, d, gates, was.h + r * was.stride, carry, deltas);
        if (s->shape.kind == LSTM)
            lstm_backward(units, d, gates, was.c + r * units, b->tanh_c[run->cell] + (first + r) * units, carry,
                          deltas);
    }
}

/* Adds the gradient of the state's weights from steps [i, i + n) in the order of processing. */
static void add_state_weights(const Run *run, const Back *back, size_t i, size_t n) {
    const Stack *s = run->stack;
    const Block *b = run->block;
    const size_t columns = s->gates * s->units;
    for (size_t k = i; k < i + n;) {
        const size_t t = time_of(run, k);
        const int alone = k == 0 || (run->any_reset && run->any_reset[t]);
        size_t count = 1; /* steps whose states before them lie one after another in time */
        while (!alone && k + count < i + n && !(run->any_reset && run->any_reset[time_of(run, k + count)]))
            count++;
        if (!(k == 0 && b->from_zero && !(run->any_reset && run->any_reset[t]))) {
            const Before was = before(run, run->direction ? k + count - 1 : k);
            const size_t first = run->direction ? time_of(run, k + count - 1) : t;
            add_outer(count * b->rows, deltas_of(run, back, first, state_slot(s)).pointer, s->gate_stride, columns,
                      was.h, was.stride, s->units, back->sums->hh, s->units);
        }
        k += count;
    }
}

/* Adds the gradient of the input's weights and of the biases from steps [t, t + n). */
static void add_input_weights(const Run *run, const Back *back, size_t t, size_t n) {
    const Stack *s = run->stack;
    const Block *b = run->block;
    const size_t rows = n * b->rows, begin = t * b->rows, columns = s->gates * s->units, all = s->slots * s->units;
    const float *deltas = back->deltas + begin * s->gate_stride,
                *x = run->input.pointer + begin * run->input.stride;
    float *sum = back->sums->ih, *total = back->sums->bias;
    size_t summed = 0; /* columns whose totals come with the narrow sums */
    if (run->layer == 0 && s->shape.one_hot) {
        for (size_t r = 0; r < rows; r++)
            add_rows(1, columns, sum + (size_t)b->tokens[begin + r] * columns, 0, deltas + r * s->gate_stride, 0);
    } else if (transposed(s, run->cell)) {
        add_narrow(rows, deltas, s->gate_stride, columns, x, run->input.stride, s->shape.inputs, sum, columns,
                   total);
        summed = columns;
    } else {
        add_outer(rows, deltas, s->gate_stride, columns, x, run->input.stride, run->packed->columns, sum,
                  run->packed->columns);
    }
    add_narrow(rows, deltas + summed, s->gate_stride, all - summed, NULL, 0, 0, NULL, 0, total + summed);
}

static void cell_backward(const Run *run, const Back *back) {
    const Stack *s = run->stack;
    Block *b = run->block;
    const size_t span = span_steps(b), rows = b->rows, units = s->units;
    if (b->d_last && s->shape.kind == LSTM) memcpy(b->carry, b->d_last + run->state, 4 * run->state);
    else memset(b->carry, 0, 4 * run->state);
    for (size_t end = b->steps; end > 0;) {
        const size_t i = end > span ? end - span : 0, n = end - i;
        for (size_t k = end; k-- > i;) step_backward(run, back, k);
        const size_t t = run->direction ? time_of(run, end - 1) : i;
        add_state_weights(run, back, i, n);
        add_input_weights(run, back, t, n);
        if (back->d_below) {
            float *to = back->d_below + t * rows * back->below_stride;
            product(n * rows, run->packed->columns, deltas_of(run, back, t, 0), run->packed->ih_back,
                    run->direction ? to : NULL, back->below_stride, to, back->below_stride);
        }
        end = i;
    }
    const size_t t = time_of(run, 0);
    const int resets = run->any_reset && run->any_reset[t];
    float *d_first = b->d_first[run->cell];
    if (!d_first && !resets) return;
    product(rows, units, deltas_of(run, back, t, state_slot(s)), run->packed->hh_back, NULL, 0, b->d_h, units);
    if (resets) release_reset_rows(run, back, t);
    if (!d_first) return;
    memcpy(d_first, b->d_h, 4 * run->state);
    if (s->shape.kind == GRU) add_rows(rows, units, d_first, units, b->carry, units);
    if (s->shape.kind == LSTM) memcpy(d_first + run->state, b->carry, 4 * run->state);
}

void stack_backward(const Stack *stack, Block *block, Sums *sums) {
    const size_t D = stack->shape.directions, n = block->rows * block->steps;
    const float *d_out = block->d_out;
    for (size_t l = stack->shape.layers; l-- > 0;) {
        float *d_below = l ? block->d_below[l % 2] : block->d_x;
        for (size_t d = 0; d < D; d++) {
            const Run run = run_of(stack, block, l, d);
            const Back back = {.d_out = d_out ? d_out + d * stack->units : NULL,
                               .only = l + 1 == (size_t)stack->shape.layers ? block->d_out_step : -1,
                               .deltas = block->needs.keep_gates ? block->deltas[d] : run.gates,
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
