/* What the driver knows of a cell: its products, its places in memory, and its elementwise functions.
 *
 * The code generator writes one such description for each cell (codegen.py), with the functions beside it. Everything
 * comes in blocks of H floats, padded to `units`. A row of a step has
 *
 *   slots   what the products give: the first `inputs` of them take the input's product, any may take others', which
 *           are added up
 *   kept    values that later products multiply, or that the way back needs beside the slots
 *
 * A step forward: the products of phase 0, forward[0], the products of phase 1, forward[1] and so on. The functions
 * of the last phase leave the output and the next states. A step back: backward[0], which turns the gradients of the
 * output and of the next states into those of the last slots; the products back to the values that they came from;
 * backward[1] and so on, the last of which leaves what reaches the states before past all products. */
#ifndef RNNLAB_CELL_H
#define RNNLAB_CELL_H

#include "functions.h"

#define MAX_STATES 16
#define MAX_PRODUCTS 48
#define MAX_PARAMETERS 48

/* Rows that stand `stride` floats apart. */
typedef struct {
    float *pointer;
    size_t stride;
} Rows;

/* A block of rows at one step. */
typedef struct {
    size_t rows, units, hidden;
    Rows slots, kept;
    Rows was[MAX_STATES], next[MAX_STATES]; /* the states before and after */
    Rows y;                                 /* the output; where it is a state, next[] of that one is the same */
    const float *vectors;                   /* [vectors + derived][units]: parameters by unit, and what they make */
    Rows mask;                              /* [units]: what the sources of products are multiplied by */
    Rows keep;                              /* [keeps][units]: how much a state keeps of its old value */
    Rows spare;                             /* [spares][units]: values that one phase leaves to another */
    /* the way back */
    Rows d[MAX_STATES];     /* gradient of the next state: what came by products, and by the layer's output ... */
    Rows carry[MAX_STATES]; /* ... and what came past them; becomes that of the state before */
    Rows d_y;               /* gradient of an output that is no state */
    Rows deltas;            /* gradient of the slots */
    Rows d_kept;            /* gradient of kept values, from the products that multiply them */
    float *d_vectors;       /* gradient of the vectors and of the derived: that of each row is added */
} StepRows;

/* One product: a state or a kept value times blocks of a matrix, into slots that follow one another. */
typedef struct {
    int64_t parameter;       /* the matrix, (blocks * H, columns * H) */
    int64_t column, columns; /* the block of columns that meets the source */
    int64_t state, kept;     /* the source: one of them, the other is -1 */
    int64_t slot, count;
    int64_t phase;       /* before forward[phase] */
    int64_t back;        /* a kept source: its gradient follows backward[back] */
    int64_t again;       /* an earlier product has the same kept source, or the same state */
    int64_t left_out;    /* in quiet steps */
    const int64_t *rows; /* (count,): the matrix's blocks of rows */
    const int64_t *adds; /* (count,): a product before has had the gradient of the same block */
} Product;

/* A block of a parameter by unit: a bias of a slot, or one of the `vectors`. */
typedef struct {
    int64_t parameter, block;
    int64_t scalar; /* one number for all units */
    int64_t vector; /* -1: the bias of `slot` */
    int64_t slot;   /* its gradient is this slot's total; those of the vectors stand behind the slots'; -1: it has none */
    int64_t adds;   /* one before has had the gradient of the same block */
} ByUnit;

typedef struct {
    int64_t parameters; /* ih and initial come first */
    int64_t gates;      /* blocks of rows of ih */
    int64_t inputs, slots, vectors, kept, spares;
    int64_t derived;    /* values that vectors alone make, behind them */
    int64_t masked, keeps; /* see mask and keep of StepRows */
    int64_t learned;       /* the first states, which `initial` has; the others start from zero */
    int64_t states, own_states;
    int64_t output;      /* the state that is the output, or -1 */
    int64_t apart;       /* gradients must not overwrite slots that later phases read */
    const int64_t *gate; /* (inputs,): the block of ih */
    const int64_t *start, *width; /* (states,): the first block and the blocks of the cell's state that it is part of */
    const int64_t *own;  /* (states,): number among the states with memory of their own; -1: the output */
    const int64_t *multiplied, *carried; /* (states,): whether d and carry are used */
    const int64_t *cleared; /* (parameters,): not every block of its gradient is written: so many blocks of H floats
                             * (for ih: of H rows), or, negative, of H * H, are set to zero first */
    int64_t products, by_units, phases, back_phases;
    const Product *product;
    const ByUnit *by_unit;
    void (*derive)(float *vectors, size_t units); /* computes the derived values */
    void (*derive_back)(const float *vectors, float *totals, size_t units); /* adds what their gradients give to the
                                                                             * vectors' */
    void (*const *forward)(const StepRows *);
    void (*const *backward)(const StepRows *);
    int64_t quiet_inputs; /* of the inputs' slots, those that a quiet step needs lie before this one */
    void (*const *quiet_forward)(const StepRows *); /* the same for steps whose output nobody reads; NULL where the */
    void (*const *quiet_backward)(const StepRows *); /* output is a state */
} Cell;

#endif
