"""Tells experiment trackers more than config and scalars: a run's group and tags, best and test scores, and how it
ended.
"""

import fcntl
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rnnlab.errors import warn
from rnnlab.runs.cache import private_temporary


def begin(loggers: Iterable[Any], group: str, tags: list[str]) -> None:
    """Sends group and tags, before the first step. `group` is the label that runs with other seeds share."""
    for logger in loggers:
        kind = type(logger).__name__
        with _alone(logger):
            if kind in BEGUN:
                BEGUN[kind](logger, group, tags)


FILES = ("checkpoints/best.ckpt", "config.yaml", "manifest.json", "metrics.csv")
"""The files of a run's folder that a tracker with `log_model=true` gets."""


def conclude(
    loggers: Iterable[Any],
    status: str,
    results: Mapping[str, Any],
    monitor: str,
    kept: Mapping[str, Any] | None = None,
    folder: Path | None = None,
) -> None:
    """Sends scores and status, when a run has ended. `status` is finished, stopped early, pruned, stopped or failed;
    `results` are those of run.json. `kept` are the loggers of the config: those with `log_model` get FILES of `folder`.
    """
    best = results.get("best", {})
    scores = {f"best/{monitor}": best["value"], "best/step": best["step"]} if "value" in best else {}
    scores |= {f"test/{name}": value for name, value in results.get("test", {}).items()}
    scores = {name: float(value) for name, value in scores.items() if isinstance(value, int | float)}
    loggers = list(loggers)
    asking = _asking(loggers, kept or {})
    files = [folder / name for name in FILES if (folder / name).is_file()] if folder is not None else []
    for logger in loggers:
        kind = type(logger).__name__
        try:
            if files and id(logger) in asking and kind in KEPT:
                KEPT[kind](logger, files)
        except Exception as error:  # such as no answer of its server; the run itself has ended
            warn(f"{kind} did not get the run's files: {type(error).__name__}: {error}")
        try:
            if kind in CONCLUDED:
                CONCLUDED[kind](logger, status, scores)
        except Exception as error:
            warn(f"{kind} did not hear how the run ended: {type(error).__name__}: {error}")


def _asking(loggers: list[Any], kept: Mapping[str, Any]) -> set[int]:
    """The ids of the loggers with `log_model`. Of several of one class, the nth belongs to its nth node."""
    left, found = list(loggers), set[int]()
    for node in filter(None, kept.values()):
        kind = str(node["_target_"]).rpartition(".")[2]
        logger = next((one for one in left if type(one).__name__ == kind), None)
        if logger is not None:
            left = [one for one in left if one is not logger]
            if node.get("log_model"):
                found.add(id(logger))
    return found


@contextmanager
def _alone(logger: Any) -> Iterator[None]:
    """Lets only one process at a time enter. Otherwise several workers would create the same new database of MLflow, or
    repository of Aim, and all but one would fail.
    """
    kind = type(logger).__name__
    address = str(getattr(logger, PLACES.get(kind, ""), None) or "")
    if kind not in PLACES or address.startswith(("http", "databricks", "aim:", "ssh:")):
        yield
        return
    if (folder := private_temporary()) is None:
        yield
        return
    with (folder / f"{kind}-{hashlib.sha256(address.encode()).hexdigest()[:12]}.lock").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def _begin_mlflow(logger: Any, group: str, tags: list[str]) -> None:
    for key, value in {"group": group, "tags": ",".join(tags)}.items():
        logger.experiment.set_tag(logger.run_id, key, value)


def _conclude_mlflow(logger: Any, status: str, scores: Mapping[str, float]) -> None:
    for name, value in scores.items():
        logger.experiment.log_metric(logger.run_id, name, value)
    logger.experiment.set_tag(logger.run_id, "status", status)
    word = {"stopped": "KILLED", "failed": "FAILED"}.get(status, "FINISHED")
    logger.experiment.set_terminated(logger.run_id, word)


def _keep_mlflow(logger: Any, files: list[Path]) -> None:
    for file in files:
        logger.experiment.log_artifact(logger.run_id, str(file))


def _keep_wandb(logger: Any, files: list[Path]) -> None:
    import wandb

    artifact = wandb.Artifact(f"run-{logger.experiment.id}", type="model")
    for file in files:
        artifact.add_file(str(file), name=file.name)
    logger.experiment.log_artifact(artifact)


def _keep_comet(logger: Any, files: list[Path]) -> None:
    for file in files:
        logger.experiment.log_asset(str(file), file_name=file.name)


def _conclude_wandb(logger: Any, status: str, scores: Mapping[str, float]) -> None:
    logger.experiment.summary.update({**scores, "status": status})
    logger.experiment.finish(exit_code=int(status in ("failed", "stopped")))


def _keep_trackio(logger: Any, files: list[Path]) -> None:
    import trackio

    name = re.sub(r"[^A-Za-z0-9._-]", "-", logger.run_name)  # only characters that Trackio allows
    artifact = trackio.Artifact(name, type="model")
    for file in files:
        artifact.add_file(file, name=file.name)
    logger.experiment.log_artifact(artifact)


def _keep_aim(logger: Any, files: list[Path]) -> None:
    run = logger.experiment
    if run.artifacts_uri is None and run.repo.is_remote_repo:
        warn("Aim's server has no place for a run's files: log_model needs a repository in a folder")
        return
    if run.artifacts_uri is None:  # not `as_uri`: Aim does not decode %20
        run.set_artifacts_uri(f"file://{Path(run.repo.path).absolute() / 'artifacts'}")
    for file in files:
        run.log_artifact(str(file), name=file.name, block=True)


def _begin_comet(logger: Any, group: str, tags: list[str]) -> None:
    logger.experiment.add_tags([group, *tags])
    logger.experiment.log_other("group", group)


def _begin_aim(logger: Any, group: str, tags: list[str]) -> None:
    logger.experiment["group"] = group
    for tag in tags:
        logger.experiment.add_tag(tag)


def _conclude_aim(logger: Any, status: str, scores: Mapping[str, float]) -> None:
    for name, value in scores.items():
        logger.experiment.track(value, name=name)
    logger.experiment["status"] = status
    logger.finalize(status)


def _conclude_ours(logger: Any, status: str, scores: Mapping[str, float]) -> None:
    logger.end(status, scores)


def arguments(node: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a logger's node. Without `log_model` for Aim, whose logger has no such argument."""
    aim = str(node["_target_"]).endswith(".AimLogger")
    return {key: value for key, value in node.items() if not (aim and key == "log_model")}


# {logger's class name: attribute that says where it writes}
PLACES = {"MLFlowLogger": "_tracking_uri", "AimLogger": "_repo_path"}
# {logger's class name: function}; names, so that no package must be imported
BEGUN: dict[str, Callable[[Any, str, list[str]], None]] = {
    "MLFlowLogger": _begin_mlflow,
    "Comet": _begin_comet,
    "AimLogger": _begin_aim,
}
KEPT: dict[str, Callable[[Any, list[Path]], None]] = {
    "MLFlowLogger": _keep_mlflow,
    "WandbLogger": _keep_wandb,
    "Comet": _keep_comet,
    "Trackio": _keep_trackio,
    "AimLogger": _keep_aim,
}
CONCLUDED: dict[str, Callable[[Any, str, Mapping[str, float]], None]] = {
    "MLFlowLogger": _conclude_mlflow,
    "WandbLogger": _conclude_wandb,
    "Comet": _conclude_ours,
    "Trackio": _conclude_ours,
    "AimLogger": _conclude_aim,
}
