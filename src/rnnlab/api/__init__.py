"""What a notebook or a script calls: train, load, runs."""

from pathlib import Path

from rnnlab.errors import UserError
from rnnlab.runs.run import Run
from rnnlab.runs.run import runs as runs_in


def train(*overrides: str, config_dir: str | None = None, quiet: bool = False) -> Run:
    """Trains what the overrides describe, as `rnnlab train` would: `train("experiment=sine", "seed=3")`.

    `quiet` prints nothing but warnings. Raises UserError for what cannot be, RunFailed where the training fails.
    """
    from rnnlab.config import compose
    from rnnlab.display import train

    return train(compose(list(overrides), config_dir), list(overrides), config_dir, quiet=quiet)


def load(folder: str | Path) -> Run:
    """The run in a folder, with its `model`, `config`, `metrics`, `results`. Raises UserError if none is there."""
    return Run.open(folder)


def runs(experiment: str | Path) -> list[Run]:
    """The runs of an experiment's folder, oldest first. Raises UserError where there is no such folder."""
    if not Path(experiment).is_dir():
        raise UserError(f"{experiment}: no such folder")
    return runs_in(experiment)


__all__ = ["load", "runs", "train"]
