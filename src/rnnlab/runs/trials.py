"""search.jsonl, the journal of a search: one line when a trial is chosen, and one when it has ended."""

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnlab.errors import UserError
from rnnlab.regular_files import open_file
from rnnlab.runs.files import part_hard_links

JOURNAL = "search.jsonl"
TOLD = ("complete", "pruned", "failed")
RUNG = "completed_rung_"  # Optuna's successive halving stores a trial's value at rung N as this + N
BYTES = 200_000_000  # the most bytes of a journal that are read


@dataclass
class Journal:
    """The trials of a search.

    Each of `trials` has number, params {key: value}, runs (names of folders) and asked (seconds since 1970). A trial
    that has ended also has told (seconds since 1970), state, value (None where there is none), steps (of its first
    run), rungs (its values at the rungs of successive halving), and, with several objectives, values {name: value}.
    `importance`: {key: share of the value's variation}, once a search has ended.
    """

    trials: list[dict[str, Any]] = field(default_factory=list)
    importance: dict[str, float] = field(default_factory=dict)


def pareto_front(trials: Sequence[dict[str, Any]], mode: str) -> list[dict[str, Any]]:
    """The Pareto front: the trials that no other trial dominates, best first by the first objective. `mode` ("min" or
    "max") is the direction of the first objective; the others are minimised.
    """
    scored = [trial for trial in trials if len(trial.get("values", ())) > 1]
    if not scored:
        return []
    first = next(iter(scored[-1]["values"]))
    sign = {first: -1.0 if mode == "max" else 1.0}
    found: dict[tuple[float, ...], dict[str, Any]] = {}
    for trial in scored:
        values = trial["values"]
        if values.keys() == scored[-1]["values"].keys():
            found.setdefault(tuple(sign.get(name, 1.0) * value for name, value in values.items()), trial)
    front: list[tuple[float, ...]] = []
    for point in sorted(found):  # a point that dominates another comes before it
        if len(point) == 2:
            better = not front or point[1] < front[-1][1]
        else:
            better = not any(all(y <= x for x, y in zip(point, other, strict=True)) for other in front)
        if better:
            front.append(point)
    return [found[point] for point in front]


def append(path: Path, line: dict[str, Any]) -> None:
    """Appends a line, also after one that a kill has cut off. Raises UserError where the journal cannot be written."""
    if path.is_symlink():  # the folder may be a stranger's
        raise UserError(f"{path}: is a link, through which no journal is written")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part_hard_links(path)
        with path.open("a+b") as file:
            is_begun = file.tell() > 0
            if is_begun:
                file.seek(-1, os.SEEK_END)
            end = b"\n" if is_begun and file.read(1) != b"\n" else b""
            file.write(end + json.dumps(line).encode() + b"\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def read_journal(path: Path, space: str = "") -> Journal:
    """The journal of one search space, by its id; by default of the last in the file. Damaged lines are left out."""
    trials: dict[tuple[str, int], dict[str, Any]] = {}
    importance: dict[str, dict[str, float]] = {}
    last = space
    for line in _lines(path):
        last = space or line["space"]
        shares = line.get("importance")
        if isinstance(shares, dict) and all(_is_number(v) for v in shares.values()):
            importance[line["space"]] = shares
        if type(line.get("trial")) is not int:
            continue
        key = (line["space"], line["trial"])
        if isinstance(line.get("params"), dict) and isinstance(line.get("runs"), list):
            trials[key] = {"space": key[0], "number": key[1], "asked": line["at"],
                           "params": line["params"], "runs": [str(name) for name in line["runs"]]}  # fmt: skip
        elif key in trials and line.get("state") in TOLD and _is_number(line.get("steps")):
            value = line["value"] if _is_number(line.get("value")) else None
            trials[key] |= {
                "told": line["at"],
                "state": line["state"],
                "value": value,
                "steps": int(line["steps"]),
            }
            rungs = line.get("rungs")
            if isinstance(rungs, dict) and all(map(_is_number, rungs.values())):
                trials[key]["rungs"] = {k: v for k, v in rungs.items() if k.startswith(RUNG)}
            values = line.get("values")
            if isinstance(values, dict) and values and all(map(_is_number, values.values())):
                trials[key]["values"] = values
    found = sorted((t for t in trials.values() if t["space"] == last), key=lambda t: t["number"])
    return Journal(found, importance.get(last, {}))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) < 2.0**63 and math.isfinite(value)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with suppress(OSError, UserError):
        with open_file(path) as file:
            text = file.read(BYTES).decode("utf-8", "replace")
        for line in text.splitlines():
            with suppress(ValueError, RecursionError):
                content = json.loads(line)
                if (
                    isinstance(content, dict)
                    and isinstance(content.get("space"), str)
                    and _is_number(content.get("at"))
                ):
                    yield content
