"""What a notebook or a script calls: train, sweep, load, runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnlab.api.run import Run, Runs
from rnnlab.errors import UserError
from rnnlab.runs.run import runs as runs_in


def train(
    *overrides: str,
    config_dir: str | None = None,
    quiet: bool = False,
    cell: Any = None,
    module: Any = None,
    data: Any = None,
    callbacks: Sequence[Any] = (),
    loggers: Sequence[Any] = (),
) -> Run:
    """Trains what the overrides describe, as `rnnlab train` would: `train("experiment=sine", "seed=3")`.

    Objects may stand beside them: `cell` (a class), `module` and `data` in place of the config's, `callbacks` and
    `loggers` beside it. Each is an instance, a class, or a `functools.partial` of one; it is recorded as its class, its
    arguments and its source, and made again from these under the run's seed. What cannot be recorded is trained as it
    is, and the run is marked as not reproducible. docs/python.md has more.

    `quiet` prints nothing but warnings. Raises UserError for what cannot be, RunFailed where the training fails.
    """
    from rnnlab.api.objects import overrides_of
    from rnnlab.config import compose
    from rnnlab.display import train

    objects = overrides_of(cell=cell, module=module, data=data, callbacks=callbacks, loggers=loggers)
    asked = [*objects, *overrides]  # whose keys change those of objects
    return Run(train(compose(asked, config_dir), asked, config_dir, quiet=quiet).folder)


def sweep(
    *overrides: str,
    config_dir: str | None = None,
    quiet: bool = False,
    cell: Any = None,
    module: Any = None,
    data: Any = None,
    callbacks: Sequence[Any] = (),
    loggers: Sequence[Any] = (),
) -> Runs:
    """Trains what the overrides span, as `rnnlab train -m` would, in warm workers; the runs in the order of the plan.

        sweep("experiment=sine", "model.hidden_size=16,32", "seed=range(0,10)")

    A failure costs only its run, whose `status` is then "failed". Objects are those of `train`; what cannot be
    recorded is refused. Raises UserError where a point cannot be.
    """
    from rnnlab.api.objects import overrides_of
    from rnnlab.api.sweeping import run_sweep

    objects = overrides_of(
        cell=cell, module=module, data=data, callbacks=callbacks, loggers=loggers, away=True
    )
    return Runs(map(Run, run_sweep([*objects, *overrides], config_dir, quiet)))


def load(folder: str | Path, *, trust: bool = False) -> Run:
    """The run in a folder. `trust` runs what its config names, whoever wrote it. Raises UserError if none is there."""
    return Run(Run.open(folder).folder, trust)


def runs(experiment: str | Path) -> Runs:
    """The runs of an experiment's folder, oldest first. Raises UserError where there is no such folder."""
    if not Path(experiment).is_dir():
        raise UserError(f"{experiment}: no such folder")
    return Runs(Run(run.folder) for run in runs_in(experiment))


__all__ = ["load", "runs", "sweep", "train"]
