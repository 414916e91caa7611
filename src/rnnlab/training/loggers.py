"""Where scalars go: metrics.csv, always, and TensorBoard's event file, written without its writer's thread."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger

from rnnlab.runs.identity import leaves
from rnnlab.runs.metrics import HEADER, Entry, line, lines
from rnnlab.runs.run import Run
from rnnlab.runs.secrets import without_secrets
from rnnlab.tensorboard import events


class Journal:
    """A file that only grows, and that can be cut back to a length that a checkpoint remembers.

    `digest` is the SHA-256 of what it holds, by which damage is known.
    """

    def __init__(self, path: Path, header: bytes = b"") -> None:
        self.path, self.header = path, header
        self.buffer = bytearray()
        self.begun = False
        self._hash: Any = None

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def write(self, content: bytes) -> None:
        self.buffer += content

    def flush(self, durable: bool = False) -> int:
        """Appends what is waiting; returns the file's length. `durable` waits until it is on the disk.

        Raises FileNotFoundError where the file was deleted meanwhile: it would begin in the middle.
        """
        fresh = not self.begun and not self.path.exists()
        with self.path.open("ab" if fresh else "r+b") as f:
            if self._hash is None:
                self._hash = hashlib.sha256(b"" if fresh else self.path.read_bytes())
            f.seek(0, os.SEEK_END)
            added = self.header + self.buffer if fresh else bytes(self.buffer)
            f.write(added)
            self._hash.update(added)
            self.begun = True
            self.buffer.clear()
            if durable:
                f.flush()
                os.fsync(f.fileno())
            return f.tell()

    def cut(self, length: int) -> None:
        self._hash = None
        if self.path.exists() and self.path.stat().st_size > length:
            with self.path.open("r+b") as f:
                f.truncate(length)


class Events(Journal):
    """An event file; records are made when they are written, all at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, events.header())
        self.waiting: list[Entry] = []

    def events(self, found: Sequence[bytes]) -> None:
        """Events that are no scalars, such as those of `rnnlab.tensorboard.summaries`, in their order."""
        self._scalars()
        for event in found:
            self.write(events.framed_alone(event))

    def flush(self, durable: bool = False) -> int:
        self._scalars()
        return super().flush(durable)

    def _scalars(self) -> None:
        self.write(events.records(self.waiting))
        self.waiting.clear()


class MetricsFile(Logger):
    """metrics.csv: one line a scalar, see `rnnlab.runs.metrics`. Speeds are wall-clock, and left out.

    What a callback or a module logs by itself stands behind what was measured before it, whenever the recorder
    hands that over.
    """

    before_others: Callable[[], None] = staticmethod(lambda: None)  # the recorder hands over what waits

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.journal = Journal(folder / "metrics.csv", HEADER.encode())

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The config is in config.yaml."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.before_others()
        for key, value in metrics.items():
            if key != "epoch" and not key.startswith("speed/"):
                self.journal.write(line(step or 0, key, value).encode())

    def log_entries(self, entries: Sequence[Entry]) -> None:
        """Many at once, as if each had been logged."""
        self.journal.write(lines(entries).encode())


class TensorBoard(TensorBoardLogger):
    """TensorBoard's event file in the run's folder.

    Scalars are written as records, some fifty times cheaper than through a SummaryWriter. Callbacks that want to
    add figures or text find a SummaryWriter in `experiment`, made at its first use.
    """

    before_others: Callable[[], None] = staticmethod(lambda: None)  # as in MetricsFile

    def __init__(self, folder: str | Path) -> None:
        super().__init__(save_dir=str(folder), name="", version="")
        self.journal = Events(Run(Path(folder)).events_file)

    @property
    def log_dir(self) -> str:
        return self.save_dir

    @property
    def experiment(self) -> Any:
        # Lightning touches this at set-up, where a writer's thread and file would be a waste
        return _Later(lambda: TensorBoardLogger.experiment.fget(self))  # type: ignore[attr-defined]

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The config is in config.yaml."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.before_others()
        self.journal.waiting.append((step or 0, {k: v for k, v in metrics.items() if k != "epoch"}))

    def log_entries(self, entries: Sequence[Entry]) -> None:
        """Many at once, as if each had been logged."""
        self.journal.waiting += entries

    def save(self) -> None:
        if self._experiment is not None:
            self._experiment.flush()

    def finalize(self, status: str) -> None:
        if self._experiment is not None:
            self._experiment.close()


def introduce(loggers: Sequence[Any], config: dict[str, Any]) -> None:
    """Tells every logger but ours the resolved config, flat: {"model.hidden_size": 32, ...}, without secrets."""
    for logger in loggers:
        if not isinstance(logger, (MetricsFile, TensorBoard)):
            logger.log_hyperparams(leaves(without_secrets(config)))


class _Later:
    """Stands for an object that is made when one of its attributes is asked for."""

    def __init__(self, make: Any) -> None:
        self._make = make

    def __getattr__(self, name: str) -> Any:
        return getattr(self._make(), name)
