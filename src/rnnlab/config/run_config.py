"""The types of a checked config: dictionaries with these keys, as `rnnlab.config.check` returns them.

The possible values are defined only in the schemas; a test compares the keys and types here with them.
"""

from typing import Any, Literal, cast

from typing_extensions import NotRequired, TypedDict  # typing has both only from Python 3.11 on

Part = dict[str, Any]  # a class to build, `_target_`, and its arguments
Limit = int | float | None  # a number of batches (int), or a share of them (float)


class TrainerConfig(TypedDict):
    """The Trainer's keys in conf/, and the arguments of Lightning's Trainer that may be added."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    devices: int | Literal["auto"] | list[int]
    precision: Literal["32-true", "64-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed",
                       "transformer-engine", "transformer-engine-float16"]  # fmt: skip
    max_epochs: int
    max_steps: int
    max_time: str | None
    gradient_clip_val: float | None
    gradient_clip_algorithm: Literal["norm", "value"]
    accumulate_grad_batches: int
    check_val_every_n_epoch: int | None
    val_check_interval: Limit
    val_every_n_steps: NotRequired[int | None]
    limit_train_batches: Limit
    limit_val_batches: Limit
    limit_test_batches: Limit
    overfit_batches: int | float
    fast_dev_run: bool | int
    num_sanity_val_steps: int
    detect_anomaly: bool
    deterministic: bool | Literal["warn"]
    profiler: Literal["simple", "advanced", "pytorch"] | None
    divergence_factor: float | None
    log_every_n_steps: int
    steps_per_call: int | Literal["auto"]
    threads: int | None
    strategy: NotRequired[str]
    num_nodes: NotRequired[int]
    min_epochs: NotRequired[int | None]
    min_steps: NotRequired[int | None]
    limit_predict_batches: NotRequired[Limit]
    benchmark: NotRequired[bool | None]
    inference_mode: NotRequired[bool]
    use_distributed_sampler: NotRequired[bool]
    sync_batchnorm: NotRequired[bool]
    reload_dataloaders_every_n_epochs: NotRequired[int]
    enable_autolog_hparams: NotRequired[bool]
    model_registry: NotRequired[str | None]


class CheckpointConfig(TypedDict):
    every_n_steps: int | None
    every_seconds: float | None


class PathsConfig(TypedDict):
    outputs: str
    data: str


class SlurmConfig(TypedDict):
    minutes_per_job: float
    minutes: int
    cpus: int
    gpus: int
    memory_gb: float | None
    partition: str | None
    account: str | None
    setup: list[str]
    parallel: int
    detach: bool
    more: dict[str, Any]


class RayConfig(TypedDict):
    address: str | None
    cpus: float
    gpus: float


class SweepConfig(TypedDict):
    zip: list[list[str]]
    exclude: list[Any]
    intervals: int
    on_invalid: Literal["stop", "skip"]
    stale: Literal["report", "rerun"]
    max_failures: int | None
    workers: int | None
    workers_per_gpu: int
    renew_mb: int
    pictures: bool
    dry_run: bool
    pool: Literal["local", "slurm", "ray"]
    slurm: SlurmConfig
    ray: RayConfig
    search: Literal["grid", "random", "tpe", "cmaes", "gp", "nsga2"]
    objectives: list[str]
    trials: int
    minutes: float | None
    prune: Literal["none", "asha", "halving", "hyperband", "median", "wilcoxon"]
    reduction: int
    min_steps: int | None
    search_order: Literal["fast", "deterministic"]
    search_batch: int
    search_seed: int


class RunConfig(TypedDict):
    """The whole config of a run."""

    name: str
    seed: int
    tags: list[str]
    notes: str
    monitor: str
    mode: Literal["min", "max"]
    rerun: bool
    resume: NotRequired[str | None]
    resume_engine: NotRequired[Literal["same", "any"]]
    checkpoint: CheckpointConfig
    paths: PathsConfig
    trainer: TrainerConfig
    sweep: NotRequired[SweepConfig]  # a run's own config.yaml is without it
    model: Part
    data: Part
    optimizer: Part
    scheduler: Part
    callbacks: dict[str, Part | None]
    logger: dict[str, Part | None]


def as_dict(config: RunConfig) -> dict[str, Any]:
    """The same dictionary, for code that loops over all keys."""
    return cast("dict[str, Any]", config)
