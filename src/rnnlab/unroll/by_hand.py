"""One step of each recurrence in plain NumPy and in float64, with every quantity on the way, to be shown.

Shares no code with `rnnlab.cells`. A step takes u = W_ih x + b_ih and v = W_hh h + b_hh, both (gates*H,), and the
state, a tuple of (H,); it gives [(kind, formula, value)] and the next state. In formulas @ is the step, < the one
before it; what follows a colon says what a gate is for.
"""

from collections.abc import Callable

import numpy as np

Array = np.ndarray
Quantity = tuple[str, str, Array]
State = tuple[Array, ...]


def elman_tanh(u: Array, v: Array, state: State) -> tuple[list[Quantity], State]:
    h = np.tanh(u + v)
    return [("new", "h@ = tanh(sum of both)", h)], (h,)


def elman_relu(u: Array, v: Array, state: State) -> tuple[list[Quantity], State]:
    h = np.maximum(u + v, 0)
    return [("new", "h@ = relu(sum of both)", h)], (h,)


def gru(u: Array, v: Array, state: State) -> tuple[list[Quantity], State]:
    (h,) = state
    (ur, uz, un), (vr, vz, vn) = np.split(u, 3), np.split(v, 3)
    r, z = sigmoid(ur + vr), sigmoid(uz + vz)
    n = np.tanh(un + r * vn)
    new = (1 - z) * n + z * h
    return [
        ("gate", "reset r@: how much of the past the candidate sees", r),
        ("gate", "update z@: how much of the past stays", z),
        ("sum", "candidate n@", n),
        ("new", "h@ = (1 - z@) n@ + z@ h<", new),
    ], (new,)


def lstm(u: Array, v: Array, state: State) -> tuple[list[Quantity], State]:
    _, c = state
    i, f, g, o = np.split(u + v, 4)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * c + i * g
    h = o * np.tanh(c)
    return [
        ("gate", "input i@: how much is written", i),
        ("gate", "forget f@: how much is kept", f),
        ("sum", "candidate g@", g),
        ("gate", "output o@: how much is shown", o),
        ("sum", "memory c@ = f@ c< + i@ g@", c),
        ("new", "h@ = o@ tanh(c@)", h),
    ], (h, c)


STEPS: dict[str, Callable[[Array, Array, State], tuple[list[Quantity], State]]] = {
    "elman_tanh": elman_tanh,
    "elman_relu": elman_relu,
    "gru": gru,
    "lstm": lstm,
}


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))
