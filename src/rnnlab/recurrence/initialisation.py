"""Initial weights.

They are drawn in this order: embeddings, the cells of the stack in the order of its parameters, linear heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from rnnlab import streams
from rnnlab.cells import CATALOGUE, Cell
from rnnlab.cells.choice import check_choice
from rnnlab.errors import UserError

SCHEMES = ("uniform", "orthogonal", "torch")
Heads = Sequence[nn.Linear | nn.Embedding]


class Layers(Protocol):
    """The part of `Stack` that is used here; stack.py imports this file."""

    layers: nn.ModuleList
    hidden_size: int


@torch.no_grad()
def initialise(
    stack: Layers,
    heads: Heads,
    *,
    scheme: str = "uniform",
    scale: float | None = None,
    forget_bias: float | Literal["auto"] | None = None,
    seed: int,
) -> None:
    """Draws the weights of a stack and of the layers around it, in place, from the run's "init" stream.

    * "uniform": cells from U(-k, k), k = 1/sqrt(hidden); Linear from U(-k, k), k = 1/sqrt(inputs);
      Embedding from N(0, 1). With a `scale`, all three are from U(-scale, scale). Drawn in float64, so that models
      in float32 and float64 agree.
    * "orthogonal": each gate's block of `weight_hh`, and of a cell's own weight_h..., orthogonal (Saxe et al.
      2014), of `weight_ih` Glorot uniform (Glorot and Bengio 2010), biases 0; Linear and Embedding as above.
    * "torch": bit for bit the weights of nn.Embedding, nn.RNN (GRU, LSTM) and nn.Linear, made in this order after
      `torch.manual_seed(seed)`. `bias="one"` draws and drops the second bias, so that all else agrees.

    A cell's own parameters are drawn, too, if they have two dimensions or more or are called bias...;
    others, such as the scale of a normalisation, keep the values from the cell's constructor. Then
    `Cell.initialise` sets special initial values. A learned initial state starts at 0. Last, with a `forget_bias` b,
    the forget gate's `bias_ih` becomes b and its `bias_hh` 0; "auto" means 1.0 if the cell has a forget gate and a
    bias, else no change.

    Raises UserError for an unknown scheme, a `scale` with another scheme than "uniform", and a number as `forget_bias`
    for a cell without a forget gate or a bias.
    """
    check_choice("model.init", scheme, SCHEMES)
    if scale is not None and scheme != "uniform":
        raise UserError(f"model.init_scale={scale}: model.init={scheme} has no scale; use model.init=uniform")
    generator = streams.generator(seed, "init")
    if scheme == "torch":
        _as_torch(stack, heads, torch.Generator().manual_seed(seed))
    else:
        _from_stream(stack, heads, scheme, scale, generator)
    for head in heads:
        if isinstance(head, nn.Embedding) and head.padding_idx is not None:
            head.weight[head.padding_idx] = 0.0
    for cell in stack.layers:
        if isinstance(initial := getattr(cell, "initial", None), Tensor):
            initial.zero_()
        if isinstance(cell, Cell):
            cell.initialise(generator)
        if forget_bias == "auto":
            if isinstance(cell, Cell) and cell.gate_index("forget") is not None and cell.bias_ih is not None:
                _set_forget_bias(cell, 1.0)
        elif forget_bias is not None:
            _set_forget_bias(cell, forget_bias)


def _from_stream(
    stack: Layers, heads: Heads, scheme: str, scale: float | None, generator: np.random.Generator
) -> None:
    def uniform(tensor: Tensor, bound: float) -> None:
        tensor.copy_(torch.from_numpy(generator.uniform(-bound, bound, tuple(tensor.shape))))

    for embedding in _of(heads, nn.Embedding):
        if scale is None:
            embedding.weight.copy_(torch.from_numpy(generator.standard_normal(tuple(embedding.weight.shape))))
        else:
            uniform(embedding.weight, scale)
    for cell in stack.layers:
        for name, parameter in _drawn(cell):
            if scheme == "uniform":
                uniform(parameter, 1 / math.sqrt(stack.hidden_size) if scale is None else scale)
            elif parameter.dim() < 2:
                parameter.zero_()
            else:
                for block in _blocks(parameter, stack.hidden_size):
                    if name.startswith("weight_h") and block.shape == (len(block), len(block)):
                        block.copy_(torch.from_numpy(_rotation(len(block), generator)))
                    else:
                        uniform(block, math.sqrt(6 / (block.shape[0] + block[0].numel())))
    for linear in _of(heads, nn.Linear):
        for parameter in linear.parameters():
            uniform(parameter, 1 / math.sqrt(linear.in_features) if scale is None else scale)


def _as_torch(stack: Layers, heads: Heads, generator: torch.Generator) -> None:
    # torch's layers draw in the dtype of the weights, on the CPU, before they are moved
    def draw(tensor: Tensor, fill: Callable[[Tensor], Any]) -> None:
        drawn = torch.empty(tensor.shape, dtype=tensor.dtype)
        fill(drawn)
        tensor.copy_(drawn)

    def uniform(tensor: Tensor, bound: float) -> None:
        draw(tensor, lambda drawn: drawn.uniform_(-bound, bound, generator=generator))

    for embedding in _of(heads, nn.Embedding):
        draw(embedding.weight, lambda drawn: drawn.normal_(generator=generator))
    for cell in stack.layers:
        for name, parameter in _drawn(cell):
            uniform(parameter, 1 / math.sqrt(stack.hidden_size))
            if name == "bias_ih" and getattr(cell, "bias_hh", None) is None:
                uniform(torch.empty_like(parameter), 1 / math.sqrt(stack.hidden_size))
    for linear in _of(heads, nn.Linear):
        # nn.Linear's own rule: its bound is 1/sqrt(inputs) in exact arithmetic, but may differ in the last bit
        draw(
            linear.weight, lambda drawn: nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
        )
        if linear.bias is not None:
            uniform(linear.bias, 1 / math.sqrt(linear.in_features))


def _drawn(cell: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters of a cell that are drawn, with their names."""
    for name, parameter in cell.named_parameters():
        own = name.rpartition(".")[2]
        if own != "initial" and (parameter.dim() >= 2 or own.startswith("bias")):
            yield name, parameter


