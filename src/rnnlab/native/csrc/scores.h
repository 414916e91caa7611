/* What an evaluation adds up beside its loss. */
#ifndef RNNLAB_SCORES_H
#define RNNLAB_SCORES_H

#include "heads.h"

#define MAX_LEVELS 128

/* The sums of a part: of a forecast, or of a class. */
enum { LOSS, SQUARES, ABSOLUTES, SPREAD, BETWEEN, SCORES };
enum { RIGHT = SQUARES };

/* What brings a forecast to the units of the data, and the levels of its quantiles. */
typedef struct {
    int64_t targets;
    const double *scale, *shift; /* (targets,) */
    const double *levels;        /* (level_count,), at most MAX_LEVELS; of PINBALL alone */
    int64_t middle;              /* the place of the one that is the forecast, among those in order */
} Units;

/* Adds the scores of one row of outputs, z (outputs), to sums (SCORES); z is lost. `target` and `label` as in head_loss. */
void add_scores(const Head *head, const Units *units, float *z, const float *target, int64_t label, double *sums);

/* Adds up the scores of a batch's rows (rows, SCORES), then adds them to those of the batches before. */
void collect_scores(size_t rows, const double *of_rows, double *sums);

#endif
