#include "recurrence.h"

#include "elman.h"
#include "gru.h"
#include "lstm.h"

/* ------------------------------------------------------------------------------------------ memory */

/* Under the address sanitizer a forbidden line follows each piece, so that a neighbour's memory is not one's own. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define GUARD 64
#else
#define GUARD 0
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)0)
#endif

float *take(Arena *arena, size_t floats) {
    const size_t bytes = (4 * floats + 63) / 64 * 64;
    char *taken = arena->at ? arena->at + arena->bytes : NULL;
    arena->bytes += bytes + GUARD;
    if (taken) {
        ASAN_UNPOISON_MEMORY_REGION(taken, bytes);
        ASAN_POISON_MEMORY_REGION(taken + bytes, GUARD);
    }
    return (float *)taken;
}

#if GUARD
__attribute__((no_sanitize_address)) void wipe(void *from, size_t bytes) { /* not memset, which minds the guards */
    for (size_t i = 0; i < bytes; i++) ((volatile char *)from)[i] = 0;
}
#else
void wipe(void *from, size_t bytes) { memset(from, 0, bytes); }
#endif

size_t group_count(size_t rows) {
    size_t groups = 1;
    while (groups < MAX_GROUPS && rows >= 2 * groups * 16) groups *= 2;
    return groups;
}

void stack_arrange(Stack *stack, const Shape *shape, Arena *arena) {
    const size_t D = shape->directions, H = shape->hidden;
    *stack = (Stack){.shape = *shape};
    stack->units = padded(H);
    stack->gates = shape->kind == ELMAN ? 1 : shape->kind == GRU ? 3 : 4;
    stack->slots = shape->kind == ELMAN ? 1 : 4;
    stack->states = shape->kind == LSTM ? 2 : 1;
    stack->cells = shape->layers * D;
    stack->gate_stride = row_stride(stack->slots * stack->units);
    stack->out_stride = row_stride(D * stack->units);
    const size_t columns = stack->gates * stack->units;
    for (size_t i = 0; i < stack->cells; i++) {
        Packed *p = &stack->packed[i];
        const int first = i < D;
        p->blocks = first ? 1 : D;
        p->length = first ? (size_t)shape->inputs : H;
        p->columns = first ? padded(shape->inputs) : D * stack->units;
        p->ih = take(arena, p->blocks * p->length * columns);
        p->hh = take(arena, H * columns);
        p->ih_back = first && shape->one_hot ? NULL : take(arena, stack->gates * H * p->columns);
        p->hh_back = take(arena, stack->gates * H * stack->units);
        p->bias = take(arena, stack->slots * stack->units);
        p->initial = take(arena, stack->states * stack->units);
    }
}

/* Whether the gradient of a cell's input weights is kept transposed. */
static int transposed(const Stack *stack, size_t cell) {
    return cell < (size_t)stack->shape.directions && (stack->shape.one_hot || stack->shape.inputs <= NARROW);
}

void sums_arrange(const Stack *stack, Sums *sums, Arena *arena) {
    const size_t rows = stack->gates * stack->units;
    for (size_t i = 0; i < stack->cells; i++) {
        sums[i].ih = take(arena, rows * (transposed(stack, i) ? (size_t)stack->shape.inputs : stack->packed[i].columns));
        sums[i].hh = take(arena, rows * stack->units);
        sums[i].bias = take(arena, stack->slots * stack->units);
        sums[i].initial = take(arena, stack->states * stack->units);
    }
}

