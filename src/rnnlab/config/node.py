"""What the schemas of all parts of a config share."""

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

Problem = tuple[str, str]  # (key, message); the key is relative to the node that found it


class Node(BaseModel):
    """A part of the config: its keys and their types, in the order in which they are shown.

    A field without a default must be there; the defaults of our own parts stand in conf/ alone, those of
    torch's and Lightning's classes are their own.
    """

    model_config = ConfigDict(
        defer_build=True, validate_assignment=True, coerce_numbers_to_str=True, protected_namespaces=()
    )
    choice: ClassVar[str] = ""  # the name in its group: `model=<choice>`
    how: ClassVar[bool] = False  # the whole node never decides a number
    reserved: ClassVar[dict[str, str]] = {}  # keys that exist and are not the user's, with the reason

    def deciding(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values that may decide a run's numbers, given all; see `rnnlab.config.identity`."""
        return values

    def problems(self) -> Iterator[Problem]:
        """What is wrong between fields, each of which is right by itself."""
        yield from ()
