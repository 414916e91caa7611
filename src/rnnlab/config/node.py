"""`Node`, the base class of all schemas."""

from collections.abc import Iterator
from typing import Any, ClassVar, get_origin

from pydantic import BaseModel, ConfigDict

Problem = tuple[str, str]  # (key, message); the key is relative to the node that found it


class Node(BaseModel):
    """A part of the config: its keys and their types, in the order in which they are shown.

    A field without a default is required: conf/ has a value for it. The defaults here are those of torch's and
    Lightning's classes, and of keys that conf/ need not name.
    """

    model_config = ConfigDict(
        defer_build=True, validate_assignment=True, coerce_numbers_to_str=True, protected_namespaces=()
    )
    choice: ClassVar[str] = ""  # the name in its group: `model=<choice>`
    not_in_id: ClassVar[bool] = False  # whether the whole node changes no number
    reserved: ClassVar[dict[str, str]] = {}  # {key: reason} for keys that a user may not set

    def deciding(self, values: dict[str, Any]) -> dict[str, Any]:
        """From all `values`, those that may decide a run's numbers; see `rnnlab.config.identity`."""
        return values

    def problems(self) -> Iterator[Problem]:
        """Problems between fields that are each valid by themselves."""
        yield from ()

    @classmethod
    def inner(cls, key: str) -> "type[Node] | None":
        """The schema of a field that holds keys itself, as `slurm` in SweepSchema; None for a plain field."""
        kind = cls.model_fields[key].annotation
        # before Python 3.11 list[int] passes as a class
        if get_origin(kind) is None and isinstance(kind, type) and issubclass(kind, Node):
            return kind
        return None
