/* A program: a training step as Python describes it, with all the memory that it needs. */
#ifndef RNNLAB_PROGRAM_H
#define RNNLAB_PROGRAM_H

#include "heads.h"
#include "optimizers.h"
#include "philox.h"
#include "scores.h"
#include "threads.h"

enum { WINDOWS, ONE_HOT, EMBEDDED }; /* what a batch's inputs are */
enum { LAST, EVERY, ENDS };          /* where the head reads: the last step, every step, each row's own ends */

/* A weight M (n, m) that a parameter W makes: M[i][j] = own[i][j] W[i][j] + other[i][j] W[j][i] + plus[i][j]. */
typedef struct {
    int64_t from, into; /* where W, M and their gradients lie in the flat buffers */
    int64_t n, m;
    const float *own, *other, *plus; /* (n, m); `other` is NULL where M is not square */
} Mirrored;

/* A training step as Python describes it. All pointers stay valid as long as the program lives. */
typedef struct {
    Shape shape;
    int64_t rows, steps; /* the most of a training batch */
    int64_t threads;
    int64_t input, vocabulary;
    int64_t head, outputs, loss, subtract_last;
    double huber_delta;
    const float *levels; /* of PINBALL; NULL and 1 elsewhere */
    int64_t level_count;
    /* dropout between layers, of all layers' inputs, of products' sources; by state; below 0: none */
    Chance dropout, inputs, products, zoneout[MAX_STATES];
    /* flat buffers of `count` floats, and where things lie in them (-1: nowhere) */
    float *parameters, *gradients;
    int64_t count;
    const int64_t *cells; /* (cells, parameters), in the order of Weights */
    float *const *fixed;  /* likewise: buffers, which are not trained, by their addresses; NULL elsewhere */
    int64_t head_weight, head_bias, embedding;
    const Mirrored *mirrored; /* the weights among the cells' that are computed from parameters */
    int64_t mirrored_count;
    Optimizer optimizer;
} Spec;

/* Where batches come from. */
typedef struct {
    /* WINDOWS: row s starts at x + s * x_row, its step t at t * x_step after; y likewise */
    const float *x, *y; /* of a batch: (B, T, I) and (B, horizon, targets) */
    int64_t x_row, x_step, y_row, y_step, horizon, targets;
    const int64_t *y_columns, *last_columns; /* (targets,): columns of y; of the inputs, for subtract_last */
    /* ONE_HOT and EMBEDDED: row s has its tokens from tokens + s * token_row on; labels likewise where the head
     * reads EVERY step, else one each; lengths where it reads the ENDS */
    const int64_t *tokens, *labels, *lengths; /* (B, T); (B, T) or (B,); (B,) */
    int64_t token_row, label_row;
    /* (cells, states, carry_rows, H), see carried() in batches.c, or NULL: states that go from one batch to the next, read and written */
    float *carry;
    int64_t carry_rows;
} Data;

/* One batch: `rows` entries of the index from `index` on; `steps` steps from `start` on. */
typedef struct {
    int64_t rows, index, start, steps;
    int64_t fresh;   /* nothing is carried into it */
    int64_t dropout; /* where the streams of dropout and zoneout stand */
} Batch;

typedef struct {
    Arena memory;  /* a block's */
    float *y;      /* [R][D * units]: what the head reads at the rows' ends */
    float *dy;     /* as y */
    float *z;      /* [span][stride]: the head's outputs and their gradients */
    float *target; /* [outputs] */
    int32_t *lengths;
} Worker;

typedef struct {
    Spec spec;
    Stack stack;
    Head head;
    Weights weights[MAX_CELLS], gradients[MAX_CELLS];
    size_t threads;
    size_t block_rows; /* the most of a block */
    Worker workers[MAX_THREADS];
    size_t groups;
    Sums sums[MAX_GROUPS][MAX_CELLS];
    HeadSums head_sums[MAX_GROUPS];
    Arena group_sums[MAX_GROUPS];
    float *d_x;   /* EMBEDDED: gradients of all inputs, block after block */
    void *memory; /* all of the above */
    int fresh;    /* of the last batch */
    /* the call being worked on */
    Batch batch;
    const Data *data;
    const int64_t *index;
    float *outputs; /* evaluation: what the head gives, (rows, outputs) or (rows, steps, outputs) */
    const Units *units; /* evaluation: with them scores are added up, else the loss alone */
    double *row_scores; /* (rows, SCORES) */
    size_t scores_room;
    int training;
    size_t block_count;
    double *block_losses;
    size_t losses_room;
} Program;

/* What blocks of a batch need in memory. */
Needs needs_of(const Spec *spec, int training);

/* The block's entries of the index. */
INLINE const int64_t *indices(const Program *p, const Block *b) { return p->index + p->batch.index + b->row; }

/* The tokens of the block's row r. */
INLINE const int64_t *tokens_of(const Program *p, const Block *b, size_t r) {
    return p->data->tokens + indices(p, b)[r] * p->data->token_row + p->batch.start;
}

/* Inputs, lengths, first states and dropout's masks into a block; its last states into the carry. */
void read_block(const Program *p, Worker *w, Block *b);
void write_states(const Program *p, const Block *b);

/* Multiplies the first layer's inputs, or their gradients, [T][R][stride], by the mask drawn for the sequences. */
void mask_inputs(const Program *p, const Block *b, float *x, size_t stride);

/* Head and loss of a block: returns its share of the batch's loss. With `sums`, adds the head's gradients there
 * and leaves the gradient of the top layer's output in the block. */
double apply_head(const Program *p, Worker *w, Block *b, HeadSums *sums);

#endif
