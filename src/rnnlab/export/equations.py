"""A stack as readable code that needs only torch: the equations of its cells, read from their `step` by tracing, and
the loops over layers and time.
"""

from __future__ import annotations

import keyword
import math
import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rnnlab.cells import Cell
from rnnlab.native import expressions as ex
from rnnlab.native.expressions import Expression, ordered
from rnnlab.native.symbols import tensors_of
from rnnlab.native.tracing import Traced, trace
from rnnlab.recurrence.stack import Stack

INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "power": "**", "less": "<", "less_equal": "<=", "equal": "==",
         "not_equal": "!=", "and": "&", "or": "|"}  # fmt: skip
BINDS = {"add": 1, "sub": 1, "mul": 2, "div": 2}  # precedence of the operators, for parentheses
SQUEEZES = ("sigmoid", "tanh", "relu")
CALLS = {"select": "torch.where", "softplus": "nn.functional.softplus"}
TAKEN = ("Model", "Layers", "Path", "backward", "load", "nn", "torch")  # other names in the written file
LEFT = 88  # characters of a line; a longer expression is split by naming a part of it

CELL = '''class {name}(nn.Module):
    """{doc}"""

    def __init__(self, inputs, units):
        super().__init__()
{parameters}

    def step(self, u, {states}):
        """u (B, {gates}units), the input projected, and the states before -> the output and the states after."""
{lines}


'''
LAYERS = '''class Layers(nn.Module):
    """x (B, T, {inputs}) -> the outputs (B, T, {outputs}), and the states after the last step (layers, B, units)."""

    def __init__(self):
        super().__init__()
        self.cells = nn.ModuleList({cells})
{start}
    def forward(self, x, states=None{lengths}):
        if states is None:
            states = {zeros}
        last = []
{loop}
        return x, [torch.stack(s) for s in zip(*last)]


'''
ONE_WAY = """        for cell, *state in zip(self.cells, *states):
            u, outputs = nn.functional.linear(x, cell.weight_ih, {bias}), []
            for t in range(x.shape[1]):
                y, *state = cell.step(u[:, t], *state)
                outputs.append(y)
            x = torch.stack(outputs, 1)
            last.append(state)"""
BOTH_WAYS = """        for i in range(0, len(self.cells), 2):
            both = []
            for j in (i, i + 1):  # forward, backward
                cell, state = self.cells[j], [s[j] for s in states]
                seen = backward(x, lengths) if j > i else x
                u, outputs = nn.functional.linear(seen, cell.weight_ih, {bias}), []
                for t in range(x.shape[1]):
                    y, *state = cell.step(u[:, t], *state)
                    outputs.append(y)
                y = torch.stack(outputs, 1)
                both.append(backward(y, lengths) if j > i else y)
                last.append(state)
            x = torch.cat(both, -1)"""
BACKWARD = '''def backward(x, lengths):
    """Each row of x (B, T, ...) reversed within its length."""
    if lengths is None:
        return x.flip(1)
    steps = torch.arange(x.shape[1], device=x.device)
    mirrored = lengths.to(x.device)[:, None] - 1 - steps
    order = torch.where(mirrored >= 0, mirrored, steps)
    return x.gather(1, order[..., None].expand(x.shape))


'''


