/* Whole optimizer steps: gather a batch, forward, head, loss, backward, clip, update; one by one or many a call. */
#include <math.h>
#include <stdlib.h>

#include "heads.h"
#include "optimizers.h"
#include "philox.h"
#include "threads.h"

enum { WINDOWS, ONE_HOT, EMBEDDED };  /* what a batch's inputs are */
enum { LAST, EVERY, ENDS };           /* where the head reads: the last step, every step, each row's own ends */

/* A training step as Python describes it. All pointers stay valid as long as the program lives. */
typedef struct {
    Shape shape;
    int64_t rows, steps; /* the most of a training batch */
    int64_t threads;
    int64_t input, vocabulary;
    int64_t head, outputs, loss, subtract_last;
    double huber_delta;
    /* dropout between layers; drop_below 0: none */
    int64_t drop_below;
    double drop_scale;
    uint64_t drop_key[2];
    /* flat buffers of `count` floats, and where things lie in them (-1: nowhere) */
    float *parameters, *gradients;
    int64_t count;
    const int64_t *cells; /* (cells, 5): the fields of Weights */
    int64_t head_weight, head_bias, embedding;
    Optimizer optimizer;
} Spec;

/* Where batches come from. */
typedef struct {
    /* WINDOWS: row s starts at x + s * x_row, its step t at t * x_step after; y likewise */
    const float *x, *y;
    int64_t x_row, x_step, y_row, y_step, horizon, targets;
    const int64_t *y_columns, *last_columns; /* (targets,): columns of y; of the inputs, for subtract_last */
    /* ONE_HOT and EMBEDDED: row s has its tokens from tokens + s * token_row on; labels likewise where the head
     * reads EVERY step, else one each; lengths where it reads the ENDS */
    const int64_t *tokens, *labels, *lengths;
    int64_t token_row, label_row;
    /* (cells, states, carry_rows, H), or NULL: states that go from one batch to the next, read and written */
    float *carry;
    int64_t carry_rows;
} Data;

/* One batch: `rows` entries of the index from `index` on; `steps` steps from `start` on. */
typedef struct {
    int64_t rows, index, start, steps;
    int64_t fresh;   /* nothing is carried into it */
    int64_t dropout; /* where the dropout stream stands */
} Batch;

typedef struct {
    Arena memory;    /* a block's */
    float *y;        /* [R][D * units]: what the head reads at the rows' ends */
    float *dy;       /* as y */
    float *z;        /* [span][stride]: the head's outputs and their gradients */
    float *target;   /* [outputs] */
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
    float *d_x;       /* EMBEDDED: gradients of all inputs, block after block */
    void *memory;     /* all of the above */
    int fresh;        /* of the last batch */
    /* the call being worked on */
    Batch batch;
    const Data *data;
    const int64_t *index;
    float *outputs;   /* evaluation: what the head gives, (rows, outputs) or (rows, steps, outputs) */
    int training;
    size_t block_count;
    double *block_losses;
    size_t losses_room;
} Program;

int64_t rnnlab_spec_size(void) { return sizeof(Spec); }
int64_t rnnlab_data_size(void) { return sizeof(Data); }

/* ------------------------------------------------------------------------------------------ memory */

static Needs needs_of(const Spec *spec, int training) {
    int learned = 0;
    for (size_t c = 0; c < (size_t)(spec->shape.layers * spec->shape.directions); c++) learned |= spec->cells[5 * c + 4] >= 0;
    return (Needs){.dropout = training && spec->drop_below > 0,
                   .resets = spec->head == ENDS && spec->shape.directions == 2,
                   .input_gradient = training && spec->input == EMBEDDED,
                   .state_gradient = training && learned};
}

static size_t head_rows(const Spec *spec, size_t rows, size_t steps) {
    if (spec->head != EVERY) return rows;
    const size_t span = SPAN_ROWS + rows; /* whole steps, SPAN_ROWS rows at least */
    return span < rows * steps ? span : rows * steps;
}

