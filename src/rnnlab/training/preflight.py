"""Finds errors in a run before anything is written: from the config, its parts and the sizes of the data."""

import inspect
import math
import re
import shutil
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, OnExceptionCheckpoint
from torch.optim import SparseAdam

from rnnlab.config.building import locate
from rnnlab.config.run_config import RunConfig, TrainerConfig
from rnnlab.config.trainer_schema import processes, validating
from rnnlab.data.module import NAMES, SequenceData, Split
from rnnlab.errors import UserError, counted, warn
from rnnlab.runs.objects import unrecorded
from rnnlab.tasks.optimization import Optimization
from rnnlab.tasks.task import Task
from rnnlab.training import logger_keys, stock_callbacks
from rnnlab.training.assembly import is_a
from rnnlab.training.recorder import TRAINING

LOWEST = ("mse", "mae", "rmse", "nats", "bits", "perplexity", "cross_entropy")
HIGHEST = ("accuracy", "f1", "auroc")
PLATEAU = ".ReduceLROnPlateau"
CLOSURE = "computes the loss several times in a step; a task of rnnlab computes it once"
SPARSE = "takes only sparse gradients; those of a recurrent network are dense"


class Sizes(NamedTuple):
    """The number of batches of each part of the data, and the number of items where one batch holds the whole training
    part; None where not known.
    """

    train: int | None = None
    val: int | None = None
    test: int | None = None
    items: int | None = None


@dataclass
class Findings:
    """`lines` are errors: they would stop the training or make it pointless. `notes` are possible, but seldom meant."""

    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scored: bool = True  # whether a validation is due before the end


def refuse(config: RunConfig, task: Any, data: Any, tell: Callable[[str], Any] = warn) -> None:
    """Raises UserError with a line for each error; passes what is possible but seldom meant to `tell`."""
    found = findings(config, sizes(data), task)
    steps = ("training_step", "validation_step")
    if processes(config["trainer"]) > 1 and isinstance(task, Task):
        found.lines += [
            f"trainer.devices={config['trainer']['devices']}: {type(task).__name__} has a {name} of its own, which "
            "several processes cannot share; trainer.devices=1 trains it"
            for name in steps
            if getattr(type(task), name) is not getattr(Task, name)
        ]
    if found.lines:
        raise UserError(*found.lines)
    for note in found.notes:
        tell(note)


def findings(config: RunConfig, sizes: Sizes, task: Any) -> Findings:
    """Checks a config with data of these sizes and a task, which may be a user-defined module."""
    trainer, (train, val, _, items) = with_overfit(config["trainer"] | validating(config["trainer"])), sizes
    metrics = task.metrics if isinstance(task, Task) else None
    found = Findings([*stock_callbacks.refused(config, task), *logger_keys.missing(config)])
    if metrics is not None and (why := _unserved(optimizer := config["optimizer"]["_target_"])):
        found.lines.append(f"optimizer._target_={optimizer}: {why}")
    found.lines += _between_processes(config, sizes, metrics)
    batches = 0
    if train is not None:
        batches = limited(train, trainer["limit_train_batches"])
        found.lines += _nothing_trained(trainer, train, batches)
        if not found.lines and batches and 0 not in (trainer["max_epochs"], trainer["max_steps"]):
            found.lines += _between_validations(trainer, batches)
            _longer_than_the_run(config | {"trainer": trainer}, batches, found)
        size = config["data"].get("batch_size") or 0
        if items is not None and items < size:
            found.notes.append(
                f"data.batch_size={size}: the training part has {counted(items, 'example')}, all in one batch"
            )
    limits: list[tuple[Split, Any, int | None]] = [
        ("val", trainer["limit_val_batches"], val),
        ("test", trainer["limit_test_batches"], sizes.test),
    ]
    for part, limit, whole in limits:
        both = part == "val" and trainer["overfit_batches"] and train and not batches  # reported already
        if isinstance(limit, float) and limit and whole and not limited(whole, limit) and not both:
            key = (
                "overfit_batches" if trainer["overfit_batches"] and part == "val" else f"limit_{part}_batches"
            )
            otherwise = "" if key == "overfit_batches" else ", or 0 to leave it out"
            found.lines.append(
                f"trainer.{key}={limit}: leaves no batch: the {NAMES[part]} part has {counted(whole, 'batch')}; give a "
                f"number of batches{otherwise}"
            )
    found.notes += _season(config["data"])
    if trainer["gradient_clip_val"] is None and (way := trainer["gradient_clip_algorithm"]) != "norm":
        found.notes.append(
            f"trainer.gradient_clip_algorithm={way}: clips nothing without trainer.gradient_clip_val"
        )
    if metrics is not None:
        found.lines += _monitors(config, metrics)
    if batches and val and not validated(trainer | {"max_epochs": 1, "max_steps": -1}, batches, val):
        found.lines += stock_callbacks.unmeasured_at_first(config)
    if not found.lines and batches and val is not None and not validated(trainer, batches, val):
        found.scored = False
        found.notes += _what_idles(config)
    return found


