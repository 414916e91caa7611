"""The columns of TensorBoard's HParams tab: a run's parameters and results."""

from collections.abc import Mapping
from typing import Any

from rnnlab.runs.config_diff import NOT_PARAMETERS
from rnnlab.runs.identity import leaves
from rnnlab.runs.metrics import DERIVED

ASIDE = (*NOT_PARAMETERS, "callbacks")


def parameters(config: Mapping[str, Any], overrides: list[str]) -> dict[str, Any]:
    """{key: value} of a run's overrides, also of those that equal the experiment's default. A choice of a group is
    listed under the group's name.

    Left out are the seed, because runs that differ only in it are one configuration, and the run's name.
    """
    flat = leaves({k: v for k, v in config.items() if k not in ASIDE})
    found: dict[str, Any] = {}
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key.startswith("~") or key == "experiment" or key.endswith(".seed"):
            continue
        if key in flat:
            found[key] = flat[key]
        elif isinstance(config.get(key), dict) and key not in ASIDE:
            found[key] = value
        else:  # a mapping, such as model.options={dt: 0.1}
            found |= {k: v for k, v in flat.items() if k.startswith(f"{key}.") and not k.endswith(".seed")}
    return found


def outcome(results: Mapping[str, Any]) -> dict[str, float]:
    """best/..., last/..., test/... and excess/... (over the floor of its part) of finished results."""
    found: dict[str, float] = {}
    for when in ("best", "last"):
        for name, value in results.get(when, {}).get("metrics", {}).items():
            short = "loss" if name == "loss/val" else name.removeprefix("metric/")
            if "/" not in short:
                found[f"{when}/{short}"] = float(value)
    found |= {f"test/{name}": float(value) for name, value in results.get("test", {}).items()}
    floors = results.get("floor", {})
    for part, when in (("val", "best"), ("test", "test")):
        for name, floor in floors.get(part, {}).items():
            if (value := found.get(f"{when}/{name}")) is not None and name not in DERIVED:
                tag = f"excess/{name}" if part == "val" else f"excess/test_{name}"
                found[tag] = (value - float(floor)) * (-1.0 if name == "accuracy" else 1.0)
    return found
