/* A program: a training step, described by Python, with all the memory that it needs. */
#ifndef RNNLAB_PROGRAM_H
#define RNNLAB_PROGRAM_H

#include "heads.h"
#include "optimizers.h"
#include "philox.h"
#include "scores.h"
#include "threads.h"

enum { WINDOWS, ONE_HOT, EMBEDDED }; /* kinds of inputs */
enum { LAST, EVERY, ENDS };          /* what the head reads: the last step, every step, or the end of each row */

/* A weight M (n, m) computed from a parameter W: M[i][j] = own[i][j] W[i][j] + other[i][j] W[j][i] + plus[i][j]. */
typedef struct {
    int64_t from, into; /* offsets of W and M, and of their gradients, in the flat buffers */
    int64_t n, m;
    const float *own, *other, *plus; /* (n, m); `other` is NULL where M is not square */
} Mirrored;

/* The description of a training step. Its pointers must stay valid as long as the program exists. */
typedef struct {
    Shape shape;
    int64_t rows, steps; /* of the largest training batch */
    int64_t threads;
    int64_t input, vocabulary;
    int64_t head, outputs, loss, subtract_last;
    double huber_delta;
    const float *levels; /* for PINBALL; otherwise NULL, with a count of 1 */
    int64_t level_count;
    /* dropout between layers, of all layers' inputs, and of products' sources; zoneout by state; value < 0: none */
    Chance dropout, inputs, products, zoneout[MAX_STATES];
    /* flat buffers of `count` floats, and offsets in them (-1: not in them) */
    float *parameters, *gradients;
    int64_t count;
    const int64_t *cells; /* (cells, parameters), in the order of Weights */
    float *const *fixed;  /* in the same order: addresses of buffers, which are not trained; otherwise NULL */
    int64_t head_weight, head_bias, embedding;
    const Mirrored *mirrored; /* the cells' weights that are computed from parameters */
    int64_t mirrored_count;
    Optimizer optimizer;
} Spec;

/* The source of batches. */
typedef struct {
    /* WINDOWS: row s starts at x + s * x_row, and its step t is t * x_step floats later; y likewise */
    const float *x, *y; /* a batch has (B, T, I) and (B, horizon, targets) */
    int64_t x_row, x_step, y_row, y_step, horizon, targets;
    const int64_t *y_columns, *last_columns; /* (targets,): columns of y; columns of the inputs, for subtract_last */
    /* ONE_HOT and EMBEDDED: the tokens of row s start at tokens + s * token_row. Labels likewise where the head reads
     * EVERY step; else one per row. Lengths are needed where it reads the ENDS. */
    const int64_t *tokens, *labels, *lengths; /* (B, T); (B, T) or (B,); (B,) */
    int64_t token_row, label_row;
    /* (cells, states, carry_rows, H), see carried() in batches.c, or NULL: the states that pass from one batch to the
     * next; read and written */
    float *carry;
    int64_t carry_rows;
} Data;

/* One batch: `rows` entries of the index, from entry `index` on; `steps` time steps, from step `start` on. */
typedef struct {
    int64_t rows, index, start, steps;
    int64_t fresh;   /* it starts from the initial state, not from the carry */
    int64_t dropout; /* position in the random streams of dropout and zoneout: the optimizer step */
} Batch;

typedef struct {
    Arena memory;  /* of a block */
    float *y;      /* [R][D * units]: the head's input at the ends of rows */
    float *dy;     /* as y */
    float *z;      /* [span][stride]: the head's outputs and their gradients */
    float *target; /* [outputs] */
    int32_t *lengths;
    int stray;     /* a number that `within` has replaced */
} Worker;

typedef struct {
    Spec spec;
    Stack stack;
    Head head;
    Weights weights[MAX_CELLS], gradients[MAX_CELLS];
    size_t threads;
    size_t block_rows; /* of the largest block */
    Worker workers[MAX_THREADS];
    size_t groups;
    Sums sums[MAX_GROUPS][MAX_CELLS];
    HeadSums head_sums[MAX_GROUPS];
    Arena group_sums[MAX_GROUPS];
    float *d_x;   /* EMBEDDED: gradients of all inputs, block after block */
    void *memory; /* contains all of the above */
    int fresh;    /* of the last batch */
    /* the present call */
    Batch batch;
    const Data *data;
    const int64_t *index;
    float *outputs; /* evaluation: the head's outputs, (rows, outputs) or (rows, steps, outputs) */
    const Units *units; /* evaluation: if given, scores are added up; else only the loss */
    double *row_scores; /* (rows, SCORES) */
    size_t scores_room;
    int training;
    size_t block_count;
    double *block_losses;
    size_t losses_room;
} Program;

/* What the blocks of a batch need. */
Needs needs_of(const Spec *spec, int training);

/* The block's entries of the index. */
INLINE const int64_t *indices(const Program *p, const Block *b) { return p->index + p->batch.index + b->row; }

/* The tokens of the block's row r. */
INLINE const int64_t *tokens_of(const Program *p, const Block *b, size_t r) {
    return p->data->tokens + indices(p, b)[r] * p->data->token_row + p->batch.start;
}

/* A token, label or length, in [low, end). The tables of Python have checked all of them once, but data may be edited in
 * place since: a number out of range is replaced, so that no memory beyond an array is read, and the call fails. */
INLINE int64_t within(Worker *w, int64_t n, int64_t low, int64_t end) {
    if (n >= low && n < end) return n;
    w->stray = 1;
    return low;
}

/* read_block fills in a block's inputs, lengths, first states and dropout masks; write_states copies its last states
 * into the carry. */
void read_block(const Program *p, Worker *w, Block *b);
void write_states(const Program *p, const Block *b);

/* Multiplies the first layer's inputs, or their gradients, [T][R][stride], by the sequences' dropout mask. */
void mask_inputs(const Program *p, const Block *b, float *x, size_t stride);

/* Computes head and loss of a block; returns its share of the batch's loss. With `sums`, adds the head's gradients to
 * them, and writes the gradient of the top layer's output into the block. */
double apply_head(const Program *p, Worker *w, Block *b, HeadSums *sums);

#endif
