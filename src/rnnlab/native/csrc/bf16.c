#include "bf16.h"

#ifdef RNNLAB_BF16
#if defined(__AMX_BF16__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define SPAN 32  /* terms of a sum in a tile */
#define SPANS 32 /* the most tiles for one side of a product */

/* Tiles are written by halves and read by words, and lie in panels of floats: a compiler may not take the accesses for
 * those of different memory. */
typedef uint32_t __attribute__((may_alias)) Word;
typedef uint16_t __attribute__((may_alias)) Half;

/* 16 rows of 16 words; a word holds two numbers, the earlier one in its low half. On the left side row i has 32 terms
 * of row i, on the right side row i has the terms 2i and 2i + 1 of 16 columns. */
typedef Word Tile[16][16];

/* One or two tiles of rows times one or two tiles of columns, both `spans` tiles deep. The sum of element (r, c) of
 * tile (i, j) starts from start[(r + 16i) * start_stride + c + 16j], or from zero. */
typedef struct {
    int tall, wide;
    int heights[2]; /* rows in use, at most 16 */
    size_t spans;
    const Tile *left[2], *right[2];
    const float *start;
    size_t start_stride;
    float *out;
    size_t out_stride;
} Piece;

/* x rounded to bfloat16, in the high half of a word. */
INLINE uint32_t rounded(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    const uint32_t size = bits & 0x7fffffff, near = bits + 0x7fff + (bits >> 16 & 1);
    const uint32_t kept = size > 0x7f800000 ? bits | 0x400000 : size < 0x800000 ? bits & 0x80000000 : near;
    return kept & 0xffff0000;
}

INLINE uint32_t pair(float first, float second) { return rounded(first) >> 16 | rounded(second); }

#if defined(__AVX512BF16__) /* the same in one instruction, which always rounds in this way */
INLINE void round_span(const float *x, Half *out) {
    const __m512bh both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + 16), _mm512_loadu_ps(x));
    memcpy(out, &both, sizeof both);
}

INLINE void round_pairs(const float *first, const float *second, Word *words) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512bh both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(second), _mm512_loadu_ps(first));
    _mm512_storeu_si512(words, _mm512_permutexvar_epi16(order, (__m512i)both));
}
#else
/* 32 numbers, one after another. */
INLINE void round_span(const float *x, Half *out) {
    for (int i = 0; i < SPAN; i++) out[i] = (uint16_t)(rounded(x[i]) >> 16);
}

/* 16 words, each with one number of `first` and one of `second`. */
INLINE void round_pairs(const float *first, const float *second, Word *words) {
    for (int i = 0; i < 16; i++) words[i] = pair(first[i], second[i]);
}
#endif

/* ------------------------------------------------------------------ with the AMX instruction */

#if defined(__AMX_BF16__) && defined(__linux__)
/* gcc's built-in tile functions do not declare the memory that they read: this forces all writes reachable from
 * `from`. */
#define WRITTEN(from) __asm__ volatile("" : : "r"(from) : "memory")

/* Whether the system allows this process to use the tile registers. */
static int has_tiles(void) {
    static int known;
    if (!known) known = syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) ? -1 : 1;
    return known > 0;
}

/* Tiles 0 to 3 are sums, 4 and 5 the left side, 6 and 7 the right side. */
static void shape_tiles(const int heights[2]) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shape __attribute__((aligned(64))) = {.palette = 1};
    const int rows[8] = {heights[0], heights[0], heights[1], heights[1], heights[0], heights[1], 16, 16};
    for (int i = 0; i < 8; i++) {
        shape.row_bytes[i] = rows[i] ? 64 : 0;
        shape.rows[i] = (uint8_t)rows[i];
    }
    WRITTEN(&shape);
    _tile_loadconfig(&shape);
}

#define SUM(t, i, j)                                                                                           \
    if (p->start) _tile_loadd(t, p->start + 16 * i * p->start_stride + 16 * j, 4 * p->start_stride);           \
    else _tile_zero(t)
