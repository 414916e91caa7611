/* Philox4x64-10 (Salmon et al. 2011) and random draws from it; the same numbers as rnnlab.streams. */
#ifndef RNNLAB_PHILOX_H
#define RNNLAB_PHILOX_H

#include "vector.h"

/* The multipliers, and the increments of the key in each round. */
#define PHILOX_M0 0xD2E7470EE14C6C93u
#define PHILOX_M1 0xCA5A826395121157u
#define PHILOX_W0 0x9E3779B97F4A7C15u
#define PHILOX_W1 0xBB67AE8584CAA73Bu

/* A Bernoulli draw: it hits where a 16-bit word is less than `below`. */
typedef struct {
    int64_t below;
    double value; /* dropout: the factor of kept values, 1 / (1 - p); zoneout: the probability, used in evaluation */
    uint64_t key[2];
} Chance;

/* A random stream: `step` and `place` are the two high words of the counter. */
typedef struct {
    uint64_t key[2], step, place;
} Stream;

/* Block `index` of the stream: 16 words of 16 bits. NumPy counts before it draws, hence the 1. */
INLINE void philox_words(const Stream *s, uint64_t index, uint16_t words[16]) {
    uint64_t c[4] = {index + 1, 0, s->step, s->place}, k0 = s->key[0], k1 = s->key[1];
    for (int round = 0; round < 10; round++) {
        const unsigned __int128 a = (unsigned __int128)PHILOX_M0 * c[0], b = (unsigned __int128)PHILOX_M1 * c[2];
        const uint64_t next[4] = {(uint64_t)(b >> 64) ^ c[1] ^ k0, (uint64_t)b, (uint64_t)(a >> 64) ^ c[3] ^ k1,
                                  (uint64_t)a};
        memcpy(c, next, sizeof c);
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    for (int i = 0; i < 16; i++) words[i] = (uint16_t)(c[i / 4] >> (16 * (i % 4)));
}

/* Elements [start, start + n), in C order, of the drawn array: `hit` where the word hits, else `miss`. */
INLINE void draw(const Chance *chance, uint64_t step, uint64_t place, uint64_t start, size_t n, float hit, float miss,
                 float *to) {
    const Stream stream = {{chance->key[0], chance->key[1]}, step, place};
    const int32_t below = (int32_t)chance->below;
    uint16_t words[16];
    for (size_t i = 0; i < n;) {
        const size_t first = (start + i) % 16, left = n - i;
        philox_words(&stream, (start + i) / 16, words);
        if (first == 0 && left >= 16) {
            for (size_t k = 0; k < 16; k++) to[i + k] = words[k] < below ? hit : miss;
            i += 16;
        } else {
            for (size_t k = first; k < 16 && i < n; k++, i++) to[i] = words[k] < below ? hit : miss;
        }
    }
}

#endif
