"""Checks a config, as far as this is possible without heavy imports."""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from rnnlab.config.dotted import value_at
from rnnlab.config.files import columns
from rnnlab.config.origins import with_files
from rnnlab.config.reading import read
from rnnlab.config.resolve import resolve
from rnnlab.config.run_config import RunConfig
from rnnlab.errors import UserError, warn

TARGET = "data.target is required"


def check(cfg: DictConfig, overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> RunConfig:
    """The whole config (without `hydra`) as plain typed values, with interpolations resolved.

    With the `overrides` from which it was composed, an error names the file of `config_dir` that has set a wrong value.

    Raises UserError with a line for each problem: keys that are unknown, missing or required, values
    of a wrong type or out of range, files that do not exist, parts that do not fit each other. Warns of a class
    that is named by a place from which it has moved.
    """
    values, missing, unresolved, problems, renamed = resolve(cfg)
    tell_once(renamed)
    found = read(values, missing, unresolved).problems
    said = {line.split(" is required")[0] for line in found}
    problems += [f"{key} is required" for key in missing if key not in said] + found
    problems += chosen_twice(overrides)
    if problems:
        data = values.get("data")
        there = columns(data.get("path"), data.get("delimiter")) if isinstance(data, dict) else ""
        problems = [f"{line}; {there}" if there and line.startswith(TARGET) else line for line in problems]
        raise UserError(*with_files(causes(problems, cfg), overrides, config_dir))
    return cast(RunConfig, values)


def chosen_twice(overrides: Sequence[str]) -> list[str]:
    """A line where the overrides give a hidden size beside model.equal, which chooses one."""
    given = dict(override.lstrip("+").partition("=")[::2] for override in overrides)
    if given.get("model.equal", "null") == "null" or "model.hidden_size" not in given:
        return []
    return ["model.hidden_size: model.equal chooses it; leave one of the two out"]


def causes(problems: list[str], cfg: DictConfig) -> list[str]:
    """The lines, without those about keys that only copy (`${seed}`) the value of a key with a line of its own."""
    of = {re.split(r"[=:]", line, maxsplit=1)[0]: line for line in problems}
    raw = OmegaConf.to_container(cfg, resolve=False)

    def copies(key: str) -> bool:
        value = value_at(raw, key)
        copied = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
        return copied is not None and copied[1] in of

    kept = [line for line in problems if not copies(re.split(r"[=:]", line, maxsplit=1)[0])]
    return kept or problems  # none is left where keys copy each other


def tell_once(lines: list[str]) -> None:
    """Warns with each line, only once per process: a run's config is checked more than once."""
    for line in lines:
        _tell(line)


@functools.cache
def _tell(line: str) -> None:
    warn(line)