def _unserved(optimizer: str) -> str:
    """Why an optimizer cannot train a task of rnnlab; "" where it can. `optimizer` is a dotted path."""
    named = locate(optimizer, "optimizer._target_")
    return _unserved_class(named) if inspect.isclass(named) else ""


def _unserved_class(named: type) -> str:
    closure = inspect.signature(getattr(named, "step", len)).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:  # as LBFGS, which requires it
        return CLOSURE
    return SPARSE if issubclass(named, SparseAdam) else ""


def with_overfit(trainer: TrainerConfig) -> TrainerConfig:
    """The Trainer's arguments with `overfit_batches` written as the limit of both parts that it is."""
    limit = trainer["overfit_batches"]
    return trainer | {"limit_train_batches": limit, "limit_val_batches": limit} if limit else trainer


def sizes(data: Any) -> Sizes:
    """The sizes of a data set of rnnlab; none of others: a user-defined loader may have side effects."""
    if not isinstance(data, SequenceData):
        return Sizes()
    train: Any = data.loader("train", shuffle=True)
    first = train.batches[0] if train is not None and size(train) == 1 else None
    val, test = (size(data.loader(split)) for split in ("val", "test"))
    return Sizes(size(train), val, test, len(first) if isinstance(first, Sized) else None)


def rehearse(task: Any) -> None:
    """Builds the optimizer and the schedule of a task once. Raises UserError for what their constructors refuse."""
    if isinstance(task, Task):
        configured(task.optimization, task)


def configured(optimization: Optimization, task: Task) -> dict[str, Any]:
    """The result of `Optimization.configure`. Raises UserError also for an optimizer that cannot train a task and was
    made by a function, so that the config does not name its class.
    """
    made = optimization.configure(task)
    if why := _unserved_class(kind := type(made["optimizer"])):
        raise UserError(f"optimizer: {kind.__name__} {why}")
    return made


@contextmanager
def leaving_nothing(folder: Path) -> Iterator[None]:
    """Where the block raises, removes `folder` if it was not there before: a logger may have made it."""
    fresh = not folder.exists()
    try:
        yield
    except UserError:
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def size(of: Any) -> int | None:
    """The number of batches of a loader; None where it has no length."""
    try:
        return 0 if of is None else len(of)
    except TypeError:
        return None


def limited(batches: int, limit: int | float | None) -> int:
    """The batches that a limit leaves, as Lightning counts: an int is a number of batches, a float a share."""
    if limit is None:
        return batches
    return int(batches * limit) if isinstance(limit, float) else min(limit, batches)


def epochs(trainer: TrainerConfig, batches: int) -> float:
    """The largest number of epochs that will be trained, by epochs or by steps; infinite where only time ends it."""
    bounds = [math.inf]
    if trainer["max_epochs"] >= 0:
        bounds.append(trainer["max_epochs"])
    if trainer["max_steps"] >= 0:
        bounds.append(trainer["max_steps"] / math.ceil(batches / trainer["accumulate_grad_batches"]))
    return min(bounds)