static void worker_arrange(Program *p, Worker *w, Arena *arena) {
    const size_t rows = p->block_rows, steps = p->spec.steps;
    w->y = take(arena, rows * p->head.width);
    w->dy = take(arena, rows * p->head.width);
    w->z = take(arena, head_rows(&p->spec, rows, steps) * p->head.stride);
    w->target = take(arena, p->head.outputs);
    w->lengths = (int32_t *)take(arena, rows);
    Arena kept = {NULL, 0}, scratch = {NULL, 0};
    Block block;
    block_arrange(&p->stack, &block, rows, steps, needs_of(&p->spec, 1), &kept, &scratch);
    const size_t bytes = kept.bytes + scratch.bytes;
    w->memory = (Arena){(char *)take(arena, bytes / 4), bytes};
}

static void program_arrange(Program *p, Arena *arena) {
    stack_arrange(&p->stack, &p->spec.shape, arena);
    head_arrange(&p->stack, &p->head, p->spec.outputs, arena);
    p->head.loss = p->spec.loss;
    p->head.huber_delta = (float)p->spec.huber_delta;
    for (size_t g = 0; g < p->groups; g++) {
        const size_t start = arena->bytes;
        sums_arrange(&p->stack, p->sums[g], arena);
        head_sums_arrange(&p->head, &p->head_sums[g], arena);
        p->group_sums[g] = (Arena){arena->at ? arena->at + start : NULL, arena->bytes - start};
    }
    for (size_t t = 0; t < p->threads; t++) worker_arrange(p, &p->workers[t], arena);
    if (p->spec.input == EMBEDDED)
        p->d_x = take(arena, (size_t)p->spec.rows * p->spec.steps * padded(p->spec.shape.inputs));
}

static void point(const Spec *spec, float *base, Weights *weights) {
    for (size_t c = 0; c < (size_t)(spec->shape.layers * spec->shape.directions); c++) {
        float *at[5];
        for (size_t i = 0; i < 5; i++) at[i] = spec->cells[5 * c + i] < 0 ? NULL : base + spec->cells[5 * c + i];
        weights[c] = (Weights){at[0], at[1], at[2], at[3], at[4]};
    }
}

/* Of any block: of training batches up to `rows`, and 16 at least, so that evaluation has some to work on. */
static size_t most_rows(size_t rows) { return rows < 16 ? 16 : rows < BLOCK_ROWS ? rows : BLOCK_ROWS; }

/* NULL where there is not enough memory. */
Program *rnnlab_program_new(const Spec *spec) {
    Program *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->spec = *spec;
    p->groups = group_count(spec->rows);
    p->block_rows = most_rows(spec->rows);
    p->threads = spec->threads > MAX_THREADS ? MAX_THREADS : spec->threads;
    Arena arena = {NULL, 0};
    program_arrange(p, &arena);
    p->memory = calloc(1, arena.bytes + 64); /* zeros, and pages that are never used are never taken */
    if (!p->memory) {
        free(p);
        return NULL;
    }
    arena = (Arena){(char *)(((uintptr_t)p->memory + 63) / 64 * 64), 0};
    program_arrange(p, &arena);
    point(spec, spec->parameters, p->weights);
    point(spec, spec->gradients, p->gradients);
    return p;
}

void rnnlab_program_free(Program *p) {
    free(p->block_losses);
    free(p->memory);
    free(p);
}

/* ------------------------------------------------------------------------------------------ a block's batch */

static const int64_t *indices(const Program *p, const Block *b) { return p->index + p->batch.index + b->row; }

static void read_window(const Program *p, Block *b) {
    const Spec *spec = &p->spec;
    const Data *data = p->data;
    const size_t I = spec->shape.inputs;
    for (size_t r = 0; r < b->rows; r++) {
        const float *from = data->x + indices(p, b)[r] * data->x_row;
        const float *last = from + (b->steps - 1) * data->x_step;
        for (size_t t = 0; t < b->steps; t++, from += data->x_step) {
            float *to = b->x + (t * b->rows + r) * b->x_stride;
            if (spec->subtract_last)
                for (size_t i = 0; i < I; i++) to[i] = from[i] - last[i];
            else
                for (size_t i = 0; i < I; i++) to[i] = from[i];
            for (size_t i = I; i < b->x_stride; i++) to[i] = 0.0f;
        }
    }
}

