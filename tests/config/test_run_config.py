"""The types of a checked config are those of the schemas that check it."""

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from typing_extensions import NotRequired

from rnnlab.config import check, compose
from rnnlab.config.run_config import (
    CheckpointConfig,
    PathsConfig,
    RayConfig,
    RunConfig,
    SlurmConfig,
    SweepConfig,
    TrainerConfig,
)
from rnnlab.config.schema import FIXED, OPTIONAL, SECTIONS, ConfigSchema
from rnnlab.config.sweep_schema import RaySchema, SlurmSchema

TYPES = {"checkpoint": CheckpointConfig, "paths": PathsConfig, "sweep": SweepConfig, "trainer": TrainerConfig}
INNER = {SlurmSchema: SlurmConfig, RaySchema: RayConfig}  # schemas of keys that hold keys themselves


def kinds(annotation: Any) -> set[Any]:
    """The types and words that an annotation admits, without bounds: {int, None, "auto", ("list", int)}."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Annotated, NotRequired):
        return kinds(inner[0])
    if origin in (Union, types.UnionType):
        return set().union(*map(kinds, inner))
    if origin is Literal:
        return set(inner) - {-1}  # a whole number, by its type
    if origin is list:
        return {("list", *sorted(map(repr, kinds(inner[0]))))}
    return {INNER.get(annotation, annotation)}


def fields(schema):
    return {key: kinds(hint) for key, hint in get_type_hints(schema, include_extras=True).items()
            if key in getattr(schema, "model_fields", schema.__annotations__)}  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "ours"), [*((FIXED[section], TYPES[section]) for section in FIXED), *INNER.items()]
)
def test_a_section_has_the_keys_and_types_of_its_schema(schema, ours):
    assert fields(ours) == fields(schema)
    assert ours.__required_keys__ == {k for k, f in schema.model_fields.items() if f.is_required()}


def test_the_whole_has_the_keys_of_its_schema_and_every_section():
    found = fields(RunConfig)
    assert {key: found.pop(key) for key in ConfigSchema.model_fields} == fields(ConfigSchema)
    assert found.keys() == set(SECTIONS)
    optional = {key for key, field in ConfigSchema.model_fields.items() if not field.is_required()}
    assert set(OPTIONAL) | optional == RunConfig.__optional_keys__


@pytest.mark.parametrize("overrides", [[], ["data=chars"], ["experiment=shakespeare"], ["trainer.devices=2"]])
def test_a_checked_config_has_these_keys_and_no_others(overrides):
    config = check(compose(overrides))
    assert config.keys() == RunConfig.__required_keys__ | RunConfig.__optional_keys__
    for section, ours in TYPES.items():
        assert (
            ours.__required_keys__
            <= config[section].keys()
            <= ours.__required_keys__ | ours.__optional_keys__
        )
