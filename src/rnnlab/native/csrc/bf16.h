/* Products of bfloat16 numbers with sums in float32. They replace `product` and `add_outer` in the library for
 * trainer.precision=bf16-mixed (built with -DRNNLAB_BF16), where a sum has more than NARROW terms.
 *
 * Both sides are rounded to bfloat16, ties to even; subnormal float32 numbers become zeros. The terms of a sum are
 * divided into spans of 32; the last one is filled with zeros. Each span consists of two chains of fused multiply-adds
 * that start from zero, one of its even and one of its odd terms, in their order. The two chains are added, and the
 * result is added to the sum of the earlier spans. Each result is rounded to the nearest float32, ties to even, and is
 * zero where it would be subnormal. The instruction TDPBF16PS (AMX) computes exactly this; elsewhere it is done term by
 * term, at about the rate of float32. */
#ifndef RNNLAB_BF16_H
#define RNNLAB_BF16_H

#include "tiles.h"

/* For sums of more than NARROW terms, runs `call` and returns from the caller. */
#ifdef RNNLAB_BF16
#define BY_BF16(terms, call)  \
    do {                      \
        if ((terms) > NARROW) {\
            call;             \
            return;           \
        }                     \
    } while (0)
#else
#define BY_BF16(terms, call) ((void)(terms))
#endif

/* As the functions in tiles.h. */
void bf16_product(size_t rows, size_t columns, Left left, const float *panels, const float *start,
                  size_t start_stride, float *out, size_t out_stride);
void bf16_add_outer(size_t rows, const float *d, size_t d_stride, size_t m, const float *x, size_t x_stride, size_t n,
                    float *sum, size_t sum_stride);
void bf16_pack_column(float *panels, size_t column, const float *row, size_t k_rows);
void bf16_pack_row(float *panels, size_t k, size_t k_rows, const float *row, size_t stretches, size_t length,
                   size_t columns);

#endif