static const int64_t *tokens_of(const Program *p, const Block *b, size_t r) {
    return p->data->tokens + indices(p, b)[r] * p->data->token_row + p->batch.start;
}

static void read_tokens(const Program *p, Block *b) {
    const size_t E = p->spec.shape.inputs;
    for (size_t r = 0; r < b->rows; r++) {
        const int64_t *from = tokens_of(p, b, r);
        for (size_t t = 0; t < b->steps; t++) {
            const size_t at = t * b->rows + r;
            if (p->spec.input == ONE_HOT) {
                b->tokens[at] = (int32_t)from[t];
                continue;
            }
            float *to = b->x + at * b->x_stride;
            memcpy(to, p->spec.parameters + p->spec.embedding + from[t] * E, 4 * E);
            for (size_t i = E; i < b->x_stride; i++) to[i] = 0.0f;
        }
    }
}

/* Lengths; the backward direction starts each row at its own end: there its state goes back to the initial one. */
static void read_lengths(const Program *p, Worker *w, Block *b) {
    const size_t R = b->rows;
    for (size_t r = 0; r < R; r++) w->lengths[r] = (int32_t)p->data->lengths[indices(p, b)[r]];
    b->lengths = w->lengths;
    if (!b->needs.resets) return;
    for (size_t d = 0; d < 2; d++) {
        memset(b->reset[d], 0, b->steps * R);
        memset(b->any_reset[d], 0, b->steps);
    }
    for (size_t r = 0; r < R; r++)
        if ((size_t)w->lengths[r] < b->steps) {
            b->reset[1][(w->lengths[r] - 1) * R + r] = 1;
            b->any_reset[1][w->lengths[r] - 1] = 1;
        }
}

static float *carried(const Program *p, const Block *b, size_t cell, size_t state) {
    return p->data->carry + ((cell * p->stack.states + state) * p->data->carry_rows + b->row) * p->spec.shape.hidden;
}

static void read_states(const Program *p, Block *b) {
    const size_t units = p->stack.units, H = p->spec.shape.hidden;
    const int from_carry = p->data->carry && !p->batch.fresh;
    b->from_zero = !from_carry;
    for (size_t c = 0; c < p->stack.cells; c++) {
        if (p->weights[c].initial) b->from_zero = 0;
        for (size_t s = 0; s < p->stack.states; s++)
            for (size_t r = 0; r < b->rows; r++) {
                float *to = b->first[c] + (s * b->rows + r) * units;
                memcpy(to, p->stack.packed[c].initial + s * units, 4 * units);
                if (from_carry) memcpy(to, carried(p, b, c, s) + r * H, 4 * H);
            }
    }
}

static void write_states(const Program *p, const Block *b) {
    const size_t H = p->spec.shape.hidden, units = p->stack.units;
    for (size_t c = 0; c < p->stack.cells; c++) {
        size_t stride;
        const float *h = last_h(&p->stack, b, c, &stride);
        for (size_t r = 0; r < b->rows; r++) {
            memcpy(carried(p, b, c, 0) + r * H, h + r * stride, 4 * H);
            if (p->stack.states == 2) memcpy(carried(p, b, c, 1) + r * H, last_c(&p->stack, b, c) + r * units, 4 * H);
        }
    }
}

static void draw_masks(const Program *p, Block *b) {
    const size_t D = p->spec.shape.directions, H = p->spec.shape.hidden, T = b->steps;
    Dropout drop = {{p->spec.drop_key[0], p->spec.drop_key[1]}, p->batch.dropout, 0, p->spec.drop_below,
                    (float)p->spec.drop_scale};
    for (size_t l = 0; l + 1 < (size_t)p->spec.shape.layers; l++) {
        drop.layer = l;
        for (size_t r = 0; r < b->rows; r++)
            for (size_t t = 0; t < T; t++)
                for (size_t d = 0; d < D; d++) /* element ((row * T + t) * D + d) * H of the mask (B, T, D * H) */
                    dropout_mask(&drop, (((b->row + r) * T + t) * D + d) * H, H,
                                 b->mask[l] + (t * b->rows + r) * p->stack.out_stride + d * p->stack.units);
    }
}

