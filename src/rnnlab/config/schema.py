"""The schema of the whole config: its own keys, and the schemas of all groups."""

from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Annotated, Literal, get_type_hints

from rnnlab.config.data_schema import DATA, DataSchema
from rnnlab.config.fields import NOT_IN_ID, Count, Flag, Positive, Seed, Text, Texts, choices
from rnnlab.config.model_schema import CELLS, MODELS, RecurrentSchema
from rnnlab.config.node import Node, Problem
from rnnlab.config.spelling import near_metric
from rnnlab.config.sweep_schema import SweepSchema
from rnnlab.config.trainer_schema import TrainerSchema
from rnnlab.config.training_schema import (
    CALLBACKS,
    LOGGERS,
    OPTIMIZERS,
    SCHEDULERS,
    CosineSchema,
    EarlyStoppingSchema,
    Monitor,
    SchedulerSchema,
)

LONGEST = 255  # the most bytes of a file's name on common file systems


class ConfigSchema(Node):
    """The keys of conf/config.yaml itself."""

    name: Annotated[Text, NOT_IN_ID]
    seed: Seed
    tags: Annotated[Texts, NOT_IN_ID]
    notes: Annotated[Text, NOT_IN_ID]
    monitor: Monitor
    mode: Literal["min", "max"]
    rerun: Annotated[Flag, NOT_IN_ID]
    resume: Annotated[Text | None, NOT_IN_ID] = None
    resume_engine: Annotated[Literal["same", "any"], NOT_IN_ID] = "same"

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


class CheckpointSchema(Node):
    every_n_steps: Annotated[Count | None, NOT_IN_ID]
    every_seconds: Annotated[Positive | None, NOT_IN_ID]


class PathsSchema(Node):
    outputs: Annotated[Text, NOT_IN_ID]
    data: Annotated[Text, NOT_IN_ID]


FIXED: dict[str, type[Node]] = {
    "checkpoint": CheckpointSchema,
    "paths": PathsSchema,
    "trainer": TrainerSchema,
    "sweep": SweepSchema,
}
COMPONENTS: dict[str, dict[str, type[Node]]] = {
    "model": dict(MODELS),
    "data": DATA,
    "optimizer": OPTIMIZERS,
    "scheduler": SCHEDULERS,
}
NAMED: dict[str, dict[str, type[Node]]] = {"callbacks": CALLBACKS, "logger": LOGGERS}
OPTIONAL = ("sweep",)  # a run's own config.yaml is without it
SECTIONS = (*FIXED, *COMPONENTS, *NAMED)
SECTIONS_NOT_IN_ID = ("logger",)  # sections that never change a number


def other_choice(section: str, key: str) -> str:
    """The first choice of a group that has a key, for an error about another choice; "" if none has it."""
    known = COMPONENTS.get(section, {}).values()
    return next((schema.choice for schema in known if key in schema.model_fields), "")


def same_name(target: str, known: Iterable[str]) -> str:
    """The known target with the same last name, for a class of rnnlab named by another module; "" if there is none."""
    last = target.rpartition(".")[2]
    return next((one for one in known if one.rpartition(".")[2] == last), "") if is_of_rnnlab(target) else ""


def is_of_rnnlab(target: str) -> bool:
    return target.startswith("rnnlab.")


def words(key: str) -> list[str]:
    """The words that a dotted key can be set to, in any choice of its group; [] if it takes other values, too."""
    section, _, name = key.partition(".")
    if key == "model.cell":
        return list(CELLS)
    schemas = (
        COMPONENTS.get(section, {}).values() if section in COMPONENTS else [FIXED.get(section, ConfigSchema)]
    )
    found = [choices(get_type_hints(s, include_extras=True)[name]) for s in schemas if name in s.model_fields]
    return sorted({word for of_one in found for word in of_one})


def _unmeasured(nodes: dict[str, Node], metrics: tuple[str, ...]) -> Iterator[Problem]:
    """Monitors that no validation measures. Names outside metric/ and loss/ may come from a user's own callback."""
    measured = ["loss/val", *(f"metric/{name}" for name in metrics)]
    for path, node in nodes.items():
        name = getattr(node, "monitor", None)
        if name == "loss/train" and isinstance(node, EarlyStoppingSchema):
            continue  # it watches the mean over an epoch
        if (
            not isinstance(name, str)
            or name in measured
            or not isinstance(node, (ConfigSchema, EarlyStoppingSchema))
        ):
            continue
        if path == "" or name.startswith(("metric/", "loss/")):
            key = f"{path}.monitor" if path else "monitor"
            yield key, f"a validation gives {', '.join(measured)}.{near_metric(name, measured)}"


def between(nodes: dict[str, Node]) -> Iterator[Problem]:
    """Problems between parts that are each valid by themselves; `nodes` holds only valid parts."""
    yield from across(nodes)
    data = nodes.get("data")
    if isinstance(data, DataSchema):
        yield from ((f"data.{key}", why) for key, why in data.training_problems())


def across(nodes: dict[str, Node]) -> Iterator[Problem]:
    """Problems that depend on several parts. Of the data it uses only the class, of the top only the monitor."""
    model, data, scheduler, trainer = (nodes.get(k) for k in ("model", "data", "scheduler", "trainer"))
    if isinstance(model, RecurrentSchema) and isinstance(data, DataSchema) and model.kind != data.kind:
        fits = next(m.choice for m in MODELS.values() if m.kind == data.kind)
        yield "model", f"{model.choice} does not fit data={data.choice}; use model={fits}"
    if isinstance(model, RecurrentSchema) and model.metrics:
        yield from _unmeasured(nodes, model.measured())
    if isinstance(scheduler, SchedulerSchema) and isinstance(trainer, TrainerSchema):
        steps, key = trainer.max_steps, "trainer.max_steps"
        if isinstance(scheduler, CosineSchema) and scheduler.total_steps is not None:
            steps, key = scheduler.total_steps, "scheduler.total_steps"
        warmup = getattr(scheduler, "warmup_steps", 0)
        if 0 <= steps < warmup:
            yield "scheduler.warmup_steps", f"is more than {key}={steps}"
