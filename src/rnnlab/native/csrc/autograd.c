/* The recurrence of one cell or stack for torch's autograd: a forward pass that keeps what the backward pass needs. */
#include "recurrence.h"
#include "threads.h"

/* One call: B rows, T steps, D directions; with masks only one cell. All tensors are contiguous; missing ones are
 * NULL. */
typedef struct {
    Shape shape;
    int64_t rows, steps, threads;
    int64_t input_gradient, state_gradient;
    const float *x;        /* (B, T, inputs) */
    const int64_t *tokens; /* (B, T) */
    const uint8_t *reset;  /* (B, T) */
    const float *products; /* (B, H), for a cell with a mask on the sources of products */
    const float *keep;     /* (B, T, keeps * H), for a cell with zoneout */
    const float *state;    /* (cells, states, B, H) */
    float *y;              /* (B, T, D * H) */
    float *last;           /* (cells, states, B, H) */
    const float *d_y;      /* as y */
    const float *d_last;   /* as last, for a stack of one cell */
    float *d_x, *d_state;  /* as x and state */
    void *kept, *scratch;  /* start on cache lines; sizes from rnnlab_call_bytes */
} Call;

typedef struct {
    const Call *call;
    Stack stack;
    size_t groups;
    size_t first_block[MAX_GROUPS + 1]; /* the blocks of a group are consecutive */
    Sums *sums[MAX_GROUPS];
    Sums memory[MAX_GROUPS][MAX_CELLS];
    Block blocks[];
} Work;

int64_t rnnlab_call_size(void) { return sizeof(Call); }

/* The size in bytes of the Work for `rows` rows. */
int64_t rnnlab_work_size(int64_t rows) { return sizeof(Work) + (rows / BLOCK_ROWS + MAX_GROUPS) * sizeof(Block); }

/* Lays out the memory of a call. `kept` must live from the forward to the backward pass; `scratch` holds the packed
 * weights and the sums, which must be zero (`zeroed` bytes from its start), then temporary values. */
static void arrange(Work *work, const Call *call, int back, Arena *kept, Arena *scratch, size_t *zeroed) {
    work->call = call;
    work->groups = group_count(call->rows);
    stack_arrange(&work->stack, &call->shape, scratch);
    for (size_t g = 0; g < work->groups; g++) {
        work->sums[g] = work->memory[g];
        if (back) sums_arrange(&work->stack, work->sums[g], scratch);
    }
    *zeroed = scratch->bytes;
    const Needs needs = {.resets = call->reset != NULL,
                         .input_gradient = call->input_gradient,
                         .state_gradient = call->state_gradient,
                         .keep_slots = 1};
    size_t count = 0;
    for (size_t g = 0; g < work->groups; g++) {
        const size_t start = part_start(call->rows, work->groups, g);
        const size_t n = part_start(call->rows, work->groups, g + 1) - start;
        const size_t blocks = (n + BLOCK_ROWS - 1) / BLOCK_ROWS;
        work->first_block[g] = count;
        for (size_t i = 0; i < blocks; i++, count++) {
            Block *b = &work->blocks[count];
            const size_t from = part_start(n, blocks, i), rows = part_start(n, blocks, i + 1) - from;
            Arena none = {NULL, 0};
            block_arrange(&work->stack, b, rows, call->steps, needs, kept, back ? scratch : &none);
            b->row = start + from;
            b->d_end = take(back ? scratch : &none, work->stack.states * rows * work->stack.units);
        }
    }
    work->first_block[work->groups] = count;
}

/* The sizes of `kept`, of `scratch` in the forward pass, and of `scratch` in the backward pass. */
void rnnlab_call_bytes(const Call *call, Work *work, int64_t bytes[3]) {
    size_t zeroed;
    for (int back = 0; back < 2; back++) {
        Arena kept = {NULL, 0}, scratch = {NULL, 0};
        arrange(work, call, back, &kept, &scratch, &zeroed);
        bytes[0] = kept.bytes;
        bytes[1 + back] = scratch.bytes;
    }
}

/* Copies n floats of each row, between a batch-major tensor and padded rows; pads with zeros. */
static void copy_rows(size_t rows, size_t n, const float *from, size_t from_stride, float *to, size_t to_stride,
                      size_t to_width) {
    for (size_t r = 0; r < rows; r++) {
        memcpy(to + r * to_stride, from + r * from_stride, 4 * n);
        if (to_width > n) memset(to + r * to_stride + n, 0, 4 * (to_width - n));
    }
}