/* ------------------------------------------------------------------------------------------ head and loss */

/* Row r of the batch's targets into w->target; returns its label. */
static int64_t read_target(const Program *p, Worker *w, const Block *b, size_t r, size_t t) {
    const Spec *spec = &p->spec;
    const Data *data = p->data;
    const int64_t at = indices(p, b)[r];
    if (spec->input != WINDOWS) return spec->head == EVERY ? data->labels[at * data->label_row + p->batch.start + t] : data->labels[at];
    const float *from = data->y + at * data->y_row;
    for (int64_t h = 0; h < data->horizon; h++, from += data->y_step)
        for (int64_t j = 0; j < data->targets; j++) w->target[h * data->targets + j] = from[data->y_columns[j]];
    return 0;
}

static void add_last(const Program *p, const Block *b, size_t r, float *z) {
    const Data *data = p->data;
    const float *last = data->x + indices(p, b)[r] * data->x_row + (b->steps - 1) * data->x_step;
    for (int64_t h = 0; h < data->horizon; h++)
        for (int64_t j = 0; j < data->targets; j++) z[h * data->targets + j] += last[data->last_columns[j]];
}

/* The loss of one row of outputs, which become their gradient. */
static double finish_row(const Program *p, Worker *w, const Block *b, size_t r, size_t t, float *z) {
    const size_t n = p->head.outputs, places = p->spec.head == EVERY ? b->steps : 1;
    if (p->spec.subtract_last) add_last(p, b, r, z);
    if (p->outputs) memcpy(p->outputs + ((b->row + r) * places + t) * n, z, 4 * n);
    const size_t terms = p->batch.rows * places * (p->spec.loss <= HUBER ? n : 1);
    const int64_t label = read_target(p, w, b, r, t);
    return head_loss(&p->head, z, w->target, label, (float)(1.0 / terms)) / terms;
}

/* The head reads each row's last forward output and its first backward output. */
static void read_ends(const Program *p, const Block *b, Worker *w, int back) {
    const size_t units = p->stack.units, stride = p->stack.out_stride, D = p->spec.shape.directions;
    float *out = back ? b->d_top : b->out[p->spec.shape.layers - 1];
    for (size_t r = 0; r < b->rows; r++)
        for (size_t d = 0; d < D; d++) {
            const size_t t = d ? 0 : w->lengths[r] - 1;
            float *there = out + (t * b->rows + r) * stride + d * units, *here = (back ? w->dy : w->y) + (r * D + d) * units;
            memcpy(back ? there : here, back ? here : there, 4 * units);
        }
}

/* The block's share of the loss; with training the gradient of the top layer's output. */
static double apply_head(Program *p, Worker *w, Block *b, HeadSums *sums) {
    const Stack *s = &p->stack;
    const size_t stride = s->out_stride, R = b->rows, T = b->steps;
    const float *top = b->out[p->spec.shape.layers - 1];
    double loss = 0;
    if (p->spec.head != EVERY) {
        const int ends = p->spec.head == ENDS;
        const float *y = ends ? w->y : top + (T - 1) * R * stride;
        const size_t y_stride = ends ? p->head.width : stride;
        if (ends) read_ends(p, b, w, 0);
        head_forward(s, &p->head, R, y, y_stride, w->z);
        for (size_t r = 0; r < R; r++) loss += finish_row(p, w, b, r, 0, w->z + r * p->head.stride);
        if (!sums) return loss;
        head_backward(s, &p->head, R, w->z, y, y_stride, sums, ends ? w->dy : b->d_top, y_stride);
        if (ends) {
            memset(b->d_top, 0, 4 * T * R * stride);
            read_ends(p, b, w, 1);
        } else {
            b->d_out_step = T - 1;
        }
    } else {
        const size_t span = (SPAN_ROWS + R - 1) / R;
        for (size_t t = 0; t < T; t += span) {
            const size_t n = T - t < span ? T - t : span;
            const float *y = top + t * R * stride;
            head_forward(s, &p->head, n * R, y, stride, w->z);
            for (size_t k = 0; k < n * R; k++)
                loss += finish_row(p, w, b, k % R, t + k / R, w->z + k * p->head.stride);
            if (sums) head_backward(s, &p->head, n * R, w->z, y, stride, sums, b->d_top + t * R * stride, stride);
        }
    }
    b->d_out = b->d_top;
    return loss;
}

