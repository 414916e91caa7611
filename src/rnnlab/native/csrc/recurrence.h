/* A stack of cells driven forward and backward through time, for a block of rows of a batch.
 *
 * Inside, everything is time-major and padded to whole blocks of 16 floats: a layer's output is [T][R][D * units]
 * (R rows, D directions, `units` the hidden size padded), the gates of a cell [T][R][slots * units]. The padding
 * is exactly neutral: its weights are zero, so its states and gradients are. */
#ifndef RNNLAB_RECURRENCE_H
#define RNNLAB_RECURRENCE_H

#include "tiles.h"

enum { ELMAN, GRU, LSTM };
#define MAX_CELLS 32  /* layers * directions */
#define SPAN_ROWS 128 /* rows (steps * rows of the batch) of one matrix product over several steps, about */

/* One cell's parameters in torch's layout, or their gradients; NULL for one that there is not or that is not asked
 * for. ih (gates*H, I), hh (gates*H, H), biases (gates*H,), initial (states, H). */
typedef struct {
    float *ih, *hh, *bias_ih, *bias_hh, *initial;
} Weights;

/* What a stack is; the Python side fills it in. */
typedef struct {
    int64_t kind, relu, layers, directions, inputs, hidden;
    int64_t one_hot; /* the first layer's inputs are indices below `inputs` */
} Shape;

/* Weights packed for the products. */
typedef struct {
    size_t blocks, length; /* the input: so many stretches of so many floats, each padded to whole blocks */
    size_t columns;        /* the same with its padding */
    float *ih, *hh; /* panels of the way forward; for one-hot inputs `ih` is a table [inputs][gates * units] */
    float *ih_back, *hh_back;
    float *bias;    /* [slots * units]: what the products start from */
    float *initial; /* [states][units] */
} Packed;

typedef struct {
    Shape shape;
    size_t units, gates, slots, states, cells;
    size_t gate_stride, out_stride;
    Packed packed[MAX_CELLS];
} Stack;

/* One group's sums of gradients, padded: ih [gates * units][columns], or transposed [inputs][gates * units] for
 * narrow and one-hot inputs; hh [gates * units][units]; bias [slots * units]; initial [states][units]. */
typedef struct {
    float *ih, *hh, *bias, *initial;
} Sums;

/* What a block of rows needs; see block_arrange. */
typedef struct {
    int dropout, resets, input_gradient, state_gradient;
    int keep_gates; /* a second way back may follow: gradients must not overwrite the gates */
} Needs;

typedef struct {
    size_t rows, steps;
    size_t row; /* its first row in the batch */
    Needs needs;
    /* inputs, filled in before stack_forward */
    float *x; /* [T][R][x_stride] */
    size_t x_stride;
    int32_t *tokens;                  /* [T][R], one-hot inputs */
    const int32_t *lengths;           /* [R] or NULL: outputs from there on are zero */
    int from_zero;                    /* all first states are zero */
    float *first[MAX_CELLS];          /* [states][R][units]: the states before the first step */
    uint8_t *reset[2], *any_reset[2]; /* [T][R], [T], by direction: back to `initial` before this step */
    /* what the way forward leaves */
    float *out[MAX_CELLS];                       /* by layer */
    float *mask[MAX_CELLS], *dropped[MAX_CELLS]; /* by layer: dropout's mask; out times the mask */
    float *gates[MAX_CELLS], *c[MAX_CELLS], *tanh_c[MAX_CELLS];
    float *before[MAX_CELLS]; /* [T][states][R][units], only for steps with resets: the states they start from */
    /* the way back */
    const float *d_out;        /* d loss / d out of the top layer: [T][R][out_stride], or one step of it ... */
    int64_t d_out_step;        /* ... where this is not negative */
    const float *d_last;       /* [states][R][units], gradient of the final state of the one cell, or NULL */
    float *d_first[MAX_CELLS]; /* [states][R][units] each, gradient of the first states, or NULL */
    float *d_x;                /* [T][R][padded inputs] */
    float *d_end;              /* room for d_last */
    float *d_top, *deltas[2], *d_below[2], *d_h, *carry;
} Block;

/* The gate, in torch's order, whose input weights and whose state weights a slot holds; see gru.h. */
INLINE size_t input_gate(const Stack *stack, size_t slot) {
    return stack->shape.kind == GRU ? (slot + 2) % 3 : slot;
}
INLINE size_t state_slot(const Stack *stack) { return stack->shape.kind == GRU ? 1 : 0; } /* slot of gate 0 */

/* Whether the gradient of a cell's input weights is kept transposed. */
INLINE int transposed(const Stack *stack, size_t cell) {
    return cell < (size_t)stack->shape.directions && (stack->shape.one_hot || stack->shape.inputs <= NARROW);
}

/* Takes memory from one stretch, or only counts it while there is none. */
typedef struct {
    char *pointer;
    size_t bytes;
} Arena;
float *take(Arena *arena, size_t floats);

/* Sets several pieces to zero at once. */
void zero(void *from, size_t bytes);

/* Sizes and packed weights. Returns the bytes that the arena has given; with arena->pointer NULL only counts. */
void stack_arrange(Stack *stack, const Shape *shape, Arena *arena);
void sums_arrange(const Stack *stack, Sums *sums, Arena *arena);
void block_arrange(const Stack *stack, Block *block, size_t rows, size_t steps, Needs needs, Arena *kept,
                   Arena *scratch);

/* Packs the cells' weights; `back` also those of the way back. The arena must have been zeroed once. */
void stack_pack(Stack *stack, const Weights *weights, int back);

void stack_forward(const Stack *stack, Block *block);

/* Adds to `sums` (one a cell); the gradient of the input and of the first states where block->needs or d_first
 * ask for them. */
void stack_backward(const Stack *stack, Block *block, Sums *sums);

/* Adds up the groups' sums in their order, into gradients in torch's layout. */
void stack_collect(const Stack *stack, Sums *const *groups, size_t count, Weights *gradients);

/* The state of a cell after its last step, as pointers to rows of stride `stride`. */
const float *last_h(const Stack *stack, const Block *block, size_t cell, size_t *stride);
const float *last_c(const Stack *stack, const Block *block, size_t cell);

/* A batch in groups of at least 16 rows, at most MAX_GROUPS, and each group in blocks of at most 32 rows: by
 * size alone, so that neither machine nor threads change a sum. */
size_t group_count(size_t rows);
INLINE size_t part_start(size_t rows, size_t parts, size_t i) { return rows * i / parts; }
#define BLOCK_ROWS 32

#endif
