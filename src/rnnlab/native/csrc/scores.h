/* The sums of an evaluation, including its loss. */
#ifndef RNNLAB_SCORES_H
#define RNNLAB_SCORES_H

#include "heads.h"

#define MAX_LEVELS 128

/* The sums over a part of the data; for classes only LOSS and RIGHT. */
enum { LOSS, SQUARES, ABSOLUTES, SPREAD, BETWEEN, SCORES };
enum { RIGHT = SQUARES };

/* Scale and shift that convert a forecast to the units of the data, and the levels of its quantiles. */
typedef struct {
    int64_t targets;
    const double *scale, *shift; /* (targets,) */
    const double *levels;        /* (level_count,), at most MAX_LEVELS; only for PINBALL */
    int64_t middle;              /* index, among the sorted quantiles, of the one that is the forecast */
} Units;

/* Adds the scores of one row of outputs z (outputs) to sums (SCORES); overwrites z. `target`, `label`: see
 * head_loss. */
void add_scores(const Head *head, const Units *units, float *z, const float *target, int64_t label, double *sums);

/* Adds up the scores of a batch's rows (rows, SCORES), then adds the result to the sums of earlier batches. */
void collect_scores(size_t rows, const double *of_rows, double *sums);

#endif
