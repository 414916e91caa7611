/* The objective: targets, the head at the steps that it reads, and its loss. */
#include "program.h"

/* Copies the targets of row r into w->target; returns its label. */
static int64_t read_target(const Program *p, Worker *w, const Block *b, size_t r, size_t t) {
    const Spec *spec = &p->spec;
    const Data *data = p->data;
    const int64_t row = indices(p, b)[r]; /* of the data */
    if (spec->input != WINDOWS) {
        const int64_t at = spec->head == EVERY ? row * data->label_row + p->batch.start + (int64_t)t : row;
        return within(w, data->labels[at], 0, spec->loss == BINARY ? 2 : spec->outputs);
    }
    const float *from = data->y + row * data->y_row;
    for (int64_t h = 0; h < data->horizon; h++, from += data->y_step)
        for (int64_t j = 0; j < data->targets; j++) w->target[h * data->targets + j] = from[data->y_columns[j]];
    return 0;
}

static void add_last(const Program *p, const Block *b, size_t r, float *z) {
    const Data *data = p->data;
    const float *last = data->x + indices(p, b)[r] * data->x_row + (b->steps - 1) * data->x_step;
    for (int64_t h = 0; h < data->horizon; h++)
        for (int64_t j = 0; j < data->targets; j++)
            for (size_t k = 0; k < p->head.level_count; k++) *z++ += last[data->last_columns[j]];
}

/* The loss of one row of outputs z, which is replaced by its gradient. */
static double finish_row(const Program *p, Worker *w, const Block *b, size_t r, size_t t, float *z) {
    const size_t n = p->head.outputs, places = p->spec.head == EVERY ? b->steps : 1;
    if (p->spec.subtract_last) add_last(p, b, r, z);
    if (p->outputs) memcpy(p->outputs + ((b->row + r) * places + t) * n, z, 4 * n);
    const size_t terms = p->batch.rows * places * (p->spec.loss <= PINBALL ? n : 1);
    const int64_t label = read_target(p, w, b, r, t);
    if (p->units) {
        add_scores(&p->head, p->units, z, w->target, label, p->row_scores + (b->row + r) * SCORES);
        return 0;
    }
    return head_loss(&p->head, z, w->target, label, (float)(1.0 / terms)) / terms;
}

/* The head reads each row's last forward output and its first backward output. */
static void read_ends(const Program *p, const Block *b, Worker *w, int back) {
    const size_t units = p->stack.units, stride = p->stack.out_stride, D = p->spec.shape.directions;
    float *out = back ? b->d_top : b->out[p->spec.shape.layers - 1];
    for (size_t r = 0; r < b->rows; r++)
        for (size_t d = 0; d < D; d++) {
            const size_t t = d ? 0 : w->lengths[r] - 1;
            float *there = out + (t * b->rows + r) * stride + d * units,
                  *here = (back ? w->dy : w->y) + (r * D + d) * units;
            memcpy(back ? there : here, back ? here : there, 4 * units);
        }
}

double apply_head(const Program *p, Worker *w, Block *b, HeadSums *sums) {
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
