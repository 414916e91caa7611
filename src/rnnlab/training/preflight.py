"""What cannot be, seen from the config and the sizes of the data, before anything is written."""

import math
from collections.abc import Iterator
from typing import Any

from lightning.pytorch.callbacks import EarlyStopping

from rnnlab.data.module import SequenceData
from rnnlab.errors import UserError, nearest, warn
from rnnlab.tasks.task import Task
from rnnlab.training.assembly import is_a

LOWEST = ("mse", "mae", "rmse", "nats", "bits", "perplexity", "cross_entropy")
HIGHEST = ("accuracy", "f1", "auroc")


def refuse(config: dict[str, Any], task: Any, data: Any) -> None:
    """Raises UserError with a line for each thing that would stop the training, or keep it from having a sense.

    Warns of what can be and is seldom meant. Says nothing of sizes that the data does not tell.
    """
    trainer = config["trainer"]
    ours = isinstance(data, SequenceData)  # a loader of the user's own may do more than to say its size
    train = size(data.loader("train", shuffle=True)) if ours else None
    val = size(data.loader("val")) if ours else None
    lines: list[str] = []
    if train is not None:
        batches = limited(train, trainer["limit_train_batches"])
        lines += _nothing_trained(trainer, train, batches)
        if not lines and batches and 0 not in (trainer["max_epochs"], trainer["max_steps"]):
            lines += _between_validations(trainer, batches)
            lines += _longer_than_the_run(config, batches)
    if isinstance(task, Task):
        lines += _monitors(config, task)
    if not lines and train and val is not None and not validated(trainer, batches, val):
        _tell_what_idles(config)
    if lines:
        raise UserError(*lines)


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


def _longer_than_the_run(config: dict[str, Any], batches: int) -> Iterator[str]:
    trainer, scheduler = config["trainer"], config["scheduler"]
    accumulate, many = trainer["accumulate_grad_batches"], epochs(trainer, batches)
    steps = many * math.ceil(batches / accumulate)
    if trainer["max_steps"] >= 0:
        steps = min(steps, trainer["max_steps"])
    if steps <= (warmup := scheduler.get("warmup_steps") or 0):
        yield f"scheduler.warmup_steps={warmup}: the run has {steps:g} steps; its rate would only grow"
    if scheduler["_target_"].endswith(".OneCycleLR"):
        total = scheduler.get("total_steps")
        if (
            isinstance(total, int)
            and scheduler.get("interval", "step") == "step"
            and total < steps < math.inf
        ):
            yield f"scheduler.total_steps={total}: the run has {steps:g} steps, and one cycle must not end before it"
    if accumulate > batches:
        warn(
            f"trainer.accumulate_grad_batches={accumulate}: an epoch has {batches} batches, so that each step is "
            f"made of {batches}, and its gradient is {batches}/{accumulate} of their mean"
        )
    if trainer["log_every_n_steps"] > steps:
        warn(
            f"trainer.log_every_n_steps={trainer['log_every_n_steps']}: the run has {steps:g} steps, so that its "
            "training curves are empty"
        )


def _monitors(config: dict[str, Any], task: Task) -> Iterator[str]:
    measured = ["loss/val", *(f"metric/{name}" for name in task.metrics)]
    for name, node in config["callbacks"].items():
        asked = (node or {}).get("monitor")
        known = node and str(node["_target_"]).startswith(("lightning.", "pytorch_lightning."))
        if known and isinstance(asked, str) and asked not in measured:
            yield (
                f"callbacks.{name}.monitor={asked}: a validation gives {', '.join(measured)}."
                f"{nearest(asked, measured)}"
            )
    asked = config["monitor"]
    best = "lowest" if asked.startswith("loss/") or asked.removeprefix("metric/") in LOWEST else "highest"
    if best == "highest" and asked.removeprefix("metric/") not in HIGHEST:
        return  # a metric of the user's own
    mode = {"lowest": "min", "highest": "max"}[best]
    if config["mode"] != mode:
        yield f"mode={config['mode']}: the best {asked} is the {best}; use mode={mode}"


def _tell_what_idles(config: dict[str, Any]) -> None:
    why = (
        "nothing is validated in this run (data, trainer.limit_val_batches, trainer.check_val_every_n_epoch)"
    )
    for name, node in config["callbacks"].items():
        if node and is_a(node, f"callbacks.{name}", EarlyStopping):
            warn(f"callbacks.{name}: {why}, so that it never looks")
    if config["scheduler"]["_target_"].endswith(".ReduceLROnPlateau"):
        warn(f"scheduler: {why}, so that its rate never changes")