def validated(trainer: TrainerConfig, batches: int, val: int) -> bool:
    """Whether a validation is due before the training ends."""
    if limited(val, trainer["limit_val_batches"]) == 0:
        return False
    every, interval = trainer["check_val_every_n_epoch"], trainer["val_check_interval"]
    if trainer["fast_dev_run"]:
        return True
    many = epochs(trainer, batches)
    if every is None:
        return many * batches >= (interval or 1.0)
    within = interval is not None and (every == 1 or many > every - 1)
    due = interval if isinstance(interval, int) else math.ceil((interval or 1.0) * batches)
    return many * batches >= (every - 1) * batches + due if within else many >= every


def _saves_on_exception(node: dict[str, Any], name: str) -> bool:
    at = f"callbacks.{name}"
    return is_a(node, at, OnExceptionCheckpoint) or (
        is_a(node, at, ModelCheckpoint) and bool(node.get("save_on_exception"))
    )


def _between_processes(config: RunConfig, sizes: Sizes, metrics: tuple[str, ...] | None) -> Iterator[str]:
    if (n := processes(config["trainer"])) == 1:
        return
    asked, rows = f"trainer.devices={config['trainer']['devices']}", config["data"].get("batch_size") or n
    parts = {part: config[part] for part in ("model", "data", "callbacks")}
    if metrics is None or sizes.train is None:
        yield (
            f"{asked}: several processes can train only rnnlab's own models on its own data sets; use trainer.devices=1"
        )
    elif saving := [
        name for name, node in config["callbacks"].items() if node and _saves_on_exception(node, name)
    ]:
        yield (
            f"{asked}: callbacks.{saving[0]} saves when one process fails, and the others would wait for it; leave it "
            "out or use trainer.devices=1"
        )
    elif (lost := next(unrecorded(parts), None)) is not None:
        yield f"{asked}: {lost['what']} cannot be made in another process: {lost['why']}"
    elif n > (sizes.items or rows):
        yield f"{asked}: a batch has {counted(sizes.items or rows, 'row')}, and each process needs one"


def _nothing_trained(trainer: TrainerConfig, train: int, batches: int) -> Iterator[str]:
    if not train:
        yield "data: its training part is empty"
    # 0 is meant: it scores the untrained model
    elif not batches and (limit := trainer["limit_train_batches"]):
        key = "overfit_batches" if trainer["overfit_batches"] else "limit_train_batches"
        yield f"trainer.{key}={limit}: leaves no batch: the training part has {counted(train, 'batch')}"


def _between_validations(trainer: TrainerConfig, batches: int) -> Iterator[str]:
    interval = trainer["val_check_interval"]
    within = trainer["check_val_every_n_epoch"] is not None and not trainer["fast_dev_run"]
    if within and isinstance(interval, int) and interval > batches:
        yield (
            f"trainer.val_check_interval={interval}: an epoch has {counted(batches, 'batch')}; "
            "trainer.check_val_every_n_epoch=null counts batches across epochs"
        )
    steps, accumulate = trainer.get("val_every_n_steps"), trainer["accumulate_grad_batches"]
    if steps and batches % accumulate and epochs(trainer, batches) >= 1 and not trainer["fast_dev_run"]:
        yield (
            f"trainer.val_every_n_steps={steps}: an epoch has {batches} batches, and with "
            f"trainer.accumulate_grad_batches={accumulate} its last step has fewer, so that the steps cannot be "
            f"counted; trainer.check_val_every_n_epoch=null trainer.val_check_interval={steps * accumulate} counts "
            "batches instead"
        )


