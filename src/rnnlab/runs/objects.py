"""Objects given to `rnnlab.train` that a config cannot hold: they stay in the memory of the process."""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from rnnlab.errors import UserError

GIVEN = "rnnlab.runs.objects.given"
_given: dict[str, Any] = {}


def hand_over(thing: Any, why: str) -> dict[str, Any]:
    """A config node that stands for an object; building it gives the object. `why`: why it cannot be recorded."""
    key = uuid.uuid4().hex[:12]  # makes the run's id unique
    _given[key] = thing
    return {"_target_": GIVEN, "key": key, "what": type(thing).__name__, "why": why}


def given(key: str, what: str, why: str) -> Any:
    """The object of a node, in the process that got it. Raises UserError in other processes."""
    if key not in _given:
        raise UserError(f"a {what} was handed to rnnlab.train as an object and cannot be made again: {why}")
    return _given[key]


def is_here(node: Any) -> bool:
    """Whether a node stands for an object of this process."""
    return isinstance(node, dict) and node.get("_target_") == GIVEN and node.get("key") in _given


def unrecorded(node: Any) -> Iterator[dict[str, Any]]:
    """The nodes of a config that stand for objects that could not be recorded, with `what` and `why`."""
    if isinstance(node, dict) and node.get("_target_") == GIVEN:
        yield node
    if isinstance(node, dict | list | tuple):
        for value in node.values() if isinstance(node, dict) else node:
            yield from unrecorded(value)


def not_reproducible(config: Mapping[str, Any]) -> list[str]:
    """Reasons why the run cannot be trained again, one per line. Loggers are left out: they decide no number."""
    parts = {at: node for at, node in config.items() if at != "logger"}
    return [f"{node.get('what')}: {node.get('why')}" for node in unrecorded(parts)]
