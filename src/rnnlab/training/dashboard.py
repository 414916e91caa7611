"""What a run tells TensorBoard at its start and at its end, beside the scalars of its steps."""

import math
from collections.abc import Mapping
from typing import Any

from rnnlab.ledger.run import Run
from rnnlab.tasks.task import Task
from rnnlab.training import summaries
from rnnlab.training.columns import DERIVED, outcome, parameters
from rnnlab.training.graph import graph_record
from rnnlab.training.loggers import TensorBoard

DIFF = 4000  # characters of a working folder's diff; manifest.json has it all


class Dashboard:
    """Writes to a run's TensorBoard what answers questions across runs; does nothing for runs without one.

    At the start: the parameters asked for (HParams), the run's config and manifest as text, a layout that pairs
    training and validation with baselines and floor. At the end: best and last metrics, the excess over the
    floor, size and time as scalars, and the status. All of it lies in the event file that is cut on resume.
    """

    def __init__(self, loggers: list[Any], run: Run, task: Any, data: Any) -> None:
        self.loggers = [logger for logger in loggers if isinstance(logger, TensorBoard)]
        self.run, self.task, self.data = run, task, data

    def open(
        self, config: dict[str, Any], overrides: list[str], manifest: dict[str, Any], with_lines: bool = True
    ) -> None:
        """What is known at the start; without baselines and floor where the file has them, as a longer run's has."""
        if not self.loggers:
            return
        run = self.run
        lines, metrics = self.lines(), getattr(self.task, "metrics", ())
        about = summaries.table(manifest_rows(manifest, run))
        asked = "\n".join(overrides) or "nothing: the experiment as it stands"
        pages = [
            summaries.session_start(
                parameters(config, overrides), run.record.get("group", ""), folder_link(run)
            ),
            summaries.text(
                "run/config", summaries.block((run.folder / "config.yaml").read_text(encoding="utf-8"))
            ),
            summaries.text("run/asked", summaries.block(asked)),
            summaries.text("run/manifest", about),
            summaries.layout(charts(metrics)),
        ]
        if diff := manifest.get("code", {}).get("diff"):
            pages.append(summaries.text("run/diff", summaries.block(diff[:DIFF])))
        graph = graph_record(self.task)
        for logger in self.loggers:
            logger.journal.events(pages)
            if graph is not None:
                logger.journal.write(graph)
            if with_lines:
                logger.log_metrics(lines, 0)

    def close(self, results: Mapping[str, Any], seconds: float) -> None:
        """The end of a finished run. One that was stopped keeps its page open, for one that failed see `failures`."""
        step = int(results.get("steps", 0))
        scalars = outcome(results) | {
            "run/parameters": float(sum(p.numel() for p in self.task.parameters())),
            "run/seconds": seconds,
        }
        for logger in self.loggers:
            logger.log_metrics(scalars | self.lines(), step)
            logger.journal.events([summaries.session_end("finished")])
            logger.journal.flush()

    def lines(self) -> dict[str, float]:
        """Baselines and floor of the validation part: {"reference/mse_persistence": ..., "reference/mse_floor": ...}.

        Those of the loss too, where it is a metric in other units.
        """
        if not isinstance(self.task, Task) or not hasattr(self.data, "baselines"):
            return {}
        if self.data.loader("val") is None:
            return {}
        metric, factor = loss_units(self.task)
        found: dict[str, float] = {}

        def add(scores: Mapping[str, float], name: str) -> None:
            for key, value in scores.items():
                if key not in DERIVED:
                    found[f"reference/{key}_{name}"] = float(value)
                if key == metric:
                    found[f"reference/loss_{name}"] = float(value) / factor

        for name, scores in self.data.baselines("val").items():
            add(scores, name)
        add(self.data.floor("val"), "floor")
        return found


def charts(metrics: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    pairs: list[tuple[str, tuple[str, ...]]] = [
        ("loss: training and validation", (r"^loss/train$", r"^loss/val$", r"^reference/loss_"))
    ]
    pairs += [
        (f"{name}, beside baselines and floor", (f"^metric/{name}$", f"^reference/{name}_"))
        for name in metrics
        if name not in DERIVED
    ]
    pairs += [("gradient norm", ("^optim/grad_norm$",)), ("learning rate", ("^optim/lr$",))]
    return tuple(pairs)


def loss_units(task: Any) -> tuple[str | None, float]:
    """The metric that the loss is, and the factor that takes the loss to it; (None, 1) where it is none."""
    if task.kind != "series":
        return ("nats" if "nats" in task.metrics else "cross_entropy"), 1.0
    scales = set(task.spec["target_scale"])
    if len(scales) != 1 or task.loss_name == "huber":
        return None, 1.0
    scale = float(scales.pop())
    return task.loss_name, scale if task.loss_name == "mae" else scale**2


def loss_units_of(run: Run) -> tuple[str | None, float]:
    """`loss_units` of a run that is not loaded, from its results: its best loss beside its best metrics."""
    metrics = run.results.get("best", {}).get("metrics", {})
    loss = metrics.get("loss/val")
    names = {"nats": "nats", "cross_entropy": "cross_entropy", "mse": "mse", "mae": "mae"}
    wanted = run.config["model"].get("loss")
    for name in names:
        value = metrics.get(f"metric/{name}")
        if loss and value and math.isfinite(value / loss) and value / loss and wanted in (None, name):
            return name, value / loss
    return None, 1.0


def manifest_rows(manifest: dict[str, Any], run: Run) -> list[tuple[str, Any]]:
    """What a reader of a run wants to know of how it was made."""
    code, engine = manifest.get("code", {}), manifest.get("engine", {})
    commit = code.get("commit")
    if commit:
        commit = commit[:12] + ("" if code.get("clean") else ", with changes that were not committed")
    versions, machine = manifest.get("versions", {}), manifest.get("machine", {})
    shown = [f"{name} {versions[name]}" for name in ("python", "torch", "lightning") if name in versions]
    return [
        ("folder", folder_link(run)),
        ("run", run.folder.name),
        ("command", " ".join(manifest.get("command", []))),
        ("code", f"rnnlab {code.get('rnnlab', '')}, commit {commit or 'none'}"),
        ("engine", f"{engine.get('name')} ({engine.get('why')}); steps {engine.get('steps')}"),
        ("data", manifest.get("data_hash")),
        ("versions", ", ".join(shown)),
        ("machine", f"{machine.get('cpu')}, {machine.get('cores')} cores"),
        ("threads", manifest.get("threads", {}).get("torch")),
    ]


def folder_link(run: Run) -> str:
    return run.folder.absolute().as_uri()
