"""The schema of the trainer: its keys in conf/, and the other arguments of Lightning's Trainer."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from typing_extensions import TypedDict

from rnnlab.config.fields import (
    NOT_IN_ID,
    NOT_IN_ID_AT_DEFAULT,
    Batches,
    Count,
    Described,
    Flag,
    Natural,
    OrUnlimited,
    Positive,
    Share,
    StrictCount,
    Text,
    wrong,
)
from rnnlab.config.node import Node, Problem
from rnnlab.config.run_config import TrainerConfig

# no machine can use more, and the system may end a process that asks for more
MOST_THREADS, MOST_PROCESSES = 1024, 128

# Lightning's short names, replaced so that each precision has one name
_LONG = {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true"}


def _precision(value: Any) -> Any:
    return value if isinstance(value, bool) else _LONG.get(str(value), value)


def _time(value: str) -> str:
    if not re.fullmatch(r"\d+:\d{1,2}:\d{1,2}:\d{1,2}", value):
        raise wrong("must be DD:HH:MM:SS, such as 00:12:00:00 for half a day")
    return value


Precision = Annotated[
    Literal[
        "32-true",
        "64-true",
        "16-true",
        "bf16-true",
        "16-mixed",
        "bf16-mixed",
        "transformer-engine",
        "transformer-engine-float16",
    ],
    BeforeValidator(_precision),
]
Devices = Annotated[
    StrictCount | Literal[-1, "auto"] | list[Natural],
    Described("a whole number of at least 1, -1, auto, or a list of indices"),
]
Threads = Annotated[Count, Field(le=MOST_THREADS), Described(f"a whole number from 1 to {MOST_THREADS:,}")]
Interval = Annotated[
    StrictCount | Annotated[Share, Field(gt=0)] | None,
    Described("a whole number of batches, a share of an epoch above 0.0, or null"),
]
Limit = Annotated[
    Batches | Share | None, Described("a whole number of batches, a share from 0.0 to 1.0, or null")
]


class Validating(TypedDict):
    check_val_every_n_epoch: int | None
    val_check_interval: int | float | None


def validating(trainer: TrainerConfig) -> Validating:
    """The Trainer's arguments for when to validate; `val_every_n_steps` is converted to a number of batches."""
    steps = trainer.get("val_every_n_steps")
    if steps is None:
        return {
            "check_val_every_n_epoch": trainer["check_val_every_n_epoch"],
            "val_check_interval": trainer["val_check_interval"],
        }
    batches = steps * trainer["accumulate_grad_batches"]
    return {"check_val_every_n_epoch": None, "val_check_interval": batches}


def processes(trainer: TrainerConfig) -> int:
    """The number of processes that train a run together: one for each device."""
    return _count(trainer["devices"])


def _count(devices: int | Literal["auto"] | list[int]) -> int:
    if isinstance(devices, list):
        return len(devices)
    return devices if isinstance(devices, int) and devices > 0 else 1


def cannot_take(accelerator: str, precision: str) -> str:
    """Why a device cannot train in a precision; "" where it can."""
    if accelerator == "cpu" and precision == "16-mixed":  # Lightning would silently use bf16-mixed
        return "a CPU has no 16-mixed; use bf16-mixed or 32-true"
    return ""


