/* Packs weights from torch's layout into panels, and converts gradients back to torch's layout. */
#include "recurrence.h"

static void pack_input(const Stack *stack, Packed *p, const float *ih, int one_hot, int back) {
    const Cell *cell = stack->cell;
    const size_t H = stack->shape.hidden, units = stack->units, inputs = p->blocks * p->length;
    const size_t slots = cell->inputs, columns = slots * units;
    for (size_t s = 0; s < slots; s++)
        for (size_t u = 0; u < H; u++) {
            const float *row = ih + (cell->gate[s] * H + u) * inputs;
            if (one_hot) { /* a row of the table is the complete sum: the bias and the weights that a one-hot selects */
                for (size_t v = 0; v < inputs; v++)
                    p->ih[v * columns + s * units + u] = stack->bare ? row[v] : p->bias[s * units + u] + row[v];
                continue;
            }
            pack_column(p->ih, s * units + u, columns, row, inputs);
            if (back) pack_row(p->ih_back, s * H + u, slots * H, row, p->blocks, p->length, p->columns);
        }
}

static void pack_product(const Stack *stack, const Product *product, const float *matrix, float *panels,
                         float *back) {
    const size_t H = stack->shape.hidden, units = stack->units, width = product->columns * H;
    for (int64_t k = 0; k < product->count; k++)
        for (size_t u = 0; u < H; u++) {
            const float *row = matrix + (product->rows[k] * H + u) * width + product->column * H;
            pack_column(panels, k * units + u, product->count * units, row, H);
            if (back) pack_row(back, k * H + u, product->count * H, row, 1, H, units);
        }
}

static void pack_by_units(const Stack *stack, Packed *p, const Weights *w) {
    const Cell *cell = stack->cell;
    const size_t H = stack->shape.hidden, units = stack->units;
    for (size_t s = 0; s < (size_t)cell->slots; s++) memset(p->bias + s * units, 0, 4 * H);
    for (int64_t k = 0; k < cell->by_units; k++) {
        const ByUnit *b = &cell->by_unit[k];
        const float *from = w->parameters[b->parameter];
        if (!from) continue;
        if (b->vector < 0)
            for (size_t u = 0; u < H; u++) p->bias[b->slot * units + u] += from[b->block * H + u];
        else
            for (size_t u = 0; u < H; u++)
                p->vectors[b->vector * units + u] = b->scalar ? from[0] : from[b->block * H + u];
    }
    cell->derive(p->vectors, units);
}

void stack_pack(Stack *stack, const Weights *weights, int back) {
    const Cell *cell = stack->cell;
    const size_t H = stack->shape.hidden, units = stack->units;
    for (size_t i = 0; i < stack->cells; i++) {
        const Weights *w = &weights[i];
        Packed *p = &stack->packed[i];
        pack_by_units(stack, p, w);
        pack_input(stack, p, w->parameters[IH], stack->shape.one_hot && i < (size_t)stack->shape.directions, back);
        for (int64_t k = 0; k < cell->products; k++)
            pack_product(stack, &cell->product[k], w->parameters[cell->product[k].parameter], p->product[k],
                         back ? p->product_back[k] : NULL);
        const float *initial = w->parameters[INITIAL];
        for (size_t s = 0; s < stack->states; s++)
            for (size_t u = 0; u < H; u++) p->initial[s * units + u] = initial && s < (size_t)cell->learned ? initial[s * H + u] : 0.0f;
    }
}

/* The same array in the sums of all groups. */
#define PARTS(array) parts_of(groups, count, offsetof(Sums, array))
static Parts parts_of(const Sums *const *groups, size_t count, size_t place) {
    Parts parts = {.count = count};
    for (size_t g = 0; g < count; g++) parts.pointers[g] = *(float *const *)((const char *)groups[g] + place);
    return parts;
}

static void collect_input(const Stack *stack, size_t i, Parts ih, float *out) {
    const Cell *cell = stack->cell;
    const Packed *p = &stack->packed[i];
    const size_t H = stack->shape.hidden, units = stack->units, columns = cell->inputs * units;
    for (size_t s = 0; s < (size_t)cell->inputs; s++)
        for (size_t u = 0; u < H; u++) {
            const size_t row = s * units + u;
            float *to = out + (cell->gate[s] * H + u) * p->blocks * p->length;
            if (transposed(stack, i)) collect(ih, row, columns, p->length, 0, to);
            else
                for (size_t b = 0; b < p->blocks; b++)
                    collect(ih, row * p->columns + b * units, 1, p->length, 0, to + b * p->length);
        }
}

static void collect_scalar(Parts parts, size_t offset, size_t n, int adds, float *out) {
    double sum = 0;
    for (size_t g = 0; g < parts.count; g++)
        for (size_t j = 0; j < n; j++) sum += parts.pointers[g][offset + j];
    *out = adds ? (float)(*out + sum) : (float)sum;
}

static void collect_cell(const Stack *stack, size_t i, const Sums *const *groups, size_t count, size_t inputs,
                         Weights *out) {
    const Cell *cell = stack->cell;
    const size_t H = stack->shape.hidden, units = stack->units;
    float *const *to = out->parameters;
    for (int64_t k = 0; k < cell->parameters; k++)
        if (to[k] && cell->cleared[k] > 0) memset(to[k], 0, 4 * cell->cleared[k] * H * (k == IH ? inputs : 1));
        else if (to[k] && cell->cleared[k] < 0) memset(to[k], 0, 4 * -cell->cleared[k] * H * H);
    if (to[IH]) collect_input(stack, i, PARTS(ih), to[IH]);
    for (int64_t k = 0; k < cell->products; k++) {
        const Product *p = &cell->product[k];
        if (!to[p->parameter]) continue;
        const Parts parts = PARTS(product[k]);
        for (size_t s = 0; s < (size_t)p->count; s++)
            for (size_t u = 0; u < H; u++)
                collect(parts, (s * units + u) * units, 1, H, p->adds[s],
                        to[p->parameter] + ((p->rows[s] * H + u) * p->columns + p->column) * H);
    }
    const Parts total = PARTS(total);
    for (int64_t k = 0; k < cell->by_units; k++) {
        const ByUnit *b = &cell->by_unit[k];
        if (!to[b->parameter] || b->slot < 0) continue;
        if (b->scalar) collect_scalar(total, b->slot * units, H, b->adds, to[b->parameter]);
        else collect(total, b->slot * units, 1, H, b->adds, to[b->parameter] + b->block * H);
    }
    for (size_t s = 0; s < (size_t)cell->learned && to[INITIAL]; s++)
        collect(PARTS(initial), s * units, 1, H, 0, to[INITIAL] + s * H);
}

void stack_collect(const Stack *stack, Sums *const *groups, size_t count, Weights *gradients) {
    for (size_t i = 0; i < stack->cells; i++) {
        const Sums *sums[MAX_GROUPS];
        const Packed *p = &stack->packed[i];
        for (size_t g = 0; g < count; g++) {
            sums[g] = &groups[g][i];
            stack->cell->derive_back(p->vectors, groups[g][i].total, stack->units);
        }
        collect_cell(stack, i, sums, count, p->blocks * p->length, &gradients[i]);
    }
}
