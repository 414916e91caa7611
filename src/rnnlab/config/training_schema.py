"""The schemas of optimizers, schedulers, callbacks and loggers; a class without a schema may have any arguments."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from rnnlab.config.fields import (
    NEUTRAL,
    Anything,
    BelowOne,
    Count,
    Flag,
    Natural,
    NonNegative,
    Number,
    Positive,
    Probability,
    Says,
    Text,
)
from rnnlab.config.node import Node, Problem

Betas = Annotated[list[BelowOne], Field(min_length=2, max_length=2), Says("two numbers from 0 to below 1")]
Off = Annotated[Flag, NEUTRAL]
Unset = Annotated[Flag | None, NEUTRAL]
Interval = Literal["step", "epoch", "validation"]


def _monitor(name: str) -> str:
    """The metric's name; the forms in tables are allowed, too: val/mse is metric/mse, val/loss is loss/val."""
    part, _, metric = name.partition("/")
    if part != "val" or not metric:
        return name
    return "loss/val" if metric == "loss" else f"metric/{metric}"


Monitor = Annotated[Text, AfterValidator(_monitor)]


class Optimizer(Node):
    weight_decay: NonNegative = 0.0
    foreach: Unset = None
    maximize: Off = False
    differentiable: Off = False


class Adam(Optimizer):
    choice: ClassVar[str] = "adam"
    lr: NonNegative = 1e-3
    betas: Betas = Field(default=[0.9, 0.999])
    eps: NonNegative = 1e-8
    amsgrad: Off = False
    capturable: Off = False
    fused: Unset = None
    decoupled_weight_decay: Off = False


class AdamW(Optimizer):
    choice: ClassVar[str] = "adamw"
    lr: NonNegative = 1e-3
    betas: Betas = Field(default=[0.9, 0.999])
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 1e-2
    amsgrad: Off = False
    capturable: Off = False
    fused: Unset = None


class SGD(Optimizer):
    choice: ClassVar[str] = "sgd"
    lr: NonNegative = 1e-3
    momentum: NonNegative = 0.0
    dampening: Number = 0.0
    nesterov: Flag = False
    fused: Unset = None

    def problems(self) -> Iterator[Problem]:
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            yield "nesterov", "needs optimizer.momentum above 0 and optimizer.dampening=0"


class RMSprop(Optimizer):
    choice: ClassVar[str] = "rmsprop"
    lr: NonNegative = 1e-2
    alpha: Probability = 0.99
    eps: NonNegative = 1e-8
    momentum: NonNegative = 0.0
    centered: Flag = False
    capturable: Off = False


def _own_length(steps: Any) -> Any:
    """None, for the run's own length, if it is "auto", as for torch's schedules."""
    return None if steps == "auto" else steps


class Scheduler(Node):
    interval: Interval


class Constant(Scheduler):
    choice: ClassVar[str] = "constant"
    warmup_steps: Natural = 0


class Cosine(Scheduler):
    choice: ClassVar[str] = "cosine"
    warmup_steps: Natural = 0
    total_steps: Annotated[
        Count | None, BeforeValidator(_own_length), Says("a whole number of at least 1, or auto")
    ] = None
    final_ratio: Probability = 0.0


class StepLR(Scheduler):
    choice: ClassVar[str] = "step"
    step_size: Count
    gamma: Positive = 0.1


class ExponentialLR(Scheduler):
    choice: ClassVar[str] = "exponential"
    gamma: Positive


class ReduceLROnPlateau(Scheduler):
    choice: ClassVar[str] = "plateau"
    mode: Literal["min", "max"] = "min"
    factor: BelowOne = 0.1
    patience: Natural = 10
    threshold: Annotated[NonNegative, NEUTRAL] = 1e-4
    threshold_mode: Annotated[Literal["rel", "abs"], NEUTRAL] = "rel"
    cooldown: Annotated[Natural, NEUTRAL] = 0
    min_lr: NonNegative | list[NonNegative] = 0.0
    eps: Annotated[NonNegative, NEUTRAL] = 1e-8

    def problems(self) -> Iterator[Problem]:
        if self.interval != "validation":
            yield "interval", "a plateau shows in validations alone; use validation"