/* ------------------------------------------------------------------------------------------ a batch */

/* One block, forward and, with sums, backward. */
static double run_block(Program *p, Worker *w, size_t row, size_t rows, Sums *sums, HeadSums *head_sums) {
    Block block;
    Arena arena = {w->memory.at, 0};
    block_arrange(&p->stack, &block, rows, p->batch.steps, needs_of(&p->spec, p->training), &arena, &arena);
    block.row = row;
    if (p->spec.input == WINDOWS) read_window(p, &block);
    else read_tokens(p, &block);
    if (p->spec.head == ENDS) read_lengths(p, w, &block);
    read_states(p, &block);
    if (block.needs.dropout) draw_masks(p, &block);
    stack_forward(&p->stack, &block);
    if (p->data->carry) write_states(p, &block);
    const double loss = apply_head(p, w, &block, head_sums);
    if (!sums) return loss;
    const size_t width = padded(p->spec.shape.inputs);
    if (p->d_x) block.d_x = p->d_x + row * p->batch.steps * width;
    stack_backward(&p->stack, &block, sums);
    for (size_t c = 0; c < p->stack.cells && (!p->data->carry || p->batch.fresh); c++)
        for (size_t s = 0; s < p->stack.states && p->weights[c].initial; s++)
            for (size_t r = 0; r < rows; r++) {
                const float *from = block.d_first[c] + (s * rows + r) * p->stack.units;
                for (size_t u = 0; u < p->stack.units; u++) sums[c].initial[s * p->stack.units + u] += from[u];
            }
    return loss;
}

/* The batch's rows as blocks: group by group in training, evenly in evaluation. */
static void block_range(const Program *p, size_t block, size_t group, size_t *from, size_t *to) {
    const size_t rows = p->batch.rows;
    if (!p->training) {
        *from = part_start(rows, p->block_count, block);
        *to = part_start(rows, p->block_count, block + 1);
        return;
    }
    const size_t groups = group_count(rows), start = part_start(rows, groups, group);
    const size_t n = part_start(rows, groups, group + 1) - start, blocks = (n + BLOCK_ROWS - 1) / BLOCK_ROWS;
    *from = start + part_start(n, blocks, block);
    *to = start + part_start(n, blocks, block + 1);
}

static void train_group(void *context, size_t group, size_t worker) {
    Program *p = context;
    const size_t groups = group_count(p->batch.rows);
    const size_t n = part_start(p->batch.rows, groups, group + 1) - part_start(p->batch.rows, groups, group);
    wipe(p->group_sums[group].at, p->group_sums[group].bytes);
    p->block_losses[group] = 0;
    for (size_t i = 0; i < (n + BLOCK_ROWS - 1) / BLOCK_ROWS; i++) {
        size_t from, to;
        block_range(p, i, group, &from, &to);
        p->block_losses[group] += run_block(p, &p->workers[worker], from, to - from, p->sums[group], &p->head_sums[group]);
    }
}

static void evaluate_block(void *context, size_t block, size_t worker) {
    Program *p = context;
    size_t from, to;
    block_range(p, block, 0, &from, &to);
    p->block_losses[block] = run_block(p, &p->workers[worker], from, to - from, NULL, NULL);
}

static void pack(Program *p, int back) {
    const Spec *spec = &p->spec;
    stack_pack(&p->stack, p->weights, back);
    head_pack(&p->stack, &p->head, spec->parameters + spec->head_weight,
              spec->head_bias < 0 ? NULL : spec->parameters + spec->head_bias, back);
}

