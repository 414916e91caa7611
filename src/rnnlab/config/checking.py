"""Is a config right? Everything that can be known before anything heavy is imported."""

import functools
from typing import Any

from omegaconf import DictConfig

from rnnlab.config.reading import read
from rnnlab.config.resolve import resolve
from rnnlab.errors import UserError, warn


def check(cfg: DictConfig) -> dict[str, Any]:
    """The whole config (without `hydra`) as plain typed values, interpolations resolved.

    Raises UserError with a line for each problem there is: keys that are unknown, missing or required, values
    of a wrong type or out of range, files that are not there, parts that do not fit each other. Warns of a class
    that has moved and is named by its old place.
    """
    values, missing, unresolved, problems, renamed = resolve(cfg)
    tell_once(renamed)
    found = read(values, missing, unresolved).problems
    said = {line.split(" is required")[0] for line in found}
    problems += [f"{key} is required" for key in missing if key not in said] + found
    if problems:
        raise UserError(*problems)
    return values


def tell_once(lines: list[str]) -> None:
    """Warns, but with each line only once in a process: a run's config is checked more than once."""
    for line in lines:
        _tell(line)


@functools.cache
def _tell(line: str) -> None:
    warn(line)
