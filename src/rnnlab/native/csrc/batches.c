/* Copies a block of a batch from the data into the block, and its states into the carry. */
#include "program.h"

static void read_window(const Program *p, Block *b) {
    const Spec *spec = &p->spec;
    const Data *data = p->data;
    const size_t I = spec->shape.inputs;
    for (size_t r = 0; r < b->rows; r++) {
        const float *from = data->x + indices(p, b)[r] * data->x_row;
        const float *last = from + (b->steps - 1) * data->x_step;
        float *to = b->x + r * b->x_stride;
        if (b->x_stride == 1) { /* one value per step: a simple loop */
            const float away = spec->subtract_last ? *last : 0.0f;
            for (size_t t = 0; t < b->steps; t++) to[t * b->rows] = from[t * data->x_step] - away;
            continue;
        }
        for (size_t t = 0; t < b->steps; t++, from += data->x_step, to += b->rows * b->x_stride) {
            if (spec->subtract_last)
                for (size_t i = 0; i < I; i++) to[i] = from[i] - last[i];
            else
                for (size_t i = 0; i < I; i++) to[i] = from[i];
            for (size_t i = I; i < b->x_stride; i++) to[i] = 0.0f;
        }
    }
}

static void read_tokens(const Program *p, Worker *w, Block *b) {
    const size_t E = p->spec.shape.inputs;
    for (size_t r = 0; r < b->rows; r++) {
        const int64_t *from = tokens_of(p, b, r);
        for (size_t t = 0; t < b->steps; t++) {
            const size_t place = t * b->rows + r;
            const int64_t token = within(w, from[t], 0, p->spec.vocabulary);
            if (p->spec.input == ONE_HOT) {
                b->tokens[place] = (int32_t)token;
                continue;
            }
            float *to = b->x + place * b->x_stride;
            memcpy(to, p->spec.parameters + p->spec.embedding + token * E, 4 * E);
            for (size_t i = E; i < b->x_stride; i++) to[i] = 0.0f;
        }
    }
}

