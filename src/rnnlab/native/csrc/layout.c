/* The memory layout of stacks, sums and blocks. */
#include "recurrence.h"

/* With the address sanitizer, a poisoned cache line follows each piece, so that an overrun into the next is
 * detected. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define GUARD 64
#else
#define GUARD 0
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)0)
#endif

float *take(Arena *arena, size_t floats) {
    const size_t bytes = (4 * floats + 63) / 64 * 64;
    char *taken = arena->pointer ? arena->pointer + arena->bytes : NULL;
    arena->bytes += bytes + GUARD;
    if (taken) {
        ASAN_UNPOISON_MEMORY_REGION(taken, bytes);
        ASAN_POISON_MEMORY_REGION(taken + bytes, GUARD);
    }
    return (float *)taken;
}

#if GUARD
__attribute__((no_sanitize_address)) void zero(void *from, size_t bytes) { /* not memset: it reports the guards */
    for (size_t i = 0; i < bytes; i++) ((volatile char *)from)[i] = 0;
}
#else
void zero(void *from, size_t bytes) { memset(from, 0, bytes); }
#endif

size_t group_count(size_t rows) {
    size_t groups = 1;
    while (groups < MAX_GROUPS && rows >= 2 * groups * 16) groups *= 2;
    return groups;
}

void stack_arrange(Stack *stack, const Shape *shape, Arena *arena) {
    const Cell *cell = shape->cell;
    const size_t D = shape->directions, H = shape->hidden;
    *stack = (Stack){.shape = *shape, .cell = cell};
    stack->units = padded(H);
    stack->states = cell->states;
    stack->cells = shape->layers * D;
    stack->slot_stride = row_stride(cell->slots * stack->units);
    stack->kept_stride = row_stride(cell->kept * stack->units);
    stack->out_stride = row_stride(D * stack->units);
    const size_t columns = cell->inputs * stack->units;
    for (size_t i = 0; i < stack->cells; i++) {
        Packed *p = &stack->packed[i];
        const int first = i < D;
        p->blocks = first ? 1 : D;
        p->length = first ? (size_t)shape->inputs : H;
        p->columns = first ? padded(shape->inputs) : D * stack->units;
        const size_t inputs = p->blocks * p->length;
        p->ih = take(arena, first && shape->one_hot ? inputs * columns : panel_floats(inputs, columns));
        p->ih_back = first && shape->one_hot ? NULL : take(arena, panel_floats(cell->inputs * H, p->columns));
        for (int64_t k = 0; k < cell->products; k++) {
            p->product[k] = take(arena, panel_floats(H, cell->product[k].count * stack->units));
            p->product_back[k] = take(arena, panel_floats(cell->product[k].count * H, stack->units));
        }
        p->bias = take(arena, cell->slots * stack->units);
        p->vectors = take(arena, (cell->vectors + cell->derived) * stack->units);
        p->initial = take(arena, stack->states * stack->units);
    }
}

void sums_arrange(const Stack *stack, Sums *sums, Arena *arena) {
    const Cell *cell = stack->cell;
    const size_t rows = cell->inputs * stack->units;
    for (size_t i = 0; i < stack->cells; i++) {
        sums[i].ih =
            take(arena, rows * (transposed(stack, i) ? (size_t)stack->shape.inputs : stack->packed[i].columns));
        for (int64_t k = 0; k < cell->products; k++)
            sums[i].product[k] = take(arena, cell->product[k].count * stack->units * stack->units);
        sums[i].total = take(arena, (cell->slots + cell->vectors + cell->derived) * stack->units);
        sums[i].initial = take(arena, stack->states * stack->units);
    }
}

void block_arrange(const Stack *stack, Block *block, size_t rows, size_t steps, Needs needs, Arena *kept,
                   Arena *scratch) {
    const Cell *cell = stack->cell;
    const size_t n = rows * steps, state = stack->states * rows * stack->units, D = stack->shape.directions;
    const size_t inputs = stack->shape.inputs;
    *block = (Block){.rows = rows, .steps = steps, .needs = needs, .read_step = -1};
    if (stack->shape.one_hot) {
        block->tokens = (int32_t *)take(kept, n);
    } else {
        block->x_stride = inputs <= NARROW ? inputs : row_stride(inputs);
        block->x = take(kept, n * block->x_stride);
    }
    if (needs.input_mask) block->input_mask = take(kept, rows * inputs);
    for (size_t d = 0; d < D && needs.resets; d++) {
        block->reset[d] = (uint8_t *)take(kept, (n + 3) / 4);
        block->any_reset[d] = (uint8_t *)take(kept, (steps + 3) / 4);
    }
    for (size_t l = 0; l < (size_t)stack->shape.layers; l++) {
        block->out[l] = take(kept, n * stack->out_stride);
        if (needs.dropout && l + 1 < (size_t)stack->shape.layers) {
            block->mask[l] = take(kept, n * stack->out_stride);
            block->dropped[l] = take(kept, n * stack->out_stride);
        }
    }
    for (size_t i = 0; i < stack->cells; i++) {
        block->slots[i] = take(kept, n * stack->slot_stride);
        block->first[i] = take(kept, state);
        if (cell->masked) block->products[i] = take(kept, rows * stack->units);
        if (cell->keeps) block->keep[i] = take(kept, n * cell->keeps * stack->units);
        if (cell->kept) block->kept[i] = take(kept, n * stack->kept_stride);
        if (cell->own_states) block->own[i] = take(kept, cell->own_states * n * stack->units);
        if (needs.resets) block->before[i] = take(kept, steps * state);
    }
    block->spare = take(kept, rows * cell->spares * stack->units);
    for (size_t d = 0; d < D && (needs.keep_slots || cell->apart); d++)
        block->deltas[d] = take(scratch, n * stack->slot_stride);
    for (size_t i = 0; i < 2 && stack->shape.layers > 1; i++)
        block->d_below[i] = take(scratch, n * stack->out_stride);
    block->d_top = take(scratch, n * stack->out_stride);
    block->d_x = needs.input_gradient ? take(scratch, n * padded(inputs)) : NULL;
    for (size_t i = 0; i < stack->cells && needs.state_gradient; i++) block->d_first[i] = take(scratch, state);
    block->d = take(scratch, state);
    block->carry = take(scratch, state);
    block->d_kept = take(scratch, cell->kept ? rows * stack->kept_stride : 0);
    block->d_vectors = take(scratch, (cell->vectors + cell->derived) * stack->units);
    float *zeros = take(scratch, stack->units);
    if (zeros) memset(zeros, 0, 4 * stack->units);
    block->zeros = zeros;
}
