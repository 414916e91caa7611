/* A block of a batch, from where the data lie into the block, and its states into the carry. */
#include "philox.h"
#include "program.h"

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

static void read_tokens(const Program *p, Block *b) {
    const size_t E = p->spec.shape.inputs;
    for (size_t r = 0; r < b->rows; r++) {
        const int64_t *from = tokens_of(p, b, r);
        for (size_t t = 0; t < b->steps; t++) {
            const size_t place = t * b->rows + r;
            if (p->spec.input == ONE_HOT) {
                b->tokens[place] = (int32_t)from[t];
                continue;
            }
            float *to = b->x + place * b->x_stride;
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

static void draw_masks(const Program *p, Block *b) {
    const size_t D = p->spec.shape.directions, H = p->spec.shape.hidden, T = b->steps;
    Dropout drop = {{p->spec.drop_key[0], p->spec.drop_key[1]},
                    p->batch.dropout,
                    0,
                    p->spec.drop_below,
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

void read_block(const Program *p, Worker *w, Block *b) {
    if (p->spec.input == WINDOWS) read_window(p, b);
    else read_tokens(p, b);
    if (p->spec.head == ENDS) read_lengths(p, w, b);
    read_states(p, b);
    if (b->needs.dropout) draw_masks(p, b);
}
