"""Trains a run again from its folder alone, into another folder."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from rnnlab.config.reading import read
from rnnlab.config.run_config import RunConfig, as_dict
from rnnlab.config.training_schema import WATCHING
from rnnlab.errors import RunFailed, UserError
from rnnlab.reproduce.verdict import look_through
from rnnlab.runs.data import corpora_folder, kept_here
from rnnlab.runs.load import refuse_foreign
from rnnlab.runs.manifest import recorded_threads
from rnnlab.runs.record import ENDED
from rnnlab.runs.run import Run
from rnnlab.runs.run_path import Place

SHOWN = (
    "Progress",
    "Figures",
    "OnExceptionCheckpoint",
    "WeightsSummary",
    "RichProgressBar",
    "TQDMProgressBar",
)
LOGGING = "lightning.pytorch.callbacks.LearningRateMonitor"  # kept: its scalars are compared
SECTIONS = ("model", "data", "optimizer", "scheduler", "trainer", "callbacks")


def plan(run: Run, into: Path, trust: bool = False) -> tuple[RunConfig, Place]:
    """The config with which a run is trained again, and its place below `into`. Builds nothing yet.

    Everything that writes elsewhere is left out of the config: paths, loggers, pictures, Lightning's checkpoints and
    profiles. Raises UserError for a run that has not finished or cannot be compared, code that is not trusted, and
    invalid values.
    """
    if run.status not in ENDED:
        raise UserError(f"{run.folder}: its status is {run.status}; only a finished run can be reproduced")
    if lost := run.manifest.get("not_reproducible"):
        raise UserError(f"{run.folder}: not reproducible: {lost[0]}")
    config = copy.deepcopy(as_dict(run.config))
    if not isinstance(config, dict) or not all(isinstance(config.get(s), dict) for s in SECTIONS):
        raise UserError(f"{run.folder / 'config.yaml'}: not the config of a run")
    config["logger"] = {}
    config["callbacks"] = {name: node for name, node in config["callbacks"].items() if node and decides(node)}
    config["trainer"]["profiler"] = None
    config["trainer"]["threads"] = config["trainer"].get("threads") or recorded_threads(run.manifest)
    config |= {"paths": {"outputs": str(into), "data": corpora_folder()}, "rerun": False, "resume": None}
    config.setdefault("resume_engine", "same")
    config["checkpoint"] = {"every_n_steps": None, "every_seconds": 60.0}
    config["data"] = kept_here(config["data"])
    refuse_foreign(run, {section: config[section] for section in SECTIONS}, trust)
    if problems := read(config).problems:
        raise UserError(f"{run.folder / 'config.yaml'}: {problems[0]}")
    look_through(run)  # before the training, which could take long
    record = run.record
    place = Place(into / run.folder.name, str(record.get("id", "")), str(record.get("group", "")), "")
    return cast(RunConfig, config), place


def decides(node: dict[str, Any]) -> bool:
    """Whether a callback may change numbers. The others only observe, and could write anywhere."""
    target = str(node.get("_target_")) if isinstance(node, dict) else ""
    return target == LOGGING or (target not in WATCHING and target.rpartition(".")[2] not in SHOWN)


def train_again(run: Run, into: Path, command: Sequence[str], trust: bool = False) -> Run:
    """Trains a run again in `into`, quietly. Raises as `plan`, and RunFailed where the training fails."""
    config, where = plan(run, into, trust)
    from rnnlab.training import accelerator
    from rnnlab.training.train import train_config

    accelerator.take(config["trainer"]["accelerator"])
    try:
        return train_config(config, where, [], command=list(command), restart=True)
    except (UserError, RunFailed, OSError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        raise RunFailed(f"{run.folder}, trained again: {type(error).__name__}: {said}") from error
