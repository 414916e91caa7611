"""What a notebook or a script calls: train, sweep, load, runs."""

from pathlib import Path

from rnnlab.api.run import Run, Runs
from rnnlab.errors import UserError
from rnnlab.runs.run import runs as runs_in


def train(*overrides: str, config_dir: str | None = None, quiet: bool = False) -> Run:
    """Trains what the overrides describe, as `rnnlab train` would: `train("experiment=sine", "seed=3")`.

    `quiet` prints nothing but warnings. Raises UserError for what cannot be, RunFailed where the training fails.
    """
    from rnnlab.config import compose
    from rnnlab.display import train

    return Run(train(compose(list(overrides), config_dir), list(overrides), config_dir, quiet=quiet).folder)


def sweep(*overrides: str, config_dir: str | None = None, quiet: bool = False) -> Runs:
    """Trains what the overrides span, as `rnnlab train -m` would, in warm workers; the runs in the order of the plan.

        sweep("experiment=sine", "model.hidden_size=16,32", "seed=range(0,10)")

    A failure costs only its run, whose `status` is then "failed". Raises UserError where a point cannot be.
    """
    from rnnlab.api.sweeping import run_sweep

    return Runs(map(Run, run_sweep(overrides, config_dir, quiet)))


def load(folder: str | Path, *, trust: bool = False) -> Run:
    """The run in a folder. `trust` runs what its config names, whoever wrote it. Raises UserError if none is there."""
    return Run(Run.open(folder).folder, trust)


def runs(experiment: str | Path) -> Runs:
    """The runs of an experiment's folder, oldest first. Raises UserError where there is no such folder."""
    if not Path(experiment).is_dir():
        raise UserError(f"{experiment}: no such folder")
    return Runs(Run(run.folder) for run in runs_in(experiment))


__all__ = ["load", "runs", "sweep", "train"]
