"""The schema of a sweep's settings, which have no effect on a single run."""

from typing import Annotated, Any, ClassVar, Literal

from rnnlab.config.fields import (
    Anything,
    Count,
    CountFrom2,
    Described,
    Flag,
    Natural,
    NonNegative,
    Positive,
    Seed,
    Text,
    Texts,
)
from rnnlab.config.node import Node


class SlurmSchema(Node):
    """The jobs of a sweep on a Slurm cluster."""

    minutes_per_job: Positive
    minutes: Count
    cpus: Count
    gpus: Natural
    memory_gb: Positive | None
    partition: Text | None
    account: Text | None
    setup: Annotated[list[Text], Described("a list of lines of shell")]
    parallel: Count
    detach: Flag
    more: Annotated[dict[str, Any], Described("keys of sbatch, as in {qos:short}")]


class RaySchema(Node):
    """The workers of a sweep on a Ray cluster."""

    address: Text | None
    cpus: Positive
    gpus: NonNegative


class SweepSchema(Node):
    """Settings of a multirun."""

    not_in_id: ClassVar[bool] = True

    zip: Annotated[list[Texts], Described("a list of lists of keys")]
    exclude: Annotated[list[Anything], Described("a list of conditions")]
    intervals: CountFrom2
    on_invalid: Literal["stop", "skip"]
    stale: Literal["report", "rerun"]
    max_failures: Count | None
    workers: Count | None
    workers_per_gpu: Count
    renew_mb: Count
    pictures: Flag
    dry_run: Flag
    pool: Literal["local", "slurm", "ray"]
    slurm: Annotated[SlurmSchema, Described("the keys of a Slurm cluster")]
    ray: Annotated[RaySchema, Described("the keys of a Ray cluster")]
    search: Literal["grid", "random", "tpe", "cmaes", "gp", "nsga2"]
    objectives: Annotated[Texts, Described("a list of names")]
    trials: Count
    minutes: Positive | None
    prune: Literal["none", "asha", "halving", "hyperband", "median", "wilcoxon"]
    reduction: CountFrom2
    min_steps: Count | None
    search_order: Literal["fast", "deterministic"]
    search_batch: CountFrom2
    search_seed: Seed
