"""LSTM and GRU with layer normalisation (Ba, Kiros and Hinton 2016), as in the appendix of the paper."""

from typing import Any

import torch
from torch import Tensor, nn, sigmoid, tanh
from torch.nn import functional

from rnnlab.cells.cell import Cell, State
from rnnlab.cells.description import Gate


def normalised(a: Tensor, gain: Tensor) -> Tensor:
    """Gives a (B, n) with mean 0 and variance 1 over the n, times the gain (n,)."""
    return functional.layer_norm(a, a.shape[-1:]) * gain


class LayerNormLSTM(Cell):
    """N normalises the input's sums, the state's sums and the memory, each separately. The gates have one bias, added
    after N: a shift in N would be the same. The state is (h, c), the output h.
    """

    paper = "Ba et al. 2016"
    named_gates = (
        Gate("input", "i", "sigmoid"),
        Gate("forget", "f", "sigmoid"),
        Gate("candidate", "g", "tanh"),
        Gate("output", "o", "sigmoid"),
    )
    named_states = ("h", "c")
    equations = """\
i = sigmoid(N(W_ih x)_i + N(W_hh h)_i + b_i)
f = sigmoid(N(W_ih x)_f + N(W_hh h)_f + b_f)
g = tanh(N(W_ih x)_g + N(W_hh h)_g + b_g)
o = sigmoid(N(W_ih x)_o + N(W_hh h)_o + b_o)
c' = f c + i g
h' = o tanh(N(c'))"""

    def __init__(self, input_size: int, hidden_size: int, **common: Any) -> None:
        super().__init__(input_size, hidden_size, **common)
        self.bias_hh = None
        self.gain_input = nn.Parameter(torch.ones(4 * hidden_size))
        self.gain_state = nn.Parameter(torch.ones(4 * hidden_size))
        self.gain_memory = nn.Parameter(torch.ones(hidden_size))
        self.shift_memory = nn.Parameter(torch.zeros(hidden_size))

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        h, _ = state
        sums = normalised(self.recur(h), self.gain_state)
        if self.bias_ih is None:
            sums = sums + normalised(u, self.gain_input)
        else:  # u holds the bias, which is added after the norm
            sums = sums + normalised(u - self.bias_ih, self.gain_input) + self.bias_ih
        i, f, g, o = sums.chunk(4, dim=-1)
        return sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        _, c = state
        i, f, g, o = self.activate(u, state)
        c = f * c + i * g
        h = o * tanh(normalised(c, self.gain_memory) + self.shift_memory)
        return h, (h, c)


class LayerNormGRU(Cell):
    """N normalises the sums of both gates together, and those of the candidate separately. The output is the new h."""

    paper = "Ba et al. 2016"
    named_gates = (
        Gate("reset", "r", "sigmoid"),
        Gate("update", "z", "sigmoid"),
        Gate("candidate", "n", "tanh"),
    )
    named_states = ("h",)
    equations = """\
r = sigmoid(N(W_i x)_r + N(W_h h)_r + b_r)
z = sigmoid(N(W_i x)_z + N(W_h h)_z + b_z)
n = tanh(N(W_in x) + b_in + r (N(W_hn h) + b_hn))
h' = (1 - z) h + z n"""

    def __init__(self, input_size: int, hidden_size: int, **common: Any) -> None:
        super().__init__(input_size, hidden_size, **common)
        self.gain_input = nn.Parameter(torch.ones(3 * hidden_size))
        self.gain_state = nn.Parameter(torch.ones(3 * hidden_size))

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        (h,) = state
        blocks = [2 * self.hidden_size, self.hidden_size]
        gates, candidate = self.apart(u, self.bias_ih, self.gain_input).split(blocks, dim=-1)
        from_gates, from_state = self.apart(self.recur(h), self.bias_hh, self.gain_state).split(
            blocks, dim=-1
        )
        r, z = sigmoid(gates + from_gates).chunk(2, dim=-1)
        return r, z, tanh(candidate + r * from_state)

    def apart(self, sums: Tensor, bias: Tensor | None, gain: Tensor) -> Tensor:
        """Normalises the sums (B, 3H) of the gates together and of the candidate; their bias is added after it."""
        blocks = [2 * self.hidden_size, self.hidden_size]
        bare = sums if bias is None else sums - bias
        pairs = zip(bare.split(blocks, dim=-1), gain.split(blocks), strict=True)
        both = torch.cat([normalised(a, of) for a, of in pairs], dim=-1)
        return both if bias is None else both + bias

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        (h,) = state
        _, z, n = self.activate(u, state)
        h = h + z * (n - h)
        return h, (h,)
