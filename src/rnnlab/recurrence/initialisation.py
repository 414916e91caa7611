"""The weights that a run starts from.

The order of all draws: embeddings, the cells of the stack in the order of its parameters, linear heads.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from rnnlab import streams
from rnnlab.cells import LSTM, Cell
from rnnlab.cells.cell import check_choice
from rnnlab.errors import UserError

SCHEMES = ("uniform", "orthogonal", "torch")
Draw = Callable[[Tensor, float], None]


def initialise(
    stack: nn.Module,
    heads: Sequence[nn.Linear | nn.Embedding],
    *,
    scheme: str = "uniform",
    scale: float | None = None,
    forget_bias: float | None = None,
    seed: int,
) -> None:
    """Draws the weights of a stack and of the layers around it, in place, from the run's "init" stream.

    * "uniform": all of the recurrence from U(-k, k), k = 1/sqrt(hidden), Linear from U(-k, k), k = 1/sqrt(inputs),
      Embedding from N(0, 1). A `scale` is k for all three. Drawn in float64, so float32 and float64 models agree.
    * "orthogonal": each gate's block of `weight_hh` orthogonal (Saxe et al. 2014), of `weight_ih` Glorot uniform
      (Glorot and Bengio 2010), biases 0; Linear and Embedding as above.
    * "torch": the bits that `torch.manual_seed(seed)`, then nn.Embedding, nn.RNN (GRU, LSTM) and nn.Linear, made in
      this order, would hold in the dtype of the weights. `bias="one"` draws and drops the second bias.

    A cell's own parameters are drawn too where they have two dimensions or more or are called bias...; others, such
    as the scale of a normalisation, keep what the cell's constructor gave them. A learned initial state starts at 0.
    `forget_bias` b: the forget gate's `bias_ih` becomes b and its `bias_hh` 0, so that their sum is b.

    Raises UserError for an unknown scheme, a scale that has no meaning, or a forget bias that has no place.
    """
    check_choice("model.init", scheme, SCHEMES)
    if scale is not None and scheme != "uniform":
        raise UserError(f"model.init_scale={scale}: only model.init=uniform has a scale, not {scheme}")
    with torch.no_grad():
        if scheme == "torch":
            _as_torch(stack, heads, seed)
        else:
            _from_stream(stack, heads, scheme, scale, streams.generator(seed, "init"))
        for cell in _cells(stack):
            if getattr(cell, "initial", None) is not None:
                cell.initial.zero_()  # type: ignore[union-attr]
            if forget_bias is not None:
                _set_forget_bias(cell, forget_bias)


def _from_stream(
    stack: nn.Module,
    heads: Sequence[nn.Linear | nn.Embedding],
    scheme: str,
    scale: float | None,
    generator: np.random.Generator,
) -> None:
    def uniform(tensor: Tensor, bound: float) -> None:
        _set(tensor, generator.uniform(-bound, bound, tuple(tensor.shape)))

    for head in heads:
        if isinstance(head, nn.Embedding):
            if scale is None:
                _set(head.weight, generator.standard_normal(tuple(head.weight.shape)))
            else:
                uniform(head.weight, scale)
            _clear_padding(head)
    for cell in _cells(stack):
        for name, parameter in _drawn(cell):
            if scheme == "uniform":
                uniform(parameter, scale or 1 / math.sqrt(cell.hidden_size))
            elif parameter.dim() < 2:
                parameter.zero_()
            else:
                _per_gate(parameter, cell.hidden_size, name.endswith("weight_hh"), generator)
    for head in heads:
        if isinstance(head, nn.Linear):
            for tensor in head.parameters():
                uniform(tensor, scale or 1 / math.sqrt(head.in_features))


def _as_torch(stack: nn.Module, heads: Sequence[nn.Linear | nn.Embedding], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)  # CPU, as torch's layers draw before they are moved

    def draw(tensor: Tensor, bound: float) -> None:
        tensor.copy_(
            torch.empty(tensor.shape, dtype=tensor.dtype).uniform_(-bound, bound, generator=generator)
        )

    for head in heads:
        if isinstance(head, nn.Embedding):
            weight = torch.empty(head.weight.shape, dtype=head.weight.dtype)
            head.weight.copy_(weight.normal_(generator=generator))
            _clear_padding(head)
    for cell in _cells(stack):
        for name, parameter in _drawn(cell):
            draw(parameter, 1 / math.sqrt(cell.hidden_size))
            if name == "bias_ih" and cell.bias_hh is None:
                draw(torch.empty_like(parameter), 1 / math.sqrt(cell.hidden_size))
    for head in heads:
        if isinstance(head, nn.Linear):
            # torch draws weights by Kaiming's rule with a = sqrt(5): mathematically 1/sqrt(inputs), not in the last bit
            draw(
                head.weight,
                math.sqrt(3.0) * (math.sqrt(2.0 / (1 + math.sqrt(5) ** 2)) / math.sqrt(head.in_features)),
            )
            if head.bias is not None:
                draw(head.bias, 1 / math.sqrt(head.in_features))


def _per_gate(weight: Tensor, hidden: int, orthogonal: bool, generator: np.random.Generator) -> None:
    """Orthogonal or Glorot-uniform blocks of `hidden` rows; one block where the rows are not made of such."""
    rows, columns = weight.shape[0], math.prod(weight.shape[1:])
    block = hidden if rows % hidden == 0 else rows
    bound = math.sqrt(6 / (block + columns))
    values = []
    for _ in range(rows // block):
        if orthogonal and block == columns:
            q, r = np.linalg.qr(generator.standard_normal((block, block)))
            values.append(q * np.sign(np.diag(r)))  # the signs make the draw uniform over all rotations
        else:
            values.append(generator.uniform(-bound, bound, (block, columns)))
    _set(weight, np.concatenate(values).reshape(weight.shape))


def _set_forget_bias(cell: Cell, value: float) -> None:
    if not isinstance(cell, LSTM):
        raise UserError(
            f"model.forget_bias={value}: only the lstm has a forget gate, not {type(cell).__name__}"
        )
    if cell.bias_ih is None:
        raise UserError(f"model.forget_bias={value}: model.bias=none leaves no bias; use both or one")
    forget = slice(cell.hidden_size, 2 * cell.hidden_size)
    cell.bias_ih[forget] = value
    if cell.bias_hh is not None:
        cell.bias_hh[forget] = 0.0


def _cells(stack: nn.Module) -> Iterator[Cell]:
    return (module for module in stack.modules() if isinstance(module, Cell))


def _drawn(cell: Cell) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in cell.named_parameters():
        own = name.rpartition(".")[2]
        if own != "initial" and (parameter.dim() >= 2 or own.startswith("bias")):
            yield name, parameter


def _clear_padding(embedding: nn.Embedding) -> None:
    if embedding.padding_idx is not None:
        embedding.weight[embedding.padding_idx] = 0.0


def _set(tensor: Tensor, values: np.ndarray) -> None:
    tensor.copy_(torch.from_numpy(values))
