"""Learning-rate schedules in optimizer steps; torch's own are used as they are."""

import math
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from rnnlab.config.building import locate, takes
from rnnlab.config.stock import AUTO


def of_length(scheduler: Mapping[str, Any]) -> list[str]:
    """The keys of a config's scheduler whose value is to be the run's length."""
    return [
        key
        for key, value in scheduler.items()
        if value == AUTO
        or ((value, key) == (None, "total_steps") and takes(locate(scheduler["_target_"], "scheduler"), key))
    ]


def constant(optimizer: Optimizer, warmup_steps: int = 0) -> LambdaLR:
    """The optimizer's own rate, after a linear rise over `warmup_steps` steps."""
    return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / (warmup_steps + 1)))


def cosine(
    optimizer: Optimizer, total_steps: int, warmup_steps: int = 0, final_ratio: float = 0.0
) -> LambdaLR:
    """A linear rise over `warmup_steps`, then half a cosine down to `final_ratio` of the rate at `total_steps`.

    (Loshchilov and Hutter 2017, "SGDR", without restarts.)
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return final_ratio + (1 - final_ratio) * 0.5 * (1 + math.cos(math.pi * done))

    return LambdaLR(optimizer, factor)


def rising(optimizer: Optimizer, first: float, last: float, total_steps: int) -> LambdaLR:
    """A geometric rise from `first` to `last` over `total_steps`, for a range test (Smith 2017, "Cyclical Learning
    Rates"); the optimizer's own rate is not used.
    """
    base = optimizer.param_groups[0]["lr"]
    return LambdaLR(optimizer, lambda step: first / base * (last / first) ** (step / max(1, total_steps - 1)))
