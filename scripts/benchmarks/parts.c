/* Where the time of native steps goes: clocks around the kernels' functions, put there by the linker (--wrap).
 * Time is charged to the innermost part; products count apart, by whom they serve. One thread. */
#include <time.h>

#include "program.h"

enum { PREPARE, GATHER, FORWARD, FORWARD_PRODUCT, HEAD_PART, BACKWARD, BACKWARD_PRODUCT, WEIGHTS, UPDATE, PARTS };

int64_t rnnlab_run(Program *p, const Data *data, int64_t n, const Batch *batches, const int64_t *index,
                   const double *lrs, double *losses, double *norms);

static int64_t ticks[PARTS], since;
static int now = PREPARE;

INLINE int64_t clock_now(void) {
#if defined(__x86_64__)
    return (int64_t)__builtin_ia32_rdtsc();
#else
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
#endif
}

static int enter(int part) {
    const int before = now;
    const int64_t at = clock_now();
    ticks[now] += at - since;
    since = at;
    now = part;
    return before;
}

/* rnnlab_run, measured */
int64_t parts_run(Program *p, const Data *data, int64_t n, const Batch *batches, const int64_t *index,
                  const double *lrs, double *losses, double *norms) {
    memset(ticks, 0, sizeof ticks);
    now = PREPARE;
    since = clock_now();
    const int64_t done = rnnlab_run(p, data, n, batches, index, lrs, losses, norms);
    enter(PREPARE);
    return done;
}

void parts_ticks(int64_t *to) { memcpy(to, ticks, sizeof ticks); }

#define TIMED(part, name, parameters, arguments) \
    void __real_##name parameters;               \
    void __wrap_##name parameters {              \
        const int before = enter(part);          \
        __real_##name arguments;                 \
        enter(before);                           \
    }

TIMED(GATHER, read_block, (const Program *p, Worker *w, Block *b), (p, w, b))
TIMED(FORWARD, stack_forward, (const Stack *stack, Block *block), (stack, block))
TIMED(BACKWARD, stack_backward, (const Stack *stack, Block *block, Sums *sums), (stack, block, sums))
TIMED(now == FORWARD ? FORWARD_PRODUCT : now == BACKWARD ? BACKWARD_PRODUCT : now, product,
      (size_t rows, size_t columns, Left left, const float *panels, const float *start, size_t start_stride,
       float *out, size_t out_stride),
      (rows, columns, left, panels, start, start_stride, out, out_stride))
TIMED(now == BACKWARD ? WEIGHTS : now, add_outer,
      (size_t rows, const float *d, size_t d_stride, size_t m, const float *x, size_t x_stride, size_t n, float *sum,
       size_t sum_stride),
      (rows, d, d_stride, m, x, x_stride, n, sum, sum_stride))
TIMED(now == BACKWARD ? WEIGHTS : now, add_narrow,
      (size_t rows, const float *d, size_t d_stride, size_t m, const float *x, size_t x_stride, size_t n, float *sum,
       size_t sum_stride, float *total),
      (rows, d, d_stride, m, x, x_stride, n, sum, sum_stride, total))

double __real_apply_head(const Program *p, Worker *w, Block *b, HeadSums *sums);
double __wrap_apply_head(const Program *p, Worker *w, Block *b, HeadSums *sums) {
    const int before = enter(HEAD_PART);
    const double loss = __real_apply_head(p, w, b, sums);
    enter(before);
    return loss;
}

double __real_optimizer_update(Optimizer *o, float *parameters, float *gradients, double lr, int carried);
double __wrap_optimizer_update(Optimizer *o, float *parameters, float *gradients, double lr, int carried) {
    const int before = enter(UPDATE);
    const double norm = __real_optimizer_update(o, parameters, gradients, lr, carried);
    enter(before);
    return norm;
}
