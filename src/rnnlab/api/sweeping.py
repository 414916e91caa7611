"""Sweeps from Python, without Hydra's command line."""

import re
from collections.abc import Sequence
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig

from rnnlab.config import config_folder
from rnnlab.config.explain import explain
from rnnlab.config.hydra_config import COMPOSING, addable, apart, put
from rnnlab.config.hydra_keys import refuse_elsewhere
from rnnlab.config.texts import kept, quoted
from rnnlab.errors import RunFailed, UserError, warn
from rnnlab.regular_files import from_home
from rnnlab.sweeps import sweep as sweeps
from rnnlab.sweeps.hydra_bridge import Multirun
from rnnlab.sweeps.results import raise_failures
from rnnlab.terminal import notebook


class Asked(Multirun):
    """A multirun in which `+model={_target_:...}` replaces the model, as it does in a single run."""

    def compose(self, overrides: list[str]) -> DictConfig:
        rest, replaced = apart(overrides)
        return put(super().compose(rest), replaced)


def run_sweep(overrides: Sequence[str], config_dir: str | None = None, quiet: bool = False) -> list[Path]:
    """Plans and trains as `rnnlab train -m OVERRIDES`, a grid or a search; returns the folders of the runs that exist,
    in the plan's order, those of a search in the order of its trials.

    Raises UserError where the config of a run is not possible, or where another launcher or sweeper is asked for.
    """
    others = [word for word in overrides if re.match(r"hydra/(launcher|sweeper)=(?!rnnlab$)", word)]
    if others:
        raise UserError(
            f"{others[0]}: rnnlab.sweep trains in rnnlab's own workers; `rnnlab train -m` takes others"
        )
    refuse_elsewhere([word for word in overrides if not re.match(r"hydra/(launcher|sweeper)=", word)])
    arguments = addable(kept(overrides))
    asked, _ = apart(arguments)
    given = [] if config_dir is None else [searched(config_dir)]
    state = GlobalHydra.instance()
    outer, state.hydra = state.hydra, None
    was_quiet, sweeps.console.quiet = sweeps.console.quiet, quiet or sweeps.console.quiet
    try:
        with (
            notebook.block(),
            initialize_config_dir(str(config_folder()), job_name="rnnlab", version_base="1.3"),
        ):
            assert state.hydra is not None
            try:
                config = state.hydra.compose_config("config", [*given, *asked], run_mode=RunMode.MULTIRUN)
            except COMPOSING as error:
                raise UserError(*explain(error, overrides, config_dir)) from error
            multirun = Asked(config, state.hydra)
            multirun.config_dir = config_dir
            words = [word for word in arguments if not word.lstrip("+~").startswith(("hydra.", "hydra/"))]
            of_file = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
            done = multirun.sweep(multirun.points([*of_file, *words]))
    finally:
        GlobalHydra.instance().hydra = outer
        sweeps.console.quiet = was_quiet
    try:
        raise_failures(done)
    except RunFailed as failed:  # the other runs are still returned
        warn(str(failed))
    folders = [planned.place.folder for planned in done.plan.runs]
    return [folder for folder in folders if (folder / "run.json").is_file()]


def searched(config_dir: str) -> str:
    """The override that adds a folder to Hydra's search path. Raises UserError where the folder does not exist."""
    folder = from_home(config_dir).absolute()
    if not folder.is_dir():
        raise UserError(f"config_dir={config_dir}: no such folder")
    return f"hydra.searchpath=[{quoted(f'file://{folder}')}]"
