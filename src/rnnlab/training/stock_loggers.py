"""Loggers of Lightning and of trackers when a run resumes: afterwards each holds every row once, as if the run had not
been interrupted.

CSVLogger starts a new file in each process, and gets all rows again, from metrics.csv. MLFlowLogger and Trackio
continue their run, and get only the rows that it lacks. WandbLogger continues the run with its id, and does the same;
offline each process writes new files, so the earlier files are removed and all rows are given again. Comet's archives
are treated alike; its server does not tell which rows it has, and gets none again. Aim keeps one value per step, and
gets all rows again.
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
# a tracker's run id in run.json must match; other text could name files elsewhere
IDENTIFIER = re.compile(r"[\w.-]+")
COMETS_KEY = re.compile(r"[0-9A-Za-z]{32,50}")  # so long that no other file begins with it
# {logger: (argument that makes it continue its run, attribute that holds the value of this argument)}
CONTINUED = {
    "lightning.pytorch.loggers.MLFlowLogger": ("run_id", "run_id"),
    "lightning.pytorch.loggers.WandbLogger": ("id", "version"),
    "rnnlab.training.tracking.Comet": ("experiment_key", "version"),
    "rnnlab.training.tracking.Trackio": ("resume", "version"),
    "aim.pytorch_lightning.AimLogger": ("run_hash", "version"),
}


def continuing(run: Run, name: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that make a logger continue its earlier output for this run. Removes files written offline."""
    before = run.known.get("loggers", {}).get(name)
    if node["_target_"] not in CONTINUED or not (isinstance(before, str) and IDENTIFIER.fullmatch(before)):
        return {}
    key, _ = CONTINUED[node["_target_"]]
    if key == "id" and (node.get("offline") or os.environ.get("WANDB_MODE") in ("offline", "dryrun")):
        for folder in (Path(node.get("save_dir") or ".") / "wandb").glob(f"offline-run-*-{before}"):
            if re.fullmatch(rf"offline-run-[\d_]+-{re.escape(before)}", folder.name):
                shutil.rmtree(folder)
    if key == "experiment_key" and node.get("online") is False:
        for archive in Path(node.get("offline_directory") or ".").glob(f"{before}*.zip"):
            if COMETS_KEY.fullmatch(before):
                archive.unlink()
    return {key: before}


@contextmanager
def apart() -> Iterator[None]:
    """Undoes what loggers leave in the process, which may train other runs next: environment variables of MLflow (its
    address) and Comet, and the open runs of wandb and Trackio.
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
            with suppress(RuntimeError), redirect_stdout(StringIO()):  # raised where no run is open
                trackio.finish()


def remember(run: Run, loggers: Iterable[Any], config: Mapping[str, Any]) -> None:
    """Stores the ids of the loggers' runs in run.json, once they have begun to write."""
    nodes = {name: node for name, node in config["logger"].items() if node}
    found = {
        name: str(getattr(logger, CONTINUED[node["_target_"]][1]))
        for (name, node), logger in zip(nodes.items(), loggers, strict=True)
        if node["_target_"] in CONTINUED
    }
    if found:
        run.update(loggers=found)


def among(loggers: Iterable[Any]) -> list[Any]:
    """The loggers that get rows again on a resume. Not Comet's server: it has nearly all, and does not tell which."""
    given = [one for one in loggers if not isinstance(one, RunLogger) and type(one).__name__ in GIVEN]
    return [one for one in given if not (type(one).__name__ == "Comet" and one.online)]


def give_again(loggers: Iterable[Any], metrics: Path, beside: Mapping[str, Mapping[int, float]]) -> None:
    """Gives loggers outside rnnlab the rows that they lack, of metrics.csv and of `beside` {name: {step: value}}."""
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


Rows = Sequence[tuple[int, Mapping[str, float]]]  # (step, {name: value}), by step


def _names(rows: Rows) -> set[str]:
    return {name for _, values in rows for name in values}


def _of_mlflow(logger: Any, rows: Rows) -> dict[str, int]:
    """{metric: the last step that MLflow has}."""
    found = {name: logger.experiment.get_metric_history(logger.run_id, name) for name in _names(rows)}
    return {name: max(one.step for one in history) for name, history in found.items() if history}


def _of_wandb(logger: Any, rows: Rows) -> dict[str, int]:
    """{metric: the last step that W&B has}. The server gives one last step for all metrics, and each metric's last
    value. A run that was killed between an epoch's last step and its validation lacks the validation's metrics at that
    step; they are recognised by their values.
    """
    summary = dict(logger.experiment.summary)
    if (last := summary.get("trainer/global_step")) is None:
        return {}
    at = dict(rows).get(int(last), {})
    kept = {name: summary.get(name, "nan") for name in at}  # {"min": ...} for a metric defined so
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
    "AimLogger": lambda logger, rows: {},  # overwrites steps that it has
}