class TrainerSchema(Node):
    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    devices: Devices
    precision: Precision
    max_epochs: OrUnlimited
    max_steps: OrUnlimited
    max_time: Annotated[Text, AfterValidator(_time), Described("DD:HH:MM:SS")] | None
    gradient_clip_val: Positive | None
    gradient_clip_algorithm: Literal["norm", "value"]
    accumulate_grad_batches: Count
    check_val_every_n_epoch: Count | None
    val_check_interval: Interval
    val_every_n_steps: Annotated[Count | None, NOT_IN_ID_AT_DEFAULT] = None
    limit_train_batches: Limit
    limit_val_batches: Limit
    limit_test_batches: Limit
    overfit_batches: Annotated[
        Batches | Share, Described("a whole number of batches, or a share from 0.0 to 1.0")
    ]
    fast_dev_run: Annotated[Flag | StrictCount, Described("true, false, or a whole number of batches")]
    num_sanity_val_steps: OrUnlimited
    detect_anomaly: Annotated[Flag, NOT_IN_ID]
    deterministic: Annotated[Flag | Literal["warn"], Described("true, false or warn")]
    profiler: Annotated[Literal["simple", "advanced", "pytorch"] | None, NOT_IN_ID]
    divergence_factor: Annotated[Positive, Field(gt=1), Described("a number above 1")] | None
    log_every_n_steps: Annotated[Natural, NOT_IN_ID]
    steps_per_call: Annotated[
        Count | Literal["auto"], NOT_IN_ID, Described("a whole number of at least 1, or auto")
    ]
    threads: Annotated[Threads | None, NOT_IN_ID]

    # further arguments of Lightning's Trainer, for `+trainer.NAME=VALUE`
    strategy: Annotated[Text, NOT_IN_ID_AT_DEFAULT] = "auto"
    num_nodes: Annotated[Count, NOT_IN_ID_AT_DEFAULT] = 1
    min_epochs: Annotated[Natural | None, NOT_IN_ID_AT_DEFAULT] = None
    min_steps: Annotated[OrUnlimited | None, NOT_IN_ID_AT_DEFAULT] = None
    limit_predict_batches: Annotated[Limit, NOT_IN_ID] = None
    benchmark: Annotated[Flag | None, NOT_IN_ID_AT_DEFAULT] = None
    inference_mode: Annotated[Flag, NOT_IN_ID] = True
    use_distributed_sampler: Annotated[Flag, NOT_IN_ID_AT_DEFAULT] = True
    sync_batchnorm: Annotated[Flag, NOT_IN_ID_AT_DEFAULT] = False
    reload_dataloaders_every_n_epochs: Annotated[Natural, NOT_IN_ID_AT_DEFAULT] = 0
    enable_autolog_hparams: Annotated[Flag, NOT_IN_ID] = True
    model_registry: Annotated[Text | None, NOT_IN_ID] = None

    reserved: ClassVar[dict[str, str]] = {
        "logger": "loggers are a group of their own, such as logger=[tensorboard,csv]",
        "callbacks": "callbacks are a group of their own, such as callbacks=early_stopping",
        "default_root_dir": "a run's folder lies in paths.outputs",
        "plugins": "rnnlab writes its checkpoints by a plugin of its own, and takes no others",
        "enable_checkpointing": "a run can always be resumed; checkpoint.every_n_steps and every_seconds say how often",
        "enable_progress_bar": "the bar is a callback: ~callbacks.progress leaves it out",
        "enable_model_summary": "TensorBoard's graph shows the model; callbacks take lightning's ModelSummary",
        "barebones": "~callbacks.progress, ~callbacks.pictures and logger=none leave out what is beside the training",
    }

    def deciding(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values, with "auto" for "ddp": `auto` chooses ddp for several devices."""
        several = _count(self.devices) > 1 and values.get("strategy") == "ddp"
        return values | {"strategy": "auto"} if several else values

    def problems(self) -> Iterator[Problem]:
        if why := cannot_take(self.accelerator, self.precision):
            yield "precision", why
        if self.num_nodes > 1:
            yield "num_nodes", "a run trains on one machine; sweep.pool=slurm trains several runs on several"
        if isinstance(self.devices, list) and self.accelerator not in ("auto", "gpu"):
            yield "devices", "a list selects GPUs (trainer.accelerator=gpu); otherwise give a number"
        if _count(self.devices) > MOST_PROCESSES:
            yield "devices", f"at most {MOST_PROCESSES} processes train a run together"
        if _count(self.devices) > 1:
            if self.accelerator == "mps":
                yield "devices", "a Mac has one GPU; set it to 1"
            if self.strategy not in ("auto", "ddp"):
                yield (
                    "strategy",
                    f"with trainer.devices={self.devices} rnnlab trains by ddp, which auto takes",
                )
        if self.max_epochs == -1 and self.max_steps == -1 and self.max_time is None and not self.fast_dev_run:
            yield "max_epochs", "the run would never end; limit max_epochs, max_steps or max_time"
        for what in ("epochs", "steps"):
            least, most = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if most >= 0 and (least or 0) > most:
                yield f"min_{what}", f"above trainer.max_{what}={most}, which ends the run"
        if self.val_every_n_steps is not None:
            says = "trainer.val_every_n_steps says when to validate; leave one of the two out, or set"
            if self.val_check_interval is not None:
                yield "val_check_interval", f"{says} trainer.val_check_interval=null"
            if self.check_val_every_n_epoch not in (None, 1):
                yield "check_val_every_n_epoch", f"{says} trainer.check_val_every_n_epoch=1"
        elif self.check_val_every_n_epoch is None and not isinstance(self.val_check_interval, int):
            yield (
                "check_val_every_n_epoch",
                "null counts batches across epochs: give trainer.val_check_interval as a whole number",
            )
