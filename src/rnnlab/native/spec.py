"""What the kernels are told of a task: the fields of Spec in program.h."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnlab import streams
from rnnlab.native import bindings as lib
from rnnlab.native.flat import Flat

INPUTS = {"windows": 0, "one-hot": 1, "embedded": 2}
READS = {"last": 0, "every": 1, "ends": 2}
LOSSES = {"mse": 0, "mae": 1, "huber": 2, "cross_entropy": 3, "binary": 4}


def describe(task: Any, flat: Flat) -> tuple[lib.Spec, tuple[Tensor, ...]]:
    """The model, its loss and where its parameters lie; and the tensors that the description points into."""
    stack, embedding = task.stack, getattr(task, "embedding", None)
    spec = lib.Spec()
    first = stack.layers[0]
    spec.shape = lib.Shape(
        kind=lib.KINDS[stack.kind.__name__],
        relu=getattr(first, "nonlinearity", "tanh") == "relu",
        layers=stack.num_layers,
        directions=stack.directions,
        inputs=stack.input_size,
        hidden=stack.hidden_size,
        one_hot=task.kind == "text" and embedding is None,
    )
    spec.outputs = task.head.out_features
    if task.kind == "series":
        spec.input, spec.head, spec.loss = INPUTS["windows"], READS["last"], LOSSES[task.loss_name]
        spec.huber_delta, spec.subtract_last = task.huber_delta, task.subtract_last
    else:
        spec.input = INPUTS["one-hot" if embedding is None else "embedded"]
        spec.head = READS["every" if task.kind == "text" else "ends"]
        spec.loss = LOSSES["binary" if getattr(task, "sigmoid", False) else "cross_entropy"]
        spec.vocabulary = stack.input_size if embedding is None else embedding.num_embeddings
    if stack.dropout > 0:
        spec.drop_below = round(stack.dropout * 65536)
        spec.drop_scale = float(np.float32(1 / (1 - stack.dropout))) if stack.dropout < 1 else 0.0
        spec.drop_key[:] = [int(word) for word in streams.key(task.seed, "dropout")]
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "initial")
    offsets = [flat.offset(getattr(cell, name)) for cell in stack.layers for name in names]
    cells = torch.tensor(offsets)
    spec.cells = cells.data_ptr()
    spec.parameters, spec.gradients = flat.parameters.data_ptr(), flat.gradients.data_ptr()
    spec.count = flat.parameters.numel()
    spec.head_weight, spec.head_bias = flat.offset(task.head.weight), flat.offset(task.head.bias)
    spec.embedding = -1 if embedding is None else flat.offset(embedding.weight)
    initial = {flat.offset(cell.initial) for cell in stack.layers}
    rows = [[o, s, o in initial] for o, s in zip(flat.offsets, flat.sizes, strict=True)]
    segments = torch.tensor(rows, dtype=torch.int64)
    spec.optimizer.segments, spec.optimizer.segment_count = segments.data_ptr(), len(segments)
    return spec, (cells, segments)