static void read_inputs(const Work *work, Block *b) {
    const Call *call = work->call;
    const Stack *s = &work->stack;
    const size_t row = b->row, T = b->steps, I = s->shape.inputs, R = b->rows, B = call->rows, H = s->shape.hidden;
    for (size_t t = 0; t < T; t++) {
        if (call->tokens)
            for (size_t r = 0; r < R; r++) b->tokens[t * R + r] = (int32_t)call->tokens[(row + r) * T + t];
        else
            copy_rows(R, I, call->x + (row * T + t) * I, T * I, b->x + t * R * b->x_stride, b->x_stride,
                      b->x_stride);
        if (call->reset) {
            b->any_reset[0][t] = 0;
            for (size_t r = 0; r < R; r++)
                b->any_reset[0][t] |= b->reset[0][t * R + r] = call->reset[(row + r) * T + t] != 0;
        }
    }
    const size_t K = s->cell->keeps, units = s->units;
    if (s->cell->masked) copy_rows(R, H, call->products + row * H, H, b->products[0], units, units);
    for (size_t t = 0; t < T && K; t++)
        for (size_t r = 0; r < R; r++)
            copy_rows(K, H, call->keep + ((row + r) * T + t) * K * H, H, b->keep[0] + (t * R + r) * K * units, units,
                      units);
    b->from_zero = call->state == NULL;
    for (size_t c = 0; c < s->cells; c++)
        for (size_t i = 0; i < s->states; i++) {
            float *to = b->first[c] + i * R * s->units;
            if (call->state)
                copy_rows(R, H, call->state + ((c * s->states + i) * B + row) * H, H, to, s->units, s->units);
            else memset(to, 0, 4 * R * s->units);
        }
}

static void write_outputs(const Work *work, const Block *b) {
    const Call *call = work->call;
    const Stack *s = &work->stack;
    const size_t row = b->row, T = b->steps, D = s->shape.directions, H = s->shape.hidden, R = b->rows,
                 B = call->rows;
    const float *top = b->out[s->shape.layers - 1];
    for (size_t t = 0; t < T; t++)
        for (size_t d = 0; d < D; d++)
            copy_rows(R, H, top + t * R * s->out_stride + d * s->units, s->out_stride,
                      call->y + (row * T + t) * D * H + d * H, T * D * H, H);
    for (size_t c = 0; c < s->cells; c++) {
        for (size_t i = 0; i < s->states; i++) {
            const Rows last = last_state(s, b, c, i);
            copy_rows(R, H, last.pointer, last.stride, call->last + ((c * s->states + i) * B + row) * H, H, H);
        }
    }
}

static void forward_group(void *context, size_t group, size_t worker) {
    (void)worker;
    Work *work = context;
    for (size_t i = work->first_block[group]; i < work->first_block[group + 1]; i++) {
        read_inputs(work, &work->blocks[i]);
        stack_forward(&work->stack, &work->blocks[i]);
        write_outputs(work, &work->blocks[i]);
    }
}

static void read_gradients(const Work *work, Block *b) {
    const Call *call = work->call;
    const Stack *s = &work->stack;
    const size_t row = b->row, T = b->steps, D = s->shape.directions, H = s->shape.hidden, R = b->rows,
                 units = s->units;
    b->from_zero = call->state == NULL;
    if (call->d_y) {
        for (size_t t = 0; t < T; t++)
            for (size_t d = 0; d < D; d++)
                copy_rows(R, H, call->d_y + (row * T + t) * D * H + d * H, T * D * H,
                          b->d_top + t * R * s->out_stride + d * units, s->out_stride, units);
        b->d_out = b->d_top;
    }
    if (call->d_last) {
        for (size_t i = 0; i < s->states; i++)
            copy_rows(R, H, call->d_last + (i * call->rows + row) * H, H, b->d_end + i * R * units, units, units);
        b->d_last = b->d_end;
    }
}

static void write_gradients(const Work *work, const Block *b) {
    const Call *call = work->call;
    const Stack *s = &work->stack;
    const size_t row = b->row, T = b->steps, I = s->shape.inputs, H = s->shape.hidden, R = b->rows, B = call->rows;
    if (call->d_x)
        for (size_t t = 0; t < T; t++)
            copy_rows(R, I, b->d_x + t * R * padded(I), padded(I), call->d_x + (row * T + t) * I, T * I, I);
    for (size_t c = 0; call->d_state && c < s->cells; c++)
        for (size_t i = 0; i < s->states; i++)
            copy_rows(R, H, b->d_first[c] + i * R * s->units, s->units,
                      call->d_state + ((c * s->states + i) * B + row) * H, H, H);
}

static void backward_group(void *context, size_t group, size_t worker) {
    (void)worker;
    Work *work = context;
    for (size_t i = work->first_block[group]; i < work->first_block[group + 1]; i++) {
        read_gradients(work, &work->blocks[i]);
        stack_backward(&work->stack, &work->blocks[i], work->sums[group]);
        write_gradients(work, &work->blocks[i]);
    }
}

/* `weights`, and `gradients` in the backward pass: one per cell. */
void rnnlab_call_forward(const Call *call, Work *work, const Weights *weights) {
    Arena kept = {call->kept, 0}, scratch = {call->scratch, 0};
    size_t zeroed;
    arrange(work, call, 0, &kept, &scratch, &zeroed);
    zero(call->scratch, zeroed);
    stack_pack(&work->stack, weights, 0);
    parallel(call->threads, work->groups, forward_group, work);
}

void rnnlab_call_backward(const Call *call, Work *work, const Weights *weights, Weights *gradients) {
    Arena kept = {call->kept, 0}, scratch = {call->scratch, 0};
    size_t zeroed;
    arrange(work, call, 1, &kept, &scratch, &zeroed);
    zero(call->scratch, zeroed);
    stack_pack(&work->stack, weights, 1);
    parallel(call->threads, work->groups, backward_group, work);
    stack_collect(&work->stack, work->sums, work->groups, gradients);
}
