"""The logger that writes TensorBoard's event file in a run's folder: scalars, and data for comparing runs."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger

from rnnlab.native import recording
from rnnlab.runs.manifest import folder_link, manifest_rows
from rnnlab.runs.metrics import DERIVED, Scalars
from rnnlab.runs.run import Run
from rnnlab.runs.secrets import without_secrets
from rnnlab.tasks.task import Task
from rnnlab.tensorboard import events, summaries
from rnnlab.tensorboard.columns import outcome, parameters
from rnnlab.tensorboard.graph import graph_record
from rnnlab.training.display import About
from rnnlab.training.loggers import Journal, RunLogger

# names in TensorBoard, which sorts its groups by name: losses come first
INSTRUMENTS, GROUP = ("inspect/", "recurrence")
DIFF = 4000  # the most characters of a working folder's diff; manifest.json has all of it


class TensorBoard(RunLogger, TensorBoardLogger):
    """Writes scalars as records, about fifty times cheaper than a SummaryWriter.

    At the start of a run it writes the overrides (HParams), the config and the manifest as text, and a layout that
    shows training and validation together with baselines and floor. At the end it writes best and last metrics, the
    excess over the floor, size and time as scalars, and the status. All of it is in the event file that a resume
    truncates.

    `experiment` is a SummaryWriter for callbacks that add figures or text; it is made when it is first used.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(save_dir=str(folder), name="", version="")
        self.journal = Journal(Run(Path(folder)).events_file, events.header(), _records)

    @property
    def log_dir(self) -> str:
        return self.save_dir

    @property
    def experiment(self) -> Any:
        # Lightning reads this at set-up, when a writer's thread and file would not be used
        return _Later(lambda: TensorBoardLogger.experiment.fget(self))  # type: ignore[attr-defined]

    def log_scalars(self, batch: Scalars) -> None:
        if any(tag.startswith(INSTRUMENTS) for tag in batch.columns):
            shown = {tag.replace(INSTRUMENTS, f"{GROUP}/", 1) if tag.startswith(INSTRUMENTS) else tag: values
                     for tag, values in batch.columns.items()}  # fmt: skip
            batch = Scalars(batch.steps, shown)
        self.journal.add(batch)

    def log_events(self, found: Iterable[bytes]) -> None:
        """Writes events other than scalars, such as those of `rnnlab.tensorboard.summaries`."""
        for event in found:
            self.journal.write(events.record(event))

    def save(self) -> None:
        if self._experiment is not None:
            self._experiment.flush()

    def finalize(self, status: str) -> None:
        if self._experiment is not None:
            self._experiment.close()

    # ------------------------------------------------------------------ the run as a whole

    def begin(self, about: About) -> None:
        """Writes what describes the run. Leaves out baselines and floor where the file has them, as in a lengthened
        run.
        """
        run = about.run
        config, asked, manifest = map(without_secrets, (about.config, about.overrides, about.manifest))
        pages = [
            summaries.session_start(
                parameters(config, asked), run.record.get("group", ""), folder_link(run.folder)
            ),
            summaries.text(
                "run/config", summaries.block((run.folder / "config.yaml").read_text(encoding="utf-8"))
            ),
            summaries.text(
                "run/asked", summaries.block("\n".join(asked) or "nothing: the experiment as it stands")
            ),
            summaries.text("run/manifest", summaries.table(manifest_rows(manifest, run.folder))),
            summaries.layout(charts(getattr(about.task, "metrics", ()))),
        ]
        if diff := manifest.get("code", {}).get("diff"):
            if len(diff) > DIFF:
                diff = f"{diff[:DIFF]}\n... manifest.json has the rest"
            pages.append(summaries.text("run/diff", summaries.block(diff)))
        self.log_events(pages)
        if (graph := graph_record(about.task)) is not None:
            self.journal.write(graph)
        if not about.lengthened:
            self.log_scalars(Scalars.of(0, self.lines(about)))

    def end(self, about: About, results: Mapping[str, Any], seconds: float) -> None:
        scalars = outcome(results) | {
            "run/parameters": float(sum(p.numel() for p in about.task.parameters())),
            "run/seconds": seconds,
        }
        self.log_scalars(Scalars.of(int(results.get("steps", 0)), scalars | self.lines(about)))
        self.log_events([summaries.session_end("finished")])
        self.flush()

    def lines(self, about: About) -> dict[str, float]:
        """Baselines and floor of the validation part: {"reference/mse_persistence": ..., "reference/mse_floor": ...}.

        Also for the loss, where it is a metric in other units.
        """
        task, data = about.task, about.data
        if not isinstance(task, Task) or not hasattr(data, "baselines") or data.loader("val") is None:
            return {}
        metric, factor = task.loss_units()
        found: dict[str, float] = {}
        for name, scores in [*data.baselines("val").items(), ("floor", data.floor("val"))]:
            for key, value in scores.items():
                if key not in DERIVED:
                    found[f"reference/{key}_{name}"] = float(value)
                if key == metric:
                    found[f"reference/loss_{name}"] = float(value) / factor
        return found


def _records(batches: list[Scalars], times: list[float]) -> bytes:
    made = recording.records(batches, times, events.value)
    if made is None:
        made = b"".join(events.records(b.floats(), at) for b, at in zip(batches, times, strict=True))
    return made


def charts(metrics: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The charts of Custom Scalars: (title, tags as regular expressions)."""
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


class _Later:
    """A proxy for an object that is made at the first access to one of its attributes."""

    def __init__(self, make: Any) -> None:
        self._make = make

    def __getattr__(self, name: str) -> Any:
        return getattr(self._make(), name)
