"""Checks the arguments of a constructor against the schema, so that each bound is written in one place only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnlab.config.node import Node
from rnnlab.config.reading import Reading, assign, shown
from rnnlab.errors import UserError


def check_arguments(
    schema: type[Node], section: str, given: Mapping[str, Any], aside: tuple[str, ...] = ()
) -> None:
    """Raises UserError, with a line for each of the `given` values that the schema would refuse in a config.

    `given` may be a constructor's `locals()`: names that are not keys of the schema are ignored, and so are the keys
    `aside`, which the class checks itself. Tuples and arrays count as lists, a Path as its text.
    """
    values = {k: as_config_value(v) for k, v in given.items() if k in schema.model_fields and k not in aside}
    reading, node = Reading({section: values}), schema.model_construct(_fields_set=set())
    for key, value in list(values.items()):
        assign(reading, section, schema, node, key, value, values)
    if not reading.problems and len(values) == len(schema.model_fields.keys() - set(aside)):
        reading.problems += [f"{section}.{key}={shown(values[key])}: {why}" for key, why in node.problems()]
    if reading.problems:
        raise UserError(*reading.problems)


def as_config_value(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value
