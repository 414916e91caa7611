/* The sums of an evaluation, in double precision. They are added in a fixed order (steps in time, rows of a batch,
 * batches), so that neither the number of threads nor the division into calls changes a bit. */
#include "scores.h"

#include <math.h>
#include <stdlib.h>

int64_t rnnlab_units_size(void) { return sizeof(Units); }

static double distance_of(const Head *head, double e) {
    const double size = fabs(e), delta = head->huber_delta;
    if (head->loss == MAE) return size;
    if (head->loss == HUBER) return size >= delta ? delta * (size - 0.5 * delta) : 0.5 * e * e;
    return e * e;
}

/* The maximum of level * over and (level - 1) * over; NaN stays NaN. */
static double pinball_of(double level, double over) { return over * (over > 0 ? level : level - 1); }

static void sort(double *z, size_t n) {
    for (size_t i = 1; i < n; i++) {
        const double one = z[i];
        size_t k = i;
        for (; k && z[k - 1] > one; k--) z[k] = z[k - 1];
        z[k] = one;
    }
}

static void add_forecast(const Head *head, const Units *units, const float *z, const float *target, double *sums) {
    const size_t levels = head->level_count, pairs = head->outputs / levels;
    for (size_t i = 0; i < pairs; i++, z += levels) {
        const size_t j = i % units->targets;
        const double y = target[i], scale = units->scale[j], shift = units->shift[j];
        double said[MAX_LEVELS], point = z[0];
        if (head->loss == PINBALL) {
            for (size_t k = 0; k < levels; k++) {
                said[k] = z[k];
                sums[LOSS] += pinball_of(units->levels[k], y - z[k]);
            }
            sort(said, levels);
            point = said[units->middle];
            const double truth = y * scale + shift;
            for (size_t k = 0; k < levels; k++) {
                said[k] = said[k] * scale + shift;
                sums[SPREAD] += pinball_of(units->levels[k], truth - said[k]);
            }
            sums[BETWEEN] += said[0] <= truth && truth <= said[levels - 1];
        } else {
            sums[LOSS] += distance_of(head, point - y);
        }
        const double error = (point - y) * scale;
        sums[SQUARES] += error * error;
        sums[ABSOLUTES] += fabs(error);
    }
}

static int is_right(const Head *head, const float *z, int64_t label) {
    if (head->loss == BINARY) return (z[0] > 0) == (label != 0);
    size_t best = 0;
    for (size_t i = 1; i < head->outputs; i++)
        if (z[i] > z[best] || (z[i] != z[i] && z[best] == z[best])) best = i; /* NaN is torch's maximum */
    return (int64_t)best == label;
}

void add_scores(const Head *head, const Units *units, float *z, const float *target, int64_t label, double *sums) {
    if (head->loss <= PINBALL) {
        add_forecast(head, units, z, target, sums);
        return;
    }
    sums[RIGHT] += is_right(head, z, label);
    sums[LOSS] += head_loss(head, z, NULL, label, 1.0f); /* z becomes the gradient */
}

void collect_scores(size_t rows, const double *of_rows, double *sums) {
    double batch[SCORES] = {0};
    for (size_t r = 0; r < rows; r++)
        for (size_t k = 0; k < SCORES; k++) batch[k] += of_rows[r * SCORES + k];
    for (size_t k = 0; k < SCORES; k++) sums[k] += batch[k];
}

/* The scores of a head's outputs z (rows, places, outputs), with targets (rows, outputs / levels) or labels (rows,
 * places). Returns 0 where there is not enough memory. */
int64_t rnnlab_scores(int64_t loss, double huber_delta, int64_t level_count, const Units *units, int64_t rows,
                      int64_t places, int64_t outputs, const float *z, const float *targets, const int64_t *labels,
                      double *sums) {
    Head head = {.loss = loss,
                 .huber_delta = (float)huber_delta,
                 .level_count = level_count,
                 .outputs = outputs,
                 .columns = padded(outputs)};
    float *room = aligned_alloc(64, 4 * padded(outputs));
    if (!room) return 0;
    double all[SCORES] = {0};
    for (int64_t r = 0; r < rows; r++) {
        double row[SCORES] = {0};
        for (int64_t t = 0; t < places; t++, z += outputs) {
            memset(room + outputs, 0, 4 * (head.columns - outputs));
            memcpy(room, z, 4 * outputs);
            add_scores(&head, units, room, targets ? targets + r * (outputs / level_count) : NULL,
                       labels ? labels[r * places + t] : 0, row);
        }
        for (size_t k = 0; k < SCORES; k++) all[k] += row[k];
    }
    free(room);
    for (size_t k = 0; k < SCORES; k++) sums[k] = 0.0 + all[k];
    return 1;
}

/* y = x W' + b of a linear layer; each element is one chain of fused multiply-adds, as in head_forward. Returns 0 where
 * there is not enough memory. */
int64_t rnnlab_linear(int64_t rows, int64_t inputs, int64_t outputs, const float *x, const float *weight,
                      const float *bias, float *y) {
    const size_t columns = padded(outputs), stride = row_stride(outputs), chunk = 64;
    const size_t packed = panel_floats(inputs, columns);
    float *room = aligned_alloc(64, 4 * (packed + columns + chunk * stride));
    if (!room) return 0;
    float *panels = room, *start = panels + packed, *z = start + columns;
    memset(room, 0, 4 * (packed + columns));
    for (int64_t o = 0; o < outputs; o++) {
        pack_column(panels, o, columns, weight + o * inputs, inputs);
        start[o] = bias ? bias[o] : 0.0f;
    }
    for (size_t r = 0; r < (size_t)rows; r += chunk) {
        const size_t n = rows - r < chunk ? rows - r : chunk;
        const Left left = {x + r * inputs, inputs, 1, inputs, 0};
        product(n, columns, left, panels, start, 0, z, stride);
        for (size_t i = 0; i < n; i++) memcpy(y + (r + i) * outputs, z + i * stride, 4 * outputs);
    }
    free(room);
    return 1;
}
