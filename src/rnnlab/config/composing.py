"""Composing a config from the conf tree and a user's own folder, with Hydra."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
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

from rnnlab.config.origins import config_folder
from rnnlab.errors import UserError, nearest

# what goes wrong in composing, as opposed to in a run
COMPOSING = (HydraException, OmegaConfBaseException, YAMLError, ValueError)
REPLACED = re.compile(r"\+(model|data)=\{")  # as rnnlab.train writes an object
UNNAMED = "UNKNOWN_NAME"  # what Hydra calls a job before there is one
# Hydra's own keys that would have no effect, and what has
UNUSED = {
    "hydra.run.dir": "a run's folder lies in paths.outputs, below its name",
    "hydra.sweep.dir": "a sweep's runs lie in paths.outputs, below their name",
    "hydra.sweep.subdir": "a run's folder is named by what differs from the experiment",
    "hydra.output_subdir": "a run's folder holds its config.yaml and overrides.yaml",
    "hydra.job.name": "name=NAME names the experiment, and its folder",
    "hydra.job.chdir": "a run stays in the working folder",
}


def refuse_unused(overrides: Sequence[str]) -> None:
    """Raises UserError with a line for each of Hydra's own keys that would have no effect.

    Another launcher than ours has a use for the folder of a sweep.
    """
    stock = any(re.match(r"hydra/launcher=(?!rnnlab$)", override) for override in overrides)
    keys = {override: override.partition("=")[0].lstrip("+~") for override in overrides}
    lines = [f"{override}: has no effect in rnnlab: {UNUSED[key]}" for override, key in keys.items()
             if key in UNUSED and not (stock and key.startswith("hydra.sweep."))]  # fmt: skip
    if lines:
        raise UserError(*lines)


# where other sweepers say whether they look for less or for more of what a run returns
DIRECTIONS: dict[str, dict[Any, str]] = {
    "direction": {"minimize": "min", "maximize": "max"},  # Optuna
    "optim.maximize": {False: "min", True: "max"},  # Nevergrad
    "ax_config.experiment.minimize": {True: "min", False: "max"},  # Ax
}
NO_SCORE = "chooses by a run's score, and nothing is validated in these"


def opposed(sweeper: Any, mode: str, monitor: str) -> Iterator[str]:
    """A line where another sweeper than ours looks for what `mode` says is worse. `sweeper` is Hydra's config of it."""
    for key, words in DIRECTIONS.items():
        asked = OmegaConf.select(sweeper, key)
        asked = getattr(asked, "name", asked)
        if isinstance(asked, str | bool) and words.get(asked, mode) != mode:
            right = str(next(word for word, means in words.items() if means == mode)).lower()
            yield (
                f"hydra.sweeper.{key}={str(asked).lower()}: mode={mode} says which {monitor} is better; "
                f"use hydra.sweeper.{key}={right}"
            )


def compose(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> DictConfig:
    """The config that `rnnlab train OVERRIDES [--config-dir CONFIG_DIR]` would get, not yet checked.

    `config_dir` holds groups and experiments of the user's own; where a name is in both, ours is taken. Works
    anywhere: several times in a process, inside a `hydra.main`, in a notebook. Raises UserError, with a line
    for each override that does not fit.
    """
    from rnnlab.config.explain import NO_SWEEP, explain

    if wrong := [override for override in overrides if not isinstance(override, str)]:
        raise UserError(
            f"{wrong[0]!r}: an override is text, such as 'seed=3'; a list of them is given as *LIST"
        )
    try:
        return composed(overrides, config_dir)
    except COMPOSING as error:
        raise UserError(*explain(error, overrides, config_dir, NO_SWEEP)) from error


def composed(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> DictConfig:
    """`compose`, with Hydra's own errors."""
    from rnnlab.config.texts import kept

    refuse_unused(overrides)
    overrides, replaced = apart(addable(kept(overrides)))
    if config_dir is not None:
        folder = Path(config_dir).expanduser().absolute()
        if not folder.is_dir():
            raise UserError(f"--config-dir {config_dir}: no such folder")
        quoted = str(folder).replace("\\", "\\\\").replace('"', '\\"')
        overrides.insert(0, f'hydra.searchpath=["file://{quoted}"]')
    # Hydra's state and its job's name are the process's: a surrounding hydra.main gets its own back
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
    """Those for Hydra, and those that replace a section, `+model={_target_:...}`, which Hydra would merge, with those
    of keys in it.
    """
    whole = {found[1] for word in overrides if (found := REPLACED.match(word))}
    later = [o for o in overrides if REPLACED.match(o) or o.lstrip("+").split(".")[0] in whole]
    return [o for o in overrides if o not in later], later


def put(cfg: DictConfig, replaced: Sequence[str]) -> DictConfig:
    """The config with its sections replaced, in place. Raises UserError for a key that the new one does not have."""
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
    """A cell's own options stand in no file: `model.options.NAME=` adds the key where it is not there yet."""
    return [f"++{word}" if word.startswith("model.options.") else word for word in overrides]


CHOICES = ("model", "data", "optimizer", "scheduler")  # groups of which a run has one


def base_config(
    overrides: Sequence[str] = (), config_dir: str | Path | None = None, *, choices: bool = False
) -> DictConfig:
    """The config of the same experiment without the user's other overrides, or with their `choices` of groups alone;
    read-only, cached per process.

    Inside a `hydra.main` run its `--config-dir` is taken where none is given.
    """
    keys = "|".join(["experiment", r"hydra\.searchpath", *(CHOICES if choices else ())])
    chosen = tuple(o for o in overrides if re.match(rf"\+{{0,2}}({keys})=", o))
    return _base(chosen, str(config_dir) if config_dir is not None else running_config_dir())


@cache
def _base(overrides: tuple[str, ...], config_dir: str | None) -> DictConfig:
    cfg = compose(overrides, config_dir)
    OmegaConf.set_readonly(cfg, True)
    return cfg


def running_config_dir() -> str | None:
    """The `--config-dir` of the hydra.main that runs now, if any."""
    if not HydraConfig.initialized():
        return None
    sources = HydraConfig.get().runtime.config_sources
    return next((s.path for s in sources if s.provider == "command-line" and s.schema == "file"), None)
