"""A run's folder: where everything about one training lies, and what can be read from it."""

import shutil
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rnnlab.errors import UserError, nearest
from rnnlab.ledger.files import read_json, write_json, write_whole
from rnnlab.ledger.metrics import read_metrics
from rnnlab.ledger.secrets import without_secrets
from rnnlab.ledger.shapes import CONFIG, MANIFEST, RECORD, misfit
from rnnlab.ledger.yaml import read_yaml, to_yaml

Status = Literal["queued", "running", "finished", "stopped", "failed", "skipped"]


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


@dataclass(frozen=True)
class Run:
    """One run's folder. Everything is read when it is asked for; nothing in the folder is executed.

    `status` is "stopped" for a run that was interrupted and can go on: neither finished nor failed.
    """

    folder: Path

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """The run in `folder`. Raises UserError, with the nearest run's name, where there is none."""
        folder = Path(folder)
        if (folder / "run.json").is_file():
            return cls(folder)
        if folder.is_dir() and (inside := [r.folder.name for r in runs(folder)]):
            raise UserError(
                f"{folder} is an experiment, not a run; it holds {len(inside)} run{'s' * (len(inside) > 1)}, "
                f"such as {folder / inside[-1]}"
            )
        beside = [r.folder.name for r in runs(folder.parent)] if folder.parent.is_dir() else []
        hint = nearest(folder.name, beside) if beside else ""
        raise UserError(f"{folder}: no run there (a run's folder holds run.json).{hint}")

    # ------------------------------------------------------------------ paths

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.csv"

    @property
    def events_file(self) -> Path:
        """TensorBoard's."""
        return self.folder / "events.out.tfevents.0.rnnlab"

    @property
    def manifest_file(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def last_checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def previous_checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "previous.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    @property
    def samples(self) -> Path:
        return self.folder / "samples"

    # ------------------------------------------------------------------ contents

    @property
    def record(self) -> dict[str, Any]:
        """run.json: id, experiment, status, times, results, and why it failed."""
        path = self.folder / "run.json"
        return _fitting(path, read_json(path), RECORD) if path.is_file() else {}

    @property
    def id(self) -> str:
        return self.record["id"]

    @property
    def status(self) -> Status | None:
        return self.record.get("status")

    @property
    def results(self) -> dict[str, Any]:
        """What the run came to: best and last metrics, the test part's, baselines and floor."""
        return self.record.get("results", {})

    @property
    def objective(self) -> float:
        """The best value of the monitored metric; NaN where there is none."""
        return self.results.get("best", {}).get("value", float("nan"))

    @property
    def manifest(self) -> dict[str, Any]:
        path = self.manifest_file
        return _fitting(path, read_json(path), MANIFEST) if path.is_file() else {}

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config."""
        path = self.folder / "config.yaml"
        return _fitting(path, read_yaml(path), CONFIG)

    @property
    def metrics(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Every scalar of the training: {name: (steps, values)}."""
        return read_metrics(self.metrics_file)

    @cached_property
    def model(self) -> Any:
        """The trained LightningModule with its best weights, in evaluation mode on the CPU."""
        from rnnlab.ledger.load import load_model

        return load_model(self)

    # ------------------------------------------------------------------ writing

    def update(self, **changes: Any) -> None:
        write_json(self.folder / "run.json", self.record | changes)

    def create(
        self,
        identifier: str,
        name: str,
        config: dict[str, Any],
        overrides: list[str],
        group: str = "",
        label: str = "",
    ) -> None:
        """Makes the folder with what is known before training. Raises UserError where it cannot be made.

        Of a run that goes on, when it was first begun and what it goes on from is kept.
        """
        kept = {k: v for k, v in self.record.items() if k in ("created", "started", "parent")}
        about = {
            "id": identifier,
            "group": group,  # what the runs that differ by their seed alone share
            "label": label,
            "experiment": name,
            "status": "queued",
            "created": now(),
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / "config.yaml", to_yaml(without_secrets(config)).encode())
            write_whole(self.folder / "overrides.yaml", to_yaml(without_secrets(list(overrides))).encode())
            write_json(self.folder / "run.json", about | kept)
        except OSError as error:
            raise UserError(f"paths.outputs: cannot make {self.folder}: {error.strerror}") from error

    def remove(self) -> None:
        """Removes the folder, and first what says that a run lies in it: half of one is none."""
        (self.folder / "run.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder)

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        write_json(self.manifest_file, without_secrets(manifest))

    @contextmanager
    def failing(self) -> Iterator[None]:
        """While open, an exception marks the run as failed, with its reason and the file of its traceback.

        An interruption is no failure: it leaves the run as stopped. Nor is it the run's fault where its folder
        cannot be written, or where memory is short: it can go on. This may not be written then, either.
        """
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            with suppress(OSError):
                self.update(status="stopped", ended=now(), why="interrupted")
            raise
        except BaseException as error:
            file, why = self.folder / "traceback.txt", without_secrets(f"{type(error).__name__}: {error}")
            lack = isinstance(error.__cause__, OSError) or out_of_memory(error)
            can_go_on = {"can_go_on": True} if lack else {}
            with suppress(OSError):
                write_whole(file, without_secrets(traceback.format_exc()).encode())
                self.update(status="failed", ended=now(), why=why, traceback=file.name, **can_go_on)
            raise


def _fitting(path: Path, content: Any, shape: Any) -> Any:
    """Raises UserError where a file of a run's folder is not what it must be."""
    if why := misfit(content, shape):
        raise UserError(f"{path}: {why}; not the {path.name} of a run")
    return content


def out_of_memory(error: BaseException) -> bool:
    """Python's own way of saying so, torch's of a GPU, and torch's of the machine."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )


def runs(experiment: str | Path) -> list[Run]:
    """The runs of an experiment's folder, oldest first; those of experiments below it are not among them."""
    found = [Run(path.parent) for path in Path(experiment).glob("*/run.json")]
    return sorted(found, key=lambda run: (run.record.get("created", ""), run.folder.name))
