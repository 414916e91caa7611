"""What a run tells TensorBoard at its start and at its end, beside the scalars of its steps."""

from collections.abc import Mapping
from typing import Any

from rnnlab.runs.provenance import folder_link, manifest_rows
from rnnlab.runs.run import Run
from rnnlab.tasks.task import Task
from rnnlab.tensorboard import summaries
from rnnlab.tensorboard.columns import DERIVED, outcome, parameters
from rnnlab.tensorboard.graph import graph_record
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
        metric, factor = self.task.loss_units()
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
