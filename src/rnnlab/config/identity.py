"""The part of a config that decides a run's numbers; what `rnnlab.runs.identity` hashes."""

import copy
from functools import cache
from typing import Any

from omegaconf import DictConfig

from rnnlab.config.fields import HOW, NEUTRAL
from rnnlab.config.model_schema import Recurrent
from rnnlab.config.node import Node
from rnnlab.config.reading import read
from rnnlab.config.resolve import resolve
from rnnlab.config.schema import HOW_SECTIONS, NAMED
from rnnlab.config.training_schema import WATCHING

SHARED = Recurrent.model_construct()


def deciding(config: dict[str, Any] | DictConfig) -> dict[str, Any]:
    """The typed, canonical values that decide a run's numbers.

    Left out are the keys that say only *how* a run is done (paths, loggers, progress) and those at a neutral
    value, so that a key that comes later leaves old ids alone. Equal values are equal here however they were
    written: 1e-3 is 0.001, and 1 is 1.0 where a fraction may stand. Nothing is refused: a config that is
    incomplete or wrong gives what can be read of it.
    """
    values = resolve(config).values if isinstance(config, DictConfig) else copy.deepcopy(config)
    reading = read({k: v for k, v in values.items() if k != "hydra"})
    return deciding_of(reading.values, reading.nodes)


def deciding_of(values: dict[str, Any], nodes: dict[str, Node], path: str = "") -> dict[str, Any]:
    """`deciding` of values that were read, with their nodes: of a whole config, or of what stands at a path in it."""
    kept: dict[str, Any] = {}
    node = nodes.get(path)
    if node is not None:  # in full, so that a default of torch's is the same given or not
        own = vars(node)
        values = {k: own[k] for k in _keys(type(node)) if k in own} | values
        values = node.deciding(values)
    for key, value in values.items():
        at = f"{path}.{key}" if path else key
        if at in HOW_SECTIONS or _left_out(node, key, value) or (value is None and path in NAMED):
            continue
        if isinstance(value, dict):
            if (at in nodes and type(nodes[at]).how) or str(value.get("_target_")) in WATCHING:
                continue
            if at in nodes or at in NAMED:
                value = deciding_of(value, nodes, at)
            elif at == "model":  # a user's own, with the keys of conf/model/recurrent.yaml
                value = {k: v for k, v in value.items() if not _left_out(SHARED, k, v)}
            if not value:
                continue
        kept[key] = value
    return kept


def _left_out(node: Node | None, key: str, value: Any) -> bool:
    if node is None:
        return False
    how, neutral = _marked(type(node))
    return key in how or (key in neutral and value == neutral[key])


@cache
def _keys(kind: type[Node]) -> tuple[str, ...]:
    return tuple(kind.model_fields)


@cache
def _marked(kind: type[Node]) -> tuple[frozenset[str], dict[str, Any]]:
    """The keys that say how a run is done, and those that are left out at their neutral values."""
    fields = kind.model_fields
    how = frozenset(key for key, field in fields.items() if HOW in field.metadata)
    return how, {key: field.default for key, field in fields.items() if NEUTRAL in field.metadata}
