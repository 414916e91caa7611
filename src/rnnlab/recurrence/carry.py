"""The carry: hidden state kept from one segment of truncated backpropagation to the next."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from rnnlab.cells import State


class Carry:
    """Holds a state between two segments, cut off from the graph that made it.

    `take` at a segment's start, `keep` at its end. An evaluation uses a Carry of its own or a `copy`, so that
    it cannot disturb the training's.
    """

    def __init__(self) -> None:
        self.state: list[State] | None = None

    def take(self, first: bool = False) -> list[State] | None:
        """The state to go on from; None, the initial state, where the segment is the `first` of its rows."""
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
        """Plain tensors in plain lists, copied; {} where nothing is carried."""
        return {} if self.state is None else {"state": [[t.clone() for t in one] for one in self.state]}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Takes back a copy of what `state_dict` gave; the stack moves it to its own device."""
        kept = saved.get("state")
        self.state = None if kept is None else [tuple(tensor.clone() for tensor in one) for one in kept]


def on_cpu(saved: dict[str, Any]) -> dict[str, Any]:
    """The same, where all processes can read it."""
    return {"state": [[tensor.cpu() for tensor in one] for one in saved["state"]]} if saved else {}


def joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The `state_dict` of all rows of a batch, from those of its parts in order."""
    if not all(parts):
        return {}
    states = zip(*(one["state"] for one in parts), strict=True)
    return {"state": [[torch.cat(tensors) for tensors in zip(*of_cell, strict=True)] for of_cell in states]}


def part(saved: dict[str, Any], rows: Callable[[int], tuple[int, int]]) -> dict[str, Any]:
    """The `state_dict` of a part of a batch; `rows` gives the first of the part's rows and the one behind its last."""
    if not saved:
        return {}
    return {"state": [[tensor[slice(*rows(len(tensor)))] for tensor in one] for one in saved["state"]]}