void block_arrange(const Stack *stack, Block *block, size_t rows, size_t steps, Needs needs, Arena *kept,
                   Arena *scratch) {
    const size_t n = rows * steps, state = stack->states * rows * stack->units, D = stack->shape.directions;
    const size_t inputs = stack->shape.inputs;
    *block = (Block){.rows = rows, .steps = steps, .needs = needs, .d_out_step = -1};
    if (stack->shape.one_hot) {
        block->tokens = (int32_t *)take(kept, n);
    } else {
        block->x_stride = inputs <= NARROW ? inputs : row_stride(inputs);
        block->x = take(kept, n * block->x_stride);
    }
    for (size_t d = 0; d < D && needs.resets; d++) {
        block->reset[d] = (uint8_t *)take(kept, (n + 3) / 4);
        block->any_reset[d] = (uint8_t *)take(kept, (steps + 3) / 4);
    }
    for (size_t l = 0; l < (size_t)stack->shape.layers; l++) {
        block->out[l] = take(kept, n * stack->out_stride);
        if (needs.dropout && l + 1 < (size_t)stack->shape.layers) {
            block->mask[l] = take(kept, n * stack->out_stride);
            block->dropped[l] = take(kept, n * stack->out_stride);
        }
    }
    for (size_t i = 0; i < stack->cells; i++) {
        block->gates[i] = take(kept, n * stack->gate_stride);
        block->first[i] = take(kept, state);
        if (stack->shape.kind == LSTM) {
            block->c[i] = take(kept, n * stack->units);
            block->tanh_c[i] = take(kept, n * stack->units);
        }
        if (needs.resets) block->before[i] = take(kept, steps * state);
    }
    for (size_t d = 0; d < D && needs.keep_gates; d++) block->deltas[d] = take(scratch, n * stack->gate_stride);
    for (size_t i = 0; i < 2 && stack->shape.layers > 1; i++)
        block->d_below[i] = take(scratch, n * stack->out_stride);
    block->d_top = take(scratch, n * stack->out_stride);
    block->d_x = needs.input_gradient ? take(scratch, n * padded(inputs)) : NULL;
    for (size_t i = 0; i < stack->cells && needs.state_gradient; i++) block->d_first[i] = take(scratch, state);
    block->d_h = take(scratch, rows * stack->units);
    block->carry = take(scratch, rows * stack->units);
}

/* ------------------------------------------------------------------------------------------ packing */

/* The gate, in torch's order, whose input weights and whose state weights a slot holds; see gru.h. */
static size_t input_gate(const Stack *stack, size_t slot) { return stack->shape.kind == GRU ? (slot + 2) % 3 : slot; }
static size_t state_slot(const Stack *stack) { return stack->shape.kind == GRU ? 1 : 0; } /* slot of gate 0 */

static void pack_cell(const Stack *stack, Packed *p, const Weights *w, int one_hot, int back) {
    const size_t H = stack->shape.hidden, units = stack->units, gates = stack->gates, inputs = p->blocks * p->length;
    const size_t columns = gates * units, first = state_slot(stack);
    for (size_t s = 0; s < gates; s++) {
        const size_t gate = input_gate(stack, s);
        for (size_t u = 0; u < H; u++) {
            const float *ih = w->ih + (gate * H + u) * inputs, *hh = w->hh + (s * H + u) * H;
            pack_column(p->hh, s * units + u, columns, hh, H);
            if (back) pack_row(p->hh_back, s * H + u, gates * H, hh, 1, H, units);
            if (one_hot) continue;
            pack_column(p->ih, s * units + u, columns, ih, inputs);
            if (back) pack_row(p->ih_back, s * H + u, gates * H, ih, p->blocks, p->length, p->columns);
        }
        float *input_bias = p->bias + s * units;
        for (size_t u = 0; u < H; u++) input_bias[u] = w->bias_ih ? w->bias_ih[gate * H + u] : 0.0f;
    }
    for (size_t s = 0; s < gates; s++) {
        float *bias = p->bias + (first + s) * units;
        const int shared = first + s < gates; /* the slot takes both products */
        for (size_t u = 0; u < H; u++)
            bias[u] = (shared ? bias[u] : 0.0f) + (w->bias_hh ? w->bias_hh[s * H + u] : 0.0f);
    }
    if (one_hot) /* the table's rows are whole sums: bias and the weights that a one-hot picks */
        for (size_t s = 0; s < gates; s++)
            for (size_t u = 0; u < H; u++) {
                const float *ih = w->ih + (input_gate(stack, s) * H + u) * inputs;
                for (size_t v = 0; v < inputs; v++) p->ih[v * columns + s * units + u] = p->bias[s * units + u] + ih[v];
            }
    for (size_t i = 0; i < stack->states; i++)
        for (size_t u = 0; u < H; u++) p->initial[i * units + u] = w->initial ? w->initial[i * H + u] : 0.0f;
}