/* Reads lengths. The backward direction starts each row at its own end, by a reset to the initial state there. */
static void read_lengths(const Program *p, Worker *w, Block *b) {
    const size_t R = b->rows;
    for (size_t r = 0; r < R; r++)
        w->lengths[r] = (int32_t)within(w, p->data->lengths[indices(p, b)[r]], 1, b->steps + 1);
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

/* A row of a state in the carry, where a state of several blocks is one tensor (rows, blocks * H). */
static float *carried(const Program *p, const Block *b, size_t cell, size_t state, size_t row) {
    const Cell *c = p->stack.cell;
    const size_t H = p->spec.shape.hidden, start = c->start[state], width = c->width[state];
    return p->data->carry +
           ((cell * p->stack.states + start) * p->data->carry_rows + (b->row + row) * width + state - start) * H;
}

static void read_states(const Program *p, Block *b) {
    const size_t units = p->stack.units, H = p->spec.shape.hidden;
    const int from_carry = p->data->carry && !p->batch.fresh;
    b->from_zero = !from_carry;
    for (size_t c = 0; c < p->stack.cells; c++) {
        if (p->weights[c].parameters[INITIAL]) b->from_zero = 0;
        for (size_t s = 0; s < p->stack.states; s++)
            for (size_t r = 0; r < b->rows; r++) {
                float *to = b->first[c] + (s * b->rows + r) * units;
                memcpy(to, p->stack.packed[c].initial + s * units, 4 * units);
                if (from_carry) memcpy(to, carried(p, b, c, s, r), 4 * H);
            }
    }
}

void write_states(const Program *p, const Block *b) {
    const size_t H = p->spec.shape.hidden;
    for (size_t c = 0; c < p->stack.cells; c++)
        for (size_t s = 0; s < p->stack.states; s++) {
            const Rows last = last_state(&p->stack, b, c, s);
            for (size_t r = 0; r < b->rows; r++)
                memcpy(carried(p, b, c, s, r), last.pointer + r * last.stride, 4 * H);
        }
}

void mask_inputs(const Program *p, const Block *b, float *x, size_t stride) {
    const size_t I = p->spec.shape.inputs;
    for (size_t k = 0; k < b->steps * b->rows; k++)
        for (size_t i = 0; i < I; i++) x[k * stride + i] *= b->input_mask[k % b->rows * I + i];
}

/* Draws the dropout mask of a row of a layer's inputs (or of the vocabulary): one draw for all steps. */
static void draw_inputs(const Program *p, uint64_t layer, size_t row, size_t start, size_t n, size_t width, float *to) {
    const Chance *c = &p->spec.inputs;
    draw(c, p->batch.dropout, layer, row * width + start, n, 0.0f, (float)c->value, to);
}

/* Draws the masks of the inputs of all layers except the first: the elements' mask times the sequences' mask. */
static void draw_between(const Program *p, Block *b) {
    const size_t D = p->spec.shape.directions, H = p->spec.shape.hidden, T = b->steps, units = p->stack.units;
    const Chance *c = &p->spec.dropout;
    float one[1024];
    for (size_t l = 0; l + 1 < (size_t)p->spec.shape.layers; l++)
        for (size_t r = 0; r < b->rows; r++)
            for (size_t d = 0; d < D; d++)
                for (size_t from = 0; from < H; from += sizeof one / 4) {
                    const size_t n = H - from < sizeof one / 4 ? H - from : sizeof one / 4;
                    for (size_t u = 0; u < n; u++) one[u] = 1.0f;
                    if (p->spec.inputs.below)
                        draw_inputs(p, l + 1, b->row + r, d * H + from, n, D * H, one);
                    for (size_t t = 0; t < T; t++) {
                        float *to = b->mask[l] + (t * b->rows + r) * p->stack.out_stride + d * units + from;
                        /* element ((row * T + t) * D + d) * H of the mask (B, T, D * H) */
                        const uint64_t start = (((b->row + r) * T + t) * D + d) * H + from;
                        if (c->below) draw(c, p->batch.dropout, l, start, n, 0.0f, (float)c->value, to);
                        for (size_t u = 0; u < n; u++) to[u] = c->below ? to[u] * one[u] : one[u];
                    }
                }
}

/* Draws the cells' masks: dropout for the sources of products, and zoneout. */
static void draw_cells(const Program *p, Block *b) {
    const Cell *cell = p->stack.cell;
    const size_t H = p->spec.shape.hidden, T = b->steps, units = p->stack.units, K = cell->keeps;
    const Chance *c = &p->spec.products;
    const uint64_t step = p->batch.dropout;
    for (size_t i = 0; i < p->stack.cells; i++)
        for (size_t r = 0; r < b->rows; r++) {
            float *mask = cell->masked ? b->products[i] + r * units : NULL;
            if (mask && p->training) draw(c, step, i, (b->row + r) * H, H, 0.0f, (float)c->value, mask);
            for (size_t u = 0; mask && !p->training && u < H; u++) mask[u] = 1.0f;
            for (size_t t = 0; t < T; t++)
                for (size_t k = 0; k < K; k++) {
                    const Chance *z = &p->spec.zoneout[k];
                    float *keep = b->keep[i] + ((t * b->rows + r) * K + k) * units;
                    if (p->training) draw(z, step, i, (((b->row + r) * T + t) * K + k) * H, H, 1.0f, 0.0f, keep);
                    else
                        for (size_t u = 0; u < H; u++) keep[u] = (float)z->value;
                }
        }
}

void read_block(const Program *p, Worker *w, Block *b) {
    if (p->spec.input == WINDOWS) read_window(p, b);
    else read_tokens(p, w, b);
    if (p->spec.head == ENDS) read_lengths(p, w, b);
    read_states(p, b);
    if (b->needs.dropout) draw_between(p, b);
    draw_cells(p, b);
    if (!b->needs.input_mask) return;
    const size_t I = p->spec.shape.inputs;
    for (size_t r = 0; r < b->rows; r++) draw_inputs(p, 0, b->row + r, 0, I, I, b->input_mask + r * I);
    if (p->spec.input != ONE_HOT) mask_inputs(p, b, b->x, b->x_stride);
}
