"""The classes that the config of an untrusted run may build: those listed here, each at its place in the config and
with its own arguments. Nothing is imported for this check.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from rnnlab.config.inner import BY_NAME, EXACT, FUNCTIONS, LAYERS
from rnnlab.config.node import Node
from rnnlab.config.schema import COMPONENTS, NAMED, same_name
from rnnlab.config.stock import STOCK

# classes that send data to a server named in the config: they have a schema, but need trust
SENDING = ("lightning.pytorch.loggers.MLFlowLogger",)
LISTED: dict[str, dict[str, type[Node]]] = {
    place: {t: n for t, n in known.items() if t not in SENDING} | STOCK.get(place, {})
    for place, known in (COMPONENTS | NAMED).items()
}
# sections that are built later, with the run's parameters or optimizer
PARTIAL = ("optimizer", "scheduler")
# the Trainer's arguments that start processes, name classes, or upload: only their defaults are permitted
AS_BY_DEFAULT = {"strategy": "auto", "plugins": None, "model_registry": None}

Own = Callable[[str, str, Any], bool]  # (place, target, node): is it the user's own?


def refusals(sections: Mapping[str, Any], own: Own = lambda *_: False) -> Iterator[str]:
    """A short text for each thing in these sections of a config that is not permitted: the code that it would run.

    `own` decides whether a target that is not listed is the user's own. The arguments of a user's own class must be
    plain values, torch's layers and functions, or other classes of the user.
    """
    for section, node in sections.items():
        if section in NAMED and isinstance(node, dict):
            for name, inner in node.items():
                if inner is not None:
                    yield from component(f"{section}.{name}", section, inner, own)
        elif section in LISTED:
            yield from component(section, section, node, own)
        elif holds_target(node):  # nothing is built from this section, but a target might be imported
            yield f"{section}={shape(node)}"
        elif section == "trainer" and isinstance(node, dict):
            for key, default in AS_BY_DEFAULT.items():
                if node.get(key, default) != default:
                    yield f"trainer.{key}={shape(node[key])}"


def component(at: str, section: str, node: Any, own: Own) -> Iterator[str]:
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        yield f"{at}={shape(node)}"
        return
    target = node["_target_"]
    listed = LISTED[section].get(target)
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    if section in PARTIAL and arguments.get("_partial_") is True:
        del arguments["_partial_"]
    if listed is None and not own(at, target, node):
        known = same_name(target, LISTED[section])
        yield f"{at}={call(target, arguments)}" + (f" (the list has {known})" if known else "")
        return
    for key, value in arguments.items():
        if not isinstance(key, str) or key.startswith("_"):
            right = False
        elif listed is not None:
            right = fits(listed, key, value)
        else:
            right = inner(f"{at}.{key}", value, own)
        if not right:
            yield f"{at}={call(target, {key: value})}"
    if not _is_known_cell(at, node.get("cell"), own):
        yield f"{at}.cell={one_line(node['cell'])}"


def _is_known_cell(at: str, cell: Any, own: Own) -> bool:
    return not isinstance(cell, str) or "." not in cell or own(f"{at}.cell", cell, cell)


def fits(schema: type[Node], key: str, value: Any) -> bool:
    """Whether a listed class has this argument, with a value of this type; the class itself checks bounds."""
    if (
        key not in schema.model_fields
        or holds_target(value)
        or (isinstance(value, dict) and not is_plain(value))
    ):
        return False
    try:
        setattr(schema.model_construct(_fields_set=set()), key, value)
    except ValidationError as error:
        return all(e["type"] == "rule" for e in error.errors())  # right type, but a missing file, for example
    return True


def inner(at: str, value: Any, own: Own) -> bool:
    """Whether an argument of a user's own class is permitted: plain values, and nodes that are themselves permitted."""
    if isinstance(value, list):
        return all(inner(at, one, own) for one in value)
    if not isinstance(value, dict):
        return is_plain(value)
    rest, words = dict(value), tuple[str, ...]()
    if "_target_" in value:
        target = rest.pop("_target_")
        if target == BY_NAME:
            path = rest.get("path")
            known = path in LAYERS or path in FUNCTIONS
            return list(rest) == ["path"] and isinstance(path, str) and (known or own(at, path, value))
        schema = next(
            (found[target] for found in LISTED.values() if isinstance(target, str) and target in found), None
        )
        if schema is not None:
            rest.pop("_partial_", None)
            known = _is_known_cell(at, rest.get("cell"), own)
            return known and all(isinstance(k, str) and fits(schema, k, v) for k, v in rest.items())
        if not isinstance(target, str) or not (target in LAYERS or target in EXACT or own(at, target, value)):
            return False
        words = ("_args_", "_partial_")
    keys = all(isinstance(key, str) and (key in words or not key.startswith("_")) for key in rest)
    known = _is_known_cell(at, rest.get("cell"), own)
    return keys and known and all(inner(f"{at}.{key}", one, own) for key, one in rest.items())


def is_plain(value: Any) -> bool:
    """Whether a value is a number, a text, null, or a list or mapping of these, which any class may get."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and not k.startswith("_") and is_plain(v) for k, v in value.items())
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def named(node: Any) -> Iterator[str]:
    """All `_target_`s below a node, and cells by their dotted paths."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield one_line(node["_target_"])
        if isinstance(cell := node.get("cell"), str) and "." in cell:
            yield one_line(cell)
        for value in node.values():
            yield from named(value)
    elif isinstance(node, list):
        for value in node:
            yield from named(value)


def holds_target(value: Any) -> bool:
    return next(named(value), None) is not None


def call(target: str, arguments: dict[Any, Any]) -> str:
    inside = ", ".join(f"{one_line(k)}: {shape(v)}" for k, v in list(arguments.items())[:6])
    return f"{one_line(target)}({inside}{', ...' * (len(arguments) > 6)})"


def shape(value: Any) -> str:
    """The kind of a value in a word or two, without its text."""
    if isinstance(value, dict):
        target = value.get("_target_")
        rest = {k: v for k, v in value.items() if k != "_target_"}
        return call(target, rest) if isinstance(target, str) else f"mapping of {len(value)}"
    if isinstance(value, list):
        targets = list(named(value))
        return f"list of {len(value)}" + f" with {', '.join(targets[:3])}" * bool(targets)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return "text" if isinstance(value, str) else "number"


def one_line(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:97]}..."