def code(stack: Stack) -> tuple[str, dict[str, Tensor]]:
    """The code of classes, the last of them `Layers`, and its weights. Raises Untraceable if a step cannot be read."""
    cells = stack.cells
    found = [trace(cell) for cell in cells]
    classes: dict[str, str] = {}  # {code: name}; layers whose steps differ in a constant have two classes
    made, weights = [], dict[str, Tensor]()
    kind = type(cells[0]).__name__.removeprefix("Parametrized")
    kind += "Cell" * (kind in TAKEN)
    for i, (cell, traced) in enumerate(zip(cells, found, strict=True)):
        step = Step(cell, traced)
        text = CELL.format(
            name="{name}",
            doc=documentation(cell),
            parameters="\n".join(
                f"        self.{attribute(name)} = nn.Parameter(torch.zeros({sizes(name, value, cell)}))"
                for name, value in step.parameters.items()
            ),
            states=", ".join(step.states),
            gates=f"{traced.gates} * " if traced.gates > 1 else "",
            lines=textwrap.indent("\n".join(step.lines()), " " * 8),
        )
        name = classes.setdefault(text, kind if not classes else f"{kind}{len(classes) + 1}")
        made.append(f"{name}({cell.input_size}, {cell.hidden_size})")
        weights |= {f"cells.{i}.{attribute(key)}": value for key, value in step.parameters.items()}
    first = cells[0]
    widths = [k * first.hidden_size for k in first.widths]
    start, zeros = "", f"[{', '.join(f'x.new_zeros({len(cells)}, len(x), {n})' for n in widths)}]"
    if first.initial is not None:
        names = [f"start_{i}" for i in range(len(first.widths))]
        for name, layers in zip(names, zip(*stack.start(1), strict=True), strict=True):
            weights[name] = torch.stack(layers).detach()  # (layers, 1, H)
            start += f'        self.register_buffer("{name}", torch.zeros{tuple(weights[name].shape)})\n'
        zeros = f"[s.expand(-1, len(x), -1) for s in ({', '.join(f'self.{n}' for n in names)},)]"
    loop = (BOTH_WAYS if stack.bidirectional else ONE_WAY).format(
        bias="cell.bias_ih" if getattr(first, "bias_ih", None) is not None else "None"
    )
    text = "".join(text.replace("{name}", name) for text, name in classes.items())
    text += BACKWARD * stack.bidirectional
    text += LAYERS.format(
        inputs=first.input_size,
        outputs=stack.output_size,
        cells=f"[{', '.join(made)}]"
        if len(", ".join(made)) < LEFT
        else "[\n            " + ",\n            ".join(made) + ",\n        ]",
        start=start,
        lengths=", lengths=None" * stack.bidirectional,
        zeros=zeros,
        loop=loop,
    )
    return text, {name: value.detach().clone().contiguous() for name, value in weights.items()}


def documentation(cell: Cell) -> str:
    lines = [f"{type(cell).__name__.removeprefix('Parametrized')}{f', {cell.paper}' if cell.paper else ''}:"]
    lines += ["", *cell.equations.splitlines()]
    return (
        ("\n    ".join(lines) + "\n    ")
        .replace("\\", "\\\\")
        .replace('"""', "'''")
        .replace("\n    \n", "\n\n")
    )


