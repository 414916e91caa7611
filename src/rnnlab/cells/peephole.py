"""LSTM with peepholes (Gers and Schmidhuber 2000), and the eight variants of it that Greff et al. (2017) compare."""

from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn, sigmoid, tanh
from torch.nn import functional

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.choice import check_choice
from rnnlab.cells.description import Gate

Variant = Literal["vanilla", "nig", "nfg", "nog", "niaf", "noaf", "np", "cifg", "fgr"]
MISSING = {"nig": "input", "nfg": "forget", "nog": "output", "cifg": "forget"}


class PeepholeLSTM(Cell):
    """Greff's "vanilla" LSTM, whose gates see the memory; the state is (h, c), the output h.

    `variant` leaves out the input, forget or output gate (nig, nfg, nog), the candidate's or the memory's tanh
    (niaf, noaf) or the peepholes (np), couples the gates, f = 1 - i (cifg), or feeds the gates of the step
    before back to the gates (fgr, whose state is (h, c, i, f, o)).
    """

    paper = "Greff et al. 2017"
    peephole_i: Tensor | None
    peephole_f: Tensor | None
    peephole_o: Tensor | None
    named_gates: tuple[Gate, ...] = (
        Gate("input", "i", "sigmoid"),
        Gate("forget", "f", "sigmoid"),
        Gate("candidate", "g", "tanh"),
        Gate("output", "o", "sigmoid"),
    )
    named_states: tuple[str, ...] = ("h", "c")
    equations = """\
i = sigmoid(W_ii x + b_ii + W_hi h + b_hi + p_i c)
f = sigmoid(W_if x + b_if + W_hf h + b_hf + p_f c)
g = tanh(W_ig x + b_ig + W_hg h + b_hg)
c' = f c + i g
o = sigmoid(W_io x + b_io + W_ho h + b_ho + p_o c')
h' = o tanh(c')"""

    def __init__(
        self, input_size: int, hidden_size: int, *, variant: Variant = "vanilla", **common: Any
    ) -> None:
        check_choice("model.options.variant", variant, get_args(Variant))
        self.variant = variant
        gates = [gate for gate in PeepholeLSTM.named_gates if gate.name != MISSING.get(variant)]
        if variant == "niaf":
            gates[gates.index(Gate("candidate", "g", "tanh"))] = Gate("candidate", "g", "linear")
        self.named_gates = tuple(gates)
        if variant == "fgr":
            self.named_states = ("h", "c", "i", "f", "o")
        super().__init__(input_size, hidden_size, **common)
        seeing = [gate.symbol for gate in gates if gate.symbol != "g"] if variant != "np" else []
        for symbol in "ifo":
            peephole = nn.Parameter(torch.zeros(hidden_size)) if symbol in seeing else None
            self.register_parameter(f"peephole_{symbol}", peephole)
        if variant == "fgr":
            self.weight_gates = nn.Parameter(torch.zeros(3 * hidden_size, 3 * hidden_size))

    def initialise(self, generator: np.random.Generator) -> None:
        for peephole in (self.peephole_i, self.peephole_f, self.peephole_o):
            if peephole is not None:
                bound = self.hidden_size**-0.5
                peephole.copy_(torch.from_numpy(generator.uniform(-bound, bound, self.hidden_size)))

    def open(self, symbol: str, sums: dict[str, Tensor], c: Tensor) -> Tensor:
        """The value (B, H) of gate i, f or o; it sees the memory c (B, H) if it has a peephole."""
        peephole = getattr(self, f"peephole_{symbol}")
        return sigmoid(sums[symbol] if peephole is None else sums[symbol] + peephole * c)

    def opened(self, u: Tensor, state: State) -> tuple[dict[str, Tensor], Tensor]:
        """The gates by symbol, and the new memory."""
        h, c = state[:2]
        symbols = [gate.symbol for gate in self.named_gates]
        sums = dict(zip(symbols, (u + self.recur(h)).chunk(self.gates, dim=-1), strict=True))
        if self.variant == "fgr":
            more = functional.linear(torch.cat(state[2:], dim=-1), self.weight_gates).chunk(3, dim=-1)
            sums |= {symbol: sums[symbol] + part for symbol, part in zip("ifo", more, strict=True)}
        gates: dict[str, Tensor] = {
            symbol: self.open(symbol, sums, c) for symbol in ("i", "f") if symbol in sums
        }
        g = gates["g"] = sums["g"] if self.variant == "niaf" else tanh(sums["g"])
        written = gates["i"] * g if "i" in gates else g
        if self.variant == "cifg":
            c = c - gates["i"] * c + written
        else:
            c = gates["f"] * c + written if "f" in gates else c + written
        if "o" in sums:
            gates["o"] = self.open("o", sums, c)
        return gates, c

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        gates, _ = self.opened(u, state)
        return tuple(gates[gate.symbol] for gate in self.named_gates)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        gates, c = self.opened(u, state)
        shown = c if self.variant == "noaf" else tanh(c)
        h = gates["o"] * shown if "o" in gates else shown
        if self.variant == "fgr":
            return h, (h, c, gates["i"], gates["f"], gates["o"])
        return h, (h, c)
