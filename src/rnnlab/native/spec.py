"""Decides which models can run whole steps on the kernels, and describes such a model to them (Spec in program.h)."""

import numpy as np
import torch
from torch import Tensor, nn

from rnnlab import streams
from rnnlab.native import bindings as lib
from rnnlab.native import check, mirrored
from rnnlab.native.flat import BUFFERS, Flat, padded
from rnnlab.native.kernels import kernels_of
from rnnlab.native.scoring import Head
from rnnlab.recurrence.outline import Outline
from rnnlab.recurrence.stack import Stack

INPUTS = {"windows": 0, "one-hot": 1, "embedded": 2}
TIED = ("embedding.weight", "head.weight")  # may be one parameter: the kernels add up both gradients
READS = {"last": 0, "every": 1, "ends": 2}


def obstacle(model: Outline, optimizer: torch.optim.Optimizer | None = None) -> str | None:
    """Why whole steps of a model cannot run on the kernels; None where they can.

    They support cells that can be compiled, in float32 on the CPU, and a plain Adam, AdamW, SGD or RMSprop with one
    parameter group.
    """
    if len(model.stack.cells) > lib.MAX_CELLS:
        return f"the kernels take at most {lib.MAX_CELLS} cells (layers times directions)"
    if why := _another_layer(model):
        return why
    known: dict[int, str] = {}
    for at, part in model.parts.items():
        for name, parameter in part.named_parameters(at, remove_duplicate=False):
            other = known.setdefault(id(parameter), name)
            if other != name and (other, name) != TIED:
                return f"{other} and {name} are one parameter"
    for name, parameter in model.named_parameters():
        if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
            return f"{name} is {parameter.dtype} on {parameter.device}"
    if optimizer is not None and (why := optimizer_obstacle(optimizer)):
        return why
    for cell in model.stack.cells:
        if why := mirrored.obstacle(cell) or check.obstacle(cell):
            return why
        for name, buffer in cell.named_buffers():  # read where it lies
            if not buffer.is_contiguous():
                return f"{name} is not contiguous"
    # cells may derive values from the input's width, so that layers with equal arguments may differ
    made = [(kernels_of(cell), cell.zoneout, cell.recurrent_dropout) for cell in model.stack.cells]
    alike = {(kernels.address, kernels.names, kernels.buffers, *drawn) for kernels, *drawn in made}
    return "the stack's cells have different equations" if len(alike) > 1 else None


def _another_layer(model: Outline) -> str | None:
    kinds = {"stack": (Stack,), "head": (nn.Linear, Head), "embedding": (nn.Embedding, type(None))}
    for name, possible in kinds.items():
        if type(layer := getattr(model, name)) not in possible:
            return f"the {name} is a {type(layer).__name__}"
    for name, part in model.parts.items():
        for tensor in ("weight", "bias") if name != "stack" else ():
            if not isinstance(getattr(part, tensor, None), nn.Parameter | None):
                return f"{name}.{tensor} is no parameter"
    for option in ("padding_idx", "max_norm", "scale_grad_by_freq", "sparse"):
        if getattr(model.embedding, option, None) not in (None, False):
            return f"the kernels have no embedding with {option}"
    return None


def optimizer_obstacle(optimizer: torch.optim.Optimizer) -> str | None:
    """Why the kernels cannot make an optimizer's update; None where they can."""
    if type(optimizer) not in BUFFERS:
        return f"the kernels have no {type(optimizer).__name__}"
    if len(optimizer.param_groups) != 1:
        return "the optimizer has several groups of parameters"
    group = optimizer.param_groups[0]
    for option in ("amsgrad", "maximize", "capturable", "differentiable"):
        if group.get(option):
            return f"the kernels have no {type(optimizer).__name__} with {option}"
    for option, value in group.items():
        if option != "params" and isinstance(value, Tensor):
            return f"the optimizer's {option} is a tensor"
    return None


def _dropping(p: float, seed: int, stream: str) -> lib.Chance:
    return _chance(p, 1 / (1 - p) if p < 1 else 0.0, seed, stream)


