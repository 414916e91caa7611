"""Checks Lightning's callbacks: which do not work with a task of rnnlab, which settings have no effect, and which calls
of the Trainer are not allowed.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from rnnlab.config.run_config import RunConfig
from rnnlab.config.spelling import near_metric
from rnnlab.errors import RunFailed, counted
from rnnlab.tasks.task import Task
from rnnlab.training.assembly import is_a
from rnnlab.training.recorder import TRAINING

PACKAGES = ("lightning.pytorch.callbacks", "pytorch_lightning.callbacks")
ENDED = ("on_train_end", "on_fit_end", "teardown")  # hooks after the last step
PASSES = ("fit", "validate", "test", "predict")  # methods of a Trainer
BASE = "does nothing by itself; name a subclass of it"
UNSERVED = {
    "BackboneFinetuning": "looks for a part called backbone; model.init_from_freeze=true trains the head alone",
    "BaseFinetuning": BASE,
    "BasePredictionWriter": BASE,
    "Callback": BASE,
    "Checkpoint": BASE,
    "GradientAccumulationScheduler": "cannot serve: trainer.accumulate_grad_batches is one number for the whole run",
    "LearningRateFinder": "has no attribute to put the rate into; `rnnlab find-lr` finds one before the run, or "
    "update_attr=false leaves the run its own",
    "ModelPruning": "gives the weights other names, by which the run's best ones could not be loaded",
    "ProgressBar": BASE,
}


def refused(config: RunConfig, task: Any) -> Iterator[str]:
    """A line for each of Lightning's own callbacks that does not work with this task."""
    for name, node in _nodes(config):
        package, _, kind = str(node["_target_"]).rpartition(".")
        if not package.startswith(PACKAGES) or kind not in UNSERVED:
            continue
        why = UNSERVED[kind]
        if why != BASE and kind != "ModelPruning" and not isinstance(task, Task):
            continue  # Lightning's loop trains a user-defined LightningModule
        served = {
            "BackboneFinetuning": hasattr(task, "backbone"),
            "LearningRateFinder": node.get("update_attr") is False
            or any(hasattr(task, at) for at in (node.get("attr_name") or "lr", "learning_rate")),
        }
        if not served.get(kind):
            yield f"callbacks.{name}: {kind} {why}"


def comes_to_nothing(config: RunConfig, steps: float, epochs: float) -> Iterator[str]:
    """A line for each ModelCheckpoint that is due only after the run's end."""
    for name, node in _nodes(config):
        if is_a(node, f"callbacks.{name}", ModelCheckpoint):
            for key, length in (("every_n_train_steps", steps), ("every_n_epochs", epochs)):
                if isinstance(node.get(key), int) and node[key] > length and not node.get("save_last"):
                    whole = counted(int(length), key.rpartition("_")[2].removesuffix("s"))
                    yield f"callbacks.{name}.{key}={node[key]}: the run has {whole}, so that it saves nothing"


def misnamed(config: RunConfig, measured: list[str]) -> Iterator[tuple[str, str, str | None]]:
    """(place, line, metric) for each monitor of Lightning's callbacks; the line is "" where the metric exists. Also
    (place, line, None) for each unknown name in the `filename` of a ModelCheckpoint.
    """
    for name, node in _nodes(config):
        at = f"callbacks.{name}"
        if not str(node["_target_"]).startswith(("lightning.", "pytorch_lightning.")):
            continue
        if isinstance(asked := node.get("monitor"), str):
            seen = [*measured, TRAINING] if is_a(node, at, EarlyStopping) else measured
            yield at, "" if asked in seen else f"{at}.monitor={asked}: {offered(asked, seen)}", asked
        if is_a(node, at, ModelCheckpoint):
            for field in re.findall(r"\{([^{}:]+)", str(node.get("filename") or "")):
                if field not in ("epoch", "step", *measured):  # Lightning writes 0 for it
                    known = ["epoch", "step", *measured]
                    yield (
                        at,
                        f"{at}.filename: there is no {{{field}}}, but {', '.join(known)}.{near_metric(field, known)}",
                        None,
                    )


def unmeasured_at_first(config: RunConfig) -> Iterator[str]:
    """A line for each EarlyStopping that would check before the first validation. Called where the first epoch has no
    validation.
    """
    for name, node in _nodes(config):
        looks = node.get("check_on_train_epoch_end") and node.get("strict", True)
        if looks and node.get("monitor") != TRAINING and is_a(node, f"callbacks.{name}", EarlyStopping):
            yield (
                f"callbacks.{name}.check_on_train_epoch_end=true: the first epoch ends without a validation, and it "
                "would check then; false checks after each validation"
            )


def offered(asked: str, seen: list[str]) -> str:
    """Names the metrics that can be monitored, and the one nearest to `asked`."""
    validated = [name for name in seen if name != TRAINING]
    also = f", the training {TRAINING}" if TRAINING in seen else ""
    return f"a validation gives {', '.join(validated)}{also}.{near_metric(asked, seen)}"


@contextmanager
def one_fit(trainer: Any, ours: Sequence[Any]) -> Iterator[None]:
    """While open, raises RunFailed where a callback calls fit, validate, test or predict of the Trainer that trains the
    run. After the last step, validate, test and predict are allowed. At the end raises RunFailed where a callback has
    removed one of `ours` from the Trainer's list, because then nothing of the run is kept.
    """
    passes = {name: getattr(trainer, name) for name in PASSES}

    def guarded(name: str) -> Callable[..., Any]:
        def guard(*args: Any, **more: Any) -> Any:
            who, hook = _asking()
            if name != "fit" and hook in ENDED:
                return passes[name](*args, **more)
            raise RunFailed(
                f"{who} calls trainer.{name} while that Trainer trains the run, and it does one thing at a time; a "
                f"Trainer of its own, Trainer(logger=False, ...).{name}(module, DATA), can"
            )

        return guard

    for name in PASSES:
        setattr(trainer, name, guarded(name))
    try:
        yield
    finally:
        for name in PASSES:
            delattr(trainer, name)
    if lost := [type(one).__name__ for one in ours if one not in trainer.callbacks]:
        raise RunFailed(
            f"a callback took rnnlab's own ({', '.join(lost)}) out of trainer.callbacks, so that what the run has "
            "learned was not kept; append to the list, or remove your own from it"
        )


def _asking() -> tuple[str, str]:
    """The callback that calls a guarded method of the Trainer, and the hook of Lightning in which it does so."""
    frame, who, hook = inspect.currentframe(), "a callback", ""
    while frame is not None and not hook:
        caller, called = frame.f_locals.get("self"), frame.f_locals.get("hook_name")
        if isinstance(caller, Callback):
            who = type(caller).__name__
        hook = called if isinstance(called, str) else ""  # a local variable of Lightning's caller
        frame = frame.f_back
    return who, hook


def _nodes(config: RunConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((name, node) for name, node in config["callbacks"].items() if node)
