"""Composes configs with Hydra, explains its errors, and caches the base config of an experiment."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from rnnlab.config.explain import NO_SWEEP, explain
from rnnlab.config.hydra_config import COMPOSING, composed, running_config_dir
from rnnlab.config.hydra_keys import refuse_elsewhere
from rnnlab.errors import UserError


def compose(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> DictConfig:
    """The config that `rnnlab train OVERRIDES [--config-dir CONFIG_DIR]` would use, not yet checked.

    `config_dir` holds groups and experiments of the user's own; of a name in both folders, rnnlab's own is used. It
    may be called several times in a process, inside a `hydra.main`, and in a notebook. Raises UserError, with a line
    for each wrong override.
    """
    if wrong := [override for override in overrides if not isinstance(override, str)]:
        raise UserError(
            f"{wrong[0]!r}: an override is text, such as 'seed=3'; a list of them is given as *LIST"
        )
    try:
        found = composed(overrides, config_dir)
    except COMPOSING as error:
        raise UserError(*explain(error, overrides, config_dir, NO_SWEEP)) from error
    refuse_elsewhere(overrides)
    return found


CHOICES = ("model", "data", "optimizer", "scheduler")  # groups from which a run has exactly one choice
# groups that an experiment may leave open: `override /data: ???`
DEMANDED = (*CHOICES, "trainer", "callbacks", "logger")


def base_config(
    overrides: Sequence[str] = (), config_dir: str | Path | None = None, *, choices: bool = False
) -> DictConfig:
    """The config of the same experiment without the user's other overrides, or with only their `choices` of groups;
    read-only and cached per process. If the experiment leaves groups open, it is composed with the user's choices of
    these.

    Inside a `hydra.main` run, the default `config_dir` is its `--config-dir`.
    """
    folder = str(config_dir) if config_dir is not None else running_config_dir()

    def choosing(groups: tuple[str, ...]) -> DictConfig:
        keys = "|".join(["experiment", r"hydra\.searchpath", *groups])
        return _base(tuple(o for o in overrides if re.match(rf"\+{{0,2}}({keys})=", o)), folder)

    try:
        return choosing(CHOICES if choices else ())
    except UserError as error:
        try:
            return choosing(DEMANDED)
        except UserError:
            raise error from None


@cache
def _base(overrides: tuple[str, ...], config_dir: str | None) -> DictConfig:
    cfg = compose(overrides, config_dir)
    OmegaConf.set_readonly(cfg, True)
    return cfg