void stack_pack(Stack *stack, const Weights *weights, int back) {
    for (size_t i = 0; i < stack->cells; i++)
        pack_cell(stack, &stack->packed[i], &weights[i],
                  stack->shape.one_hot && i < (size_t)stack->shape.directions, back);
}

/* ------------------------------------------------------------------------------------------ one cell */

/* A cell's place in its block: what both ways through time share. */
typedef struct {
    const Stack *stack;
    const Packed *packed;
    Block *block;
    size_t cell, layer, direction;
    Left input;      /* its rows for all steps */
    float *out;      /* its columns of the layer's output */
    float *gates;    /* [T][R][gate_stride] */
    uint8_t *any_reset;
    size_t state;    /* floats of one state: R * units */
} Run;

static Run run_of(const Stack *stack, Block *block, size_t layer, size_t direction) {
    const size_t cell = layer * stack->shape.directions + direction, units = stack->units;
    const Packed *p = &stack->packed[cell];
    const float *below = !layer ? block->x : block->dropped[layer - 1] ? block->dropped[layer - 1] : block->out[layer - 1];
    return (Run){.stack = stack, .packed = p, .block = block, .cell = cell, .layer = layer, .direction = direction,
                 .input = {below, layer ? stack->out_stride : block->x_stride, p->blocks, p->length, units},
                 .out = block->out[layer] + direction * units, .gates = block->gates[cell],
                 .any_reset = block->any_reset[direction], .state = block->rows * units};
}

/* Step i in the order of processing is step time_of(i) in time. */
static size_t time_of(const Run *run, size_t i) { return run->direction ? run->block->steps - 1 - i : i; }

/* The state before step i: rows of `stride` floats. */
typedef struct {
    const float *h, *c;
    size_t stride;
} Before;

static Before before(const Run *run, size_t i) {
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
            memcpy(kept + run->state + r * units, reset[r] ? run->packed->initial + units : was.c + r * units, 4 * units);
    }
}

/* Steps that one product covers, by size alone. */
static size_t span_steps(const Block *b) {
    const size_t steps = (SPAN_ROWS + b->rows - 1) / b->rows;
    return steps < b->steps ? steps : b->steps;
}

/* ------------------------------------------------------------------------------------------ forward */

/* The input's part of the gates, with the biases, for steps [t, t + steps). */
static void project(const Run *run, size_t t, size_t steps) {
    const Stack *s = run->stack;
    const size_t rows = steps * run->block->rows, at = t * run->block->rows, columns = s->gates * s->units;
    float *gates = run->gates + at * s->gate_stride;
    if (run->layer == 0 && s->shape.one_hot) {
        for (size_t r = 0; r < rows; r++)
            memcpy(gates + r * s->gate_stride, run->packed->ih + (size_t)run->block->tokens[at + r] * columns, 4 * columns);
    } else {
        Left input = run->input;
        input.at += at * input.stride;
        product(rows, columns, input, run->packed->ih, run->packed->bias, 0, gates, s->gate_stride);
    }
    if (s->slots > s->gates) /* the GRU's h_n takes only the state's product */
        for (size_t r = 0; r < rows; r++)
            memcpy(gates + r * s->gate_stride + columns, run->packed->bias + columns, 4 * (s->slots * s->units - columns));
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
        const size_t at = t * run->state + r * units;
        if (s->shape.kind == ELMAN) elman_forward(s->shape.relu, units, g, h);
        if (s->shape.kind == GRU) gru_forward(units, g, was.h + r * was.stride, h);
        if (s->shape.kind == LSTM)
            lstm_forward(units, g, was.c + r * units, b->c[run->cell] + at, b->tanh_c[run->cell] + at, h);
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

/* ------------------------------------------------------------------------------------------ backward */

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
        add_rows(1, units, sum + (s->shape.kind == LSTM ? units : 0), 0, carry, 0); /* the GRU's carry is one of h */
        memset(carry, 0, 4 * units);
    }
}

