"""The Python interface: train, sweep, load, runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnlab import quick_import
from rnnlab.api.run import Run, Runs
from rnnlab.errors import UserError
from rnnlab.regular_files import from_home
from rnnlab.runs.run import runs as runs_in

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningDataModule, LightningModule
    from lightning.pytorch.loggers import Logger

    from rnnlab.cells import Cell

quick_import.rich()


def train(
    *overrides: str,
    config_dir: str | None = None,
    quiet: bool = False,
    cell: "type[Cell] | None" = None,
    module: "LightningModule | Callable[..., LightningModule] | None" = None,
    data: "LightningDataModule | Callable[..., LightningDataModule] | None" = None,
    callbacks: "Sequence[Callback | Callable[..., Callback]]" = (),
    loggers: "Sequence[Logger | Callable[..., Logger]]" = (),
) -> Run:
    """Trains the run that the overrides describe, as `rnnlab train` does: `train("experiment=sine", "seed=3")`.

    Objects may be passed beside the overrides: `cell` (a class), `module` and `data` replace those of the config,
    `callbacks` and `loggers` are added to it. Each is an instance, a class, or a `functools.partial` of a class. The
    run records its class, its arguments and its source, and makes the object again from these under the run's seed. An
    instance that cannot be recorded is trained as it is, and the run is marked as not reproducible. See docs/python.md.

    `quiet` prints only warnings. Raises UserError where the config is not possible, RunFailed where the training fails.
    """
    from rnnlab.api.arguments import texts
    from rnnlab.api.objects import overrides_of
    from rnnlab.config import compose
    from rnnlab.display import train

    objects = overrides_of(cell=cell, module=module, data=data, callbacks=callbacks, loggers=loggers)
    asked = [*objects, *texts(overrides)]  # overrides come last: they may change keys of the objects
    return Run(train(compose(asked, config_dir), asked, config_dir, quiet=quiet).folder)


def sweep(
    *overrides: str,
    config_dir: str | None = None,
    quiet: bool = False,
    cell: "type[Cell] | None" = None,
    module: "LightningModule | Callable[..., LightningModule] | None" = None,
    data: "LightningDataModule | Callable[..., LightningDataModule] | None" = None,
    callbacks: "Sequence[Callback | Callable[..., Callback]]" = (),
    loggers: "Sequence[Logger | Callable[..., Logger]]" = (),
) -> Runs:
    """Trains all runs that the overrides span, as `rnnlab train -m` does, in warm worker processes.

        sweep("experiment=sine", "model.hidden_size=16,32", "seed=range(0,10)")

    Returns the runs in the order of the plan; those of a search (`sweep.search=tpe`) in the order of its trials. A run
    that fails stops no other; its `status` is "failed". Objects are passed as to `train`. Raises UserError where a
    run's config is not possible or an object cannot be recorded.
    """
    from rnnlab.api.arguments import texts
    from rnnlab.api.objects import overrides_of
    from rnnlab.api.sweeping import run_sweep

    objects = overrides_of(
        cell=cell, module=module, data=data, callbacks=callbacks, loggers=loggers, away=True
    )
    return Runs(map(Run, run_sweep([*objects, *texts(overrides)], config_dir, quiet)))


def load(folder: str | Path, *, trust: bool = False) -> Run:
    """The run in a folder. `trust` allows any code that its config names. Raises UserError if there is no run."""
    return Run(Run.open(folder).folder, trust)


def runs(experiment: str | Path) -> Runs:
    """The runs in an experiment's folder, oldest first. Raises UserError if the folder does not exist."""
    folder = from_home(experiment)
    if not folder.is_dir():
        raise UserError(f"{experiment}: no such folder")
    return Runs(Run(run.folder) for run in runs_in(folder))


__all__ = ["load", "runs", "sweep", "train"]