def usable(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and name not in ("u", "self", "nn", "torch")


def attribute(name: str) -> str:
    """The name of a parameter in the code; that of a submodule's, such as norm.weight, has a dot."""
    return name.replace(".", "_")


def sizes(name: str, value: Tensor, cell: Cell) -> str:
    """The shape of a parameter as code, in terms of `units` and `inputs` where possible."""
    shape = []
    for i, n in enumerate(value.shape):
        if i == 1 and name == "weight_ih":
            shape.append("inputs")
        elif n % cell.hidden_size == 0:
            shape.append(f"{n // cell.hidden_size} * units" if n > cell.hidden_size else "units")
        else:
            shape.append(str(n))
    return ", ".join(shape) if shape else "()"


@dataclass
class Step:
    """The lines of a cell's step."""

    cell: Cell
    traced: Traced
    names: dict[Expression, str] = field(default_factory=dict)
    body: list[str] = field(default_factory=list)

    @property
    def parameters(self) -> dict[str, Tensor]:
        wanted = ["weight_ih", *(["bias_ih"] if self.cell.bias_ih is not None else []), *self.traced.names]
        known = tensors_of(self.cell)
        return {name: known[name].detach() for name in dict.fromkeys(wanted)}

    @property
    def states(self) -> list[str]:
        named = [*self.cell.named_states, *(["t"] if self.cell.counts else [])]
        count = len(self.cell.widths)
        fit = len(named) == count and all(map(usable, named))
        return named if fit else ["h"] if count == 1 else [f"s{i}" for i in range(count)]

    def lines(self) -> list[str]:
        cell, roots = self.cell, [self.traced.output, *self.traced.states]
        order = ordered(roots)
        symbols = [gate.symbol for gate in cell.named_gates]
        blocks = symbols if len(symbols) == self.traced.gates and all(map(usable, symbols)) else [
            str(k) for k in range(self.traced.gates)]  # fmt: skip
        self._take(
            "u", [ex.make("input", k) for k in range(self.traced.gates)], [f"u_{b}" for b in blocks], order
        )
        at = 0
        for name, width in zip(self.states, cell.widths, strict=True):
            leaves = [ex.make("state", at + k) for k in range(width)]
            self._take(name, leaves, [f"{name}_{k}" for k in range(width)], order)
            at += width
        for k, chance in enumerate(c for c, width in zip(cell.zoneout, cell.state_blocks, strict=True)
                                   for _ in range(width)) if cell.zoneout else ():  # fmt: skip
            self.names[ex.make("keep", k)] = repr(float(chance))
        self._take_vectors(order)
        self.used = Counter(a for e in order for a in e.operands)
        self.used.update(roots)
        self.biases = self._with_bias(order)
        for e in order:
            if e.op == "product":
                self._take_product(e, order)
            elif e not in self.names and e.operands and (own := self._name_of(e)) is not None:
                self._name(e, own)
        results, at = [], 0
        for width in cell.widths:
            parts = [self.text(e) for e in self.traced.states[at : at + width]]
            results.append(parts[0] if width == 1 else f"torch.cat([{', '.join(parts)}], -1)")
            at += width
        return [*self.body, f"return {self.text(self.traced.output)}, {', '.join(results)}"]

    def _take(
        self, name: str, leaves: Sequence[Expression], names: list[str], order: list[Expression]
    ) -> None:
        """Names the blocks of a tensor; several blocks are first split by `chunk`."""
        if len(leaves) == 1:
            self.names[leaves[0]] = name
        elif any(leaf in order for leaf in leaves):
            self.names |= dict(zip(leaves, names, strict=True))
            self.body.append(f"{', '.join(names)} = {name}.chunk({len(leaves)}, -1)")

    def _take_vectors(self, order: list[Expression]) -> None:
        units, found = self.cell.hidden_size, dict[str, list[Expression]]()
        for e in order:
            if e.op == "vector":
                found.setdefault(str(e.args[0]), []).append(e)
        for name, blocks in found.items():
            count = self.parameters[name].numel() // units if self.parameters[name].dim() else 0
            for e in blocks:
                k = int(e.args[1])  # type: ignore[arg-type]
                whole = k < 0 or (count == 1 and self.parameters[name].dim() == 1)
                own = f"self.{attribute(name)}"
                self.names[e] = own if whole else f"{own}.view(-1, {units})[{k}]"

    def _with_bias(self, order: list[Expression]) -> dict[tuple[object, ...], str]:
        """{(matrix, column, source): bias}, for products to each block of which the same vector is added."""
        found: dict[tuple[object, ...], set[str]] = {}
        for e in order:
            if e.op == "product":
                name, k, j, source = e.args
                sums = [s for s in order if e in s.operands]
                other = next(
                    (o for s in sums for o in s.operands if s.op == "add" and o.op == "vector"), None
                )
                fits = len(sums) == 1 and other is not None and other.args[1] == k
                found.setdefault((name, j, source), set()).add(str(other.args[0]) if fits and other else "")
        return {key: names.pop() for key, names in found.items() if len(names) == 1 and "" not in names}

    def _take_product(self, e: Expression, order: list[Expression]) -> None:
        if e in self.names:
            return
        name, _, j, source = e.args
        column: int = j  # type: ignore[assignment]
        assert isinstance(source, Expression)
        units, matrix = self.cell.hidden_size, self.parameters[str(name)]
        rows, columns = (n // units for n in matrix.shape)
        weight = f"self.{attribute(str(name))}" + (
            f"[:, {column * units}:{(column + 1) * units}]" if columns > 1 else ""
        )
        bias = self.biases.get((name, column, source))
        known = self.parameters[bias].numel() // units if bias else 0
        bias = bias if known == rows else None
        short = attribute(str(name)).removeprefix("weight_") + (f"_{column}" if columns > 1 else "")
        taken = set(self.names.values())
        short = next(
            n
            for n in (short, *(f"{short}_{i}" for i in range(2, 999)))
            if n not in taken and f"{n}_0" not in taken
        )
        parts = [short] if rows == 1 else [f"{short}_{k}" for k in range(rows)]
        call = f"nn.functional.linear({self.text(source)}, {weight}{f', self.{attribute(bias)}' if bias else ''})"
        self.body.append(f"{', '.join(parts)} = {call}{f'.chunk({rows}, -1)' if rows > 1 else ''}")
        for k, part in enumerate(parts):
            block = ex.make("product", str(name), k, column, source)
            self.names[block] = part
            for s in order if bias else ():
                if (
                    block in s.operands
                    and s.op == "add"
                    and any(o.op == "vector" and o.args[0] == bias for o in s.operands)
                ):
                    self.names[s] = part

    def _name_of(self, e: Expression) -> str | None:
        """The own name of a state or a gate; "" for another expression that is long or used twice; else None (no name
        is needed).
        """
        after = [f"{name}_next" if width == 1 else f"{name}_{k}_next"
                 for name, width in zip(self.states, self.cell.widths, strict=True) for k in range(width)]  # fmt: skip
        if e in self.traced.states:
            return after[self.traced.states.index(e)]
        text = self.text(e)
        gates = set(re.findall(r"\bu_([A-Za-z]\w*)", text))
        if (
            e.op in SQUEEZES
            and len(gates) == 1
            and (gate := gates.pop()) not in {*self.names.values(), *self.states}
        ):
            return gate
        return "" if self.used[e] > 1 or len(text) > LEFT else None

    def _name(self, e: Expression, name: str) -> None:
        while len(self.text(e)) > LEFT:
            inner = [a for a in e.operands if a.operands and a not in self.names]
            if not inner:
                break
            self._name(max(inner, key=lambda a: len(self.text(a))), "")
        name = name or f"a{len(self.body)}"
        self.body.append(f"{name} = {self.text(e)}")
        self.names[e] = name

    def text(self, e: Expression, within: str = "", right: bool = False) -> str:
        """An expression as code; `within` is the operation around it, `right` whether it is its right operand."""
        if e in self.names:
            return self.names[e]
        if e.op == "constant":
            value = float(e.args[0])  # type: ignore[arg-type]
            # torch.where of two whole numbers would give integers
            short = f"{value:g}" if float(f"{value:g}") == value and within != "select" else repr(value)
            return short if math.isfinite(value) else f'float("{value}")'
        parts = [self.text(a, e.op, i > 0) for i, a in enumerate(e.operands)]
        if e.op in INFIX:
            whole = f"{parts[0]} {INFIX[e.op]} {parts[1]}"
            weak = (BINDS.get(e.op, 0), not right) <= (BINDS.get(within, 3), False)
            return f"({whole})" if weak and (within in INFIX or within in ("neg", "not", "sum")) else whole
        if e.op == "neg":
            return f"(-{parts[0]})" if within in INFIX or within == "sum" else f"-{parts[0]}"
        if e.op == "not":
            return f"~{parts[0]}"
        if e.op == "sum":
            return f"{parts[0]}.sum(-1, keepdim=True)"
        if e.op in ("max", "min"):
            if all(ex.number(a) is None for a in e.operands):
                return f"torch.{e.op}imum({', '.join(parts)})"
            tensor = next(self.text(a) for a in e.operands if ex.number(a) is None)
            limit = next(self.text(a) for a in e.operands if ex.number(a) is not None)
            return f"torch.clamp({tensor}, {'min' if e.op == 'max' else 'max'}={limit})"
        return f"{CALLS.get(e.op, f'torch.{e.op}')}({', '.join(parts)})"