#define OUT(t, i, j) _tile_stored(t, p->out + 16 * i * p->out_stride + 16 * j, 4 * p->out_stride)

INLINE void tiles(const int tall, const int wide, const Piece *p) {
    SUM(0, 0, 0);
    if (wide > 1) { SUM(1, 0, 1); }
    if (tall > 1) { SUM(2, 1, 0); }
    if (tall > 1 && wide > 1) { SUM(3, 1, 1); }
    for (size_t s = 0; s < p->spans; s++) {
        _tile_loadd(4, p->left[0][s], 64);
        _tile_loadd(6, p->right[0][s], 64);
        _tile_dpbf16ps(0, 4, 6);
        if (wide > 1) {
            _tile_loadd(7, p->right[1][s], 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (tall > 1) {
            _tile_loadd(5, p->left[1][s], 64);
            _tile_dpbf16ps(2, 5, 6);
            if (wide > 1) _tile_dpbf16ps(3, 5, 7);
        }
    }
    OUT(0, 0, 0);
    if (wide > 1) OUT(1, 0, 1);
    if (tall > 1) OUT(2, 1, 0);
    if (tall > 1 && wide > 1) OUT(3, 1, 1);
}

static void by_tiles(const Piece *p) {
    WRITTEN(p);
    if (p->tall > 1 && p->wide > 1) tiles(2, 2, p);
    else if (p->tall > 1) tiles(2, 1, p);
    else if (p->wide > 1) tiles(1, 2, p);
    else tiles(1, 1, p);
}
#else
static int has_tiles(void) { return 0; }
static void shape_tiles(const int heights[2]) { (void)heights; }
static void by_tiles(const Piece *p) { (void)p; }
#define _tile_release() ((void)0)
#endif

/* ------------------------------------------------------------------ term by term */

#if defined(__SSE2__) /* the mode in which the processor replaces subnormal numbers by zeros */
#define FLUSHED(v) (v)
#define BEGIN_FLUSHING const unsigned int mode = _mm_getcsr(); _mm_setcsr(mode | 0x8040)
#define END_FLUSHING _mm_setcsr(mode)
#else
INLINE vec FLUSHED(vec v) {
    const vec_bits bits = (vec_bits)v, normal = (vec_bits)((bits & 0x7fffffff) >= 0x800000);
    return (vec)(bits & (normal | 0x80000000));
}
#define BEGIN_FLUSHING
#define END_FLUSHING
#endif

#define TOGETHER 4 /* rows at once, so that their chains hide each other's latency */

/* `rows` rows from `first` on, one vector of columns from `column` on, of tile (i, j). */
INLINE void some_rows(const int rows, const Piece *p, int i, int j, int first, int column) {
    const size_t row = 16 * i + first, at = 16 * j + column;
    vec sum[TOGETHER], even[TOGETHER], odd[TOGETHER];
    EACH (r, rows) sum[r] = p->start ? load(p->start + (row + r) * p->start_stride + at) : splat(0.0f);
    for (size_t s = 0; s < p->spans; s++) {
        EACH (r, rows) even[r] = odd[r] = splat(0.0f);
        for (int k = 0; k < 16; k++) {
            vec_bits w;
            memcpy(&w, &p->right[j][s][k][column], sizeof w);
            const vec low = (vec)(w << 16), high = (vec)(w & 0xffff0000);
            EACH (r, rows) {
                const vec_bits a = p->left[i][s][first + r][k] - (vec_bits){0};
                even[r] = FLUSHED(fma_((vec)(a << 16), low, even[r]));
                odd[r] = FLUSHED(fma_((vec)(a & 0xffff0000), high, odd[r]));
            }
        }
        EACH (r, rows) sum[r] = FLUSHED(FLUSHED(sum[r]) + FLUSHED(even[r] + odd[r]));
    }
    EACH (r, rows) store(p->out + (row + r) * p->out_stride + at, sum[r]);
}

static __attribute__((noinline)) void by_terms(const Piece *p) {
    for (int i = 0; i < p->tall; i++)
        for (int j = 0; j < p->wide; j++)
            for (int column = 0; column < 16; column += WIDTH) {
                int r = 0;
                for (; r + TOGETHER <= p->heights[i]; r += TOGETHER) some_rows(TOGETHER, p, i, j, r, column);
                for (; r < p->heights[i]; r++) some_rows(1, p, i, j, r, column);
            }
}

static void multiply(const Piece *p, int by_instruction) {
    if (by_instruction) {
        by_tiles(p);
        return;
    }
    BEGIN_FLUSHING;
    by_terms(p);
    END_FLUSHING;
}

/* ------------------------------------------------------------------ the two products */

/* Terms [from, to) of a row, with zeros up to a whole span, into row r of tiles. */
static void round_row(Left left, const float *row, size_t from, size_t to, Tile *tiles, size_t r) {
    for (size_t k = from; k < to;) {
        const float *x = row + k / left.length * left.block_stride + k % left.length;
        Half *out = (Half *)tiles[(k - from) / SPAN][r] + k % SPAN;
        size_t n = left.length - k % left.length, room = SPAN - k % SPAN;
        if (n > room) n = room;
        if (n > to - k) n = to - k;
        if (n == SPAN) round_span(x, out);
        else
            for (size_t i = 0; i < n; i++) out[i] = (uint16_t)(rounded(x[i]) >> 16);
        k += n;
    }
    if (to % SPAN) memset((Half *)tiles[(to - from) / SPAN][r] + to % SPAN, 0, 2 * (SPAN - to % SPAN));
}

void bf16_product(size_t rows, size_t columns, Left left, const float *panels, const float *start,
                  size_t start_stride, float *out, size_t out_stride) {
    Tile sides[2][SPANS] __attribute__((aligned(64)));
    const size_t k = left.blocks * left.length, depth = (k + SPAN - 1) / SPAN;
    const Tile *right = (const Tile *)panels;
    const int instruction = has_tiles();
    int shaped = 0;
    for (size_t r = 0; r < rows; r += 32) {
        const size_t n = rows - r < 32 ? rows - r : 32;
        Piece p = {.tall = n > 16 ? 2 : 1, .heights = {n < 16 ? n : 16, n > 16 ? n - 16 : 0}, .left = {sides[0], sides[1]}};
        if (instruction && shaped != (int)n) shape_tiles(p.heights);
        shaped = (int)n;
        for (size_t span = 0; span < depth; span += SPANS) {
            const size_t from = span * SPAN, to = span + SPANS < depth ? from + SPANS * SPAN : k;
            for (size_t i = 0; i < n; i++)
                round_row(left, left.pointer + (r + i) * left.stride, from, to, sides[i / 16], i % 16);
            p.spans = (to - from + SPAN - 1) / SPAN;
            p.start_stride = span ? out_stride : start_stride;
            p.out_stride = out_stride;
            for (size_t c = 0; c < columns; c += 32) {
                p.wide = columns - c > 16 ? 2 : 1;
                for (int j = 0; j < p.wide; j++) p.right[j] = right + (c / 16 + j) * depth + span;
                p.out = out + r * out_stride + c;
                p.start = span ? p.out : start ? start + r * start_stride + c : NULL;
                multiply(&p, instruction);
            }
        }
    }
    if (instruction) _tile_release();
}

/* Packs 16 columns of rows [0, rows) into words, each with the numbers of two rows. */
INLINE void pair_rows(size_t rows, const float *x, size_t stride, Tile words) {
    static const float zeros[16];
    for (size_t r = 0; r < 16; r++, x += 2 * stride)
        if (2 * r < rows) round_pairs(x, 2 * r + 1 < rows ? x + stride : zeros, words[r]);
        else memset(words[r], 0, 64);
}

void bf16_add_outer(size_t rows, const float *d, size_t d_stride, size_t m, const float *x, size_t x_stride, size_t n,
                    float *sum, size_t sum_stride) {
    enum { DEEP = 4, WIDE = 16 };
    Tile left[2][DEEP] __attribute__((aligned(64))), right[WIDE][DEEP] __attribute__((aligned(64))), words;
    const int instruction = has_tiles();
    Piece p = {.heights = {16, 16}, .left = {left[0], left[1]}, .start_stride = sum_stride, .out_stride = sum_stride};
    if (instruction) shape_tiles(p.heights);
    for (size_t r = 0; r < rows; r += DEEP * SPAN) {
        const size_t count = rows - r < DEEP * SPAN ? rows - r : DEEP * SPAN;
        p.spans = (count + SPAN - 1) / SPAN;
        for (size_t k = 0; k < n; k += 16 * WIDE) {
            const size_t end = n - k < 16 * WIDE ? n : k + 16 * WIDE;
            for (size_t c = k; c < end; c += 16)
                for (size_t s = 0; s < p.spans; s++)
                    pair_rows(count - s * SPAN, x + (r + s * SPAN) * x_stride + c, x_stride, right[(c - k) / 16][s]);
            for (size_t j = 0; j < m; j += 32) {
                p.tall = m - j > 16 ? 2 : 1;
                for (int i = 0; i < p.tall; i++)
                    for (size_t s = 0; s < p.spans; s++) {
                        pair_rows(count - s * SPAN, d + (r + s * SPAN) * d_stride + j + 16 * i, d_stride, words);
                        for (int row = 0; row < 16; row++)
                            for (int c = 0; c < 16; c++) left[i][s][row][c] = words[c][row];
                    }
                for (size_t c = k; c < end; c += 32) {
                    p.wide = end - c > 16 ? 2 : 1;
                    for (int i = 0; i < p.wide; i++) p.right[i] = right[(c - k) / 16 + i];
                    p.start = p.out = sum + j * sum_stride + c;
                    multiply(&p, instruction);
                }
            }
        }
    }
    if (instruction) _tile_release();
}

/* ------------------------------------------------------------------ packing */

void bf16_pack_column(float *panels, size_t column, const float *row, size_t k_rows) {
    Tile *tile = (Tile *)panels + column / 16 * ((k_rows + SPAN - 1) / SPAN);
    for (size_t k = 0; k < k_rows; k += SPAN, tile++) {
        const size_t n = k_rows - k < SPAN ? k_rows - k : SPAN;
        Word words[16];
        if (n == SPAN) {
            round_span(row + k, (Half *)words);
            EACH (i, 16) (*tile)[i][column % 16] = words[i];
        } else
            for (size_t i = 0; i < n; i += 2)
                (*tile)[i / 2][column % 16] = pair(row[k + i], i + 1 < n ? row[k + i + 1] : 0.0f);
    }
}

void bf16_pack_row(float *panels, size_t k, size_t k_rows, const float *row, size_t stretches, size_t length,
                   size_t columns) {
    const size_t stride = stretches == 1 ? columns : padded(length), depth = (k_rows + SPAN - 1) / SPAN;
    for (size_t s = 0; s < stretches; s++)
        for (size_t c = 0; c < length; c += 16) {
            Tile *tile = (Tile *)panels + (s * stride + c) / 16 * depth + k / SPAN;
            Word *word = (*tile)[k % SPAN / 2];
            const float *x = row + s * length + c;
            const size_t n = length - c < 16 ? length - c : 16;
            if (k % 2)
                for (size_t i = 0; i < n; i++) word[i] = (word[i] & 0xffff) | rounded(x[i]);
            else
                for (size_t i = 0; i < n; i++) word[i] = (word[i] & 0xffff0000) | rounded(x[i]) >> 16;
        }
}

#endif
