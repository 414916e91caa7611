"""The schemas of optimizers, schedulers, callbacks and loggers; a class without a schema may have any arguments."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from rnnlab.config.fields import (
    NOT_IN_ID_AT_DEFAULT,
    Anything,
    BelowOne,
    Count,
    Described,
    Flag,
    Natural,
    NonNegative,
    Number,
    Positive,
    Probability,
    Text,
)
from rnnlab.config.node import Node, Problem

Betas = Annotated[
    list[BelowOne], Field(min_length=2, max_length=2), Described("two numbers from 0 to below 1")
]
Off = Annotated[Flag, NOT_IN_ID_AT_DEFAULT]
Unset = Annotated[Flag | None, NOT_IN_ID_AT_DEFAULT]
Interval = Literal["step", "epoch", "validation"]


def _monitor(name: str) -> str:
    """The metric's name; the forms in tables are allowed, too: val/mse is metric/mse, val/loss is loss/val."""
    part, _, metric = name.partition("/")
    if part != "val" or not metric:
        return name
    return "loss/val" if metric == "loss" else f"metric/{metric}"


Monitor = Annotated[Text, AfterValidator(_monitor)]


class OptimizerSchema(Node):
    weight_decay: NonNegative = 0.0
    foreach: Unset = None
    maximize: Off = False
    differentiable: Off = False


class AdamSchema(OptimizerSchema):
    choice: ClassVar[str] = "adam"
    lr: NonNegative = 1e-3
    betas: Betas = Field(default=[0.9, 0.999])
    eps: NonNegative = 1e-8
    amsgrad: Off = False
    capturable: Off = False
    fused: Unset = None
    decoupled_weight_decay: Off = False


class AdamWSchema(OptimizerSchema):
    choice: ClassVar[str] = "adamw"
    lr: NonNegative = 1e-3
    betas: Betas = Field(default=[0.9, 0.999])
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 1e-2
    amsgrad: Off = False
    capturable: Off = False
    fused: Unset = None


class SGDSchema(OptimizerSchema):
    choice: ClassVar[str] = "sgd"
    lr: NonNegative = 1e-3
    momentum: NonNegative = 0.0
    dampening: Number = 0.0
    nesterov: Flag = False
    fused: Unset = None

    def problems(self) -> Iterator[Problem]:
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            yield "nesterov", "needs optimizer.momentum above 0 and optimizer.dampening=0"


class RMSpropSchema(OptimizerSchema):
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


class SchedulerSchema(Node):
    interval: Interval


class ConstantSchema(SchedulerSchema):
    choice: ClassVar[str] = "constant"
    warmup_steps: Natural = 0


class CosineSchema(SchedulerSchema):
    choice: ClassVar[str] = "cosine"
    warmup_steps: Natural = 0
    total_steps: Annotated[
        Count | None, BeforeValidator(_own_length), Described("a whole number of at least 1, or auto")
    ] = None
    final_ratio: Probability = 0.0


class StepLRSchema(SchedulerSchema):
    choice: ClassVar[str] = "step"
    step_size: Count
    gamma: Positive = 0.1


class ExponentialLRSchema(SchedulerSchema):
    choice: ClassVar[str] = "exponential"
    gamma: Positive


class ReduceLROnPlateauSchema(SchedulerSchema):
    choice: ClassVar[str] = "plateau"
    mode: Literal["min", "max"] = "min"
    factor: BelowOne = 0.1
    patience: Natural = 10
    threshold: Annotated[NonNegative, NOT_IN_ID_AT_DEFAULT] = 1e-4
    threshold_mode: Annotated[Literal["rel", "abs"], NOT_IN_ID_AT_DEFAULT] = "rel"
    cooldown: Annotated[Natural, NOT_IN_ID_AT_DEFAULT] = 0
    min_lr: NonNegative | list[NonNegative] = 0.0
    eps: Annotated[NonNegative, NOT_IN_ID_AT_DEFAULT] = 1e-8

    def problems(self) -> Iterator[Problem]:
        if self.interval != "validation":
            yield "interval", "a plateau shows in validations alone; use validation"


class ProgressSchema(Node):
    not_in_id: ClassVar[bool] = True
    refresh_s: NonNegative = 0.1


class FiguresSchema(Node):
    not_in_id: ClassVar[bool] = True


class InstrumentSchema(Node):
    not_in_id: ClassVar[bool] = True
    every: Count = 10


class EarlyStoppingSchema(Node):
    monitor: Monitor
    mode: Literal["min", "max"] = "min"
    patience: Natural = 3
    min_delta: NonNegative = 0.0
    verbose: Off = False
    strict: Annotated[Flag, NOT_IN_ID_AT_DEFAULT] = True
    check_finite: Annotated[Flag, NOT_IN_ID_AT_DEFAULT] = True
    stopping_threshold: Annotated[Number | None, NOT_IN_ID_AT_DEFAULT] = None
    divergence_threshold: Annotated[Number | None, NOT_IN_ID_AT_DEFAULT] = None
    check_on_train_epoch_end: Unset = None
    log_rank_zero_only: Off = False


class TensorBoardSchema(Node):
    """rnnlab's own logger; it has no arguments."""


class CSVLoggerSchema(Node):
    save_dir: Text
    name: Text | None = "lightning_logs"
    version: Text | None = None
    prefix: Text = ""
    flush_logs_every_n_steps: Count = 100


class MLFlowLoggerSchema(Node):
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


OPTIMIZERS: dict[str, type[Node]] = {
    "torch.optim.Adam": AdamSchema,
    "torch.optim.AdamW": AdamWSchema,
    "torch.optim.SGD": SGDSchema,
    "torch.optim.RMSprop": RMSpropSchema,
}
SCHEDULERS: dict[str, type[Node]] = {
    "rnnlab.training.schedules.constant": ConstantSchema,
    "rnnlab.training.schedules.cosine": CosineSchema,
    "torch.optim.lr_scheduler.StepLR": StepLRSchema,
    "torch.optim.lr_scheduler.ExponentialLR": ExponentialLRSchema,
    "torch.optim.lr_scheduler.ReduceLROnPlateau": ReduceLROnPlateauSchema,
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
    "rnnlab.terminal.progress.Progress": ProgressSchema,
    "rnnlab.figures.callback.Figures": FiguresSchema,
    "lightning.pytorch.callbacks.EarlyStopping": EarlyStoppingSchema,
    **{f"rnnlab.instruments.{name}": InstrumentSchema for name in INSTRUMENTS},
}
LOGGERS: dict[str, type[Node]] = {
    "rnnlab.tensorboard.logger.TensorBoard": TensorBoardSchema,
    "lightning.pytorch.loggers.CSVLogger": CSVLoggerSchema,
    "lightning.pytorch.loggers.MLFlowLogger": MLFlowLoggerSchema,
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