class Progress(Node):
    how: ClassVar[bool] = True
    refresh_s: NonNegative = 0.1


class Figures(Node):
    how: ClassVar[bool] = True


class Instrument(Node):
    how: ClassVar[bool] = True
    every: Count = 10


class EarlyStopping(Node):
    monitor: Monitor
    mode: Literal["min", "max"] = "min"
    patience: Natural = 3
    min_delta: NonNegative = 0.0
    verbose: Off = False
    strict: Annotated[Flag, NEUTRAL] = True
    check_finite: Annotated[Flag, NEUTRAL] = True
    stopping_threshold: Annotated[Number | None, NEUTRAL] = None
    divergence_threshold: Annotated[Number | None, NEUTRAL] = None
    check_on_train_epoch_end: Unset = None
    log_rank_zero_only: Off = False


class TensorBoard(Node):
    """rnnlab's own logger; it has no arguments."""


class CSVLogger(Node):
    save_dir: Text
    name: Text | None = "lightning_logs"
    version: Text | None = None
    prefix: Text = ""
    flush_logs_every_n_steps: Count = 100


class MLFlowLogger(Node):
    experiment_name: Text = "lightning_logs"
    run_name: Text | None = None
    tracking_uri: Text | None = None
    tags: Anything = None
    save_dir: Text | None = "./mlruns"
    log_model: Flag | Literal["all"] = False
    prefix: Text = ""
    artifact_location: Text | None = None
    run_id: Text | None = None
    synchronous: Flag | None = None


_OPTIMIZERS: tuple[type[Node], ...] = (Adam, AdamW, SGD, RMSprop)
_SCHEDULERS: tuple[type[Node], ...] = (StepLR, ExponentialLR, ReduceLROnPlateau)
OPTIMIZERS: dict[str, type[Node]] = {f"torch.optim.{c.__name__}": c for c in _OPTIMIZERS}
SCHEDULERS: dict[str, type[Node]] = {
    "rnnlab.training.schedules.constant": Constant,
    "rnnlab.training.schedules.cosine": Cosine,
    **{f"torch.optim.lr_scheduler.{c.__name__}": c for c in _SCHEDULERS},
}
INSTRUMENTS = (
    "through_time.GradientThroughTime",
    "through_time.Memory",
    "states.States",
    "spectrum.RecurrentWeights",
    "horizon.Horizon",
    "writing.Writing",
)
CALLBACKS: dict[str, type[Node]] = {
    "rnnlab.terminal.progress.Progress": Progress,
    "rnnlab.figures.callback.Figures": Figures,
    "lightning.pytorch.callbacks.EarlyStopping": EarlyStopping,
    **{f"rnnlab.instruments.{name}": Instrument for name in INSTRUMENTS},
}
LOGGERS: dict[str, type[Node]] = {
    "rnnlab.tensorboard.logger.TensorBoard": TensorBoard,
    "lightning.pytorch.loggers.CSVLogger": CSVLogger,
    "lightning.pytorch.loggers.MLFlowLogger": MLFlowLogger,
}
# the package that a logger needs, if it is not installed with Lightning
WRITES_WITH = {
    "lightning.pytorch.loggers.MLFlowLogger": "mlflow",
    "lightning.pytorch.loggers.WandbLogger": "wandb",
    "rnnlab.training.tracking.Comet": "comet_ml",
    "rnnlab.training.tracking.Trackio": "trackio",
    "aim.pytorch_lightning.AimLogger": "aim",
}
# Lightning's callbacks that only read, and so never change a number
WATCHING = {
    f"lightning.pytorch.callbacks.{name}"
    for name in (
        "DeviceStatsMonitor",
        "LearningRateMonitor",
        "ModelCheckpoint",
        "ModelSummary",
        "RichModelSummary",
        "RichProgressBar",
        "TQDMProgressBar",
    )
}
