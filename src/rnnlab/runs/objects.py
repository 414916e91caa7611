"""Objects handed to `rnnlab.train` that no config can hold: they are kept by the process that they were handed to."""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from rnnlab.errors import UserError

GIVEN = "rnnlab.runs.objects.given"
_given: dict[str, Any] = {}


def hand_over(thing: Any, why: str) -> dict[str, Any]:
    """The node that stands for an object in a config, and is built as the object itself; `why` it is not recorded."""
    key = uuid.uuid4().hex[:12]  # no other object's run has the id of this one's
    _given[key] = thing
    return {"_target_": GIVEN, "key": key, "what": type(thing).__name__, "why": why}


def given(key: str, what: str, why: str) -> Any:
    """The object itself, in the process that it was handed to. Raises UserError elsewhere."""
    if key not in _given:
        raise UserError(f"a {what} was handed to rnnlab.train as an object and cannot be made again: {why}")
    return _given[key]


def is_here(node: Any) -> bool:
    """Whether a node stands for an object of this process."""
    return isinstance(node, dict) and node.get("_target_") == GIVEN and node.get("key") in _given


def unrecorded(node: Any) -> Iterator[dict[str, Any]]:
    """The nodes in a config that stand for objects which could not be recorded, with `what` and `why`."""
    if isinstance(node, dict):
        if node.get("_target_") == GIVEN:
            yield node
        for value in node.values():
            yield from unrecorded(value)


def not_reproducible(config: Mapping[str, Any]) -> list[str]:
    """Why nobody can train the run again, in a line each; a logger decides no number."""
    parts = {at: node for at, node in config.items() if at != "logger"}
    return [f"{node.get('what')}: {node.get('why')}" for node in unrecorded(parts)]
