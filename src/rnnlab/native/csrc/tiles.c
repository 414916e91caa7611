#include "bf16.h"

/* One tile of `rows` rows by `vectors` vectors of columns; both are constants where this is inlined. */
INLINE void product_tile(const int rows, const int vectors, Left left, const float *panel, const float *start,
                         size_t start_stride, float *out, size_t out_stride) {
    vec sum[TILE_ROWS * PANEL]; /* with fewer vectors a tile has more rows */
    EACH (r, rows)
        EACH (n, vectors) sum[r * vectors + n] = start ? load(start + r * start_stride + n * WIDTH) : splat(0.0f);
    for (size_t b = 0; b < left.blocks; b++) {
        const float *a = left.pointer + b * left.block_stride;
        for (size_t k = 0; k < left.length; k++, panel += vectors * WIDTH) {
            vec w[PANEL];
            EACH (n, vectors) w[n] = load(panel + n * WIDTH);
            EACH (r, rows) {
                const vec x = splat(a[r * left.stride + k]);
                EACH (n, vectors) sum[r * vectors + n] = fma_(x, w[n], sum[r * vectors + n]);
            }
        }
    }
    EACH (r, rows)
        EACH (n, vectors) store(out + r * out_stride + n * WIDTH, sum[r * vectors + n]);
}

INLINE void product_panel(const int vectors, size_t rows, Left left, const float *panel, const float *start,
                          size_t start_stride, float *out, size_t out_stride) {
    const size_t most = TILE_ROWS * PANEL / vectors, tiles = (rows + most - 1) / most;
    for (size_t i = 0; i < tiles; i++) { /* tiles of nearly equal height: 25 rows are 7 + 6 + 6 + 6 */
        const size_t first = rows * i / tiles, height = rows * (i + 1) / tiles - first;
        const float *from = start ? start + first * start_stride : NULL;
        float *to = out + first * out_stride;
        Left part = left;
        part.pointer += first * left.stride;
#define HEIGHT(h) \
    case h: product_tile(h, vectors, part, panel, from, start_stride, to, out_stride); break;
#define TALL(h) \
    case h: if (vectors == 1) product_tile(h, 1, part, panel, from, start_stride, to, out_stride); break;
        /* clang-format off */
        switch (height) {
            HEIGHT(1) HEIGHT(2) HEIGHT(3) HEIGHT(4)
#if TILE_ROWS == 8
            HEIGHT(5) HEIGHT(6) HEIGHT(7) HEIGHT(8)
            TALL(9) TALL(10) TALL(11) TALL(12) TALL(13) TALL(14) TALL(15) TALL(16)
#else
            TALL(5) TALL(6) TALL(7) TALL(8)
#endif
        }
        /* clang-format on */
#undef HEIGHT
#undef TALL
    }
}

void product(size_t rows, size_t columns, Left left, const float *panels, const float *start, size_t start_stride,
             float *out, size_t out_stride) {
    const size_t k = left.blocks * left.length;
    BY_BF16(k, bf16_product(rows, columns, left, panels, start, start_stride, out, out_stride));
    for (size_t c = 0; c < columns;) {
        const float *panel = panels + c * k, *from = start ? start + c : NULL;
        if (columns - c >= PANEL * WIDTH) {
            product_panel(PANEL, rows, left, panel, from, start_stride, out + c, out_stride);
            c += PANEL * WIDTH;
        } else {
            product_panel(1, rows, left, panel, from, start_stride, out + c, out_stride);
            c += WIDTH;
        }
    }
}

INLINE void outer_tile(const int vectors, size_t rows, const float *d, size_t d_stride, const float *x,
                       size_t x_stride, float *sum, size_t sum_stride) {
    vec part[TILE_ROWS * PANEL];
    EACH (i, TILE_ROWS * vectors) part[i] = splat(0.0f);
    for (size_t r = 0; r < rows; r++, d += d_stride, x += x_stride) {
        vec v[PANEL];
        EACH (n, vectors) v[n] = load(x + n * WIDTH);
        EACH (j, TILE_ROWS) {
            const vec a = splat(d[j]);
            EACH (n, vectors) part[j * vectors + n] = fma_(a, v[n], part[j * vectors + n]);
        }
    }
    EACH (j, TILE_ROWS)
        EACH (n, vectors) {
            float *to = sum + j * sum_stride + n * WIDTH;
            store(to, load(to) + part[j * vectors + n]);
        }
}

