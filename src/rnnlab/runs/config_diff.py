"""Finds the differences between configs, in as few keys as possible."""

from collections.abc import Mapping, Sequence
from typing import Any

from rnnlab.config.run_config import RunConfig, as_dict
from rnnlab.errors import UserError
from rnnlab.runs.identity import ABSENT, leaves
from rnnlab.runs.run import Run

# keys that never decide a number, and the seed
NOT_PARAMETERS = (
    "paths", "logger", "checkpoint", "sweep", "name", "tags", "notes", "rerun", "resume", "resume_engine", "seed",
)  # fmt: skip


def config_diffs(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each config {key: value} of the keys in which the configs differ.

    Where the class of a part differs, the class represents all keys of the part.
    """
    flat = [
        {
            k: v
            for k, v in leaves(c).items()
            if k.split(".")[0] not in NOT_PARAMETERS and not (k.endswith(".seed") and v == c.get("seed"))
        }
        for c in configs
    ]
    every = dict.fromkeys(k for f in flat for k in f)
    keys = [k for k in every if not all(_same(f.get(k, ABSENT), flat[0].get(k, ABSENT)) for f in flat)]
    classes = [k.rpartition(".")[0] for k in keys if k.endswith("._target_")]
    of_classes = tuple(f"{part}." for part in classes)
    shown = [
        k for k in keys
        if all(k in f for f in flat) or k.endswith(("._target_", ".seed")) or not k.startswith(of_classes)
    ]  # fmt: skip

    for part in classes:  # configs with the same class may also differ in the keys of that part
        target = f"{part}._target_"
        for key in dict.fromkeys(k for f in flat for k in f if k.startswith(f"{part}.") and k not in shown):
            by_class: dict[Any, set[str]] = {}
            for f in flat:
                if key in f:
                    by_class.setdefault(f.get(target), set()).add(repr(f[key]))
            if any(len(values) > 1 for values in by_class.values()):
                shown.append(key)

    def named(key: str, value: Any) -> tuple[str, Any]:
        if key.endswith("._target_"):
            return key.removesuffix("._target_"), str(value).rpartition(".")[2]
        return key, value

    return [dict(named(k, f[k]) for k in dict.fromkeys(shown) if k in f) for f in flat]


def _same(a: Any, b: Any) -> bool:
    """Whether two values mean the same: 1 batch is not 1.0, which is all of them."""
    return a is b or (a == b and type(a) is type(b))


def missing_callbacks(run: Run, config: RunConfig) -> list[str]:
    """The callbacks and loggers of `config` that the run did not have, such as `callbacks.memory`.

    [] where the run's own config cannot be read.
    """
    try:
        had = as_dict(run.config)
    except UserError:
        return []
    return [
        f"{section}.{name}"
        for section in ("callbacks", "logger")
        for name, node in as_dict(config)[section].items()
        if node and not (had.get(section) or {}).get(name)
    ]
