"""What cannot be, seen from the config, its parts and the sizes of the data, before anything is written."""

import math
import re
import shutil
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, OnExceptionCheckpoint

from rnnlab.config.trainer_schema import processes, validating
from rnnlab.data.module import SequenceData
from rnnlab.errors import UserError, nearest, warn
from rnnlab.runs.objects import unrecorded
from rnnlab.tasks.task import Task
from rnnlab.training.assembly import is_a
from rnnlab.training.recorder import TRAINING

LOWEST = ("mse", "mae", "rmse", "nats", "bits", "perplexity", "cross_entropy")
HIGHEST = ("accuracy", "f1", "auroc")
PLATEAU = ".ReduceLROnPlateau"


class Sizes(NamedTuple):
    """Batches of the parts of the data, None where they are not known; and the items of a training batch."""

    train: int | None = None
    val: int | None = None
    test: int | None = None
    items: int | None = None


@dataclass
class Findings:
    """`lines` would stop the training, or keep it from having a sense; `notes` can be and are seldom meant."""

    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scored: bool = True  # whether a validation is due before the end


def refuse(config: dict[str, Any], task: Any, data: Any, tell: Callable[[str], Any] = warn) -> None:
    """Raises UserError with a line for each thing that would stop the training; tells what is seldom meant."""
    found = findings(config, sizes(data), task.metrics if isinstance(task, Task) else None)
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


def findings(config: dict[str, Any], sizes: Sizes, metrics: tuple[str, ...] | None) -> Findings:
    """What the config says of data of such sizes; `metrics` are the task's, None for a module of the user's own."""
    trainer, (train, val, _, items) = config["trainer"] | validating(config["trainer"]), sizes
    found = Findings()
    found.lines += _between_processes(config, sizes, metrics)
    batches = 0
    if train is not None:
        batches = limited(train, trainer["limit_train_batches"])
        found.lines += _nothing_trained(trainer, train, batches)
        if not found.lines and batches and 0 not in (trainer["max_epochs"], trainer["max_steps"]):
            found.lines += _between_validations(trainer, batches)
            _longer_than_the_run(config, batches, found)
        size = config["data"].get("batch_size") or 0
        if items is not None and items < size:
            found.notes.append(
                f"data.batch_size={size}: the training part has {items} items, all in one batch"
            )
    for part in ("val", "test"):
        limit, whole = trainer[f"limit_{part}_batches"], getattr(sizes, part)
        if isinstance(limit, float) and limit and whole and not limited(whole, limit):
            found.lines.append(
                f"trainer.limit_{part}_batches={limit}: leaves none of the {whole} batches; 0 looks at none"
            )
    found.notes += _season(config["data"])
    if metrics is not None:
        found.lines += _monitors(config, metrics)
    if not found.lines and batches and val is not None and not validated(trainer, batches, val):
        found.scored = False
        found.notes += _what_idles(config)
    return found


def sizes(data: Any) -> Sizes:
    """Of a data set of rnnlab; a loader of the user's own may do more than to say its size."""
    if not isinstance(data, SequenceData):
        return Sizes()
    train: Any = data.loader("train", shuffle=True)
    first = train.batches[0] if train is not None and size(train) == 1 else None
    val, test = (size(data.loader(split)) for split in ("val", "test"))
    return Sizes(size(train), val, test, len(first) if isinstance(first, Sized) else None)


def rehearse(task: Any) -> None:
    """Builds the optimizer and the schedule of a task once. Raises UserError for what their constructors refuse."""
    if isinstance(task, Task):
        task.optimization.configure(task)


@contextmanager
def leaving_nothing(folder: Path) -> Iterator[None]:
    """Where what is inside is refused, a folder that was not there before is removed: a logger may have made it."""
    fresh = not folder.exists()
    try:
        yield
    except UserError:
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def size(of: Any) -> int | None:
    """Batches of a loader; None where it does not say."""
    try:
        return 0 if of is None else len(of)
    except TypeError:
        return None


