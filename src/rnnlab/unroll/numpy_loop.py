"""The recurrences in plain NumPy, one row, one step at a time, in float64: written to be read.

They share no code with `rnnlab.cells`, which are tested against them. Shapes: x (T, I), h and c (H,),
W_ih (gates*H, I), W_hh (gates*H, H), b_ih and b_hh (gates*H,).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Step(NamedTuple):
    """What an Elman cell computes at one step, in the order in which it does."""

    from_input: Array  # W_ih x_t + b_ih
    from_state: Array  # W_hh h_{t-1} + b_hh
    total: Array
    h: Array  # the new hidden state


def elman(
    x: Array,
    h: Array,
    W_ih: Array,
    W_hh: Array,
    b_ih: Array,
    b_hh: Array,
    f: Callable[[Array], Array] = np.tanh,
) -> list[Step]:
    """All steps of h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)."""
    steps = []
    for x_t in x:
        from_input = W_ih @ x_t + b_ih
        from_state = W_hh @ h + b_hh
        total = from_input + from_state
        h = f(total)
        steps.append(Step(from_input, from_state, total, h))
    return steps


def gru(x: Array, h: Array, W_ih: Array, W_hh: Array, b_ih: Array, b_hh: Array) -> Array:
    """All hidden states (T, H); h_t = (1 - z) n + z h_{t-1}, gates r, z, n."""
    states = []
    for x_t in x:
        u_r, u_z, u_n = np.split(W_ih @ x_t + b_ih, 3)
        v_r, v_z, v_n = np.split(W_hh @ h + b_hh, 3)
        r = sigmoid(u_r + v_r)  # how much of the past the candidate sees
        z = sigmoid(u_z + v_z)  # how much of the past stays
        n = np.tanh(u_n + r * v_n)  # the candidate
        h = (1 - z) * n + z * h
        states.append(h)
    return np.array(states)


def lstm(
    x: Array, h: Array, c: Array, W_ih: Array, W_hh: Array, b_ih: Array, b_hh: Array
) -> tuple[Array, Array]:
    """All hidden and all cell states, (T, H) each; c_t = f c_{t-1} + i g, h_t = o tanh(c_t)."""
    hidden, memory = [], []
    for x_t in x:
        i, f, g, o = np.split(W_ih @ x_t + b_ih + W_hh @ h + b_hh, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)  # forget some, write some
        h = sigmoid(o) * np.tanh(c)  # show some
        hidden.append(h)
        memory.append(c)
    return np.array(hidden), np.array(memory)


def output(h: Array, W_hy: Array, b_y: Array) -> Array:
    """The linear head, y_t = W_hy h_t + b_y."""
    return W_hy @ h + b_y


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))
