"""Builds the objects of a run from its config: the task, its optimizer and schedule, and Lightning's Trainer."""

import inspect
import math
from functools import cache
from typing import Any

import torch
from lightning.fabric.utilities import registry
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ProgressBar
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.profilers import AdvancedProfiler, PassThroughProfiler, PyTorchProfiler, SimpleProfiler
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from rnnlab.config.building import build, locate, parameters
from rnnlab.config.model_schema import UNBUILT
from rnnlab.config.run_config import RunConfig, TrainerConfig
from rnnlab.config.stock import AUTO
from rnnlab.config.trainer_schema import processes, validating
from rnnlab.errors import UserError
from rnnlab.recurrence import engines
from rnnlab.runs.load import initialise_from
from rnnlab.runs.run import Run
from rnnlab.tasks.optimization import Optimization
from rnnlab.tasks.task import Task
from rnnlab.training.checkpoints import Checkpoints, Measured, WholeFiles
from rnnlab.training.distributed import Together, World
from rnnlab.training.folder_guard import FolderGuard
from rnnlab.training.hooks import Unmeasured, hears
from rnnlab.training.loggers import MetricsFile, RunLogger
from rnnlab.training.loop import install
from rnnlab.training.passes import batches_of
from rnnlab.training.patched import is_foreign
from rnnlab.training.recorder import TRAINING
from rnnlab.training.schedules import of_length
from rnnlab.training.stock_loggers import continuing
from rnnlab.training.trackers import arguments

# each new Trainer searches the installed packages for callbacks (2 ms); they do not change, so one search is enough
registry.entry_points = cache(registry.entry_points)  # type: ignore[assignment]
PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
BEFORE_SCORES = ("on_validation_start", "on_validation_epoch_start", "on_validation_batch_start")
OF_A_STEP = ("gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches")
# keys that Lightning's Trainer does not have, or (OF_A_STEP) gets for a user-defined module only
NOT_FOR_THE_TRAINER = (
    "threads",
    "steps_per_call",
    "divergence_factor",
    "log_every_n_steps",
    "val_every_n_steps",
    *OF_A_STEP,
)


def make_task(config: RunConfig, data: Any) -> LightningModule:
    """The LightningModule with initial weights; a task of rnnlab also gets its `optimization`.

    The constructor is given those of these arguments that it has: `spec` (the data set's description), `seed`,
    `optimizer` (to be called with the parameters) and `scheduler` (to be called with the optimizer).
    """
    optimization = make_optimization(config, data)
    offered = {
        "spec": getattr(data, "spec", None),
        "seed": config["seed"],
        "optimizer": optimization.optimizer,
        "scheduler": optimization.scheduler,
    }
    model = {key: value for key, value in config["model"].items() if key not in UNBUILT}
    wanted = parameters(locate(model["_target_"], "model"))
    task = build(model, "model", **{key: value for key, value in offered.items() if key in wanted})
    if config["model"].get("init_from"):
        try:
            initialise_from(task, config["model"]["init_from"])
        except UserError as error:
            raise UserError(*(line if (line := str(one)).startswith("model.init_from") else f"model.init_from: {line}"
                              for one in error.args)) from error  # fmt: skip
        if config["model"].get("init_from_freeze"):
            for name, parameter in task.named_parameters():
                parameter.requires_grad_(name.startswith("head."))
    if isinstance(task, Task):
        task.optimization = optimization
    return task


def make_optimization(config: RunConfig, data: Any) -> Optimization:
    """Optimizer, schedule, clipping and accumulation of the config. A schedule that needs the run's length gets it."""
    trainer, scheduler = config["trainer"], dict(config["scheduler"])
    interval = scheduler.pop("interval", "step")
    for key in of_length(scheduler):
        asked = f"scheduler.{key}={'null' if scheduler[key] is None else AUTO}"
        if trainer["max_epochs"] == -1 and trainer["max_steps"] == -1:
            raise UserError(
                f"{asked}: the run's length in steps is not known, for trainer.max_time alone ends it; "
                f"set scheduler.{key}, trainer.max_steps or trainer.max_epochs"
            )
        if interval == "validation":
            raise UserError(
                f"{asked}: the number of validations is not known beforehand; "
                f"set scheduler.{key}, or scheduler.interval=step"
            )
        length = planned_length(config, batches_of(data.train_dataloader()), interval)
        if length is None:
            raise UserError(
                f"{asked}: the data does not say how many batches an epoch has; set scheduler.{key}, or trainer."
                f"max_{interval}s"
            )
        scheduler[key] = length
    return Optimization(
        optimizer=build(config["optimizer"], "optimizer"),
        scheduler=build(scheduler, "scheduler"),
        interval=interval,
        monitor=config["monitor"],
        clip_val=trainer["gradient_clip_val"],
        clip_algorithm=trainer["gradient_clip_algorithm"],
        accumulate=trainer["accumulate_grad_batches"],
        copied_rate=config["model"].get("init_from_rate", 1.0),
    )


