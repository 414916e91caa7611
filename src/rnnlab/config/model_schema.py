"""The schemas of the models: keys, types and bounds of a recurrence and of each task."""

import importlib.util
import itertools
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from rnnlab.cells.description import CATALOGUE, Description, Option
from rnnlab.config.equal import ASKED, MOST
from rnnlab.config.fields import (
    NOT_IN_ID_AT_DEFAULT,
    BelowOne,
    Count,
    Described,
    Flag,
    Number,
    Positive,
    Probability,
    Text,
    wrong,
)
from rnnlab.config.files import folder
from rnnlab.config.node import Node, Problem
from rnnlab.errors import nearest

CELLS = tuple(CATALOGUE)
# keys that are not passed to a model's constructor
UNBUILT = ("init_from", "init_from_freeze", "init_from_rate", "equal")


def able(can: Callable[[Description], bool]) -> tuple[list[str], list[str]]:
    """The names of rnnlab's cells that can do something, and of those that cannot; users' cells are not known here."""
    return [c for c in CELLS if can(CATALOGUE[c])], [c for c in CELLS if not can(CATALOGUE[c])]


# computed once: a sweep may check 100,000 runs
BENT = able(lambda cell: "nonlinearity" in cell.options)
FORGETTING = able(lambda cell: cell.has_gate("forget"))
OF_TORCH = able(lambda cell: bool(cell.torch_layer))
OF_STATES = able(lambda cell: len(cell.states) > 1)
COUPLED = able(lambda cell: cell.coupled_states)
MULTIPLYING = able(lambda cell: cell.recurrent_gates + cell.own_products > 0)


OPTIONS = "a mapping of the cell's own options, each a number, a truth value or a text"


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


def _equal(text: str) -> str:
    if not (found := ASKED.fullmatch(text)):
        raise wrong("must be parameters:NUMBER or flops:NUMBER, such as parameters:20000")
    if float(found[2]) > MOST:
        raise wrong(f"the number must be at most {MOST:g}")
    return text


Plain = bool | int | float | str | None


