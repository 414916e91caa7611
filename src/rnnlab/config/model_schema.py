"""The models: what a recurrence and each of the three tasks can be asked for."""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator

from rnnlab.cells.description import CATALOGUE, Description
from rnnlab.config.fields import BelowOne, Count, Flag, Number, Positive, Says, Text, wrong
from rnnlab.config.files import folder
from rnnlab.config.node import Node, Problem
from rnnlab.errors import nearest

CELLS = tuple(CATALOGUE)


def able(can: Callable[[Description], bool]) -> tuple[list[str], list[str]]:
    """Our cells that can do something, and those that cannot; of a user's own cell nothing is known here."""
    return [c for c in CELLS if can(CATALOGUE[c])], [c for c in CELLS if not can(CATALOGUE[c])]


def _cell(name: str) -> str:
    if name in CELLS:
        return name
    if "." not in name:
        hint = nearest(name.lower(), CELLS)
        more = "" if hint.startswith(" Did") else " Or a class of yours by its dotted path."
        raise wrong("no such cell.{hint}{more}", hint=hint, more=more)
    package = name.split(".")[0]
    if not package.isidentifier() or importlib.util.find_spec(package) is None:
        raise wrong("there is no Python module {package}; is its folder on PYTHONPATH?", package=package)
    return name


class Recurrent(Node):
    cell: Annotated[Text, AfterValidator(_cell), Says(f"{', '.join(CELLS)} or a dotted path")]
    nonlinearity: Literal["tanh", "relu"]
    hidden_size: Count
    num_layers: Count
    dropout: BelowOne
    bidirectional: Flag
    bias: Literal["both", "one", "none"]
    initial_state: Literal["zero", "learned"]
    init: Literal["uniform", "orthogonal", "torch"]
    init_scale: Positive | None
    forget_bias: Number | None
    engine: Literal["auto", "reference", "torch", "native"]
    init_from: Annotated[Text, AfterValidator(folder), Says("a run's folder")] | None
    kind: ClassVar[str] = ""
    metrics: ClassVar[tuple[str, ...]] = ()  # that its task measures

    def problems(self) -> Iterator[Problem]:
        can, cannot = able(lambda cell: "nonlinearity" in cell.options)
        if self.nonlinearity == "relu" and self.cell in cannot:
            yield "nonlinearity", f"only model.cell={' or '.join(can)} has it, not {self.cell}"
        can, cannot = able(lambda cell: cell.has_gate("forget"))
        if self.forget_bias is not None and self.cell in cannot:
            yield "forget_bias", f"only model.cell={' or '.join(can)} has a forget gate, not {self.cell}"
        if self.forget_bias is not None and self.bias == "none":
            yield "forget_bias", "model.bias=none leaves no bias to set; use both or one"
        if self.init_scale is not None and self.init != "uniform":
            yield "init_scale", f"only model.init=uniform has a scale, not {self.init}"
        if self.dropout > 0 and self.num_layers == 1:
            yield "dropout", "acts between two layers, and model.num_layers is 1; set it to 0 or add a layer"
        can, cannot = able(lambda cell: bool(cell.torch_layer))
        if self.engine == "torch" and self.cell not in can:
            yield "engine", f"torch has a layer for {', '.join(can)}, not for {self.cell}"
        if self.init == "torch" and self.cell not in can:
            yield "init", f"torch has a layer for {', '.join(can)}, not for {self.cell}"


class Forecaster(Recurrent):
    choice: ClassVar[str] = "forecaster"
    kind: ClassVar[str] = "series"
    metrics: ClassVar[tuple[str, ...]] = ("mse", "mae", "rmse")
    loss: Literal["mse", "mae", "huber"]
    huber_delta: Positive
    subtract_last: Flag


class CharLM(Recurrent):
    choice: ClassVar[str] = "char_lm"
    kind: ClassVar[str] = "text"
    metrics: ClassVar[tuple[str, ...]] = ("nats", "bits", "perplexity")
    embedding_size: Count | None

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if self.bidirectional:
            yield "bidirectional", "a language model cannot read the future; set it to false"


class Classifier(Recurrent):
    choice: ClassVar[str] = "classifier"
    kind: ClassVar[str] = "labelled"
    metrics: ClassVar[tuple[str, ...]] = ("cross_entropy", "accuracy", "f1", "auroc")
    embedding_size: Count
    output: Literal["auto", "sigmoid", "softmax"]


MODELS: dict[str, type[Recurrent]] = {
    "rnnlab.tasks.Forecaster": Forecaster,
    "rnnlab.tasks.CharLM": CharLM,
    "rnnlab.tasks.Classifier": Classifier,
}
