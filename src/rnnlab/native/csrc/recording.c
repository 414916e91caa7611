/* Writes scalars as text and as TensorBoard's events, with the same bytes as Python. */
#include <math.h>
#include <stdint.h>
#include <string.h>

/* ------------------------------------------------------------------ the shortest text of a double
 *
 * Schubfach (Giulietti 2021): the shortest of all decimals that read back as the number, and of these the nearest.
 * `powers` holds 10^k for k = -292 ... 324, rounded up to 128 bits, high word first. */

static int64_t floor_log2_pow10(int64_t e) { return (e * 1741647) >> 19; }
static int64_t floor_log10_pow2(int64_t e) { return (e * 1262611) >> 22; }
static int64_t floor_log10_of_three_quarters(int64_t e) { return (e * 1262611 - 524031) >> 22; }

/* The high part of g * c, with its last bit set where the rest is not zero. */
static uint64_t round_to_odd(const uint64_t *g, uint64_t c) {
    const unsigned __int128 low = (unsigned __int128)g[1] * c, high = (unsigned __int128)g[0] * c;
    const unsigned __int128 sum = high + (uint64_t)(low >> 64);
    return (uint64_t)(sum >> 64) | ((uint64_t)sum > 1);
}

/* A finite number above zero as digits * 10^exponent. */
static uint64_t shortest(const uint64_t *powers, uint64_t bits, int64_t *exponent) {
    const uint64_t fraction = bits & 0xFFFFFFFFFFFFFull, biased = bits >> 52;
    const uint64_t c = biased ? fraction | 1ull << 52 : fraction;
    const int64_t q = (biased ? (int64_t)biased : 1) - 1075;
    if (-q >= 0 && -q < 53 && !(c & ((1ull << -q) - 1))) { /* an integer */
        *exponent = 0;
        return c >> -q;
    }
    const int odd = c & 1, closer = !fraction && biased > 1; /* the number below is nearer than the one above */
    const int64_t k = closer ? floor_log10_of_three_quarters(q) : floor_log10_pow2(q);
    const int64_t h = q + floor_log2_pow10(-k) + 1;
    const uint64_t *g = powers + 2 * (-k + 292);
    const uint64_t below = round_to_odd(g, (4 * c - 2 + closer) << h) + odd, at = round_to_odd(g, (4 * c) << h),
                   above = round_to_odd(g, (4 * c + 2) << h) - odd;
    const uint64_t s = at / 4;
    if (s >= 10) {
        const uint64_t tens = s / 10;
        const int down = below <= 40 * tens, up = 40 * tens + 40 <= above;
        if (down != up) {
            *exponent = k + 1;
            return tens + up;
        }
    }
    const int down = below <= 4 * s, up = 4 * s + 4 <= above;
    *exponent = k;
    if (down != up) return s + up;
    const uint64_t middle = 4 * s + 2;
    return s + (at > middle || (at == middle && s & 1));
}

static char *write_whole(char *to, uint64_t n) {
    char digits[20];
    int count = 0;
    do digits[count++] = (char)('0' + n % 10);
    while (n /= 10);
    while (count) *to++ = digits[--count];
    return to;
}

/* The same text as Python's repr; at most 24 bytes. */
static char *write_double(const uint64_t *powers, char *to, double x) {
    uint64_t bits;
    memcpy(&bits, &x, 8);
    if (x != x) return memcpy(to, "nan", 3), to + 3;
    if (bits >> 63) *to++ = '-';
    bits &= ~(1ull << 63);
    if (bits >> 52 == 0x7FF) return memcpy(to, "inf", 3), to + 3;
    if (!bits) return memcpy(to, "0.0", 3), to + 3;
    int64_t exponent;
    uint64_t n = shortest(powers, bits, &exponent);
    for (; n % 10 == 0; exponent++) n /= 10;
    char digits[20];
    const int64_t count = write_whole(digits, n) - digits;
    const int64_t point = count + exponent; /* digits before the decimal point */
    if (point > -4 && point <= 16) {
        if (point <= 0) {
            memcpy(to, "0.", 2);
            memset(to + 2, '0', -point);
            to += 2 - point;
            memcpy(to, digits, count);
            return to + count;
        }
        if (point >= count) {
            memcpy(to, digits, count);
            memset(to + count, '0', exponent);
            memcpy(to + point, ".0", 2);
            return to + point + 2;
        }
        memcpy(to, digits, point);
        to[point] = '.';
        memcpy(to + point + 1, digits + point, count - point);
        return to + count + 1;
    }
    *to++ = digits[0];
    if (count > 1) {
        *to++ = '.';
        memcpy(to, digits + 1, count - 1);
        to += count - 1;
    }
    const int64_t e = point - 1;
    *to++ = 'e';
    *to++ = e < 0 ? '-' : '+';
    if (e < 10 && e > -10) *to++ = '0';
    return write_whole(to, e < 0 ? -e : e);
}

