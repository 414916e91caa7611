"""The GPUs that a process may use, as CUDA's environment variable names them."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence

VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> list[str]:
    """The names of this process's GPUs; [] where the variable names none, and all may be used."""
    return [name for name in os.environ.get(VARIABLE, "").split(",") if name]


def names_of(gpus: int) -> list[str]:
    """The names of the first `gpus` that this process may use."""
    visible = visible_gpus()
    return [visible[i] if i < len(visible) else str(i) for i in range(gpus)]


def least_used(names: Sequence[str], each: int, used: Iterable[str | None]) -> str | None:
    """The `each` neighbouring GPUs that are least often in `used`, in one text; None where there are not so many."""
    groups = [",".join(names[i : i + each]) for i in range(0, len(names) - each + 1, each)]
    return min(groups, key=Counter(used).__getitem__, default=None)
