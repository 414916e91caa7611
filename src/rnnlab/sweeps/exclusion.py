"""Points to leave out of a sweep: `sweep.exclude`."""

from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from rnnlab.config.spelling import near_key
from rnnlab.errors import UserError
from rnnlab.sweeps.grid import Point, assignments

ABSENT = object()  # what `value_at` gives for a key that is not there


class Exclusion:
    """Conditions, each {key: values}: a point is left out where every key of one of them has one of its values."""

    def __init__(self, excluded: Sequence[Any]) -> None:
        """Each of `excluded` is a mapping {key: value or values}, or overrides in one text: "a=1 b=2,3"."""
        self.conditions = [_condition(entry) for entry in excluded]
        self.said = [str(entry) for entry in excluded]
        self.met = [0] * len(self.conditions)
        self._unknown = {key for condition in self.conditions for key in condition}

    def leaves_out(self, point: Point, value_at: Callable[[str], Any] = lambda key: ABSENT) -> bool:
        """Keys that the point does not set are looked up by `value_at`."""
        if not self.conditions:
            return False
        values = {a.key.lstrip("+"): a.value for a in point}
        for key in [*self._unknown]:
            if key in values or value_at(key) is not ABSENT:
                self._unknown.discard(key)
        for i, condition in enumerate(self.conditions):
            if all(
                (values[k] if k in values else value_at(k)) in allowed for k, allowed in condition.items()
            ):
                self.met[i] += 1
                return True
        return False

    def refuse_unknown(self, config: dict[str, Any]) -> None:
        """Raises UserError for a key that no point has: it would leave out nothing."""
        for key in sorted(self._unknown):
            raise UserError(f"sweep.exclude: {key}: no such key.{near_key(key, config)}")

    @property
    def idle(self) -> list[str]:
        """The conditions that no point has met."""
        return [text for text, met in zip(self.said, self.met, strict=True) if not met]


def _condition(entry: Any) -> dict[str, list[Any]]:
    if isinstance(entry, dict):
        return {str(k): v if isinstance(v, list) else [v] for k, v in entry.items()}
    try:
        overrides = OverridesParser.create().parse_overrides(str(entry).split())
    except HydraException:
        raise UserError(f"sweep.exclude={entry}: a condition is written KEY=VALUE KEY=VALUE,VALUE") from None
    read = [assignments(override, lambda key: False, 2) for override in overrides]
    return {one[0].key: [a.value for a in one] for one in read}