def planned_length(config: RunConfig, batches: float, interval: str = "step") -> int | None:
    """The run's length in optimizer steps (or epochs, by `interval`): max_steps or max_epochs, whichever ends first.

    `batches` of an epoch may be infinite, if their number is not known; None if the length is not known then.
    """
    trainer = config["trainer"]
    # as in Lightning, where overfit_batches replaces limit_train_batches
    limit = trainer["overfit_batches"] or trainer["limit_train_batches"]
    if isinstance(limit, int):
        batches = min(limit, batches)
    if math.isinf(batches):
        known = trainer["max_epochs"] if interval == "epoch" else trainer["max_steps"]
        return max(1, known) if known >= 0 else None
    batches = int(batches * limit) if isinstance(limit, float) else int(batches)
    of_epoch = max(1, math.ceil(batches / trainer["accumulate_grad_batches"]))
    asked = (
        (trainer["max_steps"], trainer["max_steps"]),
        (trainer["max_epochs"], trainer["max_epochs"] * of_epoch),
    )
    steps = max(1, min(n for limit, n in asked if limit >= 0))  # at least 1, for schedules divide by it
    return math.ceil(steps / of_epoch) if interval == "epoch" else steps


def make_trainer(
    config: RunConfig,
    run: Run,
    task: LightningModule,
    callbacks: list[Any],
    bars: bool,
    resume: bool = False,
    group: str = "",
    world: World | None = None,
) -> Trainer:
    """Lightning's Trainer with `callbacks` and with the callbacks and loggers of the config.

    Without `bars`, callbacks that draw a progress bar are left out. With `resume`, loggers continue earlier output.
    With `world` the Trainer trains together with other processes; above rank 0 it has no loggers and none of rnnlab's
    callbacks in the config. Without `world` it trains in one process, whatever the config says.
    """
    follows = world is not None and world.rank > 0
    options: dict[str, Any] = {
        key: value for key, value in config["trainer"].items() if key not in NOT_FOR_THE_TRAINER
    }
    options |= validating(config["trainer"])
    if in_kernels(task, config):
        options["precision"] = "32-true"
    if task.automatic_optimization:  # a user-defined module: the Trainer clips and accumulates
        options |= {key: value for key, value in config["trainer"].items() if key in OF_A_STEP}
    if world is not None:
        options |= {"strategy": Together(world), "use_distributed_sampler": False}
    elif processes(config["trainer"]) > 1:
        options |= {"devices": 1, "strategy": "auto"}
    if options["profiler"] is not None and follows:
        options["profiler"] = PassThroughProfiler()  # not Unmeasured: the loop must be that of rank 0
    elif options["profiler"] is None:
        options["profiler"] = Unmeasured()
    else:
        options["profiler"] = PROFILERS[options["profiler"]](dirpath=str(run.folder), filename="profile")
    loggers: list[Any] = [MetricsFile(run.folder)]
    about = {"{run_folder}": str(run.folder), "{run_name}": run.folder.name, "{run_group}": group}
    for name, node in ((n, node) for n, node in config["logger"].items() if node and not follows):
        for placeholder, value in about.items():
            node = {k: v.replace(placeholder, value) if isinstance(v, str) else v for k, v in node.items()}
        extra: dict[str, Any] = {"folder": run.folder} if is_a(node, f"logger.{name}", RunLogger) else {}
        extra |= continuing(run, name, node) if resume else {}
        loggers.append(build(arguments(node), f"logger.{name}", **extra))
    check = next((c.check for c in callbacks if isinstance(c, FolderGuard)), lambda: None)
    nodes = {name: node for name, node in config["callbacks"].items() if node}
    if follows:
        loggers, bars = [DummyLogger()], True  # some callbacks refuse a Trainer without a logger
        nodes = {k: node for k, node in nodes.items() if not node["_target_"].startswith("rnnlab.")}
    drawing = {name for name, node in nodes.items() if is_a(node, f"callbacks.{name}", ProgressBar)}
    others = {name for name in drawing if not nodes[name]["_target_"].startswith("rnnlab.")}
    left_out = (drawing - others if others else set()) if bars else drawing  # another bar replaces rnnlab's
    extras = [
        build(counting_validations(node), f"callbacks.{name}")
        for name, node in nodes.items()
        if name not in left_out
    ]
    if any(may_swap(one) for one in (task, *extras)):
        callbacks = [Measured(), *callbacks]
    try:
        trainer = Trainer(
            **options,
            default_root_dir=str(run.folder),
            logger=loggers,
            log_every_n_steps=config["trainer"]["log_every_n_steps"],
            # rnnlab's Checkpoints come last: last.ckpt also commits what Lightning's write at the end of training
            callbacks=sorted([*callbacks, *extras], key=lambda c: isinstance(c, Checkpoints)),
            plugins=[WholeFiles(check, run.folder.name)],
            enable_checkpointing=True,
            enable_model_summary=False,
            enable_progress_bar=any(isinstance(c, ProgressBar) for c in extras),
            barebones=False,
        )
    except (MisconfigurationException, ImportError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    install(trainer)
    return trainer


def counting_validations(node: dict[str, Any]) -> dict[str, Any]:
    """The config of an EarlyStopping that checks after each validation, unless it says otherwise itself: an epoch that
    `max_steps` cuts off ends without one. An EarlyStopping on the training loss checks at the end of each epoch,
    because the monitored value is the epoch's mean.
    """
    if not is_a(node, "callbacks", EarlyStopping):
        return node
    if "check_on_train_epoch_end" not in parameters(locate(node["_target_"], "callbacks")):
        return node
    of_training = node.get("monitor") == TRAINING
    return node | {"check_on_train_epoch_end": of_training or node.get("check_on_train_epoch_end") or False}


def may_swap(one: Any) -> bool:
    """Whether `one` is a callback or module outside rnnlab that could replace the weights during a validation."""
    if isinstance(one, Callback):
        foreign = not type(one).__module__.startswith("rnnlab.") and not isinstance(one, ProgressBar)
        return foreign and any(hears(one, hook) for hook in BEFORE_SCORES)
    hooks = (*BEFORE_SCORES, "on_validation_model_eval")
    return any(hook in vars(one) or is_foreign(getattr(type(one), hook)) for hook in hooks)


def is_a(node: dict[str, Any], at: str, kind: type) -> bool:
    """Whether the `_target_` of a config node is a subclass of `kind`."""
    named = locate(node["_target_"], at)
    return inspect.isclass(named) and issubclass(named, kind)


def engine_of(task: LightningModule, config: RunConfig, data: Any) -> dict[str, str]:
    """Which engine runs the recurrence and the optimizer steps, and why: {"name", "why", "steps"}.

    "steps" is "native" where the kernels take whole steps, else the reason why Python takes them.
    """
    stack = getattr(task, "stack", None)
    if stack is None:
        return {"name": "none", "why": "the model is not a stack of rnnlab", "steps": "by the model itself"}
    accelerator = config["trainer"]["accelerator"]
    device = torch.device("cuda" if accelerator == "gpu" else accelerator)
    stack.precision = config["trainer"]["precision"]
    choice = engines.choose(stack.engine, stack.cells, device, stack.precision)
    steps = f"in Python, on the engine {choice.engine}"
    if choice.engine == "native":
        from rnnlab.training.native_obstacles import steps_obstacle

        obstacle = trainer_obstacle(config["trainer"]) or steps_obstacle(task, data)
        steps = f"in Python: {obstacle}" if obstacle else "native"
    return {"name": choice.engine, "why": choice.reason, "steps": steps}


def in_kernels(task: LightningModule, config: RunConfig) -> bool:
    """Whether the kernels do the mixed precision themselves: then autocast stays off, and all else is float32."""
    trainer = config["trainer"]
    if not isinstance(task, Task) or trainer["accelerator"] != "cpu" or trainer["precision"] != "bf16-mixed":
        return False
    task.stack.precision = "bf16-mixed"
    return task.stack.choice.engine == "native"


def trainer_obstacle(trainer: TrainerConfig) -> str | None:
    """The setting of the Trainer that keeps the kernels from taking whole steps; None where there is none."""
    if processes(trainer) > 1 or trainer.get("strategy", "auto") != "auto":
        return "the kernels train in one process"
    if trainer.get("reload_dataloaders_every_n_epochs", 0):
        return "the kernels keep one loader"
    if trainer.get("detect_anomaly"):
        return "only autograd looks for anomalies"
    return None