/* The embedding's gradient: row by row in the order of the batch's blocks. */
static void scatter_inputs(Program *p, size_t from, size_t to) {
    const size_t E = p->spec.shape.inputs, rows = to - from, width = padded(E), T = p->batch.steps;
    const Block b = {.row = from};
    const float *d_x = p->d_x + from * T * width;
    for (size_t t = 0; t < T; t++)
        for (size_t r = 0; r < rows; r++, d_x += width) {
            float *sum = p->spec.gradients + p->spec.embedding + tokens_of(p, &b, r)[t] * E;
            for (size_t i = 0; i < E; i++) sum[i] += d_x[i];
        }
}

static void gather_gradients(Program *p) {
    const Spec *spec = &p->spec;
    const size_t groups = group_count(p->batch.rows);
    Sums *sums[MAX_GROUPS];
    for (size_t g = 0; g < groups; g++) sums[g] = p->sums[g];
    stack_collect(&p->stack, sums, groups, p->gradients);
    head_collect(&p->stack, &p->head, p->head_sums, groups, spec->gradients + spec->head_weight,
                 spec->head_bias < 0 ? NULL : spec->gradients + spec->head_bias);
    if (spec->input != EMBEDDED) return;
    memset(spec->gradients + spec->embedding, 0, 4 * spec->vocabulary * spec->shape.inputs);
    for (size_t g = 0; g < groups; g++) {
        const size_t n = part_start(p->batch.rows, groups, g + 1) - part_start(p->batch.rows, groups, g);
        for (size_t i = 0; i < (n + BLOCK_ROWS - 1) / BLOCK_ROWS; i++) {
            size_t from, to;
            block_range(p, i, g, &from, &to);
            scatter_inputs(p, from, to);
        }
    }
}

static int losses_for(Program *p, size_t count) {
    if (count <= p->losses_room) return 1;
    double *room = realloc(p->block_losses, count * sizeof *room);
    if (!room) return 0;
    p->block_losses = room;
    p->losses_room = count;
    return 1;
}

static double loss_of(const Program *p, size_t parts) {
    double loss = 0;
    for (size_t i = 0; i < parts; i++) loss += p->block_losses[i];
    return loss;
}

/* The loss of a batch; its gradient in the flat buffer. NaN where there is no memory. */
double rnnlab_gradients(Program *p, const Data *data, const Batch *batch, const int64_t *index) {
    p->batch = *batch;
    p->index = index;
    p->data = data;
    p->outputs = NULL;
    p->training = 1;
    p->fresh = !data->carry || batch->fresh;
    const size_t groups = group_count(batch->rows);
    if (!losses_for(p, groups)) return NAN;
    pack(p, 1);
    parallel(p->threads, groups, train_group, p);
    gather_gradients(p);
    return loss_of(p, groups);
}

/* Clips and updates; returns the gradient's norm before. */
double rnnlab_update(Program *p, double lr) {
    return optimizer_update(&p->spec.optimizer, p->spec.parameters, p->spec.gradients, lr, !p->fresh);
}

/* The loss of a batch without gradients or dropout; `outputs` may be NULL. */
double rnnlab_evaluate(Program *p, const Data *data, const Batch *batch, const int64_t *index, float *outputs) {
    p->batch = *batch;
    p->index = index;
    p->data = data;
    p->outputs = outputs;
    p->training = 0;
    p->block_count = (batch->rows + p->block_rows - 1) / p->block_rows;
    if (!losses_for(p, p->block_count)) return NAN;
    pack(p, 0);
    parallel(p->threads, p->block_count, evaluate_block, p);
    return loss_of(p, p->block_count);
}

/* n whole steps; returns how many were done. Stops before the update of the first step whose loss is not finite:
 * that loss is written down, its norm is NaN. */
int64_t rnnlab_run(Program *p, const Data *data, int64_t n, const Batch *batches, const int64_t *index,
                   const double *lrs, double *losses, double *norms) {
    for (int64_t i = 0; i < n; i++) {
        losses[i] = rnnlab_gradients(p, data, &batches[i], index);
        if (!isfinite(losses[i])) {
            norms[i] = NAN;
            return i;
        }
        norms[i] = rnnlab_update(p, lrs[i]);
    }
    return n;
}

/* Takes the optimizer's settings anew: a callback may have changed them. */
void rnnlab_program_optimizer(Program *p, const Optimizer *optimizer) { p->spec.optimizer = *optimizer; }
