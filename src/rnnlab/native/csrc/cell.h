/* The description of a cell for the driver: its matrix products, its memory layout, and its elementwise functions.
 *
 * The code generator (codegen.py) writes one description for each cell, together with the functions. All values are
 * blocks of H floats, padded to `units`. A row of a step has
 *
 *   slots   sums of products: the first `inputs` slots contain the input's product, and each slot may contain others
 *   kept    values that later products multiply, or that the backward pass needs in addition to the slots
 *
 * A forward step: the products of phase 0, forward[0], the products of phase 1, forward[1] and so on. The functions of
 * the last phase write the output and the next states. A backward step: backward[0], which turns the gradients of the
 * output and of the next states into those of the last slots; the products that give the gradients of their sources;
 * backward[1] and so on. The last one writes the part of the previous states' gradients that bypasses all products. */
#ifndef RNNLAB_CELL_H
#define RNNLAB_CELL_H

#include "functions.h"

#define MAX_STATES 16
#define MAX_PRODUCTS 48
#define MAX_PARAMETERS 48

/* Rows, `stride` floats apart. */
typedef struct {
    float *pointer;
    size_t stride;
} Rows;

/* A block of rows at one step. */
typedef struct {
    size_t rows, units, hidden;
    Rows slots, kept;
    Rows was[MAX_STATES], next[MAX_STATES]; /* the states before and after */
    Rows y;                                 /* the output; where it is a state, the same as its next[] */
    const float *vectors;                   /* [vectors + derived][units]: parameters by unit, and derived values */
    Rows mask;                              /* [units]: dropout mask for the sources of products */
    Rows keep;                              /* [keeps][units]: zoneout, the share of its old value that a state keeps */
    Rows spare;                             /* [spares][units]: values that one phase stores for another */
    /* for the backward pass */
    Rows d[MAX_STATES];     /* gradient of the next state through products and through the layer's output ... */
    Rows carry[MAX_STATES]; /* ... and elementwise; the step replaces it by that of the previous state */
    Rows d_y;               /* gradient of an output that is no state */
    Rows deltas;            /* gradient of the slots */
    Rows d_kept;            /* gradient of kept values, from the products that multiply them */
    float *d_vectors;       /* gradient of the vectors and derived values; each row is added to it */
} StepRows;

/* One product: a state or a kept value times blocks of a matrix, added to consecutive slots. */
typedef struct {
    int64_t parameter;       /* the matrix, (blocks * H, columns * H) */
    int64_t column, columns; /* the block of columns that is multiplied by the source */
    int64_t state, kept;     /* the source: a state or a kept value; the other is -1 */
    int64_t slot, count;
    int64_t phase;       /* before forward[phase] */
    int64_t back;        /* a kept source: its gradient is computed after backward[back] */
    int64_t again;       /* an earlier product of the backward pass has the same source */
    int64_t left_out;    /* not computed in quiet steps */
    const int64_t *rows; /* (count,): the matrix's blocks of rows */
    const int64_t *adds; /* (count,): an earlier product has the same block, so that the gradient is added */
} Product;

/* A block of a parameter with one number per unit: a bias of a slot, or one of the `vectors`. */
typedef struct {
    int64_t parameter, block;
    int64_t scalar; /* a single number for all units */
    int64_t vector; /* -1: the bias of `slot` */
    int64_t slot;   /* its gradient is this slot's total; totals of vectors follow those of the slots; -1: none */
    int64_t adds;   /* an earlier entry has the same block, so that the gradient is added */
} ByUnit;

typedef struct {
    int64_t parameters; /* ih and initial come first */
    int64_t gates;      /* blocks of rows of ih */
    int64_t inputs, slots, vectors, kept, spares;
    int64_t derived;    /* values that depend on vectors only; they follow the vectors */
    int64_t masked, keeps; /* see mask and keep of StepRows */
    int64_t learned;       /* how many states, the first ones, start from `initial`; the others start from zero */
    int64_t states, own_states;
    int64_t output;      /* the state that is the output, or -1 */
    int64_t apart;       /* gradients need separate memory, because later phases read the slots */
    const int64_t *gate; /* (inputs,): the block of ih */
    const int64_t *start, *width; /* (states,): first block and number of blocks of the cell's state that contains it */
    const int64_t *own;  /* (states,): index among the states with their own memory; -1: it is the output */
    const int64_t *multiplied, *carried; /* (states,): whether d and carry are used */
    const int64_t *cleared; /* (parameters,): where not every block of the gradient is written: how many blocks of
                             * H floats (for ih: of H rows), or, negative, of H * H floats, are zeroed first */
    int64_t products, by_units, phases, back_phases;
    const Product *product;
    const ByUnit *by_unit;
    void (*derive)(float *vectors, size_t units); /* computes the derived values */
    void (*derive_back)(const float *vectors, float *totals, size_t units); /* adds the derived values' part to the
                                                                             * gradients of the vectors */
    void (*const *forward)(const StepRows *);
    void (*const *backward)(const StepRows *);
    int64_t quiet_inputs; /* a quiet step needs only the inputs' slots before this one */
    void (*const *quiet_forward)(const StepRows *); /* for quiet steps, whose output is not read; NULL where the */
    void (*const *quiet_backward)(const StepRows *); /* output is a state */
} Cell;

#endif
