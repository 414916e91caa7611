/* A stack of cells driven forward and backward through time, for a block of rows of a batch.
 *
 * Inside, everything is time-major and padded to whole blocks of 16 floats: a layer's output is [T][R][D * units]
 * (R rows, D directions, `units` the hidden size padded), the slots of a cell [T][R][slots * units]. Nothing that stands
 * in the padding reaches another unit: no product reads it, and sums over the units leave it out. */
#ifndef RNNLAB_RECURRENCE_H
#define RNNLAB_RECURRENCE_H

#include "cell.h"
#include "tiles.h"

#define MAX_CELLS 32  /* layers * directions */
#define SPAN_ROWS 128 /* rows (steps * rows of the batch) of one matrix product over several steps, about */

/* One cell's parameters in torch's layout, or their gradients, in the cell's order; NULL for one that there is not or
 * that is not asked for. IH (gates*H, I), INITIAL (states, H), matrices (k*H, m*H), by unit (k*H,) or (1,). */
typedef struct {
    float *parameters[MAX_PARAMETERS];
} Weights;
enum { IH, INITIAL };

/* What a stack is; the Python side fills it in. */
typedef struct {
    const Cell *cell;
    int64_t layers, directions, inputs, hidden;
    int64_t one_hot; /* the first layer's inputs are indices below `inputs` */
} Shape;

/* Weights packed for the products. */
typedef struct {
    size_t blocks, length; /* the input: so many stretches of so many floats, each padded to whole blocks */
    size_t columns;        /* the same with its padding */
    float *ih, *ih_back;   /* panels; for one-hot inputs `ih` is a table [inputs][inputs' slots * units] */
    float *product[MAX_PRODUCTS], *product_back[MAX_PRODUCTS]; /* panels */
    float *bias;    /* [slots * units]: what the products start from */
    float *vectors; /* [vectors + derived][units] */
    float *initial; /* [states][units] */
} Packed;

typedef struct {
    Shape shape;
    const Cell *cell;
    size_t units, states, cells;
    size_t slot_stride, kept_stride, out_stride;
    int bare; /* the table of one-hot inputs is without the biases: what it gives is multiplied by input_mask */
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
    int dropout;      /* of the inputs of all layers but the first */
    int input_mask;   /* of those of the first */
    int resets, input_gradient, state_gradient;
    int keep_slots; /* a second way back may follow: gradients must not overwrite the slots */
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
    int64_t read_step;                /* the one step of the top layer whose output is read; -1: all are */
    float *input_mask;                /* [R][inputs]: what the first layer's inputs are multiplied by, or NULL */
    float *products[MAX_CELLS], *keep[MAX_CELLS]; /* [R][units], [T][R][keeps * units]: mask and keep of StepRows */
    float *first[MAX_CELLS];          /* [states][R][units]: the states before the first step */
    uint8_t *reset[2], *any_reset[2]; /* [T][R], [T], by direction: back to `initial` before this step */
    /* what the way forward leaves */
    float *out[MAX_CELLS];                       /* by layer */
    float *mask[MAX_CELLS], *dropped[MAX_CELLS]; /* by layer: dropout's mask; out times the mask */
    float *slots[MAX_CELLS], *kept[MAX_CELLS];   /* [T][R][slot_stride], [T][R][kept_stride] */
    float *own[MAX_CELLS];    /* [states of their own][T][R][units]: the states after each step */
    float *before[MAX_CELLS]; /* [T][states][R][units], only for steps with resets: the states they start from */
    float *spare;             /* [R][spares * units] */
    /* the way back */
    const float *d_out;        /* d loss / d out of the top layer: [T][R][out_stride], or of `read_step` alone */
    const float *d_last;       /* [states][R][units], gradient of the final state of the one cell, or NULL */
    float *d_first[MAX_CELLS]; /* [states][R][units] each, gradient of the first states, or NULL */
    float *d_x;                /* [T][R][padded inputs] */
    float *d_end;              /* room for d_last */
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

/* A state of a cell after its last step. */
Rows last_state(const Stack *stack, const Block *block, size_t cell, size_t state);

/* A batch in groups of at least 16 rows, at most MAX_GROUPS, and each group in blocks of at most 32 rows: by
 * size alone, so that neither machine nor threads change a sum. */
size_t group_count(size_t rows);
INLINE size_t part_start(size_t rows, size_t parts, size_t i) { return rows * i / parts; }
#define BLOCK_ROWS 32

#endif
