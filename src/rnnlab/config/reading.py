"""Reads plain values with the schema: typed values, and a line for each problem."""

import copy
import difflib
import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from pydantic import ValidationError

from rnnlab.config.dotted import value_at
from rnnlab.config.equal import set_hidden_size
from rnnlab.config.fields import NOT_IN_ID_AT_DEFAULT, choices, describe
from rnnlab.config.model_schema import RecurrentSchema
from rnnlab.config.node import Node
from rnnlab.config.schema import (
    COMPONENTS,
    FIXED,
    NAMED,
    OPTIONAL,
    SECTIONS,
    ConfigSchema,
    between,
    is_of_rnnlab,
    other_choice,
    same_name,
)
from rnnlab.config.spelling import near_key
from rnnlab.config.stock import STOCK
from rnnlab.config.training_schema import WRITES_WITH, SchedulerSchema
from rnnlab.errors import nearest

REPLACED = ("hidden_size", "equal", "forget_bias")  # keys that `replace_auto` may set
# keys of a node that Hydra's instantiate itself uses
INSTANTIATE_KEYS = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")
# targets of rnnlab that may be named although they have no schema; the last one is an object from Python
WITHOUT_SCHEMA = (*WRITES_WITH, "rnnlab.training.schedules.rising", "rnnlab.runs.objects.given")


@dataclass
class Reading:
    """The result of `read`. `nodes` holds the parts that have a schema, by dotted path ("" is the top)."""

    values: dict[str, Any]
    nodes: dict[str, Node] = field(default_factory=dict)
    sound: dict[str, Node] = field(default_factory=dict)  # the nodes in which every field is valid
    problems: list[str] = field(default_factory=list)
    # the model's keys REPLACED with their values before `replace_auto`
    before_replacing: dict[str, Any] = field(default_factory=dict)


def shown(value: Any) -> str:
    """A value as it is written on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(shown(v) for v in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{k}:{shown(v)}' for k, v in value.items())}}}"
    return str(value)


def read(values: dict[str, Any], missing: Sequence[str] = (), unresolved: Sequence[str] = ()) -> Reading:
    """Converts `values` to their types, in place, where this is possible.

    `missing` are keys that still need a value; `unresolved` are keys whose problem is already reported.
    """
    reading = Reading(values)
    # {key: whether it still needs a line}
    absent = dict.fromkeys(missing, True) | dict.fromkeys(unresolved, False)
    _node(reading, "", ConfigSchema, {k: v for k, v in values.items() if k not in SECTIONS}, values, absent)
    for section in SECTIONS:
        if section in NAMED and not isinstance(values.get(section), dict):
            values[section] = {}  # ~logger means logger=none
        elif section not in values and section not in absent and section not in OPTIONAL:
            reading.problems.append(f"{section}: is missing from the config")
    for section, schema in FIXED.items():
        if section in values:
            _node(reading, section, schema, values[section], values[section], absent)
    for section, known in COMPONENTS.items():
        if section in values:
            _component(reading, section, known, values[section], absent)
    for section, known in NAMED.items():
        for name, node in values[section].items():
            if node is not None:
                _component(reading, f"{section}.{name}", known, node, absent)
    for name, node in values["logger"].items():
        package = WRITES_WITH.get(str(node.get("_target_"))) if isinstance(node, dict) else None
        if package and not installed(package):
            reading.problems.append(f"logger.{name}: {package} is not installed: pip install {package}")
    for path, node in list(reading.sound.items()):
        for key, message in node.problems():
            _note(reading, f"{path}.{key}" if path else key, message)
    for key, message in between(reading.sound):
        if key in COMPONENTS:
            reading.problems.append(f"{key}: {message}")
        else:
            _note(reading, key, message)
    if "model" not in reading.nodes and value_at(reading.values, "model.equal") is not None:
        _note(reading, "model.equal", "is for the models of rnnlab; set model.hidden_size")
    model = reading.sound.get("model")
    if isinstance(model, RecurrentSchema):
        reading.before_replacing = {key: values["model"][key] for key in REPLACED if key in values["model"]}
        if why := replace_auto(model, values["model"], sound=not reading.problems):
            _note(reading, "model.equal", why)
    return reading


def replace_auto(model: RecurrentSchema, values: dict[str, Any], sound: bool = True) -> str | None:
    """Replaces `equal` and `auto`, in the node and in the values; returns why that is not possible, or None.

    If the config is not `sound`, `equal` stays as it is.
    """
    why = None
    if sound and model.equal is not None:
        why = set_hidden_size(values, model.equal)
        model.__dict__ |= {key: values[key] for key in ("hidden_size", "equal")}
    if model.forget_bias == "auto":
        model.__dict__["forget_bias"] = values["forget_bias"] = model.chosen_forget_bias
    return why


def installed(package: str) -> bool:
    """Whether a package is installed, without importing it. A folder of its name, as wandb makes one, is not enough."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def _note(reading: Reading, path: str, message: str) -> None:
    reading.problems.append(f"{path}={shown(value_at(reading.values, path))}: {message}")