def limited(batches: int, limit: int | float | None) -> int:
    """As Lightning counts: a whole number is one of batches, a float a share."""
    if limit is None:
        return batches
    return int(batches * limit) if isinstance(limit, float) else min(limit, batches)


def epochs(trainer: dict[str, Any], batches: int) -> float:
    """The most that will be trained, by epochs or by steps; infinite where time alone ends it."""
    bounds = [math.inf]
    if trainer["max_epochs"] >= 0:
        bounds.append(trainer["max_epochs"])
    if trainer["max_steps"] >= 0:
        bounds.append(trainer["max_steps"] / math.ceil(batches / trainer["accumulate_grad_batches"]))
    return min(bounds)


def validated(trainer: dict[str, Any], batches: int, val: int) -> bool:
    """Whether a validation is due before the training ends."""
    if limited(val, trainer["limit_val_batches"]) == 0:
        return False
    every, interval = trainer["check_val_every_n_epoch"], trainer["val_check_interval"]
    if trainer["fast_dev_run"] or trainer["overfit_batches"]:
        return True
    many = epochs(trainer, batches)
    if every is None:
        return many * batches >= interval
    within = interval is not None and (every == 1 or many > every - 1)
    due = interval if isinstance(interval, int) else math.ceil((interval or 1.0) * batches)
    return many * batches >= (every - 1) * batches + due if within else many >= every


def _saves_on_exception(node: dict[str, Any], name: str) -> bool:
    at = f"callbacks.{name}"
    return is_a(node, at, OnExceptionCheckpoint) or (
        is_a(node, at, ModelCheckpoint) and bool(node.get("save_on_exception"))
    )


def _between_processes(
    config: dict[str, Any], sizes: Sizes, metrics: tuple[str, ...] | None
) -> Iterator[str]:
    if (n := processes(config["trainer"])) == 1:
        return
    asked, rows = f"trainer.devices={config['trainer']['devices']}", config["data"].get("batch_size") or n
    parts = {part: config[part] for part in ("model", "data", "callbacks")}
    if metrics is None or sizes.train is None:
        yield (
            f"{asked}: several processes share the batches of rnnlab's models and data; what is your own trains with "
            "trainer.devices=1"
        )
    elif saving := [
        name for name, node in config["callbacks"].items() if node and _saves_on_exception(node, name)
    ]:
        yield f"{asked}: callbacks.{saving[0]} saves where one process fails, for which the others would have to wait"
    elif (lost := next(unrecorded(parts), None)) is not None:
        yield f"{asked}: {lost['what']} cannot be made in another process: {lost['why']}"
    elif n > (sizes.items or rows):
        yield f"{asked}: a batch has {sizes.items or rows} rows, and each process needs one"


def _nothing_trained(trainer: dict[str, Any], train: int, batches: int) -> Iterator[str]:
    if not train:
        yield "data: its training part is empty"
    elif not batches and (
        limit := trainer["limit_train_batches"]
    ):  # 0 is a word: what the untrained model scores
        yield f"trainer.limit_train_batches={limit}: leaves none of the {train} batches of an epoch"


def _between_validations(trainer: dict[str, Any], batches: int) -> Iterator[str]:
    interval = trainer["val_check_interval"]
    within = trainer["check_val_every_n_epoch"] is not None and not trainer["fast_dev_run"]
    if within and not trainer["overfit_batches"] and isinstance(interval, int) and interval > batches:
        yield (
            f"trainer.val_check_interval={interval}: an epoch has {batches} batches; "
            "trainer.check_val_every_n_epoch=null counts batches across epochs"
        )


