/* The two matrix products on which all kernels are built, and the packing that makes them fast.
 *
 * A product reads its right side from panels. A panel consists of PANEL adjacent vectors of columns, with all K
 * rows, so that it passes through the first-level cache once for all rows of the left side. Each element of a result
 * is one chain of fused multiply-adds in the order of K, so that tile shape and vector width do not change a bit. */
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

/* With bf16, sums of at most NARROW terms stay in float32: inputs of few columns, and gradients of few outputs. */
#define NARROW 8

/* The left side of a product: a row consists of `blocks` stretches of `length` floats. */
typedef struct {
    const float *pointer;
    size_t stride; /* floats from one row to the next */
    size_t blocks, length;
    size_t block_stride; /* floats from one stretch to the next */
} Left;

/* How many floats the panels of K rows and `columns` columns (a multiple of BLOCK) need. */
INLINE size_t panel_floats(size_t k, size_t columns) {
#ifdef RNNLAB_BF16
    if (k > NARROW) return (k + 31) / 32 * 16 * columns; /* two rows share one word per column, in spans of 32 */
#endif
    return k * columns;
}

/* The position of column `column` of row k in panels of K rows. */
INLINE size_t panel_place(size_t k, size_t column, size_t k_rows, size_t columns) {
    const size_t width = PANEL * WIDTH, first = column / width * width;
    const size_t own = columns - first < width ? columns - first : width; /* the last panel may be narrow */
    return first * k_rows + k * own + (column - first);
}

/* out[r][c] = start[r * start_stride + c] + sum_k left[r][k] * panels[k][c], for c < columns, a multiple of
 * BLOCK. `start` may be out itself, one row (stride 0), or NULL for zeros. */
void product(size_t rows, size_t columns, Left left, const float *panels, const float *start, size_t start_stride,
             float *out, size_t out_stride);

/* sum[j][k] += sum_r d[r][j] * x[r][k], for j < m and k < n, both multiples of BLOCK. The sum over the rows starts from
 * zero and is then added: long sums consist of short ones, which keeps the rounding error small. */
void add_outer(size_t rows, const float *d, size_t d_stride, size_t m, const float *x, size_t x_stride, size_t n,
               float *sum, size_t sum_stride);

/* The same for few columns (n <= NARROW), transposed, together with the sum over d:
 * sum[i][j] += sum_r x[r][i] * d[r][j], total[j] += sum_r d[r][j], for j < m, a multiple of BLOCK.
 * With n = 0 it computes only the totals. */
void add_narrow(size_t rows, const float *d, size_t d_stride, size_t m, const float *x, size_t x_stride, size_t n,
                float *sum, size_t sum_stride, float *total);

/* Packs a row of a matrix (K floats) as column `column` of panels of K rows. */
void pack_column(float *panels, size_t column, size_t columns, const float *row, size_t k_rows);

/* Packs the stretches of a row as row k of the panels; each stretch is padded to whole blocks. */
void pack_row(float *panels, size_t k, size_t k_rows, const float *row, size_t stretches, size_t length,
              size_t columns);

/* Parts: the same array in the sums of all groups of rows. */
#define MAX_GROUPS 8
typedef struct {
    const float *pointers[MAX_GROUPS];
    size_t count;
} Parts;

/* out[j] = sum of the parts' values at offset + j * step, in the order of the parts; with `adds` out[j] += this sum */
void collect(Parts parts, size_t offset, size_t step, size_t n, int adds, float *out);

#endif
