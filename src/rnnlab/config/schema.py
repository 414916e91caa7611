"""The schema of the whole config: its own keys, and the schemas of all groups."""

from collections.abc import Iterator
from pathlib import PurePath
from typing import Annotated, Literal, get_type_hints

from rnnlab.config.data_schema import DATA, Data
from rnnlab.config.fields import HOW, Anything, Count, Flag, Many, Positive, Says, Seed, Text, Texts, choices
from rnnlab.config.model_schema import CELLS, MODELS, Recurrent
from rnnlab.config.node import Node, Problem
from rnnlab.config.spelling import near_metric
from rnnlab.config.trainer_schema import Trainer
from rnnlab.config.training_schema import (
    CALLBACKS,
    LOGGERS,
    OPTIMIZERS,
    SCHEDULERS,
    Cosine,
    EarlyStopping,
    Monitor,
    Scheduler,
)

LONGEST = 255  # the most bytes of a file's name on common file systems


class Config(Node):
    """The keys of conf/config.yaml itself."""

    name: Annotated[Text, HOW]
    seed: Seed
    tags: Annotated[Texts, HOW]
    notes: Annotated[Text, HOW]
    monitor: Monitor
    mode: Literal["min", "max"]
    rerun: Annotated[Flag, HOW]
    resume: Annotated[Text | None, HOW] = None
    resume_engine: Annotated[Literal["same", "any"], HOW] = "same"

    def problems(self) -> Iterator[Problem]:
        parts = PurePath(self.name).parts
        if not parts or ".." in parts or PurePath(self.name).is_absolute():
            yield "name", "must be a folder's name inside paths.outputs, such as sine or notebook/sine"
        if max((len(part.encode("utf-8", "surrogatepass")) for part in parts), default=0) > LONGEST:
            yield "name", f"is too long: a folder's name has at most {LONGEST} bytes"
        if self.resume == "":
            yield "resume", "is empty; it names a finished run's folder"
        if not self.name.isprintable():
            yield "name", "holds a character that cannot be printed"


class Checkpoint(Node):
    every_n_steps: Annotated[Count | None, HOW]
    every_seconds: Annotated[Positive | None, HOW]


class Paths(Node):
    outputs: Annotated[Text, HOW]
    data: Annotated[Text, HOW]


class Sweep(Node):
    """Settings of a multirun, which have no effect on a single run."""

    zip: Annotated[list[Texts], HOW, Says("a list of lists of keys")]
    exclude: Annotated[list[Anything], HOW, Says("a list of conditions")]
    intervals: Annotated[Many, HOW]
    on_invalid: Annotated[Literal["stop", "skip"], HOW]
    stale: Annotated[Literal["report", "rerun"], HOW]
    max_failures: Annotated[Count | None, HOW]
    workers: Annotated[Count | None, HOW]
    workers_per_gpu: Annotated[Count, HOW]
    renew_mb: Annotated[Count, HOW]
    pictures: Annotated[Flag, HOW]
    dry_run: Annotated[Flag, HOW]
    pool: Annotated[Literal["local", "slurm", "ray"], HOW]
    slurm: Annotated[Anything, HOW]
    ray: Annotated[Anything, HOW]
    search: Annotated[Literal["grid", "random", "tpe", "cmaes", "gp", "nsga2"], HOW]
    objectives: Annotated[Texts, HOW, Says("a list of names")]
    trials: Annotated[Count, HOW]
    minutes: Annotated[Positive | None, HOW]
    prune: Annotated[Literal["none", "asha", "halving", "hyperband", "median", "wilcoxon"], HOW]
    reduction: Annotated[Many, HOW]
    min_steps: Annotated[Count | None, HOW]
    search_order: Annotated[Literal["fast", "deterministic"], HOW]
    search_batch: Annotated[Many, HOW]
    search_seed: Annotated[Seed, HOW]


FIXED: dict[str, type[Node]] = {"checkpoint": Checkpoint, "paths": Paths, "trainer": Trainer, "sweep": Sweep}
COMPONENTS: dict[str, dict[str, type[Node]]] = {
    "model": dict(MODELS),
    "data": DATA,
    "optimizer": OPTIMIZERS,
    "scheduler": SCHEDULERS,
}
NAMED: dict[str, dict[str, type[Node]]] = {"callbacks": CALLBACKS, "logger": LOGGERS}
OPTIONAL = ("sweep",)  # a run's own config.yaml is without it
SECTIONS = (*FIXED, *COMPONENTS, *NAMED)
HOW_SECTIONS = ("logger",)  # sections that never change a number


def other_choice(section: str, key: str) -> str:
    """The first choice of a group that has a key, for an error about another choice; "" if none has it."""
    known = COMPONENTS.get(section, {}).values()
    return next((schema.choice for schema in known if key in schema.model_fields), "")


def words(key: str) -> list[str]:
    """The words that a dotted key can be set to, in any choice of its group; [] if it takes other values, too."""
    section, _, name = key.partition(".")
    if key == "model.cell":
        return list(CELLS)
    schemas = COMPONENTS.get(section, {}).values() if section in COMPONENTS else [FIXED.get(section, Config)]
    found = [choices(get_type_hints(s, include_extras=True)[name]) for s in schemas if name in s.model_fields]
    return sorted({word for of_one in found for word in of_one})


def _unmeasured(nodes: dict[str, Node], metrics: tuple[str, ...]) -> Iterator[Problem]:
    """Monitors that no validation measures. Names outside metric/ and loss/ may come from a user's own callback."""
    measured = ["loss/val", *(f"metric/{name}" for name in metrics)]
    for path, node in nodes.items():
        name = getattr(node, "monitor", None)
        if name == "loss/train" and isinstance(node, EarlyStopping):
            continue  # it watches the mean over an epoch
        if not isinstance(name, str) or name in measured or not isinstance(node, (Config, EarlyStopping)):
            continue
        if path == "" or name.startswith(("metric/", "loss/")):
            key = f"{path}.monitor" if path else "monitor"
            yield key, f"a validation gives {', '.join(measured)}.{near_metric(name, measured)}"


def between(nodes: dict[str, Node]) -> Iterator[Problem]:
    """Problems between parts that are each valid by themselves; `nodes` holds only valid parts."""
    yield from across(nodes)
    data = nodes.get("data")
    if isinstance(data, Data):
        yield from ((f"data.{key}", why) for key, why in data.training_problems())


def across(nodes: dict[str, Node]) -> Iterator[Problem]:
    """Problems that depend on several parts. Of the data it uses only the class, of the top only the monitor."""
    model, data, scheduler, trainer = (nodes.get(k) for k in ("model", "data", "scheduler", "trainer"))
    if isinstance(model, Recurrent) and isinstance(data, Data) and model.kind != data.kind:
        fits = next(m.choice for m in MODELS.values() if m.kind == data.kind)
        yield "model", f"{model.choice} does not fit data={data.choice}; use model={fits}"
    if isinstance(model, Recurrent) and model.metrics:
        yield from _unmeasured(nodes, model.measured())
    if isinstance(scheduler, Scheduler) and isinstance(trainer, Trainer):
        steps, key = trainer.max_steps, "trainer.max_steps"
        if isinstance(scheduler, Cosine) and scheduler.total_steps is not None:
            steps, key = scheduler.total_steps, "scheduler.total_steps"
        warmup = getattr(scheduler, "warmup_steps", 0)
        if 0 <= steps < warmup:
            yield "scheduler.warmup_steps", f"is more than {key}={steps}"
