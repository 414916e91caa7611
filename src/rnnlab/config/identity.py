"""The part of a config that decides a run's numbers, which `rnnlab.runs.identity` hashes."""

import copy
from functools import cache
from typing import Any

from omegaconf import DictConfig

from rnnlab.config.fields import NOT_IN_ID, NOT_IN_ID_AT_DEFAULT
from rnnlab.config.model_schema import RecurrentSchema
from rnnlab.config.node import Node
from rnnlab.config.reading import read
from rnnlab.config.resolve import resolve
from rnnlab.config.schema import NAMED, SECTIONS_NOT_IN_ID
from rnnlab.config.training_schema import WATCHING

SHARED = RecurrentSchema.model_construct()


def deciding(config: dict[str, Any] | DictConfig) -> dict[str, Any]:
    """The typed, canonical values that decide a run's numbers.

    Two kinds of keys are left out: those that say only *how* a run is done (paths, loggers, progress), and those at a
    neutral value, so that a new key does not change older ids. Equal values are equal here in any notation: 1e-3 is
    0.001, and 1 is 1.0 for a key of fractions. Nothing is refused: of an incomplete or wrong config, the result holds
    what can be read.
    """
    values = resolve(config).values if isinstance(config, DictConfig) else copy.deepcopy(config)
    reading = read({k: v for k, v in values.items() if k != "hydra"})
    return deciding_of(reading.values, reading.nodes)


def deciding_of(values: dict[str, Any], nodes: dict[str, Node], path: str = "") -> dict[str, Any]:
    """`deciding` for values that were read, with their nodes: for a whole config, or for the part at `path`."""
    kept: dict[str, Any] = {}
    node = nodes.get(path)
    if node is not None:  # with all defaults, so that one of torch's defaults is the same given or not
        own = vars(node)
        values = {k: own[k] for k in _keys(type(node)) if k in own} | values
        values = node.deciding(values)
    for key, value in values.items():
        at = f"{path}.{key}" if path else key
        if at in SECTIONS_NOT_IN_ID or _left_out(node, key, value) or (value is None and path in NAMED):
            continue
        if isinstance(value, dict):
            if (at in nodes and type(nodes[at]).not_in_id) or str(value.get("_target_")) in WATCHING:
                continue
            if at in nodes or at in NAMED:
                value = deciding_of(value, nodes, at)
            elif at == "model":  # a user's own model, with the keys of conf/model/recurrent.yaml
                value = {k: v for k, v in value.items() if not _left_out(SHARED, k, v)}
            if not value:
                continue
        kept[key] = value
    return kept


def _left_out(node: Node | None, key: str, value: Any) -> bool:
    if node is None:
        return False
    never, not_at = _marked(type(node))
    return key in never or (key in not_at and value == not_at[key])


@cache
def _keys(kind: type[Node]) -> tuple[str, ...]:
    return tuple(kind.model_fields)


@cache
def _marked(kind: type[Node]) -> tuple[frozenset[str], dict[str, Any]]:
    """The keys that are never in the id, and the defaults of those that are not in it at their default."""
    fields = kind.model_fields
    never = frozenset(key for key, field in fields.items() if NOT_IN_ID in field.metadata)
    return never, {k: field.default for k, field in fields.items() if NOT_IN_ID_AT_DEFAULT in field.metadata}
