/* Runs a stack of cells forward and backward through time, for a block of rows of a batch.
 *
 * Internally all arrays are time-major and padded to whole blocks of 16 floats: a layer's output is [T][R][D * units]
 * (R rows, D directions, `units` the padded hidden size), the slots of a cell [T][R][slots * units]. Values in the
 * padding never reach other units: no product reads them, and sums over the units skip them. */
#ifndef RNNLAB_RECURRENCE_H
#define RNNLAB_RECURRENCE_H

#include "cell.h"
#include "tiles.h"

#define MAX_CELLS 32  /* layers * directions */
#define SPAN_ROWS 128 /* approximate rows (steps * rows of the batch) of one matrix product over several steps */

/* One cell's parameters (or their gradients) in torch's layout, in the cell's order; NULL for one that does not
 * exist or is not needed. IH (gates*H, I), INITIAL (states, H), matrices (k*H, m*H), others by unit (k*H,) or (1,). */
typedef struct {
    float *parameters[MAX_PARAMETERS];
} Weights;
enum { IH, INITIAL };

/* The shape of a stack; Python fills it in. */
typedef struct {
    const Cell *cell;
    int64_t layers, directions, inputs, hidden;
    int64_t one_hot; /* the first layer's inputs are indices below `inputs` */
} Shape;

/* A cell's weights, packed for the products. */
typedef struct {
    size_t blocks, length; /* a row of the input: `blocks` stretches of `length` floats, each padded */
    size_t columns;        /* the length of such a row with padding */
    float *ih, *ih_back;   /* panels; for one-hot inputs `ih` is a table [inputs][inputs' slots * units] */
    float *product[MAX_PRODUCTS], *product_back[MAX_PRODUCTS]; /* panels */
    float *bias;    /* [slots * units]: the sums start from it */
    float *vectors; /* [vectors + derived][units] */
    float *initial; /* [states][units] */
} Packed;

typedef struct {
    Shape shape;
    const Cell *cell;
    size_t units, states, cells;
    size_t slot_stride, kept_stride, out_stride;
    int bare; /* the table of one-hot inputs is without the biases, because its rows are multiplied by input_mask */
    Packed packed[MAX_CELLS];
} Stack;

/* One group's sums of gradients, padded: ih [inputs' slots * units][columns], or transposed [I][inputs' slots * units]
 * for narrow and one-hot inputs; products [count * units][units]; total [slots + vectors + derived][units];
 * initial [states][units]. */
typedef struct {
    float *ih, *product[MAX_PRODUCTS], *total, *initial;
} Sums;

/* What a block of rows needs; see block_arrange. */
typedef struct {
    int dropout;      /* of the inputs of all layers except the first */
    int input_mask;   /* dropout of the first layer's inputs */
    int resets, input_gradient, state_gradient;
    int keep_slots; /* a second backward pass may follow: gradients must not overwrite the slots */
} Needs;

typedef struct {
    size_t rows, steps;
    size_t row; /* its first row in the batch */
    Needs needs;
    /* inputs, filled in before stack_forward */
    float *x; /* [T][R][x_stride] */
    size_t x_stride;
    int32_t *tokens;                  /* [T][R], one-hot inputs */
    const int32_t *lengths;           /* [R] or NULL: outputs from this step on are zero */
    int from_zero;                    /* all first states are zero */
    int64_t read_step;                /* the only step of the top layer whose output is read; -1: all steps */
    float *input_mask;                /* [R][inputs] or NULL: factors of the first layer's inputs */
    float *products[MAX_CELLS], *keep[MAX_CELLS]; /* [R][units], [T][R][keeps * units]: mask and keep of StepRows */
    float *first[MAX_CELLS];          /* [states][R][units]: the states before the first step */
    uint8_t *reset[2], *any_reset[2]; /* [T][R], [T], by direction: reset to `initial` before this step */
    /* results of the forward pass */
    float *out[MAX_CELLS];                       /* by layer */
    float *mask[MAX_CELLS], *dropped[MAX_CELLS]; /* by layer: dropout mask; out times the mask */
    float *slots[MAX_CELLS], *kept[MAX_CELLS];   /* [T][R][slot_stride], [T][R][kept_stride] */
    float *own[MAX_CELLS];    /* [states with their own memory][T][R][units]: the states after each step */
    float *before[MAX_CELLS]; /* [T][states][R][units], only for steps with resets: the states from which they start */
    float *spare;             /* [R][spares * units] */
    /* for the backward pass */
    const float *d_out;        /* d loss / d out of the top layer: [T][R][out_stride], or only of `read_step` */
    const float *d_last;       /* [states][R][units], gradient of the final state of the only cell, or NULL */
    float *d_first[MAX_CELLS]; /* [states][R][units] each, gradient of the first states, or NULL */
    float *d_x;                /* [T][R][padded inputs] */
    float *d_end;              /* memory for d_last */
    float *d_top, *deltas[2], *d_below[2];
    float *d, *carry;   /* [states][R][units] */
    float *d_kept;      /* [R][kept_stride] */
    float *d_vectors;   /* [vectors + derived][units] */
    const float *zeros; /* [units] */
} Block;

/* Whether the gradient of a cell's input weights is kept transposed. */
INLINE int transposed(const Stack *stack, size_t cell) {
    return cell < (size_t)stack->shape.directions && (stack->shape.one_hot || stack->shape.inputs <= NARROW);
}

/* Takes pieces from one allocation, or, while `pointer` is NULL, only counts their bytes. */
typedef struct {
    char *pointer;
    size_t bytes;
} Arena;
float *take(Arena *arena, size_t floats);

/* Sets consecutive pieces of an arena to zero. */
void zero(void *from, size_t bytes);

/* These take memory from an arena: for a stack's packed weights, for sums, and for a block. With arena->pointer NULL
 * they only count. */
void stack_arrange(Stack *stack, const Shape *shape, Arena *arena);
void sums_arrange(const Stack *stack, Sums *sums, Arena *arena);
void block_arrange(const Stack *stack, Block *block, size_t rows, size_t steps, Needs needs, Arena *kept,
                   Arena *scratch);

/* Packs the cells' weights; with `back` also for the backward pass. The arena must have been zeroed once. */
void stack_pack(Stack *stack, const Weights *weights, int back);

void stack_forward(const Stack *stack, Block *block);

/* Adds the gradients to `sums` (one per cell). Computes the gradients of the input and of the first states only where
 * block->needs or d_first request them. */
void stack_backward(const Stack *stack, Block *block, Sums *sums);

/* Adds up the sums of the groups, in their order, into gradients in torch's layout. */
void stack_collect(const Stack *stack, Sums *const *groups, size_t count, Weights *gradients);

/* A state of a cell after its last step. */
Rows last_state(const Stack *stack, const Block *block, size_t cell, size_t state);

/* A batch is divided into at most MAX_GROUPS groups of at least 16 rows, and each group into blocks of at most 32 rows.
 * The division depends only on sizes, so that neither machine nor threads change a sum. */
size_t group_count(size_t rows);
INLINE size_t part_start(size_t rows, size_t parts, size_t i) { return rows * i / parts; }
#define BLOCK_ROWS 32

#endif
