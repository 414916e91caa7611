"""Three cells in plain NumPy and float64, for one sequence, one step at a time, written to be read.

They share no code with `rnnlab.cells`, which are tested against them. Shapes: x (T, I), a state (H,),
W_ih (gates*H, I), W_hh (gates*H, H), b_ih and b_hh (gates*H,). A step takes u = W_ih x + b_ih and
v = W_hh h + b_hh, both (gates*H,), and the state; it returns all intermediate quantities and the next state.
"""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np

Array = np.ndarray
State = tuple[Array, ...]


class Quantity(NamedTuple):
    """One line of a step's equations, with its value."""

    kind: Literal["gate", "sum", "new"]
    name: str
    formula: str
    """@ stands for the number of the step, < for that of the step before; a gate's purpose follows a colon."""
    value: Array


Step = Callable[[Array, Array, State], tuple[list[Quantity], State]]


def elman(
    u: Array, v: Array, state: State, f: Callable[[Array], Array] = np.tanh
) -> tuple[list[Quantity], State]:
    h = f(u + v)
    name = "tanh" if f is np.tanh else f.__name__
    return [Quantity("new", "h", f"h@ = {name}(sum of both)", h)], (h,)


def gru(u: Array, v: Array, state: State) -> tuple[list[Quantity], State]:
    (h,) = state
    (ur, uz, un), (vr, vz, vn) = np.split(u, 3), np.split(v, 3)
    r, z = sigmoid(ur + vr), sigmoid(uz + vz)
    n = np.tanh(un + r * vn)
    new = (1 - z) * n + z * h
    return [
        Quantity("gate", "reset", "reset r@: how much of the past the candidate sees", r),
        Quantity("gate", "update", "update z@: how much of the past stays", z),
        Quantity("sum", "candidate", "candidate n@", n),
        Quantity("new", "h", "h@ = (1 - z@) n@ + z@ h<", new),
    ], (new,)


def lstm(u: Array, v: Array, state: State) -> tuple[list[Quantity], State]:
    _, c = state
    i, f, g, o = np.split(u + v, 4)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * c + i * g
    h = o * np.tanh(c)
    return [
        Quantity("gate", "input", "input i@: how much is written", i),
        Quantity("gate", "forget", "forget f@: how much is kept", f),
        Quantity("sum", "candidate", "candidate g@", g),
        Quantity("gate", "output", "output o@: how much is shown", o),
        Quantity("sum", "c", "memory c@ = f@ c< + i@ g@", c),
        Quantity("new", "h", "h@ = o@ tanh(c@)", h),
    ], (h, c)


def elman_relu(u: Array, v: Array, state: State) -> tuple[list[Quantity], State]:
    return elman(u, v, state, relu)


STEPS: dict[str, Step] = {"elman": elman, "gru": gru, "lstm": lstm}


class Stepped(NamedTuple):
    """The quantities of one step of a cell, in the order of their computation."""

    from_input: Array  # W_ih x_t + b_ih
    from_state: Array  # W_hh h_{t-1} + b_hh
    quantities: list[Quantity]
    state: State  # the new state, whose first part is h


def run(
    step: Step, x: Array, state: State, W_ih: Array, W_hh: Array, b_ih: Array | float, b_hh: Array | float
) -> Iterator[Stepped]:
    """All steps of a cell over x (T, I)."""
    for x_t in x:
        from_input = W_ih @ x_t + b_ih
        from_state = W_hh @ state[0] + b_hh
        quantities, state = step(from_input, from_state, state)
        yield Stepped(from_input, from_state, quantities, state)


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def relu(a: Array) -> Array:
    return np.maximum(a, 0)