def _blocks(weight: Tensor, hidden: int) -> Sequence[Tensor]:
    """Views of the blocks of `hidden` rows; the whole weight where its rows are not a multiple of `hidden`."""
    return weight.split(hidden) if len(weight) % hidden == 0 else (weight,)


def _rotation(size: int, generator: np.random.Generator) -> np.ndarray:
    """A random orthogonal matrix, uniform over all of them (Mezzadri 2007, hence the signs)."""
    q, r = np.linalg.qr(generator.standard_normal((size, size)))
    return q * np.sign(np.diag(r))


def _set_forget_bias(cell: nn.Module, value: float) -> None:
    place = cell.gate_index("forget") if isinstance(cell, Cell) else None
    if not isinstance(cell, Cell) or place is None:
        able = ", ".join(name for name, of in CATALOGUE.items() if of.has_gate("forget"))
        raise UserError(
            f"model.forget_bias={value}: {type(cell).__name__} has no forget gate; possible: {able}"
        )
    if cell.bias_ih is None:
        raise UserError(f"model.forget_bias={value}: model.bias=none leaves no bias; use both or one")
    forget = slice(place * cell.hidden_size, (place + 1) * cell.hidden_size)
    cell.bias_ih[forget] = value
    if cell.bias_hh is not None and forget.stop <= len(cell.bias_hh):
        cell.bias_hh[forget] = 0.0


def _of(heads: Heads, kind: type) -> Iterator[Any]:
    return (head for head in heads if isinstance(head, kind))
