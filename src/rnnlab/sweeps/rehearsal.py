"""Finds, while a sweep is planned, the errors that would stop its runs before their training.

The sweep's side asks one question for all runs that can only be refused for the same reasons. The worker's side, which
has imported torch, makes each different data set, model, schedule and Trainer once, and trains nothing.
"""

import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

from rnnlab.config.run_config import Part, RunConfig, as_dict
from rnnlab.errors import UserError
from rnnlab.runs.sources import KNOWN

BUDGET = 5.0  # seconds after which no more models and Trainers are made: the runs then report their errors
SECTIONS = ("data", "model", "optimizer", "scheduler", "trainer", "callbacks", "logger")
VALUES = ("monitor", "mode")
Question = dict[str, Any]  # these sections and values of a config, and a seed


class Answer(NamedTuple):
    """`lines`: why these runs are refused; `notes`: their warnings; `scored`: whether they validate; `measured`: the
    metrics of a validation, () where they are not known; `batches`: those of an epoch, None where not known.
    """

    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    scored: bool = True
    measured: tuple[str, ...] = ()
    batches: int | None = None


class Questions:
    """The different questions about the configs of a sweep. Equal sections of configs must be the same object."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self._numbers: dict[tuple[object, ...], int] = {}
        self._data: dict[int, Part] = {}
        self._same: dict[str, Part] = {}

    def number(self, config: RunConfig) -> int:
        """The index in `asked` of the question for a config."""
        looked_at = as_dict(config) | {"data": self._without_seed(config["data"])}
        key = (*(id(looked_at[name]) for name in SECTIONS), *(looked_at[name] for name in VALUES))
        if key not in self._numbers:
            self._numbers[key] = len(self.asked)
            self.asked.append({name: looked_at[name] for name in (*SECTIONS, *VALUES, "seed")})
        return self._numbers[key]

    def _without_seed(self, data: Part) -> Part:
        """The `data` section without its seed: data sets of rnnlab have the same sizes for each seed."""
        if not str(data.get("_target_")).startswith(KNOWN):
            return data
        if id(data) not in self._data:
            kept = {key: 0 if key == "seed" else value for key, value in data.items()}
            self._data[id(data)] = self._same.setdefault(repr(kept), kept)
        return self._data[id(data)]


def answers(asked: list[Question]) -> list[Answer]:
    """The answers to questions, in their order. Runs in the worker. Nothing is downloaded."""
    from rnnlab.training.quiet import quiet

    parts = Parts()
    with quiet():
        return [parts.answer(cast(RunConfig, config)) for config in asked]


class Parts:
    """Makes the parts of runs, each once. `made` holds the part, or the UserError that refuses it."""

    def __init__(self) -> None:
        self.made: dict[object, Any] = {}
        self.end = time.monotonic() + BUDGET

    def answer(self, config: RunConfig) -> Answer:
        from rnnlab.tasks.optimization import Optimization
        from rnnlab.tasks.task import Task
        from rnnlab.training import assembly, preflight

        def key(*names: str) -> tuple[int, ...]:
            return tuple(id(as_dict(config)[name]) for name in names)

        data = self.once(key("data"), lambda: self.load(config["data"]))
        known = hasattr(data, "spec")  # the data set was built and set up
        optimizing = ("data", "optimizer", "scheduler", "trainer")
        how: Any = None
        task = None
        if known:
            rate = config["model"].get("init_from_rate", 1.0)
            how = self.once((*key(*optimizing), rate), lambda: assembly.make_optimization(config, data))
        if isinstance(how, Optimization):
            task = self.once(key("data", "model"), lambda: assembly.make_task(config, data), True)
        trainer = self.once(key("trainer", "callbacks", "logger"), lambda: self.trainer(config), True)
        parts = [data, how, task, trainer]
        if isinstance(task, Task):
            parts.append(self.once(key(*optimizing, "model"), lambda: preflight.configured(how, task), True))
        refused = [part for part in parts if isinstance(part, UserError)]
        lines = [str(line) for error in refused for line in error.args]
        found, sizes = preflight.Findings(lines), preflight.Sizes()
        if known and not refused:
            sizes = self.once(("sizes", id(config["data"])), lambda: preflight.sizes(data))
            found = preflight.findings(config, sizes, task)
        measured = preflight.measured_by(task.metrics) if isinstance(task, Task) else ()
        lines = list(dict.fromkeys(found.lines))
        return Answer(tuple(lines), tuple(found.notes), found.scored, tuple(measured), sizes.train)

    def once(self, key: object, make: Callable[[], Any], within_budget: bool = False) -> Any:
        if key not in self.made:
            if within_budget and time.monotonic() > self.end:
                return None
            try:
                self.made[key] = make()
            except UserError as error:
                self.made[key] = error
            except Exception as error:  # a single run would fail in the same way
                said = " ".join(str(error).split())
                self.made[key] = UserError(
                    f"{type(error).__name__}: {said}" if said else type(error).__name__
                )
        return self.made[key]

    def load(self, node: Part) -> Any:
        """The data set. A user-defined one is built but not set up, which could take long."""
        from rnnlab.config.building import build
        from rnnlab.data.module import SequenceData

        if not_here(node):
            return None
        if not str(node.get("_target_")).startswith(KNOWN):
            return build(node, "data")
        of_size = repr([(k, v) for k, v in node.items() if k != "batch_size"])
        if "segment" not in node and isinstance(first := self.made.get(of_size), SequenceData):
            data: Any = copy.copy(first)  # batches are only made on access
            data.batch_size = node["batch_size"]
            return data
        data = build(node, "data")
        data.prepare_data()
        data.setup("fit")
        self.made[of_size] = data
        return data

    def trainer(self, config: RunConfig) -> Any:
        """A Trainer whose loggers and callbacks would write into a folder that does not exist. Where this machine lacks
        the accelerator, which only the training machines have, the CPU is used.
        """
        import lightning

        from rnnlab.runs.run import Run
        from rnnlab.training import accelerator, assembly

        if config["trainer"]["accelerator"] not in accelerator.present():
            config = config | {"trainer": config["trainer"] | {"accelerator": "cpu", "devices": 1}}
        with tempfile.TemporaryDirectory() as folder:
            task = lightning.LightningModule()
            task.automatic_optimization = False
            return assembly.make_trainer(config, Run(Path(folder) / "run"), task, callbacks=[], bars=False)


def not_here(node: Part) -> bool:
    """Whether a `data` section names a corpus that has not been downloaded."""
    from rnnlab.data.corpora import CORPORA

    name, folder = node.get("corpus"), node.get("folder")
    # a class of the user's own may have other keys and types
    if node.get("path") or not isinstance(name, str) or not isinstance(folder, str):
        return False
    return name in CORPORA and not CORPORA[name].file(name, Path(folder)).exists()
