"""Decides which rows of a leaderboard can be compared: those with the same targets and with scores in the same unit.

Baselines and floor depend only on the data set. So runs with equal seeds were scored on the same targets where these
agree. Where there are none, or where no seed is shared, the config decides.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

References = dict[str, dict[str, float]]  # {baseline or floor: {"val/mse": ...}}

# keys of `data` that need not change the targets
INPUTS = (
    "batch_size",
    "scaling",
    "log",
    "columns",
    "known",
    "calendar",
    "window",
    "segment",
    "season",
    "folder",
)
NEITHER = ("batch_size", "scaling", "log", "folder")  # keys of `data` that never change the targets
BY_CONFIG = ("floor", "uniform")  # baselines that may be equal for different draws of the data
IN_DATA_UNITS = ("nats", "cross_entropy", "mse", "mae")  # metrics that are also losses; less is better
CLOSE = 1e-6  # relative tolerance: the last digits of the linear baseline depend on the machine


def references_of(results: Mapping[str, Any]) -> References:
    """Baselines and floor of the validation and the test part."""
    found: References = {}
    for split in ("val", "test"):
        lines = dict(results.get("baselines", {}).get(split, {}))
        if floor := results.get("floor", {}).get(split):
            lines["floor"] = floor
        for name, scores in lines.items():
            found.setdefault(name, {}).update({f"{split}/{metric}": v for metric, v in scores.items()})
    return found


def agree(a: References, b: References) -> list[bool]:
    """For each baseline that both have: whether all its scores agree."""
    return [
        all(math.isclose(a[n][m], b[n][m], rel_tol=CLOSE) for m in a[n].keys() & b[n].keys())
        for n in a.keys() & b.keys()
    ]


def alike(a: References, b: References) -> bool:
    """Whether both have the same baselines, with scores that agree."""
    return a.keys() == b.keys() and all(agree(a, b))


def same_references(a: Mapping[str, References], b: Mapping[str, References]) -> bool:
    """Whether two {seed: references} agree at all seeds that both have."""
    return all(alike(a[s], b[s]) for s in a.keys() & b.keys())


def same_targets(
    a: Mapping[str, References], b: Mapping[str, References], one: dict[str, Any], other: dict[str, Any]
) -> bool:
    """Whether two rows were scored on the same targets; `one` and `other` are their configs' data sections."""
    shared = [s for s in a.keys() & b.keys() if a[s].keys() & b[s].keys()]
    if not shared:
        return _without(one, NEITHER) == _without(other, NEITHER)
    if all(all(agree(a[s], b[s])) for s in shared):
        return True
    telling = [
        [{name: v for name, v in row[s].items() if name not in BY_CONFIG} for row in (a, b)] for s in shared
    ]
    return _without(one, INPUTS) == _without(other, INPUTS) and all(any(agree(*pair)) for pair in telling)


def limits(config: Mapping[str, Any]) -> dict[str, Any]:
    """The Trainer's limits for the validation and the test part; {} where the whole parts are scored.

    Baselines and floor always belong to the whole parts. A limit in batches depends on the batch size, which is added.
    """
    trainer = config.get("trainer", {})
    keys = ("limit_val_batches", "limit_test_batches", "overfit_batches", "fast_dev_run")
    asked = {key: trainer.get(key) for key in keys}
    found = {key: v for key, v in asked.items() if v and not (isinstance(v, float) and v == 1.0)}
    return found | {"batch_size": config.get("data", {}).get("batch_size")} if found else {}


def source(data: Mapping[str, Any]) -> list[Any]:
    """The values of a data section that name the files to read."""
    return [data.get(key) for key in ("_target_", "path", "val_path", "corpus")]


class Mark(NamedTuple):
    """A key by which rows with the same targets are found: a baseline's score at a seed, or the data's config."""

    of: tuple[str, ...]
    at: int = 0

    def beside(self) -> list["Mark"]:
        return [self._replace(at=at) for at in (self.at - 1, self.at, self.at + 1)]


def marks(by_seed: Mapping[str, References], data: Mapping[str, Any]) -> Iterator[Mark]:
    """The marks of a row. Rows for which `same_targets` is true share a mark, or have two neighbouring ones."""
    yield Mark((repr(sorted(_without(data, NEITHER).items())),))
    for seed, references in by_seed.items():
        for name, scores in references.items():
            for metric, value in scores.items():
                if value == value:
                    finite = value and math.isfinite(value)
                    at = round(math.log(abs(value)) / (2 * CLOSE)) if finite else 0
                    yield Mark((seed, name, metric, str(value > 0), "" if finite else str(value)), at)


def unit(best: Mapping[str, Any], loss: str | None) -> tuple[str | None, float]:
    """`Task.loss_units` of a run without loading it: from the ratio of its best metrics to its best loss."""
    metrics = best.get("metrics", {})
    value = metrics.get("loss/val")
    if value is None and best.get("monitor", "loss/val") == "loss/val":
        value = best.get("value")
    for name in IN_DATA_UNITS:
        metric = metrics.get(f"metric/{name}")
        if value and metric and math.isfinite(metric / value) and metric / value and loss in (None, name):
            return name, metric / value
    return None, 1.0


def decides_unit(config: Mapping[str, Any]) -> Any:
    """The part of a config that decides the unit of the loss."""
    model, data = config.get("model", {}), config.get("data", {})
    neither = ["batch_size", "folder", "segment", "window", "horizon"]
    if data.get("scaling") == "window_standard":  # then the unit depends on the window
        neither.remove("window")
    return [model.get(k) for k in ("_target_", "loss", "huber_delta", "quantiles")], _without(data, neither)


def same_unit(a: tuple[str | None, float], b: tuple[str | None, float]) -> bool:
    return a[0] is not None and a[0] == b[0] and math.isclose(a[1], b[1], rel_tol=1e-3)


def _without(node: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    return {k: v for k, v in node.items() if k != "seed" and k not in keys}
