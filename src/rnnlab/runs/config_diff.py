"""In what configs differ, named as shortly as can be."""

from collections.abc import Sequence
from typing import Any

from rnnlab.runs.identity import leaves
from rnnlab.tensorboard.columns import BESIDE


def differing(configs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each config its values of the keys in which they differ; of a part of another class, its class."""
    flat = [{k: v for k, v in leaves(c).items() if k.split(".")[0] not in BESIDE and not k.endswith(".seed")}
            for c in configs]  # fmt: skip
    keys = [k for k in (flat[0] if flat else {}) if any(k not in f or f[k] != flat[0][k] for f in flat)]
    classes = {k.rpartition(".")[0] for k in keys if k.endswith("._target_")}
    shown = [k for k in keys if all(k in f for f in flat) or k.endswith("._target_")]
    shown += [k for f in flat for k in f if k not in flat[0] and k.rpartition(".")[0] not in classes]
    return [
        {k.removesuffix("._target_"): str(f[k]).rpartition(".")[2] if k.endswith("._target_") else f[k]
         for k in dict.fromkeys(shown) if k in f}
        for f in flat
    ]  # fmt: skip
