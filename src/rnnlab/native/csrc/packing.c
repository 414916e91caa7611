/* Weights from torch's layout into panels, and gradients back into torch's layout. */
#include "recurrence.h"

static void pack_cell(const Stack *stack, Packed *p, const Weights *w, int one_hot, int back) {
    const size_t H = stack->shape.hidden, units = stack->units, gates = stack->gates,
                 inputs = p->blocks * p->length;
    const size_t columns = gates * units, first = state_slot(stack);
    for (size_t s = 0; s < gates; s++) {
        const size_t gate = input_gate(stack, s);
        for (size_t u = 0; u < H; u++) {
            const float *ih = w->ih + (gate * H + u) * inputs, *hh = w->hh + (s * H + u) * H;
            pack_column(p->hh, s * units + u, columns, hh, H);
            if (back) pack_row(p->hh_back, s * H + u, gates * H, hh, 1, H, units);
            if (one_hot) continue;
            pack_column(p->ih, s * units + u, columns, ih, inputs);
            if (back) pack_row(p->ih_back, s * H + u, gates * H, ih, p->blocks, p->length, p->columns);
        }
        float *input_bias = p->bias + s * units;
        for (size_t u = 0; u < H; u++) input_bias[u] = w->bias_ih ? w->bias_ih[gate * H + u] : 0.0f;
    }
    for (size_t s = 0; s < gates; s++) {
        float *bias = p->bias + (first + s) * units;
        const int shared = first + s < gates; /* the slot takes both products */
        for (size_t u = 0; u < H; u++)
            bias[u] = (shared ? bias[u] : 0.0f) + (w->bias_hh ? w->bias_hh[s * H + u] : 0.0f);
    }
    if (one_hot) /* the table's rows are whole sums: bias and the weights that a one-hot picks */
        for (size_t s = 0; s < gates; s++)
            for (size_t u = 0; u < H; u++) {
                const float *ih = w->ih + (input_gate(stack, s) * H + u) * inputs;
                for (size_t v = 0; v < inputs; v++)
                    p->ih[v * columns + s * units + u] = p->bias[s * units + u] + ih[v];
            }
    for (size_t i = 0; i < stack->states; i++)
        for (size_t u = 0; u < H; u++) p->initial[i * units + u] = w->initial ? w->initial[i * H + u] : 0.0f;
}

void stack_pack(Stack *stack, const Weights *weights, int back) {
    for (size_t i = 0; i < stack->cells; i++)
        pack_cell(stack, &stack->packed[i], &weights[i],
                  stack->shape.one_hot && i < (size_t)stack->shape.directions, back);
}

static void collect_cell(const Stack *stack, size_t cell, Parts ih, Parts hh, Parts bias, Parts initial,
                         Weights *out) {
    const size_t H = stack->shape.hidden, units = stack->units, columns = stack->gates * units;
    const Packed *p = &stack->packed[cell];
    for (size_t s = 0; s < stack->gates; s++) {
        const size_t gate = input_gate(stack, s);
        if (out->bias_ih) collect(bias, s * units, 1, H, out->bias_ih + gate * H);
        if (out->bias_hh) collect(bias, (state_slot(stack) + s) * units, 1, H, out->bias_hh + s * H);
        for (size_t u = 0; u < H; u++) {
            const size_t row = s * units + u;
            float *to = out->ih ? out->ih + (gate * H + u) * p->blocks * p->length : NULL;
            if (out->hh) collect(hh, row * units, 1, H, out->hh + (s * H + u) * H);
            if (to && transposed(stack, cell)) collect(ih, row, columns, p->length, to);
            else
                for (size_t b = 0; to && b < p->blocks; b++)
                    collect(ih, row * p->columns + b * units, 1, p->length, to + b * p->length);
        }
    }
    for (size_t s = 0; s < stack->states && out->initial; s++)
        collect(initial, s * units, 1, H, out->initial + s * H);
}

void stack_collect(const Stack *stack, Sums *const *groups, size_t count, Weights *gradients) {
    for (size_t i = 0; i < stack->cells; i++) {
        Parts ih = {.count = count}, hh = {.count = count}, bias = {.count = count}, initial = {.count = count};
        for (size_t g = 0; g < count; g++) {
            ih.pointers[g] = groups[g][i].ih;
            hh.pointers[g] = groups[g][i].hh;
            bias.pointers[g] = groups[g][i].bias;
            initial.pointers[g] = groups[g][i].initial;
        }
        collect_cell(stack, i, ih, hh, bias, initial, &gradients[i]);
    }
}