def _longer_than_the_run(config: dict[str, Any], batches: int, found: Findings) -> None:
    trainer, scheduler = config["trainer"], config["scheduler"]
    accumulate, many = trainer["accumulate_grad_batches"], epochs(trainer, batches)
    steps = many * math.ceil(batches / accumulate)
    if trainer["max_steps"] >= 0:
        steps = min(steps, trainer["max_steps"])
    if steps <= (warmup := scheduler.get("warmup_steps") or 0):
        found.lines.append(
            f"scheduler.warmup_steps={warmup}: the run has {steps:g} steps; its rate would only grow"
        )
    total = scheduler.get("total_steps")
    if isinstance(total, int) and scheduler.get("interval", "step") == "step" and steps < math.inf:
        one_cycle = scheduler["_target_"].endswith(".OneCycleLR")
        if one_cycle and total < steps:
            found.lines.append(
                f"scheduler.total_steps={total}: the run has {steps:g} steps, and one cycle must not end before it"
            )
        elif total != steps:
            then = (
                "the rate does not come to its end"
                if total > steps
                else f"the last {steps - total:g} have the rate of the schedule's end"
            )
            found.notes.append(
                f"scheduler.total_steps={total}: the run has {steps:g} steps, so that {then}; null is the run's length"
            )
    if accumulate > batches:
        found.notes.append(
            f"trainer.accumulate_grad_batches={accumulate}: an epoch has {batches} batches, so that each step is "
            f"made of {batches}, and its gradient is {batches}/{accumulate} of their mean"
        )
    if trainer["log_every_n_steps"] > steps:
        found.notes.append(
            f"trainer.log_every_n_steps={trainer['log_every_n_steps']}: the run has {steps:g} steps, so that its "
            "training curves are empty"
        )


def _season(data: dict[str, Any]) -> Iterator[str]:
    """A season counts rows, and resampling makes other rows of them: mostly it spans whole days."""
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
    """What a validation gives."""
    return ["loss/val", *(f"metric/{name}" for name in metrics)]


def _monitors(config: dict[str, Any], metrics: tuple[str, ...]) -> Iterator[str]:
    measured = measured_by(metrics)
    if (asked := config["monitor"]) not in measured:
        yield f"monitor={asked}: a validation gives {', '.join(measured)}.{nearest(asked, measured)}"
    yield from _opposed("", config["monitor"], config["mode"])
    if config["scheduler"]["_target_"].endswith(PLATEAU):
        yield from _opposed("scheduler.", config["monitor"], config["scheduler"].get("mode", "min"))
    for name, node in config["callbacks"].items():
        asked = (node or {}).get("monitor")
        known = node and str(node["_target_"]).startswith(("lightning.", "pytorch_lightning."))
        if not known or not isinstance(asked, str):
            continue
        seen = [*measured, TRAINING] if is_a(node, f"callbacks.{name}", EarlyStopping) else measured
        if asked not in seen:
            yield (
                f"callbacks.{name}.monitor={asked}: a validation gives {', '.join(measured)}."
                f"{nearest(asked, measured)}"
            )
        else:
            yield from _opposed(f"callbacks.{name}.", asked, node.get("mode", "min"))


def _opposed(at: str, monitor: str, mode: str) -> Iterator[str]:
    """A line where `mode` takes the worst of a metric that we know for the best."""
    metric = monitor.removeprefix("metric/")
    low, high = monitor.startswith("loss/") or metric in LOWEST, metric in HIGHEST
    if (low and mode == "max") or (high and mode == "min"):
        best, right = ("lowest", "min") if low else ("highest", "max")
        yield f"{at}mode={mode}: the best {monitor} is the {best}; use {at}mode={right}"


def _what_idles(config: dict[str, Any]) -> Iterator[str]:
    why = (
        "nothing is validated in this run (data, trainer.limit_val_batches, trainer.check_val_every_n_epoch)"
    )
    yield f"{why}: it has no score, and its last weights are kept"
    for name, node in config["callbacks"].items():
        if node and is_a(node, f"callbacks.{name}", EarlyStopping) and node.get("monitor") != TRAINING:
            yield f"callbacks.{name}: {why}, so that it never looks"
    if config["scheduler"]["_target_"].endswith(PLATEAU):
        yield f"scheduler: {why}, so that its rate never changes"
