/* Whole optimizer steps: gather, forward, loss, backward, clip, update; one or many per call. */
#include <math.h>
#include <stdlib.h>

#include "program.h"

/* Runs one block forward and, with `sums`, backward; returns its loss. */
static double run_block(Program *p, Worker *w, size_t row, size_t rows, Sums *sums, HeadSums *head_sums) {
    Block block;
    Arena arena = {w->memory.pointer, 0};
    block_arrange(&p->stack, &block, rows, p->batch.steps, needs_of(&p->spec, p->training), &arena, &arena);
    block.row = row;
    if (p->spec.head == LAST) block.read_step = block.steps - 1;
    read_block(p, w, &block);
    stack_forward(&p->stack, &block);
    if (p->data->carry) write_states(p, &block);
    const double loss = apply_head(p, w, &block, head_sums);
    if (!sums) return loss;
    const size_t width = padded(p->spec.shape.inputs);
    if (p->d_x) block.d_x = p->d_x + row * p->batch.steps * width;
    stack_backward(&p->stack, &block, sums);
    if (p->d_x && block.input_mask) mask_inputs(p, &block, block.d_x, width);
    for (size_t c = 0; c < p->stack.cells && (!p->data->carry || p->batch.fresh); c++)
        for (size_t s = 0; s < p->stack.states && p->weights[c].parameters[INITIAL]; s++)
            for (size_t r = 0; r < rows; r++) {
                const float *from = block.d_first[c] + (s * rows + r) * p->stack.units;
                for (size_t u = 0; u < p->stack.units; u++) sums[c].initial[s * p->stack.units + u] += from[u];
            }
    return loss;
}

/* The rows of a block: in training within its group; in evaluation the batch is divided evenly. */
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
    zero(p->group_sums[group].pointer, p->group_sums[group].bytes);
    p->block_losses[group] = 0;
    for (size_t i = 0; i < (n + BLOCK_ROWS - 1) / BLOCK_ROWS; i++) {
        size_t from, to;
        block_range(p, i, group, &from, &to);
        p->block_losses[group] +=
            run_block(p, &p->workers[worker], from, to - from, p->sums[group], &p->head_sums[group]);
    }
}

static void evaluate_block(void *context, size_t block, size_t worker) {
    Program *p = context;
    size_t from, to;
    block_range(p, block, 0, &from, &to);
    p->block_losses[block] = run_block(p, &p->workers[worker], from, to - from, NULL, NULL);
}

/* M = own * W + other * W' + plus. */
static void compute_mirrored(const Spec *spec, const Mirrored *c) {
    const float *w = spec->parameters + c->from;
    float *to = spec->parameters + c->into;
    for (int64_t i = 0; i < c->n; i++)
        for (int64_t j = 0; j < c->m; j++) {
            const int64_t at = i * c->m + j;
            to[at] = c->own[at] * w[at] + (c->other ? c->other[at] * w[j * c->m + i] : 0.0f) + c->plus[at];
        }
}

/* dW = own * dM + (other * dM)'. */
static void mirrored_gradient(const Spec *spec, const Mirrored *c) {
    const float *d = spec->gradients + c->into;
    float *to = spec->gradients + c->from;
    for (int64_t i = 0; i < c->n; i++)
        for (int64_t j = 0; j < c->m; j++) {
            const int64_t at = i * c->m + j, across = j * c->m + i;
            to[at] = c->own[at] * d[at] + (c->other ? c->other[across] * d[across] : 0.0f);
        }
}

static void pack(Program *p, int back) {
    const Spec *spec = &p->spec;
    for (int64_t i = 0; i < spec->mirrored_count; i++) compute_mirrored(spec, &spec->mirrored[i]);
    p->stack.bare = p->training && spec->input == ONE_HOT && spec->inputs.below;
    stack_pack(&p->stack, p->weights, back);
    head_pack(&p->stack, &p->head, spec->parameters + spec->head_weight,
              spec->head_bias < 0 ? NULL : spec->parameters + spec->head_bias, back);
}

