"""Composes a config with Hydra, from the conf tree and a user's folder."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rnnlab.config.hydra_keys import refuse_unused
from rnnlab.config.origins import config_folder
from rnnlab.errors import UserError, nearest
from rnnlab.regular_files import from_home

NAMED_BY_HYDRA = (HydraException, OmegaConfBaseException, YAMLError)
# errors in composing, not in a run: also for a file that is not text or includes itself, and for a missing
# environment variable
COMPOSING = (*NAMED_BY_HYDRA, ValueError, RecursionError, AttributeError, KeyError)
REPLACED = re.compile(r"\+(model|data)=\{")  # the form in which rnnlab.train writes an object
UNNAMED = "UNKNOWN_NAME"  # Hydra's name for a job before there is one

# the keys with which other sweepers choose whether to minimise or maximise the score
DIRECTIONS: dict[str, dict[Any, str]] = {
    "direction": {"minimize": "min", "maximize": "max"},  # Optuna
    "optim.maximize": {False: "min", True: "max"},  # Nevergrad
    "ax_config.experiment.minimize": {True: "min", False: "max"},  # Ax
}
NO_SCORE = "chooses by the runs' scores, and these runs have none: nothing is validated"


def opposed(sweeper: Any, mode: str, monitor: str) -> Iterator[str]:
    """A line if another sweeper than rnnlab's optimises against `mode`. `sweeper` is its node in Hydra's config."""
    for key, words in DIRECTIONS.items():
        asked = OmegaConf.select(sweeper, key)
        asked = getattr(asked, "name", asked)
        if isinstance(asked, str | bool) and words.get(asked, mode) != mode:
            right = str(next(word for word, means in words.items() if means == mode)).lower()
            yield (
                f"hydra.sweeper.{key}={str(asked).lower()}: mode={mode} says which {monitor} is better; "
                f"use hydra.sweeper.{key}={right}"
            )


def composed(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> DictConfig:
    """The config of these overrides. Raises Hydra's own errors (COMPOSING); `rnnlab.config.compose` explains them."""
    from rnnlab.config.texts import kept, quoted

    refuse_unused(overrides)
    overrides, replaced = apart(addable(kept(overrides)))
    if config_dir is not None:
        folder = from_home(config_dir).absolute()
        if not folder.is_dir():
            raise UserError(f"--config-dir {config_dir}: no such folder")
        overrides.insert(0, f"hydra.searchpath=[{quoted(f'file://{folder}')}]")
    # Hydra's state and the job's name are global: a surrounding hydra.main gets back its own afterwards
    state = GlobalHydra.instance()
    name = JobRuntime.instance().get("name")
    outer, state.hydra = state.hydra, None
    try:
        with initialize_config_dir(
            str(config_folder()), job_name="rnnlab" if name == UNNAMED else name, version_base="1.3"
        ):
            return put(hydra_compose("config", overrides=overrides), replaced)
    finally:
        GlobalHydra.instance().hydra = outer


def apart(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits the overrides: those for Hydra, and those that replace a section (`+model={_target_:...}`, which Hydra
    would merge) or set keys in a replaced section.
    """
    whole = {found[1] for word in overrides if (found := REPLACED.match(word))}
    later = [o for o in overrides if REPLACED.match(o) or o.lstrip("+").split(".")[0] in whole]
    return [o for o in overrides if o not in later], later


def put(cfg: DictConfig, replaced: Sequence[str]) -> DictConfig:
    """Replaces sections of the config in place. Raises UserError for a key that the new section does not have."""
    for override in OverridesParser.create().parse_overrides(list(replaced)):
        section, _, key = override.key_or_group.partition(".")
        with open_dict(cfg):
            if not key:
                cfg[section] = override.value()
                continue
            above, _, name = override.key_or_group.rpartition(".")
            node = OmegaConf.select(cfg, above)
            if isinstance(node, DictConfig) and (
                name in node or override.is_add() or override.is_force_add()
            ):
                OmegaConf.update(cfg, f"{above}.{name}", override.value(), force_add=True)
            else:
                there = list(map(str, node)) if isinstance(node, DictConfig) else []
                raise UserError(f"{section}.{key}: no such key.{nearest(name, there) if there else ''}")
    return cfg


def addable(overrides: Sequence[str]) -> list[str]:
    """The overrides, with `++` before `model.options.NAME=`: no file contains a cell's own options."""
    return [f"++{word}" if word.startswith("model.options.") else word for word in overrides]


def running_config_dir() -> str | None:
    """The `--config-dir` of the running hydra.main, or None."""
    if not HydraConfig.initialized():
        return None
    sources = HydraConfig.get().runtime.config_sources
    return next((s.path for s in sources if s.provider == "command-line" and s.schema == "file"), None)
