"""`Carry`: the hidden state that goes from one segment of truncated backpropagation to the next."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from rnnlab.cells import State


class Carry:
    """Holds a stack's state between two segments, detached from the graph that made it.

    Call `take` at a segment's start and `keep` at its end. An evaluation uses a Carry of its own or a `copy`, so that
    it cannot change that of the training.
    """

    def __init__(self) -> None:
        self.state: list[State] | None = None

    def take(self, first: bool = False) -> list[State] | None:
        """The state with which a segment starts; None, for the initial state, if it is the `first` of its rows."""
        if first:
            self.state = None
        return self.state

    def keep(self, state: list[State]) -> None:
        """Keeps a segment's final state, detached: gradients end at the segment's start."""
        self.state = [tuple(tensor.detach() for tensor in one) for one in state]

    def copy(self) -> "Carry":
        twin = Carry()
        twin.load_state_dict(self.state_dict())
        return twin

    def state_dict(self) -> dict[str, Any]:
        """A copy of the state as lists of tensors, {"state": ...}; {} where there is no state."""
        return {} if self.state is None else {"state": [[t.clone() for t in one] for one in self.state]}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restores a copy of what `state_dict` returned; the stack moves it to its own device."""
        kept = saved.get("state")
        self.state = None if kept is None else [tuple(tensor.clone() for tensor in one) for one in kept]


def on_cpu(saved: dict[str, Any]) -> dict[str, Any]:
    """The same `state_dict` on the CPU, where all processes can read it."""
    return {"state": [[tensor.cpu() for tensor in one] for one in saved["state"]]} if saved else {}


def joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The `state_dict` of a whole batch, from those of its parts, in the order of the rows."""
    if not all(parts):
        return {}
    states = zip(*(one["state"] for one in parts), strict=True)
    return {"state": [[torch.cat(tensors) for tensors in zip(*of_cell, strict=True)] for of_cell in states]}


def part(saved: dict[str, Any], rows: Callable[[int], tuple[int, int]]) -> dict[str, Any]:
    """The `state_dict` of a part of a batch; `rows` maps the batch's number of rows to the part's (first, end) rows."""
    if not saved:
        return {}
    return {"state": [[tensor[slice(*rows(len(tensor)))] for tensor in one] for one in saved["state"]]}