/* Adds up the embedding's gradient, row by row, in the order of the batch's blocks. */
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
    for (int64_t i = 0; i < spec->mirrored_count; i++) mirrored_gradient(spec, &spec->mirrored[i]);
    if (spec->input != EMBEDDED) return;
    if (spec->embedding != spec->head_weight) /* with tied weights it holds the head's gradient already */
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

/* Whether a number out of range was read; see `within`. */
static int has_strayed(const Program *p) {
    int stray = 0;
    for (size_t t = 0; t < p->threads; t++) stray |= p->workers[t].stray;
    return stray;
}

/* The same for the calls since the last question. */
int64_t rnnlab_program_strayed(Program *p) {
    const int stray = has_strayed(p);
    for (size_t t = 0; t < p->threads; t++) p->workers[t].stray = 0;
    return stray;
}

/* Returns the loss of a batch, and writes its gradient into the flat buffer. NaN where there is not enough memory, or a
 * number was out of range. */
double rnnlab_gradients(Program *p, const Data *data, const Batch *batch, const int64_t *index) {
    p->batch = *batch;
    p->index = index;
    p->data = data;
    p->outputs = NULL;
    p->units = NULL;
    p->training = 1;
    p->fresh = !data->carry || batch->fresh;
    const size_t groups = group_count(batch->rows);
    if (!losses_for(p, groups)) return NAN;
    pack(p, 1);
    parallel(p->threads, groups, train_group, p);
    if (has_strayed(p)) return NAN;
    gather_gradients(p);
    return loss_of(p, groups);
}

/* Clips and updates; returns the gradient's norm before clipping. */
double rnnlab_update(Program *p, double lr) {
    return optimizer_update(&p->spec.optimizer, p->spec.parameters, p->spec.gradients, lr, !p->fresh);
}

/* Runs the rows of the batch forward, block by block; returns 0 where there is not enough memory, or a number was out of
 * range. */
static int evaluate(Program *p) {
    p->block_count = (p->batch.rows + p->block_rows - 1) / p->block_rows;
    if (!losses_for(p, p->block_count)) return 0;
    parallel(p->threads, p->block_count, evaluate_block, p);
    return !has_strayed(p);
}

/* The loss of a batch without gradients or dropout; `outputs` may be NULL. */
double rnnlab_evaluate(Program *p, const Data *data, const Batch *batch, const int64_t *index, float *outputs) {
    p->batch = *batch;
    p->index = index;
    p->data = data;
    p->outputs = outputs;
    p->units = NULL;
    p->training = 0;
    pack(p, 0);
    return evaluate(p) ? loss_of(p, p->block_count) : NAN;
}

/* Adds the scores of n batches without dropout to sums (SCORES); writes the outputs of the batches, one after the
 * other, to `outputs`, which may be NULL. Returns 0 as `evaluate` does. */
int64_t rnnlab_score(Program *p, const Data *data, int64_t n, const Batch *batches, const int64_t *index,
                     const Units *units, float *outputs, double *sums) {
    size_t rows = 0;
    for (int64_t i = 0; i < n; i++) rows = (size_t)batches[i].rows > rows ? (size_t)batches[i].rows : rows;
    if (rows > p->scores_room) {
        double *room = realloc(p->row_scores, rows * SCORES * sizeof *room);
        if (!room) return 0;
        p->row_scores = room;
        p->scores_room = rows;
    }
    p->index = index;
    p->data = data;
    p->outputs = outputs;
    p->units = units;
    p->training = 0;
    pack(p, 0);
    for (int64_t i = 0; i < n; i++) {
        p->batch = batches[i];
        memset(p->row_scores, 0, batches[i].rows * SCORES * sizeof *p->row_scores);
        if (!evaluate(p)) return 0;
        collect_scores(batches[i].rows, p->row_scores, sums);
        if (outputs)
            p->outputs += batches[i].rows * (p->spec.head == EVERY ? batches[i].steps : 1) * p->spec.outputs;
    }
    return 1;
}

/* Takes n whole steps; returns how many were taken. Stops before the update of the first step whose loss is not finite:
 * this loss is written, and its norm is NaN. */
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