void add_outer(size_t rows, const float *d, size_t d_stride, size_t m, const float *x, size_t x_stride, size_t n,
               float *sum, size_t sum_stride) {
    BY_BF16(rows, bf16_add_outer(rows, d, d_stride, m, x, x_stride, n, sum, sum_stride));
    for (size_t j = 0; j < m; j += TILE_ROWS) {
        float *to = sum + j * sum_stride;
        size_t k = 0;
        for (; k + PANEL * WIDTH <= n; k += PANEL * WIDTH)
            outer_tile(PANEL, rows, d + j, d_stride, x + k, x_stride, to + k, sum_stride);
        for (; k < n; k += WIDTH) outer_tile(1, rows, d + j, d_stride, x + k, x_stride, to + k, sum_stride);
    }
}

INLINE void narrow_tile(const int n, size_t rows, const float *d, size_t d_stride, const float *x, size_t x_stride,
                        float *sum, size_t sum_stride, float *total) {
    vec all = splat(0.0f), part[NARROW];
    EACH (i, n) part[i] = splat(0.0f);
    for (size_t r = 0; r < rows; r++) {
        const vec v = load(d + r * d_stride);
        all += v;
        EACH (i, n) part[i] = fma_(splat(x[r * x_stride + i]), v, part[i]);
    }
    store(total, load(total) + all);
    EACH (i, n) {
        float *to = sum + i * sum_stride;
        store(to, load(to) + part[i]);
    }
}

void add_narrow(size_t rows, const float *d, size_t d_stride, size_t m, const float *x, size_t x_stride, size_t n,
                float *sum, size_t sum_stride, float *total) {
#define COLUMNS(i) \
    case i: narrow_tile(i, rows, d + j, d_stride, x, x_stride, sum ? sum + j : NULL, sum_stride, total + j); break;
    /* clang-format off */
    for (size_t j = 0; j < m; j += WIDTH)
        switch (n) {
            COLUMNS(0) COLUMNS(1) COLUMNS(2) COLUMNS(3) COLUMNS(4) COLUMNS(5) COLUMNS(6) COLUMNS(7) COLUMNS(8)
        }
        /* clang-format on */
#undef COLUMNS
}

void pack_column(float *panels, size_t column, size_t columns, const float *row, size_t k_rows) {
    BY_BF16(k_rows, bf16_pack_column(panels, column, row, k_rows));
    float *to = panels + panel_place(0, column, k_rows, columns);
    const size_t step = panel_place(1, column, k_rows, columns) - panel_place(0, column, k_rows, columns);
    for (size_t k = 0; k < k_rows; k++) to[k * step] = row[k];
}

void pack_row(float *panels, size_t k, size_t k_rows, const float *row, size_t stretches, size_t length,
              size_t columns) {
    BY_BF16(k_rows, bf16_pack_row(panels, k, k_rows, row, stretches, length, columns));
    const size_t stride = stretches == 1 ? columns : padded(length);
    for (size_t s = 0; s < stretches; s++)
        for (size_t c = 0; c < length; c += BLOCK) { /* a block never straddles two panels */
            const size_t n = length - c < BLOCK ? length - c : BLOCK;
            for (size_t i = 0; i < n; i += WIDTH) {
                float *to = panels + panel_place(k, s * stride + c + i, k_rows, columns);
                const float *from = row + s * length + c + i;
                for (size_t j = 0; j < WIDTH && i + j < n; j++) to[j] = from[j];
            }
        }
}

void collect(Parts parts, size_t offset, size_t step, size_t n, int adds, float *out) {
    for (size_t j = 0; j < n && !adds; j++) out[j] = parts.pointers[0][offset + j * step];
    for (size_t g = !adds; g < parts.count; g++)
        for (size_t j = 0; j < n; j++) out[j] += parts.pointers[g][offset + j * step];
}