def _chance(p: float, value: float, seed: int, stream: str) -> lib.Chance:
    key = (lib.Word * 2)(*(int(word) for word in streams.key(seed, stream)))
    return lib.Chance(below=streams.threshold(p), value=float(np.float32(value)), key=key)


def describe(model: Outline, flat: Flat) -> tuple[lib.Spec, tuple[Tensor, ...]]:
    """The description of a model, its loss and the places of its parameters; and the tensors to which it points."""
    stack, embedding = model.stack, model.embedding
    spec = lib.Spec()
    kernels = kernels_of(stack.cells[0])
    spec.shape = lib.Shape.of(
        stack.cells[0],
        kernels.address,
        one_hot=model.indices and embedding is None,
        layers=stack.num_layers,
        directions=stack.directions,
    )
    spec.input = INPUTS["windows" if not model.indices else "one-hot" if embedding is None else "embedded"]
    spec.head, spec.outputs, spec.loss = READS[model.reads], model.head.out_features, lib.LOSSES[model.loss]
    spec.huber_delta, spec.subtract_last = model.huber_delta, model.subtracted is not None
    levels = torch.tensor(model.levels, dtype=torch.float32)
    spec.levels, spec.level_count = levels.data_ptr(), max(1, len(levels))
    if model.indices:
        spec.vocabulary = stack.input_size if embedding is None else embedding.num_embeddings
    noisy = stack.cells[0]
    spec.dropout = _dropping(stack.dropout, model.seed, "dropout")
    spec.inputs = _dropping(stack.input_dropout, model.seed, "input_dropout")
    spec.products = _dropping(noisy.recurrent_dropout, model.seed, "recurrent_dropout")
    kept = [
        p for p, k in zip(noisy.zoneout, noisy.state_blocks, strict=bool(noisy.zoneout)) for _ in range(k)
    ]
    for i, p in enumerate(kept):
        spec.zoneout[i] = _chance(p, p, model.seed, "zoneout")
    offsets, addresses = [], []
    held: list[Tensor] = []
    computed: list[list[int]] = []  # a row of Mirrored in program.h each
    used, spare = set[int](), flat.spare
    for cell in stack.cells:
        made = mirrored.mirrored(cell)
        for name, tensor in zip(kernels.names, kernels.tensors(cell), strict=True):
            if name in made:
                weight, *parts = made[name]
                n, m = (*weight.shape, 1)[:2]
                own, other, plus = (0 if part is None else part.data_ptr() for part in parts)
                computed.append([flat.offset(weight), spare, n, m, own, other, plus])
                held += [part for part in parts if part is not None]
                used.add(flat.offset(weight))
                offsets.append(spare)
                addresses.append(0)
                spare += padded(weight.numel())
            elif tensor is not None and name in kernels.buffers:
                held.append(tensor)
                offsets.append(-1)
                addresses.append(tensor.data_ptr())
            else:
                offsets.append(flat.offset(tensor))
                addresses.append(0)
    cells, places = torch.tensor(offsets), torch.tensor(addresses)
    spec.cells, spec.fixed = cells.data_ptr(), places.data_ptr()
    spec.parameters, spec.gradients = flat.parameters.data_ptr(), flat.gradients.data_ptr()
    spec.count = flat.parameters.numel()
    spec.head_weight, spec.head_bias = flat.offset(model.head.weight), flat.offset(model.head.bias)
    spec.embedding = -1 if embedding is None else flat.offset(embedding.weight)
    initial = {flat.offset(cell.initial) for cell in stack.cells}
    taken = {o for o in offsets if o >= 0} | used
    unused = {flat.offset(p) for cell in stack.cells for p in cell.parameters()} - taken  # without a gradient
    rests = {**dict.fromkeys(initial, 1), **dict.fromkeys(unused, 2)}
    rows = [[o, s, rests.get(o, 0)] for o, s in zip(flat.offsets, flat.sizes, strict=True)]
    segments = torch.tensor(rows, dtype=torch.int64)
    spec.optimizer.segments, spec.optimizer.segment_count = segments.data_ptr(), len(segments)
    table = torch.tensor(computed, dtype=torch.int64)
    spec.mirrored, spec.mirrored_count = table.data_ptr(), len(computed)
    return spec, (cells, places, segments, levels, table, *held)
