/* The memory of a program; it is laid out once, for the largest batch. */
#include "program.h"

#include <stdlib.h>

int64_t rnnlab_spec_size(void) { return sizeof(Spec); }
int64_t rnnlab_data_size(void) { return sizeof(Data); }

Needs needs_of(const Spec *spec, int training) {
    int learned = 0;
    for (size_t c = 0; c < (size_t)(spec->shape.layers * spec->shape.directions); c++)
        learned |= spec->cells[spec->shape.cell->parameters * c + INITIAL] >= 0;
    return (Needs){.dropout = training && (spec->dropout.below || spec->inputs.below),
                   .input_mask = training && spec->inputs.below,
                   .resets = spec->head == ENDS && spec->shape.directions == 2,
                   .input_gradient = training && spec->input == EMBEDDED,
                   .state_gradient = training && learned};
}

static size_t head_rows(const Spec *spec, size_t rows, size_t steps) {
    if (spec->head != EVERY) return rows;
    const size_t span = SPAN_ROWS + rows; /* whole steps with at least SPAN_ROWS rows */
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
    p->head.levels = p->spec.levels;
    p->head.level_count = p->spec.level_count;
    for (size_t g = 0; g < p->groups; g++) {
        const size_t start = arena->bytes;
        sums_arrange(&p->stack, p->sums[g], arena);
        head_sums_arrange(&p->head, &p->head_sums[g], arena);
        p->group_sums[g] = (Arena){arena->pointer ? arena->pointer + start : NULL, arena->bytes - start};
    }
    for (size_t t = 0; t < p->threads; t++) worker_arrange(p, &p->workers[t], arena);
    if (p->spec.input == EMBEDDED)
        p->d_x = take(arena, (size_t)p->spec.rows * p->spec.steps * padded(p->spec.shape.inputs));
}

/* Sets the pointers to the cells' parameters: at their offsets from `base`, or, with `fixed`, at the buffers'
 * addresses. */
static void point(const Spec *spec, float *base, float *const *fixed, Weights *weights) {
    const size_t n = spec->shape.cell->parameters;
    for (size_t c = 0; c < (size_t)(spec->shape.layers * spec->shape.directions); c++)
        for (size_t i = 0; i < n; i++) {
            const int64_t place = spec->cells[n * c + i];
            weights[c].parameters[i] = place >= 0 ? base + place : fixed ? fixed[n * c + i] : NULL;
        }
}

/* The most rows of a block, for training batches of at most `rows`; at least 16, for evaluation. */
static size_t most_rows(size_t rows) { return rows < 16 ? 16 : rows < BLOCK_ROWS ? rows : BLOCK_ROWS; }

/* Returns NULL where there is not enough memory. */
Program *rnnlab_program_new(const Spec *spec) {
    Program *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->spec = *spec;
    p->groups = group_count(spec->rows);
    p->block_rows = most_rows(spec->rows);
    p->threads = spec->threads > MAX_THREADS ? MAX_THREADS : spec->threads;
    Arena arena = {NULL, 0};
    program_arrange(p, &arena);
    p->memory = calloc(1, arena.bytes + 64); /* zeroed; pages that are never used take no memory */
    if (!p->memory) {
        free(p);
        return NULL;
    }
    arena = (Arena){(char *)(((uintptr_t)p->memory + 63) / 64 * 64), 0};
    program_arrange(p, &arena);
    point(spec, spec->parameters, spec->fixed, p->weights);
    point(spec, spec->gradients, NULL, p->gradients);
    return p;
}

void rnnlab_program_free(Program *p) {
    free(p->block_losses);
    free(p->row_scores);
    free(p->memory);
    free(p);
}

/* Replaces the optimizer's settings, which a callback may have changed. */
void rnnlab_program_optimizer(Program *p, const Optimizer *optimizer) { p->spec.optimizer = *optimizer; }
