"""The schema says what the configs and the classes behind them say."""

import importlib
import inspect
from pathlib import Path

import pytest
import yaml
from lightning.pytorch import Trainer as LightningTrainer

from rnnlab.config import config_folder
from rnnlab.config.model_schema import UNBUILT
from rnnlab.config.schema import COMPONENTS, NAMED
from rnnlab.config.trainer_schema import TrainerSchema

KNOWN = {t: s for registry in (*COMPONENTS.values(), *NAMED.values()) for t, s in registry.items()}
# what a caller of ours gives, not the user
GIVEN = {"self", "folder", "params", "optimizer", "spec", "seed", "last_epoch", "kwargs", "recurrence"}
OURS = {"interval", *UNBUILT}  # keys that our caller takes out of a node


def arguments(target):
    module, _, name = target.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    return found, inspect.signature(found).parameters


@pytest.mark.parametrize("target", [t for t in KNOWN if not t.startswith("rnnlab.tasks")])
def test_every_key_is_an_argument_and_every_argument_a_key(target):
    found, parameters = arguments(target)
    keys = set(KNOWN[target].model_fields)
    assert keys - OURS - {"seed"} <= set(parameters), found
    assert set(parameters) - GIVEN <= keys, found


@pytest.mark.parametrize("target", [t for t in KNOWN if t.startswith(("torch.", "lightning."))])
def test_defaults_of_torch_and_lightning_are_theirs(target):
    _, parameters = arguments(target)
    for key, field in KNOWN[target].model_fields.items():
        if key in OURS:
            continue
        theirs = parameters[key].default
        if field.is_required():
            assert theirs is inspect.Parameter.empty, key
        else:
            default = field.default
            assert (tuple(default) if isinstance(default, list) else default) == theirs, key


def test_trainer_knows_every_argument_of_lightnings():
    theirs = set(inspect.signature(LightningTrainer).parameters)
    ours = set(TrainerSchema.model_fields)
    assert theirs == (ours | set(TrainerSchema.reserved)) - {
        "threads", "divergence_factor", "steps_per_call", "val_every_n_steps"}  # fmt: skip


@pytest.mark.parametrize("group", ["model", "data", "optimizer", "scheduler"])
def test_the_files_of_a_group_list_the_keys_of_its_schema(group):
    for path in (config_folder() / group).glob("*.yaml"):
        keys = load(path)
        if "_target_" not in keys:
            continue
        target = keys.pop("_target_")
        assert target in KNOWN, f"{path}: {target} needs a schema in src/rnnlab/config"
        schema = KNOWN[target]
        keys.pop("_partial_", None)
        required = {k for k, f in schema.model_fields.items() if f.is_required()}
        assert required <= set(keys) <= set(schema.model_fields), path
        assert schema.choice == path.stem


def load(path: Path) -> dict:
    """A config with the files of its own group that it names in its defaults."""
    keys = yaml.safe_load(path.read_text())
    merged: dict = {}
    for name in keys.pop("defaults", []):
        if isinstance(name, str):
            merged |= load(path.parent / f"{name}.yaml")
    return merged | keys