def _longer_than_the_run(config: RunConfig, batches: int, found: Findings) -> None:
    trainer, scheduler = config["trainer"], config["scheduler"]
    accumulate, many = trainer["accumulate_grad_batches"], epochs(trainer, batches)
    steps = many * math.ceil(batches / accumulate)
    if trainer["max_steps"] >= 0:
        steps = min(steps, trainer["max_steps"])
    every = scheduler.get("interval", "step")  # also the unit of the schedule's lengths
    of_epochs = every == "epoch" and many < math.inf
    length, unit = (math.ceil(many), "epochs") if of_epochs else (steps, "steps")
    if length <= (warmup := scheduler.get("warmup_steps") or 0):
        of_what = f"with scheduler.interval={every} it counts {unit}, and " if of_epochs else ""
        found.lines.append(
            f"scheduler.warmup_steps={warmup}: {of_what}the run has {length:,.0f} {unit}; its rate would only rise"
        )
    total = scheduler.get("total_steps")
    if isinstance(total, int) and every != "validation" and length < math.inf:
        one_cycle = scheduler["_target_"].endswith(".OneCycleLR")
        if one_cycle and total < (int(many) if of_epochs else steps):
            found.lines.append(
                f"scheduler.total_steps={total}: the run has {length:,.0f} {unit}, and OneCycleLR must not end before "
                "it"
            )
        elif total != length:
            then = (
                "the schedule is cut off before its end"
                if total > length
                else f"the schedule ends {length - total:,.0f} {unit} earlier"
            )
            found.notes.append(
                f"scheduler.total_steps={total}: the run has {length:,.0f} {unit}, so that {then}; null is the run's "
                "length"
            )
    if left := batches % accumulate:
        last = "each step has" if batches < accumulate else "the last step of each epoch has"
        found.notes.append(
            f"trainer.accumulate_grad_batches={accumulate}: an epoch has {counted(batches, 'batch')}, so that {last} "
            f"{left} instead of {accumulate}; the missing ones count as zeros in its gradient"
        )
    found.notes += stock_callbacks.comes_to_nothing(config, steps, many)
    if trainer["log_every_n_steps"] > steps:
        found.notes.append(
            f"trainer.log_every_n_steps={trainer['log_every_n_steps']}: the run has {counted(int(steps), 'step')}, so "
            "that its training curves are empty"
        )


def _season(data: dict[str, Any]) -> Iterator[str]:
    """A note where resampling makes a season, which counts rows, a length that is probably not meant."""
    read = re.fullmatch(r"(\d*)(s|min|h|d)", str(data.get("resample") or ""))
    if read is None or not isinstance(data.get("season"), int):
        return
    seconds = data["season"] * int(read[1] or 1) * {"s": 1, "min": 60, "h": 3600, "d": 86400}[read[2]]
    if seconds % 86400:
        yield (
            f"data.season={data['season']}: with data.resample={data['resample']} that is {seconds / 3600:g} hours, "
            "and no whole number of days"
        )


def measured_by(metrics: tuple[str, ...]) -> list[str]:
    """The names of the metrics that a validation measures."""
    return ["loss/val", *(f"metric/{name}" for name in metrics)]


def _monitors(config: RunConfig, metrics: tuple[str, ...]) -> Iterator[str]:
    measured = measured_by(metrics)
    if (asked := config["monitor"]) not in measured:
        yield f"monitor={asked}: {stock_callbacks.offered(asked, measured)}"
    yield from _opposed("", config["monitor"], config["mode"])
    if config["scheduler"]["_target_"].endswith(PLATEAU):
        yield from _opposed("scheduler.", config["monitor"], config["scheduler"].get("mode", "min"))
    for at, line, watched in stock_callbacks.misnamed(config, measured):
        node = config["callbacks"][at.partition(".")[2]]
        if line:
            yield line
        elif watched is not None and node is not None:
            yield from _opposed(f"{at}.", watched, node.get("mode", "min"))


def _opposed(at: str, monitor: str, mode: str) -> Iterator[str]:
    """A line where `mode` would take the worst value of a known metric for the best."""
    metric = monitor.removeprefix("metric/")
    low, high = monitor.startswith("loss/") or metric in LOWEST, metric in HIGHEST
    if (low and mode == "max") or (high and mode == "min"):
        best, right = ("lowest", "min") if low else ("highest", "max")
        yield f"{at}mode={mode}: the best {monitor} is the {best}; use {at}mode={right}"


def _what_idles(config: RunConfig) -> Iterator[str]:
    why = (
        "nothing is validated in this run (see data.fractions, trainer.limit_val_batches, trainer.val_check_interval, "
        "trainer.val_every_n_steps and trainer.check_val_every_n_epoch)"
    )
    yield f"{why}: it has no score, and its last weights are kept"
    for name, node in config["callbacks"].items():
        if node and is_a(node, f"callbacks.{name}", EarlyStopping) and node.get("monitor") != TRAINING:
            yield f"callbacks.{name}: {why}, so that it never stops the run"
    if config["scheduler"]["_target_"].endswith(PLATEAU):
        yield f"scheduler: {why}, so that its rate never changes"
