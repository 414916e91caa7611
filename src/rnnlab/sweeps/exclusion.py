"""Points to leave out of a sweep: `sweep.exclude`."""

from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from rnnlab.errors import UserError
from rnnlab.sweeps.grid import Point, assignments

Condition = dict[str, list[Any]]  # a point is left out where every key has one of its values


def conditions(excluded: Sequence[Any]) -> list[Condition]:
    """Each of `excluded` is a mapping {key: value or values}, or overrides in one text: "a=1 b=2,3"."""
    found: list[Condition] = []
    for entry in excluded:
        if isinstance(entry, dict):
            found.append({str(k): v if isinstance(v, list) else [v] for k, v in entry.items()})
            continue
        try:
            overrides = OverridesParser.create().parse_overrides(str(entry).split())
        except HydraException as error:
            raise UserError(f"sweep.exclude={entry}: {str(error).splitlines()[0]}") from error
        read = [assignments(override, lambda key: False, 2) for override in overrides]
        found.append({one[0].key: [a.value for a in one] for one in read})
    return found


def left_out(point: Point, wanted: Sequence[Condition], value_at: Callable[[str], Any]) -> bool:
    """Whether a point meets one of the conditions; keys that it does not set are looked up in its config."""
    if not wanted:
        return False
    values = {a.key.lstrip("+"): a.value for a in point}
    return any(
        all(
            (values[key] if key in values else value_at(key)) in allowed for key, allowed in condition.items()
        )
        for condition in wanted
    )
