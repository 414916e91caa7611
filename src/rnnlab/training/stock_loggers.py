"""Loggers of Lightning's and of trackers where a run goes on: each holds every row once, as if nothing had stopped it.

CSVLogger begins its file anew in each process, and is given all rows again, from metrics.csv. MLFlowLogger and Trackio
go on with their run, and are not given again what that has; Comet's server tells nothing of that, and is given
nothing again. WandbLogger goes on with its run's id; offline, where each
process writes files of its own, those of before are removed and their rows given again, and so are Comet's archives.
Aim keeps one value for a step, and is given all rows again.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

from rnnlab.runs.metrics import Scalars, read_metrics
from rnnlab.runs.run import Run
from rnnlab.training.loggers import SEEN, RunLogger, log

ADDRESS = "MLFLOW_TRACKING_URI"
COMETS = "COMET_DISABLE_AUTO_LOGGING"
IDENTIFIER = re.compile(
    r"[\w.-]+"
)  # what run.json notes of a tracker; any other text could name files elsewhere
# the argument by which a logger goes on with what it wrote, which is also the attribute that says so
CONTINUED = {
    "lightning.pytorch.loggers.MLFlowLogger": ("run_id", "run_id"),
    "lightning.pytorch.loggers.WandbLogger": ("id", "version"),
    "rnnlab.training.tracking.Comet": ("experiment_key", "version"),
    "rnnlab.training.tracking.Trackio": ("resume", "version"),
    "aim.pytorch_lightning.AimLogger": ("run_hash", "version"),
}


def continuing(run: Run, name: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with which a logger goes on with what it wrote for the run so far."""
    before = run.known.get("loggers", {}).get(name)
    if node["_target_"] not in CONTINUED or not (isinstance(before, str) and IDENTIFIER.fullmatch(before)):
        return {}
    key, _ = CONTINUED[node["_target_"]]
    if key == "id" and (node.get("offline") or os.environ.get("WANDB_MODE") in ("offline", "dryrun")):
        for folder in (Path(node.get("save_dir") or ".") / "wandb").glob(f"offline-run-*-{before}"):
            shutil.rmtree(folder)
    if key == "experiment_key" and node.get("online") is False:
        for archive in Path(node.get("offline_directory") or ".").glob(f"{before}*.zip"):
            archive.unlink()
    return {key: before}


@contextmanager
def apart() -> Iterator[None]:
    """What loggers leave in the process is of one run alone, for the next one may be another's: MLflow its address in
    the environment and Comet a switch, wandb and Trackio the run that they write.
    """
    before = {name: os.environ.get(name) for name in (ADDRESS, COMETS)}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        if (wandb := sys.modules.get("wandb")) is not None and getattr(wandb, "run", None) is not None:
            wandb.finish()
        if (trackio := sys.modules.get("trackio")) is not None:
            with suppress(RuntimeError), redirect_stdout(StringIO()):  # which says that no run is open
                trackio.finish()


def remember(run: Run, loggers: Iterable[Any], config: Mapping[str, Any]) -> None:
    """Notes in run.json what loggers are to go on with, once they have begun to write."""
    nodes = {name: node for name, node in config["logger"].items() if node}
    found = {
        name: str(getattr(logger, CONTINUED[node["_target_"]][1]))
        for (name, node), logger in zip(nodes.items(), loggers, strict=True)
        if node["_target_"] in CONTINUED
    }
    if found:
        run.update(loggers=found)


def among(loggers: Iterable[Any]) -> list[Any]:
    """Those that are given their rows again. Not Comet's server: it does not say which it has, which are nearly all."""
    given = [one for one in loggers if not isinstance(one, RunLogger) and type(one).__name__ in GIVEN]
    return [one for one in given if not (type(one).__name__ == "Comet" and one.online)]


def give_again(loggers: Iterable[Any], metrics: Path, beside: Mapping[str, Mapping[int, float]]) -> None:
    """Gives loggers that are not rnnlab's the rows that they do not have: of metrics.csv, and {name: {step: value}}
    `beside` it.
    """
    if not (given := among(loggers)):
        return
    rows = list(by_step(metrics, beside))
    for logger in given:
        SEEN[logger] = GIVEN[type(logger).__name__](logger, rows)
        for step, values in rows:
            log(logger, Scalars.of(step, values))


def by_step(
    metrics: Path, beside: Mapping[str, Mapping[int, float]]
) -> Iterator[tuple[int, dict[str, float]]]:
    rows: dict[int, dict[str, float]] = {}
    for name, column in beside.items():
        for step, value in column.items():
            rows.setdefault(step, {})[name] = value
    for name, (steps, values) in read_metrics(metrics).items():
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            rows.setdefault(step, {})[name] = value
    yield from sorted(rows.items())


Rows = Sequence[tuple[int, Mapping[str, float]]]  # of each step, in their order


def _names(rows: Rows) -> set[str]:
    return {name for _, values in rows for name in values}


def _of_mlflow(logger: Any, rows: Rows) -> dict[str, int]:
    """The last step of each metric that the run there has."""
    found = {name: logger.experiment.get_metric_history(logger.run_id, name) for name in _names(rows)}
    return {name: max(one.step for one in history) for name, history in found.items() if history}


def _of_wandb(logger: Any, rows: Rows) -> dict[str, int]:
    """The server tells one last step, and the last value of each metric: a run that was killed between an epoch's last
    step and its validation has the one there and not the other.
    """
    summary = dict(logger.experiment.summary)
    if (last := summary.get("trainer/global_step")) is None:
        return {}
    at = dict(rows).get(int(last), {})
    kept = {name: summary.get(name, "nan") for name in at}  # of a metric that was defined so, {"min": ...}
    behind = {
        name
        for name, value in at.items()
        if isinstance(kept[name], float | int | str) and repr(float(kept[name])) != repr(float(value))
    }
    return {name: int(last) - (name in behind) for name in _names(rows)}


GIVEN = {
    "CSVLogger": lambda logger, rows: {},
    "MLFlowLogger": _of_mlflow,
    "WandbLogger": _of_wandb,
    "Trackio": lambda logger, rows: logger.seen(_names(rows)),
    "Comet": lambda logger, rows: {},
    "AimLogger": lambda logger, rows: {},  # a step that it has is written over
}
