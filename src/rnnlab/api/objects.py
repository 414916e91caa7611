"""Objects as overrides: `rnnlab.train("trainer.max_epochs=5", module=Net(16), data=Points())`."""

import inspect
import itertools
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.loggers import Logger

from rnnlab.api.arguments import several
from rnnlab.api.description import by_default, node_of
from rnnlab.cells import Cell
from rnnlab.config.texts import quoted
from rnnlab.errors import UserError
from rnnlab.runs.kept_source import Unrecordable, target_of
from rnnlab.runs.objects import GIVEN, unrecorded

# what every run has: another class of this name would be merged with it
IN_EVERY_RUN = {
    "++callbacks.progress": "rnnlab.terminal.progress.Progress",
    "++callbacks.pictures": "rnnlab.figures.callback.Figures",
}


def overrides_of(
    *,
    cell: type[Cell] | None = None,
    module: LightningModule | Callable[..., LightningModule] | None = None,
    data: LightningDataModule | Callable[..., LightningDataModule] | None = None,
    callbacks: Sequence[Callback | Callable[..., Callback]] = (),
    loggers: Sequence[Logger | Callable[..., Logger]] = (),
    away: bool = False,
) -> list[str]:
    """The overrides that put these objects into a config. `away`: the training runs in other processes.

    Raises UserError for a cell that has no source, and with `away` for an object that cannot be recorded.
    """
    asked, nodes = [], dict[str, dict[str, Any]]()
    if isinstance(cell, partial):
        raise UserError(
            "cell: must be a class; its options are overrides, such as '+model.options.NAME=VALUE'"
        )
    if cell is not None:
        try:
            asked.append(f"model.cell={target_of(cell)}")
        except (Unrecordable, AttributeError) as error:
            raise UserError(f"cell: {error}") from None
    changed = dict[str, Any]()  # values that are not the default: the name of a run shows them
    for section, name, thing in (("model", "module", module), ("data", "data", data)):
        if thing is not None:
            refuse_other(thing, name)
            node = nodes[f"+{section}"] = node_of(thing, name)
            for key, default in by_default(thing).items() if node["_target_"] != GIVEN else ():
                if key in node and node[key] != default and not isinstance(node[key], dict):
                    changed[f"{section}.{key}"], node[key] = node[key], default
    for group, things in (("callbacks", callbacks), ("logger", loggers)):
        for thing in several(things):
            node = node_of(thing, group)
            kind = str(node.get("what") or node["_target_"].rpartition(".")[2])
            plain = unicodedata.normalize("NFKD", kind).encode("ascii", "ignore").decode() or "object"
            name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain).lower()
            nodes[free(f"++{group}.{name}", node["_target_"], nodes)] = node
    if away and (lost := next(unrecorded(nodes), None)):
        raise UserError(
            f"a sweep trains in other processes, and {lost['what']} cannot be made there: {lost['why']}"
        )
    return asked + [f"{key}={text(value)}" for key, value in (nodes | changed).items()]


def refuse_other(thing: Any, name: str) -> None:
    """Raises UserError where a module is no LightningModule, or data no data set."""
    made = thing.func if isinstance(thing, partial) else thing
    kind = made if inspect.isclass(made) else None if inspect.isroutine(made) else type(made)
    if kind is None:  # a function that makes it
        return
    if name == "module" and not issubclass(kind, LightningModule):
        raise UserError(f"module: {kind.__name__} is no LightningModule")
    if name == "data" and not (hasattr(kind, "setup") and hasattr(kind, "prepare_data")):
        table = "; rnnlab.data.Series(frame, target) makes one" * (kind.__name__ == "DataFrame")
        raise UserError(f"data: {kind.__name__} is no LightningDataModule{table}")


def free(at: str, target: str, nodes: Mapping[str, Any]) -> str:
    """`at`, or with a number after it where another object has this key."""
    taken = sum(key.rstrip("_0123456789") == at for key in nodes)
    numbered = (f"{at}_{i}" if i > 1 else at for i in itertools.count(taken + 1))
    return next(key for key in numbered if key not in nodes and IN_EVERY_RUN.get(key, target) == target)


def text(value: Any) -> str:
    """A value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return f"[{','.join(map(text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{text(inner)}' for key, inner in value.items())}}}"
    return repr(value)
