/* What a core can do at best, measured: a loop of multiply-adds on registers. */
#include "vector.h"

#define CHAINS 12 /* more than latency times units, 4 x 2; fewer than the 16 registers of AVX2 */

/* Does `times` rounds; returns something that depends on all of them, writes down their operations. */
float peak(int64_t times, double *flop) {
    vec sums[CHAINS], total = splat(0);
    const vec a = splat(0.999f), b = splat(0.001f);
    EACH(i, CHAINS) sums[i] = splat((float)i);
    for (int64_t n = 0; n < times; n++) EACH(i, CHAINS) sums[i] = fma_(sums[i], a, b);
    EACH(i, CHAINS) total += sums[i];
    *flop = 2.0 * WIDTH * CHAINS * times;
    return total[0];
}
