/* The two matrix products that everything is made of, and the packing that makes them fast.
 *
 * A product reads its right side from panels: PANEL vectors of columns side by side, for each of them all K
 * rows, so that one panel streams through the first cache once for all rows of the left side. Each element
 * of a result is one chain of fused multiply-adds in the order of K: no tile shape or vector width changes
 * a bit of it. */
#ifndef RNNLAB_TILES_H
#define RNNLAB_TILES_H

#include "vector.h"

/* Vectors of columns in a panel, and the most rows in a tile: 16 or 8 accumulators out of 32 or 16 registers. */
#define PANEL 2
#if defined(__AVX512F__) || defined(__aarch64__)
#define TILE_ROWS 8
#else
#define TILE_ROWS 4
#endif

/* Sums of few terms stay in float32: the values of a series, and the gradients of few outputs. */
#define NARROW 8

/* The left side of a product: each row is `blocks` stretches of `length` floats. */
typedef struct {
    const float *pointer;
    size_t stride; /* floats from one row to the next */
    size_t blocks, length;
    size_t block_stride; /* floats from one stretch to the next */
} Left;

/* Floats that the panels of K rows and `columns` columns (a multiple of BLOCK) take. */
INLINE size_t panel_floats(size_t k, size_t columns) {
#ifdef RNNLAB_BF16
    if (k > NARROW) return (k + 31) / 32 * 16 * columns; /* two rows share the words of one, in spans of 32 */
#endif
    return k * columns;
}

/* Where column `column` of row k stands among panels of K rows. */
INLINE size_t panel_place(size_t k, size_t column, size_t k_rows, size_t columns) {
    const size_t width = PANEL * WIDTH, first = column / width * width;
    const size_t own = columns - first < width ? columns - first : width; /* the last panel may be narrow */
    return first * k_rows + k * own + (column - first);
}

/* out[r][c] = start[r * start_stride + c] + sum_k left[r][k] * panels[k][c], for c < columns, a multiple of
 * BLOCK. `start` may be out itself, one row (stride 0), or NULL for zeros. */
void product(size_t rows, size_t columns, Left left, const float *panels, const float *start, size_t start_stride,
             float *out, size_t out_stride);

/* sum[j][k] += sum_r d[r][j] * x[r][k], for j < m and k < n, both multiples of BLOCK. The rows are summed
 * from zero, then added: long sums are made of short ones, which keeps their error small. */
void add_outer(size_t rows, const float *d, size_t d_stride, size_t m, const float *x, size_t x_stride, size_t n,
               float *sum, size_t sum_stride);

/* The same for few columns (n <= NARROW) and transposed, together with the sum over d alone:
 * sum[i][j] += sum_r x[r][i] * d[r][j], total[j] += sum_r d[r][j], for j < m, a multiple of BLOCK.
 * With n = 0 only the totals. */
void add_narrow(size_t rows, const float *d, size_t d_stride, size_t m, const float *x, size_t x_stride, size_t n,
                float *sum, size_t sum_stride, float *total);

/* Row `row` (K floats) of a matrix becomes column `column` of panels of K rows. */
void pack_column(float *panels, size_t column, size_t columns, const float *row, size_t k_rows);

/* Stretches of row `row` become row k of the panels, each stretch at whole blocks. */
void pack_row(float *panels, size_t k, size_t k_rows, const float *row, size_t stretches, size_t length,
              size_t columns);

/* The same array of sums of every group of rows. */
#define MAX_GROUPS 8
typedef struct {
    const float *pointers[MAX_GROUPS];
    size_t count;
} Parts;

/* out[j] = the parts' values at offset + j * step, added in the order of the parts; `adds`: to what is there */
void collect(Parts parts, size_t offset, size_t step, size_t n, int adds, float *out);

#endif