/* Scalars of consecutive steps, or of a single one. Its name c is the one numbered `name` + c, and the names are
 * concatenated: name n lies between bounds[n] and bounds[n + 1]. Its values (columns, rows) follow those of the batch
 * before, as its steps do. */
typedef struct {
    int64_t rows, columns, name;
    double wall; /* the time of its events */
} Batch;

/* Writes lines STEP,NAME,VALUE of n batches, step by step. Returns the bytes written: at most 46 per line plus its
 * name. */
int64_t rnnlab_lines(const uint64_t *powers, int64_t n, const Batch *batches, const int64_t *steps,
                     const double *values, const char *names, const int64_t *bounds, char *out) {
    char *to = out;
    for (int64_t i = 0; i < n; i++) {
        const Batch *b = &batches[i];
        for (int64_t r = 0; r < b->rows; r++)
            for (int64_t c = 0; c < b->columns; c++) {
                const int64_t start = bounds[b->name + c], length = bounds[b->name + c + 1] - start;
                to = write_whole(to, steps[r]);
                *to++ = ',';
                memcpy(to, names + start, length);
                to += length;
                *to++ = ',';
                to = write_double(powers, to, values[c * b->rows + r]);
                *to++ = '\n';
            }
        steps += b->rows;
        values += b->rows * b->columns;
    }
    return to - out;
}

/* ------------------------------------------------------------------ events; see tensorboard/events.py */

static uint32_t masked_crc(const uint32_t *table, const unsigned char *from, size_t n) {
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++) crc = table[(crc ^ from[i]) & 0xFF] ^ crc >> 8;
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

static unsigned char *little(unsigned char *to, uint64_t n, int bytes) {
    for (int i = 0; i < bytes; i++) *to++ = (unsigned char)(n >> 8 * i);
    return to;
}

static unsigned char *varint(unsigned char *to, uint64_t n) {
    for (; n >= 0x80; n >>= 7) *to++ = (unsigned char)(n | 0x80);
    *to++ = (unsigned char)n;
    return to;
}

/* Writes a record for each step of n batches. `names`: the bytes of each summary value before its number; `crcs`: the
 * table of CRC-32C. Returns the bytes written: per step at most 46, plus 4 per column, plus the names. */
int64_t rnnlab_records(const uint32_t *crcs, int64_t n, const Batch *batches, const int64_t *steps,
                       const double *values, const char *names, const int64_t *bounds, unsigned char *out) {
    unsigned char *to = out;
    for (int64_t i = 0; i < n; i++) {
        const Batch *b = &batches[i];
        const int64_t *ends = bounds + b->name + 1;
        const uint64_t inner = ends[b->columns - 1] - bounds[b->name] + 4 * b->columns;
        uint64_t time;
        memcpy(&time, &b->wall, 8);
        for (int64_t r = 0; r < b->rows; r++) {
            unsigned char *event = to + 12, *at = event;
            *at++ = 0x09;
            at = little(at, time, 8);
            if (steps[r]) *at++ = 0x10, at = varint(at, steps[r]);
            *at++ = 0x2A;
            at = varint(at, inner);
            for (int64_t c = 0; c < b->columns; c++) {
                const int64_t start = bounds[b->name + c], length = ends[c] - start;
                const float value = (float)values[c * b->rows + r];
                uint32_t bits;
                memcpy(at, names + start, length);
                memcpy(&bits, &value, 4);
                at = little(at + length, bits, 4);
            }
            little(to, at - event, 8);
            little(to + 8, masked_crc(crcs, to, 8), 4);
            to = little(at, masked_crc(crcs, event, at - event), 4);
        }
        steps += b->rows;
        values += b->rows * b->columns;
    }
    return to - out;
}