def _component(
    reading: Reading, path: str, known: dict[str, type[Node]], node: Any, absent: dict[str, bool]
) -> None:
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        if f"{path}._target_" not in absent:
            group = path.split(".")[0]
            reading.problems.append(
                f"{path}: has no _target_, the class to build; choose one with {group}=NAME"
            )
    elif node["_target_"] in known:
        arguments = {k: v for k, v in node.items() if k not in INSTANTIATE_KEYS}
        _node(reading, path, known[node["_target_"]], arguments, node, absent)
    elif stock := STOCK.get(path.partition(".")[0], {}).get(node["_target_"]):
        _stock(reading, path, stock, node)
    elif is_of_rnnlab(node["_target_"]) and node["_target_"] not in WITHOUT_SCHEMA:
        reading.problems.append(_no_class_of_rnnlab(path, node["_target_"], known))
    elif path == "scheduler" and "interval" in node:  # the class is the user's, but the key is rnnlab's
        assign(
            reading,
            path,
            SchedulerSchema,
            SchedulerSchema.model_construct(),
            "interval",
            node["interval"],
            node,
        )


def _no_class_of_rnnlab(path: str, target: str, known: Iterable[str]) -> str:
    at = f"{path}._target_={target}"
    if same := same_name(target, known):
        return f"{at}: this class is called {same}"
    by_name = {one.rpartition(".")[2]: one for one in known}
    close = difflib.get_close_matches(target.rpartition(".")[2], by_name, n=1)
    others = f" Possible: {', '.join(sorted(known))}. Or a class of yours by its dotted path."
    hint = f" Did you mean {by_name[close[0]]}?" if close else others
    return f"{at}: rnnlab has no such class for {path.partition('.')[0]}.{hint}"


def _stock(reading: Reading, path: str, schema: type[Node], node: dict[str, Any]) -> None:
    """Checks the types, but not the bounds, of arguments of a torch or Lightning class; leaves the values unchanged.

    The class itself checks names of files and folders, and whether an argument exists.
    """
    hints = get_type_hints(schema, include_extras=True)
    for key, value in node.items():
        if key not in schema.model_fields or key in ("dirpath", "save_dir"):
            continue
        try:
            setattr(schema.model_construct(_fields_set=set()), key, value)
        except ValidationError as error:
            kinds = {e["type"] for e in error.errors()}
            if "value_error" not in kinds and value is not None:
                reading.problems.append(f"{path}.{key}={shown(value)}: must be {describe(hints[key])}")


def _node(
    reading: Reading, path: str, schema: type[Node], given: Any, into: dict[str, Any], absent: dict[str, bool]
) -> None:
    prefix = f"{path}." if path else ""
    if not isinstance(given, dict):
        reading.problems.append(f"{path}={shown(given)}: must hold the keys {', '.join(schema.model_fields)}")
        return
    before = len(reading.problems)
    node = schema.model_construct(_fields_set=set())
    for key, value in given.items():
        if key in schema.model_fields and (inner := schema.inner(key)):
            _node(reading, f"{prefix}{key}", inner, value, value, absent)
            node.__dict__[key] = reading.nodes.get(f"{prefix}{key}")
        elif key in schema.model_fields:
            assign(reading, path, schema, node, key, value, into)
        elif key in schema.reserved:
            reading.problems.append(f"{prefix}{key}: {schema.reserved[key]}")
        else:
            reading.problems.append(f"{prefix}{key}: no such key.{_elsewhere(path, key, schema, reading)}")
    absent_keys = [k for k, f in schema.model_fields.items() if f.is_required() and k not in given]
    for key in absent_keys:
        due = absent.get(f"{prefix}{key}")
        if due:
            words = describe(get_type_hints(schema, include_extras=True)[key])
            reading.problems.append(f"{prefix}{key} is required: {words}")
        elif due is None:
            reading.problems.append(
                f"{prefix}{key}: is missing; conf/ lists all keys of {path or 'the config'}"
            )
    for key, field_ in schema.model_fields.items():
        if NOT_IN_ID_AT_DEFAULT in field_.metadata and key not in given and path == "data":
            # an older run, without this key; the constructor's default may differ
            into[key] = copy.copy(field_.default)
    reading.nodes[path] = node
    if len(reading.problems) == before and not any(f"{prefix}{k}" in absent for k in absent_keys):
        reading.sound[path] = node


def assign(
    reading: Reading, path: str, schema: type[Node], node: Node, key: str, value: Any, into: dict[str, Any]
) -> None:
    at = f"{path}.{key}" if path else key
    try:
        setattr(node, key, value)
        into[key] = getattr(node, key)
    except ValidationError as error:
        annotation = get_type_hints(schema, include_extras=True)[key]
        own = [e["msg"] for e in error.errors() if e["type"] == "rule"]
        if own:
            message = own[0]
        elif (words := choices(annotation)) and isinstance(value, str):
            message = f"no such {key}.{nearest(value, words)}"
        elif words:
            message = f"must be one of {', '.join(words)}"
        else:
            message = f"must be {describe(annotation)}"
        reading.problems.append(f"{at}={shown(value)}: {message}")


def _elsewhere(path: str, key: str, schema: type[Node], reading: Reading) -> str:
    """A hint for an unknown key: a similar key, or another choice of the group that has the key."""
    at = f"{path}.{key}" if path else key
    if not path and key in ("experiment", "debug", "local"):
        return f" A file of conf/{key} begins with the line '# @package _global_'."
    if other := other_choice(path, key):
        return f" {path}={other} has it, {path}={schema.choice} has not."
    here = [f"{path}.{k}" if path else k for k in schema.model_fields]
    return near_key(at, {k: v for k, v in reading.values.items() if k != path}, here)