/* d_h: what reaches the output of step i from the step after and from the layer's output. Returns where it stands. */
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
    const size_t at = t * b->rows;
    for (size_t r = 0; r < b->rows; r++) {
        const float *d = d_h + r * d_stride, *gates = run->gates + (at + r) * s->gate_stride;
        float *deltas = back->deltas + (at + r) * s->gate_stride, *carry = b->carry + r * units;
        if (s->shape.kind == ELMAN) elman_backward(s->shape.relu, units, d, run->out + (at + r) * s->out_stride, deltas);
        if (s->shape.kind == GRU) gru_backward(units, d, gates, was.h + r * was.stride, carry, deltas);
        if (s->shape.kind == LSTM)
            lstm_backward(units, d, gates, was.c + r * units, b->tanh_c[run->cell] + (at + r) * units, carry, deltas);
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
        while (!alone && k + count < i + n && !(run->any_reset && run->any_reset[time_of(run, k + count)])) count++;
        if (!(k == 0 && b->from_zero && !(run->any_reset && run->any_reset[t]))) {
            const Before was = before(run, run->direction ? k + count - 1 : k);
            const size_t first = run->direction ? time_of(run, k + count - 1) : t;
            add_outer(count * b->rows, deltas_of(run, back, first, state_slot(s)).at, s->gate_stride, columns, was.h,
                      was.stride, s->units, back->sums->hh, s->units);
        }
        k += count;
    }
}

/* Adds the gradient of the input's weights and of the biases from steps [t, t + n). */
static void add_input_weights(const Run *run, const Back *back, size_t t, size_t n) {
    const Stack *s = run->stack;
    const Block *b = run->block;
    const size_t rows = n * b->rows, at = t * b->rows, columns = s->gates * s->units, all = s->slots * s->units;
    const float *deltas = back->deltas + at * s->gate_stride, *x = run->input.at + at * run->input.stride;
    float *sum = back->sums->ih, *total = back->sums->bias;
    size_t summed = 0; /* columns whose totals come with the narrow sums */
    if (run->layer == 0 && s->shape.one_hot) {
        for (size_t r = 0; r < rows; r++)
            add_rows(1, columns, sum + (size_t)b->tokens[at + r] * columns, 0, deltas + r * s->gate_stride, 0);
    } else if (transposed(s, run->cell)) {
        add_narrow(rows, deltas, s->gate_stride, columns, x, run->input.stride, s->shape.inputs, sum, columns, total);
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

/* ------------------------------------------------------------------------------------------ gradients out */

static void collect_cell(const Stack *stack, size_t cell, Parts ih, Parts hh, Parts bias, Parts initial, Weights *out) {
    const size_t H = stack->shape.hidden, units = stack->units, columns = stack->gates * units;
    const Packed *p = &stack->packed[cell];
    for (size_t s = 0; s < stack->gates; s++) {
        const size_t gate = input_gate(stack, s);
        if (out->bias_ih) collect(bias, s * units, 1, H, out->bias_ih + gate * H);
        if (out->bias_hh) collect(bias, (state_slot(stack) + s) * units, 1, H, out->bias_hh + s * H);
        for (size_t u = 0; u < H; u++) {
            const size_t row = s * units + u;
            float *to = out->ih ? out->ih + (gate * H + u) * p->blocks * p->length : NULL;
            if (out->hh) collect(hh, row * units, 1, H, out->hh + (s * H + u) * H);
            if (to && transposed(stack, cell)) collect(ih, row, columns, p->length, to);
            else
                for (size_t b = 0; to && b < p->blocks; b++)
                    collect(ih, row * p->columns + b * units, 1, p->length, to + b * p->length);
        }
    }
    for (size_t s = 0; s < stack->states && out->initial; s++) collect(initial, s * units, 1, H, out->initial + s * H);
}

void stack_collect(const Stack *stack, Sums *const *groups, size_t count, Weights *gradients) {
    for (size_t i = 0; i < stack->cells; i++) {
        Parts ih = {.count = count}, hh = {.count = count}, bias = {.count = count}, initial = {.count = count};
        for (size_t g = 0; g < count; g++) {
            ih.at[g] = groups[g][i].ih;
            hh.at[g] = groups[g][i].hh;
            bias.at[g] = groups[g][i].bias;
            initial.at[g] = groups[g][i].initial;
        }
        collect_cell(stack, i, ih, hh, bias, initial, &gradients[i]);
    }
}