class RecurrentSchema(Node):
    cell: Annotated[Text, AfterValidator(_cell), Described(f"{', '.join(CELLS)} or a dotted path")]
    options: Annotated[dict[str, Plain], NOT_IN_ID_AT_DEFAULT, Described(OPTIONS)] = {}  # noqa: RUF012
    nonlinearity: Literal["tanh", "relu"]
    hidden_size: Count
    equal: Annotated[
        Text | None, AfterValidator(lambda t: t if t is None else _equal(t)), NOT_IN_ID_AT_DEFAULT
    ] = None
    num_layers: Count
    dropout: BelowOne
    input_dropout: Annotated[BelowOne, NOT_IN_ID_AT_DEFAULT] = 0.0
    recurrent_dropout: Annotated[BelowOne, NOT_IN_ID_AT_DEFAULT] = 0.0
    zoneout: Annotated[BelowOne, NOT_IN_ID_AT_DEFAULT] = 0.0
    zoneout_cell: Annotated[BelowOne | None, NOT_IN_ID_AT_DEFAULT] = None
    bidirectional: Flag
    bias: Literal["both", "one", "none"]
    initial_state: Literal["zero", "learned"]
    init: Literal["uniform", "orthogonal", "torch"]
    init_scale: Positive | None
    forget_bias: Annotated[
        Number | Literal["auto"] | None,
        Described("a number, auto (1.0 for a cell with a forget gate) or null"),
    ]
    engine: Literal["auto", "reference", "torch", "native", "compiled"]
    init_from: Annotated[Text, AfterValidator(folder), Described("a run's folder")] | None
    init_from_freeze: Annotated[Flag, NOT_IN_ID_AT_DEFAULT] = False
    init_from_rate: Annotated[Positive, NOT_IN_ID_AT_DEFAULT] = 1.0
    kind: ClassVar[str] = ""
    metrics: ClassVar[tuple[str, ...]] = ()  # the metrics of its task

    def measured(self) -> tuple[str, ...]:
        return self.metrics

    @property
    def chosen_forget_bias(self) -> float | str | None:
        """`forget_bias` with `auto` replaced; it stays `auto` for a user's own cell and a cell with options, until the
        cell is built.
        """
        if self.forget_bias != "auto" or self.cell not in CELLS or self.options:
            return self.forget_bias
        return 1.0 if self.bias != "none" and CATALOGUE[self.cell].has_gate("forget") else None

    def problems(self) -> Iterator[Problem]:
        yield from self._option_problems()
        if self.equal is not None and self.cell not in CELLS:
            yield "equal", f"can count rnnlab's own cells alone, not {self.cell}; set model.hidden_size"
        can, cannot = BENT
        if self.nonlinearity == "relu" and self.cell in cannot:
            yield "nonlinearity", f"only model.cell={' or '.join(can)} has it, not {self.cell}"
        can, cannot = FORGETTING
        asked = self.forget_bias not in (None, "auto")
        if asked and self.cell in cannot:
            them = ", ".join(can)
            yield (
                "forget_bias",
                f"{self.cell} has no forget gate; set it to null (these cells have one: {them})",
            )
        if asked and self.bias == "none":
            yield "forget_bias", "model.bias=none leaves no bias to set; use both or one"
        if self.init_scale is not None and self.init != "uniform":
            yield "init_scale", f"only model.init=uniform has a scale, not {self.init}"
        if self.init_from is None and (self.init_from_freeze or self.init_from_rate != 1.0):
            yield "init_from_freeze" if self.init_from_freeze else "init_from_rate", "needs model.init_from"
        if self.init_from_freeze and self.init_from_rate != 1.0:
            yield "init_from_rate", "the weights that model.init_from_freeze freezes have no learning rate"
        if self.dropout > 0 and self.num_layers == 1:
            yield "dropout", "acts between two layers, and model.num_layers is 1; set it to 0 or add a layer"
        yield from self._noise_problems()
        can, cannot = OF_TORCH
        if self.engine == "torch" and self.cell not in can:
            yield "engine", f"torch has a layer for {', '.join(can)}, not for {self.cell}"
        if self.init == "torch" and self.cell not in can:
            yield "init", f"torch has a layer for {', '.join(can)}, not for {self.cell}"

    def _noise_problems(self) -> Iterator[Problem]:
        """Dropout and zoneout that cannot act on this cell or engine."""
        zoneout_cell = self.zoneout if self.zoneout_cell is None else self.zoneout_cell
        can, cannot = OF_STATES
        if self.zoneout_cell is not None and self.cell in cannot:
            yield "zoneout_cell", f"{self.cell} has one state; these cells have more: {', '.join(can)}"
        coupled, _ = COUPLED
        if zoneout_cell > 0 and self.cell in coupled:
            key = "zoneout" if self.zoneout_cell is None else "zoneout_cell"
            yield (
                key,
                f"the other states of {self.cell} make sense only together, and zoneout keeps each by itself; "
                "set model.zoneout_cell=0",
            )
        _, cannot = MULTIPLYING
        if self.recurrent_dropout > 0 and self.cell in cannot:
            yield "recurrent_dropout", f"{self.cell} has no matrix of recurrent weights; use model.zoneout"
        if self.engine == "torch" and (self.recurrent_dropout > 0 or self.zoneout > 0 or zoneout_cell > 0):
            yield "engine", "torch's layers have neither recurrent dropout nor zoneout; set it to auto"

    def _option_problems(self) -> Iterator[Problem]:
        if self.cell not in CELLS:
            return  # a user's own cell: its constructor checks its options
        own = own_options(self.cell)
        for name, value in self.options.items():
            if name not in own:
                others = [cell for cell in CELLS if name in own_options(cell)]
                hint = f" model.cell={' or '.join(others)} has it." if others else nearest(name, own)
                yield f"options.{name}", f"{self.cell} has no such option.{hint or ' It has none.'}"
            elif value is not None and (why := _unfit(own[name], value)):
                yield f"options.{name}", why
            elif (
                name == "max_phase"
                and self.options.get("eigenvalues") == "real"
                and value not in (None, own[name].default)
            ):  # the cell itself takes it: older runs have it, without an effect
                yield f"options.{name}", "real eigenvalues have no phase"

    def deciding(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values, without options that have the cell's default."""
        own = own_options(str(values.get("cell")))
        options = {k: v for k, v in (values.get("options") or {}).items() if v is not None}
        for name in own.keys() & options.keys():
            if own[name].kind == "float":
                options[name] = float(options[name])
        kept = {k: v for k, v in options.items() if k not in own or v != own[k].default}
        return values | {"options": kept}


def own_options(cell: str) -> dict[str, Option]:
    """The options in `model.options` that one of rnnlab's cells takes."""
    found = CATALOGUE[cell].options if cell in CATALOGUE else {}
    return {name: option for name, option in found.items() if name not in RecurrentSchema.model_fields}


def _unfit(option: Option, value: Plain) -> str | None:
    """Why a value does not fit an option; None where it does."""
    if option.words:
        hint = nearest(str(value), option.words)
        near = hint if hint.startswith(" Did") else ""
        return None if value in option.words else f"must be one of {', '.join(option.words)}.{near}"
    if option.kind == "bool":
        return None if isinstance(value, bool) else "must be true or false"
    whole = isinstance(value, int) and not isinstance(value, bool)
    if option.kind == "int":
        return None if whole else "must be a whole number"
    return None if whole or isinstance(value, float) else "must be a number"


def _increasing(levels: list[float]) -> list[float]:
    if any(a >= b for a, b in itertools.pairwise(levels)) or min(levels) <= 0 or max(levels) >= 1:
        raise wrong("must increase, between 0 and 1, as [0.1,0.5,0.9] does")
    return levels


Levels = Annotated[
    list[Probability],
    Field(min_length=1),
    AfterValidator(_increasing),
    Described("a list of levels between 0 and 1"),
]


class ForecasterSchema(RecurrentSchema):
    choice: ClassVar[str] = "forecaster"
    kind: ClassVar[str] = "series"
    metrics: ClassVar[tuple[str, ...]] = ("mse", "mae", "rmse")
    loss: Literal["mse", "mae", "huber", "quantile", "student_t"]
    huber_delta: Positive
    quantiles: Annotated[Levels, NOT_IN_ID_AT_DEFAULT] = [0.1, 0.5, 0.9]  # noqa: RUF012
    subtract_last: Flag

    def measured(self) -> tuple[str, ...]:
        return self.metrics + (
            ("pinball", "crps", "coverage") if self.loss in ("quantile", "student_t") else ()
        )

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if self.loss != "huber" and self.huber_delta != 1.0:
            yield "huber_delta", f"only model.loss=huber has it, not {self.loss}"
        if self.loss != "quantile" and self.quantiles != type(self).model_fields["quantiles"].default:
            yield "quantiles", f"only model.loss=quantile has them, not {self.loss}"


class CharLMSchema(RecurrentSchema):
    choice: ClassVar[str] = "char_lm"
    kind: ClassVar[str] = "text"
    metrics: ClassVar[tuple[str, ...]] = ("nats", "bits", "perplexity")
    embedding_size: Count | None

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if self.bidirectional:
            yield "bidirectional", "a language model cannot read the future; set it to false"


class ClassifierSchema(RecurrentSchema):
    choice: ClassVar[str] = "classifier"
    kind: ClassVar[str] = "labelled"
    metrics: ClassVar[tuple[str, ...]] = ("cross_entropy", "accuracy", "f1", "auroc")
    embedding_size: Count
    output: Literal["auto", "sigmoid", "softmax"]


MODELS: dict[str, type[RecurrentSchema]] = {
    "rnnlab.tasks.Forecaster": ForecasterSchema,
    "rnnlab.tasks.CharLM": CharLMSchema,
    "rnnlab.tasks.Classifier": ClassifierSchema,
}
